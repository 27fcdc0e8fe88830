"""Presentation contexts come from the data at hand."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dcmflow.net.contexts import MOST, Wanted, batches, propose
from dcmflow.protocol.items import ProposedContext

CT, MR, PRIVATE = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.3.12.2.1107.5.9.1"
IMPLICIT, EXPLICIT, JPEG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.50"

PAIRS = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)).map(lambda pair: tuple(map(str, pair))))


def test_one_context_for_each_pair() -> None:
    assert propose([(CT, EXPLICIT), (CT, JPEG), (CT, EXPLICIT), (PRIVATE, "1.2.3")]) == [
        ProposedContext(1, CT, (EXPLICIT,)),
        ProposedContext(3, CT, (JPEG,)),
        ProposedContext(5, PRIVATE, ("1.2.3",)),
    ]


def test_what_came_recently_follows_as_room_is_left() -> None:
    wanted: list[Wanted] = [(CT, str(number)) for number in range(MOST - 1)]
    contexts = propose(wanted, [wanted[0], (MR, IMPLICIT), (MR, EXPLICIT)])
    assert len(contexts) == MOST
    assert contexts[-1] == ProposedContext(255, MR, (IMPLICIT,))


def test_nothing_is_wanted() -> None:
    assert propose([]) == []
    assert list(batches([])) == []


@given(PAIRS, PAIRS)
def test_ids_are_those_that_there_are(wanted: list[Wanted], recent: list[Wanted]) -> None:
    contexts = propose(wanted, recent)
    assert [context.id for context in contexts] == list(range(1, 256, 2))[: len(contexts)]
    proposed = [(context.abstract_syntax, *context.transfer_syntaxes) for context in contexts]
    assert len(set(proposed)) == len(proposed) == min(MOST, len({*wanted, *recent}))
    assert set(proposed) >= set(wanted) or len(set(wanted)) > MOST


@given(PAIRS)
def test_batches_hold_every_pair_once(wanted: list[Wanted]) -> None:
    found = list(batches(wanted))
    assert [pair for batch in found for pair in batch] == list(dict.fromkeys(wanted))
    assert all(len(batch) == MOST for batch in found[:-1])
    assert all(propose(batch) for batch in found)


def test_more_than_an_association_holds() -> None:
    wanted = [(CT, str(number)) for number in range(300)]
    assert [len(batch) for batch in batches(wanted)] == [128, 128, 44]
