"""`dcmflow index`: builds and refreshes the index of a folder."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import corpus
from corpus import Corpus
from dcmflow.cli.index import Progress
from dcmflow.dicom.level import Level
from dcmflow.dicom.query import Query
from dcmflow.sync import Index

Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]
NAME = ".dcmflow-index.sqlite"


@pytest.fixture
def base(work: Path) -> Corpus:
    return corpus.base(work / "in")


def counts(done: Done) -> tuple[int, ...]:
    said = json.loads(done.stdout)
    return tuple(said[key] for key in ("new", "changed", "gone", "unchanged", "read"))


def test_says_what_changed(dcmflow: Run, base: Corpus) -> None:
    done = dcmflow("index", "in")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(
        "in: 12 instances (12 new, 0 changed, 0 unchanged), 0 gone, 0 not DICOM, 0 broken, "
    )
    assert done.stderr == ""
    base.paths[0].unlink()
    done = dcmflow("index", "in")
    assert done.stdout.startswith("in: 11 instances (0 new, 0 changed, 11 unchanged), 1 gone, ")
    with Index.open(base.folder, create=False) as index:
        assert len(list(index.find(Query(Level.IMAGE, {})))) == 11


def test_json(dcmflow: Run, base: Corpus) -> None:
    corpus.clash(base.folder / "clash")
    done = dcmflow("index", "in", "--format", "json")
    said = json.loads(done.stdout)
    assert (done.returncode, said["instances"], said["new"]) == (0, 22, 22)
    assert said["index"] == str(base.folder / NAME)
    assert ["clash/copy-a.dcm", "clash/copy-b.dcm"] in [one["paths"] for one in said["duplicates"]]


def test_broken_files_are_named_and_the_rest_is_indexed(dcmflow: Run, base: Corpus) -> None:
    base.paths[0].write_bytes(base.paths[0].read_bytes()[:-9])
    corpus.junk(base.folder / "junk")
    (base.folder / "junk" / "unreadable.dcm").unlink()
    for _ in range(2):
        done = dcmflow("index", "in")
        assert done.returncode == 1
        assert base.readable[0] in done.stderr
        assert "past the end" in done.stderr
        assert "11 instances" in done.stdout
        assert "1 broken" in done.stdout or "2 broken" in done.stdout  # a link to nowhere is one, too
    done = dcmflow("index", "in", "--format", "json")
    assert base.readable[0] in [one["path"] for one in json.loads(done.stdout)["broken"]]


def test_modes(dcmflow: Run, base: Corpus) -> None:
    assert counts(dcmflow("index", "in", "--format", "json")) == (12, 0, 0, 0, 12)
    assert counts(dcmflow("index", "in", "--format", "json")) == (0, 0, 0, 12, 0)
    assert counts(dcmflow("index", "in", "--format", "json", "--mode", "check")) == (0, 0, 0, 12, 12)
    assert counts(dcmflow("index", "in", "--format", "json", "--mode", "scrub")) == (0, 0, 0, 12, 12)
    assert counts(dcmflow("index", "in", "--format", "json", "--rebuild")) == (12, 0, 0, 0, 12)


def test_rot_is_an_error(dcmflow: Run, base: Corpus) -> None:
    dcmflow("index", "in", "--mode", "scrub")
    path = base.paths[0]
    status, data = path.stat(), bytearray(path.read_bytes())
    data[-5] ^= 4
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert dcmflow("index", "in").returncode == 0
    done = dcmflow("index", "in", "--mode", "scrub")
    assert done.returncode == 1
    assert base.readable[0] in done.stderr
    assert "1 rotten" in done.stdout


def test_elsewhere(dcmflow: Run, base: Corpus, work: Path) -> None:
    assert dcmflow("index", "in", "--index", "x.sqlite").returncode == 0
    assert (work / "x.sqlite").exists()
    assert not (base.folder / NAME).exists()


def test_a_name_of_the_settings(dcmflow: Run, base: Corpus, work: Path) -> None:
    (work / "settings.toml").write_text(f'[dirs.research]\npath = "{base.folder}"\n')
    done = dcmflow("--config", "settings.toml", "index", "research")
    assert (done.returncode, (base.folder / NAME).exists()) == (0, True), done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "no file or folder nowhere"),
        (["in/notes.txt"], "only a folder"),
        (["in", "--index", "in/notes.txt"], "left alone"),
        (["in", "--index", "nowhere/x.sqlite"], "--index"),
        (["in", "--mode", "guess"], "trust"),
        (["in", "--format", "csv"], "text or json"),
    ],
)
def test_what_cannot_be_right(dcmflow: Run, base: Corpus, arguments: list[str], said: str) -> None:
    (base.folder / "notes.txt").write_text("These are notes, and they are no database.\n" * 40)
    done = dcmflow("index", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert not (base.folder / NAME).exists()


def test_one_that_was_broken_is_made_again_and_said(dcmflow: Run, base: Corpus) -> None:
    (base.folder / NAME).write_text("rubbish " * 200)
    done = dcmflow("index", "in")
    assert done.returncode == 0
    assert "made again" in done.stderr
    assert "12 new" in done.stdout


def test_quiet_says_nothing(dcmflow: Run, base: Corpus) -> None:
    done = dcmflow("-q", "index", "in")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_progress_says_how_many_how_fast_and_how_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus.big(tmp_path, 200, 64)
    monkeypatch.setattr("dcmflow.observe.progress.FIRST_AFTER", 0)
    monkeypatch.setattr("dcmflow.observe.progress.EVERY", 0)
    progress = Progress()
    assert not progress.wanted  # this is no terminal
    with Index.open(tmp_path) as index:
        index.refresh(progress=progress)
    progress.close()
    lines = capsys.readouterr().err.split("\r\x1b[K")
    assert lines[1].startswith("64 of 200 files, ")
    assert lines[2].startswith("128 of 200 files, ")
    assert lines[2].endswith(" remaining")
    assert "files/s" in lines[2]
    assert lines[-1] == ""
