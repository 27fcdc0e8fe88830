"""What the strategies draw is valid, complete in kinds and reads back equal with pydicom."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from pydicom.filereader import read_dataset

from dcmflow.dicom import uids
from dcmflow.testing import datasets, encoded_datasets
from dcmflow.testing.strategies import CHARACTER_SETS, VRS, encode

unhurried = settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.too_slow])
searching = settings(
    deadline=None, max_examples=3000, derandomize=True, database=None, phases=[Phase.generate]
)


def read(data, syntax):
    return read_dataset(BytesIO(data), syntax == uids.IMPLICIT_VR_LITTLE_ENDIAN, True)


def assert_same(one, other):
    assert sorted(one.keys()) == sorted(other.keys())
    for element in one:
        against = other[element.tag]
        assert element.VR == against.VR
        if element.VR == "SQ":
            for item, against_item in zip(element.value, against.value, strict=True):
                assert_same(item, against_item)
        elif element.VR == "OB" and element.value:
            assert against.value == element.value + b"\0" * (len(element.value) % 2)
        else:
            assert element.value == against.value


@unhurried
@given(datasets(undefined_lengths=True))
def test_a_data_set_reads_back_equal(ds):
    assert_same(ds, read(encode(ds, uids.EXPLICIT_VR_LITTLE_ENDIAN), uids.EXPLICIT_VR_LITTLE_ENDIAN))


@unhurried
@given(datasets(private=False, undefined_lengths=True))
def test_without_private_elements_also_in_implicit_vr(ds):
    assert_same(ds, read(encode(ds, uids.IMPLICIT_VR_LITTLE_ENDIAN), uids.IMPLICIT_VR_LITTLE_ENDIAN))


@unhurried
@given(encoded_datasets())
def test_encoded_data_sets_are_read_to_their_end(drawn):
    data, syntax = drawn
    raw = BytesIO(data)
    ds = read_dataset(raw, syntax == uids.IMPLICIT_VR_LITTLE_ENDIAN, True)
    assert raw.tell() == len(data)
    for element in ds.iterall():
        assert element.VR in {*VRS, "OB or OW", "US or SS"}


@unhurried
@given(datasets(identified=True, vrs=["LO"], max_depth=0, character_sets=[""], private=False))
def test_the_draw_can_be_narrowed(ds):
    for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        assert ds[keyword].value.is_valid
    assert {element.VR for element in ds} <= {"LO", "UI"}
    assert "SpecificCharacterSet" not in ds


@pytest.mark.parametrize("vr", VRS)
def test_every_vr_is_drawn_with_and_without_a_value(vr):
    strategy = datasets(vrs=[vr], character_sets=[""], max_depth=1)
    find(strategy, lambda ds: any(vr == e.VR and not e.is_empty for e in ds), settings=searching)
    find(strategy, lambda ds: any(vr == e.VR and e.is_empty for e in ds), settings=searching)


@pytest.mark.parametrize("charset", [c for c in CHARACTER_SETS if c])
def test_every_character_set_is_drawn_with_letters_of_its_own(charset):
    find(
        datasets(vrs=["PN", "LO"], character_sets=[charset], max_depth=0, private=False),
        lambda ds: any(not str(element.value).isascii() for element in ds),
        settings=searching,
    )


def test_what_is_found_shrinks_to_little():
    smallest = find(
        datasets(),
        lambda ds: any("é" in str(element.value) for element in ds.iterall()),
        settings=settings(searching, phases=[Phase.generate, Phase.shrink]),
    )
    assert len(smallest) <= 3
    assert "é" in {str(element.value) for element in smallest.iterall()}, "nothing else is in that text"


@pytest.mark.parametrize(
    "wanted",
    [
        pytest.param(
            lambda data, syntax: b"SQ\0\0\xff\xff\xff\xff" in data, id="sequence of undefined length"
        ),
        pytest.param(lambda data, syntax: b"UN\0\0\xff\xff\xff\xff" in data, id="UN of undefined length"),
        pytest.param(
            lambda data, syntax: b"\xfe\xff\x00\xe0\xff\xff\xff\xff" in data, id="item of undefined length"
        ),
        pytest.param(lambda data, syntax: b"OB\0\0\xff\xff\xff\xff" in data, id="encapsulated pixels"),
        pytest.param(lambda data, syntax: len(data) % 2 == 1, id="odd length"),
        pytest.param(lambda data, syntax: data.startswith(b"\x08\0\0\0"), id="group length"),
        pytest.param(
            lambda data, syntax: syntax == uids.IMPLICIT_VR_LITTLE_ENDIAN and len(data) > 100, id="implicit"
        ),
        pytest.param(lambda data, syntax: data == b"", id="nothing at all"),
    ],
)
def test_encoded_data_sets_have_every_sort_of_length(wanted):
    find(encoded_datasets(), lambda drawn: wanted(*drawn), settings=searching)
