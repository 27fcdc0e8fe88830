"""What becomes of a source file once it is delivered, and when it is not."""

from __future__ import annotations

import shutil
from pathlib import Path

import anyio
import pydicom
import pytest

from acceptance_kit import (
    FLAT,
    Command,
    digest,
    digests,
    pipeline_file,
    run_here,
    visible,
)
from corpus import Corpus
from dcmflow import Pipeline


def test_a_file_is_deleted_only_once_every_sink_has_it(
    run: Command, base_set: Corpus, tmp_path: Path
) -> None:
    """One of two sinks refuses what the other one takes: that file stays where it was."""
    source = tmp_path / "in"
    shutil.copytree(base_set.folder, source)
    spoilt = next(path for path in visible(source) if "TestPat2" in str(path))
    ds = pydicom.dcmread(spoilt)
    for out in ("one", "two"):
        (tmp_path / out).mkdir()
    ds.PatientSex = "F"
    ds.save_as(tmp_path / "two" / f"{ds.SOPInstanceUID}.dcm")
    file = pipeline_file(
        tmp_path / "p.toml",
        sources={"in": {"type": "directory", "path": source, "after": "delete"}},
        sinks={
            out: {
                "type": "directory",
                "from": "in",
                "path": tmp_path / out,
                "layout": FLAT,
                "exists": "refuse",
            }
            for out in ("one", "two")
        },
    )
    run("run", file).must(1)
    assert visible(source) == [spoilt]
    assert digests(visible(tmp_path / "one")) == digests(base_set.paths), "the other branch has all of them"
    assert len(visible(tmp_path / "two")) == 12


def test_a_file_is_not_deleted_when_a_best_effort_sink_lacks_it(base_set: Corpus, tmp_path: Path) -> None:
    """The receipt says Success; "accepted by every sink" is more than that."""
    source = tmp_path / "in"
    shutil.copytree(base_set.folder, source)
    (tmp_path / "two").mkdir()
    uid = next(iter(base_set.uids.values()))
    (tmp_path / "two" / f"{uid}.dcm").write_text("in the way")
    file = pipeline_file(
        tmp_path / "p.toml",
        sources={"in": {"type": "directory", "path": source, "after": "delete"}},
        sinks={
            "one": {"type": "directory", "from": "in", "path": "one", "layout": FLAT},
            "two": {
                "type": "directory",
                "from": "in",
                "path": "two",
                "layout": FLAT,
                "exists": "refuse",
                "required": False,
            },
        },
    )
    run_here(file)
    assert [pydicom.dcmread(path).SOPInstanceUID for path in visible(source)] == [uid]


def test_a_file_is_not_deleted_when_its_content_is_nowhere_else(clash_set: Corpus, tmp_path: Path) -> None:
    """Two objects of one UID with other pixels: the sink keeps the first, the only copy of the other one stays."""
    (tmp_path / "in").mkdir()
    for letter in "ab":
        shutil.copy(clash_set[f"pixels-{letter}.dcm"], tmp_path / "in")
    file = pipeline_file(
        tmp_path / "p.toml",
        sources={"in": {"type": "directory", "path": "in", "after": "delete"}},
        sinks={"out": {"type": "directory", "from": "in", "path": "out"}},
    )
    anyio.run(Pipeline.from_file(file).run)
    left = set(digests(visible(tmp_path / "in") + visible(tmp_path / "out")))
    assert left == {digest(clash_set[f"pixels-{letter}.dcm"]) for letter in "ab"}


@pytest.mark.parametrize(
    ("sink", "fields"), [("discard", {}), ("directory", {"path": "out", "required": False})]
)
def test_check_warns_of_deleting_what_nobody_keeps(
    run: Command, base_set: Corpus, tmp_path: Path, sink: str, fields: dict[str, object]
) -> None:
    file = pipeline_file(
        tmp_path / "p.toml",
        sources={"in": {"type": "directory", "path": base_set.folder, "after": "delete"}},
        sinks={"out": {"type": sink, "from": "in", **fields}},
    )
    done = run("check", file).readable()
    assert "warning" in (done.out + done.err).lower()
    assert "delete" in done.out + done.err


def test_a_file_is_moved_aside_once_it_is_delivered(run: Command, base_set: Corpus, tmp_path: Path) -> None:
    source = tmp_path / "in"
    shutil.copytree(base_set.folder, source)
    file = pipeline_file(
        tmp_path / "p.toml",
        sources={"in": {"type": "directory", "path": "in", "after": "move:done"}},
        sinks={"out": {"type": "directory", "from": "in", "path": "out"}},
    )
    run("run", file, cwd="/").must(0)
    assert visible(source) == []
    for folder in ("done", "out"):
        assert digests(visible(tmp_path / folder)) == digests(base_set.paths), "relative to the file"
