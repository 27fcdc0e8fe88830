"""How a query becomes C-FINDs: which keys go into which level, and what is asked first (PS3.4 C.4.1.3).

A server need not take keys of other levels than the one asked for, beyond the unique keys of those above it. So what is asked
for images of patients begins at the top of the model and goes down: each level is asked with its own keys and with the unique keys
of what was found above, several at once as a list of UIDs where the server can do that. What a server returned above is filled in
below. A peer that has agreed to relational queries is asked once, and so is one who is asked by unique keys of the level alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, final

from dcmflow.dicom.level import RETURNED, UNIQUE_KEYS, Level, level_of
from dcmflow.dicom.query import Query, restricts
from dcmflow.dicom.record import Record

BATCH: Final = 32
"""UIDs in a list: 2 KB, which every server takes that takes lists."""


@final
class Plan:
    """What is asked at each level.

    Args:
        query: what is wanted.
        top: the highest level of the model.
        bare: unique keys are all that is of interest: whatever else is asked for may cost the server a look into files.

    Attributes:
        bottom: the lowest level that has to be asked: keys may restrict what lies below what is wanted.
        levels: those to be asked, the top first.
    """

    def __init__(self, query: Query, top: Level, *, bare: bool = False) -> None:
        self.query = query
        self._bare = bare
        self.top: Level = top
        wanted = max(query.level, top)
        self.bottom: Level = max([wanted, *map(level_of, query.conditions)])
        self.levels: tuple[Level, ...] = tuple(level for level in Level if top <= level <= self.bottom)

    def at_once(self) -> Query:
        """All in one C-FIND, which a server need not be able to answer."""
        keys: dict[str, str] = {}
        for level in Level:
            if level <= self.bottom:
                keys |= dict.fromkeys(self._returned(level, counts=level is self.bottom), "")
        return Query(
            self.bottom,
            keys | {key: value for key, value in self.query.keys.items() if level_of(key) <= self.bottom},
        )

    def step(self, level: Level, parents: Sequence[Record] = ()) -> Query:
        """What is asked at a level.

        Args:
            parents: of the level above, whose unique keys are given; all with the same keys above that.
        """
        keys: dict[str, str] = {}
        for above in level.above():
            if above >= self.top and parents:
                keys[above.keyword] = "\\".join(
                    dict.fromkeys(parent.text(above.keyword) for parent in parents)
                )
        own = [each for each in Level if self._asked_at(each) is level]
        for each in own:
            keys |= dict.fromkeys(self._returned(each, counts=each is level), "")
        given = {
            key: value for key, value in self.query.keys.items() if self._asked_at(level_of(key)) is level
        }
        return Query(level, keys | given)

    def _returned(self, level: Level, *, counts: bool) -> Iterable[str]:
        if self._bare:
            return (level.keyword,)
        return [key for key in RETURNED[level] if counts or not key.startswith("NumberOf")]

    def _asked_at(self, level: Level) -> Level:
        return max(level, self.top)

    @property
    def by_unique_key(self) -> bool:
        """Nothing but unique keys restricts it, and that of the lowest level does: else going down would read all."""
        conditions = self.query.conditions
        return (
            self.bottom > self.top
            and self.bottom.keyword in conditions
            and set(conditions) <= set(UNIQUE_KEYS)
        )

    def groups(self, parents: Iterable[Record], *, lists: bool) -> list[list[Record]]:
        """Parents that can be asked about together."""
        made: dict[tuple[str, ...], list[list[Record]]] = {}
        for parent in parents:
            # a PatientID is no UID, and cannot be in a list; nor can series of several studies be told apart by every server
            together = tuple(
                parent.text(level.keyword) for level in parent.level.above() if level is Level.PATIENT
            )
            if parent.level is Level.PATIENT or self.top is not Level.PATIENT:
                together = ()
            batches = made.setdefault(together, [[]])
            most = BATCH if lists and parent.level is not Level.PATIENT else 1
            if len(batches[-1]) >= most:
                batches.append([])
            batches[-1].append(parent)
        return [batch for batches in made.values() for batch in batches if batch]

    def trimmed(self, record: Record) -> Record:
        """The record at the level that is wanted, without what lies below it."""
        return record.at(self.query.level)


def filled(record: Record, parent: Mapping[str, Any]) -> Record:
    """A record with what is known of what it belongs to.

    Of a patient, study or series counts what was said when that was asked for, unless it was nothing: a server that answers from
    the instance at hand says other things of a study below than above.
    """
    values = dict(parent)
    for key, value in record.values.items():
        known = values.get(key)
        said = known is not None and known != "" and level_of(key) < record.level
        if key not in values or not (said or value is None or value == ""):
            values[key] = value
    return Record(record.level, values)


def completed(record: Record, asked: Mapping[str, str]) -> Record:
    """A record with the UIDs of upper levels that were asked for, where it does not say them: what it says counts, as a server may
    pay no regard to what it is asked. So may one that does not return a PatientID: that is left open.
    """
    lacking = {
        key: value for key, value in asked.items() if key != Level.PATIENT.keyword and not record.text(key)
    }
    return Record(record.level, {**record.values, **lacking}) if lacking else record


def lone_values(query: Query) -> dict[str, str]:
    """The unique keys above a level that a query gives as one value each: what matches has them, returned or not."""
    return {
        level.keyword: value
        for level in query.level.above()
        if (value := query.keys.get(level.keyword, ""))
        and restricts(value)
        and "\\" not in value
        and not set(value) & set("*?")
    }
