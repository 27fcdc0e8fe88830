"""The steps of a script, byte by byte, against a client of literal bytes."""

from __future__ import annotations

import anyio
import pytest

import raw_dicom as raw
from dcmflow.testing import (
    AbortNow,
    Answer,
    CloseNow,
    Later,
    Raw,
    ScriptedScp,
    Silence,
    Wait,
)
from dcmflow.testing.peer_fault import (
    FOUR_GIB,
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
)

pytestmark = pytest.mark.anyio

CT = (3, raw.CT_IMAGE, raw.IMPLICIT)


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
        await client.send(raw.store(1, b"aa", b"bb"))
        assert (await client.pdu()).kind == 7
        await client.send(raw.store(2, b"cc"))
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
