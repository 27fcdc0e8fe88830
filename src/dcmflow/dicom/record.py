"""What a place says of one patient, study, series or image: an answer to a C-FIND (PS3.4 C.4.1.1.3.2), or a row of an index."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from dcmflow.dicom import tags
from dcmflow.dicom.header import Header
from dcmflow.dicom.level import Level, level_of

LEFT_OUT: Final = frozenset({0x00080005, 0x00080052, 0x00080054, 0x00080056, 0x00880130, 0x00880140})
"""Of how the answer is written and where it came from, not of what it is about."""


class Record(Struct, frozen=True, gc=False):
    """One entity of one level, with every element that was returned.

    Attributes:
        level: what it is.
        values: by keyword, or by `(gggg,eeee)` where there is none, as `Header` gives them: text, numbers, tuples where there are
            several; empty ones are "" or None. A sequence is a tuple of mappings of the same kind.
    """

    level: Level
    values: Mapping[str, Any]

    @classmethod
    def of(cls, level: Level, header: Header) -> Record:
        """The record of an Identifier.

        Raises:
            DatasetError: it cannot be read.
        """
        return cls(level, values_of(header))

    def at(self, level: Level) -> Record:
        """The record of what it belongs to at a level above; itself at its own."""
        if self.level is level:
            return self
        return Record(level, {key: value for key, value in self.values.items() if level_of(key) <= level})

    def get(self, keyword: str, default: Any = None) -> Any:
        """The value of an element."""
        return self.values.get(keyword, default)

    def text(self, keyword: str) -> str:
        r"""A value as text, several joined by ``\``; empty where there is none."""
        value = self.values.get(keyword)
        if value is None:
            return ""
        return "\\".join(map(str, value)) if isinstance(value, tuple) else str(value)

    @property
    def uid(self) -> str:
        """The unique key of its level; empty where it was not returned."""
        return self.text(self.level.keyword)

    @property
    def path(self) -> tuple[str, ...]:
        """The unique keys from the patient down to its own; empty text for one that was not returned."""
        return tuple(self.text(level.keyword) for level in (*self.level.above(), self.level))


def values_of(header: Header) -> dict[str, Any]:
    """The elements of a data set or item as plain values, group lengths and what is no part of the record left out.

    Raises:
        DatasetError: it cannot be read.
    """
    values: dict[str, Any] = {}
    for tag in header.tags():
        if tag in LEFT_OUT or not tag & 0xFFFF:
            continue
        values[tags.name(tag)] = plain(header[tag])
    return values


def plain(value: Any) -> Any:
    """A value of a header as one of a record."""
    if isinstance(value, list):
        return tuple(values_of(item) for item in value)
    return bytes(value) if isinstance(value, memoryview | bytearray) else value
