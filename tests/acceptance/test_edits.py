"""Edits: what is asked for, where it is asked for, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian

import corpus
from acceptance_kit import FLAT, Command, check_part10, dataset, digests, pipeline_file, run_here, visible
from corpus import Corpus
from dcmflow import ConfigError

Tool = Callable[[str], str]
TALAIRACH = "1.2.840.10008.1.4.1.1"  # a well-known frame of reference (PS3.6 A)


def edited(source: Path, out: Path, **edit: Any) -> list[Dataset]:
    """What a pipeline with one edit makes of a file or folder."""
    file = pipeline_file(
        out.with_suffix(".toml"),
        sources={"in": {"type": "directory", "path": source}},
        filters={"change": {"type": "edit", "from": "in", **edit}},
        sinks={"out": {"type": "directory", "from": "change", "path": out, "layout": FLAT}},
    )
    run_here(file)
    return [pydicom.dcmread(path) for path in visible(out)]


def differing(one: Dataset, other: Dataset) -> set[str]:
    """Tags of top-level elements that two data sets do not share."""
    return {str(tag) for tag in one.keys() | other.keys() if one.get(tag) != other.get(tag)}


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_edit_of_one_branch_does_not_show_in_another(
    base_set: Corpus, tmp_path: Path, backend: str, dcmtk: Tool
) -> None:
    sinks = {"from-a": "a", "from-b": "b", "plain": "in"}
    file = pipeline_file(
        tmp_path / "p.toml",
        sources={"in": {"type": "directory", "path": base_set.folder}},
        filters={
            "a": {"type": "edit", "from": "in", "set": {"PatientName": "Of^A"}, "remove": ["StudyDate"]},
            "b": {
                "type": "edit",
                "from": "in",
                "set": {"SeriesDescription": "of b"},
                "blank": ["PatientSex"],
            },
        },
        sinks={
            name: {"type": "directory", "from": stage, "path": name, "layout": FLAT}
            for name, stage in sinks.items()
        },
    )
    run_here(file, backend=backend)
    assert digests(visible(tmp_path / "plain")) == digests(base_set.paths)
    for name, uid in base_set.uids.items():
        before = pydicom.dcmread(base_set[name])
        a, b = (pydicom.dcmread(tmp_path / folder / f"{uid}.dcm") for folder in ("from-a", "from-b"))
        assert differing(before, a) == {"(0008,0020)", "(0010,0010)"}
        assert (a.PatientName, "StudyDate" in a) == ("Of^A", False)
        assert differing(before, b) == {"(0008,103E)", "(0010,0040)"}
        assert (b.SeriesDescription, b.PatientSex) == ("of b", "")
    for path in visible(tmp_path / "from-a")[::3] + visible(tmp_path / "from-b")[::3]:
        check_part10(path, dcmtk)


def test_elements_are_set_added_blanked_and_removed(lone: Path, tmp_path: Path, dcmtk: Tool) -> None:
    (ds,) = edited(
        lone, tmp_path / "out",
        set={"InstitutionName": "Klinik", "SeriesNumber": 7, "ImageType": ["DERIVED", "SECONDARY"],
             "(0018,1030)": "a protocol", "SliceThickness": 2.5},
        remove=["PatientBirthDate", "PatientAge"],
        blank=["PatientSex", "PatientComments"],
    )  # fmt: skip
    assert (ds.InstitutionName, ds.SeriesNumber, list(ds.ImageType)) == (
        "Klinik",
        7,
        ["DERIVED", "SECONDARY"],
    )
    assert (ds.ProtocolName, ds.SliceThickness) == ("a protocol", 2.5)
    assert "PatientBirthDate" not in ds
    assert ds.PatientSex == ""
    assert "PatientComments" not in ds, "blank leaves empty what is present; it adds nothing"
    assert ds.PixelData == pydicom.dcmread(lone).PixelData
    check_part10(*visible(tmp_path / "out"), dcmtk)


def test_only_existing_adds_nothing(lone: Path, tmp_path: Path) -> None:
    (ds,) = edited(
        lone, tmp_path / "out", set={"InstitutionName": "Klinik", "PatientName": "X"}, only_existing=True
    )
    assert ds.PatientName == "X"
    assert "InstitutionName" not in ds


@pytest.mark.parametrize("name", ["blocks.dcm", "blocks-implicit.dcm"])
def test_private_elements_are_found_by_their_creator(priv_set: Corpus, tmp_path: Path, name: str) -> None:
    # in implicit VR nobody can know that the private element is a sequence
    deep = {'("DCMFLOW TEST B",0019,20)[0].("DCMFLOW TEST C",0021,01)': "deep"}
    (ds,) = edited(
        priv_set[name], tmp_path / "out",
        set={'("DCMFLOW TEST A",0019,10)': "now"} | (deep if name == "blocks.dcm" else {}),
        remove=['("DCMFLOW TEST B",0019,11)', '("NOBODY",0019,10)'],
    )  # fmt: skip
    before = pydicom.dcmread(priv_set[name])
    first, second = (ds.private_block(0x19, creator) for creator in ("DCMFLOW TEST A", "DCMFLOW TEST B"))

    def text(value: Any) -> str:  # implicit VR: pydicom does not know these creators and gives bytes
        return value.decode().rstrip("\0 ") if isinstance(value, bytes) else str(value)

    assert text(first[0x10].value) == "now"
    assert 0x11 not in second
    assert second[0x10].value == before.private_block(0x19, "DCMFLOW TEST B")[0x10].value
    if name == "blocks.dcm":
        assert text(second[0x20].value[0].private_block(0x21, "DCMFLOW TEST C")[0x01].value) == "deep"
    assert differing(before, ds) <= {"(0019,1010)", "(0019,1111)", "(0019,1120)"}


def test_nested_elements_are_reached_by_a_path(base_set: Corpus, tmp_path: Path) -> None:
    (path,) = (path for name, path in base_set.items() if name.startswith("TestPat1/20190625/02"))
    (ds,) = edited(
        path, tmp_path / "out",
        set={"ReferencedImageSequence[1].ReferencedSOPInstanceUID": "2.25.4711",
             "RequestAttributesSequence[0].ScheduledProcedureStepID": "made"},
        remove=["ReferencedImageSequence[118].ReferencedSOPClassUID"],
    )  # fmt: skip
    before = pydicom.dcmread(path)
    items, were = ds.ReferencedImageSequence, before.ReferencedImageSequence
    assert len(items) == 119
    assert items[1].ReferencedSOPInstanceUID == "2.25.4711"
    assert "ReferencedSOPClassUID" not in items[118]
    assert [n for n in range(119) if items[n] != were[n]] == [1, 118]
    assert ds.RequestAttributesSequence[0].ScheduledProcedureStepID == "made"


def test_dates_are_shifted_at_every_depth_and_times_are_not(tmp_path: Path) -> None:
    ds = corpus.mr(patient="DATES", StudyDate="20200228", AcquisitionDateTime="20200301001500.5+0100")
    item = Dataset()
    item.ScheduledProcedureStepStartDate = "20191231"
    ds.RequestAttributesSequence = [item]
    ds.PatientBirthDate = ""
    ds.private_block(0x19, "DATES", create=True).add_new(0x10, "DA", "20200101")
    (tmp_path / "x.dcm").write_bytes(corpus.part10(ds))
    (after,) = edited(tmp_path / "x.dcm", tmp_path / "out", shift_days=2)
    assert after.StudyDate == "20200301", "2020 is a leap year"
    assert after.AcquisitionDateTime == "20200303001500.5+0100"
    assert after.RequestAttributesSequence[0].ScheduledProcedureStepStartDate == "20200102"
    assert after.PatientBirthDate == ""
    assert after.StudyTime == ds.StudyTime
    assert after.private_block(0x19, "DATES")[0x10].value == "20200103"
    (back,) = edited(tmp_path / "out", tmp_path / "back", shift_days=-2)
    assert digests(visible(tmp_path / "back")) == digests([tmp_path / "x.dcm"])
    assert back.StudyDate == "20200228"


def test_file_meta_follows_the_data_set(lone: Path, tmp_path: Path, dcmtk: Tool) -> None:
    secondary = "1.2.840.10008.5.1.4.1.1.7"
    (ds,) = edited(
        lone,
        tmp_path / "out",
        set={"SOPInstanceUID": "2.25.99", "SOPClassUID": secondary, "PatientID": "NEW"},
    )
    assert [path.name for path in visible(tmp_path / "out")] == ["2.25.99.dcm"]
    assert (ds.SOPInstanceUID, ds.file_meta.MediaStorageSOPInstanceUID) == ("2.25.99", "2.25.99")
    assert (ds.SOPClassUID, ds.file_meta.MediaStorageSOPClassUID) == (secondary, secondary)
    check_part10(*visible(tmp_path / "out"), dcmtk)


def test_a_name_outside_the_character_set_is_not_mangled(lone: Path, tmp_path: Path) -> None:
    """The file has no Specific Character Set, so ASCII; the new name is Japanese, the old texts stay readable."""
    (ds,) = edited(lone, tmp_path / "out", set={"PatientName": "Yamada^Tarou=山田^太郎"})
    assert str(ds.PatientName) == "Yamada^Tarou=山田^太郎"
    assert ds.SeriesDescription == "Localizer"


@pytest.mark.parametrize("name", [name for name in corpus.CHAR_NAMES if name != "undeclared-utf8"])
def test_names_survive_the_edit_of_another_text(char_set: Corpus, tmp_path: Path, name: str) -> None:
    (ds,) = edited(char_set[f"{name}.dcm"], tmp_path / "out", set={"StudyDescription": "größer als 山"})
    assert str(ds.PatientName) == corpus.CHAR_NAMES[name][1]
    assert ds.StudyDescription == "größer als 山"


@pytest.mark.parametrize("name", ["explicit", "implicit", "deflated", "big-endian", "rle", "jpeg", "jpeg-ls"])
def test_an_edit_keeps_the_transfer_syntax_and_the_pixels(
    comp_set: Corpus, tmp_path: Path, name: str, dcmtk: Tool
) -> None:
    if f"{name}.dcm" in comp_set.skipped:
        pytest.skip(comp_set.skipped[f"{name}.dcm"])
    before = pydicom.dcmread(comp_set[f"{name}.dcm"])
    (ds,) = edited(comp_set[f"{name}.dcm"], tmp_path / "out", set={"PatientName": "Longer^Than^It^Was"})
    assert ds.file_meta.TransferSyntaxUID == before.file_meta.TransferSyntaxUID
    assert differing(before, ds) == {"(0010,0010)"}
    assert ds.PatientName == "Longer^Than^It^Was"
    check_part10(*visible(tmp_path / "out"), dcmtk)


@pytest.mark.parametrize(
    ("edit", "word"),
    [
        ({"set": {"PatientNam": "x"}}, "PatientName"),
        ({"set": {"SeriesNumber": "many"}}, "SeriesNumber"),
        ({"remove": ["StudyDat"]}, "StudyDate"),
        ({"sett": {"PatientName": "x"}}, "set"),
        ({"set": {"(0010,00100)": "x"}}, "(0010,00100)"),
    ],
)
def test_an_edit_that_cannot_be_right_is_found_before_anything_moves(
    lone: Path, tmp_path: Path, edit: dict[str, Any], word: str
) -> None:
    file = pipeline_file(
        tmp_path / "p.toml",
        sources={"in": {"type": "directory", "path": lone}},
        filters={"change": {"type": "edit", "from": "in", **edit}},
        sinks={"out": {"type": "directory", "from": "change", "path": "out"}},
    )
    with pytest.raises(ConfigError) as caught:
        run_here(file)
    for said in ("p.toml", "filters.change", word):
        assert said in str(caught.value)
    assert not (tmp_path / "out").exists()


# UIDs ----------------------------------------------------------------------------------------------------------


def family(folder: Path) -> Path:
    """Three images of a study that refer to each other, one of them in implicit VR, and to what is well known."""
    folder.mkdir()
    for number in range(3):
        own = {"SOPInstanceUID": corpus.uid("FAMILY", number), "InstanceNumber": number}
        ds = corpus.mr(
            patient="FAMILY", FrameOfReferenceUID=TALAIRACH if number == 2 else corpus.uid("frame"), **own
        )
        other = Dataset()
        other.ReferencedSOPClassUID = ds.SOPClassUID
        other.ReferencedSOPInstanceUID = corpus.uid("FAMILY", (number + 1) % 3)
        series = Dataset()
        series.SeriesInstanceUID = ds.SeriesInstanceUID
        series.ReferencedSOPSequence = [other]
        ds.ReferencedSeriesSequence = [series]
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "T-D1100", "SRT", "Head"
        code.ContextUID = "1.2.840.10008.6.1.307"
        ds.AnatomicRegionSequence = [code]
        syntax = ImplicitVRLittleEndian if number == 1 else pydicom.uid.ExplicitVRLittleEndian
        (folder / f"{number}.dcm").write_bytes(corpus.part10(ds, syntax))
    return folder


def uids_of(ds: Dataset) -> list[str]:
    return [str(element.value) for element in ds.iterall() if element.VR == "UI"]


def remapped(folder: Path, out: Path, key: str) -> dict[int, Dataset]:
    return {int(ds.InstanceNumber): ds for ds in edited(folder, out, remap_uids=key)}


def mapping(before: Iterable[Dataset], after: dict[int, Dataset]) -> dict[str, set[str]]:
    """New UIDs by old one, wherever they stand."""
    found: dict[str, set[str]] = {}
    for ds in before:
        for old, new in zip(uids_of(ds), uids_of(after[int(ds.InstanceNumber)]), strict=True):
            found.setdefault(old, set()).add(new)
    return found


def test_uids_are_replaced_alike_everywhere(tmp_path: Path, dcmtk: Tool) -> None:
    folder = family(tmp_path / "in")
    before = [pydicom.dcmread(path) for path in visible(folder)]
    after = remapped(folder, tmp_path / "out", "secret")
    for ds in after.values():
        assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
    new = mapping(before, after)
    assert {old: values for old, values in new.items() if len(values) != 1} == {}, "one old, one new"
    changed = {old: next(iter(values)) for old, values in new.items() if old not in values}
    kept = set(new) - set(changed)
    assert kept == {before[0].SOPClassUID, TALAIRACH, "1.2.840.10008.6.1.307"}, (
        "what the standard names stays"
    )
    assert len(set(changed.values())) == len(changed), "two old ones never become the same"
    for value in changed.values():
        assert re.fullmatch(r"2\.25\.(0|[1-9][0-9]*)", value)
        assert len(value) <= 64
        assert int(value[5:]) < 1 << 128
    for old, ds in zip(before, [after[n] for n in range(3)], strict=True):
        assert ds.file_meta.TransferSyntaxUID == old.file_meta.TransferSyntaxUID
        assert ds.PixelData == old.PixelData
        linked = ds.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        assert linked == after[(ds.InstanceNumber + 1) % 3].SOPInstanceUID, "references follow"
    for path in visible(tmp_path / "out"):
        check_part10(path, dcmtk)


def test_the_same_key_gives_the_same_uids_in_every_run_and_route(run: Command, tmp_path: Path) -> None:
    folder = family(tmp_path / "in")
    file = pipeline_file(
        tmp_path / "p.toml",
        sources={"in": {"type": "directory", "path": folder}},
        filters={
            name: {"type": "edit", "from": "in", "remap-uids": key}
            for name, key in {"one": "secret", "two": "secret", "other": "another"}.items()
        },
        sinks={
            f"to-{name}": {"type": "directory", "from": name, "path": name, "layout": FLAT}
            for name in ("one", "two", "other")
        },
    )
    run("run", file).must(0)
    remapped(folder, tmp_path / "again", "secret")
    one, two, again, other = (visible(tmp_path / name) for name in ("one", "two", "again", "other"))
    assert digests(one) == digests(two) == digests(again)
    assert {path.name for path in one}.isdisjoint({path.name for path in other})
    assert len(one) == len(other) == 3


def test_one_destination_by_two_routes_keeps_what_is_asked_for(
    run: Command, base_set: Corpus, tmp_path: Path
) -> None:
    """TestPat1 comes edited, TestPat2 plain, both to the same sink; each object once."""
    file = pipeline_file(
        tmp_path / "p.toml",
        sources={"in": {"type": "directory", "path": base_set.folder}},
        routers={"who": {"type": "match", "from": "in", "branch": {"one": "PatientID == 'TestPat1'"}}},
        filters={"anon": {"type": "edit", "from": "who.one", "set": {"PatientName": "Anon"}}},
        sinks={"out": {"type": "directory", "from": ["who.*", "anon"], "path": "out", "layout": FLAT}},
    )
    run("run", file).must(0)
    names = {
        pydicom.dcmread(path).PatientID: str(pydicom.dcmread(path).PatientName)
        for path in visible(tmp_path / "out")
    }
    assert names == {"TestPat1": "Anon", "TestPat2": "TestPat2^Test"}
    assert len(visible(tmp_path / "out")) == 12


@pytest.mark.parametrize(("exists", "left"), [("keep-both", 24), ("skip", 12)])
def test_plain_and_edited_to_one_destination_are_two_contents_of_one_uid(
    run: Command, base_set: Corpus, tmp_path: Path, exists: str, left: int
) -> None:
    file = pipeline_file(
        tmp_path / "p.toml",
        sources={"in": {"type": "directory", "path": base_set.folder}},
        filters={"anon": {"type": "edit", "from": "in", "set": {"PatientName": "Anon"}}},
        sinks={
            "out": {
                "type": "directory",
                "from": ["in", "anon"],
                "path": "out",
                "layout": FLAT,
                "exists": exists,
            }
        },
    )
    done = run("run", file).readable()
    arrived = visible(tmp_path / "out")
    assert len(arrived) == left
    assert {pydicom.dcmread(path).SOPInstanceUID for path in arrived} == set(base_set.uids.values())
    if exists == "skip":
        assert any(uid in done.err for uid in base_set.uids.values()), (
            "it is said that one of two was left out"
        )
    else:
        assert len(set(map(dataset, arrived))) == 24
