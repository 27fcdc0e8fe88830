"""Headers say what pydicom says, whatever the encoding, and no more is read than was asked for."""

from __future__ import annotations

import struct
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import given
from pydicom.dataset import Dataset

import corpus
import pydicom_values
from dcmflow.dicom.elements import EXPLICIT, EXPLICIT_BIG, IMPLICIT, Encoding, encoding_of
from dcmflow.dicom.header import Header
from dcmflow.dicom.instance import Instance
from dcmflow.dicom.payload import FilePayload, MemoryPayload, Region
from dcmflow.dicom.tags import UnknownKeyword
from dcmflow.errors import DatasetError
from dcmflow.testing import datasets, encoded_datasets

BROKEN = {
    "DICOMDIR-nooffset",
    "MR_truncated.dcm",
    "rtplan_truncated.dcm",
    "emri_small_jpeg_2k_lossless_too_short.dcm",
}
NO_UIDS = {"empty_charset_LEI.dcm", "meta_missing_tsyntax.dcm", "nested_priv_SQ.dcm", "no_meta.dcm"}


def header(data: bytes, encoding: Encoding = EXPLICIT) -> Header:
    return Header(MemoryPayload(data), encoding)


def element(tag: int, vr: str, value: bytes) -> bytes:
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), len(value)) + value


def of(**elements: Any) -> Header:
    return Instance.from_bytes(corpus.part10(corpus.mr(**elements))).header


def test_same_values_as_pydicom_in_every_bundled_file(pydicom_files: list[Path]) -> None:
    wrong = {}
    compared = 0
    for path in pydicom_files:
        if path.name in BROKEN | NO_UIDS:
            continue
        instance = Instance.load(path)
        differences = pydicom_values.differences(
            pydicom_values.expected(pydicom_values.read(path)), pydicom_values.found(instance.header)
        )
        compared += 1
        if differences:
            wrong[path.name] = differences[:5]
    assert not wrong
    assert compared > 150


@given(encoded_datasets())
def test_same_values_as_pydicom_in_made_up_data_sets(encoded: tuple[bytes, str]) -> None:
    data, syntax = encoded
    ds = pydicom_values.read(
        b"\0" * 128 + b"DICM" + _meta(syntax) + data,
    )
    found = pydicom_values.found(header(data, encoding_of(syntax)))
    assert pydicom_values.differences(pydicom_values.expected(ds), found) == []


def _meta(syntax: str) -> bytes:
    return element(0x00020010, "UI", syntax.encode() + b"\0" * (len(syntax) % 2))


@given(datasets())
def test_same_values_in_big_endian(ds: Dataset) -> None:
    raw = BytesIO()
    pydicom.dcmwrite(raw, ds, implicit_vr=False, little_endian=False)
    again = pydicom_values.read(b"\0" * 128 + b"DICM" + _meta("1.2.840.10008.1.2.2") + raw.getvalue())
    found = pydicom_values.found(header(raw.getvalue(), EXPLICIT_BIG))
    assert pydicom_values.differences(pydicom_values.expected(again), found) == []


def test_values_by_keyword_tag_and_path() -> None:
    item = Dataset()
    item.ReferencedSOPInstanceUID = "1.2.3"
    found = of(
        ReferencedImageSequence=[item],
        PatientName="Yamada^Tarou=山田^太郎",
        SpecificCharacterSet="ISO_IR 192",
    )
    assert found["Modality"] == found[0x00080060] == found["00080060"] == found["(0008,0060)"] == "MR"
    assert found["ReferencedImageSequence[0].ReferencedSOPInstanceUID"] == "1.2.3"
    assert found["PatientName"] == "Yamada^Tarou=山田^太郎"
    assert found["ImageType"] == ("ORIGINAL", "PRIMARY", "M")
    assert (found["SeriesNumber"], found["EchoTime"], found["Rows"]) == (1, 2.46, 16)
    assert found["AccessionNumber"] == ""
    assert [dict(item) for item in found["ReferencedImageSequence"]] == [
        {"ReferencedSOPInstanceUID": "1.2.3"}
    ]


def test_absent_is_a_key_error_or_the_default() -> None:
    found = of()
    assert "ContrastBolusAgent" not in found
    assert found.get("ContrastBolusAgent") is None
    assert found.get("ContrastBolusAgent", "none") == "none"
    assert found.get("ReferencedImageSequence[3].ReferencedSOPInstanceUID") is None
    with pytest.raises(KeyError):
        found["ContrastBolusAgent"]


def test_present_but_empty() -> None:
    found = of(PatientName="", SeriesNumber=None, ReferencedImageSequence=[])
    assert found["PatientName"] == ""
    assert found["SeriesNumber"] is None
    assert found["ReferencedImageSequence"] == []


@pytest.mark.parametrize(
    "lookup", [Header.__getitem__, Header.get, Header.__contains__, Header.vr, Header.text]
)
def test_a_misspelt_keyword_is_a_mistake_and_not_an_absent_element(lookup: Any) -> None:
    with pytest.raises(
        UnknownKeyword, match=r"unknown keyword 'PatientNmae'; did you mean PatientName"
    ) as caught:
        lookup(of(), "PatientNmae")
    assert isinstance(caught.value, KeyError)
    assert isinstance(caught.value, DatasetError)


def test_private_elements_by_creator_wherever_their_block_is() -> None:
    ds = corpus.mr()
    ds.add_new(0x00190010, "LO", "OTHER")
    ds.add_new(0x00190011, "LO", "ACME 1.1")
    ds.add_new(0x00191110, "DS", "1.5")
    found = Instance.from_bytes(corpus.part10(ds)).header
    assert found['("ACME 1.1",0019,10)'] == 1.5
    assert '("OTHER",0019,10)' not in found
    assert '("NOBODY",0019,10)' not in found
    assert list(found)[-2:] == ["00191110", "PixelData"] or "00191110" in list(found)


