"""Sends instances over many associations at once from one thread: `python wire_blast.py PORT FOLDER --associations 8`.

The same sender for all servers. Everything is encoded before the clock starts. Each association has its share of
the instances and sends the next one when the response to the last one has come. The clock runs from the first
request to the last response, with all associations open. Written for speed on loopback, with the standard library
alone: it proposes what the files are and takes no other answer than Success.
"""

from __future__ import annotations

import argparse
import json
import resource
import select
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, cycle
from pathlib import Path
from typing import NamedTuple

LONGEST = 262144  # of a PDU that we send, where the server takes it
CONTEXT = 1
_STATUS = b"\x00\x00\x00\x09\x02\x00\x00\x00"  # (0000,0900) in implicit VR, with its length


class Blocked(Exception):
    """An association that was not opened, or ended, or an instance that was not stored."""


class File(NamedTuple):
    """What a Part 10 file holds."""

    sop_class: bytes
    sop_instance: bytes
    transfer_syntax: bytes
    dataset: memoryview


def read(path: Path) -> File:
    """A file whose File Meta Information has a group length (PS3.10 7.1)."""
    data = memoryview(path.read_bytes())
    position, found = 144, {}
    end = position + struct.unpack_from("<I", data, 140)[0]
    while position < end:
        _, element, vr, length = struct.unpack_from("<HH2sH", data, position)
        position += 8
        if vr in (b"OB", b"UN"):
            length = struct.unpack_from("<I", data, position)[0]
            position += 4
        found[element] = bytes(data[position : position + length]).rstrip(b"\0")
        position += length
    return File(found[0x0002], found[0x0003], found[0x0010], data[end:])


def associate_request(called: str, calling: str, sop_class: bytes, transfer_syntax: bytes) -> bytes:
    """A-ASSOCIATE-RQ (PS3.8 9.3.2) with one context."""

    def item(kind: int, content: bytes) -> bytes:
        return struct.pack(">BBH", kind, 0, len(content)) + content

    syntaxes = item(0x30, sop_class) + item(0x40, transfer_syntax)
    user = item(0x51, struct.pack(">I", LONGEST)) + item(0x52, b"1.2.826.0.1.3680043.8.498.1")
    body = (
        struct.pack(">HH16s16s32x", 1, 0, called.ljust(16).encode(), calling.ljust(16).encode())
        + item(0x10, b"1.2.840.10008.3.1.1.1")
        + item(0x20, struct.pack(">Bxxx", CONTEXT) + syntaxes)
        + item(0x50, user)
    )
    return struct.pack(">BBI", 1, 0, len(body)) + body


def store_request(file: File, maximum: int) -> bytes:
    """C-STORE-RQ and data set as P-DATA-TF PDUs (PS3.7 9.3.1.1, PS3.8 9.3.5), ready to be sent."""

    def element(number: int, value: bytes) -> bytes:
        return struct.pack("<HHI", 0, number, len(value)) + value

    def uid(value: bytes) -> bytes:
        return value + b"\0" * (len(value) % 2)

    def number(value: int) -> bytes:
        return struct.pack("<H", value)

    command = (
        element(0x0002, uid(file.sop_class))
        + element(0x0100, number(1))
        + element(0x0110, number(1))
        + element(0x0700, number(0))
        + element(0x0800, number(1))
        + element(0x1000, uid(file.sop_instance))
    )
    command = element(0x0000, struct.pack("<I", len(command))) + command
    parts: list[bytes | memoryview] = [_pdv(len(command), 0b11), command]
    piece = maximum - 6
    for start in range(0, len(file.dataset), piece):
        data = file.dataset[start : start + piece]
        parts += _pdv(len(data), 0b10 if start + piece >= len(file.dataset) else 0), data
    return b"".join(parts)


def _pdv(length: int, control: int) -> bytes:
    return struct.pack(">BBIIBB", 4, 0, length + 6, length + 2, CONTEXT, control)


class Station:
    """One association, opened while the caller waits; afterwards it sends and receives without waiting."""

    def __init__(self, port: int, request: bytes) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.queue: deque[bytes] = deque()
        self.stored = 0
        self._out = memoryview(b"")
        self._in = b""
        try:
            self.socket.sendall(request)
            self.maximum = self._accepted(self._pdu())
        except (Blocked, OSError) as error:
            self.socket.close()
            raise Blocked(f"no association: {error}") from error
        self.socket.setblocking(False)

    def _pdu(self) -> bytes:
        head = self._exactly(6)
        return head + self._exactly(struct.unpack(">I", head[2:])[0])

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                raise Blocked("the server closed the connection")
            data += more
        return data

    def _accepted(self, pdu: bytes) -> int:
        """The longest PDU that the server takes."""
        if pdu[0] != 2:
            raise Blocked(f"PDU of type {pdu[0]}: {pdu[6:10].hex()}")
        position, maximum = 74, 0
        while position < len(pdu):
            kind, length = struct.unpack_from(">BxH", pdu, position)
            position += 4
            if kind == 0x21 and pdu[position + 2] != 0:
                raise Blocked(f"context not accepted: result {pdu[position + 2]}")
            if kind == 0x50:
                continue  # its items are next
            if kind == 0x51:
                maximum = struct.unpack_from(">I", pdu, position)[0]
            position += length
        return min(maximum or LONGEST, LONGEST)

    def next(self) -> bool:
        """Begin with the next instance; False when there is none."""
        if not self.queue:
            return False
        self._out = memoryview(self.queue.popleft())
        return True

    def write(self) -> bool:
        """Send what can be sent; whether all of it was."""
        try:
            while self._out:
                self._out = self._out[self.socket.send(self._out) :]
        except BlockingIOError:
            return False
        return True

    def read(self) -> bool:
        """Take what has come; True when the response is complete."""
        try:
            came = self.socket.recv(65536)
        except BlockingIOError:
            return False
        data = self._in = self._in + came
        if not came or data[0] != 4:
            raise Blocked(f"after {self.stored} instances: {_why(came and data)}")
        if len(data) < 6 or len(data) < 6 + struct.unpack_from(">I", data, 2)[0]:
            return False
        status = data.find(_STATUS)
        if status < 0:
            raise Blocked("a PDU without a status")
        self._in = b""
        if data[status + 8 : status + 10] != b"\0\0":
            code = struct.unpack_from("<H", data, status + 8)[0]
            raise Blocked(f"after {self.stored} instances: status 0x{code:04X}")
        self.stored += 1
        return True

    def release(self) -> None:
        """Release (PS3.8 9.3.6) and wait for the answer."""
        self.socket.settimeout(30)
        self.socket.sendall(b"\x05\x00\x00\x00\x00\x04\x00\x00\x00\x00")
        answer = self._pdu()
        if answer[0] != 6:
            raise Blocked(f"release: {_why(answer)}")


