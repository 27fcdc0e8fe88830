"""Broken bytes: a DatasetError or a result, within bounds, and never anything else."""

from __future__ import annotations

import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import nullcontext, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcmflow.dicom.instance import Instance
from dcmflow.dicom.payload import MemoryPayload
from dcmflow.errors import DatasetError
from dcmflow.testing import encoded_datasets

SYNTAXES = st.sampled_from(
    [
        "1.2.840.10008.1.2",
        "1.2.840.10008.1.2.1",
        "1.2.840.10008.1.2.2",
        "1.2.840.10008.1.2.1.99",
        "1.2.840.10008.1.2.4.50",
    ]
)
PIECES = [
    b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0", b"\xfe\xff\xdd\xe0", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x08\x00\x05\x00CS",
    b"\x08\x00\x40\x11SQ\0\0", b"\x08\x00\x40\x11UN\0\0", b"\x10\x00\x10\x00PN", b"\xe0\x7f\x10\x00OB\0\0", b"\x0a\x00",
    b"\x19\x00\x10\x00LO",
    b"ISO 2022 IR 87\\", b"\x1b$B", b"\x28\x00\x10\x00US", b"\x20\x00\x11\x00IS", b"\x20\x00\x37\x00DS",
]  # fmt: skip


def exercise(instance: Instance) -> None:
    """Everything one can do; each may raise a DatasetError and nothing else."""

    def look() -> None:
        header = instance.header
        for tag in header.tags():
            show(header[tag])
            header.text(tag)
            header.raw(tag)

    def show(value: object) -> None:
        if isinstance(value, list):
            for item in value:
                for tag in item.tags():
                    show(item[tag])

    actions: list[Callable[[], object]] = [
        look,
        instance.verify,
        lambda: instance.header.get("SeriesNumber"),
        lambda: instance.header.get("ReferencedImageSequence[0].ReferencedSOPInstanceUID"),
        lambda: instance.header.get('("ACME",0019,10)'),
        lambda: instance.with_elements(
            {"PatientName": "山", "PatientID": "1", '("ACME",0019,10)': 1}, ["SeriesNumber"]
        ),
        lambda: instance.with_elements({"ReferencedImageSequence[0].PatientName": "é"}),
        lambda: instance.with_uids(lambda uid: "2.25.1"),
    ]
    for action in actions:
        with suppress(DatasetError):
            action()


@given(
    st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=6)), max_size=30).map(b"".join), SYNTAXES
)
def test_pieces_of_data_sets(data: bytes, syntax: str) -> None:
    exercise(Instance("1.2", "1.3", syntax, MemoryPayload(data)))


@given(encoded_datasets(), st.data())
def test_data_sets_with_bytes_changed(encoded: tuple[bytes, str], choice: st.DataObject) -> None:
    data, syntax = bytearray(encoded[0]), encoded[1]
    for _ in range(choice.draw(st.integers(1, 4))):
        if not data:
            break
        at = choice.draw(st.integers(0, len(data) - 1))
        kind = choice.draw(st.sampled_from(["change", "cut", "insert"]))
        if kind == "change":
            data[at] = choice.draw(st.integers(0, 255))
        elif kind == "cut":
            del data[at : at + choice.draw(st.integers(1, 20))]
        else:
            data[at:at] = choice.draw(st.sampled_from(PIECES))
    exercise(Instance("1.2", "1.3", syntax, MemoryPayload(bytes(data))))


@given(st.binary(max_size=200))
def test_deflated_noise(data: bytes) -> None:
    exercise(Instance("1.2", "1.3", "1.2.840.10008.1.2.1.99", MemoryPayload(data)))
    exercise(Instance("1.2", "1.3", "1.2.840.10008.1.2.1.99", MemoryPayload(zlib.compress(data, wbits=-15))))


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "head", [b"", b"\xe0\x7f\x10\x00OB\0\0\0\0\0\x20", b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff"]
)
def test_a_bomb_does_not_fill_memory(head: bytes) -> None:
    """Half a gigabyte of zeros from half a megabyte."""
    stream = zlib.compressobj(9, wbits=-15)
    block = bytes(1 << 20)
    bomb = b"".join([stream.compress(head), *(stream.compress(block) for _ in range(512)), stream.flush()])
    instance = Instance("1.2", "1.3", "1.2.840.10008.1.2.1.99", MemoryPayload(bomb))
    with pytest.raises(DatasetError, match=r"inflates to more than 256 MiB"):
        instance.with_elements({"PatientID": "1"})
    tracemalloc.start()
    try:
        with pytest.raises(DatasetError) if b"SQ" in head else nullcontext():
            instance.verify()
        with pytest.raises(DatasetError):
            instance.header.get("SeriesNumber")
        assert tracemalloc.get_traced_memory()[1] < 512 << 20
    finally:
        tracemalloc.stop()
