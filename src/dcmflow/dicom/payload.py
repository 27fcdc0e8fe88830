"""The encoded data set of an instance: bytes in memory, or regions of a file.

Both kinds are values. They are cut into *segments*, and every cut lies between two top-level elements, so that whoever walks
the elements can go segment by segment. An edit makes a new payload that shares what it did not touch: `spliced` writes the
leading part anew and keeps long untouched stretches, pixel data above all, as slices of the same bytes or of the same file.

A `FilePayload` holds no open file. It remembers size, time of change and identity of its file and raises `DatasetError`
when the file it meets later is another one. Reading in blocks (`blocks`, `read`) copies; `segments` maps the file, which is
the fast way to send: the mapping, and the descriptor inside it, live as long as somebody holds one of the segments.
"""

from __future__ import annotations

import mmap
import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple, final
from weakref import ref

from dcmflow.dicom.elements import Buffer
from dcmflow.dicom.spilled import Spilled
from dcmflow.errors import DatasetError

KEEP: Final = 32 * 1024  # an untouched stretch of at least this many bytes stays a slice of its own
LEAD: Final = 32 * 1024  # of a file, kept in memory for header lookups
BLOCK: Final = 1024 * 1024
WINDOWS: Final = (64 * 1024, 4 * BLOCK)  # of a file, read to look for elements before it is mapped

Replacement = tuple[int, int, bytes]  # start, end, what stands there instead


class Piece(NamedTuple):
    """A contiguous run of the data set.

    Attributes:
        data: the bytes.  base: where they begin in the data set.
        whole: True when the piece ends between two elements; False when only more of the same would tell.
    """

    data: Buffer
    base: int
    whole: bool


@final
class MemoryPayload:
    """An encoded data set in memory.

    Args:
        segments: the bytes, cut between top-level elements where there is more than one buffer. They are not copied and
            must not change any more. Fragments cut anywhere else are to be joined first.
    """

    __slots__ = ("_bases", "_segments", "size")

    size: int

    def __init__(self, *segments: Buffer) -> None:
        self._segments: tuple[Buffer, ...]
        self._bases: list[int]
        if len(segments) == 1:
            self._segments, self._bases, self.size = segments, [0], len(segments[0])
            return
        self._segments = tuple(s for s in segments if len(s)) or (b"",)
        self._bases = []
        size = 0
        for segment in self._segments:
            self._bases.append(size)
            size += len(segment)
        self.size = size

    @property
    def resident(self) -> int:
        """Bytes held in memory."""
        return self.size

    @property
    def spilled(self) -> Spilled | None:
        """None: it is in memory."""
        return None

    def held(self) -> Sequence[Buffer]:
        """The buffers in memory."""
        return self._segments

    def segments(self) -> list[Buffer]:
        """The bytes, ready for `writelines` or `sendmsg`."""
        return list(self._segments)

    def blocks(self) -> Iterator[Buffer]:
        """The bytes one after the other."""
        return iter(self._segments)

    def pieces(self, position: int = 0) -> Iterator[Piece]:
        """Contiguous runs from the one that holds `position` to the end."""
        if len(self._bases) == 1:
            return iter((Piece(self._segments[0], 0, True),))
        return self._pieces(position)

    def _pieces(self, position: int) -> Iterator[Piece]:
        first = max(0, bisect_right(self._bases, position) - 1)
        for number in range(first, len(self._segments)):
            yield Piece(self._segments[number], self._bases[number], True)

    def read(self, start: int, end: int) -> Buffer:
        """A stretch; without a copy where it lies in one segment."""
        number = max(0, bisect_right(self._bases, start) - 1)
        segment, base = self._segments[number], self._bases[number]
        if end - base <= len(segment):
            return (
                segment[start - base : end - base]
                if end - start < KEEP
                else memoryview(segment)[start - base : end - base]
            )
        return b"".join(
            memoryview(s)[max(0, start - b) : max(0, end - b)]
            for s, b in zip(self._segments, self._bases, strict=True)
        )

    def spliced(self, replacements: Sequence[Replacement]) -> MemoryPayload:
        """The data set with stretches replaced; untouched bytes are shared or, where short, copied.

        Args:
            replacements: in ascending order, not overlapping, each beginning and ending between top-level elements.
        """
        return MemoryPayload(*_splice(self, replacements))

    def shared(self, start: int, end: int) -> list[Buffer]:
        """A stretch as slices of the segments."""
        return [
            memoryview(segment)[max(0, start - base) : end - base]
            for segment, base in zip(self._segments, self._bases, strict=True)
            if base < end and start < base + len(segment)
        ]


