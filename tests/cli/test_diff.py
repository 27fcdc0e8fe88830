"""`dcmflow diff`: two files element by element, two folders by SOP Instance UID."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

import corpus
from terminal import on_terminal

Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., Path]:
    """`put("a", PatientID="X")` writes an image that differs from others only in what is said."""

    def write(name: str, syntax: str = ExplicitVRLittleEndian, **elements: Any) -> Path:
        path = tmp_path / f"{name}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(corpus.part10(corpus.mr(**elements), syntax))
        return path

    return write


def difference(done: Done, code: int) -> dict[str, Any]:
    assert done.returncode == code, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["same"] is (code == 0)
    return found


def references(*uids: str) -> list[Dataset]:
    items = []
    for uid in uids:
        item = Dataset()
        item.ReferencedSOPInstanceUID = uid
        items.append(item)
    return items


# -- files


def test_the_same(dcmflow: Run, put: Callable[..., Path]) -> None:
    found = difference(dcmflow("diff", put("a"), put("b")), 0)
    assert found["differences"] == found["encoding"] == []
    assert dcmflow("diff", put("a"), put("b"), "--format", "text").stdout == ""


def test_what_differs(dcmflow: Run, put: Callable[..., Path]) -> None:
    a = put("a", PatientName="Doe^John", StudyID=None, ReferencedImageSequence=references("1.2", "1.3"))
    b = put(
        "b", PatientName="Roe^Jane", PatientComments="x", ReferencedImageSequence=references("1.2", "1.4")
    )
    rows = {row["path"]: row for row in difference(dcmflow("diff", a, b), 1)["differences"]}
    assert set(rows) == {
        "PatientName",
        "PatientComments",
        "StudyID",
        "ReferencedImageSequence[1].ReferencedSOPInstanceUID",
    }
    assert rows["PatientName"] == {
        "path": "PatientName",
        "kind": "changed",
        "tag": "00100010",
        "a": {"vr": "PN", "Value": [{"Alphabetic": "Doe^John"}]},
        "b": {"vr": "PN", "Value": [{"Alphabetic": "Roe^Jane"}]},
    }
    assert rows["PatientComments"]["kind"] == "only-in-b"
    assert rows["StudyID"]["a"] == {"vr": "SH"}
    text = dcmflow("diff", b, a, "--format", "text")
    assert text.returncode == 1
    lines = text.stdout.splitlines()
    assert lines[:2] == [f"--- {b}", f"+++ {a}"]
    assert "- (0010,0010) PN PatientName                    Roe^Jane" in lines
    assert "+ (0010,0010) PN PatientName                    Doe^John" in lines
    assert [line for line in lines if "PatientComments" in line] == [
        "- (0010,4000) LT PatientComments                x"
    ]


def test_number_of_items(dcmflow: Run, put: Callable[..., Path]) -> None:
    a, b = (
        put(n, ReferencedImageSequence=references(*u)) for n, u in (("a", ["1.2"]), ("b", ["1.2", "1.3"]))
    )
    (row,) = difference(dcmflow("diff", a, b), 1)["differences"]
    assert (row["a"], row["b"]) == ({"vr": "SQ", "items": 1}, {"vr": "SQ", "items": 2})


def test_what_is_only_written_differently(dcmflow: Run, put: Callable[..., Path], tmp_path: Path) -> None:
    plain = put("plain", ReferencedImageSequence=references("1.2"))
    others = {
        "implicit": put("implicit", ImplicitVRLittleEndian, ReferencedImageSequence=references("1.2")),
        "deflated": put(
            "deflated", DeflatedExplicitVRLittleEndian, ReferencedImageSequence=references("1.2")
        ),
    }
    for path in others.values():
        assert [row["path"] for row in difference(dcmflow("diff", plain, path), 0)["encoding"]] == [
            "TransferSyntaxUID"
        ]
        assert dcmflow("diff", plain, path, "--strict").returncode == 1
        shown = dcmflow("diff", plain, path, "--format", "text").stdout.splitlines()
        assert shown[2].startswith("~ TransferSyntaxUID: 1.2.840.10008.1.2.1 / ")


def test_number_text_padding_vr_and_length(dcmflow: Run, put: Callable[..., Path], tmp_path: Path) -> None:
    plain = put("plain", SpecificCharacterSet="ISO_IR 100", PatientName="Jérôme")
    utf8 = put("utf8", SpecificCharacterSet="ISO_IR 192", PatientName="Jérôme")
    found = difference(dcmflow("diff", plain, utf8), 0)
    assert {row["path"] for row in found["encoding"]} == {"SpecificCharacterSet", "PatientName"}

    whole = plain.read_bytes()
    thickness = b"\x18\0\x50\0DS\2\x005 "
    assert whole.count(thickness) == 1
    number = tmp_path / "number.dcm"
    number.write_bytes(whole.replace(thickness, b"\x18\0\x50\0DS\4\x005.00"))
    (row,) = difference(dcmflow("diff", plain, number), 0)["encoding"]
    assert (row["path"], row["what"]) == ("SliceThickness", "the same value, written in another way")
    station = b"\x08\0\x70\0LO\x0e\0dcmflow tests "
    assert whole.count(station) == 1
    wide = tmp_path / "padded.dcm"
    wide.write_bytes(whole.replace(station, b"\x08\0\x70\0LO\x10\0dcmflow tests   "))
    (row,) = difference(dcmflow("diff", plain, wide), 0)["encoding"]
    assert (row["path"], row["what"]) == ("Manufacturer", "padding")

    unknown = tmp_path / "unknown.dcm"
    unknown.write_bytes(whole.replace(station, b"\x08\0\x70\0UN\0\0\x0e\0\0\0dcmflow tests "))
    assert difference(dcmflow("diff", plain, unknown), 0)["differences"] == []


def test_undefined_lengths(
    dcmflow: Run, put: Callable[..., Path], dcmtk: Callable[[str], str], tmp_path: Path
) -> None:
    plain = put("plain", ReferencedImageSequence=references("1.2"))
    for option in ("-e", "+e"):
        subprocess.run([dcmtk("dcmconv"), option, plain, tmp_path / f"length{option}.dcm"], check=True)
    found = difference(dcmflow("diff", tmp_path / "length-e.dcm", tmp_path / "length+e.dcm"), 0)
    (row,) = [row for row in found["encoding"] if row["path"] == "ReferencedImageSequence"]
    assert row["what"] == "length undefined / length explicit"


@pytest.mark.parametrize("name", ["rle.dcm", "big-endian.dcm", "deflated.dcm", "implicit.dcm"])
def test_pixels_decoded(dcmflow: Run, tmp_path: Path, name: str) -> None:
    files = corpus.comp(tmp_path / "comp")
    same = ["SOPInstanceUID", "InstanceNumber"]
    ignore = [word for key in same for word in ("--ignore", key)]
    done = dcmflow("diff", files["explicit.dcm"], files[name], *ignore, "--pixels")
    found = difference(done, 0)
    assert {row["path"] for row in found["encoding"]} == {"TransferSyntaxUID"} | (
        {"PixelData"} if name == "rle.dcm" else set()
    )
    without = dcmflow("diff", files["explicit.dcm"], files[name], *ignore)
    assert without.returncode == (1 if name == "rle.dcm" else 0)


def test_other_pixels(dcmflow: Run, put: Callable[..., Path], tmp_path: Path) -> None:
    a, b = put("a"), put("b", PixelData=corpus.picture(16, shift=5))
    for options in ([], ["--pixels"]):
        (row,) = difference(dcmflow("diff", a, b, *options), 1)["differences"]
        assert row["path"] == "PixelData"
    assert dcmflow("diff", a, b, "-i", "PixelData").returncode == 0


def test_pixels_that_cannot_be_decoded(dcmflow: Run, put: Callable[..., Path], tmp_path: Path) -> None:
    ds = corpus.mr()
    other = tmp_path / "private.dcm"
    other.write_bytes(corpus.part10(ds, corpus.PRIVATE_TRANSFER_SYNTAX))
    b = put("b", PixelData=corpus.picture(16, shift=5))
    done = dcmflow("diff", other, b, "--pixels")
    assert done.returncode == 2
    assert "cannot be decoded" in done.stderr
    assert dcmflow("diff", other, b).returncode == 1


def test_ignored_elements(dcmflow: Run, put: Callable[..., Path]) -> None:
    a = put("a", PatientName="A", PatientID="1", ReferencedImageSequence=references("1.2"))
    b = put("b", PatientName="B", PatientID="2", ReferencedImageSequence=references("1.3"))
    assert dcmflow("diff", a, b, "-i", "0010", "-i", "Referenced*Sequence").returncode == 0
    found = difference(dcmflow("diff", a, b, "--ignore", "PatientName", "--ignore", "/UID$/"), 1)
    assert [row["path"] for row in found["differences"]] == ["PatientID"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["A", "nowhere.dcm"], "there is no file or folder nowhere.dcm"),
        (["FOLDER", "A"], "compare two files or two folders"),
        (["A", "FOLDER"], "compare two files or two folders"),
        (["A"], "B"),
        (["A", ""], "is empty"),
        (["A", "A", "--ignore", "PatientNme"], "did you mean PatientName"),
        (["A", "A", "--format", "tree"], "--format is text or json"),
        (["A", "JUNK"], "not DICOM"),
        (["CUT", "A"], "62 are left"),
        (["A", "CUT"], "62 are left"),
    ],
)
def test_trouble(
    dcmflow: Run, put: Callable[..., Path], tmp_path: Path, arguments: list[str], said: str
) -> None:
    a = put("a")
    (tmp_path / "folder").mkdir()
    (tmp_path / "junk.txt").write_text("no DICOM here")
    (tmp_path / "cut.dcm").write_bytes(a.read_bytes()[:-450])
    words = {
        "A": a,
        "FOLDER": tmp_path / "folder",
        "JUNK": tmp_path / "junk.txt",
        "CUT": tmp_path / "cut.dcm",
    }
    done = dcmflow("diff", *[words.get(word, word) for word in arguments])
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


# -- folders


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Twice the same 12 objects, under other names."""
    files = corpus.base(tmp_path / "a")
    other = tmp_path / "b"
    other.mkdir()
    for number, path in enumerate(files.paths):
        shutil.copy(path, other / f"{number}")
    return files.folder, other


