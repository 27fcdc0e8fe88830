"""A pipeline that runs: backpressure, fan-out, errors, drain and cancel as exact arithmetic."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from anyio.lowlevel import checkpoint

from dcmflow.errors import GraphError, Refused, StageError
from dcmflow.flow.capacity import Limits
from dcmflow.flow.events import Event, InstanceRefused, InstanceSkipped, RetryScheduled
from dcmflow.flow.pipeline import Pipeline
from dcmflow.flow.policy import Retry
from dcmflow.flow.statistics import Statistics
from dcmflow.status import Status
from little_stages import Broken, Choose, Deny, Do, Endless, Keep, Numbers, Receipts, Stuck, made, number_of

pytestmark = pytest.mark.anyio


def closed(statistics: Statistics) -> tuple[int, int, int, int]:
    """(emitted, accepted, dropped, refused) of a run that has ended, checked to add up."""
    totals = statistics.pipeline
    assert totals.unsettled == 0
    assert totals.resident == 0
    assert totals.emitted == totals.accepted + totals.dropped + totals.refused
    return totals.emitted, totals.accepted, totals.dropped, totals.refused


async def test_everything_arrives_in_order() -> None:
    seen: list[int] = []
    pipeline = Pipeline(Numbers(100) | Do(lambda instance: instance) | Keep(seen=seen))
    assert closed(await pipeline.run()) == (100, 100, 0, 0)
    assert seen == list(range(100))


@pytest.mark.parametrize(("after", "inbox"), [(5, 4), (0, 0), (3, 16)])
async def test_backpressure_is_exact(after: int, inbox: int) -> None:
    release, seen, receipts = anyio.Event(), list[int](), Receipts()
    stuck = Stuck(release, after=after, seen=seen, inbox=inbox)
    async with Pipeline(Numbers(100, receipts) | stuck).start() as running:
        await wait_all_tasks_blocked()
        expected = after + 1 + inbox
        assert len(seen) == after
        assert len(receipts) == expected
        snapshot = running.statistics()
        assert (snapshot.pipeline.emitted, snapshot.pipeline.accepted) == (expected, after)
        assert snapshot.pipeline.unsettled == 1 + inbox
        assert snapshot.stages["test-stuck-1"].waiting == inbox
        release.set()
        await running.wait()
    assert closed(running.statistics()) == (100, 100, 0, 0)


async def test_capacity_bounds_the_whole_pipeline() -> None:
    release, receipts = anyio.Event(), Receipts()
    pipeline = Pipeline(
        Numbers(100, receipts, at_once=3) | Do(lambda i: i) | Stuck(release, inbox=50),
        limits=Limits(instances=7),
    )
    async with pipeline.start() as running:
        await wait_all_tasks_blocked()
        assert len(receipts) == 7 == running.statistics().pipeline.unsettled
        release.set()
        await running.wait()
    assert closed(running.statistics()) == (100, 100, 0, 0)


async def test_capacity_in_bytes() -> None:
    release, receipts = anyio.Event(), Receipts()
    size = made(0, 1000).payload.resident
    pipeline = Pipeline(Numbers(10, receipts, 1000) | Stuck(release), limits=Limits(memory=3 * size + 20))
    async with pipeline.start() as running:
        await wait_all_tasks_blocked()
        assert len(receipts) == 3
        assert running.statistics().pipeline.resident == sum(made(n, 1000).payload.resident for n in range(3))
        release.set()
        await running.wait()
    assert closed(running.statistics())[0] == 10


async def test_fan_out_counts_once_and_settles_last() -> None:
    release, fast, slow, receipts = anyio.Event(), list[int](), list[int](), Receipts()
    pipeline = Pipeline(Numbers(3, receipts) | (Keep(seen=fast), Stuck(release, seen=slow)))
    async with pipeline.start() as running:
        await wait_all_tasks_blocked()
        assert fast == [0, 1, 2]
        assert [receipt.outcome for receipt in receipts] == [None] * 3
        release.set()
        assert await receipts[0].wait() == 0
        await running.wait()
    assert slow == [0, 1, 2]
    assert closed(running.statistics()) == (3, 3, 0, 0)


async def test_fan_in_takes_from_all() -> None:
    seen: list[int] = []
    both = (Numbers(5), Numbers(7))
    assert closed(await Pipeline(both | Keep(seen=seen)).run())[0] == 12
    assert sorted(seen) == sorted([*range(5), *range(7)])


async def test_first_refusal_once_all_have_settled() -> None:
    release, receipts, seen = anyio.Event(), Receipts(), list[int]()

    async def later(instance: Any) -> Any:
        await release.wait()
        return instance

    pipeline = Pipeline(
        Numbers(1, receipts) | (Deny(0xA900), Do(later) | Deny(0x0122), Stuck(release, seen=seen))
    )
    async with pipeline.start() as running:
        await wait_all_tasks_blocked()
        assert receipts[0].outcome is None
        release.set()
        assert await receipts[0].wait() == 0xA900
        await running.wait()
    assert seen == [0], "one sink that refuses does not stop another"
    assert closed(running.statistics()) == (1, 0, 0, 1)


async def test_dropped_is_success_and_counted() -> None:
    receipts = Receipts()
    keep_even = Do(lambda instance: instance if number_of(instance) % 2 == 0 else None)
    statistics = await Pipeline(Numbers(10, receipts) | keep_even | Keep()).run()
    assert closed(statistics) == (10, 5, 5, 0)
    assert {receipt.status for receipt in receipts} == {0}
    assert [receipt.outcome for receipt in receipts[:2]] == ["accepted", "dropped"]
    assert (statistics.stages["test-do-1"].sent, statistics.stages["test-do-1"].dropped) == (5, 5)


async def test_a_filter_may_make_several_or_none() -> None:
    seen: list[int] = []
    split = Do(lambda instance: [made(100 + n) for n in range(number_of(instance))])
    assert closed(await Pipeline(Numbers(4) | split | Keep(seen=seen)).run()) == (4, 3, 1, 0)
    assert seen == [100, 100, 101, 100, 101, 102]


async def test_one_failing_instance_is_refused_and_named_the_rest_goes_on() -> None:
    events: list[Event] = []

    def fail(instance: Any) -> Any:
        if number_of(instance) == 3:
            raise ValueError("cannot be")
        return instance

    statistics = await Pipeline(Numbers(12) | Do(fail, name="odd") | Keep()).run(observe=events.append)
    assert closed(statistics) == (12, 11, 0, 1)
    (refusal,) = [event for event in events if isinstance(event, InstanceRefused)]
    assert (refusal.stage, refusal.sop_instance_uid, refusal.status) == ("odd", "2.25.4", 0x0110)
    assert refusal.reason == "ValueError: cannot be"


async def test_best_effort_sink_is_counted_and_reported_but_refuses_nothing() -> None:
    events, receipts = list[Event](), Receipts()
    pipeline = Pipeline(Numbers(4, receipts) | (Keep(), Deny(required=False, name="maybe")))
    statistics = await pipeline.run(observe=events.append)
    assert closed(statistics) == (4, 4, 0, 0)
    assert statistics.stages["maybe"].refused == 4
    assert not any(receipt.complete for receipt in receipts)
    assert [event.required for event in events if isinstance(event, InstanceRefused)] == [False] * 4


async def test_on_error_skip_drops_with_a_line() -> None:
    events: list[Event] = []
    statistics = await Pipeline(Numbers(4) | Deny(on_error="skip")).run(observe=events.append)
    assert closed(statistics) == (4, 0, 4, 0)
    assert sum(isinstance(event, InstanceSkipped) for event in events) == 4


async def test_on_error_names_a_sink_which_then_answers() -> None:
    caught: list[int] = []
    labels: list[Any] = []

    class Catch(Keep, frozen=True, tag="test-catch"):
        async def write(self, instance: Any) -> None:
            labels.append(dict(instance.labels))
            caught.append(number_of(instance))

    pipeline = Pipeline(
        Numbers(6) | Deny(when=lambda n: n % 3 == 0, on_error="bad", name="picky"), Catch(name="bad")
    )
    assert closed(await pipeline.run()) == (6, 6, 0, 0)
    assert caught == [0, 3]
    assert labels[0]["refused.stage"] == "picky"
    assert labels[0]["refused.status"] == "A700"
    assert labels[0]["refused.reason"] == "will not take 0"


async def test_on_error_stop_ends_the_pipeline_and_names_the_stage() -> None:
    receipts = Receipts()
    pipeline = Pipeline(Numbers(100, receipts) | Deny(when=lambda n: n == 5, on_error="stop", name="strict"))
    with pytest.raises(StageError, match=r"'strict' refused 2\.25\.6 and on-error is 'stop'") as caught:
        await pipeline.run()
    assert caught.value.stage == "strict"
    assert all(receipt.outcome is not None for receipt in receipts)


async def test_retry_only_what_is_transient() -> None:
    tries: dict[int, int] = {}
    events: list[Event] = []

    def flaky(number: int) -> bool:
        tries[number] = tries.get(number, 0) + 1
        return tries[number] < 3

    retry = Retry(attempts=3, first=0, longest=0)
    sink = Deny(when=flaky, transient=True, retry=retry)
    statistics = await Pipeline(Numbers(2) | sink).run(observe=events.append)
    assert closed(statistics) == (2, 2, 0, 0)
    assert (tries, statistics.stages["test-deny-1"].retried) == ({0: 3, 1: 3}, 4)
    assert [event.attempts for event in events if isinstance(event, RetryScheduled)] == [1, 2, 1, 2]

    tries.clear()
    final = await Pipeline(Numbers(1) | Deny(when=flaky, transient=False, retry=retry)).run()
    assert closed(final) == (1, 0, 0, 1)
    assert tries == {0: 1}


async def test_router_chooses_one_several_or_the_rest() -> None:
    small, large, rest = list[int](), list[int](), list[int]()
    ways = {0: [], 1: ["small"], 2: ["small", "large"], 3: ["large", "large"]}
    router = Choose(lambda n: ways[n], ["small", "large"])
    branches = {"small": Keep(seen=small), "large": Keep(seen=large), "*": Keep(seen=rest)}
    assert closed(await Pipeline(Numbers(4) | router | branches).run()) == (4, 4, 0, 0)
    assert (small, large, rest) == ([1, 2], [2, 3], [0])


async def test_router_without_a_branch_refuses_and_never_drops() -> None:
    receipts = Receipts()
    router = Choose(lambda n: [[], ["a"], ["b"]][n])
    statistics = await Pipeline(Numbers(3, receipts) | router | {"a": Keep()}).run()
    assert closed(statistics) == (3, 1, 0, 2)
    assert "no branch matched" in receipts[0].reason
    assert "no branch 'b'" in receipts[2].reason


async def test_workers_work_at_once() -> None:
    release = anyio.Event()
    at_once: list[int] = []

    async def slow(instance: Any) -> Any:
        at_once.append(number_of(instance))
        await release.wait()
        return instance

    async with Pipeline(Numbers(10) | Do(slow, workers=3, inbox=0) | Keep()).start() as running:
        await wait_all_tasks_blocked()
        assert sorted(at_once) == [0, 1, 2]
        release.set()
        await running.wait()
    assert closed(running.statistics()) == (10, 10, 0, 0)


async def test_drain_settles_what_is_admitted_and_ends_endless_sources() -> None:
    async with Pipeline(Endless() | Keep()).start() as running:
        while running.statistics().pipeline.accepted < 10:
            await checkpoint()
    emitted, accepted, _, _ = closed(running.statistics())
    assert emitted == accepted >= 10


async def test_drain_with_grace_refuses_what_does_not_settle_and_names_it() -> None:
    receipts, events = Receipts(), list[Event]()
    pipeline = Pipeline(Numbers(9, receipts, name="in") | Stuck(anyio.Event(), inbox=2))
    async with pipeline.start(observe=events.append) as running:
        await wait_all_tasks_blocked()
        await running.drain(grace=0)
        assert closed(running.statistics()) == (3, 0, 0, 3)
    assert {receipt.status for receipt in receipts} == {Status.CANCELLED}
    named = [event for event in events if isinstance(event, InstanceRefused)]
    assert [(event.stage, event.sop_instance_uid) for event in named] == [
        ("in", f"2.25.{n}") for n in (1, 2, 3)
    ]


async def test_an_error_in_the_block_cancels_and_comes_out_as_it_is() -> None:
    receipts = Receipts()
    with pytest.raises(LookupError, match="mine"):
        async with Pipeline(Numbers(9, receipts) | Stuck(anyio.Event(), inbox=2)).start() as running:
            await wait_all_tasks_blocked()
            raise LookupError("mine")
    assert closed(running.statistics()) == (3, 0, 0, 3)
    assert all(receipt.outcome == "refused" for receipt in receipts)


async def test_cancelled_from_outside() -> None:
    receipts = Receipts()
    with anyio.move_on_after(30) as scope:
        async with Pipeline(Numbers(9, receipts) | Do(lambda i: i) | Stuck(anyio.Event())).start() as running:
            await wait_all_tasks_blocked()
            scope.cancel()
            await anyio.sleep(1)
    assert closed(running.statistics()) == (9, 0, 0, 9)


async def test_cancel_from_another_task_leaves_the_block_alone() -> None:
    async with Pipeline(Endless(pause=1) | Stuck(anyio.Event())).start() as running:
        await wait_all_tasks_blocked()
        running.cancel()
        await running.wait()
        await checkpoint()
    assert closed(running.statistics()) == (1, 0, 0, 1)


async def test_a_stage_that_cannot_open_is_named_before_anything_moves() -> None:
    receipts, log = Receipts(), list[str]()
    pipeline = Pipeline(
        Numbers(3, receipts) | (Broken(at="open", name="bad"), Broken(at="never", log=log, name="good"))
    )
    with pytest.raises(StageError, match="'bad' cannot be opened: OSError: no such device") as caught:
        await pipeline.run()
    assert caught.value.opening
    assert receipts == []
    assert log in (["good"], [])


async def test_a_stage_that_cannot_close_is_named() -> None:
    log: list[str] = []
    pipeline = Pipeline(
        Numbers(3) | (Broken(at="close", log=log, name="bad"), Broken(at="never", log=log, name="good"))
    )
    with pytest.raises(StageError, match="'bad' could not close: OSError: cannot close"):
        await pipeline.run()
    assert sorted(log) == ["bad", "good"]


async def test_an_actor_that_dies_stops_the_pipeline() -> None:
    class Dying(Numbers, frozen=True, tag="test-dying"):
        def open(self, context: Any) -> Any:
            return super().open(context)

    def explode(number: int) -> list[str]:
        raise SystemError("boom")

    receipts = Receipts()
    router = Choose(explode, on_error="stop", name="way")
    with pytest.raises(StageError, match="way"):
        await Pipeline(Dying(10, receipts) | router | {"*": Keep()}).run()
    assert all(receipt.outcome is not None for receipt in receipts)


async def test_run_gives_the_handle_to_a_task_group() -> None:
    async with anyio.create_task_group() as tasks:
        running = await tasks.start(Pipeline(Numbers(5) | Keep()).run)
        await running.wait()
    assert closed(running.statistics()) == (5, 5, 0, 0)


async def test_events_are_an_iterator_that_ends() -> None:
    async with Pipeline(Numbers(5) | Deny()).start() as running:
        names = []
        async with running.events() as events:
            async for event in events:
                names.append(type(event).__name__)
    assert names == ["InstanceRefused"] * 5 + ["PipelineFinished"]


async def test_events_of_a_slow_reader_are_bounded() -> None:
    async with Pipeline(Numbers(50) | Deny()).start() as running, running.events(remember=10) as events:
        await running.wait()
        kept = [event async for event in events]
    assert (len(kept), events.missed) == (10, 41)


async def test_send_to_what_is_no_inlet() -> None:
    source = Numbers(0)
    async with Pipeline(source | Keep()).start() as running:
        with pytest.raises(GraphError, match="is not an inlet"):
            await running.send(source, made(1))


async def test_observers_see_each_refusal_with_stage_uid_status_and_reason() -> None:
    events: list[Event] = []
    await Pipeline(Numbers(2) | Deny(0xA701, name="pacs")).run(observe=[events.append])
    refusals = [event.facts() for event in events if isinstance(event, InstanceRefused)]
    assert refusals[0] == {
        "stage": "pacs",
        "sop_instance_uid": "2.25.1",
        "status": "A701 out of resources, unable to count matches",
        "reason": "will not take 0",
        "required": True,
    }
    assert issubclass(Refused, Exception)
