"""However an scp source ends, and whatever happens to its associations: nothing is lost, nothing is left."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from dcmflow import Pipeline, StageError, sinks, sources
from dcmflow.dicom.instance import Instance
from dcmflow.flow.context import Context
from dcmflow.flow.events import AssociationFailed, AssociationIdle
from dcmflow.flow.stage import Sink
from dcmflow.protocol.command import c_store_rq, encode_command
from dcmflow.protocol.pdu import AssociateReject
from dcmflow.sources import scp
from dcmflow.testing import ScriptedScu
from dcmflow.testing.peer_wire import message
from little_stages import Deny, Keep, Stuck, number_of
from peers.base import free_port
from scp_runs import CT, EXPLICIT, SHORT, descriptors, echo, encoded, made, receiving, send, until
from stage_runs import Gather, Observed, files_in

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]


class Lingering(Sink, frozen=True, tag="test-lingering"):
    """Takes its time to close."""

    closing: Any
    gate: Any

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[Lingering]:
        yield self
        self.closing.set()
        await self.gate.wait()

    async def write(self, instance: Instance) -> None:
        raise AssertionError("nothing was sent")


def tasks_now() -> int:
    return len(anyio.get_running_tasks())


async def test_nothing_is_left_after_a_run(tmp_path: Path) -> None:
    await anyio.to_thread.run_sync(int)  # what a loop keeps for its threads
    before, tasks = descriptors(), tasks_now()
    for number in range(2):
        async with receiving(sinks.Directory(str(tmp_path / str(number))), spill=10_000) as flow:
            assert await send(flow.node, made(1), made(2, 50_000)) == [0, 0]
            async with ScriptedScu(flow.node) as idle:
                await idle.associate()
            assert (await echo(flow.node)).status == 0
    assert descriptors() == before
    assert tasks_now() == tasks


def boundaries(pdus: bytes) -> Iterator[int]:
    """Where each PDU ends."""
    end = 0
    while end < len(pdus):
        end += 6 + int.from_bytes(pdus[end + 2 : end + 6], "big")
        yield end


@pytest.mark.parametrize("how", ["abort", "close", "reset"])
async def test_an_association_that_ends_in_a_data_set(how: str) -> None:
    keep: list[int] = []
    whole = message(1, encode_command(c_store_rq(1, CT, "2.25.1")), encoded(made(0, 20_000)), largest=4096)
    async with receiving(Keep(seen=keep)) as flow:
        counts = list(boundaries(whole))[:-1] if how == "abort" else [1, 100, 5000, len(whole) - 1]
        for count in counts:
            async with ScriptedScu(flow.node) as scu:
                await scu.associate((CT, EXPLICIT))
                await scu.send(whole[:count])
                if how == "abort":
                    await scu.abort()
                else:
                    scu.close(reset=how == "reset")
        await until(lambda: len(flow.ended) == len(counts))
        assert flow.counts == (0, 0, 0, 0, 0)
        assert await send(flow.node, made(7)) == [0]
    assert keep == [7]


async def test_a_sender_that_leaves_before_its_answer_is_no_loss() -> None:
    """The instance was taken in, so it goes where it was to go."""
    gate, keep = anyio.Event(), []
    async with receiving(Stuck(gate, seen=keep)) as flow:
        for number, reset in ((1, True), (2, False)):
            async with ScriptedScu(flow.node) as scu:
                await scu.associate(instances=[made(0)])
                await scu.send_store(made(number))
                await until(lambda number=number: flow.totals.emitted == number)
                scu.close(reset=reset)
        gate.set()
        await until(lambda: flow.counts == (2, 2, 0, 0, 0))
    assert keep == [1, 2]


async def test_cancelled_while_associations_wait() -> None:
    """Each of them is told with an A-ABORT, and what was not settled is refused."""
    before, tasks_before = descriptors(), tasks_now()
    place, observed = f"DCMFLOW@127.0.0.1:{free_port()}", Observed()
    pipeline = Pipeline(sources.Scp(place) | Stuck(anyio.Event(), inbox=2))
    what: dict[int, str] = {}
    running = None
    async with anyio.create_task_group() as senders:
        with anyio.CancelScope() as scope:
            async with pipeline.start(observe=observed) as running:

                async def sender(number: int) -> None:
                    async with ScriptedScu(place) as scu:
                        await scu.associate(instances=[made(0)])
                        if number < 8:
                            await scu.send_store(made(number))
                        what[number] = (await scu.receive()).what

                for number in range(10):
                    senders.start_soon(sender, number)
                await until(lambda: running is not None and running.statistics().pipeline.emitted == 3)
                await anyio.wait_all_tasks_blocked()
                scope.cancel()
                await anyio.sleep_forever()
    assert what == dict.fromkeys(range(10), "A-ABORT")
    assert running is not None
    totals = running.statistics().pipeline
    assert (totals.emitted, totals.refused, totals.unsettled) == (3, 3, 0)
    assert {event.status for event in observed.refused} == {0xFE00}
    assert len(observed.refused) == 3
    assert descriptors() == before
    assert tasks_now() == tasks_before


async def test_a_pipeline_that_fails_aborts_its_associations() -> None:
    what: list[str] = []
    with pytest.raises(StageError, match="will not take 0"):
        async with (
            receiving(Deny(on_error="stop")) as flow,
            ScriptedScu(flow.node) as scu,
            ScriptedScu(flow.node) as idle,
        ):
            await idle.associate()
            await scu.associate(instances=[made(0)])
            with anyio.CancelScope(shield=True):
                what.append((await scu.store(made(0))).what)
                what.append((await idle.receive()).what)
            await anyio.sleep_forever()
    assert what[1] == "A-ABORT"
    assert what[0] in ("A-ABORT", "C-STORE-RSP")


async def test_an_association_that_is_not_used_is_no_warning() -> None:
    async with receiving(Keep(), timeouts=SHORT) as flow, ScriptedScu(flow.node) as scu:
        await scu.associate()
        assert (await scu.receive()).what == "A-ABORT"
        await until(lambda: any(isinstance(event, AssociationIdle) for event in flow.observed.events))
        (event,) = [event for event in flow.observed.events if isinstance(event, AssociationIdle)]
        assert event.level == "info"
        assert event.reason.endswith(" was idle for 0.60 s and was ended")
        assert flow.ended == []


async def test_a_defect_is_an_error_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of our own, which a sender must not be able to end the pipeline with."""
    async with receiving(Keep()) as flow:
        with monkeypatch.context() as broken:
            broken.delattr(scp, "instance_of")
            assert await send(flow.node, made(1)) == [0x0110]
        (event,) = [event for event in flow.observed.events if isinstance(event, AssociationFailed)]
        assert event.level == "error"
        assert event.reason.startswith("NameError: ")
        assert await send(flow.node, made(2)) == [0]


