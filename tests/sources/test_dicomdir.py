"""What a DICOMDIR lists."""

from __future__ import annotations

from pathlib import Path

import pydicom.data
import pytest
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from dcmflow import StageError, sinks, sources
from stage_runs import Gather, put, run

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]


def write_dicomdir(path: Path, *file_ids: list[str] | str, in_use: int = 0xFFFF) -> None:
    ds = Dataset()
    ds.FileSetID = "TEST"
    ds.DirectoryRecordSequence = []
    for file_id in file_ids:
        record = Dataset()
        record.RecordInUseFlag = in_use
        record.DirectoryRecordType = "IMAGE"
        record.ReferencedFileID = file_id
        ds.DirectoryRecordSequence.append(record)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    ds.file_meta.MediaStorageSOPInstanceUID = "2.25.1"
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)


async def test_medium(tmp_path: Path) -> None:
    tests = Path(pydicom.data.__file__).parent / "test_files" / "dicomdirtests"
    listed = [
        record.ReferencedFileID
        for record in dcmread(tests / "DICOMDIR").DirectoryRecordSequence
        if "ReferencedFileID" in record
    ]
    seen = Gather()
    ran = await run(sources.Directory(str(tests / "DICOMDIR")) | seen | sinks.Discard())
    assert ran.totals.accepted == len(listed) == 31
    assert [given.origin.path for given in seen.seen] == [str(tests.joinpath(*file_id)) for file_id in listed]


async def test_met_in_a_folder(tmp_path: Path) -> None:
    write_dicomdir(tmp_path / "DICOMDIR", ["A"])
    put(tmp_path, "A")
    ran = await run(sources.Directory(str(tmp_path)) | sinks.Discard())
    assert (ran.totals.accepted, ran.not_dicom) == (1, ["DICOMDIR"])


async def test_missing_file_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    write_dicomdir(tmp_path / "DICOMDIR", ["A", "1"], ["A", "2"], "B")
    put(tmp_path, "A/1")
    put(tmp_path, "B")
    ran = await run(sources.Directory(str(tmp_path / "DICOMDIR")) | sinks.Discard())
    assert ran.totals.accepted == 2
    (event,) = ran.refused
    assert event.path == str(tmp_path / "A" / "2")
    assert "is not there" in event.reason


async def test_names_that_leave_the_folder(tmp_path: Path) -> None:
    put(tmp_path, "outside")
    put(tmp_path, "elsewhere/x")
    (tmp_path / "medium").mkdir()
    (tmp_path / "medium" / "LINK").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    with pytest.warns(UserWarning, match="CS"):
        write_dicomdir(tmp_path / "medium" / "DICOMDIR", ["..", "outside"], "../outside", ["LINK", "x"])
    ran = await run(sources.Directory(str(tmp_path / "medium" / "DICOMDIR")) | sinks.Discard())
    assert (ran.totals.accepted, ran.totals.refused) == (0, 3)
    assert all("out" in event.reason or "leaves" in event.reason for event in ran.refused)


async def test_case_of_names_as_file_systems_show_it(tmp_path: Path) -> None:
    write_dicomdir(tmp_path / "DICOMDIR", ["DICOM", "IM1"], ["DICOM", "IM2"])
    put(tmp_path, "dicom/im1")
    put(tmp_path, "dicom/IM2;1")
    ran = await run(sources.Directory(str(tmp_path / "DICOMDIR")) | sinks.Discard())
    assert ran.totals.accepted == 2


async def test_listed_twice_is_read_once_and_retired_records_not_at_all(tmp_path: Path) -> None:
    put(tmp_path, "A")
    write_dicomdir(tmp_path / "DICOMDIR", ["A"], ["A"])
    assert (await run(sources.Directory(str(tmp_path / "DICOMDIR")) | sinks.Discard())).totals.accepted == 1
    write_dicomdir(tmp_path / "DICOMDIR", ["A"], in_use=0)
    assert (await run(sources.Directory(str(tmp_path / "DICOMDIR")) | sinks.Discard())).totals.emitted == 0


async def test_patterns_are_about_file_ids(tmp_path: Path) -> None:
    write_dicomdir(tmp_path / "DICOMDIR", ["A", "1"], ["B", "1"])
    put(tmp_path, "A/1")
    put(tmp_path, "B/1")
    ran = await run(sources.Directory(str(tmp_path / "DICOMDIR"), exclude=["B"]) | sinks.Discard())
    assert ran.totals.accepted == 1


async def test_listed_file_that_is_not_dicom(tmp_path: Path) -> None:
    write_dicomdir(tmp_path / "DICOMDIR", ["A"])
    (tmp_path / "A").write_text("no")
    ran = await run(sources.Directory(str(tmp_path / "DICOMDIR")) | sinks.Discard())
    assert "is not DICOM" in ran.refused[0].reason


async def test_only_kept_and_not_watched(tmp_path: Path) -> None:
    write_dicomdir(tmp_path / "DICOMDIR")
    for fields, words in (({"after": "delete"}, "only be kept"), ({"watch": True}, "only a folder")):
        with pytest.raises(StageError, match=words):
            await run(sources.Directory(str(tmp_path / "DICOMDIR"), **fields) | sinks.Discard())


async def test_broken_dicomdir(tmp_path: Path) -> None:
    write_dicomdir(tmp_path / "DICOMDIR", *(["A", str(n)] for n in range(50)))
    whole = (tmp_path / "DICOMDIR").read_bytes()
    (tmp_path / "DICOMDIR").write_bytes(whole[:-100])
    ran = await run(sources.Directory(str(tmp_path / "DICOMDIR")) | sinks.Discard())
    assert [event.path for event in ran.refused] == [str(tmp_path / "DICOMDIR")]
