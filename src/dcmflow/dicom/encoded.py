"""Where the elements of a data set are, and how elements and items are written (PS3.5 7.1, 7.5)."""

from __future__ import annotations

from collections.abc import Iterator
from struct import pack
from typing import NamedTuple

from dcmflow.dicom.elements import LONG_VRS, UNDEFINED, Element, Encoding, Incomplete, scan
from dcmflow.dicom.header import Header
from dcmflow.dicom.payload import Payload
from dcmflow.errors import DatasetError


class Outline(NamedTuple):
    """Where the elements of a data set are: tags in the order of the bytes, where each begins, and where the last one ends."""

    tags: list[int]
    starts: list[int]
    end: int

    def spans(self) -> Iterator[tuple[int, int, int]]:
        """(tag, start, end) of each element."""
        return zip(self.tags, self.starts, [*self.starts[1:], self.end], strict=False)


def outline(payload: Payload, encoding: Encoding) -> Outline:
    found: list[tuple[int, int]] = []
    stop = 0
    for data, base, whole in payload.pieces():
        if not whole:
            continue
        index: dict[int, int] = {}
        repeats: list[tuple[int, int]] = []
        position = scan(data, 0, len(data), encoding, index, repeats)
        if position > len(data):
            raise Incomplete(
                f"the last element runs {position - len(data)} bytes past the end of the data set"
            )
        pairs = [*index.items(), *repeats]
        if repeats:
            pairs.sort(key=lambda pair: pair[1])
        found += [(raw, base + at) for raw, at in pairs] if base else pairs
        stop = base + position
    return Outline([(raw & 0xFFFF) << 16 | raw >> 16 for raw, _ in found], [at for _, at in found], stop)


def verify(payload: Payload, encoding: Encoding) -> None:
    """Walk to the end.

    Raises:
        DatasetError: the elements do not parse, or do not end where the data do.
    """
    header = Header(payload, encoding)
    for data, base, whole in payload.pieces():
        if not whole:
            continue
        position = scan(data, 0, len(data), header.encoding, {}, [])
        if position > len(data):
            raise Incomplete(
                f"the last element runs {position - len(data)} bytes past the end of the data set"
            )
        if any(data[position:]):
            raise DatasetError(
                f"the data set ends with {len(data) - position} bytes at {base + position} that are no element"
            )


def joined(payload: Payload) -> bytes:
    return b"".join(payload.segments())


def encoded_element(encoding: Encoding, tag: int, vr: str, value: bytes) -> bytes:
    group, element = tag >> 16, tag & 0xFFFF
    if not encoding.explicit:
        return pack(f"{encoding.order}HHI", group, element, len(value)) + value
    if vr in LONG_VRS:
        return pack(f"{encoding.order}HH2sHI", group, element, vr.encode(), 0, len(value)) + value
    return pack(f"{encoding.order}HH2sH", group, element, vr.encode(), len(value)) + value


def encoded_item(encoding: Encoding, content: bytes, *, undefined: bool = False) -> bytes:
    order = encoding.order
    if undefined:
        return b"".join(
            (pack(f"{order}HHI", 0xFFFE, 0xE000, UNDEFINED), content, pack(f"{order}HHI", 0xFFFE, 0xE00D, 0))
        )
    return pack(f"{order}HHI", 0xFFFE, 0xE000, len(content)) + content


def encoded_sequence(header: Header, element: Element, content: bytes) -> bytes:
    """The element with other items inside, its length written or delimited as before."""
    encoding = header.encoding
    order = encoding.order
    vr = element.vr
    if not element.undefined:
        return encoded_element(encoding if vr else implicit(encoding), element.tag, vr, content)
    head = pack(f"{order}HH", element.tag >> 16, element.tag & 0xFFFF)
    if vr:
        head += pack("2sH", vr.encode(), 0)
    return b"".join((head, pack(f"{order}I", UNDEFINED), content, pack(f"{order}HHI", 0xFFFE, 0xE0DD, 0)))


def implicit(encoding: Encoding) -> Encoding:
    return Encoding(explicit=False, little=encoding.little) if encoding.explicit else encoding
