"""`dcmflow sort`: copies, moves and links a heap of files into folders."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest

import corpus
from acceptance_kit import Command, check_part10, dataset, digests, everything, report, visible
from corpus import Corpus

Tool = Callable[[str], str]
LAYOUT = "{PatientID}/{StudyDate:%Y}/{SeriesNumber:03d}-{SeriesDescription}/{InstanceNumber:04d}-{SOPInstanceUID}.dcm"


@pytest.fixture
def heap(base_set: Corpus, tmp_path: Path) -> Path:
    """BASE, its files beside each other with names that say nothing."""
    folder = tmp_path / "heap"
    folder.mkdir()
    for number, path in enumerate(base_set.paths):
        shutil.copy(path, folder / f"IM{number}")
    return folder


def test_sort_copies_by_a_template(
    run: Command, base_set: Corpus, heap: Path, tmp_path: Path, dcmtk: Tool
) -> None:
    run("sort", heap, tmp_path / "out", "--layout", LAYOUT).must(0)
    assert digests(visible(tmp_path / "out")) == digests(base_set.paths) == digests(visible(heap))
    for path in visible(tmp_path / "out"):
        ds = pydicom.dcmread(path)
        series = f"{int(ds.SeriesNumber):03d}-{ds.SeriesDescription}"
        name = f"{int(ds.InstanceNumber):04d}-{ds.SOPInstanceUID}.dcm"
        assert path.relative_to(tmp_path / "out") == Path(ds.PatientID, ds.StudyDate[:4], series, name)
        check_part10(path, dcmtk)


def test_sort_without_a_template(run: Command, base_set: Corpus, heap: Path, tmp_path: Path) -> None:
    run("sort", heap, tmp_path / "out").must(0)
    assert digests(visible(tmp_path / "out")) == digests(base_set.paths)
    assert {path.suffix for path in visible(tmp_path / "out")} == {".dcm"}


def test_move_leaves_nothing_of_what_arrived(
    run: Command, base_set: Corpus, heap: Path, tmp_path: Path
) -> None:
    (heap / "notes.txt").write_text("not DICOM")
    run("sort", heap, tmp_path / "out", "--move", "--layout", LAYOUT).must(0)
    assert digests(visible(tmp_path / "out")) == digests(base_set.paths)
    assert [path.name for path in visible(heap)] == ["notes.txt"]


def test_move_across_file_systems(
    run: Command, base_set: Corpus, heap: Path, small_tmpfs: Callable[[int], Path]
) -> None:
    disk = small_tmpfs(4 << 20)
    run("sort", heap, disk / "out", "--move").must(0)
    assert digests(visible(disk / "out")) == digests(base_set.paths)
    assert visible(heap) == []


def test_move_keeps_what_did_not_arrive(run: Command, base_set: Corpus, heap: Path, tmp_path: Path) -> None:
    cut = heap / "cut"
    cut.write_bytes(corpus.part10(corpus.mr(patient="CUT"))[:-100])
    taken = corpus.mr(patient="TAKEN")
    (heap / "taken").write_bytes(corpus.part10(taken))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / f"{taken.SOPInstanceUID}.dcm").write_bytes(b"somebody else's")
    arguments = ["--move", "--exists", "refuse", "--layout", "{SOPInstanceUID}.dcm"]
    done = run("sort", heap, tmp_path / "out", *arguments).must(1)
    assert [path.name for path in visible(heap)] == ["cut", "taken"]
    for name in ("cut", taken.SOPInstanceUID):
        assert name in done.err
    assert len(visible(tmp_path / "out")) == 13
    assert (tmp_path / "out" / f"{taken.SOPInstanceUID}.dcm").read_bytes() == b"somebody else's"


def test_move_does_not_remove_what_was_left_out(run: Command, tmp_path: Path) -> None:
    """Two objects of one UID with other pixels: `skip` keeps the first; the second one's only copy must stay."""
    corpus.clash(tmp_path / "in")
    for path in visible(tmp_path / "in"):
        if not path.name.startswith("pixels"):
            path.unlink()
    before = {path.name: dataset(path) for path in visible(tmp_path / "in")}
    run("sort", tmp_path / "in", tmp_path / "out", "--move").readable()
    kept = {dataset(path) for path in visible(tmp_path / "in") + visible(tmp_path / "out")}
    assert kept == set(before.values()), "no content is lost"


def test_link_makes_links(run: Command, base_set: Corpus, heap: Path, tmp_path: Path) -> None:
    run("sort", heap, tmp_path / "out", "--link").must(0)
    assert digests(visible(tmp_path / "out")) == digests(base_set.paths)
    inodes = {path.stat().st_ino for path in visible(heap)}
    for path in visible(tmp_path / "out"):
        assert not path.is_symlink()
        assert (path.stat().st_nlink, path.stat().st_ino in inodes) == (2, True)


