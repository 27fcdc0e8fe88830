"""What was found, as a value: a set and a tree, its arithmetic, and what it becomes in a file."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterable, Iterator
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acceptance_kit import SOURCE
from acceptance_query import document, entities
from dcmflow import ConfigError, Level, Record
from dcmflow.catalog.catalog import Catalog

PATIENT, STUDY, SERIES, IMAGE = Level
SHAPES = list(product((1, 2), (1, 3), (3, 4), (5, 6)))
KEYS = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


def record(*path: object, **values: Any) -> Record:
    """One entity by its unique keys, from the patient down."""
    return Record(Level(len(path) - 1), dict(zip(KEYS, map(str, path), strict=False)) | values)


def shape(*sizes: int) -> list[Record]:
    """So many patients with so many studies each, and so on: every leaf."""
    found: list[list[str]] = [[]]
    for size in sizes:
        found = [
            [*path, ".".join([*path[-1:], str(number)])] for path in found for number in range(1, size + 1)
        ]
    return [record(*path) for path in found]


def uids_at(records: Iterable[Record]) -> list[set[str]]:
    paths = [one.path for one in records]
    return [{path[level] for path in paths} for level in range(4) if all(len(path) > level for path in paths)]


def paths(catalog: Catalog) -> set[tuple[str, ...]]:
    """The leaves, each once."""
    found = [one.path for one in catalog]
    assert len(found) == len(set(found)) == len(catalog)
    return set(found)


def levels(catalog: Catalog) -> list[set[str]]:
    """The unique keys of each level, none of them twice."""
    found = [list(catalog.uids(level)) for level in Level if level <= catalog.level]
    assert [len(uids) for uids in found] == [len(set(uids)) for uids in found]
    assert [len(uids) for uids in found] == [
        catalog.count(level) for level in Level if level <= catalog.level
    ]
    return [set(uids) for uids in found]


# a set and a tree ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", SHAPES, ids=str)
def test_each_level_is_right_after_each_step_of_filling_and_emptying(sizes: tuple[int, ...]) -> None:
    records = shape(*sizes)
    chance = random.Random(str(sizes))
    chance.shuffle(records)
    catalog = Catalog(IMAGE)
    for number, one in enumerate(records, 1):
        assert one.uid not in catalog
        assert catalog.add(one) is True
        assert catalog.add(one) is False, "it was there already"
        assert one in catalog
        if number % 7 == 0 or number == len(records):
            assert levels(catalog) == uids_at(records[:number])
    assert catalog == Catalog(IMAGE, shape(*sizes)), "the order of filling does not matter"
    chance.shuffle(records)
    while records:
        gone = records.pop()
        catalog.discard(gone)
        catalog.discard(gone)
        assert gone not in catalog
        if len(records) % 7 == 0 and records:
            assert levels(catalog) == uids_at(records)
    assert (len(catalog), bool(catalog), list(catalog)) == (0, False, [])
    assert levels(catalog) == [set(), set(), set(), set()]


@pytest.mark.parametrize("level", list(Level))
def test_a_catalog_of_each_level_holds_what_was_put_there(level: Level) -> None:
    records = shape(*(2, 3, 2, 2)[: level + 1])
    catalog = Catalog(level, records + records)
    assert catalog.level == level
    assert paths(catalog) == {one.path for one in records}
    assert bool(catalog)


@pytest.mark.parametrize("sizes", [(1, 1, 3, 5), (2, 3, 4, 6), (2, 3)], ids=str)
def test_walking_meets_every_node_once_and_its_parents_first(sizes: tuple[int, ...]) -> None:
    catalog = Catalog(Level(len(sizes) - 1), shape(*sizes))
    nodes = list(catalog.walk())
    seen: set[tuple[str, ...]] = set()
    for node in nodes:
        assert node.path not in seen
        assert node.path[-1] == node.uid
        if node.level > PATIENT:
            assert node.parent is not None
            assert node.parent.path == node.path[:-1]
            assert node.path[:-1] in seen
        seen.add(node.path)
    assert seen == {one.path[: depth + 1] for one in shape(*sizes) for depth in range(len(sizes))}
    upper = list(catalog.walk(STUDY))
    assert {node.level for node in upper} == {PATIENT, STUDY}
    assert len(upper) == catalog.count(PATIENT) + catalog.count(STUDY)


def test_a_node_is_found_and_its_subtree_is_what_lies_below() -> None:
    records = shape(2, 3, 2, 2)
    catalog = Catalog(IMAGE, records)
    for node in catalog.walk():
        assert catalog.find(node.level, node.uid) is not None
        below = catalog.subtree(node)
        assert paths(below) == {one.path for one in records if one.path[: node.level + 1] == node.path}
        assert below.level == IMAGE
    assert catalog.find(STUDY, "nothing") is None
    assert len(catalog) == len(records)


def test_values_of_all_levels_are_with_the_leaf() -> None:
    catalog = Catalog(SERIES)
    catalog.add(record("P", PatientName="Doe^Jane"))
    catalog.add(record("P", "1", StudyDate="20190625"))
    catalog.add(record("P", "1", "1.1", SeriesNumber=1, PatientSex="F"))
    [leaf] = catalog
    for keyword, value in {
        "PatientName": "Doe^Jane",
        "StudyDate": "20190625",
        "SeriesNumber": 1,
        "PatientSex": "F",
    }.items():
        assert leaf.get(keyword) == value
    with pytest.raises(ValueError, match=r"(?i)level"):
        catalog.add(record("P", "1", "1.1", "1.1.1"))


def test_two_patients_without_an_id_are_no_reason_to_lose_a_study() -> None:
    catalog = Catalog(STUDY, [record("", "1"), record("", "2"), record("P", "3")])
    assert paths(catalog) == {("", "1"), ("", "2"), ("P", "3")}


def test_contradictions_are_listed_and_nothing_is_raised() -> None:
    catalog = Catalog(IMAGE)
    catalog.add(record("A", "1", "1.1", "1.1.1", StudyDescription="Head"))
    catalog.add(record("B", "1", "1.1", "1.1.2"))
    assert catalog.conflicts
    assert any(conflict.uid == "1" and conflict.level == STUDY for conflict in catalog.conflicts)
    assert all("1" in conflict.text for conflict in catalog.conflicts)
    assert set(catalog.uids(IMAGE)) == {"1.1.1", "1.1.2"}
    other = Catalog(STUDY, [record("A", "1", StudyDescription="Head")])
    other.add(record("A", "1", StudyDescription="Foot"))
    [conflict] = other.conflicts
    assert "Head" in conflict.text
    assert "Foot" in conflict.text
    assert len(other) == 1


# arithmetic ---------------------------------------------------------------------------------------------------------


def some(numbers: Iterable[int]) -> Catalog:
    """Images of a small world where each has its place: two to a series, four to a study, eight to a patient."""
    return Catalog(IMAGE, [record(f"P{n // 8}", f"S{n // 4}", f"E{n // 2}", f"I{n}") for n in numbers])


def numbers_of(catalog: Catalog) -> set[int]:
    return {int(path[3][1:]) for path in paths(catalog)}


worlds = st.sets(st.integers(0, 31), max_size=20)


@given(worlds, worlds, worlds)
def test_the_laws_of_sets_hold(a: set[int], b: set[int], c: set[int]) -> None:
    one, two, three = some(a), some(b), some(c)
    assert numbers_of(one | two) == a | b
    assert numbers_of(one & two) == a & b
    assert numbers_of(one - two) == a - b
    assert numbers_of(one ^ two) == a ^ b
    assert numbers_of((one | two) & three) == numbers_of((one & three) | (two & three))
    assert numbers_of(one - (two | three)) == numbers_of((one - two) & (one - three))
    for made, wanted in ((one | two, a | b), (one & two, a & b), (one - two, a - b), (one ^ two, a ^ b)):
        assert levels(made) == levels(some(wanted)), "no level keeps what is no longer below it"
    assert (numbers_of(one), numbers_of(two), numbers_of(three)) == (a, b, c)


@pytest.mark.parametrize("level", list(Level))
def test_nothing_is_the_neutral_element_on_either_side(level: Level) -> None:
    full, empty = Catalog(level, shape(*(2, 2, 2, 2)[: level + 1])), Catalog(level)
    wanted = paths(full)
    assert paths(full | empty) == paths(empty | full) == paths(full - empty) == paths(full ^ empty) == wanted
    for made in (full & empty, empty & full, empty - full, full - full, full ^ full, empty | empty):
        assert not made
        assert list(made) == []


@given(worlds, worlds)
def test_series_and_images_have_images_in_common(a: set[int], b: set[int]) -> None:
    coarse, fine = some(a).reduce(SERIES), some(b)
    wanted = {number for number in b if number // 2 in {one // 2 for one in a}}
    for made in (coarse & fine, fine & coarse):
        assert made.level == IMAGE
        assert numbers_of(made) == wanted


def study(uid: str, images: int | None = None, **values: Any) -> Record:
    counted = {} if images is None else {"NumberOfStudyRelatedInstances": images}
    return record("P", uid, **counted, **values)


def images(uid: str, count: int) -> list[Record]:
    return [record("P", uid, f"{uid}.1", f"{uid}.1.{number}") for number in range(count)]


def test_a_study_of_which_some_images_are_there_is_partial() -> None:
    want = Catalog(STUDY, [study("1", 5), study("2", 3), study("3", 2)])
    made = want.difference(Catalog(IMAGE, images("1", 3) + images("2", 3)))
    assert [(node.uid, have, wanted) for node, have, wanted in made.partial] == [("1", 3, 5)]
    assert made.missing.uids(STUDY) == ["3"]
    assert list(made.unknown) == []


def test_a_study_whose_number_of_images_nobody_knows_is_unknown_and_never_equal() -> None:
    want = Catalog(STUDY, [study("1"), study("2")])
    made = want.difference(Catalog(IMAGE, images("1", 3)))
    assert [node.uid for node in made.unknown] == ["1"]
    assert made.missing.uids(STUDY) == ["2"]
    assert list(made.partial) == []


@pytest.mark.parametrize(("want", "have"), [(None, None), (5, None), (None, 5)], ids=str)
def test_an_unknown_count_equals_nothing_not_even_another(want: int | None, have: int | None) -> None:
    made = Catalog(STUDY, [study("1", want)]).difference(Catalog(STUDY, [study("1", have)]))
    assert [node.uid for node in made.unknown] == ["1"]
    assert not made.missing
    assert list(made.partial) == []


def test_known_counts_are_compared() -> None:
    held = Catalog(STUDY, [study("1", 5), study("2", 4)])
    made = Catalog(STUDY, [study("1", 5), study("2", 5)]).difference(held)
    assert [(node.uid, have, want) for node, have, want in made.partial] == [("2", 4, 5)]
    assert list(made.unknown) == []
    assert not made.missing


def test_a_count_of_zero_is_known() -> None:
    made = Catalog(STUDY, [study("1", 5)]).difference(Catalog(STUDY, [study("1", 0)]))
    assert "1" in [node.uid for node, *_ in made.partial] + list(made.missing.uids(STUDY))
    assert list(made.unknown) == []


def test_images_are_compared_by_name() -> None:
    want, held = some(range(8)), some([0, 1, 2, 9])
    made = want.difference(held)
    assert numbers_of(made.missing) == {3, 4, 5, 6, 7}
    assert list(made.unknown) == []


def test_counts_are_told_known_or_unknown() -> None:
    catalog = Catalog(STUDY, [study("1", 5), study("2")])
    one, two = (catalog.find(STUDY, uid) for uid in "12")
    assert one is not None
    assert two is not None
    assert catalog.counts(one)[IMAGE] == 5
    assert catalog.counts(two)[IMAGE] is None
    assert catalog.counts(two)[SERIES] is None
    whole = some(range(8))
    [patient] = whole.walk(PATIENT)
    assert [whole.counts(patient)[level] for level in (STUDY, SERIES, IMAGE)] == [2, 4, 8]


# copies and coarser ones --------------------------------------------------------------------------------------------


def asked_of(catalog: Catalog) -> Catalog:
    text = json.loads(catalog.to_json())
    text["provenance"] = [
        {
            "source": "PACS@10.0.0.5:104",
            "query": {"PatientID": "P*"},
            "level": "image",
            "when": "2026-01-02T03:04:05+00:00",
        }
    ]
    return Catalog.from_json(json.dumps(text))


def test_a_copy_is_another_one() -> None:
    first = asked_of(some(range(8)))
    second = first.copy()
    assert second == first
    assert [one.source for one in second.provenance] == ["PACS@10.0.0.5:104"]
    second.discard("I0")
    second.add(record("P9", "S9", "E9", "I99"))
    assert numbers_of(first) == set(range(8))
    second.clear()
    assert not second
    assert second.count(PATIENT) == 0
    assert len(first) == 8


@pytest.mark.parametrize("level", list(Level))
def test_a_coarser_level_knows_how_many_there_were(level: Level) -> None:
    whole = asked_of(some(range(12)))
    coarse = whole.reduce(level)
    assert coarse.level == level
    assert levels(coarse) == levels(whole)[: level + 1]
    assert [one.source for one in coarse.provenance] == ["PACS@10.0.0.5:104"]
    node = coarse.find(level, whole.uids(level)[0])
    assert node is not None
    if level < IMAGE:
        assert coarse.counts(node)[IMAGE] == (8, 4, 2)[level]
    assert len(whole) == 12
    assert whole.level == IMAGE


# in a file ----------------------------------------------------------------------------------------------------------


def told(sizes: tuple[int, ...]) -> Catalog:
    """With a value of each kind."""
    catalog = Catalog(Level(len(sizes) - 1), shape(*sizes))
    catalog.add(record("1", PatientName="Yamada^Tarou=山田^太郎", PatientComments='"quoted"\n, and more'))
    catalog.add(
        record("1", "1.1", ModalitiesInStudy=("CT", "MR"), NumberOfStudyRelatedInstances=7, StudyDate="")
    )
    return catalog


EXAMPLES = [(2, 3), (1, 1, 3), (2, 3, 4, 6)]


@pytest.mark.parametrize("sizes", EXAMPLES, ids=str)
def test_a_document_is_the_same_again(sizes: tuple[int, ...]) -> None:
    catalog = told(sizes)
    text = catalog.to_json()
    again = Catalog.from_json(text)
    assert again == catalog
    assert again.to_json() == text
    assert Catalog.from_json(text.encode()) == catalog
    assert Catalog.from_json(catalog.to_json(indent=2)) == catalog
    assert list(map(record_of, again)) == list(map(record_of, catalog))
    assert document(text)["level"] == catalog.level.word
    assert len(entities(text)) == sum(catalog.count(level) for level in Level if level <= catalog.level)


def record_of(one: Record) -> tuple[Level, dict[str, Any]]:
    return one.level, dict(one.values)


@pytest.mark.parametrize("level", list(Level))
def test_nothing_can_be_written_and_read(level: Level) -> None:
    again = Catalog.from_json(Catalog(level).to_json())
    assert again == Catalog(level)
    assert again.level == level
    assert list(again.provenance) == []


def test_what_a_document_has_more_stays_in_it() -> None:
    text = json.loads(told((2, 3)).to_json())
    text["x-site"] = {"ward": 7}
    text["patients"][0]["x-note"] = ["seen", 2]
    again = json.loads(Catalog.from_json(json.dumps(text)).to_json())
    assert again["x-site"] == {"ward": 7}
    assert again["patients"][0]["x-note"] == ["seen", 2]


def broken() -> Iterator[Any]:
    text = told((2, 3)).to_json()
    whole = json.loads(text)
    yield pytest.param(text[: len(text) // 2], id="cut")
    yield pytest.param("", id="empty")
    yield pytest.param("PatientID,StudyDate", id="text")
    yield pytest.param("[]", id="list")
    yield pytest.param("{}", id="no format")
    yield pytest.param(json.dumps(whole | {"format": "recipe"}), id="another format")
    yield pytest.param(json.dumps(whole | {"version": 2}), id="newer")
    yield pytest.param(json.dumps(whole | {"version": "one"}), id="version is no number")
    yield pytest.param(json.dumps(whole | {"level": "drawer"}), id="no level")
    yield pytest.param(json.dumps(whole | {"patients": 7}), id="no list")
    yield pytest.param(json.dumps(whole | {"patients": [7]}), id="no patient")
    yield pytest.param(b"\xff\xfe\x00", id="bytes")


@pytest.mark.parametrize("text", list(broken()))
def test_a_document_that_is_none_is_a_mistake_of_who_gave_it(text: str | bytes) -> None:
    with pytest.raises(ConfigError) as caught:
        Catalog.from_json(text)
    assert str(caught.value)


def test_a_newer_version_is_named() -> None:
    text = json.loads(told((1, 1)).to_json()) | {"version": 2}
    with pytest.raises(ConfigError, match="2"):
        Catalog.from_json(json.dumps(text))


@pytest.mark.parametrize("sizes", EXAMPLES, ids=str)
def test_lines_and_tables_hold_every_leaf(sizes: tuple[int, ...]) -> None:
    catalog = told(sizes)
    lines = list(catalog.to_ndjson())
    assert all("\n" not in line.rstrip("\n") for line in lines)
    assert [json.loads(line)[KEYS[catalog.level]] for line in lines] == [one.uid for one in catalog]
    assert paths(Catalog.from_ndjson(lines)) == paths(catalog)
    table = "".join(line if line.endswith("\n") else f"{line}\n" for line in catalog.to_csv())
    import csv
    import io

    rows = list(csv.DictReader(io.StringIO(table)))
    assert [row[KEYS[catalog.level]] for row in rows] == [one.uid for one in catalog]
    assert rows[0]["PatientName"] == "Yamada^Tarou=山田^太郎"
    assert rows[0]["PatientComments"] == '"quoted"\n, and more'


def test_a_tree_for_people_shows_unknown_counts_as_such() -> None:
    catalog = Catalog(STUDY, [study("1", 5, StudyDate="20190102"), study("2", StudyDate="20180102")])
    shown = "\n".join(catalog.tree())
    assert "?" in shown
    assert "5" in shown
    assert shown.index("20180102" if "20180102" in shown else "2018-01-02") < shown.index(
        "20190102" if "20190102" in shown else "2019-01-02"
    )
    evil = Catalog(STUDY, [study("1", 5, StudyDescription="\x1b[2J\nnext")])
    for line in [*evil.tree(), *evil.lines()]:
        assert line.rstrip("\n").isprintable() or "\x1b" not in line
        assert "\n" not in line.rstrip("\n")


# size ---------------------------------------------------------------------------------------------------------------

BUILD = """
import sys
from dcmflow import Level, Record
from dcmflow.catalog.catalog import Catalog

