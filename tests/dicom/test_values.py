"""Values to bytes and back, and character sets, against pydicom."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.charset import convert_encodings, decode_bytes
from pydicom.valuerep import TEXT_VR_DELIMS, PersonName

from dcmflow.dicom import charset, values
from dcmflow.errors import DatasetError
from dcmflow.testing.strategies import CHARACTER_SETS

TERMS = [tuple(terms.split("\\")) if terms else () for terms in CHARACTER_SETS]


@pytest.mark.parametrize("order", ["<", ">"])
@given(data=st.data())
def test_numbers_come_back(order: str, data: st.DataObject) -> None:
    ranges = {
        "US": (0, 2**16 - 1),
        "SS": (-(2**15), 2**15 - 1),
        "UL": (0, 2**32 - 1),
        "SV": (-(2**63), 2**63 - 1),
    }
    vr = data.draw(st.sampled_from(sorted(ranges)))
    numbers = data.draw(st.lists(st.integers(*ranges[vr]), min_size=1, max_size=4))
    encoded = values.encode(vr, numbers, "x", order=order)
    decoded = values.decode(vr, encoded, order=order)
    assert decoded == (numbers[0] if len(numbers) == 1 else tuple(numbers))


@given(st.floats(-1e308, 1e308))
def test_decimal_strings_have_sixteen_characters_and_the_value(number: float) -> None:
    encoded = values.encode("DS", number, "x")
    assert len(encoded) <= 16
    assert values.decode("DS", encoded) == pytest.approx(number, rel=1e-8)


@pytest.mark.parametrize("vr", ["LO", "PN", "UI", "OB", "US", "IS", "DS", "AT", "UR", "SH"])
@pytest.mark.parametrize("empty", [None, "", []])
def test_empty_values(vr: str, empty: Any) -> None:
    if vr == "OB" and empty == []:
        return
    assert values.encode(vr, empty, "x") == b""
    assert values.decode(vr, b"") == ("" if vr in values.TEXT_VRS else None)


@pytest.mark.parametrize(
    ("vr", "data", "value"),
    [
        ("AE", b" A \\ B ", ("A", "B")),
        ("CS", b"A \\B ", ("A ", "B")),
        ("LO", b"A \\B ", ("A", "B")),
        ("LT", b" A\\B ", " A\\B"),
        ("UI", b"1.2\0", "1.2"),
        ("PN", b"A^B==C ", "A^B==C"),
        ("PN", b"A^B== ", "A^B"),
        ("IS", b" 12\\-3 ", (12, -3)),
        ("IS", b"1\\\\3 ", (1, None, 3)),
        ("DS", b" 1e2 ", 100.0),
        ("DS", b"  ", None),
        ("AT", b"\x10\0\x20\0", 0x00100020),
        ("OB", b"a\0", b"a\0"),
    ],
)
def test_decoding(vr: str, data: bytes, value: Any) -> None:
    assert values.decode(vr, data) == value


@pytest.mark.parametrize(("terms", "letters"), [*zip(TERMS, CHARACTER_SETS.values(), strict=True)])
@given(data=st.data())
def test_text_comes_back_and_pydicom_agrees(
    terms: tuple[str, ...], letters: str, data: st.DataObject
) -> None:
    codecs = charset.codecs_for(terms)
    text = data.draw(st.text(st.sampled_from(letters + "abc ^=\n"), max_size=12))
    encoded = charset.encode(text, codecs, person=True)
    assert charset.decode(encoded, codecs) == text
    assert list(codecs) == convert_encodings(list(terms) or "")
    assert decode_bytes(encoded, list(codecs), TEXT_VR_DELIMS) == text
    if text.strip(" =") == text and "\n" not in text and text.count("=") < 3:
        assert str(PersonName(encoded, list(codecs))) == text


@given(st.binary(max_size=30), st.sampled_from(TERMS))
def test_decoding_never_fails(data: bytes, terms: tuple[str, ...]) -> None:
    assert isinstance(charset.decode(data, charset.codecs_for(terms)), str)


@pytest.mark.parametrize(
    ("terms", "codecs"),
    [
        (("ISO IR 100",), ("latin_1",)),
        (("ISO_2022_IR_87",), ("iso2022_jp",)),
        (("nonsense",), ("iso8859",)),
        (("base64",), ("iso8859",)),
        (("ISO_IR 192", "ISO 2022 IR 87"), ("UTF8",)),
        (("ISO 2022 IR 6", "ISO_IR 192"), ("iso8859",)),
    ],
)
def test_terms_that_are_not_quite_right(terms: tuple[str, ...], codecs: tuple[str, ...]) -> None:
    assert charset.codecs_for(terms) == codecs


def test_what_a_character_set_lacks_is_an_error() -> None:
    with pytest.raises(UnicodeEncodeError):
        values.encode("LO", "é", "x")
    with pytest.raises(UnicodeEncodeError):
        values.encode("PN", "山", "x", charset.codecs_for(("ISO_IR 100",)))
    with pytest.raises(UnicodeEncodeError):
        values.encode("PN", "김é", "x", charset.codecs_for(("", "ISO 2022 IR 149")))


def test_a_value_too_long_for_its_length_field() -> None:
    with pytest.raises(DatasetError, match="longer than 65534 bytes"):
        values.encode("LO", ["x" * 60] * 2000, "x")
