"""Records held against the keys of a query."""

from __future__ import annotations

import fnmatch
import re
from typing import Any
from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcmflow.catalog.matching import Finding, Matcher, Verdict, values_at
from dcmflow.dicom import tags
from dcmflow.dicom.charset import codecs_for
from dcmflow.dicom.criteria import all_of, any_of, criterion, is_empty
from dcmflow.dicom.encoding import encoding_of
from dcmflow.dicom.header import Header
from dcmflow.dicom.level import Level
from dcmflow.dicom.payload import MemoryPayload
from dcmflow.dicom.query import Query
from dcmflow.dicom.record import Record
from dcmflow.dicom.values import TEXT_VRS, decode, encode

MATCH, MISMATCH, UNVERIFIED = Verdict
IMPLICIT = "1.2.840.10008.1.2"


def record(values: dict[str, Any], level: Level = Level.STUDY) -> Record:
    return Record(level, values)


def verdict(key: str, wanted: str, value: Any) -> Verdict:
    """Of a record with this value against a query with this one key."""
    return Matcher(Query.of({key: wanted})).verdict(record({key: value}))


def name(wanted: str, value: str) -> Verdict:
    return verdict("PatientName", wanted, value)


# -- text


@pytest.mark.parametrize(
    ("key", "wanted", "value", "expected"),
    [
        ("PatientID", "TestPat1", "TestPat1", MATCH),
        ("PatientID", "TestPat1", "TestPat2", MISMATCH),
        ("PatientID", "TestPat1", "TestPat", MISMATCH),
        ("PatientID", "TestPat1", "TestPat11", MISMATCH),
        ("PatientID", "testpat1", "TestPat1", MISMATCH),  # PS3.4 C.2.2.2.1: case-sensitive except PN
        ("PatientID", "7", "007", MISMATCH),  # text, not a number
        ("PatientID", "A.B", "AxB", MISMATCH),
        ("PatientID", "[ab]*", "a", MISMATCH),
        ("PatientID", "[ab]*", "[ab]c", MATCH),
        ("PatientID", "TestPat*", "TestPat1", MATCH),
        ("PatientID", "TestPat*", "TestPat", MATCH),
        ("PatientID", "TestPat?", "TestPat1", MATCH),
        ("PatientID", "TestPat?", "TestPat", MISMATCH),
        ("PatientID", "TestPat?", "TestPat12", MISMATCH),
        ("PatientID", "*Pat*1", "TestPat1", MATCH),
        ("PatientID", "*Pat*2", "TestPat1", MISMATCH),
        ("PatientID", "?*", "x", MATCH),
        ("PatientID", " TestPat1 ", "TestPat1", MATCH),
        ("PatientID", "TestPat1", "  TestPat1  ", MATCH),
        ("SeriesDescription", "*MPRAGE*", "Accelerated Sagittal MPRAGE", MATCH),
        ("SeriesDescription", "*MPRAGE*", "Accelerated Sagittal mprage", MISMATCH),
        ("SeriesDescription", "*MPRAGE*", "localizer", MISMATCH),
        ("SeriesDescription", "Kopf nativ", "Kopf\nnativ", MISMATCH),
        ("SeriesDescription", "Kopf*nativ", "Kopf\nnativ", MATCH),
        ("Modality", "MR", "MR ", MATCH),
        ("RetrieveAETitle", "PACS", " PACS", MATCH),
        ("StudyComments", "  indented", "indented", MISMATCH),  # LT: leading blanks count
        ("StudyComments", "a\\b", "a\\b", MATCH),  # LT: a backslash is a character
        ("StudyComments", "a\\b", "b", MISMATCH),
        ("PatientAge", "045Y", "045Y", MATCH),
        ("PatientAge", "045Y", "046Y", MISMATCH),
        ("StudyDescription", "Sch\u00e4del", normalize("NFD", "Sch\u00e4del"), MATCH),
    ],
)
def test_text(key: str, wanted: str, value: str, expected: Verdict) -> None:
    assert verdict(key, wanted, value) is expected