def test_numbers_that_are_none_stay_text() -> None:
    data = (
        element(0x00200011, "IS", b"4a")
        + element(0x00200013, "IS", b"12.0")
        + element(0x00200032, "DS", b"1\\x ")
    )
    found = header(data)
    assert found["SeriesNumber"] == "4a"
    assert found["InstanceNumber"] == 12
    assert found["ImagePositionPatient"] == ("1", "x")
    assert found.text("SeriesNumber") == "4a"
    assert found.text("ImagePositionPatient") == "1\\x"


def test_a_binary_number_of_the_wrong_length_is_an_error_that_names_it() -> None:
    with pytest.raises(DatasetError, match="Rows: 3 bytes are no whole number of US values"):
        header(element(0x00280010, "US", b"abc"))["Rows"]


def test_text_vr_and_raw() -> None:
    found = of(SeriesDescription="odd")
    assert (found.text("ImageType"), found.text("EchoTime"), found.text("EchoNumbers")) == (
        "ORIGINAL\\PRIMARY\\M",
        "2.46",
        "",
    )
    assert (found.vr("PatientName"), found.vr("Rows")) == ("PN", "US")
    assert bytes(found.raw("SeriesDescription")) == b"odd "
    with pytest.raises(KeyError):
        found.raw("ContrastBolusAgent")


def test_the_walk_goes_no_farther_than_the_last_element_asked_for() -> None:
    """Behind PatientID the bytes are broken; only what may lie behind it is an error."""
    data = element(0x00080060, "CS", b"CT") + element(0x00100020, "LO", b"42") + b"\xff" * 40
    found = header(data)
    assert found.select(["PatientID", "Modality"]) == ("42", "CT")
    assert found.get("StudyDate") is None  # would have been before
    with pytest.raises(DatasetError):
        found.get("StudyInstanceUID")
    with pytest.raises(DatasetError):
        list(found)


def test_elements_out_of_order_are_found_and_the_first_of_two_counts() -> None:
    data = b"".join(
        element(tag, vr, value)
        for tag, vr, value in [
            (0x00100020, "LO", b"42"),
            (0x00080060, "CS", b"CT"),
            (0x00200011, "IS", b"7 "),
            (0x00100020, "LO", b"43"),
            (0x00100010, "PN", b"A "),
        ]
    )
    found = header(data)
    assert found.select(["PatientName", "Modality", "SeriesNumber", "PatientID"]) == ("A", "CT", 7, "42")
    assert found.tags() == (0x00080060, 0x00100010, 0x00100020, 0x00200011)


def test_a_lookup_in_a_big_file_reads_a_little(tmp_path: Path) -> None:
    path = tmp_path / "big.dcm"
    whole = corpus.part10(corpus.mr())
    start = whole.index(b"\xe0\x7f\x10\x00OW")
    with path.open("wb") as file:
        file.write(whole[:start] + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, 2**31))
        file.truncate(start + 12 + 2**31)  # sparse
    instance = Instance.load(path)
    assert isinstance(instance.payload, FilePayload)
    assert instance.header["SeriesNumber"] == 1
    assert instance.header.get("ContrastBolusAgent") is None
    assert instance.header.vr("PixelData") == "OW"
    assert instance.resident < 64 * 1024


def test_elements_behind_the_leading_part_of_a_file_are_found(tmp_path: Path) -> None:
    data = (
        element(0x00080016, "UI", b"1.2\0")
        + b"".join(element(0x00090000 | n, "LO", b"x" * 60000) for n in range(0x1000, 0x1010))
        + element(0x00200011, "IS", b"7 ")
        + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)
        + struct.pack("<HHI", 0xFFFE, 0xE000, 0)
        + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
        + element(0xFFFCFFFC, "LO", b"padding ")
    )
    path = tmp_path / "data"
    path.write_bytes(b"before" + data)
    found = Header(FilePayload(str(path), [Region(6, len(data))], lead=data[:1000]), EXPLICIT)
    assert found["SeriesNumber"] == 7
    assert found[0xFFFCFFFC] is not None
    assert found[0x00091005] is not None
    assert len(found) == 20


def test_implicit_vr_needs_pixel_representation_to_tell_signed_from_unsigned() -> None:
    for signed, value in [(0, 0xFFFE), (1, -2)]:
        ds = corpus.mr(PixelRepresentation=signed, SmallestImagePixelValue=value)
        found = Instance.from_bytes(corpus.part10(ds, "1.2.840.10008.1.2")).header
        assert found["SmallestImagePixelValue"] == value


def test_un_of_undefined_length_holds_items_in_implicit_vr() -> None:
    inner = struct.pack("<HHI", 0x0008, 0x0100, 4) + b"CODE"
    value = struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    data = (
        struct.pack("<HH2sHI", 0x0040, 0xA730, b"UN", 0, 0xFFFFFFFF)
        + value
        + element(0x00420010, "ST", b"end ")
    )
    found = header(data)
    assert found["ContentSequence[0].CodeValue"] == "CODE"
    assert found["DocumentTitle"] == "end"


def test_implicit_headers_under_an_explicit_transfer_syntax_are_read() -> None:
    raw = corpus.encode(corpus.mr(), "1.2.840.10008.1.2")
    assert header(raw, EXPLICIT)["PatientID"] == "TestPat1"
    assert header(corpus.encode(corpus.mr()), IMPLICIT)["PatientID"] == "TestPat1"
