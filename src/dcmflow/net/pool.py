"""A pool of associations with one node: a few of them, kept warm, for many instances.

`choosing` decides, this waits. Associations are opened by tasks of the pool, so that whoever waits may be served by another one
that becomes free meanwhile, and an association that does not come holds nobody up: many peers serve one at a time and leave
others unanswered. When others work and a further one is rejected or does not come within `FURTHER` seconds, the pool makes do
with what it has for `MODEST` seconds; after `SLOW` seconds already, idle ones that lack what is wanted make way. Only when none
can be had at all are those who wait told so (`breaker`). What a peer did not accept is not proposed again for a while (`taken`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Final, TypeVar, final

import anyio
from anyio.abc import TaskGroup

from dcmflow.errors import (
    AssociationAborted,
    DatasetError,
    LocalProtocolError,
    NoAcceptedContext,
)
from dcmflow.net import operations, reasons
from dcmflow.net.association import Association
from dcmflow.net.breaker import Breaker
from dcmflow.net.choosing import Opening, choose, offer
from dcmflow.net.connect import connect
from dcmflow.net.contexts import Wanted, propose
from dcmflow.net.entity import Answer
from dcmflow.net.lines import Line, Waiting, listen
from dcmflow.net.living import Living
from dcmflow.net.node import Node
from dcmflow.net.storage import VERIFICATION
from dcmflow.net.taken import Taken
from dcmflow.net.watch import Watch
from dcmflow.protocol.items import ProposedContext
from dcmflow.status import Status

if TYPE_CHECKING:
    from dcmflow.dicom.instance import Instance

T = TypeVar("T")

FURTHER: Final = 3.0
SLOW: Final = 0.5
MODEST: Final = 60.0
GOODBYE: Final = 5.0  # seconds for all releases together when the pool is left
TICK: Final = 1.0  # seconds between two looks at idle associations
_ECHO: Final = (VERIFICATION, "1.2.840.10008.1.2")
_UNSENT: Final = (DatasetError, NoAcceptedContext, LocalProtocolError)  # raised before anything is written


@final
class Pool(Living):
    """`async with Pool(node, calling_ae="DCMFLOW") as pool: await pool.store(instance)`.

    Leaving the block releases the associations, for at most `GOODBYE` seconds; cancelled, it aborts them.

    Args:
        node: the peer.
        calling_ae: who we are.
        limit: associations at most; None: as many as the node is said to take. See `share`.
        patience: seconds after which a node that cannot be reached counts as down. Until then the errors that say so are transient,
            as far as they can be; later they are not: whoever tries again on transient errors would wait for each of ten
            thousand instances. An attempt a second goes on, so that a node that comes back is noticed.
    """

    def __init__(
        self, node: Node, *, calling_ae: str, limit: int | None = None, patience: float = 5.0
    ) -> None:
        self.node = node
        self.calling_ae = calling_ae
        self.breaker: Breaker = Breaker(patience)
        self._limit = node.max_associations if limit is None else limit
        self._modest = (0.0, 0)  # until when, and how many
        self._lines: list[Line] = []
        self._opening: list[tuple[Wanted, ...]] = []
        self._waiters: list[Waiting] = []
        self._turn = 0
        self._taken = Taken()
        self._releases: TaskGroup
        self._work: TaskGroup
        self._watch: Watch

    # -- what it is for

    async def store(self, instance: Instance) -> Answer:
        """C-STORE an instance as it is encoded; returns the peer's status and comment.

        Raises:
            NoAcceptedContext: the peer does not take this SOP Class in this transfer syntax.
            NetworkError, RemoteProtocolError: no association could be had, or there was no answer.
            DatasetError: the instance cannot be read.
        """
        wanted = (instance.sop_class_uid, instance.transfer_syntax_uid)
        return await self.perform(wanted, lambda association: operations.store(association, instance))

    async def echo(self) -> Status:
        """C-ECHO. Raises NetworkError, RemoteProtocolError."""
        return await self.perform(_ECHO, operations.echo)

    async def perform(self, wanted: Wanted, operation: Callable[[Association], Awaitable[T]]) -> T:
        """Do something on an association that has a presentation context.

        When an association that has been of use before turns out to have ended (peers end idle ones as they like), the operation is
        begun once more, on a fresh one. Cancelled, it leaves no association in the middle of a message: that one is aborted.

        Raises:
            NoAcceptedContext: the peer does not accept the context.
            NetworkError: no association could be had.
            Exception: what the operation raised.
        """
        again = False
        while True:
            line = self._idle_with(wanted) or await self._wait_for(wanted)
            self._taken.use(wanted)
            try:
                answer = await operation(line.association)
            except AssociationAborted:
                self._drop(line)
                if again or not line.answered:
                    raise
                again = True
                self._distrust_idle()
            except _UNSENT:
                self._free(line)
                raise
            except BaseException:
                self._drop(line)
                raise
            else:
                line.answered += 1
                self._free(line)
                return answer

    @asynccontextmanager
    async def associate(self, contexts: Sequence[ProposedContext]) -> AsyncIterator[Association]:
        """An association of one's own, with these contexts, counted as one of those that the pool may have.

        Leaving the block releases it, an exception aborts it.

        Raises:
            NetworkError, RemoteProtocolError: it did not come about.
        """
        waiter = await self._wait(Waiting(None, self._turn))
        try:
            if waiter.replaced is not None:
                await waiter.replaced.association.release()
            association = await connect(self.node, contexts, calling_ae=self.calling_ae, watch=self._watch)
        except BaseException:
            self._not_opened()
            raise
        line = Line(association, frozenset(), busy=True)
        self._opening.remove(())
        self._lines.append(line)
        try:
            yield association
            await association.release()
        finally:
            self._drop(line)

    @contextmanager
    def share(self, associations: int) -> Iterator[None]:
        """In the block, that many associations more are allowed: for several who use one pool."""
        self._limit += associations
        try:
            yield
        finally:
            self._limit -= associations

    def __len__(self) -> int:
        return len(self._lines)

    # -- asking and giving back

    def _idle_with(self, wanted: Wanted) -> Line | None:
        for line in self._lines:
            if not line.busy and wanted in line.contexts:
                line.busy = True
                return line
        return None

    async def _wait_for(self, wanted: Wanted) -> Line:
        if self._taken.refuses(wanted):
            raise reasons.no_context(self.node, *wanted, self._taken.result(wanted))
        if self.breaker.holds and not self._lines:
            raise self.breaker.error()
        line = (await self._wait(Waiting(wanted, self._turn))).line
        assert line is not None
        return line

    async def _wait(self, waiter: Waiting) -> Waiting:
        self._waiters.append(waiter)
        self._assign()
        try:
            await waiter.came.wait()
        except BaseException:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            elif waiter.line is not None:
                self._free(waiter.line)
            elif waiter.error is None:
                if waiter.replaced is not None:
                    waiter.replaced.association.abort()
                self._not_opened()
            raise
        if waiter.error is not None:
            raise waiter.error
        return waiter

    def _not_opened(self) -> None:
        self._opening.remove(())
        self._assign()

    def _free(self, line: Line) -> None:
        if not line.association.usable:
            self._drop(line)
            return
        if self._waiters and self._waiters[0].wanted in line.contexts:  # as `choose` would, but quickly
            self._give(self._waiters[0], line)
            return
        line.busy = False
        line.since = monotonic()
        if self._waiters:
            self._assign()

    def _drop(self, line: Line) -> None:
        line.association.abort()
        if line in self._lines:
            self._lines.remove(line)
            self._assign()

    def _distrust_idle(self) -> None:
        """One has ended unnoticed: so may the others have."""
        for line in [line for line in self._lines if not line.busy]:
            self._drop(line)

    def _assign(self) -> None:
        if not self._waiters:
            return
        until, few = self._modest
        choice = choose(
            self._lines,
            self._opening,
            min(few, self._limit) if few and monotonic() < until else self._limit,
            self._waiters,
            turn=self._turn,
            recent=self._taken.recent(),
        )
        for waiter, line in choice.given:
            self._give(waiter, line)
        for opening in choice.opened:
            if opening.instead_of is not None:
                self._lines.remove(opening.instead_of)
            self._opening.append(opening.contexts)
            if opening.waiter.wanted is None:
                opening.waiter.replaced = opening.instead_of
                self._called(opening.waiter)
            else:
                self._work.start_soon(self._open, opening)

    def _give(self, waiter: Waiting, line: Line) -> None:
        line.busy = True
        waiter.line = line
        self._turn += 1
        self._called(waiter)

    def _called(self, waiter: Waiting, error: Exception | None = None) -> None:
        self._waiters.remove(waiter)
        waiter.error = error
        waiter.came.set()

    # -- opening

    async def _open(self, opening: Opening[Line, Waiting]) -> None:
        contexts = opening.contexts
        association = failure = None
        decided = anyio.Event()
        try:
            if opening.instead_of is not None:
                await opening.instead_of.association.release()
            contexts = self._with_newcomers(contexts)
            with anyio.CancelScope() as attempt:
                self._work.start_soon(self._oversee, attempt, decided)
                association = await connect(
                    self.node, propose(contexts), calling_ae=self.calling_ae, watch=self._watch
                )
        except Exception as error:  # is raised where somebody waits for it
            failure = error
        finally:
            self._opening.remove(contexts)
            decided.set()
        if association is not None:
            self._opened(association, contexts)
        elif self._lines:
            self._be_modest()
        elif failure is not None:
            self.breaker.failed(failure)
            for waiter in [waiter for waiter in self._waiters if waiter.wanted is not None]:
                self._called(waiter, self.breaker.error())
        self._assign()

    async def _oversee(self, attempt: anyio.CancelScope, decided: anyio.Event) -> None:
        """While others work and this one does not come, end idle ones: the peer may be waiting for that. Then give it up."""
        waited = 0.0
        while True:
            with anyio.move_on_after(SLOW):
                await decided.wait()
                return
            waited = waited + SLOW if self._lines else 0.0
            if waited >= FURTHER:
                attempt.cancel()
                return
            idle = next((line for line in self._lines if not line.busy), None)
            if idle is not None and self._waiters:  # nobody of them has use for it
                self._lines.remove(idle)
                self._be_modest()
                await idle.association.release()

    def _with_newcomers(self, contexts: tuple[Wanted, ...]) -> tuple[Wanted, ...]:
        """What is being opened proposes what is waited for by now."""
        more = offer(contexts, (waiter.wanted for waiter in self._waiters))
        self._opening[self._opening.index(contexts)] = more
        return more

    def _be_modest(self) -> None:
        self._modest = (monotonic() + MODEST, max(1, len(self._lines)))

    def _opened(self, association: Association, proposed: tuple[Wanted, ...]) -> None:
        self.breaker.worked()
        accepted = frozenset(
            (context.abstract_syntax, context.transfer_syntax)
            for context in association.contexts.values()
            if context.as_scu
        )
        self._taken.learn(proposed, accepted, association.refused)
        for waiter in list(self._waiters):
            if (wanted := waiter.wanted) is not None and wanted in proposed and wanted not in accepted:
                self._called(waiter, reasons.no_context(self.node, *wanted, self._taken.result(wanted)))
        if accepted:
            self._lines.append(Line(association, accepted))
            self._modest = (self._modest[0], max(self._modest[1], len(self._lines)))
        else:
            self._releases.start_soon(association.release)

    # -- while it lives

    @asynccontextmanager
    async def _live(self) -> AsyncIterator[None]:
        try:
            async with Watch() as self._watch, anyio.create_task_group() as self._releases:
                async with anyio.create_task_group() as self._work:
                    self._work.start_soon(self._look_after_idle)
                    yield
                    self._work.cancel_scope.cancel()
                if anyio.current_effective_deadline() > anyio.current_time():
                    await self._release_all()
                self._releases.cancel_scope.cancel()
        finally:
            for line in self._lines:
                line.association.abort()

    async def _release_all(self) -> None:
        with anyio.move_on_after(GOODBYE):
            async with anyio.create_task_group() as releases:
                for line in self._lines:
                    releases.start_soon(line.association.release)

    async def _look_after_idle(self) -> None:
        """End those that were not used for long, and see whether the peer has ended others."""
        longest = 0.9 * float(self.node.timeouts.idle)
        while True:
            await anyio.sleep(TICK)
            for line in list(self._lines):
                unused = monotonic() - line.since
                if line.busy or unused < TICK or line not in self._lines:
                    continue
                if unused >= longest:
                    self._lines.remove(line)
                    self._releases.start_soon(line.association.release)
                else:
                    await self._listen_to(line)

    async def _listen_to(self, line: Line) -> None:
        line.busy, since = True, line.since
        with anyio.move_on_after(0):
            await listen(line.association)
        self._free(line)
        line.since = since
