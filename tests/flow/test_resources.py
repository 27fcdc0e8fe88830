"""What stages of one run share: made once, there until all stages are closed, closed in reverse."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio
import pytest

from dcmflow import Filter, Instance, Pipeline, Sink, StageError, sinks, sources
from dcmflow.flow.context import Context
from dcmflow.flow.resources import Resources
from dcmflow.testing import instance

pytestmark = pytest.mark.anyio


class Diary:
    """Makes resources that write down when they come and go."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def make(self, name: str) -> Callable[[], AbstractAsyncContextManager[list[str]]]:
        @asynccontextmanager
        async def resource() -> AsyncIterator[list[str]]:
            self.lines.append(f"{name} comes")
            async with anyio.create_task_group() as tasks:  # as a listener has one
                tasks.start_soon(anyio.sleep_forever)
                try:
                    yield self.lines
                finally:
                    tasks.cancel_scope.cancel()
            self.lines.append(f"{name} goes")

        return resource


async def test_one_for_all_who_ask() -> None:
    diary = Diary()
    async with Resources() as resources:
        first = await resources.get("a", diary.make("a"))
        assert await resources.get("a", diary.make("another")) is first
    assert diary.lines == ["a comes", "a goes"]


async def test_they_close_in_reverse() -> None:
    diary = Diary()
    async with Resources() as resources:
        for name in "abc":
            await resources.get(name, diary.make(name))
    assert diary.lines == ["a comes", "b comes", "c comes", "c goes", "b goes", "a goes"]


async def test_all_who_ask_at_once_get_the_same() -> None:
    made = 0

    @asynccontextmanager
    async def slow() -> AsyncIterator[object]:
        nonlocal made
        made += 1
        await anyio.wait_all_tasks_blocked()
        yield object()

    found = []

    async def ask() -> None:
        found.append(await resources.get("a", slow))

    async with Resources() as resources, anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(ask)
    assert made == 1
    assert found == [found[0]] * 3


async def test_what_cannot_be_made_is_tried_again() -> None:
    attempts = iter([OSError("the port is taken"), None])

    @asynccontextmanager
    async def fragile() -> AsyncIterator[str]:
        if error := next(attempts):
            raise error
        yield "made"

    async with Resources() as resources:
        with pytest.raises(OSError, match="taken"):
            await resources.get("a", fragile)
        assert await resources.get("a", fragile) == "made"


async def test_one_that_fails_to_be_made_for_several() -> None:
    """Those who waited try themselves, and each learns why it cannot be."""
    problem: str | None = "the port is taken"

    @asynccontextmanager
    async def broken() -> AsyncIterator[str]:
        await anyio.wait_all_tasks_blocked()
        if problem:
            raise OSError(problem)
        yield ""

    reasons: list[str] = []

    async def ask() -> None:
        try:
            await resources.get("a", broken)
        except OSError as error:
            reasons.append(str(error))

    async with Resources() as resources, anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(ask)
    assert reasons == ["the port is taken"] * 3


async def test_one_may_ask_for_another() -> None:
    diary = Diary()

    @asynccontextmanager
    async def outer() -> AsyncIterator[str]:
        diary.lines.append("outer comes")
        await resources.get("inner", diary.make("inner"))
        yield "outer"
        diary.lines.append("outer goes")

    async with Resources() as resources:
        await resources.get("outer", outer)
    assert diary.lines == ["outer comes", "inner comes", "outer goes", "inner goes"]


async def test_who_asked_and_was_cancelled_leaves_nothing() -> None:
    went = anyio.Event()

    @asynccontextmanager
    async def endless() -> AsyncIterator[None]:
        try:
            await anyio.sleep_forever()
            yield
        finally:
            went.set()

    async with Resources() as resources:
        with anyio.move_on_after(0.05) as scope:
            await resources.get("a", endless)
        assert scope.cancelled_caught
        await went.wait()
        assert await resources.get("a", Diary().make("a")) == ["a comes"]


async def test_a_resource_that_fails_ends_the_block() -> None:
    fail = anyio.Event()

    @asynccontextmanager
    async def failing() -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(failure)
            yield

    async def failure() -> None:
        await fail.wait()
        raise OSError("the socket is gone")

    diary = Diary()
    with pytest.raises(BaseExceptionGroup) as caught:
        async with Resources() as resources:
            await resources.get("a", diary.make("a"))
            await resources.get("b", failing)
            fail.set()
            try:
                await anyio.sleep_forever()
            finally:
                diary.lines.append("the user goes")
    assert caught.group_contains(OSError, match="the socket is gone")
    assert diary.lines == ["a comes", "the user goes"]  # and a was cancelled, its line after that never came