@pytest.mark.parametrize(
    ("key", "wanted", "value", "expected"),
    [
        ("ModalitiesInStudy", "MR", ("CT", "MR"), MATCH),
        ("ModalitiesInStudy", "MR", ("CT", "SR"), MISMATCH),
        ("ModalitiesInStudy", "MR", "MR", MATCH),
        ("ModalitiesInStudy", "MR\\PT", ("CT", "PT"), MATCH),
        ("ModalitiesInStudy", "MR\\PT", ("CT", "SR"), MISMATCH),
        ("ModalitiesInStudy", "M?", ("CT", "MR"), MATCH),
        ("ModalitiesInStudy", "MR", ("", "MR"), MATCH),
        ("ModalitiesInStudy", "MR\\", "MR", MATCH),
        ("ModalitiesInStudy", "MR\\", "CT", MISMATCH),
        ("StudyDate", "20190620\\20190621", "20190621", MATCH),
        ("SeriesNumber", "1\\2", 2, MATCH),
        ("SeriesNumber", "1\\2", 3, MISMATCH),
        ("PatientName", "Doe*\\Roe*", "Roe^Jane", MATCH),
    ],
)
def test_several_values(key: str, wanted: str, value: Any, expected: Verdict) -> None:
    assert verdict(key, wanted, value) is expected


@pytest.mark.parametrize(
    ("wanted", "value", "expected"),
    [
        ("1.2.3", "1.2.3", MATCH),
        ("1.2.3", "1.2.30", MISMATCH),
        ("1.2.3\\1.2.4", "1.2.4", MATCH),
        ("1.2.3\\1.2.4", "1.2.5", MISMATCH),
        ("1.2.3", "1.2.3\0", MATCH),
        ("1.2.3\\1.2.4", ("1.2.3", "1.2.4"), UNVERIFIED),  # an echo: no study has two UIDs
    ],
)
def test_uids(wanted: str, value: Any, expected: Verdict) -> None:
    assert verdict("StudyInstanceUID", wanted, value) is expected


def test_uids_that_are_several() -> None:
    assert verdict("SOPClassesInStudy", "1.2.4", ("1.2.3", "1.2.4")) is MATCH
    assert verdict("SOPClassesInStudy", "1.2.4\\1.2.3", ("1.2.3", "1.2.4")) is MATCH


def test_no_wildcards_in_uids() -> None:
    query = Query(Level.STUDY, {"StudyInstanceUID": "1.2.*"})
    assert Matcher(query).verdict(record({"StudyInstanceUID": "1.2.3"})) is MISMATCH


@pytest.mark.parametrize(
    ("key", "wanted", "value", "expected"),
    [
        ("SeriesNumber", "1", 1, MATCH),
        ("SeriesNumber", "01", 1, MATCH),
        ("SeriesNumber", "1", 14, MISMATCH),
        ("SeriesNumber", "-1", -1, MATCH),
        ("SeriesNumber", "0", 0, MATCH),
        ("SeriesNumber", "0", None, UNVERIFIED),
        ("SeriesNumber", "1", "one", UNVERIFIED),
        ("EchoTime", "2.46", 2.46, MATCH),
        ("EchoTime", "2.460", 2.46, MATCH),
        ("EchoTime", "4.25", 2.46, MISMATCH),
        ("EchoTime", "2.46", float("nan"), UNVERIFIED),
        ("EchoTime", "2", 2.0, MATCH),
        ("Rows", "512", 512, MATCH),
        ("Rows", "512", 256, MISMATCH),
        ("DiffusionBValue", "0.1", 0.1, MATCH),
        ("ExaminedBodyThickness", "0.1", 0.10000000149011612, MATCH),  # FL: four bytes
        ("ExaminedBodyThickness", "0.1", 0.1001, MISMATCH),
        ("FrameIncrementPointer", "(0018,1063)", 0x00181063, MATCH),
        ("FrameIncrementPointer", "(0018,1063)", 0x00181065, MISMATCH),
    ],
)
def test_numbers(key: str, wanted: str, value: Any, expected: Verdict) -> None:
    assert verdict(key, wanted, value) is expected


# -- dates and times


