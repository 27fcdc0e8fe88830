"""Refused instances and the reason, where a person can look at them and replay them."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Final

import msgspec
from anyio import to_thread
from msgspec import Meta

from dcmflow.dicom.instance import Instance
from dcmflow.errors import DcmflowError
from dcmflow.flow.context import Context
from dcmflow.flow.paths import settle_path
from dcmflow.flow.stage import Sink
from dcmflow.sinks import writing
from dcmflow.sinks.directory import prepare_root
from dcmflow.sinks.placing import Placement

_UID: Final = re.compile(r"[0-9]+(?:\.[0-9]+)*")
_SHOWN: Final = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID")


class Quarantine(Sink, frozen=True):
    """Keeps instances that another stage refused, each beside a JSON file that says who refused it and why.

    For the `on-error` of other stages. Files are called by their SOP Instance UID.
    """

    divisible: ClassVar[bool] = True

    path: Annotated[str, Meta(min_length=1, description="The folder; made when it is missing.")]

    def __post_init__(self) -> None:
        settle_path(self, "path")

    def promise(self) -> str:
        return "in quarantine at"

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[_Actor]:
        root = str(context.path(self.path))
        await to_thread.run_sync(prepare_root, root)
        yield _Actor(root)


class _Actor:
    def __init__(self, root: str) -> None:
        self._root = root

    async def write(self, instance: Instance) -> None:
        await to_thread.run_sync(keep, self._root, instance)


def keep(root: str, instance: Instance) -> str:
    """Store an instance and what is known about its refusal; returns the path of the object.

    An object that is there already with the same content stays, and its note is written anew. Raises Refused, DatasetError.
    """
    target = os.path.join(root, f"{file_name(instance.sop_instance_uid)}.dcm")
    placement = Placement(instance, target, exists="keep-both", fsync=True, link=False)
    placement.write()
    placement.place()
    if placement.error is not None:
        raise placement.error
    beside = os.path.splitext(placement.target)[0] + ".json"
    text = msgspec.json.format(msgspec.json.encode(note(instance)), indent=2)
    try:
        temporary = writing.write_temporary(root, [text, b"\n"], fsync=True)
        try:
            os.replace(temporary, beside)
        except OSError:
            writing.remove(temporary)
            raise
        writing.fsync_folders([root, *placement.folders])
    except OSError as error:
        raise writing.refusal(error, beside) from error
    return placement.target


def note(instance: Instance) -> dict[str, Any]:
    """What the JSON file says."""
    labels, origin = instance.labels, instance.origin
    shown: dict[str, str] = {}
    for keyword in _SHOWN:
        try:
            value = instance.header.get(keyword)
        except (DcmflowError, ValueError):  # it may be here because it is broken
            continue
        if value:
            shown[keyword] = str(value)
    return {
        "version": 1,
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "stage": labels.get("refused.stage", ""),
        "status": labels.get("refused.status", ""),
        "reason": labels.get("refused.reason", ""),
        "sop_class_uid": instance.sop_class_uid,
        "sop_instance_uid": instance.sop_instance_uid,
        "transfer_syntax_uid": instance.transfer_syntax_uid,
        "elements": shown,
        "origin": {key: value for key, value in msgspec.to_builtins(origin).items() if value},
        "labels": {key: value for key, value in labels.items() if not key.startswith("refused.")},
    }


def file_name(uid: str) -> str:
    """A name for an object of this UID; one that is no UID is no name either."""
    if len(uid) <= 64 and _UID.fullmatch(uid):
        return uid
    return "uid-" + hashlib.sha256(uid.encode("utf-8", "surrogatepass")).hexdigest()[:32]
