"""Patterns of file names: `*.dcm`, `scans/**/CT*`, `old/`.

A pattern without a slash is about the name of a file or folder, wherever it lies; one with a slash is about the whole relative
path. `*` and `?` stay inside a name, `**` goes through any number of folders, `[abc]` and `[!abc]` are one character.
"""

from __future__ import annotations

import re
from collections.abc import Iterable


def translate(pattern: str) -> str:
    """The regular expression of one pattern, for the whole relative path."""
    anywhere = "/" not in pattern.rstrip("/")
    parts = [part for part in pattern.strip("/").split("/") if part not in ("", ".")]
    if anywhere:
        parts.insert(0, "**")
    found = ""
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        if part == "**":
            found += ".*" if last else "(?:[^/]+/)*"
        else:
            found += _name(part) + ("" if last else "/")
    return found


def _name(part: str) -> str:
    found, position = "", 0
    while position < len(part):
        character = part[position]
        position += 1
        if character == "*":
            found += "[^/]*"
        elif character == "?":
            found += "[^/]"
        elif character == "[" and (end := part.find("]", position + 1)) > 0:
            inner = part[position:end].replace("\\", r"\\").replace("^", r"\^").replace("[", r"\[")
            found += f"[^/{inner[1:]}]" if inner.startswith("!") else f"[{inner}]"
            position = end + 1
        else:
            found += re.escape(character)
    return found


class Globs:
    """What is wanted of a folder.

    Args:
        include: patterns of files; none at all includes every file.
        exclude: patterns of files and folders; they win.

    Raises:
        ValueError: a pattern that is none.
    """

    def __init__(self, include: Iterable[str] = (), exclude: Iterable[str] = ()) -> None:
        self._include = _compiled(include)
        self._exclude = _compiled(exclude)

    def excludes(self, relative: str) -> bool:
        """Whether a file, or a folder with all that is in it, is left out by `exclude`."""
        return self._exclude is not None and self._exclude.fullmatch(relative) is not None

    def wants(self, relative: str) -> bool:
        """Whether a file is read; relative paths have slashes and do not begin with one."""
        if self._include is not None and self._include.fullmatch(relative) is None:
            return False
        return not self.excludes(relative)

    def excludes_some_folder(self, relative: str) -> bool:
        """Whether a folder on the way to this file is left out."""
        return self._exclude is not None and any(
            self.excludes(relative[:end]) for end, character in enumerate(relative) if character == "/"
        )


def _compiled(patterns: Iterable[str]) -> re.Pattern[str] | None:
    patterns = list(patterns)
    for pattern in patterns:
        if not pattern.strip("/."):
            raise ValueError(f"{pattern!r} is no pattern of file names")
    try:
        return re.compile("|".join(f"(?:{translate(p)})" for p in patterns), re.DOTALL) if patterns else None
    except re.error as error:
        raise ValueError(f"not a pattern of file names: {error}") from None