class Region(NamedTuple):
    """A stretch of the file."""

    offset: int
    length: int


@final
class FilePayload:
    """An encoded data set in a file, possibly with rewritten parts in front of or between its regions.

    Args:
        path: the file.
        parts: bytes and regions of the file in order, cut between top-level elements.
        lead: the first bytes of the first region, when they were read already.
        owner: kept as long as this payload and what is spliced from it; whatever keeps the file there.

    Raises:
        DatasetError: the file cannot be examined.
    """

    __slots__ = ("_bases", "_lead", "_mapping", "_owner", "_parts", "_signature", "path", "size")

    path: str
    size: int

    def __init__(
        self,
        path: str,
        parts: Sequence[bytes | Region],
        *,
        lead: bytes = b"",
        signature: tuple[int, int, int] | None = None,
        owner: object = None,
    ) -> None:
        self.path = path
        self._owner = owner
        self._parts = tuple(parts)
        self._lead = lead if self._parts and isinstance(self._parts[0], Region) else b""
        self._mapping: ref[mmap.mmap] | None = None
        self._bases: list[int] = []
        size = 0
        for part in self._parts:
            self._bases.append(size)
            size += _length(part)
        self.size = size
        self._signature = signature or self._examine()

    @property
    def spilled(self) -> Spilled | None:
        """The nameless file that this is all of; None when it is something else, or was edited."""
        owner = self._owner
        if isinstance(owner, Spilled) and len(self._parts) == 1 and isinstance(self._parts[0], Region):
            return owner if self._parts[0].offset + self._parts[0].length == owner.size else None
        return None

    def _examine(self) -> tuple[int, int, int]:
        try:
            return signature(os.stat(self.path))
        except OSError as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: OSError) -> DatasetError:
        return DatasetError(f"cannot read the data set in {self.path}: {error.strerror or error}")

    def _open(self) -> int:
        try:
            descriptor = os.open(self.path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        except OSError as error:
            raise self._unreadable(error) from error
        if signature(os.fstat(descriptor)) != self._signature:
            os.close(descriptor)
            raise DatasetError(
                f"{self.path} was changed or replaced after its instance was read; read it again"
            )
        return descriptor

    @property
    def resident(self) -> int:
        """Bytes held in memory."""
        return len(self._lead) + sum(len(part) for part in self._parts if isinstance(part, bytes))

    def held(self) -> Sequence[Buffer]:
        """The buffers in memory."""
        return [self._lead, *(part for part in self._parts if isinstance(part, bytes))]

    def segments(self) -> list[Buffer]:
        """The bytes: parts in memory, and views of the mapped file, valid while they are held.

        Raises:
            DatasetError: the file is gone or is not the same any more.
        """
        return [
            p if isinstance(p, bytes) else self._map()[p.offset : p.offset + p.length] for p in self._parts
        ]

    def _map(self) -> memoryview:
        mapping = self._mapping() if self._mapping is not None else None
        if mapping is None:
            descriptor = self._open()
            try:
                mapping = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
            except (OSError, ValueError) as error:
                raise DatasetError(f"cannot map {self.path}: {error}") from error
            finally:
                os.close(descriptor)
            self._mapping = ref(mapping)
        return memoryview(mapping)

    def blocks(self) -> Iterator[Buffer]:
        """The bytes in copies of at most 1 MiB.

        Raises:
            DatasetError: the file is gone, is not the same any more, or shrinks meanwhile.
        """
        descriptor = self._open()
        try:
            for part in self._parts:
                if isinstance(part, bytes):
                    yield part
                    continue
                for offset in range(part.offset, part.offset + part.length, BLOCK):
                    yield self._pread(descriptor, offset, min(BLOCK, part.offset + part.length - offset))
        finally:
            os.close(descriptor)

    def _pread(self, descriptor: int, offset: int, length: int) -> bytes:
        parts: list[bytes] = []
        while length:
            try:
                data = os.pread(descriptor, length, offset)
            except OSError as error:
                raise self._unreadable(error) from error
            if not data:
                raise DatasetError(f"{self.path} became shorter while it was read")
            parts.append(data)
            offset, length = offset + len(data), length - len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def pieces(self, position: int = 0) -> Iterator[Piece]:
        """Contiguous runs from the one that holds `position` on: short ones that are read, then the mapped rest.

        Reading comes first because a mapped file that somebody else cuts off ends the whole process (SIGBUS). Where a run that
        is not whole was enough to get on, ask again for where that is.
        """
        first = max(0, bisect_right(self._bases, position) - 1)
        if first == 0 and position < len(self._lead):
            whole = len(self._lead) == _length(self._parts[0])
            yield Piece(self._lead, 0, whole)
            first += whole
        for number in range(first, len(self._parts)):
            part = self._parts[number]
            base = self._bases[number]
            if isinstance(part, bytes):
                yield Piece(part, base, True)
                continue
            begin = min(max(0, position - base), part.length)
            rest = part.length - begin
            for size in WINDOWS:
                start = base + begin
                yield Piece(self.read(start, start + min(size, rest)), start, size >= rest)
                if size >= rest:
                    break
            else:
                yield Piece(self._map()[part.offset : part.offset + part.length], base, True)

    def read(self, start: int, end: int) -> Buffer:
        """A copy of a stretch."""
        if end <= len(self._lead):
            return self._lead[start:end]
        if self._mapping is not None and self._mapping() is not None:  # then opening it again is the slow way
            mapped = MemoryPayload(*self.segments())
            return bytes(mapped.read(start, end))
        result: list[bytes] = []
        descriptor = self._open()
        try:
            for part, base in zip(self._parts, self._bases, strict=True):
                low, high = max(start, base), min(end, base + _length(part))
                if low >= high:
                    continue
                if isinstance(part, bytes):
                    result.append(part[low - base : high - base])
                else:
                    result.append(self._pread(descriptor, part.offset + low - base, high - low))
        finally:
            os.close(descriptor)
        return result[0] if len(result) == 1 else b"".join(result)

    def spliced(self, replacements: Sequence[Replacement]) -> FilePayload:
        """As `MemoryPayload.spliced`: long untouched stretches stay regions of the file.

        Raises:
            DatasetError: the file is gone or is not the same any more.
        """
        os.close(self._open())
        return FilePayload(
            self.path, _splice(self, replacements), signature=self._signature, owner=self._owner
        )

    def shared(self, start: int, end: int) -> list[bytes | Region]:
        """A stretch as regions of the file and slices of the parts in memory."""
        shared: list[bytes | Region] = []
        for part, base in zip(self._parts, self._bases, strict=True):
            low, high = max(start, base) - base, min(end, base + _length(part)) - base
            if low < high:
                shared.append(
                    part[low:high] if isinstance(part, bytes) else Region(part.offset + low, high - low)
                )
        return shared


Payload = MemoryPayload | FilePayload


def signature(status: os.stat_result) -> tuple[int, int, int]:
    """What tells whether a file is still the same."""
    return status.st_size, status.st_mtime_ns, status.st_ino


def _length(part: bytes | Region) -> int:
    return len(part) if isinstance(part, bytes) else part.length


def _splice(payload: MemoryPayload | FilePayload, replacements: Sequence[Replacement]) -> list:  # type: ignore[type-arg]
    result: list[Buffer | Region] = []
    small: list[Buffer] = []

    def flush() -> None:
        if small:
            result.append(b"".join(small))
            small.clear()

    edges = [(0, 0, b""), *replacements, (payload.size, payload.size, b"")]
    for (_start, before, new), (after, _end, _new) in pairwise(edges):
        if new:
            small.append(new)
        if after - before >= KEEP:
            flush()
            result.extend(payload.shared(before, after))
        elif after > before:
            small.append(payload.read(before, after))
    flush()
    return result
