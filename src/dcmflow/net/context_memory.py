"""What is known of the presentation contexts that a node takes: those that were used lately, and those that it did not accept."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from time import monotonic
from typing import Final, final

from dcmflow.net.contexts import Wanted

REFUSED: Final = 60.0  # seconds for which it is believed that the answer would be the same
REMEMBERED: Final = 512
_FOR_GOOD: Final = (3, 4)  # PS3.8 table 9-18: abstract syntax, transfer syntaxes not supported


@final
class ContextMemory:
    """Of one node."""

    def __init__(self) -> None:
        self._recent: dict[Wanted, None] = {}  # the latest is last
        self._refused: dict[Wanted, tuple[float, int | None]] = {}  # until when, and with which result

    def use(self, wanted: Wanted) -> None:
        """It has just been used."""
        self._recent.pop(wanted, None)
        self._recent[wanted] = None

    def recent(self) -> Iterator[Wanted]:
        """What was used lately, the latest first."""
        return reversed(self._recent)

    def refuses(self, wanted: Wanted) -> bool:
        """It was not accepted a while ago."""
        until, _ = self._refused.get(wanted, (0.0, None))
        return monotonic() < until

    def result(self, wanted: Wanted) -> int | None:
        """What was answered when it was not accepted (PS3.8 table 9-18); None: nothing."""
        return self._refused.get(wanted, (0.0, None))[1]

    def learn(
        self, proposed: Sequence[Wanted], accepted: Collection[Wanted], results: Mapping[Wanted, int]
    ) -> set[Wanted]:
        """An association was accepted, with answers to what was proposed.

        Some peers have room for few presentation contexts, and say "no reason" to the others. So that says nothing about a context
        unless it was proposed before all others, or nothing else was accepted either.

        Returns:
            What is refused.
        """
        now = monotonic()
        for known in [
            known for known, (until, _) in self._refused.items() if until <= now or known in accepted
        ]:
            del self._refused[known]
        refused = {
            wanted
            for number, wanted in enumerate(proposed)
            if wanted not in accepted and (not number or not accepted or results.get(wanted) in _FOR_GOOD)
        }
        for wanted in refused:
            self._refused[wanted] = (now + REFUSED, results.get(wanted))
            self._recent.pop(wanted, None)
        for old in list(islice(self._recent, max(0, len(self._recent) - REMEMBERED))):
            del self._recent[old]
        return refused