def images(first, last):
    for n in range(first, last):
        yield Record(Level.IMAGE, {
            "PatientID": f"P{n // 1000}", "PatientName": f"Name^{n // 1000}", "StudyInstanceUID": f"2.25.1.{n // 500}",
            "StudyDescription": f"Study {n // 500}", "StudyDate": "20190625", "SeriesInstanceUID": f"2.25.2.{n // 100}",
            "SeriesDescription": f"Series {n // 100}", "Modality": "MR", "SeriesNumber": n // 100 % 5,
            "SOPClassUID": "1.2.840.10008.5.1.4.1.1.4", "SOPInstanceUID": f"2.25.3.{n}", "InstanceNumber": n % 100,
        })

def used():
    with open("/proc/self/status") as status:  # ru_maxrss would begin with that of the process that started this one
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024

before = used()
catalog = Catalog(Level.IMAGE, images(0, COUNT))
print((used() - before) // COUNT)
half = Catalog(Level.IMAGE, images(COUNT // 2, COUNT + COUNT // 2))
print(len(catalog), len(catalog | half), len(catalog - half), len(catalog & half), len(catalog ^ half))
print(len(catalog.subtree(catalog.find(Level.STUDY, "2.25.1.7"))))
"""


@pytest.mark.timeout(60)
def test_an_image_takes_less_than_two_kilobytes_and_large_sets_can_be_reckoned_with() -> None:
    """A million of them fit into 2 GB."""
    count = 100_000
    done = subprocess.run(
        [sys.executable, "-c", BUILD.replace("COUNT", str(count))],
        env={"PYTHONPATH": SOURCE},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    each, sizes, below = done.stdout.splitlines()
    assert int(each) < 2000
    half = count // 2
    assert [int(size) for size in sizes.split()] == [count, count + half, half, half, count]
    assert int(below) == 500