@pytest.mark.parametrize(
    ("key", "wanted", "value", "expected"),
    [
        ("StudyDate", "20190625", "20190625", MATCH),
        ("StudyDate", "20190625", "20190624", MISMATCH),
        ("StudyDate", "20190625", "2019.06.25", MATCH),
        ("StudyDate", "2019.06.25", "20190625", MATCH),
        ("StudyDate", "20190101-20191231", "20190101", MATCH),
        ("StudyDate", "20190101-20191231", "20191231", MATCH),
        ("StudyDate", "20190101-20191231", "2019.06.25", MATCH),
        ("StudyDate", "20190101-20191231", "20181231", MISMATCH),
        ("StudyDate", "20190101-20191231", "20200101", MISMATCH),
        ("StudyDate", "20190101-20191231", "19000101", MISMATCH),
        ("StudyDate", "20190620-", "20190620", MATCH),
        ("StudyDate", "20190620-", "20190619", MISMATCH),
        ("StudyDate", "-20190620", "20190620", MATCH),
        ("StudyDate", "-20190620", "20190621", MISMATCH),
        ("StudyDate", "20191231-20190101", "20190620", MISMATCH),
        ("StudyDate", "20190101-20191231", "25 June 2019", UNVERIFIED),
        ("StudyDate", "20190625", "20190231", UNVERIFIED),  # no such day
        ("StudyDate", "20190101-20191231", "20190101-20191231", UNVERIFIED),  # an echo
        ("StudyDate", "20190620-20190630", "201906", UNVERIFIED),  # somewhere in June
        ("StudyDate", "20190701-20190730", "201906", MISMATCH),
        ("StudyTime", "101530", "101530", MATCH),
        ("StudyTime", "101530", "101530.000000", MATCH),
        ("StudyTime", "101530.000000", "101530", MATCH),
        ("StudyTime", "101530", "101531", MISMATCH),
        ("StudyTime", "1015", "101559.999999", MATCH),
        ("StudyTime", "1015", "1016", MISMATCH),
        ("StudyTime", "1015", "10", UNVERIFIED),
        ("StudyTime", "1000", "10", MATCH),  # as servers compare: 10 is 100000
        ("StudyTime", "10:15:30", "101530", MATCH),
        ("StudyTime", "101530", "10:15:30", MATCH),
        ("StudyTime", "0930-1030", "10", MATCH),
        ("StudyTime", "1015-1030", "10", UNVERIFIED),
        ("StudyTime", "1015-1030", "09", MISMATCH),
        ("StudyTime", "10-", "095959.9", MISMATCH),
        ("StudyTime", "10-", "10", MATCH),
        ("StudyTime", "-10", "105959", MATCH),
        ("StudyTime", "-10", "110000", MISMATCH),
        ("StudyTime", "10", "25", UNVERIFIED),
        ("AcquisitionDateTime", "20190620", "20190620101530.5", MATCH),
        ("AcquisitionDateTime", "20190620101530", "20190620", UNVERIFIED),
        ("AcquisitionDateTime", "2018-2019", "20190620", MATCH),
        ("AcquisitionDateTime", "2018-2019", "20200101", MISMATCH),
        ("AcquisitionDateTime", "20190620-20190621", "201906212359", MATCH),
        ("AcquisitionDateTime", "-20190621", "20190622", MISMATCH),
        # an offset, not the year 500
        ("AcquisitionDateTime", "2019062010-0500", "20190620150000+0000", MATCH),
        ("AcquisitionDateTime", "2019062010-0500", "20190620100000+0000", MISMATCH),
        ("AcquisitionDateTime", "2019062010-0500-", "20190620150000+0000", MATCH),
        ("AcquisitionDateTime", "2019062010-0500-", "20190620145959+0000", MISMATCH),
        ("AcquisitionDateTime", "-2019062010-0500", "20190620155959+0000", MATCH),
        ("AcquisitionDateTime", "-2019062010-0500", "20190620160000+0000", MISMATCH),
        ("AcquisitionDateTime", "2019062010+0200-2019062011+0200", "20190620083000+0000", MATCH),
        ("AcquisitionDateTime", "2019062010-0500-2019062011-0500", "20190620160000+0000", MATCH),
        ("AcquisitionDateTime", "2019062010-0500-2019062011-0500", "20190620110000+0000", MISMATCH),
        # one side without an offset: local time of the same place
        ("AcquisitionDateTime", "2019062010", "20190620101530+0200", MATCH),
        ("AcquisitionDateTime", "2019062010+0200", "20190620101530", MATCH),
    ],
)
def test_dates_and_times(key: str, wanted: str, value: str, expected: Verdict) -> None:
    assert verdict(key, wanted, value) is expected


