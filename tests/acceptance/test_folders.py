"""Folders into folders: what is found, what arrives, what it is called, and what is said of the rest."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian

import corpus
from acceptance_kit import (
    FLAT,
    Command,
    check_part10,
    dataset,
    digest,
    digests,
    everything,
    pipeline_file,
    report,
    run_here,
    source_to_sink,
    visible,
)
from corpus import Corpus

Tool = Callable[[str], str]


def copied(base: Corpus, folder: Path) -> Path:
    """BASE under the names that scanners and people give: without extension, in capitals, nested, hidden."""
    places = [
        "IM0001",
        "A.DCM",
        "b.ima",
        "c.dcm",
        "deep/er/and/deeper/1",
        "with blank.dcm",
        "Umlaut-ä.txt",
        "山田.dcm",
    ]
    places += [".hidden.dcm"]
    places += [f"numbers/{n}" for n in range(12 - len(places))]
    for place, path in zip(places, base.paths, strict=True):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / place)
    return folder


def test_a_copy_is_complete_and_byte_identical(
    run: Command, base_set: Corpus, tmp_path: Path, dcmtk: Tool
) -> None:
    run("run", source_to_sink(tmp_path / "p.toml", base_set.folder, tmp_path / "out")).must(0)
    arrived = visible(tmp_path / "out")
    assert len(arrived) == 12
    assert digests(arrived) == digests(base_set.paths)
    for path in arrived:
        check_part10(path, dcmtk)
        ds = pydicom.dcmread(path)
        own = Path(ds.PatientID, ds.StudyInstanceUID, ds.SeriesInstanceUID, f"{ds.SOPInstanceUID}.dcm")
        assert path.relative_to(tmp_path / "out") == own, "the default layout of the catalogue"
    assert everything(tmp_path / "out") == sorted(
        {str(p.relative_to(tmp_path / "out")) for path in arrived for p in (path, *path.parents[:3])}
    ), "no temporary file stays"


def test_a_second_copy_changes_nothing(base_set: Corpus, tmp_path: Path) -> None:
    file = source_to_sink(tmp_path / "p.toml", base_set.folder, tmp_path / "out")
    run_here(file)
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in visible(tmp_path / "out")}
    run_here(file)
    assert {
        path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in visible(tmp_path / "out")
    } == before


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_files_are_known_by_content_and_junk_is_counted(
    run: Command, base_set: Corpus, tmp_path: Path, backend: str
) -> None:
    folder = tmp_path / "in"
    corpus.junk(folder)
    for name in ("preamble-only.dcm", "unreadable.dcm"):  # below, on their own
        (folder / name).unlink()
    copied(base_set, folder)
    file = source_to_sink(tmp_path / "p.toml", folder, tmp_path / "out")
    run("run", file, "--backend", backend, "--report", tmp_path / "r.json").must(0)
    assert digests(visible(tmp_path / "out")) == digests(base_set.paths)
    said = report(tmp_path / "r.json")["pipeline"]
    assert said["accepted"] == 12
    junk = ["notes.txt", "empty.dcm", "random.bin", "random.dcm", "zeros", "picture.png"]
    assert said["not_dicom"] >= len(junk), said


@pytest.mark.parametrize("kind", ["forbidden", "cut"])
def test_what_cannot_be_read_is_named_and_the_rest_goes_on(
    run: Command, base_set: Corpus, tmp_path: Path, kind: str
) -> None:
    folder = copied(base_set, tmp_path / "in")
    lost = folder / "lost.dcm"
    whole = corpus.part10(corpus.mr(patient="LOST"))
    lost.write_bytes(whole if kind == "forbidden" else whole[:-100])
    lost.chmod(0 if kind == "forbidden" else 0o644)
    file = source_to_sink(tmp_path / "p.toml", folder, tmp_path / "out")
    done = run("run", file, "--report", tmp_path / "r.json", powerless=True).must(1)
    assert "lost.dcm" in done.err
    assert any("lost.dcm" in (each["path"] or "") for each in report(tmp_path / "r.json")["refusals"])
    assert digests(visible(tmp_path / "out")) == digests(base_set.paths)


def test_a_file_that_ends_after_its_meta_information_is_no_instance(
    run: Command, base_set: Corpus, tmp_path: Path
) -> None:
    """What a writer that died leaves: a stub that says what it would have been."""
    folder = copied(base_set, tmp_path / "in")
    ds = corpus.mr(patient="STUB")
    (folder / "stub.dcm").write_bytes(b"\0" * 128 + b"DICM" + corpus.meta(ds, ExplicitVRLittleEndian))
    done = run("run", source_to_sink(tmp_path / "p.toml", folder, tmp_path / "out")).must(1)
    assert "stub.dcm" in done.err
    assert digests(visible(tmp_path / "out")) == digests(base_set.paths)


def test_all_of_the_junk_hangs_nothing_and_loses_nothing(
    run: Command, base_set: Corpus, tmp_path: Path
) -> None:
    corpus.junk(tmp_path / "in")
    copied(base_set, tmp_path / "in")
    done = run("run", source_to_sink(tmp_path / "p.toml", tmp_path / "in", tmp_path / "out")).readable()
    assert done.code in (0, 1), done
    assert set(digests(base_set.paths)) <= set(digests(visible(tmp_path / "out")))


def test_files_as_they_come_off_a_wire(run: Command, wire_set: Corpus, tmp_path: Path, dcmtk: Tool) -> None:
    file = source_to_sink(tmp_path / "p.toml", wire_set.folder, tmp_path / "out", layout=FLAT)
    done = run("run", file, "--report", tmp_path / "r.json").must(1)
    arrived = {path.stem: path for path in visible(tmp_path / "out")}
    assert set(arrived) == {wire_set.uids[name] for name in wire_set.readable}
    for name in wire_set.readable:
        path = arrived[wire_set.uids[name]]
        check_part10(path, dcmtk)
        assert wire_set[name].read_bytes().endswith(dataset(path)), f"{name}: the data set keeps its bytes"
    said = report(tmp_path / "r.json")
    assert (said["pipeline"]["accepted"], said["pipeline"]["refused"]) == (len(wire_set.readable), 2)
    for name in ("truncated-pixels", "truncated-header"):
        assert name in done.err
        assert any(name in (each["path"] or "") for each in said["refusals"])


def test_every_transfer_syntax_and_class_passes_untouched(
    comp_set: Corpus, priv_set: Corpus, classes_set: Corpus, tmp_path: Path
) -> None:
    given = [*comp_set.paths, *priv_set.paths, *classes_set.paths]
    file = pipeline_file(
        tmp_path / "p.toml",
        sources={
            name: {"type": "directory", "path": one.folder}
            for name, one in {"comp": comp_set, "priv": priv_set, "classes": classes_set}.items()
        },
        sinks={
            "out": {
                "type": "directory",
                "from": ["comp", "priv", "classes"],
                "path": tmp_path / "out",
                "layout": FLAT,
                "fsync": False,
            }
        },
    )
    run_here(file)
    before = {str(pydicom.dcmread(p, stop_before_pixels=True, force=True).SOPInstanceUID): p for p in given}
    after = {path.stem: path for path in visible(tmp_path / "out")}
    assert set(before) == set(after)
    for uid, path in after.items():
        assert digest(path) == digest(before[uid])
        syntax = pydicom.filereader.read_file_meta_info(path).TransferSyntaxUID
        assert syntax == pydicom.filereader.read_file_meta_info(before[uid]).TransferSyntaxUID


CLASH_UIDS = (
    7  # ten files: three pairs of one SOP Instance UID, two of two, of which one pair is of two patients
)


def test_of_what_clashes_the_first_is_kept_and_the_conflict_is_said(
    run: Command, clash_set: Corpus, tmp_path: Path
) -> None:
    file = source_to_sink(
        tmp_path / "p.toml", clash_set.folder, tmp_path / "out", layout="{PatientID}/{SOPInstanceUID}.dcm"
    )
    done = run("run", file, "--report", tmp_path / "r.json").readable()
    arrived = {path.stem: path for path in visible(tmp_path / "out")}
    assert len(arrived) == CLASH_UIDS
    for pair in ("same-uid", "pixels", "copy"):
        given = {digest(clash_set[f"{pair}-{letter}.dcm"]) for letter in "ab"}
        assert digest(arrived[clash_set.uids[f"{pair}-a.dcm"]]) in given, "one of the two, whole"
    said = done.err + (tmp_path / "r.json").read_text()
    for pair in ("same-uid", "pixels"):
        assert clash_set.uids[f"{pair}-a.dcm"] in said, (
            f"{pair}: another content under the same name goes unsaid"
        )
    assert clash_set.uids["copy-a.dcm"] not in said, "the same content is always fine"


def test_keep_both_keeps_both(clash_set: Corpus, tmp_path: Path) -> None:
    file = source_to_sink(
        tmp_path / "p.toml", clash_set.folder, tmp_path / "out", layout=FLAT, exists="keep-both"
    )
    run_here(file)
    assert set(digests(visible(tmp_path / "out"))) == set(digests(clash_set.paths))
    assert len(visible(tmp_path / "out")) == 9, "two of the same content are one"


def test_refuse_refuses_what_differs_only(run: Command, clash_set: Corpus, tmp_path: Path) -> None:
    file = source_to_sink(
        tmp_path / "p.toml", clash_set.folder, tmp_path / "out", layout=FLAT, exists="refuse"
    )
    run("run", file, "--report", tmp_path / "r.json").must(1)
    said = report(tmp_path / "r.json")
    assert said["pipeline"]["refused"] == 2
    assert {each["sop_instance_uid"] for each in said["refusals"]} == {
        clash_set.uids["same-uid-a.dcm"],
        clash_set.uids["pixels-a.dcm"],
    }
    assert {each["stage"] for each in said["refusals"]} == {"out"}
    assert len(visible(tmp_path / "out")) == CLASH_UIDS


def test_replace_replaces(tmp_path: Path) -> None:
    for folder, shift in (("old", 0), ("new", 7)):
        (tmp_path / folder).mkdir()
        ds = corpus.mr(patient="REPLACE", PixelData=corpus.picture(16, shift))
        (tmp_path / folder / "x").write_bytes(corpus.part10(ds))
        file = source_to_sink(
            tmp_path / "p.toml", tmp_path / folder, tmp_path / "out", layout=FLAT, exists="replace"
        )
        run_here(file)
    (kept,) = visible(tmp_path / "out")
    assert digest(kept) == digest(tmp_path / "new" / "x")


@pytest.mark.parametrize(("by", "left"), [("sop-instance", CLASH_UIDS), ("content", 9)])
def test_dedupe_lets_one_of_a_kind_through(clash_set: Corpus, tmp_path: Path, by: str, left: int) -> None:
    file = pipeline_file(
        tmp_path / "p.toml",
        sources={"in": {"type": "directory", "path": clash_set.folder}},
        filters={"once": {"type": "dedupe", "from": "in", "by": by}},
        sinks={"out": {"type": "directory", "from": "once", "path": tmp_path / "out", "exists": "keep-both"}},
    )
    statistics = run_here(file)
    assert len(visible(tmp_path / "out")) == left
    assert (statistics.pipeline.accepted, statistics.pipeline.dropped) == (left, 10 - left)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_twelve_destinations_all_get_everything(base_set: Corpus, tmp_path: Path, backend: str) -> None:
    outs = [tmp_path / f"out{n}" for n in range(12)]
    file = pipeline_file(
        tmp_path / "p.toml",
        sources={"in": {"type": "directory", "path": base_set.folder}},
        sinks={out.name: {"type": "directory", "from": "in", "path": out, "fsync": False} for out in outs},
    )
    run_here(file, backend=backend)
    expected = digests(base_set.paths)
    for out in outs:
        assert digests(visible(out)) == expected


def test_a_missing_source_folder_is_found_before_anything_is_made(run: Command, tmp_path: Path) -> None:
    done = run("run", source_to_sink(tmp_path / "p.toml", tmp_path / "nowhere", tmp_path / "out")).must(2)
    assert "nowhere" in done.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.toml"]


def test_a_destination_that_cannot_be_opened_is_found_before_anything_is_made(
    run: Command, base_set: Corpus, tmp_path: Path
) -> None:
    (tmp_path / "plain").write_text("no folder")
    file = pipeline_file(
        tmp_path / "p.toml",
        sources={"in": {"type": "directory", "path": base_set.folder}},
        sinks={
            "bad": {"type": "directory", "from": "in", "path": tmp_path / "plain" / "below"},
            "good": {"type": "directory", "from": "in", "path": tmp_path / "good"},
        },
    )
    done = run("run", file).must(2)
    assert "bad" in done.err
    assert str(tmp_path / "plain") in done.err
    assert (tmp_path / "plain").read_text() == "no folder"
    assert visible(tmp_path / "good") == []


def test_a_source_that_stops_being_there_is_said_and_the_rest_goes_on(
    run: Command, base_set: Corpus, tmp_path: Path
) -> None:
    """A second source is a file cut off in its header: named, exit 1, and the first source is complete."""
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(base_set.paths[0].read_bytes()[:700])
    file = pipeline_file(
        tmp_path / "p.toml",
        sources={
            "good": {"type": "directory", "path": base_set.folder},
            "cut": {"type": "directory", "path": cut},
        },
        sinks={"out": {"type": "directory", "from": ["good", "cut"], "path": tmp_path / "out"}},
    )
    done = run("run", file).must(1)
    assert "cut.dcm" in done.err
    assert digests(visible(tmp_path / "out")) == digests(base_set.paths)
