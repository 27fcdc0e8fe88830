"""What `dump` shows is what DCMTK and pydicom see."""

from __future__ import annotations

import base64
import json
import re
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian

import corpus
from acceptance_kit import Command, visible
from corpus import Corpus

Tool = Callable[[str], str]


def shown(run: Command, *arguments: object, code: int = 0) -> list[dict[str, Any]]:
    """DICOM JSON, one object a file."""
    done = run("dump", "--format", "ndjson", *arguments).must(code)
    return [json.loads(line) for line in done.out.splitlines()]


def keywords(one: dict[str, Any]) -> set[str]:
    return {pydicom.datadict.keyword_for_tag(int(tag, 16)) for tag in one}


def test_one_element_plain_is_what_dcmdump_says(run: Command, base_set: Corpus, dcmtk: Tool) -> None:
    for keyword in ("PatientID", "EchoTime", "SeriesDescription", "SOPInstanceUID"):
        done = run("dump", "-e", keyword, "--format", "plain", *base_set.paths).must(0)
        theirs = subprocess.run(
            [dcmtk("dcmdump"), "-Un", "+P", keyword, *map(str, base_set.paths)],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        values = re.findall(r"\[(.*)\]", theirs)
        if keyword == "SOPInstanceUID":
            values = [value for value in values if value in base_set.uids.values()]
        assert [line.strip() for line in done.out.splitlines()] == [value.strip() for value in values]


def test_a_pattern_of_keywords_as_json(run: Command, base_set: Corpus) -> None:
    done = run("dump", "-e", "/InstanceUID$/", "--format", "json", *base_set.paths).must(0)
    objects = json.loads(done.out)
    assert len(objects) == 12
    for one, path in zip(objects, base_set.paths, strict=True):
        ds = pydicom.dcmread(path)
        for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
            tag = f"{pydicom.datadict.tag_for_keyword(keyword):08X}"
            assert one[tag] == {"vr": "UI", "Value": [ds[keyword].value]}
        sequences = {"ReferencedImageSequence"}  # what matches inside of one is shown inside of it
        assert all(keyword.endswith("InstanceUID") for keyword in keywords(one) - sequences)


@pytest.mark.parametrize("group", ["0010", "0x10"])
def test_a_group(run: Command, lone: Path, group: str) -> None:
    (one,) = shown(run, "-e", group, lone)
    assert keywords(one) == {"PatientName", "PatientID", "PatientBirthDate", "PatientSex"}


@pytest.mark.parametrize("tag", ["(0010,0020)", "00100020"])
def test_a_tag_in_the_forms_people_write(run: Command, lone: Path, tag: str) -> None:
    assert shown(run, "-e", tag, lone) == [{"00100020": {"vr": "LO", "Value": ["LONE"]}}]


def test_exclude_wins_over_element(run: Command, lone: Path) -> None:
    (one,) = shown(run, "-e", "Patient*", "-x", "PatientSex", "-x", "/Date$/", lone)
    assert keywords(one) == {"PatientName", "PatientID"}


def test_private_elements_are_shown_or_left_out(run: Command, priv_set: Corpus) -> None:
    (one,) = shown(run, priv_set["blocks.dcm"])
    assert one["00191010"] == {"vr": "LO", "Value": ["of A"]}
    assert one["00191120"]["Value"][0]["00211001"]["Value"] == ["nested"]
    (one,) = shown(run, "--no-private", priv_set["blocks.dcm"])
    assert [tag for tag in one if int(tag[:4], 16) % 2] == []
    assert "00191120" not in one


def test_nested_elements_can_be_asked_for(run: Command, base_set: Corpus) -> None:
    (path,) = (path for name, path in base_set.items() if name.startswith("TestPat1/20190625/02"))
    done = run(
        "dump", "-e", "ReferencedImageSequence[118].ReferencedSOPInstanceUID", "--format", "plain", path
    )
    expected = pydicom.dcmread(path).ReferencedImageSequence[118].ReferencedSOPInstanceUID
    assert done.must(0).out.strip() == expected
    tree = run("dump", "--format", "tree", path).must(0).out
    assert expected in tree
    flat = run("dump", "--format", "tree", "--depth", "0", path).must(0).out
    assert expected not in flat
    assert "ReferencedImageSequence" in flat


def test_dicom_json_is_what_pydicom_makes_of_it(run: Command, base_set: Corpus) -> None:
    for path, one in zip(base_set.paths, shown(run, "--bulk", "base64", *base_set.paths), strict=True):
        ours = {tag: value for tag, value in one.items() if not tag.startswith("0002")}
        expected = pydicom.dcmread(path).to_json_dict()
        for tag in expected:
            assert ours[tag] == expected[tag], tag
        assert set(ours) == set(expected)


def peculiar() -> Dataset:
    ds = corpus.mr(patient="PECULIAR")
    ds.RecommendedDisplayFrameRateInFloat = 0.5
    ds.add_new(0x00189308, "FL", [1.5, -2.25])
    ds.FrameIncrementPointer = [0x00181063, 0x00181065]
    ds.add_new(0x00280034, "IS", [4, 3])
    ds.GridFrameOffsetVector = ["0", "1.5", "-3"]
    ds.private_block(0x0019, "PECULIAR", create=True).add_new(0x10, "UN", b"\1\2\3\xff")
    ds.add_new(0x00420011, "OB", bytes(range(256)) * 4096)
    ds.PatientComments = 'quote " backslash \\ newline\n'
    return ds


def test_odd_value_representations_are_valid_dicom_json(run: Command, tmp_path: Path) -> None:
    ds = peculiar()
    (tmp_path / "x.dcm").write_bytes(corpus.part10(ds))
    (one,) = shown(run, "--bulk", "base64", tmp_path / "x.dcm")
    assert one["00189308"] == {"vr": "FL", "Value": [1.5, -2.25]}
    assert one["00280009"] == {"vr": "AT", "Value": ["00181063", "00181065"]}
    assert [float(value) for value in one["3004000C"]["Value"]] == [0, 1.5, -3]
    assert one["00191010"] == {"vr": "UN", "InlineBinary": base64.b64encode(b"\1\2\3\xff").decode()}
    assert base64.b64decode(one["00420011"]["InlineBinary"]) == bytes(range(256)) * 4096
    assert one["00280030"]["vr"] == "DS"
    assert one["00080050"] == {"vr": "SH"}, "empty: no Value (PS3.18 F.2.5)"
    back = Dataset.from_json({tag: value for tag, value in one.items() if not tag.startswith("0002")})
    assert back.PixelData == ds.PixelData
    assert list(back.FrameIncrementPointer) == [0x00181063, 0x00181065]


def test_bulk_is_left_in_the_file_where_the_policy_says_so(run: Command, tmp_path: Path) -> None:
    (tmp_path / "x.dcm").write_bytes(corpus.part10(peculiar()))
    done = run("dump", "--format", "json", tmp_path / "x.dcm").must(0)
    assert len(done.out) < 20_000, "a megabyte is not written unasked"
    read = json.loads(done.out)
    one = read[0] if isinstance(read, list) else read
    assert "InlineBinary" in one["00191010"], "four bytes are"
    assert "InlineBinary" not in one["00420011"]
    where = one["00420011"]["BulkDataURI"]
    offset, length = map(int, re.findall(r"(?:offset|length)=(\d+)", where))
    assert (tmp_path / "x.dcm").read_bytes()[offset : offset + length] == bytes(range(256)) * 4096
    omitted = json.loads(run("dump", "--format", "json", "--bulk", "omit", tmp_path / "x.dcm").must(0).out)
    one = omitted[0] if isinstance(omitted, list) else omitted
    assert "InlineBinary" not in json.dumps(one)


def test_every_transfer_syntax_shows_the_same_values(run: Command, comp_set: Corpus) -> None:
    objects = shown(run, "-x", "PixelData", *comp_set.paths)
    assert len(objects) == len(comp_set) >= 5
    for path, one in zip(comp_set.paths, objects, strict=True):
        ds = pydicom.dcmread(path)
        del ds.PixelData
        assert {
            tag: value for tag, value in one.items() if not tag.startswith("0002")
        } == ds.to_json_dict(), path


def test_names_are_correct_unicode(run: Command, char_set: Corpus) -> None:
    for (name, path), one in zip(
        char_set.items(), shown(run, "-e", "PatientName", *char_set.paths), strict=True
    ):
        if name == "undeclared-utf8.dcm":
            continue
        parts = corpus.CHAR_NAMES[name.removesuffix(".dcm")][1].split("=")
        groups = zip(("Alphabetic", "Ideographic", "Phonetic"), parts, strict=False)
        assert one["00100010"]["Value"] == [dict(groups)], path


def test_undeclared_utf8_is_read_as_people_would(run: Command, char_set: Corpus) -> None:
    done = run("dump", "-e", "PatientName", "--format", "plain", char_set["undeclared-utf8.dcm"]).must(0)
    assert done.out.strip() == corpus.CHAR_NAMES["undeclared-utf8"][1]


def test_text_is_shown_where_the_terminal_knows_ascii_only(run: Command, char_set: Corpus) -> None:
    """No encoding of the world makes it end with an error."""
    for form in ("plain", "tree"):
        done = run("dump", "--format", form, char_set["japanese.dcm"], env={"LC_ALL": "C", "PYTHONUTF8": "0"})
        done.must(0)


def test_control_characters_do_not_reach_the_terminal(run: Command, tmp_path: Path) -> None:
    hostile = "\x1b[2J\x1b]0;owned\x07"
    ds = corpus.mr(patient="ESC", StudyDescription="x")
    whole = corpus.part10(ds).replace(b"Localizer ", (hostile + "    ")[:10].encode().ljust(10))
    (tmp_path / "x.dcm").write_bytes(whole)
    for form in ("tree", "plain"):
        done = run("dump", "--format", form, tmp_path / "x.dcm")
        assert "\x1b" not in done.out + done.err, form


def test_what_is_no_dicom_is_named_and_the_rest_is_shown(
    run: Command, base_set: Corpus, tmp_path: Path
) -> None:
    given = corpus.junk(tmp_path / "junk")
    bad = [given[name] for name in ("notes.txt", "empty.dcm", "random.bin", "picture.png", "dangling.dcm")]
    good = base_set.paths[:2]
    done = run(
        "dump", "-e", "SOPInstanceUID", "--format", "plain", bad[0], good[0], *bad[1:3], good[1], *bad[3:]
    )
    done.must(1)
    assert done.out.split() == [str(pydicom.dcmread(path).SOPInstanceUID) for path in good]
    for path in bad:
        assert path.name in done.err


def test_a_truncated_file_is_shown_as_far_as_it_goes_or_named(run: Command, wire_set: Corpus) -> None:
    for name in ("truncated-pixels", "truncated-header"):
        done = run("dump", "--format", "plain", "-e", "Modality", wire_set[name]).must(1)
        assert name in done.err


def test_files_off_a_wire_are_shown(run: Command, wire_set: Corpus) -> None:
    paths = [wire_set[name] for name in wire_set.readable]
    done = run("dump", "-e", "SOPInstanceUID", "--format", "plain", *paths).must(0)
    assert done.out.split() == [wire_set.uids[name] for name in wire_set.readable]


def test_a_folder_is_all_that_is_in_it(run: Command, base_set: Corpus) -> None:
    done = run("dump", "-e", "SOPInstanceUID", "--format", "plain", base_set.folder).must(0)
    assert sorted(done.out.split()) == sorted(base_set.uids.values())
    assert len(visible(base_set.folder)) == 12


def test_a_pipe_gets_json_and_no_colours(run: Command, lone: Path) -> None:
    done = run("dump", lone).must(0)
    assert json.loads(done.out)
    assert "\x1b" not in done.out
    assert done.err == ""


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["-e", "PatientNam"], "PatientName"),
        (["--format", "xml"], "json"),
        (["-e", "/(/"], "/(/"),
        (["--bulk", "much"], "much"),
        (["--depth", "-3"], "-3"),
    ],
)
def test_what_is_asked_wrongly_is_said(run: Command, lone: Path, arguments: list[str], word: str) -> None:
    assert word in run("dump", *arguments, lone).must(2).err


def test_no_file_and_a_missing_file(run: Command, tmp_path: Path) -> None:
    assert run("dump").must(2).out == ""
    assert "nowhere" in run("dump", tmp_path / "nowhere").must(2).err


def test_hostile_lengths_end_in_an_error_and_nothing_else(run: Command, tmp_path: Path) -> None:
    """Four gigabytes announced and not there; sequences in sequences for ever."""
    head = corpus.part10(corpus.mr())[:-600]
    (tmp_path / "long.dcm").write_bytes(head + struct.pack("<HH2s2xI", 0x7FE0, 0x10, b"OW", 0xFFFFFFFE))
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    opened = struct.pack("<HHI", 0x0008, 0x1140, 0xFFFFFFFF)
    ds = corpus.mr()
    start = b"\0" * 128 + b"DICM" + corpus.meta(ds, ImplicitVRLittleEndian)
    (tmp_path / "deep.dcm").write_bytes(start + (opened + item) * 20_000)
    for name in ("long.dcm", "deep.dcm"):
        done = run("dump", tmp_path / name).must(1)
        assert name in done.err
