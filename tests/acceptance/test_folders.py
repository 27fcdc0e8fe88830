"""Folders into folders: what is found, what arrives, what it is called, and what is said of the rest."""

from __future__ import annotations

import shutil
import unicodedata
import warnings
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import anyio
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
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
from dcmflow import ConfigError, Instance, Layout, Pipeline

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


def test_missing_and_empty_values_have_a_place_each(holes_set: Corpus, tmp_path: Path) -> None:
    layout = "{PatientID}/{PatientName}/{StudyDate}-{StudyTime}/{StudyID}/{Modality}/{SeriesNumber:03d}-{SeriesDescription}"
    layout += "/{InstanceNumber:05d}-{SOPInstanceUID}.dcm"
    run_here(source_to_sink(tmp_path / "p.toml", holes_set.folder, tmp_path / "out", layout=layout))
    assert digests(visible(tmp_path / "out")) == digests(holes_set.paths)
    assert {len(path.relative_to(tmp_path / "out").parts) for path in visible(tmp_path / "out")} == {7}


def test_a_missing_value_falls_back_where_the_template_says_so(holes_set: Corpus, tmp_path: Path) -> None:
    layout = "{PatientID|unknown}/{StudyDate:%Y|undated}/{SOPInstanceUID}.dcm"
    run_here(source_to_sink(tmp_path / "p.toml", holes_set.folder, tmp_path / "out", layout=layout))
    for name in ("no-PatientID.dcm", "empty-PatientID.dcm"):
        assert (tmp_path / "out" / "unknown" / "2019" / f"{holes_set.uids[name]}.dcm").is_file()
    for name in ("no-StudyDate.dcm", "empty-StudyDate.dcm"):
        assert (tmp_path / "out" / "HOLES" / "undated" / f"{holes_set.uids[name]}.dcm").is_file()


@pytest.mark.parametrize(
    "layout",
    [
        None,
        "{PatientID}.dcm",
        "{PatientID}/{SeriesDescription}/{SOPInstanceUID}.dcm",
        "x{PatientID}x/{SOPInstanceUID}",
        "{PatientID}/{InstanceNumber}.dcm",
    ],
)
def test_no_path_leaves_its_root_and_no_two_patients_share_a_folder(
    evil_set: Corpus, tmp_path: Path, layout: str | None
) -> None:
    root = tmp_path / "a" / "b" / "c" / "root"
    root.parent.mkdir(parents=True)
    fields = {"layout": layout} if layout else {}
    file = source_to_sink(tmp_path / "p.toml", evil_set.folder, root, exists="keep-both", **fields)
    before = set(everything(tmp_path))
    run_here(file)
    assert digests(visible(root)) == digests(evil_set.paths), "all of them, each as a visible file of its own"
    outside = [name for name in set(everything(tmp_path)) - before if not name.startswith("a/b/c/root")]
    assert outside == []
    assert not Path("/etc/x").exists()
    owners = defaultdict(set)
    for path in visible(root):
        assert path.resolve().is_relative_to(root.resolve())
        assert not path.is_symlink()
        parts = path.relative_to(root).parts
        for part in parts:
            assert part.strip(), "no part of a path is blank"
            assert part not in (".", "..")
            assert not any(unicodedata.category(letter) == "Cc" for letter in part), repr(part)
            assert len(part.encode()) <= 255
        encoded = pydicom.dcmread(path, stop_before_pixels=True).get_item("PatientID").value or b""
        owners[parts[0]].add(encoded.strip())  # blanks around a Patient ID mean nothing (PS3.5 6.2, LO)
    assert {folder: ids for folder, ids in owners.items() if len(ids) > 1} == {}


@pytest.mark.parametrize(
    "layout",
    ["../{SOPInstanceUID}", "/{SOPInstanceUID}", "{PatientID}/../../{SOPInstanceUID}", "{PatientId}/x", ""],
)
def test_a_template_that_cannot_be_right_is_found_before_anything_moves(
    lone: Path, tmp_path: Path, layout: str
) -> None:
    file = source_to_sink(tmp_path / "p.toml", lone, tmp_path / "out", layout=layout)
    with pytest.raises(ConfigError) as caught:
        run_here(file)
    for word in ("p.toml", "sinks.out", "layout"):
        assert word in str(caught.value)
    assert not (tmp_path / "out").exists()


IDS = ["a", "A", "a.", "a b", "a  b", "a_b", "a-b", "a/b", "a%2Fb", "a%b", "a%25b", "..", ".", "...", "%2E%2E", "_", "-", "",
       "CON", "con", "CON.x", "%43ON", "NUL", "a:b", "a*b", "a?b", "a|b", "~", "~a", "$HOME", "`a`", "ä", "a\u0308", "山", "🧠",
       "x" * 64, "x" * 63 + "y", "unknown", "none", "missing", ".a", ".dcmflow", "a\u200b", "\u202ea", "{PatientID}", "a.dcm",
       "aux.txt", "COM1", "lpt9", "a" * 250, "山" * 64, "山" * 63 + "川", "()", "[a]", "#a",
       "a;b", "a&b", "<a>", '"a"', "'a'"]  # fmt: skip


@pytest.mark.parametrize(
    "template", ["{PatientID}", "{PatientID}/x", "x{PatientID}", "{PatientID}.dcm", "a/{PatientID|none}/b"]
)
def test_two_ids_never_become_one_path(template: str) -> None:
    layout = Layout(template)
    paths: dict[str, str] = {}
    for value in IDS:
        if value in ("", "none") and "|" in template:
            continue  # there the template says that they are the same
        with warnings.catch_warnings(action="ignore"):  # some are longer than they may be
            ds = corpus.mr(SpecificCharacterSet="ISO_IR 192", PatientID=value)
            path = layout.path(Instance.from_bytes(corpus.part10(ds)))
        assert path not in paths, f"{value!r} and {paths[path]!r} both become {path!r}"
        paths[path] = value
        for part in path.split("/"):
            assert part not in ("", ".", "..")
            assert len(part.encode()) <= 255
            assert "\0" not in part
            assert "\\" not in part
        assert len(path.split("/")) == len(template.split("/"))


@settings(max_examples=150)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=64), min_size=2, max_size=6))
def test_whatever_the_ids_are_paths_differ_where_they_do(values: list[str]) -> None:
    instance = Instance.from_dataset(corpus.mr(SpecificCharacterSet="ISO_IR 192"))
    layout = Layout("{PatientID}")
    meant = {value.strip(" ") for value in values}  # blanks around it mean nothing (PS3.5 6.2, LO)
    paths = {layout.path(instance.with_elements({"PatientID": value})) for value in values}
    assert len(paths) == len(meant)
    assert not {"", ".", ".."} & paths
    assert not any("/" in path or len(path.encode()) > 255 for path in paths)


@pytest.mark.parametrize("name", corpus.CHAR_NAMES)
def test_names_of_many_scripts_stay_as_they_came(char_set: Corpus, tmp_path: Path, name: str) -> None:
    given = char_set[f"{name}.dcm"]
    file = source_to_sink(
        tmp_path / "p.toml", given, tmp_path / "out", layout="{PatientName}/{SOPInstanceUID}.dcm"
    )
    run_here(file)
    (arrived,) = visible(tmp_path / "out")
    assert digest(arrived) == digest(given)
    text = corpus.CHAR_NAMES[name][1]
    for word in text.replace("=", "^").split("^"):
        assert word in arrived.parent.name, f"{text} became {arrived.parent.name}"


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
