"""Selectors: what every operator says of every kind of value, and what a wrong one is told."""

from __future__ import annotations

import doctest
import pickle
from collections.abc import Mapping
from fnmatch import fnmatchcase
from struct import pack
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydicom.datadict import tag_for_keyword

from dcmflow.dicom import selector as selector_module
from dcmflow.dicom import selector_values
from dcmflow.dicom.instance import Instance, Origin
from dcmflow.dicom.payload import MemoryPayload
from dcmflow.dicom.reference import Reference
from dcmflow.dicom.selector import Selector
from dcmflow.dicom.selector_tree import And, Compare, Exists
from dcmflow.errors import ConfigError, DatasetError

CT = "1.2.840.10008.5.1.4.1.1.2"
Elements = Mapping[str | int, tuple[str, Any]]


def encoded(elements: Elements) -> bytes:
    """Explicit VR little endian, as broken as the values are."""
    tagged = sorted(
        (tag_for_keyword(key) if isinstance(key, str) else key, pair) for key, pair in elements.items()
    )
    data = b""
    for tag, (vr, value) in tagged:
        if vr == "SQ":
            value = b"".join(pack("<HHI", 0xFFFE, 0xE000, len(item)) + item for item in map(encoded, value))
        elif isinstance(value, str):
            value = value.encode()
            value += (b"\0" if vr == "UI" else b" ") * (len(value) & 1)
        data += pack("<HH", tag >> 16, tag & 0xFFFF) + vr.encode()
        long = vr in ("OB", "OW", "SQ", "UN", "UT")
        data += (pack("<HI", 0, len(value)) if long else pack("<H", len(value))) + value
    return data


def made(elements: Elements, *, origin: Origin | None = None, **labels: str) -> Instance:
    payload = MemoryPayload(encoded(elements))
    instance = Instance(CT, "1.2.3", "1.2.840.10008.1.2.1", payload, origin=origin or Origin())
    return instance.with_labels(**labels) if labels else instance


def asked(text: str, elements: Elements, **labels: str) -> bool:
    return Selector(text)(made(elements, **labels))


# The truth table: operator by state by type


class Type(NamedTuple):
    """An element of one VR, a literal, and encoded values that are the same as it, less, more, several, and none."""

    element: str | int
    vr: str
    literal: str
    same: Any
    less: Any
    more: Any
    several: Any  # less and same
    broken: Any = None
    ordered: bool = True
    text: bool = False
    key: str = ""


AT_VALUES = tuple(
    pack(f"<{len(halves)}H", *halves)
    for halves in ((0x18, 0x1063), (0x18, 0x1062), (0x54, 0x10), (1, 1, 0x18, 0x1063))
)

# fmt: off
TYPES = {
    "LO": Type("Manufacturer", "LO", "'b'", "b", "a", "c", "a\\b", text=True),
    "CS": Type("ImageType", "CS", "b", "b", "a", "c", "a\\b", text=True),
    "PN": Type("OperatorsName", "PN", "'b'", "b", "a", "c", "a\\b", text=True),
    "IS": Type("SeriesNumber", "IS", "5", "5", "-10", "10", "-10\\5", "five"),
    "IS quoted": Type("SeriesNumber", "IS", "'5'", " 5", "4", "6", "4\\5", "5..0"),
    "DS": Type("PixelSpacing", "DS", "2.5", "2.50", "2.49", "1e1", "2.4\\2.5", "wide"),
    "US": Type("AcquisitionMatrix", "US", "256", pack("<H", 256), pack("<H", 255), pack("<H", 257), pack("<2H", 3, 256), b"\1"),
    "FD": Type(
        "DiffusionGradientOrientation", "FD", "-1.5", pack("<d", -1.5), pack("<d", -2), pack("<d", 0), pack("<2d", -2, -1.5),
        pack("<d", float("nan")),
    ),
    "DA": Type("DateOfLastCalibration", "DA", "'20190620'", "20190620", "20190619", "2019.06.21", "20190619\\20190620", "20190231"),
    "DA iso": Type("DateOfLastCalibration", "DA", "2019-06-20", "20190620", "20181231", "20200101", "20180101\\20190620", "soon"),
    "TM": Type("TimeOfLastCalibration", "TM", "'10:15:30'", "101530.5", "101529.999999", "101531", "09\\101530", "256000"),
    "DT": Type(
        "AcquisitionDateTime", "DT", "'2019-06-20 10:15'",
        "20190620101559", "20190620101459", "20190620101600", "2018\\20190620101500", "20190620-",
    ),
    "AS": Type("PatientAge", "AS", "'012M'", "012M", "051W", "002Y", "001D\\012M", "12"),
    "UI": Type(
        "RelatedGeneralSOPClassUID", "UI", f"'{CT}'", CT, "1.2", "1.3", f"1.2\\{CT}", ordered=False, text=True,
    ),
    "UI keyword": Type("RelatedGeneralSOPClassUID", "UI", "CTImageStorage", CT, "1.2", "1.3", f"1.2\\{CT}", ordered=False),
    "AT": Type("FrameIncrementPointer", "AT", "(0018,1063)", *AT_VALUES, b"\x18\0", ordered=False),
    "FrameTime": Type("FrameIncrementPointer", "AT", "FrameTime", *AT_VALUES, ordered=False),
    "private number": Type(0x00191010, "IS", "5", "5", "4", "10", "4\\5", "x", key="('ACME',0019,10)"),
    "private text": Type(0x00191010, "LO", "'b'", "b", "a", "c", "a\\b", text=True, key="('ACME',0019,10)"),
    "UN number": Type(0x00191010, "UN", "5", b"5 ", b"4 ", b"10", None, b"\xff\xfe", key="('ACME',0019,10)"),
    "tag": Type("SeriesNumber", "IS", "5", "5", "-10", "10", "-10\\5", "five", key="(0020,0011)"),
}
# fmt: on

