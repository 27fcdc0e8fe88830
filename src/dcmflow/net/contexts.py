"""Which presentation contexts to propose: from the data at hand, nothing else (PS3.8 7.1.1.13, 9.3.2.2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice

from dcmflow.protocol.items import ProposedContext

Wanted = tuple[str, str]
"""SOP Class UID and transfer syntax UID of what is to be transferred."""

MOST = 128
"""Presentation contexts of an association: their ids are the odd numbers of one byte."""


def propose(wanted: Iterable[Wanted], recent: Iterable[Wanted] = ()) -> list[ProposedContext]:
    """One context for each pair, each pair once: the peer then cannot choose an encoding that the data have not.

    >>> [context.id for context in propose([("1.2", "1.2.840.10008.1.2"), ("1.2", "1.2.840.10008.1.2.1")])]
    [1, 3]

    Args:
        wanted: the first 128 are proposed; see `batches` for more.
        recent: what else may come, as room is left.
    """
    pairs = islice(dict.fromkeys(chain(wanted, recent)), MOST)
    return [
        ProposedContext(2 * number + 1, sop_class, (transfer_syntax,))
        for number, (sop_class, transfer_syntax) in enumerate(pairs)
    ]


def batches(wanted: Iterable[Wanted]) -> Iterator[list[Wanted]]:
    """The pairs, each once, in as few lists of at most 128 as it takes: one association for each."""
    pairs = iter(dict.fromkeys(wanted))
    while batch := list(islice(pairs, MOST)):
        yield batch
