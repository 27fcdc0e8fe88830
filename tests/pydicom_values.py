"""What pydicom reads, in the words of dcmflow.dicom.values: the reference that headers are compared with."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from dcmflow.dicom.header import Header

TEXT = frozenset("AE AS CS DA DT LO LT PN SH ST TM UC UI UR UT".split())  # noqa: SIM905


def read(source: Path | bytes) -> Dataset:
    """A pydicom data set, without the warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(BytesIO(source) if isinstance(source, bytes) else source, force=True)


def expected(ds: Dataset) -> dict[int, Any]:
    """Tag → value as a header has it; a sequence is a list of such mappings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {int(tag): _value(ds[tag]) for tag in sorted(ds.keys())}


def _value(element: DataElement) -> Any:
    value = element.value
    if element.VR == "SQ":
        return [expected(item) for item in value]
    if isinstance(value, (MultiValue, list)):
        return tuple(_one(element, part) for part in value)
    return _one(element, value)


def _one(element: DataElement, value: Any) -> Any:
    if value is None or (isinstance(value, str) and value == ""):
        return "" if element.VR in TEXT else None
    if isinstance(value, bytes):
        return value or None
    if element.VR in ("IS", "AT") and type(value) is not str:
        return int(value)
    if element.VR == "DS" and type(value) is not str:
        return float(value)
    return value if isinstance(value, (int, float)) else str(value)


def found(header: Header) -> dict[int, Any]:
    """The same from a header."""
    return {tag: _plain(header[tag]) for tag in header.tags()}


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [found(item) for item in value]
    return bytes(value) if isinstance(value, memoryview) else value


def differences(one: Mapping[int, Any], other: Mapping[int, Any], at: str = "") -> list[str]:
    """Paths of the elements that differ, with both values."""
    result = []
    for tag in sorted(one.keys() | other.keys()):
        here, there = one.get(tag, "absent"), other.get(tag, "absent")
        path = f"{at}{tag:08x}"
        if isinstance(here, list) and isinstance(there, list) and len(here) == len(there):
            for number, (a, b) in enumerate(zip(here, there, strict=True)):
                result += differences(a, b, f"{path}[{number}].")
        elif not _same(here, there):
            result.append(f"{path}: {here!r:.60} is not {there!r:.60}")
    return result


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    return type(one) is type(other) and bool(one == other)