STATES = ("same", "less", "more", "empty", "absent", "several", "broken")
#                     same less  more  empty absent several broken
TRUTH = {
    "{0} == {1}":            (1, 0, 0, 0, 0, 1, 0),
    "{0} != {1}":            (0, 1, 1, 1, 0, 0, 0),
    "{0} < {1}":             (0, 1, 0, 0, 0, 1, 0),
    "{0} <= {1}":            (1, 1, 0, 0, 0, 1, 0),
    "{0} > {1}":             (0, 0, 1, 0, 0, 0, 0),
    "{0} >= {1}":            (1, 0, 1, 0, 0, 1, 0),
    "{0} in ({1})":          (1, 0, 0, 0, 0, 1, 0),
    "{0} in [{1}, {1}]":     (1, 0, 0, 0, 0, 1, 0),
    "{0} not in ({1})":      (0, 1, 1, 1, 0, 0, 0),
    "{0} contains {1}":      (1, 0, 0, 0, 0, 1, 0),
    "{0} not contains {1}":  (0, 1, 1, 1, 0, 0, 0),
    "{0} like {1}":          (1, 0, 0, 0, 0, 1, 0),
    "{0} not like {1}":      (0, 1, 1, 1, 0, 0, 0),
    "{0} matches {1}":       (1, 0, 0, 0, 0, 1, 0),
    "{0} not matches {1}":   (0, 1, 1, 1, 0, 0, 0),
    "{0} == ''":             (0, 0, 0, 1, 0, 0, 0),
    "{0} != ''":             (1, 1, 1, 0, 0, 1, 0),
    "{0} in ({1}, '')":      (1, 0, 0, 1, 0, 1, 0),
    "exists({0})":           (1, 1, 1, 1, 0, 1, 1),
    "not exists({0})":       (0, 0, 0, 0, 1, 0, 0),
    "not ({0} == {1})":      (0, 1, 1, 1, 1, 0, 1),
    "not ({0} != {1})":      (1, 0, 0, 0, 1, 1, 1),
    "!({0} in ({1}))":       (0, 1, 1, 1, 1, 0, 1),
}  # fmt: skip
ONE_VALUE = ("Manufacturer", "SeriesNumber", "AcquisitionDateTime", "PatientAge")


def cells() -> list[Any]:
    found = []
    for name, kind in TYPES.items():
        for operator, row in TRUTH.items():
            ordering = any(f" {sign} " in operator for sign in ("<", "<=", ">", ">="))
            pattern = "like" in operator or "matches" in operator
            several = "contains" in operator and kind.element in ONE_VALUE
            if (
                (ordering and not kind.ordered)
                or (pattern and not (kind.text and "'" in kind.literal))
                or several
            ):
                continue
            for state, truth in zip(STATES, row, strict=True):
                value = "" if state in ("empty", "absent") else getattr(kind, state)
                if state == "broken" and "''" in operator and kind.key.startswith("('ACME'"):
                    continue  # anything is a text, when nobody knows the VR
                if value is not None:
                    label = f"{name}: {operator.format(kind.key or kind.element, kind.literal)} [{state}]"
                    found.append(pytest.param(kind, operator, state, value, bool(truth), id=label))
    return found


