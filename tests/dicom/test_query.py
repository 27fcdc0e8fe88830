"""Queries: their keys, their level, and the identifier that a server gets."""

from __future__ import annotations

from datetime import date, datetime, time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from dcmflow.dicom.level import Level
from dcmflow.dicom.query import Query, canonical, restricts, unique_keys
from dcmflow.errors import ConfigError
from dcmflow.testing.peer_dataset import decoded, encoded

IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
SYNTAXES = pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])


def written(query: Query, syntax: str = EXPLICIT, **how: Any) -> Dataset:
    """The identifier as pydicom reads it; it writes the same bytes again."""
    data = query.identifier(syntax, **how)
    read = decoded(data, syntax)
    for _ in read.iterall():
        pass
    again = Dataset()
    for element in read:
        again.add(element)
    assert encoded(again, syntax) == data
    return read


# -- the level


@pytest.mark.parametrize(
    ("keys", "level"),
    [
        ([], Level.STUDY),
        (["PatientName=Doe*"], Level.STUDY),
        (["PatientID=1", "StudyDate="], Level.STUDY),
        (["StudyDate=20190101-", "SeriesDescription"], Level.SERIES),
        (["EchoTime"], Level.IMAGE),
        (["SOPInstanceUID=1.2.3"], Level.IMAGE),
        (["RequestAttributesSequence.ScheduledProcedureStepID=4"], Level.SERIES),
    ],
)
def test_the_lowest_key_says_the_level_and_studies_are_the_highest(keys: list[str], level: Level) -> None:
    assert Query.of(keys).level is level


def test_a_level_that_is_said_is_taken() -> None:
    assert Query.of(["EchoTime=5"], "study").level is Level.STUDY
    assert Query.of({"StudyDate": ""}, Level.PATIENT).level is Level.PATIENT
    with pytest.raises(ConfigError, match="did you mean 'series'"):
        Query.of([], "serie")


# -- keys


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("PatientName", "PatientName"),
        (" 00100010 ", "PatientName"),
        ("(0010,0010)", "PatientName"),
        (0x00100010, "PatientName"),
        (
            "RequestAttributesSequence.ScheduledProcedureStepID",
            "RequestAttributesSequence[0].ScheduledProcedureStepID",
        ),
        (
            "RequestAttributesSequence[0].ScheduledProcedureStepID",
            "RequestAttributesSequence[0].ScheduledProcedureStepID",
        ),
        ('("SIEMENS CSA HEADER",0029,10)', '("SIEMENS CSA HEADER",0029,10)'),
    ],
)
def test_one_way_to_write_a_key(key: str | int, name: str) -> None:
    assert canonical(key) == name
    assert canonical(name) == name


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("PatientIdd", "PatientID"),
        ("StudyDat", "StudyDate"),
        ("", "keyword"),
        ("QueryRetrieveLevel", "said by dcmflow itself"),
        ("SpecificCharacterSet", "said by dcmflow itself"),
        ("(0002,0010)", "no element of a data set"),
        ("(0000,0100)", "no element of a data set"),
    ],
)
def test_a_key_that_is_none(key: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Query.of({key: "x"})


def test_a_key_that_comes_twice() -> None:
    with pytest.raises(ConfigError, match="PatientID comes twice: '1' and '2'"):
        Query.of(["PatientID=1", "00100020=2"])


def test_a_text_without_a_key() -> None:
    for text in ("=Doe", " = ", ""):
        with pytest.raises(ConfigError, match="KEY=VALUE"):
            Query.of([text])


def test_what_follows_the_first_equals_sign_is_the_value() -> None:
    assert Query.of(["StudyDescription=a=b", "PatientID"]).keys == {
        "StudyDescription": "a=b",
        "PatientID": "",
    }


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (5, "5"),
        (["1.2", "1.3"], "1.2\\1.3"),
        (("1.2",), "1.2"),
        ([], ""),
        ("Doe*", "Doe*"),
    ],
)
def test_values_become_text(value: object, text: str) -> None:
    keyword = "StudyInstanceUID" if "1.2" in text else "PatientID"
    assert Query.of({keyword: value}).keys == {keyword: text}


@pytest.mark.parametrize(
    ("keyword", "value", "text"),
    [
        ("StudyDate", date(2019, 6, 25), "20190625"),
        ("StudyDate", "20190101-20191231", "20190101-20191231"),
        ("StudyDate", "-20191231", "-20191231"),
        ("StudyTime", time(7, 8, 9), "070809"),
        ("StudyTime", "0700-", "0700-"),
        ("AcquisitionDateTime", datetime(2019, 6, 25, 7, 8, 9), "20190625070809"),
    ],
)
def test_dates_and_times_are_written_as_dicom_writes_them(keyword: str, value: object, text: str) -> None:
    query = Query.of({keyword: value})
    assert query.keys == {keyword: text}
    assert written(query)[keyword].value == text


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        ("", False),
        ("*", False),
        ("**", False),
        ("?", True),
        ("a*", True),
        ("*a", True),
        (" ", True),
        ("0", True),
    ],
)
def test_universal_matching(value: str, answer: bool) -> None:
    assert restricts(value) is answer
    assert Query.of({"PatientName": value}).unlimited is not answer


