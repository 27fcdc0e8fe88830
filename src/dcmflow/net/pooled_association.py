"""An association of a pool."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from time import monotonic
from typing import final

from dcmflow.errors import NetworkError, ProtocolError
from dcmflow.net.association import Association
from dcmflow.net.choosing import Candidate
from dcmflow.net.contexts import Wanted


@final
class PooledAssociation(Candidate):
    """An association, and what its pool knows of it.

    Attributes:
        answered: how often it has been of use.
        since: when it was opened or, not busy, when it became idle.

    Args:
        contexts: what was accepted on it; empty where it is somebody's own.
        notice: is told, in words, when it ends by an error that is none of the network.
    """

    __slots__ = ("_notice", "answered", "association", "since")

    def __init__(
        self,
        association: Association,
        contexts: frozenset[Wanted],
        *,
        notice: Callable[[str], None],
        busy: bool = False,
    ) -> None:
        super().__init__(contexts, busy=busy)
        self._notice = notice
        self.association: Association = association
        self.answered: int = 0
        self.since: float = monotonic()

    @property
    def own(self) -> bool:
        """It is one that somebody has for himself."""
        return not self.contexts

    async def notice_end(self) -> None:
        """Take in what the peer sends unasked: a release, an abort, the end of the connection. Anything else ends it."""
        try:
            received = await self.association.receive(timeout=inf)
        except (NetworkError, ProtocolError):
            return
        except Exception as error:  # one peer's nonsense is not to end the pool
            self._broken(error)
            return
        if received is not None:
            self.association.abort()

    async def release(self) -> None:
        """End it in good order; whatever goes wrong with that, it has ended afterwards."""
        try:
            await self.association.release()
        except Exception as error:
            self._broken(error)

    def _broken(self, error: Exception) -> None:
        self.association.abort()
        self._notice(
            f"the association with {self.association.peer} was aborted: {type(error).__name__}: {error}"
        )
