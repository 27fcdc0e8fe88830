"""Requests for what is to be retrieved."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcmflow.dicom.level import UNIQUE_KEYS, Level
from dcmflow.dicom.query import Query
from dcmflow.dicom.record import Record
from dcmflow.net.wanted import LISTED, is_request, requests, singly


def record(*path: str) -> Record:
    return Record(Level(len(path) - 1), dict(zip(UNIQUE_KEYS, path, strict=False)))


def test_series_of_one_study_and_images_of_one_series_go_together() -> None:
    made = requests([record("P", "1", "1.1"), record("P", "2", "2.1"), record("P", "1", "1.2")])
    assert made == [
        Query(Level.SERIES, {"PatientID": "P", "StudyInstanceUID": "1", "SeriesInstanceUID": "1.1\\1.2"}),
        Query(Level.SERIES, {"PatientID": "P", "StudyInstanceUID": "2", "SeriesInstanceUID": "2.1"}),
    ]


def test_patients_and_studies_go_alone() -> None:
    made = requests([record("P", "1"), record("P", "2")])
    assert [query.keys["StudyInstanceUID"] for query in made] == ["1", "2"]
    assert [query.keys for query in requests([record("P"), record("Q")])] == [
        {"PatientID": "P"},
        {"PatientID": "Q"},
    ]


def test_three_hundred_images_are_three_requests() -> None:
    made = requests([record("P", "1", "2", str(number)) for number in range(300)])
    assert [len(query.keys["SOPInstanceUID"].split("\\")) for query in made] == [128, 128, 44]
    assert LISTED == 128
    assert len(requests([record("P", "1", "2", str(number)) for number in range(300)], most=1)) == 300


def test_what_is_not_known_is_left_out() -> None:
    assert requests([record("", "1", "2")]) == [
        Query(Level.SERIES, {"StudyInstanceUID": "1", "SeriesInstanceUID": "2"})
    ]
    assert requests([]) == []


PATHS = st.integers(0, 3).flatmap(
    lambda level: st.sets(st.tuples(*[st.sampled_from(["1", "2", "3", "4"])] * (level + 1)))
)


@given(PATHS, st.integers(1, 5))
def test_each_is_asked_for_once_with_what_it_belongs_to(paths: set[tuple[str, ...]], most: int) -> None:
    made = requests([record(*path) for path in sorted(paths)], most=most)
    asked = []
    for query in made:
        *above, own = [query.keys[key] for key in UNIQUE_KEYS[: query.level + 1]]
        uids = own.split("\\")
        assert len(uids) <= (most if query.level > Level.STUDY else 1)
        assert not any("\\" in value for value in above)
        asked += [(*above, uid) for uid in uids]
        alone = singly(query)
        assert [each.keys[query.level.keyword] for each in alone] == uids
        assert all({**each.keys, query.level.keyword: own} == query.keys for each in alone)
    assert sorted(asked) == sorted(paths)


@pytest.mark.parametrize(
    ("keys", "level", "answer"),
    [
        ({"StudyInstanceUID": "1"}, "study", True),
        ({"PatientID": "P", "StudyInstanceUID": "1"}, "study", True),
        ({"StudyInstanceUID": "1\\2"}, "study", True),
        ({"StudyInstanceUID": "1", "StudyDescription": ""}, "study", True),
        ({"StudyInstanceUID": "1", "StudyDate": "20190101"}, "study", False),
        ({"StudyInstanceUID": "1", "PatientName": "A*"}, "study", False),
        ({"StudyInstanceUID": "1", "PatientID": "A*"}, "study", False),
        ({"StudyInstanceUID": "*"}, "study", False),
        ({}, "study", False),
        ({"PatientID": "P"}, "study", False),
        ({"PatientID": "P"}, "patient", True),
        ({"PatientID": "P?"}, "patient", False),
        ({"SeriesInstanceUID": "1"}, "series", False),
        ({"StudyInstanceUID": "1", "SeriesInstanceUID": "2\\3"}, "series", True),
        ({"StudyInstanceUID": "1\\2", "SeriesInstanceUID": "2"}, "series", False),
        ({"StudyInstanceUID": "1", "SeriesInstanceUID": "2", "SOPInstanceUID": "3\\4"}, "image", True),
        ({"StudyInstanceUID": "1", "SOPInstanceUID": "3"}, "image", False),
    ],
)
def test_what_can_be_asked_for_as_it_is(keys: dict[str, str], level: str, answer: bool) -> None:
    assert is_request(Query.of(keys, level)) is answer