def test_conditions_are_the_keys_that_restrict() -> None:
    query = Query.of(["PatientName=*", "StudyDate=20190101-", "StudyDescription"])
    assert dict(query.conditions) == {"StudyDate": "20190101-"}
    assert query.with_keys({"PatientName": "Doe"}).conditions == {
        "PatientName": "Doe",
        "StudyDate": "20190101-",
    }


def test_at_another_level_keys_of_lower_ones_are_left_out() -> None:
    query = Query.of(["PatientID=1", "StudyDate=20190101-", "SeriesNumber=2", "EchoTime=5"])
    assert query.at(Level.SERIES) == Query(
        Level.SERIES, {"PatientID": "1", "StudyDate": "20190101-", "SeriesNumber": "2"}
    )
    assert query.at(Level.PATIENT) == Query(Level.PATIENT, {"PatientID": "1"})


def test_unique_keys_of_a_level() -> None:
    assert unique_keys(Level.SERIES) == ("PatientID", "StudyInstanceUID", "SeriesInstanceUID")


# -- the identifier


@SYNTAXES
def test_the_identifier_is_what_pydicom_would_write(syntax: str) -> None:
    query = Query.of(
        {
            "StudyInstanceUID": ["1.2.3", "1.2.34"],
            "PatientName": "Doe^J*",
            "SeriesNumber": "7",
            "StudyDate": "20190101-",
            "EchoTime": "",
            "Rows": "512",
            "ModalitiesInStudy": "MR\\CT",
            "SOPInstanceUID": "*",
        }
    )
    meant = Dataset()
    meant.QueryRetrieveLevel = "IMAGE"
    meant.StudyInstanceUID = ["1.2.3", "1.2.34"]
    meant.PatientName = "Doe^J*"
    meant.SeriesNumber = 7
    meant.StudyDate = "20190101-"
    meant.EchoTime = None
    meant.Rows = 512
    meant.ModalitiesInStudy = ["MR", "CT"]
    meant.SOPInstanceUID = ""
    assert query.identifier(syntax) == encoded(meant, syntax)


@SYNTAXES
def test_a_key_within_a_sequence(syntax: str) -> None:
    query = Query.of(
        [
            "RequestAttributesSequence.ScheduledProcedureStepID=4",
            "RequestAttributesSequence.RequestedProcedureID",
        ]
    )
    (item,) = written(query, syntax).RequestAttributesSequence
    assert item.ScheduledProcedureStepID == "4"
    assert item.RequestedProcedureID in (None, "")
    assert len(item) == 2


def test_a_private_key_brings_its_creator() -> None:
    query = Query.of(['("ACME 1.1",0029,10,LO)=x'])
    read = written(query)
    block = read.private_block(0x0029, "ACME 1.1")
    assert block[0x10].value == "x"


def test_a_character_set_is_said_where_it_is_needed() -> None:
    assert "SpecificCharacterSet" not in written(Query.of({"PatientName": "Doe"}))
    read = written(Query.of({"PatientName": "Müller^*"}))
    assert read.SpecificCharacterSet == "ISO_IR 192"
    assert read.PatientName == "Müller^*"
    latin = written(Query.of({"PatientName": "Müller^*"}), character_set="ISO_IR 100")
    assert latin.SpecificCharacterSet == "ISO_IR 100"
    assert latin.PatientName == "Müller^*"
    assert "M\xfcller^*".encode("latin-1") in Query.of({"PatientName": "Müller^*"}).identifier(
        character_set="ISO_IR 100"
    )


def test_text_that_a_character_set_does_not_have() -> None:
    with pytest.raises(ConfigError, match="ISO_IR 100"):
        Query.of({"PatientName": "*山田*"}).identifier(character_set="ISO_IR 100")


@pytest.mark.parametrize(("keyword", "value"), [("Rows", "many"), ("PixelData", "x*"), ("Rows", "1e99")])
def test_a_value_that_is_none_of_its_vr(keyword: str, value: str) -> None:
    with pytest.raises(ConfigError, match=keyword):
        Query.of({keyword: value})


TEXTS = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp"), exclude_characters="\\^="),
    max_size=30,
)


@given(
    st.dictionaries(
        st.sampled_from(["StudyDescription", "PatientID", "SeriesDescription", "PatientName"]), TEXTS
    ),
    st.sampled_from([IMPLICIT, EXPLICIT]),
)
def test_what_is_asked_is_what_a_server_reads(keys: dict[str, str], syntax: str) -> None:
    query = Query.of(keys)
    read = written(query, syntax)
    assert read.QueryRetrieveLevel == query.level.name
    for keyword, value in keys.items():
        meant = value if restricts(value) else ""
        assert str(read[keyword].value or "").strip(" ") == meant.strip(" ")
    assert len(read) == len(keys) + 1 + ("SpecificCharacterSet" in read)
