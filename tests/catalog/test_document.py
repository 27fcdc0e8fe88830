"""A document says all that a catalog knows, and what cannot be read is told with its place."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog_records import catalog, of, paths, record
from dcmflow.catalog import Catalog, Level, Provenance, Record
from dcmflow.errors import ConfigError

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
numbers = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False)
keywords = words.filter(lambda word: word not in {"patients", "studies", "series", "images", "PatientID"})
values = st.recursive(
    st.none() | words | numbers | st.binary(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3).map(tuple)
        | st.lists(st.dictionaries(st.sampled_from(["CodeValue", "CodeMeaning"]), inner), max_size=2).map(
            tuple
        )
    ),
    max_leaves=6,
)


@pytest.mark.parametrize("level", Level)
def test_round_trip_of_records(level: Level) -> None:
    found = catalog(*(2, 3, 2, 2)[: level + 1])
    assert Catalog.from_json(found.to_json()) == found
    assert Catalog.from_json(found.to_json(indent=2).encode()) == found
    assert Catalog.from_json(Catalog(level).to_json()) == Catalog(level)


@given(st.dictionaries(keywords, values, max_size=5))
def test_round_trip_of_any_values(more: dict[str, Any]) -> None:
    found = Catalog(Level.PATIENT, [Record(Level.PATIENT, {**more, "PatientID": "1"})])
    again = Catalog.from_json(found.to_json())
    assert again == found
    assert list(again) == list(found)


def test_numbers_that_json_does_not_have() -> None:
    found = Catalog(Level.PATIENT, [record(1, Weights=(float("inf"), float("-inf")))])
    assert Catalog.from_json(found.to_json()) == found
    json.loads(found.to_json(), parse_constant=pytest.fail)


def test_everything_beside_the_records_survives() -> None:
    found = Catalog(
        Level.STUDY,
        [record(1, 1), record(1, 1, StudyDate="20200101"), record(2, 1, StudyInstanceUID="2.25.1.1")],
    )
    found.provenance += [
        Provenance(
            "PACS@example.org:104",
            {"StudyDate": "2019*"},
            Level.STUDY,
            "2024-05-01T10:00:00+02:00",
            ("cut off",),
        ),
        Provenance("/archive"),
    ]
    again = Catalog.from_json(found.to_json())
    assert again.provenance == found.provenance
    assert again.conflicts == found.conflicts
    assert [each.kind for each in again.conflicts] == ["value", "parent"]
    assert again.to_json() == found.to_json()


def test_a_disputed_count_stays_unknown() -> None:
    found = Catalog(Level.STUDY, [record(1, 1, NumberOfStudyRelatedSeries=count) for count in (1, 2)])
    again = Catalog.from_json(found.to_json())
    again.add(record(1, 1, NumberOfStudyRelatedSeries=1))
    assert again == found


def test_keys_that_mean_nothing_to_us_survive() -> None:
    document = json.loads(catalog(1, 1).to_json())
    document["site"] = {"name": "x", "list": [1, [2]]}
    document["patients"][0]["note"] = "kept"
    document["patients"][0]["studies"][0]["review"] = [{"by": "x"}, None]
    again = json.loads(Catalog.from_json(json.dumps(document)).to_json())
    assert again == document
    copied = Catalog.from_json(json.dumps(document)).copy()
    assert json.loads(copied.to_json()) == document


def test_inner_nodes_without_leaves_and_without_keys_survive() -> None:
    found = catalog(1, 1, 1, 1) | of(Level.STUDY, [(1, 2), (2, 1)])
    found.add(
        Record(Level.IMAGE, {"PatientName": "Doe", "SOPInstanceUID": "2.25.7", "StudyDate": "20200101"})
    )
    assert Catalog.from_json(found.to_json()) == found


def test_halves_of_characters_are_spelled_out() -> None:
    found = Catalog(Level.PATIENT, provenance=[Provenance("/archive/\udce4")])
    assert Catalog.from_json(found.to_json()).provenance == [Provenance(r"/archive/\udce4")]


def test_a_text_that_is_cut_off_anywhere_is_an_error() -> None:
    text = catalog(1, 1).to_json(indent=1)
    for end in range(len(text)):
        with pytest.raises(ConfigError) as caught:
            Catalog.from_json(text[:end])
        assert caught.value.problem == f"the text is cut off (byte {end})"
        assert caught.value.line == text[:end].count("\n") + 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1:1: the text is cut off (byte 0)"),
        ("x", "line 1:1: the text is not JSON: "),
        ('{"a":\n  x}', "line 2:3: the text is not JSON: invalid character (byte 8)"),
        (b"\xff{}", "line 1:1: the text is not JSON: "),
        ("[" * 100_000, "the text cannot be read: it is nested too deeply"),
        ("1e999", "the text cannot be read: Number out of range"),
        ("[]", "format: this is no catalog"),
        ('{"format": "other"}', "format: this is no catalog"),
    ],
)
def test_what_is_no_catalog(text: str | bytes, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Catalog.from_json(text)
    assert str(caught.value).startswith(words)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"version": 2}, "version: this catalog is of version 2, and this dcmflow reads up to 1"),
        ({"version": "1"}, "version: '1' is no version"),
        ({"level": "serious"}, "level: 'serious' is no level; did you mean 'series'?"),
        ({"level": 3}, "level: 3 is no level"),
        ({"patients": {}}, "patients: a list is expected"),
        ({"patients": [[]]}, "patients[0]: a patient is an object"),
        (
            {"patients": [{"studies": [{"StudyInstanceUID": "1"}, {}]}]},
            "patients[0].studies[1]: a study without StudyInstanceUID",
        ),
        (
            {"patients": [{"studies": [{"StudyInstanceUID": "1", "series": [{}]}]}]},
            "patients[0].studies[0].series: series in a",
        ),
        ({"patients": [{"Data": {"base64": "?"}}]}, "patients[0]: it has a value that cannot be read: "),
        ({"patients": [{"Data": {"float": "one"}}]}, "patients[0]: it has a value that cannot be read: "),
        ({"provenance": ["x"]}, "provenance[0]: an object is expected"),
        ({"provenance": [{"source": 7}]}, "provenance[0]: Expected `str`, got `int`"),
        ({"conflicts": [{"level": "studio"}]}, "conflicts[0].level: 'studio' is no level"),
    ],
)
def test_what_is_wrong_in_a_catalog(more: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Catalog.from_json(json.dumps({"format": "dcmflow-catalog", "version": 1, "level": "study", **more}))
    assert str(caught.value).startswith(words)


def test_keys_from_a_later_time_within_the_version_do_not_matter() -> None:
    document = json.loads(catalog(1, 1).to_json())
    document["provenance"] = [{"source": "x:1", "later": 7}]
    assert Catalog.from_json(b"\xef\xbb\xbf" + json.dumps(document).encode()).provenance == [
        Provenance("x:1")
    ]


leaves = st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.just("study")
shapes = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["studies", "series", "base64", "PatientID", "StudyInstanceUID", "source", "level"]
            ),
            inner,
        )
    ),
)


@given(
    st.dictionaries(
        st.sampled_from(["patients", "level", "provenance", "conflicts", "version"]),
        shapes | st.lists(shapes),
    )
)
def test_whatever_it_says_it_is_read_or_refused(more: dict[str, Any]) -> None:
    document = {"format": "dcmflow-catalog", "version": 1, "level": "study", **more}
    try:
        found = Catalog.from_json(json.dumps(document))
    except ConfigError:
        return
    assert Catalog.from_json(found.to_json()) == found


def test_the_document_of_a_part_of_the_world() -> None:
    found = of(Level.IMAGE, list(paths(2, 1, 1, 1)))
    document = json.loads(found.to_json())
    assert document["patients"][1] == {
        "PatientID": "PAT2",
        "PatientName": "Doe^2",
        "studies": [
            {
                "StudyInstanceUID": "2.25.2.1",
                "StudyDate": "20190601",
                "StudyDescription": "S1",
                "series": [
                    {
                        "SeriesInstanceUID": "2.25.2.1.1",
                        "SeriesNumber": 1,
                        "Modality": "MR",
                        "images": [{"SOPInstanceUID": "2.25.2.1.1.1", "InstanceNumber": 1}],
                    }
                ],
            }
        ],
    }
