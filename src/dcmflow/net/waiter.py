"""Somebody who waits for an association of a pool."""

from __future__ import annotations

from time import monotonic
from typing import final

import anyio

from dcmflow.net.choosing import Demand
from dcmflow.net.contexts import Wanted
from dcmflow.net.pooled_association import PooledAssociation


@final
class Waiter(Demand):
    """Somebody who waits.

    Attributes:
        begun: when.
        decided: it was: one of the following, or room for an association of one's own.
        given: the association.
        error: why there is none.
        replaced: is to be closed before one of one's own is opened.
        patient: waits however long it takes.
    """

    __slots__ = ("begun", "decided", "error", "given", "patient", "replaced")

    def __init__(self, wanted: Wanted | None, since: int) -> None:
        super().__init__(wanted, since)
        self.begun: float = monotonic()
        self.decided: anyio.Event = anyio.Event()
        self.given: PooledAssociation | None = None
        self.error: Exception | None = None
        self.replaced: PooledAssociation | None = None
        self.patient: bool = False
