"""The named sets are what they promise, as pydicom and DCMTK see it; dcmflow has no part in this."""

from __future__ import annotations

import os
import stat
import subprocess
import warnings
import zipfile
from collections import Counter

import pydicom
import pytest
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID

import corpus


def header(path):
    return pydicom.dcmread(path, stop_before_pixels=True)


def counted(made):
    """Patients, studies, series and instances in the readable files, counted anew."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # several sets are wrong on purpose
        found = [pydicom.dcmread(made[name], force=True) for name in made.readable]
    keywords = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    return tuple(len({str(ds.get(keyword) or "") for ds in found}) for keyword in keywords)


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("base", (2, 3, 7, 12)),
        ("wire", (1, 1, 1, 6)),
        ("holes", (2, 1, 1, 18)),
        ("evil", (20, 20, 20, 20)),
        ("char", (11, 11, 11, 11)),
        ("priv", (1, 1, 1, 4)),
        ("clash", (6, 6, 6, 7)),
        ("junk", (0, 0, 0, 0)),
    ],
)
def test_counts_are_what_is_in_the_files(name, counts, tmp_path):
    made = getattr(corpus, name)(tmp_path)
    assert (made.patients, made.studies, made.series, made.instances) == counts
    if name != "evil":  # pydicom strips blanks, which make one more patient there
        assert counted(made) == counts
    assert set(made.paths) == {p for p in tmp_path.rglob("*") if p.is_symlink() or not p.is_dir()}


def test_writing_twice_gives_equal_bytes(tmp_path):
    for name in ("base", "comp", "char", "clash"):
        one, two = (getattr(corpus, name)(tmp_path / folder / name) for folder in "ab")
        assert [p.read_bytes() for p in one.paths] == [p.read_bytes() for p in two.paths]


def test_base_is_made_to_the_recipe(tmp_path):
    made = corpus.base(tmp_path)
    found = [header(path) for path in made.paths]
    assert all(ds.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian for ds in found)
    assert all(UID(uid).is_valid and uid.startswith("2.25.") for uid in made.uids.values())
    per_series = Counter((ds.PatientID, ds.StudyDate, ds.SeriesNumber) for ds in found)
    assert per_series == {
        ("TestPat1", "20190625", 1): 2,
        ("TestPat1", "20190625", 2): 1,
        ("TestPat1", "20180530", 1): 2,
        ("TestPat1", "20180530", 2): 2,
        ("TestPat1", "19000101", 14): 1,
        ("TestPat2", "20190615", 1): 2,
        ("TestPat2", "20190615", 2): 2,
    }
    (long,) = (ds for ds in found if "ReferencedImageSequence" in ds)
    assert len(long.ReferencedImageSequence) == 119
    (private,) = (ds for ds in found if ds.SOPClassUID == corpus.PRIVATE_SOP_CLASS)
    assert private.SeriesNumber == 14
    assert "PixelData" not in pydicom.dcmread(made["TestPat1/20180530/14/001.dcm"])
    assert {ds.SeriesDescription for ds in found if ds.SeriesNumber == 2} >= {"Accelerated Sagittal MPRAGE"}
    echoes = {ds.EchoTime for ds in found if (ds.PatientID, ds.SeriesNumber) == ("TestPat2", 2)}
    assert echoes == {2.46, 4.25}


def test_base_is_good_for_dcmtk(tmp_path, dcmtk):
    made = corpus.base(tmp_path)
    tested = subprocess.run([dcmtk("dcmftest"), *made.paths], capture_output=True, text=True, check=True)
    assert tested.stdout.count("yes:") == 12
    dump = subprocess.run([dcmtk("dcmdump"), *made.paths], capture_output=True, text=True, check=True)
    assert dump.stderr == ""


def test_comp_holds_the_same_picture_in_other_clothes(tmp_path):
    pytest.importorskip("numpy", reason="decoding pixels needs numpy")
    made = corpus.comp(tmp_path)
    found = {name: pydicom.dcmread(path) for name, path in made.items()}
    syntaxes = {ds.file_meta.TransferSyntaxUID for ds in found.values()}
    assert len(syntaxes) == len(made) == made.instances
    assert len(made) + len(made.skipped) == 7
    plain = found["explicit.dcm"].pixel_array
    for name in ("implicit.dcm", "deflated.dcm", "big-endian.dcm", "rle.dcm"):
        assert (found[name].pixel_array == plain).all(), name


def test_jpeg_files_of_comp_decode_to_the_same_picture(tmp_path, dcmtk):
    pytest.importorskip("numpy", reason="decoding pixels needs numpy")
    decoders = {"jpeg.dcm": dcmtk("dcmdjpeg"), "jpeg-ls.dcm": dcmtk("dcmdjpls")}
    made = corpus.comp(tmp_path)
    plain = pydicom.dcmread(made["explicit.dcm"]).pixel_array
    for name, decoder in decoders.items():
        subprocess.run([decoder, made[name], tmp_path / "decoded"], check=True)
        decoded = pydicom.dcmread(tmp_path / "decoded")
        assert (decoded.pixel_array == plain).all()
        assert decoded.SOPInstanceUID == made.uids[name]


def test_wire_files_miss_what_their_names_say(tmp_path):
    made = corpus.wire(tmp_path)
    data = {name: path.read_bytes() for name, path in made.items()}
    magic = {name for name, content in data.items() if content[128:132] == b"DICM"}
    assert set(data) - magic == {"dataset-explicit", "dataset-implicit", "meta-without-preamble"}
    assert data["meta-without-preamble"].startswith(b"\x02\0\0\0UL")
    assert data["preamble-without-meta"][132:134] == b"\x08\0"
    without = pydicom.filereader.read_file_meta_info(made["meta-without-transfer-syntax"])
    assert "TransferSyntaxUID" not in without
    assert set(made) - set(made.readable) == {"truncated-pixels", "truncated-header"}
    ds = pydicom.dcmread(made["truncated-pixels"], force=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert len(ds.PixelData) == 16 * 16 * 2 - 200
    length = int.from_bytes(data["wrong-group-length"][140:144], "little")
    assert data["wrong-group-length"][144 + length :][:2] != b"\x08\0", "the data set does not begin there"


def test_holes_are_where_they_are_named(tmp_path):
    for name, path in corpus.holes(tmp_path).items():
        how, _, keyword = name.removesuffix(".dcm").partition("-")
        ds = header(path)
        assert (keyword in ds) == (how == "empty")
        assert not ds.get(keyword)
        assert ds.SOPInstanceUID


def test_evil_values_arrive_unharmed(tmp_path):
    made = corpus.evil(tmp_path)
    for name, value in corpus.EVIL_PATIENT_IDS.items():
        raw = pydicom.dcmread(made[f"id-{name}.dcm"]).get_item("PatientID").value or b""
        padded = value.encode() + b" " * (len(value) % 2)
        assert raw == padded
    assert header(made["text-emoji.dcm"]).SeriesDescription == "brain 🧠 scan"
    assert b"two\nlines" in made["text-newline.dcm"].read_bytes()


def test_names_are_read_in_their_character_sets(tmp_path):
    made = corpus.char(tmp_path)
    for name, (charset, text) in corpus.CHAR_NAMES.items():
        ds = header(made[f"{name}.dcm"])
        if charset:
            assert ds.PatientName == text
            continue
        assert "SpecificCharacterSet" not in ds
        assert text.encode() in made[f"{name}.dcm"].read_bytes()


def test_private_things_are_private(tmp_path):
    made = corpus.priv(tmp_path)
    assert header(made["sop-class.dcm"]).SOPClassUID == corpus.PRIVATE_SOP_CLASS
    syntax = header(made["transfer-syntax.dcm"]).file_meta.TransferSyntaxUID
    assert syntax == corpus.PRIVATE_TRANSFER_SYNTAX
    assert syntax.is_private
    explicit, implicit = header(made["blocks.dcm"]), header(made["blocks-implicit.dcm"])
    assert explicit.private_block(0x0019, "DCMFLOW TEST A")[0x10].value == "of A"
    assert explicit.private_block(0x0019, "DCMFLOW TEST B")[0x10].value == [1.5, 2.5]
    assert implicit.private_block(0x0019, "DCMFLOW TEST A")[0x10].value == b"of A", (
        "implicit VR does not know"
    )


def test_classes_need_more_than_one_association(tmp_path):
    made = corpus.classes(tmp_path)
    found = {header(path).SOPClassUID for path in made.paths}
    assert len(found) == len(made) == made.instances > 150
    assert {"1.2.840.10008.5.1.4.1.1.104.1", "1.2.840.10008.5.1.4.1.1.88.67"} < found
    assert made.studies == 1


def test_clashes_clash(tmp_path):
    made = corpus.clash(tmp_path)

    def both(name, keyword):
        one, other = (str(pydicom.dcmread(made[f"{name}-{letter}.dcm"])[keyword].value) for letter in "ab")
        return one == other

    assert both("same-uid", "SOPInstanceUID")
    assert not both("same-uid", "SeriesInstanceUID")
    assert both("series", "SeriesInstanceUID")
    assert not both("series", "StudyInstanceUID")
    assert both("study", "StudyInstanceUID")
    assert not both("study", "PatientID")
    assert both("pixels", "SOPInstanceUID")
    assert not both("pixels", "PixelData")
    assert made["copy-a.dcm"].read_bytes() == made["copy-b.dcm"].read_bytes()


def test_junk_is_no_dicom(tmp_path):
    made = corpus.junk(tmp_path)
    assert made["empty.dcm"].stat().st_size == 0
    assert stat.S_ISFIFO(made["pipe"].stat().st_mode)
    assert stat.S_IMODE(made["unreadable.dcm"].stat().st_mode) == 0
    assert os.path.samefile(made["loop"], tmp_path)
    assert made["dangling.dcm"].is_symlink()
    assert not made["dangling.dcm"].exists()
    assert zipfile.is_zipfile(made["notes.zip"])
    for name in ("notes.txt", "random.bin", "random.dcm", "zeros", "picture.png", ".DS_Store", "notes.zip"):
        with pytest.raises(InvalidDicomError):
            pydicom.dcmread(made[name])
    directory = header(made["DICOMDIR"])
    assert directory.file_meta.MediaStorageSOPClassUID == "1.2.840.10008.1.3.10"
    assert "SOPInstanceUID" not in directory


def test_big_counts_and_weighs_what_was_asked_for(tmp_path):
    made = corpus.big(tmp_path, 30)
    large = corpus.big(tmp_path, 2, 524_288, name="large")
    assert len(made) == made.instances == 30
    assert made.series == 1
    assert 1800 < made.paths[0].stat().st_size < 2200
    assert large.paths[0].stat().st_size == pytest.approx(524_288, abs=1500)
    for number, path in enumerate(made.paths, 1):
        ds = header(path)
        assert ds.InstanceNumber == number
        assert (
            ds.SOPInstanceUID
            == ds.file_meta.MediaStorageSOPInstanceUID
            == made.uids[f"small/{number:06d}.dcm"]
        )


def test_a_corpus_is_a_mapping(tmp_path):
    made = corpus.clash(tmp_path)
    assert next(iter(made)) == "same-uid-a.dcm"
    assert made["same-uid-a.dcm"] == tmp_path / "same-uid-a.dcm"
    assert len(made) == len(made.paths) == 10
