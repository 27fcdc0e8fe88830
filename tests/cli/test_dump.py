"""`dcmflow dump`: trees for people, DICOM JSON for programs, values for scripts."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian

import corpus
import pydicom_values
from terminal import on_terminal

Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]

# pydicom reads these, and dcmflow says what is wrong with them
BROKEN = {"MR_truncated.dcm", "rtplan_truncated.dcm", "DICOMDIR-nooffset"}
# not recognised as DICOM without being told
UNCLEAR = {"no_meta.dcm"}
# text in a number, which pydicom's from_json does not take
NO_NUMBER = {"badVR.dcm"}


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A file whose elements are of every sort."""
    ds = corpus.mr(patient="DUMP")
    ds.ReferencedStudySequence = [Dataset(), Dataset()]
    for number, item in enumerate(ds.ReferencedStudySequence):
        item.ReferencedSOPInstanceUID = f"1.2.{number}"
        item.PatientID = f"nested {number}"
    block = ds.private_block(0x0019, "DCMFLOW TEST A", create=True)
    block.add_new(0x10, "LO", "private")
    ds.add_new(0x00189087, "FD", [0.5, 1e300])
    ds.add_new(0x00186024, "US", [1, 65535])
    ds.add_new(0x00720050, "CS", "PIXEL")
    ds.add_new(0x00280009, "AT", [0x00181063, 0x7FE00010])
    ds.add_new(0x00720078, "UL", [2**32 - 1])
    ds.add_new(0x00720076, "FL", [0.1, float("nan"), float("inf"), float("-inf")])
    ds.add_new(0x00420011, "OB", b"\0\1\2\3")
    ds.add_new(0x00991010, "UN", b"\xff\0")
    path = tmp_path / "image.dcm"
    path.write_bytes(corpus.part10(ds))
    return path


