"""What a scripted SCP notes of a client of literal bytes, and what it holds against it."""

from __future__ import annotations

import pytest

import raw_dicom as raw
from dcmflow.testing import (
    Accept,
    Answer,
    ScriptedScp,
)

pytestmark = pytest.mark.anyio

CT = (3, raw.CT_IMAGE, raw.IMPLICIT)
VERIFICATION = (1, raw.VERIFICATION, raw.IMPLICIT)


async def test_what_comes_is_noted_in_order(connect):
    async with ScriptedScp() as peer:
        client = await connect(peer)
        await client.associate(VERIFICATION, CT)
        await client.send(raw.echo(1), raw.store(2, b"ab", b"cd"), raw.cancel(2), raw.RELEASE_RQ)
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
        await client.send(raw.store(1, b"half", b"rest")[:-10], bytes.fromhex("07 00 00000004 0000 02 05"))
        await client.stream.aclose()
        await peer.received.wait("unreadable")  # the A-ABORT was swallowed by the PDU it was put in
        peer.received.wrong.clear()

        client = await connect(peer)
        await client.associate(CT)
        half = raw.store(1, b"half", b"rest").removesuffix(raw.p_data(3, 2, b"rest"))
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


WRONG = [
    ([raw.p_data(1, 3, raw.command(0x30, 1) + bytes(200))], "P-DATA-TF of 274 bytes, where at most 128"),
    ([raw.p_data(9, 3, raw.command(0x30, 1))], "context 9, which was not accepted"),
    ([raw.p_data(1, 2, b"data")], "no command set where one is due"),
    ([raw.store(1), raw.echo(1)], "no data set where one is due"),
    ([raw.echo(1)[:6] + b"\0\0\xff\xff" + raw.echo(1)[10:]], "65535 bytes, where 70 are left"),
    ([bytes.fromhex("04 00 00000000")], "without a presentation data value item"),
    ([bytes.fromhex("42 00 00000000")], "PDU of type 42H"),
    ([raw.request()], "A-ASSOCIATE-RQ from the requestor of an association"),
    ([raw.p_data(1, 1, b""), raw.p_data(3, 3, raw.command(0x30, 1))], "context 3 within a message on 1"),
    ([bytes.fromhex("04 00 ffffffff")], "type 04H and 4294967295 bytes"),
    ([raw.store(1, b"aa", b"bb")[:-14], raw.RELEASE_RQ], "A-RELEASE-RQ in the middle of a message"),
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