@pytest.mark.parametrize(("kind", "operator", "state", "value", "truth"), cells())
def test_truth_table(kind: Type, operator: str, state: str, value: Any, truth: bool) -> None:
    elements: dict[str | int, tuple[str, Any]] = {0x00190010: ("LO", "ACME"), "InstanceNumber": ("IS", "1")}
    if state != "absent":
        elements[kind.element] = (kind.vr, value)
    assert asked(operator.format(kind.key or kind.element, kind.literal), elements) is truth


# Dates and times to different precision


@pytest.mark.parametrize(
    ("text", "value", "truth"),
    [
        ("AcquisitionDateTime == 2019", "20190620101530", True),
        ("AcquisitionDateTime == '2019-06'", "20190620", True),
        ("AcquisitionDateTime == '2019-06-20'", "201906", False),
        ("AcquisitionDateTime != '2019-06-20'", "201906", False),
        ("AcquisitionDateTime != '2019-06-20'", "201907", True),
        ("AcquisitionDateTime > '2019-06-20'", "20190620235959", False),
        ("AcquisitionDateTime > '2019-06-20'", "20190621", True),
        ("AcquisitionDateTime >= '2019-06-20'", "20190620", True),
        ("AcquisitionDateTime >= '2019-06-20'", "201906", False),
        ("AcquisitionDateTime < '2019-06-20'", "201905", True),
        ("AcquisitionDateTime <= '2019-06'", "20190630235959.999999", True),
        ("AcquisitionDateTime == '2019-06-20T10:00:00+02:00'", "20190620080000+0000", True),
        ("AcquisitionDateTime == '2019-06-20T10:00:00Z'", "20190620120000+0200", True),
        ("AcquisitionDateTime == '2019-06-20T10:00:00Z'", "20190620100000", True),
        ("AcquisitionDateTime == '2019-0500'", "2019-0500", True),
        ("StudyDate == 2019", "20190620", True),
        ("StudyDate in (2018, '2019-06')", "20190620", True),
        ("StudyDate not in (2018, '2019-06')", "20190720", True),
        ("StudyDate < 2019-06", "20190531", True),
        ("StudyDate like '201906*'", "20190620", True),
        ("StudyDate matches '^2019'", "20190620", True),
        ("StudyDate == 20190620", "20190101-20190630", False),
        ("StudyDate != 20190620", "20190101-20190630", False),
        ("StudyTime == '10:15'", "101530", True),
        ("StudyTime == '101530'", "1015", False),
        ("StudyTime < '101530'", "1015", False),
        ("StudyTime < '101530'", "1014", True),
        ("StudyTime == '101530.5'", "10:15:30.500000", True),
        ("StudyTime == '235960'", "235960", True),
        ("PatientAge > '011M'", "001Y", True),
        ("PatientAge == '001Y'", "013M", True),
        ("PatientAge == '013M'", "001Y", False),
        ("PatientAge >= 018Y", "017Y", False),
    ],
)
def test_moments_compare_as_spans(text: str, value: str, truth: bool) -> None:
    keyword = text.split()[0]
    vr = {"AcquisitionDateTime": "DT", "StudyDate": "DA", "StudyTime": "TM", "PatientAge": "AS"}[keyword]
    assert asked(text, {keyword: (vr, value)}) is truth


# Text


@pytest.mark.parametrize(
    ("text", "value", "truth"),
    [
        ("PatientName == 'Yamada^Tarou'", "Yamada^Tarou=山田^太郎=やまだ^たろう", True),
        ("PatientName == '山田^太郎'", "Yamada^Tarou=山田^太郎=やまだ^たろう", True),
        ("PatientName like '*山田*'", "Yamada^Tarou=山田^太郎", True),
        ("PatientName like '*山田*'", "Tanaka^Tarou=田中^太郎", False),
        ("PatientName like 'yamada*'", "Yamada^Tarou=山田^太郎", True),
        ("PatientName like '*TAROU'", "Yamada^Tarou=山田^太郎", True),
        ("PatientName == 'yamada^tarou'", "Yamada^Tarou", False),
        ("PatientName matches '^山田'", "Yamada^Tarou=山田^太郎", True),
        ("PatientName != '山田^太郎'", "Yamada^Tarou=山田^太郎", False),
        ("PatientName < 'Z'", "Yamada^Tarou", True),
    ],
)
def test_person_names(text: str, value: str, truth: bool) -> None:
    assert asked(text, {"SpecificCharacterSet": ("CS", "ISO_IR 192"), "PatientName": ("PN", value)}) is truth


