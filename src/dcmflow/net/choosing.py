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

from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import chain, islice
from typing import Final, Generic, NamedTuple, TypeVar

from dcmflow.net.contexts import MOST, Wanted

TURNS: Final = 32


class Candidate:
    """An association that somebody may get.

    Attributes:
        contexts: what was accepted on it.
        busy: somebody has it.
    """

    __slots__ = ("busy", "contexts")

    def __init__(self, contexts: Collection[Wanted], *, busy: bool = False) -> None:
        self.contexts: Collection[Wanted] = contexts
        self.busy: bool = busy


class Demand:
    """What somebody waits for.

    Attributes:
        wanted: the presentation context that it has to have; None: an association of one's own,
            with contexts that are not for others.
        since: how many had been given an association when this came.
    """

    __slots__ = ("since", "wanted")

    def __init__(self, wanted: Wanted | None, since: int = 0) -> None:
        self.wanted: Wanted | None = wanted
        self.since: int = since


C = TypeVar("C", bound=Candidate)
D = TypeVar("D", bound=Demand)


class Opening(NamedTuple, Generic[C, D]):
    """An association to be opened.

    Attributes:
        demand: what it is for; anybody may get it unless that is an association of one's own.
        contexts: what is proposed.
        instead_of: is closed first.
    """

    demand: D
    contexts: tuple[Wanted, ...]
    instead_of: C | None = None


class Choice(NamedTuple, Generic[C, D]):
    """What is to be done."""

    given: list[tuple[D, C]]
    opened: list[Opening[C, D]]


def choose(
    candidates: Sequence[C],
    opening: Sequence[Collection[Wanted]],
    limit: int,
    demands: Sequence[D],
    *,
    turn: int = 0,
    likely: Callable[[], Iterable[Wanted]] = tuple,
) -> Choice[C, D]:
    """What is done for those who wait.

    Args:
        candidates: the associations that there are; of several that will do, the first is taken.
        opening: what is proposed on those that are on their way.
        limit: how many there may be, with those on their way.
        demands: who came first is first.
        turn: how many have been given one so far.
        likely: says what else may come, the likeliest first: is proposed, too, as room is left.
    """
    room = (limit if candidates else min(limit, 1)) - len(candidates) - len(opening)
    idle = [candidate for candidate in candidates if not candidate.busy]
    coming = list(opening)
    given: list[tuple[D, C]] = []
    unmet: list[D] = []
    claimed: list[C] = []
    for demand in demands:
        if not idle and room <= len(unmet) - len(claimed):
            break
        if (candidate := _having(idle, demand.wanted)) is not None:
            idle.remove(candidate)
            given.append((demand, candidate))
        elif (on_its_way := _proposing(coming, demand.wanted)) is not None:
            coming.remove(on_its_way)
        else:
            unmet.append(demand)
            if idle and room <= 0 and turn - demand.since > TURNS:
                claimed.append(idle.pop())
    opened: list[Opening[C, D]] = []
    spare = claimed + idle
    for demand in unmet:
        replaced = None
        if room > 0:
            room -= 1
        elif spare:
            replaced = spare.pop(0)
        else:
            break
        contexts = _contexts(demand, demands, replaced, likely()) if demand.wanted is not None else ()
        opened.append(Opening(demand, contexts, replaced))
    return Choice(given, opened)


def _contexts(
    demand: Demand, demands: Iterable[Demand], replaced: Candidate | None, likely: Iterable[Wanted]
) -> tuple[Wanted, ...]:
    """What is waited for, what else may come, what the one had that is replaced."""
    before = replaced.contexts if replaced is not None else ()
    return offer((demand.wanted,), (other.wanted for other in demands), likely, before)


def offer(*wanted: Iterable[Wanted | None]) -> tuple[Wanted, ...]:
    """What a new association proposes: each once, at most 128."""
    every = (one for one in chain(*wanted) if one is not None)
    return tuple(islice(dict.fromkeys(every), MOST))


def _having(idle: Iterable[C], wanted: Wanted | None) -> C | None:
    for candidate in idle:
        if wanted in candidate.contexts:
            return candidate
    return None


def _proposing(coming: Iterable[Collection[Wanted]], wanted: Wanted | None) -> Collection[Wanted] | None:
    for contexts in coming:
        if wanted in contexts:
            return contexts
    return None
