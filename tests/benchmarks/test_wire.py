"""The benchmark over the wire: its encoder against pynetdicom's decoder, its verdicts, its picture."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import anyio
import pytest

from dcmflow.testing import synthesize

FOLDER = Path(__file__).parents[2] / "benchmarks"
OURS = {path.stem for path in FOLDER.glob("*.py")}


@pytest.fixture(scope="module")
def modules() -> Iterator[dict[str, ModuleType]]:
    """All of the benchmark's modules, which import each other by their bare names."""
    before = {name: sys.modules.pop(name) for name in OURS & sys.modules.keys()}
    sys.path.insert(0, str(FOLDER))
    try:
        yield {
            name: import_module(name)
            for name in ("bench_wire", "wire_blast", "wire_report", "wire_runs", "wire_sets", "wire_plot")
        }
    finally:
        sys.path.remove(str(FOLDER))
        for name in OURS & sys.modules.keys():
            del sys.modules[name]
        sys.modules.update(before)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    made = list(synthesize(instances=6, size=70_000))

    async def save() -> None:
        for number, instance in enumerate(made):
            await instance.save(tmp_path / f"{number}.dcm")

    anyio.run(save)
    return sorted(tmp_path.glob("*.dcm"))


class Peer:
    """pynetdicom, which keeps what it gets."""

    def __init__(self, maximum: int, status: int = 0) -> None:
        from pynetdicom import AE, AllStoragePresentationContexts, evt

        self.got: dict[str, bytes] = {}
        self._lock = threading.Lock()

        def store(event: Any) -> int:
            with self._lock:
                self.got[event.request.AffectedSOPInstanceUID] = event.request.DataSet.getvalue()
            return status

        ae = AE()
        ae.supported_contexts = AllStoragePresentationContexts
        ae.maximum_pdu_size = maximum
        self._server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
        self.port = self._server.server_address[1]

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()


@pytest.mark.parametrize(("maximum", "associations"), [(0, 1), (16384, 1), (16384, 3)])
def test_blast_sends_what_the_files_hold(
    modules: dict[str, ModuleType], files: list[Path], maximum: int, associations: int
) -> None:
    blast = modules["wire_blast"]
    with Peer(maximum) as peer:
        assert blast.send(peer.port, files, associations=associations) > 0
    expected = [blast.read(path) for path in files]
    assert peer.got == {file.sop_instance.decode(): bytes(file.dataset) for file in expected}


def test_blast_takes_no_failure_for_success(modules: dict[str, ModuleType], files: list[Path]) -> None:
    blast = modules["wire_blast"]
    with Peer(0, status=0xA700) as peer, pytest.raises(blast.Blocked, match="status 0xA700"):
        blast.send(peer.port, files)


@pytest.mark.parametrize("exact", [True, False])
def test_what_is_missing_or_cut_or_another_is_noticed(
    modules: dict[str, ModuleType], files: list[Path], tmp_path: Path, exact: bool
) -> None:
    sets, arrived = modules["wire_sets"], tmp_path / "arrived"
    made = sets.WireSet(tmp_path, tuple(files), sum(file.stat().st_size for file in files))
    arrived.mkdir()
    for file in files:
        (arrived / file.name).write_bytes(file.read_bytes())
    sets.verify([made], arrived, exact=exact)
    last = arrived / files[-1].name
    for wrong, said in (
        (last.read_bytes()[:-4096], "is not what was sent"),
        (files[0].read_bytes(), "of 6|not arrive"),
    ):
        last.write_bytes(wrong)
        with pytest.raises(sets.Failed, match=said):
            sets.verify([made], arrived, exact=exact)
    last.unlink()
    with pytest.raises(sets.Failed, match="5 of 6 instances arrived"):
        sets.verify([made], arrived, exact=exact)


def _result(modules: dict[str, ModuleType], name: str, runs: dict[str, list[Any]]) -> Any:
    def run(value: Any) -> Any:
        if isinstance(value, str):
            return value
        return modules["wire_runs"].Run(value, value, 1000, 13_000_000, 0.1, 0.1, 200_000_000, 2)

    result = modules["wire_report"].Result(name, name)
    result.runs = {name: [run(value) for value in values] for name, values in runs.items()}
    return result


def test_a_floor_is_held_against_the_same_round(modules: dict[str, ModuleType]) -> None:
    runs = {"storescp": [1.0, "lost", 4.0], "dcmflow (asyncio)": [0.5, 0.1, 2.0]}
    result = _result(modules, "receive:SMALL:1:storescu", runs)
    met, unknown = modules["wire_report"].verdicts(result)
    assert (met.reached, met.met) == (2.0, True)
    assert (unknown.reached, unknown.met) == (None, False)  # there was no pynetdicom
    assert "storescp: 1 of 3 rounds failed: lost" in modules["wire_report"].table(result)


def test_memory_is_a_floor_of_big(modules: dict[str, ModuleType]) -> None:
    result = _result(modules, "receive:BIG:1:blast", {"storescp": [1.0], "dcmflow (trio)": [1.0]})
    *_, memory = modules["wire_report"].verdicts(result)
    assert (memory.reached, memory.met) == (200.0, False)
    assert "MISS dcmflow (trio): anonymous memory below, MB 150: 200" in modules["wire_report"].table(result)


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [("receive:SMALL:8", True), ("receive", True), ("receive:SMALL:80", False), ("send", False)],
)
def test_cases_are_chosen_by_the_beginning(modules: dict[str, ModuleType], wanted: str, chosen: bool) -> None:
    assert modules["wire_report"].matches("receive:SMALL:8:blast", wanted) is chosen


def test_every_floor_belongs_to_a_case(modules: dict[str, ModuleType]) -> None:
    matches, cases = modules["wire_report"].matches, modules["bench_wire"].CASES
    assert all(
        any(matches(case.name, floor.case) for case in cases) for floor in modules["wire_report"].FLOORS
    )


def test_the_picture_has_a_bar_for_each_contender(modules: dict[str, ModuleType]) -> None:
    runs = {"storescp": [1.0, 2.0], "dcmflow (asyncio)": [0.5, 1.0], "Orthanc": ["too long", "too long"]}
    content = {"machine": ["a & b"], "cases": [_result(modules, "receive:CT:1:blast", runs).plain()]}
    picture = ElementTree.fromstring(modules["wire_plot"].draw(content))
    space = "{http://www.w3.org/2000/svg}"
    assert len(picture.findall(f"{space}rect")) == 1 + 2
    assert "a & b" in [text.text for text in picture.iter(f"{space}text")]
