"""Data sets made to be misread: nothing is lost in silence, and what they cost stays within bounds."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import corpus
from dcmflow.dicom import elements
from dcmflow.dicom.elements import EXPLICIT, IMPLICIT, Encoding, element_at, items, scan, walk
from dcmflow.dicom.header import Header
from dcmflow.dicom.instance import Instance
from dcmflow.dicom.json_model import Bulk, json_object
from dcmflow.dicom.nodes import Walk
from dcmflow.dicom.payload import FilePayload, MemoryPayload, Piece, Region
from dcmflow.errors import DatasetError, NotDicom

ITEM_END = b"\xfe\xff\x0d\xe0\0\0\0\0"
LITTLE, DEFLATED = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"


def short(tag: int, vr: str, value: bytes) -> bytes:
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), len(value)) + value


def long(tag: int, vr: str, value: bytes) -> bytes:
    return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr.encode(), 0, len(value)) + value


def instance(*encoded: bytes, syntax: str = LITTLE) -> Instance:
    return Instance("1.2", "1.3", syntax, MemoryPayload(b"".join(encoded)))


def bytes_of(made: Instance) -> bytes:
    return b"".join(made.payload.segments())


NAME = short(0x00100010, "PN", b"Doe^John")


# -- what is there is not overlooked


def test_an_element_behind_a_stray_item_delimiter_is_not_absent() -> None:
    made = instance(short(0x00080060, "CS", b"CT"), ITEM_END, NAME)
    assert made.header["Modality"] == "CT"
    with pytest.raises(DatasetError, match="an item ends at 10"):
        made.header.get("PatientName")
    with pytest.raises(DatasetError, match="an item ends at 10"):
        made.with_elements({}, ["PatientName"])
    with pytest.raises(DatasetError):
        made.with_uids(lambda uid: "1.2")


def test_a_delimiter_at_the_very_end_does_no_harm() -> None:
    made = instance(NAME, ITEM_END, bytes(20))
    assert "PatientID" not in made.header
    assert made.with_elements({"PatientID": "7"}).header["PatientID"] == "7"


def test_blanks_around_a_uid_do_not_count() -> None:
    made = Instance.from_bytes(
        short(0x00080016, "UI", b"1.2.840.10008.1.1\0") + short(0x00080018, "UI", b" 1.2.3 ")
        + short(0x00080058, "UI", b"1.2.4 \\ 1.2.5 ")
    )  # fmt: skip
    assert made.sop_instance_uid == "1.2.3"
    assert made.header["FailedSOPInstanceUIDList"] == ("1.2.4", "1.2.5")


class _Overtaken:
    """A source in which another look at the same header gets to the end while one is on its way."""

    def __init__(self, data: bytes) -> None:
        self._payload = MemoryPayload(data)
        self.header: Header | None = None

    def pieces(self, position: int = 0) -> Iterator[Piece]:
        if self.header is not None:
            header, self.header = self.header, None
            assert len(header.tags()) == 3
        return self._payload.pieces(position)

    def read(self, start: int, end: int) -> elements.Buffer:
        return self._payload.read(start, end)


def test_looks_at_one_header_from_two_threads() -> None:
    data = short(0x00080060, "CS", b"CT") + NAME + short(0x00200011, "IS", b"7 ")
    source = _Overtaken(data)
    header = Header(source, EXPLICIT)
    source.header = header
    assert header["Modality"] == "CT"
    assert header.outline().end == len(data)


# -- what stays, stays; what is written is right


def test_the_group_length_follows_an_edit() -> None:
    made = instance(
        short(0x00080000, "UL", struct.pack("<I", 10)), short(0x00080060, "CS", b"CT"),
        short(0x00100000, "UL", struct.pack("<I", 16)), NAME,
    )  # fmt: skip
    edited = made.with_elements({"PatientName": "A", "PatientID": "1234", "StudyID": "1"}, ["Modality"])
    assert edited.header[0x00080000] == 0
    assert edited.header[0x00100000] == 10 + 12
    assert made.with_elements({0x00100000: 5, "PatientName": "A"}).header[0x00100000] == 5
    assert 0x00100000 not in made.with_elements({"PatientName": "A"}, [0x00100000]).header


def test_group_lengths_in_bundled_files_are_as_right_as_before(pydicom_files: list[Path]) -> None:
    right = 0
    for path in pydicom_files:
        try:
            made = Instance.load(path)
            before = _group_lengths(made)
        except DatasetError:
            continue
        if not before or made.transfer_syntax_uid == DEFLATED:
            continue
        edited = made.with_elements({"PatientName": "Somebody^Else", "StudyID": "0815"}).with_uids(
            lambda uid: "2.25.1"
        )
        after = _group_lengths(edited)
        assert {group: said - real for group, (said, real) in after.items()} == {
            group: said - real for group, (said, real) in before.items()
        }, path
        right += any(said == real for said, real in after.values())
    assert right >= 5


def _group_lengths(made: Instance) -> dict[int, tuple[int, int]]:
    """Group → what its length says, and what it is."""
    data = bytes_of(made)
    if made.transfer_syntax_uid == DEFLATED:
        return {}
    real: dict[int, int] = {}
    said: dict[int, int] = {}
    for element in walk(data, 0, len(data), made.header.encoding):
        group = element.tag >> 16
        if element.tag & 0xFFFF:
            real[group] = real.get(group, 0) + element.end - element.start
        else:
            said[group] = made.header[element.tag]
    return {group: (length, real.get(group, 0)) for group, length in said.items()}


def test_values_beside_a_changed_one_keep_their_bytes() -> None:
    uids = instance(short(0x00080058, "UI", b"1.2.3\\not a uid\\1.02 "))
    changed = uids.with_uids(lambda uid: "2.25.1" if uid == "1.2.3" else None)
    assert bytes(changed.header.raw("FailedSOPInstanceUIDList")) == b"2.25.1\\not a uid\\1.02\0"
    dates = instance(short(0x00080020, "DA", b"20200101\\unknown "))
    moved = dates.with_values(("DA",), lambda _tag, _vr, day: "20200102" if day == "20200101" else None)
    assert moved.header["StudyDate"] == ("20200102", "unknown")


def test_a_value_can_become_empty() -> None:
    made = instance(short(0x00080014, "UI", b"1.2.3\0"))
    assert made.with_uids(lambda uid: "").header["InstanceCreatorUID"] == ""


def test_a_sequence_removed_and_set_inside_begins_anew() -> None:
    old = Instance.from_bytes(corpus.part10(corpus.mr())).with_elements(
        {"ReferencedStudySequence": [{"PatientID": "old"}, {"PatientID": "old"}]}
    )
    new = old.with_elements(
        {"ReferencedStudySequence[0].PatientName": "new"}, ["ReferencedStudySequence"]
    ).header["ReferencedStudySequence"]
    assert [dict(item) for item in new] == [{"PatientName": "new"}]


def test_long_text_may_get_longer_than_a_short_value() -> None:
    made = instance(short(0x00080005, "CS", b"ISO_IR 100"), long(0x0040A160, "UT", b"\xe9" * 60000))
    edited = made.with_elements({"PatientName": "山"})
    assert edited.header["TextValue"] == "é" * 60000
    assert edited.header["PatientName"] == "山"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("GrayLookupTableData", [1] * 40000),
        ("FrameIncrementPointer", [0x00181063] * 20000),
        ("SliceThickness", "nan"),
        ("SliceThickness", "1_0"),
        ("SliceThickness", "1\n"),
        ("SeriesNumber", "1_0"),
        ("SeriesNumber", "\n1"),
    ],
)
def test_what_fits_no_value_is_an_error(key: str, value: Any) -> None:
    with pytest.raises(DatasetError, match=f"{key} cannot be"):
        instance().with_elements({key: value})


def test_a_vr_that_does_not_exist_is_unknown_in_json() -> None:
    header = instance(short(0x00080060, "ZZ", b"CT")).header
    assert "".join(json_object([(Walk().nodes(header), Bulk())])) == (
        '{"00080060": {"vr": "UN", "InlineBinary": "Q1Q="}}'
    )


# -- what is no DICOM


@pytest.mark.parametrize(
    "data",
    [
        b"DICM is what a DICOM file has behind its preamble.",
        struct.pack("<8I", 8, 0, 16, 0, 32, 0, 40, 0),
        struct.pack("<8I", 8, 0, 0x00010009, 0, 0x00010011, 0, 0x00010013, 0),
    ],
)
def test_what_only_begins_like_dicom_is_none(data: bytes) -> None:
    with pytest.raises(NotDicom):
        Instance.from_bytes(data)


def test_group_two_behind_the_bare_prefix_is_dicom() -> None:
    whole = corpus.part10(corpus.mr())
    assert Instance.from_bytes(whole[128:]).sop_instance_uid == Instance.from_bytes(whole).sop_instance_uid
    bare = b"DICM" + bytes_of(Instance.from_bytes(whole))
    assert Instance.from_bytes(bare).sop_instance_uid == Instance.from_bytes(whole).sop_instance_uid


# -- what it costs


def many(count: int, vr: bytes = b"CS") -> bytes:
    """So many empty elements with different tags, ascending."""
    return b"".join(
        struct.pack("<HH2sH", 0x10 + 2 * (number >> 14), 0x4000 | number & 0x3FFF, vr, 0)
        for number in range(count)
    )


@pytest.mark.parametrize("encoding", [EXPLICIT, IMPLICIT])
def test_elements_are_bounded(encoding: Encoding, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elements, "MOST", 1000)
    monkeypatch.setattr(elements, "_STRETCH", 800)
    data = many(1200, b"CS" if encoding.explicit else b"\0\0")
    with pytest.raises(DatasetError, match="more than 1000 elements"):
        scan(data, 0, len(data), encoding, {}, [])
    with pytest.raises(DatasetError, match="more than 1000 elements"):
        list(walk(data, 0, len(data), encoding))
    assert scan(data, 0, 8 * 900, encoding, {}, []) == 8 * 900


def test_items_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elements, "MOST", 1000)
    data = long(0x00081140, "SQ", struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 1001)
    with pytest.raises(DatasetError, match="more than 1000 items"):
        list(items(data, element_at(data, 0, len(data), EXPLICIT), EXPLICIT))


def test_asking_a_broken_data_set_again_and_again() -> None:
    """Twenty thousand questions to forty thousand elements; what is known of one is known of all."""
    header = instance(many(40_000), struct.pack("<HH2sH", 0x7000, 1, b"CS", 10)).header
    for tag in range(0x00080001, 0x00080001 + 20_000):
        assert tag not in header
    with pytest.raises(DatasetError):
        header.get(0x70020001)


def test_reading_here_and_there_in_a_file_that_is_mapped(tmp_path: Path) -> None:
    data = bytes(range(256)) * 64
    path = tmp_path / "data"
    path.write_bytes(b"before" + data)
    payload = FilePayload(str(path), [data[:100], Region(106, 8000), Region(8106, len(data) - 8100)])
    mapped = payload.segments()
    for start, end in pairwise([0, 50, 150, 8050, 8150, len(data)]):
        assert payload.read(start, end) == data[start:end]
        assert isinstance(payload.read(start, end), bytes)
    del mapped
    assert payload.read(90, 8200) == data[90:8200]


@pytest.mark.parametrize("vr", [b"OW", b"SQ"])
def test_a_file_is_walked_without_being_mapped(
    vr: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mapped file that somebody cuts off ends the whole process; what is looked for is read instead."""
    wide = 6 << 20
    if vr == b"OW":
        big = struct.pack("<HH2sHI", 0x0042, 0x0011, b"OW", 0, wide) + bytes(wide)
    else:
        item = struct.pack("<HHI", 0xFFFE, 0xE000, 100_000) + bytes(100_000)
        big = struct.pack("<HH2sHI", 0x0042, 0x0011, b"SQ", 0, 0xFFFFFFFF)
        big += item * 20 + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    data = (
        short(0x00080016, "UI", b"1.2.840.10008.1.1\0") + short(0x00080018, "UI", b"1.2.3\0")
        + many(10_000) + big + many(10_000).replace(b"CS", b"UI") + short(0x7FE10010, "LO", b"last")
    )  # fmt: skip
    path = tmp_path / "big.dcm"
    path.write_bytes(b"".join(Instance("1.2", "1.3", LITTLE, MemoryPayload(data)).part10_segments()))
    made = Instance.load(path, memory_limit=0)

    def refuse(*_: object) -> None:
        raise AssertionError("mapped")

    monkeypatch.setattr(FilePayload, "_map", refuse)
    made.verify()
    assert made.header[0x7FE10010] == "last"
    assert made.header.get("EchoTime") is None
    edited = made.with_elements({"PatientID": "7"}).with_uids(lambda uid: uid + ".1")
    assert edited.sop_instance_uid == "1.2.3.1"
    assert edited.header["PatientID"] == "7"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(DatasetError, match="4 bytes past"):
        Instance.load(path, memory_limit=0).verify()
