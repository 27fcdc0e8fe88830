"""Rare moments of a run: cancelled as an instance changes hands, drained in the middle of a fan-out, errors on top of errors."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import wait_all_tasks_blocked

from dcmflow import sources
from dcmflow.dicom.instance import Instance
from dcmflow.errors import ConfigError, GraphError, StageError
from dcmflow.flow.context import Context, Emit
from dcmflow.flow.delivery import Delivery
from dcmflow.flow.events import Event, InstanceRefused, PipelineFinished, StageFailed
from dcmflow.flow.graph import Edge
from dcmflow.flow.pipeline import Pipeline
from dcmflow.flow.policy import Retry
from dcmflow.flow.registry import find_function
from dcmflow.flow.stage import Filter, Router, Source
from dcmflow.status import Status
from little_stages import Broken, Choose, Deny, Do, Keep, Numbers, Receipts, Stuck, made, number_of

pytestmark = pytest.mark.anyio


class Acts(Source, frozen=True, tag="test-acts"):
    """A source with the actor it is given."""

    actor: Any

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[Any]:
        yield self.actor


class Streams(Filter, frozen=True, tag="test-streams"):
    """A stream actor that runs `how(inbox, outlet)`."""

    how: Any

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[_Streams]:
        yield _Streams(self.how)


class _Streams:
    def __init__(self, how: Any) -> None:
        self.how = how

    async def run(self, inbox: Any, outlet: Any) -> None:
        await self.how(inbox, outlet)


async def all_at_the_end(inbox: Any, outlet: Any) -> None:
    """Holds what comes until nothing more will come."""
    held = []
    async for delivery in inbox:
        held.append(delivery)
    for delivery in held:
        await outlet.send(delivery)


def refusals(events: list[Event]) -> list[str]:
    return [event.sop_instance_uid for event in events if isinstance(event, InstanceRefused)]


# -- what an actor answers


def _fails_on_the_way(instance: Instance) -> Iterator[Instance]:
    if number_of(instance) == 1:
        raise ValueError("cannot be split")
    yield instance


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(_fails_on_the_way, id="a generator that raises"),
        pytest.param(lambda instance: number_of(instance) == 1 or instance, id="a truth value"),
        pytest.param(
            lambda instance: [instance, None] if number_of(instance) == 1 else instance, id="nothing in it"
        ),
    ],
)
async def test_a_filter_that_answers_nonsense_refuses_one_instance(answer: Any) -> None:
    totals = (await Pipeline(Numbers(3) | Do(answer) | Keep()).run()).pipeline
    assert (totals.emitted, totals.accepted, totals.refused) == (3, 2, 1)


async def test_a_router_that_answers_nothing_iterable_refuses_one_instance() -> None:
    class Silent(Router, frozen=True, tag="test-silent"):
        @asynccontextmanager
        async def open(self, context: Context) -> AsyncIterator[Silent]:
            yield self

        async def choose(self, instance: Instance) -> Any:
            return None if number_of(instance) == 1 else ["a"]

    totals = (await Pipeline(Numbers(3) | Silent() | {"a": Keep()}).run()).pipeline
    assert (totals.emitted, totals.accepted, totals.refused) == (3, 2, 1)


async def test_a_stream_that_ends_early_is_named_and_loses_nothing() -> None:
    receipts = Receipts()

    async def only_one(inbox: Any, outlet: Any) -> None:
        (await inbox.receive()).drop()

    with pytest.raises(StageError, match="ended before what comes to it had ended"):
        await Pipeline(Numbers(5, receipts) | Streams(only_one) | Keep()).run()
    gc.collect()
    assert "lost" not in " ".join(receipt.reason for receipt in receipts)


# -- cancelled as an instance changes hands


@pytest.mark.parametrize("turn", range(6))  # trio decides by chance who comes first
@pytest.mark.parametrize("split", [False, True])
async def test_a_cancelled_send_was_either_emitted_or_never_was(turn: int, split: bool) -> None:
    gate, seen = anyio.Event(), list[int]()
    inlet = sources.Inlet()

    async def wait_at_gate(instance: Instance) -> Any:
        await gate.wait()
        return [instance, instance] if split else instance

    async with Pipeline(inlet | Do(wait_at_gate, inbox=0) | Keep(seen=seen)).start() as running:
        scope = anyio.CancelScope()

        async def send(number: int) -> None:
            with scope:
                await running.send(inlet, made(number))

        await running.send(inlet, made(0))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send, 1)
            await wait_all_tasks_blocked()
            gate.set()
            scope.cancel()
        await wait_all_tasks_blocked()
        totals = running.statistics().pipeline
        assert (totals.unsettled, totals.resident) == (0, 0)
        assert totals.emitted == totals.accepted == len(seen) // (2 if split else 1)
        assert running._ledger.capacity.instances_used == 0


async def test_what_a_cancel_refuses_between_two_branches_is_named() -> None:
    events: list[Event] = []
    pipeline = Pipeline(Numbers(9) | (Keep(), Stuck(anyio.Event(), inbox=0)))
    async with pipeline.start(observe=events.append) as running:
        await wait_all_tasks_blocked()
        running.cancel()
    assert sorted(refusals(events)) == ["2.25.1", "2.25.2"]
    assert running.statistics().pipeline.refused == 2


@pytest.mark.parametrize("turn", range(10))  # whichever stage is cancelled first
async def test_cancelled_between_the_pieces_of_a_split_is_cancelled_not_lost(turn: int) -> None:
    receipts = Receipts()
    pipeline = Pipeline(Numbers(9, receipts) | Do(lambda i: [i] * 5) | Stuck(anyio.Event(), inbox=0))
    async with pipeline.start() as running:
        await wait_all_tasks_blocked()
        running.cancel()
    assert {receipt.status for receipt in receipts} == {Status.CANCELLED}


@pytest.mark.parametrize("end", ["cancel", "grace", "outside"])
async def test_cancelled_while_a_thread_works_is_no_error(end: str) -> None:
    begun, release = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        release.wait()

    async def in_thread(instance: Instance) -> Instance:
        await anyio.to_thread.run_sync(work)
        return instance

    async def let_go() -> None:
        await anyio.sleep(0.05)  # the thread ends after its stage was cancelled
        release.set()

    receipts, events = Receipts(), list[Event]()
    pipeline = Pipeline(Numbers(5, receipts) | Do(in_thread) | Keep())
    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as scope:
            async with pipeline.start(observe=events.append) as running:
                await anyio.to_thread.run_sync(begun.wait)
                tasks.start_soon(let_go)
                if end == "cancel":
                    running.cancel()
                elif end == "grace":
                    await running.drain(grace=0.01)
                else:
                    scope.cancel()
                    await anyio.sleep(1)
    assert not [event for event in events if isinstance(event, StageFailed)]
    assert {receipt.status for receipt in receipts} == {Status.CANCELLED}


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_task_that_dies_of_a_foreign_cancellation_is_named(anyio_backend: str) -> None:
    async def cancelled_elsewhere(instance: Instance) -> Instance:
        if number_of(instance) == 2:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            future.cancel()
            await future
        return instance

    receipts = Receipts()
    pipeline = Pipeline(Numbers(5, receipts) | Do(cancelled_elsewhere, name="culprit", inbox=1) | Keep())
    try:
        await pipeline.run()
    except StageError as error:
        assert error.stage == "culprit"  # noqa: PT017 - refusing the one instance is as good
    else:
        assert [receipt.outcome for receipt in receipts].count("refused") == 1
        assert receipts[2].stage == "culprit"


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_source_that_dies_of_a_foreign_cancellation_has_not_ended_well(anyio_backend: str) -> None:
    class Actor:
        async def run(self, emit: Emit) -> None:
            await emit(made(0))
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            future.cancel()
            await future

    with pytest.raises(StageError, match="'half'"):
        await Pipeline(Acts(Actor(), name="half") | Keep()).run()


# -- drain


async def test_drain_settles_what_had_come_to_one_of_two_branches() -> None:
    release, go, seen = anyio.Event(), anyio.Event(), list[int]()

    class Actor:
        async def run(self, emit: Emit) -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.many, emit)
                tasks.start_soon(self.late, emit)

        async def many(self, emit: Emit) -> None:
            for number in range(9):
                await emit(made(number))

        async def late(self, emit: Emit) -> None:
            await go.wait()
            await emit(made(99))

    async with Pipeline(Acts(Actor()) | (Keep(seen=seen), Stuck(release, inbox=0))).start() as running:
        await wait_all_tasks_blocked()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(running.drain)
            await anyio.sleep(0.06)
            go.set()
            await anyio.sleep(0.06)
            release.set()
    totals = running.statistics().pipeline
    assert totals.refused == 0
    assert totals.accepted == len(seen)


async def test_everybody_who_waits_for_a_source_to_be_idle_is_woken() -> None:
    release, done = anyio.Event(), list[str]()

    class Actor:
        async def run(self, emit: Emit) -> None:
            await emit(made(0))
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.idle, emit, "first")
                tasks.start_soon(self.idle, emit, "second")

        async def idle(self, emit: Emit, name: str) -> None:
            await emit.idle()
            done.append(name)

    async with Pipeline(Acts(Actor()) | Stuck(release)).start() as running:
        await wait_all_tasks_blocked()
        release.set()
        with anyio.move_on_after(1):
            await running.wait()
        running.cancel()
    assert sorted(done) == ["first", "second"]


async def test_what_a_window_holds_comes_out_when_the_pipeline_drains() -> None:
    class Actor:
        async def run(self, emit: Emit) -> None:
            for number in range(3):
                await emit(made(number))
            await anyio.sleep_forever()

    async with Pipeline(Acts(Actor()) | Streams(all_at_the_end) | Keep()).start() as running:
        await wait_all_tasks_blocked()
        await running.drain(grace=1)
    assert running.statistics().pipeline.accepted == 3


async def test_what_a_window_holds_comes_out_when_the_inlet_is_closed() -> None:
    inlet = sources.Inlet()
    async with Pipeline(inlet | Streams(all_at_the_end) | Keep()).start() as running:
        for number in range(3):
            await running.send(inlet, made(number))
        running.close(inlet)
        with anyio.move_on_after(1):
            await running.wait()
        running.cancel()
    assert running.statistics().pipeline.accepted == 3


# -- errors on top of errors


async def test_stopped_by_an_error_that_error_is_the_cause() -> None:
    def fail(instance: Instance) -> Instance:
        raise ZeroDivisionError("by nothing")

    with pytest.raises(StageError, match="by nothing") as caught:
        await Pipeline(Numbers(3) | Do(fail, on_error="stop") | Keep()).run()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


async def test_a_stage_that_cannot_close_does_not_hide_the_one_that_stopped() -> None:
    pipeline = Pipeline(Numbers(3) | (Deny(on_error="stop", name="strict"), Broken(at="close", name="other")))
    with pytest.raises(StageError) as caught:
        await pipeline.run()
    assert caught.value.stage == "strict"


async def test_a_group_of_errors_in_the_block_comes_out_as_it_is() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with Pipeline(Numbers(0) | Keep()).start():
            raise ExceptionGroup("mine", [LookupError("one")])
    assert caught.value.message == "mine"


async def test_who_waits_is_released_when_an_observer_raises_at_the_end() -> None:
    def observer(event: Event) -> None:
        if isinstance(event, PipelineFinished):
            raise OSError("nobody reads this log")

    running = None
    with pytest.raises(OSError, match="nobody reads"):
        async with Pipeline(Numbers(1) | Keep()).start(observe=observer) as running:
            await running.wait()
    assert running is not None
    with anyio.fail_after(1):
        await running.wait()


async def test_a_reader_of_events_may_remember_none() -> None:
    async with Pipeline(Numbers(3) | Deny()).start() as running, running.events(remember=0) as events:
        await running.wait()
        assert [event async for event in events] == []
    assert events.missed == 4


# -- memory


async def test_pieces_of_a_split_are_charged_for_their_bytes() -> None:
    release, size = anyio.Event(), 100_000
    split = Do(lambda instance: [made(number, size) for number in range(10)])
    async with Pipeline(Numbers(1, None, size) | split | Stuck(release)).start() as running:
        await wait_all_tasks_blocked()
        assert running.statistics().pipeline.resident >= 10 * size
        release.set()


async def test_a_joined_instance_is_charged_for_its_bytes() -> None:
    release, size = anyio.Event(), 100_000

    async def join(inbox: Any, outlet: Any) -> None:
        held = [await inbox.receive() for _ in range(3)]
        await outlet.send(Delivery.join(made(9, size), held))
        async for delivery in inbox:
            delivery.drop()

    async with Pipeline(Numbers(3) | Streams(join) | Stuck(release)).start() as running:
        await wait_all_tasks_blocked()
        assert running.statistics().pipeline.resident >= size
        release.set()


async def test_a_retry_that_gives_up_leaves_the_instance_in_no_cycle() -> None:
    def alive() -> int:
        return sum(type(thing) is Instance for thing in gc.get_objects())

    retry = Retry(attempts=2, first=0, longest=0)
    gc.collect()
    before = alive()
    gc.disable()
    try:
        await Pipeline(Numbers(50) | Deny(transient=True, retry=retry)).run()
        assert alive() - before < 10
    finally:
        gc.enable()


# -- what cannot run


def test_a_table_in_place_of_a_struct_is_found_before_it_runs() -> None:
    with pytest.raises(ConfigError, match="retry"):
        Pipeline(Numbers(1) | Keep(retry={"attempts": 3})).check()


@pytest.mark.parametrize("wrong", [Keep(name="bad"), None, ["bad"]])
def test_on_error_is_a_word(wrong: Any) -> None:
    with pytest.raises((GraphError, ConfigError), match="on-error"):
        Pipeline(Numbers(1) | Deny(on_error=wrong), Keep(name="bad")).check()


def test_limits_are_checked() -> None:
    with pytest.raises(ConfigError, match="limits"):
        Pipeline(Numbers(1) | Keep(), limits={"instances": 3}).check()  # type: ignore[arg-type]


@pytest.mark.parametrize("edge", [Edge("a", None, "nobody"), Edge("nobody", None, "z")])
def test_edges_join_stages_that_there_are(edge: Edge) -> None:
    pipeline = Pipeline.from_graph({"a": Numbers(1), "z": Keep()}, [Edge("a", None, "z"), edge])
    with pytest.raises(GraphError, match="nobody"):
        pipeline.check()


@pytest.mark.parametrize("name", ["stop", "a.b"])
def test_names_that_mean_something_else_are_none_in_a_graph_either(name: str) -> None:
    stages = {"a": Numbers(1), name: Keep()}
    with pytest.raises(GraphError, match="cannot be the name"):
        Pipeline.from_graph(stages, [Edge("a", None, name)]).check()


def test_a_field_may_hold_what_a_pipeline_file_cannot() -> None:
    class Somewhere(Keep, frozen=True, tag="test-somewhere"):
        folder: Path = Path()

    Pipeline(Numbers(1) | Somewhere(folder=Path("/archive"))).check()


def test_modules_of_the_same_name_beside_two_pipelines_are_two(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "house_rules_of_two.py").write_text(f"def where():\n    return {folder!r}\n")
    found = [find_function("house_rules_of_two:where", tmp_path / folder)() for folder in ("one", "two")]
    assert found == ["one", "two"]


async def test_the_same_pipeline_runs_twice_at_once() -> None:
    pipeline, accepted = Pipeline(Numbers(5) | Choose(lambda n: ["a"]) | {"a": Keep()}), list[int]()

    async def once() -> None:
        accepted.append((await pipeline.run()).pipeline.accepted)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(once)
        tasks.start_soon(once)
    assert accepted == [5, 5]
