"""What the index keeps of one file: what it is, the UIDs, and the attributes that queries are mostly about."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from enum import IntEnum
from functools import cache
from typing import Any, Final, NamedTuple

from dcmflow.dicom import deflate, files, tags, walker
from dcmflow.dicom.elements import Incomplete
from dcmflow.dicom.header import Header
from dcmflow.dicom.level import COUNTS, RETURNED, UNIQUE_KEYS, Level
from dcmflow.dicom.part10 import MEDIA_STORAGE_DIRECTORY
from dcmflow.dicom.payload import LEAD, Payload
from dcmflow.dicom.record import plain
from dcmflow.dicom.values import TEXT_VRS
from dcmflow.errors import DatasetError, NotDicom

COMPUTED: Final = frozenset({*(keyword for keyword, _, _ in COUNTS), "ModalitiesInStudy"})
COLUMNS: Final = tuple(
    tuple(keyword for keyword in keywords if keyword not in COMPUTED) for keywords in RETURNED
)
"""By level: the attributes that are columns."""
SHARED: Final = (*COLUMNS[Level.PATIENT], *COLUMNS[Level.STUDY], *COLUMNS[Level.SERIES])
"""Those that the images of a series have in common: a row of `headers`. What tells entities apart is there, be it empty."""
NUMBERS: Final = frozenset({"SeriesNumber", "InstanceNumber"})

_IDENTITY: Final = tuple(SHARED.index(key) for key in UNIQUE_KEYS[: Level.IMAGE])  # never NULL

Value = str | int | None
_BIGGEST: Final = 2**63  # what SQLite takes for an integer
_SOP_CLASS, _SOP_INSTANCE, _INSTANCE_NUMBER = 0x00080016, 0x00080018, 0x00200013


class Kind(IntEnum):
    """What a file is."""

    INSTANCE = 0
    OTHER = 1
    BROKEN = 2


class Facts(NamedTuple):
    """What there is to know of a file.

    Attributes:
        kind: what it is.  reason: why it is broken.
        syntax: transfer syntax UID.
        shared: values of `SHARED`.
        sop_class, sop_instance, number: of the image.
        digest: of the encoded data set, where it was asked for.
    """

    kind: Kind
    reason: str = ""
    syntax: str = ""
    shared: tuple[Value, ...] = ()
    sop_class: str = ""
    sop_instance: str = ""
    number: Value = None
    digest: bytes | None = None


def facts_of(path: str, *, digest: bool = False) -> Facts:
    """Read a file; to its end as far as that takes to know that it is whole.

    Args:
        digest: read all of it and make the digest of its data set.
    """
    try:
        meta, payload = files.open_payload(path, LEAD)
        syntax, header = files.examine(meta, payload)
        if not payload.size:
            return Facts(Kind.BROKEN, "the data set is empty: nothing follows the File Meta Information")
        _walk_to_the_end(syntax, payload, header)
        sop_class = _one(header.get(_SOP_CLASS)) or meta.sop_class_uid
        if sop_class == MEDIA_STORAGE_DIRECTORY:
            return Facts(Kind.OTHER)
        sop_instance = _one(header.get(_SOP_INSTANCE)) or meta.sop_instance_uid
        if not sop_class or not sop_instance:
            missing = "SOP Class UID" if not sop_class else "SOP Instance UID"
            return Facts(Kind.BROKEN, f"neither data set nor File Meta Information have a {missing}")
        number = _stored(header.get(_INSTANCE_NUMBER))
        made = digest_of(payload) if digest else None
        return Facts(
            Kind.INSTANCE, "", syntax, _shared(header), _clean(sop_class), _clean(sop_instance), number, made
        )
    except NotDicom:
        return Facts(Kind.OTHER)
    except Incomplete as error:
        return Facts(Kind.BROKEN, _clean(f"truncated: {error}; get a complete copy from where it came"))
    except DatasetError as error:
        return Facts(Kind.BROKEN, _clean(str(error)))
    except OSError as error:
        return Facts(Kind.BROKEN, f"cannot be read: {error.strerror or error}")


def _walk_to_the_end(syntax: str, payload: Payload, header: Header) -> None:
    """Raises DatasetError where elements do not parse, or are cut off."""
    if syntax in deflate.DEFLATED:
        deflate.verify(payload)
    elif header.outline().end != payload.size:  # padding, or bytes that are nothing
        walker.verify(payload, header.encoding)


def digest_of(payload: Payload) -> bytes:
    """SHA-256 of the encoded data set, without File Meta Information.

    Raises:
        DatasetError: it cannot be read.
    """
    made = hashlib.sha256()
    for block in payload.blocks():
        made.update(block)
    return made.digest()


def file_digest(path: str) -> bytes:
    """The digest of the data set in a file. Raises DatasetError, OSError."""
    return digest_of(files.open_payload(path, LEAD)[1])


@cache
def _shared_tags() -> tuple[int, ...]:
    found = (tags.tag_of(keyword) for keyword in SHARED)
    return tuple(tag for tag in found if tag is not None)


def _shared(header: Header) -> tuple[Value, ...]:
    try:
        values = [header.get(tag) for tag in _shared_tags()]
    except DatasetError:
        values = [_lenient(header, tag) for tag in _shared_tags()]
    row = [value if value.__class__ is str and value.isascii() else _stored(value) for value in values]
    for place in _IDENTITY:
        if row[place].__class__ is not str:
            row[place] = "" if row[place] is None else str(row[place])
    return tuple(row)


def _lenient(header: Header, tag: int) -> Any:
    try:
        return header.get(tag)
    except DatasetError:
        return None


def _one(value: Any) -> str:
    return value if isinstance(value, str) else str(value[0]) if isinstance(value, tuple) else ""


def _stored(value: Any) -> Value:
    r"""A value as the table has it: several joined by ``\``."""
    if value is None or isinstance(value, list):
        return None if value is None else ""
    if isinstance(value, int) and -_BIGGEST <= value < _BIGGEST:
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return str(value, "latin-1").rstrip(" \0")
    if isinstance(value, tuple):
        return _clean("\\".join("" if one is None else str(one) for one in value))
    return _clean(str(value))


def _clean(text: str) -> str:
    """Without lone surrogates, which some codecs make of hostile bytes and UTF-8 cannot have."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def restored(keyword: str, value: Value) -> Any:
    """The value of a column as a `Record` has it; the column is not NULL."""
    if keyword in UNIQUE_KEYS:
        return value
    if keyword in NUMBERS:
        return _number(value) if isinstance(value, str) else value
    if isinstance(value, str) and "\\" in value:
        return tuple(value.split("\\"))
    return value


