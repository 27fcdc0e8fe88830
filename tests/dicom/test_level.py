"""Levels, and which attribute belongs to which."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.datadict import DicomDictionary

from dcmflow.dicom.level import COUNTS, LEVELS, RETURNED, UNIQUE_KEYS, Level, level_of
from dcmflow.errors import ConfigError

PATIENT = "PatientName PatientID PatientBirthDate PatientSex IssuerOfPatientID OtherPatientIDsSequence PatientComments EthnicGroup"
STUDY = (
    "StudyDate StudyTime AccessionNumber StudyDescription ModalitiesInStudy StudyID ReferringPhysicianName"
    " PatientAge PatientWeight SOPClassesInStudy NumberOfStudyRelatedInstances"
)
SERIES = (
    "Modality SeriesDescription SeriesNumber ProtocolName BodyPartExamined RequestAttributesSequence PatientPosition"
    " PerformedProcedureStepStartDate SeriesDate StationName InstitutionName Laterality"
)
IMAGE = "SOPInstanceUID SOPClassUID InstanceNumber EchoTime Rows ContentDate PatientOrientation AcquisitionNumber PixelData"


@pytest.mark.parametrize(
    ("keyword", "level"),
    [
        *((keyword, Level.PATIENT) for keyword in PATIENT.split()),
        *((keyword, Level.STUDY) for keyword in STUDY.split()),
        *((keyword, Level.SERIES) for keyword in SERIES.split()),
        *((keyword, Level.IMAGE) for keyword in IMAGE.split()),
        ("RequestAttributesSequence[0].ScheduledProcedureStepID", Level.SERIES),
        ("RequestAttributesSequence.StudyDate", Level.SERIES),
        ("ReferencedStudySequence[0].ReferencedSOPInstanceUID", Level.STUDY),
        ("(0029,1010)", Level.IMAGE),
        ('("ACME 1.1",0029,10)', Level.IMAGE),
    ],
)
def test_each_attribute_has_its_level(keyword: str, level: Level) -> None:
    assert level_of(keyword) is level


@given(st.sampled_from(sorted(entry[4] for entry in DicomDictionary.values() if entry[4])), st.text())
def test_what_follows_the_first_step_has_no_say(keyword: str, rest: str) -> None:
    assert level_of(f"{keyword}[0].{rest}") is level_of(f"{keyword}.{rest}") is level_of(keyword)


def test_the_attributes_that_are_asked_for_are_of_their_level() -> None:
    for level in Level:
        assert {level_of(keyword) for keyword in RETURNED[level]} == {level}
        assert level.keyword in RETURNED[level]
        assert level_of(UNIQUE_KEYS[level]) is level
    for keyword, of, what in COUNTS:
        assert keyword in RETURNED[of]
        assert of < what


def test_levels_are_in_order_and_have_words() -> None:
    assert LEVELS == ("patient", "study", "series", "image")
    assert [Level.parse(word) for word in LEVELS] == sorted(Level)
    assert Level.IMAGE.above() == (Level.PATIENT, Level.STUDY, Level.SERIES)
    assert Level.PATIENT.above() == ()
    assert [level.keyword for level in Level] == list(UNIQUE_KEYS)


@pytest.mark.parametrize("word", ["instance", "IMAGES", " Image ", "instances"])
def test_other_words_for_an_image(word: str) -> None:
    assert Level.parse(word) is Level.IMAGE


@pytest.mark.parametrize("word", ["studdy", "", "0", "all"])
def test_a_word_that_is_no_level(word: str) -> None:
    with pytest.raises(ConfigError, match="patient, study, series, image") as error:
        Level.parse(word)
    assert error.value.key == "level"
    assert ("did you mean 'study'" in str(error.value)) == (word == "studdy")
