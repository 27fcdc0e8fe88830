"""Who gets which association, with plain values."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dcmflow.net.choosing import TURNS, Candidate, Choice, Demand, choose
from dcmflow.net.contexts import MOST, Wanted

A, B, C = (("1.2.840.10008.5.1.4.1.1." + number, "1.2.840.10008.1.2") for number in "247")

Outcome = Choice[Candidate, Demand]


def idle(*contexts: Wanted) -> Candidate:
    return Candidate(set(contexts))


def busy(*contexts: Wanted) -> Candidate:
    return Candidate(set(contexts), busy=True)


def waiting(*wanted: Wanted | None, since: int = 0) -> list[Demand]:
    return [Demand(each, since) for each in wanted]


def proposed(choice: Outcome) -> list[set[Wanted]]:
    return [set(opening.contexts) for opening in choice.opened]


def replaced(choice: Outcome) -> list[Candidate | None]:
    return [opening.instead_of for opening in choice.opened]


def test_nobody_waits() -> None:
    assert choose([idle(A)], [], 2, []) == ([], [])


def test_an_idle_one_that_has_the_context() -> None:
    candidates, demands = [busy(A), idle(B), idle(A)], waiting(A)
    assert choose(candidates, [], 9, demands) == ([(demands[0], candidates[2])], [])


def test_a_busy_one_is_nobodys() -> None:
    assert choose([busy(A)], [], 1, waiting(A)) == ([], [])


def test_below_the_limit_another_is_opened_and_the_idle_one_stays() -> None:
    choice: Outcome = choose([idle(A)], [], 2, waiting(B))
    assert (choice.given, proposed(choice), replaced(choice)) == ([], [{B}], [None])


def test_the_first_one_alone() -> None:
    choice = choose([], [], 4, waiting(A, B, C))
    assert proposed(choice) == [{A, B, C}]
    assert choose([], [(A, B, C)], 4, waiting(A, B, C)) == ([], [])


def test_then_as_many_as_wait() -> None:
    candidates, demands = [idle(A)], waiting(A, A, A)
    choice = choose(candidates, [], 4, demands)
    assert choice.given == [(demands[0], candidates[0])]
    assert len(choice.opened) == 2
    assert len(choose([busy(A)], [], 2, waiting(A, A, A)).opened) == 1


def test_what_is_on_its_way_is_waited_for_once() -> None:
    assert choose([busy(A)], [(A,)], 4, waiting(A)) == ([], [])
    assert len(choose([busy(A)], [(A,)], 4, waiting(A, A)).opened) == 1
    assert proposed(choose([busy(A)], [(A,)], 4, waiting(B))) == [{B}]
    assert choose([busy(A)], [(A,)], 2, waiting(B)) == ([], [])


def test_at_the_limit_an_idle_one_is_opened_again_with_what_it_had() -> None:
    candidates = [busy(A), idle(B)]
    choice = choose(candidates, [], 2, waiting(C))
    assert proposed(choice) == [{B, C}]
    assert replaced(choice) == [candidates[1]]


def test_it_is_not_if_a_later_one_has_use_for_it() -> None:
    candidates, demands = [idle(A)], waiting(B, A)
    assert choose(candidates, [], 1, demands) == ([(demands[1], candidates[0])], [])


def test_unless_somebody_has_waited_long() -> None:
    candidates, demands = [idle(A)], [*waiting(B), *waiting(A, since=TURNS)]
    assert choose(candidates, [], 1, demands, turn=TURNS).given == [(demands[1], candidates[0])]
    choice = choose(candidates, [], 1, demands, turn=TURNS + 1)
    assert (choice.given, proposed(choice), replaced(choice)) == ([], [{A, B}], candidates)


def test_who_has_waited_long_and_whose_association_is_on_its_way_goes_on_waiting() -> None:
    candidates, demands = [idle(A)], [*waiting(B), *waiting(A, since=TURNS)]
    assert choose(candidates, [(B,)], 2, demands, turn=TURNS + 1).given == [(demands[1], candidates[0])]


def test_what_was_used_lately_as_room_is_left() -> None:
    many = [(f"1.2.3.{number}", "1.2.840.10008.1.2") for number in range(300)]
    [opening] = choose([], [], 1, waiting(A, B), likely=lambda: [C, A, *many]).opened
    assert opening.contexts[:3] == (A, B, C)
    assert len(opening.contexts) == MOST
    [opening] = choose([], [], 1, waiting(*many), likely=lambda: [C]).opened
    assert opening.contexts == tuple(many[:MOST])


def test_what_else_may_come_goes_before_what_it_had() -> None:
    [opening] = choose([idle(C)], [], 1, waiting(A), likely=lambda: [B]).opened
    assert opening.contexts == (A, B, C)


def test_who_wants_one_of_his_own_gets_room() -> None:
    candidates, demands = [idle(A)], waiting(None)
    [opening] = choose(candidates, [], 2, demands, likely=lambda: [A]).opened
    assert opening == (demands[0], (), None)
    [opening] = choose(candidates, [], 1, demands).opened
    assert opening == (demands[0], (), candidates[0])
    assert choose([busy(A)], [], 1, demands) == ([], [])


PAIRS = st.sampled_from([A, B, C])


@given(
    st.lists(st.builds(Candidate, st.frozensets(PAIRS), busy=st.booleans()), max_size=5),
    st.lists(st.lists(PAIRS, max_size=3, unique=True).map(tuple), max_size=3),
    st.integers(1, 6),
    st.lists(st.builds(Demand, PAIRS | st.none(), st.integers(0, 40)), max_size=6),
    st.integers(40, 80),
)
def test_whatever_there_is(
    candidates: list[Candidate], opening: list[Any], limit: int, demands: list[Demand], turn: int
) -> None:
    given, opened = choose(candidates, opening, limit, demands, turn=turn)
    served = [demand for demand, _ in given] + [each.demand for each in opened]
    taken = [candidate for _, candidate in given]
    closed = [each.instead_of for each in opened if each.instead_of is not None]
    assert len({id(demand) for demand in served}) == len(served)
    assert len({id(candidate) for candidate in taken + closed}) == len(taken + closed)
    assert not any(candidate.busy for candidate in taken + closed)
    assert all(demand.wanted in candidate.contexts for demand, candidate in given)
    assert all(each.demand.wanted in each.contexts for each in opened if each.demand.wanted is not None)
    more = len(opened) - len(closed)
    assert more <= max(0, limit - len(candidates) - len(opening))
    if not candidates:
        assert len(opened) + len(opening) <= max(1, len(opening))
    # nobody waits in front of an idle association that is right, unless it is closed for somebody who has waited long
    free = [
        candidate
        for candidate in candidates
        if not candidate.busy and candidate not in taken and candidate not in closed
    ]
    left = [demand for demand in demands if demand not in served]
    assert not any(demand.wanted in candidate.contexts for demand in left for candidate in free)
