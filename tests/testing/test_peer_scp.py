"""The scripted SCP, byte by byte, against a client that is made of literal bytes."""

from __future__ import annotations

import anyio
import pytest

import raw_dicom as raw
from dcmflow.protocol.items import AnsweredContext
from dcmflow.testing import (
    AbortNow,
    Accept,
    Answer,
    CloseNow,
    Collide,
    Later,
    Raw,
    Reject,
    Release,
    ScriptedScp,
    Silence,
    Wait,
)
from dcmflow.testing.peer_fault import (
    FOUR_GIB,
    answer_item,
    before,
    cut,
    garbage,
    pdu_length,
    pdu_length_by,
    pdu_type,
    pdv_header,
    pdv_length,
    pdv_length_by,
    spoilt,
    with_item,
)

pytestmark = pytest.mark.anyio

CT = (3, raw.CT_IMAGE, raw.IMPLICIT)
VERIFICATION = (1, raw.VERIFICATION, raw.IMPLICIT)


def store(message_id: int, *data: bytes) -> bytes:
    """A C-STORE-RQ on context 3, its data set in as many PDUs."""
    made = raw.p_data(3, 3, raw.command(0x0001, message_id, raw.CT_IMAGE, data=True))
    for number, piece in enumerate(data, 1):
        made += raw.p_data(3, 2 if number == len(data) else 0, piece)
    return made


@pytest.fixture
async def connect():
    """`await connect(peer)` is a raw client of it."""
    opened = []

    async def connect(peer):
        opened.append(await raw.connect(peer.port))
        return opened[-1]

    yield connect
    for client in opened:
        await client.stream.aclose()


async def echoed(connect, script) -> bytes:
    """What comes back to one C-ECHO and a release, after the acceptance."""
    async with ScriptedScp(on_echo=script) as peer:
        client = await connect(peer)
        await client.associate()
        await client.send(raw.echo(7), raw.RELEASE_RQ)
        got = b""
        while not got.endswith(raw.RELEASE_RP):
            got += await client.stream.receive()
        return got.removesuffix(raw.RELEASE_RP)


# ------------------------------------------------------------------------------------------------ the record


async def test_what_comes_is_noted_in_order(connect):
    async with ScriptedScp() as peer:
        client = await connect(peer)
        await client.associate(VERIFICATION, CT)
        await client.send(raw.echo(1), store(2, b"ab", b"cd"), raw.cancel(2), raw.RELEASE_RQ)
        assert await client.response() == (1, 0)
        assert await client.response() == (2, 0)
        assert (await client.pdu()).kind == 6
        await client.stream.aclose()
        await peer.received.wait("close")
    assert peer.received.whats == [
        "connect",
        "A-ASSOCIATE-RQ",
        "C-ECHO-RQ",
        "C-STORE-RQ",
        "C-CANCEL-RQ",
        "A-RELEASE-RQ",
        "close",
    ]
    assert peer.received[1].pdu.calling_ae == "RAW"
    assert peer.received[3].data == b"abcd"
    assert peer.received[3].abstract_syntax == raw.CT_IMAGE
    assert peer.received[3].transfer_syntax == raw.IMPLICIT
    assert peer.channels[0].cancelled == {2}
    assert [kind for kind, _ in peer.channels[0].pdus] == [1, 4, 4, 4, 4, 4, 5]
    assert peer.received.wrong == []


async def test_abort_in_the_middle_of_a_message_is_noted_with_what_came_of_it(connect):
    async with ScriptedScp() as peer:
        client = await connect(peer)
        await client.associate(CT)
        await client.send(store(1, b"half", b"rest")[:-10], bytes.fromhex("07 00 00000004 0000 02 05"))
        await client.stream.aclose()
        await peer.received.wait("unreadable")  # the A-ABORT was swallowed by the PDU it was put in
        peer.received.wrong.clear()

        client = await connect(peer)
        await client.associate(CT)
        half = store(1, b"half", b"rest").removesuffix(raw.p_data(3, 2, b"rest"))
        await client.send(half, bytes.fromhex("07 00 00000004 0000 02 05"))
        seen = await peer.received.wait("A-ABORT")
    assert seen.data == b"half"
    assert (seen.pdu.source, seen.pdu.reason) == (2, 5)