def test_offset_of_the_data_set() -> None:
    matcher = Matcher(Query.of({"AcquisitionDateTime": "2019062010+0000"}))
    values = {"AcquisitionDateTime": "20190620121530", "TimezoneOffsetFromUTC": "+0200"}
    assert matcher.verdict(record(values)) is MATCH
    assert matcher.verdict(record({**values, "TimezoneOffsetFromUTC": "+0300"})) is MISMATCH
    own = {**values, "AcquisitionDateTime": "20190620101530+0000"}
    assert matcher.verdict(record(own)) is MATCH  # what a value says itself counts for more
    assert matcher.verdict(record({**values, "AcquisitionDateTime": ""})) is UNVERIFIED


days = st.dates().map(lambda day: f"{day:%Y%m%d}".zfill(8))


@given(days, days, days)
def test_ranges_of_dates_are_ranges_of_texts(low: str, high: str, day: str) -> None:
    def seen(wanted: str) -> bool:
        return verdict("StudyDate", wanted, day) is MATCH

    assert seen(f"{low}-{high}") == (low <= day <= high)
    assert seen(f"{low}-") == (low <= day)
    assert seen(f"-{high}") == (day <= high)
    assert seen(low) == (low == day)


@given(st.times(), st.times(), st.times())
def test_ranges_of_times_are_ranges_of_texts(low: Any, high: Any, moment: Any) -> None:
    texts = [f"{time:%H%M%S.%f}" for time in (low, high, moment)]
    found = verdict("StudyTime", f"{texts[0]}-{texts[1]}", texts[2])
    assert (found is MATCH) == (texts[0] <= texts[2] <= texts[1])
    assert found is not UNVERIFIED


# -- names


@pytest.mark.parametrize(
    ("wanted", "value", "expected"),
    [
        ("Doe^John", "Doe^John", MATCH),
        ("doe^JOHN", "Doe^John", MATCH),
        ("Doe^John", "Doe^John^^^", MATCH),
        ("Doe^John^^^", "Doe^John", MATCH),
        ("Doe", "Doe^John", MISMATCH),
        ("Doe*", "Doe^John", MATCH),
        ("Doe^*", "Doe^John", MATCH),
        ("Doe^*", "Doe", MATCH),
        ("Doe^J*", "Doe", MISMATCH),
        ("Doe^?*", "Doe", MISMATCH),
        ("*^John", "Doe^John", MATCH),
        ("*John*", "Doe^John^Q", MATCH),
        ("D?e^John", "Doe^John", MATCH),
        ("Doe^John", "Doe ^ John ", MATCH),
        ("Doe*", "Roe^John", MISMATCH),
        ("Doe*", "Doe*", UNVERIFIED),  # an echo
        ("Doe*", "^^^", UNVERIFIED),
        ("Doe*", "", UNVERIFIED),
        ("^", "Doe", MATCH),  # says nothing
        ("M\u00fcller*", "M\u00dcLLER^Eva", MATCH),
        ("M\u00fcller*", "Mueller^Eva", MISMATCH),
        ("M\u00fcller*", normalize("NFD", "M\u00fcller^Eva"), MATCH),
        ("M\u00fcller*", "M\ufffdller^Eva", UNVERIFIED),
        ("M\u00fcller*", "M?ller^Eva", UNVERIFIED),
        ("Miller*", "M?ller^Eva", MISMATCH),
        # one group is compared with every group
        (
            "*\u5c71\u7530*",
            "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce=\u3084\u307e\u3060^\u305f\u308d\u3046",
            MATCH,
        ),
        ("*\u5c71\u7530*", "\u5c71\u7530^\u592a\u90ce", MATCH),
        ("*\u5c71\u7530*", "Suzuki^Hanako=\u9234\u6728^\u82b1\u5b50", MISMATCH),
        ("*\u5c71\u7530*", "Buc^J\u00e9r\u00f4me", MISMATCH),
        ("*\u5c71\u7530*", "Doe^John", MISMATCH),
        ("*\u5c71\u7530*", "Yamada^Tarou=^=^", UNVERIFIED),  # the server's character set lacks them
        ("*\u5c71\u7530*", "Yamada^Tarou=??^??", UNVERIFIED),
        ("*\u5c71\u7530*", "^", UNVERIFIED),
        ("Yamada*", "Yamada^Tarou=^=^", MATCH),
        ("Suzuki*", "Yamada^Tarou=^=^", MISMATCH),  # nothing that is ASCII gets lost
        (
            "\u3084\u307e\u3060*",
            "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce=\u3084\u307e\u3060^\u305f\u308d\u3046",
            MATCH,
        ),
        # several groups are compared group by group
        ("Yamada*=\u5c71\u7530*", "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce", MATCH),
        ("=\u5c71\u7530*", "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce", MATCH),
        ("*=\u5c71\u7530*", "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce", MATCH),
        ("*=\u9234\u6728*", "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce", MISMATCH),
        ("Suzuki*=\u5c71\u7530*", "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce", MISMATCH),
        ("Yamada*=\u5c71\u7530*", "Yamada^Tarou=^=^", UNVERIFIED),
        ("Suzuki*=\u5c71\u7530*", "Yamada^Tarou=^=^", MISMATCH),
        ("Yamada*=\u5c71\u7530*", "Yamada^Tarou", UNVERIFIED),
        ("Yamada^Tarou==", "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce", MATCH),
        ("Yamada^Tarou=\u5c71\u7530^\u592a\u90ce=", "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce", MATCH),
    ],
)
def test_names(wanted: str, value: str, expected: Verdict) -> None:
    assert name(wanted, value) is expected


