"""Sinks that begin with what is still arriving: all that come next or none, and nobody is overtaken."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import anyio
import pytest
from anyio import WouldBlock

from dcmflow import Limits, Pipeline, sinks
from dcmflow.dicom.instance import Instance
from dcmflow.dicom.synthetic import synthesize
from dcmflow.errors import Refused
from dcmflow.flow.context import Context, Emit
from dcmflow.flow.running import Running
from dcmflow.flow.stage import Sink, Source

pytestmark = pytest.mark.anyio


class Start:
    def __init__(self, sink: _Shelf) -> None:
        self.sink = sink
        self.said: list[str] = []

    def feed(self, data: bytearray) -> int:
        self.said.append(f"fed {len(data)}")
        return len(data) + 1

    async def finish(self, instance: Instance) -> None:
        self.said.append("finished")
        self.sink.finished.append(instance)

    def abandon(self) -> None:
        self.said.append("abandoned")


class Shelf(Sink, frozen=True, kw_only=True):
    """Begins with everything, or with nothing; what was not begun with waits for the gate."""

    starts_early: ClassVar[bool] = True
    willing: bool = True
    fails: bool = False

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[Any]:
        yield _Shelf(self)


class _Shelf:
    def __init__(self, stage: Shelf) -> None:
        self.stage = stage
        self.starts: list[Start] = []
        self.finished: list[Instance] = []
        self.gate = anyio.Event()
        self.written: list[str] = []

    def begin(self, instance: Instance) -> Start | None:
        if not self.stage.willing:
            return None
        self.starts.append(Start(self))
        return self.starts[-1]

    def write_nowait(self, instance: Instance) -> None:
        if instance not in self.finished:
            raise WouldBlock
        if self.stage.fails:
            raise Refused("no")
        self.written.append("at once")

    async def write(self, instance: Instance) -> None:
        if self.stage.fails:
            raise Refused("no", status=0xC001)
        await self.gate.wait()
        self.written.append("by a worker")


class Arriving(Source, frozen=True):
    """Does what the test says with its `emit`."""

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[Any]:
        yield _Arriving()


class _Arriving:
    emit: Emit

    def __init__(self) -> None:
        self.ready, self.over = anyio.Event(), anyio.Event()

    async def run(self, emit: Emit) -> None:
        self.emit = emit
        self.ready.set()
        await self.over.wait()


@asynccontextmanager
async def arriving(*shelves: Sink, **options: Any) -> AsyncIterator[tuple[Emit, list[_Shelf], Running]]:
    source = Arriving(name="in")
    flow = source | (shelves if len(shelves) > 1 else shelves[0])
    async with Pipeline(flow, **options).start() as running:
        actors = [running._nodes[running.pipeline.graph.name_of(shelf)].actor for shelf in shelves]
        actor = running._nodes["in"].actor
        await actor.ready.wait()
        try:
            yield actor.emit, actors, running
        finally:
            for each in actors:
                if isinstance(each, _Shelf):
                    each.gate.set()
            actor.over.set()


def some(count: int) -> list[Instance]:
    return list(synthesize(instances=count))


async def test_what_was_begun_with_is_settled_when_it_is_emitted() -> None:
    (instance,) = some(1)
    async with arriving(Shelf()) as (emit, (shelf,), running):
        (start,) = emit.begin(instance)
        assert start.feed(bytearray(100)) == 101
        assert running.statistics().pipeline.emitted == 0, "before it is whole it is nowhere in the books"
        await start.finish(instance)
        receipt = await emit(instance)
        assert receipt.outcome == "accepted"
        assert shelf.starts[0].said == ["fed 100", "finished"]
        assert shelf.written == ["at once"]
        stage = running.statistics().stages["shelf-1"]
        assert (stage.received, stage.sent, stage.waiting) == (1, 1, 0)


async def test_what_came_to_nothing_goes_to_a_worker() -> None:
    (instance,) = some(1)
    async with arriving(Shelf()) as (emit, (shelf,), _):
        emit.begin(instance)
        receipt = await emit(instance)
        assert receipt.outcome is None
        shelf.gate.set()
        assert await receipt.wait() == 0
        assert shelf.written == ["by a worker"]


async def test_a_failure_is_told_by_a_worker() -> None:
    (instance,) = some(1)
    async with arriving(Shelf(fails=True)) as (emit, _, running):
        (start,) = emit.begin(instance)
        await start.finish(instance)
        assert await (await emit(instance)).wait() == 0xC001
        assert running.statistics().stages["shelf-1"].refused == 1


@pytest.mark.parametrize(
    "other", [lambda: Shelf(willing=False), lambda: sinks.Discard()], ids=["unwilling", "of another kind"]
)
@pytest.mark.parametrize("first", [True, False])
async def test_all_or_none(other: Callable[[], Sink], first: bool) -> None:
    (instance,) = some(1)
    shelves = (other(), Shelf()) if first else (Shelf(), other())
    async with arriving(*shelves) as (emit, actors, _):
        assert emit.begin(instance) == []
        willing = actors[1] if first else actors[0]
        assert [start.said for start in willing.starts] in ([], [["abandoned"]])


async def test_what_waits_in_an_inbox_is_not_overtaken() -> None:
    instances = some(3)
    async with arriving(Shelf()) as (emit, (shelf,), _):
        for instance in instances[:2]:
            await emit(instance)
        await anyio.wait_all_tasks_blocked()
        assert emit.begin(instances[2]) == []
        shelf.gate.set()
        await anyio.wait_all_tasks_blocked()
        assert len(emit.begin(instances[2])) == 1


async def test_what_waits_for_room_is_not_overtaken() -> None:
    instances = some(3)
    limits = Limits(instances=1)
    async with arriving(Shelf(), limits=limits) as (emit, (shelf,), _), anyio.create_task_group() as tasks:
        await emit(instances[0])
        tasks.start_soon(emit, instances[1])
        await anyio.wait_all_tasks_blocked()
        assert emit.begin(instances[2]) == []
        shelf.gate.set()
