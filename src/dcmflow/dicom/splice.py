"""Edits of encoded data sets: new bytes for what changes, the old ones for everything else.

One data set is edited at a time, and an item of a sequence is a data set too: `_edited` outlines the elements of one,
replaces, inserts and leaves out, and descends where a path goes on inside. Long untouched stretches are never copied
(`payload.spliced`), so replacing the name of a patient in a gigabyte of frames writes a few kilobytes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from struct import pack
from typing import Any, NamedTuple, cast

from dcmflow.dicom import charset, tags, values
from dcmflow.dicom.charset import Codecs
from dcmflow.dicom.elements import (
    LONG_VRS,
    MAX_DEPTH,
    UNDEFINED,
    Buffer,
    Element,
    Encoding,
    Incomplete,
    items,
    scan,
)
from dcmflow.dicom.header import Header
from dcmflow.dicom.payload import MemoryPayload, Payload, Replacement
from dcmflow.dicom.tags import Leaf
from dcmflow.errors import DatasetError

_CHARACTER_SET = 0x00080005
_UTF8 = "ISO_IR 192"
_Convert = Callable[[Header, Element, str, bytes], bytes | None]


class _Change:
    """What is to become of one data set."""

    def __init__(self) -> None:
        self.set: dict[Leaf, tuple[Any, str]] = {}  # value, and the key as it was written
        self.remove: set[Leaf] = set()
        self.inside: dict[Leaf, dict[int, _Change]] = {}

    @classmethod
    def of(cls, set: Mapping[Any, Any], remove: Iterable[str | int] = ()) -> _Change:
        change = cls()
        for key, value in set.items():
            path = tags.parse(key)
            change._at(path).set[path.leaf] = value, path.text
        for key in remove:
            path = tags.parse(key)
            change._at(path).remove.add(path.leaf)
        return change

    def _at(self, path: tags.Path) -> _Change:
        change = self
        for leaf, number in path.steps:
            change = change.inside.setdefault(leaf, {}).setdefault(number, _Change())
        return change

    @property
    def adds(self) -> bool:
        """False when there are only removals, which make nothing that is missing."""
        return bool(self.set) or any(c.adds for inner in self.inside.values() for c in inner.values())


def edit(payload: Payload, header: Header, set: Mapping[Any, Any], remove: Iterable[str | int]) -> Payload:
    """The data set with elements set and removed (see `Instance.with_elements`).

    Raises:
        UnknownKeyword, DatasetError: as there.
    """
    change = _Change.of(set, remove)
    for leaf in (*change.set, *change.remove):
        if leaf.tag >> 16 in (0x0000, 0x0002, 0xFFFE):
            raise DatasetError(
                f"{tags.name(leaf.tag)} is no element of a data set and cannot be set or removed"
            )
    target = Leaf(_CHARACTER_SET)
    if target in change.set or target in change.remove:
        terms = (
            values.decode("CS", values.encode("CS", change.set.get(target, ("",))[0], "SpecificCharacterSet"))
            or ()
        )
        terms = (terms,) if isinstance(terms, str) else terms
        for term in filter(None, terms):
            charset.check(term)
        return _recoded(payload, header, change, charset.codecs_for(terms))
    try:
        return _edited(payload, header, change, None, 0)
    except UnicodeEncodeError:
        change.set[target] = _UTF8, "SpecificCharacterSet"
        return _recoded(payload, header, change, charset.UTF8)


def _recoded(payload: Payload, header: Header, change: _Change, codecs: Codecs) -> Payload:
    if header.codecs != codecs:

        def convert(at: Header, element: Element, vr: str, data: bytes) -> bytes | None:
            if element.tag == _CHARACTER_SET:
                return None if at is header else values.encode("CS", [_term(c) for c in codecs], "")
            if data.isascii() and b"\x1b" not in data:
                return None
            text = values.decode(vr, data, at.codecs)
            try:
                return values.encode(vr, text, tags.name(element.tag), codecs)
            except UnicodeEncodeError as error:
                raise DatasetError(
                    f"{tags.name(element.tag)} {text!r} has characters outside the Specific Character Set that is to be set"
                ) from error

        changed = _rewritten(payload, header, values.CHARSET_VRS | {"CS"}, convert, 0)
        if changed is not payload:
            payload = changed
            header = Header(payload, header.encoding)
    try:
        return _edited(payload, header, change, codecs, 0)
    except UnicodeEncodeError as error:
        raise DatasetError(
            f"{error.object!r} has characters outside the Specific Character Set that is to be set"
        ) from error


def _term(codec: str) -> str:
    from pydicom.charset import python_encoding

    return next(
        (term for term, name in python_encoding.items() if name == codec and term.startswith("ISO 2022 IR")),
        _UTF8,
    )


# -- one data set


class _Outline(NamedTuple):
    """Where the elements of a data set are: tags in the order of the bytes, where each begins, and where the last one ends."""

    tags: list[int]
    starts: list[int]
    end: int


def _outline(payload: Payload, encoding: Encoding) -> _Outline:
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
    return _Outline([(raw & 0xFFFF) << 16 | raw >> 16 for raw, _ in found], [at for _, at in found], stop)


def _edited(payload: Payload, header: Header, change: _Change, codecs: Codecs | None, depth: int) -> Payload:
    """The data set after `change`.

    Args:
        codecs: of text that is set; None takes those of the data set.
    """
    if depth > MAX_DEPTH:
        raise DatasetError(f"sequences are nested more than {MAX_DEPTH} deep")
    encoding = header.encoding
    mapped = payload.segments()  # keeps a file mapped while we look here and there in it
    outline = _outline(payload, encoding)
    new = _new_elements(header, outline, change, codecs, depth)
    del mapped
    gone = {tag for leaf in change.remove if (tag := header.resolve(leaf)) is not None} - new.keys()
    touched = gone | new.keys()
    replacements: list[tuple[int, int, int, bytes]] = []
    placed: set[int] = set()
    if touched.intersection(outline.tags):
        edges = [*outline.starts[1:], outline.end]
        for tag, start, end in zip(outline.tags, outline.starts, edges, strict=True):
            if tag in touched:
                replacements.append((start, tag, end, b"" if tag in placed else new.get(tag, b"")))
                placed.add(tag)
    ordered = sorted(outline.tags)
    in_order = ordered == outline.tags
    for tag in new.keys() - placed:
        if in_order:
            number = bisect_right(outline.tags, tag)
        else:
            number = next((n for n, other in enumerate(outline.tags) if other > tag), len(outline.tags))
        start = outline.starts[number] if number < len(outline.starts) else outline.end
        replacements.append((start, tag, start, new[tag]))
    if not replacements:
        return payload
    replacements.sort()
    return payload.spliced([(start, end, data) for start, _tag, end, data in replacements])


def _new_elements(
    header: Header, outline: _Outline, change: _Change, codecs: Codecs | None, depth: int
) -> dict[int, bytes]:
    """The encoded elements that are set or changed inside, by tag."""
    new: dict[int, bytes] = {}
    present = set(outline.tags)
    for leaf, (value, text) in change.set.items():
        if leaf in change.inside:
            raise DatasetError(f"{text} is set as a whole and inside at the same time")
        tag = _place(header, leaf, present, new)
        vr = _vr_to_write(header, leaf, tag, tag in present, value)
        try:
            new[tag] = _encoded(header, tag, vr, value, text, codecs, depth)
        except UnicodeEncodeError:
            if codecs is not None or header.codecs == charset.UTF8:
                raise DatasetError(f"{text} cannot be {value!r}: not encodable") from None
            raise
    for leaf, inner in change.inside.items():
        if leaf in change.remove:
            continue
        found = header.resolve(leaf)
        exists = found is not None and found in present
        if not exists and not any(c.adds for c in inner.values()):
            continue
        tag = found if found is not None else _place(header, leaf, present, new)
        changed = _sequence(header, leaf, tag, exists, inner, codecs, depth)
        if changed is not None:
            new[tag] = changed
    return new


def _place(header: Header, leaf: Leaf, present: set[int], new: dict[int, bytes]) -> int:
    """The tag of an element that is set; a private one gets a block, reserved for its creator when there is none (PS3.5 7.8.1)."""
    found = header.resolve(leaf)
    if found is not None:
        return found
    encoding = header.encoding
    group = leaf.tag & 0xFFFF0000
    creator = values.encode("LO", leaf.creator, "private creator", charset.UTF8)
    for block in range(0x10, 0x100):
        reservation = group | block
        element = _element(encoding, reservation, "LO", creator)
        if reservation not in present and new.setdefault(reservation, element) == element:
            return group | block << 8 | leaf.tag & 0xFF
    raise DatasetError(f"no private block of group {leaf.tag >> 16:04X} is free for {leaf.creator!r}")


def _vr_to_write(header: Header, leaf: Leaf, tag: int, present: bool, value: Any) -> str:
    vr = leaf.vr
    if not vr and present:
        vr = header.vr(tag)
    if not vr or (vr == "UN" and not isinstance(value, (bytes, bytearray, memoryview))):
        vr = tags.private_vr(tag, leaf.creator) if leaf.creator else tags.dictionary_vr(tag)
    if vr == "US or SS":
        numbers = value if isinstance(value, (list, tuple)) else [value]
        signed = header.signed() or any(isinstance(n, int) and n < 0 for n in numbers)
        return "SS" if signed else "US"
    if " " in vr:
        return "OW" if isinstance(value, (bytes, bytearray, memoryview)) or "US" not in vr else "US"
    return vr if vr and (vr != "UN" or isinstance(value, (bytes, bytearray, memoryview))) else _guess(value)


def _guess(value: Any) -> str:
    """A VR for a private element that nobody describes."""
    first = value[0] if isinstance(value, (list, tuple)) and value else value
    if isinstance(first, (bytes, bytearray, memoryview)):
        return "UN"
    if isinstance(first, int):
        return "SL" if -(2**31) <= first < 2**31 else "SV"
    if isinstance(first, float):
        return "FD"
    if isinstance(first, Mapping):
        return "SQ"
    return "LO" if all(len(part) <= 64 for part in str(first or "").split("\\")) else "UT"


def _encoded(
    header: Header, tag: int, vr: str, value: Any, text: str, codecs: Codecs | None, depth: int
) -> bytes:
    encoding = header.encoding
    if vr != "SQ":
        data = values.encode(vr, value, text, codecs or header.codecs, encoding.order)
        return _element(encoding, tag, vr, data)
    if value is None or value == "":
        value = []
    elif isinstance(value, Mapping) or hasattr(value, "file_meta") or hasattr(value, "to_json_dict"):
        value = [value]
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise DatasetError(f"{text} cannot be {value!r}: it is a sequence, write a list of mappings")
    parts = [_item(encoding, _item_content(header, item, text, codecs, depth)) for item in value]
    return _element(encoding, tag, vr, b"".join(parts))


def _item_content(header: Header, item: Any, text: str, codecs: Codecs | None, depth: int) -> bytes:
    if isinstance(item, Mapping):
        empty = MemoryPayload(b"")
        inner = Header(empty, header.encoding, parent=header)
        return _joined(_edited(empty, inner, _Change.of(item), codecs, depth + 1))
    if hasattr(item, "to_json_dict"):  # a pydicom Dataset
        mapping = {element.tag: _plain(element.value) for element in item if element.value is not None}
        return _item_content(header, {int(tag): value for tag, value in mapping.items()}, text, codecs, depth)
    raise DatasetError(f"an item of {text} cannot be {item!r}: write a mapping from keys to values")


def _plain(value: Any) -> Any:
    return list(value) if not isinstance(value, (str, bytes)) and isinstance(value, Iterable) else value


def _joined(payload: Payload) -> bytes:
    return b"".join(payload.segments())


def _element(encoding: Encoding, tag: int, vr: str, value: bytes) -> bytes:
    group, element = tag >> 16, tag & 0xFFFF
    if not encoding.explicit:
        return pack(f"{encoding.order}HHI", group, element, len(value)) + value
    if vr in LONG_VRS:
        return pack(f"{encoding.order}HH2sHI", group, element, vr.encode(), 0, len(value)) + value
    return pack(f"{encoding.order}HH2sH", group, element, vr.encode(), len(value)) + value


def _item(encoding: Encoding, content: bytes, *, undefined: bool = False) -> bytes:
    order = encoding.order
    if undefined:
        return b"".join(
            (pack(f"{order}HHI", 0xFFFE, 0xE000, UNDEFINED), content, pack(f"{order}HHI", 0xFFFE, 0xE00D, 0))
        )
    return pack(f"{order}HHI", 0xFFFE, 0xE000, len(content)) + content


# -- sequences


def _sequence(
    header: Header,
    leaf: Leaf,
    tag: int,
    exists: bool,
    inner: dict[int, _Change],
    codecs: Codecs | None,
    depth: int,
) -> bytes | None:
    """A sequence with changes inside some of its items; None when nothing changed."""
    encoding = header.encoding
    name = tags.name(tag)
    if exists:
        element, data = header.located(tag)
        vr = header.vr(tag)
    else:
        element, data = Element(tag, "", 0, 0, 0, 0, False), b""
        vr = _vr_to_write(header, leaf, tag, False, {})
    if vr != "SQ":
        raise DatasetError(f"{name} is no sequence (VR {vr})")
    existing = header[tag] if exists else []
    parts: list[bytes] = []
    changed = False
    if exists:
        within = element._replace(value=0, end=len(data))
        for number, item in enumerate(items(data, within, encoding)):
            change = inner.get(number)
            before = cast(MemoryPayload, existing[number].source)
            after = before if change is None else _edited(before, existing[number], change, codecs, depth + 1)
            changed |= after is not before
            parts.append(
                bytes(data[item.start : item.end])
                if after is before
                else _item(encoding, _joined(after), undefined=item.undefined)
            )
    for number in sorted(inner):
        if number < len(existing) or not inner[number].adds:
            continue
        if number > len(parts):
            raise DatasetError(
                f"{name}[{number}]: there are {len(parts)} items; the next one is [{len(parts)}]"
            )
        empty = MemoryPayload(b"")
        fresh = Header(empty, existing[0].encoding if existing else encoding, parent=header)
        parts.append(_item(encoding, _joined(_edited(empty, fresh, inner[number], codecs, depth + 1))))
        changed = True
    if not changed:
        return None
    if not exists:
        return _element(encoding, tag, "SQ", b"".join(parts))
    return _framed(header, element, b"".join(parts))


def _framed(header: Header, element: Element, content: bytes) -> bytes:
    """The element with other items inside, its length written or delimited as before."""
    encoding = header.encoding
    order = encoding.order
    vr = element.vr
    if not element.undefined:
        return _element(encoding if vr else _implicit(encoding), element.tag, vr, content)
    head = pack(f"{order}HH", element.tag >> 16, element.tag & 0xFFFF)
    if vr:
        head += pack("2sH", vr.encode(), 0)
    return b"".join((head, pack(f"{order}I", UNDEFINED), content, pack(f"{order}HHI", 0xFFFE, 0xE0DD, 0)))


def _implicit(encoding: Encoding) -> Encoding:
    return Encoding(explicit=False, little=encoding.little) if encoding.explicit else encoding


# -- every element


def change_uids(payload: Payload, header: Header, change: Callable[[str], str | None]) -> Payload:
    """The data set with each UID replaced by what `change` says (see `Instance.with_uids`).

    Raises:
        DatasetError: as there.
    """

    def convert(_at: Header, element: Element, _vr: str, data: bytes) -> bytes | None:
        before = data.decode("latin-1").rstrip(" \0").split("\\")
        after = [uid and (change(uid) or uid) for uid in before]
        return None if after == before else values.encode("UI", after, tags.name(element.tag))

    return _rewritten(payload, header, frozenset(("UI",)), convert, 0)


def _rewritten(
    payload: Payload, header: Header, vrs: frozenset[str], convert: _Convert, depth: int
) -> Payload:
    """The data set with the values of all elements with these VRs passed through `convert`, at every depth."""
    if depth > MAX_DEPTH:
        raise DatasetError(f"sequences are nested more than {MAX_DEPTH} deep")
    mapped = payload.segments()
    encoding = header.encoding
    outline = _outline(payload, encoding)
    edges = [*outline.starts[1:], outline.end]
    replacements: list[Replacement] = []
    for tag, start, end in zip(outline.tags, outline.starts, edges, strict=True):
        if tag == 0x7FE00010:
            continue
        new = _converted(payload, header, tag, start, end, vrs, convert, depth)
        if new is not None:
            replacements.append((start, end, new))
    del mapped
    return payload.spliced(replacements) if replacements else payload


def _converted(
    payload: Payload,
    header: Header,
    tag: int,
    start: int,
    end: int,
    vrs: frozenset[str],
    convert: _Convert,
    depth: int,
) -> bytes | None:
    from dcmflow.dicom.elements import element_at

    encoding = header.encoding
    head = payload.read(start, min(end, start + 12))
    if encoding.explicit:
        written = bytes(head[4:6]).decode("latin-1")
        if written not in vrs and written not in ("SQ", "UN") and written.isalpha():
            return None
    elif tags.dictionary_vr(tag) not in vrs and tags.dictionary_vr(tag) not in ("SQ", ""):
        return None
    data = payload.read(start, end)
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
    return _element(encoding if element.vr else _implicit(encoding), tag, element.vr, new)


def _converted_sequence(
    header: Header, element: Element, data: Buffer, vrs: frozenset[str], convert: _Convert, depth: int
) -> bytes | None:
    within = element._replace(value=0, end=len(data))
    parts: list[bytes] = []
    changed = False
    for item in items(data, within, header.encoding):
        before = MemoryPayload(data[item.first : item.last])
        after = _rewritten(before, Header(before, item.encoding, parent=header), vrs, convert, depth + 1)
        changed |= after is not before
        parts.append(
            bytes(data[item.start : item.end])
            if after is before
            else _item(header.encoding, _joined(after), undefined=item.undefined)
        )
    return _framed(header, element, b"".join(parts)) if changed else None


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
