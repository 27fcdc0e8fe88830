"""Asks a node one query after the other, keeps what matches and remembers what went wrong."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, final

import anyio
from msgspec import Struct, field

from dcmflow.catalog.answers import Answers
from dcmflow.catalog.catalog import Catalog
from dcmflow.cli import query_progress
from dcmflow.cli.query_example import decided, left_over
from dcmflow.dicom.level import Level, level_of
from dcmflow.dicom.matching import Matcher
from dcmflow.dicom.record import Record
from dcmflow.errors import AssociationAborted, DcmflowError, NetworkError
from dcmflow.net.client import Client

if TYPE_CHECKING:
    from dcmflow.cli.query_output import Lines
    from dcmflow.dicom.query import Query
    from dcmflow.net.node import Node


class Part(Struct, eq=False):
    """A query, in as many requests as it has to be put in.

    Attributes:
        answers: to all of them.
        asks: each with the keys of what it is about, which an answer must not contradict.
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
    asks: Sequence[tuple[Query, Mapping[str, str]]]
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


@final
class Inquiry:
    """Asks a node, part by part.

    Args:
        level: of the result; what is asked for may lie below it, where keys do.
        lines: writes what matches at once; None: it is kept in `catalog`.
        limit: records after which it stops.
        examples: decide by one retrieved image where an answer cannot be checked.

    Attributes:
        count: of records that match.
        received: of answers.
        stopped: why it stopped before its end, in words.
    """

    def __init__(
        self,
        node: Node,
        calling_ae: str,
        level: Level,
        parts: Sequence[Part],
        *,
        lines: Lines | None = None,
        limit: int | None = None,
        examples: bool = False,
    ) -> None:
        self.level = level
        self.parts = parts
        self.count = 0
        self.stopped = ""
        self.unread = False  # nobody reads stdout any more
        self._node = node
        self._calling_ae = calling_ae
        self._lines = lines
        self._limit = limit
        self.examples = examples
        self._total = sum(len(part.asks) for part in parts)
        self._whole = len(parts) == 1 and parts[0].answers.query.level is level and lines is None
        self._catalog = Catalog(level)

    @property
    def catalog(self) -> Catalog:
        """What matches; empty where lines were written."""
        return self.parts[0].answers.catalog if self._whole else self._catalog

    @property
    def received(self) -> int:
        return sum(part.answers.received for part in self.parts)

    async def run(self) -> None:
        """Ask. What goes wrong with a part is in its `errors`."""
        async with Client(self._calling_ae) as client, anyio.create_task_group() as tasks:
            if query_progress.wanted() and not self._shows_lines():
                tasks.start_soon(query_progress.follow, lambda: self.received, self._done)
            await self._ask_all(client)
            tasks.cancel_scope.cancel()

    async def _ask_all(self, client: Client) -> None:
        for part in self.parts:
            part.begun, part.when = True, datetime.now().astimezone().isoformat(timespec="seconds")
            for query, about in part.asks:
                error = await self._ask(client, part, query, about)
                part.asked += 1
                if error is not None:
                    part.errors.append(error)
                    if isinstance(error, NetworkError) and not isinstance(error, AssociationAborted):
                        return  # the node does not answer; the rest would take as many timeouts
                if self.stopped or self.unread:
                    return
            if self.examples and part.answers.unverified:
                await self._decide(client, part)
            part.ended = not part.errors

    async def _ask(
        self, client: Client, part: Part, query: Query, about: Mapping[str, str]
    ) -> DcmflowError | None:
        try:
            async with client.find(self._node, query, verify=False) as found:
                try:
                    async for record in found:
                        if _contradicts(record, about):
                            part.answers.received += 1
                            part.answers.mismatched.put(record, about)
                        elif self._keep(part, record) and self._is_enough(part):
                            break
                except BrokenPipeError:
                    self.unread = True
                finally:
                    part.problems += found.problems
        except DcmflowError as error:
            return error
        return None

    async def _decide(self, client: Client, part: Part) -> None:
        """Take or leave what could not be checked, as examples of it say."""
        answers, left = part.answers, []
        problems: list[str] = []
        try:
            async for record, told in decided(client, self._node, answers, problems):
                if not told:
                    left.append(record)
                elif self._keep(part, record) and self._is_enough(part):
                    return
        except BrokenPipeError:
            self.unread = True
        finally:
            answers.unverified = left_over(Matcher(answers.query), left)
            part.problems += problems

    def _is_enough(self, part: Part) -> bool:
        """Count one more."""
        part.found += 1
        self.count += 1
        if self.count == self._limit:
            self.stopped = f"stopped at --limit {self._limit}; there may be more"
        return bool(self.stopped)

    def _keep(self, part: Part, record: Record) -> bool:
        """Take an answer. True: it is one more of what was asked for."""
        answers, lines = part.answers, self._lines
        if lines is not None and record in lines and record.level is self.level:
            answers.received += 1
            answers.duplicates += 1
            return False
        if not answers.add(record):
            return False
        if self._whole:
            return True
        node = answers.catalog.find(record.level, record.uid) if record.uid else None
        kept = trimmed(node.record() if node is not None else record, self.level)
        if lines is None:
            return self._catalog.add(kept)
        answers.catalog.clear()
        return lines.write(kept)

    def _done(self) -> str:
        if self._total < 2:
            return ""
        return f"{sum(part.asked for part in self.parts)} of {self._total} asked"

    def _shows_lines(self) -> bool:
        return self._lines is not None and sys.stdout.isatty()


def trimmed(record: Record, level: Level) -> Record:
    """The record of what it belongs to at a level above."""
    if record.level is level:
        return record
    return Record(level, {key: value for key, value in record.values.items() if level_of(key) <= level})


def _contradicts(record: Record, about: Mapping[str, str]) -> bool:
    """Whether an answer is about something else: the node pays no regard to what it was asked about."""
    return any(record.text(key).strip() not in ("", uid.strip()) for key, uid in about.items())
