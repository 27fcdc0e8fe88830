"""Which associations a pool has and who waits for them: kept here, decided by `choosing`; nothing is awaited."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from time import monotonic
from typing import Final, final

from dcmflow.net.breaker import Breaker
from dcmflow.net.choosing import Opening, choose, offer
from dcmflow.net.context_memory import ContextMemory
from dcmflow.net.contexts import Wanted
from dcmflow.net.pooled_association import PooledAssociation
from dcmflow.net.waiter import Waiter

MODEST: Final = 60.0

Planned = Opening[PooledAssociation, Waiter]


@final
class Roster:
    """Of one pool.

    Attributes:
        limit: associations at most.
        associations: those that there are.
        opening: what is proposed on those that are on their way; nothing: somebody's own.
        waiters: who waits, the first one first.
        upcoming: say what will be wanted soon.

    Args:
        start: opens an association, in a task.
    """

    def __init__(
        self, limit: int, breaker: Breaker, memory: ContextMemory, start: Callable[[Planned], None]
    ) -> None:
        self.limit = limit
        self.associations: list[PooledAssociation] = []
        self.opening: list[tuple[Wanted, ...]] = []
        self.waiters: list[Waiter] = []
        self.upcoming: list[Callable[[], Iterable[Wanted]]] = []
        self._breaker = breaker
        self._memory = memory
        self._start = start
        self._modest = (0.0, 0)  # until when, and how many
        self._turn = 0

    # -- who has what

    def take(self, wanted: Wanted) -> PooledAssociation | None:
        """An idle association that has the context; it is the caller's then."""
        for pooled in self.associations:
            if not pooled.busy and wanted in pooled.contexts:
                pooled.busy = True
                return pooled
        return None

    def free(self, pooled: PooledAssociation) -> None:
        """It is used no more."""
        if not pooled.association.usable:
            self.drop(pooled)
            return
        if self.waiters and self.waiters[0].wanted in pooled.contexts:  # as `choose` would, but quickly
            self._give(self.waiters[0], pooled)
            return
        pooled.busy = False
        pooled.since = monotonic()
        if self.waiters:
            self.assign()

    def drop(self, pooled: PooledAssociation) -> None:
        """End it at once."""
        pooled.association.abort()
        if pooled in self.associations:
            self.associations.remove(pooled)
            self.assign()

    # -- who waits

    def wait(self, wanted: Wanted | None, *, patient: bool = False) -> Waiter:
        """Somebody begins to wait; None: for one of his own."""
        waiter = Waiter(wanted, self._turn)
        waiter.patient = patient
        self.waiters.append(waiter)
        self.assign()
        return waiter

    def leave(self, waiter: Waiter) -> None:
        """He does not wait any longer, and does not take what he has just been given."""
        if waiter in self.waiters:
            self.waiters.remove(waiter)
        elif waiter.given is not None:
            self.free(waiter.given)
        elif waiter.error is None:
            if waiter.replaced is not None:
                waiter.replaced.association.abort()
            self.own_failed()

    def tell(self, waiter: Waiter, error: Exception) -> None:
        """There is none for him."""
        waiter.error = error
        self._decided(waiter)

    def assign(self) -> None:
        """See what can be done for those who wait."""
        waiters = self.waiters
        if waiters and not self.associations and self._breaker.holds:
            waiters = [waiter for waiter in waiters if waiter.wanted is None]
        if not waiters:
            return
        choice = choose(
            self.associations, self.opening, self._most(), waiters, turn=self._turn, likely=self._likely
        )
        for waiter, pooled in choice.given:
            self._give(waiter, pooled)
        for opening in choice.opened:
            if opening.instead_of is not None:
                self.associations.remove(opening.instead_of)
            self.opening.append(opening.contexts)
            if opening.demand.wanted is None:
                opening.demand.replaced = opening.instead_of
                self._decided(opening.demand)
            else:
                self._start(opening)

    def _likely(self) -> Iterator[Wanted]:
        yield from self._soon()
        yield from self._memory.recent()

    def _soon(self) -> Iterator[Wanted]:
        every = chain(*(upcoming() for upcoming in self.upcoming))
        return (wanted for wanted in every if not self._memory.refuses(wanted))

    def _give(self, waiter: Waiter, pooled: PooledAssociation) -> None:
        pooled.busy = True
        waiter.given = pooled
        self._turn += 1
        self._decided(waiter)

    def _decided(self, waiter: Waiter) -> None:
        self.waiters.remove(waiter)
        waiter.decided.set()

    # -- how many

    def _most(self) -> int:
        until, few = self._modest
        return min(few, self.limit) if few and monotonic() < until else self.limit

    def be_modest(self) -> None:
        """Make do with what is there, for a while."""
        self._modest = (monotonic() + MODEST, max(1, len(self.associations)))

    def add(self, pooled: PooledAssociation) -> None:
        """One more is there."""
        self.associations.append(pooled)
        self._modest = (self._modest[0], max(self._modest[1], len(self.associations)))

    def own_opened(self, pooled: PooledAssociation) -> None:
        """Somebody has opened one of his own: so the peer is there, and others who wait may have more."""
        self.opening.remove(())
        self.associations.append(pooled)
        self.assign()

    def own_failed(self) -> None:
        """Somebody could not, or did not want to any more."""
        self.opening.remove(())
        self.assign()

    def with_newcomers(self, contexts: tuple[Wanted, ...]) -> tuple[Wanted, ...]:
        """What is being opened proposes what is waited for by now, before what else may come."""
        more = offer(contexts[:1], (waiter.wanted for waiter in self.waiters), self._soon(), contexts)
        self.opening[self.opening.index(contexts)] = more
        return more

    def stuck(self, seconds: float) -> list[Waiter]:
        """Who has waited that long, while all associations are somebody's own and were all the time."""
        now = monotonic()
        if self.opening or not all(one.own and now - one.since >= seconds for one in self.associations):
            return []
        if not self.associations:  # then they wait for the next attempt
            return []
        return [waiter for waiter in self.waiters if not waiter.patient and now - waiter.begun >= seconds]