def test_a_name_through_a_server_of_latin_1() -> None:
    """What is lost when a name is written in a character set that lacks it leaves it unverified, never matched or missed."""
    kept = "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce"
    there = decode(
        "PN", encode("PN", kept, "PatientName", codecs_for(("ISO_IR 192",))), codecs_for(("ISO_IR 192",))
    )
    lost = kept.encode("latin-1", "ignore").decode("latin-1")
    assert name("*\u5c71\u7530*", there) is MATCH
    assert name("*\u5c71\u7530*", lost) is UNVERIFIED


component = st.text(
    st.characters(codec="utf-8", exclude_characters="\\=^*?\ufffd", exclude_categories=["C", "Z"]), max_size=6
)
names = st.lists(component, min_size=1, max_size=5).map("^".join).filter(lambda text: text.strip("^"))


@given(names)
def test_a_name_matches_itself_however_it_is_written(text: str) -> None:
    matches = criterion("PN", text)
    assert matches(text) is MATCH
    assert matches(f"{text}^^=\u5c71") is MATCH
    assert matches(normalize("NFD", text)) is MATCH
    assert matches(text.replace("^", " ^ ") + " ") is MATCH
    assert criterion("PN", f"{text}*")(text) is MATCH
    assert criterion("PN", f"{text}^=")(text) is MATCH


# -- wildcards, by another implementation

letters = st.text("ab", max_size=8)


@given(st.text("ab*?", min_size=1, max_size=8), letters.filter(bool))
def test_wildcards(pattern: str, text: str) -> None:
    expected = re.fullmatch(fnmatch.translate(pattern), text) is not None
    assert (criterion("LO", pattern)(text) is MATCH) == expected
    assert (criterion("PN", pattern)(text) is MATCH) == expected


def test_wildcards_do_not_explode() -> None:
    assert verdict("StudyDescription", "*a" * 30 + "*b", "a" * 64) is MISMATCH


# -- what cannot be told


@pytest.mark.parametrize("value", ["", None, (), ("", ""), " "])
def test_zero_length(value: Any) -> None:
    """Servers return keys that they do not support empty, or not at all."""
    assert verdict("AccessionNumber", "A1", value) is UNVERIFIED
    assert verdict("StudyInstanceUID", "1.2.3", value) is UNVERIFIED
    assert verdict("StudyDate", "20190101-", value) is UNVERIFIED
    assert verdict("PatientName", "Doe*", value) is UNVERIFIED


