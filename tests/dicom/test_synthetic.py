"""Made-up instances: valid for others, equal for equal arguments, quick to make."""

from __future__ import annotations

import subprocess
from collections import Counter
from itertools import islice

import pydicom
import pytest
from pydicom.uid import UID

from dcmflow.dicom import uids
from dcmflow.dicom.phantom import Shades, phantom
from dcmflow.dicom.samples import MODALITIES
from dcmflow.dicom.samples import uid as derived_uid
from dcmflow.dicom.synthetic import CT, SMALL, TRANSFER_SYNTAXES, synthesize

modality = pytest.mark.parametrize("modality", MODALITIES)
transfer_syntax = pytest.mark.parametrize("transfer_syntax", TRANSFER_SYNTAXES)


def encoded(instance):
    return b"".join(instance.payload.segments())


def file_of(instance, folder):
    path = folder / f"{instance.sop_instance_uid}.dcm"
    path.write_bytes(b"".join(instance.part10_segments()))
    return path


@modality
@transfer_syntax
def test_an_instance_says_the_same_to_pydicom_and_to_its_header(modality, transfer_syntax, tmp_path):
    instance = next(synthesize(modality=modality, transfer_syntax=transfer_syntax, size=SMALL, seed=7))
    ds = pydicom.dcmread(file_of(instance, tmp_path))
    for element in ds.iterall():
        assert element.value is not None or element.is_empty
    assert ds.file_meta.TransferSyntaxUID == transfer_syntax
    assert ds.SOPClassUID == instance.sop_class_uid == MODALITIES[modality].sop_class_uid
    assert ds.SOPInstanceUID == instance.sop_instance_uid == instance.header["SOPInstanceUID"]
    assert ds.PatientName == instance.header["PatientName"]
    assert ds.InstanceNumber == 1
    instance.verify()


@modality
@transfer_syntax
def test_dcmtk_reads_an_instance_without_a_word(modality, transfer_syntax, tmp_path, dcmtk):
    path = file_of(next(synthesize(modality=modality, transfer_syntax=transfer_syntax, size=SMALL)), tmp_path)
    dump = subprocess.run([dcmtk("dcmdump"), path], capture_output=True, text=True, check=True)
    assert dump.stderr == ""
    tested = subprocess.run([dcmtk("dcmftest"), path], capture_output=True, text=True, check=True)
    assert tested.stdout.startswith("yes:")


@pytest.mark.parametrize(
    "transfer_syntax", [s for s in TRANSFER_SYNTAXES if s != uids.DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN]
)
def test_pixels_are_the_same_picture_in_every_transfer_syntax(transfer_syntax, tmp_path):
    numpy = pytest.importorskip("numpy", reason="decoding pixels needs numpy")
    ds = pydicom.dcmread(file_of(next(synthesize(size=SMALL, transfer_syntax=transfer_syntax)), tmp_path))
    pixels = ds.pixel_array
    assert pixels.shape == (74, 74)
    assert int(pixels.max()) == pytest.approx(1900, abs=31), "the skull is there"
    assert numpy.median(pixels[30:40, 26:30]) == pytest.approx(1020, abs=40), "the left ventricle is there"
    assert ds.SmallestImagePixelValue <= pixels.min()
    assert pixels.max() <= ds.LargestImagePixelValue


def test_a_hierarchy_has_the_counts_that_were_asked_for():
    made = list(synthesize(patients=3, studies=2, series=4, instances=5, size=SMALL, modality=("CT", "SR")))
    headers = [i.header for i in made]
    assert len(made) == len({i.sop_instance_uid for i in made}) == 3 * 2 * 4 * 5
    assert len({h["PatientID"] for h in headers}) == 3
    assert len({h["StudyInstanceUID"] for h in headers}) == 6
    assert len({h["SeriesInstanceUID"] for h in headers}) == 24
    assert Counter(h["Modality"] for h in headers) == {"CT": 60, "SR": 60}
    per_series = Counter((h["SeriesInstanceUID"], h["InstanceNumber"]) for h in headers)
    assert set(per_series.values()) == {1}
    assert {number for _, number in per_series} == {1, 2, 3, 4, 5}


def test_what_a_study_says_of_itself_is_the_same_in_all_its_instances():
    keywords = [
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "StudyDate",
        "StudyTime",
        "StudyID",
        "AccessionNumber",
        "StudyDescription",
        "ReferringPhysicianName",
    ]
    said = {
        (i.header["StudyInstanceUID"], *(str(i.header[k]) for k in keywords))
        for i in synthesize(
            patients=2, studies=2, series=3, instances=2, size=SMALL, modality=tuple(MODALITIES)
        )
    }
    assert len(said) == 4


