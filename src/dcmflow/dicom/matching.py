"""Whether an answer is what was asked for: servers ignore keys, and then answer with everything.

A record is held against the keys that restrict (`Query.conditions`) once more, as C-FIND has it (PS3.4 C.2.2.2; how values are
compared is said in `dcmflow.dicom.criteria`). A key that the record does not have, or has with zero length, leaves the answer
unverified: it may or may not be what was asked for, and never counts as a match.

Keys within one sequence must match within one item of it (C.2.2.2.6).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple, final

from dcmflow.dicom import tags
from dcmflow.dicom.criteria import Check, Verdict, criterion, is_empty
from dcmflow.dicom.level import UNIQUE_KEYS
from dcmflow.dicom.query import Query
from dcmflow.dicom.record import Record
from dcmflow.dicom.tags import Leaf, Path

__all__ = ["Finding", "Matcher", "Verdict", "values_at"]

_ZONE: Final = "TimezoneOffsetFromUTC"


class Finding(NamedTuple):
    """What a record has against the keys.

    Attributes:
        mismatched: the keys, as the query has them, that it does not match.
        unverified: those of which it cannot be told.
    """

    mismatched: tuple[str, ...] = ()
    unverified: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """All in one."""
        if self.mismatched:
            return Verdict.MISMATCH
        return Verdict.UNVERIFIED if self.unverified else Verdict.MATCH


@final
class Matcher:
    """The conditions of a query, ready to be held against records.

    >>> from dcmflow.dicom.level import Level
    >>> matcher = Matcher(Query.of({"PatientName": "doe*", "StudyDate": "20190601-"}))
    >>> matcher.verdict(Record(Level.STUDY, {"PatientName": "Doe^Jane", "StudyDate": "20190620"})).value
    'match'
    >>> matcher.mismatches(Record(Level.STUDY, {"PatientName": "Roe", "StudyDate": ""}))
    ('PatientName',)
    """

    def __init__(self, query: Query) -> None:
        self.query = query
        conditions = query.conditions.items()
        self._node = _Node((key, *tags.parse(key)[:2], text) for key, text in conditions)

    def examine(self, record: Record) -> Finding:
        """The keys that a record does not match, and those of which it cannot be told."""
        return self._node.examine(record.values, record.text(_ZONE))

    def verdict(self, record: Record) -> Verdict:
        """Whether a record matches."""
        return self.examine(record).verdict

    def mismatches(self, record: Record) -> tuple[str, ...]:
        """The keys that a record does not match."""
        return self.examine(record).mismatched

    def unverified_keys(self, record: Record) -> tuple[str, ...]:
        """The keys of which it cannot be told whether a record matches."""
        return self.examine(record).unverified


def values_at(values: Mapping[str, Any], path: Path) -> Iterator[Any]:
    """Each value that is at a path, over all items of the sequences on the way."""
    found = [values]
    for leaf, _ in path.steps:
        found = [item for values in found for item in _items(_value(values, leaf))]
    for values in found:
        value = _value(values, path.leaf)
        if value is not _ABSENT:
            yield value


_ABSENT: Final = object()
_Step = tuple[Leaf, int]
_Condition = tuple[str, tuple[_Step, ...], Leaf, str]


class _Node:
    """The conditions of one data set or item."""

    def __init__(self, conditions: Iterable[_Condition]) -> None:
        self.checks: list[tuple[str, Leaf, str, Check]] = []
        inner: dict[_Step, list[_Condition]] = {}
        for key, steps, leaf, text in conditions:
            if steps:
                inner.setdefault(steps[0], []).append((key, steps[1:], leaf, text))
            else:
                vr = _vr(leaf)
                self.checks.append((key, leaf, vr, criterion(vr, text)))
        self.sequences = [(leaf, _Node(rest)) for (leaf, _), rest in inner.items()]

    def names(self) -> tuple[str, ...]:
        own = (key for key, *_ in self.checks)
        return (*own, *(key for _, node in self.sequences for key in node.names()))

    def examine(self, values: Mapping[str, Any], zone: str) -> Finding:
        mismatched: list[str] = []
        unverified: list[str] = []
        for key, leaf, vr, check in self.checks:
            value = _value(values, leaf)
            if value is _ABSENT or _echoed(key, value):
                unverified.append(key)
                continue
            verdict = check(_zoned(value, zone) if vr == "DT" else value)
            if verdict is Verdict.MISMATCH:
                mismatched.append(key)
            elif verdict is Verdict.UNVERIFIED:
                unverified.append(key)
        for leaf, node in self.sequences:
            finding = node.examine_items(_items(_value(values, leaf)), zone)
            mismatched += finding.mismatched
            unverified += finding.unverified
        return Finding(tuple(mismatched), tuple(unverified))

    def examine_items(self, items: Iterable[Mapping[str, Any]], zone: str) -> Finding:
        """What the item that comes nearest has against it; all is unverified where there is no item."""
        findings = (self.examine(item, zone) for item in items)
        worst = Finding((), self.names())
        return min(findings, key=lambda found: (len(found.mismatched), len(found.unverified)), default=worst)


def _value(values: Mapping[str, Any], leaf: Leaf) -> Any:
    if not leaf.creator:
        return values.get(tags.name(leaf.tag), _ABSENT)
    group = leaf.tag & 0xFFFF0000  # PS3.5 7.8.1: the creator's block is where it says so
    for block in range(0x10, 0x100):
        if str(values.get(tags.name(group | block), "")).strip() == leaf.creator:
            return values.get(tags.name(group | block << 8 | leaf.tag & 0xFF), _ABSENT)
    return _ABSENT


def _items(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, tuple) else []


def _vr(leaf: Leaf) -> str:
    if leaf.creator:
        return leaf.vr or tags.private_vr(leaf.tag, leaf.creator)
    return tags.dictionary_vr(leaf.tag)


def _echoed(key: str, value: Any) -> bool:
    """Whether this is the list of UIDs that was asked for; what a unique key names is one."""
    return isinstance(value, tuple) and key in UNIQUE_KEYS


def _zoned(value: Any, zone: str) -> Any:
    """Moments without an offset from UTC have that of the data set (PS3.3 C.12.1)."""
    if not zone or is_empty(value):
        return value
    moments = value if isinstance(value, tuple) else (value,)
    return tuple(f"{moment}{zone}" if _is_local(moment) else moment for moment in moments)


def _is_local(moment: Any) -> bool:
    return isinstance(moment, str) and moment.replace(".", "", 1).isdecimal()
