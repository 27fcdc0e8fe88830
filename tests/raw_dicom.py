"""The upper layer by hand: bytes as PS3.8 and PS3.7 print them, made without any of dcmflow's code."""

from __future__ import annotations

import struct
from typing import NamedTuple

import anyio
from anyio.abc import SocketStream

VERIFICATION = "1.2.840.10008.1.1"
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT = "1.2.840.10008.1.2"
RELEASE_RQ = bytes.fromhex("05 00 00000004 00000000")
RELEASE_RP = bytes.fromhex("06 00 00000004 00000000")


class Pdu(NamedTuple):
    kind: int
    body: bytes


class Pdv(NamedTuple):
    context_id: int
    header: int
    data: bytes


def sub(kind: int, data: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(data)) + data


def request(*contexts: tuple[int, str, str], maximum: int = 16384) -> bytes:
    """An A-ASSOCIATE-RQ from RAW to ANY."""
    items = sub(0x10, b"1.2.840.10008.3.1.1.1")
    for number, abstract, transfer in contexts or ((1, VERIFICATION, IMPLICIT),):
        items += sub(
            0x20,
            bytes([number, 0, 0, 0]) + sub(0x30, abstract.encode()) + sub(0x40, transfer.encode()),
        )
    items += sub(0x50, sub(0x51, struct.pack(">L", maximum)) + sub(0x52, b"1.2.3"))
    body = struct.pack(">HH16s16s32x", 1, 0, b"ANY".ljust(16), b"RAW".ljust(16)) + items
    return struct.pack(">BBL", 1, 0, len(body)) + body


def element(number: int, value: bytes) -> bytes:
    return struct.pack("<HHL", 0, number, len(value)) + value


def command(field: int, message_id: int, sop_class: str = VERIFICATION, *, data: bool = False) -> bytes:
    """A command set; a C-CANCEL (0FFF) says what it responds to."""
    short = struct.Struct("<H").pack
    uid = sop_class.encode() + b"\0" * (len(sop_class) % 2)
    body = element(0x0002, uid) if field != 0x0FFF else b""
    body += element(0x0100, short(field))
    body += element(0x0120 if field == 0x0FFF else 0x0110, short(message_id))
    if field == 1:
        body += element(0x0700, short(0))
    body += element(0x0800, short(1 if data else 0x0101))
    if field == 1:
        body += element(0x1000, b"1.2.3.4\0")
    return element(0, struct.pack("<L", len(body))) + body


def p_data(context_id: int, header: int, data: bytes) -> bytes:
    return struct.pack(">BBLLBB", 4, 0, len(data) + 6, len(data) + 2, context_id, header) + data


def echo(message_id: int) -> bytes:
    return p_data(1, 3, command(0x0030, message_id))


def cancel(message_id: int) -> bytes:
    return p_data(1, 3, command(0x0FFF, message_id))


def store(message_id: int, *data: bytes) -> bytes:
    """A C-STORE-RQ on context 3, its data set in as many PDUs."""
    made = p_data(3, 3, command(0x0001, message_id, CT_IMAGE, data=True))
    for number, piece in enumerate(data, 1):
        made += p_data(3, 2 if number == len(data) else 0, piece)
    return made


def items(body: bytes) -> list[Pdv]:
    found = []
    while body:
        length, context_id, header = struct.unpack_from(">LBB", body)
        found.append(Pdv(context_id, header, body[6 : 4 + length]))
        body = body[4 + length :]
    return found


def elements(encoded: bytes) -> dict[int, bytes]:
    """The elements of a command set by number."""
    found = {}
    while encoded:
        _, number, length = struct.unpack_from("<HHL", encoded)
        found[number] = encoded[8 : 8 + length]
        encoded = encoded[8 + length :]
    return found


def number(value: bytes) -> int:
    return int.from_bytes(value, "little")


class Raw:
    """A TCP connection to a peer. Reads what it is told to."""

    def __init__(self, stream: SocketStream) -> None:
        self.stream = stream

    async def send(self, *data: bytes) -> None:
        await self.stream.send(b"".join(data))

    async def exactly(self, count: int) -> bytes:
        got = b""
        while len(got) < count:
            got += await self.stream.receive(count - len(got))
        return got

    async def pdu(self) -> Pdu:
        kind, _, length = struct.unpack(">BBL", await self.exactly(6))
        return Pdu(kind, await self.exactly(length))

    async def response(self) -> tuple[int, int]:
        """Message id and status of a response in one P-DATA-TF."""
        kind, body = await self.pdu()
        assert kind == 4
        found = elements(items(body)[0].data)
        return number(found[0x0120]), number(found[0x0900])

    async def rest(self) -> bytes:
        """All that comes until the end; a reset raises anyio.BrokenResourceError."""
        got = b""
        try:
            while True:
                got += await self.stream.receive()
        except anyio.EndOfStream:
            return got

    async def associate(self, *contexts: tuple[int, str, str], maximum: int = 16384) -> Pdu:
        await self.send(request(*contexts, maximum=maximum))
        return await self.pdu()


async def connect(port: int) -> Raw:
    return Raw(await anyio.connect_tcp("127.0.0.1", port))
