"""Payloads: shared bytes, regions of files, and files that change behind one's back."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import corpus
from dcmflow.dicom.instance import Instance
from dcmflow.dicom.payload import KEEP, FilePayload, MemoryPayload, Payload, Region
from dcmflow.errors import DatasetError


def joined(payload: Payload) -> bytes:
    return b"".join(payload.segments())


@pytest.fixture(params=["memory", "segments", "file", "regions"])
def payload_of(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[bytes], Payload]:
    def make(data: bytes) -> Payload:
        half = len(data) // 2
        path = tmp_path / "data"
        path.write_bytes(b"before" + data)
        if request.param == "memory":
            return MemoryPayload(data)
        if request.param == "segments":
            return MemoryPayload(data[:half], b"", memoryview(data)[half:])
        if request.param == "file":
            return FilePayload(str(path), [Region(6, len(data))], lead=data[:100])
        return FilePayload(str(path), [data[:half], Region(6 + half, len(data) - half)])

    return make


DATA = bytes(range(256)) * 1024


def test_the_same_bytes_by_every_way(payload_of: Callable[[bytes], Payload]) -> None:
    payload = payload_of(DATA)
    assert payload.size == len(DATA)
    assert joined(payload) == b"".join(payload.blocks()) == DATA
    for start, end in [
        (0, 10),
        (0, len(DATA)),
        (90, 110),
        (len(DATA) // 2 - 5, len(DATA) // 2 + 5),
        (7, 7),
        (len(DATA), len(DATA)),
    ]:
        assert bytes(payload.read(start, end)) == DATA[start:end]
    for position in (0, 99, 100, len(DATA) // 2, len(DATA) - 1):
        seen = position
        for data, base, whole in payload.pieces(position):
            if whole:
                assert base <= seen
                assert bytes(data) == DATA[base : base + len(data)]
                seen = base + len(data)
        assert seen == len(DATA)


@given(st.data())
def test_splicing_is_slicing(choice: st.DataObject) -> None:
    for payload in (MemoryPayload(DATA), MemoryPayload(DATA[:100], DATA[100:])):
        cuts = sorted(choice.draw(st.lists(st.integers(0, len(DATA)), max_size=8)))
        pairs = list(zip(cuts[::2], cuts[1::2], strict=False))
        news = choice.draw(st.lists(st.binary(max_size=20), min_size=len(pairs), max_size=len(pairs)))
        replacements = [(start, end, new) for (start, end), new in zip(pairs, news, strict=True)]
        expected, at = b"", 0
        for start, end, new in replacements:
            expected += DATA[at:start] + new
            at = end
        assert joined(payload.spliced(replacements)) == expected + DATA[at:]


def test_splices_share_what_is_long(payload_of: Callable[[bytes], Payload]) -> None:
    payload = payload_of(DATA)
    changed = payload.spliced([(10, 20, b"new"), (200, 200, b"inserted")])
    expected = DATA[:10] + b"new" + DATA[20:200] + b"inserted" + DATA[200:]
    assert joined(changed) == expected
    again = changed.spliced([(len(expected), len(expected), b"tail")])
    assert joined(again) == expected + b"tail"
    assert joined(payload) == DATA
    if isinstance(changed, FilePayload):
        assert changed.resident <= payload.resident + KEEP
    else:
        assert any(isinstance(segment, memoryview) and len(segment) > KEEP for segment in changed.segments())


def test_memory_is_not_copied() -> None:
    data = bytes(100_000)
    payload = MemoryPayload(data)
    assert payload.segments()[0] is data
    assert payload.resident == payload.size == 100_000
    assert MemoryPayload().size == 0


def test_a_file_payload_holds_no_descriptor(tmp_path: Path) -> None:
    path = tmp_path / "one.dcm"
    path.write_bytes(corpus.part10(corpus.mr(side=512)))
    before = len(os.listdir("/proc/self/fd"))
    instances = [Instance.load(path, memory_limit=0) for _ in range(50)]
    for instance in instances:
        assert instance.header.get("ContrastBolusAgent") is None
        instance.verify()
        assert len(instance.header.raw("PixelData")) == 512 * 512 * 2
        assert b"".join(instance.payload.segments())
    assert len(os.listdir("/proc/self/fd")) == before
    held = instances[0].payload.segments()
    assert len(os.listdir("/proc/self/fd")) == before + 1
    del held
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("how", ["removed", "replaced", "shrunk", "grown", "rewritten"])
def test_a_file_that_is_not_the_same_any_more_is_an_error(how: str, tmp_path: Path) -> None:
    path = tmp_path / "one.dcm"
    path.write_bytes(corpus.part10(corpus.mr(side=512)))
    size = path.stat().st_size
    instance = Instance.load(path, memory_limit=0)
    edited = instance.with_elements({"PatientName": "Anon"})
    if how == "removed":
        path.unlink()
    elif how == "replaced":
        other = tmp_path / "other"
        other.write_bytes(bytes(size))
        os.replace(other, path)
    elif how == "shrunk":
        os.truncate(path, 1000)
    elif how == "grown":
        os.truncate(path, size + 10)
    else:
        path.write_bytes(bytes(size))
        os.utime(path, ns=(1, 1))
    for one in (instance, edited):
        for action in (
            one.payload.segments,
            lambda one=one: list(one.payload.blocks()),
            one.read,
            one.verify,
            one.part10_segments,
            lambda one=one: one.header.raw("PixelData"),
            lambda one=one: one.with_elements({"PatientID": "1"}),
        ):
            with pytest.raises(DatasetError, match=r"one\.dcm"):
                action()
    assert instance.header["PatientID"] == "TestPat1"  # kept since it was loaded


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "one.dcm"
    path.write_bytes(corpus.part10(corpus.mr(side=1024)))
    blocks = Instance.load(path, memory_limit=0).payload.blocks()
    next(blocks)
    os.truncate(path, 5000)
    with pytest.raises(DatasetError, match="became shorter"):
        list(blocks)


_EDIT = """
import asyncio, sys
from dcmflow.dicom.instance import Instance
def memory(which):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(which))
instance = Instance.load(sys.argv[1])
instance.with_elements({"PatientName": "warm"})
before = memory("VmRSS")
after = instance.with_elements({"PatientName": "Anon^Ymous", "PatientComments": "x" * 10000}, ["StudyDate"])
after.verify()
assert after.header["NumberOfFrames"] == 500
asyncio.run(after.save(sys.argv[2]))
print(memory("VmHWM") - before, after.resident)
"""


def test_half_a_gigabyte_is_edited_and_saved_in_little_memory(tmp_path: Path) -> None:
    """In a process of its own, whose memory can be measured."""
    source, target = tmp_path / "big.dcm", tmp_path / "edited.dcm"
    whole = corpus.part10(corpus.mr(NumberOfFrames=500))
    start = whole.index(b"\xe0\x7f\x10\x00OW")
    size = 500 << 20
    with source.open("wb") as file:
        file.write(whole[: start + 8] + size.to_bytes(4, "little"))
        file.truncate(start + 12 + size)  # sparse
    command = [sys.executable, "-c", _EDIT, str(source), str(target)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": "src"}
    )
    grown, resident = map(int, done.stdout.split())
    assert grown < 50 * 1024  # KiB, imports included
    assert resident < 64 * 1024
    edited = Instance.load(target)
    assert edited.header["PatientName"] == "Anon^Ymous"
    assert edited.size == Instance.load(source).size - 4 + 8 + 10_000 - 16  # name, comments, date
    edited.verify()
    target.unlink()
