"""Hypothesis strategies for data sets: every VR, every sort of length, as the standard allows them.

>>> from hypothesis import given
>>> from dcmflow.testing import datasets
>>> @given(datasets())
... def test_all_elements_have_a_tag(ds):
...     assert all(element.tag for element in ds)

What is drawn is valid (PS3.5 6.2) and encodes without a warning, and shrinks towards few elements with short
values.
"""

from __future__ import annotations

import struct
from functools import cache, lru_cache
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from hypothesis import strategies as st

from dcmflow.dicom import uids

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset

CHARACTER_SETS: Final[dict[str, str]] = {
    "": "",
    "ISO_IR 100": "éÄßñ",
    "ISO_IR 101": "Łąź",
    "ISO_IR 109": "ĉĝŭ",
    "ISO_IR 110": "āķš",
    "ISO_IR 126": "Διονυ",
    "ISO_IR 127": "قبانيل",
    "ISO_IR 138": "שרון",
    "ISO_IR 144": "Люкceмбypг",
    "ISO_IR 148": "ğışİ",
    "ISO_IR 166": "นามสกุล",
    "ISO_IR 192": "é山太Д🧠",
    "GB18030": "王小东",
    "GBK": "王小东",
    "\\ISO 2022 IR 87": "山田太郎やまだ",
    "\\ISO 2022 IR 149": "김희중",
}
"""Specific Character Set → letters of it beyond ASCII."""

