"""DICOM files (PS3.10 7): preamble and File Meta Information, split off and built; files without them recognised."""

from __future__ import annotations

import re
from functools import lru_cache
from struct import pack, unpack_from
from typing import Final, NamedTuple

from dcmflow.dicom.elements import (
    EXPLICIT,
    EXPLICIT_BIG,
    IMPLICIT,
    SHORT_NAMES,
    Buffer,
    Encoding,
    Incomplete,
    element_at,
    found_encoding,
    scan,
    swap,
)
from dcmflow.errors import DatasetError, NotDicom

IMPLEMENTATION_CLASS_UID: Final = "2.25.182354318764919310258346131405728115709"
IMPLEMENTATION_VERSION_NAME: Final = "DCMFLOW_0_1"  # PS3.7 D.3.3.2: at most 16 characters
IMPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
EXPLICIT_VR_BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
MEDIA_STORAGE_DIRECTORY: Final = "1.2.840.10008.1.3.10"

_SOP_CLASS: Final = 0x00080016
_UID = re.compile(rb"[0-9]+(?:\.[0-9]+)+[\0 ]*")


class Meta(NamedTuple):
    """What a file says about the data set in it; empty where it does not say.

    Attributes:
        sop_class_uid, sop_instance_uid, transfer_syntax_uid: of the File Meta Information.
        offset: where the data set begins.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    offset: int


LONGEST_UID: Final = 128  # PS3.5 6.2 allows 64; some devices write longer ones


@lru_cache(maxsize=1024)
def _constant(sop_class_uid: str, transfer_syntax_uid: str) -> tuple[bytes, bytes]:
    before = _element(0x0001, "OB", b"\0\1") + _uid(0x0002, sop_class_uid)
    after = (
        _uid(0x0010, transfer_syntax_uid)
        + _uid(0x0012, IMPLEMENTATION_CLASS_UID)
        + _element(0x0013, "SH", _padded(IMPLEMENTATION_VERSION_NAME.encode("ascii"), b" "))
    )
    return before, after


def build_meta(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """Preamble, prefix and File Meta Information (PS3.10 7.1): what stands before the data set in a file.

    Raises:
        DatasetError: one of the UIDs is empty, too long or not ASCII.
    """
    if not (sop_class_uid and sop_instance_uid and transfer_syntax_uid):
        raise DatasetError(
            "a DICOM file needs SOP Class UID, SOP Instance UID and Transfer Syntax UID; one is empty"
        )
    longest = max(sop_class_uid, sop_instance_uid, transfer_syntax_uid, key=len)
    if len(longest) > LONGEST_UID:
        raise DatasetError(
            f"a UID has at most 64 characters (PS3.5 6.2), and this one {len(longest)}: {longest[:80]}..."
        )
    before, after = _constant(sop_class_uid, transfer_syntax_uid)
    body = before + _uid(0x0003, sop_instance_uid) + after
    return b"".join((b"\0" * 128, b"DICM", _element(0x0000, "UL", pack("<I", len(body))), body))


def _uid(element: int, uid: str) -> bytes:
    try:
        return _element(element, "UI", _padded(uid.encode("ascii"), b"\0"))
    except UnicodeEncodeError:
        raise DatasetError(f"not a UID: {uid!r}") from None


def _padded(data: bytes, pad: bytes) -> bytes:
    return data + pad if len(data) & 1 else data


def _element(element: int, vr: str, value: bytes) -> bytes:
    if vr == "OB":
        return pack("<HH2sHI", 2, element, vr.encode(), 0, len(value)) + value
    return pack("<HH2sH", 2, element, vr.encode(), len(value)) + value


def split(data: Buffer) -> Meta:
    """Read preamble and File Meta Information at the beginning of `data`, as far as there are any.

    The end of the File Meta Information is where group 0002 ends; its group length is often wrong and not needed.

    Raises:
        Incomplete: the File Meta Information does not end in `data`.
        NotDicom: neither a DICOM file nor a data set that begins like one.
        DatasetError: a File Meta Information that cannot be read.
    """
    if data[128:132] == b"DICM":
        return _meta(data, 132)
    if data[:4] == b"DICM":
        if data[4:6] != b"\2\0":
            _recognise(memoryview(data)[4:])  # or a text that begins with these letters
        return _meta(data, 4)
    if (
        len(data) > 8
        and data[:2] == b"\2\0"
        and data[3] == 0
        and bytes(data[4:6]) in (b"UL", b"OB", b"UI", b"SH")
    ):
        return _meta(data, 0)
    _recognise(data)
    return Meta("", "", "", 0)


def _meta(data: Buffer, position: int) -> Meta:
    sop_class = sop_instance = syntax = ""
    start, end = position, len(data)
    encoding = found_encoding(data, position, end, EXPLICIT)
    head, last = encoding.head, end - 8
    explicit = encoding is EXPLICIT
    while position <= last:
        raw, vr, length = head(data, position)
        if raw & 0xFFFF != 2:
            break
        value = position + 8
        if not explicit or vr not in SHORT_NAMES:
            try:
                element = element_at(data, position, end, encoding)
            except Incomplete as error:
                raise Incomplete(f"the File Meta Information ends early: {error}", position) from None
            value, length = element.value, element.length
        position = value + length
        if raw == _CLASS_AT:
            sop_class = _text(data[value:position])
        elif raw == _INSTANCE_AT:
            sop_instance = _text(data[value:position])
        elif raw == _SYNTAX_AT:
            syntax = _text(data[value:position])
    if position > last and position != end:
        raise Incomplete("the file ends inside an element", position)
    if position == start == end:
        raise Incomplete("nothing follows the preamble", position)
    return Meta(sop_class, sop_instance, syntax, position)


_CLASS_AT, _INSTANCE_AT, _SYNTAX_AT = (
    0x00020002,
    0x00030002,
    0x00100002,
)  # (0002,0002) (0002,0003) (0002,0010)


def _text(data: Buffer) -> str:
    return str(data, "latin-1").strip(" \0")


def _recognise(data: Buffer) -> None:
    """Raise NotDicom unless the bytes begin like a data set, past all doubt.

    Past all doubt means: elements of group 0008 in ascending order up to a SOP Class UID that is a UID, or at least three
    known ones.
    """
    encoding = guess_encoding(data)
    if encoding is not None:
        index: dict[int, int] = {}
        try:
            scan(data, 0, len(data), encoding, index, [], swap(_SOP_CLASS))
        except DatasetError:
            index = {} if len(index) < 3 else index
        seen = [swap(raw) for raw in index]
        if seen == sorted(seen) and _convincing(data, index, seen, encoding):
            return
    raise NotDicom("not DICOM: neither the prefix DICM nor elements of a data set")


def _convincing(data: Buffer, index: dict[int, int], seen: list[int], encoding: Encoding) -> bool:
    from dcmflow.dicom.tags import dictionary_vr

    if _SOP_CLASS in seen:
        try:
            element = element_at(data, index[swap(_SOP_CLASS)], len(data), encoding)
        except DatasetError:
            return False
        return _UID.fullmatch(bytes(data[element.value : element.end])) is not None
    # private elements and group lengths could be anything
    telling = [tag for tag in seen[:10] if not tag & 0x10000 and tag & 0xFFFF]
    return len(telling) >= 3 and all(map(dictionary_vr, telling))


def guess_encoding(data: Buffer) -> Encoding | None:
    """The encoding of a data set that says nothing about it; None when it does not begin with a low group."""
    if len(data) < 8:
        return None
    little, big = unpack_from("<H", data)[0], unpack_from(">H", data)[0]
    if little in (0x0004, 0x0008, 0x0010):
        return found_encoding(data, 0, len(data), IMPLICIT)
    if big in (0x0004, 0x0008, 0x0010) and found_encoding(data, 0, len(data), EXPLICIT_BIG) is EXPLICIT_BIG:
        return EXPLICIT_BIG
    return None


def transfer_syntax(data: Buffer, declared: str) -> str:
    """The transfer syntax of the data set that begins with `data`, where `declared` is missing or cannot be.

    Explicit and implicit VR little endian are told apart by looking; some writers declare the other one. Empty when there
    is no telling.
    """
    if declared and declared not in (IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN):
        return declared
    if not len(data):
        return declared
    if not declared and guess_encoding(data) is EXPLICIT_BIG:
        return EXPLICIT_VR_BIG_ENDIAN
    encoding = found_encoding(data, 0, len(data), IMPLICIT)
    return EXPLICIT_VR_LITTLE_ENDIAN if encoding is EXPLICIT else IMPLICIT_VR_LITTLE_ENDIAN
