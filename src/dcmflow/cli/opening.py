"""Files and folders that commands look into."""

from __future__ import annotations

import os
import shutil
import sys

from dcmflow.cli.common import Usage


def existing(text: str) -> str:
    """A path that was written on the command line. Raises Usage when nothing is there."""
    if os.path.lexists(text):
        return text
    if not text:
        raise Usage("the name of a file or folder is empty")
    if text == "-":
        raise Usage("'-' is no file: stdin is not read, name the files")
    raise Usage(f"there is no file or folder {text}")


def error_text(error: Exception, path: str) -> str:
    """What went wrong with a file, the file in it."""
    if isinstance(error, OSError):
        return f"cannot read {path}: {error.strerror or error}"
    text = str(error)
    return text if path in text else f"{path}: {text}"


def terminal_width() -> int | None:
    """Columns of the terminal that stdout is; None where it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
