"""One run: a server is started, instances are sent, what arrived is compared with what was sent.

What a program takes to start is measured with one instance and subtracted, for every program that sends; the
sender of wire_blast.py has a clock of its own.
"""

from __future__ import annotations

import json
import shutil
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from wire_peers import Blast, Dcmflow, Sender, Server, free_port
from wire_process import Child, Failed
from wire_sets import WireSet, make

STARTS = 3  # how often a start is measured


@dataclass(frozen=True)
class Run:
    """What one run took.

    Attributes:
        seconds: that the instances took.
        command: seconds of the whole command that sent them.
        instances, bytes: that were sent in this time.
        server_cpu, client_cpu: seconds of processor time; the client's with its start.
        anon, peak: bytes of memory of the one that is measured: RssAnon, VmHWM.
    """

    seconds: float
    command: float
    instances: int
    bytes: int
    server_cpu: float
    client_cpu: float
    anon: int
    peak: int


@dataclass(frozen=True)
class Plan:
    """What is the same for all contenders of a case.

    Args:
        root: a folder in memory, with the sets.
        set: the name of the set.
        count: its instances.
        associations: at once; each `sender` of another program than ours has one, so there are so many of them.
        limit: seconds that a run may take.
    """

    root: Path
    set: str
    count: int
    associations: int
    limit: float

    def instances(self, at_most: int | None) -> WireSet:
        """The set, or less of it."""
        return make(self.root, self.set, min(self.count, at_most or self.count), parts=self.associations)


def receive(plan: Plan, server: Server, sender: Sender) -> Run:
    """The server is what is measured."""
    with _scratch(plan.root) as scratch:
        sets = [make(plan.root, "PRIME", 8), plan.instances(server.at_most)]
        port, folder = free_port(), scratch / "received"
        with server.start(port, folder, scratch, prime=sets[0], every=_every(plan)) as child:
            run = _send(plan, sender, port, sets, child, scratch)
            server.check(sets, folder, scratch)
        return replace(run, anon=child.anon, peak=child.peak)


def send(plan: Plan, sender: Sender, server: Server) -> Run:
    """The sender is what is measured."""
    with _scratch(plan.root) as scratch:
        sets = [make(plan.root, "PRIME", 8), plan.instances(sender.at_most)]
        port, folder = free_port(), scratch / "received"
        with server.start(port, folder, scratch, prime=sets[0], every=0.5) as child:
            run = _send(plan, sender, port, sets, child, scratch)
            server.check(sets, folder, scratch)
        return run


def forward(plan: Plan, by: Dcmflow | None, sender: Sender, server: Server) -> Run:
    """From the sender to the server, by way of dcmflow (which is what is measured) or directly."""
    if by is None:
        return receive(plan, server, sender)
    with _scratch(plan.root) as scratch:
        sets = [make(plan.root, "PRIME", 8), plan.instances(None)]
        port, folder = free_port(), scratch / "received"
        (scratch / "target").mkdir()
        nothing = WireSet(scratch, (), 0)
        with server.start(port, folder, scratch / "target", prime=nothing, every=0.5):
            between = replace(by, to=port)
            port = free_port()
            with between.start(port, scratch / "none", scratch, prime=sets[0], every=_every(plan)) as child:
                run = _send(plan, sender, port, sets, child, scratch)
                server.check(sets, folder, scratch)
        return replace(run, anon=child.anon, peak=child.peak)


def _send(plan: Plan, sender: Sender, port: int, sets: list[WireSet], server: Child, scratch: Path) -> Run:
    many, starting = sets[-1], 0.0
    if not isinstance(sender, Blast):
        first = make(plan.root, "FIRST", plan.associations, parts=plan.associations)
        sets.append(first)
        starting = statistics.median(
            _finish([sender.start(port, part, scratch) for part in first.parts], plan.limit)[0]
            for _ in range(STARTS)
        )
    before = server.cpu()
    folders = [many.folder] if isinstance(sender, Blast) else many.parts
    children = [sender.start(port, folder, scratch) for folder in folders]
    command, cpu, ended = _finish(children, plan.limit)
    server_cpu = server.cpu() - before
    seconds = command - starting
    if isinstance(sender, Blast):
        said = json.loads(children[0].log.read_text())
        seconds = said["seconds"]
    if seconds <= 0:
        raise Failed(f"{len(many.files)} instances took no longer than one; more are needed")
    peak = {"anon": sum(child.anon for child in ended), "peak": max(child.peak for child in ended)}
    return Run(seconds, command, len(many.files), many.bytes, server_cpu, cpu, **peak)


def _finish(children: Sequence[Child], limit: float) -> tuple[float, float, Sequence[Child]]:
    """Until all have ended: seconds, seconds of processor time."""
    seconds = cpu = 0.0
    try:
        for child in children:
            taken, used = child.wait(limit)
            seconds = max(seconds, child.started - children[0].started + taken)
            cpu += used
    finally:
        for child in children:
            child.stop()
    return seconds, cpu, children


def _every(plan: Plan) -> float:
    """Seconds between two looks at the memory: short for large instances, long for many processes."""
    return 0.1 if plan.associations > 8 else 0.01 if plan.set == "BIG" else 0.03


@contextmanager
def _scratch(root: Path) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(dir=root, prefix="run-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
