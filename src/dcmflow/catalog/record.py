"""What a catalog is made of."""

from __future__ import annotations

from dcmflow.dicom.level import Level
from dcmflow.dicom.record import Record

__all__ = ["Level", "Record"]
