"""Small instances of any SOP Class in any transfer syntax."""

from __future__ import annotations

import subprocess
import sys

import pydicom
import pytest
from pydicom.uid import UID

from dcmflow.dicom import uids
from dcmflow.dicom.instance import Instance
from dcmflow.testing import (
    instance,
    instances_in_every_transfer_syntax,
    instances_of_every_storage_class,
    storage_classes,
    transfer_syntaxes,
)
from dcmflow.testing.instances import PRIVATE_STORAGE


def part10(made):
    return b"".join(made.part10_segments())


def test_elements_are_set_emptied_and_left_out():
    made = instance(PatientID="A1", PatientName="山田^太郎", SeriesNumber=None, omit=["StudyID"])
    ds = made.read()
    assert ds.PatientID == "A1"
    assert ds.PatientName == "山田^太郎"
    assert ds["SeriesNumber"].is_empty
    assert "StudyID" not in ds
    assert made.sop_class_uid == uids.CT_IMAGE_STORAGE


def test_two_instances_are_two_unless_told_otherwise():
    assert instance().sop_instance_uid != instance().sop_instance_uid
    assert instance(SOPInstanceUID="1.2.3").sop_instance_uid == "1.2.3"


def test_every_storage_class_is_there_and_loads_back():
    made = list(instances_of_every_storage_class(private=True))
    assert [i.sop_class_uid for i in made] == list(storage_classes(private=True))
    assert len(made) > 160
    assert made[-1].sop_class_uid == PRIVATE_STORAGE
    assert len({i.sop_instance_uid for i in made}) == len(made)
    for one in made:
        back = Instance.from_bytes(part10(one))
        back.verify()
        assert back.sop_class_uid == one.sop_class_uid
        assert back.header["StudyInstanceUID"] == made[0].header["StudyInstanceUID"]


def test_every_storage_class_is_the_same_each_time():
    first, second = ([part10(i) for i in instances_of_every_storage_class()] for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("sop_class", "keyword"),
    [
        (uids.CT_IMAGE_STORAGE, "PixelData"),
        (uids.SEGMENTATION_STORAGE, "PixelData"),
        (uids.RT_DOSE_STORAGE, "PixelData"),
        (uids.X_RAY_RADIATION_DOSE_SR_STORAGE, "ConceptNameCodeSequence"),
        (uids.TWELVE_LEAD_ECG_STORAGE, "WaveformSequence"),
        (uids.ENCAPSULATED_PDF_STORAGE, "EncapsulatedDocument"),
    ],
)
def test_an_object_has_what_its_class_is_about(sop_class, keyword):
    assert keyword in instance(sop_class).read()


def test_what_is_no_picture_has_no_pixels():
    for sop_class in (PRIVATE_STORAGE, uids.RT_STRUCTURE_SET_STORAGE, uids.BASIC_TEXT_SR_STORAGE):
        assert "PixelData" not in instance(sop_class).read()


def test_pixels_fill_their_rows_and_columns():
    for sop_class in storage_classes():
        ds = instance(sop_class).read()
        if "PixelData" in ds:
            bits = ds.Rows * ds.Columns * ds.SamplesPerPixel * ds.BitsAllocated * ds.get("NumberOfFrames", 1)
            assert len(ds.PixelData) * 8 == bits, UID(sop_class).name


def test_every_transfer_syntax_loads_back_with_its_pixels():
    made = list(instances_in_every_transfer_syntax())
    assert [i.transfer_syntax_uid for i in made] == list(transfer_syntaxes())
    assert {uids.IMPLICIT_VR_LITTLE_ENDIAN, uids.EXPLICIT_VR_BIG_ENDIAN, uids.RLE_LOSSLESS} < set(
        transfer_syntaxes()
    )
    for one in made:
        back = Instance.from_bytes(part10(one))
        back.verify()
        assert back.transfer_syntax_uid == one.transfer_syntax_uid
        ds = back.read()
        assert ds["PixelData"].is_undefined_length == uids.is_encapsulated(one.transfer_syntax_uid)


def test_fragments_are_framed_in_a_transfer_syntax_without_an_encoder():
    ds = instance(transfer_syntax=uids.HEVC_MAIN_PROFILE_51).read()
    fragments = list(pydicom.encaps.generate_fragments(ds.PixelData))
    assert b"".join(fragments[1:])[:100] == bytes(range(100))


def test_dcmtk_reads_every_class_and_every_transfer_syntax(tmp_path, dcmtk):
    for number, made in enumerate(
        [*instances_of_every_storage_class(), *instances_in_every_transfer_syntax()]
    ):
        (tmp_path / f"{number:03d}").write_bytes(part10(made))
    dump = subprocess.run([dcmtk("dcmdump"), "+sd", tmp_path], capture_output=True, text=True, check=True)
    assert dump.stderr == ""
    assert dump.stdout.count("SOPInstanceUID") >= len(storage_classes()) + len(transfer_syntaxes())


def test_strategies_are_loaded_only_when_asked_for():
    check = (
        "import sys, dcmflow.testing as t; t.instance; assert 'hypothesis' not in sys.modules; "
        "t.datasets; assert 'hypothesis' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", check], check=True)


def test_an_unknown_name_is_an_attribute_error():
    import dcmflow.testing

    with pytest.raises(AttributeError, match="no attribute 'instanc'"):
        dcmflow.testing.instanc  # noqa: B018
    assert "datasets" in dir(dcmflow.testing)
