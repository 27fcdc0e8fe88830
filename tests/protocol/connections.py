"""Connections without a network: brought into any state by real bytes, fed in any cuts, and what comes out of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import repeat
from struct import pack, unpack_from

from dcmflow.errors import RemoteProtocolError
from dcmflow.protocol.command import c_echo_rq, encode_command
from dcmflow.protocol.connection import Connection
from dcmflow.protocol.encode import encode
from dcmflow.protocol.events import Buffer, Data, Event, Message
from dcmflow.protocol.items import AnsweredContext, ProposedContext, UserInformation
from dcmflow.protocol.pdu import (
    Abort,
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    Pdu,
    ReleaseReply,
    ReleaseRequest,
)
from dcmflow.protocol.state import State

CT = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT = "1.2.840.10008.1.2"
MAXIMUM = 16384

# ---------------------------------------------------------------------------------------------- bytes, by hand

RELEASE_RQ = bytes.fromhex("05 00 00000004 00000000")
RELEASE_RP = bytes.fromhex("06 00 00000004 00000000")
REJECT = bytes.fromhex("03 00 00000004 00 01 01 07")
UNKNOWN_PDU = bytes.fromhex("08 00 00000004 00000000")


def abort(source: int = 0, reason: int = 0) -> bytes:
    return bytes((7, 0, 0, 0, 0, 4, 0, 0, source, reason))


def pdv(context_id: int, control: int, content: bytes = b"") -> bytes:
    return pack(">IBB", len(content) + 2, context_id, control) + content


def p_data(*pdvs: bytes) -> bytes:
    body = b"".join(pdvs)
    return pack(">BxI", 4, len(body)) + body


ECHO = c_echo_rq(1)
ECHO_PDU = p_data(pdv(1, 3, encode_command(ECHO)))


def request(maximum_length: int = MAXIMUM) -> AssociateRequest:
    contexts = (ProposedContext(1, CT, (IMPLICIT,)), ProposedContext(3, "1.2.3", (IMPLICIT,)))
    return AssociateRequest("PACS", "DCMFLOW", contexts, UserInformation(maximum_length))


def accept(maximum_length: int = MAXIMUM) -> AssociateAccept:
    """Context 1 is accepted, 3 is not."""
    contexts = (AnsweredContext(1, 0, IMPLICIT), AnsweredContext(3, 3, IMPLICIT))
    return AssociateAccept("PACS", "DCMFLOW", contexts, UserInformation(maximum_length))


REQUEST_PDU = encode(request())
ACCEPT_PDU = encode(accept())

# ---------------------------------------------------------------------------------------------- in and out

MOST_EVENTS = 1_000_000


def put(connection: Connection, data: Buffer) -> int:
    """Give it the first of these bytes, as many as it has room for now; returns how many."""
    room = connection.receive_buffer()
    assert len(room), "the receive buffer is never empty"
    count = min(len(room), len(data))
    room[:count] = data[:count]
    if count:
        connection.received(count)
    return count


def copied(event: Event) -> Event:
    """An event that stays valid."""
    if isinstance(event, Data):
        return Data(event.context_id, memoryview(bytes(event.data)), event.last)
    return event


def drain(connection: Connection) -> list[Event]:
    """All events that are there."""
    found: list[Event] = []
    while (event := connection.next_event()) is not None:
        found.append(copied(event))
        assert len(found) < MOST_EVENTS, "it does not end"
    return found


def take(connection: Connection, data: Buffer, sizes: Iterable[int] | None = None) -> list[Event]:
    """Receive these bytes in pieces of these sizes, then of one byte each (None: as much as there is room for)."""
    view = memoryview(data)
    pieces: Iterator[int] = repeat(len(view)) if sizes is None else iter(sizes)
    found: list[Event] = []
    while view:
        size = max(1, next(pieces, 1))
        view = view[put(connection, view[:size]) :]
        found += drain(connection)
    return found


def merged(events: Iterable[Event]) -> list[Event]:
    """The same with the stretches of each data set put together; one that does not end stays, too."""
    result: list[Event] = []
    stretches: list[memoryview] = []
    last: Data | None = None
    for event in events:
        if isinstance(event, Data):
            assert last is None or last.context_id == event.context_id
            stretches.append(event.data)
            last = event
        if last is not None and (last.last or not isinstance(event, Data)):
            result.append(Data(last.context_id, memoryview(b"".join(stretches)), last.last))
            stretches, last = [], None
        if not isinstance(event, Data):
            result.append(event)
    if last is not None:
        result.append(Data(last.context_id, memoryview(b"".join(stretches)), False))
    return result


def written(connection: Connection) -> bytes:
    """What it wants to have written by itself."""
    return b"".join(connection.to_write())


def sent(connection: Connection, event: Pdu | Message) -> bytes:
    """What is to be written for an event of ours."""
    return b"".join(connection.send(event))


def state_of(connection: Connection) -> State:
    """The state it is in now."""
    return connection.state


def pdus(stream: bytes) -> list[tuple[int, bytes]]:
    """The PDUs of a stream of bytes as (type, variable field)."""
    found = []
    position = 0
    while position < len(stream):
        kind, length = unpack_from(">BxI", stream, position)
        body = stream[position + 6 : position + 6 + length]
        assert len(body) == length
        found.append((kind, body))
        position += 6 + length
    return found


def pdvs(body: bytes) -> list[tuple[int, int, bytes]]:
    """The PDVs of a P-DATA-TF as (context id, control, content)."""
    found = []
    position = 0
    while position < len(body):
        length, context_id, control = unpack_from(">IBB", body, position)
        content = body[position + 6 : position + 4 + length]
        assert len(content) == length - 2
        found.append((context_id, control, content))
        position += 4 + length
    return found


# ---------------------------------------------------------------------------------------------- states


def requested() -> Connection:
    connection = Connection("requestor", maximum_length=MAXIMUM)
    assert sent(connection, request()) == REQUEST_PDU
    return connection


def established(role: str) -> Connection:
    """An association in Sta6."""
    if role == "requestor":
        connection = requested()
        assert take(connection, ACCEPT_PDU) == [accept()]
    else:
        connection = called()
        sent(connection, accept())
    return connection


def called() -> Connection:
    connection = Connection("acceptor", maximum_length=MAXIMUM)
    assert take(connection, REQUEST_PDU) == [request()]
    return connection


def releasing(role: str) -> Connection:
    connection = established(role)
    assert sent(connection, ReleaseRequest()) == RELEASE_RQ
    return connection


def asked_to_release(role: str) -> Connection:
    connection = established(role)
    assert take(connection, RELEASE_RQ) == [ReleaseRequest()]
    return connection


def colliding(role: str) -> Connection:
    connection = releasing(role)
    assert take(connection, RELEASE_RQ) == [ReleaseRequest()]
    return connection


def answered_first() -> Connection:
    connection = colliding("requestor")
    assert sent(connection, ReleaseReply()) == RELEASE_RP
    return connection


def answer_taken() -> Connection:
    connection = colliding("acceptor")
    assert take(connection, RELEASE_RP) == [ReleaseReply()]
    return connection


def released(role: str) -> Connection:
    connection = asked_to_release(role)
    assert sent(connection, ReleaseReply()) == RELEASE_RP
    return connection


def aborting(role: str) -> Connection:
    connection = established(role)
    assert sent(connection, Abort()) == abort()
    return connection


def violated(role: str) -> Connection:
    """The peer has broken the protocol, and the A-ABORT is written."""
    connection = established(role)
    try:
        take(connection, UNKNOWN_PDU)
    except RemoteProtocolError:
        assert written(connection) == abort(2, 1)
        return connection
    raise AssertionError("no error")


def rejecting() -> Connection:
    connection = called()
    assert sent(connection, AssociateReject(1, 1, 7)) == REJECT
    return connection


def aborted(role: str) -> Connection:
    connection = established(role)
    assert take(connection, abort()) == [Abort()]
    return connection


def release_ended(role: str) -> Connection:
    connection = releasing(role)
    assert take(connection, RELEASE_RP) == [ReleaseReply()]
    return connection


WAYS: dict[str, tuple[State, Callable[[], Connection]]] = {
    "requestor, new": (State.STA1, lambda: Connection("requestor")),
    "acceptor, new": (State.STA2, lambda: Connection("acceptor")),
    "acceptor, called": (State.STA3, called),
    "requestor, calling": (State.STA5, requested),
    "requestor, colliding": (State.STA9, lambda: colliding("requestor")),
    "acceptor, colliding": (State.STA10, lambda: colliding("acceptor")),
    "requestor, answered first": (State.STA11, answered_first),
    "acceptor, answer taken": (State.STA12, answer_taken),
    "acceptor, rejecting": (State.STA13, rejecting),
}
"""Each way into a state: where it leads, and how to get there anew."""

for _role in ("requestor", "acceptor"):
    _both: dict[str, tuple[State, Callable[[str], Connection]]] = {
        "established": (State.STA6, established),
        "releasing": (State.STA7, releasing),
        "asked to release": (State.STA8, asked_to_release),
        "released": (State.STA13, released),
        "aborting": (State.STA13, aborting),
        "violated": (State.STA13, violated),
        "aborted": (State.STA1, aborted),
        "release ended": (State.STA1, release_ended),
    }
    for _name, (_state, _make) in _both.items():
        WAYS[f"{_role}, {_name}"] = _state, partial(_make, _role)

PRIMITIVES: dict[int, Pdu | Message] = {
    1: request(),
    7: accept(),
    8: AssociateReject(1, 1, 7),
    9: Message(1, ECHO),
    11: ReleaseRequest(),
    14: ReleaseReply(),
    15: Abort(),
}
"""What the local user says for each event of PS3.8 table 9-10."""

RECEIVED: dict[int, bytes] = {
    3: ACCEPT_PDU,
    4: REJECT,
    6: REQUEST_PDU,
    10: ECHO_PDU,
    12: RELEASE_RQ,
    13: RELEASE_RP,
    16: abort(),
    19: UNKNOWN_PDU,
}
"""What arrives for each event of PS3.8 table 9-10."""
