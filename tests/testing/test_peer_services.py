"""The scripted SCP's queries and retrieves, and the scripted SCU, one against the other."""

from __future__ import annotations

import ssl
import subprocess
from itertools import count

import anyio
import pytest
from msgspec.structs import replace
from pydicom.dataset import Dataset

import raw_dicom as raw
from dcmflow.protocol.command import c_cancel_rq, c_find_rq, c_get_rq, c_move_rq
from dcmflow.protocol.items import AsynchronousOperations, UserInformation
from dcmflow.protocol.pdu import Abort, AssociateReject, ReleaseReply, ReleaseRequest
from dcmflow.testing import (
    ATTACKS,
    PATIENT,
    AbortNow,
    Accept,
    Answer,
    CloseNow,
    Encoded,
    Get,
    Later,
    Matches,
    Move,
    Reject,
    ScriptedScp,
    ScriptedScu,
    SendHere,
    SendTo,
    Wait,
    instance,
)
from dcmflow.testing.peer_dataset import decoded
from dcmflow.testing.peer_scu import IMPLICIT, VERIFICATION

pytestmark = pytest.mark.anyio

FIND = "1.2.840.10008.5.1.4.1.2.2.1"
MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
GET = "1.2.840.10008.5.1.4.1.2.2.3"
EXPLICIT = "1.2.840.10008.1.2.1"


def study(number):
    ds = Dataset()
    ds.QueryRetrieveLevel, ds.StudyInstanceUID = "STUDY", f"2.25.{number}"
    return ds


def bytes_of(made):
    return b"".join(made.payload.segments())


# --------------------------------------------------------------------------------------------- C-FIND


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
async def test_matches_in_the_transfer_syntax_of_the_request(syntax):
    async with (
        ScriptedScp(on_find=Matches(study(n) for n in range(1, 4))) as peer,
        ScriptedScu(peer.node) as scu,
    ):
        await scu.associate((FIND, syntax))
        *pending, final = await scu.find(FIND, study(7))
        await scu.release()
    assert [seen.status for seen in pending] == [0xFF00] * 3
    assert (final.status, final.data) == (0, None)
    found = [decoded(seen.data, syntax).StudyInstanceUID for seen in pending]
    assert found == ["2.25.1", "2.25.2", "2.25.3"]
    assert decoded(peer.received.of("C-FIND-RQ")[0].data, syntax).QueryRetrieveLevel == "STUDY"


async def test_matches_for_what_was_asked():
    def answer(exchange):
        return [exchange.dataset()] * 2

    async with ScriptedScp(on_find=Matches(answer)) as peer, ScriptedScu(peer.node) as scu:
        await scu.associate((FIND, IMPLICIT))
        found = await scu.find(FIND, study(5))
    assert [decoded(seen.data, IMPLICIT) for seen in found[:-1]] == [study(5)] * 2


@pytest.mark.parametrize(
    ("final", "ends"),
    [
        (0xA700, ["C-FIND-RSP"]),
        (Answer(0xC000, "no luck"), ["C-FIND-RSP"]),
        (AbortNow(), ["A-ABORT"]),
        (CloseNow(), ["close"]),
    ],
)
async def test_failure_after_three_answers(final, ends):
    async with (
        ScriptedScp(on_find=[Matches(map(study, range(3)), final=final)]) as peer,
        ScriptedScu(peer.node) as scu,
    ):
        await scu.associate((FIND, IMPLICIT))
        found = await scu.find(FIND, study(7))
    assert [seen.what for seen in found] == ["C-FIND-RSP"] * 3 + ends
    if ends == ["C-FIND-RSP"]:
        assert found[-1].status in (0xA700, 0xC000)


async def test_endless_matches_are_made_as_they_are_taken_and_end_by_cancel():
    made = []

    def endless():
        for number in count(1):
            made.append(number)
            yield bytes(10_000)

    async with ScriptedScp(on_find=Matches(endless())) as peer, ScriptedScu(peer.node) as scu:
        await scu.associate((FIND, IMPLICIT))
        number = scu.message_id()
        command = replace(c_find_rq(number, FIND), has_data=True)
        await scu.message(1, command, b"")
        for _ in range(20):
            assert (await scu.receive()).status == 0xFF00
        assert len(made) < 100_000
        await scu.message(1, c_cancel_rq(number))
        while (seen := await scu.receive()).status == 0xFF00:
            pass
        assert seen.status == 0xFE00
        assert peer.received.of("C-CANCEL-RQ")


