"""One run of a pipeline, and what an operator would know of it afterwards."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio

from dcmflow import Pipeline
from dcmflow.dicom.instance import Instance
from dcmflow.flow.events import Event, InstanceRefused, NotDicomFound, Warned
from dcmflow.flow.running import Running
from dcmflow.flow.statistics import PipelineStatistics, Statistics
from dcmflow.testing import instance


@dataclass
class Observed:
    """Events of a run, sorted."""

    events: list[Event] = field(default_factory=list)
    statistics: Statistics | None = None

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    @property
    def totals(self) -> PipelineStatistics:
        assert self.statistics is not None
        return self.statistics.pipeline

    @property
    def refused(self) -> list[InstanceRefused]:
        return [event for event in self.events if isinstance(event, InstanceRefused)]

    @property
    def warned(self) -> list[Warned]:
        return [event for event in self.events if isinstance(event, Warned)]

    @property
    def not_dicom(self) -> list[str]:
        return [Path(event.path).name for event in self.events if isinstance(event, NotDicomFound)]


async def run(*parts: Any, **options: Any) -> Observed:
    """Run a pipeline to its end; fails after ten seconds."""
    observed = Observed()
    with anyio.fail_after(10):
        observed.statistics = await Pipeline(*parts, **options).run(observe=observed)
    totals = observed.totals
    assert totals.unsettled == 0
    assert totals.emitted == totals.accepted + totals.dropped + totals.refused
    return observed


class Gather:
    """A function for a filter: remembers what came by."""

    def __init__(self) -> None:
        self.seen: list[Instance] = []

    def __call__(self, given: Instance) -> Instance:
        self.seen.append(given)
        return given

    @property
    def uids(self) -> list[str]:
        return [given.sop_instance_uid for given in self.seen]


async def until(condition: Any, seconds: float = 10) -> None:
    """Wait until `condition()` holds."""
    with anyio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - what threads and files do sets no event
            await anyio.sleep(0.01)


def put(folder: Path, name: str, given: Instance | None = None, **elements: Any) -> Instance:
    """Write a small instance to a file; returns it."""
    given = given or instance(**elements)
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.writelines(given.part10_segments())
    return given


def files_in(folder: Path) -> list[str]:
    """Relative names of all files, hidden ones too."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def remount(folder: Path, mode: str) -> None:
    """Make a small file system read-only ("ro") or writable again ("rw")."""
    subprocess.run(["mount", "-o", f"remount,{mode}", str(folder)], check=True)


def dead_process() -> int:
    """The number of a process that has ended."""
    done = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    return int(done.stdout)


async def drained(running: Running) -> None:
    with anyio.fail_after(10):
        await running.drain()
