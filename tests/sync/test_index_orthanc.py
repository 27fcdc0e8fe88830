"""The index of a folder and an Orthanc that holds the same files give the same answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

import corpus
from base_data import MPRAGE, PRIVATE
from dcmflow.dicom.level import COUNTS, UNIQUE_KEYS, Level, level_of
from dcmflow.dicom.query import Query
from dcmflow.dicom.record import Record
from dcmflow.net.client import Client
from dcmflow.sync import Index
from peers.archives import Archive, Archives
from peers.base import used

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60)]

RETURNED = (
    ("PatientName", "PatientBirthDate", "PatientSex"),
    ("StudyDate", "StudyTime", "AccessionNumber", "StudyDescription", "StudyID"),
    ("Modality", "SeriesDescription", "SeriesNumber", "ProtocolName"),
    ("InstanceNumber", "SOPClassUID"),
)
QUERIES: list[dict[str, str]] = [
    {},
    {"PatientName": "*"},
    {"PatientName": "test*"},
    {"PatientName": "TESTPAT1^TEST"},
    {"PatientName": "*t?st"},
    {"PatientName": "*山田*"},
    {"PatientName": "buc^jérôme"},
    {"PatientID": "TestPat1"},
    {"PatientID": "testpat1"},
    {"PatientID": "TestPat1\\TestPat2"},
    {"PatientID": "*Pat?"},
    {"PatientID": "blanks"},
    {"PatientBirthDate": "19800229"},
    {"PatientBirthDate": "-19700101"},
    {"PatientSex": "O", "PatientID": "Test*"},
    {"StudyDate": "20190625"},
    {"StudyDate": "20190615-20190620"},
    {"StudyDate": "-20180530"},
    {"StudyDate": "20190616-"},
    {"StudyDate": "19000101"},
    {"StudyTime": "093000"},
    {"StudyTime": "100000-103000"},
    {"StudyTime": "-095959"},
    {"AccessionNumber": "ACC20190625"},
    {"AccessionNumber": "ACC2019*"},
    {"AccessionNumber": "acc2019*"},
    {"StudyDescription": "Head 201?"},
    {"StudyID": "190615"},
    {"StudyInstanceUID": PRIVATE.study},
    {"StudyInstanceUID": f"{MPRAGE.study}\\1.2.3"},
    {"ModalitiesInStudy": "MR"},
    {"ModalitiesInStudy": "CT"},
    {"Modality": "MR", "PatientID": "TestPat2"},
    {"Modality": "CT\\MR", "PatientID": "TestPat2"},
    {"SeriesDescription": "*MPRAGE"},
    {"SeriesDescription": "Localizer", "StudyDate": "20190101-20190620"},
    {"SeriesNumber": "14"},
    {"SeriesInstanceUID": f"{MPRAGE.series}\\{PRIVATE.series}"},
    {"ProtocolName": "gre_field_map"},
    {"InstanceNumber": "2"},
    {"SOPClassUID": corpus.PRIVATE_SOP_CLASS},
    {"SOPInstanceUID": f"{MPRAGE.image}\\{PRIVATE.image}"},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("same")
    for make in (corpus.base, corpus.char):
        make(folder / make.__name__)
    holes = corpus.holes(folder / "holes")
    for name in ("no-PatientID.dcm", "empty-PatientID.dcm"):
        holes[name].unlink()  # put a study under two patients, which who asks cannot tell apart
    made = corpus.evil(folder / "evil")
    made["id-backslash.dcm"].unlink()  # is two values, which no two programs take for the same
    made["text-nul.dcm"].unlink()  # an Orthanc ends a text at a NUL
    return folder


@pytest.fixture(scope="module")
def index(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    with Index.open(folder, tmp_path_factory.mktemp("index") / "x.sqlite") as index:
        index.refresh()
        yield index


@pytest.fixture(scope="module")
def orthanc_with_it(
    archives: Archives, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Archive]:
    files = sorted(path for path in folder.rglob("*.dcm") if path.is_file())
    with archives.start(
        "orthanc",
        tmp_path_factory.mktemp("orthanc"),
        files=files,
        DefaultEncoding="Utf8",
        OverwriteInstances=False,
    ) as archive:
        yield archive


def answers(archive: Archive, query: Query) -> list[Record]:
    async def ask() -> list[Record]:
        async with (
            Client("DCMFLOW") as client,
            client.find(str(archive.address), query, verify=False) as found,
        ):
            return [record async for record in found]

    return anyio.run(ask)


def shown(record: Record, level: Level) -> tuple[Any, ...]:
    keys = [*UNIQUE_KEYS[: level + 1], *RETURNED[level]]
    keys += [keyword for keyword, above, _ in COUNTS if above is level]
    return tuple(record.text(key) for key in keys)


@pytest.mark.parametrize(
    "keys", QUERIES, ids=lambda keys: ",".join(f"{key}={value}" for key, value in keys.items())
)
def test_same_answers(index: Index, orthanc_with_it: Archive, keys: dict[str, str]) -> None:
    used("orthanc")
    lowest = max(map(level_of, keys), default=Level.PATIENT)
    for level in list(Level)[lowest:]:  # an Orthanc matches nothing for keys of levels below
        wanted = {**dict.fromkeys((*UNIQUE_KEYS[: level + 1], *RETURNED[level]), ""), **keys}
        counted = [keyword for keyword, above, _ in COUNTS if above is level]
        query = Query.of({**wanted, **dict.fromkeys(counted, "")}, level)
        theirs = sorted(shown(record, level) for record in answers(orthanc_with_it, query))
        ours = sorted(shown(record, level) for record in index.find(query))
        assert ours == theirs
