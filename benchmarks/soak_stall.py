"""A receiver that stalls while four senders offer 8 GB: `python soak_stall.py`, Linux only.

A child process with `limits.memory` of 256 MiB takes a quarter of what is offered, then its sink takes nothing for ten
seconds, then the rest. Each kind of load runs once without the stall and once with it.

Every instance must be answered with Success and reach the sink as often as it was sent, nothing may be warned of, and the resident
memory (VmRSS, with all that Python and the libraries take) must stay below `limits.memory` + 100 MB, before, while and after.
With 64 associations, below that + `spill` + 1.5 MiB for each of them: what is arriving is not in the pipeline yet.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

from run import machine
from wire_blast import read
from wire_peers import HERE, free_port, listens
from wire_process import Child, Failed, Watch, until
from wire_sets import WireSet, make

from dcmflow.units import parse_size

SENDERS, MEMORY, SPILL, OVER = 4, "256 MiB", "64 MiB", 100e6
ARRIVING = 1.5 * 2**20  # bytes that an association may take while something arrives, where there are many
DIFFERENT = {"CT": 10, "MID": 10, "BIG": 2}  # files of each sender, sent over and over; 100 is a multiple
EVERY = 0.05  # seconds between two looks at the memory
WAIT = 120.0  # seconds for a start, or for a stall to begin
HEAD = (
    "                                 taken in  unsettled   of it in    resident peak, MB            MB/s\n"
    + (
        "                                       MB             memory MB  before  stalled   after    may  before  after"
    )
)


@dataclass(frozen=True)
class Load:
    """What is offered.

    Args:
        name: in the table.
        set: of `wire_sets`.
        associations: of each sender.
        server: options of `stall_server.py`.
        memory: `limits.memory`.
    """

    name: str
    set: str
    associations: int = 1
    server: tuple[str, ...] = ()
    memory: str = MEMORY

    @property
    def most(self) -> float:
        """Bytes that may be resident."""
        memory = parse_size(self.memory) + OVER
        if self.associations == 1:
            return memory
        return memory + parse_size(SPILL) + ARRIVING * SENDERS * self.associations


LOADS = (
    Load("settled", "CT"),
    Load("received", "CT", server=("--respond", "received")),
    Load("settled, 64 associations", "MID", 16),
    Load("received, 64 associations", "MID", 16, server=("--respond", "received")),
    Load("settled", "BIG"),
    Load("settled, 64 associations", "BIG", 16),
    Load("received, 8 instances", "BIG", server=("--respond", "received", "--instances", "8")),
)


@dataclass
class Resident(Watch):
    """Peaks of the resident memory of a process in bytes, by what went on."""

    pid: int
    peaks: dict[str, int] = field(default_factory=dict)
    now: str = "before"
    every: float = EVERY

    def look(self) -> None:
        self.peaks[self.now] = max(self.peaks.get(self.now, 0), resident(self.pid))


def resident(pid: int) -> int:
    """VmRSS of a process in bytes; 0 when there is none."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:")), 0)


@dataclass(frozen=True)
class Outcome:
    """What a run came to; `told` is what the server says of itself."""

    peaks: dict[str, int]
    told: dict[str, Any]
    total: int
    early: int

    def line(self, name: str, most: float) -> str:
        """A line of the table."""
        told = self.told
        before, left = self.early / told["before"], self.total - told["taken"]
        after = f"{left / told['after'] / 1e6:.0f}" if left > self.total / 4 else "-"  # too little for a rate
        peaks = (self.peaks.get(when, 0) / 1e6 for when in ("before", "stalled", "after"))
        return (
            f"{name:<31}{told['taken'] / 1e6:>10.0f}{told['unsettled']:>11}{told['resident'] / 1e6:>12.0f}"
            + "".join(f"{peak:>8.0f}" for peak in peaks)
            + f"{most / 1e6:>7.0f}{before / 1e6:>8.0f}{after:>7}"
        )


