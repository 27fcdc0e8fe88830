"""What dcmqrscp negotiates when told so (`-xf FILE Incoming Outgoing`): a file of DCMTK's association negotiation profiles."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pynetdicom import StoragePresentationContexts
from pynetdicom.sop_class import (
    PatientRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelGet,
    PatientRootQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

PRIVATE_SOP_CLASS = "1.3.12.2.1107.5.9.1"
_UNCOMPRESSED = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")
_SERVICES = (
    Verification,
    PatientRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelMove,
    PatientRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelGet,
)
_MOST = 128
"""Presentation contexts that one association may propose (PS3.8 9.3.2.2)."""


def negotiation(folder: Path) -> Path:
    """A file with two profiles, uncompressed syntaxes only: `Incoming` for all services, in either role for storage, and `Outgoing`
    for storage. Both know a private SOP Class.
    """
    standard = [str(context.abstract_syntax) for context in StoragePresentationContexts]
    storage = [PRIVATE_SOP_CLASS, *standard][:_MOST]
    lines = [
        "[[TransferSyntaxes]]",
        "[Uncompressed]",
        *_numbered("TransferSyntax", _UNCOMPRESSED),
        "[[PresentationContexts]]",
        "[All]",
        *_numbered("PresentationContext", (rf"{uid}\Uncompressed" for uid in [*_SERVICES, *storage])),
        "[Storage]",
        *_numbered("PresentationContext", (rf"{uid}\Uncompressed" for uid in storage)),
        "[[SCPSCURoleSelection]]",
        "[Both]",
        *_numbered("Role", (rf"{uid}\BOTH" for uid in storage)),
        "[[Profiles]]",
        "[Incoming]",
        "PresentationContexts = All",
        "SCPSCURoleSelection = Both",
        "[Outgoing]",
        "PresentationContexts = Storage",
    ]
    path = folder / "negotiation.cfg"
    path.write_text("\n".join(lines) + "\n", encoding="ascii")
    return path


def _numbered(key: str, values: Iterable[str]) -> list[str]:
    return [f"{key}{number} = {value}" for number, value in enumerate(values, 1)]