async def test_cancel_is_not_heeded():
    find = (Wait("C-CANCEL-RQ"), Matches([study(1)], heed_cancel=False))
    async with ScriptedScp(on_find=find) as peer, ScriptedScu(peer.node) as scu:
        await scu.associate((FIND, IMPLICIT))
        await scu.message(1, replace(c_find_rq(1, FIND), has_data=True), b"")
        await scu.message(1, c_cancel_rq(1))
        assert [(await scu.receive()).status for _ in range(2)] == [0xFF00, 0]


@pytest.mark.timeout(120)
async def test_a_hundred_thousand_matches():
    match = bytes(60)
    async with ScriptedScp(on_find=Matches(match for _ in range(100_000))) as peer:
        client = await raw.connect(peer.port)
        async with client.stream:
            await client.associate((1, FIND, IMPLICIT))
            request = raw.p_data(1, 3, raw.command(0x0020, 1, FIND, data=True))
            await client.send(request, raw.p_data(1, 2, b""), raw.RELEASE_RQ)
            got = b"".join([piece async for piece in _until(client, raw.RELEASE_RP)])
    data = raw.p_data(1, 2, match)
    assert got.count(data) == 100_000
    one = got[: got.index(data) + len(data)]
    assert got.startswith(one * 100_000)


async def _until(client, end):
    """Pieces of what comes, without making one text of 100,000 answers in between."""
    tail = b""
    while not tail.endswith(end):
        piece = await client.stream.receive(1 << 18)
        tail = (tail + piece)[-len(end) :]
        yield piece


# --------------------------------------------------------------------------------------------- C-MOVE


async def moved(scu, destination="HERE"):
    await scu.associate((MOVE, IMPLICIT))
    await scu.message(1, replace(c_move_rq(1, MOVE, destination), has_data=True), b"")
    found = [await scu.receive()]
    while found[-1].status == 0xFF00:
        found.append(await scu.receive())
    return found


def counts(seen):
    command = seen.command
    return command.remaining, command.completed, command.failed, command.warning


async def test_move_with_counts():
    made = [instance() for _ in range(3)]
    async with (
        ScriptedScp(on_store=[0, 0xB000, 0xA700]) as here,
        ScriptedScp(on_move=Move(made), destinations={"HERE": here.node}, ae="ARCHIVE") as peer,
        ScriptedScu(peer.node) as scu,
    ):
        found = await moved(scu)
    assert [seen.status for seen in found] == [0xFF00, 0xFF00, 0xB000]
    assert [counts(seen) for seen in found] == [(2, 1, 0, 0), (1, 1, 0, 1), (None, 1, 1, 1)]
    assert here.received[1].pdu.calling_ae == "ARCHIVE"
    stored = here.received.of("C-STORE-RQ")
    assert [seen.data for seen in stored] == [bytes_of(each) for each in made]
    assert {(seen.command.move_originator_ae, seen.command.move_originator_id) for seen in stored} == {
        ("SCRIPTED", 1)
    }
    assert peer.returned.whats[-1] == "A-RELEASE-RP"


async def test_move_to_nobody_to_a_closed_port_and_to_one_that_rejects():
    made = [instance()]
    async with ScriptedScp() as closed:
        pass
    async with (
        ScriptedScp(accept=Reject()) as rejecting,
        ScriptedScp(on_move=Move(made), destinations={"CLOSED": closed.node, "NO": rejecting.node}) as peer,
    ):
        for destination, expected in (("NOBODY", 0xA801), ("CLOSED", 0xA702), ("NO", 0xA702)):
            async with ScriptedScu(peer.node) as scu:
                (final,) = await moved(scu, destination)
            assert final.status == expected
            assert final.command.failed == (None if expected == 0xA801 else 1)


async def test_move_is_cancelled():
    made = [instance() for _ in range(5)]
    go_on = anyio.Event()
    async with (
        ScriptedScp(on_store=[0, (Wait(go_on), 0)]) as here,
        ScriptedScp(on_move=Move(made, here.node)) as peer,
        ScriptedScu(peer.node) as scu,
    ):
        await scu.associate((MOVE, IMPLICIT))
        await scu.message(1, replace(c_move_rq(1, MOVE, "X"), has_data=True), b"")
        await here.received.wait("C-STORE-RQ", count=2)
        await scu.message(1, c_cancel_rq(1))
        await peer.received.wait("C-CANCEL-RQ")
        go_on.set()
        found = [await scu.receive() for _ in range(3)]
    assert found[-1].status == 0xFE00
    assert counts(found[-1]) == (3, 2, 0, 0)
    assert len(here.received.of("C-STORE-RQ")) == 2


