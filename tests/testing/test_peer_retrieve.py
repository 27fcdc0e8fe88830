"""C-MOVE and C-GET of the scripted peers."""

from __future__ import annotations

import anyio
import pytest
from msgspec.structs import replace

from dcmflow.protocol.command import c_cancel_rq, c_get_rq, c_move_rq
from dcmflow.testing import (
    Accept,
    Answer,
    Encoded,
    Get,
    Move,
    Reject,
    ScriptedScp,
    ScriptedScu,
    SendHere,
    SendTo,
    Wait,
    instance,
)
from dcmflow.testing.peer_scu import IMPLICIT

pytestmark = pytest.mark.anyio

MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
GET = "1.2.840.10008.5.1.4.1.2.2.3"


def bytes_of(made):
    return b"".join(made.payload.segments())


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