def _why(data: bytes) -> str:
    if not data:
        return "the server closed the connection"
    return "the server aborted" if data[0] == 7 else f"PDU of type {data[0]}"


def blast(stations: Sequence[Station]) -> float:
    """Empty the queues of all stations; returns the seconds it took."""
    epoll, by_number = select.epoll(), {station.socket.fileno(): station for station in stations}
    start = time.perf_counter()
    busy = 0
    for number, station in by_number.items():
        if station.next():
            busy += 1
            epoll.register(number, select.EPOLLIN if station.write() else select.EPOLLIN | select.EPOLLOUT)
    while busy:
        for number, events in epoll.poll():
            station = by_number[number]
            if events & select.EPOLLOUT:
                if station.write():
                    epoll.modify(number, select.EPOLLIN)
            elif station.read():
                if not station.next():
                    busy -= 1
                    epoll.unregister(number)
                elif not station.write():
                    epoll.modify(number, select.EPOLLIN | select.EPOLLOUT)
    seconds = time.perf_counter() - start
    epoll.close()
    return seconds


@contextmanager
def connected(port: int, called: str, file: File, *counts: int) -> Iterator[list[list[Station]]]:
    """Groups of associations for instances like this one, opened one after the other, released at the end."""
    request = associate_request(called, "BLAST", file.sop_class, file.transfer_syntax)
    groups: list[list[Station]] = [[] for _ in counts]
    try:
        for group, count in zip(groups, counts, strict=True):
            group += (Station(port, request) for _ in range(count))
        yield groups
        for station in chain(*groups):
            station.release()
    finally:
        for station in chain(*groups):
            station.socket.close()


def send(port: int, files: Iterable[Path], *, called: str = "DCMFLOW", associations: int = 1) -> float:
    """Send files; returns the seconds from the first request to the last response. Raises Blocked, OSError."""
    read_files = [read(path) for path in files]
    with connected(port, called, read_files[0], associations) as (stations,):
        for index, file in enumerate(read_files):
            stations[index % associations].queue.append(store_request(file, stations[0].maximum))
        return blast(stations)


def repeat(
    port: int, files: Sequence[Path], count: int, *, called: str, associations: int, idle: int
) -> tuple[float, float]:
    """Send `count` instances, the same ones over and over, beside associations that wait; those send one at the end.

    Returns:
        The seconds of the many, and of the last ones.
    """
    read_files = [read(path) for path in files]
    with connected(port, called, read_files[0], idle, associations) as (waiting, stations):
        encoded = [store_request(file, stations[0].maximum) for file in read_files]
        seconds, left = 0.0, count
        while left:
            some = min(left, 100 * associations)
            for index in range(some):
                stations[index % associations].queue.append(encoded[(left + index) % len(encoded)])
            seconds += blast(stations)
            left -= some
        for station, request in zip(waiting, cycle(encoded), strict=False):
            station.queue.append(request)
        return seconds, blast(waiting)


def main(argv: list[str]) -> int:
    """Prints what it took as JSON; 1 and a line of text when something was not stored."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--called", default="DCMFLOW")
    parser.add_argument("--associations", type=int, default=1)
    parser.add_argument("--count", type=int, help="so many instances, the files over and over")
    parser.add_argument(
        "--idle", type=int, default=0, help="associations beside them that wait (with --count)"
    )
    options = parser.parse_args(argv)
    files = sorted(path for path in options.folder.rglob("*") if path.is_file())
    to = {"called": options.called, "associations": options.associations}
    try:
        if options.count is None:
            seconds, last = send(options.port, files, **to), 0.0
        else:
            seconds, last = repeat(options.port, files, options.count, idle=options.idle, **to)
    except (Blocked, OSError) as error:
        print(f"{type(error).__name__}: {error}")
        return 1
    usage = resource.getrusage(resource.RUSAGE_SELF)
    stored = len(files) if options.count is None else options.count + options.idle
    took = {"seconds": seconds, "last": last, "cpu": usage.ru_utime + usage.ru_stime}
    print(json.dumps({"stored": stored, **took}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
