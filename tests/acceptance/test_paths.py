"""What a file is called: inside its root, one path for one object, in the letters its patient is written with."""

from __future__ import annotations

import unicodedata
import warnings
from collections import defaultdict
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import corpus
from acceptance_kit import (
    digest,
    digests,
    everything,
    run_here,
    source_to_sink,
    visible,
)
from corpus import Corpus
from dcmflow import ConfigError, Instance, Layout


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
