"""What became of a sync, by destination; the sums close: wanted = present + sent + failed + skipped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct, field

VERSION = 1


class Failure(Struct, frozen=True):
    """One instance that a destination did not get.

    Attributes:
        uid: its SOP Instance UID; empty where it is not known.
    """

    uid: str
    reason: str


class Result(Struct):
    """Of one destination, in instances.

    Attributes:
        wanted: that it was to have.  present: that it had before.  sent: that it has accepted.
        failed: that it did not get; `failures` says why.  skipped: that nobody tried, since the sync ended before.
    """

    wanted: int = 0
    present: int = 0
    sent: int = 0
    failed: int = 0
    skipped: int = 0
    failures: list[Failure] = field(default_factory=list)


class Report(Struct):
    """Of all destinations, by name.

    Attributes:
        notes: what else there is to know.
    """

    destinations: dict[str, Result] = field(default_factory=dict)
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)
    version: int = VERSION

    @property
    def failed(self) -> int:
        return sum(result.failed + result.skipped for result in self.destinations.values())

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        made: dict[str, Any] = msgspec.to_builtins(self)
        return made

    def rows(self) -> Iterator[tuple[str, ...]]:
        """A table for people."""
        yield "destination", "wanted", "present", "sent", "failed", "skipped"
        for name, result in self.destinations.items():
            numbers = (result.wanted, result.present, result.sent, result.failed, result.skipped)
            yield name, *map(str, numbers)