async def test_move_with_what_no_server_should_do():
    first, second, foreign, late = (instance() for _ in range(4))
    async with ScriptedScp() as here:
        move = (
            SendTo(here.node, [first], calling_ae="OTHER"),
            Answer(0xFF00, fields={"remaining": 7}),
            SendTo(here.node, [second, second, foreign], originator=False),
            Answer(0x0000, fields={"completed": 4, "failed": 0, "warning": 0}),
            SendTo(here.node, [late], fields={"affected_sop_instance": "2.25.99"}),
        )
        async with ScriptedScp(on_move=move) as peer, ScriptedScu(peer.node) as scu:
            pending, final = await moved(scu)
            await here.received.wait("A-RELEASE-RQ", count=3)
    assert (counts(pending)[0], counts(final)) == (7, (None, 4, 0, 0))
    sent = [seen.data for seen in here.received.of("C-STORE-RQ")]
    assert sent == [bytes_of(each) for each in (first, second, second, foreign, late)]
    assert here.received.of("C-STORE-RQ")[-1].command.affected_sop_instance == "2.25.99"
    assert [seen.pdu.calling_ae for seen in here.received.of("A-ASSOCIATE-RQ")] == [
        "OTHER",
        "SCRIPTED",
        "SCRIPTED",
    ]


async def test_sub_operation_before_the_association_is_accepted():
    early = instance()
    async with ScriptedScp() as here:
        accept = (SendTo(here.node, [early], originator=False), Accept())
        async with ScriptedScp(accept=accept) as peer, ScriptedScu(peer.node) as scu:
            assert (await scu.associate()).what == "A-ASSOCIATE-AC"
    assert len(here.received.of("C-STORE-RQ")) == 1


# --------------------------------------------------------------------------------------------- C-GET


async def test_get_on_the_same_association():
    made = [instance() for _ in range(3)]
    private = instance("1.3.12.2.1107.5.9.1")
    async with ScriptedScp(on_get=Get([*made, private])) as peer, ScriptedScu(peer.node) as scu:
        await scu.associate((GET, IMPLICIT), instances=made)
        await scu.message(1, replace(c_get_rq(1, GET), has_data=True), b"")
        stored, statuses = [], iter([0, 0xB000, 0xA700])
        while (seen := await scu.receive()).status in (None, 0xFF00):
            if seen.what == "C-STORE-RQ":
                stored.append(seen.data)
                await scu.answer(seen, next(statuses))
    assert stored == [bytes_of(each) for each in made]
    assert seen.status == 0xB000
    assert counts(seen) == (None, 1, 2, 1)


async def test_get_by_hand():
    made = instance()
    broken = Encoded(made.sop_class_uid, "2.25.1", made.transfer_syntax_uid, b"no data set")
    get = (SendHere([made, broken], wait=False), Answer(0), SendHere([made], context_id=1))
    async with ScriptedScp(on_get=get) as peer, ScriptedScu(peer.node) as scu:
        await scu.associate((GET, IMPLICIT), instances=[made])
        await scu.message(1, replace(c_get_rq(1, GET), has_data=True), b"")
        found = [await scu.receive() for _ in range(4)]
    assert [seen.what for seen in found] == ["C-STORE-RQ", "C-STORE-RQ", "C-GET-RSP", "C-STORE-RQ"]
    assert found[1].data == b"no data set"
    assert found[3].context_id == 1


# --------------------------------------------------------------------------------------------- the SCU


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


# --------------------------------------------------------------------------------------------- attacks


@pytest.mark.parametrize("name", ATTACKS)
async def test_attack(name):
    """What our own scripted listener makes of it: an end where one is due, and the next is served."""
    async with ScriptedScp(check=False) as peer:
        async with ScriptedScu(peer.node) as scu:
            await scu.run(ATTACKS[name])
            if name not in PATIENT and not name.startswith(("end ", "reset ", "abort within")):
                scu.channel.wire.end_sending()
                assert (await scu.rest())[-1].what in ("close", "reset")
        async with ScriptedScu(peer.node) as scu:
            await scu.associate()
            assert (await scu.echo()).status == 0


async def test_table_of_attacks_names_what_it_has():
    assert set(ATTACKS) >= PATIENT
    assert len(ATTACKS) > 40
