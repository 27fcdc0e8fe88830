"""What made-up objects contain: one pydicom data set per modality, plausible enough to be shown and searched.

`describe` writes what every object has (patient, study, series, equipment); the entries of `MODALITIES`,
functions of `sample_images` and `sample_documents`, add the rest. Values depend on nothing but the numbers
in `SeriesFacts`, so the same facts give the same data set.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from dcmflow.dicom import sample_documents as documents
from dcmflow.dicom import sample_images as images
from dcmflow.dicom import uids

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydicom.dataset import Dataset

# The names of PS3.5 Annexes H, I and J, and plain ones; with letters of many scripts.
_NAMES = (
    "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "Buc^Jérôme",
    "Phantom^Head",
    "Hong^Gildong=洪^吉洞=홍^길동",
    "Äneas^Rüdiger",
    "Διονυσιος",
    "Wang^XiaoDong=王^小东",
    "Люкceмбypг",
)
_STUDIES = ("Head routine", "Schädel nativ", "Follow-up 6 months", "Tête sans contraste", "頭部")
_PHYSICIANS = ("Referring^Physician", "Müller^Überweisung", "内科^一郎")


def uid(*words: object) -> str:
    """A UID below 2.25 (PS3.5 B.2) that depends on `words` only; 44 characters always, an even number."""
    number = int.from_bytes(sha256("/".join(map(str, words)).encode()).digest()[:16], "big")
    number = number & ~(0xF << 76) | 8 << 76  # UUID version 8: made from what its maker likes (RFC 9562)
    number = number & ~(0x3 << 62) | 2 << 62  # the variant of RFC 9562
    return f"2.25.{number | 1 << 127}"  # the first bit set makes it 39 digits


@dataclass(frozen=True)
class SeriesFacts:
    """Where a made-up series stands: its modality, its place (counted from 0) and the size of what it
    carries.
    """

    modality: str
    seed: int = 0
    patient: int = 0
    study: int = 0
    series: int = 0
    size: int = 524_288
    variant: str = ""

    @cached_property
    def _start(self) -> tuple[str, int]:
        at = random.Random(f"study {self.seed} {self.patient} {self.study}")
        date = f"{at.randrange(2019, 2025)}{at.randrange(1, 13):02d}{at.randrange(1, 29):02d}"
        return date, 8 * 60 + at.randrange(8 * 60)

    @property
    def date(self) -> str:
        """DA of the study."""
        return self._start[0]

    @property
    def minutes(self) -> int:
        """Minutes from midnight to the start of the study."""
        return self._start[1]

    @cached_property
    def study_uid(self) -> str:
        return uid("study", self.seed, self.patient, self.study)

    @property
    def frame_of_reference_uid(self) -> str:
        return uid("frame of reference", self.study_uid)

    @property
    def scout_uid(self) -> str:
        """SOP Instance UID of the localizer that the slices were planned on."""
        return uid("scout", self.study_uid)

    @cached_property
    def series_uid(self) -> str:
        """Another modality, size or encoding is another series: equal UIDs stand for equal bytes."""
        return uid("series", self.study_uid, self.series, self.modality, self.size, self.variant)

    def instance_uid(self, index: int) -> str:
        return uid("instance", self.series_uid, index)

    def time(self, seconds: int = 0) -> str:
        """TM of a moment of this series, `seconds` after its start; stays within the day."""
        start = self.minutes * 60 + self.series * 240 % 14_400
        hours, rest = divmod(start + seconds % 10_800, 3600)
        return f"{hours:02d}{rest // 60:02d}{rest % 60:02d}"


class Kind(NamedTuple):
    """A sort of object: its SOP Class, its value of Modality (0008,0060), and what it consists of."""

    sop_class_uid: str
    modality: str
    fill: Callable[[Dataset, SeriesFacts], None]


def describe(facts: SeriesFacts) -> Dataset:
    """The data set of the first object of a series, without what only encoding adds.

    Raises:
        KeyError: a modality that is not among `MODALITIES`.
    """
    from pydicom.dataset import Dataset

    kind = MODALITIES[facts.modality]
    ds = Dataset()
    _patient(ds, facts)
    _study(ds, facts)
    ds.SOPClassUID = kind.sop_class_uid
    ds.SOPInstanceUID = facts.instance_uid(0)
    ds.Modality = kind.modality
    ds.SeriesInstanceUID = facts.series_uid
    ds.SeriesNumber = facts.series + 1
    ds.InstanceNumber = 1
    ds.SeriesDate = ds.ContentDate = ds.InstanceCreationDate = facts.date
    ds.SeriesTime = ds.ContentTime = ds.InstanceCreationTime = facts.time()
    ds.Manufacturer = "dcmflow"
    ds.ManufacturerModelName = "Synthetic"
    ds.InstitutionName = "Universitätsklinikum Musterstadt"
    ds.InstitutionalDepartmentName = "Radiology"
    ds.StationName = f"{kind.modality}01"
    ds.DeviceSerialNumber = "1"
    ds.SoftwareVersions = ["1.0", "synthetic"]
    kind.fill(ds, facts)
    return ds


def _patient(ds: Dataset, facts: SeriesFacts) -> None:
    person = random.Random(f"patient {facts.seed} {facts.patient}")
    born = f"{person.randrange(1931, 2001)}{person.randrange(1, 13):02d}{person.randrange(1, 29):02d}"
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.PatientName = _NAMES[facts.patient % len(_NAMES)]
    ds.PatientID = f"SYN{facts.seed}-{facts.patient + 1:05d}"
    ds.IssuerOfPatientID = "DCMFLOW"
    ds.PatientBirthDate = born
    ds.PatientSex = person.choice("FMO")
    ds.PatientAge = f"{(int(facts.date) - int(born)) // 10_000:03d}Y"
    ds.PatientSize = f"1.{person.randrange(50, 99)}"
    ds.PatientWeight = str(person.randrange(45, 120))
    ds.PatientComments = "made up by dcmflow: no such patient"


def _study(ds: Dataset, facts: SeriesFacts) -> None:
    choose = random.Random(facts.study_uid).choice
    ds.StudyInstanceUID = facts.study_uid
    ds.StudyDate = facts.date
    ds.StudyTime = f"{facts.minutes // 60:02d}{facts.minutes % 60:02d}00"
    ds.StudyID = str(facts.study + 1)
    ds.AccessionNumber = f"A{int(facts.study_uid[5:]) % 10**9:09d}"
    ds.StudyDescription = choose(_STUDIES)
    ds.ReferringPhysicianName = choose(_PHYSICIANS)
    ds.NameOfPhysiciansReadingStudy = "Reading^Physician"
    ds.RequestingPhysician = ds.ReferringPhysicianName
    ds.RequestedProcedureDescription = ds.StudyDescription
    ds.ProcedureCodeSequence = [documents.code("P5-09051", "SRT", "Imaging of head")]
    ds.PerformedProcedureStepStartDate = facts.date
    ds.PerformedProcedureStepStartTime = ds.StudyTime
    ds.PerformedProcedureStepID = f"P{facts.study + 1}"
    ds.PerformedProcedureStepDescription = ds.StudyDescription


MODALITIES: dict[str, Kind] = {
    "CT": Kind(uids.CT_IMAGE_STORAGE, "CT", images.ct),
    "MR": Kind(uids.MR_IMAGE_STORAGE, "MR", images.mr),
    "US": Kind(uids.ULTRASOUND_IMAGE_STORAGE, "US", images.us),
    "XA": Kind("1.2.840.10008.5.1.4.1.1.12.1", "XA", images.xa),
    "SC": Kind(uids.SECONDARY_CAPTURE_IMAGE_STORAGE, "OT", images.sc),
    "SR": Kind(uids.BASIC_TEXT_SR_STORAGE, "SR", documents.sr),
    "PDF": Kind(uids.ENCAPSULATED_PDF_STORAGE, "DOC", documents.pdf),
    "ECG": Kind(uids.TWELVE_LEAD_ECG_STORAGE, "ECG", documents.ecg),
}
