"""From a query to what is asked at each level."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcmflow.dicom.level import RETURNED, UNIQUE_KEYS, Level, level_of
from dcmflow.dicom.query import Query
from dcmflow.dicom.record import Record
from dcmflow.net.hierarchy import BATCH, Plan, filled, lone_values

PATIENT, STUDY, SERIES, IMAGE = Level
TOPS = pytest.mark.parametrize("top", [PATIENT, STUDY])


def record(*path: str, **values: Any) -> Record:
    return Record(Level(len(path) - 1), dict(zip(UNIQUE_KEYS, path, strict=False)) | values)


@pytest.mark.parametrize(
    ("keys", "level", "top", "levels"),
    [
        ({}, "study", STUDY, [STUDY]),
        ({}, "study", PATIENT, [PATIENT, STUDY]),
        ({}, "patient", PATIENT, [PATIENT]),
        ({}, "patient", STUDY, [STUDY]),
        ({}, "image", STUDY, [STUDY, SERIES, IMAGE]),
        ({"SeriesDescription": "a*"}, "study", STUDY, [STUDY, SERIES]),
        ({"SeriesDescription": ""}, "study", STUDY, [STUDY]),
        ({"EchoTime": "5"}, "patient", PATIENT, [PATIENT, STUDY, SERIES, IMAGE]),
    ],
)
def test_levels_that_are_asked(keys: dict[str, str], level: str, top: Level, levels: list[Level]) -> None:
    plan = Plan(Query.of(keys, level), top)
    assert list(plan.levels) == levels
    assert plan.bottom is levels[-1]


def test_each_level_gets_its_own_keys_and_the_unique_keys_of_those_above() -> None:
    query = Query.of(
        {
            "PatientName": "Doe*",
            "StudyDate": "20190101-",
            "Modality": "MR",
            "EchoTime": "5",
            "RetrieveURL": "",
        }
    )
    plan = Plan(query, STUDY)
    top = plan.step(STUDY)
    assert top.level is STUDY
    assert dict(top.conditions) == {"PatientName": "Doe*", "StudyDate": "20190101-"}
    series = plan.step(SERIES, [record("P", "1"), record("Q", "2")])
    assert dict(series.conditions) == {"StudyInstanceUID": "1\\2", "Modality": "MR"}
    assert "PatientID" not in series.keys
    images = plan.step(IMAGE, [record("P", "1", "1.1"), record("P", "1", "1.2")])
    assert dict(images.conditions) == {
        "StudyInstanceUID": "1",
        "SeriesInstanceUID": "1.1\\1.2",
        "EchoTime": "5",
    }
    assert "RetrieveURL" in images.keys


def test_patient_root_names_the_patient_at_each_level() -> None:
    plan = Plan(Query.of({"PatientName": "Doe*", "StudyDate": "20190101-"}, "series"), PATIENT)
    assert dict(plan.step(PATIENT).conditions) == {"PatientName": "Doe*"}
    studies = plan.step(STUDY, [record("P")])
    assert dict(studies.conditions) == {"PatientID": "P", "StudyDate": "20190101-"}
    series = plan.step(SERIES, [record("P", "1"), record("P", "2")])
    assert dict(series.conditions) == {"PatientID": "P", "StudyInstanceUID": "1\\2"}


def test_study_root_asks_for_patients_by_their_studies() -> None:
    plan = Plan(Query.of({"PatientName": "Doe*"}, "patient"), STUDY)
    asked = plan.step(STUDY)
    assert asked.level is STUDY
    assert {"PatientID", "PatientBirthDate", "StudyInstanceUID"} <= asked.keys.keys()
    assert "NumberOfPatientRelatedStudies" not in asked.keys  # it is no count of this level
    found = record("P", "1", PatientName="Doe^J", StudyDate="20190101")
    assert plan.trimmed(found) == record("P", PatientName="Doe^J")


def test_a_record_of_the_right_level_stays_what_it_is() -> None:
    plan = Plan(Query.of({}), STUDY)
    found = record("P", "1")
    assert plan.trimmed(found) is found


@pytest.mark.parametrize(
    ("keys", "level", "answer"),
    [
        ({"SOPInstanceUID": "1"}, "image", True),
        ({"SOPInstanceUID": "1", "StudyInstanceUID": "2", "EchoTime": ""}, "image", True),
        ({"SeriesInstanceUID": "1"}, "series", True),
        ({"SeriesInstanceUID": "1"}, "image", False),
        ({"SOPInstanceUID": "1", "StudyDate": "20190101"}, "image", False),
        (
            {"StudyInstanceUID": "1"},
            "study",
            False,
        ),  # it is the highest level: there is but one request anyway
        ({}, "image", False),
    ],
)
def test_what_is_asked_by_unique_keys_alone(keys: dict[str, str], level: str, answer: bool) -> None:
    assert Plan(Query.of(keys, level), STUDY).by_unique_key is answer


def test_all_at_once_has_all_the_keys() -> None:
    asked = Plan(Query.of({"SOPInstanceUID": "1", "PatientName": "*"}), STUDY).at_once()
    assert asked.level is IMAGE
    assert asked.conditions == {"SOPInstanceUID": "1"}
    for level in Level:
        assert {key for key in RETURNED[level] if not key.startswith("NumberOf")} <= asked.keys.keys()
    assert asked.identifier()


def test_parents_are_asked_about_in_lists_of_what_belongs_together() -> None:
    plan = Plan(Query.of({}, "image"), PATIENT)
    patients = [record("P"), record("Q")]
    assert plan.groups(patients, lists=True) == [[patients[0]], [patients[1]]]  # a PatientID is no UID
    studies = [record("P", "1"), record("Q", "2"), record("P", "3")]
    assert plan.groups(studies, lists=True) == [[studies[0], studies[2]], [studies[1]]]
    many = [record("P", str(number)) for number in range(BATCH + 1)]
    assert [len(group) for group in plan.groups(many, lists=True)] == [BATCH, 1]
    assert [len(group) for group in plan.groups(many, lists=False)] == [1] * (BATCH + 1)


@given(
    st.sampled_from([PATIENT, STUDY]),
    st.lists(st.tuples(*[st.sampled_from("ABC")] * 3), unique=True),
    st.integers(1, 3),
    st.booleans(),
)
def test_each_parent_is_asked_about_once(
    top: Level, paths: list[tuple[str, ...]], depth: int, lists: bool
) -> None:
    parents = [record(*path) for path in dict.fromkeys(path[:depth] for path in paths)]
    plan = Plan(Query.of({}, "image"), top)
    groups = plan.groups(parents, lists=lists)
    assert sorted(parent.path for group in groups for parent in group) == sorted(
        parent.path for parent in parents
    )
    for group in groups:
        assert group
        if top is PATIENT:
            assert len({parent.path[0] for parent in group}) == 1
            if depth < 3:
                assert "\\" not in plan.step(Level(depth), group).keys["PatientID"]


KEYS = st.dictionaries(
    st.sampled_from(
        ["PatientName", "PatientID", "StudyDescription", "Modality", "ProtocolName", "SOPInstanceUID"]
    ),
    st.sampled_from(["", "*", "1.2"]),
)


@given(KEYS, st.sampled_from(list(Level)), st.sampled_from([PATIENT, STUDY]))
def test_no_condition_gets_lost_or_is_asked_where_it_does_not_belong(
    keys: dict[str, str], level: Level, top: Level
) -> None:
    query = Query.of(keys, level)
    plan = Plan(query, top)
    asked: dict[str, str] = {}
    parents: list[Record] = []
    for each in plan.levels:
        step = plan.step(each, parents)
        assert step.level is each
        assert step.identifier()
        mine = {key: value for key, value in step.conditions.items() if max(level_of(key), top) == each}
        above = {key: value for key, value in step.conditions.items() if key not in mine}
        assert above == (dict.fromkeys(UNIQUE_KEYS[top:each], "9") if parents else {})
        asked |= mine
        parents = [record(*["9"] * (each + 1))]
    assert asked == query.conditions


# -- what is filled in


def test_what_an_answer_leaves_out_is_taken_from_above() -> None:
    found = filled(
        record("", "1", "1.1", StudyDate="", Modality="MR"),
        record("P", "1", StudyDate="20190101", StudyID="7").values,
    )
    assert found == record("P", "1", "1.1", StudyDate="20190101", StudyID="7", Modality="MR")


def test_above_it_counts_what_was_said_there_and_below_what_the_answer_says() -> None:
    above = record("P", "1", PatientName="Doe", StudyDescription="", Modality="CT").values
    found = filled(record("P", "1", "1.1", PatientName="Roe", StudyDescription="x", Modality="MR"), above)
    assert found.values["PatientName"] == "Doe"
    assert found.values["StudyDescription"] == "x"
    assert found.values["Modality"] == "MR"


def test_an_answer_that_says_nothing_where_something_was_known() -> None:
    assert filled(record("P", "1", "1.1", Modality=None), {"Modality": "MR"}).values["Modality"] == "MR"


@pytest.mark.parametrize(
    ("keys", "level", "found"),
    [
        ({"PatientID": "P", "StudyInstanceUID": "1"}, "series", {"PatientID": "P", "StudyInstanceUID": "1"}),
        ({"PatientID": "P*", "StudyInstanceUID": "1\\2"}, "series", {}),
        ({"StudyInstanceUID": "1"}, "study", {}),
        ({"PatientID": "P", "PatientName": "x"}, "study", {"PatientID": "P"}),
        ({"PatientID": ""}, "study", {}),
    ],
)
def test_what_every_answer_has(keys: dict[str, str], level: str, found: dict[str, str]) -> None:
    assert lone_values(Query.of(keys, level)) == found
