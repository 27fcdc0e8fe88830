"""What a query is put into: parts that are accounted for one by one, and the requests of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from msgspec import Struct, field

from dcmflow.catalog.answers import Answers
from dcmflow.dicom.level import UNIQUE_KEYS, Level
from dcmflow.dicom.query import Query
from dcmflow.dicom.record import Record
from dcmflow.errors import DcmflowError
from dcmflow.net.hierarchy import BATCH


class Ask(Struct, frozen=True):
    """One request.

    Attributes:
        query: what is asked.
        about: unique keys of what it is about, each with those that are meant; an answer must not contradict them.
        key: the lowest of these.
        singles: the same, one by one, for a node that takes no lists.
    """

    query: Query
    about: Mapping[str, frozenset[str]] = field(default_factory=dict)
    key: str = ""
    singles: tuple[Ask, ...] = ()

    @property
    def uid(self) -> str:
        """What it is about; several joined as in the query."""
        return self.query.keys.get(self.key, "")

    def contradicts(self, record: Record) -> bool:
        """Whether an answer is about something else: the node pays no regard to what it was asked about."""
        return any(
            (said := record.text(key).strip()) and said not in meant for key, meant in self.about.items()
        )


class Part(Struct, eq=False):
    """A query, in as many requests as it has to be put in.

    Attributes:
        answers: to all of them.
        asks: the requests.
        query: as it was written, for the provenance.
        label: what tells it from others, for people; empty where it is the only one.
        about: what it is about, for people.
        found: how many records there are more because of it.
        begun, ended: whether it has been asked, and answered to the end.
        asked: how many of `asks` are done.
        errors: what ended those that failed.
        problems: what was wrong with single answers, in words.
        when: it was asked, ISO 8601.
    """

    answers: Answers
    asks: Sequence[Ask]
    query: Query
    label: str = ""
    about: str = ""
    found: int = 0
    begun: bool = False
    ended: bool = False
    asked: int = 0
    errors: list[DcmflowError] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    when: str = ""


def asks_about(query: Query, entities: Iterable[Mapping[str, str]]) -> list[Ask]:
    """The requests for a query about entities.

    Siblings are asked about together, in lists of UIDs; PatientIDs cannot be in one.

    Args:
        entities: unique keys, from the patient down to its own; siblings behind each other.
    """
    asks: list[Ask] = []
    for above, group in groupby(entities, lambda keys: list(keys.items())[:-1]):
        siblings = [list(keys.items())[-1] for keys in group]
        for key, uids in groupby(siblings, lambda pair: pair[0]):
            everyone = [uid for _, uid in uids]
            most = 1 if key == UNIQUE_KEYS[Level.PATIENT] else BATCH
            for start in range(0, len(everyone), most):
                asks.append(_ask(query, dict(above), key, everyone[start : start + most]))
    return asks


def _ask(query: Query, above: dict[str, str], key: str, uids: list[str]) -> Ask:
    about = {name: frozenset([uid.strip()]) for name, uid in above.items()}
    return Ask(
        query.with_keys({**above, key: "\\".join(uids)}),
        {**about, key: frozenset(uid.strip() for uid in uids)},
        key,
        tuple(_ask(query, above, key, [uid]) for uid in uids) if len(uids) > 1 else (),
    )
