"""Deflated data sets (PS3.5 A.5): inflated no farther than somebody looks, and never without a limit."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final, final

from dcmflow.dicom.elements import EXPLICIT, Buffer, Incomplete, found_encoding, scan
from dcmflow.dicom.payload import MemoryPayload, Payload, Piece
from dcmflow.errors import DatasetError
from dcmflow.units import format_size

DEFLATED: Final = frozenset(("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"))
LIMIT: Final = 256 * 1024 * 1024  # of an inflated data set in memory
_HEAD: Final = 64 * 1024
_STEP: Final = 256 * 1024


def inflate(payload: Payload) -> Iterator[bytes]:
    """The inflated bytes in pieces of at most 256 KiB.

    Raises:
        DatasetError: not a deflate stream, or it ends early.
    """
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        for block in _slices(payload):
            data = stream.decompress(block, _STEP)
            while True:
                if data:
                    yield data
                if stream.eof or not (stream.unconsumed_tail or len(data) == _STEP):
                    break
                data = stream.decompress(stream.unconsumed_tail, _STEP)
            if stream.eof:
                return
    except zlib.error as error:
        raise DatasetError(f"the deflated data set does not inflate: {error}") from error
    raise Incomplete("the deflated data set ends early")


def _slices(payload: Payload) -> Iterator[Buffer]:
    """Short blocks, since what is left of a block is copied at each step."""
    for block in payload.blocks():
        for start in range(0, len(block), _HEAD):
            yield memoryview(block)[start : start + _HEAD]


def inflated(payload: Payload) -> bytes:
    """The whole inflated data set.

    Raises:
        DatasetError: not a deflate stream, or more than 256 MiB come out of it.
    """
    parts: list[bytes] = []
    total = 0
    for part in inflate(payload):
        total += len(part)
        if total > LIMIT:
            raise DatasetError(f"the deflated data set inflates to more than {format_size(LIMIT)}")
        parts.append(part)
    return b"".join(parts)


def deflated(payload: MemoryPayload) -> MemoryPayload:
    """The data set deflated, padded to even length (PS3.5 A.5)."""
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    parts = [stream.compress(segment) for segment in payload.segments()]
    data = b"".join([*parts, stream.flush()])
    return MemoryPayload(data + b"\0" if len(data) & 1 else data)


@final
class Inflated:
    """What a deflated payload inflates to, for header lookups: a leading part first, everything when that is not enough."""

    __slots__ = ("_all", "_head", "_payload", "_whole")

    def __init__(self, payload: Payload) -> None:
        self._payload = payload
        self._all: bytes | None = None
        self._head = b""
        self._whole = False

    def pieces(self, position: int = 0) -> Iterator[Piece]:
        """Contiguous runs from the beginning."""
        if self._all is None and position < _HEAD:
            if not self._head:
                self._fill()
            yield Piece(self._head, 0, self._whole)
            if self._whole:
                return
        yield Piece(self._everything(), 0, True)

    def _fill(self) -> None:
        head = b""
        for part in inflate(self._payload):
            head += part
            if len(head) > _HEAD:
                self._head = head
                return
        self._head, self._whole = head, True

    def _everything(self) -> bytes:
        if self._all is None:
            self._all = inflated(self._payload)
        return self._all

    def read(self, start: int, end: int) -> Buffer:
        """A stretch of the inflated bytes."""
        if end <= len(self._head):
            return self._head[start:end]
        return self._everything()[start:end]


def verify(payload: Payload) -> None:
    """Walk the elements of a deflated data set in bounded memory.

    Raises:
        DatasetError: it does not inflate, does not parse, or ends inside an element.
    """
    window, skip, wanted, padding = bytearray(), 0, 0, False
    encoding = None
    for part in inflate(payload):
        if padding and any(part):
            raise DatasetError("elements stop in the middle of the deflated data set")
        if padding or skip >= len(part):
            skip = max(0, skip - len(part))
            continue
        window += memoryview(part)[skip:]
        skip = 0
        if len(window) < max(wanted, 16):
            continue
        if encoding is None:
            encoding = found_encoding(window, 0, len(window), EXPLICIT)
        try:
            position = scan(window, 0, len(window), encoding, {}, [])
            wanted = 0
        except Incomplete as error:
            position = error.position
            wanted = 2 * (len(window) - position)
            if wanted > LIMIT // 4:
                raise DatasetError(
                    f"an element of undefined length has more than {format_size(LIMIT // 8)} in a deflated data set"
                ) from error
        else:
            padding = position + 8 <= len(window)
        skip = max(0, position - len(window))
        del window[: len(window) if padding and not any(window[position:]) else position]
    if skip:
        raise Incomplete(f"the last element runs {skip} bytes past the end of the data set")
    if any(window):
        position = scan(window, 0, len(window), encoding or EXPLICIT, {}, [])
        if position > len(window) or any(window[position:]):
            raise Incomplete("the data set ends inside an element")
