"""Every cell of PS3.8 table 9-10 through a connection, both roles; and what the table does not say."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dcmflow.errors import LocalProtocolError, RemoteProtocolError
from dcmflow.protocol.command import c_echo_rq, c_store_rq, encode_command
from dcmflow.protocol.connection import Connection
from dcmflow.protocol.encode import encode
from dcmflow.protocol.events import Closed, Command, Data, Event, Message
from dcmflow.protocol.items import AnsweredContext, ContextResult
from dcmflow.protocol.pdu import (
    Abort,
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    ReleaseReply,
    ReleaseRequest,
)
from dcmflow.protocol.state import TABLE, Action, Input, State
from protocol.connections import (
    ACCEPT_PDU,
    CT,
    ECHO,
    ECHO_PDU,
    IMPLICIT,
    MAXIMUM,
    PRIMITIVES,
    RECEIVED,
    REJECT,
    RELEASE_RP,
    RELEASE_RQ,
    REQUEST_PDU,
    WAYS,
    abort,
    accept,
    answer_taken,
    answered_first,
    called,
    colliding,
    drain,
    established,
    merged,
    p_data,
    pdv,
    put,
    released,
    request,
    requested,
    sent,
    state_of,
    take,
    written,
)

INPUTS = {input.evt: input for input in Input}

# What the user is told of what arrives, where an action tells him.
TOLD: dict[Action, object] = {
    Action.AE_3: accept(),
    Action.AE_4: AssociateReject(1, 1, 7),
    Action.AE_6: request(),
    Action.DT_2: Command(1, ECHO),
    Action.AR_2: ReleaseRequest(),
    Action.AR_3: ReleaseReply(),
    Action.AR_6: Command(1, ECHO),
    Action.AR_8: ReleaseRequest(),
    Action.AR_10: ReleaseReply(),
    Action.AA_3: Abort(),
}
# What is written for what the user says.
SAID: dict[Action, bytes] = {
    Action.AE_7: ACCEPT_PDU,
    Action.AE_8: REJECT,
    Action.DT_1: ECHO_PDU,
    Action.AR_1: RELEASE_RQ,
    Action.AR_4: RELEASE_RP,
    Action.AR_7: ECHO_PDU,
    Action.AR_9: RELEASE_RP,
    Action.AA_1: abort(),
}


def test_every_state_of_both_roles_is_reached() -> None:
    reached = {(name.split(",")[0], state) for name, (state, _) in WAYS.items()}
    both = {State.STA1, State.STA6, State.STA7, State.STA8, State.STA13}
    assert reached == {("requestor", state) for state in {*both, State.STA5, State.STA9, State.STA11}} | {
        ("acceptor", state) for state in {*both, State.STA2, State.STA3, State.STA10, State.STA12}
    }, "Sta4 is left in the moment it is entered: the transport connection is there already"


@pytest.mark.parametrize("evt", RECEIVED)
@pytest.mark.parametrize("way", WAYS)
def test_what_arrives(way: str, evt: int) -> None:
    state, make = WAYS[way]
    connection = make()
    assert connection.state is state
    given = INPUTS[evt]
    if state is State.STA1:  # there is no transport connection by the standard, so nothing comes
        assert (given, state) not in TABLE
        assert take(connection, RECEIVED[evt]) == []
        assert state_of(connection) is State.STA1
        assert written(connection) == b""
        return
    action, after = TABLE[given, state]
    if action is Action.AR_8 and connection.role == "acceptor":
        assert action.otherwise is State.STA10
        after = State.STA10
    if action in (Action.AA_1, Action.AA_8):
        with pytest.raises(RemoteProtocolError):
            take(connection, RECEIVED[evt])
        unrecognized = given is Input.INVALID_PDU
        assert written(connection) == (
            abort(0, 0) if action is Action.AA_1 else abort(2, 1 if unrecognized else 2)
        )
    else:
        events = take(connection, RECEIVED[evt])
        if action is Action.AA_7:
            assert events == []
            assert written(connection) == abort(2, 1 if given is Input.INVALID_PDU else 2)
        elif action in (Action.AA_6, Action.AA_2):
            # AA-2: in Sta13 there is nobody to tell any more, in Sta2 somebody waits for a request
            assert events == ([Abort()] if state is State.STA2 else [])
        else:
            assert events == [TOLD[action]]
    assert written(connection) == b""
    assert connection.state is after
    assert connection.over is (after is State.STA1)


@pytest.mark.parametrize("evt", PRIMITIVES)
@pytest.mark.parametrize("way", WAYS)
def test_what_the_user_says(way: str, evt: int) -> None:
    state, make = WAYS[way]
    connection = make()
    given = INPUTS[evt]
    cell = TABLE.get((given, state))
    if cell is None or (given is Input.ASSOCIATE_REQUEST_PRIMITIVE and way != "requestor, new"):
        with pytest.raises(LocalProtocolError):
            connection.send(PRIMITIVES[evt])
        assert connection.state is state
    elif given is Input.ASSOCIATE_REQUEST_PRIMITIVE:
        assert cell[0] is Action.AE_1  # and the transport connection is there: AE-2
        assert sent(connection, PRIMITIVES[evt]) == REQUEST_PDU
        assert connection.state is TABLE[Input.TRANSPORT_CONNECTED, State.STA4][1] is State.STA5
    else:
        action, after = cell
        assert sent(connection, PRIMITIVES[evt]) == SAID[action]
        assert connection.state is after
    assert written(connection) == b""
    assert drain(connection) == []


@pytest.mark.parametrize("way", WAYS)
def test_the_peer_closes(way: str) -> None:
    state, make = WAYS[way]
    connection = make()
    connection.received(0)
    if state is State.STA1:
        assert (Input.TRANSPORT_CLOSED, state) not in TABLE
        assert drain(connection) == []
    else:
        action, after = TABLE[Input.TRANSPORT_CLOSED, state]
        assert action in (Action.AA_4, Action.AA_5, Action.AR_5)
        assert after is State.STA1
        assert drain(connection) == [Closed()]
    assert state_of(connection) is State.STA1
    assert connection.over
    assert not connection.receiving
    assert drain(connection) == []
    assert written(connection) == b""


@pytest.mark.parametrize("way", WAYS)
def test_this_side_closes(way: str) -> None:
    """As ARTIM has expired (AA-2), the association has ended (AE-4, AR-3, AA-3), or the connection is lost (AA-4)."""
    _, make = WAYS[way]
    connection = make()
    connection.closed()
    assert state_of(connection) is State.STA1
    assert connection.over
    assert drain(connection) == []
    assert written(connection) == b""
    with pytest.raises(LocalProtocolError):
        connection.send(Abort())


# ---------------------------------------------------------------------------------------------- the association


def test_nobody_speaks_before_the_request() -> None:
    """What comes too early is judged once the answer to the request is due."""
    connection = Connection("requestor")
    assert take(connection, ECHO_PDU) == []
    sent(connection, request())
    with pytest.raises(RemoteProtocolError, match="P-DATA-TF received, while the answer"):
        connection.next_event()
    assert written(connection) == abort(2, 2)


def test_what_comes_too_early_fills_the_buffer_and_no_more() -> None:
    connection = Connection("requestor")
    with pytest.raises(LocalProtocolError, match="no room"):
        take(connection, bytes(1 << 20))


def test_who_was_rejected_is_over() -> None:
    connection = requested()
    before = connection.over
    assert take(connection, REJECT) == [AssociateReject(1, 1, 7)]
    assert (before, connection.over) == (False, True)
    with pytest.raises(LocalProtocolError, match="another connection"):
        connection.send(request())


def test_an_acceptor_does_not_call() -> None:
    connection = called()
    connection.closed()
    with pytest.raises(LocalProtocolError, match="another connection"):
        connection.send(request())


@pytest.mark.parametrize("version", [0, 2, 0xFFFE])
def test_a_version_that_is_not_known_is_rejected(version: int) -> None:
    connection = Connection("acceptor")
    pdu = bytearray(REQUEST_PDU)
    pdu[6:8] = version.to_bytes(2, "big")
    with pytest.raises(RemoteProtocolError, match="protocol version"):
        take(connection, pdu)
    assert written(connection) == bytes.fromhex("03 00 00000004 00 01 02 02")
    assert state_of(connection) is State.STA13
    assert take(connection, abort()) == []
    assert state_of(connection) is State.STA1


@pytest.mark.parametrize("version", [1, 3, 0xFFFF])
def test_only_bit_0_of_the_version_is_tested(version: int) -> None:
    pdu = bytearray(REQUEST_PDU)
    pdu[6:8] = version.to_bytes(2, "big")
    (event,) = take(Connection("acceptor"), pdu)
    assert isinstance(event, AssociateRequest)
    assert event.protocol_version == version


def test_what_the_peer_takes_is_learned_from_either_pdu() -> None:
    acceptor, requestor = Connection("acceptor"), requested()
    take(acceptor, encode(request(4711)))
    take(requestor, encode(accept(1234)))
    assert (acceptor.peer_maximum_length, requestor.peer_maximum_length) == (4711, 1234)


def test_messages_go_where_a_context_was_accepted() -> None:
    for role in ("requestor", "acceptor"):
        connection = established(role)
        for context_id in (0, 2, 3, 5, 255):
            with pytest.raises(LocalProtocolError, match=f"context {context_id} was not accepted"):
                connection.send(Message(context_id, ECHO))
        assert state_of(connection) is State.STA6


def test_what_a_lying_acceptor_accepts_is_not_used() -> None:
    connection = requested()
    lies = (
        AnsweredContext(1, ContextResult.ACCEPTANCE, "1.2.840.10008.1.2.1"),  # not offered
        AnsweredContext(5, ContextResult.ACCEPTANCE, IMPLICIT),  # not proposed
    )
    take(connection, encode(AssociateAccept("PACS", "DCMFLOW", lies)))
    for context_id in (1, 5):
        with pytest.raises(LocalProtocolError):
            connection.send(Message(context_id, ECHO))
    with pytest.raises(RemoteProtocolError, match="context 1, which was not accepted"):
        take(connection, ECHO_PDU)


@pytest.mark.parametrize("data", [None, [b"1234"]])
def test_a_command_that_lies_about_its_data_set_is_not_sent(data: list[bytes] | None) -> None:
    command = c_store_rq(1, CT, "1.2") if data is None else ECHO
    connection = established("requestor")
    with pytest.raises(LocalProtocolError, match="data set follows"):
        connection.send(Message(1, command, data))
    assert state_of(connection) is State.STA6


def test_what_cannot_be_encoded_changes_nothing() -> None:
    connection = Connection("requestor")
    with pytest.raises(LocalProtocolError, match="AE title"):
        connection.send(AssociateRequest("A" * 17, "B", ()))
    assert state_of(connection) is State.STA1
    established_one = established("requestor")
    with pytest.raises(LocalProtocolError):
        established_one.send(Message(1, c_store_rq(1, CT, "1" * 65), [b""]))
    assert state_of(established_one) is State.STA6
    assert sent(established_one, Message(1, ECHO)) == ECHO_PDU


# ---------------------------------------------------------------------------------------------- release


def test_release_collision_ends_on_both_sides() -> None:
    requestor, acceptor = colliding("requestor"), colliding("acceptor")
    assert (state_of(requestor), state_of(acceptor)) == (State.STA9, State.STA10)
    with pytest.raises(LocalProtocolError):
        acceptor.send(ReleaseReply())  # it has to wait for that of the requestor
    first = sent(requestor, ReleaseReply())
    assert state_of(requestor) is State.STA11
    assert take(acceptor, first) == [ReleaseReply()]
    assert state_of(acceptor) is State.STA12
    second = sent(acceptor, ReleaseReply())
    assert state_of(acceptor) is State.STA13
    assert take(requestor, second) == [ReleaseReply()]
    assert state_of(requestor) is State.STA1
    assert requestor.over
    acceptor.received(0)
    assert drain(acceptor) == [Closed()]
    assert acceptor.over


@pytest.mark.parametrize("make", [answered_first, answer_taken])
def test_data_after_a_collision_is_a_violation(make: Callable[[], Connection]) -> None:
    connection = make()
    with pytest.raises(RemoteProtocolError):
        take(connection, ECHO_PDU)
    assert written(connection) == abort(2, 2)


@pytest.mark.parametrize("role", ["requestor", "acceptor"])
def test_data_still_arrive_while_a_release_is_awaited(role: str) -> None:
    """AR-6, in the middle of a PDV even."""
    connection = established(role)
    command = c_store_rq(1, CT, "1.2")
    stream = p_data(pdv(1, 3, encode_command(command)), pdv(1, 0, b"ab")) + p_data(pdv(1, 2, b"cdef"))
    assert merged(take(connection, stream[:-5])) == [Command(1, command), Data(1, memoryview(b"ab"), False)]
    sent(connection, ReleaseRequest())
    assert state_of(connection) is State.STA7
    assert merged(take(connection, stream[-5:])) == [Data(1, memoryview(b"cdef"), True)]
    assert take(connection, ECHO_PDU) == [Command(1, ECHO)]
    assert state_of(connection) is State.STA7
    assert take(connection, RELEASE_RP) == [ReleaseReply()]
    assert connection.over


@pytest.mark.parametrize("role", ["requestor", "acceptor"])
def test_what_was_under_way_is_still_sent_after_a_release_was_asked_for(role: str) -> None:
    """AR-7."""
    connection = established(role)
    take(connection, RELEASE_RQ)
    assert sent(connection, Message(1, ECHO)) == ECHO_PDU
    assert state_of(connection) is State.STA8
    assert sent(connection, ReleaseReply()) == RELEASE_RP
    assert state_of(connection) is State.STA13


def test_two_events_of_one_read() -> None:
    """A release that comes together with a message is not told before it."""
    connection = established("acceptor")
    assert take(connection, ECHO_PDU + ECHO_PDU + RELEASE_RQ) == [
        Command(1, ECHO),
        Command(1, ECHO),
        ReleaseRequest(),
    ]
    assert state_of(connection) is State.STA8


# ---------------------------------------------------------------------------------------------- the end


@pytest.mark.parametrize("make", [lambda: released("acceptor"), lambda: WAYS["requestor, violated"][1]()])
def test_in_sta13_whole_pdus_are_passed_over(make: Callable[[], Connection]) -> None:
    """What is in them is not taken for PDUs: the peer may have been in the middle of a data set."""
    connection = make()
    inner = REQUEST_PDU + abort() + b"\xff" * 600
    for size in (1, 7, 4096, 1 << 20):
        events: list[Event] = take(connection, p_data(pdv(1, 0, inner)), [size] * 800)
        assert events == []
        assert state_of(connection) is State.STA13
        assert written(connection) == b""
    assert take(connection, abort()) == []
    assert state_of(connection) is State.STA1


def test_the_rest_of_a_broken_pdu_is_passed_over() -> None:
    connection = established("acceptor")
    bad = p_data(pdv(1, 3, encode_command(ECHO)), pdv(1, 2, abort() * 100))
    events: list[Event] = []
    put(connection, bad[:-900])
    with pytest.raises(RemoteProtocolError, match="a data set that no command announced"):
        while (event := connection.next_event()) is not None:
            events.append(event)
    assert events == [Command(1, ECHO)]
    assert written(connection) == abort(2, 6)
    assert take(connection, bad[-900:]) == []
    assert state_of(connection) is State.STA13
    assert take(connection, abort()) == []
    assert state_of(connection) is State.STA1


def test_who_does_not_stop_is_answered_once() -> None:
    """AA-7, and yet nothing grows while nobody writes."""
    connection = released("acceptor")
    assert take(connection, REQUEST_PDU * 1000) == []
    assert written(connection) == abort(2, 2)
    assert state_of(connection) is State.STA13


def test_an_abort_of_ours_in_the_middle_of_a_data_set() -> None:
    connection = established("acceptor")
    stream = p_data(pdv(1, 3, encode_command(c_store_rq(1, CT, "1.2"))), pdv(1, 2, abort() * 50))
    take(connection, stream[:-400])
    assert connection.receiving
    assert sent(connection, Abort(2, 0)) == abort(2, 0)
    assert take(connection, stream[-400:]) == []
    assert state_of(connection) is State.STA13
    connection.received(0)
    assert drain(connection) == [Closed()]


@pytest.mark.parametrize("cut", range(1, len(ECHO_PDU)))
def test_a_connection_that_ends_in_the_middle(cut: int) -> None:
    connection = established("requestor")
    assert take(connection, ECHO_PDU[:cut]) == []
    assert connection.receiving
    connection.received(0)
    assert drain(connection) == [Closed()]
    assert not connection.receiving


def test_what_came_before_the_end_is_told_before_it() -> None:
    connection = established("requestor")
    put(connection, ECHO_PDU + abort(2, 0))
    connection.received(0)
    assert drain(connection) == [Command(1, ECHO), Abort(2, 0)]
    assert connection.over


def test_the_buffer_grows_with_the_association_and_keeps_what_is_in_it() -> None:
    connection = requested()
    before = len(connection.receive_buffer())
    pipelined = ACCEPT_PDU + ECHO_PDU + ECHO_PDU[:20]
    assert take(connection, pipelined) == [accept(), Command(1, ECHO)]
    assert take(connection, ECHO_PDU[20:]) == [Command(1, ECHO)]
    assert len(connection.receive_buffer()) > 8 * before >= 8192


def test_a_buffer_that_is_not_read_fills_up() -> None:
    connection = established("acceptor")
    data = p_data(pdv(1, 3, encode_command(c_echo_rq(1)))) * 10_000
    with pytest.raises(LocalProtocolError, match="next_event"):
        while data:
            data = data[put(connection, data) :]


def test_there_is_always_room_for_a_large_read() -> None:
    """Wherever the bytes of a head are cut, and however the reads before have filled the buffer."""
    for left in range(1, 6):
        connection = established("acceptor")
        whole = len(connection.receive_buffer())
        size = 50 * len(ECHO_PDU)
        turned = ECHO_PDU[left:] + 49 * ECHO_PDU + ECHO_PDU[:left]
        take(connection, ECHO_PDU[:left])
        for _ in range(3 * whole // size):
            assert len(take(connection, turned)) == 50
            assert len(connection.receive_buffer()) >= whole // 2 - 6


def test_nothing_is_said_to_a_peer_that_is_gone() -> None:
    connection = established("acceptor")
    put(connection, bytes(6))
    with pytest.raises(RemoteProtocolError):
        connection.next_event()
    connection.received(0)
    assert drain(connection) == [Closed()]
    assert written(connection) == b""


def test_the_maximum_is_what_was_said_and_a_little_more() -> None:
    for length, fine in ((MAXIMUM, True), (MAXIMUM + 12, True), (2 * MAXIMUM, False)):
        connection = established("acceptor")
        stream = p_data(pdv(1, 3, encode_command(c_store_rq(1, CT, "1.2"))))
        take(connection, stream)
        big = p_data(pdv(1, 2, bytes(length - 6)))
        if fine:
            assert merged(take(connection, big)) == [Data(1, memoryview(bytes(length - 6)), True)]
        else:
            with pytest.raises(RemoteProtocolError, match="6 to 16384 are expected"):
                take(connection, big)
            assert written(connection) == abort(2, 6)
