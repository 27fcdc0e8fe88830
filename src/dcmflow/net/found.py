"""The answers to a query, for whoever reads them."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final, final

from anyio.streams.memory import MemoryObjectReceiveStream

from dcmflow.dicom.record import Record
from dcmflow.net.arriving import Arriving

if TYPE_CHECKING:
    from dcmflow.net.models import Model

_TOLD: Final = 5  # problems that are told one by one


@final
class Found(Arriving[Record], AsyncIterator[Record]):
    """The answers to a query, as they come.

    Attributes:
        model: the information model that was asked; None until then.
        problems: what was wrong with answers that were left out, in words.
        mismatched: how many answers were left out because they do not match, by key: the peer ignores it.
        unverified: how many were left out because nobody can tell whether they match, by key: the peer does not return it.
        ignoring: the peer has said that it does not support some key (FF01H).
        requests: C-FINDs that were sent.
    """

    def __init__(self, records: MemoryObjectReceiveStream[Record]) -> None:
        super().__init__(records)
        self.model: Model | None = None
        self.problems: list[str] = []
        self.mismatched: Counter[str] = Counter()
        self.unverified: Counter[str] = Counter()
        self.ignoring: bool = False
        self.requests: int = 0

    def __aiter__(self) -> Found:
        return self

    async def __anext__(self) -> Record:
        """The next answer.

        Raises:
            RequestFailed: the peer answered with a failure; what came before is valid.
            NetworkError, RemoteProtocolError: there is no answer, or no more.
        """
        return await self.take()

    def warnings(self) -> list[str]:
        """What a person should know about what was left out, one sentence each."""
        said = [*self.problems[:_TOLD]]
        if len(self.problems) > _TOLD:
            said.append(f"{len(self.problems) - _TOLD} more answers cannot be read")
        for key, count in self.mismatched.items():
            said.append(f"{count} answers do not match {key} and were left out: the server ignores it")
        for key, count in self.unverified.items():
            said.append(
                f"{count} answers cannot be checked for {key}, which the server does not return, and were left out"
            )
        return said
