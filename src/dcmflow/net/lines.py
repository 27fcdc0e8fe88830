"""What a pool holds: its associations, and those who wait for one."""

from __future__ import annotations

from math import inf
from time import monotonic
from typing import final

import anyio

from dcmflow.errors import NetworkError, ProtocolError
from dcmflow.net.association import Association
from dcmflow.net.choosing import Place, Waiter
from dcmflow.net.contexts import Wanted


@final
class Line(Place):
    """An association of the pool.

    Attributes:
        answered: how often it has been of use.
        since: when it became idle.
    """

    __slots__ = ("answered", "association", "since")

    def __init__(self, association: Association, contexts: frozenset[Wanted], *, busy: bool = False) -> None:
        super().__init__(contexts, busy=busy)
        self.association: Association = association
        self.answered: int = 0
        self.since: float = monotonic()


@final
class Waiting(Waiter):
    """Somebody who waits for an association of the pool.

    Attributes:
        came: it was decided: one of the following, or room for an association of one's own.
        line: what was given.
        error: why nothing was.
        replaced: is to be closed before one of one's own is opened.
    """

    __slots__ = ("came", "error", "line", "replaced")

    def __init__(self, wanted: Wanted | None, since: int) -> None:
        super().__init__(wanted, since)
        self.came: anyio.Event = anyio.Event()
        self.line: Line | None = None
        self.error: Exception | None = None
        self.replaced: Line | None = None


async def listen(association: Association) -> None:
    """Take in what the peer sends unasked: a release, an abort, the end of the connection."""
    try:
        received = await association.receive(timeout=inf)
    except (NetworkError, ProtocolError):
        return
    if received is not None:
        association.abort()
