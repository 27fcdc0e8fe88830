"""Branches by a table in a file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Annotated, Any, ClassVar, Final

from msgspec import Meta

from dcmflow.dicom.instance import Instance
from dcmflow.errors import ConfigError
from dcmflow.flow.context import Context
from dcmflow.flow.paths import settle_path
from dcmflow.flow.stage import Router
from dcmflow.routers.table import Table, read_table, version

INTERVAL: Final = 1.0  # seconds between looks at the file


class Lookup(Router, frozen=True):
    """Looks a value up in a table (CSV, JSON or TOML file) that says which branch it goes to; values not in it go to "*".

    The table is read again when it has changed. A new version that cannot be read is reported, and the one before stays in
    force.
    """

    divisible: ClassVar[bool] = True

    key: Annotated[
        str,
        Meta(min_length=1, description="Whose value: a keyword, a tag, calling_ae, called_ae, label.NAME."),
    ]
    table: Annotated[str, Meta(min_length=1, description="The file: value and branch, one pair per row.")]

    def __post_init__(self) -> None:
        _getter(self.key)
        settle_path(self, "table")

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[_Actor]:
        yield _Actor(self, context, context.path(self.table))


class _Actor:
    def __init__(self, stage: Lookup, context: Context, path: Path) -> None:
        self._get = _getter(stage.key)
        self._key = stage.key
        self._context = context
        self._path = path
        self._version = version(path)
        self._table: Table = read_table(path, stage.key)
        self._looked = monotonic()

    async def choose(self, instance: Instance) -> Iterable[str]:
        if monotonic() - self._looked >= INTERVAL:
            self._look()
        chosen: list[str] = []
        for value in values_of(self._get(instance)):
            chosen += self._table.get(value, ())
        return chosen

    def _look(self) -> None:
        self._looked = monotonic()
        found = version(self._path)
        if found == self._version:
            return
        self._version = found
        try:
            self._table = read_table(self._path, self._key)
        except ConfigError as error:
            self._context.warn(f"the table as it was before stays in force: {error.problem}", str(self._path))


def values_of(value: Any) -> list[str]:
    """A value of an element as the texts that may stand in a table."""
    from dcmflow.dicom.reference import ABSENT, BROKEN

    several = value if isinstance(value, (tuple, list)) else (value,)
    return [_text(one) for one in several if one is not ABSENT and one is not BROKEN]


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _getter(key: str) -> Callable[[Instance], Any]:
    from dcmflow.dicom.reference import parse_reference
    from dcmflow.dicom.selector_tokens import END, Token, tokens

    def fail(token: Token, problem: str) -> ConfigError:
        return ConfigError(problem, key="key")

    try:
        words = tokens(key)
    except ConfigError as error:
        raise ConfigError(error.problem, key="key") from None
    reference, position = parse_reference(words, 0, key, fail)
    if words[position].kind != END:
        raise ConfigError(f"{key!r} is more than one thing to look up", key="key")
    return reference.getter()
