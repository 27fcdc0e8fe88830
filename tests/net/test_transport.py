"""Bytes on a socket, plain and TLS: all of them, in order, in time, and nothing left over."""

from __future__ import annotations

import math
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from random import Random

import anyio
import anyio.lowlevel
import pytest

from dcmflow.net.node import Tls
from dcmflow.net.tls import client_context, server_context
from dcmflow.net.transport import Transport
from dcmflow.net.watch import Watch
from peers.fixtures import Certificates

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]

BIG = 8 << 20  # more than the buffers of a socket hold


def connected() -> tuple[socket.socket, socket.socket]:
    """Two ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        one = socket.create_connection(listening.getsockname())
        other, _ = listening.accept()
    one.setblocking(False)
    other.setblocking(False)
    return one, other


@pytest.fixture
def plain() -> Iterator[tuple[Transport, Transport]]:
    one, other = map(Transport, connected())
    yield one, other
    one.close()
    other.close()


@asynccontextmanager
async def pair(secured: Certificates | None) -> AsyncIterator[tuple[Transport, Transport]]:
    one, other = map(Transport, connected())
    try:
        if secured is not None:
            server = Tls(cert=str(secured.server.cert), key=str(secured.server.key))
            async with anyio.create_task_group() as tasks:
                context = client_context(Tls(ca=str(secured.client.ca)), "127.0.0.1")
                tasks.start_soon(lambda: one.start_tls(context, server_name="127.0.0.1", server_side=False))
                await other.start_tls(server_context(server), server_name=None, server_side=True)
        yield one, other
    finally:
        one.close()
        other.close()


@pytest.fixture(params=["plain", "tls"])
def secured(request: pytest.FixtureRequest, certificates: Certificates) -> Certificates | None:
    return certificates if request.param == "tls" else None


async def read(transport: Transport, count: int) -> bytes:
    got, buffer = bytearray(), memoryview(bytearray(65536))
    while len(got) < count and (more := await transport.read_into(buffer)):
        got += buffer[:more]
    return bytes(got)


async def test_many_buffers_of_all_sizes_arrive_in_order(secured: Certificates | None) -> None:
    random = Random(1)
    sizes = [0, 1, 2, *(random.choice((0, 7, 300, 5000, 300_000)) for _ in range(1500)), 0]
    buffers = [random.randbytes(size) for size in sizes]
    whole = b"".join(buffers)
    assert len(whole) > BIG
    async with pair(secured) as (one, other), anyio.create_task_group() as tasks:
        kinds = [bytes, bytearray, memoryview]
        tasks.start_soon(one.write, [kinds[n % 3](buffer) for n, buffer in enumerate(buffers)])
        got = await read(other, len(whole))
    assert got == whole
    assert one.tls is (secured is not None)


async def test_both_ways_at_once(secured: Certificates | None) -> None:
    one_way, other_way = Random(1).randbytes(BIG), Random(2).randbytes(BIG)
    got = {}

    async def receive(name: str, transport: Transport) -> None:
        got[name] = await read(transport, BIG)

    async with pair(secured) as (one, other), anyio.create_task_group() as tasks:
        tasks.start_soon(one.write, [one_way])
        tasks.start_soon(other.write, [other_way])
        tasks.start_soon(receive, "one", one)
        tasks.start_soon(receive, "other", other)
    assert got["one"] == other_way
    assert got["other"] == one_way


async def test_others_get_a_turn_while_much_arrives(plain: tuple[Transport, Transport]) -> None:
    one, other = plain
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        await one.write([bytes(200_000)])
        tasks.start_soon(count)
        for _ in range(200):
            await other.read_into(memoryview(bytearray(1000)))
        tasks.cancel_scope.cancel()
    assert turns >= 4


async def test_the_end(secured: Certificates | None) -> None:
    async with pair(secured) as (one, other):
        await one.write([b"last words"])
        one.finish()
        assert await read(other, 100) == b"last words"
        await other.write([b"answer"])  # the other direction is open
        other.finish()
        assert await read(one, 100) == b"answer"
        assert not one.expired
        assert not other.expired


async def test_a_reset_is_an_error(plain: tuple[Transport, Transport]) -> None:
    one, other = plain
    one.reset()
    with pytest.raises(OSError, match="reset"):
        await other.read_into(memoryview(bytearray(10)))


async def test_closing_ends_a_wait(secured: Certificates | None) -> None:
    async with pair(secured) as (one, _), anyio.create_task_group() as tasks:

        async def wait() -> None:
            with pytest.raises(ConnectionAbortedError):
                await one.read_into(memoryview(bytearray(10)))

        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        one.close()
        assert one.closed


async def test_closing_ends_a_stuck_write(secured: Certificates | None) -> None:
    async with pair(secured) as (one, _), anyio.create_task_group() as tasks:

        async def wait() -> None:
            with pytest.raises(ConnectionAbortedError):
                await one.write([bytes(4 * BIG)])

        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        one.close()


async def test_closed_twice_is_closed_once(plain: tuple[Transport, Transport]) -> None:
    one, _ = plain
    for _ in range(2):
        one.close()
        one.reset()
    one.write_now([b"too late"])
    one.expire()
    one.finish()


async def test_expiry_ends_a_read_and_leaves_the_way_out_open(secured: Certificates | None) -> None:
    async with pair(secured) as (one, other), anyio.create_task_group() as tasks:

        async def wait() -> None:
            assert await one.read_into(memoryview(bytearray(10))) == 0
            assert one.expired
            one.write_now([b"farewell"])

        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        one.expire()
        assert await read(other, 8) == b"farewell"


async def test_expiry_ends_a_stuck_write(secured: Certificates | None) -> None:
    async with pair(secured) as (one, _), anyio.create_task_group() as tasks:

        async def wait() -> None:
            with pytest.raises(OSError):  # noqa: PT011 - which one is the system's affair
                await one.write([bytes(4 * BIG)], 60.0)
            assert one.expired

        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        assert one.deadline < math.inf
        one.expire()


async def test_patience_counts_only_while_it_waits(plain: tuple[Transport, Transport]) -> None:
    one, _ = plain
    await one.write([b"goes at once"], 60.0)
    assert one.deadline == math.inf


@pytest.mark.parametrize("server_side", [True, False])
async def test_expiry_ends_a_handshake(
    plain: tuple[Transport, Transport], certificates: Certificates, server_side: bool
) -> None:
    """Somebody connects and says nothing, or half a hello."""
    one, other = plain
    files = Tls(cert=str(certificates.server.cert), key=str(certificates.server.key))
    context = (
        server_context(files)
        if server_side
        else client_context(Tls(ca=str(certificates.client.ca)), "127.0.0.1")
    )
    await other.write([b"\x16\x03\x01"])

    async def shake() -> None:
        with pytest.raises(OSError):  # noqa: PT011 - which one is OpenSSL's affair
            await one.start_tls(context, server_name=None if server_side else "x", server_side=server_side)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(shake)
        await anyio.wait_all_tasks_blocked()
        one.expire()


async def test_nothing_goes_or_comes_in_the_clear_after_an_end(certificates: Certificates) -> None:
    """What is said after `expire` or `finish` is TLS, or is not said."""
    one, raw = connected()
    outer = Transport(one)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = client_context(Tls(ca=str(certificates.client.ca)), "127.0.0.1")
    inner = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    seen = bytearray()

    async def move() -> None:
        if outgoing.pending:
            raw.send(outgoing.read())
        await anyio.wait_readable(raw)
        data = raw.recv(65536)
        seen.extend(data)
        incoming.write(data)

    async def shake() -> None:
        while True:
            try:
                inner.do_handshake()
            except ssl.SSLWantReadError:
                await move()
            else:
                raw.send(outgoing.read())
                return

    files = Tls(cert=str(certificates.server.cert), key=str(certificates.server.key))
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(shake)
            tasks.start_soon(
                lambda: outer.start_tls(server_context(files), server_name=None, server_side=True)
            )
        outer.expire()
        outer.write_now([b"an abort in the clear?"])
        outer.finish()
        outer.close()
        while True:
            await anyio.wait_readable(raw)
            try:
                data = raw.recv(65536)
            except ConnectionResetError:
                break
            if not data:
                break
            seen.extend(data)
        assert b"in the clear" not in seen
    finally:
        outer.close()
        raw.close()


async def test_the_address_is_that_of_the_peer() -> None:
    one, other = connected()
    a, b = Transport(one), Transport(other)
    assert a.address == other.getsockname()[:2]
    assert b.address == one.getsockname()[:2]
    a.close()
    b.close()


async def test_a_peer_that_is_gone_has_no_address() -> None:
    one, other = connected()
    Transport(one).reset()
    made = Transport(other)
    assert made.address == ("", 0)
    made.close()


async def test_the_watch_ends_who_is_late_and_nobody_else() -> None:
    ends = [Transport(each) for _ in range(4) for each in connected()]
    late, in_time, patient, given_up = ends[::2]
    async with Watch() as watch:
        for transport in (late, in_time, patient, given_up):
            watch.add(transport)
        now = anyio.current_time()
        late.deadline = given_up.deadline = now + 0.1
        in_time.deadline = now + 600
        watch.remove(given_up)
        with anyio.fail_after(10):
            assert await late.read_into(memoryview(bytearray(10))) == 0
        watch.add(given_up)
        with anyio.fail_after(10):
            assert await given_up.read_into(memoryview(bytearray(10))) == 0
    assert [transport.expired for transport in (late, in_time, patient, given_up)] == [
        True,
        False,
        False,
        True,
    ]
    for transport in ends:
        transport.close()
