"""Where in a TOML text its keys are, since `tomllib` forgets it.

The scanner expects a text that `tomllib` has accepted, so it need not be strict: it walks over statements and values and notes
the line on which each table header and each key begins.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping

Path = tuple[str, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]|\#[^\n]*)*")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}(?!")'
    r"|'''.*?'{3,5}(?!')"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_KEY = re.compile(r"""[ \t]*(?:([A-Za-z0-9_-]+)|("(?:[^"\\\n]|\\.)*")|'([^'\n]*)')[ \t]*""")
_BARE = re.compile(r"[^,\]}\#\n]*")


def lines(text: str) -> Mapping[Path, int]:
    """The line, from 1, of each table and key, by path; an array's tables share the path and the first line."""
    scanner = _Scanner(text)
    scanner.document()
    return scanner.found


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.found: dict[Path, int] = {}

    def document(self) -> None:
        header: Path = ()
        while self._blank():
            if self.text[self.at] == "[":
                start = self.at
                while self.text.startswith("[", self.at):
                    self.at += 1
                header = self._key()
                while self.text.startswith("]", self.at):
                    self.at += 1
                self._note(header, start)
            else:
                self._pair(header)

    def _blank(self) -> bool:
        blank = _BLANK.match(self.text, self.at)
        self.at = blank.end() if blank else self.at
        return self.at < len(self.text)

    def _note(self, path: Path, position: int) -> None:
        line = self.text.count("\n", 0, position) + 1
        for length in range(1, len(path) + 1):
            self.found.setdefault(path[:length], line)

    def _key(self) -> Path:
        parts: list[str] = []
        while match := _KEY.match(self.text, self.at):
            bare, basic, literal = match.groups()
            parts.append(bare if bare is not None else _unquote(basic) if basic is not None else literal)
            self.at = match.end()
            if not self.text.startswith(".", self.at):
                break
            self.at += 1
        return tuple(parts)

    def _pair(self, table: Path) -> None:
        start = self.at
        path = table + self._key()
        if not self.text.startswith("=", self.at):
            self.at = max(self.at, start + 1)  # cannot be in a valid text; go on rather than stand still
            return
        self._note(path, start)
        self.at += 1
        self._value(path)

    def _value(self, path: Path) -> None:
        self._blank()
        if string := _STRING.match(self.text, self.at):
            self.at = string.end()
        elif self.text.startswith(("[", "{"), self.at):
            closing = "]" if self.text[self.at] == "[" else "}"
            self.at += 1
            while self._blank() and self.text[self.at] != closing:
                if self.text[self.at] == ",":
                    self.at += 1
                elif closing == "]":
                    self._value(path)
                else:
                    self._pair(path)
            self.at += 1
        elif bare := _BARE.match(self.text, self.at):
            self.at = max(bare.end(), self.at + 1)


def _unquote(basic: str) -> str:
    return str(tomllib.loads(f"k = {basic}")["k"])
