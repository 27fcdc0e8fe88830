"""What no edit touches stays byte for byte, in every file that pydicom ships."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pydicom_values
from dcmflow.dicom.elements import encoding_of, walk
from dcmflow.dicom.instance import Instance
from dcmflow.dicom.payload import FilePayload, MemoryPayload
from dcmflow.errors import DatasetError
from dcmflow.testing import encoded_datasets

TRUNCATED = {"MR_truncated.dcm", "rtplan_truncated.dcm", "emri_small_jpeg_2k_lossless_too_short.dcm"}
NO_UIDS = {"empty_charset_LEI.dcm", "meta_missing_tsyntax.dcm", "nested_priv_SQ.dcm", "no_meta.dcm"}


def data_set(instance: Instance) -> bytes:
    return b"".join(instance.payload.segments())


def loaded(files: list[Path], memory_limit: int = 1 << 20) -> list[tuple[Path, Instance]]:
    return [
        (path, Instance.load(path, memory_limit=memory_limit)) for path in files if path.name not in NO_UIDS
    ]


@pytest.mark.parametrize("memory_limit", [0, 1 << 30])
def test_data_sets_are_kept_as_stored(pydicom_files: list[Path], memory_limit: int) -> None:
    instances = loaded(pydicom_files, memory_limit)
    for path, instance in instances:
        whole = path.read_bytes()
        segments = instance.part10_segments()
        stored = data_set(instance)
        assert whole.endswith(stored), path
        assert b"".join(segments[1:]) == stored
        assert isinstance(instance.payload, MemoryPayload if memory_limit else FilePayload)
        again = Instance.from_bytes(b"".join(segments))
        assert data_set(again) == stored
        assert (again.sop_class_uid, again.sop_instance_uid, again.transfer_syntax_uid) == (
            instance.sop_class_uid,
            instance.sop_instance_uid,
            instance.transfer_syntax_uid,
        )
    assert len(instances) > 150


@pytest.mark.parametrize("memory_limit", [0, 1 << 30])
def test_an_edit_differs_only_in_the_edited_elements(pydicom_files: list[Path], memory_limit: int) -> None:
    """Element by element as pydicom reads them; outside deflated data sets also byte by byte."""
    compared = 0
    for path, before in loaded(pydicom_files, memory_limit):
        if path.name in TRUNCATED:
            continue
        removed = "StudyDate" if "StudyDate" in before.header else "Manufacturer"
        after = before.with_elements(
            {"PatientName": "Changed^Name", "ContainerIdentifier": "inserted"}, [removed]
        )
        one = pydicom_values.expected(pydicom_values.read(path))
        other = pydicom_values.expected(pydicom_values.read(b"".join(after.part10_segments())))
        differing = {int(line[:8], 16) for line in pydicom_values.differences(one, other)}
        edited = {0x00100010, 0x00400512, 0x00080020 if removed == "StudyDate" else 0x00080070}
        edited |= {tag & 0xFFFF0000 for tag in edited}  # group lengths follow
        assert differing <= edited, path
        assert other[0x00100010] == "Changed^Name", path
        assert other[0x00400512] == "inserted", path
        assert removed not in after.header
        assert other.keys() == (one.keys() | {0x00100010, 0x00400512}) - {
            0x00080020 if removed == "StudyDate" else 0x00080070
        }
        if before.transfer_syntax_uid != "1.2.840.10008.1.2.1.99":
            assert kept(before, edited) == kept(after, edited), path
        compared += 1
    assert compared > 150


def kept(instance: Instance, edited: set[int]) -> bytes:
    """The bytes of all elements but the edited ones."""
    data = data_set(instance)
    return b"".join(
        data[element.start : element.end]
        for element in walk(data, 0, len(data), instance.header.encoding)
        if element.tag not in edited
    )


def test_all_bundled_files_pass_or_are_truncated(pydicom_files: list[Path]) -> None:
    truncated = set()
    for path, instance in loaded(pydicom_files):
        try:
            instance.verify()
        except DatasetError:
            truncated.add(path.name)
    assert truncated == TRUNCATED & {path.name for path in pydicom_files}


def test_dcmtk_reads_what_is_written(
    pydicom_files: list[Path], tmp_path: Path, dcmtk: Callable[[str], str]
) -> None:
    written = []
    for number, (path, instance) in enumerate(loaded(pydicom_files)):
        if path.name in TRUNCATED or "DICOMDIR" in path.name:
            continue
        edited = instance.with_elements({"PatientName": "Changed^Name"})
        target = tmp_path / f"{number}.dcm"
        target.write_bytes(b"".join(edited.part10_segments()))
        written.append(str(target))
    done = subprocess.run([dcmtk("dcmftest"), *written], capture_output=True, text=True, check=False)
    assert [line for line in done.stdout.splitlines() if not line.startswith("yes:")] == []
    assert done.stdout.count("yes:") == len(written)


@given(
    encoded_datasets(),
    st.sampled_from(["PatientID", "SeriesNumber", "StudyInstanceUID", "Rows", "FrameOfReferenceUID"]),
)
def test_made_up_data_sets(encoded: tuple[bytes, str], keyword: str) -> None:
    data, syntax = encoded
    before = Instance("1.2", "1.3", syntax, MemoryPayload(data))
    after = before.with_elements({keyword: "1"})
    tag = next(t for t in after.header.tags() if after.header.get(t) in ("1", 1) and t == _tag(keyword))
    assert kept(before, {tag}) == kept(after, {tag})
    assert encoding_of(syntax) is before.header.encoding or not data
    if tag not in before.header:
        assert data_set(after.with_elements(remove=[keyword])) == data


def _tag(keyword: str) -> int:
    from pydicom.datadict import tag_for_keyword

    tag = tag_for_keyword(keyword)
    assert tag is not None
    return tag
