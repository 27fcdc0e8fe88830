"""The files of a folder, one at a time, in an order that is always the same.

What is not a regular file is never opened: whoever opens a FIFO waits for somebody to write into it. Links are followed, to a
folder at most once, so that a link to a folder above it ends. Memory grows with folders, not with files: one listing per open
level.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from typing import Literal, NamedTuple

from dcmflow.sources.globs import Globs

OURS = ".dcmflow-"  # our temporary files and indexes
_SAVED = re.compile(r"\.[0-9a-f]{16}\.dcmflow")  # what Instance.save writes to


def is_ours(name: str) -> bool:
    """Whether this is a temporary file or an index of ours; other hidden files are files like all."""
    return name.startswith(OURS) or (name.endswith(".dcmflow") and _SAVED.fullmatch(name) is not None)


class Found(NamedTuple):
    """Something in a folder.

    Attributes:
        path: where it is.  relative: below the folder that was asked for, with slashes.
        what: a regular file, something else that is never opened, or an error.
        error: why it cannot be looked at.
    """

    path: str
    relative: str
    what: Literal["file", "other", "error"]
    error: OSError | None = None


def walk(
    root: str, globs: Globs, *, recursive: bool = True, prefix: str = "", skip: str | None = None
) -> Iterator[Found]:
    """All that lies below `root` and is wanted. A folder that cannot be listed is one error; the rest goes on.

    Args:
        prefix: what relative paths begin with.
        skip: a folder that is passed over wherever it is met.
    """
    try:
        seen = {_identity(root)}
        if skip is not None:
            seen.add(_identity(skip))
    except OSError as error:
        yield Found(root, prefix.rstrip("/"), "error", error)
        return
    # levels that are open at once are as many as folders are deep; recursion would end at a thousand
    levels = [_listed(root, prefix)]
    while levels:
        entry = next(levels[-1], None)
        if entry is None:
            levels.pop()
            continue
        if isinstance(entry, Found):
            yield entry
            continue
        item, relative = entry
        if is_ours(item.name):
            continue
        found = _examine(item, relative, globs)
        if isinstance(found, Found):
            yield found
        elif found is not None and recursive and found not in seen:
            seen.add(found)
            levels.append(_listed(item.path, f"{relative}/"))


def _identity(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _listed(folder: str, prefix: str) -> Iterator[tuple[os.DirEntry[str], str] | Found]:
    try:
        with os.scandir(folder) as entries:
            listing = sorted(entries, key=lambda entry: entry.name, reverse=True)
    except OSError as error:
        yield Found(folder, prefix.rstrip("/"), "error", error)
        return
    while listing:
        entry = listing.pop()
        yield entry, prefix + entry.name


def _examine(entry: os.DirEntry[str], relative: str, globs: Globs) -> Found | tuple[int, int] | None:
    """What an entry is: something found, a folder by its device and inode, or None for what is not wanted."""
    try:
        if entry.is_file():
            return Found(entry.path, relative, "file") if globs.wants(relative) else None
        if entry.is_dir():
            if globs.excludes(relative):
                return None
            status = entry.stat()
            return status.st_dev, status.st_ino
    except OSError as error:
        return Found(entry.path, relative, "error", error) if globs.wants(relative) else None
    return Found(entry.path, relative, "other") if globs.wants(relative) else None


def is_regular(path: str) -> bool:
    """Whether a path leads to a regular file; False also where nothing is."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False
