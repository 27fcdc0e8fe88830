"""Where records go: duplicates filled in, contradictions listed, missing parents found later."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from catalog_records import catalog, paths, record, without
from dcmflow.catalog import Catalog, Conflict, Level, Record

WORLD = list(paths(2, 2, 2, 2))


@st.composite
def holes(draw: st.DrawFn) -> list[Record]:
    """All images of the world, some of them also as records with holes, in any order."""
    complete = [record(*path) for path in WORLD]
    chosen: Sequence[Record] = draw(st.lists(st.sampled_from(complete), max_size=20))
    holed = []
    for each in chosen:
        optional = [keyword for keyword in each.values if keyword != "SOPInstanceUID"]
        holed.append(without(each, *draw(st.sets(st.sampled_from(optional)))))
    return draw(st.permutations(complete + holed))


@given(holes())
def test_the_order_and_the_holes_of_records_do_not_matter(records: list[Record]) -> None:
    found = Catalog(Level.IMAGE, records)
    assert found == catalog(2, 2, 2, 2)
    assert found.conflicts == []


def test_a_later_record_fills_in_what_an_earlier_one_did_not_say() -> None:
    found = Catalog(Level.STUDY, [record(1, 1, StudyDescription="", PatientName=None)])
    found.add(record(1, 1, AccessionNumber="A7"))
    found.add(record(1, 1, AccessionNumber="", PatientName=""))
    assert list(found) == [record(1, 1, AccessionNumber="A7")]
    assert found.conflicts == []


def test_a_value_that_differs_is_listed_once_and_the_first_one_stays() -> None:
    found = catalog(1, 1, 1, 2)
    for name in ("Roe", "Poe"):
        found.add(record(1, 1, 1, 1, PatientName=name))
        found.add(record(1, 1, 1, 2, PatientName=name))
    assert [each.text("PatientName") for each in found] == ["Doe^1", "Doe^1"]
    assert found.conflicts == [
        Conflict(
            "value",
            Level.PATIENT,
            "PAT1",
            "PatientName of patient PAT1 is 'Doe^1' and, elsewhere, 'Roe'",
            "PatientName",
        )
    ]


def test_one_study_of_two_patients_stays_with_the_first() -> None:
    found = catalog(1, 1, 1)
    found.add(record(2, 1, 2, StudyInstanceUID="2.25.1.1"))
    assert found.uids(Level.PATIENT) == ["PAT1"]
    assert found.uids() == ["2.25.1.1.1", "2.25.2.1.2"]
    (conflict,) = found.conflicts
    assert (conflict.kind, conflict.level, conflict.uid) == ("parent", Level.STUDY, "2.25.1.1")
    assert conflict.text == "study 2.25.1.1 is of patient PAT1 and, elsewhere, of patient PAT2"
    assert "Doe^2" not in [each.text("PatientName") for each in found]


def test_one_series_of_two_studies_and_one_image_of_two_series() -> None:
    found = catalog(1, 1, 1, 1)
    assert not found.add(record(1, 1, 2, 1, SOPInstanceUID="2.25.1.1.1.1"))
    assert found.add(record(1, 2, 1, 2, SeriesInstanceUID="2.25.1.1.1"))
    assert [(each.level, each.uid) for each in found.conflicts] == [
        (Level.IMAGE, "2.25.1.1.1.1"),
        (Level.SERIES, "2.25.1.1.1"),
    ]
    assert found.uids(Level.SERIES) == ["2.25.1.1.1"]
    assert found.uids() == ["2.25.1.1.1.1", "2.25.1.2.1.2"]


def test_a_count_that_differs_is_unknown_from_then_on() -> None:
    found = Catalog(Level.STUDY)
    for number in (5, 6, 5):
        found.add(record(1, 1, NumberOfStudyRelatedInstances=number))
    study = found.find(Level.STUDY, "2.25.1.1")
    assert study is not None
    assert found.counts(study)[Level.IMAGE] is None
    assert [(each.kind, each.uid) for each in found.conflicts] == [("count", "2.25.1.1")]


def test_an_empty_patient_id_is_one() -> None:
    found = Catalog(Level.STUDY, [record(1, 1, PatientID=""), record(1, 2, PatientID="")])
    assert found.uids(Level.PATIENT) == [""]
    assert len(found) == 2
    node = found.find(Level.PATIENT, "")
    assert node is not None
    assert [child.path for child in node.children] == [("", "2.25.1.1"), ("", "2.25.1.2")]
    assert found.conflicts == []


def test_patients_without_an_id_are_told_apart_by_name() -> None:
    found = Catalog(Level.STUDY, [record(1, 1, PatientID=""), without(record(2, 1), "PatientID")])
    assert found.uids(Level.PATIENT) == ["", ""]
    assert [each.text("PatientName") for each in found] == ["Doe^1", "Doe^2"]
    assert Catalog(Level.PATIENT, [record(1, PatientID="")]).uids() == [""]


def test_a_missing_upper_key_is_a_place_of_its_own_below_each_patient() -> None:
    keys = ("StudyInstanceUID",)
    found = Catalog(Level.SERIES, [without(record(*path), *keys) for path in paths(2, 1, 2)])
    assert found.count(Level.STUDY) == 2
    assert found.uids(Level.STUDY) == ["", ""]
    assert len(found) == 4
    for each in list(found):
        assert found.discard(each)
    assert not found


def test_a_series_moves_to_its_study_once_that_is_known() -> None:
    found = Catalog(
        Level.SERIES, [without(record(1, 1, 1, StudyComments="seen"), "StudyInstanceUID", "PatientID")]
    )
    assert found.find(Level.STUDY, "2.25.1.1") is None
    assert not found.add(without(record(1, 1, 1), "PatientName"))
    assert list(found) == [record(1, 1, 1, StudyComments="seen")]
    assert found.count(Level.PATIENT) == found.count(Level.STUDY) == 1


def test_a_record_that_names_no_parent_contradicts_none() -> None:
    found = catalog(1, 1, 1, 1)
    assert not found.add(Record(Level.IMAGE, {"SOPInstanceUID": "2.25.1.1.1.1"}))
    assert found.add(Record(Level.IMAGE, {"SeriesInstanceUID": "2.25.1.1.1", "SOPInstanceUID": "2.25.9"}))
    assert found.uids(Level.PATIENT) == ["PAT1"]
    assert found.conflicts == []


def test_elements_of_lower_levels_stay_with_the_record_that_has_them() -> None:
    given = record(1, 1, EchoTime=2.46)
    found = Catalog(Level.STUDY, [given])
    assert list(found) == [given]


def test_what_shares_a_nameless_parent_stays_apart_when_one_finds_its_own() -> None:
    lost, found, third = (
        without(record(1, 1, number), "StudyInstanceUID", "StudyDate", "StudyDescription")
        for number in (1, 2, 3)
    )
    nobody = [without(each, "PatientID", "PatientName") for each in (lost, third)]
    together = Catalog(Level.SERIES, [*nobody, found, lost])
    assert len(together) == len(list(together)) == 3
    assert [(each.text("PatientID"), each.uid) for each in together] == [
        ("PAT1", "2.25.1.1.1"),
        ("PAT1", "2.25.1.1.2"),
        ("", "2.25.1.1.3"),
    ]
    assert together.conflicts == []


def test_values_of_parents_without_keys_go_to_those_that_said_them() -> None:
    given = [without(record(1, study, 1), "StudyInstanceUID", "StudyDate") for study in (1, 2)]
    found = Catalog(Level.SERIES, given)
    assert [each.text("StudyDescription") for each in found] == ["S1", "S2"]
    assert found.conflicts == []
    found.add(without(record(1, 1, 1, StudyDescription="other"), "StudyInstanceUID"))
    assert [each.text for each in found.conflicts] == [
        "series 2.25.1.1.1 is of study without unique key ('S1') and, elsewhere, of study without unique key ('20190601, other')"
    ]


@given(holes())
def test_a_union_in_any_order_gives_the_same(records: list[Record]) -> None:
    half = len(records) // 2
    first, second = Catalog(Level.IMAGE, records[:half]), Catalog(Level.IMAGE, records[half:])
    assert first | second == second | first == catalog(2, 2, 2, 2)
    assert first & second == second & first
    assert first.subtree(next(first.walk())) & first | first == first
    assert Catalog.from_json(first.to_json()) == first.copy() == first
    assert len(list(first)) == len(first)
    assert sorted(each.uid for each in first.walk() if each.level is Level.IMAGE) == sorted(
        {each.uid for each in records[:half]}
    )


def test_contradictions_above_a_parent_without_a_key() -> None:
    given = without(record(1, 1, 1), "StudyInstanceUID")
    found = Catalog(Level.SERIES, [given])
    assert not found.add(Record(Level.SERIES, {**given.values, "PatientName": "Roe"}))
    assert not found.add(Record(Level.SERIES, {**given.values, "PatientID": "PAT2"}))
    assert [(each.kind, each.level, each.keyword) for each in found.conflicts] == [
        ("value", Level.PATIENT, "PatientName"),
        ("parent", Level.SERIES, "PatientID"),
    ]
    assert list(found) == [given]
