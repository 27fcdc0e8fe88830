"""A receiver that stalls: the memory of its process, and that nothing is lost, with less than `benchmarks/soak_stall.py` offers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from dcmflow.units import parse_size

FOLDER = Path(__file__).parents[2] / "benchmarks"
OURS = {path.stem for path in FOLDER.glob("*.py")}
OFFERED = 400_000_000
MEMORY = "32 MiB"

pytestmark = [
    pytest.mark.timeout(90),
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]


@pytest.fixture(scope="module")
def soak() -> Iterator[ModuleType]:
    """The module, which imports others by their bare names."""
    before = {name: sys.modules.pop(name) for name in OURS & sys.modules.keys()}
    sys.path.insert(0, str(FOLDER))
    try:
        yield import_module("soak_stall")
    finally:
        sys.path.remove(str(FOLDER))
        for name in OURS & sys.modules.keys():
            del sys.modules[name]
        sys.modules.update(before)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("respond", ["settled", "received"])
def test_a_stalled_receiver_holds_what_its_limit_says(
    soak: ModuleType, tmp_path: Path, backend: str, respond: str
) -> None:
    """Four senders offer twelve times the limit; `stall` raises unless each instance is answered with Success and arrives."""
    load = soak.Load("test", "CT", server=("--respond", respond, "--checksum"), memory=MEMORY)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    sets = soak.parts(tmp_path, "CT")
    outcome = soak.stall(load, sets, scratch, offered=OFFERED, seconds=0.5, backend=backend, limit=60)
    limit = parse_size(MEMORY)
    assert limit + soak.OVER + 2 * limit < OFFERED
    assert 0 < outcome.peaks["stalled"] < limit + soak.OVER
    assert max(outcome.peaks.values()) < limit + soak.OVER
    assert outcome.told["resident"] <= limit
    if respond == "received":
        assert outcome.told["resident"] > 0.9 * limit, "it was filled"
    else:
        assert outcome.told["unsettled"] == soak.SENDERS, "one instance of each association"
