"""Catalogs obey the laws of sets, at every level and across levels."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from catalog_records import catalog, of, paths, record, without
from dcmflow.catalog import Catalog, Conflict, Level, Node, Provenance

SHAPE = (2, 2, 2, 2)


def some(level: Level) -> st.SearchStrategy[Catalog]:
    """Any part of the world at a level, the empty one included."""
    everything = list(paths(*SHAPE[: level + 1]))
    return st.sets(st.sampled_from(everything)).map(lambda chosen: of(level, chosen))


def alike(number: int) -> st.SearchStrategy[tuple[Catalog, ...]]:
    """Several of one level."""
    return st.sampled_from(Level).flatmap(lambda level: st.tuples(*(some(level) for _ in range(number))))


any_level = st.sampled_from(Level).flatmap(some)


@given(alike(3))
def test_laws_of_sets(three: tuple[Catalog, Catalog, Catalog]) -> None:
    a, b, c = three
    before = [each.copy() for each in three]
    empty = Catalog(a.level)
    assert a | b == b | a
    assert a & b == b & a
    assert a ^ b == b ^ a
    assert (a | b) | c == a | (b | c)
    assert (a & b) & c == a & (b & c)
    assert (a ^ b) ^ c == a ^ (b ^ c)
    assert a & (b | c) == (a & b) | (a & c)
    assert a - (b | c) == (a - b) & (a - c)
    assert a ^ b == (a | b) - (a & b)
    assert (a - b) | (a & b) == a
    assert not (a - b) & b
    assert a | a == a & a == a | empty == empty | a == a - empty == a
    assert a - a == a & empty == empty & a == empty - a == empty
    assert list(three) == before, "operands stay as they were"
    assert (a | b).conflicts == (a & b).conflicts == []


@given(alike(2))
def test_they_do_what_sets_of_uids_do(two: tuple[Catalog, Catalog]) -> None:
    a, b = two
    here, there = set(a.uids()), set(b.uids())
    assert set((a | b).uids()) == here | there
    assert set((a & b).uids()) == here & there
    assert set((a - b).uids()) == here - there
    assert set((a ^ b).uids()) == here ^ there


@given(any_level, any_level)
def test_across_levels_both_orders_agree(a: Catalog, b: Catalog) -> None:
    assert a & b == b & a
    assert a | b == b | a
    assert (a & b).level is (a | b).level is max(a.level, b.level)
    level = min(a.level, b.level)
    known = set(a.uids(level)) | set(b.uids(level))
    assert set((a | b).uids(level)) == known, "nothing is lost"


@given(some(Level.SERIES), some(Level.IMAGE))
def test_a_coarse_leaf_stands_for_all_below_it(series: Catalog, images: Catalog) -> None:
    chosen = set(series.uids())
    inside = [each for each in images if each.text("SeriesInstanceUID") in chosen]
    outside = [each for each in images if each.text("SeriesInstanceUID") not in chosen]
    assert series & images == images & series == Catalog(Level.IMAGE, inside)
    assert images - series == Catalog(Level.IMAGE, outside)
    assert (images - series) | (images & series) == images


def test_a_coarse_leaf_is_taken_away_only_where_counts_say_so() -> None:
    images = catalog(1, 2, 1, 3)
    study = record(1, 1, NumberOfStudyRelatedInstances=3)
    assert not Catalog(Level.STUDY, [study]) - images
    for count in (4, 2, None):
        kept = Catalog(Level.STUDY, [record(1, 1, NumberOfStudyRelatedInstances=count)])
        assert kept - images == kept
    unknown = Catalog(Level.STUDY, [record(1, 1)])
    assert unknown - images == unknown
    assert len(unknown ^ images) == 3, "the images of the other study"
    assert unknown - catalog(1, 1, 2) == unknown, "nobody knows of any images"


def test_a_union_with_coarser_ones_keeps_what_only_they_know() -> None:
    images = of(Level.IMAGE, [(1, 1, 1, 1)])
    both = images | of(Level.STUDY, [(1, 1), (1, 2)])
    assert both.uids(Level.STUDY) == ["2.25.1.1", "2.25.1.2"]
    assert both.uids() == ["2.25.1.1.1.1"]
    assert both - images == both.subtree(_study(both))
    assert both & images == images


def test_values_are_filled_in_from_both() -> None:
    a = Catalog(Level.STUDY, [record(1, 1, AccessionNumber="A7")])
    b = Catalog(Level.STUDY, [record(1, 1, StudyID="1")])
    expected = Catalog(Level.STUDY, [record(1, 1, AccessionNumber="A7", StudyID="1")])
    assert a | b == a & b == expected


def test_parents_without_keys_leave_nothing_behind() -> None:
    a = Catalog(Level.STUDY, [without(record(1, 1), "PatientID")])
    b = Catalog(Level.STUDY, [record(1, 1), without(record(1, 2), "PatientID")])
    assert a & b == b & a == Catalog(Level.STUDY, [record(1, 1)])
    assert (a | b).uids(Level.PATIENT) == ["PAT1", ""]
    assert not a - b


def test_provenance_and_conflicts_go_along() -> None:
    a = Catalog(
        Level.STUDY,
        [record(1, 1), record(1, 1, StudyID="2", StudyDate="20200101")],
        provenance=[Provenance("a:1")],
    )
    b = Catalog(
        Level.STUDY,
        [record(2, 1), record(1, 1, StudyDescription="b")],
        provenance=[Provenance("b:1"), Provenance("a:1")],
    )
    a.extra["note"] = "kept"
    for made in (a | b, a & b):
        assert made.provenance == [Provenance("a:1"), Provenance("b:1")]
        assert sorted(each.keyword for each in made.conflicts) == ["StudyDate", "StudyDescription"]
        assert made.extra == {"note": "kept"}
    assert (b - a).conflicts == []
    assert a.conflicts == [Conflict("value", Level.STUDY, "2.25.1.1", a.conflicts[0].text, "StudyDate")]


def test_one_study_of_two_patients_is_a_conflict_of_the_union() -> None:
    a = catalog(1, 1)
    b = Catalog(Level.STUDY, [record(2, 1, StudyInstanceUID="2.25.1.1")])
    assert [each.kind for each in (a | b).conflicts] == ["parent"]
    assert (a & b).uids() == (a | b).uids() == ["2.25.1.1"]
    assert not a - b


def _study(found: Catalog) -> Node:
    node = found.find(Level.STUDY, "2.25.1.2")
    assert node is not None
    return node
