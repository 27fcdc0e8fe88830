"""Edits: what is set and removed, at every depth, in every encoding, and nothing else."""

from __future__ import annotations

import datetime
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

import corpus
import pydicom_values
from dcmflow.dicom.elements import EXPLICIT
from dcmflow.dicom.instance import Instance
from dcmflow.dicom.payload import MemoryPayload
from dcmflow.dicom.tags import UnknownKeyword
from dcmflow.errors import DatasetError

SYNTAXES = [
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
]
REQUEST = "RequestAttributesSequence"


def made(syntax: str = ExplicitVRLittleEndian, **elements: Any) -> Instance:
    return Instance.from_bytes(corpus.part10(corpus.mr(**elements), syntax))


def parsed(instance: Instance) -> Dataset:
    return pydicom_values.read(b"".join(instance.part10_segments()))


def changed(before: Instance, after: Instance) -> set[int]:
    """Tags of the top-level elements that differ, as pydicom reads them."""
    one, other = pydicom_values.expected(parsed(before)), pydicom_values.expected(parsed(after))
    return {int(line[:8], 16) for line in pydicom_values.differences(one, other)}


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_set_insert_and_remove(syntax: str) -> None:
    before = made(syntax)
    after = before.with_elements(
        {"PatientName": "Anon", "BodyPartExamined": "HEAD", "Rows": 17}, ["StudyDate", "StationName"]
    )
    assert changed(before, after) == {0x00100010, 0x00180015, 0x00280010, 0x00080020}
    ds = parsed(after)
    assert (ds.PatientName, ds.BodyPartExamined, ds.Rows) == ("Anon", "HEAD", 17)
    assert list(ds.keys()) == sorted(ds.keys())
    assert before.header["PatientName"] == "TestPat1^Test"
    assert after.header["PatientName"] == "Anon"
    after.verify()


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_inside_sequences(syntax: str) -> None:
    item = Dataset()
    item.ScheduledProcedureStepID, item.RequestedProcedureID = "S1", "R1"
    before = made(syntax, RequestAttributesSequence=[item, Dataset()])
    after = before.with_elements(
        {
            f"{REQUEST}[0].ScheduledProcedureStepID": "much longer",
            f"{REQUEST}[2].ScheduledProcedureStepID": "S3",
            f"{REQUEST}[1].ScheduledProtocolCodeSequence[0].CodeValue": "deep",
        },
        [f"{REQUEST}[0].RequestedProcedureID", f"{REQUEST}[7].RequestedProcedureID"],
    )
    ds = parsed(after)
    assert [step.get("ScheduledProcedureStepID") for step in ds.RequestAttributesSequence] == [
        "much longer",
        None,
        "S3",
    ]
    assert ds.RequestAttributesSequence[1].ScheduledProtocolCodeSequence[0].CodeValue == "deep"
    assert "RequestedProcedureID" not in ds.RequestAttributesSequence[0]
    assert changed(before, after) == {0x00400275}
    after.verify()


@pytest.mark.parametrize("undefined", [False, True])
def test_lengths_stay_as_they_were_written(undefined: bool) -> None:
    item = Dataset()
    item.ScheduledProcedureStepID = "S1"
    item.is_undefined_length_sequence_item = undefined
    ds = corpus.mr(RequestAttributesSequence=[item])
    ds["RequestAttributesSequence"].is_undefined_length = undefined
    before = Instance.from_bytes(corpus.part10(ds))
    after = before.with_elements({f"{REQUEST}[0].ScheduledProcedureStepID": "S1 and more"})
    assert after.header.element(REQUEST).undefined is undefined
    again = parsed(after)
    assert again["RequestAttributesSequence"].is_undefined_length is undefined
    assert again.RequestAttributesSequence[0].is_undefined_length_sequence_item is undefined
    back = after.with_elements({f"{REQUEST}[0].ScheduledProcedureStepID": "S1"})
    assert b"".join(back.payload.segments()) == b"".join(before.payload.segments())