def test_equal_arguments_give_equal_bytes_and_others_give_other_uids():
    def make(**other):
        return [encoded(i) for i in synthesize(**({"instances": 2, "size": SMALL, "seed": 3} | other))]

    def identities(**other):
        return {
            i.sop_instance_uid for i in synthesize(**({"instances": 2, "size": SMALL, "seed": 3} | other))
        }

    assert make() == make()
    for other in (
        {"seed": 4},
        {"modality": "MR"},
        {"size": 2000},
        {"transfer_syntax": uids.IMPLICIT_VR_LITTLE_ENDIAN},
    ):
        assert not identities() & identities(**other), other


def test_more_instances_leave_the_first_ones_as_they_were():
    few, many = ([encoded(i) for i in synthesize(instances=n, size=SMALL)] for n in (2, 5))
    assert many[:2] == few


@pytest.mark.parametrize(("size", "low", "high"), [(SMALL, 12_500, 14_000), (CT, 526_000, 529_000)])
def test_presets_weigh_what_they_say(size, low, high):
    assert low < next(synthesize(size=size)).size < high


def test_a_ct_has_as_many_elements_as_a_real_one():
    assert 90 <= len(next(synthesize(size=SMALL)).read()) <= 130


def test_instances_of_a_series_share_their_pixels_in_memory():
    first, second = synthesize(instances=2, size=CT)
    assert first.payload.segments()[-1] is second.payload.segments()[-1]
    assert encoded(first) != encoded(second)


def test_slices_lie_beside_each_other():
    places = [i.read().ImagePositionPatient[2] for i in synthesize(instances=4, size=SMALL)]
    assert places == [0, 5, 10, 15]


def test_uids_are_valid_and_of_one_length():
    for number in range(500):
        text = derived_uid("a", number)
        assert UID(text).is_valid
        assert len(text) == 44
    made = next(synthesize(size=SMALL)).read()
    assert all(element.value.is_valid for element in made.iterall() if element.VR == "UI")


def test_names_go_beyond_ascii():
    names = {str(i.header["PatientName"]) for i in synthesize(patients=8, size=SMALL)}
    assert len(names) == 8
    assert any("山田" in name for name in names)
    assert any("é" in name for name in names)


def test_nothing_is_made_where_a_count_is_zero():
    for level in ("patients", "studies", "series", "instances"):
        assert list(synthesize(size=SMALL, **{level: 0})) == []


def test_an_endless_series_is_made_one_by_one():
    numbers = [i.header["InstanceNumber"] for i in islice(synthesize(instances=10**9, size=SMALL), 3)]
    assert numbers == [1, 2, 3]


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"modality": "XX"}, "XX; choose from CT"),
        ({"modality": ()}, "choose from CT"),
        ({"size": 1}, "1 bytes"),
        ({"size": 2**33}, "do not fit"),
        ({"instances": -1}, "counts"),
        ({"transfer_syntax": uids.JPEG_2000}, "choose from 1.2.840.10008.1.2.1,"),
    ],
)
def test_what_cannot_be_made_is_refused_at_once(wrong, text):
    with pytest.raises(ValueError, match=text):
        synthesize(**wrong)


@pytest.mark.parametrize("size", [2, 3, 7, 130, 1001])
def test_odd_sizes_give_whole_rows(size):
    for modality in ("CT", "US"):
        ds = next(synthesize(modality=modality, size=size)).read()
        used = ds.Rows * ds.Columns * ds.BitsAllocated // 8
        assert len(ds.PixelData) == used + used % 2
        assert used <= size


def test_a_report_is_a_report_for_dcmtk(tmp_path, dcmtk):
    path = file_of(next(synthesize(modality="SR")), tmp_path)
    shown = subprocess.run([dcmtk("dsrdump"), path], capture_output=True, text=True, check=True)
    unsupported = "W: The VR checker does not support this Specific Character Set: ISO_IR 192\n"
    assert shown.stderr in ("", unsupported)
    assert "Hypodense Läsion" in shown.stdout


def test_a_document_is_a_pdf_whose_table_points_at_its_objects():
    document = next(synthesize(modality="PDF", size=20_000)).read().EncapsulatedDocument
    assert 19_000 < len(document) < 21_000
    start = int(document.rstrip(b"\0").split()[-2])
    table = document[start:].split(b"\n")
    assert table[0] == b"xref"
    for number, line in enumerate(table[3:8], 1):
        assert document[int(line[:10]) :].startswith(b"%d 0 obj" % number)


def test_a_phantom_refuses_shades_that_do_not_fit():
    with pytest.raises(ValueError, match="does not fit into 1 bytes"):
        phantom(4, 4, Shades(0, 250, 1, 2, 3, noise=4), depth=1)