@pytest.mark.parametrize(
    ("text", "value", "truth"),
    [
        ("PatientID == 12345", "12345", True),
        ("PatientID == 012345", "12345", False),
        ("PatientID in (1, abc)", "abc", True),
        ("PatientID == 'it''s'", "it's", True),
        ('PatientID == "say ""a"""', 'say "a"', True),
        (r"PatientID matches '^\d+$'", "123", True),
        (r"PatientID matches '^\d+$'", "123a", False),
        ("PatientID matches '2'", "123", True),
        ("PatientID matches '(?i)ABC'", "xabcx", True),
        ("PatientID like '1*3'", "123", True),
        ("PatientID like '1*3'", "1234", False),
        ("PatientID like '1?3'", "123", True),
        ("PatientID like '1?3'", "13", False),
        ("PatientID like 'a.c'", "abc", False),
        ("PatientID like 'ABC'", "abc", False),
        ("PatientID like '*'", "", True),
        ("PatientID not like '?*'", "", True),
        ("PatientID == 'x '", "x", True),
        ("PatientID == 'x'", " x ", True),
        ("PatientID > ''", "x", True),
        ("PatientID > ''", "", False),
        ("PatientID < 'b' and PatientID > 'a'", "abc", True),
    ],
)
def test_text(text: str, value: str, truth: bool) -> None:
    assert asked(text, {"PatientID": ("LO", value)}) is truth


@given(
    pattern=st.text("ab*?", max_size=12),
    text=st.text("ab\n", max_size=12),
)
def test_like_agrees_with_another_implementation_of_wildcards(pattern: str, text: str) -> None:
    found = selector_values.wildcards(pattern).fullmatch(text) is not None
    assert found == fnmatchcase(text, pattern)


def test_like_with_many_stars_comes_to_an_end() -> None:
    assert not asked(f"label.x like '{'*a' * 40}b'", {}, x="a" * 20_000)


# What may be named


NESTED: Elements = {
    "ImageType": ("CS", "ORIGINAL\\PRIMARY\\AXIAL"),
    "Modality": ("CS", "CT"),
    "RequestAttributesSequence": (
        "SQ",
        [
            {"ScheduledProcedureStepID": ("SH", "one"), 0x00191010: ("DS", "7"), 0x00190010: ("LO", "ACME")},
            {"ScheduledProcedureStepID": ("SH", "two"), "RequestedProcedureID": ("SH", "")},
        ],
    ),
    "ReferencedImageSequence": ("SQ", []),
    0x00190010: ("LO", "OTHER"),
    0x00190011: ("LO", "ACME 1.1"),
    0x00191001: ("LO", "wrong"),
    0x00191101: ("LO", "right"),
}


@pytest.mark.parametrize(
    ("text", "truth"),
    [
        ("(0008,0060) == CT", True),
        ("( 0008 , 0060 ) in (CT, MR)", True),
        ('("ACME 1.1",0019,01) == "right"', True),
        ('("ACME 1.1",0019,xx01,LO) == right', True),
        ("('NOBODY',0019,01) == 'right'", False),
        ("exists(('OTHER',0019,01))", True),
        ("RequestAttributesSequence[0].ScheduledProcedureStepID == one", True),
        ("RequestAttributesSequence[1].ScheduledProcedureStepID == one", False),
        ("RequestAttributesSequence[2].ScheduledProcedureStepID != one", False),
        ("(0040,0275)[1].(0040,0009) == two", True),
        ("RequestAttributesSequence[0].('ACME',0019,10) > 6.5", True),
        ("RequestAttributesSequence[*].ScheduledProcedureStepID == two", True),
        ("RequestAttributesSequence[*].ScheduledProcedureStepID contains two", True),
        ("RequestAttributesSequence[*].ScheduledProcedureStepID == three", False),
        ("RequestAttributesSequence[*].ScheduledProcedureStepID != one", False),
        ("RequestAttributesSequence[*].RequestedProcedureID == ''", True),
        ("RequestAttributesSequence[*].PatientID != one", False),
        ("exists(RequestAttributesSequence)", True),
        ("exists(RequestAttributesSequence[1])", True),
        ("exists(RequestAttributesSequence[2])", False),
        ("exists(ReferencedImageSequence)", True),
        ("exists(ReferencedImageSequence[*].ReferencedSOPInstanceUID)", False),
        ("ImageType[2] == AXIAL", True),
        ("ImageType[0] == AXIAL", False),
        ("ImageType[3] == AXIAL", False),
        ("Modality[0] == CT", True),
        ("Modality[1] == CT", False),
        ("TransferSyntaxUID == ExplicitVRLittleEndian", True),
        ("TransferSyntaxUID like '1.2.840.10008.1.2.4.*'", False),
        ("MediaStorageSOPClassUID == CTImageStorage", True),
        ("MediaStorageSOPInstanceUID == 1.2.3", True),
        ("calling_ae == 'MODALITY'", True),
        ("called_ae in (DCMFLOW, OTHER)", True),
        ("address like '10.0.*'", True),
        ("path like '*.dcm'", True),
        ("path matches '^/inbox/'", True),
        ("label.site == Wien", True),
        ("label.site != Graz", True),
        ("label.nothing != Graz", False),
        ("exists(label.site) and exists(path) and not exists(label.other)", True),
    ],
)
def test_references(text: str, truth: bool) -> None:
    origin = Origin(calling_ae="MODALITY", called_ae="DCMFLOW", address="10.0.0.7", path="/inbox/a.dcm")
    assert Selector(text)(made(NESTED, origin=origin, site="Wien")) is truth


