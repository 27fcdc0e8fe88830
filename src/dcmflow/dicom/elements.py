"""Find elements in encoded data sets (PS3.5 7).

A data set is a run of elements, each a tag, a VR (explicit) or none (implicit), a length and a value. To find an element one
jumps from header to header; nothing is decoded and no value is touched. Three things make it more than adding lengths:

- a length may be undefined; then items follow, each of them perhaps undefined too, up to a delimiter (PS3.5 7.5), and the
  fragments of encapsulated pixel data look the same (PS3.5 A.4);
- UN of undefined length holds items in implicit VR (PS3.5 6.2.2), and some writers change to implicit VR inside sequences;
- the bytes may be broken. Each step goes forward by at least eight bytes and nesting is bounded, so a walk always ends.

Inside this module a tag is a `raw` number, element << 16 | group: what four little endian bytes say when read at once. All
positions are byte offsets in the buffer given.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from dcmflow.dicom.encoding import (
    EXPLICIT,
    EXPLICIT_BIG,
    IMPLICIT,
    LONG,
    LONG_VRS,
    NAMES,
    SHORT,
    SHORT_NAMES,
    SQ,
    UN,
    Buffer,
    Encoding,
    encoding_of,
    found_encoding,
    swap,
)
from dcmflow.errors import DatasetError

__all__ = [
    "EXPLICIT",
    "EXPLICIT_BIG",
    "IMPLICIT",
    "ITEM_END",
    "LONG_VRS",
    "MAX_DEPTH",
    "MAX_REPEATS",
    "MOST",
    "SHORT_NAMES",
    "UNDEFINED",
    "Buffer",
    "Element",
    "Encoding",
    "Incomplete",
    "Item",
    "element_at",
    "encoding_of",
    "found_encoding",
    "items",
    "scan",
    "swap",
    "walk",
]

UNDEFINED: Final = 0xFFFFFFFF
MAX_DEPTH: Final = 100  # of nested sequences; real ones stay below ten

MAX_REPEATS: Final = 10_000
MOST: Final = (
    1_000_000  # elements of a data set (the standard defines some five thousand), items of a sequence
)
_STRETCH: Final = 4 * 1024 * 1024  # bytes between two looks at their number

ITEM: Final = 0xE000FFFE
ITEM_END: Final = 0xE00DFFFE
SEQUENCE_END: Final = 0xE0DDFFFE


class Incomplete(DatasetError):
    """The bytes end inside an element. `position`: where that element begins."""

    def __init__(self, message: str, position: int = 0) -> None:
        super().__init__(message)
        self.position = position


def _item_encoding(buffer: Buffer, position: int, end: int, outer: Encoding) -> Encoding:
    return found_encoding(buffer, position, end, outer) if outer.explicit else outer


def scan(
    buffer: Buffer,
    position: int,
    end: int,
    encoding: Encoding,
    index: dict[int, int],
    repeats: list[tuple[int, int]],
    stop: int = -1,
) -> int:
    """Walk on from `position` and note in `index` where each element begins (raw tag to position).

    Args:
        repeats: gets (raw tag, position) of elements whose tag is in the index already; the first counts.
        stop: the raw tag to stop at, after noting it; -1 walks to the end.

    Returns:
        The position of the stop element, or behind the last element; more than `end` when its value runs out of the
        buffer, less when an item delimiter, zeros or too few bytes for a header are left.

    Raises:
        Incomplete: an undefined length does not end in this buffer. What comes before is in the index.
        DatasetError: bytes that cannot be elements.
    """
    last = end - 8
    if encoding is EXPLICIT:
        head, short = encoding.head, SHORT
        while position <= last:
            edge = last if last - position < _STRETCH else position + _STRETCH
            while position <= edge:
                raw, vr, length = head(buffer, position)
                if vr in short:
                    if raw not in index:
                        index[raw] = position
                    elif index[raw] != position:
                        _repeated(repeats, raw, position)
                    if raw == stop:
                        return position
                    position += length + 8
                    continue
                if raw == ITEM_END or (raw == 0 and _only_zeros(buffer, position, end)):
                    return position
                if index.setdefault(raw, position) != position:
                    _repeated(repeats, raw, position)
                if raw == stop:
                    return position
                if vr in LONG and position <= last - 4:
                    (length,) = encoding.long(buffer, position + 8)
                    if length != UNDEFINED:
                        position += length + 12
                        continue
                position = _after(buffer, position, end, encoding)
            _limit(len(index), "the data set", "elements")
        return position
    pair, implicit = encoding.pair, not encoding.explicit
    while position <= last:
        edge = last if last - position < _STRETCH else position + _STRETCH
        while position <= edge:
            raw, length = pair(buffer, position)
            if raw == ITEM_END or (raw == 0 and _only_zeros(buffer, position, end)):
                return position
            if raw not in index:
                index[raw] = position
            elif index[raw] != position:
                _repeated(repeats, raw, position)
            if raw == stop:
                return position
            if implicit and length != UNDEFINED:
                position += length + 8
            else:
                position = _after(buffer, position, end, encoding)
        _limit(len(index), "the data set", "elements")
    return position


def _limit(count: int, where: str, what: str) -> None:
    """Millions of elements or items of eight bytes are made to fill memory."""
    if count > MOST:
        raise DatasetError(f"{where} has more than {MOST} {what}")


def _repeated(repeats: list[tuple[int, int]], raw: int, position: int) -> None:
    repeats.append((raw, position))
    if len(repeats) > MAX_REPEATS:
        raise DatasetError(f"the same elements again and again, {_shown(raw)} for one")


def _only_zeros(buffer: Buffer, position: int, end: int) -> bool:
    """True where nothing but padding follows, which some writers leave behind a data set; anything else of tag 0 is an error."""
    step = 1 << 20
    for start in range(position, end, step):
        part = bytes(buffer[start : min(end, start + step)])
        if part.count(0) != len(part):
            raise DatasetError("found (0000,0000), which is no element of a data set")
    return True


def _after(buffer: Buffer, position: int, end: int, encoding: Encoding) -> int:
    """Where the element behind the one at `position` begins."""
    vr, value, length = _header(buffer, position, end, encoding)
    if length != UNDEFINED:
        return value + length
    try:
        return _skip_value(buffer, value, end, vr, encoding, 0)
    except Incomplete as error:
        error.position = position
        raise


def _header(buffer: Buffer, position: int, end: int, encoding: Encoding) -> tuple[int, int, int]:
    """(VR code or 0, position of the value, its length) of the element at `position`."""
    if position + 8 > end:
        raise Incomplete("the data set ends inside the header of an element", position)
    if not encoding.explicit:
        return 0, position + 8, encoding.pair(buffer, position)[1]
    _raw, vr, length = encoding.head(buffer, position)
    if vr in SHORT:
        return vr, position + 8, length
    if vr in LONG:
        if position + 12 > end:
            raise Incomplete("the data set ends inside the header of an element", position)
        return vr, position + 12, encoding.long(buffer, position + 8)[0]
    if 0x40 < vr & 0xFF < 0x5B and 0x40 < vr >> 8 < 0x5B:
        return vr, position + 8, length  # a VR of the future or a wrong one: taken like the common ones
    return 0, position + 8, encoding.pair(buffer, position)[1]  # implicit all of a sudden


def _skip_value(buffer: Buffer, position: int, end: int, vr: int, encoding: Encoding, depth: int) -> int:
    """Behind the delimiter of the undefined length value at `position`."""
    if position + 8 > end:
        raise Incomplete("the data set ends inside a value of undefined length", position)
    if vr not in (SQ, UN) and encoding.pair(buffer, position)[0] not in (ITEM, SEQUENCE_END):
        # neither items nor fragments: the delimiter is all there is to go by
        marker = b"\xfe\xff\xdd\xe0" if encoding.little else b"\xff\xfe\xe0\xdd"
        found = _find(buffer, marker, position, end)
        if found < 0 or found + 8 > end:
            raise Incomplete("a value of undefined length has no end", position)
        return found + 8
    return _skip_items(buffer, position, end, encoding, depth)


def _find(buffer: Buffer, marker: bytes, position: int, end: int) -> int:
    if not isinstance(buffer, memoryview):
        return buffer.find(marker, position, end)
    step = 1 << 20
    while position < end:
        found = bytes(buffer[position : min(end, position + step + len(marker) - 1)]).find(marker)
        if found >= 0:
            return position + found
        position += step
    return -1


def _skip_items(buffer: Buffer, position: int, end: int, encoding: Encoding, depth: int) -> int:
    pair = encoding.pair
    last = end - 8
    while position <= last:
        raw, length = pair(buffer, position)
        position += 8
        if raw == ITEM:
            if length == UNDEFINED:
                position = _skip_data_set(buffer, position, end, encoding, depth + 1)
            else:
                position += length
        elif raw == SEQUENCE_END:
            return position
        else:
            raise DatasetError(f"found {_shown(raw)} where an item or the end of a sequence belongs")
    raise Incomplete(
        "the data set ends inside a sequence or encapsulated value of undefined length", position
    )


def _skip_data_set(buffer: Buffer, position: int, end: int, outer: Encoding, depth: int) -> int:
    """Behind the Item Delimitation Item of the item whose elements begin at `position`."""
    if depth > MAX_DEPTH:
        raise DatasetError(f"sequences are nested more than {MAX_DEPTH} deep")
    encoding = _item_encoding(buffer, position, end, outer)
    explicit, head, pair, short = encoding.explicit, encoding.head, encoding.pair, SHORT
    last = end - 8
    while position <= last:
        if explicit:
            raw, vr, length = head(buffer, position)
            if vr in short:
                position += length + 8
                continue
            if raw == ITEM_END:
                return position + 8
        else:
            raw, length = pair(buffer, position)
            if raw == ITEM_END:
                return position + 8
            if length != UNDEFINED:
                position += length + 8
                continue
        vr, value, length = _header(buffer, position, end, encoding)
        position = (
            value + length if length != UNDEFINED else _skip_value(buffer, value, end, vr, encoding, depth)
        )
    raise Incomplete("the data set ends inside an item of undefined length", position)


def _shown(raw: int) -> str:
    return f"({raw & 0xFFFF:04X},{raw >> 16:04X})"


class Element(NamedTuple):
    """Where an element is.

    Attributes:
        tag: as everywhere, group << 16 | element.
        vr: empty when the encoding does not say.
        start: of its header.  value: of its value.  length: of the value, delimiters included, in bytes.
        end: behind its last byte.
        undefined: True when the length is not written but delimited.
    """

    tag: int
    vr: str
    start: int
    value: int
    length: int
    end: int
    undefined: bool


def element_at(buffer: Buffer, position: int, end: int, encoding: Encoding) -> Element:
    """The element whose header begins at `position`.

    Raises:
        Incomplete: it does not end within `end`.
    """
    vr, value, length = _header(buffer, position, end, encoding)
    tag = swap(encoding.pair(buffer, position)[0])
    undefined = length == UNDEFINED
    if undefined:
        try:
            following = _skip_value(buffer, value, end, vr, encoding, 0)
        except Incomplete as error:
            error.position = position
            raise
    else:
        following = value + length
    if following > end:
        raise Incomplete(
            f"({tag >> 16:04X},{tag & 0xFFFF:04X}) says it has {length} bytes, {max(0, end - value)} are left",
            position,
        )
    name = chr(vr & 255) + chr(vr >> 8) if vr and vr not in NAMES else NAMES.get(vr, "")
    return Element(tag, name, position, value, following - value, following, undefined)


def walk(buffer: Buffer, position: int, end: int, encoding: Encoding) -> Iterator[Element]:
    """Every element from `position` on, up to the end or an item delimiter.

    Fewer than eight bytes at the end are no element and are passed over, as they are by most readers.

    Raises:
        Incomplete, DatasetError: as `element_at`.
    """
    count = 0
    while position + 8 <= end:
        raw = encoding.pair(buffer, position)[0]
        if raw == ITEM_END or (raw == 0 and _only_zeros(buffer, position, end)):
            return
        count += 1
        _limit(count, "the data set", "elements")
        element = element_at(buffer, position, end, encoding)
        yield element
        position = element.end


class Item(NamedTuple):
    """Where an item of a sequence is: `start` of its header, `first` element, `last` byte + 1 of its elements, `end`."""

    start: int
    first: int
    last: int
    end: int
    undefined: bool
    encoding: Encoding


def items(buffer: Buffer, element: Element, encoding: Encoding) -> Iterator[Item]:
    """The items of a sequence.

    Raises:
        DatasetError: the value is not a run of items.
    """
    position, end = element.value, element.end
    outer = encoding
    count = 0
    while position + 8 <= end:
        count += 1
        _limit(count, "the sequence", "items")
        raw, length = outer.pair(buffer, position)
        if raw == SEQUENCE_END:
            return
        if raw != ITEM:
            raise DatasetError(f"found {_shown(raw)} where an item of a sequence belongs")
        first = position + 8
        inner = _item_encoding(buffer, first, end, outer)
        undefined = length == UNDEFINED
        following = _skip_data_set(buffer, first, end, outer, 0) if undefined else first + length
        if following > end:
            raise Incomplete("an item runs past the end of its sequence", position)
        yield Item(position, first, following - 8 if undefined else following, following, undefined, inner)
        position = following
