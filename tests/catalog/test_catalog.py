"""A catalog as a container: what goes in is there, in order, until it is taken out."""

from __future__ import annotations

from itertools import product

import pytest

from catalog_records import catalog, paths, record
from dcmflow.catalog import Catalog, Level, Node, Provenance, Record

SHAPES = list(product((1, 2), (1, 3), (3, 4), (5, 6)))


def expected(seen: set[tuple[int, ...]], level: Level) -> list[str]:
    """The unique keys of a level for paths of leaves."""
    found = sorted({path[: level + 1] for path in seen})
    return [
        f"PAT{path[0]}" if level is Level.PATIENT else ".".join(map(str, ("2.25", *path))) for path in found
    ]


@pytest.mark.parametrize("level", Level)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_uids_are_right_after_each_step(shape: tuple[int, ...], level: Level) -> None:
    found = Catalog(level)
    seen: set[tuple[int, ...]] = set()
    everything = list(paths(*shape[: level + 1]))
    for step, path in enumerate(everything):
        assert found.add(record(*path))
        assert not found.add(record(*path)), "a duplicate"
        seen.add(path)
        if step % 7 == 0 or len(seen) == len(everything):
            assert [found.uids(each) for each in Level] == [
                expected(seen, each) if each <= level else [] for each in Level
            ]
            assert len(found) == len(seen)
    for step, path in enumerate(everything):
        assert record(*path) in found
        assert found.discard(record(*path)) if step % 2 else found.discard(record(*path).path)
        assert record(*path) not in found
        assert not found.discard(record(*path))
        seen.remove(path)
        if step % 7 == 0 or not seen:
            assert [found.uids(each) for each in Level if each <= level] == [
                expected(seen, each) for each in Level if each <= level
            ]
    assert not found
    assert len(found) == 0
    assert list(found) == list(found.walk()) == found.conflicts == []


def test_walk_gives_every_node_once_parents_first() -> None:
    found = catalog(2, 3, 2, 2)
    seen = set()
    for node in found.walk():
        assert node.parent is None or node.parent in seen
        assert node.parent is None or node.path == (*node.parent.path, node.uid)
        assert all(child.parent is node for child in node.children)
        assert node not in seen
        seen.add(node)
        assert found.find(node.level, node.uid) is node
    assert len(seen) == 2 + 6 + 12 + 24
    assert [node.level for node in found.walk(Level.STUDY)] == [0, 1, 1, 1] * 2


def test_a_subtree_has_what_is_below_a_node_and_what_is_above_it() -> None:
    found = catalog(2, 2, 2, 2)
    for node in found.walk():
        part = found.subtree(node)
        below = [inner.uid for inner in node.walk() if inner.level is Level.IMAGE]
        assert part.uids() == below
        assert [inner.path for inner in part.walk()][: node.level + 1] == [
            node.path[: level + 1] for level in range(node.level + 1)
        ]
        assert part == Catalog(Level.IMAGE, [each for each in found if each.uid in below])


def test_records_have_the_values_of_all_levels() -> None:
    given = [record(*path) for path in paths(2, 2, 2, 2)]
    found = Catalog(Level.IMAGE, reversed(given))
    assert list(found) == given
    node = found.find(Level.SERIES, "2.25.1.2.1")
    assert node is not None
    assert node.values == {"SeriesInstanceUID": "2.25.1.2.1", "SeriesNumber": 1, "Modality": "MR"}
    assert node.record() == record(1, 2, 1)


def test_every_returned_element_is_kept_the_empty_ones_too() -> None:
    given = record(
        1, 1, EchoTime=None, StudyComments="", RequestAttributesSequence=({"ScheduledProcedureStepID": "7"},)
    )
    assert list(Catalog(Level.STUDY, [given])) == [given]


