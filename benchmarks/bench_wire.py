"""Over the wire: receiving, sending and forwarding, beside DCMTK, pynetdicom and Orthanc.

    receive:SET:ASSOCIATIONS:SENDER    sender -> each server in turn, written to a folder in memory
    send:SET:1                         a folder in memory -> each sender in turn -> storescp
    forward:SET:ASSOCIATIONS:SENDER    sender -> dcmflow -> storescp, beside sender -> storescp

A case is chosen by its name or the beginning of it: `bench_wire.py receive:SMALL:1 send`. In every round each
contender runs once, a different one first each time; ratios are those of the same round. After each run all that
was sent is compared with what has arrived, and a run in which something is missing has failed.

Columns: server and client are processor time (user and system) of one instance; anon is the peak of the anonymous
memory (RssAnon) and peak that of all resident memory (VmHWM) of the program that is measured: the server's in
`receive`, the sender's in `send`, that of dcmflow in `forward`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import wire_report
from run import machine
from wire_peers import (
    DCMSEND,
    FAST,
    SHIPPED,
    STORESCU,
    STORESCU_SHIPPED,
    Blast,
    Dcmflow,
    DcmflowSender,
    Orthanc,
    Pynetdicom,
    PynetdicomSender,
    Sender,
    Server,
    Storescp,
    storescp,
)
from wire_report import Result
from wire_runs import Plan, Run, forward, receive, send
from wire_sets import TITLES

LEFT_OUT = (
    "receive:CT:1:blast",
    "receive:BIG:1:blast",
    "forward:CT:1:blast",
    "forward:CT:4:blast",
)  # by --quick
MEMORY = Path("/dev/shm")
PROCESSES = 2  # of dcmflow --processes
COUNTS = {"SMALL": (3000, 400), "CT": (400, 120), "BIG": (4, 2)}  # in full, and with --quick
SENT = {"SMALL": (8000, 2000), "CT": (600, 200), "BIG": (4, 2)}  # where starting the sender takes long
SLOW = {"SMALL": 300, "CT": 100, "BIG": 4}  # instances for pynetdicom
SLOWER = {
    "SMALL": 100,
    "CT": 50,
    "BIG": 4,
}  # when it sends: the more there are, the likelier it loses a response


@dataclass(frozen=True)
class Case:
    """A name, and what its parts say: kind, set, associations, sender."""

    name: str
    set: str
    associations: int
    counts: tuple[int, int]
    contenders: Callable[[Plan, list[str]], Mapping[str, Callable[[], Run]]]

    @property
    def title(self) -> str:
        kind, name, associations, *by = self.name.split(":")
        many = "1 association" if associations == "1" else f"{associations} associations"
        return " · ".join([kind, f"{name} {TITLES[name]}", many, *by])


def _ours(backends: list[str], associations: int) -> list[Dcmflow]:
    """dcmflow with each event loop; where several associations could be shared, with several processes, too."""
    found = [Dcmflow(f"dcmflow ({backend})", backend=backend) for backend in backends]
    if associations > 1:
        found += [
            Dcmflow(f"dcmflow --processes {PROCESSES} ({backend})", backend=backend, processes=PROCESSES)
            for backend in backends
        ]
    return found


def _receive(
    case: str, servers: list[Server], sender: Sender, *, counts: tuple[int, int] | None = None
) -> Case:
    _, name, associations, _ = case.split(":")

    def contenders(plan: Plan, backends: list[str]) -> Mapping[str, Callable[[], Run]]:
        ours = _ours(backends, int(associations))
        return {server.name: partial(receive, plan, server, sender) for server in [*servers, *ours]}

    return Case(case, name, int(associations), counts or COUNTS[name], contenders)


def _one(name: str) -> list[Server]:
    plain, exact = storescp(), storescp("storescp +B", "+B")
    return [
        plain,
        exact,
        Pynetdicom("pynetdicom", at_most=SLOW[name]),
        Orthanc("Orthanc", patience=0, env={**FAST}),
    ]


def _many() -> list[Server]:
    plain, exact = storescp("storescp --fork", "--fork"), storescp("storescp --fork +B", "--fork", "+B")
    return [
        plain,
        exact,
        Pynetdicom("pynetdicom", at_most=SLOW["SMALL"]),
        Orthanc("Orthanc", patience=0, env={**FAST}),
    ]


def _send(name: str) -> Case:
    peers = [STORESCU, DCMSEND, PynetdicomSender("pynetdicom", at_most=SLOWER[name])]

    def contenders(plan: Plan, backends: list[str]) -> Mapping[str, Callable[[], Run]]:
        ours = [DcmflowSender(f"dcmflow ({backend})", backend=backend) for backend in backends]
        to = storescp("storescp +B", "+B")
        return {sender.name: partial(send, plan, sender, to) for sender in [*peers, *ours]}

    return Case(f"send:{name}:1", name, 1, SENT[name], contenders)


def _forward(associations: int, sender: Sender, by: str) -> Case:
    to = storescp("storescp --fork +B", "--fork", "+B")

    def contenders(plan: Plan, backends: list[str]) -> Mapping[str, Callable[[], Run]]:
        direct = {"direct": partial(forward, plan, None, sender, to)}
        ours = {
            server.name: partial(forward, plan, replace(server, associations=associations), sender, to)
            for server in _ours(backends, associations)
        }
        return {**direct, **ours}

    return Case(f"forward:CT:{associations}:{by}", "CT", associations, COUNTS["CT"], contenders)


CASES = [
    *(_receive(f"receive:{name}:1:storescu", _one(name), STORESCU) for name in COUNTS),
    *(_receive(f"receive:{name}:1:blast", _one(name), Blast("blast")) for name in COUNTS),
    _receive(
        "receive:SMALL:1:shipped",
        [Storescp("storescp", exact=False, env=SHIPPED)],
        STORESCU_SHIPPED,
        counts=(100, 40),
    ),
    *(
        _receive(f"receive:SMALL:{n}:blast", _many(), Blast("blast", associations=n), counts=(6400, 1280))
        for n in (8, 64)
    ),
    *(_send(name) for name in COUNTS),
    *(_forward(n, STORESCU, "storescu") for n in (1, 4)),
    *(_forward(n, Blast("blast", associations=n), "blast") for n in (1, 4)),
]


def parse(argv: list[str]) -> argparse.Namespace:
    """The options of this benchmark; those that all have first."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help="names of cases, or beginnings; all")
    parser.add_argument(
        "--quick", action="store_true", help="a try: two rounds, few instances, fewer cases, asyncio"
    )
    parser.add_argument("--rounds", type=int, help="times that each contender runs (5; 2 with --quick)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all measurements to FILE")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw them to FILE, as SVG")
    parser.add_argument("--list", action="store_true", help="print the names of the cases")
    parser.add_argument(
        "--only", action="append", metavar="NAME", help="contenders whose name begins so, and the first"
    )
    parser.add_argument("--backend", action="append", help="event loop of dcmflow; several times for several")
    parser.add_argument("--limit", type=float, help="seconds that a run may take (60; 15 with --quick)")
    parser.add_argument("--memory", type=Path, default=MEMORY, help="a folder in memory (/dev/shm)")
    parser.add_argument("--check", action="store_true", help="fail where dcmflow does not reach its floors")
    options = parser.parse_args(argv)
    options.rounds = options.rounds or (2 if options.quick else 5)
    options.limit = options.limit or (15 if options.quick else 60)
    options.backend = options.backend or (["asyncio"] if options.quick else ["asyncio", "trio", "uvloop"])
    unknown = [
        name for name in options.cases if not any(wire_report.matches(case.name, name) for case in CASES)
    ]
    if unknown:
        parser.error(f"no case {', '.join(unknown)}; there are: {', '.join(case.name for case in CASES)}")
    return options