def test_link_copies_where_it_cannot_link(
    run: Command, base_set: Corpus, heap: Path, small_tmpfs: Callable[[int], Path]
) -> None:
    disk = small_tmpfs(4 << 20)
    run("sort", heap, disk / "out", "--link").must(0)
    assert digests(visible(disk / "out")) == digests(base_set.paths)


def test_move_and_link_contradict_each_other(run: Command, heap: Path, tmp_path: Path) -> None:
    run("sort", heap, tmp_path / "out", "--move", "--link").must(2)
    assert not (tmp_path / "out").exists()
    assert len(visible(heap)) == 12


def test_a_dry_run_changes_nothing_and_tells_the_truth(run: Command, heap: Path, tmp_path: Path) -> None:
    before = everything(tmp_path)
    done = run(
        "sort", heap, tmp_path / "out", "--dry-run", "--move", "--layout", LAYOUT, "--format", "json"
    ).must(0)
    assert everything(tmp_path) == before
    told = [json.loads(line) for line in done.out.splitlines()]
    assert len(told) == 12
    run("sort", heap, tmp_path / "out", "--layout", LAYOUT).must(0)
    text = done.out
    for path in visible(tmp_path / "out"):
        assert json.dumps(str(path.relative_to(tmp_path / "out")))[1:-1] in text


def test_a_bare_word_is_never_made_a_folder(run: Command, heap: Path, tmp_path: Path) -> None:
    done = run("sort", "heap", "out", cwd=tmp_path).must(2)
    assert "./out" in done.err
    assert sorted(os.listdir(tmp_path)) == ["heap"]
    run("sort", "heap", "./out", cwd=tmp_path).must(0)
    assert len(visible(tmp_path / "out")) == 12
    run("sort", "heap", "out", cwd=tmp_path).must(0)  # it exists now


def test_a_misspelt_name_is_an_error_with_a_suggestion(run: Command, heap: Path, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        f'[dirs.research]\npath = "{tmp_path}/r"\nlayout = "{{SOPInstanceUID}}.x"\n'
    )
    done = run("sort", heap, "reserch", "--config", tmp_path / "c.toml").must(2)
    assert "research" in done.err
    assert not (tmp_path / "r").exists()
    run("sort", heap, "research", "--config", tmp_path / "c.toml").must(0)
    assert {path.suffix for path in visible(tmp_path / "r")} == {".x"}, "with the layout of the settings"
    assert len(visible(tmp_path / "r")) == 12


def test_a_missing_source_makes_nothing(run: Command, tmp_path: Path) -> None:
    done = run("sort", tmp_path / "nowhere", tmp_path / "out").must(2)
    assert "nowhere" in done.err
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "layout", ["../{SOPInstanceUID}", "/{SOPInstanceUID}", "{SeriesNumbr}/x", "{PatientID"]
)
def test_a_bad_template_moves_nothing(run: Command, heap: Path, tmp_path: Path, layout: str) -> None:
    run("sort", heap, tmp_path / "out", "--move", "--layout", layout).must(2)
    assert not (tmp_path / "out").exists()
    assert len(visible(heap)) == 12


def test_sorting_a_folder_into_itself_loses_nothing(run: Command, base_set: Corpus, heap: Path) -> None:
    run("sort", heap, heap, "--layout", LAYOUT).readable()
    assert set(digests(visible(heap))) == set(digests(base_set.paths))
    run("sort", heap, heap, "--move", "--layout", LAYOUT).readable()
    assert set(digests(visible(heap))) == set(digests(base_set.paths))


def test_moving_a_file_to_where_it_is_keeps_it(run: Command, base_set: Corpus, tmp_path: Path) -> None:
    run("sort", base_set.folder, tmp_path / "out").must(0)
    run("sort", tmp_path / "out", tmp_path / "out", "--move").readable()
    assert digests(visible(tmp_path / "out")) == digests(base_set.paths)
    again = tmp_path / "alias"
    again.symlink_to(tmp_path / "out")
    run("sort", again, tmp_path / "out", "--move").readable()
    assert digests(visible(tmp_path / "out")) == digests(base_set.paths)


def test_the_report_of_a_sort_closes(run: Command, heap: Path, tmp_path: Path) -> None:
    (heap / "cut").write_bytes(corpus.part10(corpus.mr(patient="CUT"))[:-100])
    (heap / "notes.txt").write_text("not DICOM")
    run("sort", heap, tmp_path / "out", "--report", tmp_path / "r.json").must(1)
    said = report(tmp_path / "r.json")
    assert (said["pipeline"]["emitted"], said["pipeline"]["accepted"], said["pipeline"]["not_dicom"]) == (
        13,
        12,
        1,
    )
    (refusal,) = said["refusals"]
    assert refusal["path"].endswith("cut")
