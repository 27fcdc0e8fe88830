"""Bytes on a TCP connection for the scripted peers: protocol data units read and written with nothing in between.

Neither `dcmflow.net` nor `dcmflow.protocol.connection` is used, so that a bug there cannot hide itself.
"""

from __future__ import annotations

import socket
import ssl
import struct
from typing import NamedTuple

import anyio
import anyio.lowlevel

P_DATA_TF = 4
LONGEST, LONGEST_DATA = 1 << 20, 1 << 28
"""A PDU that announces more bytes than the first is not read; a P-DATA-TF: than the second."""

COMMAND, LAST = 1, 2
"""Bits of the message control header (PS3.8 Annex E.2)."""


class Gone(Exception):
    """The peer has closed the connection; `reset` when it did so without a word (RST)."""

    def __init__(self, *, reset: bool = False) -> None:
        super().__init__("the peer reset the connection" if reset else "the peer closed the connection")
        self.reset = reset


class RawPdu(NamedTuple):
    """A protocol data unit as it came: its type, the length it announces and, unless that is absurd, its bytes."""

    kind: int
    length: int
    body: bytes | None


class Pdv(NamedTuple):
    """A presentation data value item (PS3.8 9.3.5.1)."""

    context_id: int
    header: int
    data: bytes


class Wire:
    """A connected socket. One task may read while another writes."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = sock
        self._buffer = bytearray()
        self._sending = anyio.Lock()
        self._lost = False
        self.reset_on_close = False

    @classmethod
    async def connect(cls, host: str, port: int) -> Wire:
        """Opens a TCP connection. Raises OSError."""
        found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            try:
                sock.connect(address)
            except BlockingIOError:
                await anyio.wait_writable(sock)
            if error := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(error, f"connecting to {host}:{port}")
        except BaseException:
            sock.close()
            raise
        return cls(sock)

    async def start_tls(self, context: ssl.SSLContext, server_name: str | None = None) -> None:
        """TLS from here on, as the server unless a server name is given. Raises ssl.SSLError, OSError."""
        wrapped = context.wrap_socket(
            self._socket,
            server_side=server_name is None,
            server_hostname=server_name,
            do_handshake_on_connect=False,
        )
        self._socket = wrapped
        while True:
            try:
                return wrapped.do_handshake()
            except ssl.SSLWantReadError:
                await anyio.wait_readable(wrapped)
            except ssl.SSLWantWriteError:
                await anyio.wait_writable(wrapped)

    async def read_pdu(self) -> RawPdu:
        """The next PDU; after one that is too long there is none. Raises Gone."""
        while self._lost:
            await self._receive()
        await self._fill(6)
        kind, length = struct.unpack_from(">BxL", self._buffer)
        if length > (LONGEST_DATA if kind == P_DATA_TF else LONGEST):
            self._lost = True
            self._buffer.clear()
            return RawPdu(kind, length, None)
        await self._fill(6 + length)
        body = bytes(memoryview(self._buffer)[6 : 6 + length])
        del self._buffer[: 6 + length]
        return RawPdu(kind, length, body)

    @property
    def unread(self) -> bytes:
        """What came and was not read as a PDU: the beginning of one, when the peer is gone."""
        return bytes(self._buffer)

    async def _fill(self, count: int) -> None:
        while len(self._buffer) < count:
            self._buffer += await self._receive()

    async def _receive(self) -> bytes:
        await anyio.lowlevel.checkpoint()
        while True:
            try:
                data = self._socket.recv(1 << 18)
            except (BlockingIOError, ssl.SSLWantReadError):
                await self._until_readable()
            except OSError as error:
                raise Gone(reset=isinstance(error, ConnectionError | ssl.SSLError)) from error
            else:
                if data:
                    return data
                raise Gone

    async def _until_readable(self) -> None:
        try:
            await anyio.wait_readable(self._socket)
        except anyio.ClosedResourceError as error:  # by us
            raise Gone from error

    async def send(self, data: bytes, *, drip: int = 0) -> None:
        """Writes all of it; `drip`: so many bytes at a time, with a turn of the event loop between. Raises Gone."""
        async with self._sending:
            for start in range(0, len(data), drip or len(data) or 1):
                await self._write(memoryview(data)[start : start + (drip or len(data))])
                if drip:
                    await anyio.lowlevel.checkpoint()

    async def _write(self, rest: memoryview) -> None:
        while rest:
            try:
                rest = rest[self._socket.send(rest) :]
            except (BlockingIOError, ssl.SSLWantWriteError):
                await anyio.wait_writable(self._socket)
            except (OSError, ValueError) as error:
                raise Gone(reset=True) from error

    def end_sending(self) -> None:
        """Half-close: the peer reads the end of the stream, and may still send."""
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Closes; with a reset (RST) in place of an end (FIN) if `reset_on_close`."""
        if self.reset_on_close and self._socket.fileno() >= 0:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if self._socket.fileno() >= 0:
            anyio.notify_closing(self._socket)
        self._socket.close()


def pdu(kind: int, body: bytes, *, length: int | None = None) -> bytes:
    """A PDU of any type; `length` is announced in place of the right one."""
    return struct.pack(">BxL", kind, len(body) if length is None else length) + body


def pdv(context_id: int, header: int, data: bytes, *, length: int | None = None) -> bytes:
    """A presentation data value item; `length` is announced in place of the right one."""
    return struct.pack(">LBB", len(data) + 2 if length is None else length, context_id, header) + data


def p_data(*items: bytes) -> bytes:
    """A P-DATA-TF PDU of presentation data value items."""
    return pdu(P_DATA_TF, b"".join(items))


def message(
    context_id: int, command: bytes, data: bytes | None = None, *, largest: int = 0, joined: bool = False
) -> bytes:
    """A DIMSE message in P-DATA-TF PDUs.

    Args:
        context_id: any number, 0 to 255.
        command: the encoded command set.
        data: the encoded data set.
        largest: the longest variable field of a PDU, in bytes, at least 8; 0: any.
        joined: fill each PDU, so that command and data share one; else each holds one item.
    """
    room, made, items = largest or 0xFFFFFFFF, bytearray(), bytearray()
    for header, payload in ((COMMAND, command), (0, data)):
        rest = memoryview(payload) if payload is not None else None
        while rest is not None:
            space = (room - len(items) - 6) // 2 * 2
            if space <= 0:
                made += p_data(bytes(items))
                items.clear()
                continue
            piece, rest = rest[:space], rest[space:] or None
            items += pdv(context_id, header | (0 if rest else LAST), bytes(piece))
            if not joined:
                made += p_data(bytes(items))
                items.clear()
    return bytes(made + p_data(bytes(items)) if items else made)


def items_of(body: bytes) -> list[Pdv]:
    """The presentation data value items of a P-DATA-TF. Raises ValueError where their lengths lie."""
    found, position = [], 0
    while position < len(body):
        if len(body) - position < 6:
            raise ValueError(f"{len(body) - position} bytes are left for a presentation data value item")
        length, context_id, header = struct.unpack_from(">LBB", body, position)
        if length < 2 or position + 4 + length > len(body):
            left = len(body) - position - 4
            raise ValueError(f"a presentation data value item of {length} bytes, where {left} are left")
        found.append(Pdv(context_id, header, body[position + 6 : position + 4 + length]))
        position += 4 + length
    if not found:
        raise ValueError("a P-DATA-TF without a presentation data value item")
    return found
