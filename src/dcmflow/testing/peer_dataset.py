"""Data sets of DIMSE messages: pydicom's to bytes and back, without preamble and file meta information."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


def encoded(data: Any, transfer_syntax: str) -> bytes:
    """A pydicom data set in a transfer syntax, without file meta; bytes stay as they are."""
    if isinstance(data, bytes):
        return data
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_dataset
    from pydicom.uid import UID

    syntax = UID(transfer_syntax or "1.2.840.10008.1.2")
    out = DicomBytesIO()
    out.is_implicit_VR, out.is_little_endian = syntax.is_implicit_VR, syntax.is_little_endian
    write_dataset(out, data)
    return out.getvalue()


def decoded(data: bytes, transfer_syntax: str) -> Dataset:
    """A pydicom data set from bytes in a transfer syntax."""
    from pydicom.filereader import read_dataset
    from pydicom.uid import UID

    syntax = UID(transfer_syntax or "1.2.840.10008.1.2")
    return read_dataset(BytesIO(data), syntax.is_implicit_VR, syntax.is_little_endian)