def test_missing_sequences_are_made_and_gaps_are_errors() -> None:
    before = made()
    after = before.with_elements({f"{REQUEST}[0].ScheduledProcedureStepID": "S"})
    assert after.header[f"{REQUEST}[0].ScheduledProcedureStepID"] == "S"
    with pytest.raises(
        DatasetError, match=r"RequestAttributesSequence\[2\]: there are 1 items; the next one is \[1\]"
    ):
        after.with_elements({f"{REQUEST}[2].ScheduledProcedureStepID": "S"})
    with pytest.raises(DatasetError, match="PatientID is no sequence"):
        before.with_elements({"PatientID[0].PatientID": "S"})
    assert before.with_elements(remove=[f"{REQUEST}[0].ScheduledProcedureStepID", "StationName"]) is before


def test_whole_sequences_are_lists_of_mappings_or_data_sets() -> None:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator = "T-1", "SRT"
    after = made().with_elements(
        {
            "AnatomicRegionSequence": [{"CodeValue": "T-A0100", "CodeMeaning": "Brain"}, item],
            "RequestAttributesSequence": [],
        }
    )
    ds = parsed(after)
    assert [code.CodeValue for code in ds.AnatomicRegionSequence] == ["T-A0100", "T-1"]
    assert len(ds.RequestAttributesSequence) == 0
    with pytest.raises(DatasetError, match="list of mappings"):
        made().with_elements({"AnatomicRegionSequence": "brain"})


def test_private_elements_get_a_block() -> None:
    before = made()
    key = '("ACME 1.1",0019,10)'
    after = before.with_elements({key: "hello", '("ACME 1.1",0019,11,DS)': 1.5, '("OTHER",0019,10)': 7})
    ds = parsed(after)
    assert ds.private_block(0x0019, "ACME 1.1")[0x10].value == "hello"
    assert ds.private_block(0x0019, "ACME 1.1")[0x11].value == 1.5
    assert ds.private_block(0x0019, "OTHER")[0x10].value == 7
    assert sorted(int(tag) for tag in ds._dict if tag.group == 0x0019) == [
        0x00190010, 0x00190011, 0x00191010, 0x00191011, 0x00191110,
    ]  # fmt: skip
    again = after.with_elements({key: "bye"}, ['("OTHER",0019,10)', '("NOBODY",0019,10)'])
    assert again.header[key] == "bye"
    assert again.header["00190010"] == "ACME 1.1"
    assert '("OTHER",0019,10)' not in again.header


def test_values_of_many_kinds() -> None:
    after = made().with_elements(
        {
            "ImageType": ["DERIVED", "SECONDARY"],
            "OtherPatientIDs": "a\\b",
            "SeriesNumber": "12",
            "EchoTime": 1 / 3,
            "ImagePositionPatient": [1, -2.5, "3e2"],
            "StudyDate": datetime.date(2020, 2, 29),
            "StudyTime": datetime.time(1, 2, 3),
            "SmallestImagePixelValue": -2,
            "FrameIncrementPointer": ["PatientID", 0x00100010],
            "PatientComments": "one\\text",
            "ExposureIndex": None,
            "PatientSex": "",
            "PixelPaddingValue": "5",
            "EncapsulatedDocument": b"odd",
        }
    )
    header = after.header
    assert header["ImageType"] == ("DERIVED", "SECONDARY")
    assert header["OtherPatientIDs"] == ("a", "b")
    assert header["SeriesNumber"] == 12
    assert abs(header["EchoTime"] - 1 / 3) < 1e-12
    assert header["ImagePositionPatient"] == (1.0, -2.5, 300.0)
    assert (header["StudyDate"], header["StudyTime"]) == ("20200229", "010203.000000")
    assert (header["SmallestImagePixelValue"], header["PixelPaddingValue"]) == (-2, 5)
    assert header["FrameIncrementPointer"] == (0x00100020, 0x00100010)
    assert header["PatientComments"] == "one\\text"
    assert (header["ExposureIndex"], header["PatientSex"]) == (None, "")
    assert bytes(header["EncapsulatedDocument"]) == b"odd\0"
    assert not [element for element in parsed(after) if element.VR == "UN"]


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("SeriesNumber", "four", "SeriesNumber cannot be 'four': not a number"),
        ("SeriesNumber", 2**31, "out of range"),
        ("SeriesNumber", 1.5, "not a whole number"),
        ("Rows", 70000, "Rows cannot be 70000: not a number in its range"),
        ("Rows", "many", "Rows cannot be 'many'"),
        ("EchoTime", "short", "not a number"),
        ("EchoTime", float("nan"), "finite"),
        ("StudyDate", "yesterday", "StudyDate cannot be 'yesterday': not in the form"),
        ("StudyTime", "noon", "not in the form"),
        ("StudyInstanceUID", "1.2.x", "not in the form"),
        ("StudyInstanceUID", "1" * 65, "longer than 64"),
        ("PatientID", "x" * 65, "longer than 64"),
        ("Modality", "Ü", "only ASCII"),
        ("PatientID", b"bytes", "text is wanted"),
        ("PixelData", "text", "bytes are wanted"),
        ("TransferSyntaxUID", "1.2", "no element of a data set"),
        ("SpecificCharacterSet", "UTF-8", "not a defined term"),
    ],
)
def test_values_that_do_not_fit_name_element_and_value(key: str, value: object, text: str) -> None:
    with pytest.raises(DatasetError, match=text):
        made().with_elements({key: value})


