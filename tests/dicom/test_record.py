"""Answers as values."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from dcmflow.dicom.encoding import encoding_of
from dcmflow.dicom.header import Header
from dcmflow.dicom.level import Level
from dcmflow.dicom.payload import MemoryPayload
from dcmflow.dicom.record import Record
from dcmflow.errors import DatasetError
from dcmflow.testing.peer_dataset import encoded

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"


def record_of(data: Dataset | bytes, level: Level = Level.SERIES, syntax: str = EXPLICIT) -> Record:
    return Record.of(level, Header(MemoryPayload(encoded(data, syntax)), encoding_of(syntax)))


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
def test_every_element_is_kept_as_it_is(syntax: str) -> None:
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.QueryRetrieveLevel = "SERIES"
    ds.RetrieveAETitle = "PACS"
    ds.InstanceAvailability = "ONLINE"
    ds.PatientID = "P1 "
    ds.PatientName = "Müller^Jörg"
    ds.StudyInstanceUID = "1.2.3"
    ds.SeriesInstanceUID = "1.2.3.4"
    ds.SeriesNumber = 7
    ds.NumberOfSeriesRelatedInstances = 12
    ds.SeriesDescription = ""
    ds.ModalitiesInStudy = ["CT", "MR"]
    item = Dataset()
    item.ScheduledProcedureStepID = "4"
    ds.RequestAttributesSequence = [item]
    record = record_of(ds, syntax=syntax)
    assert record.values == {
        "PatientID": "P1",
        "PatientName": "Müller^Jörg",
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.4",
        "SeriesNumber": 7,
        "NumberOfSeriesRelatedInstances": 12,
        "SeriesDescription": "",
        "ModalitiesInStudy": ("CT", "MR"),
        "RequestAttributesSequence": ({"ScheduledProcedureStepID": "4"},),
    }
    assert record.path == ("P1", "1.2.3", "1.2.3.4")
    assert record.uid == "1.2.3.4"
    assert record.text("ModalitiesInStudy") == "CT\\MR"
    assert record.text("SeriesNumber") == "7"
    assert record.text("StudyDate") == ""
    assert record.get("StudyDate", 5) == 5


def test_what_was_not_returned_is_empty_in_its_path() -> None:
    record = record_of(Dataset(), Level.IMAGE)
    assert record.values == {}
    assert record.path == ("", "", "", "")
    assert record.uid == ""


def test_an_empty_number_is_no_zero() -> None:
    ds = Dataset()
    ds.NumberOfSeriesRelatedInstances = None
    assert not isinstance(record_of(ds).get("NumberOfSeriesRelatedInstances"), int)


def test_group_lengths_are_no_part_of_it() -> None:
    ds = Dataset()
    ds.PatientID = "P1"
    data = b"\x08\0\0\0UL\x04\0\0\0\0\0" + encoded(ds, EXPLICIT)
    assert record_of(data).values == {"PatientID": "P1"}


def test_what_cannot_be_read() -> None:
    ds = Dataset()
    ds.PatientID = "P1"
    with pytest.raises(DatasetError):
        record_of(encoded(ds, EXPLICIT)[:-1])
