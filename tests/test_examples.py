"""The pipeline files in examples/: each is right, and each does what its first lines say."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pydicom
import pydicom.data
import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(path.name for path in (ROOT / "examples").glob("*.toml"))
PYDICOM_FILES = Path(pydicom.data.__file__).parent / "test_files"
PATIENCE = 15  # seconds


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    """A copy, since pipelines write beside their files."""
    leave_out = shutil.ignore_patterns("out", "__pycache__")
    return shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=leave_out)


def _environment(**more: str) -> dict[str, str]:
    return {**os.environ, "NO_COLOR": "1", "KEY": "a long secret", "DCMFLOW_CONFIG": os.devnull, **more}


def _dcmflow(*words: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "dcmflow", *map(str, words)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=_environment(**more),
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def _run(file: Path, **more: str) -> dict[str, Any]:
    """Runs a pipeline; returns the figures of its report. Nothing to warn of, and the sums close."""
    report = file.parent / "report.json"
    done = _dcmflow("run", file, "--report", report, **more)
    assert "warning" not in done.stderr, done.stderr
    written: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    figures: dict[str, Any] = written["pipeline"]
    assert figures["emitted"] == figures["accepted"] + figures["dropped"] + figures["refused"] > 0
    assert figures["unsettled"] == 0
    return figures


def _read(folder: Path) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(path) for path in sorted(folder.rglob("*")) if path.is_file()]


def test_there_are_examples() -> None:
    assert "quickstart.toml" in FILES


@pytest.mark.parametrize("name", FILES)
def test_check(name: str, examples: Path) -> None:
    done = _dcmflow("check", examples / name)
    assert "nothing wrong" in done.stdout
    assert not done.stderr


def test_quickstart(examples: Path) -> None:
    figures = _run(examples / "quickstart.toml")
    assert (figures["emitted"], figures["accepted"], figures["not_dicom"]) == (63, 63, 1)
    images, reports = _read(examples / "out" / "images"), _read(examples / "out" / "reports")
    assert len(images) + len(reports) == 63
    assert {ds.Modality for ds in images} == {"CT", "MR"}
    assert {str(ds.PatientName) for ds in images} == {"Anon^Ymous"}
    assert not any("PatientBirthDate" in ds for ds in images)
    assert {ds.Modality for ds in reports} == {"SR"}
    assert pydicom.dcmread(PYDICOM_FILES / "test-SR.dcm") in reports


def test_sort_by_patient(examples: Path) -> None:
    figures = _run(examples / "sort-by-patient.toml")
    found = list(PYDICOM_FILES.glob("dicomdirtests/[79]*/**/*"))
    wanted = {pydicom.dcmread(path).SOPInstanceUID for path in found if path.is_file()}
    stored = _read(examples / "out" / "by-patient")
    assert wanted <= {ds.SOPInstanceUID for ds in stored}
    assert len(stored) == figures["accepted"] == len({ds.SOPInstanceUID for ds in stored})
    for ds in stored:
        assert Path(ds.filename).relative_to(examples / "out" / "by-patient").parts[0] == ds.PatientID


def test_research_copy(examples: Path) -> None:
    first = _run(examples / "research-copy.toml")
    _run(examples / "research-copy.toml", COPY="again")
    _run(examples / "research-copy.toml", COPY="other", KEY="another secret")
    assert first["accepted"] == 2
    copies = _read(examples / "out" / "research")
    assert copies == _read(examples / "again")
    uids = {ds.SOPInstanceUID for ds in copies}
    assert not uids & {ds.SOPInstanceUID for ds in _read(examples / "other")}
    for ds in copies:
        before = pydicom.dcmread(PYDICOM_FILES / f"{ds.Modality}_small.dcm")
        assert ds.PixelData == before.PixelData
        assert ds.StudyDate != before.StudyDate
        assert before.SOPInstanceUID not in uids
        assert before.PatientID not in str(ds)
        assert str(before.PatientName) not in str(ds)


def test_route_by_station(examples: Path) -> None:
    _run(examples / "route-by-station.toml")
    with (examples / "stations.csv").open(encoding="utf-8") as lines:
        table = {row["station"]: row["branch"] for row in csv.DictReader(lines)}
    assert set(table.values()) == {"body", "neuro"}
    for branch in ("body", "neuro", "unknown-station"):
        stored = _read(examples / "out" / branch)
        assert len(stored) == 5
        assert {table.get(ds.StationName, "unknown-station") for ds in stored} == {branch}


def _wait_for(condition: Any, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, "it ended"
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def test_watch_inbox(examples: Path) -> None:
    inbox, out = examples / "inbox", examples / "out"
    inbox.mkdir()
    command = [sys.executable, "-m", "dcmflow", "run", str(examples / "watch-inbox.toml"), "--quiet"]
    with subprocess.Popen(command, env=_environment(), stdin=subprocess.DEVNULL) as process:
        try:
            for name in ("CT_small.dcm", "test-SR.dcm"):  # the second one comes while it watches
                shutil.copy(PYDICOM_FILES / name, inbox / name)
                _wait_for(lambda: not list(inbox.iterdir()), process)
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
    assert [ds.Modality for ds in _read(out / "archive")] == ["CT"]
    (note,) = (out / "quarantine").glob("*.json")
    assert json.loads(note.read_text(encoding="utf-8"))["reason"].startswith("no PatientID")
    assert pydicom.dcmread(note.with_suffix(".dcm")) == pydicom.dcmread(PYDICOM_FILES / "test-SR.dcm")
