"""Stages that tests put around what they test: small, real, and controlled from outside.

They carry what they are controlled by (a list, an event) as plain attributes of a Struct field typed Any.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import anyio

from dcmflow.dicom.instance import Instance
from dcmflow.dicom.payload import MemoryPayload
from dcmflow.errors import Refused
from dcmflow.flow.context import Context, Emit
from dcmflow.flow.delivery import Receipt
from dcmflow.flow.stage import Filter, Router, Sink, Source

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"


def made(number: int, size: int = 0) -> Instance:
    """An instance whose UID ends in the number; its payload is one private-free element of `size` bytes."""
    uid = f"2.25.{number + 1}"
    value = uid.encode() + b"\0" * (len(uid) % 2)
    payload = b"\x08\x00\x18\x00UI" + len(value).to_bytes(2, "little") + value
    if size:
        payload += b"\xe0\x7f\x10\x00OB\0\0" + size.to_bytes(4, "little") + bytes(size)
    return Instance(CT, uid, EXPLICIT, MemoryPayload(payload))


def number_of(instance: Instance) -> int:
    return int(instance.sop_instance_uid.rsplit(".", 1)[-1]) - 1


class Numbers(Source, frozen=True, tag="test-numbers"):
    """Emits `count` numbered instances; remembers the receipts."""

    count: int
    receipts: Any = None
    size: int = 0
    at_once: int = 1

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[_Numbers]:
        yield _Numbers(self)


class _Numbers:
    def __init__(self, stage: Numbers) -> None:
        self.stage = stage
        self.next = 0

    async def run(self, emit: Emit) -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(self.stage.at_once):
                tasks.start_soon(self._some, emit)

    async def _some(self, emit: Emit) -> None:
        while self.next < self.stage.count:
            number, self.next = self.next, self.next + 1
            receipt = await emit(made(number, self.stage.size))
            if self.stage.receipts is not None:
                self.stage.receipts.append(receipt)


class Endless(Source, frozen=True, tag="test-endless"):
    """Emits until it is stopped, `pause` seconds after each."""

    pause: float = 0

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[_Endless]:
        yield _Endless(self)


class _Endless:
    def __init__(self, stage: Endless) -> None:
        self.stage = stage

    async def run(self, emit: Emit) -> None:
        number = 0
        while True:
            await emit(made(number))
            number += 1
            await anyio.sleep(self.stage.pause)


class Keep(Sink, frozen=True, tag="test-keep"):
    """Puts the numbers it accepts into `seen`."""

    seen: Any = None

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[Keep]:
        yield self

    async def write(self, instance: Instance) -> None:
        if self.seen is not None:
            self.seen.append(number_of(instance))

    def promise(self) -> str:
        return "kept by"


class Stuck(Sink, frozen=True, tag="test-stuck"):
    """Accepts `after` instances, then waits until `release` is set."""

    release: Any
    after: int = 0
    seen: Any = None

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[_Stuck]:
        yield _Stuck(self)


class _Stuck:
    def __init__(self, stage: Stuck) -> None:
        self.stage = stage
        self.count = 0

    async def write(self, instance: Instance) -> None:
        self.count += 1
        if self.count > self.stage.after:
            await self.stage.release.wait()
        if self.stage.seen is not None:
            self.stage.seen.append(number_of(instance))


class Do(Filter, frozen=True, tag="test-do"):
    """Calls `what(instance)`, which may be async, and takes its answer."""

    what: Any

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[Do]:
        yield self

    async def process(self, instance: Instance) -> Any:
        answer = self.what(instance)
        return await answer if hasattr(answer, "__await__") else answer


class Deny(Sink, frozen=True, tag="test-deny"):
    """Refuses what `when(number)` says, with `status`."""

    status: int = 0xA700
    when: Any = None
    transient: bool = False
    seen: Any = None

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[Deny]:
        yield self

    async def write(self, instance: Instance) -> None:
        number = number_of(instance)
        if self.when is None or self.when(number):
            raise Refused(f"will not take {number}", status=self.status, transient=self.transient)
        if self.seen is not None:
            self.seen.append(number)


class Choose(Router, frozen=True, tag="test-choose"):
    """Goes where `how(number)` says."""

    how: Any
    known: list[str] | None = None

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[Choose]:
        yield self

    def branches(self) -> frozenset[str] | None:
        return None if self.known is None else frozenset(self.known)

    async def choose(self, instance: Instance) -> Iterable[str]:
        chosen = self.how(number_of(instance))
        return list(chosen)


class Broken(Sink, frozen=True, tag="test-broken"):
    """Fails at a given moment: "open", "close", or "never"."""

    at: str = "open"
    log: Any = None

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[Broken]:
        if self.at == "open":
            raise OSError("no such device")
        try:
            yield self
        finally:
            if self.log is not None:
                self.log.append(context.stage)
            if self.at == "close":
                raise OSError("cannot close")

    async def write(self, instance: Instance) -> None:
        pass


Predicate = Callable[[int], bool]
Receipts = list[Receipt]