def test_absent() -> None:
    matcher = Matcher(Query.of({"SeriesDescription": "*MPRAGE*", "StudyDate": "20190101-"}))
    found = record({"StudyDate": "20190625"}, Level.SERIES)
    assert matcher.verdict(found) is UNVERIFIED
    assert matcher.unverified_keys(found) == ("SeriesDescription",)
    assert matcher.mismatches(found) == ()


def test_a_mismatch_is_one_whatever_else_cannot_be_told() -> None:
    matcher = Matcher(Query.of({"SeriesDescription": "*MPRAGE*", "StudyDate": "20190101-", "PatientID": "P"}))
    finding = matcher.examine(record({"StudyDate": "20180101", "PatientID": "P"}, Level.SERIES))
    assert finding == Finding(("StudyDate",), ("SeriesDescription",))
    assert finding.verdict is MISMATCH


@pytest.mark.parametrize("wanted", ["", "*", "**"])
@pytest.mark.parametrize("values", [{}, {"PatientName": ""}, {"PatientName": "Doe"}])
def test_universal(wanted: str, values: dict[str, Any]) -> None:
    assert Matcher(Query.of({"PatientName": wanted})).verdict(record(values)) is MATCH


def test_no_keys() -> None:
    assert Matcher(Query.of([])).examine(record({})) == Finding((), ())


def test_echoed_keys() -> None:
    """A server that returns the key as it was asked says nothing."""
    assert verdict("StudyDescription", "*MPRAGE*", "*MPRAGE*") is UNVERIFIED
    assert verdict("StudyDescription", "*MPRAGE*", "t1 MPRAGE") is MATCH


# -- sequences and private elements

PROCEDURE = "ProcedureCodeSequence[0].CodeValue"
SCHEME = "ProcedureCodeSequence[0].CodingSchemeDesignator"
CODES = Query.of({PROCEDURE: "T-A01*", SCHEME: "SRT", "PatientID": "P"})


def code(value: str, scheme: str | None) -> dict[str, Any]:
    return {"CodeValue": value} if scheme is None else {"CodeValue": value, "CodingSchemeDesignator": scheme}


@pytest.mark.parametrize(
    ("items", "mismatched", "unverified"),
    [
        ((code("T-A0100", "SRT"),), (), ()),
        ((code("X", "DCM"), code("T-A0100", "SRT")), (), ()),
        ((code("T-A0100", "DCM"),), (SCHEME,), ()),
        ((code("T-A0100", "DCM"), code("X", "SRT")), (SCHEME,), ()),  # in different items
        ((code("X", "DCM"),), (PROCEDURE, SCHEME), ()),
        ((code("X", "DCM"), code("X", "SRT")), (PROCEDURE,), ()),
        ((code("T-A0100", None),), (), (SCHEME,)),
        ((code("T-A0100", ""), code("T-A0100", "DCM")), (), (SCHEME,)),
        ((code("T-A0100", None), code("T-A0100", "SRT")), (), ()),
        ((), (), (PROCEDURE, SCHEME)),
        ("", (), (PROCEDURE, SCHEME)),
        (None, (), (PROCEDURE, SCHEME)),
    ],
)
def test_sequences(items: Any, mismatched: tuple[str, ...], unverified: tuple[str, ...]) -> None:
    found = record({"PatientID": "P", "ProcedureCodeSequence": items})
    assert Matcher(CODES).examine(found) == Finding(mismatched, unverified)


def test_nested_sequences() -> None:
    key = "RequestAttributesSequence[0].ScheduledProtocolCodeSequence[0].CodeValue"
    matcher = Matcher(Query.of({key: "A"}))
    inner = {"ScheduledProtocolCodeSequence": (code("B", None), code("A", None))}
    assert matcher.verdict(record({"RequestAttributesSequence": ({}, inner)}, Level.SERIES)) is MATCH
    assert matcher.unverified_keys(record({"RequestAttributesSequence": ({},)}, Level.SERIES)) == (key,)


def test_a_sequence_that_is_only_asked_for() -> None:
    matcher = Matcher(Query.of({PROCEDURE: "", SCHEME: "*"}))
    assert matcher.verdict(record({})) is MATCH


