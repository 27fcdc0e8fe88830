"""Tables of queries."""

from __future__ import annotations

from pathlib import Path

import pytest

from dcmflow.dicom.level import Level
from dcmflow.dicom.query_table import Row, read_table
from dcmflow.errors import ConfigError


def table(folder: Path, text: str) -> Path:
    path = folder / "wanted.csv"
    path.write_bytes(text.encode())
    return path


def rows(folder: Path, text: str, level: Level | None = None, **keys: str) -> list[Row]:
    return read_table(table(folder, text), keys, level, unlimited=False)


SAME = {
    "commas": "PatientID,StudyDate\nP1,20190625\nP2,\n",
    "semicolons": "PatientID;StudyDate\nP1;20190625\nP2;\n",
    "tabs": "PatientID\tStudyDate\nP1\t20190625\nP2\t\n",
    "quotes": '"PatientID","StudyDate"\n"P1","20190625"\n"P2",""\n',
    "byte order mark and CRLF": "\ufeffPatientID,StudyDate\r\nP1,20190625\r\nP2,\r\n",
    "blanks": " PatientID , StudyDate\n P1, 20190625 \nP2 , \n",
    "tags": '"0010,0020",00080020\nP1,20190625\nP2,\n',
    "no line end": "PatientID,StudyDate\nP1,20190625\nP2,",
}


@pytest.mark.parametrize("text", SAME.values(), ids=list(SAME))
def test_each_row_is_a_query(tmp_path: Path, text: str) -> None:
    first, second = rows(tmp_path, text)
    assert first.query.keys == {"PatientID": "P1", "StudyDate": "20190625"}
    assert second.query.keys == {"PatientID": "P2", "StudyDate": ""}
    assert first.query.level is Level.STUDY
    assert (first.number, first.line, first.label) == (1, 2, "PatientID=P1 StudyDate=20190625")
    assert (second.number, second.line, second.label) == (2, 3, "PatientID=P2")


def test_lines_are_those_of_the_file_whatever_lies_between(tmp_path: Path) -> None:
    text = 'PatientID,StudyDescription\n\nP1,"Head\n2019"\n\n\nP2,x\n'
    assert [(row.number, row.line) for row in rows(tmp_path, text)] == [(1, 3), (2, 7)]


def test_a_separator_in_quotes_is_none(tmp_path: Path) -> None:
    text = 'PatientID;"0008,1030"\nP1;"a,b,c"\n'
    assert rows(tmp_path, text)[0].query.keys == {"PatientID": "P1", "StudyDescription": "a,b,c"}


def test_keys_beside_the_table_hold_for_every_row(tmp_path: Path) -> None:
    both = rows(tmp_path, "PatientID\nP1\nP2\n", StudyDescription="Head*", Modality="")
    assert [row.query.keys["StudyDescription"] for row in both] == ["Head*"] * 2
    assert {row.query.level for row in both} == {Level.SERIES}
    assert {row.query.level for row in rows(tmp_path, "PatientID\nP1\n", Level.IMAGE)} == {Level.IMAGE}


WRONG = {
    "empty": ("", "it is empty"),
    "blank": ("\n \n", "it is empty"),
    "a header alone": ("PatientID\n", "no row"),
    "an unknown column": ("PatientIdd,StudyDate\nP1,\n", r":1: .*PatientIdd.*did you mean PatientID"),
    "no header": ("P1,20190625\nP2,20190625\n", ":1: .*the first row names keys"),
    "a column twice": ("PatientID,00100020\nP1,P2\n", ":1: there are two columns PatientID"),
    "too many values": ("PatientID\nP1\nP2,7\n", ":3: the row has 2 values, the header 1"),
    "too few values": ("PatientID,StudyDate\nP1\n", ":2: the row has 1 value, the header 2"),
    "everything": ("PatientID,StudyDate\nP1,\n,\n", ":3: the row asks for everything"),
    "everything by a star": ("PatientID\n*\n", ":2: the row asks for everything"),
    "no date": ("PatientID,StudyDate\nP1,someday\n", ":2: .*someday"),
    "an open quote": ('PatientID\n"P1\n', "no CSV"),
}


@pytest.mark.parametrize(("text", "said"), WRONG.values(), ids=list(WRONG))
def test_what_cannot_be_right_is_said_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        rows(tmp_path, text)
    assert caught.value.file == str(tmp_path / "wanted.csv")


def test_a_column_that_is_given_beside_the_table_too_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="PatientID is a column, and is given beside the table too"):
        rows(tmp_path, "PatientID\nP1\n", PatientID="P2")


def test_text_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "wanted.csv"
    path.write_bytes("PatientName\nMüller\n".encode("latin-1"))
    with pytest.raises(ConfigError, match="no UTF-8 text"):
        read_table(path, {}, None, unlimited=False)


def test_rows_may_ask_for_everything_where_that_is_meant(tmp_path: Path) -> None:
    [row] = read_table(table(tmp_path, "PatientID\n*\n"), {}, None, unlimited=True)
    assert (row.query.unlimited, row.label) == (True, "PatientID=*")
