"""One association's upper layer, either side: bytes and events, no socket, no clock.

Bytes go in through `receive_buffer` and `received`, and `next_event` says what they mean; `send` takes an event and returns
the buffers that say it. The states and what each event does in them are the table of `state` (PS3.8 9.2); only the stretch that
carries the traffic, P-DATA in Sta6, goes past it.

Nothing is collected here but what is small and bounded: an association PDU, a command set. A data set passes by as views of
the receive buffer, however long the PDU that announces it. When the peer breaks the protocol, `next_event` raises
RemoteProtocolError once. Then `to_write` has the A-ABORT that the standard asks for, and what follows is ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from mmap import mmap
from struct import Struct
from typing import Final, Literal, NoReturn, final

from dcmflow.errors import LocalProtocolError, RemoteProtocolError
from dcmflow.protocol import pdu
from dcmflow.protocol.command import CommandSet, encode_command
from dcmflow.protocol.decode import decode
from dcmflow.protocol.encode import encode
from dcmflow.protocol.events import Closed, Command, Data, Event, Message
from dcmflow.protocol.fragment import Buffer, Portions, fragments, portions
from dcmflow.protocol.incoming import Incoming
from dcmflow.protocol.items import ContextResult
from dcmflow.protocol.negotiation import agreed
from dcmflow.protocol.pdu import (
    Abort,
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    Pdu,
    ReleaseReply,
    ReleaseRequest,
)
from dcmflow.protocol.state import Action, Input, State, transition

MAXIMUM_LENGTH: Final = 256 * 1024
PDU_LIMIT: Final = 1 << 20  # of an association PDU; 128 contexts with 40 transfer syntaxes each are 360 KB
SLACK: Final = 4096  # some peers count the heads of PDU and PDV into the maximum length, some do not
BUFFER: Final = 256 * 1024
SMALL_BUFFER: Final = 16 * 1024  # until there is an association

UNRECOGNIZED_PDU, UNEXPECTED_PDU, INVALID_PARAMETER = 1, 2, 6  # PS3.8 table 9-26

_ANY: Final = 0xFFFF_FFFF  # no P-DATA-TF is longer

_PDU_HEAD: Final = Struct(">BxI")
_PDV_HEAD: Final = Struct(">IBB")

_RECEIVED: Final = {
    pdu.ASSOCIATE_RQ: Input.ASSOCIATE_RQ_PDU,
    pdu.ASSOCIATE_AC: Input.ASSOCIATE_AC_PDU,
    pdu.ASSOCIATE_RJ: Input.ASSOCIATE_RJ_PDU,
    pdu.P_DATA_TF: Input.P_DATA_PDU,
    pdu.RELEASE_RQ: Input.RELEASE_RQ_PDU,
    pdu.RELEASE_RP: Input.RELEASE_RP_PDU,
    pdu.ABORT: Input.ABORT_PDU,
}
_PRIMITIVE: Final[dict[type, Input]] = {
    AssociateRequest: Input.ASSOCIATE_REQUEST_PRIMITIVE,
    AssociateAccept: Input.ASSOCIATE_ACCEPT_PRIMITIVE,
    AssociateReject: Input.ASSOCIATE_REJECT_PRIMITIVE,
    Message: Input.P_DATA_PRIMITIVE,
    ReleaseRequest: Input.RELEASE_REQUEST_PRIMITIVE,
    ReleaseReply: Input.RELEASE_RESPONSE_PRIMITIVE,
    Abort: Input.ABORT_PRIMITIVE,
}
_CARRIES_DATA: Final = (State.STA6, State.STA7)
_STA1: Final = State.STA1  # a name of this module is found faster than that of an enum, and so is _P_DATA_TF
_P_DATA_TF: Final = pdu.P_DATA_TF


@final
class Connection:
    """The upper layer of one association.

    Args:
        role: which side of the association we are. The transport connection is open already: an acceptor begins in Sta2.
        maximum_length: the P-DATA-TF variable field that we say we take, in bytes; 0: any.

    Attributes:
        state: Sta1 to Sta13 (PS3.8 9.2.1).
        peer_maximum_length: what the peer takes, in bytes; 0: any.
    """

    __slots__ = (
        "_body",
        "_buffer",
        "_end",
        "_eof",
        "_incoming",
        "_kind",
        "_left",
        "_out",
        "_pdu_left",
        "_pdv_left",
        "_request",
        "_start",
        "maximum_length",
        "peer_maximum_length",
        "role",
        "state",
    )

    def __init__(
        self, role: Literal["requestor", "acceptor"], *, maximum_length: int = MAXIMUM_LENGTH
    ) -> None:
        self.role: Literal["requestor", "acceptor"] = role
        self.state: State = State.STA2 if role == "acceptor" else State.STA1
        self.maximum_length: int = maximum_length
        self.peer_maximum_length: int = 0
        self._buffer = memoryview(bytearray(SMALL_BUFFER))
        self._start = self._end = 0
        self._eof = False
        self._out: list[Buffer] = []
        self._request: AssociateRequest | None = None  # of ours
        self._kind = 0  # of the association PDU whose body is being read
        self._left = 0  # bytes of that body that are missing
        self._body = bytearray()
        self._pdu_left = 0  # of the P-DATA-TF PDU that is being read
        self._pdv_left = -1  # of the PDV that is being read; -1: between two
        self._incoming = Incoming()

    # -- bytes

    def receive_buffer(self) -> memoryview:
        """Where the next bytes belong; at least one byte long. What `next_event` gave out before becomes invalid.

        Raises:
            LocalProtocolError: it is full, since `next_event` was not asked.
        """
        start, end, buffer = self._start, self._end, self._buffer
        if start == end:
            self._start = self._end = 0
            return buffer
        if end == len(buffer) or start > len(buffer) // 2:
            left = end - start
            if left == len(buffer):
                raise LocalProtocolError(
                    "there is no room for more bytes before next_event has returned None"
                )
            buffer[:left] = bytes(buffer[start:end])
            self._start, self._end = 0, left
            return buffer[left:]
        return buffer[end:]

    def received(self, count: int) -> None:
        """`count` bytes have been put into the receive buffer; 0: the peer has closed its side."""
        if count:
            self._end += count
        else:
            self._eof = True

    def to_write(self) -> list[Buffer]:
        """What must be written although nobody asked for it: an A-ABORT, a rejection."""
        out, self._out = self._out, []
        return out

    @property
    def over(self) -> bool:
        """The association has ended, and the connection is to be closed (Sta1)."""
        return self.state is State.STA1 and (
            self.role == "acceptor" or self._request is not None or self._eof
        )

    @property
    def receiving(self) -> bool:
        """In the middle of a PDU or a message: the peer owes the rest."""
        unread = self._left or self._pdu_left or self._pdv_left >= 0 or self._end > self._start
        return bool(unread or self._incoming.begun)

    # -- what came

    def next_event(self) -> Event | None:
        """What the bytes received so far mean, one event at a time; None: more bytes are needed.

        Raises:
            RemoteProtocolError: the peer broke the protocol; see `to_write`.
        """
        while True:
            start = self._start
            available = self._end - start
            left = self._pdv_left
            if left >= 0:
                count = left if left < available else available
                if not count and left:
                    return self._starved()
                self._start = start + count
                left -= count
                self._pdu_left -= count
                done = not left
                self._pdv_left = -1 if done else left
                incoming = self._incoming
                if incoming.control & 1:
                    command = self._gather(start, count, done)
                    if command is not None:
                        return Command(incoming.context_id, command)
                    continue
                last = done and incoming.control & 2 != 0
                if last:
                    incoming.expected = 0
                if count or last:
                    return Data(incoming.context_id, self._buffer[start : start + count], last)
            elif self._pdu_left:
                if available < 6:
                    return self._starved()
                self._begin_pdv(start)
            elif self._left or self._kind:
                event = self._read_body(start, available)
                if event is not None:
                    return event
                if self._left:
                    return self._starved()
            else:
                if available < 6 or self.state is _STA1:
                    return self._starved()
                self._begin_pdu(start)

    def _gather(self, start: int, count: int, done: bool) -> CommandSet | None:
        try:
            return self._incoming.gather(self._buffer[start : start + count], done)
        except RemoteProtocolError as error:
            self._violated(str(error), Input.INVALID_PDU, INVALID_PARAMETER)

    def _starved(self) -> Event | None:
        if self.state is State.STA1:
            if self.over:  # whatever still comes means nothing
                self._start = self._end
            return None
        if not self._eof:
            return None
        self._out.clear()
        self.closed()
        return Closed()

    def _begin_pdu(self, start: int) -> None:
        kind, length = _PDU_HEAD.unpack_from(self._buffer, start)
        self._start = start + 6
        if kind == _P_DATA_TF and self.state in _CARRIES_DATA:
            self._pdu_left = length
            most = self.maximum_length or _ANY
            if not 6 <= length <= most + SLACK:
                text = f"a P-DATA-TF PDU of {length} bytes, where 6 to {most} are expected"
                self._violated(text, Input.INVALID_PDU, INVALID_PARAMETER)
            return
        self._left = length
        if self.state is State.STA13:
            self._ignore(kind)
            return
        if kind == _P_DATA_TF:
            self._unexpected(Input.P_DATA_PDU)
        if kind not in _RECEIVED:
            self._violated(f"a PDU of the unknown type {kind:02X}H", Input.INVALID_PDU, UNRECOGNIZED_PDU)
        if length > (PDU_LIMIT if kind in (pdu.ASSOCIATE_RQ, pdu.ASSOCIATE_AC) else 1024):
            text = f"a PDU of type {kind:02X}H that announces {length} bytes"
            self._violated(text, Input.INVALID_PDU, INVALID_PARAMETER)
        self._kind = kind

    def _ignore(self, kind: int) -> None:
        """A PDU begins although the association is over: it is passed over, and answered at most once (Sta13)."""
        known = kind in _RECEIVED
        action, self.state = transition(self.state, _RECEIVED[kind] if known else Input.INVALID_PDU)
        if action is Action.AA_7 and not self._out:
            self._out.append(encode(Abort(2, UNEXPECTED_PDU if known else UNRECOGNIZED_PDU)))

    def _read_body(self, start: int, available: int) -> Event | None:
        count = min(self._left, available)
        if self._kind:
            self._body += self._buffer[start : start + count]
        self._start = start + count
        self._left -= count
        if self._left or not self._kind:
            return None
        kind, self._kind = self._kind, 0
        body, self._body = self._body, bytearray()
        try:
            event = decode(kind, body)
        except RemoteProtocolError as error:
            self._violated(str(error), Input.INVALID_PDU, INVALID_PARAMETER)
        return self._happened(event, _RECEIVED[kind])

    def _happened(self, event: Pdu, given: Input) -> Event:
        """Take a PDU as the table says."""
        action, state = transition(self.state, given)
        match action:
            case Action.AA_1 | Action.AA_8:
                self._unexpected(given)
            case Action.AE_6:
                assert isinstance(event, AssociateRequest)
                if not event.protocol_version & 1:
                    self._out.append(encode(AssociateReject(1, 2, 2)))
                    self.state = State.STA13
                    raise RemoteProtocolError(
                        f"an association of protocol version {event.protocol_version:#x}; version 1 is the only one"
                    )
                self.peer_maximum_length = event.user.maximum_length
            case Action.AE_3:
                assert isinstance(event, AssociateAccept)
                assert self._request is not None
                self.peer_maximum_length = event.user.maximum_length
                self._incoming.contexts = set(agreed(self._request, event))
                self._grow()
            case Action.AR_8:  # release collision: who asked for the association answers first
                state = State.STA9 if self.role == "requestor" else State.STA10
        self.state = state
        return event

    def _begin_pdv(self, start: int) -> None:
        length, context_id, control = _PDV_HEAD.unpack_from(self._buffer, start)
        if length < 2 or length + 4 > self._pdu_left or 0 < self._pdu_left - length - 4 < 6:
            text = f"a PDV of {length} bytes in a PDU of which {self._pdu_left} are left"
            self._violated(text, Input.INVALID_PDU, INVALID_PARAMETER)
        self._start = start + 6
        self._pdu_left -= 6
        self._pdv_left = length - 2
        try:
            self._incoming.fragment(context_id, control)
        except RemoteProtocolError as error:
            self._violated(str(error), Input.INVALID_PDU, INVALID_PARAMETER)

    def _unexpected(self, given: Input) -> NoReturn:
        self._violated(f"{given.text}, while {self.state.text}", given, UNEXPECTED_PDU)

    def _violated(self, text: str, given: Input, reason: int) -> NoReturn:
        """End it as the table says for an event that must not come here."""
        action, self.state = transition(self.state, given)
        # AA-1 aborts in the name of the service user, who gives no reason (PS3.8 9.3.8)
        self._out.append(encode(Abort() if action is Action.AA_1 else Abort(2, reason)))
        self._forget()
        raise RemoteProtocolError(text)

    def _forget(self) -> None:
        """What is half read is of no interest any more; the rest of its PDU is passed over."""
        self._left += self._pdu_left
        self._kind = self._pdu_left = 0
        self._pdv_left = -1
        self._body.clear()
        self._incoming.forget()

    def _grow(self) -> None:
        if len(self._buffer) < BUFFER:
            # anonymous pages: an association that idles costs those it touched
            larger = memoryview(mmap(-1, BUFFER))
            left = self._end - self._start
            larger[:left] = self._buffer[self._start : self._end]
            self._buffer, self._start, self._end = larger, 0, left

    # -- what is to be said

    def send(self, event: Pdu | Message) -> list[Buffer]:
        """The buffers to be written, together, for an event of ours.

        Raises:
            LocalProtocolError: PS3.8 does not allow it in this state, or it cannot be encoded.
        """
        if type(event) is Message:
            context_id, command, data = event.context_id, event.command, event.data
            if self.state is not State.STA6:
                transition(self.state, Input.P_DATA_PRIMITIVE)
            if context_id not in self._incoming.contexts:
                raise LocalProtocolError(f"presentation context {context_id} was not accepted")
            if command.has_data is (data is None):
                said = "a" if command.has_data else "no"
                raise LocalProtocolError(
                    f"the command {command.field:04X} says that {said} data set follows; the message differs"
                )
            return fragments(context_id, encode_command(command), data, self.peer_maximum_length)
        assert not isinstance(event, Message)
        state = transition(self.state, _PRIMITIVE[type(event)])[1]
        if isinstance(event, AssociateRequest):
            if self.over:
                raise LocalProtocolError("this connection has had its association; open another connection")
            state = transition(state, Input.TRANSPORT_CONNECTED)[1]
        encoded = encode(event)
        if isinstance(event, AssociateRequest):
            self._request = event
        elif isinstance(event, AssociateAccept):
            self._incoming.contexts = {
                context.id for context in event.contexts if context.result == ContextResult.ACCEPTANCE
            }
            self._grow()
        if state is State.STA13:
            self._forget()
        self.state = state
        return [encoded]

    def send_in_portions(self, context_id: int, command: CommandSet, data: Sequence[Buffer]) -> Portions:
        """As `send` of a message, in portions that are made when they are asked for."""
        self.send(Message(context_id, command, []))  # may it be said at all?
        return portions(context_id, encode_command(command), data, self.peer_maximum_length)

    def closed(self) -> None:
        """The transport connection was closed from this side, or is lost."""
        self._eof = True
        self._forget()
        self._left = 0
        self.state = State.STA1  # from any state: AA-2 to AA-5, AR-3, AR-5
