"""Missing, partial, unknown, present: nothing counts as there that is not known to be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog_records import catalog, of, paths, record
from dcmflow.catalog import Catalog, Level

IMAGES = list(paths(2, 2, 2, 2))


def studies(*counts: int | None) -> Catalog:
    """Studies of one patient with so many images each; None: unknown."""
    return Catalog(
        Level.STUDY,
        (record(1, number, NumberOfStudyRelatedInstances=count) for number, count in enumerate(counts, 1)),
    )


@given(st.sets(st.sampled_from(IMAGES)), st.sets(st.sampled_from(IMAGES)))
def test_images_are_compared_by_uid(here: set[tuple[int, ...]], there: set[tuple[int, ...]]) -> None:
    found = of(Level.IMAGE, here).difference(of(Level.IMAGE, there))
    assert found.missing == of(Level.IMAGE, here - there)
    assert found.present == of(Level.IMAGE, here & there)
    assert found.partial == found.unknown == found.by_count == []
    assert found.complete == (here <= there)


def test_counts_that_differ_are_partial_with_have_and_want() -> None:
    want = studies(5, 3)
    found = want.difference(
        of(Level.IMAGE, [(1, 1, 1, 1), (1, 1, 1, 2), (1, 2, 1, 1), (1, 2, 1, 2), (1, 2, 2, 1)])
    )
    ((node, have, wanted),) = found.partial
    assert (node.uid, have, wanted) == ("2.25.1.1", 2, 5)
    assert want.find(Level.STUDY, "2.25.1.1") is node
    assert found.present.uids() == [each.uid for each in found.by_count] == ["2.25.1.2"]
    assert not found.missing
    assert not found.complete


def test_more_than_is_wanted_is_not_the_same() -> None:
    ((_, have, wanted),) = studies(2).difference(studies(5)).partial
    assert (have, wanted) == (5, 2)


@pytest.mark.parametrize(("here", "there"), [(None, None), (5, None), (None, 5), (None, 0)])
def test_an_unknown_count_is_equal_to_nothing(here: int | None, there: int | None) -> None:
    found = studies(here).difference(studies(there))
    assert [node.uid for node in found.unknown] == ["2.25.1.1"]
    assert not found.missing
    assert not found.present
    assert found.partial == []
    assert not found.complete


def test_images_equal_but_series_not_is_partial() -> None:
    want = Catalog(Level.STUDY, [record(1, 1, NumberOfStudyRelatedInstances=4, NumberOfStudyRelatedSeries=1)])
    ((_, have, wanted),) = want.difference(catalog(1, 1, 2, 2)).partial
    assert (have, wanted) == (2, 1)


def test_series_that_differ_tell_where_images_do_not() -> None:
    want = Catalog(Level.STUDY, [record(1, 1, NumberOfStudyRelatedSeries=3)])
    ((_, have, wanted),) = want.difference(catalog(1, 1, 2)).partial
    assert (have, wanted) == (2, 3)
    assert [node.uid for node in want.difference(catalog(1, 1, 3)).unknown] == ["2.25.1.1"]


def test_what_the_place_never_heard_of_is_missing() -> None:
    found = studies(5, None, 0).difference(Catalog(Level.STUDY))
    assert found.missing == studies(5, None, 0)
    assert catalog(2).difference(catalog(1)).missing.uids() == ["PAT2"]


def test_a_place_that_was_asked_for_studies_only() -> None:
    want = catalog(1, 4, 1, 3)
    held = studies(3, 2, None)
    found = want.difference(held)
    assert found.present.uids(Level.STUDY) == ["2.25.1.1"]
    assert [(node.uid, have, wanted) for node, have, wanted in found.partial] == [("2.25.1.2", 2, 3)]
    assert [node.uid for node in found.unknown] == ["2.25.1.3"]
    assert found.missing.uids() == ["2.25.1.4.1.1", "2.25.1.4.1.2", "2.25.1.4.1.3"]
    assert all(want.find(node.level, node.uid) is node for node in found.unknown)


def test_a_study_without_known_images_is_not_passed_over() -> None:
    want = catalog(1, 1, 1, 1) | of(Level.STUDY, [(1, 2)])
    assert want.difference(catalog(1, 1, 1, 1)).missing.uids(Level.STUDY) == ["2.25.1.2"]
    assert [node.uid for node in want.difference(catalog(1, 2, 1, 1)).unknown] == ["2.25.1.2"]


def test_the_same_uid_counts_below_another_patient() -> None:
    want = catalog(1, 1, 1, 2)
    held = Catalog(Level.IMAGE, [record(1, 1, 1, number, PatientID="other") for number in (1, 2)])
    assert want.difference(held).complete
    assert len(want.difference(held).present) == 2
