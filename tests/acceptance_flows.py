"""Small instances, filters and a sink with which a test says what is accepted, refused or kept waiting."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
from anyio import wait_all_tasks_blocked

import corpus
from dcmflow import (
    Instance,
    Receipt,
    Refused,
    Running,
    Sink,
    Status,
)


def made(number: int, *, size: int = 16, **elements: Any) -> Instance:
    """A small image with this instance number."""
    uid = corpus.uid("PROMISES", number)
    return Instance.from_dataset(corpus.mr(side=size, InstanceNumber=number, SOPInstanceUID=uid, **elements))


def number_of(instance: Instance) -> int:
    return int(instance.header["InstanceNumber"])


def refusing(status: int, *numbers: int) -> Any:
    """A filter that refuses these numbers, or all."""

    def refuse(instance: Instance) -> Instance:
        if not numbers or number_of(instance) in numbers:
            raise Refused(f"told to say {status:04X}", status=status)
        return instance

    return refuse


def gate(opens: anyio.Event) -> Any:
    """A filter that lets nothing on before the event."""

    async def wait(instance: Instance) -> Instance:
        await opens.wait()
        return instance

    return wait


async def told(receipt: Receipt) -> Status | None:
    """What the sender has been told by now; None when it is still waiting and everybody else waits, too."""
    await wait_all_tasks_blocked()
    with anyio.move_on_after(0.02):
        return await receipt.wait()
    return None


async def until_true(condition: Callable[[], bool]) -> None:
    """Waits for what no event tells; for ever, if need be: the test has an end of its own."""
    while not condition():  # noqa: ASYNC110
        await anyio.sleep(0.01)


def check_sums(running: Running) -> None:
    figures = running.statistics().pipeline
    assert figures.emitted == figures.accepted + figures.dropped + figures.refused + figures.unsettled


class Stuck(Sink, frozen=True, tag="acceptance-stuck"):
    """Accepts so many, then waits for the event; notes what it accepts."""

    after: int
    until: Any
    seen: Any

    @asynccontextmanager
    async def open(self, context: Any) -> AsyncIterator[Stuck]:
        yield self

    async def write(self, instance: Instance) -> None:
        if len(self.seen) == self.after:
            await self.until.wait()
        self.seen.append(number_of(instance))


async def send_all(running: Running, inlet: Any, count: int, receipts: list[Receipt]) -> None:
    for number in range(1, count + 1):
        receipts.append(await running.send(inlet, made(number)))