@pytest.mark.parametrize("word", ["calling_ae", "called_ae", "address", "path"])
def test_an_origin_that_is_unknown_is_missing(word: str) -> None:
    instance = made({"Modality": ("CS", "CT")})
    assert not Selector(f"{word} != 'X'")(instance)
    assert not Selector(f"exists({word})")(instance)


@pytest.mark.parametrize(
    ("text", "truth"),
    [
        ("Modality == MR or Modality == CT and SeriesNumber == 6", False),
        ("Modality == CT or Modality == MR and SeriesNumber == 6", True),
        ("(Modality == CT or Modality == MR) and SeriesNumber == 6", False),
        ("not Modality == MR and SeriesNumber == 5", True),
        ("not (Modality == MR and SeriesNumber == 5)", True),
        ("! Modality == MR && SeriesNumber == 5 || Modality == US", True),
        ("not not Modality == CT", True),
        ("Modality == CT and SeriesNumber == 5 and SeriesNumber < 6 and SeriesNumber > 4", True),
        ("Modality == CT and SeriesNumber == 5 and SeriesNumber < 6 and SeriesNumber > 5", False),
        ("Modality == A or Modality == B or Modality == C or Modality == CT", True),
        ("Modality == A or Modality == B or Modality == C", False),
        ("\n  Modality == CT\n  and SeriesNumber == 5\n", True),
        ("Modality=='CT'and(SeriesNumber>4)", True),
        ("SeriesNumber in (5,)", True),
        ("SeriesNumber in (1234,5678)", False),
    ],
)
def test_precedence_and_spelling(text: str, truth: bool) -> None:
    assert asked(text, {"Modality": ("CS", "CT"), "SeriesNumber": ("IS", "5")}) is truth


def test_broken_encoding_is_an_error_not_an_answer() -> None:
    whole = encoded({"Modality": ("CS", "CT"), "PatientID": ("LO", "1234")})
    instance = Instance(CT, "1.2.3", "1.2.840.10008.1.2.1", MemoryPayload(whole[:-2]))
    assert Selector("Modality == CT")(instance)
    with pytest.raises(DatasetError):
        Selector("PatientID == '1234'")(instance)


# Named selectors


NAMES = {
    "external": "not internal",
    "internal": "DeviceSerialNumber in ('12345', '67890')",
    "by-day": "external and StudyTime > '08'",
    "loop": "Modality == CT and loop-2",
    "loop-2": "not loop",
    "self": "self",
    "broken": "Modality = CT",
}


def test_a_selector_may_name_others_in_any_order() -> None:
    found = Selector("by-day or Modality == MR", NAMES)
    assert found.names == {"by-day", "external", "internal"}
    assert found.elements == {0x00080030, 0x00080060, 0x00181000}
    assert found(made({"DeviceSerialNumber": ("LO", "1"), "StudyTime": ("TM", "0930")}))
    assert not found(made({"DeviceSerialNumber": ("LO", "12345"), "StudyTime": ("TM", "0930")}))


def test_a_name_may_be_that_of_a_keyword_or_an_origin_word() -> None:
    names = {"Modality": "Modality == CT", "path": "exists(path)"}
    assert Selector("Modality and not path", names)(made({"Modality": ("CS", "CT")}))


