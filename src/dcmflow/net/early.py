"""What is done with a data set of a C-STORE while it still arrives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, Protocol, final

from dcmflow.protocol.command import CommandSet, Field
from dcmflow.protocol.negotiation import AcceptedContext

if TYPE_CHECKING:
    from dcmflow.dicom.instance import Instance
    from dcmflow.net.association import Association

ENOUGH: Final = 128 * 1024  # bytes from which on something is gained
LEAD: Final = 8 * 1024  # of which so many are shown: the UIDs are among the first elements
NEVER: Final = 1 << 62


class Start(Protocol):
    """Something that was begun with a data set that is not whole."""

    def feed(self, data: bytearray) -> int:
        """More has arrived: `data` is what there is, from the beginning on; no view of it may be left when this returns.

        Returns:
            from what size on it is to be called again; 0: it has come to nothing.
        """

    async def finish(self, instance: Instance) -> None:
        """The data set is whole; do the rest."""

    def abandon(self) -> None:
        """The data set will not become whole, or is not wanted; nothing happens where all has been done."""


Begin = Callable[["Association", AcceptedContext, CommandSet, bytes], Sequence[Start]]


@final
class Early:
    """For one association.

    Args:
        begin: says what to begin with.

    Attributes:
        starts: what was begun with the data set that is arriving.
        wanted: the size from which on it is to be fed.
    """

    __slots__ = ("_association", "_begin", "_request", "_slow", "starts", "wanted")

    def __init__(self, association: Association, begin: Begin) -> None:
        self._association = association
        self._begin = begin
        self._request: tuple[AcceptedContext, CommandSet] | None = None
        self._slow = False
        self.starts: Sequence[Start] = ()
        self.wanted: int = NEVER

    def begin(self, context: AcceptedContext, command: CommandSet) -> None:
        """A data set begins that will not come in one stretch."""
        if command.field == Field.C_STORE_RQ and not self._slow:
            self._request = context, command
            self.wanted = ENOUGH

    def feed(self, data: bytearray) -> None:
        """So much of it is there."""
        if self._request is not None:
            context, command = self._request
            self._request = None
            self.starts = self._begin(self._association, context, command, bytes(data[:LEAD]))
        self.wanted = NEVER
        for start in self.starts:
            wanted = start.feed(data)
            if wanted:
                self.wanted = min(self.wanted, wanted)
            else:
                self._slow = True  # this sender takes too long; he is not waited for again

    def end(self) -> None:
        """What has not been finished will not be."""
        self._request = None
        self.wanted = NEVER
        starts, self.starts = self.starts, ()
        for start in starts:
            start.abandon()
