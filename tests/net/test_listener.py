"""A port: who is let in, as what, how many, and what it says to those who are not."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

import anyio
import anyio.lowlevel
import pytest

from dcmflow.errors import ConfigError
from dcmflow.net.entity import ANYONE, ApplicationEntity
from dcmflow.net.listener import Listener, listening
from dcmflow.net.node import Tls
from dcmflow.net.tls import client_context, server_context
from dcmflow.protocol.pdu import AssociateReject
from dcmflow.testing import Encoded, ScriptedScu, Seen
from peers.base import client as run
from peers.fixtures import Certificates
from scp_runs import CT, IMPLICIT, SHORT, SOON, Notices, descriptors, echo, hosting, node, until
from wire_flows import beside

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]


def reject(seen: Seen) -> AssociateReject:
    assert isinstance(seen.pdu, AssociateReject), seen
    return seen.pdu


async def test_each_title_has_its_entity() -> None:
    heard = {title: Notices() for title in ("ONE", "TWO")}
    entities = [ApplicationEntity(title, notice=heard[title]) for title in heard]
    async with hosting(*entities) as listener:
        async with ScriptedScu(node(listener, "ONE")) as one, ScriptedScu(node(listener, "TWO")) as two:
            await one.associate()
            await two.associate()
            assert [len(entity.associations) for entity in entities] == [1, 1]
            (association,) = entities[0].associations
            assert (association.calling_ae, association.called_ae) == ("SCRIPTED", "ONE")
            assert association.address == "127.0.0.1"
            await one.release()
            await two.release()
        assert reject(await echo(node(listener, "THREE"))) == AssociateReject(1, 1, 7)
        assert sum(len(notices.all) for notices in heard.values()) == 1  # said once
        (said,) = heard["ONE"].all
        assert said[0] == "rejected"
        assert said[1].startswith("SCRIPTED@127.0.0.1:")
        assert "THREE" in said[2]
        assert "called AE title not recognized" in said[2]


async def test_titles_are_compared_without_the_spaces_around_them() -> None:
    async with hosting(ApplicationEntity("ARCHIVE")) as listener, ScriptedScu(node(listener)) as scu:
        request = scu.request(called_ae=" ARCHIVE ")
        assert (await scu.associate(request=request)).what == "A-ASSOCIATE-AC"


async def test_any_title() -> None:
    async with hosting(ApplicationEntity(ANYONE), ApplicationEntity("ONE")) as listener:
        for title in ("ONE", "WHATEVER", "ANY-SCP"):
            assert (await echo(node(listener, title))).status == 0


async def test_a_foreign_caller_is_rejected_and_told_why() -> None:
    notices = Notices()
    entity = ApplicationEntity("ARCHIVE", accept_from=["MR1", "@10.0.0.0/8"], notice=notices)
    async with hosting(entity) as listener:
        assert reject(await echo(node(listener), calling_ae="MR2")) == AssociateReject(1, 1, 3)
        assert (await echo(node(listener), calling_ae="MR1")).status == 0
        (text,) = notices.texts
        assert "MR2" in text
        assert "calling AE title not recognized" in text


async def test_by_address() -> None:
    entities = [
        ApplicationEntity("A", accept_from=["@127.0.0.0/8"]),
        ApplicationEntity("B", accept_from=["@10.0.0.0/8"]),
    ]
    async with hosting(*entities) as listener:
        assert (await echo(node(listener, "A"))).status == 0
        assert reject(await echo(node(listener, "B"))) == AssociateReject(1, 1, 3)


async def test_too_many_associations_are_rejected_for_the_moment() -> None:
    notices = Notices()
    full, other = ApplicationEntity("FULL", max_associations=2, notice=notices), ApplicationEntity("OTHER")
    async with hosting(full, other) as listener:
        async with ScriptedScu(node(listener, "FULL")) as one, ScriptedScu(node(listener, "FULL")) as two:
            await one.associate()
            await two.associate()
            assert reject(await echo(node(listener, "FULL"))) == AssociateReject(2, 3, 2)
            assert (await echo(node(listener, "OTHER"))).status == 0
            await one.release()
            await until(lambda: len(full.associations) == 1)
            assert (await echo(node(listener, "FULL"))).status == 0
            await two.abort()
        await full.empty()
        (text,) = notices.texts[:1]
        assert "limit" in text


async def test_one_after_the_other_where_one_is_the_most() -> None:
    async with hosting(ApplicationEntity("ARCHIVE", max_associations=1)) as listener:
        for _ in range(20):
            assert (await echo(node(listener))).status == 0


async def test_who_waits_does_not_count() -> None:
    """300 connections that say nothing: 256 may, for a while, and they leave the places of others alone."""
    notices = Notices()
    entity = ApplicationEntity("ARCHIVE", max_associations=2, notice=notices)
    before = len(descriptors())
    async with hosting(entity, timeouts=SOON) as listener, ScriptedScu(node(listener)) as early:
        await early.associate()
        waiting = [socket.create_connection(("127.0.0.1", listener.port)) for _ in range(300)]
        for each in waiting:
            each.setblocking(False)
        closed: set[int] = set()

        async def ends(number: int) -> None:
            await anyio.wait_readable(waiting[number])
            assert waiting[number].recv(10) == b""
            closed.add(number)

        async with anyio.create_task_group() as tasks:
            for number in range(300):
                tasks.start_soon(ends, number)
            await until(lambda: len(closed) == 44)
            assert (await early.echo()).status == 0  # an association is not touched
            assert len(entity.associations) == 1
        assert (await echo(node(listener))).status == 0
        ((kind, _, text),) = notices.all  # not 44 times
        assert kind == "rejected"
        assert f"256 connections to port {listener.port}" in text
        for each in waiting:
            each.close()
    assert len(descriptors()) == before


async def test_a_request_that_trickles_ends_in_time() -> None:
    async with (
        hosting(ApplicationEntity("ARCHIVE"), timeouts=SOON) as listener,
        ScriptedScu(node(listener)) as scu,
    ):
        async with anyio.create_task_group() as tasks:

            async def trickle() -> None:
                while await scu.send(b"\1"):  # noqa: ASYNC110 - time is what this is about
                    await anyio.sleep(0.1)

            await scu.send(b"\1\0\0\0\1\0")
            tasks.start_soon(trickle)
            assert (await scu.receive()).what in ("close", "reset")
            tasks.cancel_scope.cancel()
        assert (await echo(node(listener))).status == 0


async def test_a_request_of_another_protocol_version() -> None:
    async with hosting(ApplicationEntity("ARCHIVE")) as listener, ScriptedScu(node(listener)) as scu:
        seen = await scu.associate(request=scu.request(protocol_version=2))
        assert reject(seen) == AssociateReject(1, 2, 2)
        assert (await scu.rest())[-1].what == "close"


async def test_a_request_for_something_else_than_dicom() -> None:
    async with hosting(ApplicationEntity("ARCHIVE")) as listener:
        for name, what in (("1.2.840.10008.3.1.1.2", "A-ASSOCIATE-RJ"), ("", "A-ASSOCIATE-AC")):
            async with ScriptedScu(node(listener)) as scu:
                seen = await scu.associate(request=scu.request(application_context=name))
                assert seen.what == what
                assert what == "A-ASSOCIATE-AC" or reject(seen) == AssociateReject(1, 1, 2)


async def test_nothing_is_taken_before_it_is_opened() -> None:
    entity = ApplicationEntity("ARCHIVE")
    async with listening("127.0.0.1", 0) as listener:
        async with anyio.create_task_group() as tasks:
            answers: list[Seen] = []

            async def call() -> None:
                answers.append(await echo(node(listener)))

            tasks.start_soon(call)
            await anyio.sleep(0.05)
            assert answers == []
            with listener.host(entity):
                listener.open()
                await until(lambda: answers)
                await entity.empty()
        assert answers[0].status == 0


async def test_who_was_hosted_is_away_for_the_moment_as_long_as_the_port_is_open() -> None:
    async with hosting(ApplicationEntity("OTHER")) as listener:
        for _ in range(2):
            with listener.host(ApplicationEntity("ARCHIVE", accept_from=["SCRIPTED"])):
                assert (await echo(node(listener))).status == 0
            assert reject(await echo(node(listener))) == AssociateReject(2, 3, 1)
            assert reject(await echo(node(listener), calling_ae="MR2")) == AssociateReject(1, 1, 7)
            assert reject(await echo(node(listener, "NOBODY"))) == AssociateReject(1, 1, 7)
        assert (await echo(node(listener, "OTHER"))).status == 0


async def test_the_most_patient_entity_says_how_long_a_request_may_take() -> None:
    quick, slow = ApplicationEntity("QUICK", timeouts=SOON), ApplicationEntity("SLOW")
    async with hosting(quick) as listener, ScriptedScu(node(listener, "QUICK")) as hurried:
        assert (await hurried.receive()).what in ("close", "reset")
        with listener.host(slow):
            async with ScriptedScu(node(listener, "QUICK")) as scu:
                await anyio.sleep(1.2)
                assert (await scu.associate()).what == "A-ASSOCIATE-AC"
                await scu.release()


async def test_drain_rejects_for_the_moment_and_waits_for_who_is_there() -> None:
    entities = [ApplicationEntity("ONE"), ApplicationEntity("TWO")]
    async with hosting(*entities) as listener, ScriptedScu(node(listener, "ONE")) as scu:
        await scu.associate()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.drain, 30)
            tasks.start_soon(listener.drain, 30)  # who asks twice is answered twice
            await anyio.wait_all_tasks_blocked()
            assert reject(await echo(node(listener, "TWO"))) == AssociateReject(2, 3, 1)
            assert (await scu.echo()).status == 0
            await scu.release()


async def test_drain_does_not_wait_longer_than_it_may() -> None:
    gate = anyio.Event()

    async def stuck(association: object, received: object) -> object:
        await gate.wait()
        raise AssertionError

    entity = ApplicationEntity("ARCHIVE", store=stuck)  # type: ignore[arg-type]
    async with hosting(entity) as listener, ScriptedScu(node(listener)) as scu:
        await scu.associate((CT, IMPLICIT))
        await scu.send_store(Encoded(CT, "2.25.1", IMPLICIT, b"12"))
        await until(lambda: entity.associations)
        await listener.drain(0.1)
        assert len(entity.associations) == 1
    assert not entity.associations


@pytest.mark.parametrize(
    ("host", "taken", "hint"),
    [
        ("127.0.0.1", True, "the port is in use"),
        ("203.0.113.1", False, "no such address"),
        ("nowhere.invalid", False, "nowhere.invalid"),
    ],
)
async def test_a_port_that_cannot_be_had(host: str, taken: bool, hint: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1] if taken else 0
        with pytest.raises((ConfigError, ExceptionGroup)) as raised:
            async with listening(host, port):
                pass
    error: BaseException = raised.value
    while isinstance(error, BaseExceptionGroup):
        (error,) = error.exceptions
    assert isinstance(error, ConfigError)
    assert hint in str(error)
    assert f"{host}:{port}" in str(error)


async def test_ipv6() -> None:
    async with listening("::1", 0) as listener:
        with listener.host(ApplicationEntity("ARCHIVE", accept_from=["@::1"])):
            listener.open()
            assert (await echo(f"ARCHIVE@[::1]:{listener.port}")).status == 0


async def test_a_name_with_several_addresses_has_one_port() -> None:
    async with listening("localhost", 0) as listener:
        with listener.host(ApplicationEntity("ARCHIVE")):
            listener.open()
            assert (await echo(node(listener))).status == 0


def _tls(pem: object, **fields: object) -> Tls:
    return Tls(cert=str(pem.cert), key=str(pem.key), **fields)  # type: ignore[attr-defined, arg-type]


async def test_tls(certificates: Certificates) -> None:
    entity = ApplicationEntity("ARCHIVE")
    async with hosting(entity, tls=server_context(_tls(certificates.server)), timeouts=SOON) as listener:
        trusting = client_context(Tls(ca=str(certificates.client.ca)), "127.0.0.1")
        assert (await echo(node(listener), tls=trusting)).status == 0


async def test_mutual_tls_and_who_does_not_pass(
    certificates: Certificates, dcmtk: Callable[[str], str]
) -> None:
    """A stranger, one without a certificate, one who speaks in the clear, one who says nothing: others go on."""
    notices = Notices()
    entity = ApplicationEntity("ARCHIVE", max_associations=2, notice=notices)
    ca = str(certificates.server.ca)
    secured = server_context(_tls(certificates.server, ca=ca))
    known = client_context(_tls(certificates.client, ca=ca), "127.0.0.1")
    before = len(descriptors())
    async with hosting(entity, tls=secured, timeouts=SOON) as listener:
        async with ScriptedScu(node(listener), tls=known) as early:
            await early.associate()
            for pem in (certificates.stranger, None):
                files = Tls(ca=ca) if pem is None else _tls(pem, ca=ca)
                refused = client_context(files, "127.0.0.1")
                async with ScriptedScu(node(listener), tls=refused) as scu:
                    await scu.send(scu.request())
                    assert (await scu.receive()).what in ("close", "reset")
                    assert scu.received.of("A-ASSOCIATE-AC") == []
            async with ScriptedScu(node(listener)) as clear, ScriptedScu(node(listener)) as silent:
                await clear.send(clear.request())
                for scu in (clear, silent):
                    assert (await scu.rest())[-1].what in ("close", "reset")
                    assert scu.received.of("A-ASSOCIATE-AC") == []
            assert (await early.echo()).status == 0
            ((kind, peer, text),) = notices.all  # once for all of them
            assert kind == "ended"
            assert peer.startswith("127.0.0.1:")
            assert text.startswith(f"no TLS on port {listener.port}: ")
            assert (await echo(node(listener), tls=known)).status == 0
            words = [dcmtk("echoscu"), "+tls", certificates.client.key, certificates.client.cert, "+cf", ca]
            place = ["-aec", "ARCHIVE", "127.0.0.1", str(listener.port)]
            assert (await beside(run, [*words, *place])).returncode == 0
            await early.release()
        await entity.empty()
    assert len(descriptors()) == before


async def test_who_is_gone_before_the_handshake(certificates: Certificates) -> None:
    entity = ApplicationEntity("ARCHIVE")
    trusting = client_context(Tls(ca=str(certificates.client.ca)), "127.0.0.1")
    async with hosting(entity, tls=server_context(_tls(certificates.server)), timeouts=SOON) as listener:
        for number in range(40):
            with socket.create_connection(("127.0.0.1", listener.port)) as caller:
                if number % 2:
                    caller.send(b"\x16\x03\x01")
                caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", number % 4 < 2, 0))
            if number % 3 == 0:
                await anyio.lowlevel.checkpoint()
        assert (await echo(node(listener), tls=trusting)).status == 0


async def test_a_timeout_over_tls_ends_with_an_abort(certificates: Certificates) -> None:
    entity = ApplicationEntity("ARCHIVE", timeouts=SHORT)
    trusting = client_context(Tls(ca=str(certificates.client.ca)), "127.0.0.1")
    secured = server_context(_tls(certificates.server))
    async with hosting(entity, tls=secured) as listener, ScriptedScu(node(listener), tls=trusting) as scu:
        await scu.associate()
        assert (await scu.receive()).what == "A-ABORT"


async def test_dcmtk_calls(dcmtk: Callable[[str], str]) -> None:
    async with hosting(ApplicationEntity("ARCHIVE")) as listener:
        for title, code in (("ARCHIVE", 0), ("OTHER", 1)):
            words = [dcmtk("echoscu"), "-v", "-aec", title, "127.0.0.1", str(listener.port)]
            done = await beside(run, words)
            assert bool(done.returncode) is bool(code)
            assert not code or "Called AE Title Not Recognized" in done.stdout + done.stderr


def test_a_listener_does_not_listen_until_it_serves() -> None:
    listener = Listener("127.0.0.1", 0)
    assert listener.port == 0
