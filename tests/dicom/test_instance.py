"""Instances: never changed, views by pydicom, files written whole or not at all."""

from __future__ import annotations

import copy
import datetime
import os
import stat
import zlib
from pathlib import Path

import anyio
import pytest
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)

import corpus
import pydicom_values
from dcmflow.dicom.instance import Instance, Origin
from dcmflow.dicom.payload import FilePayload, MemoryPayload
from dcmflow.errors import DatasetError, NotDicom

SYNTAXES = [
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
]


def made(syntax: str = ExplicitVRLittleEndian, **elements: object) -> Instance:
    return Instance.from_bytes(corpus.part10(corpus.mr(**elements), syntax))


def test_never_changed() -> None:
    instance = made()
    for name in ("sop_instance_uid", "payload", "labels", "anything"):
        with pytest.raises(AttributeError, match="never changed"):
            setattr(instance, name, "x")
    with pytest.raises(AttributeError, match="never changed"):
        del instance.payload
    with pytest.raises(TypeError):
        instance.labels["a"] = "b"  # type: ignore[index]
    labels = {"a": "1"}
    held = Instance("1", "2", "3", MemoryPayload(b""), labels=labels)
    labels["a"] = "2"
    assert held.labels == {"a": "1"}


def test_labels_and_origin_make_another_instance_with_the_same_bytes() -> None:
    when = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    before = made()
    after = before.with_labels(a="1", b="2").with_labels(b="3").with_origin(stage="scp", received=when)
    assert (before.labels, before.origin) == ({}, Origin())
    assert after.labels == {"a": "1", "b": "3"}
    assert (after.origin.stage, after.origin.received, after.origin.path) == ("scp", when, None)
    assert after.payload is before.payload
    assert after.header is before.header
    assert after.with_elements({"PatientID": "1"}).labels == after.labels
    with pytest.raises(TypeError):
        before.with_origin(colour="red")


def test_sizes() -> None:
    instance = made()
    assert instance.size == instance.resident == len(corpus.encode(corpus.mr()))
    assert instance.sop_instance_uid in repr(instance)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_read_gives_a_fresh_data_set_with_file_meta(syntax: str) -> None:
    instance = made(syntax)
    one, other = instance.read(), instance.read()
    assert one == other
    assert one is not other
    assert one.file_meta.TransferSyntaxUID == syntax
    assert one.file_meta.MediaStorageSOPInstanceUID == instance.sop_instance_uid
    one.PatientName = "Changed"
    assert other.PatientName == instance.header["PatientName"] == "TestPat1^Test"


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_with_dataset_undoes_read(syntax: str) -> None:
    instance = made(syntax)
    again = instance.with_dataset(instance.read())
    assert (again.transfer_syntax_uid, again.sop_instance_uid) == (syntax, instance.sop_instance_uid)
    assert pydicom_values.found(again.header) == pydicom_values.found(instance.header)
    if syntax != DeflatedExplicitVRLittleEndian:
        assert b"".join(again.payload.segments()) == b"".join(instance.payload.segments())


def test_with_dataset_takes_uids_and_syntax_of_the_data_set() -> None:
    ds = made().read()
    ds.SOPInstanceUID = "1.2.3"
    ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    after = made().with_labels(a="1").with_dataset(ds)
    assert (after.sop_instance_uid, after.transfer_syntax_uid) == ("1.2.3", ImplicitVRLittleEndian)
    assert after.labels == {"a": "1"}
    assert after.header["PatientID"] == "TestPat1"
    del ds.SOPInstanceUID
    del ds.file_meta.MediaStorageSOPInstanceUID
    with pytest.raises(DatasetError, match="no SOP Instance UID"):
        made().with_dataset(ds)


def test_with_dataset_that_does_not_encode() -> None:
    ds = made().read()
    with disable_value_validation():
        ds.add_new(0x00280010, "US", "text")
    with pytest.raises(DatasetError, match="pydicom cannot encode"):
        made().with_dataset(ds)


def test_from_dataset() -> None:
    instance = Instance.from_dataset(corpus.mr())
    assert instance.transfer_syntax_uid == ExplicitVRLittleEndian
    assert b"".join(instance.payload.segments()) == corpus.encode(corpus.mr())
    for syntax in SYNTAXES:
        assert Instance.from_dataset(made(syntax).read()).transfer_syntax_uid == syntax
    with pytest.raises(DatasetError, match="no SOP Class UID"):
        Instance.from_dataset(Dataset())


def test_encapsulated_pixels_survive_pydicom(pydicom_files: list[Path]) -> None:
    path = next(path for path in pydicom_files if path.name == "MR_small_jp2klossless.dcm")
    instance = Instance.load(path)
    again = instance.with_dataset(instance.read())
    assert again.transfer_syntax_uid == JPEG2000Lossless
    assert again.header["PixelData"] == instance.header["PixelData"]
    assert again.header.element("PixelData").undefined
    again.verify()


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_verify_finds_what_is_cut_off(syntax: str) -> None:
    whole = corpus.encode(corpus.mr(), syntax)
    made(syntax).verify()
    for cut in (2, 7, 200, len(whole) - 9):  # the last byte may be padding
        with pytest.raises(DatasetError):
            Instance("1.2", "1.3", syntax, MemoryPayload(whole[:-cut])).verify()


