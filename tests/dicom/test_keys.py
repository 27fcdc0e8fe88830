"""Keys: which elements are meant."""

from __future__ import annotations

import pytest

from dcmflow.dicom.keys import Key, Selection, Step, Trail, path_of
from dcmflow.dicom.tags import UnknownKeyword

NAME: Trail = (Step(0x00100010),)
UID: Trail = (Step(0x00081140, item=2), Step(0x00081155))
PRIVATE: Trail = (Step(0x00191133, creator='ACME "1"'),)
KNOWN: Trail = (Step(0x00191133, creator="ACME 1.1"),)
FREE: Trail = (Step(0x00191133),)


@pytest.mark.parametrize(
    ("key", "trail"),
    [
        ("PatientName", NAME),
        (" (0010, 0010) ", NAME),
        ("0x10", NAME),
        ("0010", NAME),
        ("Patient*", NAME),
        ("?atientName", NAME),
        ("[PQ]atientName", NAME),
        ("/name$/i", NAME),
        ("ReferencedSOPInstanceUID", UID),
        ("ReferencedImageSequence.ReferencedSOPInstanceUID", UID),
        ("ReferencedImageSequence[*].ReferencedSOPInstanceUID", UID),
        ("ReferencedImageSequence[2].ReferencedSOPInstanceUID", UID),
        ("(0008,1140)[2].*UID", UID),
        ("/Image/[2]./UID/", UID),
        ("0008.0008", UID),
        ('("ACME 1.1",0019,33)', KNOWN),
        ("('ACME 1.1',0019,xx33)", KNOWN),
        ("(0019,1133)", FREE),
        ("/^.0019,11/", FREE),
        ("*,1133)", FREE),
    ],
)
def test_what_is_meant(key: str, trail: Trail) -> None:
    assert Key(key).matches(trail)
    for other in (NAME, UID, KNOWN, FREE):
        if other[-1].tag != trail[-1].tag:
            assert not Key(key).matches(other)


@pytest.mark.parametrize(
    ("key", "trail"),
    [
        ("ReferencedImageSequence[1].ReferencedSOPInstanceUID", UID),
        ("ReferencedImageSequence", UID),
        ("PatientName.PatientName", NAME),
        ("/name/", NAME),
        ('("ACME",0019,33)', KNOWN),
        ("0011", NAME),
    ],
)
def test_what_is_not_meant(key: str, trail: Trail) -> None:
    assert not Key(key).matches(trail)


@pytest.mark.parametrize(
    "key",
    ["", ".", "a.", "PatientNam", "0010,001", "/x", "/(/", "PatientName[0]", "A[1].B[2].C", "(0010,0010", "0x12345",
     '("ACME",0018,10)', "ReferencedImageSequence[0]PatientName"],
)  # fmt: skip
def test_what_is_no_key(key: str) -> None:
    with pytest.raises(UnknownKeyword):
        Key(key)


@pytest.mark.parametrize("trail", [NAME, UID, KNOWN, FREE, PRIVATE])
def test_a_path_is_a_key_of_its_element(trail: Trail) -> None:
    assert Key(path_of(trail)).matches(trail)


def test_a_way_that_leads_on() -> None:
    key = Key("ReferencedImageSequence[2].ReferencedSOPInstanceUID")
    assert key.may_lead_on((Step(0x00081140),))
    assert not key.may_lead_on((Step(0x00081115),))
    assert not key.may_lead_on(UID), "nothing is that deep"
    assert Key("*UID").may_lead_on(UID)


def test_exclusion_wins() -> None:
    selection = Selection(["PatientName"], ["Patient*"], private=False)
    assert selection.wants(NAME)
    assert selection.leaves_out(NAME)
    assert selection.leaves_out(KNOWN)
    assert not Selection().leaves_out(KNOWN)
    assert Selection().wants(KNOWN)
