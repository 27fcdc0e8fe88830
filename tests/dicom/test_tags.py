"""Keys of elements."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcmflow.dicom import tags
from dcmflow.dicom.tags import Leaf, Path, UnknownKeyword, parse
from dcmflow.errors import DatasetError


@pytest.mark.parametrize(
    "key", ["PatientName", 0x00100010, "00100010", "(0010,0010)", "( 0010 , 0010 )", "0010,0010"]
)
def test_ways_to_write_an_element(key: str | int) -> None:
    assert parse(key) == Path((), Leaf(0x00100010), "PatientName" if isinstance(key, int) else key)


@pytest.mark.parametrize(
    ("key", "leaf"),
    [
        ('("ACME 1.1",0019,10)', Leaf(0x00190010, "ACME 1.1")),
        ("('ACME', 0019, 10)", Leaf(0x00190010, "ACME")),
        ('("A.B[0]",0x0019,xx10,DS)', Leaf(0x00190010, "A.B[0]", "DS")),
    ],
)
def test_private_elements(key: str, leaf: Leaf) -> None:
    assert parse(key) == Path((), leaf, key)


def test_paths() -> None:
    sequence, item = Leaf(0x00081110), Leaf(0x00081155)
    assert parse("ReferencedStudySequence[0].ReferencedSOPInstanceUID")[:2] == (((sequence, 0),), item)
    assert parse("(0008,1110)[12].00081155")[:2] == (((sequence, 12),), item)
    deep = parse('("ACME",0019,10)[1].ReferencedStudySequence[2].PatientID')
    assert deep.steps == ((Leaf(0x00190010, "ACME"), 1), (sequence, 2))


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("PatientNmae", "unknown keyword 'PatientNmae'; did you mean PatientName"),
        ("patientid", "did you mean PatientID"),
        ("ReferencedStudySequence[0].PatientNam", "unknown keyword 'PatientNam' in 'Referenced"),
        ("ReferencedStudySequence.PatientName", "not an element"),
        ("ReferencedStudySequence[0]", "not an element"),
        ("ReferencedStudySequence[x].PatientName", "not an element"),
        ("", "not an element"),
        ("(0010,001)", "unknown keyword"),
        ('("ACME",0018,10)', "even"),
        ("Qqqqqq", "unknown keyword 'Qqqqqq'$"),
        (-1, "not a tag"),
        (1 << 32, "not a tag"),
    ],
)
def test_mistakes(key: str | int, text: str) -> None:
    with pytest.raises(UnknownKeyword, match=text) as caught:
        parse(key)
    assert isinstance(caught.value, KeyError)
    assert isinstance(caught.value, DatasetError)
    assert not str(caught.value).startswith("'unknown")


@given(st.text(max_size=60))
def test_any_text_is_a_path_or_a_mistake(text: str) -> None:
    try:
        assert parse(text).text == text
    except UnknownKeyword as error:
        assert str(error)  # noqa: PT017


def test_long_nonsense_does_not_take_long() -> None:
    before = time.process_time()
    for text in ("(" * 20_000, '("' * 20_000, "a[" * 20_000, "0010," * 20_000, "A[0]." * 5000):
        with pytest.raises(UnknownKeyword):
            parse(text)
    assert time.process_time() - before < 15


def test_value_representations() -> None:
    assert tags.dictionary_vr(0x00100010) == "PN"
    assert tags.dictionary_vr(0x00080000) == "UL"
    assert tags.dictionary_vr(0x00190010) == "LO"
    assert tags.dictionary_vr(0x00191010) == ""
    assert tags.dictionary_vr(0x60020010) == "US"
    assert tags.dictionary_vr(0x00280106) == "US or SS"
    assert tags.private_vr(0x00191008, "SIEMENS MR HEADER") == "CS"
    assert tags.private_vr(0x00191008, "NOBODY") == ""
    assert (tags.name(0x00100010), tags.name(0x00191010)) == ("PatientName", "(0019,1010)")