def test_the_same_under_other_names(dcmflow: Run, folders: tuple[Path, Path]) -> None:
    found = difference(dcmflow("diff", *folders), 0)
    assert found["counts"] == {
        "in_a": 12,
        "in_b": 12,
        "same": 12,
        **dict.fromkeys(
            ("encoding", "changed", "only_in_a", "only_in_b", "duplicates", "unreadable", "not_dicom"), 0
        ),
    }


def test_missing_extra_and_changed(dcmflow: Run, folders: tuple[Path, Path]) -> None:
    a, b = folders
    import pydicom

    gone = pydicom.dcmread(b / "0").SOPInstanceUID
    (b / "0").unlink()
    extra = corpus.mr(patient="EXTRA")
    (b / "extra").write_bytes(corpus.part10(extra))
    changed = pydicom.dcmread(b / "1")
    changed.PatientName = "Changed^Name"
    changed.save_as(b / "1")
    rewritten = pydicom.dcmread(b / "2")
    rewritten.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    rewritten.save_as(b / "2", implicit_vr=True, little_endian=True)
    shutil.copy(b / "3", b / "3 again")
    (b / "junk").write_text("no DICOM here")
    found = difference(dcmflow("diff", a, b), 1)
    assert [row["sop_instance_uid"] for row in found["only_in_a"]] == [gone]
    assert [row["sop_instance_uid"] for row in found["only_in_b"]] == [extra.SOPInstanceUID]
    (row,) = found["changed"]
    assert row["sop_instance_uid"] == changed.SOPInstanceUID
    assert (row["b"], row["elements"]) == (str(b / "1"), ["PatientName"])
    (row,) = found["encoding"]
    assert (row["b"], row["elements"]) == (str(b / "2"), ["TransferSyntaxUID"])
    (row,) = found["duplicates"]
    assert (row["folder"], row["paths"]) == ("b", [str(b / "3"), str(b / "3 again")])
    counts = found["counts"]
    assert (counts["same"], counts["not_dicom"], counts["unreadable"]) == (9, 1, 0)
    assert counts["in_a"] == counts["same"] + counts["encoding"] + counts["changed"] + counts["only_in_a"]

    shown = dcmflow("diff", a, b, "--format", "text")
    assert shown.returncode == 1
    for line in (f"only in {a}: 1", f"only in {b}: 1", "changed: 1", "more than once in one folder: 1"):
        assert line in shown.stdout.splitlines()


