"""Answers to a query, sorted."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcmflow.catalog.answers import EXAMPLES, Answers
from dcmflow.catalog.catalog import Catalog
from dcmflow.dicom.level import Level
from dcmflow.dicom.query import Query
from dcmflow.dicom.record import Record


def study(uid: str | None, patient: str | None = "P1", **more: Any) -> Record:
    values = {"StudyInstanceUID": uid, "PatientID": patient, **more}
    return Record(Level.STUDY, {key: value for key, value in values.items() if value is not None})


def series(uid: str, study: str | None = "1.2", patient: str | None = "P1", **more: Any) -> Record:
    values = {"SeriesInstanceUID": uid, "StudyInstanceUID": study, "PatientID": patient, **more}
    return Record(Level.SERIES, {key: value for key, value in values.items() if value is not None})


def answers(keys: dict[str, str], *records: Record, level: str = "study") -> Answers:
    sorted_ = Answers(Query.of(keys, level))
    for record in records:
        sorted_.add(record)
    return sorted_


def test_what_matches_is_kept() -> None:
    found = Answers(Query.of({"PatientID": "P*", "StudyDate": "20190101-"}))
    assert found.add(study("1.2", StudyDate="20190625"))
    assert found.add(study("1.3", "P2", StudyDate="20190615"))
    assert sorted(found.catalog.uids(Level.STUDY)) == ["1.2", "1.3"]
    assert found.received == 2
    assert found.warnings() == []


def test_no_answers() -> None:
    found = answers({"PatientID": "P*"})
    assert len(found.catalog) == found.received == 0
    assert found.unsupported == found.empty == ()
    assert found.warnings() == []


def test_duplicates_in_any_order() -> None:
    found = Answers(Query.of({"StudyDate": ""}))
    given = [study(uid, StudyDate="20190625") for uid in ("1.2", "1.3", "1.2", "1.4", "1.3", "1.2")]
    assert [found.add(record) for record in given] == [True, True, False, True, False, False]
    assert found.duplicates == 3
    assert len(found.catalog) == 3
    assert found.warnings() == ["3 answers repeated what was there already"]


def test_a_key_that_the_server_ignores() -> None:
    records = [study("1.2", "P1"), study("1.3", "P2"), study("1.4", "P3")]
    found = answers({"PatientID": "P2"}, *records)
    assert found.catalog.uids(Level.STUDY) == ["1.3"]
    assert found.mismatched.count == 2
    assert found.mismatched.keys == {"PatientID": 2}
    assert found.mismatched.records == [records[0], records[2]]
    assert found.warnings() == [
        "2 answers do not match PatientID and were left out: the server ignores keys, or matches them in another way"
    ]


def test_a_key_that_the_server_does_not_return() -> None:
    """Never everything: what cannot be checked is no match."""
    records = [series("1.2.1"), series("1.2.2", SeriesDescription=""), series("1.2.1")]
    found = answers({"SeriesDescription": "*MPRAGE*"}, *records, level="series")
    assert not found.catalog
    assert found.unverified.count == 2
    assert found.unverified.keys == {"SeriesDescription": 2}
    assert found.undecided.uids(Level.SERIES) == ["1.2.1", "1.2.2"]
    assert found.duplicates == 1
    assert found.warnings()[0] == (
        "2 answers cannot be checked for SeriesDescription and were left out:"
        " the server returns no value, or one that does not tell"
    )


def test_a_repeated_answer_without_the_key_does_not_count_as_unverified() -> None:
    found = answers(
        {"SeriesDescription": "t1*"}, series("1.2.1", SeriesDescription="t1"), series("1.2.1"), level="series"
    )
    assert len(found.catalog) == 1
    assert not found.unverified
    assert found.duplicates == 1


def test_a_later_answer_may_tell_what_an_earlier_one_did_not() -> None:
    found = answers(
        {"SeriesDescription": "t1*"},
        series("1.2.1"),
        series("1.2.2"),
        series("1.2.1", SeriesDescription="t1"),
        level="series",
    )
    assert found.catalog.uids(Level.SERIES) == ["1.2.1"]
    assert found.undecided.uids(Level.SERIES) == ["1.2.2"]


def test_reasons_are_counted_by_key() -> None:
    found = answers(
        {"PatientID": "P1", "StudyDate": "20190625"},
        study("1.2", "P2", StudyDate="20190625"),
        study("1.3", "P2", StudyDate="20190624"),
        study("1.4", "P2", StudyDate=""),
    )
    assert found.mismatched.keys == {"PatientID": 3, "StudyDate": 1}
    assert "do not match PatientID, StudyDate (1) and" in found.warnings()[0]


@pytest.mark.parametrize("uid", [None, "", " ", ("1.2", "1.3"), "1.2\\1.3"])
def test_without_its_own_unique_key(uid: Any) -> None:
    found = answers({"StudyDate": ""}, study("1.2"), study(uid), study("1.4"))
    assert found.catalog.uids(Level.STUDY) == ["1.2", "1.4"]
    assert found.invalid.count == 1
    assert found.invalid.keys == {"StudyInstanceUID": 1}
    assert "1 answer without a StudyInstanceUID was left out" in found.warnings()


def test_without_patient_id() -> None:
    found = answers({"StudyDate": ""}, study("1.2"), study("1.3", None), study("1.4"))
    assert sorted(found.catalog.uids(Level.STUDY)) == ["1.2", "1.3", "1.4"]
    assert found.incomplete.records == [study("1.3", None)]
    assert found.incomplete.keys == {"PatientID": 1}
    assert "1 answer without PatientID was kept all the same" in found.warnings()


def test_a_patient_id_may_be_empty() -> None:
    found = answers({"StudyDate": ""}, study("1.2", ""))
    assert found.catalog.uids(Level.STUDY) == ["1.2"]
    assert not found.incomplete


def test_patients() -> None:
    query = Query.of({"PatientName": ""}, level="patient")
    found = Answers(query)
    assert found.add(Record(Level.PATIENT, {"PatientID": "P1", "PatientName": "Doe"}))
    assert found.add(Record(Level.PATIENT, {"PatientID": "", "PatientName": "Roe"}))
    assert not found.add(Record(Level.PATIENT, {"PatientName": "Poe"}))
    assert len(found.catalog) == 2
    assert found.incomplete.keys == {"PatientID": 1}
    assert found.invalid.keys == {"PatientID": 1}


@pytest.mark.parametrize("parent", [None, ""])
def test_without_an_upper_unique_key(parent: str | None) -> None:
    found = answers({"SeriesNumber": ""}, series("1.2.1", parent), series("1.2.2"), level="series")
    assert sorted(found.catalog.uids(Level.SERIES)) == ["1.2.1", "1.2.2"]
    assert found.incomplete.keys == {"StudyInstanceUID": 1}


def test_keys_that_are_never_returned() -> None:
    procedure = "RequestAttributesSequence[0].ScheduledProcedureStepID"
    keys = {"SeriesNumber": "", "ProtocolName": "", "SeriesDescription": "", procedure: "", "Modality": ""}
    found = answers(
        keys,
        series("1.2.1", SeriesDescription="", Modality=""),
        series("1.2.2", SeriesNumber=0, Modality="MR", RequestAttributesSequence=({},)),
        level="series",
    )
    assert found.unsupported == ("ProtocolName", procedure)
    assert found.empty == ("SeriesDescription",)
    assert found.warnings() == [f"the server returned no ProtocolName, no {procedure}"]
    found.add(
        series("1.2.3", ProtocolName="t1", RequestAttributesSequence=({}, {"ScheduledProcedureStepID": "S"}))
    )
    assert found.unsupported == ()


def test_only_what_was_asked_for_is_worth_a_warning() -> None:
    found = Answers(Query.of({"StudyDate": "", "StudyTime": "", "StudyID": ""}), asked=["StudyTime"])
    found.add(study("1.2"))
    assert found.unsupported == ("StudyDate", "StudyTime", "StudyID")
    assert found.warnings() == ["the server returned no StudyTime"]


def test_a_key_that_cannot_be_checked_is_not_told_twice() -> None:
    found = answers({"StudyDescription": "x*"}, study("1.2"))
    assert found.unsupported == ("StudyDescription",)
    assert len(found.warnings()) == 1


def test_what_was_found_before() -> None:
    """A series need not repeat what its study was found by."""
    known = Catalog(Level.STUDY, [study("1.2", "P1", PatientName="Doe^Jane", StudyDate="20190625")])
    query = Query.of({"PatientName": "doe*", "StudyDate": "2019.06.25", "Modality": "MR"})
    found = Answers(query, known=known)
    assert found.add(series("1.2.1", "1.2", None, Modality="MR", StudyDate=""))
    assert not found.add(series("1.2.2", "1.2", None, Modality="CT"))
    assert not found.add(series("1.3.1", "1.3", None, Modality="MR"))
    assert not found.incomplete
    assert found.mismatched.keys == {"Modality": 1}
    assert found.unverified.keys == {"PatientName": 1, "StudyDate": 1}
    (kept,) = found.catalog
    assert kept.text("PatientName") == "Doe^Jane"
    assert kept.text("StudyDate") == "20190625"
    assert "PatientName" in found.unsupported  # of what the server returned, not of what was known


def test_what_an_answer_says_itself_counts() -> None:
    known = Catalog(Level.STUDY, [study("1.2", "P1", StudyDate="20190625")])
    found = Answers(Query.of({"StudyDate": "20190625"}, level="series"), known=known)
    assert not found.add(series("1.2.1", StudyDate="19000101"))
    assert found.mismatched.keys == {"StudyDate": 1}


def test_another_level() -> None:
    found = Answers(Query.of({"StudyDate": ""}))
    with pytest.raises(ValueError, match="an answer of series level to a query of study level"):
        found.add(series("1.2.1"))


def test_memory_does_not_grow_with_what_is_left_out() -> None:
    found = answers({"PatientID": "P2"}, *(study(f"1.{number}") for number in range(EXAMPLES + 5)))
    assert found.mismatched.count == EXAMPLES + 5
    assert len(found.mismatched.records) == EXAMPLES
    assert "105 answers do not match" in found.warnings()[0]


uids = st.sampled_from([None, "", "1.2", "1.3", "1.4"])
patients = st.sampled_from([None, "", "P1", "P2"])


@given(st.lists(st.tuples(uids, patients)), st.sampled_from(["", "P1", "P*"]))
def test_every_answer_is_counted_once(given: list[tuple[str | None, str | None]], wanted: str) -> None:
    found = Answers(Query.of({"PatientID": wanted}))
    kept = [found.add(study(uid, patient)) for uid, patient in given].count(True)
    assert kept == len(found.catalog)
    piles = (found.mismatched, found.unverified, found.invalid)
    assert kept + found.duplicates + sum(map(len, piles)) == found.received == len(given)
    assert len(found.undecided) <= found.unverified.count
    assert not set(found.undecided.uids(Level.STUDY)) & set(found.catalog.uids(Level.STUDY))
    assert len(found.incomplete) <= kept
    if wanted == "P1":
        assert all(record.text("PatientID") == "P1" for record in found.catalog)
