"""Opens the associations of a pool.

In tasks of the pool, so that whoever waits may be served by another one that becomes free meanwhile, and an association that does
not come holds nobody up: many peers serve one at a time and leave others unanswered. When others work and a further one is rejected
or does not come within `FURTHER` seconds, the pool makes do with what it has; after `SLOW` seconds already, idle ones that lack
what is wanted make way. Only when none can be had at all are those who wait told so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

import anyio
from anyio.abc import TaskGroup

from dcmflow.net import reasons
from dcmflow.net.association import Association
from dcmflow.net.breaker import Breaker
from dcmflow.net.connect import connect
from dcmflow.net.context_memory import ContextMemory
from dcmflow.net.contexts import Wanted, propose
from dcmflow.net.node import Node
from dcmflow.net.pooled_association import PooledAssociation
from dcmflow.net.roster import Planned, Roster
from dcmflow.net.watch import Watch

FURTHER: Final = 3.0
SLOW: Final = 0.5


@final
class Opener:
    """For one pool, while it lives.

    Args:
        notice: is told, in words, what an operator should know.
    """

    def __init__(
        self,
        node: Node,
        calling_ae: str,
        *,
        roster: Roster,
        breaker: Breaker,
        memory: ContextMemory,
        watch: Watch,
        tasks: TaskGroup,
        releases: TaskGroup,
        notice: Callable[[str], None],
    ) -> None:
        self._node = node
        self._calling_ae = calling_ae
        self._roster = roster
        self._breaker = breaker
        self._memory = memory
        self._watch = watch
        self._tasks = tasks
        self._releases = releases
        self._notice = notice

    async def open(self, opening: Planned) -> None:
        """Open one and give it to who waits, or tell those who wait."""
        roster, contexts = self._roster, opening.contexts
        association = failure = None
        decided = anyio.Event()
        try:
            if opening.instead_of is not None:
                await opening.instead_of.release()
            contexts = roster.with_newcomers(contexts)
            with anyio.CancelScope() as attempt:
                self._tasks.start_soon(self._oversee, attempt, decided)
                association = await connect(
                    self._node, propose(contexts), calling_ae=self._calling_ae, watch=self._watch
                )
        except Exception as error:  # is raised where somebody waits for it
            failure = error
        finally:
            roster.opening.remove(contexts)
            decided.set()
        if association is not None:
            self._opened(association, contexts)
        elif roster.associations:
            roster.be_modest()
        elif failure is not None:
            self._breaker.failed(failure)
            for waiter in [waiter for waiter in roster.waiters if waiter.wanted is not None]:
                roster.tell(waiter, self._breaker.error())
            self._tasks.start_soon(self._after_the_hold)
        roster.assign()

    async def _after_the_hold(self) -> None:
        await anyio.sleep(self._breaker.remaining)
        if self._breaker.holds:  # clocks differ, or there was another attempt
            self._tasks.start_soon(self._after_the_hold)
        else:
            self._roster.assign()

    async def _oversee(self, attempt: anyio.CancelScope, decided: anyio.Event) -> None:
        """While others work and this one does not come, end idle ones: the peer may be waiting for that. Then give it up."""
        roster, waited = self._roster, 0.0
        while True:
            with anyio.move_on_after(SLOW):
                await decided.wait()
                return
            waited = waited + SLOW if roster.associations else 0.0
            if waited >= FURTHER:
                attempt.cancel()
                return
            idle = next((pooled for pooled in roster.associations if not pooled.busy), None)
            if idle is not None and roster.waiters:  # nobody of them has use for it
                roster.associations.remove(idle)
                roster.be_modest()
                await idle.release()

    def _opened(self, association: Association, proposed: tuple[Wanted, ...]) -> None:
        self._breaker.worked()
        accepted = frozenset(
            (context.abstract_syntax, context.transfer_syntax)
            for context in association.contexts.values()
            if context.as_scu
        )
        refused = self._memory.learn(proposed, accepted, association.refused)
        for waiter in list(self._roster.waiters):
            if (wanted := waiter.wanted) is not None and wanted in refused:
                self._roster.tell(
                    waiter, reasons.no_context(self._node, *wanted, self._memory.result(wanted))
                )
        pooled = PooledAssociation(association, accepted, notice=self._notice)
        if accepted:
            self._roster.add(pooled)
        else:
            self._releases.start_soon(pooled.release)
