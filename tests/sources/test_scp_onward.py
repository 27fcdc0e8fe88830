"""Data sets that are sent on while they arrive: the same bytes, the same sums and the same answers as one after the other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from dcmflow import Pipeline, Retry, sinks, sources
from dcmflow.dicom.instance import Instance
from dcmflow.flow.capacity import Limits
from dcmflow.flow.events import RetryScheduled
from dcmflow.net import head_start
from dcmflow.net.node import Node, Timeouts, Tls
from dcmflow.net.tls import server_context
from dcmflow.protocol.command import c_store_rq, encode_command
from dcmflow.testing import AbortNow, Accept, Answer, CloseNow, ScriptedScp, ScriptedScu, Silence, Wait
from dcmflow.testing import instance as make_instance
from dcmflow.testing.peer_wire import message
from peers.base import Address, free_port
from peers.dcmtk import Dcmtk
from peers.fixtures import Certificates
from scp_runs import CT, Receiving, encoded, receiving, send, sized, until
from stage_runs import files_in
from wire_flows import beside

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks"), pytest.mark.timeout(60)]

SIZE = 600_000
HALF = 400_000
SOON = Retry(attempts=3, first="10 ms")


def to(peer: ScriptedScp, **fields: Any) -> sinks.Store:
    return sinks.Store(peer.node, **fields)


class Sender:
    """A sender that stops in the middle of an instance until it is told to go on."""

    def __init__(self, flow: Receiving, scu: ScriptedScu) -> None:
        self.flow, self.scu = flow, scu
        self._rest = b""

    async def begin(self, given: Instance, count: int = HALF, **fields: Any) -> None:
        command = c_store_rq(self.scu.message_id(), CT, fields.get("uid", given.sop_instance_uid))
        context_id = self.scu.context_id(CT, given.transfer_syntax_uid)
        made = message(context_id, encode_command(command), encoded(given), largest=16384)
        self._rest = made[count:]
        assert await self.scu.send(made[:count])

    async def finish(self) -> int | None:
        assert await self.scu.send(self._rest)
        return (await self.scu.receive()).status


@asynccontextmanager
async def sender(flow: Receiving) -> AsyncIterator[Sender]:
    """With an association on which an instance has been stored: so there is one with each destination, too."""
    first = make_instance(CT, SOPInstanceUID="2.25.1")
    async with ScriptedScu(flow.node) as scu:
        await scu.associate(instances=[first])
        assert (await scu.store(first)).status == 0
        yield Sender(flow, scu)


def data(peer: ScriptedScp, given: Instance) -> list[bytes | None]:
    """What came of this instance, each time."""
    return [
        seen.data
        for seen in peer.received.of("C-STORE-RQ")
        if seen.command is not None and seen.command.affected_sop_instance == given.sop_instance_uid
    ]


async def begun(*peers: ScriptedScp) -> None:
    """Until the middle of an instance has come to all of them."""
    for peer in peers:
        await until(lambda peer=peer: any(channel._unfinished for channel in peer.channels))


async def test_it_is_on_its_way_before_it_is_whole() -> None:
    given = sized(SIZE)
    async with ScriptedScp() as peer, receiving(to(peer)) as flow, sender(flow) as scu:
        await scu.begin(given)
        await begun(peer)
        assert flow.totals.emitted == 1
        assert await scu.finish() == 0
        assert data(peer, given) == [encoded(given)]
        assert flow.counts == (2, 2, 0, 0, 0)
        stage = flow.running.statistics().stages["store-1"]
        assert (stage.received, stage.sent, stage.bytes) == (2, 2, flow.totals.bytes)
    assert len(peer.channels) == 1


@pytest.mark.parametrize("largest", [4096, 16384, 131072, 0])
@pytest.mark.parametrize("size", [65_536, 131_066, 2_000_000])
async def test_bytes_arrive_as_they_were(largest: int, size: int) -> None:
    given = [sized(size + number, number, SOPInstanceUID=f"2.25.{number + 2}") for number in range(5)]
    async with ScriptedScp(accept=Accept(maximum_length=largest)) as peer, receiving(to(peer)) as flow:
        assert await send(flow.node, *given) == [0] * 5
        assert [data(peer, each) for each in given] == [[encoded(each)] for each in given]
        assert flow.counts == (5, 5, 0, 0, 0)
    assert len(peer.channels) == 1


async def test_what_goes_to_a_file_meanwhile() -> None:
    given = sized(6_000_000)
    async with ScriptedScp() as peer, receiving(to(peer), spill="1 MiB") as flow, sender(flow) as scu:
        await scu.begin(given, 3_000_000)
        await begun(peer)
        assert await scu.finish() == 0
        assert data(peer, given) == [encoded(given)]
    assert len(peer.channels) == 1


async def test_the_sender_aborts_in_the_middle() -> None:
    given, after = sized(SIZE), sized(SIZE, SOPInstanceUID="2.25.3")
    async with ScriptedScp() as peer, receiving(to(peer)) as flow:
        async with sender(flow) as scu:
            await scu.begin(given)
            await begun(peer)
            await scu.scu.abort()
            await peer.received.wait("A-ABORT", association=1)
        await until(lambda: flow.ended)
        assert flow.counts == (1, 1, 0, 0, 0)
        assert data(peer, given) == []
        assert await send(flow.node, after) == [0]
        assert data(peer, after) == [encoded(after)]
        assert flow.counts == (2, 2, 0, 0, 0)


async def test_the_sender_says_nothing_more() -> None:
    given = sized(SIZE)
    times = Timeouts(acse=5, dimse=0.5, idle=5)
    async with ScriptedScp() as peer, receiving(to(peer), timeouts=times) as flow, sender(flow) as scu:
        await scu.begin(given)
        await peer.received.wait("A-ABORT", association=1)
        await until(lambda: flow.ended)
        assert "the next message" in flow.ended[0].reason
        assert flow.counts == (1, 1, 0, 0, 0)


async def test_a_sender_that_takes_long_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_start, "HOLD", 0.1)
    given, other = sized(SIZE), make_instance(CT, SOPInstanceUID="2.25.4")
    async with ScriptedScp() as peer, receiving(to(peer, associations=1)) as flow, sender(flow) as scu:
        await scu.begin(given)
        await begun(peer)
        assert await send(flow.node, other) == [0], "others get the association"
        assert peer.received.of("A-ABORT", association=1)
        assert await scu.finish() == 0
        assert data(peer, given) == [encoded(given)]
        await scu.begin(sized(SIZE, SOPInstanceUID="2.25.5"))
        assert await scu.finish() == 0
        assert flow.counts == (4, 4, 0, 0, 0)


async def test_others_do_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    given = [sized(SIZE, SOPInstanceUID=f"2.25.{number}") for number in range(5, 15)]
    async with ScriptedScp() as peer, receiving(to(peer, associations=1, workers=1)) as flow:
        async with sender(flow) as scu, anyio.create_task_group() as tasks:
            await scu.begin(sized(SIZE))
            await begun(peer)
            for each in given:
                tasks.start_soon(send, flow.node, each)
            await until(lambda: flow.totals.unsettled)
            assert await scu.finish() == 0
        assert flow.counts == (12, 12, 0, 0, 0)
        assert [data(peer, each) for each in given] == [[encoded(each)] for each in given]


@pytest.mark.parametrize("end", [AbortNow(close=True), CloseNow(), CloseNow(reset=True)])
async def test_the_destination_ends_it_in_the_middle(end: Any) -> None:
    given = sized(SIZE)
    async with ScriptedScp(check=False) as peer, receiving(to(peer, retry=SOON)) as flow:
        async with sender(flow) as scu:
            peer.on_data[4] = end
            await scu.begin(given)
            await until(lambda: not peer.open)
            peer.on_data.clear()
            assert await scu.finish() == 0
        assert data(peer, given) == [encoded(given)]
        assert flow.counts == (2, 2, 0, 0, 0)


async def test_the_destination_refuses() -> None:
    given = sized(SIZE)
    refusing = ScriptedScp(on_store=[0, Answer(0xC123, "not here")])
    async with refusing as peer, receiving(to(peer, retry=SOON)) as flow, sender(flow) as scu:
        await scu.begin(given)
        assert await scu.finish() == 0xC123
        assert flow.counts == (2, 1, 0, 1, 0)
        assert "not here" in flow.observed.refused[0].reason
        assert len(data(peer, given)) == 1


async def test_the_destination_has_no_room_at_first() -> None:
    given = sized(SIZE)
    async with ScriptedScp(on_store=[0, 0xA700, 0]) as peer, receiving(to(peer, retry=SOON)) as flow:
        async with sender(flow) as scu:
            await scu.begin(given)
            assert await scu.finish() == 0
        assert data(peer, given) == [encoded(given)] * 2
        assert len([event for event in flow.observed.events if isinstance(event, RetryScheduled)]) == 1
        assert flow.counts == (2, 2, 0, 0, 0)


async def test_what_a_store_refuses_is_diverted_whole(tmp_path: Path) -> None:
    given, kept = sized(SIZE), sinks.Quarantine(str(tmp_path), name="kept")
    listen = f"DCMFLOW@127.0.0.1:{free_port()}"
    async with ScriptedScp(on_store=[0, 0xC000]) as peer:
        flow = sources.Scp(listen) | to(peer, on_error="kept", retry=None)
        async with Pipeline(flow, kept).start() as running:
            assert await send(listen, make_instance(CT), given) == [0, 0]
            assert running.statistics().stages["kept"].sent == 1
    assert len(data(peer, given)) == 1
    (name,) = [name for name in files_in(tmp_path) if name.endswith(".dcm")]
    assert encoded(Instance.load(tmp_path / name)) == encoded(given)


async def test_two_destinations() -> None:
    given = sized(SIZE)
    async with ScriptedScp() as one, ScriptedScp() as two, receiving((to(one), to(two))) as flow:
        async with sender(flow) as scu:
            await scu.begin(given)
            await begun(one, two)
            assert await scu.finish() == 0
        assert data(one, given) == data(two, given) == [encoded(given)]
        assert flow.counts == (2, 2, 0, 0, 0)


async def test_one_of_two_destinations_ends_it() -> None:
    given = sized(SIZE)
    async with ScriptedScp(check=False) as one, ScriptedScp() as two:
        stores = to(one, retry=None), to(two)
        async with receiving(stores) as flow, sender(flow) as scu:
            one.on_data[4] = CloseNow(reset=True)
            await scu.begin(given)
            await until(lambda: not one.open)
            await begun(two)
            one.on_data = {2: CloseNow()}
            assert await scu.finish() not in (0, None)
            assert flow.counts == (2, 1, 0, 1, 0)
    assert data(two, given) == [encoded(given)]


async def test_one_of_two_destinations_has_gone() -> None:
    given = sized(SIZE)
    async with ScriptedScp() as one, ScriptedScp() as two:
        stores = to(one), to(two, retry=None)
        async with receiving(stores) as flow, sender(flow) as scu:
            two.on_data[0] = CloseNow()
            for channel in two.channels:
                channel.wire.close()
            await scu.begin(given)
            assert await scu.finish() not in (0, None)
            assert data(one, given) == [encoded(given)]
            assert flow.counts == (2, 1, 0, 1, 0)


async def test_a_destination_that_does_not_read_keeps_nobody_from_sending() -> None:
    given, gate = sized(30_000_000), anyio.Event()
    async with ScriptedScp() as peer, receiving(to(peer)) as flow, sender(flow) as scu:
        peer.on_data[3] = Wait(gate)
        await scu.begin(given, len(encoded(given)))
        await begun(peer)
        assert flow.totals.emitted == 1
        gate.set()
        assert await scu.finish() == 0
        assert data(peer, given) == [encoded(given)]


async def test_a_destination_that_does_not_answer() -> None:
    given = sized(SIZE)
    async with ScriptedScp(on_store=[0, Silence()]) as peer:
        store = to(peer, retry=None, timeouts=Timeouts(dimse=0.3))
        async with receiving(store) as flow, sender(flow) as scu:
            await scu.begin(given)
            assert await scu.finish() not in (0, None)
            assert "waited 0.30 s" in flow.observed.refused[0].reason
            assert flow.counts == (2, 1, 0, 1, 0)


async def test_the_wrong_instance_is_not_begun_with() -> None:
    given = sized(SIZE)
    async with ScriptedScp() as peer, receiving(to(peer)) as flow, sender(flow) as scu:
        await scu.begin(given, uid="2.25.99")
        assert await scu.finish() == 0xA900
        assert flow.counts == (2, 1, 0, 1, 0)
    assert len(peer.received.of("C-STORE-RQ")) == 1
    assert not peer.received.of("A-ABORT")


async def test_nothing_is_begun_with_where_somebody_waits_for_room() -> None:
    given, gate = [sized(SIZE, SOPInstanceUID=f"2.25.{number}") for number in range(5, 9)], anyio.Event()
    limits = {"limits": Limits(instances=1)}
    async with ScriptedScp(on_store=[0, (Wait(gate), 0)]) as peer:
        async with receiving(to(peer, associations=4), options=limits) as flow:
            assert await send(flow.node, make_instance(CT)) == [0]
            async with anyio.create_task_group() as tasks:
                for each in given:
                    tasks.start_soon(send, flow.node, each)
                await until(lambda: peer.received.of("C-STORE-RQ"))
                gate.set()
        assert flow.counts == (5, 5, 0, 0, 0)
    assert [data(peer, each) for each in given] == [[encoded(each)] for each in given]


@pytest.mark.parametrize("aside", ["directory", "received"])
async def test_where_it_is_not_begun_with(tmp_path: Path, aside: str) -> None:
    given = sized(SIZE)
    async with ScriptedScp() as peer:
        parts: Any = (to(peer), sinks.Directory(str(tmp_path))) if aside == "directory" else to(peer)
        respond = "settled" if aside == "directory" else "received"
        async with receiving(parts, respond=respond) as flow, sender(flow) as scu:
            await until(lambda: not flow.totals.unsettled)
            await scu.begin(given)
            await anyio.sleep(0.1)
            assert len(peer.channels[0].pdus) == 3, "an association and one small instance"
            assert await scu.finish() == 0
    assert data(peer, given) == [encoded(given)]


async def test_over_tls_it_is_sent_when_it_is_whole(certificates: Certificates) -> None:
    given, ours = sized(SIZE), certificates.server
    secured = server_context(Tls(cert=str(ours.cert), key=str(ours.key)))
    async with ScriptedScp(tls=secured) as peer:
        there = Node(host="127.0.0.1", port=peer.port, tls=Tls(ca=str(certificates.client.ca)))
        store = sinks.Store("there")
        async with receiving(store, options={"nodes": {"there": there}}) as flow, sender(flow) as scu:
            await scu.begin(given)
            assert await scu.finish() == 0
            assert flow.counts == (2, 2, 0, 0, 0)
        assert data(peer, given) == [encoded(given)]
    assert len(peer.channels) == 1


async def test_cancelled_in_the_middle() -> None:
    async with ScriptedScp() as peer:
        async with receiving(to(peer)) as flow, sender(flow) as scu:
            await scu.begin(sized(SIZE))
            await begun(peer)
            flow.running.cancel()
            await flow.running.finished.wait()
            assert flow.counts == (1, 1, 0, 0, 0)
        await until(lambda: not peer.open)


async def test_dcmtk_on_both_sides(tmp_path: Path, dcmtk_peer: Dcmtk) -> None:
    given = [sized(SIZE + 1000 * number, number, SOPInstanceUID=f"2.25.{number + 5}") for number in range(8)]
    for each in given:
        await each.save(tmp_path / f"{each.sop_instance_uid}.dcm")
    with dcmtk_peer.storescp(tmp_path / "there") as server:
        async with receiving(sinks.Store(str(server.address))) as flow:
            listening = Address(int(flow.node.rpartition(":")[2]), "DCMFLOW")
            files = [tmp_path / f"{each.sop_instance_uid}.dcm" for each in given]
            done = await beside(dcmtk_peer.storescu, listening, *files)
            assert done.returncode == 0, done.stderr
            assert flow.counts == (8, 8, 0, 0, 0)
    there = tmp_path / "there"
    arrived = [Instance.load(there / name) for name in files_in(there)]
    assert {each.sop_instance_uid: encoded(each) for each in arrived} == {
        each.sop_instance_uid: encoded(each) for each in given
    }
