"""Pipelines with a network at one end, and what became of what went through them."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio

from dcmflow import Pipeline, Running, sinks, sources
from dcmflow.flow.events import Event, InstanceRefused
from dcmflow.flow.statistics import PipelineStatistics
from peers.base import Address, free_port

T = TypeVar("T")

FLAT = "{SOPInstanceUID}.dcm"


@dataclass
class Flow:
    """A pipeline, and what it reported.

    Attributes:
        address: of its scp source, or of the peer that it sends to.
        folder: where it stores, or takes from.
        refused: what it refused.
        running: the pipeline itself.
    """

    address: Address
    folder: Path
    refused: list[InstanceRefused] = field(default_factory=list)
    running: Running | None = None

    @property
    def totals(self) -> PipelineStatistics:
        assert self.running is not None
        return self.running.statistics().pipeline

    def reasons(self) -> str:
        return "\n".join(f"{event.path or event.sop_instance_uid}: {event.reason}" for event in self.refused)

    def files(self) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*") if path.is_file())

    def hear(self, event: Event) -> None:
        if isinstance(event, InstanceRefused):
            self.refused.append(event)


@asynccontextmanager
async def receiving(folder: Path, **scp: Any) -> AsyncIterator[Flow]:
    """A pipeline from an scp source at `DCMFLOW@127.0.0.1` into a folder; drained when the block ends, and then everything it
    emitted is settled.
    """
    flow = Flow(Address(free_port(), "DCMFLOW"), folder)
    source = sources.Scp(str(flow.address), **scp)
    pipeline = Pipeline(source | sinks.Directory(str(folder), layout=FLAT))
    async with pipeline.start(observe=flow.hear) as flow.running:
        yield flow
        await flow.running.drain()
    totals = flow.totals
    assert totals.emitted == totals.accepted + totals.dropped + totals.refused
    assert totals.unsettled == 0


async def sending(
    folder: Path, address: Address, *, to: str = "", nodes: dict[str, Any] | None = None, **store: Any
) -> Flow:
    """Runs a pipeline from all files below a folder to a store sink, to its end.

    Args:
        folder: what to send.
        address: where to.
        to: what the sink is told instead of the address: the name of a node.
        nodes: the nodes that it may name.
        store: further fields of the sink.
    """
    flow = Flow(address, folder)
    sink = sinks.Store(to or str(address), **store)
    pipeline = Pipeline(sources.Directory(str(folder)) | sink, nodes=nodes)
    async with pipeline.start(observe=flow.hear) as flow.running:
        await flow.running.wait()
    totals = flow.totals
    assert totals.emitted == totals.accepted + totals.dropped + totals.refused
    assert totals.unsettled == 0
    assert len(flow.refused) == totals.refused
    return flow


async def beside(function: Callable[..., T], *arguments: Any, **named: Any) -> T:
    """Calls a function that waits for a peer, in a thread: the loop keeps running."""
    return await anyio.to_thread.run_sync(partial(function, *arguments, **named), abandon_on_cancel=True)


def copied(paths: Iterable[Path], folder: Path) -> list[Path]:
    """Copies of files in one folder, under the names they have; a number goes before a name that is taken."""
    folder.mkdir(parents=True)
    made = []
    for number, path in enumerate(paths):
        target = folder / path.name
        made.append(folder / f"{number}-{path.name}" if target.exists() else target)
        shutil.copyfile(path, made[-1])
    return made