async def test_associations_at_once_are_counted(connect):
    async with ScriptedScp() as peer:
        first, second = await connect(peer), await connect(peer)
        await first.associate()
        await second.associate()
        assert (peer.open, peer.most_open) == (2, 2)
        await first.stream.aclose()
        await peer.received.wait("close")
        third = await connect(peer)
        await third.associate()
    assert peer.most_open == 2
    assert [seen.association for seen in peer.received.of("A-ASSOCIATE-RQ")] == [1, 2, 3]


# --------------------------------------------------------------------------------------------- turns


async def test_replies_have_their_turn_and_then_the_ordinary_one_follows(connect):
    asked = []

    def third(exchange):
        asked.append(exchange.request.message_id)
        return 0xB000

    async def fourth(exchange):
        await exchange.run(Answer(0xC001))

    async with ScriptedScp(on_echo=[0xA700, Answer(0x0122, "no"), third, fourth]) as peer:
        client = await connect(peer)
        await client.associate()
        await client.send(*(raw.echo(n) for n in range(1, 7)))
        got = [await client.response() for _ in range(6)]
    assert got == [(1, 0xA700), (2, 0x0122), (3, 0xB000), (4, 0xC001), (5, 0), (6, 0)]
    assert asked == [3]


async def test_one_reply_is_for_every_time(connect):
    async with ScriptedScp(on_echo=0xA700) as peer:
        client = await connect(peer)
        await client.associate()
        await client.send(raw.echo(1), raw.echo(2))
        assert [await client.response() for _ in range(2)] == [(1, 0xA700), (2, 0xA700)]


async def test_a_tuple_is_done_one_after_the_other(connect):
    got = await echoed(connect, (Raw(b"first"), Answer(), Raw(b"last")))
    assert got.startswith(b"first\x04")
    assert got.endswith(b"last")


async def test_silence_is_for_one_request(connect):
    async with ScriptedScp(on_echo=[Silence(), 0]) as peer:
        client = await connect(peer)
        await client.associate()
        await client.send(raw.echo(1), raw.echo(2))
        assert await client.response() == (2, 0)


async def test_an_answer_waits_for_an_event(connect):
    event, order = anyio.Event(), []
    async with ScriptedScp(on_echo=(Wait(event), lambda _: order.append("answered"), Answer())) as peer:
        client = await connect(peer)
        await client.associate()
        await client.send(raw.echo(1))
        await peer.received.wait("C-ECHO-RQ")
        await anyio.wait_all_tasks_blocked()
        order.append("set")
        event.set()
        assert await client.response() == (1, 0)
    assert order == ["set", "answered"]


async def test_an_answer_waits_for_what_comes(connect):
    async with ScriptedScp(on_echo=(Wait("C-CANCEL-RQ"), Answer(0xFE00))) as peer:
        client = await connect(peer)
        await client.associate()
        await client.send(raw.echo(1))
        await peer.received.wait("C-ECHO-RQ")
        await client.send(raw.cancel(1))
        assert await client.response() == (1, 0xFE00)


async def test_closing_is_seen_while_an_answer_waits(connect):
    async with ScriptedScp(on_echo=Wait(anyio.Event())) as peer:
        client = await connect(peer)
        await client.associate()
        await client.send(raw.echo(1))
        await client.stream.aclose()
        await peer.received.wait("close")
    assert peer.open == 0


async def test_answers_after_the_next_request(connect):
    async with ScriptedScp(on_echo=[Later(Answer(0x0110)), 0]) as peer:
        client = await connect(peer)
        await client.associate()
        await client.send(raw.echo(1), raw.echo(2), raw.echo(3))
        assert [await client.response() for _ in range(3)] == [(2, 0), (1, 0x0110), (3, 0)]


async def test_answers_after_a_release(connect):
    async with ScriptedScp(on_echo=Later(Answer(), after="release")) as peer:
        client = await connect(peer)
        await client.associate()
        await client.send(raw.echo(5), raw.RELEASE_RQ)
        assert (await client.pdu()).kind == 6
        assert await client.response() == (5, 0)


async def test_a_mistake_in_a_script_comes_out():
    def wrong(exchange):
        raise ZeroDivisionError("of the script")

    with pytest.raises(ExceptionGroup) as caught:
        async with ScriptedScp(on_echo=wrong) as peer:
            client = await raw.connect(peer.port)
            async with client.stream:
                await client.associate()
                await client.send(raw.echo(1))
                await client.rest()
    assert caught.group_contains(ZeroDivisionError, match="of the script")


# --------------------------------------------------------------------------------------------- right answers


