"""What is asked of a place: a level and keys, the Identifier of a C-FIND, C-MOVE or C-GET (PS3.4 C.4.1.1.3.1).

A key is a keyword, a tag, a private element by its creator or a path into a sequence; its value is what must match, as DICOM has
it: wildcards, ranges of dates and times, lists of UIDs. An empty value, or `*` alone, asks for the element and matches all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time
from typing import Any, Final

from msgspec import Struct

from dcmflow.dicom import splice, tags
from dcmflow.dicom.encoding import encoding_of
from dcmflow.dicom.header import Header
from dcmflow.dicom.level import UNIQUE_KEYS, Level, level_of
from dcmflow.dicom.payload import MemoryPayload
from dcmflow.errors import ConfigError, DatasetError

_IMPLICIT: Final = "1.2.840.10008.1.2"
_UTF8: Final = "ISO_IR 192"
_OURS: Final = frozenset({0x00080005, 0x00080052})  # what we say ourselves
_PART: Final = re.compile(r"""\("[^"]*"[^)]*\)|\('[^']*'[^)]*\)|[^.]+""")


class Query(Struct, frozen=True):
    """A level and keys.

    Attributes:
        level: of what is asked for.
        keys: by keyword, `(gggg,eeee)` or `Sequence[0].Keyword`, in the order in which they were given; values as text.
    """

    level: Level
    keys: Mapping[str, str]

    @classmethod
    def of(cls, keys: Mapping[str, Any] | Iterable[str], level: Level | str | None = None) -> Query:
        r"""A query from a mapping, or from texts of the form `KEY=VALUE` and `KEY`.

        >>> Query.of(["PatientName=Doe*", "StudyDate="]).level.word
        'study'

        Args:
            keys: values may be anything that becomes text of the VR; several are joined by ``\``.
            level: None: see `deepest`.

        Raises:
            ConfigError: a key names nothing (the text suggests near ones), comes twice, or has a value that is none of its VR.
        """
        pairs = keys.items() if isinstance(keys, Mapping) else [_pair(text) for text in keys]
        found: dict[str, str] = {}
        for key, value in pairs:
            name = canonical(key)
            if name in found:
                raise ConfigError(f"{name} comes twice: {found[name]!r} and {_text(value)!r}", key=name)
            found[name] = _text(value)
        chosen = Level.parse(level) if isinstance(level, str) else level
        query = cls(deepest(found) if chosen is None else chosen, found)
        query.identifier()
        return query

    @property
    def conditions(self) -> Mapping[str, str]:
        """The keys that restrict what matches."""
        return {key: value for key, value in self.keys.items() if restricts(value)}

    @property
    def unlimited(self) -> bool:
        """Everything matches."""
        return not self.conditions

    def identifier(self, transfer_syntax: str = _IMPLICIT, character_set: str = _UTF8) -> bytes:
        """The encoded data set, with the level in it.

        Args:
            character_set: for text that is not ASCII; it is not declared where all of it is.

        Raises:
            ConfigError: a value is none of its VR, or cannot be written in this character set.
        """
        given: dict[str, Any] = {key: value if restricts(value) else "" for key, value in self.keys.items()}
        given["QueryRetrieveLevel"] = self.level.name
        if not all(value.isascii() for value in given.values()):
            given["SpecificCharacterSet"] = character_set
        empty = MemoryPayload(b"")
        try:
            made = splice.edit(empty, Header(empty, encoding_of(transfer_syntax)), given, ())
        except (DatasetError, UnicodeEncodeError) as error:
            raise ConfigError(_words(error, character_set)) from None
        return b"".join(bytes(part) for part in made.segments())

    def with_keys(self, keys: Mapping[str, str]) -> Query:
        """With these keys too, or instead of those of the same name."""
        return Query(self.level, {**self.keys, **keys})

    def at(self, level: Level) -> Query:
        """The same at another level: without the keys of levels below that one."""
        return Query(level, {key: value for key, value in self.keys.items() if level_of(key) <= level})


def restricts(value: str) -> bool:
    """Whether a value leaves anything out (PS3.4 C.2.2.2.3: universal matching)."""
    return bool(value.strip("*"))


def deepest(keys: Iterable[str]) -> Level:
    """The level that keys ask for: that of the lowest of them, and studies at least."""
    return max([Level.STUDY, *map(level_of, keys)])


def canonical(key: str | int) -> str:
    """The one way in which we write a key.

    >>> canonical("00100010"), canonical("RequestAttributesSequence.ScheduledProcedureStepID")
    ('PatientName', 'RequestAttributesSequence[0].ScheduledProcedureStepID')

    Raises:
        ConfigError: it names nothing.
    """
    text = key
    if isinstance(key, str):
        *steps, last = _PART.findall(key.strip()) or [key]
        text = ".".join([*(step if step.endswith("]") else f"{step}[0]" for step in steps), last])
    try:
        path = tags.parse(text)
    except tags.UnknownKeyword as error:
        raise ConfigError(str(error)) from None
    if not path.steps and path.leaf.tag in _OURS:
        raise ConfigError(
            f"{tags.name(path.leaf.tag)} is said by dcmflow itself and cannot be a key", key=str(key)
        )
    if not path.steps and path.leaf.tag >> 16 in (0x0000, 0x0002, 0xFFFE):
        raise ConfigError(f"{tags.name(path.leaf.tag)} is no element of a data set", key=str(key))
    return ".".join([*(f"{_name(leaf)}[{number}]" for leaf, number in path.steps), _name(path.leaf)])


def _name(leaf: tags.Leaf) -> str:
    if not leaf.creator:
        return tags.name(leaf.tag)
    vr = f",{leaf.vr}" if leaf.vr else ""
    return f'("{leaf.creator}",{leaf.tag >> 16:04X},{leaf.tag & 0xFF:02X}{vr})'


def _pair(text: str) -> tuple[str, str]:
    key, _, value = text.partition("=")
    if not key.strip():
        raise ConfigError(f"{text!r} is no key: write KEY=VALUE, such as PatientName=Doe*")
    return key.strip(), value


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple | set | frozenset):
        return "\\".join(map(_text, value))
    if isinstance(value, datetime):
        return f"{value:%Y%m%d%H%M%S}" + (f"{value:.%f}" if value.microsecond else "") + f"{value:%z}"
    if isinstance(value, date):
        return f"{value:%Y%m%d}"
    if isinstance(value, time):
        return f"{value:%H%M%S}" + (f"{value:.%f}" if value.microsecond else "")
    return str(value)


def _words(error: Exception, character_set: str) -> str:
    cause = error.__context__ if isinstance(error, DatasetError) else error
    if isinstance(cause, UnicodeEncodeError):
        return f"{cause.object!r} cannot be written in {character_set}; choose another character set for the node"
    return str(error)


def unique_keys(level: Level) -> tuple[str, ...]:
    """The unique keys of a level and of those above it."""
    return UNIQUE_KEYS[: level + 1]