def main(argv: list[str]) -> int:
    """1 when a run of dcmflow or of the contender that it is compared with failed; with --check, when a floor is missed."""
    options = parse(argv)
    chosen = [
        case
        for case in CASES
        if not options.cases or any(wire_report.matches(case.name, name) for name in options.cases)
    ]
    left_out = [case.name for case in chosen if case.name in LEFT_OUT]
    if options.quick and not options.cases:
        chosen = [case for case in chosen if case.name not in LEFT_OUT]
        print(f"left out unless they are named: {', '.join(left_out)}")
    if options.list:
        print("\n".join(case.name for case in chosen))
        return 0
    results = []
    root = Path(tempfile.mkdtemp(dir=options.memory, prefix="bench-wire-"))
    try:
        for case in chosen:
            results.append(measure(case, options, root))
            print(
                f"\n{results[-1].title} ({options.rounds} rounds)\n{wire_report.table(results[-1])}",
                flush=True,
            )
    finally:
        shutil.rmtree(root, ignore_errors=True)
    content = {"machine": machine().splitlines(), "cases": [result.plain() for result in results]}
    if options.json is not None:
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if options.plot is not None:
        from wire_plot import draw

        options.plot.write_text(draw(content), encoding="utf-8")
    return _code(results, check=options.check)


def measure(case: Case, options: argparse.Namespace, root: Path) -> Result:
    """All rounds of a case."""
    plan = Plan(root, case.set, case.counts[options.quick], case.associations, options.limit)
    contenders = dict(case.contenders(plan, options.backend))
    if options.only:
        first = next(iter(contenders))
        contenders = {
            name: run
            for name, run in contenders.items()
            if name == first or any(name.startswith(wanted) for wanted in options.only)
        }
    result = Result(case.name, case.title)
    live = sys.stderr.isatty()

    def say(text: str) -> None:
        if live:
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)

    wire_report.alternate(result, contenders, options.rounds, say)
    say("")
    return result


def _code(results: list[Result], *, check: bool) -> int:
    failed = missed = False
    for result in results:
        first = next(iter(result.runs), "")
        for name, runs in result.runs.items():
            held = name == first or name.startswith(wire_report.OURS)
            failed |= held and any(isinstance(run, str) for run in runs)
        missed |= any(not verdict.met for verdict in wire_report.verdicts(result))
    return 1 if failed or (check and missed) else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