def test_verify_of_deflated_data_that_ends_inside_an_element() -> None:
    whole = corpus.encode(corpus.mr())
    for data, broken in [
        (whole, False),
        (whole[:-10], True),
        (whole + bytes(100_000), False),
        (whole + b"\0abc", True),
    ]:
        packer = zlib.compressobj(wbits=-15)
        packed = packer.compress(data) + packer.flush()
        instance = Instance("1.2", "1.3", DeflatedExplicitVRLittleEndian, MemoryPayload(packed))
        if broken:
            with pytest.raises(DatasetError):
                instance.verify()
        else:
            instance.verify()
        assert instance.header["PatientID"] == "TestPat1"


def test_small_files_are_read_and_large_ones_stay(tmp_path: Path) -> None:
    small, large = tmp_path / "small.dcm", tmp_path / "large.dcm"
    small.write_bytes(corpus.part10(corpus.mr()))
    large.write_bytes(corpus.part10(corpus.mr(side=1024)))
    assert isinstance(Instance.load(small).payload, MemoryPayload)
    loaded = Instance.load(large)
    assert isinstance(loaded.payload, FilePayload)
    assert loaded.size == len(corpus.encode(corpus.mr(side=1024)))
    assert loaded.resident < 100_000
    assert isinstance(Instance.load(large, memory_limit=1 << 30).payload, MemoryPayload)
    assert Instance.load(large, origin=Origin(stage="in")).origin == Origin(stage="in", path=str(large))
    assert Instance.load(large, origin=Origin(path="a.zip!b")).origin.path == "a.zip!b"


def test_errors_of_bytes_name_the_origin() -> None:
    with pytest.raises(NotDicom, match=r"x\.zip!m: not DICOM"):
        Instance.from_bytes(b"text", origin=Origin(path="x.zip!m"))


class TestSave:
    pytestmark = pytest.mark.anyio

    @pytest.mark.parametrize("side", [16, 1200])
    @pytest.mark.parametrize("durable", [False, True])
    async def test_what_was_saved_loads(self, tmp_path: Path, side: int, durable: bool) -> None:
        instance = made(side=side)
        path = tmp_path / "a.dcm"
        await instance.save(path, durable=durable)
        again = await Instance.from_file(path)
        assert path.read_bytes() == b"".join(instance.part10_segments())
        assert again.sop_instance_uid == instance.sop_instance_uid
        await again.with_elements({"PatientID": "2"}).save(tmp_path / "b.dcm")
        assert (await Instance.from_file(tmp_path / "b.dcm")).header["PatientID"] == "2"
        assert sorted(os.listdir(tmp_path)) == ["a.dcm", "b.dcm"]
        assert stat.S_IMODE(path.stat().st_mode) & 0o111 == 0

    async def test_a_file_that_is_there_is_replaced(self, tmp_path: Path) -> None:
        path = tmp_path / "a.dcm"
        await made().save(path)
        large = Instance.load(path, memory_limit=0)
        await large.with_elements({"PatientID": "2"}).save(path)
        assert Instance.load(path).header["PatientID"] == "2"
        assert os.listdir(tmp_path) == ["a.dcm"]

    @pytest.mark.parametrize("side", [16, 1200])
    async def test_nothing_stays_when_writing_fails(self, tmp_path: Path, side: int) -> None:
        source, folder = tmp_path / "source.dcm", tmp_path / "folder"
        folder.mkdir()
        source.write_bytes(corpus.part10(corpus.mr(side=side)))
        instance = Instance.load(source, memory_limit=0)
        source.unlink()
        with pytest.raises(DatasetError, match="cannot read"):
            await instance.save(folder / "a.dcm")
        assert os.listdir(folder) == []
        (folder / "b.dcm").mkdir()
        with pytest.raises(OSError, match="directory"):
            await made(side=side).save(folder / "b.dcm")
        assert os.listdir(folder) == ["b.dcm"]
        with pytest.raises(FileNotFoundError):
            await made().save(folder / "missing" / "a.dcm")

    async def test_nothing_stays_when_it_is_cancelled(self, tmp_path: Path) -> None:
        source = tmp_path / "source.dcm"
        whole = corpus.part10(corpus.mr())
        start = whole.index(b"\xe0\x7f\x10\x00OW")
        size = 200 << 20
        with source.open("wb") as file:
            file.write(whole[: start + 8] + size.to_bytes(4, "little"))
            file.truncate(start + 12 + size)
        folder = tmp_path / "folder"
        folder.mkdir()
        instance = Instance.load(source)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(instance.save, folder / "a.dcm")
            while not (names := os.listdir(folder)):  # noqa: ASYNC110
                await anyio.sleep(0.001)
            (name,) = names
            assert name.startswith(".")
            tasks.cancel_scope.cancel()
        assert os.listdir(folder) == []

    async def test_many_at_once_in_one_folder(self, tmp_path: Path) -> None:
        instances = [made(SOPInstanceUID=f"1.2.{number}", side=1100) for number in range(6)]
        async with anyio.create_task_group() as tasks:
            for instance in instances:
                tasks.start_soon(instance.save, tmp_path / "same.dcm")
        assert os.listdir(tmp_path) == ["same.dcm"]
        Instance.load(tmp_path / "same.dcm").verify()


def test_branches_share_bytes_and_do_not_see_each_other() -> None:
    trunk = made(side=256)
    left, right = trunk.with_elements({"PatientName": "Left"}), trunk.with_elements({"PatientName": "Right"})
    assert [one.header["PatientName"] for one in (trunk, left, right)] == ["TestPat1^Test", "Left", "Right"]
    pixels = [one.payload.segments()[-1] for one in (left, right)]
    assert all(isinstance(segment, memoryview) for segment in pixels)
    assert len({id(segment.obj) for segment in pixels if isinstance(segment, memoryview)}) == 1
    assert copy.copy(trunk.origin) == trunk.origin