async def test_cancelled_they_stay_until_the_block_is_left() -> None:
    lines = []

    @asynccontextmanager
    async def resource() -> AsyncIterator[None]:
        try:
            yield
        finally:
            lines.append("the resource goes")

    with anyio.CancelScope() as scope:
        async with Resources() as resources:
            await resources.get("a", resource)
            scope.cancel()
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.wait_all_tasks_blocked()
                lines.append("the user goes")
    assert scope.cancelled_caught
    assert lines == ["the user goes", "the resource goes"]


async def test_a_cancelled_run_does_not_wait_for_a_slow_farewell() -> None:
    @asynccontextmanager
    async def slow() -> AsyncIterator[None]:
        yield
        await anyio.sleep_forever()

    with anyio.CancelScope() as scope:
        async with Resources() as resources:
            await resources.get("a", slow)
            scope.cancel()
    async with anyio.create_task_group() as tasks:  # nor does one that is cancelled while it waits for it

        async def use() -> None:
            async with Resources() as resources:
                await resources.get("a", slow)

        tasks.start_soon(use)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()


async def test_nothing_is_made_outside_of_the_block() -> None:
    resources = Resources()
    with pytest.raises(RuntimeError, match="outside of a run"):
        await resources.get("a", Diary().make("a"))
    async with resources:
        pass
    with pytest.raises(RuntimeError, match="outside of a run"):
        await resources.get("a", Diary().make("a"))
    with pytest.raises(RuntimeError, match="stage 'x' shares 'a' with other stages"):
        await Context(stage="x").resource("a", Diary().make("a"))


DIARY = Diary()


class Sharing(Filter, frozen=True):
    """Lets everything through and has something in common with others."""

    with_: str = "port"

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[Sharing]:
        async with anyio.create_task_group():  # has to be left before what encloses it
            assert await context.resource(self.with_, DIARY.make(self.with_)) is DIARY.lines
            yield self
        DIARY.lines.append(f"{context.stage} closes")

    async def process(self, given: Instance) -> Instance:
        DIARY.lines.append(f"{given.sop_instance_uid} passes")
        return given


class Breaking(Sink, frozen=True):
    """Asks for what cannot be made."""

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[None]:
        await context.resource("x", self.broken)
        yield

    @asynccontextmanager
    async def broken(self) -> AsyncIterator[None]:
        async with anyio.create_task_group():
            raise OSError("the port is taken")
        yield


async def test_stages_of_a_run_share() -> None:
    DIARY.lines.clear()
    inlet = sources.Inlet()
    flow = inlet | Sharing(name="a") | Sharing("other", name="b") | Sharing(name="c") | sinks.Discard()
    async with Pipeline(flow).start() as running:
        given = instance()
        await (await running.send(inlet, given)).wait()
    uid = given.sop_instance_uid
    assert DIARY.lines == [
        "port comes",
        "other comes",
        *[f"{uid} passes"] * 3,
        "a closes",
        "b closes",
        "c closes",
        "other goes",
        "port goes",
    ]


async def test_each_run_has_its_own() -> None:
    DIARY.lines.clear()
    pipeline = Pipeline(sources.Synthetic(instances=1) | Sharing(name="a") | sinks.Discard())
    await pipeline.run()
    await pipeline.run()
    assert [line for line in DIARY.lines if line.startswith("port")] == ["port comes", "port goes"] * 2


async def test_a_cancelled_run_closes_stages_first() -> None:
    DIARY.lines.clear()
    inlet = sources.Inlet()
    async with Pipeline(inlet | Sharing(name="a") | sinks.Discard()).start() as running:
        running.cancel()
    assert DIARY.lines == ["port comes"]


async def test_what_cannot_be_made_is_the_stage_that_cannot_open() -> None:
    pipeline = Pipeline(sources.Inlet() | Breaking(name="out"))
    with pytest.raises(StageError, match="sink 'out' cannot be opened: OSError: the port is taken") as caught:
        await pipeline.run()
    assert caught.value.opening
