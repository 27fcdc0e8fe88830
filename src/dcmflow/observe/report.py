"""The report of a run: what was refused is collected on disk while it runs, so that memory does not grow.

{"version": 1, "pipeline": {...}, "stages": {NAME: {...}}, "refusals": [{...}]}
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from dcmflow.errors import ConfigError
from dcmflow.flow.events import Event, InstanceDiverted, InstanceRefused, VersionKept
from dcmflow.status import Status

VERSION = 1
PIPELINE_KEYS = ("emitted", "accepted", "dropped", "refused", "unsettled", "not_dicom", "seconds", "bytes")


class Refusals:
    """An observer that keeps the refusals of a run, the first ones at hand and all of them in a temporary file.

    Attributes:
        count: how many there were, diverted ones included.
        kept: how many instances were not stored because a sink keeps another version of them.
        first: the first ten.
        lost: how many could not be kept, because the temporary folder is full.

    Args:
        spool: keep all of them in a temporary file.
        keep: how many are at hand.
        into: the file to keep them in, one that is made when this is None.
    """

    def __init__(self, *, spool: bool, keep: int = 10, into: IO[bytes] | None = None) -> None:
        self.count: int = 0
        self.kept: int = 0
        self.lost: int = 0
        self.first: list[InstanceRefused | InstanceDiverted] = []
        self._keep = keep
        self._end = 0
        self._file = (into or spool_file()) if spool else None
        self._files: Sequence[IO[bytes]] = [self._file] if self._file is not None else []

    @classmethod
    def gathered(
        cls, files: Sequence[IO[bytes]], *, kept: int = 0, lost: int = 0, keep: int = 10
    ) -> Refusals:
        """Those that others have kept in their files.

        Args:
            kept, lost: of all of them.
        """
        found = cls(spool=False, keep=keep)
        found.kept, found.lost, found._files = kept, lost, files
        for line in found.entries():
            found.count += 1
            if len(found.first) < keep:
                found.first.append(_event(json.loads(line)))
        return found

    def __call__(self, event: Event) -> None:
        if isinstance(event, VersionKept):
            self.kept += 1
        if not isinstance(event, (InstanceRefused, InstanceDiverted)):
            return
        self.count += 1
        if len(self.first) < self._keep:
            self.first.append(event)
        if self._file is None:
            return
        line = json.dumps(entry(event)).encode() + b"\n"
        try:
            written = self._file.write(line)
        except OSError:
            written = 0
        if written == len(line):
            self._end += written
        else:
            self.lost += 1
            self._file.truncate(self._end)
            self._file.seek(self._end)

    def entries(self) -> Iterator[str]:
        """All refusals as JSON objects, one by one; only the first ones without a spool."""
        if not self._files:
            yield from (json.dumps(entry(event)) for event in self.first)
        for file in self._files:
            file.seek(0)
            for line in file:
                if line.endswith(b"\n"):  # else whoever wrote it was killed meanwhile
                    yield line.decode().rstrip("\n")

    def close(self) -> None:
        """Let go of the temporary files."""
        for file in self._files:
            file.close()


def spool_file() -> IO[bytes]:
    """A file for refusals, without a name."""
    return tempfile.TemporaryFile("w+b", buffering=0, prefix="dcmflow-")


def entry(event: InstanceRefused | InstanceDiverted) -> dict[str, Any]:
    """One refusal in a report.

    Beside the five facts `required` only where it is false, for a sink that is best effort, and `to` only where the
    instance went to another sink instead, which then answers for it.
    """
    found: dict[str, Any] = {
        "stage": event.stage,
        "sop_instance_uid": event.sop_instance_uid,
        "status": f"{event.status:04X}",
        "reason": event.reason,
        "path": event.path,
    }
    if isinstance(event, InstanceDiverted):
        return {**found, "to": event.to}
    return found if event.required else {**found, "required": False}


def _event(found: dict[str, Any]) -> InstanceRefused | InstanceDiverted:
    """The event that such an entry was made of."""
    facts = {**found, "status": Status(int(found["status"], 16))}
    return InstanceDiverted(**facts) if "to" in found else InstanceRefused(**facts)


def write_report(
    out: IO[str], pipeline: Mapping[str, Any], stages: Mapping[str, Any], refusals: Refusals
) -> None:
    """Write a report as JSON.

    Args:
        pipeline, stages: the figures, as plain values.
    """
    head = {
        "version": VERSION,
        "pipeline": {key: pipeline[key] for key in PIPELINE_KEYS},
        "stages": dict(stages),
    }
    out.write(json.dumps(head, indent=2).removesuffix("\n}"))
    out.write(',\n  "refusals": [')
    separator = "\n    "
    for line in refusals.entries():
        out.write(separator + line)
        separator = ",\n    "
    out.write("\n  ]\n}\n" if separator.startswith(",") else "]\n}\n")


class ReportFile:
    """Where a report goes: written beside its place and renamed, so that there is never half a report.

    Raises ConfigError when it cannot be written, before anything else is done.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._shown = os.fspath(path)
        given = Path(path).expanduser()
        if given.is_dir():
            raise ConfigError(f"report {self._shown} cannot be written: it is a folder; name a file in it")
        # /dev/stdout, a named pipe: written to, never replaced
        self._direct = given.exists() and (not given.is_file() or given.is_relative_to("/dev"))
        self._path = given if self._direct else given.resolve()
        if not self._direct:
            try:
                with self._beside():
                    pass
            except OSError as error:
                reason = error.strerror or error
                raise ConfigError(
                    f"report {self._shown} cannot be written: {reason}; name another file"
                ) from error

    def write(self, pipeline: Mapping[str, Any], stages: Mapping[str, Any], refusals: Refusals) -> None:
        """Write the report. Raises OSError."""
        if self._direct:
            with self._path.open("w", encoding="utf-8") as out:
                write_report(out, pipeline, stages, refusals)
            return
        with self._beside() as (out, name):
            write_report(out, pipeline, stages, refusals)
            out.flush()
            os.fsync(out.fileno())
            name.replace(self._path)

    @contextlib.contextmanager
    def _beside(self) -> Iterator[tuple[IO[str], Path]]:
        name = self._path.with_name(f".{self._path.name}.{os.getpid()}.tmp")
        try:
            with name.open("w", encoding="utf-8") as out:
                yield out, name
        finally:
            name.unlink(missing_ok=True)
