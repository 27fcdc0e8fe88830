"""Passes over every element of a data set, at every depth: UIDs replaced, text written in another character set."""

from __future__ import annotations

from collections.abc import Callable

from dcmflow.dicom import charset, tags, values
from dcmflow.dicom.elements import LONG_VRS, MAX_DEPTH, Buffer, Element, element_at, items, swap
from dcmflow.dicom.encoded import (
    encoded_element,
    encoded_item,
    encoded_sequence,
    group_lengths,
    implicit,
    joined,
)
from dcmflow.dicom.header import Header
from dcmflow.dicom.payload import BLOCK, LEAD, MemoryPayload, Payload
from dcmflow.errors import DatasetError

_CHARACTER_SET = 0x00080005
_PIXEL_DATA = swap(0x7FE00010)
_Convert = Callable[[Header, Element, str, bytes], bytes | None]


def change_values(
    payload: Payload, header: Header, vrs: frozenset[str], change: Callable[[int, str, str], str | None]
) -> Payload:
    """The data set with each value of these VRs replaced by what `change` says (see `Instance.with_values`).

    Raises:
        DatasetError: as there.
    """

    def convert(_at: Header, element: Element, vr: str, data: bytes) -> bytes | None:
        before = data.decode("latin-1").rstrip(" \0").split("\\")
        after = [_changed(element.tag, vr, value, change) for value in before]
        if after == before:
            return None
        # what stays may be against the rules and stays all the same
        new = "\\".join(after).encode("latin-1")
        if len(new) > 0xFFFE >= len(data):
            raise DatasetError(f"{tags.name(element.tag)} gets too long")
        return new + (b"\0" if vr == "UI" else b" ") if len(new) & 1 else new

    return rewritten(payload, header, vrs, convert, 0)


def _changed(tag: int, vr: str, value: str, change: Callable[[int, str, str], str | None]) -> str:
    stripped = value.strip(" \0")
    new = change(tag, vr, stripped) if stripped else None
    if new is None or new == stripped:
        return value
    return values.encode(vr, new, tags.name(tag)).decode("latin-1").rstrip(" \0")


def rewritten(
    payload: Payload, header: Header, vrs: frozenset[str], convert: _Convert, depth: int
) -> Payload:
    """The data set with the values of all elements with these VRs passed through `convert`, at every depth."""
    if depth > MAX_DEPTH:
        raise DatasetError(f"sequences are nested more than {MAX_DEPTH} deep")
    read = _reader(payload)
    replacements: list[tuple[int, int, int, bytes]] = []  # start, tag, end, bytes
    for raw, start, end in header.outline().spans():
        if raw == _PIXEL_DATA:
            continue
        new = _converted(read, header, raw, start, end, vrs, convert, depth)
        if new is not None:
            replacements.append((start, swap(raw), end, new))
    if replacements:
        replacements = sorted([*replacements, *group_lengths(header, replacements)])
    return payload.spliced([(s, e, new) for s, _, e, new in replacements]) if replacements else payload


def _reader(payload: Payload) -> Callable[[int, int], Buffer]:
    """Reads stretches, and of a file a little more than was asked for, where the next one is likely to be."""
    if isinstance(payload, MemoryPayload):
        return payload.read
    window, base = b"", 0

    def read(start: int, end: int) -> Buffer:
        nonlocal window, base
        if end - start >= BLOCK:
            return payload.read(start, end)
        if not base <= start <= end <= base + len(window):
            window, base = bytes(payload.read(start, max(end, min(start + LEAD, payload.size)))), start
        return window[start - base : end - base]

    return read


def _converted(
    read: Callable[[int, int], Buffer],
    header: Header,
    raw: int,
    start: int,
    end: int,
    vrs: frozenset[str],
    convert: _Convert,
    depth: int,
) -> bytes | None:
    encoding = header.encoding
    head = read(start, min(end, start + 12))
    if encoding.explicit:
        written = bytes(head[4:6]).decode("latin-1")
        if written not in vrs and written not in ("SQ", "UN") and written.isalpha():
            return None
    elif (known := tags.dictionary_vr(swap(raw))) and known != "SQ" and known not in vrs:
        return None
    data = read(start, end)
    element = element_at(data, 0, len(data), encoding)
    vr = header.vr_of(element)
    value = data[element.value : element.end]
    if vr == "SQ":
        return _converted_sequence(header, element, value, vrs, convert, depth)
    if vr not in vrs:
        return None
    new = convert(header, element, vr, bytes(value))
    if new is None:
        return None
    return encoded_element(encoding if element.vr else implicit(encoding), element.tag, element.vr, new)


def _converted_sequence(
    header: Header, element: Element, data: Buffer, vrs: frozenset[str], convert: _Convert, depth: int
) -> bytes | None:
    within = element._replace(value=0, end=len(data))
    parts: list[bytes] = []
    changed = False
    for item in items(data, within, header.encoding):
        before = MemoryPayload(data[item.first : item.last])
        after = rewritten(before, Header(before, item.encoding, parent=header), vrs, convert, depth + 1)
        changed |= after is not before
        parts.append(
            bytes(data[item.start : item.end])
            if after is before
            else encoded_item(header.encoding, joined(after), undefined=item.undefined)
        )
    return encoded_sequence(header, element, b"".join(parts)) if changed else None


def recode(payload: Payload, header: Header, terms: tuple[str, ...]) -> Payload:
    """The data set with all text written in the character sets that `terms` name.

    Items that have a Specific Character Set of their own get `terms` too; that of the data set itself is left to the caller.

    Raises:
        DatasetError: a text has characters that these character sets lack, or bytes that are no text in its own.
    """
    codecs = charset.codecs_for(terms)

    def convert(at: Header, element: Element, vr: str, data: bytes) -> bytes | None:
        if vr == "CS":
            inside = element.tag == _CHARACTER_SET and at is not header
            return values.encode("CS", list(terms), "SpecificCharacterSet") if inside else None
        if data.isascii() and b"\x1b" not in data:
            return None
        text = charset.decode(data, at.codecs)
        try:
            new = charset.encode(text, codecs, person=vr == "PN")
        except UnicodeEncodeError:
            raise DatasetError(
                f"{tags.name(element.tag)} {text.rstrip()!r} cannot be written in Specific Character Set {_shown(terms)}"
            ) from None
        if "\N{REPLACEMENT CHARACTER}" in text or (
            len(new) > 0xFFFE > len(data) and element.vr not in LONG_VRS
        ):
            raise DatasetError(
                f"{tags.name(element.tag)} cannot be written in Specific Character Set {_shown(terms)}: its bytes are no "
                "text in the present one, or it gets too long; set or remove it as well"
            )
        return new + b" " if len(new) & 1 else new

    return rewritten(payload, header, values.CHARSET_VRS | {"CS"}, convert, 0)


def _shown(terms: tuple[str, ...]) -> str:
    return "\\".join(terms) or "ISO_IR 6"
