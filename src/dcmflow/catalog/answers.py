"""The answers to one query, sorted: what was asked for becomes a catalog, the rest is counted and told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Final, final

from dcmflow.catalog.catalog import Catalog
from dcmflow.catalog.matching import Matcher, Verdict, values_at
from dcmflow.catalog.node import merged
from dcmflow.dicom import tags
from dcmflow.dicom.criteria import is_empty
from dcmflow.dicom.level import Level
from dcmflow.dicom.query import Query
from dcmflow.dicom.record import Record

EXAMPLES: Final = 100


@final
class Pile:
    """Answers that something is the matter with: all are counted, the first ones kept to be shown.

    Attributes:
        count: how many there were.
        keys: how often which key was the reason.
        records: the first of them.
    """

    __slots__ = ("count", "keys", "records")

    def __init__(self) -> None:
        self.count: int = 0
        self.keys: Counter[str] = Counter()
        self.records: list[Record] = []

    def __len__(self) -> int:
        return self.count

    def __repr__(self) -> str:
        return f"<{self.count} answers: {dict(self.keys)}>"

    def put(self, record: Record, keys: Iterable[str] = ()) -> None:
        """Add an answer and the keys that were the reason."""
        self.count += 1
        self.keys.update(keys)
        if len(self.records) < EXAMPLES:
            self.records.append(record)


@final
class Answers:
    """What came back for a query. Memory grows with what is kept or undecided, not with what is left out.

    >>> from dcmflow.dicom.level import Level
    >>> answers = Answers(Query.of({"PatientID": "P1"}))
    >>> for uid, patient in [("1.2", "P1"), ("1.3", "P2"), ("1.2", "P1")]:
    ...     kept = answers.add(Record(Level.STUDY, {"PatientID": patient, "StudyInstanceUID": uid}))
    >>> len(answers.catalog), len(answers.mismatched), answers.duplicates
    (1, 1, 1)

    Attributes:
        query: what was asked.
        received: how many answers there were.
        catalog: those that match, once each.
        duplicates: how many were there already.
        mismatched: do not match; the server ignores a key. Not in the catalog.
        unverified: cannot be checked, see `dcmflow.dicom.criteria`. Not in the catalog; all of them are in `undecided`.
        undecided: the catalog of what is unverified, for whoever can tell in another way.
        invalid: without the unique key of their own level, or with several. In no catalog.
        incomplete: without a unique key of a level above. In the catalog all the same. A PatientID that is returned and
            empty is a value like others (PS3.3 C.7.1.1), except at patient level.
    """

    def __init__(
        self, query: Query, *, asked: Collection[str] | None = None, known: Catalog | None = None
    ) -> None:
        """Sort answers to `query`.

        Args:
            asked: the keys, as the query has them, whose absence is worth a warning; None: all of the query.
            known: what was found at upper levels before. What an answer does not say of its patient, study or series
                is taken from there: servers need not repeat it (PS3.4 C.4.1.1.3.2).
        """
        self.query = query
        self.received: int = 0
        self.catalog: Catalog = Catalog(query.level)
        self.undecided: Catalog = Catalog(query.level)
        self.duplicates: int = 0
        self.mismatched: Pile = Pile()
        self.unverified: Pile = Pile()
        self.invalid: Pile = Pile()
        self.incomplete: Pile = Pile()
        self._matcher = Matcher(query.at(query.level))  # of lower levels an answer says nothing
        self._known = known
        self._asked = query.keys if asked is None else asked
        self._absent = {key: tags.parse(key) for key in query.at(query.level).keys}  # never returned so far
        self._empty = dict(self._absent)  # never returned with a value so far

    def add(self, record: Record) -> bool:
        """Take an answer.

        Returns:
            True where it is a match that was not there before.

        Raises:
            ValueError: it is of another level than the query.
        """
        if record.level is not self.query.level:
            raise ValueError(
                f"an answer of {record.level.word} level to a query of {self.query.level.word} level"
            )
        self.received += 1
        self._note_returned(record)
        if not _has_unique_key(record):
            self.invalid.put(record, (record.level.keyword,))
            return False
        record = self._filled_in(record)
        finding = self._matcher.examine(record)
        if finding.verdict is Verdict.MISMATCH:
            self.mismatched.put(record, finding.mismatched)
            return False
        if finding.verdict is Verdict.UNVERIFIED:
            if record in self.catalog or not self.undecided.add(record):
                self.duplicates += 1
            else:
                self.unverified.put(record, finding.unverified)
            return False
        if not self.catalog.add(record):
            self.duplicates += 1
            return False
        if record in self.undecided:  # an earlier answer said less
            self.undecided.discard(record)
        if missing := _missing(record):
            self.incomplete.put(record, missing)
        return True

    @property
    def unsupported(self) -> tuple[str, ...]:
        """The keys that were asked for and are in no answer. Without answers nothing is known, and there are none."""
        return tuple(self._absent) if self.received else ()

    @property
    def empty(self) -> tuple[str, ...]:
        """The keys that are in answers, but never with a value: unsupported, or there is none."""
        return tuple(key for key in self._empty if key not in self._absent) if self.received else ()

    def warnings(self) -> list[str]:
        """What a person should know about the answers, one sentence each; contradictions are in `catalog.conflicts`."""
        said: list[str] = []
        if pile := self.mismatched:
            said.append(
                f"{_number(pile.count)} {'does' if pile.count == 1 else 'do'} not match {_reasons(pile)} and"
                f" {_were(pile)} left out: the server ignores keys, or matches them in another way"
            )
        if pile := self.unverified:
            said.append(
                f"{_number(pile.count)} cannot be checked for {_reasons(pile)} and {_were(pile)} left out:"
                " the server returns no value, or one that does not tell"
            )
        if pile := self.invalid:
            said.append(f"{_number(pile.count)} without a {self.query.level.keyword} {_were(pile)} left out")
        if pile := self.incomplete:
            said.append(f"{_number(pile.count)} without {_reasons(pile)} {_were(pile)} kept all the same")
        if self.duplicates:
            said.append(f"{_number(self.duplicates)} repeated what was there already")
        absent = [key for key in self.unsupported if key in self._asked and key not in self.unverified.keys]
        if absent:
            said.append(f"the server returned no {', no '.join(absent)}")
        return said

    def _note_returned(self, record: Record) -> None:
        """Cross off what this answer has."""
        for key, path in list(self._empty.items()):
            found = list(values_at(record.values, path))
            if found:
                self._absent.pop(key, None)
            if not all(map(is_empty, found)):
                del self._empty[key]

    def _filled_in(self, record: Record) -> Record:
        if self._known is None:
            return record
        for level in reversed(record.level.above()):
            uid = record.text(level.keyword)
            node = self._known.find(level, uid) if uid else None
            if node is not None:
                own = {key: value for key, value in record.values.items() if not is_empty(value)}
                return Record(record.level, {**record.values, **merged(node), **own})
        return record


def _has_unique_key(record: Record) -> bool:
    uid = record.uid.strip()
    if record.level is Level.PATIENT and not uid:
        return record.level.keyword in record.values
    return bool(uid) and "\\" not in uid


def _missing(record: Record) -> list[str]:
    """The unique keys without which an answer is incomplete."""
    patient = Level.PATIENT.keyword
    missing = [level.keyword for level in record.level.above() if not record.text(level.keyword).strip()]
    if record.level is Level.PATIENT:
        return [] if record.uid.strip() else [patient]
    return [key for key in missing if key != patient or key not in record.values]


def _number(count: int) -> str:
    return "1 answer" if count == 1 else f"{count} answers"


def _were(pile: Pile) -> str:
    return "was" if pile.count == 1 else "were"


def _reasons(pile: Pile) -> str:
    """The keys, the most frequent first, with how often each was the reason where that is not always."""
    return ", ".join(
        key if count == pile.count else f"{key} ({count})" for key, count in pile.keys.most_common()
    )
