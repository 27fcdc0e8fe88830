"""Walking encoded elements: pydicom's tags and lengths, and a bound to everything."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pydicom_values
from dcmflow.dicom import elements
from dcmflow.dicom.elements import (
    EXPLICIT,
    EXPLICIT_BIG,
    IMPLICIT,
    Element,
    Encoding,
    Incomplete,
    element_at,
    encoding_of,
    found_encoding,
    items,
    scan,
    swap,
    walk,
)
from dcmflow.errors import DatasetError
from dcmflow.testing import encoded_datasets

ITEM = b"\xfe\xff\x00\xe0"
ITEM_END = b"\xfe\xff\x0d\xe0\0\0\0\0"
SEQUENCE_END = b"\xfe\xff\xdd\xe0\0\0\0\0"
UNDEFINED = b"\xff\xff\xff\xff"


def short(tag: int, vr: str, value: bytes) -> bytes:
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), len(value)) + value


def long(tag: int, vr: str, value: bytes, length: int | None = None) -> bytes:
    length = len(value) if length is None else length
    return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr.encode(), 0, length) + value


def starts(data: bytes, encoding: Encoding = EXPLICIT, stop: int = -1) -> tuple[list[int], int]:
    index: dict[int, int] = {}
    end = scan(data, 0, len(data), encoding, index, [], stop)
    return [swap(raw) for raw in index], end


LAST = short(0x7FFF0010, "LO", b"last")


@given(encoded_datasets())
def test_the_same_elements_as_pydicom(encoded: tuple[bytes, str]) -> None:
    data, syntax = encoded
    encoding = found_encoding(data, 0, len(data), encoding_of(syntax))
    found = list(walk(data, 0, len(data), encoding))
    tag = (
        b"\2\0\x10\0UI"
        + struct.pack("<H", len(syntax) + len(syntax) % 2)
        + syntax.encode()
        + b"\0" * (len(syntax) % 2)
    )
    ds = pydicom_values.read(b"\0" * 128 + b"DICM" + tag + data)
    assert sorted(element.tag for element in found) == [int(tag) for tag in sorted(ds._dict)]
    assert [element.start for element in found] == [0, *(element.end for element in found)][: len(found)]
    assert (found[-1].end if found else 0) == len(data)
    tags, end = starts(data, encoding)
    assert tags == [element.tag for element in found]
    assert end == len(data)


@pytest.mark.parametrize("vr", sorted(elements.LONG_VRS))
def test_long_lengths(vr: str) -> None:
    data = long(0x00091010, vr, b"x" * 70000) + LAST
    assert starts(data) == ([0x00091010, 0x7FFF0010], len(data))


@pytest.mark.parametrize("vr", ["AE", "AT", "FD", "UL", "UI", "US"])
def test_short_lengths(vr: str) -> None:
    data = short(0x00091010, vr, b"x" * 8) + LAST
    assert starts(data) == ([0x00091010, 0x7FFF0010], len(data))
    assert element_at(data, 0, len(data), EXPLICIT) == Element(0x00091010, vr, 0, 8, 8, 16, False)


UNDEFINED_VALUES = {
    "no items": SEQUENCE_END,
    "items with lengths": ITEM + struct.pack("<I", len(LAST)) + LAST + ITEM + bytes(4) + SEQUENCE_END,
    "items without": ITEM + UNDEFINED + LAST + ITEM_END + ITEM + UNDEFINED + ITEM_END + SEQUENCE_END,
    "a delimiter in a value": ITEM
    + UNDEFINED
    + short(0x00091010, "LO", SEQUENCE_END)
    + ITEM_END
    + SEQUENCE_END,
    "nested": ITEM
    + UNDEFINED
    + long(0x00081115, "SQ", ITEM + UNDEFINED + LAST + ITEM_END + SEQUENCE_END, 0xFFFFFFFF)
    + ITEM_END
    + SEQUENCE_END,
    "implicit all of a sudden": ITEM
    + UNDEFINED
    + struct.pack("<HHI", 8, 0x16, 4)
    + b"1.2\0"
    + ITEM_END
    + SEQUENCE_END,
    "pixels inside": ITEM
    + UNDEFINED
    + long(
        0x7FE00010,
        "OB",
        ITEM + bytes(4) + ITEM + struct.pack("<I", 8) + SEQUENCE_END + SEQUENCE_END,
        0xFFFFFFFF,
    )
    + ITEM_END
    + SEQUENCE_END,
}


@pytest.mark.parametrize("vr", ["SQ", "OB", "UN"])
@pytest.mark.parametrize("value", UNDEFINED_VALUES.values(), ids=UNDEFINED_VALUES)
def test_undefined_lengths(vr: str, value: bytes) -> None:
    element = long(0x00081140, vr, value, 0xFFFFFFFF)
    data = element + LAST
    assert starts(data) == ([0x00081140, 0x7FFF0010], len(data))
    assert element_at(data, 0, len(data), EXPLICIT).end == len(element)
    for cut in range(12, len(element)):
        with pytest.raises(Incomplete):
            scan(data[:cut], 0, cut, EXPLICIT, {}, [])


def test_fragments_that_are_none_end_at_the_delimiter() -> None:
    data = long(0x7FE00010, "OB", b"no item tag at all" + SEQUENCE_END, 0xFFFFFFFF) + LAST
    assert starts(data) == ([0x7FE00010, 0x7FFF0010], len(data))
    view = memoryview(data)
    index: dict[int, int] = {}
    assert scan(view, 0, len(view), EXPLICIT, index, []) == len(data)


def test_items_of_a_sequence_are_nothing_else() -> None:
    data = long(0x00081140, "SQ", LAST + SEQUENCE_END, 0xFFFFFFFF)
    with pytest.raises(DatasetError, match=r"found \(7FFF,0010\) where an item"):
        scan(data, 0, len(data), EXPLICIT, {}, [])
    defined = long(0x00081140, "SQ", LAST)
    element = element_at(defined, 0, len(defined), EXPLICIT)
    with pytest.raises(DatasetError, match=r"found \(7FFF,0010\)"):
        list(items(defined, element, EXPLICIT))


@pytest.mark.parametrize("depth", [10, 100, 101, 5000])
def test_nesting_is_bounded(depth: int) -> None:
    head = long(0x00081140, "SQ", ITEM + UNDEFINED, 0xFFFFFFFF)
    data = head * depth + (ITEM_END + SEQUENCE_END) * depth
    if depth <= elements.MAX_DEPTH:
        assert starts(data) == ([0x00081140], len(data))
    else:
        with pytest.raises(DatasetError, match="nested more than 100 deep"):
            scan(data, 0, len(data), EXPLICIT, {}, [])


def test_the_walk_stops_at_the_element_wanted() -> None:
    data = short(0x00080060, "CS", b"CT") + short(0x00100020, "LO", b"42") + b"\xff" * 20
    tags, end = starts(data, stop=swap(0x00100020))
    assert (tags, end) == ([0x00080060, 0x00100020], 10)


def test_a_value_past_the_end_shows_in_the_position() -> None:
    data = short(0x00080060, "CS", b"CT") + long(0x7FE00010, "OW", b"", 1000)
    assert starts(data) == ([0x00080060, 0x7FE00010], len(data) + 1000)
    with pytest.raises(Incomplete, match="says it has 1000 bytes, 0 are left"):
        list(walk(data, 0, len(data), EXPLICIT))


def test_repeated_tags_are_told() -> None:
    data = LAST + short(0x00100010, "PN", b"A ") + LAST
    index: dict[int, int] = {}
    repeats: list[tuple[int, int]] = []
    scan(data, 0, len(data), EXPLICIT, index, repeats)
    assert index == {swap(0x7FFF0010): 0, swap(0x00100010): 12}
    assert repeats == [(swap(0x7FFF0010), 22)]


def test_a_vr_of_the_future_is_taken_like_a_short_one_and_no_vr_as_implicit() -> None:
    data = short(0x00091010, "ZZ", b"abcd") + struct.pack("<HHI", 9, 0x1011, 2) + b"xy" + LAST
    assert starts(data) == ([0x00091010, 0x00091011, 0x7FFF0010], len(data))
    assert [element.vr for element in walk(data, 0, len(data), EXPLICIT)] == ["ZZ", "", "LO"]


@given(st.integers(0, 0xFFFFFFFF))
def test_swap_undoes_itself(tag: int) -> None:
    assert swap(swap(tag)) == tag
    raw = struct.unpack("<I", struct.pack("<HH", tag >> 16, tag & 0xFFFF))[0]
    assert swap(raw) == tag


def test_encodings_of_transfer_syntaxes() -> None:
    assert encoding_of("1.2.840.10008.1.2") is IMPLICIT
    assert encoding_of("1.2.840.10008.1.2.2") is EXPLICIT_BIG
    for syntax in ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.50", "2.25.1"):
        assert encoding_of(syntax) is EXPLICIT


def test_big_endian() -> None:
    data = struct.pack(">HH2sH", 0x0028, 0x0010, b"US", 2) + b"\0\1"
    data += struct.pack(">HH2sHI", 0x7FE0, 0x0010, b"OW", 0, 4) + b"abcd"
    assert starts(data, EXPLICIT_BIG) == ([0x00280010, 0x7FE00010], len(data))
    assert found_encoding(data, 0, len(data), EXPLICIT_BIG) is EXPLICIT_BIG
