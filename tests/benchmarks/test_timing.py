"""The helper that compares contenders, and the runner of benchmarks."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def timing() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_timing", FOLDER / "timing.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_contenders_take_turns(timing: ModuleType) -> None:
    calls: list[str] = []

    def contender(name: str) -> object:
        def run() -> float:
            calls.append(name)
            return float(len(calls))

        return run

    seconds, skipped = timing.alternate({name: contender(name) for name in "ab"}, 3)
    assert "".join(calls) == "ba" + "ab" + "ba" + "ab"  # a round to warm up, then three
    assert seconds == {"a": [3.0, 6.0, 7.0], "b": [4.0, 5.0, 8.0]}
    assert skipped == {}


def test_contender_that_cannot_run(timing: ModuleType) -> None:
    def missing() -> float:
        raise timing.Skipped("storescu is not installed")

    seconds, skipped = timing.alternate({"a": missing, "b": lambda: 1.0}, 2)
    assert seconds == {"b": [1.0, 1.0]}
    assert skipped == {"a": "storescu is not installed"}
    assert "a: skipped: storescu is not installed" in timing.table({"b": [1.0, 1.0]}, "instances", skipped)


def test_table_compares_round_by_round(timing: ModuleType) -> None:
    rates = {"first": [100.0, 200.0, 400.0], "second": [200.0, 400.0, 800.0]}
    assert timing.table(rates, "instances", {}).splitlines() == [
        "          instances/s  quartiles  ratio    quartiles",
        "  first           200  150 - 300   1.00  1.00 - 1.00",
        "  second          400  300 - 600   2.00  2.00 - 2.00",
    ]


def test_comparison_writes_what_it_measured(timing: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    options = timing.arguments("Nothing.", ["--quick", "--json", str(file)])
    with timing.Comparison("nothing", unit="calls", work=10, options=options) as comparison:
        rates = comparison.run({"a": lambda: 2.0, "b": lambda: 4.0}, case="small")
    assert rates == {"a": [5.0] * 3, "b": [2.5] * 3}
    assert json.loads(file.read_text()) == {
        "title": "nothing",
        "unit": "calls",
        "tables": [{"case": "small", "work": 10, "seconds": {"a": [2.0] * 3, "b": [4.0] * 3}, "skipped": {}}],
    }


def test_timed(timing: ModuleType) -> None:
    calls: list[int] = []
    assert timing.timed(lambda: calls.append(1))() >= 0
    assert calls == [1]


@pytest.fixture
def runner(tmp_path: Path) -> Path:
    """A folder of benchmarks with two that work and one that does not."""
    for name in ("run.py", "timing.py"):
        shutil.copy(FOLDER / name, tmp_path / name)
    works = "import timing\n\ndef main(argv):\n    print('{}', argv)\n    return {}\n"
    (tmp_path / "bench_one.py").write_text(works.format("this is one", 0))
    (tmp_path / "bench_two.py").write_text(works.format("this is two", 0))
    (tmp_path / "bench_wrong.py").write_text(works.format("this is wrong", 1))
    return tmp_path / "run.py"


def _run(runner: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(runner), *arguments], capture_output=True, text=True, check=False, timeout=15
    )


def test_runner_runs_what_was_named(runner: Path) -> None:
    done = _run(runner, "two", "one", "--quick")
    assert done.returncode == 0
    assert done.stdout.startswith("processor")
    assert done.stdout.index("this is two ['--quick']") < done.stdout.index("this is one ['--quick']")
    assert "wrong" not in done.stdout


def test_runner_goes_on_after_a_failure(runner: Path, tmp_path: Path) -> None:
    (tmp_path / "bench_zero.py").write_text("def main(argv):\n    print('this is zero')\n    return 0\n")
    done = _run(runner)
    assert done.returncode == 1
    assert "failed: wrong" in done.stderr
    assert "this is zero" in done.stdout


def test_runner_knows_its_benchmarks(runner: Path) -> None:
    done = _run(runner, "three")
    assert done.returncode == 2
    assert "no benchmark three; there are: one, two, wrong" in done.stderr
    assert done.stdout == ""