# -- drain


async def test_after_the_source_has_closed_callers_are_told_to_come_again() -> None:
    """The port is open as long as any stage is."""
    closing, gate, place = anyio.Event(), anyio.Event(), f"127.0.0.1:{free_port()}"
    pipeline = Pipeline(sources.Scp(f"DCMFLOW@{place}") | Lingering(closing, gate))
    async with anyio.create_task_group() as tasks, pipeline.start() as running:
        tasks.start_soon(running.drain)
        await closing.wait()
        assert (await echo(f"DCMFLOW@{place}")).pdu == AssociateReject(2, 3, 1)
        assert (await echo(f"NOBODY@{place}")).pdu == AssociateReject(1, 1, 7)
        gate.set()


async def begun(scu: ScriptedScu, number: int) -> bytes:
    """Sends half of a C-STORE; returns the rest."""
    whole = message(
        1,
        encode_command(c_store_rq(1, CT, f"2.25.{number + 1}")),
        encoded(made(number, 50_000)),
        largest=8192,
    )
    await scu.associate((CT, EXPLICIT))
    await scu.send(whole[:30_000])
    return whole[30_000:]


async def test_drain_lets_the_one_that_is_arriving_finish() -> None:
    keep: list[int] = []
    async with (
        receiving(Keep(seen=keep)) as flow,
        ScriptedScu(flow.node) as scu,
        ScriptedScu(flow.node) as idle,
    ):
        rest = await begun(scu, 4)
        await idle.associate()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(flow.running.drain)
            await anyio.wait_all_tasks_blocked()
            late = await echo(flow.node)
            assert late.pdu == AssociateReject(2, 3, 1)
            assert (await idle.receive()).what == "A-ABORT"
            await scu.send(rest)
            assert (await scu.receive()).status == 0
            assert [seen.what for seen in await scu.release()] == ["A-RELEASE-RP"]
        assert flow.counts == (1, 1, 0, 0, 0)
        assert flow.ended == []
    assert keep == [4]


