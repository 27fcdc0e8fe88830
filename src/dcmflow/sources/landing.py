"""Where data sets that arrive may be written at once, so that they need not be copied to where they are stored."""

from __future__ import annotations

import os


def writable(folder: str | None) -> str | None:
    """The folder, or the one above it that is there already, where files can be made; None where there is none."""
    while folder and not os.path.isdir(folder):
        above = os.path.dirname(folder)
        folder = above if above != folder else None
    return folder if folder and os.access(folder, os.W_OK | os.X_OK) else None
