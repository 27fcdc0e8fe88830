"""Connections and broken bytes: RemoteProtocolError or events, within bounds, and never anything else."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from dcmflow.errors import LocalProtocolError, RemoteProtocolError
from dcmflow.protocol.command import c_store_rq, encode_command
from dcmflow.protocol.connection import Connection
from dcmflow.protocol.events import Closed, Command, Data, Event, Message
from dcmflow.protocol.pdu import Abort, AssociateAccept, AssociateRequest, Pdu, ReleaseReply, ReleaseRequest
from dcmflow.protocol.state import TABLE, Action, Input, State
from protocol.connections import (
    ACCEPT_PDU,
    CT,
    ECHO_PDU,
    PRIMITIVES,
    RECEIVED,
    REJECT,
    RELEASE_RP,
    RELEASE_RQ,
    REQUEST_PDU,
    WAYS,
    abort,
    accept,
    p_data,
    pdv,
    pdvs,
    put,
    request,
    written,
)

STORE = encode_command(c_store_rq(1, CT, "1.2.3.4"))
DATA = bytes(range(200))
TRAFFIC = [
    ECHO_PDU,
    p_data(pdv(1, 3, STORE), pdv(1, 2, DATA)),
    p_data(pdv(1, 1, STORE[:40]))
    + p_data(pdv(1, 3, STORE[40:]))
    + p_data(pdv(1, 0, DATA))
    + p_data(pdv(1, 2, DATA)),
    p_data(pdv(1, 3, STORE), pdv(1, 0), pdv(1, 0, DATA), pdv(1, 2)),
]
ENDINGS = [RELEASE_RQ, RELEASE_RP, abort(), abort(2, 6), REJECT, b""]
PIECES = [
    *RECEIVED.values(), *TRAFFIC, b"\0", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\4\0\0\0\0\6", pdv(1, 3), pdv(1, 2), pdv(3, 3, STORE),
    b"\x20\0\0\x20", b"\x50\0\0\0", b"\x51\0\0\4\0\0\0\1", REQUEST_PDU[:74], STORE,
]  # fmt: skip

TRANSCRIPTS = st.tuples(
    st.sampled_from([REQUEST_PDU, ACCEPT_PDU]),
    st.lists(st.sampled_from(TRAFFIC), max_size=4).map(b"".join),
    st.sampled_from(ENDINGS),
).map(b"".join)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A transcript with bytes changed, cut, doubled or put in."""
    data = bytearray(draw(TRANSCRIPTS))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        kind = draw(st.sampled_from(["change", "flip", "cut", "insert", "double", "length"]))
        if kind == "change":
            data[at : at + 1] = bytes((draw(st.integers(0, 255)),))
        elif kind == "flip" and data:
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del data[at : at + draw(st.integers(1, 80))]
        elif kind == "insert":
            data[at:at] = draw(st.sampled_from(PIECES) | st.binary(max_size=8))
        elif kind == "double":
            data[at:at] = data[at : at + draw(st.integers(1, 200))]
        else:
            data[at : at + 4] = draw(st.integers(0, 300) | st.integers(0, 0xFFFF_FFFF)).to_bytes(4, "big")
    return bytes(data)