async def test_response_says_what_it_is_told(connect):
    script = Answer(0xA700, "disk full", fields={"message_id_responded": 99, "remaining": 3})
    got = await echoed(connect, script)
    found = raw.elements(raw.items(got[6:])[0].data)
    assert raw.number(found[0x0100]) == 0x8030
    assert raw.number(found[0x0120]) == 99
    assert raw.number(found[0x0900]) == 0xA700
    assert raw.number(found[0x1020]) == 3
    assert found[0x0902].rstrip() == b"disk full"


async def test_response_twice_and_on_another_context(connect):
    got = await echoed(connect, Answer(0, times=2, context_id=77))
    assert len(got) % 2 == 0
    assert got[: len(got) // 2] == got[len(got) // 2 :]
    assert got[10] == 77


async def test_response_in_many_pdus_of_what_the_peer_takes(connect):
    async with ScriptedScp(on_echo=Answer(0xFF00, data=bytes(range(256)))) as peer:
        client = await connect(peer)
        await client.associate(maximum=30)
        await client.send(raw.echo(1))
        command, data, largest = b"", b"", 0
        while True:
            _, body = await client.pdu()
            largest = max(largest, len(body))
            (piece,) = raw.items(body)
            command += piece.data if piece.header & 1 else b""
            data += b"" if piece.header & 1 else piece.data
            if piece.header == 2:
                break
    assert data == bytes(range(256))
    assert raw.number(raw.elements(command)[0x0900]) == 0xFF00
    assert largest == 30


async def test_command_and_data_in_one_pdu(connect):
    got = await echoed(connect, Answer(0xFF00, data=b"data", joined=True))
    assert int.from_bytes(got[2:6]) == len(got) - 6
    command, data = raw.items(got[6:])
    assert (command.header, data.header, data.data) == (3, 2, b"data")


async def test_one_byte_at_a_time_is_the_same_bytes(connect):
    assert await echoed(connect, Answer(0, drip=1)) == await echoed(connect, Answer(0))


# --------------------------------------------------------------------------------------------- wrong answers


@pytest.mark.parametrize(
    ("fault", "spoil"),
    [
        (pdu_length(FOUR_GIB), lambda right: right[:2] + b"\xff\xff\xff\xff" + right[6:]),
        (pdu_length_by(10), lambda right: right[:5] + bytes([right[5] + 10]) + right[6:]),
        (pdu_length_by(-10), lambda right: right[:5] + bytes([right[5] - 10]) + right[6:]),
        (pdu_type(0x42), lambda right: b"\x42" + right[1:]),
        (pdv_length(0), lambda right: right[:6] + bytes(4) + right[10:]),
        (pdv_length_by(1), lambda right: right[:9] + bytes([right[9] + 1]) + right[10:]),
        (pdv_header(0), lambda right: right[:11] + b"\0" + right[12:]),
        (cut(9), lambda right: right[:9]),
        (cut(-1), lambda right: right[:-1]),
        (before(b"!?"), lambda right: b"!?" + right),
        (spoilt(pdu_type(9), cut(4)), lambda right: b"\x09" + right[1:4]),
    ],
)
async def test_faults_change_these_bytes(connect, fault, spoil):
    right = await echoed(connect, Answer())
    assert await echoed(connect, Answer(fault=fault)) == spoil(right)


async def test_garbage_is_the_same_each_time(connect):
    got = await echoed(connect, Raw(garbage(100)))
    assert got == garbage(100) != garbage(100, seed=2)


async def test_abort(connect):
    async with ScriptedScp(on_echo=(AbortNow(2, 6))) as peer:
        client = await connect(peer)
        await client.associate()
        await client.send(raw.echo(1), raw.echo(2))
        assert await client.exactly(10) == bytes.fromhex("07 00 00000004 0000 02 06")
        await peer.received.wait("C-ECHO-RQ", count=2)  # read, and not answered
        await client.stream.aclose()
        await peer.received.wait("close")


async def test_abort_in_the_middle_of_an_answer(connect):
    async with ScriptedScp(on_echo=(Answer(fault=cut(20)), AbortNow(close=True))) as peer:
        client = await connect(peer)
        await client.associate()
        await client.send(raw.echo(1))
        got = await client.rest()
    assert len(got) == 20 + 10
    assert got[20:] == bytes.fromhex("07 00 00000004 0000 00 00")


async def test_end_in_the_middle_of_an_answer(connect):
    async with ScriptedScp(on_echo=(Answer(fault=cut(20)), CloseNow())) as peer:
        client = await connect(peer)
        await client.associate()
        await client.send(raw.echo(1))
        assert len(await client.rest()) == 20


async def test_reset(connect):
    async with ScriptedScp(on_echo=CloseNow(reset=True)) as peer:
        client = await connect(peer)
        await client.associate()
        await client.send(raw.echo(1))
        with pytest.raises(anyio.BrokenResourceError):
            await client.rest()


async def test_something_at_the_second_pdu_of_data(connect):
    async with ScriptedScp(on_data={2: AbortNow()}) as peer:
        client = await connect(peer)
        await client.associate(CT)
        await client.send(store(1, b"aa", b"bb"))
        assert (await client.pdu()).kind == 7
        await client.send(store(2, b"cc"))
        seen = await peer.received.wait("C-STORE-RQ", count=2)
        assert seen.data == b"cc"


async def test_nothing_is_read_until_told(connect):
    event = anyio.Event()
    async with ScriptedScp(on_data={0: Wait(event)}) as peer:
        client = await connect(peer)
        await client.send(raw.request())
        await peer.received.wait("connect")
        await anyio.wait_all_tasks_blocked()
        assert peer.received.whats == ["connect"]
        event.set()
        assert (await client.pdu()).kind == 2


async def test_words_before_anything_was_asked(connect):
    async with ScriptedScp(on_connect=(Raw(b"220 mail\r\n"), CloseNow())) as peer:
        client = await connect(peer)
        assert await client.rest() == b"220 mail\r\n"
        assert peer.received.whats == ["connect"]


# --------------------------------------------------------------------------------------------- association


def answers(body: bytes) -> dict[int, tuple[int, str]]:
    """Result and transfer syntax of each context of an A-ASSOCIATE-AC."""
    found, position = {}, 68
    while position < len(body):
        kind, length = body[position], int.from_bytes(body[position + 2 : position + 4])
        value = body[position + 4 : position + 4 + length]
        if kind == 0x21:
            found[value[0]] = (value[2], value[8:].decode().rstrip("\0"))
        position += 4 + length
    return found


async def test_accept_is_as_told(connect):
    accept = Accept(
        refuse={raw.CT_IMAGE: 3},
        transfer_syntax=lambda context: "1.2.840.10008.1.2.4.50" if context.id == 5 else raw.IMPLICIT,
        extra=[AnsweredContext(99, 0, raw.IMPLICIT)],
        maximum_length=128,
        fields={"called_ae": "SOMEBODY ELSE"},
    )
    async with ScriptedScp(accept=[accept]) as peer:
        client = await connect(peer)
        kind, body = await client.associate(VERIFICATION, CT, (5, "1.2.3", raw.IMPLICIT))
    assert kind == 2
    got = answers(body)
    assert got[1] == (0, raw.IMPLICIT)
    assert got[3][0] == 3
    assert got[5] == (0, "1.2.840.10008.1.2.4.50")
    assert got[99] == (0, raw.IMPLICIT)
    assert bytes.fromhex("51 00 0004 00000080") in body
    assert body[4:20] == b"SOMEBODY ELSE   "


async def test_contexts_are_refused_by_a_function(connect):
    async with ScriptedScp(accept=Accept(refuse=lambda context: 4 if context.id in (1, 3) else None)) as peer:
        client = await connect(peer)
        _, body = await client.associate(VERIFICATION, (5, "1.2", raw.IMPLICIT), CT, (7, "1.2", raw.IMPLICIT))
    assert [result for result, _ in answers(body).values()] == [4, 0, 4, 0]


async def test_context_that_cannot_be_is_accepted(connect):
    fault = with_item(answer_item(8, 0, raw.IMPLICIT))
    async with ScriptedScp(accept=Accept(fault=fault)) as peer:
        client = await connect(peer)
        _, body = await client.associate()
        assert answers(body) == {1: (0, raw.IMPLICIT), 8: (0, raw.IMPLICIT)}
        await client.send(raw.echo(1))
        assert await client.response() == (1, 0)


async def test_acceptance_is_spoilt_and_dripped(connect):
    async with ScriptedScp(accept=Accept(drip=1, fault=pdu_length(FOUR_GIB))) as peer:
        client = await connect(peer)
        await client.send(raw.request())
        assert await client.exactly(6) == bytes.fromhex("02 00 ffffffff")


@pytest.mark.parametrize(("result", "source", "reason"), [(1, 1, 7), (2, 3, 2), (9, 8, 7)])
async def test_reject(connect, result, source, reason):
    async with ScriptedScp(accept=[Reject(result, source, reason)]) as peer:
        client = await connect(peer)
        kind, body = await client.associate()
        assert (kind, body) == (3, bytes([0, result, source, reason]))
        again = await connect(peer)
        assert (await again.associate()).kind == 2


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (AbortNow(close=True), bytes.fromhex("07 00 00000004 0000 00 00")),
        (CloseNow(), b""),
        (Accept(fault=cut(40)), None),
    ],
)
async def test_association_that_does_not_come(connect, script, expected):
    async with ScriptedScp(accept=(script, CloseNow())) as peer:
        client = await connect(peer)
        await client.send(raw.request())
        got = await client.rest()
    assert got == expected if expected is not None else len(got) == 40


