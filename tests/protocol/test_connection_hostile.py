"""A peer that means harm: each attempt ends with the A-ABORT that PS3.8 asks for, within bounds of memory and work."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from struct import pack
from types import FrameType

import pytest

from dcmflow.errors import RemoteProtocolError
from dcmflow.protocol import pdu
from dcmflow.protocol.command import c_find_rq, c_store_rq, encode_command
from dcmflow.protocol.connection import PDU_LIMIT, SLACK, Connection
from dcmflow.protocol.encode import encode
from dcmflow.protocol.events import Closed, Command, Event
from dcmflow.protocol.incoming import COMMAND_LIMIT
from dcmflow.protocol.items import AnsweredContext, ProposedContext
from dcmflow.protocol.pdu import Abort, AssociateAccept, AssociateRequest, ReleaseReply, ReleaseRequest
from dcmflow.protocol.state import State
from protocol.connections import (
    ACCEPT_PDU,
    CT,
    ECHO,
    ECHO_PDU,
    IMPLICIT,
    MAXIMUM,
    RELEASE_RP,
    RELEASE_RQ,
    REQUEST_PDU,
    abort,
    aborted,
    drain,
    established,
    p_data,
    pdv,
    put,
    release_ended,
    released,
    releasing,
    request,
    requested,
    sent,
    state_of,
    take,
    written,
)

STORE = encode_command(c_store_rq(1, CT, "1.2.3"))
OTHER = "1.2.840.10008.5.1.4.1.2.2.1"
FOUR_GIB = 0xFFFF_FFFF
PLENTY = 40 << 20  # bytes that a test sends to see whether memory grows
LITTLE = 3 << 20  # bytes that may be taken for all that


def refused(
    connection: Connection, data: bytes, said: bytes, text: str, sizes: Iterable[int] | None = None
) -> None:
    """It is a violation, answered by this; and after it there is nothing but the end."""
    with pytest.raises(RemoteProtocolError, match=text):
        take(connection, data, sizes)
    assert written(connection) == said
    assert state_of(connection) is State.STA13
    connection.received(0)
    assert drain(connection) == [Closed()]
    assert state_of(connection) is State.STA1


@contextmanager
def within(bound: int) -> Iterator[None]:
    """No more than so many bytes are taken meanwhile."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < bound


def work(action: Callable[[], object]) -> int:
    """How many calls it takes."""
    count = 0

    def seen(_frame: FrameType, what: str, _argument: object) -> None:
        nonlocal count
        count += what in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(seen)
    try:
        action()
    finally:
        sys.setprofile(before)
    return count


def two_contexts() -> Connection:
    """An acceptor's association in which 1 and 3 are accepted."""
    connection = Connection("acceptor", maximum_length=MAXIMUM)
    proposed = (ProposedContext(1, CT, (IMPLICIT,)), ProposedContext(3, OTHER, (IMPLICIT,)))
    take(connection, encode(AssociateRequest("PACS", "DCMFLOW", proposed)))
    answered = (AnsweredContext(1, 0, IMPLICIT), AnsweredContext(3, 0, IMPLICIT))
    sent(connection, AssociateAccept("PACS", "DCMFLOW", answered))
    return connection


# ---------------------------------------------------------------------------------------------- PDUs

ASSOCIATION_PDUS = [
    pdu.ASSOCIATE_RQ,
    pdu.ASSOCIATE_AC,
    pdu.ASSOCIATE_RJ,
    pdu.RELEASE_RQ,
    pdu.RELEASE_RP,
    pdu.ABORT,
]


@pytest.mark.parametrize("length", [PDU_LIMIT + 1, 1 << 31, FOUR_GIB])
@pytest.mark.parametrize("kind", ASSOCIATION_PDUS)
def test_a_pdu_that_announces_too_much(kind: int, length: int) -> None:
    """It is refused at its head, before anything is taken for it."""
    head = pack(">BxI", kind, length)
    with within(LITTLE):
        refused(Connection("acceptor"), head, abort(0, 0), f"type 0{kind}H that announces {length} bytes")
        refused(requested(), head, abort(2, 6), "announces")
        refused(established("requestor"), head, abort(2, 6), "announces")
        refused(established("acceptor"), head, abort(2, 6), "announces", [])


@pytest.mark.parametrize("kind", [pdu.ASSOCIATE_RJ, pdu.RELEASE_RQ, pdu.RELEASE_RP, pdu.ABORT])
def test_a_short_pdu_is_not_long(kind: int) -> None:
    refused(established("acceptor"), pack(">BxI", kind, 1025), abort(2, 6), "announces 1025 bytes")


