"""Where each record goes: nodes found by UID, parents that must agree, values stored once and filled in.

Two records of the same UID are one entity. What the second one says in addition is filled in; what it says otherwise is listed as
a conflict, and the first one stays. A record that does not say what it is part of is no conflict with one that does.

Values of nodes are never changed in place, so several catalogs share them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from dcmflow.catalog.node import Node, in_order, merged, nameless, said, text_of, uid_of
from dcmflow.catalog.notes import Conflict
from dcmflow.dicom.level import COUNTS, Level, level_of

_COUNT_KEYWORDS: Final = frozenset(keyword for keyword, _, _ in COUNTS)
_ABSENT: Final = object()


class Tree:
    """Nodes of all levels."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        # Patients by key, the others by UID: a study without one is known to its patient alone.
        self._index: tuple[dict[str, Node], ...] = ({}, {}, {}, {})
        self._conflicts: dict[tuple[str, Level, str, str], Conflict] = {}
        self._last: list[Mapping[str, Any]] = [{}, {}, {}, {}]

    @property
    def conflicts(self) -> list[Conflict]:
        """What disagreed while records were added, each once, in the order in which it was seen."""
        return list(self._conflicts.values())

    def walk(self, down_to: Level | None = None) -> Iterator[Node]:
        """Every node once, parents before what is below them, in tree order.

        Args:
            down_to: the lowest level to go to; None: all of them.
        """
        for patient in in_order(self._index[Level.PATIENT]):
            yield from patient.walk(Level.IMAGE if down_to is None else down_to)

    def find(self, level: Level, uid: str) -> Node | None:
        """The node of a unique key; for an empty PatientID the first patient without one."""
        node = self._index[level].get(uid)
        if node is None and not uid and level is Level.PATIENT:
            return next((patient for patient in self._index[level].values() if not patient.uid), None)
        return node

    def counterpart(self, node: Node) -> Node | None:
        """The node here for one of another catalog."""
        return self._index[node.level].get(node.uid or node.key)

    def settle(self, level: Level, values: Mapping[str, Any]) -> tuple[Node, bool]:
        """The node for a record, made or filled in, with all above it. True: it is new."""
        before = len(self._index[level])
        return self._settle(level, values, _shape(tuple(values), level)), len(self._index[level]) > before

    def graft(self, node: Node) -> Node:
        """The node here for one of another catalog, made or filled in, below the same parents; without what is below it."""
        mine = self.counterpart(node)
        if mine is None:
            parent = self.graft(node.parent) if node.parent else None
            if not node.uid and parent and parent._children:
                mine = parent._children.get(node.key)
            if mine is None:
                return self._insert(node.level, node.uid, node.values, parent)
        elif node.parent and mine.parent and not mine.parent.uid == node.parent.uid != "":
            shape = [tuple(above.values) for above in node.parent.chain()]
            self._agree(mine, merged(node.parent), tuple(reversed(shape)))
        self._fill(mine, node.values, node.values)
        return mine

    def graft_all(self, node: Node) -> None:
        """The same with everything below it."""
        if node.uid or not node._children:  # else its children bring it, unless their place is known here
            self.graft(node)
        if node._children:
            for child in node._children.values():
                self.graft_all(child)

    def put(self, level: Level, values: Mapping[str, Any], parent: Node | None) -> Node:
        """The node below `parent` for values of its own level."""
        node = Node(level, uid_of(level, values), values, parent)
        return self.graft(node)

    def note(self, conflict: Conflict) -> None:
        """List a conflict, once."""
        self._conflicts.setdefault((conflict.kind, conflict.level, conflict.uid, conflict.keyword), conflict)

    def remove(self, node: Node) -> None:
        """Take a node out, with what is below it, and with those above it that have nothing left below them."""
        parent = node.parent
        if parent is not None and parent._children is not None and len(parent._children) == 1:
            self.remove(parent)
            return
        self._forget(node)
        if parent is not None and parent._children is not None:
            del parent._children[node.key]

    def _forget(self, node: Node) -> None:
        self._index[node.level].pop(node.key, None)
        for child in (node._children or {}).values():
            self._forget(child)

    def _settle(self, level: Level, values: Mapping[str, Any], shape: _Shape) -> Node:
        uid = uid_of(level, values)
        key = uid or nameless(level, _part(values, shape[level]))
        node = self._index[level].get(key)
        if node is None:
            parent = self._settle(Level(level - 1), values, shape) if level else None
            if not uid and parent and parent._children:
                node = parent._children.get(key)
            if node is None:
                return self._insert(level, uid, self._own(level, values, shape[level]), parent)
        elif level:
            self._agree(node, values, shape)
        self._fill(node, values, shape[level])
        return node

    def _agree(self, node: Node, values: Mapping[str, Any], shape: _Shape) -> None:
        """Check what a record says of the parents of its node, and fill them in."""
        parent = node.parent
        assert parent is not None
        if not parent.uid:
            self._adopt(node, parent, values, shape)
        elif uid_of(parent.level, values) in ("", parent.uid):
            self._fill(parent, values, shape[parent.level])
            if parent.parent is not None:
                self._agree(parent, values, shape)
        else:
            self._dispute(node, parent, values, shape)

    def _adopt(self, node: Node, parent: Node, values: Mapping[str, Any], shape: _Shape) -> None:
        """Move a node from parents without unique keys to those that all that was said of it, taken together, speaks of."""
        chain = list(parent.chain())
        for above in chain:
            if above.uid:
                break
            here, there = (
                said(above.level, above.values),
                said(above.level, _part(values, shape[above.level])),
            )
            if any(there.get(keyword, text) != text for keyword, text in here.items()):
                self._dispute(node, above, values, shape)
                return
        if above.uid and uid_of(above.level, values) not in ("", above.uid):
            self._dispute(node, above, values, shape)
            return
        known = {above.level: tuple(above.values) for above in chain}
        together = tuple((*known[level], *shape[level]) for level in sorted(known))
        old = merged(parent)
        new = {
            **old,
            **{key: values[key] for level in known for key in shape[level] if not _empty(values[key])},
        }
        if any(not _empty(new[key]) and _empty(old.get(key)) for key in new):
            self._move(node, self._settle(parent.level, new, together))
        elif above.uid:
            self._fill(above, values, shape[above.level])

    def _dispute(self, node: Node, above: Node, values: Mapping[str, Any], shape: _Shape) -> None:
        there = uid_of(above.level, values) or _label(_part(values, shape[above.level]))
        here, word = above.uid or _label(above.values), above.level.word
        text = f"{node.level.word} {node.uid} is of {word} {here} and, elsewhere, of {word} {there}"
        self.note(Conflict("parent", node.level, node.uid, text, above.level.keyword))

    def _move(self, node: Node, parent: Node) -> None:
        former = node.parent
        if former is parent or former is None or former._children is None:
            return
        del former._children[node.key]
        if not former._children:
            self.remove(former)
        node.parent = parent
        if parent._children is None:
            parent._children = {}
        parent._children[node.key] = node

    def _insert(self, level: Level, uid: str, values: Mapping[str, Any], parent: Node | None) -> Node:
        node = Node(level, uid, values, parent)
        key = uid or node.key
        if parent is not None:
            if parent._children is None:
                parent._children = {}
            parent._children[key] = node
        if uid or level is Level.PATIENT:
            self._index[level][key] = node
        return node

    def _own(self, level: Level, values: Mapping[str, Any], keywords: tuple[str, ...]) -> dict[str, Any]:
        """The values of one level. Those equal to the ones before share their memory: most images have the same SOP Class UID."""
        last = self._last[level]
        own = {}
        for keyword in keywords:
            value, former = values[keyword], last.get(keyword)
            own[keyword] = former if former == value and former.__class__ is value.__class__ else value
        self._last[level] = own
        return own

    def _fill(self, node: Node, values: Mapping[str, Any], keywords: Collection[str]) -> None:
        known = node.values
        if values is known:
            return
        changed: dict[str, Any] = {}
        for keyword in keywords:
            value, old = values[keyword], known.get(keyword, _ABSENT)
            if value == old:
                continue
            if old is _ABSENT:
                changed[keyword] = value
            elif _empty(value):
                continue
            elif keyword in _COUNT_KEYWORDS:
                if ("count", node.level, node.uid, keyword) in self._conflicts:
                    continue
                changed[keyword] = value if _empty(old) else None
                if not _empty(old):
                    self._differ("count", node, keyword, old, value)
            elif _empty(old):
                changed[keyword] = value
            else:
                self._differ("value", node, keyword, old, value)
        if changed:
            node.values = {**known, **changed}

    def _differ(self, kind: str, node: Node, keyword: str, old: Any, new: Any) -> None:
        text = f"{keyword} of {node.level.word} {node.uid} is {_short(old)} and, elsewhere, {_short(new)}"
        self.note(Conflict(kind, node.level, node.uid, text, keyword))


_Shape = tuple[tuple[str, ...], ...]


@lru_cache(maxsize=1024)
def _shape(keywords: tuple[str, ...], level: Level) -> _Shape:
    """Which of the keywords of a record belong to which level; those of lower levels than its own belong to its own."""
    found: list[list[str]] = [[] for _ in range(level + 1)]
    for keyword in keywords:
        found[min(level_of(keyword), level)].append(keyword)
    return tuple(map(tuple, found))


def _part(values: Mapping[str, Any], keywords: Collection[str]) -> dict[str, Any]:
    return {keyword: values[keyword] for keyword in keywords}


def _empty(value: Any) -> bool:
    return value is None or value == ""


def _label(values: Mapping[str, Any]) -> str:
    words = [text for value in values.values() if (text := text_of(value))]
    return f"without unique key ({_short(', '.join(words))})" if words else "that nothing is said of"


def _short(value: Any) -> str:
    text = text_of(value)
    return repr(text if len(text) <= 64 else f"{text[:63]}…")
