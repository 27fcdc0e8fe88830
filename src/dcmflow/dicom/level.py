"""Levels of the query/retrieve information models, and which attributes belong to which (PS3.4 C.3, C.6).

An attribute that none of the upper levels has is one of the image level: whoever asks for `EchoTime` means images.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Final

from dcmflow.errors import ConfigError
from dcmflow.suggest import suggest


class Level(IntEnum):
    """A level, coarse ones first: `Level.PATIENT < Level.IMAGE`."""

    PATIENT = 0
    STUDY = 1
    SERIES = 2
    IMAGE = 3

    @property
    def keyword(self) -> str:
        """The attribute that tells one entity of this level from another (unique key, PS3.4 C.2.2.1)."""
        return UNIQUE_KEYS[self]

    @property
    def word(self) -> str:
        """`patient`, `study`, `series` or `image`."""
        return self.name.lower()

    def above(self) -> tuple[Level, ...]:
        """The levels above it, the coarsest first."""
        return tuple(Level(number) for number in range(self))

    @classmethod
    def parse(cls, text: str) -> Level:
        """The level of a word; `instance` is one for `image`.

        Raises:
            ConfigError: it is none.
        """
        word = text.strip().lower()
        found = _WORDS.get(word)
        if found is None:
            raise ConfigError(
                f"{text!r} is no level{suggest(word, _WORDS)}; levels are {', '.join(LEVELS)}", key="level"
            )
        return found


UNIQUE_KEYS: Final = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
LEVELS: Final = tuple(level.word for level in Level)
_WORDS: Final = {
    **{level.word: level for level in Level},
    "instance": Level.IMAGE,
    "patients": Level.PATIENT,
    "studies": Level.STUDY,
    "images": Level.IMAGE,
    "instances": Level.IMAGE,
}

RETURNED: Final = (
    (
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "NumberOfPatientRelatedStudies",
        "NumberOfPatientRelatedSeries",
        "NumberOfPatientRelatedInstances",
    ),
    (
        "StudyDate",
        "StudyTime",
        "AccessionNumber",
        "ModalitiesInStudy",
        "StudyDescription",
        "StudyInstanceUID",
        "StudyID",
        "NumberOfStudyRelatedSeries",
        "NumberOfStudyRelatedInstances",
    ),
    (
        "Modality",
        "SeriesDescription",
        "BodyPartExamined",
        "ProtocolName",
        "SeriesInstanceUID",
        "SeriesNumber",
        "NumberOfSeriesRelatedInstances",
    ),
    ("SOPClassUID", "SOPInstanceUID", "InstanceNumber"),
)
"""By level: the attributes that are asked for where nobody says which."""

COUNTS: Final = (
    ("NumberOfPatientRelatedStudies", Level.PATIENT, Level.STUDY),
    ("NumberOfPatientRelatedSeries", Level.PATIENT, Level.SERIES),
    ("NumberOfPatientRelatedInstances", Level.PATIENT, Level.IMAGE),
    ("NumberOfStudyRelatedSeries", Level.STUDY, Level.SERIES),
    ("NumberOfStudyRelatedInstances", Level.STUDY, Level.IMAGE),
    ("NumberOfSeriesRelatedInstances", Level.SERIES, Level.IMAGE),
)
"""Attributes that say how many entities of the second level an entity of the first one has (PS3.4 C.3.4)."""

_PATIENT: Final = re.compile(
    r"(Patient(?!(Age|Size|Weight|BodyMassIndex|Position|Orientation|Frame|State|Setup|Support|Transport|Gantry|Equipment"
    r"|MotionCorrected|Location|EyeMovement|AlternativeCalendar|Institution)).*|IssuerOfPatientID.*|OtherPatient.*"
    r"|NumberOfPatientRelated.*|EthnicGroup.*|ResponsiblePerson.*|ResponsibleOrganization|ReferencedPatientSequence"
    r"|TypeOfPatientID|BreedRegistration.*|QualityControlSubject|ClinicalTrialS(ponsor|ubject|ite).*"
    r"|ClinicalTrialProtocol.*)"
)
_STUDY: Final = re.compile(
    r"(Study(?!ComponentStatusID).*|AccessionNumber|IssuerOfAccessionNumber.*|ReferringPhysician.*|ConsultingPhysician.*"
    r"|PhysiciansOfRecord.*|NameOfPhysiciansReadingStudy|PhysiciansReadingStudy.*|RequestingPhysician|RequestingService.*"
    r"|ProcedureCodeSequence|ReasonForPerformedProcedure.*|NumberOfStudyRelated.*|ModalitiesInStudy|SOPClassesInStudy"
    r"|AnatomicRegionsInStudyCodeSequence|ReferencedStudySequence|AdmittingDiagnoses.*|AdmissionID|PatientAge"
    r"|PatientSize.*|PatientWeight|PatientBodyMassIndex|Occupation|AdditionalPatientHistory|OtherStudyNumbers"
    r"|InterpretationAuthor|MedicalAlerts|Allergies|SmokingStatus|PregnancyStatus|LastMenstrualDate|ServiceEpisode.*"
    r"|ClinicalTrialTimePoint.*|TimezoneOffsetFromUTC)"
)
_SERIES: Final = re.compile(
    r"(Modality|Series(?!InStudy).*|NumberOfSeriesRelated.*|Laterality|ProtocolName|BodyPartExamined|PerformingPhysician.*"
    r"|Operator(s|Identification).*|PerformedProcedureStep.*|PerformedProtocol.*|RequestAttributesSequence"
    r"|ReferencedPerformedProcedureStepSequence|CommentsOnThePerformedProcedureStep|Manufacturer(ModelName)?"
    r"|InstitutionName|InstitutionAddress|InstitutionalDepartment.*|InstitutionCodeSequence|StationName|StationAETitle"
    r"|DeviceSerialNumber|SoftwareVersions|PatientPosition|AnatomicalOrientationType|ClinicalTrialSeries.*"
    r"|RelatedSeriesSequence|PresentationIntentType|TreatmentSessionUID)"
)
_LEVELS: Final = ((_PATIENT, Level.PATIENT), (_STUDY, Level.STUDY), (_SERIES, Level.SERIES))


def level_of(keyword: str) -> Level:
    """The level that an attribute belongs to; for a path into a sequence that of the sequence.

    >>> level_of("StudyDate").word, level_of("RequestAttributesSequence[0].ScheduledProcedureStepID").word
    ('study', 'series')
    """
    first = keyword.partition(".")[0].partition("[")[0]
    for pattern, level in _LEVELS:
        if pattern.fullmatch(first):
            return level
    return Level.IMAGE
