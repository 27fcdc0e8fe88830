"""Bytes in any cuts give the same events; two connections, and pynetdicom at the other end."""

from __future__ import annotations

import random
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.pdu_primitives import P_DATA

from dcmflow.protocol.command import CommandSet, c_store_rq, encode_command
from dcmflow.protocol.connection import Connection
from dcmflow.protocol.encode import encode
from dcmflow.protocol.events import Command, Data, Event, Message
from dcmflow.protocol.fragment import LARGEST
from dcmflow.protocol.pdu import Abort, ReleaseReply, ReleaseRequest
from dcmflow.protocol.state import State
from protocol.connections import (
    CT,
    REQUEST_PDU,
    abort,
    accept,
    drain,
    established,
    merged,
    p_data,
    pdus,
    pdv,
    pdvs,
    put,
    request,
    sent,
    state_of,
    take,
)
from protocol.strategies import COMMANDS

MAXIMA = (8, 9, 16, 64, 1024, 16384, 262_144, 1 << 20, 0)


@st.composite
def messages(draw: st.DrawFn, longest: int = 4000) -> Message:
    command = draw(COMMANDS)
    if not command.has_data:
        return Message(1, command)
    size = draw(st.integers(0, longest))
    content = random.Random(draw(st.integers(0, 9))).randbytes(size)
    cut = draw(st.integers(0, size))
    return Message(1, command, [content[:cut], memoryview(content)[cut:]])


def said(message: Message) -> list[Event]:
    """What the other end is told of a message."""
    events: list[Event] = [Command(message.context_id, message.command)]
    if message.data is not None:
        events.append(Data(message.context_id, memoryview(b"".join(message.data)), True))
    return events


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[Event]]:
    """P-DATA-TF PDUs as nobody has to send them, though everybody may: any cuts, several PDVs in one, empty ones."""
    events: list[Event] = []
    parts: list[bytes] = []
    for message in draw(st.lists(messages(600), min_size=1, max_size=4)):
        events += said(message)
        for control, content in ((1, encode_command(message.command)), (0, message.data)):
            if content is None:
                continue
            whole = content if isinstance(content, bytes) else b"".join(content)
            cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=5)))
            edges = list(zip([0, *cuts], [*cuts, len(whole)], strict=True))
            for number, (first, last) in enumerate(edges):
                final = 2 if number == len(edges) - 1 else 0
                reserved = draw(st.sampled_from([0, 0, 0xFC]))  # only the low two bits are tested (PS3.8 E.2)
                parts.append(pdv(1, control | final | reserved, whole[first:last]))
    stream: list[bytes] = []
    while parts:
        count = draw(st.integers(1, len(parts)))
        stream.append(p_data(*parts[:count]))
        del parts[:count]
    return b"".join(stream), events


@given(streams(), st.lists(st.integers(1, 300), max_size=40), st.sampled_from(["requestor", "acceptor"]))
def test_any_cut_of_the_bytes_gives_the_same_events(
    stream: tuple[bytes, list[Event]], sizes: list[int], role: str
) -> None:
    data, events = stream
    assert merged(take(established(role), data)) == events, "all at once"
    assert merged(take(established(role), data, sizes)) == events, "in any cuts"
    assert merged(take(established(role), data, [])) == events, "byte by byte"


def test_a_whole_association_byte_by_byte() -> None:
    acceptor = Connection("acceptor")
    command = c_store_rq(1, CT, "1.2.3")
    assert take(acceptor, REQUEST_PDU, []) == [request()]
    sent(acceptor, accept())
    stream = p_data(pdv(1, 3, encode_command(command)), pdv(1, 2, b"abcd")) + bytes.fromhex(
        "0500 00000004 00000000"
    )
    assert merged(take(acceptor, stream, [])) == [
        Command(1, command),
        Data(1, memoryview(b"abcd"), True),
        ReleaseRequest(),
    ]


def test_a_command_set_is_too_long_in_any_cut() -> None:
    from dcmflow.errors import RemoteProtocolError

    command = encode_command(CommandSet(field=0x8001, offending_elements=tuple(range(40_000))))
    for sizes in (None, [60_000] * 4):
        with pytest.raises(RemoteProtocolError, match="a command set of more than 131072 bytes"):
            take(_takes_any("acceptor"), p_data(pdv(1, 3, command)), sizes)