def stall(
    load: Load,
    sets: list[WireSet],
    scratch: Path,
    *,
    offered: int,
    seconds: float,
    backend: str = "asyncio",
    limit: float = 600,
) -> Outcome:
    """One run.

    Args:
        sets: one for each sender, of equally many files.
        scratch: an empty folder on a disk; what spills goes there, too.
        offered: bytes in all, about.
        seconds: that it stalls after it has become still; 0: it does not stall.
        limit: seconds that a sender may take.

    Raises:
        Failed: something was lost, refused or warned of, or took too long.
    """
    files = [[read(file) for file in made.files] for made in sets]
    rounds = max(1, round(offered / sum(len(file.dataset) for each in files for file in each)))
    read_too = "--checksum" in load.server
    expected = {
        (file.sop_instance.decode(), len(file.dataset), crc32(file.dataset) if read_too else 0): rounds
        for each in files
        for file in each
    }
    count = rounds * len(files[0])
    total = sum(size * times for (_, size, _), times in expected.items())
    port, early = free_port(), total // 4
    command: list[str | Path] = [sys.executable, HERE / "stall_server.py", str(port), scratch, str(early)]
    command += ["--memory", load.memory, "--spill", SPILL, "--backend", backend, *load.server]
    if not seconds:
        (scratch / "release").touch()
    env = {"TMPDIR": str(scratch)}
    with Child(command, log=scratch / "server.log", env=env, every=1, patience=10) as server:
        until(lambda: listens(port), server, WAIT)
        children: list[Child] = []
        with Resident(server.pid) as memory:
            try:
                for number, made in enumerate(sets):
                    blast: list[str | Path] = [sys.executable, HERE / "wire_blast.py", str(port), made.folder]
                    blast += ["--count", str(count), "--associations", str(load.associations)]
                    children.append(Child(blast, log=scratch / f"sender-{number}.log", every=60))
                until((scratch / "stalled").exists, server, WAIT)
                if seconds:
                    memory.now = "stalled"
                    until((scratch / "still").exists, server, WAIT)
                    time.sleep(seconds)
                    for child in children:
                        if not child.alive():
                            raise Failed(f"a sender did not wait{child.said()}")
                memory.now = "after"
                (scratch / "release").touch()
                for child in children:
                    child.wait(limit)
            finally:
                for child in children:
                    child.stop()
            (scratch / "over").touch()
            server.wait(WAIT)
    told = json.loads((scratch / "told.json").read_text())
    stored = sum(json.loads(child.log.read_text())["stored"] for child in children)
    arrived = {tuple(key): times for *key, times in told["came"]}
    if told["events"]:
        raise Failed(f"{len(told['events'])} events, the first: {told['events'][0]}")
    if arrived != expected or not stored == told["accepted"] == count * SENDERS:
        raise Failed(f"{count * SENDERS} sent, {stored} stored, {told['accepted']} accepted")
    return Outcome(memory.peaks, told, total, early)


def main(argv: list[str]) -> int:
    """1 when something was lost or the memory is more than it may be."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bytes", type=int, default=8 * 10**9, help="offered in all (8000000000)")
    parser.add_argument("--seconds", type=float, default=10, help="that it stalls (10)")
    parser.add_argument("--backend", default="asyncio", help="event loop of dcmflow")
    parser.add_argument("--only", default="", help="loads whose names have this")
    parser.add_argument("--limit", type=float, default=600, help="seconds that a sender may take")
    parser.add_argument("--disk", type=Path, help="a folder on a disk, where large ones go while they arrive")
    options = parser.parse_args(argv)
    print(machine())
    print(f"\nlimits.memory {parse_size(MEMORY) / 1e6:.0f} MB, {options.backend}\n{HEAD}", flush=True)
    root = Path(tempfile.mkdtemp(dir=options.disk, prefix="soak-stall-"))
    failures = []
    try:
        for load in LOADS:
            if options.only not in f"{load.set} {load.name}":
                continue
            sets = parts(root, load.set)
            for seconds in (0.0, options.seconds):
                name = f"{load.set} {load.name}" if seconds else "  the same without a stall"
                scratch = Path(tempfile.mkdtemp(dir=root))
                try:
                    outcome = stall(
                        load,
                        sets,
                        scratch,
                        offered=options.bytes,
                        seconds=seconds,
                        backend=options.backend,
                        limit=options.limit,
                    )
                except Failed as error:
                    failures.append(f"{load.set} {load.name}: {error}")
                    continue
                finally:
                    shutil.rmtree(scratch, ignore_errors=True)
                print(outcome.line(name, load.most), flush=True)
                highest = max(outcome.peaks.values())
                if highest > load.most:
                    failures.append(f"{load.set} {load.name}: {highest / 1e6:.0f} MB resident")
    finally:
        shutil.rmtree(root, ignore_errors=True)
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)
    return bool(failures)


def parts(root: Path, name: str) -> list[WireSet]:
    """The files of each sender, in folders below `root`."""
    made = make(root, name, DIFFERENT[name] * SENDERS, parts=SENDERS)
    found = []
    for folder in made.parts:
        files = tuple(file for file in made.files if file.parent == folder)
        found.append(WireSet(folder, files, sum(file.stat().st_size for file in files)))
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
