"""A receiver whose sink stalls: `python stall_server.py PORT FOLDER AFTER [...]`.

An `scp` and a sink that takes AFTER bytes, then makes the file `stalled` in FOLDER and takes nothing until there is a file
`release`; then it takes all that comes. In between it makes the file `still` once nothing more comes in. With the file `over` it
drains and writes `told.json`: what came, when, and how much was held when it was released.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import zlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import anyio
from msgspec import Meta

from dcmflow import Limits, Pipeline, Running, sources
from dcmflow.dicom.instance import Instance
from dcmflow.flow.context import Context
from dcmflow.flow.events import Event
from dcmflow.flow.stage import Sink
from dcmflow.flow.statistics import Statistics

LOOK = 0.01  # seconds between two looks at the folder
STILL = 0.5  # seconds without an instance that count as still


OPENED: list[Stalling] = []


class Stall(Sink, frozen=True, tag="benchmark-stall"):
    """Takes so many bytes, then nothing until it is released."""

    folder: Annotated[str, Meta(description="Where the files are that it makes and waits for.")]
    after: Annotated[int, Meta(description="Bytes that it takes before it stalls.")]
    checksum: Annotated[bool, Meta(description="Also reads what it takes.")] = False

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[Stalling]:
        actor = Stalling(self)
        OPENED.append(actor)
        yield actor


class Stalling:
    """What came, by SOP Instance UID, size and checksum."""

    def __init__(self, stage: Stall) -> None:
        self.stage = stage
        self.bytes = 0
        self.came: Counter[tuple[str, int, int]] = Counter()
        self.first = self.stalled = self.last = 0.0
        self.released = False

    async def write(self, instance: Instance) -> None:
        """Accepted, once that is allowed."""
        self.first = self.first or time.monotonic()
        if self.bytes >= self.stage.after:
            if not self.stalled:
                self.stalled = time.monotonic()
                touch(self.stage.folder, "stalled")
            if not self.released:
                await exists(self.stage.folder, "release")
                self.released = True
        checksum = 0
        if self.stage.checksum:
            for block in instance.payload.blocks():
                checksum = zlib.crc32(block, checksum)
        self.came[instance.sop_instance_uid, instance.payload.size, checksum] += 1
        self.bytes += instance.payload.size
        self.last = time.monotonic()


def touch(folder: str, name: str) -> None:
    """Make a file that says something."""
    Path(folder, name).touch()


def there(folder: str, name: str) -> bool:
    """Whether somebody has made that file."""
    return os.path.exists(os.path.join(folder, name))


async def exists(folder: str, name: str) -> None:
    """Wait for a file."""
    while not there(folder, name):  # noqa: ASYNC110  another process makes it
        await anyio.sleep(LOOK)


async def held_until_release(running: Running, folder: str) -> Statistics:
    """What the pipeline held last before it was released; says when nothing has come in for a while."""
    held, since = running.statistics(), time.monotonic()
    while not there(folder, "release"):
        before, held = held, running.statistics()
        if held.pipeline.emitted != before.pipeline.emitted:
            since = time.monotonic()
        elif time.monotonic() - since > STILL:
            touch(folder, "still")
        await anyio.sleep(LOOK)
    return held


async def serve(options: argparse.Namespace) -> dict[str, Any]:
    """Run until told that it is over; returns what is to be told."""
    events: list[str] = []
    folder = str(options.folder)

    def hear(event: Event) -> None:
        if event.level in ("warning", "error"):
            events.append(f"{type(event).__name__}: {event.facts()}")

    source = sources.Scp(
        f"DCMFLOW@127.0.0.1:{options.port}",
        respond=options.respond,
        spill=options.spill,
        max_associations=1024,
    )
    sink = Stall(folder, options.after, options.checksum, inbox=options.instances)
    limits = Limits(instances=options.instances, memory=options.memory)
    async with Pipeline(source | sink, limits=limits).start(observe=hear) as running:
        await exists(folder, "stalled")
        held = await held_until_release(running, folder)
        released = time.monotonic()
        await exists(folder, "over")
        await running.drain()
    (actor,) = OPENED
    return {
        "came": [[*key, count] for key, count in actor.came.items()],
        "before": actor.stalled - actor.first,
        "after": actor.last - released,
        "taken": next(stage.bytes for stage in held.stages.values() if stage.kind == "source"),
        "resident": held.pipeline.resident,
        "unsettled": held.pipeline.unsettled,
        "accepted": running.statistics().pipeline.accepted,
        "events": events,
    }


def main(argv: list[str]) -> int:
    """Serves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("after", type=int)
    parser.add_argument("--memory", default="256 MiB")
    parser.add_argument("--instances", type=int, default=4096)
    parser.add_argument("--spill", default="64 MiB")
    parser.add_argument("--respond", default="settled")
    parser.add_argument("--backend", default="asyncio")
    parser.add_argument("--checksum", action="store_true")
    options = parser.parse_args(argv)
    told = anyio.run(serve, options, backend=options.backend)
    (options.folder / "told.json").write_text(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
