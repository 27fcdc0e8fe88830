"""The test kit: what dcmflow's own tests use, for the tests of those who build on it.

Every name is loaded on first use, so that `hypothesis` is needed only by who asks for a strategy.

- instances: `instance`, `instances_of_every_storage_class`, `instances_in_every_transfer_syntax`,
  `storage_classes`, `transfer_syntaxes`, and `synthesize` for many
- hypothesis strategies: `datasets`, `encoded_datasets`
- a DICOM peer that follows a script, right or wrong: `ScriptedScp` answers, `ScriptedScu` asks; the steps of a script are
  `Accept`, `Reject`, `Answer`, `Matches`, `Move`, `Get`, `SendTo`, `SendHere`, `Silence`, `Wait`, `Later`, `Raw`,
  `AbortNow`, `CloseNow`, `Release`, `Collide` and every `Step` of your own; `ATTACKS`: what a listener has to outlive
- conformance of a stage, whoever wrote it: `check_source`, `check_filter`, `check_router`, `check_sink`
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dcmflow.dicom.synthetic import synthesize as synthesize
    from dcmflow.testing.checks import check_filter as check_filter
    from dcmflow.testing.checks import check_router as check_router
    from dcmflow.testing.checks import check_sink as check_sink
    from dcmflow.testing.checks import check_source as check_source
    from dcmflow.testing.instances import instance as instance
    from dcmflow.testing.instances import (
        instances_in_every_transfer_syntax as instances_in_every_transfer_syntax,
    )
    from dcmflow.testing.instances import instances_of_every_storage_class as instances_of_every_storage_class
    from dcmflow.testing.instances import storage_classes as storage_classes
    from dcmflow.testing.instances import transfer_syntaxes as transfer_syntaxes
    from dcmflow.testing.peer_accept import Accept as Accept
    from dcmflow.testing.peer_accept import Reject as Reject
    from dcmflow.testing.peer_attacks import ATTACKS as ATTACKS
    from dcmflow.testing.peer_attacks import PATIENT as PATIENT
    from dcmflow.testing.peer_find import Matches as Matches
    from dcmflow.testing.peer_record import Record as Record
    from dcmflow.testing.peer_record import Seen as Seen
    from dcmflow.testing.peer_retrieve import Get as Get
    from dcmflow.testing.peer_retrieve import Move as Move
    from dcmflow.testing.peer_retrieve import SendHere as SendHere
    from dcmflow.testing.peer_retrieve import SendTo as SendTo
    from dcmflow.testing.peer_scp import ScriptedScp as ScriptedScp
    from dcmflow.testing.peer_script import AbortNow as AbortNow
    from dcmflow.testing.peer_script import Answer as Answer
    from dcmflow.testing.peer_script import CloseNow as CloseNow
    from dcmflow.testing.peer_script import Collide as Collide
    from dcmflow.testing.peer_script import Exchange as Exchange
    from dcmflow.testing.peer_script import Later as Later
    from dcmflow.testing.peer_script import Raw as Raw
    from dcmflow.testing.peer_script import Release as Release
    from dcmflow.testing.peer_script import Script as Script
    from dcmflow.testing.peer_script import Silence as Silence
    from dcmflow.testing.peer_script import Step as Step
    from dcmflow.testing.peer_script import Wait as Wait
    from dcmflow.testing.peer_scu import Encoded as Encoded
    from dcmflow.testing.peer_scu import ScriptedScu as ScriptedScu
    from dcmflow.testing.strategies import datasets as datasets
    from dcmflow.testing.strategies import encoded_datasets as encoded_datasets

__all__ = [
    "ATTACKS",
    "PATIENT",
    "AbortNow",
    "Accept",
    "Answer",
    "CloseNow",
    "Collide",
    "Encoded",
    "Exchange",
    "Get",
    "Later",
    "Matches",
    "Move",
    "Raw",
    "Record",
    "Reject",
    "Release",
    "Script",
    "ScriptedScp",
    "ScriptedScu",
    "Seen",
    "SendHere",
    "SendTo",
    "Silence",
    "Step",
    "Wait",
    "check_filter",
    "check_router",
    "check_sink",
    "check_source",
    "datasets",
    "encoded_datasets",
    "instance",
    "instances_in_every_transfer_syntax",
    "instances_of_every_storage_class",
    "storage_classes",
    "synthesize",
    "transfer_syntaxes",
]

_HOME = {
    "synthesize": "dcmflow.dicom.synthetic",
    "instance": "dcmflow.testing.instances",
    "instances_in_every_transfer_syntax": "dcmflow.testing.instances",
    "instances_of_every_storage_class": "dcmflow.testing.instances",
    "storage_classes": "dcmflow.testing.instances",
    "transfer_syntaxes": "dcmflow.testing.instances",
    "datasets": "dcmflow.testing.strategies",
    "encoded_datasets": "dcmflow.testing.strategies",
    **dict.fromkeys(("check_filter", "check_router", "check_sink", "check_source"), "dcmflow.testing.checks"),
    **dict.fromkeys(("Accept", "Reject"), "dcmflow.testing.peer_accept"),
    **dict.fromkeys(("ATTACKS", "PATIENT"), "dcmflow.testing.peer_attacks"),
    **dict.fromkeys(("Matches",), "dcmflow.testing.peer_find"),
    **dict.fromkeys(("Record", "Seen"), "dcmflow.testing.peer_record"),
    **dict.fromkeys(("Get", "Move", "SendHere", "SendTo"), "dcmflow.testing.peer_retrieve"),
    **dict.fromkeys(("ScriptedScp",), "dcmflow.testing.peer_scp"),
    **dict.fromkeys(
        (
            "AbortNow",
            "Answer",
            "CloseNow",
            "Collide",
            "Exchange",
            "Later",
            "Raw",
            "Release",
            "Script",
            "Silence",
            "Step",
            "Wait",
        ),
        "dcmflow.testing.peer_script",
    ),
    **dict.fromkeys(("Encoded", "ScriptedScu"), "dcmflow.testing.peer_scu"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
