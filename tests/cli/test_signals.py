"""The first SIGINT or SIGTERM drains, the second cancels."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Start = Callable[..., subprocess.Popen[str]]
Write = Callable[..., Path]
INT, TERM = signal.SIGINT, signal.SIGTERM


def _until(process: subprocess.Popen[str], word: str) -> str:
    """The log line in which a word comes for the first time."""
    assert process.stderr is not None
    for line in process.stderr:
        if word in line:
            return line
    pytest.fail(f"ended without saying {word!r}")


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize(("number", "code"), [(INT, 130), (TERM, 0)])
def test_first_signal_drains(
    start: Start, pipeline: Write, work: Path, number: signal.Signals, code: int, backend: str
) -> None:
    process = start("run", pipeline("slow", instances=1_000_000), "--report", "r.json", "--backend", backend)
    _until(process, "pipeline-started")
    process.send_signal(number)
    _, said = process.communicate(timeout=15)
    assert process.returncode == code, said
    assert "pipeline-draining" in said
    report = json.loads((work / "r.json").read_text())["pipeline"]
    assert 0 < report["emitted"] == report["accepted"] < 1_000_000
    assert report["unsettled"] == report["refused"] == 0


@pytest.mark.parametrize(("first", "second", "code"), [(INT, INT, 130), (TERM, TERM, 1), (TERM, INT, 130)])
def test_second_signal_cancels(
    start: Start, pipeline: Write, work: Path, first: signal.Signals, second: signal.Signals, code: int
) -> None:
    process = start("run", pipeline("stuck"), "--report", "r.json")
    _until(process, "pipeline-started")
    process.send_signal(first)
    _until(process, "pipeline-draining")
    process.send_signal(second)
    _, said = process.communicate(timeout=15)
    assert process.returncode == code, said
    assert "pipeline-cancelled" in said
    report = json.loads((work / "r.json").read_text())["pipeline"]
    assert report["emitted"] == report["refused"] > 0


def test_grace_runs_out(start: Start, pipeline: Write) -> None:
    process = start("run", pipeline("stuck"), "--grace", "100 ms")
    _until(process, "pipeline-started")
    process.send_signal(TERM)
    _, said = process.communicate(timeout=15)
    assert process.returncode == 1, said
    assert "pipeline-cancelled" in said


@pytest.mark.parametrize(("number", "code"), [(INT, 130), (TERM, 0)])
def test_signal_while_stages_open(
    start: Start, work: Path, pipeline: Write, number: signal.Signals, code: int
) -> None:
    file = pipeline("slow_to_load")
    functions = work / "functions_of_this_test.py"
    functions.write_text(
        "import sys, time\nprint('opening', file=sys.stderr, flush=True)\ntime.sleep(1)\n"
        "def slow_to_load(instance):\n    return instance\n"
    )
    process = start("run", file)
    _until(process, "opening")
    process.send_signal(number)
    _, said = process.communicate(timeout=15)
    assert process.returncode == code, said
    assert "Traceback" not in said
