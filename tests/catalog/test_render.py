"""What people see: a tree, totals, a line per leaf, and nothing that a terminal obeys."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog_records import catalog, record
from dcmflow.catalog import Catalog, Level, Record, render


def test_a_tree_down_to_images() -> None:
    found = Catalog(
        Level.IMAGE,
        [
            record(2, 1, 1, 1),
            record(1, 2, 1, 2),
            record(1, 2, 1, 1, PatientBirthDate="19700203", PatientSex="F", StudyTime="101112.5"),
            record(1, 1, 10, 1),
            record(1, 1, 9, 1, SeriesDescription="Localizer"),
        ],
    )
    assert list(found.tree()) == [
        "PAT1  Doe^1  1970-02-03  F  [2 studies, 3 series, 4 images]",
        "├── 2019-06-01  S1  [2 series, 2 images]",
        "│   ├── 9  MR  Localizer  [1 image]",
        "│   │   └── 1  2.25.1.1.9.1",
        "│   └── 10  MR  [1 image]",
        "│       └── 1  2.25.1.1.10.1",
        "└── 2019-06-02  10:11  S2  [1 series, 2 images]",
        "    └── 1  MR  [2 images]",
        "        ├── 1  2.25.1.2.1.1",
        "        └── 2  2.25.1.2.1.2",
        "PAT2  Doe^2  [1 study, 1 series, 1 image]",
        "└── 2019-06-01  S1  [1 series, 1 image]",
        "    └── 1  MR  [1 image]",
        "        └── 1  2.25.2.1.1.1",
        "2 patients, 3 studies, 4 series, 5 images",
    ]


def test_what_is_unknown_is_shown_as_unknown() -> None:
    found = Catalog(Level.STUDY, [record(1, 1, NumberOfStudyRelatedInstances=0), record(1, 2)])
    assert list(found.tree()) == [
        "PAT1  Doe^1  [2 studies, ? series, ? images]",
        "├── 2019-06-01  S1  [? series, 0 images]",
        "└── 2019-06-02  S2  [? series, ? images]",
        "1 patient, 2 studies, ? series, ? images",
    ]
    assert list(catalog(2).tree(totals=False)) == [
        "PAT1  Doe^1  [? studies, ? series, ? images]",
        "PAT2  Doe^2  [? studies, ? series, ? images]",
    ]


def test_what_the_place_has_beyond_the_catalog_is_told() -> None:
    found = Catalog(Level.IMAGE, [record(1, 1, 1, 1, NumberOfStudyRelatedInstances=5)])
    assert "└── 2019-06-01  S1  [1 series, 1 of 5 images]" in list(found.tree())
    assert list(found.tree())[-1] == "1 patient, 1 study, 1 series, 1 image"


def test_an_empty_catalog_has_nothing() -> None:
    assert list(Catalog(Level.IMAGE).tree()) == ["0 patients, 0 studies, 0 series, 0 images"]
    assert list(Catalog(Level.IMAGE).lines()) == []


def test_what_says_nothing_of_itself_still_has_a_name() -> None:
    found = Catalog(Level.IMAGE, [Record(Level.IMAGE, {"SOPInstanceUID": "2.25.7"})])
    found.add(Record(Level.STUDY, {"PatientID": "1", "StudyInstanceUID": "2.25.8", "StudyDescription": " "}))
    assert list(found.tree(totals=False)) == [
        "1  [1 study, ? series, ? images]",
        "└── 2.25.8  [? series, ? images]",
        "(no PatientID)  [1 study, 1 series, 1 image]",
        "└── (study without StudyInstanceUID)  [1 series, 1 image]",
        "    └── (series without SeriesInstanceUID)  [1 image]",
        "        └── 2.25.7",
    ]
    assert list(found.lines())[-1] == "?/?/?/2.25.7  (series without SeriesInstanceUID)  2.25.7"


def test_a_line_per_leaf() -> None:
    assert list(catalog(1, 1, 1, 1).lines()) == [
        "PAT1/2.25.1.1/2.25.1.1.1/2.25.1.1.1.1  1  MR  1  2.25.1.1.1.1"
    ]
    assert list(catalog(1, 1).lines()) == ["PAT1/2.25.1.1  PAT1  Doe^1  2019-06-01  S1  [? series, ? images]"]


@pytest.mark.parametrize(
    ("width", "text"),
    [
        (None, "PAT1  山田^太郎  [? studies, ? series, ? images]"),
        (12, "PAT1  山田^…"),
        (11, "PAT1  山田…"),
        (10, "PAT1  山…"),
        (5, "PAT1…"),
        (1, "…"),
    ],
)
def test_lines_are_cut_to_the_columns_of_a_terminal(width: int | None, text: str) -> None:
    found = Catalog(Level.PATIENT, [record(1, PatientName="山田^太郎")])
    assert next(found.tree(width=width)) == text


def test_what_fits_exactly_is_not_cut() -> None:
    text = next(catalog(1).tree())
    assert next(catalog(1).tree(width=len(text))) == text
    assert next(catalog(1).tree(width=len(text) - 1)) == f"{text[: len(text) - 2]}…"


unsafe = st.text(
    st.sampled_from("\x1b[31m\x07\r\n\t\x9b\x7f\u2028\u202e\ud800 aä山\\") | st.characters(), max_size=12
)


@given(
    st.fixed_dictionaries(
        dict.fromkeys(
            ("PatientID", "PatientName", "StudyDate", "StudyTime", "StudyDescription", "ModalitiesInStudy"),
            unsafe,
        )
    )
)
def test_nothing_that_a_terminal_obeys_gets_through(values: dict[str, Any]) -> None:
    found = Catalog(Level.STUDY, [record(1, 1, **values, StudyInstanceUID="2.25.\x1b[2J")])
    lines = [*found.tree(), *found.tree(width=20), *found.lines()]
    assert len(lines) == 3 + 3 + 1
    for line in lines:
        assert line.isprintable() or not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]", line)
        line.encode()


def test_what_is_escaped_can_still_be_read() -> None:
    assert render.printable("a\x1b[31m\nb\u202ec") == r"a\x1b[31m\nb\u202ec"