def elements(done: Done) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_json_of_a_pipe_is_what_pydicom_reads(dcmflow: Run, pydicom_files: list[Path]) -> None:
    paths = [path for path in pydicom_files if path.name not in BROKEN | UNCLEAR]
    done = dcmflow("dump", "--bulk", "base64", "--format", "ndjson", *paths)
    assert (done.returncode, done.stderr) == (0, "")
    objects = done.stdout.splitlines()
    assert len(objects) == len(paths) > 100
    for path, line in zip(paths, objects, strict=True):
        assert json.loads(line), path
        if path.name in NO_NUMBER:
            continue
        ds = pydicom_values.read(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            again = pydicom_values.expected(Dataset.from_json(line))
        wanted = {tag: value for tag, value in pydicom_values.expected(ds).items() if tag & 0xFFFF}
        if ds.file_meta.get("TransferSyntaxUID") == ExplicitVRBigEndian and 0x7FE00010 in wanted:
            # words are turned round, as JSON has them
            assert len(again.pop(0x7FE00010)) == len(wanted.pop(0x7FE00010))
        assert not _no_group_lengths(pydicom_values.differences(wanted, again)), path


def _no_group_lengths(differences: list[str]) -> list[str]:
    return [text for text in differences if not text.partition(":")[0].endswith("0000")]


def test_words_of_big_endian_are_turned_round(dcmflow: Run, tmp_path: Path) -> None:
    files = corpus.comp(tmp_path / "comp")
    pixels = [
        elements(dcmflow("dump", "--bulk", "base64", files[name]))["7FE00010"]
        for name in ("explicit.dcm", "big-endian.dcm")
    ]
    assert pixels[0] == pixels[1]


def test_values_of_every_sort(dcmflow: Run, image: Path) -> None:
    found = elements(dcmflow("dump", image))
    assert found["00189087"] == {"vr": "FD", "Value": [0.5, 1e300]}
    assert found["00186024"] == {"vr": "US", "Value": [1, 65535]}
    assert found["00280009"] == {"vr": "AT", "Value": ["00181063", "7FE00010"]}
    assert found["00720076"]["Value"][1:] == ["NaN", "inf", "-inf"]
    assert found["00420011"] == {"vr": "OB", "InlineBinary": "AAECAw=="}
    assert found["00991010"] == {"vr": "UN", "InlineBinary": "/wA="}
    assert found["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "DUMP^Test"}]}
    assert found["00080050"] == {"vr": "SH"}, "empty: neither Value nor null"
    assert [item["00081155"]["Value"] for item in found["00081110"]["Value"]] == [["1.2.0"], ["1.2.1"]]
    assert not any(tag.startswith("0002") for tag in found)
    assert list(found) == sorted(found)


def test_bulk_by_policy(dcmflow: Run, tmp_path: Path) -> None:
    pixels = corpus.picture(1024)[: 1 << 20]
    ds = corpus.mr(patient="BULK", side=1024)
    ds.IconImageSequence = [Dataset()]
    ds.IconImageSequence[0].add_new("PixelData", "OB", bytes(range(256)) * 8)
    path = tmp_path / "one megabyte é.dcm"
    whole = corpus.part10(ds)
    path.write_bytes(whole)
    for options in ([], ["--bulk", "1 MB"], ["--bulk", "omit"]):
        found = elements(dcmflow("dump", path, *options))
        icon = found["00880200"]["Value"][0]["7FE00010"]
        uri = urlsplit(found["7FE00010"]["BulkDataURI"])
        assert uri.scheme == "file"
        assert unquote(uri.path) == str(path)
        assert _named(found["7FE00010"], whole) == bytes(ds.PixelData)
        if options == ["--bulk", "1 MB"]:
            assert base64.b64decode(icon["InlineBinary"]) == bytes(range(256)) * 8
        else:
            assert _named(icon, whole) == bytes(range(256)) * 8
    found = elements(dcmflow("dump", path, "--bulk", "base64"))
    assert base64.b64decode(found["7FE00010"]["InlineBinary"]) == bytes(ds.PixelData)
    assert len(pixels) == 1 << 20
    assert dcmflow("dump", path, "--bulk", "much").returncode == 2


def _named(attribute: dict[str, Any], whole: bytes) -> bytes:
    """The bytes that a BulkDataURI names."""
    query = parse_qs(urlsplit(attribute["BulkDataURI"]).query)
    offset, length = int(query["offset"][0]), int(query["length"][0])
    return whole[offset : offset + length]


def test_bulk_of_a_deflated_file_has_no_place_in_it(dcmflow: Run, tmp_path: Path) -> None:
    path = corpus.comp(tmp_path / "comp")["deflated.dcm"]
    uri = elements(dcmflow("dump", path))["7FE00010"]["BulkDataURI"]
    assert uri == f"{path.as_uri()}#/7FE00010"


def test_pixels_are_not_read(dcmflow: Run, tmp_path: Path) -> None:
    path = tmp_path / "large.dcm"
    ds = corpus.mr(patient="LARGE")
    del ds.PixelData
    size = 3 << 30
    with path.open("wb") as file:
        file.write(corpus.part10(ds))
        file.write(b"\xe0\x7f\x10\0OW\0\0" + size.to_bytes(4, "little"))
        file.truncate(file.tell() + size)  # a hole: nothing on the disk
    limited = [sys.executable, "-c", _LIMITED, str(path)]
    done = subprocess.run(limited, capture_output=True, text=True, check=False, timeout=15)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["7FE00010"]["BulkDataURI"].endswith(f"&length={size}")


_LIMITED = """
import sys
from dcmflow.cli.app import main
code = main(["dump", "--format", "json", sys.argv[1]])
with open("/proc/self/status") as status:  # ru_maxrss would begin with that of the process that started this one
    used = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
assert used < 300 * 1024, used
sys.exit(code)
"""


def test_one_file_is_an_object_and_several_are_an_array(dcmflow: Run, image: Path, tmp_path: Path) -> None:
    assert isinstance(json.loads(dcmflow("dump", image).stdout), dict)
    assert len(json.loads(dcmflow("dump", image, image).stdout)) == 2
    folder = tmp_path / "empty"
    folder.mkdir()
    assert json.loads(dcmflow("dump", folder).stdout) == []
    lines = dcmflow("dump", image, image, "--format", "ndjson").stdout.splitlines()
    assert json.loads(lines[0]) == json.loads(lines[1]) == json.loads(dcmflow("dump", image).stdout)


# -- which elements


@pytest.mark.parametrize("key", ["PatientID", "0010,0020", "(0010,0020)", "00100020"])
def test_keys_of_one_element(dcmflow: Run, image: Path, key: str) -> None:
    done = dcmflow("dump", image, "-e", key, "--format", "plain")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["nested 0", "nested 1", "DUMP"]
    done = dcmflow("dump", image, f"--element={key}", "--format", "plain", "--depth", "0")
    assert done.stdout == "DUMP\n"


@pytest.mark.parametrize("key", ["0010", "0x10", "0x0010"])
def test_a_group(dcmflow: Run, image: Path, key: str) -> None:
    found = elements(dcmflow("dump", image, "-e", key, "--depth", "0"))
    assert list(found) == ["00100010", "00100020", "00100030", "00100040"]


@pytest.mark.parametrize("key", ["/^S.*UID$/", "/^s.*uid$/i", "S*UID", "S[OtT]*InstanceUID", "*ies*UID"])
def test_patterns(dcmflow: Run, image: Path, key: str) -> None:
    ds = pydicom.dcmread(image)
    found = elements(dcmflow("dump", image, "-e", key, "--depth", "0"))
    for tag, attribute in found.items():
        assert attribute["Value"] == [str(ds[int(tag, 16)].value)]
    expected = {
        "S[OtT]*InstanceUID": {"00080018", "0020000D"},
        "*ies*UID": {"0020000E"},
    }.get(key, {"00080016", "00080018", "0020000D", "0020000E"})
    assert set(found) == expected


def test_several_keys_add_up(dcmflow: Run, image: Path) -> None:
    done = dcmflow("dump", image, "-e", "Modality", "-e", "PatientName", "--format", "plain")
    assert done.stdout == "Modality=MR\nPatientName=DUMP^Test\n"


def test_nested_keys(dcmflow: Run, image: Path) -> None:
    done = dcmflow("dump", image, "-e", "ReferencedStudySequence[1].PatientID", "--format", "plain")
    assert done.stdout == "nested 1\n"
    done = dcmflow("dump", image, "-e", "ReferencedStudySequence.PatientID", "--format", "plain")
    assert done.stdout.splitlines() == [
        "ReferencedStudySequence[0].PatientID=nested 0",
        "ReferencedStudySequence[1].PatientID=nested 1",
    ]
    found = elements(dcmflow("dump", image, "-e", "ReferencedStudySequence[1].PatientID"))
    assert found == {
        "00081110": {"vr": "SQ", "Value": [{}, {"00100020": {"vr": "LO", "Value": ["nested 1"]}}]}
    }


def test_private_elements(dcmflow: Run, image: Path) -> None:
    for key in ('("DCMFLOW TEST A",0019,10)', "(0019,1010)"):
        done = dcmflow("dump", image, "-e", key, "--format", "plain")
        assert done.stdout == "private\n"
    tags = elements(dcmflow("dump", image, "--no-private"))
    assert tags
    assert not [tag for tag in tags if int(tag[:4], 16) & 1]
    shown = dcmflow("dump", image, "--format", "tree").stdout
    assert "(0019,1010) LO [DCMFLOW TEST A]" in shown


def test_what_is_left_out_wins(dcmflow: Run, image: Path) -> None:
    found = elements(
        dcmflow("dump", image, "-e", "0010", "-e", "0019", "--exclude", "PatientID", "--no-private")
    )
    assert list(found) == ["00100010", "00100030", "00100040"]
    found = elements(dcmflow("dump", image, "-e", "PatientID", "-x", "Patient*"))
    assert found == {}
    found = elements(dcmflow("dump", image, "-x", "PatientID"))
    assert "00100020" not in found
    assert found["00081110"]["Value"][0] == {"00081155": {"vr": "UI", "Value": ["1.2.0"]}}


def test_sequences_that_stay_shut(dcmflow: Run, image: Path) -> None:
    assert "00081110" not in elements(dcmflow("dump", image, "--depth", "0")), "it would look empty"
    assert (
        "ReferencedStudySequence        2 items"
        in dcmflow("dump", image, "--depth", "0", "--format", "tree").stdout
    )
    assert elements(dcmflow("dump", image, "--depth", "1")) == elements(dcmflow("dump", image))


def test_file_meta(dcmflow: Run, image: Path) -> None:
    done = dcmflow("dump", image, "-e", "TransferSyntaxUID", "--format", "plain")
    assert done.stdout == "1.2.840.10008.1.2.1\n"
    assert "00020010" in elements(dcmflow("dump", image, "-e", "TransferSyntaxUID"))
    assert "00020010" not in elements(dcmflow("dump", image, "-e", "*UID"))
    assert "(0002,0010) UI TransferSyntaxUID" in dcmflow("dump", image, "--format", "tree").stdout


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("PatientNme", "did you mean PatientName"),
        ("/(/", "no regular expression"),
        ("", "write a keyword"),
        ("ReferencedStudySequence[0]", "write a keyword"),
        ("ReferencedStudySequence.Nonsense", "unknown keyword"),
        ("0010,00", "write a keyword"),
    ],
)
@pytest.mark.parametrize("option", ["-e", "--exclude"])
def test_keys_that_are_none(dcmflow: Run, image: Path, key: str, said: str, option: str) -> None:
    done = dcmflow("dump", image, option, key)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