@pytest.mark.parametrize("length", [MAXIMUM + SLACK + 1, 1 << 31, FOUR_GIB])
def test_data_that_announce_more_than_was_agreed(length: int) -> None:
    head = pack(">BxI", pdu.P_DATA_TF, length)
    for role in ("requestor", "acceptor"):
        refused(established(role), head, abort(2, 6), f"a P-DATA-TF PDU of {length} bytes")


@pytest.mark.parametrize("kind", [0, 8, 0x47, 0xFF])
@pytest.mark.parametrize("length", [0, 4, FOUR_GIB])
def test_a_pdu_of_no_known_type(kind: int, length: int) -> None:
    head = pack(">BxI", kind, length)
    text = f"unknown type {kind:02X}H"
    refused(Connection("acceptor"), head, abort(0, 0), text)
    refused(requested(), head, abort(2, 1), text)
    refused(established("acceptor"), head, abort(2, 1), text)


@pytest.mark.parametrize(
    "greeting",
    [
        b"GET / HTTP/1.1\r\nHost: pacs\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        bytes.fromhex("16 03 01 02 00 01 00 01 fc 03 03") + bytes(500),  # TLS
        bytes(100_000),
        b"\xff" * 100_000,
    ],
)
def test_somebody_who_speaks_something_else(greeting: bytes) -> None:
    refused(Connection("acceptor"), greeting, abort(0, 0), "unknown type")
    refused(Connection("acceptor"), greeting, abort(0, 0), "unknown type", [])


@pytest.mark.parametrize("length", range(6))
def test_a_pdu_that_carries_no_pdv(length: int) -> None:
    refused(
        established("acceptor"),
        pack(">BxI", pdu.P_DATA_TF, length) + bytes(length),
        abort(2, 6),
        "bytes, where 6",
    )


@pytest.mark.parametrize("length", range(4))
@pytest.mark.parametrize("kind", ASSOCIATION_PDUS)
def test_a_pdu_that_is_too_short(kind: int, length: int) -> None:
    stream = pack(">BxI", kind, length) + bytes(length)
    refused(established("acceptor"), stream, abort(2, 6), "bytes are needed")
    refused(Connection("acceptor"), stream, abort(0, 0), "bytes are needed")


def test_ten_thousand_contexts() -> None:
    item = (
        bytes.fromhex("20 00 001d") + bytes((1, 0, 0, 0)) + b"\x30\0\0\x071.2.3.4" + b"\x40\0\0\x0a1.2.840.10"
    )
    assert len(item) == 4 + 0x1D
    body = REQUEST_PDU[6:74] + item * 10_000
    stream = pack(">BxI", pdu.ASSOCIATE_RQ, len(body)) + body
    assert len(body) < PDU_LIMIT
    with within(LITTLE):
        refused(Connection("acceptor"), stream, abort(0, 0), "more than 1000 presentation contexts")
    answer = bytes.fromhex("21 00 0008") + bytes((1, 0, 0, 0)) + b"\x40\0\0\0"
    body = ACCEPT_PDU[6:74] + answer * 10_000
    with within(LITTLE):
        refused(
            requested(),
            pack(">BxI", pdu.ASSOCIATE_AC, len(body)) + body,
            abort(2, 6),
            "more than 1000 presentation",
        )


