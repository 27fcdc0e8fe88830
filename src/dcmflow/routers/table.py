"""A table of values and branches in a file, as people keep it: CSV, JSON or TOML."""

from __future__ import annotations

import csv
import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dcmflow.errors import ConfigError

Table = Mapping[str, tuple[str, ...]]

_HEADINGS = frozenset({"value", "key"})


def read_table(path: Path, key: str) -> Table:
    """The branches by value.

    CSV: a value and a branch per row, a value in several rows goes to several branches; a heading `value` or the keyword
    itself is left out. JSON and TOML: an object (table) of value to branch, or to a list of branches.

    Args:
        key: the keyword whose values are looked up.

    Raises:
        ConfigError: the file is missing, is none of these, or something in it is no branch.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"cannot read the table {path}: {getattr(error, 'strerror', None) or error}", key="table"
        ) from None
    kind = path.suffix.lower()
    try:
        if kind == ".json":
            return _checked(json.loads(text))
        if kind == ".toml":
            return _checked(tomllib.loads(text))
        return _rows(text, key)
    except ValueError as error:
        raise ConfigError(f"{path} is no table of value and branch: {error}", key="table") from None


def _checked(content: Any) -> Table:
    if not isinstance(content, dict):
        raise ValueError(f"an object is needed, not {type(content).__name__}")
    return {str(value).strip(): _branches(value, found) for value, found in content.items()}


def _branches(value: str, found: Any) -> tuple[str, ...]:
    names = [found] if isinstance(found, str) else found
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"{value!r} leads to {found!r}, which is neither a branch nor a list of branches")
    return tuple(names)


def _rows(text: str, key: str) -> Table:
    table: dict[str, list[str]] = {}
    first_line = text.partition("\n")[0]
    delimiter = max(",;\t", key=first_line.count)
    for number, row in enumerate(csv.reader(text.splitlines(), delimiter=delimiter), 1):
        cells = [cell.strip() for cell in row]
        if not any(cells) or cells[0].startswith("#"):
            continue
        if len(cells) < 2 or not cells[1]:
            raise ValueError(f"line {number} has no branch: {delimiter.join(row)!r}")
        if number == 1 and cells[0].lower() in _HEADINGS | {key.lower()}:
            continue
        branches = table.setdefault(cells[0], [])
        if cells[1] not in branches:
            branches.append(cells[1])
    return {value: tuple(branches) for value, branches in table.items()}


def version(path: Path) -> tuple[int, int, int] | None:
    """What tells whether the file has changed; None when it is not there."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