def test_a_folder_with_broken_files_is_trouble(dcmflow: Run, folders: tuple[Path, Path]) -> None:
    a, b = folders
    (b / "5").write_bytes((b / "5").read_bytes()[:-100])
    (b / "0").unlink()
    done = dcmflow("diff", a, b)
    assert done.returncode == 2
    found = json.loads(done.stdout)
    assert [row["path"] for row in found["unreadable"]] == [str(b / "5")]
    assert str(b / "5") in done.stderr
    assert found["counts"]["same"] == 10, "the rest is compared"
    assert found["counts"]["only_in_a"] == 2


def test_contradictions_in_one_folder(dcmflow: Run, tmp_path: Path) -> None:
    files = corpus.clash(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    found = difference(dcmflow("diff", tmp_path / "a", tmp_path / "b"), 0)
    assert len(found["duplicates"]) == 2 * 3
    (tmp_path / "b" / "pixels-b.dcm").unlink()
    found = difference(dcmflow("diff", tmp_path / "a", tmp_path / "b"), 1)
    (row,) = found["changed"]
    assert (row["sop_instance_uid"], row["a"]) == (files.uids["pixels-b.dcm"], str(files["pixels-b.dcm"]))
    assert row["elements"] == ["PixelData"]
    (tmp_path / "b" / "copy-b.dcm").unlink()
    assert len(difference(dcmflow("diff", tmp_path / "a", tmp_path / "b"), 1)["changed"]) == 1


def test_strict_and_ignore_in_folders(dcmflow: Run, put: Callable[..., Path], tmp_path: Path) -> None:
    put("x/one", PatientName="A")
    put("y/one", ImplicitVRLittleEndian, PatientName="B")
    x, y = tmp_path / "x", tmp_path / "y"
    assert dcmflow("diff", x, y).returncode == 1
    assert dcmflow("diff", x, y, "--ignore", "PatientName").returncode == 0
    difference(dcmflow("diff", x, y, "--ignore", "PatientName", "--strict"), 1)


# -- terminals and pipes


def test_on_a_terminal(put: Callable[..., Path], environment: dict[str, str]) -> None:
    a, b = put("a", PatientName="Doe^John"), put("b", PatientName="Evil\x1b[31m^" + "x" * 50)
    shown = on_terminal(["diff", str(a), str(b)], environment | {"COLUMNS": "70"})
    assert shown.code == 1
    assert "- (0010,0010) PN PatientName" in shown.out
    assert "\x1b" not in shown.out
    assert max(map(len, shown.out.splitlines()[2:])) <= 70


def test_nobody_reads_on(folders: tuple[Path, Path], environment: dict[str, str]) -> None:
    a, b = folders
    for path in b.iterdir():
        path.unlink()
    command = [sys.executable, "-m", "dcmflow", "diff", "--format", "text", str(a), str(b)]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert (process.wait(15), said) == (1, b"")
