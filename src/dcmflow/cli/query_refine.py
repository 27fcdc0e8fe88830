"""An earlier result as what to ask about: each of its entities, by its unique keys."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dcmflow.catalog.catalog import Catalog
from dcmflow.catalog.node import Node
from dcmflow.cli.common import say
from dcmflow.dicom.level import COUNTS, UNIQUE_KEYS, Level
from dcmflow.dicom.matching import Matcher, Verdict
from dcmflow.dicom.query import Query
from dcmflow.errors import ConfigError

_COUNTS = frozenset(keyword for keyword, _, _ in COUNTS)


class About(NamedTuple):
    """One entity of an earlier result.

    Attributes:
        level: what it is.
        keys: its unique key and those above it, as far as they are known.
        values: what was known of it; how much is below it may have changed and is no part of this.
    """

    level: Level
    keys: dict[str, str]
    values: Mapping[str, Any]


def read_result(name: str) -> Catalog:
    """The result in a file, or on stdin where `-` is its name.

    Raises:
        ConfigError: it is none; with the file.
        OSError: the file cannot be opened.
    """
    try:
        return Catalog.from_json(_stdin() if name == "-" else Path(name).read_bytes())
    except ConfigError as error:
        raise error.at(file="stdin" if name == "-" else name) from None


def _stdin() -> bytes:
    if sys.stdin is None:
        raise ConfigError("it is closed: there is no earlier result")
    try:
        if sys.stdin.isatty():
            say("dcmflow: waiting for an earlier result on stdin")
        text = sys.stdin.buffer.read()
    except (OSError, ValueError) as error:
        raise ConfigError(f"it cannot be read: {error}") from None
    if not text.strip():
        raise ConfigError("it is empty: there is no earlier result")
    return text


def entities(catalog: Catalog, query: Query) -> Iterator[About | None]:
    """What to ask about: entities of the query's level, or of the lowest that the catalog has.

    What does not match the unique keys of the query is left out. None stands for one that cannot be asked about, since nobody said
    its unique key.
    """
    lowest = min(catalog.level, query.level)
    own = {key: value for key, value in query.conditions.items() if key in UNIQUE_KEYS[: lowest + 1]}
    matcher = Matcher(Query(lowest, own))
    for node in catalog.walk(lowest):
        if node.level is not lowest and node.children:
            continue
        record = node.record()
        if own and matcher.verdict(record) is Verdict.MISMATCH:
            continue
        if not node.uid:
            yield None
            continue
        values = {key: value for key, value in record.values.items() if key not in _COUNTS}
        yield About(node.level, _keys(node), values)


def _keys(node: Node) -> dict[str, str]:
    above = _keys(node.parent) if node.parent is not None else {}
    return {**above, node.level.keyword: node.uid} if node.uid else above