def test_misspelt_keywords_are_errors() -> None:
    with pytest.raises(UnknownKeyword, match="did you mean PatientName"):
        made().with_elements({"PatientNmae": "x"})
    with pytest.raises(UnknownKeyword, match="did you mean PatientID"):
        made().with_elements(remove=["PatientId "])
    with pytest.raises(UnknownKeyword, match="even"):
        made().with_elements({'("ACME",0018,10)': 1})


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_name_beyond_ascii_makes_an_ascii_data_set_utf_8(syntax: str) -> None:
    before = made(syntax)
    after = before.with_elements({"PatientName": "山田^太郎"})
    assert changed(before, after) == {0x00080005, 0x00100010}
    assert parsed(after).SpecificCharacterSet == "ISO_IR 192"
    assert parsed(after).PatientName == "山田^太郎"
    assert after.header["PatientName"] == "山田^太郎"


def test_a_name_in_the_present_character_set_keeps_it() -> None:
    before = made(SpecificCharacterSet="ISO_IR 100", StudyDescription="Schädel")
    after = before.with_elements({"PatientName": "Müller"})
    assert changed(before, after) == {0x00100010}


@pytest.mark.parametrize(
    ("terms", "text"), [("ISO_IR 100", "Schädel"), ("ISO_IR 144", "Люк"), (["", "ISO 2022 IR 87"], "山田")]
)
def test_text_that_is_not_ascii_is_written_anew_in_utf_8(terms: Any, text: str) -> None:
    item = Dataset()
    item.ScheduledProcedureStepDescription = text
    before = made(SpecificCharacterSet=terms, StudyDescription=text, RequestAttributesSequence=[item])
    after = before.with_elements({"PatientName": "김희중"})
    ds = parsed(after)
    assert ds.SpecificCharacterSet == "ISO_IR 192"
    assert ds.StudyDescription == ds.RequestAttributesSequence[0].ScheduledProcedureStepDescription == text
    assert ds.PatientName == "김희중"
    assert after.header["StudyDescription"] == text
    raw = after.header.raw("StudyDescription")
    assert bytes(raw).decode("utf-8").strip() == text


def test_setting_the_character_set_writes_the_text_anew() -> None:
    before = made(SpecificCharacterSet="ISO_IR 100", StudyDescription="Schädel")
    after = before.with_elements({"SpecificCharacterSet": "ISO_IR 192"})
    assert parsed(after).StudyDescription == "Schädel"
    assert b"Sch\xc3\xa4del" in b"".join(after.payload.segments())
    with pytest.raises(DatasetError, match=r"StudyDescription 'Schädel' cannot be written in .* ISO_IR 144"):
        before.with_elements({"SpecificCharacterSet": "ISO_IR 144"})
    with pytest.raises(DatasetError, match="ISO_IR 6"):
        before.with_elements(remove=["SpecificCharacterSet"])


def test_the_second_of_two_elements_with_one_tag_goes_too() -> None:
    data = b"".join(
        struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value
        for tag, vr, value in [
            (0x00080016, b"UI", b"1.2\0"),
            (0x00080018, b"UI", b"1.3\0"),
            (0x00100010, b"PN", b"One "),
            (0x00200011, b"IS", b"1 "),
            (0x00100010, b"PN", b"Two "),
        ]
    )
    before = Instance("1.2", "1.3", ExplicitVRLittleEndian, MemoryPayload(data))
    for after in (
        before.with_elements({"PatientName": "Anon"}),
        before.with_elements(remove=["PatientName"]),
    ):
        left = b"".join(after.payload.segments())
        assert b"One" not in left
        assert b"Two" not in left


