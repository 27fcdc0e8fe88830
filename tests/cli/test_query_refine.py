"""An earlier result as what to ask about."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from dcmflow.catalog.catalog import Catalog
from dcmflow.cli.query_refine import entities, read_result
from dcmflow.dicom.level import Level
from dcmflow.dicom.query import Query
from dcmflow.dicom.record import Record
from dcmflow.errors import ConfigError

SERIES = [("P1", "1.1", "1.1.1"), ("P1", "1.1", "1.1.2"), ("P1", "1.2", "1.2.1"), ("P2", "2.1", "2.1.1")]
KEYS = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID")


def catalog(*more: Record) -> Catalog:
    made = Catalog(
        Level.SERIES, [Record(Level.SERIES, dict(zip(KEYS, path, strict=True))) for path in SERIES]
    )
    for record in more:
        made.add(record)
    return made


def asked(catalog: Catalog, level: Level, **keys: str) -> list[tuple[str, ...] | None]:
    query = Query.of(keys, level)
    return [about and tuple(about.keys.values()) for about in entities(catalog, query)]


def test_what_lies_at_the_level_that_is_asked_for_is_asked_about_or_what_is_lowest() -> None:
    assert asked(catalog(), Level.IMAGE) == SERIES
    assert asked(catalog(), Level.SERIES) == SERIES
    assert asked(catalog(), Level.STUDY) == [("P1", "1.1"), ("P1", "1.2"), ("P2", "2.1")]
    assert asked(catalog(), Level.PATIENT) == [("P1",), ("P2",)]


def test_what_has_nothing_below_it_stands_for_all_below_it() -> None:
    alone = Record(Level.STUDY, {"PatientID": "P3", "StudyInstanceUID": "3.1"})
    assert asked(catalog(alone), Level.IMAGE) == [*SERIES, ("P3", "3.1")]


def test_keys_that_are_unique_choose_among_them() -> None:
    assert asked(catalog(), Level.IMAGE, PatientID="P2") == [SERIES[3]]
    assert asked(catalog(), Level.IMAGE, StudyInstanceUID="1.2\\2.1") == SERIES[2:]
    assert asked(catalog(), Level.IMAGE, PatientID="P9") == []


def test_nobody_is_asked_about_without_a_unique_key() -> None:
    nameless = Record(Level.PATIENT, {"PatientID": "", "PatientName": "Doe"})
    assert asked(Catalog(Level.PATIENT, [nameless]), Level.STUDY) == [None]
    study = Record(Level.STUDY, {"PatientID": "", "StudyInstanceUID": "4.1"})
    assert asked(Catalog(Level.STUDY, [study]), Level.IMAGE) == [("4.1",)]


def test_how_much_there_was_below_is_forgotten_and_the_rest_known() -> None:
    values = {"PatientID": "P1", "StudyInstanceUID": "1.1", "StudyDate": "20190625"}
    record = Record(Level.STUDY, {**values, "NumberOfStudyRelatedInstances": 7})
    [about] = entities(Catalog(Level.STUDY, [record]), Query.of({}, Level.IMAGE))
    assert about is not None
    assert (about.level, dict(about.values)) == (Level.STUDY, values)


def test_a_result_is_read_from_a_file_or_from_stdin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "result.json"
    file.write_text(catalog().to_json())
    assert read_result(str(file)) == catalog()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(catalog().to_json().encode())))
    assert read_result("-") == catalog()


@pytest.mark.parametrize("text", ["", "  \n", "[]", "{}", "no JSON", '{"format": "dcmflow-catalog", "ver'])
def test_what_is_no_result_is_refused_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    file = tmp_path / "result.json"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_result(str(file))
    assert caught.value.file == str(file)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    with pytest.raises(ConfigError) as caught:
        read_result("-")
    assert caught.value.file == "stdin"


def test_a_closed_stdin_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(ConfigError, match="stdin: it is closed"):
        read_result("-")
