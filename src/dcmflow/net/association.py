"""An established association, either side: DIMSE messages over a connection and a transport.

Everything here waits; what decides is in `protocol`. One task at a time may receive, one at a time may send.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NoReturn, final

import anyio
from anyio.lowlevel import checkpoint

from dcmflow.errors import (
    AssociationAborted,
    LocalProtocolError,
    NetworkError,
    NetworkTimeout,
    Refused,
    RemoteProtocolError,
)
from dcmflow.net import reasons
from dcmflow.net.farewell import last_words, linger
from dcmflow.net.node import Timeouts
from dcmflow.net.outgoing import Outgoing
from dcmflow.net.received import Received
from dcmflow.net.reception import ODDMENTS, Reception
from dcmflow.protocol.begun import Begun
from dcmflow.protocol.command import CommandSet, Field, encode_command
from dcmflow.protocol.connection import Connection
from dcmflow.protocol.events import Closed, Command, Data, Event, Message
from dcmflow.protocol.fragment import LITTLE
from dcmflow.protocol.negotiation import AcceptedContext
from dcmflow.protocol.pdu import Abort, AssociateReject, Pdu, ReleaseReply, ReleaseRequest
from dcmflow.protocol.state import State

if TYPE_CHECKING:
    from dcmflow.dicom.payload import Payload
    from dcmflow.net.desk import Desk
    from dcmflow.net.transport import Transport
    from dcmflow.net.watch import Watch
    from dcmflow.protocol.fragment import Buffer

PROGRESS: Final = 4096  # bytes of a data set that must come within a `dimse` timeout
TURN: Final = 32  # events that need no waiting before others get a turn


@final
class Association:
    """One association.

    Attributes:
        peer: who is at the other end, for messages: `PACS@10.0.0.5:104`.
        contexts: the accepted presentation contexts by id.
        refused: those that were not, by SOP Class and transfer syntax, with the result (PS3.8 table 9-18).
        extended: what the peer answered to extended negotiation, by SOP Class (PS3.7 D.3.3.5).
        calling_ae, called_ae: as they were requested.
        address: the peer's host.
        dimse: seconds that the peer has for the next message of an operation.
        scope: what is done on it by an acceptor.
        desk: knows what an acceptor has asked others to send to this title.
    """

    def __init__(
        self,
        connection: Connection,
        transport: Transport,
        watch: Watch,
        *,
        peer: str,
        timeouts: Timeouts,
        calling_ae: str = "",
        called_ae: str = "",
    ) -> None:
        self._connection = connection
        self._transport = transport
        self._watch = watch
        self._timeouts = timeouts
        self._message_id = 0
        self._heard = False
        self._idle = False
        self._turns = 0
        self._armed = 0.0  # seconds that the current wait may take
        self.scope: anyio.CancelScope = anyio.CancelScope()
        self.peer: str = peer
        self.calling_ae: str = calling_ae
        self.called_ae: str = called_ae
        self.address: str = transport.address[0]
        self.contexts: Mapping[int, AcceptedContext] = {}
        self.refused: Mapping[tuple[str, str], int] = {}
        self.extended: Mapping[str, bytes] = {}
        self._by_syntax: dict[tuple[str, str], AcceptedContext] = {}
        self.dimse: float = float(timeouts.dimse)
        self.desk: Desk | None = None

    def agree(
        self, contexts: Mapping[int, AcceptedContext], refused: Mapping[tuple[str, str], int] | None = None
    ) -> None:
        """These presentation contexts were accepted, and those refused."""
        self.contexts = contexts
        self.refused = refused or {}
        for context in contexts.values():
            self._by_syntax.setdefault((context.abstract_syntax, context.transfer_syntax), context)

    def context(self, sop_class: str, transfer_syntax: str) -> AcceptedContext | None:
        """The accepted presentation context for a SOP Class and transfer syntax."""
        return self._by_syntax.get((sop_class, transfer_syntax))

    @property
    def usable(self) -> bool:
        """Messages can be exchanged."""
        return self._connection.state is State.STA6 and not self._transport.closed

    @property
    def writing(self) -> bool:
        """Something is half written, by whoever was interrupted: nothing more can be said but an abort."""
        return self._transport.unfinished

    @property
    def maximum_length(self) -> int:
        """What the peer takes in one P-DATA-TF PDU, in bytes; 0: any."""
        return self._connection.peer_maximum_length

    def next_message_id(self) -> int:
        """1 to 65535, then from 1 again."""
        self._message_id = self._message_id % 0xFFFF + 1
        return self._message_id

    # -- messages

    async def send(self, message: Message) -> None:
        """Write a message.

        Raises:
            NetworkError: the connection is lost, or nothing could be written for `dimse` seconds.
            LocalProtocolError: there is no such presentation context, or the association has ended.
        """
        connection, data = self._connection, message.data
        if not data or not 0 < connection.peer_maximum_length < LITTLE:
            await self._write(connection.send(message), self.dimse)
            return
        for portion in connection.send_in_portions(message.context_id, message.command, data):
            await self._write(portion, self.dimse)
            await checkpoint()

    def begin(self, context_id: int, command: CommandSet) -> Outgoing:
        """Begin a message before its data set is whole. Raises LocalProtocolError: it cannot be sent."""
        self._connection.send(Message(context_id, command, []))
        begun = Begun(context_id, encode_command(command), self.maximum_length)
        return Outgoing(begun, self._transport, self._write)

    async def respond(
        self, context_id: int, command: CommandSet, data: Sequence[Buffer] | None = None
    ) -> None:
        """Write a response."""
        await self.send(Message(context_id, command, data))

    async def receive(
        self, *, timeout: float | None = None, reception: Reception | None = None, idle: bool = False
    ) -> Received | None:
        """Wait for the next message with its data set; None when the peer has released the association.

        Args:
            timeout: seconds until its first byte; None: the `dimse` timeout. Then it must go on within that.
            reception: what takes in data sets; None: memory.
            idle: nothing has been asked for: the peer may well have nothing to say.

        Raises:
            Idle: that was so for too long; the association was aborted.
            NetworkTimeout: it did not come in time; the association was aborted.
            AssociationAborted: the peer aborted, or is gone.
            RemoteProtocolError: the peer broke the protocol; the association was aborted.
        """
        self._idle = idle
        event = await self.event(self.dimse if timeout is None else timeout)
        self._idle = False
        if type(event) is Command:
            self._heard = True
            context = self.contexts[event.context_id]
            command = event.command
            payload = refusal = None
            if command.has_data:
                try:
                    payload = await self._data(reception or Reception(), context, command)
                except Refused as error:
                    refusal = error
            self._transport.deadline = math.inf  # nothing is awaited any more
            return Received(context, command, payload, refusal)
        if isinstance(event, ReleaseRequest):
            await self._released()
            return None
        raise await self._unexpected(event)

    async def _data(self, reception: Reception, context: AcceptedContext, command: CommandSet) -> Payload:
        """The data set that follows a command. Raises Refused: there is no room for it."""
        event = await self._stretch(None)
        whole = event.last
        if whole:
            return reception.whole(event.data)
        self.allow(self.dimse)
        reception.begin(context, command)
        try:
            while not reception.add(event.data):
                if whole:
                    return reception.in_memory()
                event = await self._stretch(reception)
                whole = event.last
            if command.field != Field.C_STORE_RQ:
                await self._throw_away(reception, whole)
            return await self._spill(reception, whole)
        except BaseException:
            reception.discard()
            raise

    async def _spill(self, reception: Reception, whole: bool) -> Payload:
        """Go on in a file, which is written beside."""
        failure: Exception | None = None
        async with anyio.create_task_group() as tasks:
            await tasks.start(reception.write_blocks)
            try:
                await reception.hand_over()
                while not whole:
                    event = await self._stretch(reception)
                    whole = event.last
                    if reception.add(event.data):
                        self._transport.deadline = math.inf  # the disk may take its time
                        await reception.hand_over()
                self._transport.deadline = math.inf
                await reception.finish()
            except Exception as error:
                failure = error
                tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure
        return reception.in_file()

    async def _throw_away(self, reception: Reception, whole: bool) -> NoReturn:
        """Read what is left of a data set that is not kept."""
        reception.discard()
        while not whole:
            event = await self._stretch(reception)
            reception.progress += len(event.data)
            whole = event.last
        raise Refused(f"a data set of more than {ODDMENTS >> 20} MiB is taken with C-STORE only")

    async def _stretch(self, reception: Reception | None) -> Data:
        """The next stretch of a data set; it must come on at a rate."""
        event = await self.event(self.dimse, reception)
        if type(event) is not Data:
            raise await self._unexpected(event)
        return event

    def hurry(self, seconds: float) -> None:
        """While the next message is awaited: wait only that much longer."""
        if self._idle and anyio.current_time() + seconds < self._transport.deadline:
            self.allow(seconds)

    @property
    def _unheard(self) -> bool:
        """We asked for this association, and nothing has come on it yet."""
        return self._connection.role == "requestor" and not self._heard

    # -- the end

    async def release(self) -> None:
        """End it in good order (A-RELEASE); whatever goes wrong with that, it has ended afterwards."""
        if not self.usable:
            self.close()
            return
        self.allow(float(self._timeouts.acse))  # for all of it
        try:
            await self._write(self._connection.send(ReleaseRequest()), None)
            while True:
                event = await self.event(None)
                if isinstance(event, ReleaseReply | Abort | Closed):
                    if self._connection.state is State.STA12:  # PS3.8: collision, at the acceptor
                        await self._write(self._connection.send(ReleaseReply()), None)
                    break
                if isinstance(event, ReleaseRequest) and self._connection.state is State.STA9:  # a collision
                    await self._write(self._connection.send(ReleaseReply()), None)
        except (NetworkError, RemoteProtocolError, OSError):
            self.abort()
        finally:
            self.close()

    async def _released(self) -> None:
        with suppress(NetworkError):
            await self._write(self._connection.send(ReleaseReply()), float(self._timeouts.acse))
            await linger(self._connection, self._transport)
        self.close()

    def abort(self, source: int = 0, reason: int = 0) -> None:
        """End it at once (A-ABORT), without waiting."""
        if not self._transport.closed:
            with suppress(LocalProtocolError):
                self._transport.write_now(self._connection.send(Abort(source, reason)))
        self.close()

    def close(self) -> None:
        """Close the transport connection; nothing is said to the peer."""
        self._watch.remove(self._transport)
        self._transport.close()
        self._connection.closed()

    # -- bytes

    def allow(self, seconds: float) -> None:
        """The current wait may take that much longer."""
        self._transport.deadline = anyio.current_time() + seconds
        self._armed = seconds

    async def event(self, seconds: float | None, reception: Reception | None = None) -> Event:
        """The next event, reading as often as it takes; for who does not want whole messages.

        Args:
            seconds: for it to come; while a data set is taken in, for enough of it to come; None: what is left of those
                that were given before.
        """
        connection, transport = self._connection, self._transport
        self._turns += 1
        if self._turns > TURN:  # a stretch may have thousands of them
            self._turns = 0
            await checkpoint()
        try:
            event = connection.next_event()
            if event is not None:
                return event
            if seconds is not None and (
                reception is None or reception.progress >= PROGRESS or transport.deadline == math.inf
            ):
                self.allow(seconds)
                if reception is not None:
                    reception.progress = 0
            while True:
                count = await transport.read_into(connection.receive_buffer())
                if not count and transport.expired:
                    raise self._late()
                connection.received(count)
                event = connection.next_event()
                if event is not None:
                    return event
                await checkpoint()  # a buffer full of empty fragments is much work for nothing
        except RemoteProtocolError as error:
            raise await self._violation(error) from None
        except OSError as error:
            self.close()
            raise reasons.lost(self.peer, error) from error

    async def _write(self, buffers: Sequence[Buffer], seconds: float | None) -> None:
        transport = self._transport
        try:
            await transport.write(buffers, seconds)
        except OSError as error:
            if transport.expired:
                self.abort()
                waited = self._armed if seconds is None else seconds
                raise reasons.timed_out(self.peer, "room to send", waited) from None
            failure = await last_words(self._connection, transport, self.peer, error)
            self.close()
            raise failure from error

    def _late(self) -> NetworkTimeout:
        idle = self._idle and not self._connection.receiving
        self.abort()
        if idle:
            return reasons.idle(self.peer, self._armed)
        return reasons.timed_out(self.peer, "the next message", self._armed)

    async def _violation(self, error: RemoteProtocolError) -> RemoteProtocolError:
        with suppress(OSError):
            self._transport.write_now(self._connection.to_write())
        await linger(self._connection, self._transport)
        self.close()
        return RemoteProtocolError(f"{self.peer} broke the protocol: {error}; the association was aborted")

    async def _unexpected(self, event: Event | Pdu) -> NetworkError | RemoteProtocolError:
        """The error for an event that ends an association, or that has no place here."""
        if isinstance(event, Abort):
            self.close()
            return reasons.aborted(self.peer, event, calling_ae=self.calling_ae, first=self._unheard)
        if isinstance(event, Closed):
            self.close()
            return reasons.lost(self.peer, None, calling_ae=self.calling_ae, first=self._unheard)
        if isinstance(event, ReleaseRequest):
            await self._released()
            return AssociationAborted(
                f"{self.peer} released the association in the middle of a message", source=0, reason=0
            )
        assert not isinstance(event, AssociateReject)
        self.abort()
        return RemoteProtocolError(f"{self.peer} sent {type(event).__name__} where a message was due")