def test_uids_of_the_instance_follow_its_elements() -> None:
    after = made().with_elements({"SOPInstanceUID": "1.2.3", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"})
    assert (after.sop_instance_uid, after.sop_class_uid) == ("1.2.3", "1.2.840.10008.5.1.4.1.1.7")


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_every_uid_at_every_depth_goes_through_the_change(syntax: str) -> None:
    inner = Dataset()
    inner.ReferencedSOPInstanceUID, inner.ReferencedSOPClassUID = "1.2.826.1", "1.2.840.10008.5.1.4.1.1.4"
    outer = Dataset()
    outer.ReferencedSOPSequence, outer.SeriesInstanceUID = [inner], "1.2.826.2"
    before = made(
        syntax,
        ReferencedSeriesSequence=[outer, Dataset()],
        SOPInstanceUID="1.2.826.3",
        RelatedSeriesSequence=[],
    )
    seen: list[str] = []

    def change(uid: str) -> str | None:
        seen.append(uid)
        return uid.replace("1.2.826", "2.25") if uid.startswith("1.2.826") else None

    after = before.with_uids(change)
    ds = parsed(after)
    assert after.sop_instance_uid == ds.SOPInstanceUID == "2.25.3"
    assert ds.ReferencedSeriesSequence[0].SeriesInstanceUID == "2.25.2"
    assert ds.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "2.25.1"
    assert "1.2.840.10008.5.1.4.1.1.4" in seen
    assert changed(before, after) == {0x00080018, 0x00081115}
    assert before.with_uids(lambda uid: None) is before
    assert before.with_uids(lambda uid: uid) is before
    with pytest.raises(DatasetError, match="not in the form"):
        before.with_uids(lambda uid: "no UID")


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "PatientName",
                "PatientID",
                "StudyDescription",
                "InstitutionName",
                "Manufacturer",
                "SeriesDescription",
            ]
        ),
        st.text(
            st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters="\\=^"),
            max_size=20,
        ),
    ),
    st.sets(st.sampled_from(["StudyDate", "Rows", "PixelData", "Modality", "ImageType", "WindowCenter"])),
)
def test_an_edit_reads_back(set: dict[str, str], remove: set[str]) -> None:
    before = made()
    after = before.with_elements(set, remove)
    ds = parsed(after)
    for keyword, value in set.items():
        assert str(ds[keyword].value or "") == after.header[keyword] == value
    for keyword in remove:
        assert keyword not in ds
        assert keyword not in after.header


def test_an_edit_of_a_file_copies_no_pixels(tmp_path: Path) -> None:
    path = tmp_path / "one.dcm"
    path.write_bytes(corpus.part10(corpus.mr(side=1024)))
    before = Instance.load(path, memory_limit=0)
    after = before.with_elements({"PatientName": "Anon"}).with_elements({"PatientID": "0"}, ["StudyDate"])
    assert after.resident < 64 * 1024
    assert after.header["Rows"] == 1024
    assert parsed(after).PixelData == parsed(before).PixelData
    memory = Instance.load(path)
    edited = memory.with_elements({"PatientName": "Anon"})
    pixels = edited.payload.segments()[-1]
    assert isinstance(pixels, memoryview)
    assert len(pixels) >= 2 * 1024 * 1024
    assert edited.header.encoding is EXPLICIT


def test_an_edit_of_broken_bytes_is_an_error() -> None:
    whole = b"".join(made().payload.segments())
    with pytest.raises(DatasetError, match="past the end"):
        Instance("1.2", "1.3", ExplicitVRLittleEndian, MemoryPayload(whole[:-10])).with_elements(
            {"PatientName": "Anon"}
        )


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "SOPClassUID"])
def test_what_identifies_an_instance_cannot_go(keyword: str) -> None:
    with pytest.raises(DatasetError, match=f"cannot do without its {keyword}"):
        made().with_elements({keyword: ""})
    with pytest.raises(DatasetError, match=f"cannot do without its {keyword}"):
        made().with_elements({}, [keyword])
