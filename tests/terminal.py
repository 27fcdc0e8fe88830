"""The real command on a terminal of its own."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple


class Shown(NamedTuple):
    """What a terminal showed, stdout and stderr of the command together, and the exit code."""

    out: str
    code: int


def on_terminal(
    arguments: Sequence[str], environment: Mapping[str, str], *, cwd: Path | None = None
) -> Shown:
    """Run `dcmflow` with its stdout and stderr on a pseudo terminal; line ends are those of a file."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "dcmflow", *arguments],
        env=dict(environment),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    parts = []
    try:
        while part := _read(ours):
            parts.append(part)
        return Shown(b"".join(parts).decode().replace("\r\n", "\n"), process.wait(15))
    finally:
        os.close(ours)
        if process.poll() is None:
            process.kill()
            process.wait()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux says so when the other end is closed
        return b""
