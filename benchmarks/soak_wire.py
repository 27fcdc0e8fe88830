"""A long load on one `dcmflow run` with an `scp` and a `discard`: `python soak_wire.py --count 1000000`.

    first      6400 over 64 associations, so that what grows at first has grown
    senders    20 processes at once, one association each, a twentieth of the instances
    idle       256 associations that wait while 64 others send half of the instances, and then work
    long       what is left, over 8 associations

Every instance must be answered with Success, and the anonymous memory (RssAnon) must not grow: what it is at the end
of a phase, it was in its second eighth, give or take 8 MB or a tenth. The report of the run must count every instance.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from run import machine
from wire_peers import HERE, free_port, listens, pipeline, run
from wire_process import Child, Failed, Watch, memory, until
from wire_sets import WireSet, make

SENDERS, IDLE, BUSY, LONG = 20, 256, 64, 8
FIRST, LEAST = 6400, 40000
GROWTH, SHARE = 8e6, 0.1


@dataclass
class Samples(Watch):
    """Anonymous memory of a process, looked at over and over while a phase lasts."""

    pid: int
    values: list[int] = field(default_factory=list)
    every: float = 0.02

    def look(self) -> None:
        self.values.append(memory(self.pid)[0])

    def growth(self) -> tuple[float, float]:
        """Medians of the second and the last eighth, in bytes. Raises Failed when that is too few."""
        if len(self.values) < 16:
            raise Failed(f"only {len(self.values)} looks at the memory; more instances are needed (--count)")
        eighth = len(self.values) // 8
        early, late = (
            statistics.median(self.values[eighth : 2 * eighth]),
            statistics.median(self.values[-eighth:]),
        )
        return early, late


def phase(
    name: str,
    server: Child,
    port: int,
    sets: WireSet,
    count: int,
    *,
    each: list[str],
    senders: int,
    limit: float,
) -> int:
    """Load from some processes at once; prints one line. Returns the number of instances sent. Raises Failed."""
    scratch = server.log.parent
    share = str(-(-count // senders))
    start, cpu = time.perf_counter(), server.cpu()
    script: list[str | Path] = [
        sys.executable,
        HERE / "wire_blast.py",
        str(port),
        sets.folder,
        "--count",
        share,
        *each,
    ]
    children: list[Child] = []
    with Samples(server.pid) as samples:
        try:
            for number in range(senders):
                children.append(Child(script, log=scratch / f"{name}-{number}.log", every=60))
            for child in children:
                child.wait(limit)
        finally:
            for child in children:
                child.stop()
    if not server.alive():
        raise Failed(f"dcmflow ended{server.said()}")
    sent: int = sum(json.loads(child.log.read_text())["stored"] for child in children)
    seconds = time.perf_counter() - start
    early, late = samples.growth()
    print(
        f"{name:<8} {sent:>8} instances  {sent / seconds:>6.0f}/s  {(server.cpu() - cpu) / sent * 1000:.3f} ms each  "
        f"anon {early / 1e6:.1f} -> {late / 1e6:.1f} MB, peak {max(samples.values) / 1e6:.1f} MB",
        flush=True,
    )
    if name != "first" and late - early > max(GROWTH, SHARE * early):
        raise Failed(f"{name}: memory grows: {early / 1e6:.1f} MB, then {late / 1e6:.1f} MB")
    return sent


def main(argv: list[str]) -> int:
    """1 when something was not stored or the memory grew."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=1_000_000, help="instances in all (1000000)")
    parser.add_argument("--backend", default="asyncio", help="event loop of dcmflow")
    parser.add_argument("--limit", type=float, default=3600, help="seconds that a phase may take")
    parser.add_argument("--memory", type=Path, default=Path("/dev/shm"), help="a folder in memory (/dev/shm)")
    options = parser.parse_args(argv)
    if options.count < LEAST:
        parser.error(f"--count is {LEAST} at least: with less there is nothing to be seen")
    print(machine())
    root = Path(tempfile.mkdtemp(dir=options.memory, prefix="soak-wire-"))
    try:
        soak(root, options)
    except Failed as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return 0


def soak(root: Path, options: argparse.Namespace) -> None:
    """All phases against one server. Raises Failed."""
    port, report = free_port(), root / "report.json"
    source = ("scp", {"listen": f"DCMFLOW@127.0.0.1:{port}", "max-associations": IDLE + 2 * BUSY})
    file = pipeline(root / "soak.toml", source, ("discard", {}))
    command = [*run(options.backend, file), "--report", report]
    sets, count = make(root, "SMALL", 100), options.count
    with Child(command, log=root / "server.log", every=1, patience=60) as server:
        until(lambda: listens(port), server, 30)
        load = {"server": server, "port": port, "sets": sets, "limit": options.limit}
        many = ["--associations", str(BUSY)]
        sent = phase("first", count=FIRST, each=many, senders=1, **load)
        sent += phase("senders", count=count // 20, each=[], senders=SENDERS, **load)
        sent += phase("idle", count=count // 2, each=[*many, "--idle", str(IDLE)], senders=1, **load)
        sent += phase("long", count=count - sent, each=["--associations", str(LONG)], senders=1, **load)
    figures = json.loads(report.read_text())["pipeline"] if report.exists() else {}
    if figures.get("accepted") != sent or figures.get("emitted") != sent:
        raise Failed(f"{sent} instances were sent; the report says {figures or 'nothing'}")
    print(
        f"{'all':<8} {sent:>8} instances  anon peak {server.anon / 1e6:.1f} MB, resident {server.peak / 1e6:.1f} MB"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
