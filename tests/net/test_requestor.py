"""Associations that we ask for, with peers that do not behave."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import pytest

from dcmflow.errors import ConnectError, NetworkTimeout
from dcmflow.net import operations
from dcmflow.net.connect import associate
from dcmflow.net.contexts import propose
from dcmflow.net.node import Node, Timeouts
from dcmflow.protocol.command import CommandSet, Field
from dcmflow.testing import Accept, ScriptedScp
from dcmflow.testing.peer_script import Exchange
from peers.base import free_port
from scp_runs import VERIFICATION, encoded, sized

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]

CONTEXTS = propose([(VERIFICATION, "1.2.840.10008.1.2")])
STRAY = CommandSet(field=Field.C_ECHO_RQ | 0x8000, message_id_responded=999, status=0)


def node(peer: ScriptedScp, **timeouts: float) -> Node:
    return Node(host="127.0.0.1", port=peer.port, ae_title="SCRIPTED", timeouts=Timeouts(**timeouts))


async def chatter(exchange: Exchange) -> None:
    """Messages without end, none of which is an answer."""
    while True:
        await exchange.channel.send_message(1, STRAY)
        await anyio.sleep(0.1)


async def test_a_peer_that_talks_on_does_not_hold_up_the_release() -> None:
    async with ScriptedScp(on_release=chatter, check=False) as peer:
        with anyio.fail_after(10):
            async with associate(node(peer, acse=0.5), CONTEXTS, calling_ae="HERE"):
                pass


async def test_strays_give_no_more_time_for_the_answer() -> None:
    async with ScriptedScp(on_echo=chatter, check=False) as peer:
        with pytest.raises(NetworkTimeout, match="for the next message"):
            async with associate(node(peer, dimse=0.7), CONTEXTS, calling_ae="HERE") as association:
                await operations.echo(association)


async def test_a_peer_that_reads_nothing_is_said_to_have_no_room() -> None:
    async def deaf(exchange: Exchange) -> None:
        await anyio.sleep_forever()

    made = sized(40_000_000)
    contexts = propose([(made.sop_class_uid, made.transfer_syntax_uid)])
    async with ScriptedScp(on_data={1: deaf}, check=False) as peer:
        with pytest.raises(NetworkTimeout, match=r"waited 0\.50 s for room to send"):
            async with associate(node(peer, dimse=0.5), contexts, calling_ae="HERE") as association:
                await operations.store(association, made)


@pytest.mark.parametrize("maximum", [8, 16, 1000, 1023, 1024])
async def test_a_peer_that_takes_little_at_a_time(maximum: int) -> None:
    made = sized(20_000)
    contexts = propose([(made.sop_class_uid, made.transfer_syntax_uid)])
    async with ScriptedScp(accept=Accept(maximum_length=maximum)) as peer:
        async with associate(node(peer), contexts, calling_ae="HERE") as association:
            assert (await operations.store(association, made)).status == 0
        (seen,) = peer.received.of("C-STORE-RQ")
        assert seen.data == encoded(made)
        assert peer.received.wrong == []


# -- several addresses


@contextmanager
def silent() -> Iterator[tuple[str, int]]:
    """An address that does not answer: its queue is full."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        place = listening.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(place)
        yield place
        for each in waiting:
            each.close()


def resolve(monkeypatch: pytest.MonkeyPatch, *places: tuple[str, int]) -> None:
    async def found(host: str, port: int, **options: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place) for place in places]

    monkeypatch.setattr(anyio, "getaddrinfo", found)


@pytest.mark.parametrize("first", ["silent", "refusing"])
async def test_one_address_does_not_hide_another(first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with ScriptedScp() as peer:
        with silent() as place:
            resolve(
                monkeypatch,
                place if first == "silent" else ("127.0.0.1", free_port()),
                ("127.0.0.1", peer.port),
            )
            async with associate(node(peer, connect=5), CONTEXTS, calling_ae="HERE") as association:
                assert await operations.echo(association) == 0
        assert len(peer.received.of("connect")) == 1


async def test_no_address_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    gone = Node(host="gone", port=port, timeouts=Timeouts(connect=0.6))
    resolve(monkeypatch, ("127.0.0.1", port), ("127.0.0.1", port))
    with pytest.raises(ConnectError, match="connection refused"):
        async with associate(gone, CONTEXTS, calling_ae="HERE"):
            pass
    with silent() as place:
        resolve(monkeypatch, place, ("127.0.0.1", port))
        with pytest.raises(NetworkTimeout, match=r"waited 0\.60 s for the connection"):
            async with associate(gone, CONTEXTS, calling_ae="HERE"):
                pass
    resolve(monkeypatch)
    with pytest.raises(ConnectError):
        async with associate(gone, CONTEXTS, calling_ae="HERE"):
            pass