def _number(text: str) -> Any:
    if "\\" in text:
        return tuple(map(_number, text.split("\\")))
    try:
        return int(text) if text else None
    except ValueError:
        return text


def empty(key: str) -> Any:
    """The value of an element that is asked for and not there, as an answer to a C-FIND has it."""
    return "" if tags.dictionary_vr(tags.parse(key).leaf.tag) in TEXT_VRS else None


def read_header(path: str) -> Header:
    """The elements of a file. Raises DatasetError, OSError."""
    return files.examine(*files.open_payload(path, LEAD))[1]


def more_values(header: Header, keys: Sequence[str]) -> Mapping[str, Any]:
    """What is no column, as a `Record` has it: elements by keyword, whole sequences, private ones with their creators.

    Raises:
        DatasetError: an element cannot be read.
    """
    found: dict[str, Any] = {}
    for key in keys:
        path = tags.parse(key)
        leaf = path.steps[0][0] if path.steps else path.leaf
        tag = header.resolve(leaf)
        if tag is None or tag not in header:
            if not leaf.creator:
                found[tags.name(leaf.tag)] = () if path.steps else empty(key)
            continue
        if leaf.creator:
            block = tag & 0xFFFF0000 | tag >> 8 & 0xFF
            found[tags.name(block)] = header[block]
        found[tags.name(tag)] = plain(header[tag])
    return found
