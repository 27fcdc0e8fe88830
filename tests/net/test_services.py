"""One peer among others: what it keeps from them, and what is left of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import anyio
import anyio.lowlevel
import pytest
from msgspec.structs import replace

from dcmflow.net.association import TURN, Association
from dcmflow.net.entity import Answer, ApplicationEntity
from dcmflow.net.node import Timeouts
from dcmflow.net.received import Received
from dcmflow.net.reception import ODDMENTS, WRITERS, Room
from dcmflow.protocol.command import CommandSet, c_echo_rq, c_find_rq, c_store_rq, encode_command
from dcmflow.status import Status
from dcmflow.testing import ScriptedScu
from dcmflow.testing.peer_wire import message, p_data, pdv
from scp_runs import CT, IMPLICIT, SHORT, Notices, echo, host, hosting, node, sized, until

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]

MANY = 300


async def test_many_requests_at_once_leave_others_their_turn() -> None:
    """They are there in one piece, and nothing has to be waited for to answer them."""
    order: list[str] = []

    async def store(association: Association, received: Received) -> Answer:
        order.append("store")
        return Answer(Status.OUT_OF_RESOURCES)

    async def other() -> None:
        while order.count("store") < MANY:
            await anyio.lowlevel.checkpoint()
            if order and order[-1] == "store":
                order.append("other")

    entity = ApplicationEntity("ARCHIVE", store=store)
    requests = message(1, encode_command(c_store_rq(1, CT, "2.25.1")), b"12") * MANY
    async with hosting(entity) as listener, ScriptedScu(node(listener)) as scu:
        await scu.associate((CT, IMPLICIT))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(other)
            await scu.send(requests)
            for _ in range(MANY):
                assert (await scu.receive()).status == 0xA700
        runs = [len(run) for run in "".join(what[0] for what in order).split("o")]
        assert max(runs) <= 2 * TURN
        await scu.release()


async def test_memory_comes_back_when_the_answer_cannot_be_given() -> None:
    room, gate, made = Room(), anyio.Event(), sized(1_000_000)

    async def store(association: Association, received: Received) -> Answer:
        await gate.wait()
        return Answer(Status.SUCCESS)

    async with host(room=room) as archive:
        archive.entity.store = store
        async with ScriptedScu(archive.node) as scu:
            await scu.associate(instances=[made])
            await scu.send_store(made)
            await until(lambda: room.used >= 1_000_000)
            scu.close(reset=True)
        gate.set()
        await archive.entity.empty()
        assert room.used == 0


async def test_a_disk_that_takes_longer_than_the_peer_may() -> None:
    """The time of the peer does not run while what it has sent is written."""
    made, room = sized(200_000), Room(spill=10_000)
    timeouts = Timeouts(acse=30, dimse=0.3, idle=30)
    async with host(room=room, timeouts=timeouts) as archive, ScriptedScu(archive.node) as scu:
        await scu.associate(instances=[made])
        busy = [object() for _ in range(WRITERS)]
        for each in busy:
            await room.writers.acquire_on_behalf_of(each)
        await scu.send_store(made)
        await anyio.sleep(1.2)  # so long does nobody get to write
        assert archive.stored == []
        for each in busy:
            room.writers.release_on_behalf_of(each)
        assert (await scu.receive()).status == 0
        await scu.release()
        await archive.entity.empty()
        assert archive.notices.all == []
        archive.kept.seen.clear()


@pytest.mark.parametrize("command", [c_find_rq(1, "1.2.840.10008.5.1.4.1.2.2.1"), c_echo_rq(1)])
async def test_a_huge_data_set_that_is_not_for_storage_is_thrown_away(command: CommandSet) -> None:
    request = encode_command(replace(command, has_data=True))
    room, part = Room(spill=10_000), p_data(pdv(1, 0, bytes(1 << 17)))
    async with host(room=room) as archive, ScriptedScu(archive.node) as scu:
        await scu.associate((CT, IMPLICIT))
        await scu.send(message(1, request))
        highest = 0
        for _ in range(ODDMENTS // (1 << 17) + 40):
            await scu.send(part)
            highest = max(highest, room.used)
        await scu.send(p_data(pdv(1, 2, b"")))
        answer = await scu.receive()
        assert answer.status == 0xA700
        assert answer.command is not None
        assert answer.command.error_comment == "a data set of more than 16 MiB is taken with C-STORE only"
        assert highest <= ODDMENTS + (1 << 18)
        assert room.used == 0
        assert (await scu.ask(1, c_echo_rq(2))).status == 0
        await scu.release()


async def test_a_defect_costs_one_association() -> None:
    """What nobody has thought of does not end the listener."""
    notices = Notices()
    broken = ApplicationEntity("BROKEN", store=None, notice=notices, room=cast(Room, SimpleNamespace(used=0)))
    async with hosting(broken, ApplicationEntity("ARCHIVE")) as listener:
        async with ScriptedScu(node(listener)) as early, ScriptedScu(node(listener, "BROKEN")) as scu:
            await early.associate()
            await scu.associate()
            await scu.send(
                message(1, encode_command(c_store_rq(1, CT, "2.25.1"))), p_data(pdv(1, 0, bytes(100)))
            )
            assert (await scu.receive()).what == "A-ABORT"
            await broken.empty()
            assert (await early.echo()).status == 0
            await early.release()
        assert (await echo(node(listener))).status == 0
    ((kind, peer, text),) = notices.all
    assert kind == "failed"
    assert peer.startswith("SCRIPTED@127.0.0.1:")
    assert text.startswith("AttributeError: ")


async def test_idle_and_overloaded_are_told_apart() -> None:
    async with host(timeouts=SHORT) as archive:
        async with ScriptedScu(archive.node) as idle:
            await idle.associate()
            assert (await idle.receive()).what == "A-ABORT"
        async with ScriptedScu(archive.node) as slow:
            await slow.associate((CT, IMPLICIT))
            await slow.send(
                message(1, encode_command(c_store_rq(1, CT, "2.25.1"))), p_data(pdv(1, 0, bytes(100)))
            )
            assert (await slow.receive()).what == "A-ABORT"
        async with ScriptedScu(archive.node) as half:
            await half.associate((CT, IMPLICIT))
            await half.send(message(1, encode_command(c_store_rq(1, CT, "2.25.1")))[:20])
            assert (await half.receive()).what == "A-ABORT"
        await archive.entity.empty()
    assert [kind for kind, _, _ in archive.notices.all] == ["idle", "ended", "ended"]
    assert archive.notices.texts[0].endswith(" was idle for 0.60 s and was ended")
    assert all("waited 0.60 s for the next message" in text for text in archive.notices.texts[1:])
