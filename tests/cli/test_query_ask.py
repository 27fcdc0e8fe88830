"""The requests that a query is put into."""

from __future__ import annotations

from dcmflow.cli.query_ask import asks_about
from dcmflow.dicom.level import Level
from dcmflow.dicom.query import Query
from dcmflow.dicom.record import Record
from dcmflow.net.hierarchy import BATCH

QUERY = Query.of({"EchoTime": ""})


def test_siblings_are_asked_about_together_and_cousins_are_not() -> None:
    entities = [
        {"PatientID": patient, "StudyInstanceUID": uid}
        for patient, uid in [("P1", "1.1"), ("P1", "1.2"), ("P2", "2.1")]
    ]
    both, alone = asks_about(QUERY, entities)
    assert both.query.keys == {"EchoTime": "", "PatientID": "P1", "StudyInstanceUID": "1.1\\1.2"}
    assert [single.uid for single in both.singles] == ["1.1", "1.2"]
    assert (alone.uid, alone.singles) == ("2.1", ())
    assert {ask.query.level for ask in (both, alone)} == {Level.IMAGE}


def test_patients_are_asked_about_one_by_one() -> None:
    asks = asks_about(QUERY, [{"PatientID": patient} for patient in ("P1", "P2", "P3")])
    assert [ask.uid for ask in asks] == ["P1", "P2", "P3"]


def test_lists_are_bounded_and_nothing_is_left_out() -> None:
    uids = [f"1.2.{number}" for number in range(2 * BATCH + 1)]
    asks = asks_about(QUERY, [{"StudyInstanceUID": "1.2", "SeriesInstanceUID": uid} for uid in uids])
    assert [len(ask.singles) for ask in asks] == [BATCH, BATCH, 0]
    assert "\\".join(ask.uid for ask in asks).split("\\") == uids


def test_an_answer_about_something_else_contradicts() -> None:
    [ask] = asks_about(QUERY, [{"PatientID": "A*", "StudyInstanceUID": uid} for uid in ("1.1", "1.2")])

    def contradicts(**values: str) -> bool:
        return ask.contradicts(Record(Level.IMAGE, values))

    assert not contradicts(PatientID="A*", StudyInstanceUID="1.2")
    assert not contradicts(PatientID="A* ", StudyInstanceUID="1.1")
    assert not contradicts(StudyInstanceUID="1.1")
    assert not contradicts(PatientID="", StudyInstanceUID="")
    assert contradicts(PatientID="AB", StudyInstanceUID="1.1")
    assert contradicts(PatientID="A*", StudyInstanceUID="1.3")