def _takes_any(role: str) -> Connection:
    connection = established(role)
    connection.maximum_length = 0
    return connection


def test_data_are_views_of_the_buffer() -> None:
    """Nothing is copied between the read and the event."""
    connection = established("acceptor")
    stream = p_data(pdv(1, 3, encode_command(c_store_rq(1, CT, "1.2"))), pdv(1, 2, b"abcdef"))
    where = connection.receive_buffer()
    put(connection, stream)
    assert isinstance(connection.next_event(), Command)
    event = connection.next_event()
    assert isinstance(event, Data)
    assert event.data.obj is where.obj
    assert event.data == where[len(stream) - 6 : len(stream)]


def test_a_data_set_passes_by_in_stretches() -> None:
    """However long its PDU is: a stretch for each read, and none that holds nothing."""
    connection = _takes_any("acceptor")
    size = 3_000_001
    stream = p_data(pdv(1, 3, encode_command(c_store_rq(1, CT, "1.2"))), pdv(1, 2, bytes(size)))
    events = take(connection, stream, [1000] * 5000)
    stretches = [event for event in events if isinstance(event, Data)]
    assert sum(len(event.data) for event in stretches) == size
    assert all(len(event.data) for event in stretches)
    assert [event.last for event in stretches] == [False] * (len(stretches) - 1) + [True]
    assert len(stretches) <= size // 1000 + 2


# ---------------------------------------------------------------------------------------------- two connections


class Pair:
    """Two connections and the bytes on their way."""

    def __init__(self, requestor_takes: int, acceptor_takes: int) -> None:
        self.requestor = Connection("requestor", maximum_length=requestor_takes)
        self.acceptor = Connection("acceptor", maximum_length=acceptor_takes)
        asked, answered = request(requestor_takes), accept(acceptor_takes)
        assert take(self.acceptor, sent(self.requestor, asked)) == [asked]
        assert take(self.requestor, sent(self.acceptor, answered)) == [answered]


@given(
    st.sampled_from(MAXIMA),
    st.sampled_from(MAXIMA),
    st.lists(st.tuples(st.booleans(), messages()), max_size=5),
    st.lists(st.integers(1, 5000), max_size=10),
)
def test_two_connections(
    requestor_takes: int, acceptor_takes: int, exchanged: list[tuple[bool, Message]], sizes: list[int]
) -> None:
    pair = Pair(requestor_takes, acceptor_takes)
    streams: dict[bool, bytes] = {True: b"", False: b""}
    expected: dict[bool, list[Event]] = {True: [], False: []}
    for to_acceptor, message in exchanged:
        stream = sent(pair.requestor if to_acceptor else pair.acceptor, message)
        most = (acceptor_takes if to_acceptor else requestor_takes) or LARGEST
        for _, body in pdus(stream):
            assert len(body) <= most, "the peer's maximum is kept"
            for _, control, content in pdvs(body):
                assert control & 2 or len(content) % 2 == 0, "fragments are even (PS3.8 E.1)"
        streams[to_acceptor] += stream
        expected[to_acceptor] += said(message)
    steps = [*sizes, *[4096] * 1000]
    assert merged(take(pair.acceptor, streams[True], steps)) == expected[True]
    assert merged(take(pair.requestor, streams[False], steps)) == expected[False]
    assert take(pair.acceptor, sent(pair.requestor, ReleaseRequest())) == [ReleaseRequest()]
    assert take(pair.requestor, sent(pair.acceptor, ReleaseReply())) == [ReleaseReply()]
    assert (state_of(pair.requestor), state_of(pair.acceptor)) == (State.STA1, State.STA13)


@pytest.mark.parametrize("maximum_length", [0, 1 << 20, 262_144, 16_384, 1_000])
def test_a_large_data_set(maximum_length: int) -> None:
    pair = Pair(16384, maximum_length)
    content = random.Random(1).randbytes(5_000_001)
    message = Message(1, c_store_rq(1, CT, "1.2"), [content[:7], memoryview(content)[7:]])
    stream = sent(pair.requestor, message)
    assert max(len(body) for _, body in pdus(stream)) <= (maximum_length or LARGEST)
    assert merged(take(pair.acceptor, stream)) == said(message)


