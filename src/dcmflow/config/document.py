"""A TOML file that was read, and errors that say where in it they are."""

from __future__ import annotations

import functools
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dcmflow.config.toml_lines import lines
from dcmflow.config.toml_text import key as write_key
from dcmflow.errors import ConfigError

_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_TWICE = re.compile(r"^Cannot declare \((.*)\) twice$")


class Document:
    """The content of a TOML file.

    Attributes:
        data: what `tomllib` makes of it.
        file: its name for error messages; None for a text that came from nowhere.
    """

    def __init__(self, text: str, file: str | None = None) -> None:
        """Raises ConfigError with line and column for what is no TOML."""
        self.file = file
        self.text: str = text.removeprefix("\ufeff").replace("\r\n", "\n")
        try:
            self.data: dict[str, Any] = tomllib.loads(self.text)
        except tomllib.TOMLDecodeError as error:
            raise self._syntax(error) from None

    @classmethod
    def read(cls, path: str | os.PathLike[str], what: str = "file") -> Document:
        """Raises ConfigError for a file that is missing, cannot be read, is not UTF-8 or no TOML."""
        name = os.fspath(path)
        try:
            content = Path(path).read_bytes()
        except FileNotFoundError:
            raise ConfigError(f"there is no such {what}", file=name) from None
        except IsADirectoryError:
            raise ConfigError(f"this is a directory, not a {what}", file=name) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(f"the {what} cannot be read: {reason}", file=name) from error
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            column = error.start - (content.rfind(b"\n", 0, error.start) + 1) + 1
            raise ConfigError(
                f"byte 0x{content[error.start]:02X} is not UTF-8: save the {what} as UTF-8",
                file=name,
                line=line,
                column=column,
            ) from None
        return cls(text, name)

    @functools.cached_property
    def lines(self) -> Mapping[tuple[str, ...], int]:
        return lines(self.text)

    def line(self, path: tuple[str, ...]) -> int | None:
        """The line of a key or table, or else of the nearest table around it; None when there is none."""
        for length in range(len(path), 0, -1):
            if (line := self.lines.get(path[:length])) is not None:
                return line
        return None

    def error(
        self, problem: str, table: tuple[str, ...] = (), key: str | tuple[str, ...] = ()
    ) -> ConfigError:
        """An error at a key of a table of this file.

        Args:
            problem: what is wrong, and what to write instead.
            table: the path of the table; the top of the file is empty.
            key: below it; a text is split at its dots.
        """
        keys = tuple(key.split(".")) if isinstance(key, str) and key else tuple(key)
        return ConfigError(
            problem,
            file=self.file,
            table=dotted(table) or None,
            key=dotted(keys) or None,
            line=self.line((*table, *keys)),
        )

    def _syntax(self, error: tomllib.TOMLDecodeError) -> ConfigError:
        text = str(error)
        place = _PLACE.search(text)
        problem = text[: place.start()] if place else text
        if place and place[1]:
            line, column = int(place[1]), int(place[2])
        else:
            line, column = self.text.count("\n") + 1, len(self.text) - (self.text.rfind("\n") + 1) + 1
        table = None
        if twice := _TWICE.match(problem):
            table = ".".join(re.findall(r"'([^']*)'", twice[1]))
            problem = f"the table [{table}] is written twice"
        return ConfigError(problem, file=self.file, table=table, line=line, column=column)


def dotted(path: tuple[str, ...]) -> str:
    """A path as written in TOML: `sinks.archive`, `sinks."a b"`."""
    return ".".join(map(write_key, path))
