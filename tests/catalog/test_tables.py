"""NDJSON and CSV: a line for each leaf, which stands for itself."""

from __future__ import annotations

import csv
import json

import pytest

from catalog_records import catalog, of, record
from dcmflow.catalog import Catalog, Level, Record, tables
from dcmflow.errors import ConfigError


@pytest.mark.parametrize("level", Level)
def test_ndjson_round_trip(level: Level) -> None:
    found = catalog(*(2, 3, 2, 2)[: level + 1])
    lines = list(found.to_ndjson())
    assert len(lines) == len(found)
    assert [json.loads(line) for line in lines] == [dict(each.values) for each in found]
    assert Catalog.from_ndjson(lines) == found
    assert Catalog.from_ndjson(["", *(f"{line}\n" for line in lines), "\n"]) == found


def test_what_has_no_leaf_has_a_line_too() -> None:
    found = of(Level.STUDY, [(1, 2)]) | catalog(1, 1, 1, 1)
    lines = list(found.to_ndjson())
    assert len(lines) == 2
    assert Catalog.from_ndjson(lines) == Catalog.from_ndjson(reversed(lines)) == found


def test_values_of_all_kinds() -> None:
    given = record(
        1, 1, Data=b"\0\xff", Numbers=(1, 2.5), Codes=({"CodeValue": "T-1"},), Comment="a\nb", Nothing=None
    )
    (line,) = Catalog(Level.STUDY, [given]).to_ndjson()
    assert "\n" not in line
    assert tables.record_of(line) == given


def test_no_line_is_an_empty_catalog() -> None:
    assert Catalog.from_ndjson([]) == Catalog(Level.STUDY)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"PatientID": "1"', "line 2:18: the text is cut off"),
        ("[]", "line 2: a record is an object"),
        ('{"StudyDate": "20200101"}', "line 2: a record has one of PatientID, StudyInstanceUID, "),
        ('{"PatientID": {"base64": "?"}}', "line 2: a value cannot be read: "),
    ],
)
def test_what_is_no_record(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Catalog.from_ndjson(['{"PatientID": "1"}', text])
    assert str(caught.value).startswith(words)


def test_csv_has_a_column_for_each_element() -> None:
    found = Catalog(
        Level.STUDY,
        [record(1, 1, StudyComments='say "a, b"\nc'), record(2, 1, ModalitiesInStudy=("CT", "MR"))],
    )
    rows = list(csv.DictReader("\n".join(found.to_csv()).splitlines(keepends=True)))
    assert list(rows[0]) == [
        "PatientName",
        "PatientID",
        "StudyDate",
        "ModalitiesInStudy",
        "StudyDescription",
        "StudyInstanceUID",
        "StudyComments",
    ]
    assert [row["StudyComments"] for row in rows] == ['say "a, b"\nc', ""]
    assert [row["ModalitiesInStudy"] for row in rows] == ["", r"CT\MR"]


def test_csv_with_chosen_columns() -> None:
    rows = list(catalog(1, 1, 1, 2).to_csv(["SOPInstanceUID", "PatientID", "EchoTime"]))
    assert rows == ["SOPInstanceUID,PatientID,EchoTime", "2.25.1.1.1.1,PAT1,", "2.25.1.1.1.2,PAT1,"]


def test_csv_cells() -> None:
    assert tables.cell((1, 2.5, None, "a")) == r"1\2.5\\a"
    assert tables.cell(({"CodeValue": "T-1"},)) == '[{"CodeValue":"T-1"}]'
    assert tables.cell(b"\0") == '{"base64":"AA=="}'
    assert list(Catalog(Level.STUDY).to_csv()) == [""]
    assert Record(Level.STUDY, {}).get("x") is None
