"""What is said about a catalog beside its records: where they came from, and what in them disagrees."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from dcmflow.dicom.level import Level


class Provenance(Struct, frozen=True):
    """Who was asked for what.

    Attributes:
        source: the address of a node, or a folder.
        query: the keys, as `dcmflow.Query` has them.
        level: of the query; None where none was made.
        when: ISO 8601 with a time zone.
        notes: what else there is to know about it, in words.
    """

    source: str
    query: Mapping[str, str] = field(default_factory=dict)
    level: Level | None = None
    when: str = ""
    notes: tuple[str, ...] = ()


class Conflict(Struct, frozen=True):
    """Two records that cannot both be right.

    Attributes:
        kind: `parent`: the same UID below two parents; it is kept below the first.  `value`: an element differs; the first value is
            kept.  `count`: a number of what is below differs; it is taken as unknown.
        level, uid: of the entity.
        text: what differs, in words.
        keyword: the element that differs; the unique key of the parent's level for `parent`.
    """

    kind: str
    level: Level
    uid: str
    text: str
    keyword: str = ""
