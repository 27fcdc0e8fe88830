"""How the headers of elements are written: VRs and their lengths, byte orders, transfer syntaxes (PS3.5 7.1, A).

A VR is a `code` here, a number made of its two letters, and a tag is a `raw` number, element << 16 | group: what little endian
bytes say when read at once.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Any, Final, final

Buffer = bytes | bytearray | memoryview


def _code(vr: str) -> int:
    return ord(vr[0]) | ord(vr[1]) << 8


_SHORT_VRS = (
    "AE",
    "AS",
    "AT",
    "CS",
    "DA",
    "DS",
    "DT",
    "FL",
    "FD",
    "IS",
    "LO",
    "LT",
    "PN",
    "SH",
    "SL",
    "SS",
    "ST",
    "TM",
    "UI",
    "UL",
    "US",
)
_LONG_VRS = ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")
SHORT: Final = frozenset(map(_code, _SHORT_VRS))  # PS3.5 7.1.2: length of 16 bits
LONG: Final = frozenset(map(_code, _LONG_VRS))  # two reserved bytes, length of 32 bits
NAMES: Final = {_code(vr): vr for vr in (*_SHORT_VRS, *_LONG_VRS)}
SQ: Final = _code("SQ")
UN: Final = _code("UN")
LONG_VRS: Final = frozenset(_LONG_VRS)
SHORT_NAMES: Final = {_code(vr): vr for vr in _SHORT_VRS}


@final
class Encoding:
    """How headers are written: explicit or implicit VR, and the byte order."""

    __slots__ = ("explicit", "head", "little", "long", "order", "pair")

    def __init__(self, *, explicit: bool, little: bool) -> None:
        self.explicit: bool = explicit
        self.little: bool = little
        self.order = "<" if little else ">"
        self.long: Callable[[Any, int], tuple[Any, ...]] = Struct(f"{self.order}I").unpack_from
        # (raw tag, VR code, 16 bit length) and (raw tag, 32 bit length)
        self.head: Callable[[Any, int], tuple[Any, ...]] = Struct("<IHH").unpack_from if little else _head_big
        self.pair: Callable[[Any, int], tuple[Any, ...]] = Struct("<II").unpack_from if little else _pair_big

    def __repr__(self) -> str:
        return (
            f"<{'explicit' if self.explicit else 'implicit'} VR {'little' if self.little else 'big'} endian>"
        )


_HEAD_BIG = Struct(">HHHH").unpack_from
_PAIR_BIG = Struct(">HHI").unpack_from


def _head_big(buffer: Any, position: int) -> tuple[int, int, int]:
    group, element, vr, length = _HEAD_BIG(buffer, position)
    return element << 16 | group, (vr & 0xFF) << 8 | vr >> 8, length


def _pair_big(buffer: Any, position: int) -> tuple[int, int]:
    group, element, length = _PAIR_BIG(buffer, position)
    return element << 16 | group, length


EXPLICIT: Final = Encoding(explicit=True, little=True)
IMPLICIT: Final = Encoding(explicit=False, little=True)
EXPLICIT_BIG: Final = Encoding(explicit=True, little=False)
_IMPLICIT_BIG: Final = Encoding(explicit=False, little=False)


def swap(tag: int) -> int:
    """The raw form of a tag, and back."""
    return (tag & 0xFFFF) << 16 | tag >> 16


def encoding_of(transfer_syntax_uid: str) -> Encoding:
    """The encoding that a transfer syntax prescribes (PS3.5 A); deflated ones are explicit once inflated."""
    if transfer_syntax_uid == "1.2.840.10008.1.2":
        return IMPLICIT
    if transfer_syntax_uid == "1.2.840.10008.1.2.2":
        return EXPLICIT_BIG
    return EXPLICIT


def found_encoding(buffer: Buffer, position: int, end: int, expected: Encoding) -> Encoding:
    """The encoding really used at `position`: writers change to the other VR style, in files and inside sequences.

    A VR is two capitals; read as part of an implicit length they would mean a first element of more than 16 KiB.
    """
    if position + 6 > end:
        return expected
    first, second = buffer[position + 4], buffer[position + 5]
    explicit = 0x40 < first < 0x5B and 0x40 < second < 0x5B
    if explicit == expected.explicit:
        return expected
    if expected.little:
        return EXPLICIT if explicit else IMPLICIT
    return EXPLICIT_BIG if explicit else _IMPLICIT_BIG
