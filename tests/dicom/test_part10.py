"""DICOM files recognised, split and built."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)

import corpus
import pydicom_values
from dcmflow.dicom import part10
from dcmflow.dicom.instance import Instance
from dcmflow.errors import DatasetError, NotDicom

UIDS = st.from_regex(r"1(\.[1-9][0-9]{0,8}){1,5}", fullmatch=True)


@given(UIDS, UIDS, UIDS)
def test_split_undoes_build(sop_class: str, sop_instance: str, syntax: str) -> None:
    meta = part10.build_meta(sop_class, sop_instance, syntax)
    assert part10.split(meta) == part10.Meta(sop_class, sop_instance, syntax, len(meta))
    assert struct.unpack_from("<I", meta, 140)[0] == len(meta) - 144
    ds = pydicom_values.read(meta)
    assert ds.file_meta.MediaStorageSOPInstanceUID == sop_instance
    assert ds.file_meta.ImplementationClassUID == part10.IMPLEMENTATION_CLASS_UID
    assert ds.file_meta.FileMetaInformationVersion == b"\0\1"


def test_names_of_this_implementation_are_valid() -> None:
    assert len(part10.IMPLEMENTATION_VERSION_NAME) <= 16
    root, number = part10.IMPLEMENTATION_CLASS_UID.rsplit(".", 1)
    assert root == "2.25"
    assert 0 < int(number) < 2**128


def test_a_file_needs_all_three_uids() -> None:
    with pytest.raises(DatasetError, match="one is empty"):
        part10.build_meta("1.2", "", "1.2.840.10008.1.2")
    with pytest.raises(DatasetError, match="not a UID"):
        part10.build_meta("1.2", "1.ü", "1.2.840.10008.1.2")


SYNTAXES = [
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
]


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_whole_files(syntax: str, tmp_path: Path, dcmtk: Callable[[str], str]) -> None:
    ds = corpus.mr()
    path = tmp_path / "one.dcm"
    path.write_bytes(corpus.part10(ds, syntax))
    instance = Instance.load(path)
    assert (instance.sop_instance_uid, instance.transfer_syntax_uid) == (ds.SOPInstanceUID, syntax)
    assert instance.origin.path == str(path)
    assert b"".join(instance.payload.segments()) == corpus.encode(ds, syntax)
    target = tmp_path / "two.dcm"
    target.write_bytes(b"".join(instance.part10_segments()))
    subprocess.run([dcmtk("dcmftest"), target], check=True, capture_output=True)
    shown = subprocess.run([dcmtk("dcmdump"), target], check=True, capture_output=True, text=True)
    assert "error" not in shown.stderr.lower()


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("limit", [0, 1 << 20])
def test_bare_data_sets(syntax: str, limit: int, tmp_path: Path) -> None:
    """As `dcmconv -F` writes them."""
    path = tmp_path / "bare"
    path.write_bytes(corpus.encode(corpus.mr(), syntax))
    instance = Instance.load(path, memory_limit=limit)
    assert instance.transfer_syntax_uid == syntax
    assert instance.header["PatientID"] == "TestPat1"
    assert b"".join(instance.payload.segments()) == path.read_bytes()


@pytest.mark.parametrize("cut", [128, 132])
def test_without_preamble(cut: int) -> None:
    instance = Instance.from_bytes(corpus.part10(corpus.mr())[cut:])
    assert instance.transfer_syntax_uid == ExplicitVRLittleEndian
    assert instance.header["Modality"] == "MR"


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_without_transfer_syntax(syntax: str) -> None:
    ds = corpus.mr()
    instance = Instance.from_bytes(b"\0" * 128 + b"DICM" + corpus.meta(ds, None) + corpus.encode(ds, syntax))
    assert instance.transfer_syntax_uid == syntax


def test_compressed_pixels_without_transfer_syntax_are_an_error() -> None:
    ds = corpus.mr(PixelData=None)
    pixels = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)
    pixels += struct.pack("<HHI", 0xFFFE, 0xE000, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    data = corpus.encode(ds)
    data = data[: data.index(b"\xe0\x7f\x10\x00")] + pixels
    assert Instance.from_bytes(b"\0" * 128 + b"DICM" + corpus.meta(ds, JPEGBaseline8Bit) + data).size == len(
        data
    )
    with pytest.raises(DatasetError, match="does not name its transfer syntax"):
        Instance.from_bytes(b"\0" * 128 + b"DICM" + corpus.meta(ds, None) + data)


@pytest.mark.parametrize(
    ("declared", "real"),
    [(ExplicitVRLittleEndian, ImplicitVRLittleEndian), (ImplicitVRLittleEndian, ExplicitVRLittleEndian)],
)
def test_the_wrong_kind_of_vr_declared_is_put_right(declared: str, real: str) -> None:
    ds = corpus.mr()
    whole = b"\0" * 128 + b"DICM" + corpus.meta(ds, declared) + corpus.encode(ds, real)
    assert Instance.from_bytes(whole).transfer_syntax_uid == real


def test_a_wrong_group_length_does_no_harm() -> None:
    whole = bytearray(corpus.part10(corpus.mr()))
    whole[140:144] = struct.pack("<I", 7)
    assert Instance.from_bytes(bytes(whole)).header["Modality"] == "MR"


def test_uids_of_the_data_set_are_preferred() -> None:
    ds = corpus.mr()
    meta = part10.build_meta("1.2.3", "1.2.4", ExplicitVRLittleEndian)
    instance = Instance.from_bytes(meta + corpus.encode(ds))
    assert (instance.sop_class_uid, instance.sop_instance_uid) == (ds.SOPClassUID, ds.SOPInstanceUID)
    del ds.SOPInstanceUID
    assert Instance.from_bytes(meta + corpus.encode(ds)).sop_instance_uid == "1.2.4"


def test_wire_files_load_where_they_hold_an_instance(tmp_path: Path) -> None:
    made = corpus.wire(tmp_path)
    loaded = {}
    broken = {}
    for name, path in made.items():
        try:
            loaded[name] = Instance.load(path).sop_instance_uid
        except DatasetError as error:
            broken[name] = error
    assert loaded.keys() >= set(made.readable)
    assert {name: loaded[name] for name in made.readable} == made.uids
    for name, error in broken.items():
        assert str(made[name]) in str(error)
        assert not isinstance(error, NotDicom)


@pytest.mark.parametrize("limit", [0, 1 << 20])
def test_other_files_are_not_dicom(tmp_path: Path, limit: int) -> None:
    names = [
        "notes.txt",
        "empty.dcm",
        "random.bin",
        "random.dcm",
        "zeros",
        "picture.png",
        ".DS_Store",
        "notes.zip",
        "pipe",
    ]
    made = corpus.junk(tmp_path)
    for name in names:
        with pytest.raises(NotDicom, match="not") as caught:
            Instance.load(made[name], memory_limit=limit)
        assert str(made[name]) in str(caught.value)


def test_folders_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(NotDicom, match="not a regular file"):
        Instance.load(tmp_path)
    with pytest.raises(FileNotFoundError):
        Instance.load(tmp_path / "nothing")


def test_a_directory_of_media_is_told_by_its_class(tmp_path: Path) -> None:
    instance = Instance.load(corpus.junk(tmp_path)["DICOMDIR"])
    assert instance.sop_class_uid == part10.MEDIA_STORAGE_DIRECTORY


@pytest.mark.parametrize("cut", [132, 140, 200, 300])
@pytest.mark.parametrize("limit", [0, 1 << 20])
def test_cut_off_in_the_file_meta_information(cut: int, limit: int, tmp_path: Path) -> None:
    path = tmp_path / "cut.dcm"
    path.write_bytes(corpus.part10(corpus.mr())[:cut])
    with pytest.raises(DatasetError, match=r"cut\.dcm") as caught:
        Instance.load(path, memory_limit=limit)
    assert not isinstance(caught.value, NotDicom)


def test_without_sop_instance_uid() -> None:
    ds = corpus.mr()
    whole = corpus.encode(corpus.mr(SOPInstanceUID=None))
    with pytest.raises(DatasetError, match="no SOP Instance UID") as caught:
        Instance.from_bytes(whole)
    assert not isinstance(caught.value, NotDicom)
    del ds.SOPClassUID
    with pytest.raises(DatasetError, match="no SOP Class UID"):
        Instance.from_bytes(corpus.encode(ds))


@given(st.binary(max_size=400))
def test_any_bytes_are_an_instance_or_a_dataset_error(data: bytes) -> None:
    for content in (data, b"\0" * 128 + b"DICM" + data, data[:4] + b"CS\2\0AB" + data):
        try:
            Instance.from_bytes(content)
        except DatasetError:
            continue