async def test_release_is_never_answered(connect):
    async with ScriptedScp(on_release=Silence()) as peer:
        client = await connect(peer)
        await client.associate()
        await client.send(raw.RELEASE_RQ)
        await peer.received.wait("A-RELEASE-RQ")
        await client.stream.send_eof()
        assert await client.rest() == b""


async def test_release_collision(connect):
    async with ScriptedScp(on_release=[Collide()]) as peer:
        client = await connect(peer)
        await client.associate()
        await client.send(raw.RELEASE_RQ)
        assert (await client.pdu()).kind == 5
        await client.send(raw.RELEASE_RP)
        assert (await client.pdu()).kind == 6


async def test_release_after_something_else(connect):
    async with ScriptedScp(on_release=(Raw(raw.echo(9)), Release())) as peer:
        client = await connect(peer)
        await client.associate()
        await client.send(raw.RELEASE_RQ)
        assert [(await client.pdu()).kind for _ in range(2)] == [4, 6]


async def test_anything_at_any_time(connect):
    async with ScriptedScp() as peer:
        client = await connect(peer)
        await client.associate()
        await peer.channels[0].abort(2, 1)
        assert (await client.pdu()).kind == 7


# --------------------------------------------------------------------------------------------- what is wrong


WRONG = [
    ([raw.p_data(1, 3, raw.command(0x30, 1) + bytes(200))], "P-DATA-TF of 274 bytes, where at most 128"),
    ([raw.p_data(9, 3, raw.command(0x30, 1))], "context 9, which was not accepted"),
    ([raw.p_data(1, 2, b"data")], "no command set where one is due"),
    ([store(1), raw.echo(1)], "no data set where one is due"),
    ([raw.echo(1)[:6] + b"\0\0\xff\xff" + raw.echo(1)[10:]], "65535 bytes, where 70 are left"),
    ([bytes.fromhex("04 00 00000000")], "without a presentation data value item"),
    ([bytes.fromhex("42 00 00000000")], "PDU of type 42H"),
    ([raw.request()], "A-ASSOCIATE-RQ from the requestor of an association"),
    ([raw.p_data(1, 1, b""), raw.p_data(3, 3, raw.command(0x30, 1))], "context 3 within a message on 1"),
    ([bytes.fromhex("04 00 ffffffff")], "type 04H and 4294967295 bytes"),
    ([store(1, b"aa", b"bb")[:-14], raw.RELEASE_RQ], "A-RELEASE-RQ in the middle of a message"),
    ([raw.RELEASE_RQ, raw.echo(1)], "C-ECHO-RQ after an A-RELEASE-RQ"),
    ([raw.p_data(1, 3, raw.command(0x30, 1)[12:])], "group length is None"),
    ([raw.p_data(1, 3, raw.command(0x30, 1)[:-1])], "element (0000,0800) of 2 bytes"),
]


@pytest.mark.parametrize(("data", "said"), WRONG, ids=[said for _, said in WRONG])
async def test_what_the_peer_must_not_do_fails_the_test(data, said):
    with pytest.raises(AssertionError) as caught:
        async with ScriptedScp(accept=Accept(maximum_length=128)) as peer:
            client = await raw.connect(peer.port)
            async with client.stream:
                await client.associate(VERIFICATION, CT)
                await client.send(*data)
                await client.stream.send_eof()
                await client.rest()
                await peer.received.wait("close", "reset")
    assert said in str(caught.value)


async def test_what_is_wrong_may_be_wanted(connect):
    async with ScriptedScp(check=False, on_unreadable=Answer) as peer:
        client = await connect(peer)
        await client.send(raw.echo(1))
        await peer.received.wait("C-ECHO-RQ")
    assert "C-ECHO-RQ where an A-ASSOCIATE-RQ is due" in peer.received.wrong[-1]
