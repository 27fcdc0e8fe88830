"""A pool of associations with one node: a few of them, kept warm, for many instances.

`choosing` decides who gets which association and `roster` keeps the books, `opener` opens associations; this is what its users
call and what waits. Whether it is worth calling the node says `breaker`, what it accepts `context_memory`.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar, final

import anyio
from anyio.abc import TaskGroup

from dcmflow.errors import (
    AssociationAborted,
    DatasetError,
    LocalProtocolError,
    NetworkTimeout,
    NoAcceptedContext,
)
from dcmflow.net import operations, reasons
from dcmflow.net.association import Association
from dcmflow.net.async_block import AsyncBlock
from dcmflow.net.breaker import Breaker
from dcmflow.net.connect import connect
from dcmflow.net.context_memory import ContextMemory
from dcmflow.net.contexts import Wanted
from dcmflow.net.entity import Answer
from dcmflow.net.head_start import HeadStart
from dcmflow.net.node import Node
from dcmflow.net.opener import Opener
from dcmflow.net.pooled_association import PooledAssociation
from dcmflow.net.roster import Planned, Roster
from dcmflow.net.storage import VERIFICATION
from dcmflow.net.waiter import Waiter
from dcmflow.net.watch import Watch
from dcmflow.protocol.items import ProposedContext, UserInformation
from dcmflow.status import Status

if TYPE_CHECKING:
    from dcmflow.dicom.instance import Instance

T = TypeVar("T")

GOODBYE: Final = 5.0  # seconds for all releases together when the pool is left
TICK: Final = 1.0  # seconds between two looks at idle associations
_ECHO: Final = (VERIFICATION, "1.2.840.10008.1.2")
_UNSENT: Final = (DatasetError, NoAcceptedContext, LocalProtocolError)  # raised before anything is written


class _Share(NamedTuple):
    associations: int
    patience: float
    most: int | None


@final
class Pool(AsyncBlock):
    """`async with Pool(node, calling_ae="DCMFLOW") as pool: await pool.store(instance)`.

    Leaving the block releases the associations, for at most `GOODBYE` seconds; cancelled, it aborts them.

    Args:
        node: the peer.
        calling_ae: who we are.
        limit: associations at most; None: as many as the node is said to take. See `share`.
        patience: seconds after which a node that cannot be reached counts as down. Until then the errors that say so are transient,
            as far as they can be; later they are not: whoever tries again on transient errors would wait for each of ten
            thousand instances. An attempt a second goes on, so that a node that comes back is noticed.
        notice: is told, in words, what an operator should know; without it the log of Python is.
    """

    def __init__(
        self,
        node: Node,
        *,
        calling_ae: str,
        limit: int | None = None,
        patience: float = 5.0,
        notice: Callable[[str], None] | None = None,
    ) -> None:
        self.node = node
        self.calling_ae = calling_ae
        self._alone = _Share(node.max_associations if limit is None else limit, patience, None)
        self._shares: list[_Share] = []
        self._notice = notice or logging.getLogger(__name__).warning
        self._memory = ContextMemory()
        self._breaker = Breaker(patience)
        self._roster = Roster(self._alone.associations, self._breaker, self._memory, self._open)
        self._used = monotonic()
        self._starts: set[HeadStart] = set()
        self._alive = False
        self._releases: TaskGroup
        self._work: TaskGroup
        self._watch: Watch
        self._opener: Opener

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

    def begin(self, instance: Instance) -> HeadStart | None:
        """Begin to C-STORE an instance that is still arriving; None: not now.

        Nothing is begun while an association is in use: then the peer has something to do already, and nothing would be gained.

        Args:
            instance: with what has arrived of it.
        """
        roster, wanted = self._roster, (instance.sop_class_uid, instance.transfer_syntax_uid)
        if not self._alive or roster.waiters or any(pooled.busy for pooled in roster.associations):
            return None
        if (pooled := roster.take(wanted)) is None:
            return None
        try:
            context, command = operations.store_request(pooled.association, instance)
            message = pooled.association.begin(context.id, command)
        except _UNSENT:
            message = None
        if message is None or not message.possible:
            roster.free(pooled)
            return None
        self._memory.use(wanted)
        start = HeadStart(roster, pooled, message, command, self._starts.discard)
        self._starts.add(start)
        return start

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
        roster, again = self._roster, False
        while True:
            pooled = roster.take(wanted) or await self._wait_for(wanted)
            self._memory.use(wanted)
            try:
                answer = await operation(pooled.association)
            except AssociationAborted:
                roster.drop(pooled)
                if again or not pooled.answered:
                    raise
                again = True
                self._distrust_idle()
            except _UNSENT:
                roster.free(pooled)
                raise
            except BaseException:
                roster.drop(pooled)
                raise
            else:
                pooled.answered += 1
                roster.free(pooled)
                return answer

    @asynccontextmanager
    async def associate(
        self,
        contexts: Sequence[ProposedContext],
        user: UserInformation | None = None,
        *,
        patient: bool = False,
    ) -> AsyncIterator[Association]:
        """An association of one's own, with these contexts, counted as one of those that the pool may have.

        Leaving the block releases it, an exception aborts it. Who waits for an association while all are in such blocks is told so
        after the `connect` timeout of the node.

        Args:
            user: further user information, such as roles.
            patient: wait however long it takes.

        Raises:
            NetworkError, RemoteProtocolError: it did not come about.
        """
        waiter = await self._wait(None, patient=patient)
        try:
            if waiter.replaced is not None:
                await waiter.replaced.release()
            association = await connect(
                self.node, contexts, calling_ae=self.calling_ae, watch=self._watch, user=user
            )
        except BaseException:
            self._roster.own_failed()
            raise
        pooled = PooledAssociation(association, frozenset(), notice=self._notice, busy=True)
        self._roster.own_opened(pooled)
        try:
            yield association
            await association.release()
        finally:
            self._roster.drop(pooled)

    @contextmanager
    def share(
        self,
        associations: int,
        *,
        patience: float = 0.0,
        most: int | None = None,
        upcoming: Callable[[], Iterable[Wanted]] = tuple,
    ) -> Iterator[None]:
        """In the block, that many associations more are allowed: for several who use one pool.

        Args:
            patience: the longest of all counts.
            most: associations at most, of all who share it; the smallest counts.
            upcoming: says which presentation contexts will be wanted soon, the next one first.
        """
        share = _Share(associations, patience, most)
        self._shares.append(share)
        self._roster.upcoming.append(upcoming)
        self._add_up()
        try:
            yield
        finally:
            self._shares.remove(share)
            self._roster.upcoming.remove(upcoming)
            self._add_up()

    def _add_up(self) -> None:
        shares = [self._alone, *self._shares]
        most = [share.most for share in shares if share.most is not None]
        self._roster.limit = min([sum(share.associations for share in shares), *most])
        self._breaker.patience = max(share.patience for share in shares)

    @property
    def limit(self) -> int:
        """Associations that it may have at once."""
        return self._roster.limit

    def __len__(self) -> int:
        return len(self._roster.associations)

    @property
    def unused(self) -> float:
        """Seconds for which nobody has used it and it has had no association."""
        if self._roster.associations or self._roster.opening or self._roster.waiters:
            self._used = monotonic()
        return monotonic() - self._used

    # -- waiting

    async def _wait_for(self, wanted: Wanted) -> PooledAssociation:
        if self._memory.refuses(wanted):
            raise reasons.no_context(self.node, *wanted, self._memory.result(wanted))
        if self._breaker.holds and self._breaker.hopeless and not self._roster.associations:
            raise self._breaker.error()
        pooled = (await self._wait(wanted)).given
        assert pooled is not None
        return pooled

    async def _wait(self, wanted: Wanted | None, *, patient: bool = False) -> Waiter:
        if not self._alive:
            raise RuntimeError("a pool is used in its block: async with Pool(node, calling_ae=...) as pool")
        self._used = monotonic()
        waiter = self._roster.wait(wanted, patient=patient)
        try:
            await waiter.decided.wait()
        except BaseException:
            self._roster.leave(waiter)
            raise
        if waiter.error is not None:
            raise waiter.error
        return waiter

    def _open(self, opening: Planned) -> None:
        self._work.start_soon(self._opener.open, opening)

    # -- while it lives

    @asynccontextmanager
    async def _live(self) -> AsyncIterator[None]:
        if self._alive:
            raise RuntimeError(f"the pool of associations with {self.node} is in use in another block")
        roster = self._roster
        try:
            async with Watch() as self._watch, anyio.create_task_group() as self._releases:
                async with anyio.create_task_group() as self._work:
                    self._opener = Opener(
                        self.node,
                        self.calling_ae,
                        roster=roster,
                        breaker=self._breaker,
                        memory=self._memory,
                        watch=self._watch,
                        tasks=self._work,
                        releases=self._releases,
                        notice=self._notice,
                    )
                    self._work.start_soon(self._look_after_idle)
                    self._alive = True
                    try:
                        yield
                    finally:
                        self._leave()
                    self._work.cancel_scope.cancel()
                if anyio.current_effective_deadline() > anyio.current_time():
                    await self._release_all()
                self._releases.cancel_scope.cancel()
        finally:
            for pooled in roster.associations:
                pooled.association.abort()
            roster.associations.clear()

    def _leave(self) -> None:
        self._alive = False
        for waiter in list(self._roster.waiters):
            self._roster.tell(waiter, RuntimeError(f"the pool of associations with {self.node} was left"))

    async def _release_all(self) -> None:
        with anyio.move_on_after(GOODBYE):
            async with anyio.create_task_group() as releases:
                for pooled in self._roster.associations:
                    releases.start_soon(pooled.release)

    def _distrust_idle(self) -> None:
        """One has ended unnoticed: so may the others have."""
        for pooled in [pooled for pooled in self._roster.associations if not pooled.busy]:
            self._end(pooled)

    def _end(self, pooled: PooledAssociation) -> None:
        self._roster.associations.remove(pooled)
        self._releases.start_soon(pooled.release)

    async def _look_after_idle(self) -> None:
        """End those that were not used for long, and see whether the peer has ended others."""
        longest = 0.9 * float(self.node.timeouts.idle)
        while True:
            await anyio.sleep(TICK)
            for pooled in list(self._roster.associations):
                unused = monotonic() - pooled.since
                if pooled.busy or unused < TICK or pooled not in self._roster.associations:
                    continue
                if unused >= longest:
                    self._end(pooled)
                else:
                    await self._look_at(pooled)
            for start in list(self._starts):
                start.look()
            self._tell_the_stuck()

    async def _look_at(self, pooled: PooledAssociation) -> None:
        pooled.busy, since = True, pooled.since
        with anyio.move_on_after(0):
            await pooled.notice_end()
        self._roster.free(pooled)
        pooled.since = since

    def _tell_the_stuck(self) -> None:
        seconds = float(self.node.timeouts.connect)
        for waiter in self._roster.stuck(seconds):
            error = NetworkTimeout(
                f"waited {seconds:g} s for one of the {len(self)} associations with {self.node}: all are in `associate` "
                "blocks; use those, leave one of the blocks, or let the node have more (max_associations)"
            )
            self._roster.tell(waiter, error)
