"""What came for a retrieval, told apart from what should have come: decided from plain values, nothing is awaited.

    unexpected     was not asked for
    duplicate      has come before
    inconsistent   says that it is of another patient than the node said when it was asked
    missing        was to come and did not

What is missing is known by its UIDs where there is a list of them, else by number, else not at all: that is *unverified*, which
is neither complete nor incomplete.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal, final

Policy = Literal["drop", "pass", "quarantine", "fail"]
Kind = Literal["unexpected", "duplicate", "inconsistent"]


@final
class Arrivals:
    """Of one request.

    Args:
        patient_id: as the node said; empty: it did not.
        expected: SOP Instance UIDs that were asked for; None: what they belong to was.
        count: how many there are to come; None: not known.

    Attributes:
        listed: SOP Instance UIDs that the node says it has of that; None: it was not asked. It may keep some to itself, so
            what comes and is not listed is welcome.
        here: SOP Instance UIDs that came, and were accepted.
        refused: that came and were not accepted.
        told: how often something of a kind came.
    """

    def __init__(
        self, *, patient_id: str = "", expected: Iterable[str] | None = None, count: int | None = None
    ) -> None:
        self.patient_id = patient_id
        self.expected: frozenset[str] | None = None if expected is None else frozenset(expected)
        self.count = count
        self.listed: frozenset[str] | None = None
        self.here: set[str] = set()
        self.refused: set[str] = set()
        self.told: Counter[str] = Counter()
        self._taking: set[str] = set()

    def judge(self, uid: str, patient_id: str, *, inside: bool) -> Kind | None:
        """What is wrong with something that comes; None: nothing.

        Args:
            inside: it is of what was asked for.
        """
        kind: Kind | None = None
        if not inside or (self.expected is not None and uid not in self.expected):
            kind = "unexpected"
        elif uid in self.here or uid in self._taking:
            kind = "duplicate"
        elif self.patient_id and patient_id and patient_id.strip() != self.patient_id.strip():
            kind = "inconsistent"
        if kind is not None:
            self.told[kind] += 1
        return kind

    def begin(self, uid: str) -> None:
        """It is being taken."""
        self._taking.add(uid)

    def settle(self, uid: str, *, accepted: bool) -> None:
        """It was taken, or refused."""
        self._taking.discard(uid)
        if accepted:
            self.here.add(uid)
            self.refused.discard(uid)
        elif uid not in self.here:
            self.refused.add(uid)

    @property
    def settled(self) -> set[str]:
        """Came, whatever became of it."""
        return self.here | self.refused

    @property
    def complete(self) -> bool | None:
        """Whether all has come; None: nobody can say."""
        if self.expected is not None:
            return self.expected <= self.settled
        if self.listed:
            return self.listed <= self.settled
        if self.count is not None:
            return len(self.settled) >= self.count
        return None

    @property
    def missing(self) -> list[str]:
        """The UIDs of what did not come, where they are known."""
        return sorted((self.expected or self.listed or frozenset()) - self.settled)
