"""Edits: what is named changes, all else keeps its bytes."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from dcmflow import ConfigError, Instance, filters
from dcmflow.dicom.payload import MemoryPayload
from dcmflow.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN as EXPLICIT
from dcmflow.dicom.uids import UidMap
from dcmflow.filters.edit import shift_date
from dcmflow.flow.context import Context
from dcmflow.testing import instance as make

pytestmark = pytest.mark.anyio


async def edited(instance: Instance, **fields: Any) -> Instance:
    async with filters.Edit(**fields).open(Context(stage="edit")) as actor:
        result = await actor.process(instance)
    assert isinstance(result, Instance)
    return result


def patient() -> Instance:
    reference = Dataset()
    reference.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    reference.ReferencedSOPInstanceUID = "1.2.3.4.5"
    reference.ScheduledProcedureStepStartDate = "20200110"
    private = {"PatientName": "Doe^Jane", "PatientID": "7", "StudyDate": "20200110"}
    made = make(**private, StudyInstanceUID="1.2.3", FrameOfReferenceUID="1.2.9")
    ds = made.read()
    ds.ReferencedImageSequence = [reference]
    ds.AcquisitionDateTime = "20200110235959.5+0100"
    block = ds.private_block(0x0019, "ACME", create=True)
    block.add_new(0x10, "LO", "secret")
    return made.with_dataset(ds)


async def test_set_blank_remove_and_add() -> None:
    after = await edited(
        patient(),
        set={
            "PatientName": "Anon",
            "PatientComments": "added",
            "SeriesNumber": 7,
            "StudyDate": date(2021, 2, 3),
        },
        blank=["PatientID", "AccessionNumber"],
        remove=["FrameOfReferenceUID", "PatientAge"],
    )
    ds = after.read()
    assert (ds.PatientName, ds.PatientComments, ds.SeriesNumber, ds.StudyDate) == (
        "Anon",
        "added",
        7,
        "20210203",
    )
    assert ds.PatientID in (None, "")
    assert "FrameOfReferenceUID" not in ds
    assert ("AccessionNumber" in ds) == ("AccessionNumber" in patient().read())


async def test_only_existing_adds_nothing() -> None:
    after = await edited(patient(), set={"PatientName": "Anon", "PatientComments": "x"}, only_existing=True)
    assert after.read().PatientName == "Anon"
    assert "PatientComments" not in after.read()


async def test_nested_and_private() -> None:
    after = await edited(
        patient(),
        set={
            "ReferencedImageSequence[0].ReferencedSOPInstanceUID": "1.2.7",
            '("ACME",0019,10)': "changed",
            '("ACME",0019,11)': "new",
        },
    )
    ds = after.read()
    assert ds.ReferencedImageSequence[0].ReferencedSOPInstanceUID == "1.2.7"
    block = ds.private_block(0x0019, "ACME")
    assert (block[0x10].value, block[0x11].value) in (
        ("changed", "new"),
        (b"changed ", b"new "),
        ("changed", b"new "),
    )


async def test_uids_follow_one_key_everywhere_and_classes_stay() -> None:
    before, ds = patient(), patient().read()
    one, again = await edited(before, remap_uids="k"), await edited(before, remap_uids="k")
    other = await edited(before, remap_uids="other")
    new = one.read()
    assert one.sop_instance_uid == again.sop_instance_uid == new.SOPInstanceUID
    assert len({before.sop_instance_uid, one.sop_instance_uid, other.sop_instance_uid}) == 3
    assert new.StudyInstanceUID not in (ds.StudyInstanceUID, other.read().StudyInstanceUID)
    assert new.FrameOfReferenceUID.startswith("2.25.")
    reference = new.ReferencedImageSequence[0]
    assert reference.ReferencedSOPInstanceUID != "1.2.3.4.5"
    assert reference.ReferencedSOPClassUID == "1.2.840.10008.5.1.4.1.1.2"
    assert (one.sop_class_uid, one.transfer_syntax_uid) == (before.sop_class_uid, before.transfer_syntax_uid)


async def test_a_private_sop_class_stays() -> None:
    private = make(sop_class="1.3.12.2.1107.5.9.1")
    assert (await edited(private, remap_uids="k")).sop_class_uid == "1.3.12.2.1107.5.9.1"


async def test_uids_against_the_rules_identify_all_the_same() -> None:
    data = struct.pack("<HH2sH", 0x0008, 0x0018, b"UI", 10) + b" 1.2.03.4 "
    data += struct.pack("<HH2sH", 0x0008, 0x0058, b"UI", 14) + b"1.2.3 \\1.02.3\0"
    after = await edited(Instance("1.2", "1.2.03.4", EXPLICIT, MemoryPayload(data)), remap_uids="k")
    remap = UidMap("k")
    assert after.sop_instance_uid == remap("1.2.03.4") != "1.2.03.4"
    assert after.header["FailedSOPInstanceUIDList"] == (remap("1.2.3"), remap("1.02.3"))


async def test_a_uid_that_only_the_file_meta_information_has_is_replaced_too() -> None:
    data = struct.pack("<HH2sH", 0x0008, 0x0060, b"CS", 2) + b"CT"
    after = await edited(Instance("1.2", "1.3.4", EXPLICIT, MemoryPayload(data)), remap_uids="k")
    assert after.sop_instance_uid == after.header["SOPInstanceUID"] == UidMap("k")("1.3.4")


async def test_what_is_removed_is_not_left_blank() -> None:
    after = await edited(patient(), remove=["(0010,0010)"], blank=["PatientName", "PatientID"])
    assert "PatientName" not in after.header
    assert after.header["PatientID"] == ""


async def test_dates_are_shifted_at_every_depth() -> None:
    ds = (await edited(patient(), shift_days=-10)).read()
    assert ds.StudyDate == "20191231"
    assert ds.AcquisitionDateTime == "20191231235959.5+0100"
    assert ds.ReferencedImageSequence[0].ScheduledProcedureStepStartDate == "20191231"


async def test_nothing_to_do_gives_the_same_instance() -> None:
    before = patient()
    assert await edited(before) is before
    assert await edited(before, set={"PatientComments": "x"}, only_existing=True) is before


async def test_a_saved_edit_is_a_valid_file(tmp_path: Path, dcmtk: Callable[[str], str]) -> None:
    after = await edited(patient(), remap_uids="k", set={"PatientName": "Müller^Jörg"}, shift_days=3)
    path = tmp_path / "edited.dcm"
    await after.save(path)
    assert subprocess.run([dcmtk("dcmftest"), str(path)], capture_output=True, check=False).returncode == 0
    dump = subprocess.run(
        [dcmtk("dcmdump"), "+L", "+P", "0002,0003", "+P", "0008,0018", str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert dump.stdout.count(after.sop_instance_uid) == 2
    assert after.read().PatientName == "Müller^Jörg"


@pytest.mark.parametrize(
    ("fields", "key", "text"),
    [
        ({"set": {"PatientNam": "x"}}, "set", "did you mean"),
        ({"remove": ["StudyDescripton"]}, "remove", "StudyDescription"),
        ({"blank": ["Seq[0"]}, "blank", "Seq"),
        ({"set": {"SeriesNumber": "abc"}}, "set", "SeriesNumber"),
        ({"set": {"StudyInstanceUID": "not a uid"}}, "set", "StudyInstanceUID"),
        ({"remap_uids": True}, "remap-uids", "give a key"),
        ({"remap_uids": ""}, "remap-uids", "give a key"),
    ],
)
def test_what_cannot_be_right_is_said_at_once(fields: dict[str, Any], key: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text) as caught:
        filters.Edit(**fields)
    assert caught.value.key == key


@pytest.mark.parametrize(
    ("value", "days", "expected"),
    [
        ("20200228", 2, "20200301"),
        ("1999.12.31", 1, "20000101"),
        ("202002", 1, None),
        ("20201399", 1, None),
        ("99991231", 1, None),
        ("20200101-20200228", 2, "20200103-20200301"),
        ("-2020.02.28", 2, "-20200301"),
        ("20200101120000-0500-20200228", 2, "20200103120000-0500-20200301"),
        ("00010101", 1, "00010102"),
        ("20200101120000.5-0500", -1, "20191231120000.5-0500"),
    ],
)
def test_shift_date(value: str, days: int, expected: str | None) -> None:
    assert shift_date(value, timedelta(days=days)) == expected