# -- against DCMTK


def test_plain_equals_dcmdump(dcmflow: Run, tmp_path: Path, dcmtk: Callable[[str], str]) -> None:
    files = corpus.base(tmp_path / "base")
    for keyword in (
        "PatientID",
        "SOPInstanceUID",
        "ImageType",
        "EchoTime",
        "Rows",
        "StudyDate",
        "SeriesNumber",
    ):
        done = dcmflow("dump", *files.paths, "-e", keyword, "--format", "plain")
        assert done.returncode == 0, done.stderr
        shown = subprocess.run(
            [dcmtk("dcmdump"), "-q", "-Un", "+L", "+P", keyword, *files.paths],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert done.stdout.splitlines() == [_dcmdump_value(line) for line in shown.splitlines() if line]
        assert len(done.stdout.splitlines()) == 12 or keyword == "Rows"


def _dcmdump_value(line: str) -> str:
    value = line[len("(gggg,eeee) VR ") :].rpartition("#")[0].strip()
    return value[1:-1] if value.startswith("[") else value


def test_the_tree_has_every_element_of_dcmdump(
    dcmflow: Run, pydicom_files: list[Path], dcmtk: Callable[[str], str]
) -> None:
    for path in [
        path for path in pydicom_files if path.name in ("CT_small.dcm", "rtplan.dcm", "test-SR.dcm")
    ]:
        shown = subprocess.run(
            [dcmtk("dcmdump"), "-q", path], capture_output=True, text=True, errors="replace", check=True
        ).stdout
        theirs = [
            line.strip()[:11].upper()
            for line in shown.splitlines()
            if line.strip().startswith("(") and not line.strip().startswith("(fffe")
        ]
        done = dcmflow("dump", path, "--format", "tree")
        ours = [line.strip()[:11] for line in done.stdout.splitlines() if line.strip().startswith("(")]
        assert ours == theirs


# -- characters


def test_characters(dcmflow: Run, tmp_path: Path) -> None:
    files = corpus.char(tmp_path / "char")
    for name, (charset, text) in corpus.CHAR_NAMES.items():
        if not charset:
            continue  # there is no telling
        path = files[f"{name}.dcm"]
        plain = dcmflow("dump", path, "-e", "PatientName", "--format", "plain", encoding="utf-8")
        assert plain.stdout == f"{text}\n"
        tree = dcmflow("dump", path, "-e", "PatientName", "--format", "tree", encoding="utf-8")
        assert tree.stdout.endswith(f" {text}\n")
        (found,) = elements(dcmflow("dump", path, "-e", "PatientName", encoding="utf-8"))["00100010"]["Value"]
        assert list(found.values()) == text.split("=")


def test_output_that_is_not_utf8(dcmflow: Run, tmp_path: Path, environment: dict[str, str]) -> None:
    path = corpus.char(tmp_path / "char")["japanese.dcm"]
    ascii = environment | {"PYTHONIOENCODING": "ascii"}
    found = elements(dcmflow("dump", path, "-e", "PatientName", env=ascii))
    assert found["00100010"]["Value"][0]["Ideographic"] == "山田^太郎"
    assert dcmflow("dump", path, "--format", "tree", env=ascii).returncode == 0


# -- what is broken


def test_good_ones_between_bad_ones(dcmflow: Run, tmp_path: Path) -> None:
    good = corpus.base(tmp_path / "good")
    bad = corpus.junk(tmp_path / "bad")
    names = ["notes.txt", "empty.dcm", "random.bin", "picture.png", "preamble-only.dcm", "dangling.dcm"]
    names += ["pipe"] if "pipe" in bad else []
    paths = [path for pair in zip(good.paths, [bad[name] for name in names], strict=False) for path in pair]
    shown = paths[::2]
    done = dcmflow("dump", *paths, "-e", "SOPInstanceUID")
    assert done.returncode == 1
    assert [found["00080018"]["Value"][0] for found in json.loads(done.stdout)] == [
        pydicom.dcmread(path).SOPInstanceUID for path in shown
    ]
    complaints = done.stderr.splitlines()
    assert len(complaints) == len(names)
    for name, line in zip(names, complaints, strict=True):
        assert str(bad[name]) in line
    plain = dcmflow("dump", *paths, "-e", "SOPInstanceUID", "--format", "plain")
    assert plain.returncode == 1
    assert len(plain.stdout.splitlines()) == len(shown)


def test_a_folder_with_junk(dcmflow: Run, tmp_path: Path) -> None:
    files = corpus.base(tmp_path / "all")
    corpus.junk(tmp_path / "all" / "junk")
    (tmp_path / "all" / "junk" / "preamble-only.dcm").unlink()  # broken DICOM, and not something else
    (tmp_path / "all" / "junk" / "unreadable.dcm").unlink()
    done = dcmflow("dump", tmp_path / "all", "-e", "SOPInstanceUID", "--format", "plain")
    assert sorted(done.stdout.splitlines()) == sorted(files.uids.values())
    assert "without DICOM" in done.stderr
    assert dcmflow("dump", "--quiet", tmp_path / "all", "-e", "Modality").stderr == done.stderr.replace(
        next(line for line in done.stderr.splitlines(True) if "without DICOM" in line), ""
    )


def test_truncated_files(dcmflow: Run, tmp_path: Path) -> None:
    files = corpus.wire(tmp_path / "wire")
    cut = files["truncated-pixels"]
    done = dcmflow("dump", cut, "--format", "tree")
    assert done.returncode == 1
    assert "PatientName" in done.stdout
    assert str(cut) in done.stderr
    assert "312 are left" in done.stderr
    done = dcmflow("dump", cut)
    assert (done.returncode, done.stdout) == (1, ""), "half an object would look like a whole one"
    done = dcmflow("dump", *files.paths, "--format", "ndjson")
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == len(files.readable)


def test_a_value_that_cannot_be_decoded(dcmflow: Run, tmp_path: Path) -> None:
    whole = corpus.part10(corpus.mr(patient="ODD"))
    rows = b"\x28\0\x10\0US\2\0\x10\0"
    assert whole.count(rows) == 1
    path = tmp_path / "odd.dcm"
    path.write_bytes(whole.replace(rows, b"\x28\0\x10\0US\3\0\1\2\3"))
    done = dcmflow("dump", path)
    assert done.returncode == 1
    assert json.loads(done.stdout)["00280010"] == {"vr": "UN", "InlineBinary": "AQID"}
    assert f"{path}: Rows: 3 bytes are no whole number of US values" in done.stderr
    assert dcmflow("dump", path, "-e", "PatientID").returncode == 0


def test_a_sequence_with_a_broken_item(dcmflow: Run, pydicom_files: list[Path]) -> None:
    path = next(path for path in pydicom_files if path.name == "DICOMDIR-nooffset")
    done = dcmflow("dump", path)
    assert done.returncode == 1
    assert json.loads(done.stdout)["00041220"]["vr"] == "UN"
    assert "DirectoryRecordSequence: " in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "which files"),
        (["nowhere.dcm"], "there is no file or folder nowhere.dcm"),
        (["-"], "-"),
        (["--", "-"], "stdin is not read"),
        ([""], "is empty"),
        (["IMAGE", "nowhere.dcm"], "there is no file or folder nowhere.dcm"),
        (["IMAGE", "--format", "xml"], "--format is tree, json, ndjson or plain"),
        (["IMAGE", "--depth", "-1"], "--depth is not negative"),
        (["IMAGE", "--nonsense"], "--nonsense"),
        (["IMAGE", "--quiet", "--debug"], "contradict"),
    ],
)
def test_what_cannot_be_right(dcmflow: Run, image: Path, arguments: list[str], said: str) -> None:
    done = dcmflow("dump", *[str(image) if word == "IMAGE" else word for word in arguments])
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_help_says_what_wins(dcmflow: Run) -> None:
    words = " ".join(dcmflow("dump", "--help").stdout.split())
    assert "--exclude Leave this out; wins over --element" in words
    assert "--no-private Leave private elements out; wins over --element" in words


