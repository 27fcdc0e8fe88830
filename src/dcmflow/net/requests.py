"""Requests with many responses: C-FIND, C-MOVE and C-GET (PS3.7 9.1.2 to 9.1.4), and calling them off."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, final

import anyio

from dcmflow.errors import NetworkError, ProtocolError, RemoteProtocolError
from dcmflow.net import reasons
from dcmflow.net.entity import Answer
from dcmflow.net.operations import status_of
from dcmflow.protocol.command import CommandSet, Field, c_cancel_rq, response
from dcmflow.protocol.events import Command, Data, Message
from dcmflow.status import Status

if TYPE_CHECKING:
    from dcmflow.net.association import Association
    from dcmflow.net.received import Received
    from dcmflow.net.reception import Reception
    from dcmflow.protocol.negotiation import AcceptedContext

PATIENCE: Final = 1.5  # seconds that a peer has to answer a C-CANCEL before the association is aborted

Store = Callable[["Received"], Awaitable[Answer]]


@final
class Request:
    """A request that is under way.

    Attributes:
        status: that of the final response; None until then.
        comment: its Error Comment.
    """

    def __init__(self, association: Association, context: AcceptedContext, message_id: int) -> None:
        self._association = association
        self._context = context
        self._message_id = message_id
        self._owed: tuple[int, CommandSet] | None = None  # a sub-operation that was not answered yet
        self.status: Status | None = None
        self.comment: str = ""

    async def response(self, *, store: Store | None = None, reception: Reception | None = None) -> Received:
        """The next response; the last one sets `status`.

        Args:
            store: takes the sub-operations of a C-GET that come in between (PS3.7 9.1.3.3).
            reception: what takes in their data sets.

        Raises:
            NetworkError, RemoteProtocolError: there was none.
        """
        association = self._association
        while True:
            received = await association.receive(reception=reception)
            if received is None:
                raise reasons.released(association.peer)
            command = received.command
            if command.is_response and command.message_id_responded == self._message_id:
                status = status_of(command)
                if status.category != "pending":
                    self.status, self.comment = status, command.error_comment or ""
                return received
            if store is not None and command.field == Field.C_STORE_RQ:
                context_id = received.context.id
                self._owed = context_id, command
                answer = await store(received)
                del received  # or its data set would stay while the next one comes
                if reception is not None:
                    reception.done()
                comment = answer.comment[:64] or None  # PS3.7 C.5: at most 64 characters
                await association.respond(context_id, response(command, answer.status, error_comment=comment))
                self._owed = None
            elif not command.is_response:
                association.abort()
                raise RemoteProtocolError(
                    f"{association.peer} sent a request ({command.field:04X}H) where a response was due"
                )

    async def cancel(self) -> None:
        """C-CANCEL, and take in what still comes for it; whoever does not answer that soon is aborted."""
        if self.status is not None:
            return
        association = self._association
        if association.writing:  # interrupted in the middle of a message: nothing can follow
            association.abort()
            return
        with anyio.CancelScope(shield=True), anyio.move_on_after(PATIENCE):
            try:
                await association.send(Message(self._context.id, c_cancel_rq(self._message_id)))
                if self._owed is not None:  # until then the peer does nothing else
                    context_id, command = self._owed
                    await association.respond(context_id, response(command, Status.OUT_OF_RESOURCES))
                await self._read_out(association)
            except (NetworkError, ProtocolError):
                return
        if self.status is None:
            association.abort()

    async def _read_out(self, association: Association) -> None:
        pending: CommandSet | None = None  # whose data set is being read
        context_id = 0
        while self.status is None:
            event = await association.event(PATIENCE)
            if isinstance(event, Command):
                pending, context_id = event.command, event.context_id
            elif not isinstance(event, Data):
                return
            ended = event.last if isinstance(event, Data) else not event.command.has_data
            if not ended or pending is None:
                continue
            if pending.field == Field.C_STORE_RQ:
                await association.respond(context_id, response(pending, Status.OUT_OF_RESOURCES))
            elif pending.is_response and pending.message_id_responded == self._message_id:
                status = status_of(pending)
                self.status = None if status.category == "pending" else status


@asynccontextmanager
async def request(
    association: Association,
    context: AcceptedContext,
    command: Callable[[int], CommandSet],
    identifier: bytes,
    *,
    message_id: int | None = None,
) -> AsyncIterator[Request]:
    """Send a request; in the block its responses are read. Leaving it earlier calls the operation off.

    Args:
        command: makes the command set of a message id.
        identifier: the encoded data set.
        message_id: None: the next one of the association.

    Raises:
        NetworkError: it could not be sent.
    """
    message_id = association.next_message_id() if message_id is None else message_id
    made = Request(association, context, message_id)
    await association.send(Message(context.id, command(message_id), [identifier]))
    try:
        yield made
    finally:
        if association.usable:
            await made.cancel()