@pytest.mark.parametrize("block", [0x10, 0x42])
def test_private_elements(block: int) -> None:
    key = '("ACME 1.1",0019,10,LO)'
    matcher = Matcher(Query.of({key: "x*"}))
    values = {"(0019,0011)": "OTHER", f"(0019,00{block:02X})": "ACME 1.1", f"(0019,{block:02X}10)": "xyz"}
    assert matcher.verdict(record(values, Level.IMAGE)) is MATCH
    assert matcher.verdict(record({**values, f"(0019,{block:02X}10)": "abc"}, Level.IMAGE)) is MISMATCH
    assert matcher.unverified_keys(record({"(0019,1010)": "xyz"}, Level.IMAGE)) == (key,)


@pytest.mark.parametrize(
    ("wanted", "value", "expected"),
    [
        ("5", 5, MATCH),
        ("5", 5.5, MISMATCH),
        ("5", b"5 ", MATCH),
        ("05", "5", MISMATCH),
        ("a*", b"abc\0", MATCH),
        ("a", 5, MISMATCH),
    ],
)
def test_elements_of_unknown_vr(wanted: str, value: Any, expected: Verdict) -> None:
    assert verdict("(0019,1010)", wanted, value) is expected


def test_values_at() -> None:
    values = {"PatientID": "P", "ProcedureCodeSequence": (code("A", "SRT"), code("B", None)), "StudyDate": ""}

    def at(key: str) -> list[Any]:
        return list(values_at(values, tags.parse(key)))

    assert at("PatientID") == ["P"]
    assert at("StudyDate") == [""]
    assert at("StudyTime") == []
    assert at(PROCEDURE) == ["A", "B"]
    assert at(SCHEME) == ["SRT"]
    assert at("RequestAttributesSequence[0].ScheduledProcedureStepID") == []


# -- through the encoding, as answers come

KEYS = {
    "PatientName": "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce",
    "PatientID": "P 1",
    "StudyDate": "20190625",
    "StudyTime": "101530.25",
    "ModalitiesInStudy": "CT\\MR",
    "StudyInstanceUID": "1.2.3",
    "ProcedureCodeSequence[0].CodeValue": "A",
    "PatientSize": "1.75",
    "NumberOfStudyRelatedSeries": "3",
}
OTHER = {"StudyDate": "20190626", "StudyTime": "11"}


def test_an_answer_that_is_the_query_itself() -> None:
    """An identifier without wildcards, read as an answer, matches its own keys."""
    query = Query.of(KEYS)
    header = Header(MemoryPayload(query.identifier()), encoding_of(IMPLICIT))
    answer = Record.of(Level.STUDY, header)
    assert Matcher(query).examine(answer) == Finding((), ())
    for key in KEYS:
        changed = Matcher(query.with_keys({key: OTHER.get(key, "9")}))
        assert changed.mismatches(answer) == (key,)


# -- answers of any kind

plain = st.one_of(
    st.none(), st.text(), st.text("0123456789.-+^=*? \\"), st.integers(), st.floats(), st.binary(max_size=8)
)
anything = st.one_of(
    plain,
    st.lists(plain, max_size=3).map(tuple),
    st.lists(st.dictionaries(st.just("PatientName"), plain), max_size=2).map(tuple),
)
vrs = st.sampled_from(
    sorted(TEXT_VRS | {"", "UN", "IS", "DS", "FL", "FD", "US", "AT", "SQ", "OB", "US or SS"})
)


@given(vrs, st.text() | st.text("0123456789.-+^=*? \\"), anything)
def test_no_answer_is_too_odd(vr: str, wanted: str, value: Any) -> None:
    found = criterion(vr, wanted)(value)
    assert found in Verdict
    if not wanted.strip():
        assert found is MATCH
    elif is_empty(value) and wanted.strip(" \\"):
        assert found is UNVERIFIED
    if isinstance(value, tuple) and not is_empty(value):
        assert found is any_of(criterion(vr, wanted)(one) for one in value if not is_empty(one))


# -- combining

verdicts = st.lists(st.sampled_from(Verdict))


@given(verdicts)
def test_any_and_all(found: list[Verdict]) -> None:
    assert any_of(found) is min(found, key=[MATCH, UNVERIFIED, MISMATCH].index, default=MISMATCH)
    assert all_of(found) is min(found, key=[MISMATCH, UNVERIFIED, MATCH].index, default=MATCH)