# -- terminals and pipes


def test_on_a_terminal(image: Path, environment: dict[str, str]) -> None:
    shown = on_terminal(["dump", str(image)], environment | {"COLUMNS": "60"})
    assert "(0010,0010) PN PatientName" in shown.out
    assert "<512 bytes>" in shown.out
    assert shown.code == 0
    lines = shown.out.splitlines()
    assert max(map(len, lines)) == 60
    assert any(line.endswith("…") for line in lines)
    assert json.loads(on_terminal(["dump", "--format", "json", str(image)], environment).out)


def test_a_terminal_obeys_no_value(tmp_path: Path, environment: dict[str, str], dcmflow: Run) -> None:
    path = tmp_path / "evil.dcm"
    comments = "one\r\ntwo\x1b[31mred\u202eder"
    ds = corpus.mr(patient="EVIL", SpecificCharacterSet="ISO_IR 192", PatientComments=comments)
    path.write_bytes(corpus.part10(ds))
    for format in ("tree", "plain"):
        shown = on_terminal(["dump", str(path), "--format", format, "-e", "PatientComments"], environment).out
        assert "\x1b" not in shown
        assert "\u202e" not in shown
        assert len(shown.splitlines()) == 1
    done = dcmflow("dump", path, "-e", "PatientComments", text=False)
    assert json.loads(done.stdout)["00104000"]["Value"] == [comments]


def test_nobody_reads_on(image: Path, environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "dcmflow", "dump", "--format", "ndjson", *[str(image)] * 200]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    assert process.stdout is not None
    assert process.stderr is not None
    os.read(process.stdout.fileno(), 10)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(15) == 0
