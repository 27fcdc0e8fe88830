"""How elements, items and sequences are written (PS3.5 7.1, 7.5)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from struct import pack, unpack

from dcmflow.dicom.elements import LONG_VRS, UNDEFINED, Element, Encoding
from dcmflow.dicom.header import Header
from dcmflow.dicom.payload import Payload


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


def group_lengths(
    header: Header, changes: Iterable[tuple[int, int, int, bytes]]
) -> Iterator[tuple[int, int, int, bytes]]:
    """The group lengths (gggg,0000) that are there and not right any more after these changes (PS3.5 7.2).

    Args:
        header: of the data set, walked to its end.
        changes: start, tag, end and new bytes of an element; those given back have the same form.
    """
    growth: dict[int, int] = {}
    for start, tag, end, data in changes:
        if tag & 0xFFFF:
            growth[tag >> 16] = growth.get(tag >> 16, 0) + len(data) - (end - start)
        else:
            growth[tag >> 16] = -UNDEFINED  # set or removed itself
    for group, grown in growth.items():
        if not grown or not header.find(group):
            continue
        element, value = header.located(group << 16)
        if element.length != 4:
            continue
        order = header.encoding.order
        length = unpack(f"{order}I", value)[0] + grown
        if length < 0:
            continue
        encoding = header.encoding if element.vr else implicit(header.encoding)
        new = encoded_element(encoding, element.tag, element.vr, pack(f"{order}I", min(length, UNDEFINED)))
        yield element.start, element.tag, element.end, new


def implicit(encoding: Encoding) -> Encoding:
    return Encoding(explicit=False, little=encoding.little) if encoding.explicit else encoding
