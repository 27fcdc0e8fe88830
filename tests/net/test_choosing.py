"""Who gets which association, with plain values."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dcmflow.net.choosing import TURNS, Choice, Place, Waiter, choose
from dcmflow.net.contexts import MOST, Wanted

A, B, C = (("1.2.840.10008.5.1.4.1.1." + number, "1.2.840.10008.1.2") for number in "247")

Outcome = Choice[Place, Waiter]


def idle(*contexts: Wanted) -> Place:
    return Place(set(contexts))


def busy(*contexts: Wanted) -> Place:
    return Place(set(contexts), busy=True)


def waiting(*wanted: Wanted | None, since: int = 0) -> list[Waiter]:
    return [Waiter(each, since) for each in wanted]


def proposed(choice: Outcome) -> list[set[Wanted]]:
    return [set(opening.contexts) for opening in choice.opened]


def replaced(choice: Outcome) -> list[Place | None]:
    return [opening.instead_of for opening in choice.opened]


def test_nobody_waits() -> None:
    assert choose([idle(A)], [], 2, []) == ([], [])


def test_an_idle_one_that_has_the_context() -> None:
    places, waiters = [busy(A), idle(B), idle(A)], waiting(A)
    assert choose(places, [], 9, waiters) == ([(waiters[0], places[2])], [])


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
    places, waiters = [idle(A)], waiting(A, A, A)
    choice = choose(places, [], 4, waiters)
    assert choice.given == [(waiters[0], places[0])]
    assert len(choice.opened) == 2
    assert len(choose([busy(A)], [], 2, waiting(A, A, A)).opened) == 1


def test_what_is_on_its_way_is_waited_for_once() -> None:
    assert choose([busy(A)], [(A,)], 4, waiting(A)) == ([], [])
    assert len(choose([busy(A)], [(A,)], 4, waiting(A, A)).opened) == 1
    assert proposed(choose([busy(A)], [(A,)], 4, waiting(B))) == [{B}]
    assert choose([busy(A)], [(A,)], 2, waiting(B)) == ([], [])


def test_at_the_limit_an_idle_one_is_opened_again_with_what_it_had() -> None:
    places = [busy(A), idle(B)]
    choice = choose(places, [], 2, waiting(C))
    assert proposed(choice) == [{B, C}]
    assert replaced(choice) == [places[1]]


def test_it_is_not_if_a_later_one_has_use_for_it() -> None:
    places, waiters = [idle(A)], waiting(B, A)
    assert choose(places, [], 1, waiters) == ([(waiters[1], places[0])], [])


def test_unless_somebody_has_waited_long() -> None:
    places, waiters = [idle(A)], [*waiting(B), *waiting(A, since=TURNS)]
    assert choose(places, [], 1, waiters, turn=TURNS).given == [(waiters[1], places[0])]
    choice = choose(places, [], 1, waiters, turn=TURNS + 1)
    assert (choice.given, proposed(choice), replaced(choice)) == ([], [{A, B}], places)


def test_who_has_waited_long_and_whose_association_is_on_its_way_goes_on_waiting() -> None:
    places, waiters = [idle(A)], [*waiting(B), *waiting(A, since=TURNS)]
    assert choose(places, [(B,)], 2, waiters, turn=TURNS + 1).given == [(waiters[1], places[0])]


def test_what_was_used_lately_as_room_is_left() -> None:
    many = [(f"1.2.3.{number}", "1.2.840.10008.1.2") for number in range(300)]
    [opening] = choose([], [], 1, waiting(A, B), recent=[C, A, *many]).opened
    assert opening.contexts[:3] == (A, B, C)
    assert len(opening.contexts) == MOST
    [opening] = choose([], [], 1, waiting(*many), recent=[C]).opened
    assert opening.contexts == tuple(many[:MOST])


def test_who_wants_one_of_his_own_gets_room() -> None:
    places, waiters = [idle(A)], waiting(None)
    [opening] = choose(places, [], 2, waiters, recent=[A]).opened
    assert opening == (waiters[0], (), None)
    [opening] = choose(places, [], 1, waiters).opened
    assert opening == (waiters[0], (), places[0])
    assert choose([busy(A)], [], 1, waiters) == ([], [])


PAIRS = st.sampled_from([A, B, C])


@given(
    st.lists(st.builds(Place, st.frozensets(PAIRS), busy=st.booleans()), max_size=5),
    st.lists(st.lists(PAIRS, max_size=3, unique=True).map(tuple), max_size=3),
    st.integers(1, 6),
    st.lists(st.builds(Waiter, PAIRS | st.none(), st.integers(0, 40)), max_size=6),
    st.integers(40, 80),
)
def test_whatever_there_is(
    places: list[Place], opening: list[Any], limit: int, waiters: list[Waiter], turn: int
) -> None:
    given, opened = choose(places, opening, limit, waiters, turn=turn)
    served = [waiter for waiter, _ in given] + [each.waiter for each in opened]
    taken = [place for _, place in given]
    closed = [each.instead_of for each in opened if each.instead_of is not None]
    assert len({id(waiter) for waiter in served}) == len(served)
    assert len({id(place) for place in taken + closed}) == len(taken + closed)
    assert not any(place.busy for place in taken + closed)
    assert all(waiter.wanted in place.contexts for waiter, place in given)
    assert all(each.waiter.wanted in each.contexts for each in opened if each.waiter.wanted is not None)
    more = len(opened) - len(closed)
    assert more <= max(0, limit - len(places) - len(opening))
    if not places:
        assert len(opened) + len(opening) <= max(1, len(opening))
    # nobody waits in front of an idle association that is right, unless it is closed for somebody who has waited long
    free = [place for place in places if not place.busy and place not in taken and place not in closed]
    left = [waiter for waiter in waiters if waiter not in served]
    assert not any(waiter.wanted in place.contexts for waiter in left for place in free)
