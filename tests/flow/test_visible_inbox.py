"""A stage that sees what waits in its inbox."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import ClassVar

import anyio
import pytest

from dcmflow import Pipeline, sources
from dcmflow.dicom.instance import Instance
from dcmflow.flow.context import Context
from dcmflow.flow.stage import Sink
from dcmflow.testing import instance

pytestmark = pytest.mark.anyio


class Gate(Sink, frozen=True, tag="gate-that-looks-ahead"):
    """Takes one when it is told to, and notes what waits behind it."""

    looks_ahead: ClassVar[bool] = True

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[_Gate]:
        yield _Gate(context)


class Blind(Gate, frozen=True, tag="gate-that-does-not"):
    """Does not ask."""

    looks_ahead: ClassVar[bool] = False


class _Gate:
    seen: ClassVar[list[list[str]]] = []
    go: ClassVar[anyio.Event]

    def __init__(self, context: Context) -> None:
        self._context = context

    async def write(self, instance: Instance) -> None:
        await self.go.wait()
        self.seen.append(uids(self._context.upcoming()))


def uids(instances: Iterable[Instance]) -> list[str]:
    return [each.sop_instance_uid for each in instances]


async def emitted(gate: Gate, *, cancel: bool = False) -> list[list[str]]:
    """Five, one after the other, to a gate with an inbox of three that opens when all are on their way."""
    _Gate.seen, _Gate.go = [], anyio.Event()
    source = sources.Inlet()
    async with Pipeline(source | gate).start() as running:
        async with anyio.create_task_group() as tasks:
            for number in range(1, 6):
                tasks.start_soon(running.send, source, instance(SOPInstanceUID=f"2.25.{number}"))
                await anyio.wait_all_tasks_blocked()
            if cancel:
                tasks.cancel_scope.cancel()
            else:
                _Gate.go.set()
        _Gate.go.set()  # once those that were cancelled are gone
        running.close(source)
    return _Gate.seen


async def test_what_waits_in_it_and_what_waits_for_room() -> None:
    everything = [f"2.25.{number}" for number in range(1, 6)]
    seen = await emitted(Gate(inbox=3))
    assert [set(waiting) for waiting in seen] == [set(everything[taken:]) for taken in range(1, 6)]
    assert seen[0][:3] == everything[1:4]


async def test_what_is_called_back_does_not_wait_any_more() -> None:
    seen = await emitted(Gate(inbox=3), cancel=True)
    assert seen == [["2.25.2", "2.25.3", "2.25.4"], ["2.25.3", "2.25.4"], ["2.25.4"], []]


async def test_who_does_not_look_ahead_sees_nothing() -> None:
    assert await emitted(Blind(inbox=3)) == [[]] * 5
