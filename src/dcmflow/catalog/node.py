"""One patient, study, series or image in a catalog, with what is below it.

A value is stored at the level it belongs to (`dcmflow.dicom.level.level_of`), once, however many images repeat it. What has no
unique key, since nobody returned it, has a node all the same, for all that is below the same parent and says the same of it:
nothing is filled in there, since nobody knows whether two that say different things speak of one entity.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import Any, Final

from dcmflow.dicom.level import UNIQUE_KEYS, Level
from dcmflow.dicom.record import Record

PLURALS: Final = ("patients", "studies", "series", "images")


class Node:
    """An entity of one level in a catalog. Nodes belong to their catalog: read them, and change the catalog by its own methods.

    Attributes:
        level: what it is.
        uid: its unique key; empty where nobody returned it.
        values: the elements of its own level, by keyword.
        parent: what it is part of; None for a patient.
    """

    __slots__ = ("_children", "level", "parent", "uid", "values")

    def __init__(self, level: Level, uid: str, values: Mapping[str, Any], parent: Node | None) -> None:
        self.level: Level = level
        self.uid: str = uid
        self.values: Mapping[str, Any] = values
        self.parent: Node | None = parent
        self._children: dict[str, Node] | None = None  # by key_of; images, most nodes by far, have none

    def __repr__(self) -> str:
        return f"<{self.level.word} {self.uid!r}, {len(self._children or ())} below>"

    @property
    def children(self) -> Sequence[Node]:
        """What is directly below it, in the order in which people expect it: studies by date, the rest by number."""
        return in_order(self._children)

    @property
    def path(self) -> tuple[str, ...]:
        """The unique keys from the patient down to its own."""
        return (*self.parent.path, self.uid) if self.parent else (self.uid,)

    @property
    def key(self) -> str:
        """What tells it from its siblings."""
        return self.uid or nameless(self.level, self.values)

    def chain(self) -> Iterator[Node]:
        """Itself and what it is part of, up to the patient."""
        node: Node | None = self
        while node is not None:
            yield node
            node = node.parent

    def record(self) -> Record:
        """The record of it, with the values of all levels above it."""
        return Record(self.level, merged(self))

    def walk(self, down_to: Level = Level.IMAGE) -> Iterator[Node]:
        """Itself and what is below it, parents first."""
        yield self
        if self._children and self.level < down_to:
            for child in self.children:
                yield from child.walk(down_to)

    def ends(self) -> Iterator[Node]:
        """What is below it and has nothing below itself; itself where that holds for it."""
        return (node for node in self.walk() if not node._children)


def merged(node: Node) -> dict[str, Any]:
    """The values of a node and of all above it; where two levels have the same element, the lower one's."""
    if node.parent is None:
        return dict(node.values)
    values = merged(node.parent)
    values.update(node.values)
    return values


def text_of(value: Any) -> str:
    r"""A value as text, several joined by ``\``; empty where there is none."""
    if value.__class__ is str:
        return value
    if value is None:
        return ""
    return "\\".join(map(text_of, value)) if isinstance(value, tuple | list) else str(value)


def uid_of(level: Level, values: Mapping[str, Any]) -> str:
    """The unique key of a level; empty where it was not returned."""
    return text_of(values.get(UNIQUE_KEYS[level]))


def said(level: Level, values: Mapping[str, Any]) -> dict[str, str]:
    """What the values of one level tell beside its unique key, as text."""
    texts = {keyword: text_of(value) for keyword, value in values.items() if keyword != level.keyword}
    return {keyword: text for keyword, text in texts.items() if text}


def nameless(level: Level, values: Mapping[str, Any]) -> str:
    """What tells an entity without a unique key from its siblings. No unique key looks like it."""
    return "\0" + "\0".join(sorted(f"{keyword}={text}" for keyword, text in said(level, values).items()))


def in_order(nodes: Mapping[str, Node] | None) -> Sequence[Node]:
    """Siblings as people expect them."""
    return sorted(nodes.values(), key=_order) if nodes else ()


def _order(node: Node) -> tuple[Any, ...]:
    values = node.values
    if node.level is Level.IMAGE:
        return (*_number(values.get("InstanceNumber")), node.uid)
    if node.level is Level.SERIES:
        return (*_number(values.get("SeriesNumber")), node.uid)
    if node.level is Level.STUDY:
        day, time = text_of(values.get("StudyDate")), text_of(values.get("StudyTime"))
        return (not day, day.replace(".", ""), not time, time, node.uid)
    return (not node.uid, node.uid, text_of(values.get("PatientName")))


def _number(value: Any) -> tuple[int, float, str]:
    """Numbers first, then texts that should have been some, then what has none."""
    if isinstance(value, tuple):
        value = value[0] if value else None
    if value is None or value == "":
        return 2, 0, ""
    if isinstance(value, int):
        return 0, value, ""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return 1, 0, str(value)
    return (0, number, "") if isfinite(number) else (1, 0, str(value))
