"""What became of a query: provenance for the result, words for people, the exit code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, final

from dcmflow.catalog.node import PLURALS
from dcmflow.catalog.notes import Provenance
from dcmflow.cli.common import (
    DONE,
    INTERRUPTED,
    NOTHING_TRIED,
    SOME_FAILED,
    notice,
    options,
    say,
    warn,
)
from dcmflow.cli.failure import printable
from dcmflow.cli.nodes import why
from dcmflow.cli.query_example import decidable
from dcmflow.errors import NetworkError

if TYPE_CHECKING:
    from dcmflow.catalog.catalog import Catalog
    from dcmflow.cli.query_ask import Part
    from dcmflow.cli.query_folder import Folder
    from dcmflow.cli.query_run import Inquiry
    from dcmflow.net.node import Node

_SHOWN: Final = 5  # of errors and problems of one kind; the rest is counted


@final
class Report:
    """What became of an inquiry.

    Args:
        lost: entities of an earlier result that could not be asked about.

    Attributes:
        code: the exit code.
        something: there is a result, be it an empty one.
    """

    def __init__(self, inquiry: Inquiry, node: Node | Folder, *, lost: int, interrupted: bool) -> None:
        self._inquiry = inquiry
        self._node = node
        self._lost = lost
        self._interrupted = interrupted
        self._parts = inquiry.parts
        self._errors = [error for part in inquiry.parts for error in part.errors]
        answered = inquiry.received > 0 or sum(part.asked for part in self._parts) > len(self._errors)
        self.something: bool = answered or not self._errors
        self.code: int = self._code()

    def _code(self) -> int:
        if self._interrupted:
            return INTERRUPTED
        if self._errors and not self.something:
            return NOTHING_TRIED if isinstance(self._errors[0], NetworkError) else SOME_FAILED
        faulty = any(part.problems or part.answers.invalid or part.answers.incomplete for part in self._parts)
        return SOME_FAILED if self._errors or faulty or self._lost else DONE

    def catalog(self, earlier: Catalog | None) -> Catalog:
        """The result, with where it comes from; what was refined comes from somewhere, too."""
        catalog = self._inquiry.catalog
        before = list(earlier.provenance) if earlier is not None else []
        if earlier is not None:
            catalog.extra = dict(earlier.extra)
        catalog.provenance = [*before, *(self._provenance(part) for part in self._parts)]
        return catalog

    def _provenance(self, part: Part) -> Provenance:
        notes = [part.about] if part.about else []
        if part.label:
            notes = [f"{part.label}: {part.about}", self._status(part)]
        elif self._inquiry.stopped:
            notes.append(self._inquiry.stopped)
        notes += [str(error) for error in part.errors] if not part.label else []
        if self._inquiry.examples:
            notes.append("what could not be checked was decided by one retrieved image of each")
        if part.answers.unsupported:
            notes.append(f"not returned: {', '.join(part.answers.unsupported)}")
        if self._interrupted and not part.ended:
            notes.append("interrupted")
        return Provenance(
            self._node.address, dict(part.query.keys), self._inquiry.level, part.when, tuple(notes)
        )

    def tell(self) -> None:
        """Say on stderr what a person should know."""
        if self._parts[0].label:
            self._tell_rows()
        quiet = options().quiet
        for part in self._parts:
            where = f"{part.label}: " if part.label else ""
            if not part.label:
                self._tell_some("error", [printable(why(error), lines=False) for error in part.errors])
            elif quiet:
                self._tell_some(
                    "error", [f"{where}{printable(why(error), lines=False)}" for error in part.errors]
                )
            self._tell_some("error", [f"{where}{problem}" for problem in part.problems])
            if not quiet:
                for text in self._warnings(part):
                    warn(f"{where}{printable(text, lines=False)}")
        if self._lost:
            warn(f"{self._lost} of the earlier result have no unique key and cannot be asked about")
        if quiet:
            return
        if self._inquiry.stopped:
            say(f"dcmflow: {self._inquiry.stopped}")
        if self._interrupted:
            say(f"dcmflow: interrupted; {self._count(self._inquiry.count)} so far")

    def _warnings(self, part: Part) -> Iterator[str]:
        yield from part.answers.warnings()
        if not self._inquiry.examples and decidable(part.answers):
            yield "--fetch-example decides about what cannot be checked, by one image of each that is retrieved"
        conflicts = part.answers.catalog.conflicts
        if conflicts:
            yield f"{len(conflicts)} contradictions in the answers, such as: {conflicts[0].text}"

    def _tell_some(self, level: str, texts: list[str]) -> None:
        distinct = dict.fromkeys(texts)
        for text in list(distinct)[:_SHOWN]:
            notice(level, text)
        if len(distinct) > _SHOWN:
            notice(level, f"and {len(distinct) - _SHOWN} more of this kind")

    def _tell_rows(self) -> None:
        """A table of what became of each row."""
        if options().quiet:
            return
        rows = [(part.label, printable(part.about, lines=False), self._status(part)) for part in self._parts]
        first = max(len(label) for label, _, _ in rows)
        second = min(48, max(len(about) for _, about, _ in rows))
        for label, about, status in rows:
            say(f"{label:<{first}}  {about:<{second}}  {printable(status, lines=False)}")

    def _status(self, part: Part) -> str:
        """What became of a row."""
        if part.errors:
            kept = f"; {self._count(part.found)} before that" if part.found else ""
            return f"failed: {why(part.errors[0])}{kept}"
        if not part.begun:
            return "not asked"
        found = self._count(part.found) if part.found else "nothing found"
        return found if part.ended else f"{found}, not to the end"

    def _count(self, number: int) -> str:
        level = self._inquiry.level
        return f"{number} {level.word if number == 1 else PLURALS[level]}"
