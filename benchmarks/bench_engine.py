"""What a hop costs: the same instances through none and through ten stages that do nothing."""

from __future__ import annotations

import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import reduce
from operator import or_

import anyio
from timing import Skipped, arguments, quartiles

from dcmflow.dicom.instance import Instance
from dcmflow.dicom.payload import MemoryPayload
from dcmflow.flow.context import Context, Emit
from dcmflow.flow.pipeline import Pipeline
from dcmflow.flow.stage import Filter, Sink, Source

COUNT = 5000
STAGES = 10


class Same(Source, frozen=True, tag="bench-same"):
    """Emits one instance over and over."""

    count: int

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[Same]:
        yield self

    async def run(self, emit: Emit) -> None:
        instance = Instance("1.2.3", "1.2.3.4", "1.2.840.10008.1.2.1", MemoryPayload(b""))
        for _ in range(self.count):
            await emit(instance)


class Pass(Filter, frozen=True, tag="bench-pass"):
    """Does nothing."""

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[Pass]:
        yield self

    async def process(self, instance: Instance) -> Instance:
        return instance


class Take(Sink, frozen=True, tag="bench-take"):
    """Accepts at once."""

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[Take]:
        yield self

    async def write(self, instance: Instance) -> None:
        pass


def seconds(backend: str, stages: int) -> float:
    """How long COUNT instances take through so many stages."""
    pipeline = Pipeline(reduce(or_, [Same(COUNT), *(Pass() for _ in range(stages)), Take()]))

    async def run() -> float:
        started = time.perf_counter()
        await pipeline.run()
        return time.perf_counter() - started

    try:
        return anyio.run(run, backend=backend)
    except LookupError as error:
        raise Skipped(f"{backend} is not installed") from error


def main(argv: list[str]) -> int:
    """Print microseconds a hop, and a whole instance from source to sink."""
    options = arguments(__doc__ or "", argv)
    print(f"{'':10} {'µs a hop':>9}  {'quartiles':>12}  {'µs source to sink':>18}")
    for backend in ("asyncio", "trio"):
        seconds(backend, 1)
        hops, whole = [], []
        for _ in range(options.rounds):
            short, long = seconds(backend, 0), seconds(backend, STAGES)
            hops.append((long - short) / COUNT / STAGES * 1e6)
            whole.append(short / COUNT * 1e6)
        low, middle, high = quartiles(hops)
        print(f"{backend:10} {middle:9.1f}  {low:5.1f}-{high:5.1f}  {statistics.median(whole):18.1f}")
    return 0


if __name__ == "__main__":
    import sys

    raise SystemExit(main(sys.argv[1:]))