async def test_drain_is_not_held_up_by_who_goes_on_sending() -> None:
    keep: list[int] = []
    async with receiving(Keep(seen=keep)) as flow:
        answered: list[int] = []

        async def endless() -> None:
            async with ScriptedScu(flow.node) as scu:
                await scu.associate(instances=[made(0)])
                number = 0
                while (await scu.store(made(number))).status == 0:
                    answered.append(number)
                    number += 1

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(endless)
            await until(lambda: len(answered) > 5)
            await flow.running.drain()
        assert flow.counts == (len(answered), len(answered), 0, 0, 0)
        assert keep == answered


async def test_drain_settles_what_waits_for_room() -> None:
    gate, keep, statuses = anyio.Event(), [], []
    async with receiving(Stuck(gate, inbox=1, seen=keep)) as flow, anyio.create_task_group() as tasks:

        async def one(number: int) -> None:
            async with ScriptedScu(flow.node) as scu:
                await scu.associate(instances=[made(0)])
                statuses.append((await scu.store(made(number))).status)

        for number in range(6):
            tasks.start_soon(one, number)
        await until(lambda: flow.totals.emitted == 2)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(flow.running.drain)
        await anyio.wait_all_tasks_blocked()
        assert statuses == []
        gate.set()
    assert statuses == [0] * 6
    assert sorted(keep) == list(range(6))


async def test_drain_with_grace_gives_up_who_does_not_go_on() -> None:
    async with receiving(sinks.Discard()) as flow, ScriptedScu(flow.node) as scu:
        await begun(scu, 1)
        await flow.running.drain(grace=0.2)
        assert (await scu.receive()).what == "A-ABORT"
    assert flow.counts == (0, 0, 0, 0, 0)


async def test_it_ends_by_itself_when_nobody_calls_any_more() -> None:
    place, seen = f"DCMFLOW@127.0.0.1:{free_port()}", Gather()
    pipeline = Pipeline(sources.Scp(place, until_idle=0.6) | seen | sinks.Discard())
    async with pipeline.start() as running:
        async with ScriptedScu(place) as scu:
            await scu.associate(instances=[made(0)])
            for number in range(3):
                await anyio.sleep(0.4)  # an association is no idleness
                assert (await scu.store(made(number))).status == 0
            assert not running.finished.is_set()
            await scu.release()
        await running.wait()
    assert len(seen.seen) == 3


# -- many


async def test_twenty_senders_lose_nothing(tmp_path: Path) -> None:
    count, each = 20, 15
    async with receiving(sinks.Directory(str(tmp_path), layout="{SOPInstanceUID}.dcm")) as flow:
        statuses: list[int | None] = []

        async def sender(first: int) -> None:
            instances = [made(number, 3000) for number in range(first, first + each)]
            statuses.extend(await send(flow.node, *instances, calling_ae=f"SENDER{first}"))

        async with anyio.create_task_group() as tasks:
            for number in range(count):
                tasks.start_soon(sender, number * each)
        assert flow.counts == (count * each, count * each, 0, 0, 0)
    assert statuses == [0] * (count * each)
    assert files_in(tmp_path) == sorted(f"2.25.{number + 1}.dcm" for number in range(count * each))


async def test_many_idle_and_many_busy() -> None:
    """256 idle associations, 64 busy ones, and C-ECHO from others all the while."""
    idle_count, busy_count, each = 256, 64, 5
    seen = Gather()
    async with receiving(seen, sinks.Discard(), max_associations=idle_count + busy_count + 1) as flow:
        ready, done = anyio.Event(), anyio.Event()
        associated = 0

        async def idle() -> None:
            nonlocal associated
            async with ScriptedScu(flow.node) as scu:
                await scu.associate()
                associated += 1
                if associated == idle_count:
                    ready.set()
                await done.wait()
                assert (await scu.echo()).status == 0
                await scu.release()

        async def busy(first: int) -> None:
            assert await send(flow.node, *(made(n, 10_000) for n in range(first, first + each))) == [0] * each

        async with anyio.create_task_group() as holding:
            for _ in range(idle_count):
                holding.start_soon(idle)
            await ready.wait()
            async with anyio.create_task_group() as sending:
                for number in range(busy_count):
                    sending.start_soon(busy, number * each)
                for _ in range(10):
                    assert (await echo(flow.node)).status == 0
            done.set()
        assert flow.counts == (busy_count * each, busy_count * each, 0, 0, 0)
        assert flow.rejected == []
        assert flow.ended == []
    assert sorted(map(number_of, seen.seen)) == list(range(busy_count * each))
