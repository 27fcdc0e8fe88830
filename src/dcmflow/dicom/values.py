"""Values of elements: bytes to Python and back (PS3.5 6.2).

===========================================  =====================================================
VR                                           in Python
===========================================  =====================================================
AE AS CS DA DT LO LT PN SH ST TM UC UI UR UT str, without padding; PN as ``"A=B=C"``; dates as written
IS · DS                                      int · float; text that is no number stays text
US UL UV SS SL SV · FL FD                    int · float
AT                                           int, the tag
OB OD OF OL OV OW UN                         bytes
===========================================  =====================================================

Several values are a tuple. An element that is present but empty is ``""`` for the text VRs and None for the others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from struct import calcsize, error, pack, unpack
from typing import Any, Final

from dcmflow.dicom import charset, tags
from dcmflow.dicom.charset import Codecs
from dcmflow.errors import DatasetError

TEXT_VRS: Final = frozenset(
    ["AE", "AS", "CS", "DA", "DT", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"]
)
CHARSET_VRS: Final = frozenset(
    ["LO", "LT", "PN", "SH", "ST", "UC", "UT"]
)  # PS3.5 6.1.2.2: Specific Character Set applies
BULK_VRS: Final = frozenset(["OB", "OD", "OF", "OL", "OV", "OW", "UN"])
PLAIN_VRS: Final = frozenset(["AS", "CS", "DA", "DT", "TM", "UI"])
_ONE_TEXT = frozenset(["LT", "ST", "UT", "UR"])  # never several values: a backslash is a character
_FORMATS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
_LENGTHS = {
    "AE": 16,
    "AS": 4,
    "CS": 16,
    "DA": 18,
    "DS": 16,
    "DT": 54,
    "IS": 12,
    "LO": 64,
    "LT": 10240,
    "SH": 16,
}
_LENGTHS |= {
    "ST": 1024,
    "TM": 28,
    "UI": 64,
}  # PS3.5 6.2; ranges of dates and times (queries) are twice as long
_TIME = r"\d\d(?::?\d\d(?::?\d\d(?:\.\d{1,6})?)?)?"
_DATE = r"\d{8}|\d{4}\.\d\d\.\d\d"
_STAMP = r"\d{4}(?:\d\d(?:\d\d(?:\d\d(?:\d\d(?:\d\d(?:\.\d{1,6})?)?)?)?)?)?(?:[+-]\d{4})?"
_SHAPES = {
    "AS": re.compile(r"\d{3}[DWMY]"),
    "DA": re.compile(rf"(?:{_DATE})(?:-(?:{_DATE})?)?|-(?:{_DATE})"),
    "DT": re.compile(rf"{_STAMP}(?:-(?:{_STAMP})?)?|-{_STAMP}"),
    "TM": re.compile(rf"{_TIME}(?:-(?:{_TIME})?)?|-{_TIME}"),
    "DS": re.compile(r" *[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)? *"),
    "IS": re.compile(r" *[+-]?[0-9]+ *"),
    "UI": re.compile(r"[0-9]+(?:\.[0-9]+)*"),
}


def decode(vr: str, data: bytes, codecs: Codecs = charset.DEFAULT, order: str = "<") -> Any:
    """The Python value of encoded bytes.

    Raises:
        DatasetError: a binary number of the wrong length.
    """
    if not data:
        return "" if vr in TEXT_VRS else None
    if vr in PLAIN_VRS:
        return plain(vr, data.decode("latin-1"))
    if vr in _DECODERS:
        values: Sequence[Any] = _DECODERS[vr](data, codecs)
    elif vr in _FORMATS:
        values = _numbers(vr, data, order)
    elif vr == "AT":
        halves = unpack(f"{order}{len(data) // 4 * 2}H", data[: len(data) // 4 * 4])
        values = [g << 16 | e for g, e in zip(halves[::2], halves[1::2], strict=True)]
    else:
        return data
    return values[0] if len(values) == 1 else tuple(values)


def plain(vr: str, text: str) -> str | tuple[str, ...]:
    """The value of one of the `PLAIN_VRS`; around UIDs no blanks are allowed and some writers have them."""
    text = text.strip(" \0") if vr == "UI" else text.rstrip(" \0")
    if "\\" not in text:
        return text
    return tuple(part.strip(" \0") if vr == "UI" else part for part in text.split("\\"))


def _numbers(vr: str, data: bytes, order: str) -> tuple[Any, ...]:
    form = _FORMATS[vr]
    count, rest = divmod(len(data), calcsize("<" + form))
    if rest:
        raise DatasetError(f"{len(data)} bytes are no whole number of {vr} values")
    return unpack(f"{order}{count}{form}", data)


def _titles(data: bytes, _codecs: Codecs) -> list[str]:
    return [part.strip() for part in data.decode("latin-1").rstrip(" \0").split("\\")]


def _texts(data: bytes, codecs: Codecs) -> list[str]:
    return [part.rstrip(" \0") for part in charset.decode(data, codecs).split("\\")]


def _text(data: bytes, codecs: Codecs) -> list[str]:
    return [charset.decode(data, codecs).rstrip(" \0")]


def _url(data: bytes, _codecs: Codecs) -> list[str]:
    return [data.decode("latin-1").rstrip(" \0")]


def _names(data: bytes, codecs: Codecs) -> list[str]:
    # PS3.5 6.2.1: delimiters of trailing empty component groups say nothing
    return [name.rstrip("=") for name in charset.decode(data.rstrip(b" \0"), codecs).split("\\")]


def _whole(text: str) -> int | None:
    text = text.strip()
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        number = float(text)  # "12.0" occurs
        if number != int(number):
            raise
        return int(number)


def _real(text: str) -> float | None:
    text = text.strip()
    return float(text) if text else None


def _parsed(convert: Callable[[str], Any]) -> Callable[[bytes, Codecs], list[Any]]:
    def decode_them(data: bytes, codecs: Codecs) -> list[Any]:
        try:
            return [convert(part) for part in data.decode("latin-1").strip(" \0").split("\\")]
        except (ValueError, OverflowError):
            return _texts(data, codecs)

    return decode_them


_DECODERS: dict[str, Callable[[bytes, Codecs], list[Any]]] = {
    **dict.fromkeys(("LO", "SH", "UC"), _texts),
    **dict.fromkeys(("LT", "ST", "UT"), _text),
    "AE": _titles,
    "DS": _parsed(_real),
    "IS": _parsed(_whole),
    "PN": _names,
    "UR": _url,
}


def encode(vr: str, value: Any, name: str, codecs: Codecs = charset.DEFAULT, order: str = "<") -> bytes:
    """The encoded bytes of a value, padded to even length.

    Args:
        value: what `decode` gives, text that means it, a list of several, or None and "" for an empty value.
        name: of the element, for messages.

    Raises:
        DatasetError: the value is none for this VR; the text names element and value.
        UnicodeEncodeError: `codecs` lack a character.
    """
    if value is None or value == "" or value == b"":
        return b""
    if vr in BULK_VRS:
        if not isinstance(value, (bytes, bytearray, memoryview)):
            raise _refusal(vr, value, name, "bytes are wanted")
        data = bytes(value)
        return data + b"\0" if len(data) & 1 else data
    values = list(_several(vr, value))
    if not values:
        return b""
    if vr in _FORMATS or vr == "AT":
        data = _pack(vr, values, name, order) if vr != "AT" else _tags(values, name, order)
        if vr not in _LENGTHS_32 and len(data) > 0xFFFE:
            raise _refusal(vr, value, name, "longer than 65534 bytes")
        return data
    texts = [_written(vr, v, name) for v in values]
    data = b"\\".join(
        charset.encode(t, codecs, person=vr == "PN") if vr in CHARSET_VRS else _plain(vr, t, name)
        for t in texts
    )
    if vr not in _LENGTHS_32 and len(data) > 0xFFFE:
        raise _refusal(vr, value, name, "longer than 65534 bytes")
    return data + (b"\0" if vr == "UI" else b" ") if len(data) & 1 else data


_LENGTHS_32 = frozenset(("SV", "UC", "UR", "UT", "UV"))


def _several(vr: str, value: Any) -> Iterable[Any]:
    if isinstance(value, str):
        return [value] if vr in _ONE_TEXT else value.split("\\")
    if isinstance(value, Iterable) and not isinstance(value, (bytes, bytearray)) and not _is_person(value):
        return value
    return [value]


def _is_person(value: Any) -> bool:
    return hasattr(value, "family_name")  # pydicom's PersonName


def _refusal(vr: str, value: Any, name: str, why: str) -> DatasetError:
    shown = repr(value)
    return DatasetError(
        f"{name} cannot be {shown if len(shown) <= 80 else shown[:77] + '...'}: {why} (VR {vr}, PS3.5 6.2)"
    )


def _pack(vr: str, values: list[Any], name: str, order: str) -> bytes:
    convert: Callable[[Any], Any] = float if vr in ("FL", "FD") else _integer
    try:
        return pack(f"{order}{len(values)}{_FORMATS[vr]}", *map(convert, values))
    except (error, ValueError, TypeError, OverflowError) as why:
        raise _refusal(
            vr, values if len(values) > 1 else values[0], name, f"not a number in its range, {why}"
        ) from None


def _tags(values: list[Any], name: str, order: str) -> bytes:
    return b"".join(pack(f"{order}HH", *divmod(_tag(v, name), 0x10000)) for v in values)


def _integer(value: Any) -> int:
    if isinstance(value, str):
        return int(value)
    if int(value) != value:
        raise ValueError("not a whole number")
    return int(value)


def _tag(value: Any, name: str) -> int:
    path = tags.parse(value if isinstance(value, str) else int(value))
    if path.steps or path.leaf.creator:
        raise _refusal("AT", value, name, "a tag is wanted")
    return path.leaf.tag


def _written(vr: str, value: Any, name: str) -> str:
    """One value as text of its VR."""
    text = _as_text(vr, value, name)
    if not text:
        return text
    shape = _SHAPES.get(vr)
    if shape and not shape.fullmatch(text.rstrip(" \0")):
        raise _refusal(vr, value, name, "not a number" if vr in ("DS", "IS") else "not in the form of its VR")
    if vr == "IS" and (len(text) > 12 or not -(2**31) <= int(text) < 2**31):
        raise _refusal(vr, value, name, "out of range")
    longest = max(map(len, text.split("="))) if vr == "PN" else len(text)
    if longest > _LENGTHS.get(vr, 64 if vr == "PN" else longest):
        raise _refusal(vr, value, name, f"longer than {_LENGTHS.get(vr, 64)} characters")
    return text


def _as_text(vr: str, value: Any, name: str) -> str:
    if value is None:
        return ""
    if vr == "DS" and not isinstance(value, str):
        return _decimal(value, name)
    if vr == "IS" and not isinstance(value, str):
        try:
            return str(_integer(value))
        except (ValueError, TypeError, OverflowError):
            raise _refusal(vr, value, name, "not a whole number") from None
    if isinstance(value, (date, time)) and vr in ("DA", "TM", "DT"):
        return _moment(vr, value)
    if not isinstance(value, (str, int, float, Decimal)) and not _is_person(value):
        raise _refusal(vr, value, name, "text is wanted")
    return str(value)


def _moment(vr: str, value: date | time) -> str:
    if vr == "DA":
        return value.strftime("%Y%m%d")
    if vr == "TM":
        return value.strftime("%H%M%S.%f")
    return value.strftime("%Y%m%d%H%M%S.%f%z" if isinstance(value, datetime) else "%Y%m%d")


def _decimal(value: Any, name: str) -> str:
    from pydicom.valuerep import format_number_as_ds

    try:
        text = str(value)
        return (
            text
            if len(text) <= 16 and isinstance(value, (int, Decimal))
            else _shorter(float(value), format_number_as_ds)
        )
    except (ValueError, TypeError, OverflowError) as why:
        raise _refusal("DS", value, name, str(why)) from None


def _shorter(value: float, long: Callable[[float], str]) -> str:
    if value != value or value in (float("inf"), float("-inf")):
        raise ValueError("a finite number is wanted")
    text = repr(value)
    return text if len(text) <= 16 else long(value)


def _plain(vr: str, text: str, name: str) -> bytes:
    try:
        return text.encode("ascii")
    except UnicodeEncodeError:
        raise _refusal(vr, text, name, "only ASCII is allowed") from None
