"""The elements of an instance as a read-only mapping, found and decoded when somebody asks.

A header remembers how far it has walked through the encoded elements and where each of them begins, so that asking for ten
elements walks once, no farther than the last of them, and asking again costs a dictionary lookup. What a value looks like is
said in `dcmflow.dicom.values`; a sequence is a list of headers.

- An element that is absent is a KeyError (or the default of `get`); one that is present but empty is ``""`` or None.
- A keyword that does not exist is an `UnknownKeyword`, also in `get` and `in`: it is a mistake, not an absent element.
- Elements out of order are found: only a walk to the end says that an element is absent. Of elements with the same tag, which
  PS3.5 7.1 forbids, the first counts.
- Where the bytes are broken or end early, what lies before is readable; asking for what may lie behind is a `DatasetError`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, final

from dcmflow.dicom import charset, tags, values
from dcmflow.dicom.charset import Codecs
from dcmflow.dicom.elements import (
    EXPLICIT,
    SHORT_NAMES,
    Buffer,
    Element,
    Encoding,
    items,
    swap,
)
from dcmflow.dicom.payload import MemoryPayload
from dcmflow.dicom.tags import Leaf
from dcmflow.dicom.walker import Source, Walker
from dcmflow.errors import DatasetError

_CHARACTER_SET: Final = 0x00080005
_PIXEL_REPRESENTATION: Final = 0x00280103
_LUT_DESCRIPTORS: Final = frozenset((0x00281101, 0x00281102, 0x00281103, 0x00283002))
_CACHED: Final = 16 * 1024  # bytes of a bulk value worth keeping
_ABSENT: Final = object()


@lru_cache(maxsize=4096)
def _raw(key: str | int) -> int:
    """The raw tag of a key that needs no way; -1 for a path or a private element by creator."""
    path = tags.parse(key)
    return -1 if path.steps or path.leaf.creator else swap(path.leaf.tag)


@final
class Header(Walker, Mapping[str | int, Any]):
    """The elements of a data set or of an item, by keyword, tag or path.

    >>> from dcmflow.testing import synthesize
    >>> header = next(iter(synthesize(size=64))).header
    >>> header["Modality"], header[0x00100020], header.get("EchoTime")
    ('CT', 'SYN0-00001', None)
    >>> header["ProcedureCodeSequence[0].CodeMeaning"]
    'Imaging of head'

    Args:
        source: the encoded elements.
        encoding: how they are said to be encoded; what is found decides.
        parent: the header around an item; its character sets hold here too (PS3.5 7.5.3).
    """

    __slots__ = ("_codecs", "_parent", "_values")

    def __init__(self, source: Source, encoding: Encoding, *, parent: Header | None = None) -> None:
        super().__init__(source, encoding)
        self._parent = parent
        self._values: dict[str | int, Any] = {}
        self._codecs: Codecs | None = None

    # -- looking up

    def __getitem__(self, key: str | int) -> Any:
        value = self._values.get(key, _ABSENT)
        if value is _ABSENT:
            value = self._lookup(key)
            if value is _ABSENT:
                raise KeyError(key)
        return value

    def get(self, key: str | int, default: Any = None) -> Any:
        """The value of an element, `default` where it is absent.

        Raises:
            UnknownKeyword: `key` names no element.
            DatasetError: the bytes are broken before it, or its value is.
        """
        value = self._values.get(key, _ABSENT)
        if value is _ABSENT:
            value = self._lookup(key)
        return default if value is _ABSENT else value

    def __contains__(self, key: object) -> bool:
        if not isinstance(key, (str, int)):
            return False
        return key in self._values or self._locate(key) is not None

    def select(self, keys: Iterable[str | int], default: Any = None) -> tuple[Any, ...]:
        """The values of several elements, `default` for the absent ones."""
        return tuple(self.get(key, default) for key in keys)

    def text(self, key: str | int, default: str = "") -> str:
        r"""The value as text, several joined by ``\``; numbers as they are written; `default` where absent.

        Never fails on a value that does not fit its VR, as text in a number.
        """
        found = self._locate(key)
        if found is None:
            return default
        header, tag = found
        if header.vr_of(header.placed(tag)) in ("IS", "DS"):
            return bytes(header.located(tag)[1]).decode("latin-1").strip(" \0")
        value = header[tag]
        if value is None:
            return ""
        return "\\".join(map(str, value)) if isinstance(value, tuple) else str(value)

    def vr(self, key: str | int) -> str:
        """The value representation of an element, from its encoding or the data dictionary.

        Raises:
            KeyError: the element is absent.
        """
        header, tag = self._existing(key)
        return header.vr_of(header.placed(tag))

    def raw(self, key: str | int) -> Buffer:
        """The encoded value of an element, padding included, the delimiter behind an undefined length not.

        Raises:
            KeyError: the element is absent.
        """
        header, tag = self._existing(key)
        element, data = header.located(tag)
        return data[:-8] if element.undefined else data

    def element(self, key: str | int) -> Element:
        """Where an element is, in the data set or item that holds it, and how long it is.

        Raises:
            KeyError: the element is absent.
        """
        header, tag = self._existing(key)
        return header.placed(tag)

    def tags(self) -> tuple[int, ...]:
        """All tags, ascending.

        Raises:
            DatasetError: the bytes are broken.
        """
        return tuple(sorted(map(swap, set(self.outline().raws))))

    def __iter__(self) -> Iterator[str]:
        return (tags.keyword_of(tag) or f"{tag:08x}" for tag in self.tags())

    def __len__(self) -> int:
        return len(self.tags())

    def __repr__(self) -> str:
        return f"<Header: {len(self._index)} elements read so far>"

    # -- finding

    def _existing(self, key: str | int) -> tuple[Header, int]:
        found = self._locate(key)
        if found is None:
            raise KeyError(key)
        return found

    def _lookup(self, key: str | int) -> Any:
        raw = _raw(key)
        if raw < 0:
            found = self._locate(key)
            return _ABSENT if found is None else found[0][found[1]]
        values = self._values
        if ~raw in values:  # asked for by another key before
            return values[~raw]
        index = self._index
        if raw not in index:
            if not self._done:
                self._walk(raw)
            if raw not in index and not self.find(raw):
                return _ABSENT
        value = self._decode(raw)
        if type(value) is str or not (isinstance(value, (bytes, memoryview)) and len(value) > _CACHED):
            values[key] = values[~raw] = value
        return value

    def _locate(self, key: str | int) -> tuple[Header, int] | None:
        """The data set that holds the element, and its tag there."""
        path = tags.parse(key)
        header = self
        for leaf, number in path.steps:
            tag = header.resolve(leaf)
            if tag is None or not header._find(tag):
                return None
            sequence = header[tag]
            if not isinstance(sequence, list) or number >= len(sequence):
                return None
            header = sequence[number]
        tag = header.resolve(path.leaf)
        return (header, tag) if tag is not None and header._find(tag) else None

    def resolve(self, leaf: Leaf) -> int | None:
        """The tag of a leaf in this data set, None when its creator reserved no block here (PS3.5 7.8.1)."""
        if not leaf.creator:
            return leaf.tag
        group = leaf.tag & 0xFFFF0000
        for block in range(0x10, 0x100):
            if self._find(group | block) and self._creator(group | block) == leaf.creator:
                return group | block << 8 | leaf.tag & 0xFF
        return None

    def _creator(self, tag: int) -> str:
        return str(self[tag]).strip() if self._find(tag) else ""

    def _find(self, tag: int) -> bool:
        return self.find(swap(tag))

    # -- decoding

    def vr_of(self, element: Element) -> str:
        """The value representation of an element of this data set."""
        tag, vr = element.tag, element.vr
        if vr == "UN":
            if element.undefined:
                return "SQ"  # PS3.5 6.2.2
            if tag & 0x10000 or element.length < 0xFFFF:
                vr = self._known_vr(tag) or "UN"
        elif not vr:
            vr = self._known_vr(tag) or ("SQ" if element.undefined and element.length > 8 else "UN")
        return self._resolved(element, vr) if " " in vr else vr

    def _known_vr(self, tag: int) -> str:
        known = tags.dictionary_vr(tag)
        if known or not tag & 0x10000 or not tag & 0xFF00:
            return known
        return tags.private_vr(tag, self._creator(tag & 0xFFFF0000 | tag >> 8 & 0xFF))

    def _resolved(self, element: Element, vr: str) -> str:
        """One VR where the dictionary leaves a choice (PS3.5 A.1, PS3.6)."""
        if vr == "US or SS":
            return "SS" if self.signed() else "US"
        if element.tag == 0x00283006:  # LUTData
            descriptor = self.get(0x00283002)
            return "US" if isinstance(descriptor, tuple) and descriptor[0] == 1 else "OW"
        if element.undefined:
            return "OB"
        return "OW"

    def signed(self) -> bool:
        """What Pixel Representation says here, or in the nearest data set around; it decides between US and SS."""
        header: Header | None = self
        while header is not None:
            found = header.get(_PIXEL_REPRESENTATION)
            if isinstance(found, int):
                return found != 0
            header = header._parent
        return False

    def _decode(self, raw_tag: int) -> Any:
        data = self._data
        position = self._index[raw_tag]
        if self._encoding is EXPLICIT and position + 8 <= len(data):  # the common case, without detours
            _raw, code, length = EXPLICIT.head(data, position)
            vr = SHORT_NAMES.get(code)
            position += 8
            if vr is not None and position + length <= len(data):
                return self._decoded(raw_tag, vr, data[position : position + length])
        tag = swap(raw_tag)
        element, data = self.located(tag)
        vr = self.vr_of(element)
        if vr == "SQ":
            return self._sequence(element, data)
        if element.undefined:
            data = data[:-8]
        if vr in values.BULK_VRS:
            return data if len(data) else None
        return self._decoded(raw_tag, vr, data)

    def _decoded(self, raw_tag: int, vr: str, data: Buffer) -> Any:
        codecs = charset.DEFAULT
        if vr in values.CHARSET_VRS:
            text = str(data, "latin-1")
            if not text.isascii() or "\x1b" in text:
                codecs = self.codecs
            elif "\\" not in text and vr != "PN":
                return text.rstrip(" \0")
        elif vr in values.PLAIN_VRS:
            return values.plain(vr, str(data, "latin-1"))
        try:
            value = values.decode(vr, bytes(data), codecs, (self._encoding or self._expected).order)
        except DatasetError as error:
            raise DatasetError(f"{tags.name(swap(raw_tag))}: {error}") from None
        if isinstance(value, tuple) and swap(raw_tag) in _LUT_DESCRIPTORS and value[0] < 0:
            return (value[0] + 0x10000, *value[1:])  # the first is always unsigned, PS3.3 C.7.6.3.1.5
        return value

    @property
    def codecs(self) -> Codecs:
        """The Python codecs of Specific Character Set, inherited from around where this item has none."""
        if self._codecs is None:
            if self._find(_CHARACTER_SET):
                raw = bytes(self.located(_CHARACTER_SET)[1]).decode("latin-1")
                terms = tuple(term.strip(" \0") for term in raw.split("\\")) if raw.strip(" \0") else ()
                self._codecs = charset.codecs_for(terms)
            else:
                self._codecs = self._parent.codecs if self._parent is not None else charset.DEFAULT
        return self._codecs

    def _sequence(self, element: Element, data: Buffer) -> list[Header]:
        if not isinstance(data, memoryview):
            data = memoryview(data)
        inner = element._replace(value=0, end=len(data))
        encoding = self._encoding or self._expected
        return [
            Header(MemoryPayload(data[item.first : item.last]), item.encoding, parent=self)
            for item in items(data, inner, encoding)
        ]
