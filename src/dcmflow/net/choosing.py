"""Who gets which association of a pool, what is opened and what is closed for that: decided from plain values, nothing is awaited.

A waiter wants one presentation context. In this order it gets

1. an idle association that has the context;
2. what is being opened with the context already, when it comes;
3. another association, while there are fewer than the limit;
4. an idle association without the context, opened again with what it had and what is wanted now;
5. whichever becomes free and has the context.

So an association that becomes free goes to the first waiter whose context it has: instances are grouped by context, and few
associations are opened. Somebody who has waited for `TURNS` others goes first, whatever is free. As long as there is no
association at all only one is opened: it says whether the peer is there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import chain, islice
from typing import Final, Generic, NamedTuple, TypeVar

from dcmflow.net.contexts import MOST, Wanted

TURNS: Final = 32


class Place:
    """An association of a pool.

    Attributes:
        contexts: what was accepted on it.
        busy: somebody has it.
    """

    __slots__ = ("busy", "contexts")

    def __init__(self, contexts: Collection[Wanted], *, busy: bool = False) -> None:
        self.contexts = contexts
        self.busy: bool = busy


class Waiter:
    """Somebody who waits for an association.

    Attributes:
        wanted: the presentation context that it has to have; None: one of its own, with contexts that are not for others.
        since: how many had been given one when this one came.
    """

    __slots__ = ("since", "wanted")

    def __init__(self, wanted: Wanted | None, since: int = 0) -> None:
        self.wanted: Wanted | None = wanted
        self.since: int = since


P = TypeVar("P", bound=Place)
W = TypeVar("W", bound=Waiter)


class Opening(NamedTuple, Generic[P, W]):
    """An association to be opened.

    Attributes:
        waiter: whom it is for; anybody may get it unless this one wants one of its own.
        contexts: what is proposed.
        instead_of: is closed first.
    """

    waiter: W
    contexts: tuple[Wanted, ...]
    instead_of: P | None = None


class Choice(NamedTuple, Generic[P, W]):
    """What is to be done."""

    given: list[tuple[W, P]]
    opened: list[Opening[P, W]]


def choose(
    places: Sequence[P],
    opening: Sequence[Collection[Wanted]],
    limit: int,
    waiters: Sequence[W],
    *,
    turn: int = 0,
    recent: Iterable[Wanted] = (),
) -> Choice[P, W]:
    """What is done for those who wait.

    Args:
        places: the associations that there are; of several that will do, the first is taken.
        opening: what is proposed on those that are on their way.
        limit: how many there may be, with those on their way.
        waiters: who came first is first.
        turn: how many have been given one so far.
        recent: what was used lately, the latest first: is proposed, too, as room is left.
    """
    room = (limit if places else min(limit, 1)) - len(places) - len(opening)
    idle = [place for place in places if not place.busy]
    coming = list(opening)
    given: list[tuple[W, P]] = []
    unmet: list[W] = []
    claimed: list[P] = []
    for waiter in waiters:
        if not idle and room <= len(unmet) - len(claimed):
            break
        if (place := _having(idle, waiter.wanted)) is not None:
            idle.remove(place)
            given.append((waiter, place))
        elif (on_its_way := _proposing(coming, waiter.wanted)) is not None:
            coming.remove(on_its_way)
        else:
            unmet.append(waiter)
            if idle and room <= 0 and turn - waiter.since > TURNS:
                claimed.append(idle.pop())
    opened: list[Opening[P, W]] = []
    spare = claimed + idle
    for waiter in unmet:
        replaced = None
        if room > 0:
            room -= 1
        elif spare:
            replaced = spare.pop(0)
        else:
            break
        contexts = _contexts(waiter, waiters, replaced, recent) if waiter.wanted is not None else ()
        opened.append(Opening(waiter, contexts, replaced))
    return Choice(given, opened)


def _contexts(
    waiter: Waiter, waiters: Iterable[Waiter], replaced: Place | None, recent: Iterable[Wanted]
) -> tuple[Wanted, ...]:
    """What is waited for, what the one had that is replaced, what was used lately."""
    before = replaced.contexts if replaced is not None else ()
    return offer((waiter.wanted,), (other.wanted for other in waiters), before, recent)


def offer(*wanted: Iterable[Wanted | None]) -> tuple[Wanted, ...]:
    """What a new association proposes: each once, at most 128."""
    every = (one for one in chain(*wanted) if one is not None)
    return tuple(islice(dict.fromkeys(every), MOST))


def _having(idle: Iterable[P], wanted: Wanted | None) -> P | None:
    for place in idle:
        if wanted in place.contexts:
            return place
    return None


def _proposing(coming: Iterable[Collection[Wanted]], wanted: Wanted | None) -> Collection[Wanted] | None:
    for contexts in coming:
        if wanted in contexts:
            return contexts
    return None
