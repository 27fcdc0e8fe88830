"""What a node takes, as far as it is known: the presentation contexts that were used lately, and those that it did not accept."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import islice
from time import monotonic
from typing import Final, final

from dcmflow.net.contexts import Wanted

REFUSED: Final = 60.0  # seconds for which it is believed that the answer would be the same
REMEMBERED: Final = 512


@final
class Taken:
    """Of one node."""

    def __init__(self) -> None:
        self._recent: dict[Wanted, None] = {}  # the latest is last
        self._refused: dict[Wanted, float] = {}  # until when

    def use(self, wanted: Wanted) -> None:
        """It has just been used."""
        self._recent.pop(wanted, None)
        self._recent[wanted] = None

    def recent(self) -> Iterator[Wanted]:
        """What was used lately, the latest first."""
        return reversed(self._recent)

    def refuses(self, wanted: Wanted) -> bool:
        """It was not accepted a while ago."""
        until = self._refused.get(wanted)
        return until is not None and monotonic() < until

    def learn(self, proposed: Collection[Wanted], accepted: Collection[Wanted]) -> None:
        """An association was accepted."""
        now = monotonic()
        for known in [known for known, until in self._refused.items() if until <= now or known in accepted]:
            del self._refused[known]
        for wanted in proposed:
            if wanted not in accepted:
                self._refused[wanted] = now + REFUSED
                self._recent.pop(wanted, None)
        for old in list(islice(self._recent, max(0, len(self._recent) - REMEMBERED))):
            del self._recent[old]
