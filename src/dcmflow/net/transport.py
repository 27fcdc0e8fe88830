"""A TCP connection, plain or TLS, as an association needs it: read into a given buffer, write several at once, nothing copied.

An own non-blocking socket and `wait_readable` instead of a stream of the event loop: no bytes object per read, no task switch when
data are there already, and the same code on asyncio and trio. Nagle's algorithm is off, and acknowledgements are not delayed: a
peer that leaves Nagle on would otherwise wait for them with the second half of every message.

Time is kept by whoever watches: `deadline` says until when the current wait may take, and `Watch` ends it.
"""

from __future__ import annotations

import math
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from struct import pack
from typing import Final, final

import anyio
from anyio.lowlevel import checkpoint

from dcmflow.protocol.fragment import Buffer

_QUICKACK: Final[int | None] = getattr(socket, "TCP_QUICKACK", None)
_MOST: Final = 512  # buffers for one sendmsg; Linux takes 1024
_PATIENCE: Final = 32  # reads or writes that need no waiting before others get a turn
_TLS_RECORD: Final = 256 * 1024  # what is joined for one call of the TLS layer


@final
class Transport:
    """One connection.

    Attributes:
        deadline: on the clock `anyio.current_time()`: when the current wait has taken too long; infinity: never.
        expired: it was ended because of that.
        address: the peer's host and port.
    """

    __slots__ = (
        "_closed",
        "_fd",
        "_patience",
        "_socket",
        "_stuck",
        "_turns",
        "address",
        "deadline",
        "expired",
    )

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._fd = connected.fileno()
        self._closed = False
        self._stuck = False  # waits for room to write
        self._patience: float | None = None
        self._turns = 0
        self.deadline: float = math.inf
        self.expired: bool = False
        with suppress(OSError):
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.address: tuple[str, int] = _address(connected)

    @property
    def tls(self) -> bool:
        return isinstance(self._socket, ssl.SSLSocket)

    async def start_tls(self, context: ssl.SSLContext, *, server_name: str | None, server_side: bool) -> None:
        """Shake hands. Raises ssl.SSLError or OSError."""
        raw = self._socket
        raw.getpeername()  # an error here leaves nothing behind, in wrap_socket it would
        wrapped = context.wrap_socket(
            raw,
            server_side=server_side,
            server_hostname=server_name,
            do_handshake_on_connect=False,
            suppress_ragged_eofs=True,
        )
        self._socket, self._fd = wrapped, wrapped.fileno()
        while True:
            try:
                wrapped.do_handshake()
                return
            except ssl.SSLWantReadError:
                await self._readable()
            except ssl.SSLWantWriteError:
                await self._writable()

    async def read_into(self, buffer: memoryview) -> int:
        """Wait for bytes and put them into the buffer; returns how many, 0 when the peer has closed its side.

        Raises:
            OSError: the connection is lost.
        """
        receive = self._socket.recv_into
        self._turns += 1
        if self._turns > _PATIENCE:
            self._turns = 0
            await checkpoint()
        while not self.expired:  # TLS that sees the end of the connection would have nothing sent any more
            try:
                count = receive(buffer)
            except (BlockingIOError, ssl.SSLWantReadError):
                await self._readable()
            except ssl.SSLWantWriteError:
                await self._writable()
            except ssl.SSLZeroReturnError:
                return 0
            except InterruptedError:
                continue
            else:
                if _QUICKACK is not None and count:
                    try:
                        self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
                    except OSError:  # closed meanwhile: the next read says so
                        return count
                return count
        return 0

    async def write(self, buffers: Sequence[Buffer], patience: float | None = None) -> None:
        """Write all of the buffers, together where the system can.

        Args:
            patience: seconds within which something must go each time it waits; None: `deadline` is left alone.

        Raises:
            OSError: the connection is lost.
        """
        self._patience = patience
        if isinstance(self._socket, ssl.SSLSocket):
            await self._write_tls(self._socket, buffers)
            return
        send = self._socket.sendmsg
        rest: list[Buffer] = list(buffers)
        while rest:
            try:
                written = send(rest if len(rest) <= _MOST else rest[:_MOST])
            except BlockingIOError:
                await self._writable()
                continue
            except InterruptedError:
                continue
            done = 0
            while done < len(rest) and written >= len(rest[done]):
                written -= len(rest[done])
                done += 1
            del rest[:done]
            if written:
                rest[0] = memoryview(rest[0])[written:]
            if rest:
                self._turns += 1
                if self._turns > _PATIENCE:
                    self._turns = 0
                    await checkpoint()

    async def _write_tls(self, connection: ssl.SSLSocket, buffers: Sequence[Buffer]) -> None:
        for joined in _joined(buffers):
            view = memoryview(joined)
            while view:
                try:
                    view = view[connection.send(view) :]
                except ssl.SSLWantWriteError:
                    await self._writable()
                except ssl.SSLWantReadError:
                    await self._readable()

    async def _readable(self) -> None:
        self._turns = 0
        with suppress(anyio.ClosedResourceError):
            await anyio.wait_readable(self._fd)
        if self._closed:
            raise ConnectionAbortedError("the connection was closed from this side")

    async def _writable(self) -> None:
        self._turns = 0
        self._stuck = True
        if self._patience is not None:
            self.deadline = anyio.current_time() + self._patience
        with suppress(anyio.ClosedResourceError):
            await anyio.wait_writable(self._fd)
        self._stuck = False
        if self._closed:
            raise ConnectionAbortedError("the connection was closed from this side")

    def write_now(self, buffers: Sequence[Buffer]) -> None:
        """Write as much as goes without waiting: the farewell of a connection that is given up."""
        with suppress(OSError, ValueError):
            self._socket.send(b"".join(buffers))

    def expire(self) -> None:
        """End the wait that goes on, and every later one: they see the end of the connection."""
        self.expired = True
        self._shut(socket.SHUT_RDWR if self._stuck else socket.SHUT_RD)

    def finish(self) -> None:
        """Say that nothing more will be written; what is on its way still arrives."""
        if isinstance(self._socket, ssl.SSLSocket):
            with suppress(OSError, ValueError):
                self._socket.unwrap()  # says close_notify, and does not wait for that of the peer
        self._shut(socket.SHUT_WR)

    def _shut(self, how: int) -> None:
        with suppress(OSError):
            socket.socket.shutdown(self._socket, how)  # that of SSLSocket would go on in the clear

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            with suppress(Exception):
                anyio.notify_closing(self._fd)
            self._socket.close()

    def reset(self) -> None:
        """Close it at once; what is unsent is thrown away."""
        if not self._closed:
            with suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0))
        self.close()

    @property
    def closed(self) -> bool:
        return self._closed


def _address(connected: socket.socket) -> tuple[str, int]:
    try:
        host, port = connected.getpeername()[:2]
    except (OSError, ValueError):
        return "", 0
    return host, port


def _joined(buffers: Sequence[Buffer]) -> list[Buffer]:
    """Small buffers joined and large ones cut, since TLS takes one at a time."""
    result: list[Buffer] = []
    group: list[Buffer] = []
    size = 0
    for buffer in buffers:
        if size + len(buffer) > _TLS_RECORD and group:
            result.append(b"".join(group))
            group, size = [], 0
        group.append(buffer)
        size += len(buffer)
    if group:
        result.append(group[0] if len(group) == 1 else b"".join(group))
    return result
