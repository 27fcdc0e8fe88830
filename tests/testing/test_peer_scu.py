"""The scripted SCU, against the scripted SCP."""

from __future__ import annotations

import ssl
import subprocess

import anyio
import pytest

from dcmflow.protocol.items import AsynchronousOperations, UserInformation
from dcmflow.protocol.pdu import Abort, AssociateReject, ReleaseReply, ReleaseRequest
from dcmflow.testing import (
    AbortNow,
    Accept,
    Answer,
    CloseNow,
    Encoded,
    Later,
    Reject,
    ScriptedScp,
    ScriptedScu,
    instance,
)
from dcmflow.testing.peer_scu import IMPLICIT, VERIFICATION

pytestmark = pytest.mark.anyio

EXPLICIT = "1.2.840.10008.1.2.1"


def bytes_of(made):
    return b"".join(made.payload.segments())


async def test_request_with_any_fields():
    user = UserInformation(maximum_length=0, asynchronous_operations=AsynchronousOperations(5, 0))
    async with ScriptedScp() as peer, ScriptedScu(peer.node, calling_ae="WHO") as scu:
        request = scu.request((VERIFICATION, EXPLICIT, IMPLICIT), user=user, called_ae="NOBODY")
        answer = await scu.associate(request=request)
    got = peer.received[1].pdu
    assert (got.called_ae, got.calling_ae, got.user) == ("NOBODY", "WHO", user)
    assert answer.pdu.contexts[0].transfer_syntax == EXPLICIT
    assert scu.channel.contexts[1] == (VERIFICATION, EXPLICIT)


async def test_rejection_and_end_are_given_back():
    async with ScriptedScp(accept=[Reject(2, 3, 1), AbortNow(2, 4), CloseNow()]) as peer:
        pdus = []
        for _ in range(3):
            async with ScriptedScu(peer.node) as scu:
                pdus.append((await scu.associate()).pdu)
    assert pdus == [AssociateReject(2, 3, 1), Abort(2, 4), None]


async def test_store_in_pieces_of_what_the_peer_takes():
    made = instance()
    async with ScriptedScp(accept=Accept(maximum_length=64)) as peer, ScriptedScu(peer.node) as scu:
        await scu.associate(instances=[made])
        assert (await scu.store(made)).status == 0
        assert (await scu.store(made, joined=True, largest=20, drip=7)).status == 0
        await scu.release()
    assert [seen.data for seen in peer.received.of("C-STORE-RQ")] == [bytes_of(made)] * 2
    assert max(length for kind, length in peer.channels[0].pdus if kind == 4) == 64


async def test_store_in_one_piece_where_any_length_is_taken():
    made = Encoded("1.2", "1.2.3", IMPLICIT, bytes(1_000_000))
    async with ScriptedScp(accept=Accept(maximum_length=0)) as peer, ScriptedScu(peer.node) as scu:
        await scu.associate(instances=[made])
        assert (await scu.store(made)).status == 0
    assert [length for kind, length in peer.channels[0].pdus if kind == 4][1:] == [1_000_006]


async def test_closing_ends_reading():
    async with ScriptedScp() as peer, ScriptedScu(peer.node) as scu, anyio.create_task_group() as tasks:
        await scu.associate()
        tasks.start_soon(scu.rest)
        await anyio.wait_all_tasks_blocked()
        scu.close()
    assert scu.received.whats == ["A-ASSOCIATE-AC", "close"]


async def test_too_long_a_pdu_fails_the_test_of_the_scp():
    made = instance()
    with pytest.raises(AssertionError, match="where at most 64 are taken"):
        async with ScriptedScp(accept=Accept(maximum_length=64)) as peer, ScriptedScu(peer.node) as scu:
            await scu.associate(instances=[made])
            await scu.store(made, largest=0)


async def test_everything_that_comes_back_is_given():
    async with (
        ScriptedScp(on_echo=(Answer(times=2), Later(Answer(1), after="release"))) as peer,
        ScriptedScu(peer.node) as scu,
    ):
        await scu.associate()
        await scu.echo()
        await scu.send(ReleaseRequest())
        await scu.send(ReleaseReply())
        assert [(await scu.receive()).what for _ in range(3)] == ["C-ECHO-RSP", "A-RELEASE-RP", "C-ECHO-RSP"]
        scu.channel.wire.end_sending()
        assert [seen.what for seen in await scu.rest()] == ["close"]
    assert [kind for kind, _ in scu.channel.pdus] == [2, 4, 4, 6, 4]


@pytest.mark.parametrize(("reset", "what"), [(False, "close"), (True, "reset")])
async def test_ways_to_leave(reset, what):
    async with ScriptedScp() as peer, ScriptedScu(peer.node) as scu:
        await scu.associate()
        scu.close(reset=reset)
        assert (await peer.received.wait("close", "reset")).what == what


async def test_abort_with_any_reason():
    async with ScriptedScp() as peer, ScriptedScu(peer.node) as scu:
        await scu.associate()
        await scu.abort(2, 6)
        assert (await peer.received.wait("A-ABORT")).pdu == Abort(2, 6)


async def test_nobody_there():
    async with ScriptedScp() as peer:
        pass
    with pytest.raises(OSError, match="connecting to 127"):
        async with ScriptedScu(peer.node):
            pass


async def test_tls(tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    subprocess.run([*make, "-keyout", key, "-out", certificate, *subject], check=True, capture_output=True)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    made = Encoded("1.2", "1.2.3", IMPLICIT, bytes(1_000_000))
    async with ScriptedScp(tls=server) as peer:
        with pytest.raises(ssl.SSLError):
            async with ScriptedScu(peer.node, tls=ssl.create_default_context()):
                pass
        await peer.received.wait("unreadable")
        trusting = ssl.create_default_context(cafile=certificate)
        async with ScriptedScu(peer.node, tls=trusting) as scu:
            await scu.associate(instances=[made])
            assert (await scu.store(made)).status == 0
            await scu.release()
    assert peer.received.of("C-STORE-RQ")[0].data == made.data
