"""What an acceptor answers on an association, one message after the other, and how one ends."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from dcmflow.net.entity import Answer, ApplicationEntity
from dcmflow.net.reception import Room
from dcmflow.net.services import drain
from dcmflow.protocol.command import CommandSet, Field, c_cancel_rq, c_find_rq, c_store_rq, encode_command
from dcmflow.protocol.pdu import ReleaseReply, ReleaseRequest
from dcmflow.status import Status
from dcmflow.testing import Encoded, ScriptedScu, instance
from dcmflow.testing.peer_wire import COMMAND, LAST, message, p_data, pdv
from scp_runs import (
    CT,
    IMPLICIT,
    MR,
    VERIFICATION,
    descriptors,
    echo,
    encoded,
    host,
    hosting,
    node,
    sized,
    until,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]

FIND = "1.2.840.10008.5.1.4.1.2.2.1"


async def test_echo_and_release() -> None:
    async with host() as archive, ScriptedScu(archive.node) as scu:
        await scu.associate()
        for number in range(1, 4):
            answer = await scu.echo()
            assert answer.status == 0
            assert answer.command is not None
            assert answer.command.message_id_responded == number
            assert answer.command.affected_sop_class == VERIFICATION
        assert [seen.what for seen in await scu.release()] == ["A-RELEASE-RP"]
        assert scu.received.wrong == []
        await archive.entity.empty()
        assert archive.notices.all == []


async def test_store_is_handed_over_and_its_answer_sent() -> None:
    made = [instance(), instance(MR)]
    async with host() as archive, ScriptedScu(archive.node, calling_ae="MR1") as scu:
        await scu.associate(instances=made)
        for each in made:
            answer = await scu.store(each, originator=("MOVER", 7))
            assert answer.status == 0
            assert answer.command is not None
            assert answer.command.affected_sop_instance == each.sop_instance_uid
            assert answer.command.affected_sop_class == each.sop_class_uid
        archive.kept.answer = Answer(Status(0xA700), "the disk at /störage is full\n\x1b[31m" + "!" * 100)
        refused = await scu.store(made[0], originator=("MOVER", 7))
        assert refused.status == 0xA700
        assert refused.command is not None
        assert refused.command.error_comment == ("the disk at /st?rage is full  [31m" + "!" * 100)[:64]
        assert scu.received.wrong == []
    for received, sent in zip(archive.kept.seen, [*made, made[0]], strict=True):
        assert received.payload is not None
        assert b"".join(received.payload.segments()) == encoded(sent)
        assert received.command.move_originator_ae == "MOVER"


@pytest.mark.parametrize("largest", [20, 137, 16384])
@pytest.mark.parametrize("joined", [False, True])
async def test_in_pieces_of_any_length(largest: int, joined: bool) -> None:
    made = sized(5000)
    async with host() as archive, ScriptedScu(archive.node) as scu:
        await scu.associate(instances=[made])
        for drip in (0, 700):
            assert (await scu.store(made, largest=largest, joined=joined, drip=drip)).status == 0
    for received in archive.kept.seen:
        assert received.payload is not None
        assert b"".join(received.payload.segments()) == encoded(made)


@pytest.mark.parametrize("empty", ["middle", "last", "all"])
async def test_pieces_without_data(empty: str) -> None:
    data = encoded(sized(100))
    pieces = {
        "middle": [pdv(1, 0, data[:50]), pdv(1, 0, b""), pdv(1, LAST, data[50:])],
        "last": [pdv(1, 0, data), pdv(1, LAST, b"")],
        "all": [pdv(1, 0, b""), pdv(1, LAST, b"")],
    }[empty]
    request = encode_command(c_store_rq(1, CT, "2.25.1"))
    async with host() as archive, ScriptedScu(archive.node) as scu:
        await scu.associate((CT, IMPLICIT))
        await scu.send(message(1, request), p_data(*pieces))
        assert (await scu.receive()).status == 0
        (received,) = archive.kept.seen
        assert received.payload is not None
        assert b"".join(received.payload.segments()) == (b"" if empty == "all" else data)


async def test_the_offered_maximum_is_what_is_taken() -> None:
    async with host(max_pdu=8192) as archive, ScriptedScu(archive.node) as scu:
        made = sized(50_000)
        await scu.associate(instances=[made])
        assert scu.channel.largest == 8192
        assert (await scu.store(made)).status == 0
        assert (await scu.store(made, largest=8192 + 5000)).what == "A-ABORT"


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (
            CommandSet(
                field=Field.C_STORE_RQ, message_id=1, affected_sop_class=CT, affected_sop_instance="2.25.1"
            ),
            0x0120,
        ),
        (CommandSet(field=Field.C_STORE_RQ, message_id=1, affected_sop_class=CT, has_data=True), 0x0120),
        (
            CommandSet(field=Field.C_STORE_RQ, message_id=1, affected_sop_instance="2.25.1", has_data=True),
            0x0120,
        ),
        (c_store_rq(1, FIND, "2.25.1"), 0x0122),
        (c_store_rq(1, VERIFICATION, "2.25.1"), 0x0122),
        (c_find_rq(1, FIND), 0x0211),
        (CommandSet(field=Field.N_CREATE_RQ, message_id=1, affected_sop_class=CT), 0x0211),
        (CommandSet(field=0x0777, message_id=1), 0x0211),
        (CommandSet(field=Field.C_ECHO_RQ), 0x0000),  # without a message id
    ],
)
async def test_what_cannot_be_done_is_answered_and_the_association_goes_on(
    command: CommandSet, status: int
) -> None:
    async with host() as archive, ScriptedScu(archive.node) as scu:
        await scu.associate((CT, IMPLICIT), (VERIFICATION, IMPLICIT))
        answer = await scu.ask(1, command, b"data" if command.has_data else None)
        assert answer.status == status
        assert answer.command is not None
        assert answer.command.field == command.field | 0x8000
        assert (await scu.echo()).status == 0
    if command.field == Field.C_STORE_RQ:
        (received,) = archive.kept.seen
        assert received.payload is None
        assert received.error is not None
        assert received.error.status == status


async def test_a_sop_class_that_is_not_taken_does_not_come_in_by_another_context() -> None:
    async with host(sop_classes=[CT]) as archive, ScriptedScu(archive.node) as scu:
        await scu.associate((CT, IMPLICIT), (MR, IMPLICIT))
        assert [context.abstract_syntax for context in scu.channel.contexts.values()] == [CT]
        data = encoded(instance(MR, IMPLICIT))
        assert (await scu.store(Encoded(MR, "2.25.1", IMPLICIT, data), context_id=1)).status == 0x0122
        assert archive.kept.seen[0].payload is None


async def test_only_the_transfer_syntaxes_that_are_taken() -> None:
    async with host(transfer_syntaxes=[IMPLICIT]) as archive, ScriptedScu(archive.node) as scu:
        await scu.associate((CT, "1.2.840.10008.1.2.1", IMPLICIT), (MR, "1.2.840.10008.1.2.1"))
        assert {number: c.transfer_syntax for number, c in scu.channel.contexts.items()} == {1: IMPLICIT}


async def test_cancel_is_passed_over() -> None:
    async with host() as archive, ScriptedScu(archive.node) as scu:
        await scu.associate()
        await scu.message(1, c_cancel_rq(1))
        assert (await scu.echo()).status == 0


async def test_an_entity_without_storage() -> None:
    async with hosting(ApplicationEntity("ARCHIVE")) as listener, ScriptedScu(node(listener)) as scu:
        await scu.associate((CT, IMPLICIT), (VERIFICATION, IMPLICIT))
        assert list(scu.channel.contexts) == [3]
        assert (await scu.echo()).status == 0
        assert (await scu.ask(3, c_store_rq(1, CT, "2.25.1"), b"data")).status == 0x0122


async def test_abort_while_it_is_idle_and_while_it_waits_for_an_answer() -> None:
    gate, made = anyio.Event(), instance()
    async with host() as archive:

        async def stuck(association: object, received: object) -> Answer:
            await gate.wait()
            return Answer(Status.SUCCESS)

        async with ScriptedScu(archive.node) as idle:
            await idle.associate()
            await idle.abort(0, 0)
        await archive.entity.empty()
        archive.entity.store = stuck
        async with ScriptedScu(archive.node) as waiting:
            await waiting.associate(instances=[made])
            await waiting.send_store(made)
            await until(lambda: archive.entity.associations)
            await waiting.abort()
        gate.set()
        await archive.entity.empty()
        assert (await echo(archive.node)).status == 0
    assert all("abort" in text or "lost" in text or "closed" in text for text in archive.notices.texts)
    assert len(archive.notices.texts) == 2


async def test_a_release_in_the_middle_of_a_data_set() -> None:
    async with host() as archive, ScriptedScu(archive.node) as scu:
        await scu.associate((CT, IMPLICIT))
        await scu.send(message(1, encode_command(c_store_rq(1, CT, "2.25.1"))), p_data(pdv(1, 0, bytes(100))))
        assert [seen.what for seen in await scu.release()] == ["A-RELEASE-RP"]
        await archive.entity.empty()
        assert archive.stored == []
        (text,) = archive.notices.texts
        assert "in the middle of a message" in text


async def test_release_collision() -> None:
    """We never ask for release; a reply nobody asked for is a breach, and costs this association alone."""
    async with host() as archive, ScriptedScu(archive.node) as scu, ScriptedScu(archive.node) as other:
        await other.associate()
        await scu.associate()
        await scu.send(ReleaseReply())
        assert (await scu.rest())[0].what == "A-ABORT"
        assert (await other.echo()).status == 0


async def test_what_comes_after_a_release_is_ignored() -> None:
    async with host() as archive, ScriptedScu(archive.node) as scu:
        await scu.associate((CT, IMPLICIT))
        await scu.send(ReleaseRequest(), message(1, encode_command(c_store_rq(1, CT, "2.25.1")), b"data"))
        assert [seen.what for seen in await scu.rest()] == ["A-RELEASE-RP", "close"]
        assert archive.stored == []


async def test_who_releases_and_never_closes_is_closed() -> None:
    async with host() as archive, ScriptedScu(archive.node) as scu:
        await scu.associate()
        await scu.send(ReleaseRequest())
        assert [seen.what for seen in await scu.rest()] == ["A-RELEASE-RP", "close"]
        await archive.entity.empty()


async def test_drain_ends_who_is_idle_and_lets_others_finish() -> None:
    gate, made = anyio.Event(), instance()
    async with host() as archive, ScriptedScu(archive.node) as idle, ScriptedScu(archive.node) as busy:

        async def wait(association: object, received: object) -> Answer:
            await gate.wait()
            return Answer(Status.SUCCESS)

        archive.entity.store = wait
        await idle.associate()
        await busy.associate(instances=[made])
        await busy.send_store(made)
        await anyio.wait_all_tasks_blocked()
        drain(archive.entity)
        assert (await idle.receive()).what == "A-ABORT"
        assert len(archive.entity.associations) == 1
        gate.set()
        assert (await busy.receive()).status == 0
        assert [seen.what for seen in await busy.release()] == ["A-RELEASE-RP"]
        await archive.entity.empty()
    assert archive.notices.all == []


async def test_what_arrived_last_is_not_held_while_the_next_is_awaited(tmp_path: Path) -> None:
    made, room = sized(100_000), Room(spill=150_000, landing=str(tmp_path))
    async with host(room=room) as archive, ScriptedScu(archive.node) as scu:
        await scu.associate(instances=[made])
        assert (await scu.store(made)).status == 0
        await until(lambda: room.used == 0)
        room.spill = 1000
        assert (await scu.store(made)).status == 0
        assert sum(str(tmp_path) in name for name in descriptors()) == 1
        archive.kept.seen.clear()
        await until(lambda: not any(str(tmp_path) in name for name in descriptors()))


async def test_an_answer_nobody_waits_for() -> None:
    reply = CommandSet(field=Field.C_STORE_RQ | 0x8000, message_id_responded=1, status=0)
    async with host() as archive, ScriptedScu(archive.node) as scu:
        await scu.associate()
        assert (await scu.ask(1, reply)).what == "A-ABORT"
        (text,) = archive.notices.texts
        assert "nobody waits for" in text


async def test_command_in_many_fragments() -> None:
    request = encode_command(CommandSet(field=Field.C_ECHO_RQ, message_id=1))
    pieces = [pdv(1, COMMAND, request[n : n + 1]) for n in range(len(request))]
    async with host() as archive, ScriptedScu(archive.node) as scu:
        await scu.associate()
        await scu.send(*[p_data(piece) for piece in pieces], p_data(pdv(1, COMMAND | LAST, b"")))
        assert (await scu.receive()).status == 0
