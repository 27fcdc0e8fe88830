"""Acceptance, rejection and release, byte by byte, against a client of literal bytes."""

from __future__ import annotations

import pytest

import raw_dicom as raw
from dcmflow.protocol.items import AnsweredContext
from dcmflow.testing import (
    AbortNow,
    Accept,
    CloseNow,
    Collide,
    Raw,
    Reject,
    Release,
    ScriptedScp,
    Silence,
)
from dcmflow.testing.peer_fault import (
    FOUR_GIB,
    answer_item,
    cut,
    pdu_length,
    with_item,
)

pytestmark = pytest.mark.anyio

CT = (3, raw.CT_IMAGE, raw.IMPLICIT)
VERIFICATION = (1, raw.VERIFICATION, raw.IMPLICIT)


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