_ASCII: Final = "abcXYZ019 _-.,:;/()+*?'\"!#%&<>[]{}|@$"
_CODE: Final = "ABCXYZ019_ "
_BYTES_PER_WORD: Final = {"OB": 1, "UN": 2, "OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}
_INTEGERS: Final = {
    "US": (0, 2**16 - 1),
    "SS": (-(2**15), 2**15 - 1),
    "UL": (0, 2**32 - 1),
    "SL": (-(2**31), 2**31 - 1),
    "UV": (0, 2**64 - 1),
    "SV": (-(2**63), 2**63 - 1),
}
# One less than the most: pydicom counts the blank that pads an odd number of bytes.
_TEXT_LENGTH: Final = {"SH": 15, "LO": 63, "ST": 100, "LT": 100, "UT": 100, "UC": 100}
VRS: Final = (
    "AE",
    "AS",
    "AT",
    "CS",
    "DA",
    "DS",
    "DT",
    "FD",
    "FL",
    "IS",
    "LO",
    "LT",
    "OB",
    "OD",
    "OF",
    "OL",
    "OV",
    "OW",
    "PN",
    "SH",
    "SL",
    "SQ",
    "SS",
    "ST",
    "SV",
    "TM",
    "UC",
    "UI",
    "UL",
    "UN",
    "UR",
    "US",
    "UT",
    "UV",
)
"""Every VR of PS3.5 6.2."""


@st.composite
def datasets(
    draw: st.DrawFn,
    *,
    max_elements: int = 10,
    max_depth: int = 2,
    vrs: Iterable[str] = VRS,
    character_sets: Iterable[str] = tuple(CHARACTER_SETS),
    private: bool = True,
    identified: bool = False,
    undefined_lengths: bool = False,
) -> Dataset:
    """Data sets with elements of the standard's dictionary, private blocks and nested sequences.

    Args:
        max_elements: how many elements at most one level has, private ones apart.
        max_depth: how deep sequences nest; 0 is without any.
        vrs: which VRs to choose from.
        character_sets: which values of Specific Character Set to choose from, of `CHARACTER_SETS`.
        private: whether private blocks with their creators occur.
        identified: True adds valid SOP Class, SOP Instance, Study and Series Instance UIDs.
        undefined_lengths: whether sequences and items may ask for an undefined length when encoded.
    """
    charset = draw(st.sampled_from(sorted(character_sets)))
    lines = (
        "" if "\\" in charset else "\r\n"
    )  # a line end resets ISO 2022 (PS3.5 6.1.2.5.3), which pydicom overlooks
    level = _Level(CHARACTER_SETS[charset], lines, frozenset(vrs), max_elements, private, undefined_lengths)
    ds: Dataset = draw(_level(level, max_depth))
    if charset:
        ds.SpecificCharacterSet = charset.split("\\") if "\\" in charset else charset
    if identified:
        for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
            setattr(ds, keyword, f"2.25.{draw(st.integers(1, 2**64))}")
        ds.SOPClassUID = uids.SECONDARY_CAPTURE_IMAGE_STORAGE
    return ds


@st.composite
def encoded_datasets(draw: st.DrawFn, /, *, pixels: bool = True, **options: Any) -> tuple[bytes, str]:
    """Encoded data sets and the UID of their transfer syntax: explicit and implicit VR little endian, and
    encapsulated pixels.

    Sequences and items have defined and undefined lengths. Beyond what `datasets` knows there are group
    lengths, text of an odd length as careless writers leave it, and private sequences as UN of undefined
    length (PS3.5 6.2.2, note 4).

    Args:
        pixels: whether native or encapsulated Pixel Data may follow.
        options: as for `datasets`.
    """
    ds: Dataset = draw(datasets(**{"undefined_lengths": True} | options))
    syntax = draw(st.sampled_from((uids.EXPLICIT_VR_LITTLE_ENDIAN, uids.IMPLICIT_VR_LITTLE_ENDIAN)))
    implicit = uids.is_implicit(syntax)
    parts = [encode(ds, syntax)]
    if draw(st.booleans()):
        parts.append(_element(0x7F010010, "LO", b"ODD LENGTH", implicit))
        parts.append(_element(0x7F011001, "LO", b"odd", implicit))
    if draw(st.booleans()):
        parts.append(_element(0x7F030010, "LO", b"UN SEQUENCE ", implicit))
        parts.append(_unknown_sequence(draw(st.lists(st.binary(max_size=6), max_size=2)), implicit))
    if pixels and draw(st.booleans()):
        words = draw(st.binary(max_size=64)) * 2
        parts.append(_element(0x7FE00010, "OW", words, implicit))
    elif pixels and draw(st.booleans()):
        syntax = uids.JPEG_BASELINE
        parts = [encode(ds, syntax), _fragments(draw(st.lists(st.binary(max_size=40), max_size=4)))]
    if draw(st.booleans()):
        group = encode(ds.group_dataset(0x0008), syntax)
        parts.insert(0, _element(0x00080000, "UL", struct.pack("<I", len(group)), uids.is_implicit(syntax)))
    return b"".join(parts), syntax


def encode(ds: Dataset, transfer_syntax: str) -> bytes:
    """The encoded data set, little endian; lengths are undefined where its sequences and items ask for it."""
    from pydicom.filebase import DicomIO
    from pydicom.filewriter import write_dataset

    raw = BytesIO()
    out = DicomIO(raw)
    out.is_implicit_VR, out.is_little_endian = uids.is_implicit(transfer_syntax), True
    write_dataset(out, ds)
    return raw.getvalue()


_Choice = tuple[int, str, tuple[int, int]]  # tag, VR, the least and the most values


class _Level(NamedTuple):
    """What the levels of one data set have in common."""

    letters: str
    lines: str
    vrs: frozenset[str]
    max_elements: int
    private: bool
    undefined_lengths: bool


@st.composite
def _level(draw: st.DrawFn, level: _Level, depth: int) -> Dataset:
    from pydicom.dataset import Dataset

    ds = Dataset()
    vrs = level.vrs if depth else level.vrs - {"SQ"}
    choices = tuple(tag for vr in sorted(vrs) for tag in _tags().get(vr, ()))
    if choices:
        entries = st.lists(_entry(level, choices, depth), max_size=level.max_elements, unique_by=_first)
        for tag, vr, value in draw(entries):
            ds.add_new(tag, vr, value)
    if level.private and draw(st.booleans()):
        draw(_private_block(ds, level, sorted(vrs), depth))
    if level.undefined_lengths:
        for element in ds:
            if element.VR == "SQ":
                draw(_lengths(element))
    return ds


@st.composite
def _private_block(draw: st.DrawFn, ds: Dataset, level: _Level, vrs: list[str], depth: int) -> None:
    group = draw(st.sampled_from((0x0009, 0x0029, 0x7FDF)))
    creator = draw(st.sampled_from(("DCMFLOW TEST", "ODD CREATOR", "ACME 1.1")))
    block = ds.private_block(group, creator, create=True)
    choices = tuple((offset, vr, (0, 3)) for vr in vrs for offset in (0x00, 0x01, 0x10, 0xFF))
    if choices:
        for offset, vr, value in draw(st.lists(_entry(level, choices, depth), max_size=3, unique_by=_first)):
            if offset not in block:
                block.add_new(offset, vr, value)


@st.composite
def _entry(draw: st.DrawFn, level: _Level, choices: tuple[_Choice, ...], depth: int) -> tuple[int, str, Any]:
    """A tag (an offset in a private block), its VR and a value: drawn together, so that they shrink together."""
    tag, vr, multiplicity = draw(st.sampled_from(choices))
    return tag, vr, draw(_value(level, vr, multiplicity, depth))


def _first(entry: tuple[int, str, Any]) -> int:
    return entry[0]


@st.composite
def _lengths(draw: st.DrawFn, element: DataElement) -> None:
    element.is_undefined_length = draw(st.booleans())
    for item in element.value:
        item.is_undefined_length_sequence_item = draw(st.booleans())


@cache
def _tags() -> dict[str, list[_Choice]]:
    """A few elements of the dictionary for each VR, first and last of them, with the least and most values
    they have.
    """
    from pydicom._dicom_dict import DicomDictionary

    found: dict[str, list[_Choice]] = {}
    for tag, (vr, multiplicity, _name, _retired, keyword) in DicomDictionary.items():
        described = keyword and vr in VRS and (0x0008, 0x0005) < divmod(tag, 1 << 16) < (0x7FE0, 0)
        if described and tag & 0xFFFF and tag not in _IDENTIFY and tag >> 16 != 0x0028:
            found.setdefault(vr, []).append((tag, vr, _least_and_most(multiplicity)))
    return {vr: tags[:6] + tags[max(6, len(tags) - 3) :] for vr, tags in found.items()}


_IDENTIFY: Final = frozenset({0x00080016, 0x00080018, 0x0020000D, 0x0020000E})


def _least_and_most(multiplicity: str) -> tuple[int, int]:
    """`1` → (1, 1), `2-n` → (2, 4), `2-2n` → (2, 2), `1-3` → (1, 3)."""
    least, _, most = multiplicity.partition(" or ")[0].partition("-")
    if most == "n":
        return int(least), int(least) + 2
    return int(least), int(most) if most.isdigit() else int(least)


@lru_cache(maxsize=1000)
def _value(level: _Level, vr: str, multiplicity: tuple[int, int], depth: int) -> st.SearchStrategy[Any]:
    if vr == "SQ":
        return st.lists(_level(level, depth - 1), max_size=3) if depth else st.just([])
    one = _one(level, vr)
    if vr in _BYTES_PER_WORD or vr in {"LT", "ST", "UT", "UR"}:  # never more than one value
        return one
    least, most = max(1, multiplicity[0]), max(1, multiplicity[1])
    if most == 1:
        return _empty(vr) | one
    return _empty(vr) | st.lists(one, min_size=least, max_size=most).map(lambda v: v[0] if len(v) == 1 else v)


def _empty(vr: str) -> st.SearchStrategy[Any]:
    """What pydicom reads where there is no value."""
    from pydicom.dataelem import empty_value_for_VR

    return st.just(empty_value_for_VR(vr))


def _one(level: _Level, vr: str) -> st.SearchStrategy[Any]:
    """One value of a VR (PS3.5 6.2)."""
    if vr in _INTEGERS:
        return st.integers(*_INTEGERS[vr])
    if vr in _BYTES_PER_WORD:
        word = _BYTES_PER_WORD[vr]
        data = st.binary(min_size=word, max_size=5 * word)
        return _empty(vr) | data.map(lambda data: data[: len(data) // word * word])
    if vr in _TEXT_LENGTH:
        lines = level.lines if vr in {"LT", "ST", "UT"} else ""
        return _text(_ASCII + level.letters + lines, _TEXT_LENGTH[vr])
    return _special(level)[vr]


@lru_cache(maxsize=100)
def _special(level: _Level) -> dict[str, st.SearchStrategy[Any]]:
    digits = st.integers(-(10**9), 10**9)
    person = st.lists(_text("abcXYZ '-" + level.letters, 11), max_size=5).map(
        lambda parts: "^".join(parts).rstrip("^")
    )
    return {
        "AE": _text(_CODE + "abc-", 16),
        "AS": st.builds("{:03d}{}".format, st.integers(0, 999), st.sampled_from("DWMY")),
        "AT": st.integers(0, 2**32 - 1),
        "CS": _text(_CODE, 16),
        "DA": _dates(),
        "DS": digits.map(str) | st.builds("{}.{}".format, st.integers(-999, 999), st.integers(0, 9999)),
        "DT": st.builds("{}{}".format, _dates(), _times()),
        "FD": st.floats(allow_nan=False),
        "FL": st.floats(width=32, allow_nan=False),
        "IS": digits,
        "PN": person,
        "TM": _times(),
        "UI": st.integers(1, 2**128 - 1).map("2.25.{}".format),
        "UR": _empty("UR") | st.text("abc019-_", max_size=20).map("https://example.org/{}".format),
    }


def _text(alphabet: str, length: int) -> st.SearchStrategy[str]:
    """Text without blanks at its ends, which padding would swallow."""
    return st.text(alphabet, max_size=length).map(lambda text: text.strip())


def _dates() -> st.SearchStrategy[str]:
    return st.dates().filter(lambda day: day.year >= 1000).map(lambda day: day.strftime("%Y%m%d"))


def _times() -> st.SearchStrategy[str]:
    whole = st.times().map(lambda time: time.strftime("%H%M%S"))
    return whole | st.times().map(lambda time: time.strftime("%H%M%S.%f"))


def _element(tag: int, vr: str, value: bytes, implicit: bool) -> bytes:
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    if implicit:
        return head + struct.pack("<I", len(value)) + value
    if vr in {"OB", "OW", "UN"}:
        return head + vr.encode() + struct.pack("<HI", 0, len(value)) + value
    return head + vr.encode() + struct.pack("<H", len(value)) + value


def _unknown_sequence(values: list[bytes], implicit: bool) -> bytes:
    """A private sequence as UN of undefined length: its items are implicit VR in any case."""
    head = struct.pack("<HH", 0x7F03, 0x1001) + (b"" if implicit else b"UN\0\0") + b"\xff" * 4
    items = b""
    for value in values:
        body = _element(0x00080060, "CS", value.hex().upper()[:6].ljust(6).encode(), implicit=True)
        items += struct.pack("<HHI", 0xFFFE, 0xE000, len(body)) + body
    return head + items + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def _fragments(fragments: list[bytes]) -> bytes:
    """Encapsulated Pixel Data (PS3.5 A.4) with an empty basic offset table."""
    out = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0
    )
    for fragment in fragments:
        even = fragment + b"\0" * (len(fragment) % 2)
        out += struct.pack("<HHI", 0xFFFE, 0xE000, len(even)) + even
    return out + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
