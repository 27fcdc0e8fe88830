"""Instances for the embedding program."""

from __future__ import annotations

import anyio
import pytest

from dcmflow import Limits, Pipeline, Retry, StageError, sinks, sources
from little_stages import Numbers, made, number_of

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]


async def test_all_instances_then_the_end() -> None:
    outlet = sinks.Outlet()
    with anyio.fail_after(5):
        async with Pipeline(Numbers(20) | outlet).start() as running, running.outlet(outlet) as instances:
            taken = [number_of(each) async for each in instances]
    assert taken == list(range(20))
    assert running.statistics().pipeline.accepted == 20


async def test_accepted_when_the_next_one_is_asked_for() -> None:
    outlet = sinks.Outlet()
    receipts: list[object] = []
    async with (
        Pipeline(Numbers(3, receipts=receipts) | outlet).start() as running,
        running.outlet(outlet) as instances,
    ):
        await anext(instances)
        await anyio.wait_all_tasks_blocked()
        assert running.statistics().pipeline.accepted == 0
        await anext(instances)
        await anyio.wait_all_tasks_blocked()
        assert running.statistics().pipeline.accepted == 1
        await anext(instances)
        with pytest.raises(StopAsyncIteration):
            await anext(instances)
    assert running.statistics().pipeline.accepted == 3


async def test_left_early_refuses_the_one_at_hand_and_later_ones() -> None:
    outlet, inlet = sinks.Outlet(), sources.Inlet()
    async with Pipeline(inlet | outlet).start() as running:
        first = await running.send(inlet, made(1))
        second = await running.send(inlet, made(2))
        async with running.outlet(outlet) as instances:
            async for _ in instances:
                break
        with anyio.fail_after(5):
            assert await first.wait() == 0xA700
            assert await second.wait() == 0xA700
            assert "nobody reads" in first.reason
        third = await running.send(inlet, made(3))
        assert await third.wait() == 0xA700
        async with running.outlet(outlet) as instances:  # another reader, and it goes on
            fourth = await running.send(inlet, made(4))
            assert number_of(await anext(instances)) == 4
            running.close(inlet)
            assert [each async for each in instances] == []
            assert fourth.outcome == "accepted"


async def test_error_in_the_block_refuses() -> None:
    outlet, inlet = sinks.Outlet(), sources.Inlet()
    async with Pipeline(inlet | outlet).start() as running:
        receipt = await running.send(inlet, made(1))
        with pytest.raises(ZeroDivisionError):
            async with running.outlet(outlet) as instances:
                async for _ in instances:
                    raise ZeroDivisionError
        assert await receipt.wait() == 0xA700


async def test_waits_while_nobody_reads() -> None:
    outlet, inlet = sinks.Outlet(inbox=0), sources.Inlet()
    async with Pipeline(inlet | outlet, limits=Limits(instances=2)).start() as running:
        receipt = await running.send(inlet, made(1))
        await anyio.wait_all_tasks_blocked()
        assert receipt.outcome is None
        running.close(inlet)
        async with running.outlet("outlet-1") as instances:
            assert [number_of(each) async for each in instances] == [1]
    assert receipt.outcome == "accepted"


async def test_refusal_is_worth_trying_again() -> None:
    outlet, inlet = sinks.Outlet(retry=Retry(attempts=100, first=0.01, longest=0.01)), sources.Inlet()
    with anyio.fail_after(10):
        async with Pipeline(inlet | outlet).start() as running:
            receipt = await running.send(inlet, made(1))
            async with running.outlet(outlet) as instances:
                await anext(instances)
            await anyio.sleep(0.05)
            async with running.outlet(outlet) as instances:
                assert number_of(await anext(instances)) == 1
                running.close(inlet)
                assert [each async for each in instances] == []
    assert receipt.outcome == "accepted"


async def test_one_reader_at_a_time() -> None:
    outlet, inlet = sinks.Outlet(), sources.Inlet()
    async with Pipeline(inlet | outlet).start() as running:
        async with running.outlet(outlet):
            with pytest.raises(StageError, match="reader already"):
                async with running.outlet(outlet):
                    raise AssertionError("a second reader")
        async with running.outlet(outlet):
            pass


async def test_cancelled_run_ends_the_reader() -> None:
    outlet, inlet = sinks.Outlet(), sources.Inlet()
    async with Pipeline(inlet | outlet).start() as running:
        await running.send(inlet, made(1))
        with anyio.fail_after(5):
            async with running.outlet(outlet) as instances:
                await anext(instances)
                running.cancel()
                assert [each async for each in instances] == []
    assert running.statistics().pipeline.refused == 1


async def test_several_workers() -> None:
    outlet = sinks.Outlet(workers=4)
    async with Pipeline(Numbers(20) | outlet).start() as running, running.outlet(outlet) as instances:
        taken = [number_of(each) async for each in instances]
    assert sorted(taken) == list(range(20))
    assert running.statistics().pipeline.accepted == 20