def test_an_abort_reaches_the_other_end() -> None:
    pair = Pair(0, 0)
    assert take(pair.acceptor, sent(pair.requestor, Abort(0, 0))) == [Abort(0, 0)]
    assert (state_of(pair.requestor), state_of(pair.acceptor)) == (State.STA13, State.STA1)
    assert take(pair.requestor, abort()) == []


# ---------------------------------------------------------------------------------------------- pynetdicom


def _theirs(content: bytes | None) -> tuple[DIMSEMessage, str]:
    instance = "1.2.826.0.1.3680043.8.498.1"
    primitive = C_STORE()
    primitive.MessageID = 7
    primitive.AffectedSOPClassUID = CT
    primitive.AffectedSOPInstanceUID = instance
    primitive.Priority = 2
    primitive.DataSet = BytesIO(content or b"")
    message = C_STORE_RQ()
    message.primitive_to_message(primitive)
    return message, instance


def _encoded(message: DIMSEMessage, maximum_length: int, together: int) -> Iterator[bytes]:
    """As P-DATA-TF PDUs with so many PDVs in each."""
    found = list(message.encode_msg(1, maximum_length))
    for first in range(0, len(found), together):
        joined = P_DATA()
        for each in found[first : first + together]:
            joined.presentation_data_value_list.extend(each.presentation_data_value_list)
        pdu: Any = P_DATA_TF()
        pdu.from_primitive(joined)
        yield pdu.encode()


@pytest.mark.parametrize("maximum_length", [8, 100, 16382, 0])
@pytest.mark.parametrize("together", [1, 2, 7])
@pytest.mark.parametrize("size", [2, 1000, 50_000])
def test_what_pynetdicom_sends(maximum_length: int, together: int, size: int) -> None:
    content = random.Random(size).randbytes(size if maximum_length != 8 else min(size, 1000))
    message, instance = _theirs(content)
    connection = _takes_any("acceptor")
    stream = b"".join(_encoded(message, maximum_length, together))
    assert merged(take(connection, stream, [977] * 200)) == [
        Command(1, c_store_rq(7, CT, instance, priority=2)),
        Data(1, memoryview(content), True),
    ]


@pytest.mark.parametrize("maximum_length", [8, 100, 16382, 0])
@pytest.mark.parametrize("size", [1, 2, 1000, 50_000])
def test_what_pynetdicom_receives(maximum_length: int, size: int) -> None:
    content = random.Random(size).randbytes(size if maximum_length != 8 else min(size, 1000))
    connection = established("requestor")
    connection.peer_maximum_length = maximum_length
    stream = sent(connection, Message(1, c_store_rq(7, CT, "1.2.3", 1, "ANY", 9), [content]))
    message = DIMSEMessage()
    done = False
    for kind, body in pdus(stream):
        assert not done
        pdu: Any = P_DATA_TF()
        pdu.decode(bytes((kind, 0)) + len(body).to_bytes(4, "big") + body)
        done = message.decode_msg(pdu.to_primitive(), None)
    assert done
    primitive: Any = message.message_to_primitive()
    assert message.context_id == 1
    assert (primitive.MessageID, primitive.Priority) == (7, 1)
    assert (primitive.AffectedSOPClassUID, primitive.AffectedSOPInstanceUID) == (CT, "1.2.3")
    assert (primitive.MoveOriginatorApplicationEntityTitle, primitive.MoveOriginatorMessageID) == ("ANY", 9)
    assert primitive.DataSet.getvalue() == content


def test_pynetdicom_reads_the_pdus_that_end_an_association() -> None:
    from pynetdicom.pdu import A_ABORT_RQ, A_RELEASE_RP, A_RELEASE_RQ

    connection = established("acceptor")
    for kind, event in ((A_RELEASE_RQ, ReleaseRequest()), (A_RELEASE_RP, ReleaseReply())):
        theirs: Any = kind()
        theirs.decode(encode(event))
        assert theirs.encode() == encode(event)
    abort_pdu: Any = A_ABORT_RQ()
    abort_pdu.decode(sent(connection, Abort(2, 6)))
    assert (abort_pdu.source, abort_pdu.reason_diagnostic) == (2, 6)
    assert drain(connection) == []
