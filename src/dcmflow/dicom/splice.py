"""Edits of encoded data sets: new bytes for what changes, the old ones for everything else.

One data set is edited at a time, and an item of a sequence is a data set too: `_edited` outlines the elements of one,
replaces, inserts and leaves out, and descends where a path goes on inside. Long untouched stretches are never copied
(`payload.spliced`), so replacing the name of a patient in a gigabyte of frames writes a few kilobytes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from operator import le
from typing import Any, cast

from dcmflow.dicom import charset, rewrite, tags, values
from dcmflow.dicom.charset import Codecs
from dcmflow.dicom.elements import (
    MAX_DEPTH,
    Element,
    items,
    swap,
)
from dcmflow.dicom.encoded import encoded_element, encoded_item, encoded_sequence, group_lengths, joined
from dcmflow.dicom.header import Header
from dcmflow.dicom.payload import MemoryPayload, Payload
from dcmflow.dicom.tags import Leaf
from dcmflow.errors import DatasetError

_CHARACTER_SET = 0x00080005
_UTF8 = "ISO_IR 192"


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
        return _recoded(payload, header, change, _terms(change.set.get(target, ("",))[0]))
    try:
        return _edited(payload, header, change, None, 0)
    except UnicodeEncodeError:
        change.set[target] = _UTF8, "SpecificCharacterSet"
        return _recoded(payload, header, change, (_UTF8,))


def _terms(value: Any) -> tuple[str, ...]:
    terms = values.decode("CS", values.encode("CS", value, "SpecificCharacterSet")) or ()
    terms = (terms,) if isinstance(terms, str) else terms
    for term in filter(None, terms):
        charset.check(term)
    return terms


def _recoded(payload: Payload, header: Header, change: _Change, terms: tuple[str, ...]) -> Payload:
    changed = rewrite.recode(payload, header, terms)
    if changed is not payload:
        header = Header(changed, header.encoding)
    return _edited(changed, header, change, charset.codecs_for(terms), 0)


def _edited(payload: Payload, header: Header, change: _Change, codecs: Codecs | None, depth: int) -> Payload:
    """The data set after `change`.

    Args:
        codecs: of text that is set; None takes those of the data set.
    """
    if depth > MAX_DEPTH:
        raise DatasetError(f"sequences are nested more than {MAX_DEPTH} deep")
    outline = header.outline()
    new = _new_elements(header, change, codecs, depth)
    touched = new.keys() | {tag for leaf in change.remove if (tag := header.resolve(leaf)) is not None}
    raws, starts = outline.raws, [*outline.starts, outline.end]
    replacements: list[tuple[int, int, int, bytes]] = []  # start, tag, end, bytes
    missing: list[int] = []
    for tag in touched:
        raw = swap(tag)
        data = new.get(tag, b"")
        if not header.find(raw):
            missing.append(tag)
            continue
        number = raws.index(raw)
        replacements.append((starts[number], tag, starts[number + 1], data))
        for _ in range(raws.count(raw) - 1):
            number = raws.index(raw, number + 1)
            replacements.append((starts[number], tag, starts[number + 1], b""))
    if missing:
        placed = list(map(swap, raws))
        for tag in missing:
            if tag in new:
                start = starts[_behind(placed, tag)]
                replacements.append((start, tag, start, new[tag]))
    if not replacements:
        return payload
    replacements.extend([*group_lengths(header, replacements)])
    replacements.sort()
    return payload.spliced([(start, end, data) for start, _tag, end, data in replacements])


def _behind(placed: list[int], tag: int) -> int:
    """The number of the element before which `tag` belongs."""
    if all(map(le, placed, placed[1:])):
        return bisect_right(placed, tag)
    return next((number for number, other in enumerate(placed) if other > tag), len(placed))


def _new_elements(header: Header, change: _Change, codecs: Codecs | None, depth: int) -> dict[int, bytes]:
    """The encoded elements that are set or changed inside, by tag."""
    new: dict[int, bytes] = {}
    for leaf, (value, text) in change.set.items():
        if leaf in change.inside:
            raise DatasetError(f"{text} is set as a whole and inside at the same time")
        tag = _place(header, leaf, new)
        vr = _vr_to_write(header, leaf, tag, header.find(swap(tag)), value)
        try:
            new[tag] = _encoded(header, tag, vr, value, text, codecs, depth)
        except UnicodeEncodeError:
            if codecs is not None or header.codecs == charset.UTF8:
                raise DatasetError(f"{text} cannot be {value!r}: not encodable") from None
            raise
    for leaf, inner in change.inside.items():
        found = header.resolve(leaf)
        exists = leaf not in change.remove and found is not None and header.find(swap(found))
        if not exists and not any(c.adds for c in inner.values()):
            continue
        tag = found if found is not None else _place(header, leaf, new)
        changed = _sequence(header, leaf, tag, exists, inner, codecs, depth)
        if changed is not None:
            new[tag] = changed
    return new


def _place(header: Header, leaf: Leaf, new: dict[int, bytes]) -> int:
    """The tag of an element that is set; a private one gets a block, reserved for its creator when there is none (PS3.5 7.8.1)."""
    found = header.resolve(leaf)
    if found is not None:
        return found
    encoding = header.encoding
    group = leaf.tag & 0xFFFF0000
    creator = values.encode("LO", leaf.creator, "private creator", charset.UTF8)
    for block in range(0x10, 0x100):
        reservation = group | block
        element = encoded_element(encoding, reservation, "LO", creator)
        if not header.find(swap(reservation)) and new.setdefault(reservation, element) == element:
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
        return encoded_element(encoding, tag, vr, data)
    if value is None or value == "":
        value = []
    elif isinstance(value, Mapping) or hasattr(value, "file_meta") or hasattr(value, "to_json_dict"):
        value = [value]
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise DatasetError(f"{text} cannot be {value!r}: it is a sequence, write a list of mappings")
    parts = [encoded_item(encoding, _item_content(header, item, text, codecs, depth)) for item in value]
    return encoded_element(encoding, tag, vr, b"".join(parts))


def _item_content(header: Header, item: Any, text: str, codecs: Codecs | None, depth: int) -> bytes:
    if isinstance(item, Mapping):
        empty = MemoryPayload(b"")
        inner = Header(empty, header.encoding, parent=header)
        return joined(_edited(empty, inner, _Change.of(item), codecs, depth + 1))
    if hasattr(item, "to_json_dict"):  # a pydicom Dataset
        mapping = {element.tag: _plain(element.value) for element in item if element.value is not None}
        return _item_content(header, {int(tag): value for tag, value in mapping.items()}, text, codecs, depth)
    raise DatasetError(f"an item of {text} cannot be {item!r}: write a mapping from keys to values")


def _plain(value: Any) -> Any:
    return list(value) if not isinstance(value, (str, bytes)) and isinstance(value, Iterable) else value


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
                else encoded_item(encoding, joined(after), undefined=item.undefined)
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
        parts.append(encoded_item(encoding, joined(_edited(empty, fresh, inner[number], codecs, depth + 1))))
        changed = True
    if not changed:
        return None
    if not exists:
        return encoded_element(encoding, tag, "SQ", b"".join(parts))
    return encoded_sequence(header, element, b"".join(parts))
