"""The way into a sink that writes without waiting: same sums, same policy, same order, and others get their turn."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio import WouldBlock

from dcmflow import Pipeline, Retry, sources
from dcmflow.dicom.instance import Instance
from dcmflow.dicom.synthetic import synthesize
from dcmflow.errors import Refused
from dcmflow.flow.context import Context
from dcmflow.flow.stage import Sink
from dcmflow.status import Status

pytestmark = pytest.mark.anyio


class Shelf(Sink, frozen=True, kw_only=True):
    """Writes at once what it is told to, else in a worker, which waits for the gate."""

    at_once: str = "all"

    @property
    def writes_directly(self) -> bool:
        return True

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[Any]:
        yield _Shelf(self)


class _Shelf:
    written: list[tuple[str, str]]
    gate: anyio.Event
    failures = 0

    def __init__(self, stage: Shelf) -> None:
        self._stage = stage
        _Shelf.written, _Shelf.gate, _Shelf.failures = [], anyio.Event(), 0

    def write_nowait(self, instance: Instance) -> bool | None:
        if self._stage.at_once == "none":
            raise WouldBlock
        if self._stage.at_once == "fails":
            _Shelf.failures += 1
            raise Refused("no room at once", status=0xA700, transient=True)
        if self._stage.at_once == "first" and _Shelf.written:
            raise WouldBlock
        _Shelf.written.append(("at once", instance.sop_instance_uid))
        return False if self._stage.at_once == "another version" else None

    async def write(self, instance: Instance) -> None:
        if self._stage.at_once == "fails":
            raise Refused("no room", status=0xA700, transient=True)
        await _Shelf.gate.wait()
        _Shelf.written.append(("by a worker", instance.sop_instance_uid))


async def test_what_is_written_at_once_is_settled_when_emit_returns() -> None:
    inlet = sources.Inlet()
    async with Pipeline(inlet | Shelf()).start() as running:
        made = list(synthesize(instances=40))
        for instance in made:
            receipt = await running.send(inlet, instance)
            assert (receipt.outcome, receipt.complete) == ("accepted", True)
        statistics = running.statistics()
    assert _Shelf.written == [("at once", instance.sop_instance_uid) for instance in made]
    assert (statistics.pipeline.emitted, statistics.pipeline.accepted) == (40, 40)
    stage = statistics.stages["shelf-1"]
    assert (stage.received, stage.sent, stage.refused, stage.waiting) == (40, 40, 0, 0)
    assert stage.bytes == sum(instance.payload.size for instance in made)


async def test_another_version_is_a_lapse() -> None:
    inlet = sources.Inlet()
    async with Pipeline(inlet | Shelf(at_once="another version")).start() as running:
        receipt = await running.send(inlet, next(synthesize()))
    assert (receipt.outcome, receipt.complete) == ("accepted", False)


async def test_what_would_wait_goes_to_the_workers() -> None:
    inlet = sources.Inlet()
    async with Pipeline(inlet | Shelf(at_once="none", workers=2)).start() as running:
        receipts = [await running.send(inlet, instance) for instance in synthesize(instances=5)]
        assert [receipt.outcome for receipt in receipts] == [None] * 5
        _Shelf.gate.set()
        assert [await receipt.wait() for receipt in receipts] == [Status.SUCCESS] * 5
    assert {how for how, _ in _Shelf.written} == {"by a worker"}


async def test_what_fails_at_once_is_tried_as_the_policy_says() -> None:
    inlet = sources.Inlet()
    shelf = Shelf(at_once="fails", retry=Retry(attempts=3, first=0.001))
    async with Pipeline(inlet | shelf).start() as running:
        receipt = await running.send(inlet, next(synthesize()))
        assert await receipt.wait() == 0xA700
        stage = running.statistics().stages["shelf-1"]
    assert _Shelf.failures == 1
    assert (receipt.stage, receipt.reason) == ("shelf-1", "no room")
    assert (stage.received, stage.retried, stage.refused) == (1, 2, 1)


async def test_order_stays_where_there_is_one_worker() -> None:
    """Nothing overtakes what waits in the inbox or is with the worker."""
    inlet = sources.Inlet()
    async with Pipeline(inlet | Shelf(at_once="first")).start() as running:
        made = list(synthesize(instances=6))
        receipts = [await running.send(inlet, instance) for instance in made]
        await anyio.wait_all_tasks_blocked()
        _Shelf.gate.set()
        for receipt in receipts:
            await receipt.wait()
    assert [uid for _, uid in _Shelf.written] == [instance.sop_instance_uid for instance in made]


async def test_others_get_their_turn() -> None:
    """A source that is never made to wait does not keep the loop to itself."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    made = sources.Synthetic(instances=200)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(count)
        await anyio.lowlevel.checkpoint()
        before = turns
        statistics = await Pipeline(made | Shelf()).run()
        tasks.cancel_scope.cancel()
    assert statistics.pipeline.accepted == 200
    assert turns - before >= 200 // 16
