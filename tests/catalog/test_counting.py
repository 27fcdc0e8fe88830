"""Numbers of what is below: counted, said by the place, or unknown; never zero for want of knowledge."""

from __future__ import annotations

from typing import Any

import pytest

from catalog_records import catalog, of, record
from dcmflow.catalog import Catalog, Level, Node


def node(found: Catalog, level: Level, uid: str) -> Node:
    """A node that is there."""
    it = found.find(level, uid)
    assert it is not None
    return it


def test_what_is_in_the_catalog_is_counted() -> None:
    found = catalog(2, 3, 2, 4)
    assert found.counts(node(found, Level.PATIENT, "PAT1")) == {
        Level.STUDY: 3,
        Level.SERIES: 6,
        Level.IMAGE: 24,
    }
    assert found.counts(node(found, Level.SERIES, "2.25.1.1.1")) == {Level.IMAGE: 4}
    assert found.counts(node(found, Level.IMAGE, "2.25.1.1.1.1")) == {}
    assert [found.count(level) for level in Level] == [2, 6, 12, 48]


def test_counting_wins_over_what_was_said() -> None:
    found = Catalog(Level.IMAGE, [record(1, 1, 1, 1, NumberOfStudyRelatedInstances=5)])
    assert found.counts(node(found, Level.STUDY, "2.25.1.1"))[Level.IMAGE] == 1


@pytest.mark.parametrize(
    ("said", "known"),
    [
        (5, 5),
        (0, 0),
        ("12", 12),
        (" 7 ", 7),
        (None, None),
        ("", None),
        ("many", None),
        (-1, None),
        ((1, 2), None),
        (1.5, None),
    ],
)
def test_what_was_said_is_taken_where_the_catalog_does_not_go(said: Any, known: int | None) -> None:
    found = Catalog(Level.STUDY, [record(1, 1, NumberOfStudyRelatedInstances=said)])
    assert found.counts(node(found, Level.STUDY, "2.25.1.1")) == {Level.SERIES: None, Level.IMAGE: known}
    assert found.counts(node(found, Level.PATIENT, "PAT1")) == {
        Level.STUDY: 1,
        Level.SERIES: None,
        Level.IMAGE: known,
    }


def test_one_unknown_makes_the_sum_unknown() -> None:
    found = Catalog(Level.STUDY, [record(1, 1, NumberOfStudyRelatedInstances=5), record(1, 2)])
    assert found.counts(node(found, Level.PATIENT, "PAT1"))[Level.IMAGE] is None


def test_what_was_said_of_a_patient_holds_while_all_studies_are_here() -> None:
    said = {"NumberOfPatientRelatedStudies": 2, "NumberOfPatientRelatedInstances": 9}
    found = Catalog(Level.STUDY, [record(1, 1, **said), record(1, 2)])
    assert found.counts(node(found, Level.PATIENT, "PAT1"))[Level.IMAGE] == 9
    found.discard(record(1, 2))
    assert found.counts(node(found, Level.PATIENT, "PAT1")) == {
        Level.STUDY: 1,
        Level.SERIES: None,
        Level.IMAGE: None,
    }


def test_a_study_that_nobody_looked_into_makes_sums_unknown() -> None:
    found = catalog(1, 1, 1, 2) | of(Level.STUDY, [(1, 2)])
    assert found.counts(node(found, Level.PATIENT, "PAT1")) == {
        Level.STUDY: 2,
        Level.SERIES: None,
        Level.IMAGE: None,
    }


@pytest.mark.parametrize("level", Level)
def test_reducing_keeps_counts(level: Level) -> None:
    found = catalog(2, 3, 2, 4)
    reduced = found.reduce(level)
    assert reduced.level is level
    assert reduced.uids() == found.uids(level)
    for each in reduced.walk():
        assert reduced.counts(each) == found.counts(node(found, each.level, each.uid))
    assert found == catalog(2, 3, 2, 4), "the original is as it was"
    assert reduced.reduce(level) == reduced


def test_reducing_says_nothing_that_is_not_known() -> None:
    found = Catalog(Level.SERIES, [record(1, 1, 1, NumberOfSeriesRelatedInstances=3), record(1, 1, 2)])
    (study,) = found.reduce(Level.STUDY)
    assert study.get("NumberOfStudyRelatedSeries") == 2
    assert "NumberOfStudyRelatedInstances" not in study.values


def test_reducing_goes_up_only() -> None:
    with pytest.raises(ValueError, match="study level knows nothing of image level"):
        catalog(1, 1).reduce(Level.IMAGE)