def test_order_is_what_people_expect() -> None:
    found = Catalog(
        Level.IMAGE,
        [
            record(
                1,
                1,
                series,
                image,
                StudyDate=date,
                SeriesNumber=number,
                StudyInstanceUID=f"2.25.{study}",
                SeriesInstanceUID=f"1.{series}",
                SOPInstanceUID=f"1.{series}.{image}",
                InstanceNumber=instance,
            )
            for study, date, series, number, image, instance in [
                (9, "20200101", 1, 10, 1, 10),
                (9, "20200101", 1, 10, 2, 9),
                (9, "20200101", 1, 10, 3, None),
                (9, "20200101", 2, 9, 1, "none of a number"),
                (9, "20200101", 2, 9, 2, 100),
                (9, "20200101", 3, None, 1, 1),
                (8, "", 4, 1, 1, 1),
                (7, "2019.12.31", 5, 1, 1, 1),
            ]
        ],
    )
    assert found.uids(Level.STUDY) == ["2.25.7", "2.25.9", "2.25.8"]
    assert found.uids(Level.SERIES) == ["1.5", "1.2", "1.1", "1.3", "1.4"]
    assert found.uids() == ["1.5.1", "1.2.2", "1.2.1", "1.1.2", "1.1.1", "1.1.3", "1.3.1", "1.4.1"]


def test_upper_records_are_inner_nodes_and_lower_ones_refused() -> None:
    found = Catalog(Level.SERIES)
    assert found.add(record(1, 1))
    assert len(found) == 0
    assert found, "it knows of a study"
    assert found.add(record(1, 1, 1))
    assert not found.add(record(1, 1, AccessionNumber="A7"))
    assert [each.get("AccessionNumber") for each in found] == ["A7"]
    with pytest.raises(ValueError, match="image level in a catalog of series level"):
        found.add(record(1, 1, 1, 1))
    with pytest.raises(ValueError, match="without StudyInstanceUID"):
        found.add(Record(Level.STUDY, {"PatientID": "PAT1", "StudyInstanceUID": ""}))


def test_discarding_a_study_takes_what_is_below_it() -> None:
    found = catalog(1, 2, 2, 2)
    assert found.discard(("PAT1", "2.25.1.1"))
    assert found == catalog(1, 2, 2, 2).subtree(_node(found, Level.STUDY, "2.25.1.2"))
    assert found.uids(Level.STUDY) == ["2.25.1.2"]
    assert found.discard(("PAT1",))
    assert not found


def test_a_copy_is_its_own() -> None:
    found = catalog(1, 2, 1, 1)
    found.provenance.append(Provenance("PACS@example.org:104", {"Modality": "MR"}, Level.IMAGE))
    copied = found.copy()
    assert copied == found
    assert copied.provenance == found.provenance
    copied.discard(("PAT1",))
    copied.provenance.clear()
    assert found == catalog(1, 2, 1, 1)
    assert len(found.provenance) == 1


def test_clear_leaves_where_it_came_from() -> None:
    found = Catalog(
        Level.STUDY, [record(1, 1), record(1, 1, StudyDescription="other")], provenance=[Provenance("x:1")]
    )
    copied = found.copy()
    found.clear()
    assert not found
    assert found.conflicts == []
    assert found.provenance == [Provenance("x:1")]
    assert len(copied) == len(copied.conflicts) == 1


def test_equality_is_of_level_tree_and_values() -> None:
    assert catalog(1, 2) == Catalog(Level.STUDY, [record(1, 2), record(1, 1)])
    assert catalog(1, 2) != catalog(1, 1)
    assert catalog(1, 2) != catalog(1, 2, 1).reduce(Level.STUDY), "it has counts"
    assert Catalog(Level.STUDY) != Catalog(Level.IMAGE)
    assert Catalog(Level.STUDY, [record(1, 1)]) != Catalog(
        Level.STUDY, [record(1, 1, StudyDescription="other")]
    )
    assert catalog(1) != "PAT1"


def test_membership_is_by_unique_key() -> None:
    found = catalog(1, 1, 1)
    assert "2.25.1.1.1" in found
    assert "2.25.1.1" not in found, "no leaf"
    assert record(1, 1) in found
    assert record(1, 2) not in found
    assert 7 not in found


def _node(found: Catalog, level: Level, uid: str) -> Node:
    node = found.find(level, uid)
    assert node is not None
    return node
