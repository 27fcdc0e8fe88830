"""Instances from the embedding program."""

from __future__ import annotations

import anyio
import pytest

from dcmflow import GraphError, Limits, Pipeline, sinks, sources
from dcmflow.flow.context import Draining
from dcmflow.status import Status
from dcmflow.testing import instance
from little_stages import Deny, Stuck, made
from stage_runs import Gather, until

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]


async def test_send_and_close() -> None:
    inlet, seen = sources.Inlet(name="in"), Gather()
    with anyio.fail_after(5):
        async with Pipeline(inlet | seen | sinks.Discard()).start() as running:
            given = instance()
            receipt = await running.send(inlet, given)
            assert await receipt.wait() == Status.SUCCESS
            running.close(inlet)
            await running.wait()
    assert seen.uids == [given.sop_instance_uid]
    assert seen.seen[0].origin.stage == "in"
    assert seen.seen[0].origin.received is not None


async def test_origin_that_is_known_stays() -> None:
    inlet, seen = sources.Inlet(), Gather()
    async with Pipeline(inlet | seen | sinks.Discard()).start() as running:
        given = instance().with_origin(stage="elsewhere", calling_ae="THEM")
        await (await running.send("inlet-1", given)).wait()
    assert seen.seen[0].origin == given.origin


async def test_refused() -> None:
    inlet = sources.Inlet()
    async with Pipeline(inlet | Deny(status=0xA700)).start() as running:
        receipt = await running.send(inlet, made(1))
        assert await receipt.wait() == Status.OUT_OF_RESOURCES
        assert receipt.stage == "test-deny-1"


async def test_send_waits_for_room() -> None:
    inlet, gate = sources.Inlet(), anyio.Event()
    sent = 0
    async with Pipeline(inlet | Stuck(gate, inbox=0), limits=Limits(instances=3)).start() as running:

        async def send_all() -> None:
            nonlocal sent
            for number in range(10):
                await running.send(inlet, made(number))
                sent += 1

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send_all)
            await anyio.wait_all_tasks_blocked()
            assert sent == 1
            gate.set()
    assert running.statistics().pipeline.accepted == 10


async def test_many_senders() -> None:
    inlet = sources.Inlet()
    async with Pipeline(inlet | sinks.Discard()).start() as running, anyio.create_task_group() as tasks:
        for number in range(50):
            tasks.start_soon(running.send, inlet, made(number))
    assert running.statistics().pipeline.accepted == 50


async def test_closed_and_drained_take_nothing_more() -> None:
    inlet = sources.Inlet()
    async with Pipeline(inlet | sinks.Discard()).start() as running:
        running.close(inlet)
        with pytest.raises(Draining, match="closed"):
            await running.send(inlet, made(1))
    with pytest.raises(Draining):
        await running.send(inlet, made(1))


async def test_drain_lets_a_waiting_sender_finish() -> None:
    inlet, gate = sources.Inlet(), anyio.Event()
    outcomes: list[str] = []
    async with Pipeline(inlet | Stuck(gate, inbox=0)).start() as running, anyio.create_task_group() as tasks:

        async def send(number: int) -> None:
            receipt = await running.send(inlet, made(number))
            await receipt.wait()
            outcomes.append(str(receipt.outcome))

        tasks.start_soon(send, 1)
        tasks.start_soon(send, 2)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(running.drain)
        await anyio.wait_all_tasks_blocked()
        gate.set()
    assert outcomes == ["accepted", "accepted"]


async def test_cancelled_pipeline_frees_its_senders() -> None:
    inlet = sources.Inlet()
    errors: list[Exception] = []
    async with (
        Pipeline(inlet | Stuck(anyio.Event(), inbox=0)).start() as running,
        anyio.create_task_group() as tasks,
    ):

        async def send(number: int) -> None:
            try:
                await running.send(inlet, made(number))
            except Draining as error:
                errors.append(error)

        for number in range(3):
            tasks.start_soon(send, number)
        await anyio.wait_all_tasks_blocked()
        running.cancel()
        await running.wait()
    assert len(errors) == 2
    assert running.statistics().pipeline.refused == 1


async def test_not_an_inlet() -> None:
    source = sources.Synthetic(instances=1, size=100)
    async with Pipeline(source | sinks.Discard()).start() as running:
        with pytest.raises(GraphError, match="not an inlet"):
            await running.send(source, made(1))
        await until(lambda: running.statistics().pipeline.accepted == 1)