@pytest.mark.parametrize(
    ("text", "column", "said"),
    [
        ("loop", 5, "selector 'loop-2': selectors that name each other in a circle: loop → loop-2 → loop"),
        (
            "Modality == CT or self",
            1,
            "selector 'self': selectors that name each other in a circle: self → self",
        ),
        ("broken", 10, "selector 'broken': unexpected '='"),
        ("Modality == CT and internl", 20, "no selector is named 'internl'; did you mean internal"),
        ("exist(Modality)", 1, "did you mean exists"),
        ("internal == 5", 1, "internal is a selector, it cannot be compared"),
    ],
)
def test_names_that_lead_nowhere(text: str, column: int, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Selector(text, NAMES)
    assert said in str(caught.value)
    assert caught.value.column == column


# Errors


BAD = [
    ("", 1, "empty selector"),
    ("   ", 4, "empty selector"),
    ("Modalty == 'CT'", 1, "unknown keyword 'Modalty'; did you mean Modality?"),
    ("modality == 'CT'", 1, "did you mean Modality?"),
    ("Modality = 'CT'", 10, "equality is written =="),
    ("Modality == ", 13, "a value is missing for Modality"),
    ("Modality ==", 12, "a value is missing for Modality"),
    ("Modality == 'CT", 13, "a quote that is not closed"),
    ("Modality == ‘CT’", 13, "quotes are ' or \""),
    ("Modality == 'CT' and", 21, "a condition is missing at the end"),
    ("Modality == 'CT' and and SeriesNumber > 1", 22, "missing before 'and'"),
    ("and Modality == 'CT'", 1, "missing before 'and'"),
    ("Modality == 'CT' AND SeriesNumber > 1", 18, "write 'and'"),
    ("Modality == 'CT' SeriesNumber > 1", 18, "joined by 'and' or 'or'"),
    ("Modality == 'CT' & SeriesNumber > 1", 18, "write 'and'"),
    ("Modality == 'CT' | SeriesNumber > 1", 18, "write 'or'"),
    ("(Modality == 'CT'", 18, "a ) is missing; the ( is at column 1"),
    ("Modality == 'CT')", 17, "a ) without its ("),
    ("()", 2, "missing before ')'"),
    ("Modality", 1, "Modality alone is no condition"),
    ("not Modality", 5, "exists(Modality)"),
    ("path", 1, "path alone is no condition"),
    ("Modality lik 'C*'", 10, "an operator is missing after Modality"),
    ("Modality 'CT'", 10, "an operator is missing after Modality"),
    ("Modality not == 'CT'", 14, "after 'not' comes in, matches, like or contains"),
    ("Modality not 'CT'", 14, "after 'not' comes in, matches, like or contains"),
    ("Modality in 'CT'", 13, "in wants a list"),
    ("Modality in ()", 14, "an empty list"),
    ("Modality in ('CT' 'MR')", 19, "a comma or ) is missing"),
    ("Modality in ('CT', 'MR'", 24, "a comma or ) is missing"),
    ("Modality in ['CT')", 18, "a comma or ] is missing"),
    ("Modality in (,)", 14, "a value is missing"),
    ("5 < SeriesNumber", 1, "the element comes first"),
    ("'CT' == Modality", 1, "the element comes first"),
    ("1 < SeriesNumber < 5", 1, "the element comes first"),
    ("SeriesNumber > 1 < 5", 18, "join them by 'and' or 'or'"),
    ("SeriesNumber == 'abc'", 17, "SeriesNumber (IS) cannot be 'abc': a number is wanted"),
    ("SeriesNumber == abc", 17, "a number is wanted"),
    ("SeriesNumber in (1, two)", 21, "a number is wanted"),
    ("SeriesNumber > ''", 16, "an empty value has no order"),
    ("SeriesNumber > 1e999", 16, "a number is wanted"),
    ("SeriesNumber like '1*'", 14, "like is for text, SeriesNumber is a number (IS)"),
    ("SeriesNumber matches '1'", 14, "matches is for text"),
    ("StudyDate > 5", 13, "StudyDate (DA) cannot be '5': a date such as"),
    ("StudyDate == '20190231'", 14, "a date such as"),
    ("StudyDate < '2019-06-20T10:00'", 13, "a date such as"),
    ("StudyTime == '25'", 14, "a time such as"),
    ("AcquisitionDateTime == 'now'", 24, "a date and time such as"),
    ("PatientAge > 50", 14, "an age such as '045Y'"),
    ("SOPClassUID == 'CT'", 16, "a UID such as"),
    ("SOPClassUID > 1.2.3", 13, "SOPClassUID is a UID, which has no order"),
    ("FrameIncrementPointer == 5", 26, "a tag such as (0010,0010)"),
    ("FrameIncrementPointer > (0018,1063)", 23, "which has no order"),
    ("PatientID > 5", 13, "PatientID is text (LO) and does not order as a number; write '5'"),
    ("calling_ae > 5", 14, "calling_ae is text and does not order as a number"),
    ("PatientID == PatientName", 14, "elements are compared with values only"),
    ("Modality == (0008,0060)", 13, "Modality cannot be a tag"),
    (
        "PatientName contains 'x'",
        13,
        "has one value only; for a part of a text write PatientName like '*part*'",
    ),
    ("PatientName matches '(a'", 22, "not a regular expression"),
    ("PatientName matches 'a**'", 24, "not a regular expression: multiple repeat"),
    ("PatientName matches abc", 21, "matches wants a pattern in quotes"),
    ("PatientName like", 17, "like wants a pattern in quotes"),
    ("PixelData == 'x'", 11, "PixelData is a binary (OB or OW)"),
    ("ReferencedImageSequence == 'x'", 25, "name an element in it: ReferencedImageSequence[0].Keyword"),
    ("ReferencedImageSequence.PatientID == 'x'", 24, "say which item: ReferencedImageSequence[0]"),
    ("ReferencedImageSequence[x].PatientID == 'x'", 25, "an index is a number from 0"),
    ("ReferencedImageSequence[-1].PatientID == 'x'", 25, "an index is a number from 0"),
    ("ReferencedImageSequence[0.PatientID == 'x'", 25, "an index is a number from 0"),
    ("ReferencedImageSequence[0 == 'x'", 27, "a ] is missing"),
    ("ReferencedImageSequence[0].", 28, "a keyword or tag is missing"),
    ("ReferencedImageSequence[0].PatientIdentity == 'x'", 28, "unknown keyword 'PatientIdentity'"),
    ("PatientID[0].Modality == 'x'", 13, "PatientID is no sequence"),
    ("label. == 'x'", 8, "the name of a label is missing"),
    ("label == 'x'", 1, "unknown keyword 'label'"),
    ("exists Modality", 8, "exists wants parentheses"),
    ("exists(Modality", 16, "a ) is missing"),
    ("exists(Modality == 'CT')", 17, "a ) is missing"),
    ("exists(", 8, "a keyword or tag is missing"),
    ("exists()", 8, "a keyword or tag is missing"),
    ("(0008,006) == 'CT'", 2, "the element comes first"),
    ("('ACME',0018,10) == 5", 1, "private elements have an odd group"),
    ("SourceApplicationEntityTitle == 'X'", 1, "write calling_ae"),
    ("ImplementationVersionName == 'X'", 1, "is not part of a data set"),
    ("Modality == in", 13, "a value is missing"),
    ("Modality == -", 13, "needs quotes"),
    ("path == /inbox", 9, "needs quotes"),
    ("Modality == 'CT'\n  and SeriesNumbr > 3", 7, "did you mean SeriesNumber"),
    ("PatientName == '山田' and Modalty == 'CT'", 25, "did you mean Modality"),
]


@pytest.mark.parametrize(("text", "column", "said"), BAD)
def test_a_bad_selector_shows_where(text: str, column: int, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Selector.parse(text)
    problem = caught.value
    assert said in str(problem)
    assert problem.column == column
    _message, line, carets = str(problem).split("\n")
    assert line[2:] in text.split("\n")
    assert carets.strip(" ^") == ""
    if line.isascii():
        assert carets.index("^") == column + 1


def test_a_caret_stands_under_wide_characters() -> None:
    with pytest.raises(ConfigError) as caught:
        Selector("PatientName == '山田' and Modalty == 'CT'")
    _, line, carets = str(caught.value).split("\n")
    assert carets.index("^") == line.index("Modalty") + 2
    assert carets.count("^") == len("Modalty")


def test_an_error_keeps_its_caret_when_a_place_is_added() -> None:
    with pytest.raises(ConfigError) as caught:
        Selector("Modality = CT")
    placed = caught.value.at(file="a.toml", table="filters.x", key="match")
    assert str(placed).startswith("a.toml [filters.x] match: unexpected '='")
    assert placed.column == 10


@pytest.mark.parametrize(
    "text", ["(" * 5000 + "Modality == CT" + ")" * 5000, "not " * 5000 + "Modality == CT"]
)
def test_deep_nesting_is_an_error(text: str) -> None:
    with pytest.raises(ConfigError, match="nested too deep"):
        Selector(text)


def test_names_that_nest_deep_or_multiply_are_an_error() -> None:
    chain = {f"n{i}": f"n{i + 1}" for i in range(200)} | {"n200": "Modality == CT"}
    with pytest.raises(ConfigError, match="nested too deep"):
        Selector("n0", chain)
    doubling = {f"n{i}": f"n{i + 1} and n{i + 1}" for i in range(40)} | {"n40": "Modality == CT"}
    with pytest.raises(ConfigError, match="too large"):
        Selector("n0", doubling)


def test_nesting_within_the_limit_works() -> None:
    assert asked("(" * 45 + "Modality == CT" + ")" * 45, {"Modality": ("CS", "CT")})


def test_a_long_list_is_fine() -> None:
    numbers = ", ".join(map(str, range(5000)))
    assert asked(f"SeriesNumber in ({numbers})", {"SeriesNumber": ("IS", "4999")})


# The object


def test_a_selector_is_a_value() -> None:
    one, other = Selector("Modality == CT"), Selector.parse("Modality == CT")
    assert one == other
    assert hash(one) == hash(other)
    assert one != Selector("Modality == 'CT'")
    assert one != "Modality == CT"
    assert one.text == "Modality == CT"
    assert repr(one) == "Selector('Modality == CT')"
    assert one.names == frozenset()


def test_a_selector_can_be_sent_to_another_process() -> None:
    found = pickle.loads(pickle.dumps(Selector("external", NAMES)))
    assert found == Selector("external", NAMES)
    assert found(made({"DeviceSerialNumber": ("LO", "1")}))


def test_a_selector_tells_what_it_needs() -> None:
    nested = Selector("RequestAttributesSequence[0].PatientID == 'x' or exists(PixelData) or calling_ae == X")
    assert nested.elements == {0x00400275, 0x7FE00010}
    assert Selector("label.x == 'a' and TransferSyntaxUID == 1.2").elements == frozenset()
    private = Selector("('ACME',0019,10) == 5").elements
    assert {0x00190010, 0x001900FF, 0x00191010, 0x0019FF10} <= private
    assert all(tag >> 16 == 0x0019 for tag in private)


def test_the_tree_can_be_read() -> None:
    tree = Selector("Modality in (CT, MR) and exists(label.x)").tree
    assert isinstance(tree, And)
    comparison, presence = tree.parts
    assert isinstance(comparison, Compare)
    assert (comparison.reference.text, comparison.operator, comparison.values) == (
        "Modality",
        "in",
        ("CT", "MR"),
    )
    assert presence == Exists(Reference("label.x", label="x"))


def test_the_docstrings_tell_the_truth() -> None:
    for module in (selector_module, selector_values):
        tried = doctest.testmod(module)
        assert tried.attempted > 0
        assert tried.failed == 0


WORDS = st.sampled_from(
    ["Modality", "SeriesNumber", "StudyDate", "PatientName", "(0008,0060)", "('A',0019,10)", "path", "label.x", "==", "!=",
     "<", ">=", "in", "not", "and", "or", "!", "like", "matches", "contains", "exists", "(", ")", "[", "]", ",", ".", "'CT'", "5",
     "'2019'", "RequestAttributesSequence", "[0].", "''", "CT", "x"]
)  # fmt: skip


@given(st.one_of(st.text(max_size=60), st.lists(WORDS, max_size=12).map(" ".join)))
@example("Modality == 'CT' and\n\n\tSeriesNumber >")
@example("\x00")
@example("exists(")
@example("Modality == '\ud800'")
@example("PatientName matches '(?P<a>'")
@example("PatientName matches '" + "(" * 300 + ")" * 300 + "'")
@example("SeriesNumber == " + "9" * 5000)
@example("ImageType[" + "9" * 5000 + "] == 'x'")
def test_any_text_is_a_selector_or_an_error_with_a_column(text: str) -> None:
    found, problem = attempt(text)
    if problem is None:
        assert found(made(NESTED)) in (True, False)
        assert found(made({})) in (True, False)
    else:
        assert problem.column is not None
        assert 1 <= problem.column <= len(text) + 1
        assert "^" in str(problem)


def attempt(text: str) -> tuple[Any, ConfigError | None]:
    try:
        return Selector(text, {"x": "Modality == CT"}), None
    except ConfigError as problem:
        return None, problem


@given(st.text(min_size=1))
def test_any_text_can_be_written_in_quotes(text: str) -> None:
    quoted = "'" + text.replace("'", "''") + "'"
    instance = made({}, x=text)
    assert Selector(f"label.x == {quoted}")(instance)
    assert not Selector(f"label.x != {quoted}")(instance)
    assert Selector(f"label.x in ({quoted}, '')")(instance)