class Driven:
    """A connection, and what must hold of it whatever comes."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.failed = False
        self.taken = 0  # bytes
        self.calls = 0  # of next_event
        self.expects_data = False
        self.shown: list[object] = []

    def check(self) -> None:
        assert self.connection.state in State
        assert isinstance(self.connection.over, bool)
        assert self.connection.receiving in (True, False)
        with suppress(LocalProtocolError):
            assert len(self.connection.receive_buffer()) > 0
        # one event takes at least a byte, but for the end of an empty data set and for Closed
        assert self.calls <= 3 * self.taken + 10

    def drain(self) -> None:
        while True:
            self.calls += 1
            self.check_calls()
            try:
                event = self.connection.next_event()
            except RemoteProtocolError:
                assert not self.failed, "it is told once"
                self.failed = True
                assert self.connection.state is State.STA13
                stream = written(self.connection)
                assert len(stream) == 10
                assert stream[0] in (3, 7), "A-ABORT, or A-ASSOCIATE-RJ"
                self.shown.append("error")
                continue
            if event is None:
                return
            self.show(event)

    def check_calls(self) -> None:
        assert self.calls <= 3 * self.taken + 10, "it does not end"

    def show(self, event: Event) -> None:
        assert not self.failed or isinstance(event, Closed)
        if isinstance(event, Data):
            assert self.expects_data
            assert len(event.data) or event.last
            self.expects_data = not event.last
            if self.shown and isinstance(self.shown[-1], bytes):
                self.shown[-1] += bytes(event.data)
            else:
                self.shown.append(bytes(event.data))
        else:
            assert not (isinstance(event, Command) and self.expects_data)
            if isinstance(event, Command):
                self.expects_data = event.command.has_data
            self.shown.append(event)

    def receive(self, data: bytes, sizes: Sequence[int]) -> None:
        """In pieces of these sizes, then all of the rest; and do what a user would."""
        view = memoryview(data)
        pieces = iter(sizes)
        while view:
            try:
                count = put(self.connection, view[: next(pieces, len(view))])
            except LocalProtocolError:
                assert self.connection.state is State.STA1
                assert not self.connection.over, "only what comes before the request may fill the buffer"
                return
            self.taken += count
            view = view[count:]
            self.drain()
            self.check()

    def end(self) -> None:
        was = self.connection.state
        self.connection.received(0)
        before = len(self.shown)
        self.drain()
        assert self.shown[before:] == ([] if was is State.STA1 else [Closed()])
        assert self.connection.state is State.STA1
        self.check()


INPUTS = {input.evt: input for input in Input}
SIZES = st.lists(st.integers(1, 80), max_size=60)


@given(st.sampled_from(sorted(WAYS)), mutated(), SIZES)
def test_transcripts_with_bytes_changed(way: str, data: bytes, sizes: list[int]) -> None:
    """From every state; and in any cuts the same comes out."""
    outcomes = []
    for cut in (sizes, []):
        driven = Driven(WAYS[way][1]())
        driven.receive(data, cut)
        outcomes.append((driven.shown[:], driven.failed, driven.connection.state, written(driven.connection)))
        driven.end()
    assert outcomes[0] == outcomes[1]


@given(
    st.sampled_from(sorted(WAYS)),
    st.lists(st.sampled_from(PIECES) | st.binary(max_size=30)).map(b"".join),
    SIZES,
)
def test_pieces_of_pdus(way: str, data: bytes, sizes: list[int]) -> None:
    driven = Driven(WAYS[way][1]())
    driven.receive(data, sizes)
    driven.end()


@given(st.booleans(), mutated(), SIZES, st.lists(st.sampled_from(sorted(PRIMITIVES)), max_size=8))
def test_a_whole_association(requestor: bool, data: bytes, sizes: list[int], says: list[int]) -> None:
    """With a user who accepts, answers, and now and then says what he must not."""
    connection = Connection("requestor" if requestor else "acceptor")
    if requestor:
        connection.send(request())
    driven = Driven(connection)
    turns = iter(says)
    view = memoryview(data)
    for size in [*sizes, len(data)]:
        driven.receive(bytes(view[:size]), [])
        view = view[size:]
        last = driven.shown[-1] if driven.shown else None
        replies: list[Pdu | Message] = [
            accept()
            if isinstance(last, AssociateRequest)
            else ReleaseReply()
            if isinstance(last, ReleaseRequest)
            else Abort()
        ]
        if not isinstance(last, AssociateRequest | ReleaseRequest):
            replies = []
        turn = next(turns, None)
        for said in [*replies, *([PRIMITIVES[turn]] if turn is not None else [])]:
            with suppress(LocalProtocolError):
                connection.send(said)
                assert not driven.failed, "after an error nothing is sent any more"
            driven.drain()
    driven.end()


class Walk(RuleBasedStateMachine):
    """Whole PDUs and primitives in any order: the state is always what the table says."""

    @initialize(role=st.sampled_from(["requestor", "acceptor"]))
    def begin(self, role: str) -> None:
        self.driven = Driven(Connection("requestor" if role == "requestor" else "acceptor"))
        self.connection = self.driven.connection
        self.expected = self.connection.state
        self.fresh = role == "requestor"
        self.closed = False

    def follows(self, given: Input) -> Action | None:
        cell = TABLE.get((given, self.expected))
        if cell is None:
            return None
        action, self.expected = cell
        if action is Action.AR_8 and self.connection.role == "acceptor":
            self.expected = State.STA10
        return action

    @rule(evt=st.sampled_from(sorted(RECEIVED)), sizes=SIZES)
    def arrives(self, evt: int, sizes: list[int]) -> None:
        if self.closed or self.fresh:
            return
        failed = self.driven.failed
        action = self.follows(INPUTS[evt])
        self.driven.receive(RECEIVED[evt], sizes)
        assert self.driven.failed is (failed or action in (Action.AA_1, Action.AA_8))
        self.connection.to_write()

    @rule(evt=st.sampled_from(sorted(PRIMITIVES)))
    def says(self, evt: int) -> None:
        given = INPUTS[evt]
        allowed = (given, self.expected) in TABLE
        if given is Input.ASSOCIATE_REQUEST_PRIMITIVE:
            allowed = self.fresh and not self.closed
        try:
            stream = b"".join(self.connection.send(PRIMITIVES[evt]))
        except LocalProtocolError:
            assert not allowed or evt == 9  # no context was accepted: an acceptance repeats the one above
            return
        assert allowed
        assert stream
        self.follows(given)
        if given is Input.ASSOCIATE_REQUEST_PRIMITIVE:
            self.fresh = False
            self.follows(Input.TRANSPORT_CONNECTED)

    @rule()
    def ends(self) -> None:
        if not self.fresh and not self.closed:
            self.driven.end()
            self.closed, self.expected = True, State.STA1

    @rule()
    def gives_up(self) -> None:
        self.connection.closed()
        self.closed, self.expected = True, State.STA1

    @invariant()
    def state_is_that_of_the_table(self) -> None:
        if hasattr(self, "driven"):
            assert self.connection.state is self.expected
            self.driven.check()


TestWalk = Walk.TestCase


@given(st.binary(max_size=60), st.integers(0, 0xFFFF_FFFF))
def test_what_is_sent_is_well_formed(content: bytes, maximum_length: int) -> None:
    """Whatever maximum a peer names."""
    connection = WAYS["acceptor, established"][1]()
    connection.peer_maximum_length = maximum_length
    stream = b"".join(connection.send(Message(1, c_store_rq(1, CT, "1.2"), [content])))
    gathered = b""
    position = 0
    while position < len(stream):
        length = int.from_bytes(stream[position + 2 : position + 6], "big")
        assert length <= max(maximum_length, 8) or not maximum_length
        gathered += b"".join(
            part for _, control, part in pdvs(stream[position + 6 : position + 6 + length]) if not control & 1
        )
        position += 6 + length
    assert gathered == content


def test_the_transcripts_are_valid() -> None:
    """Else changing bytes of them would show nothing."""
    for ending in (b"", RELEASE_RQ, abort()):
        driven = Driven(Connection("acceptor"))
        driven.receive(REQUEST_PDU, [])
        driven.connection.send(accept())
        driven.receive(b"".join(TRAFFIC) + ending, [])
        assert not driven.failed
        assert sum(isinstance(event, Command) for event in driven.shown) == len(TRAFFIC)
    driven = Driven(Connection("requestor"))
    driven.connection.send(request())
    driven.receive(ACCEPT_PDU, [])
    assert isinstance(driven.shown[0], AssociateAccept)
