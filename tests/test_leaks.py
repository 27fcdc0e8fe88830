"""The watch that other tests rely on notices each kind of leak."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from leaks import Watch


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    work, scratch = tmp_path / "work", tmp_path / "scratch"
    work.mkdir()
    scratch.mkdir()
    return Watch(work, scratch)


def test_nothing_left(watch: Watch) -> None:
    (watch.folder / "result.dcm").write_bytes(b"kept on purpose")
    (watch.folder / ".dcmflow-index.sqlite").write_bytes(b"")
    assert watch.left() == []


def test_thread(watch: Watch) -> None:
    end = threading.Event()
    thread = threading.Thread(target=end.wait, name="forgotten")
    thread.start()
    try:
        assert watch.left(patience=0) == ["thread forgotten"]
    finally:
        end.set()
        thread.join()
    assert watch.left() == []


def test_child_process(watch: Watch) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        left = watch.left(patience=0)
        child.communicate(b"\n")
    assert len(left) == 1
    assert left[0].startswith(f"child process {child.pid}")
    assert watch.left() == []


def test_files(watch: Watch) -> None:
    kept = watch.folder / "kept.dcm"
    half = watch.folder / "deep" / ".kept.dcm.part"
    spilled = watch.scratch / "spill"
    half.parent.mkdir()
    half.write_bytes(b"")
    spilled.write_bytes(b"")
    with kept.open("wb"):
        assert watch.left() == [f"open file {kept}", f"temporary file {half}", f"temporary file {spilled}"]
