"""Whether a record is what a query asks for; see `dcmflow.dicom.matching`."""

from __future__ import annotations

from dcmflow.dicom.matching import Finding, Matcher, Verdict, values_at

__all__ = ["Finding", "Matcher", "Verdict", "values_at"]
