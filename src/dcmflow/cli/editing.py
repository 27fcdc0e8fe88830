"""Making and editing the settings file. What is in place always loads: an edit is checked before it is put there."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from dcmflow.cli.common import DONE, WRONG, say
from dcmflow.errors import ConfigError

TEMPLATE = """\
## Settings of dcmflow. Lines with one # are examples: take the # away to use them.

## Who we are: the AE title that peers are told, and where we listen.
# [local]
# ae-title = "DCMFLOW"
# port = 11112
# host = "0.0.0.0"
## With TLS: tls = { cert = "gate.pem", key = "gate.key" }, and ca = "ca.pem" to ask callers for a certificate.

## Nodes: DICOM peers, by the name that commands and pipeline files call them.
# [nodes.mypacs]
# address = "MYPACS@mypacs.example.org:11112"
# max-associations = 4
# timeouts = { connect = 10, acse = 30, dimse = 60, idle = 300 }

## The same in parts, over TLS. Its certificate is checked with those that the system trusts, or with ca = "ca.pem";
## where it asks for ours: cert = "gate.pem", key = "gate.key".
# [nodes.research-pacs]
# host = "research.example.org"
# port = 2762
# ae-title = "RESEARCH"
# tls = { verify = true }

## Directories, and how files are laid out in them.
# [dirs.research]
# path = "~/dicom"
# layout = "{PatientID}/{StudyInstanceUID}/{Modality}/{SeriesNumber:03d}-{SeriesDescription}/{SOPInstanceUID}.dcm"

## Selectors: conditions with a name, which other selectors may use.
# [selectors]
# internal = "DeviceSerialNumber in ('12345', '67890')"
# external = "not internal"
"""


def create(file: Path) -> None:
    """Write the template. Raises ConfigError when there is a file, or it cannot be written."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8") as out:
            out.write(TEMPLATE)
    except FileExistsError:
        raise ConfigError(
            "there is a settings file already; edit it with: dcmflow config edit", file=str(file)
        ) from None
    except OSError as error:
        raise ConfigError(
            f"the settings file cannot be written: {error.strerror or error}", file=str(file)
        ) from error


def edit_settings(file: Path) -> int:
    """Let a person edit a copy of the file until it loads, then put it in place; returns the exit code.

    Raises ConfigError without a terminal, without an editor, or when the file cannot be written.
    """
    if not (sys.stdin is not None and sys.stdin.isatty()):
        raise ConfigError(
            "config edit needs a terminal; edit the file itself, then: dcmflow config check", file=str(file)
        )
    command = _editor()
    place = file.resolve()
    before = place.read_text(encoding="utf-8", errors="surrogateescape") if place.exists() else None
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        copy = place.with_name(f".{place.stem}.{os.getpid()}.edit.toml")
        copy.write_text(TEMPLATE if before is None else before, encoding="utf-8", errors="surrogateescape")
        if before is not None:
            shutil.copymode(place, copy)
    except OSError as error:
        raise ConfigError(
            f"the settings file cannot be written: {error.strerror or error}", file=str(file)
        ) from error
    try:
        return _edit_until_right(command, copy, place, before)
    finally:
        copy.unlink(missing_ok=True)


def _edit_until_right(command: list[str], copy: Path, place: Path, before: str | None) -> int:
    while True:
        try:
            ended = subprocess.run([*command, str(copy)], check=False).returncode
        except OSError as error:
            raise ConfigError(
                f"the editor {command[0]} cannot be started: {error.strerror or error}"
            ) from error
        if ended:
            say(f"dcmflow: error: the editor {command[0]} ended with {ended}; {place} is as it was")
            return WRONG
        after = copy.read_text(encoding="utf-8", errors="surrogateescape")
        problem = _problem(copy, place)
        if problem is None:
            if after == (TEMPLATE if before is None else before):
                say(f"dcmflow: {place} is as it was")
            else:
                copy.replace(place)
                say(f"dcmflow: wrote {place}")
            return DONE
        say(f"dcmflow: error: {problem}")
        if not _again():
            say(f"dcmflow: {place} is as it was")
            return WRONG


def _problem(copy: Path, place: Path) -> str | None:
    from dcmflow.config.settings import Settings

    try:
        Settings.load(copy, environ={})
    except ConfigError as error:
        return str(error).replace(str(copy), str(place))
    return None


def _again() -> bool:
    say("edit it again? [Y/n]")
    answer = sys.stdin.readline()
    return bool(answer) and not answer.strip().lower().startswith("n")


def _editor() -> list[str]:
    for name in ("VISUAL", "EDITOR"):
        if os.environ.get(name, "").strip():
            return shlex.split(os.environ[name])
    for name in ("sensible-editor", "nano", "vi"):
        if shutil.which(name):
            return [name]
    raise ConfigError("there is no editor: set the environment variable EDITOR")