@pytest.mark.parametrize("item", [b"\xff\0\0\0", b"\x50\0\0\0", b"\x10\0\0\0", b"\xff\0\x01\0" + bytes(256)])
def test_a_request_full_of_items_takes_linear_work(item: bytes) -> None:
    def receive(size: int) -> int:
        body = REQUEST_PDU[6:74] + item * (size // len(item))
        stream = pack(">BxI", pdu.ASSOCIATE_RQ, len(body)) + body
        connection = Connection("acceptor")
        found: list[Event] = []
        calls = work(lambda: found.extend(take(connection, stream)))
        assert [type(event) for event in found] == [AssociateRequest]
        return calls

    assert receive(100_000) < 2.2 * receive(50_000) + 500
    with within(LITTLE):
        receive(200_000)


def test_nothing_is_taken_for_bytes_that_have_not_come() -> None:
    with within(100_000):
        connection = Connection("acceptor")
        assert take(connection, pack(">BxI", pdu.ASSOCIATE_RQ, PDU_LIMIT) + bytes(1000), []) == []


def test_what_was_half_read_is_given_back_with_the_association() -> None:
    connection = established("acceptor")
    tracemalloc.start()
    try:
        take(connection, pack(">BxI", pdu.ASSOCIATE_RQ, PDU_LIMIT) + bytes(900_000))
        before = tracemalloc.get_traced_memory()[0]
        sent(connection, Abort())
        assert before - tracemalloc.get_traced_memory()[0] > 800_000
    finally:
        tracemalloc.stop()


# ---------------------------------------------------------------------------------------------- PDVs


@pytest.mark.parametrize("length", [0, 1, 2 + 10 + 1, 1 << 16, 1 << 31, FOUR_GIB])
def test_a_pdv_that_lies_about_its_length(length: int) -> None:
    stream = pack(">BxIIBB", 4, 16, length, 1, 3) + bytes(10)
    text = f"a PDV of {length} bytes in a PDU of which 16 are left"
    for role in ("requestor", "acceptor"):
        refused(established(role), stream, abort(2, 6), text)
        refused(established(role), stream, abort(2, 6), text, [])


@pytest.mark.parametrize("left", range(1, 6))
def test_a_pdv_that_leaves_too_little_for_another(left: int) -> None:
    stream = p_data(pdv(1, 3, encode_command(ECHO)) + bytes(left))
    refused(established("acceptor"), stream, abort(2, 6), "a PDV of 70 bytes in a PDU")


def test_a_second_pdv_lies() -> None:
    """The first one was fine, and is told."""
    connection = established("acceptor")
    put(connection, p_data(pdv(1, 3, STORE), pack(">IBB", 100, 1, 2) + b"ab"))
    assert connection.next_event() == Command(1, c_store_rq(1, CT, "1.2.3"))
    with pytest.raises(RemoteProtocolError, match="a PDV of 100 bytes in a PDU of which 8 are left"):
        connection.next_event()
    assert written(connection) == abort(2, 6)


# ---------------------------------------------------------------------------------------------- messages


@pytest.mark.parametrize("context_id", [0, 2, 3, 5, 255])
def test_a_context_that_was_not_accepted(context_id: int) -> None:
    for role in ("requestor", "acceptor"):
        for control in (1, 3):
            refused(
                established(role),
                p_data(pdv(context_id, control, STORE)),
                abort(2, 6),
                f"in presentation context {context_id},",
            )


WRONG = {
    "a data set that no command announced": [pdv(1, 2, b"abcd")],
    "a data set that no command announced ": [pdv(1, 0)],
    "a data set that no command announced  ": [pdv(1, 3, encode_command(ECHO)), pdv(1, 2, b"ab")],
    "a data set that no command announced   ": [pdv(1, 1, STORE[:20]), pdv(1, 0, b"ab")],
    "a data set that no command announced    ": [pdv(1, 3, STORE), pdv(1, 2, b"ab"), pdv(1, 2, b"ab")],
    "a command set where a data set was to follow": [pdv(1, 3, STORE), pdv(1, 3, STORE)],
    "a command set where a data set was to follow ": [pdv(1, 3, STORE), pdv(1, 0, b"ab"), pdv(1, 1, STORE)],
    "a command set in two presentation contexts": [pdv(1, 1, STORE[:20]), pdv(3, 3, STORE[20:])],
    "a data set in presentation context 3 to a command in 1": [pdv(1, 3, STORE), pdv(3, 2, b"ab")],
    "a data set in presentation context 5 to a command in 1": [pdv(1, 3, STORE), pdv(1, 0, b"ab"), pdv(5, 2)],
    "command set: element": [pdv(1, 3, STORE[:-3])],
    "no command field": [pdv(1, 3)],
    "too few for an element": [pdv(1, 3, b"\0" * 7)],
    "no command field ": [pdv(1, 1), pdv(1, 1), pdv(1, 3)],
}


@pytest.mark.parametrize("text", WRONG)
def test_fragments_out_of_place(text: str) -> None:
    pdvs = WRONG[text]
    cuts: list[list[int] | None] = [None, []]
    for sizes in cuts:
        refused(two_contexts(), p_data(*pdvs), abort(2, 6), text.strip(), sizes)
        refused(two_contexts(), b"".join(map(p_data, pdvs)), abort(2, 6), text.strip(), sizes)


def test_a_command_set_that_never_ends() -> None:
    connection = established("acceptor")
    fragment = p_data(pdv(1, 1, bytes(16_000)))
    with within(LITTLE):
        for _ in range(COMMAND_LIMIT // 16_000):
            assert take(connection, fragment) == []
        refused(connection, fragment, abort(2, 6), f"a command set of more than {COMMAND_LIMIT} bytes")


def test_a_command_set_that_never_ends_and_holds_nothing() -> None:
    connection = established("acceptor")
    fragment = p_data(*[pdv(1, 1)] * 1000)
    with within(LITTLE):
        for _ in range(100):
            assert take(connection, fragment) == []
    assert connection.receiving


def test_a_data_set_that_never_ends_passes_by() -> None:
    """No memory is taken for it, nor for a PDU of 4 GiB where any length was agreed."""
    connection = established("acceptor")
    connection.maximum_length = 0
    take(connection, p_data(pdv(1, 3, STORE)) + pack(">BxIIBB", 4, FOUR_GIB, FOUR_GIB - 4, 1, 0))
    with within(LITTLE):
        block = bytes(1 << 18)
        for _ in range(PLENTY // len(block)):
            put(connection, block)
            while connection.next_event() is not None:
                pass


def test_empty_fragments_of_a_data_set_are_nothing() -> None:
    connection = established("acceptor")
    take(connection, p_data(pdv(1, 3, STORE)))
    assert take(connection, p_data(*[pdv(1, 0)] * 2000)) == []


def test_work_is_linear_in_the_number_of_fragments() -> None:
    def receive(count: int) -> int:
        connection = established("acceptor")
        take(connection, p_data(pdv(1, 3, STORE)))
        stream = p_data(*[pdv(1, 0, b"ab")] * 1000) * count
        return work(lambda: take(connection, stream, [100] * 10_000))

    assert receive(40) < 2.2 * receive(20) + 500


def test_two_messages_may_be_in_two_contexts() -> None:
    """What is next to the forbidden."""
    find = c_find_rq(2, OTHER)
    stream = p_data(pdv(1, 3, STORE), pdv(1, 2, b"ab")) + p_data(
        pdv(3, 3, encode_command(find)), pdv(3, 2, b"")
    )
    kinds = [type(event).__name__ for event in take(two_contexts(), stream)]
    assert kinds == ["Command", "Data", "Command", "Data"]


# ---------------------------------------------------------------------------------------------- afterwards


@pytest.mark.parametrize("junk", [ECHO_PDU, bytes(5000), b"\xff" * 5000, REQUEST_PDU, abort(), RELEASE_RQ])
@pytest.mark.parametrize("make", [aborted, release_ended])
@pytest.mark.parametrize("role", ["requestor", "acceptor"])
def test_after_the_end_nothing_is_heard(role: str, make: Callable[[str], Connection], junk: bytes) -> None:
    connection = make(role)
    assert take(connection, junk) == []
    assert take(connection, junk, []) == []
    assert written(connection) == b""
    assert state_of(connection) is State.STA1


def test_junk_in_the_same_read_as_the_end() -> None:
    assert take(established("acceptor"), abort(2, 0) + bytes(9999)) == [Abort(2, 0)]
    assert take(releasing("requestor"), RELEASE_RP + bytes(9999)) == [ReleaseReply()]


@pytest.mark.parametrize(
    "junk", [ECHO_PDU * 100, bytes(6000), REQUEST_PDU * 50, RELEASE_RQ * 99, pack(">BxI", 4, FOUR_GIB)]
)
def test_after_a_release_nothing_is_told(junk: bytes) -> None:
    connection = released("acceptor")
    assert take(connection, junk) == []
    assert len(written(connection)) in (0, 10), "at most one more A-ABORT"
    assert state_of(connection) is State.STA13


def test_pdus_after_a_release_request_are_violations() -> None:
    for stream in (ECHO_PDU, RELEASE_RQ, RELEASE_RP, REQUEST_PDU):
        connection = established("acceptor")
        assert take(connection, RELEASE_RQ) == [ReleaseRequest()]
        refused(connection, stream, abort(2, 2), "received, while the local user is to answer a release")


def test_a_second_request() -> None:
    refused(
        established("acceptor"),
        encode(request()),
        abort(2, 2),
        "A-ASSOCIATE-RQ received, while the association",
    )


def test_whoever_goes_on_after_an_error_is_not_kept() -> None:
    for junk in (bytes(1 << 18), ECHO_PDU * 2000, b"\1" * (1 << 18)):
        connection = established("acceptor")
        with pytest.raises(RemoteProtocolError):
            take(connection, bytes(6))
        with within(LITTLE):
            for _ in range(PLENTY // len(junk) // 40):
                assert take(connection, junk) == []
        assert len(written(connection)) == 10
