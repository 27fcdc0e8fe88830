"""Sends an instance on while it still arrives.

An association of the pool that is idle takes it, and nobody waits: neither he who takes the instance in, for room to write, nor
others, longer than `HOLD`, for the association. What comes of it is kept until whoever is to store the instance asks. Where
nothing comes of it, the instance is sent like any other; then this has cost an association.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Final, final

from dcmflow.errors import AssociationAborted, DcmflowError
from dcmflow.net import operations

if TYPE_CHECKING:
    from dcmflow.dicom.instance import Instance
    from dcmflow.net.entity import Answer
    from dcmflow.net.outgoing import Outgoing
    from dcmflow.net.pooled_association import PooledAssociation
    from dcmflow.net.roster import Roster
    from dcmflow.protocol.command import CommandSet

HOLD: Final = 1.0  # seconds for an instance to arrive: others may be waiting for the association
RATE: Final = 10_000_000  # bytes a second at which a large one may take longer


@final
class HeadStart:
    """One instance on one association; made by `Pool.begin`."""

    __slots__ = (
        "_command",
        "_ended",
        "_error",
        "_finished",
        "_message",
        "_pooled",
        "_result",
        "_roster",
        "_size",
        "_until",
    )

    def __init__(
        self,
        roster: Roster,
        pooled: PooledAssociation,
        message: Outgoing,
        command: CommandSet,
        ended: Callable[[HeadStart], None],
    ) -> None:
        self._roster = roster
        self._pooled: PooledAssociation | None = pooled
        self._message = message
        self._command = command
        self._ended = ended
        self._until = monotonic() + HOLD
        self._size = 0
        self._error: Exception | None = None
        self._result: Answer | None = None
        self._finished = False

    def feed(self, data: bytearray) -> int:
        """More has arrived.

        Args:
            data: what there is of the data set, from its beginning on; it goes on behind.

        Returns:
            from what size on something can be written again; 0: it has come to nothing.
        """
        if self._pooled is None:
            return 0
        if monotonic() > self._until + len(data) / RATE:
            self.abandon()
            return 0
        self._size = len(data)
        with suppress(OSError):  # met again when it is finished, where it can be asked why
            self._message.feed(data)
        return self._message.wanted

    async def finish(self, instance: Instance) -> None:
        """The instance is whole: send the rest and wait for the answer."""
        pooled = self._pooled
        if pooled is None:
            return
        self._finished = True
        association = pooled.association
        try:
            await self._message.finish(operations.data_of(instance), association.dimse)
            self._result = await operations.answer(association, self._command)
        except DcmflowError as error:
            # as the pool does: of one that has been of use before, that it has ended is nobody's failure
            if not (isinstance(error, AssociationAborted) and pooled.answered):
                self._error = error.with_traceback(None)  # which holds this frame, and the frame the instance
            self.abandon()
        except BaseException:
            self.abandon()
            raise
        else:
            pooled.answered += 1
            self._pooled = None
            self._ended(self)
            self._roster.free(pooled)

    @property
    def failed(self) -> bool:
        """There is a failure to be told."""
        return self._error is not None

    def result(self) -> Answer | None:
        """What the peer has answered; None: it was not asked. A failure is told once.

        Raises:
            NetworkError, RemoteProtocolError, DatasetError: as `Pool.store`.
        """
        error, self._error = self._error, None
        try:
            if error is not None:
                raise error
        finally:
            del error
        return self._result

    def abandon(self) -> None:
        """Nothing is to come of it any more, unless something has."""
        pooled, self._pooled = self._pooled, None
        if pooled is None:
            return
        self._ended(self)
        if self._message.begun:
            self._roster.drop(pooled)
        else:
            self._roster.free(pooled)

    def look(self) -> None:
        """Abandon it where the instance takes too long to arrive."""
        if not self._finished and monotonic() > self._until + self._size / RATE:
            self.abandon()
