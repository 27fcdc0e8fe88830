"""Files and folders that commands look into."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from dcmflow.cli.common import Usage


def check_paths(paths: Iterable[Path]) -> None:
    """Raise Usage for what is not there at all."""
    for path in paths:
        if os.path.lexists(path):
            continue
        if str(path) == "-":
            raise Usage("'-' is no file: stdin is not read, name the files")
        raise Usage(f"there is no file or folder {path}")


def error_text(error: Exception, path: str) -> str:
    """What went wrong with a file, the file in it."""
    if isinstance(error, OSError):
        return f"cannot read {path}: {error.strerror or error}"
    text = str(error)
    return text if path in text else f"{path}: {text}"


def terminal_width() -> int | None:
    """Columns of the terminal that stdout is; None where it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
