"""Asks a node one query after the other, keeps what matches and remembers what went wrong."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, final

import anyio

from dcmflow.catalog.catalog import Catalog
from dcmflow.cli import query_progress
from dcmflow.cli.common import INTERRUPTED
from dcmflow.cli.query_example import decided, left_over
from dcmflow.dicom.level import Level
from dcmflow.dicom.matching import Matcher
from dcmflow.dicom.record import Record
from dcmflow.errors import AssociationAborted, DcmflowError, NetworkError
from dcmflow.net.client import Client

if TYPE_CHECKING:
    from anyio.abc import TaskStatus

    from dcmflow.cli.query_ask import Ask, Part
    from dcmflow.cli.query_folder import Folder
    from dcmflow.cli.query_output import Lines
    from dcmflow.net.node import Node


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
        interrupted: a signal has come.
    """

    def __init__(
        self,
        node: Node | Folder,
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
        self.count: int = 0
        self.stopped: str = ""
        self.interrupted: bool = False
        self.unread: bool = False  # nobody reads stdout any more
        self._node: Any = node
        self._calling_ae = calling_ae
        self._lines = lines
        self._limit = limit
        self.examples = examples
        self._lists = True  # the node seems to take lists of UIDs
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
        """Ask, until the end or a signal. What goes wrong with a part is in its `errors`."""
        async with anyio.create_task_group() as outer:
            with anyio.CancelScope() as scope:
                await outer.start(self._obey, scope)
                await self._work()
            outer.cancel_scope.cancel()

    async def _obey(
        self, scope: anyio.CancelScope, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """The first signal calls off what is under way, which the node is told; the second ends at once."""
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            task_status.started()
            async for _ in signals:
                if self.interrupted:
                    with suppress(OSError, ValueError):
                        sys.stdout.flush()
                    os._exit(INTERRUPTED)
                self.interrupted = True
                scope.cancel()

    async def _work(self) -> None:
        from dcmflow.cli.query_folder import Folder

        asker = self._node if isinstance(self._node, Folder) else Client(self._calling_ae)
        async with asker as client, anyio.create_task_group() as tasks:
            if query_progress.wanted() and not self._shows_lines():
                tasks.start_soon(query_progress.follow, lambda: self.received, self._done)
            await self._ask_all(client)
            tasks.cancel_scope.cancel()

    async def _ask_all(self, client: Client | Folder) -> None:
        for part in self.parts:
            part.begun, part.when = True, datetime.now().astimezone().isoformat(timespec="seconds")
            for ask in part.asks:
                errors = await self._ask(client, part, ask)
                part.asked += 1
                part.errors += errors
                if self.stopped or self.unread or any(map(_is_final, errors)):
                    return
            if self.examples and isinstance(client, Client) and part.answers.unverified:
                await self._decide(client, part)
            part.ended = not part.errors

    async def _ask(self, client: Client | Folder, part: Part, ask: Ask) -> list[DcmflowError]:
        """Ask, one by one where a list is not understood; returns what failed."""
        if not ask.singles:
            return await self._request(client, part, ask, Counter())
        heard: Counter[str] = Counter()
        errors: list[DcmflowError] = []
        if self._lists:
            errors = await self._request(client, part, ask, heard)
            if self.stopped or self.unread or any(map(_is_final, errors)):
                return errors
            if not errors and len(heard) > 1:
                return []  # it knows lists, and has nothing of the others
            self._lists = not errors
        failed: list[DcmflowError] = []
        for single in ask.singles:
            if single.uid in heard and not errors:
                continue
            failed += await self._request(client, part, single, Counter())
            if self.stopped or self.unread or any(map(_is_final, failed)):
                break
        return failed

    async def _request(
        self, client: Client | Folder, part: Part, ask: Ask, heard: Counter[str]
    ) -> list[DcmflowError]:
        """One request; `heard` counts answers by what they are about."""
        try:
            async with client.find(self._node, ask.query, verify=False) as found:
                try:
                    async for record in found:
                        if ask.contradicts(record):
                            part.answers.received += 1
                            part.answers.mismatched.put(record, ask.about)
                            continue
                        heard[record.text(ask.key)] += 1
                        if self._keep(part, record) and self._is_enough(part):
                            break
                except BrokenPipeError:
                    self.unread = True
                finally:
                    part.problems += found.problems
        except DcmflowError as error:
            return [error]
        return []

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
        kept = (node.record() if node is not None else record).at(self.level)
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


def _is_final(error: DcmflowError) -> bool:
    """The node does not answer: the rest would take as many timeouts."""
    return isinstance(error, NetworkError) and not isinstance(error, AssociationAborted)
