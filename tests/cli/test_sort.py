"""`dcmflow sort`: DICOM files into folders."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest

import corpus
from corpus import Corpus
from terminal import on_terminal

Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]

LAYOUT = "{PatientID}/{SOPInstanceUID}.dcm"


@pytest.fixture
def base(work: Path) -> Corpus:
    return corpus.base(work / "in")


def uids(folder: Path) -> list[str]:
    """What the files of a folder hold, read with other eyes."""
    return sorted(pydicom.dcmread(path).SOPInstanceUID for path in files(folder))


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() or path.is_symlink())


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in files(folder)}


def test_copies_by_layout(dcmflow: Run, base: Corpus, work: Path) -> None:
    before = everything(base.folder)
    done = dcmflow("sort", "in", "./out", "--layout", LAYOUT, "--report", "report.json")
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    assert "emitted 12 = accepted 12" in done.stdout
    assert [str(path.relative_to(work / "out")) for path in files(work / "out")] == sorted(
        f"{pydicom.dcmread(path).PatientID}/{pydicom.dcmread(path).SOPInstanceUID}.dcm" for path in base.paths
    )
    assert uids(work / "out") == sorted(base.uids.values())
    assert everything(base.folder) == before
    report = json.loads((work / "report.json").read_text())
    assert report["pipeline"]["accepted"] == report["pipeline"]["emitted"] == 12
    assert report["refusals"] == []


def test_again_is_no_change(dcmflow: Run, base: Corpus, work: Path) -> None:
    for _ in range(2):
        assert dcmflow("sort", "in", "./out").returncode == 0
    assert len(files(work / "out")) == 12


def test_the_usual_layout(dcmflow: Run, base: Corpus, work: Path) -> None:
    assert dcmflow("sort", base.paths[0], "./out").returncode == 0
    ds = pydicom.dcmread(base.paths[0])
    expected = f"{ds.PatientID}/{ds.StudyInstanceUID}/{ds.SeriesInstanceUID}/{ds.SOPInstanceUID}.dcm"
    assert [str(path.relative_to(work / "out")) for path in files(work / "out")] == [expected]


def test_moves_what_was_accepted(dcmflow: Run, base: Corpus, work: Path) -> None:
    (base.folder / "notes.txt").write_text("no DICOM here")
    cut = base.folder / "cut.dcm"
    cut.write_bytes(base.paths[0].read_bytes()[:-100])
    done = dcmflow("sort", "in", "./out", "--move", "--layout", LAYOUT, "--report", "report.json")
    assert done.returncode == 1
    assert str(cut) in done.stderr
    assert files(base.folder) == sorted([base.folder / "notes.txt", cut])
    assert uids(work / "out") == sorted(base.uids.values())
    report = json.loads((work / "report.json").read_text())
    assert (report["pipeline"]["accepted"], report["pipeline"]["refused"]) == (12, 1)
    assert report["pipeline"]["not_dicom"] == 1
    assert [row["path"] for row in report["refusals"]] == [str(cut)]


def test_a_moved_file_is_the_same_file(dcmflow: Run, base: Corpus, work: Path) -> None:
    before = base.paths[0].read_bytes()
    assert dcmflow("sort", base.paths[0], "./out", "--move").returncode == 0
    (moved,) = files(work / "out")
    assert moved.read_bytes() == before
    assert moved.stat().st_nlink == 1


def test_links(dcmflow: Run, base: Corpus, work: Path) -> None:
    assert dcmflow("sort", "in", "./out", "--link").returncode == 0
    inodes = {path.stat().st_ino for path in base.paths}
    assert {path.stat().st_ino for path in files(work / "out")} == inodes
    assert dcmflow("sort", "in", "./copies").returncode == 0
    assert not {path.stat().st_ino for path in files(work / "copies")} & inodes


@pytest.mark.parametrize(
    ("exists", "code", "count"), [("skip", 0, 1), ("replace", 0, 1), ("keep-both", 0, 2), ("refuse", 1, 1)]
)
def test_when_another_version_is_there(dcmflow: Run, work: Path, exists: str, code: int, count: int) -> None:
    pair = corpus.clash(work / "in")
    dcmflow("sort", pair["pixels-a.dcm"], "./out", "--layout", LAYOUT)
    (first,) = files(work / "out")
    stored = first.read_bytes()
    arguments = ["sort", pair["pixels-b.dcm"], "out", "--layout", LAYOUT, "--exists", exists]
    preview = dcmflow(*arguments, "--dry-run")
    assert preview.returncode == code, preview.stderr
    assert files(work / "out") == [first]
    assert first.read_bytes() == stored
    done = dcmflow(*arguments)
    assert done.returncode == code, done.stderr
    assert len(files(work / "out")) == count
    assert (first.read_bytes() == stored) is (exists != "replace")
    if code == 0:
        others = [path for path in files(work / "out") if path != first]
        assert preview.stdout.startswith(f"{pair['pixels-b.dcm']} -> {[*others, first][0]}")


def test_a_dry_run_says_where_everything_would_go(dcmflow: Run, base: Corpus, work: Path) -> None:
    (base.folder / "notes.txt").write_text("no DICOM here")
    before = everything(work)
    arguments = ["sort", "in", "./out", "--layout", LAYOUT]
    for options in ([], ["--move"], ["--link"]):
        done = dcmflow(*arguments, "--dry-run", *options)
        assert done.returncode == 0, done.stderr
        planned = [line.split(" -> ") for line in done.stdout.splitlines()]
        assert sorted(source for source, _ in planned) == sorted(map(str, base.paths))
        assert "12 files; nothing was changed" in done.stderr
        assert not (work / "out").exists()
        assert everything(work) == before
    dcmflow(*arguments)
    assert sorted(target for _, target in planned) == sorted(map(str, files(work / "out")))
    again = dcmflow(*arguments, "--dry-run", "--format", "json")
    rows = [json.loads(line) for line in again.stdout.splitlines()]
    assert {row["note"] for row in rows} == {"is there already"}
    assert {row["to"] for row in rows} == set(map(str, files(work / "out")))
    assert dcmflow(*arguments, "--dry-run", "--quiet").stderr == ""


def test_a_dry_run_shows_what_would_collide(dcmflow: Run, base: Corpus, work: Path) -> None:
    arguments = ["sort", "in", "./out", "--layout", "{PatientID}.dcm"]
    planned = dcmflow(*arguments, "--dry-run")
    assert planned.returncode == 1
    assert len(planned.stdout.splitlines()) == 2
    assert "add {SOPInstanceUID} to the layout" in planned.stderr
    assert not (work / "out").exists()
    real = dcmflow(*arguments)
    assert real.returncode == 1
    assert "accepted 2 + dropped 0 + refused 10" in real.stdout


def test_junk_is_passed_over(dcmflow: Run, base: Corpus, work: Path) -> None:
    junk = corpus.junk(work / "in" / "junk")
    junk["preamble-only.dcm"].unlink()
    junk["unreadable.dcm"].unlink()
    if "dangling.dcm" in junk:
        junk["dangling.dcm"].unlink()
    done = dcmflow("sort", "in", "./out", "--layout", LAYOUT)
    assert done.returncode == 0, done.stderr
    assert uids(work / "out") == sorted(base.uids.values())


def test_evil_ids_stay_inside(dcmflow: Run, work: Path) -> None:
    evil = corpus.evil(work / "in")
    before = everything(work / "in")
    done = dcmflow(
        "sort", "in", "./out/deep", "--layout", "{PatientID}/{SeriesDescription}/{SOPInstanceUID}.dcm"
    )
    assert done.returncode == 0, done.stderr
    assert uids(work / "out" / "deep") == sorted(evil.uids.values())
    assert [path.name for path in (work / "out").iterdir()] == ["deep"]
    assert everything(work / "in") == before


def test_an_archive(dcmflow: Run, base: Corpus, work: Path) -> None:
    shutil.make_archive(str(work / "all"), "zip", base.folder)
    done = dcmflow("sort", "all.zip", "./out", "--layout", LAYOUT)
    assert done.returncode == 0, done.stderr
    assert uids(work / "out") == sorted(base.uids.values())


# -- source and destination in one another


def test_a_destination_inside_the_source(dcmflow: Run, base: Corpus, work: Path) -> None:
    for options in ([], ["--move"], ["--move"]):
        done = dcmflow("sort", ".", "./in/sorted [1]", "--layout", LAYOUT, *options)
        assert done.returncode == 0, done.stderr
        assert uids(work / "in" / "sorted [1]") == sorted(base.uids.values())
    assert len(uids(work / "in")) == 12, "moved once, and then left alone"


def test_a_link_into_the_destination_loses_nothing(dcmflow: Run, base: Corpus, work: Path) -> None:
    dcmflow("sort", "in", "./out", "--layout", LAYOUT)
    shutil.rmtree(work / "in")
    (work / "in").mkdir()
    (work / "in" / "alias").symlink_to(work / "out", target_is_directory=True)
    done = dcmflow("sort", "in", "./out", "--layout", LAYOUT, "--move")
    assert done.returncode == 1
    assert "leads into the destination" in done.stderr
    assert uids(work / "out") == sorted(base.uids.values())


def test_a_source_inside_the_destination(dcmflow: Run, base: Corpus, work: Path) -> None:
    done = dcmflow("sort", "in/TestPat1", "in", "--layout", LAYOUT, "--move")
    assert done.returncode == 2
    assert "lies in" in done.stderr
    assert len(files(work / "in")) == 12
    done = dcmflow("sort", "in/TestPat2", "in", "--layout", LAYOUT)
    assert done.returncode == 0, done.stderr
    assert len(files(work / "in")) == 16


@pytest.mark.parametrize("dest", ["in", "./in", "in/../in", "alias"])
@pytest.mark.parametrize("options", [[], ["--move"], ["--dry-run"]])
def test_one_and_the_same_folder(
    dcmflow: Run, base: Corpus, work: Path, dest: str, options: list[str]
) -> None:
    (work / "alias").symlink_to(work / "in", target_is_directory=True)
    before = everything(work / "in")
    done = dcmflow("sort", "in", dest, *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert "the same folder" in done.stderr
    assert everything(work / "in") == before


# -- what cannot be right


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["in"], "DEST"),
        (["nowhere", "./out"], "there is no file or folder nowhere"),
        (["", "./out"], "is empty"),
        (["in", "ot"], "a new directory is written './ot'"),
        (["in", "PACS@localhost:104"], "is a node"),
        (["in", "./out", "--layout", "../{PatientID}"], "--layout"),
        (["in", "./out", "--layout", "{PatientIdentity}"], "PatientIdentity"),
        (["in", "./out", "--move", "--link"], "contradict"),
        (["in", "./out", "--exists", "maybe"], "maybe"),
        (["in", "./out", "--dry-run", "--report", "r.json"], "--report"),
        (["in", "./{PatientID}.dcm", "--layout", "{StudyID}.dcm"], "two layouts"),
        (["in", "file.txt"], "file.txt"),
        (["in", "file.txt/out"], "file.txt"),
        (["in", "./out", "--report", "no/such/folder/r.json"], "r.json"),
    ],
)
def test_nothing_is_made_by_a_mistake(
    dcmflow: Run, base: Corpus, work: Path, arguments: list[str], said: str
) -> None:
    (work / "file.txt").write_text("a file")
    before = everything(work)
    done = dcmflow("sort", *arguments)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert everything(work) == before
    assert not (work / "out").exists() or not files(work / "out")


def test_names_of_the_settings(dcmflow: Run, base: Corpus, work: Path) -> None:
    settings = work / "settings.toml"
    settings.write_text(
        '[dirs.inbox]\npath = "in"\n[dirs.research]\npath = "store"\nlayout = "{PatientID}/{SOPInstanceUID}.dcm"\n'
    )
    done = dcmflow("sort", "--config", settings, "inbox", "research")
    assert done.returncode == 0, done.stderr
    assert {path.parent.name for path in files(work / "store")} == {"TestPat1", "TestPat2"}
    done = dcmflow("sort", "--config", settings, "inbox", "reserch")
    assert done.returncode == 2
    assert "research" in done.stderr


def test_a_layout_at_the_end_of_the_destination(dcmflow: Run, base: Corpus, work: Path) -> None:
    assert dcmflow("sort", "in", "./out/{PatientID}/{SOPInstanceUID}.dcm").returncode == 0
    assert uids(work / "out") == sorted(base.uids.values())


def test_quiet(dcmflow: Run, base: Corpus) -> None:
    done = dcmflow("sort", "in", "./out", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_json(dcmflow: Run, base: Corpus) -> None:
    done = dcmflow("sort", "in", "./out", "--format", "json")
    assert json.loads(done.stdout)["pipeline"]["accepted"] == 12


def test_nothing_to_do(dcmflow: Run, work: Path) -> None:
    (work / "in").mkdir()
    done = dcmflow("sort", "in", "./out")
    assert done.returncode == 0
    assert "emitted 0" in done.stdout


def test_on_a_terminal(base: Corpus, work: Path, environment: dict[str, str]) -> None:
    shown = on_terminal(["sort", "in", "./out"], environment, cwd=work)
    assert shown.code == 0
    assert "emitted 12 = accepted 12" in shown.out
    assert os.listdir(work / "out")
