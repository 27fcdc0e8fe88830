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
from collections.abc import Iterator, Sequence
from contextlib import suppress
from struct import pack
from typing import Final, final

import anyio
from anyio.lowlevel import checkpoint

from dcmflow.protocol.fragment import Buffer

_QUICKACK: Final[int | None] = getattr(socket, "TCP_QUICKACK", None)
_MOST: Final = 512  # buffers for one sendmsg; Linux takes 1024
_PATIENCE: Final = 32  # reads or writes that need no waiting before others get a turn
_TLS_PIECE: Final = 256 * 1024  # what is joined for one call of the TLS layer


@final
class Transport:
    """One connection.

    Attributes:
        deadline: on the clock `anyio.current_time()`: when the current wait has taken too long; infinity: never.
        expired: it was ended because of that.
        unfinished: something is half written: what is written next would be taken for the rest of it.
        address: the peer's host and port.
    """

    __slots__ = (
        "_closed",
        "_fd",
        "_owes",
        "_patience",
        "_socket",
        "_stuck",
        "_turns",
        "address",
        "deadline",
        "expired",
        "unfinished",
    )

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._fd = connected.fileno()
        self._closed = False
        self._stuck = False  # waits for room to write
        self._patience: float | None = None
        self._owes = False  # something was received and not answered yet
        self.unfinished: bool = False
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
                self._acknowledge()
                await self._readable()
            except ssl.SSLWantWriteError:
                await self._writable()
            except ssl.SSLZeroReturnError:
                return 0
            except InterruptedError:
                continue
            else:
                self._owes = True
                return count
        return 0

    def _acknowledge(self) -> None:
        """Acknowledge what was received: a peer that leaves Nagle on waits for that with the rest of its message.

        Not when there was an answer, which carries the acknowledgement. The system falls back to delaying them by itself.
        """
        if _QUICKACK is not None and self._owes:
            self._owes = False
            with suppress(OSError):  # closed meanwhile: the next read says so
                self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)

    async def write(self, buffers: Sequence[Buffer], patience: float | None = None) -> None:
        """Write all of the buffers, together where the system can.

        Args:
            patience: seconds within which something must go each time it waits; None: `deadline` is left alone.

        Raises:
            OSError: the connection is lost.
        """
        self._patience = patience
        self.unfinished = True
        if isinstance(self._socket, ssl.SSLSocket):
            await self._write_tls(self._socket, buffers)
        else:
            await self._write_plain(buffers)
        self.unfinished = False
        self._owes = False

    async def _write_plain(self, buffers: Sequence[Buffer]) -> None:
        send = self._socket.sendmsg
        done, begun = 0, 0  # buffers that are written, and bytes of the next one
        while done < len(buffers):
            some = buffers[done : done + _MOST]
            if begun:
                some = [memoryview(some[0])[begun:], *some[1:]]
            try:
                begun += send(some)
            except BlockingIOError:
                await self._writable()
                continue
            except InterruptedError:
                continue
            while done < len(buffers) and begun >= len(buffers[done]):
                begun -= len(buffers[done])
                done += 1
            if done < len(buffers):
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
        try:
            with suppress(anyio.ClosedResourceError):
                await anyio.wait_writable(self._fd)
        finally:
            self._stuck = False
        if self._patience is not None:
            self.deadline = math.inf
        if self._closed:
            raise ConnectionAbortedError("the connection was closed from this side")

    def write_some(self, buffers: Sequence[Buffer]) -> int:
        """Write what goes without waiting; returns how many bytes that were. Not for TLS.

        Raises:
            OSError: the connection is lost.
        """
        try:
            return self._socket.sendmsg(buffers[:_MOST])
        except (BlockingIOError, InterruptedError):
            return 0

    def write_now(self, buffers: Sequence[Buffer]) -> None:
        """Write as much as goes without waiting: the farewell of a connection that is given up.

        In the middle of something half written it would be taken for the rest of that: then the connection is reset instead.
        """
        if self.unfinished:
            self.reset()
            return
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


def _joined(buffers: Sequence[Buffer]) -> Iterator[Buffer]:
    """The bytes in pieces for TLS, which takes one at a time: small buffers joined, large ones cut."""
    group: list[Buffer] = []
    size = 0
    for buffer in buffers:
        for start in range(0, len(buffer), _TLS_PIECE):
            part = memoryview(buffer)[start : start + _TLS_PIECE]
            if size + len(part) > _TLS_PIECE:
                yield b"".join(group)
                group, size = [], 0
            group.append(part)
            size += len(part)
    if group:
        yield b"".join(group)
