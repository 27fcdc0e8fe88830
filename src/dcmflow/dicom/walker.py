"""A walk through the encoded elements of one data set that remembers where it has been.

Each element that was passed is in an index, so that asking for ten elements walks once and no farther than the last of them.
Only a walk to the end says that an element is absent, because elements may be out of order. Where the bytes are broken or end
early, what lies before can be had; asking for what may lie behind is an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple, Protocol

from dcmflow.dicom import tags
from dcmflow.dicom.elements import (
    ITEM_END,
    MAX_REPEATS,
    MOST,
    Buffer,
    Element,
    Encoding,
    Incomplete,
    element_at,
    found_encoding,
    scan,
    swap,
)
from dcmflow.dicom.payload import BLOCK, FilePayload, MemoryPayload, Piece
from dcmflow.errors import DatasetError


class Source(Protocol):
    """Where encoded elements come from: a payload, or what a deflated one inflates to."""

    def pieces(self, position: int = 0) -> Iterator[Piece]: ...

    def read(self, start: int, end: int) -> Buffer: ...


class Outline(NamedTuple):
    """Where all elements of a data set are, in the order of the bytes; tags in their raw form."""

    raws: list[int]
    starts: list[int]
    end: int

    def spans(self) -> Iterator[tuple[int, int, int]]:
        """(raw tag, start, end) of each element."""
        return zip(self.raws, self.starts, [*self.starts[1:], self.end], strict=False)


class Walker:
    """Finds elements in a source.

    Args:
        source: the encoded elements.
        encoding: how they are said to be encoded; what is found decides.
    """

    __slots__ = (
        "_at",
        "_data",
        "_done",
        "_encoding",
        "_end",
        "_expected",
        "_index",
        "_problem",
        "_repeats",
        "_sure",
        "source",
    )

    def __init__(self, source: Source, encoding: Encoding) -> None:
        self.source: Source = source
        self._expected = encoding
        self._encoding: Encoding | None = None
        self._index: dict[int, int] = {}  # raw tag to position in the data set
        self._repeats: list[tuple[int, int]] = []  # more elements with these tags
        self._at = 0
        self._end = 0  # behind the last element, once done; threads that share a header may still move `_at`
        self._data: Buffer = b""  # the first piece, when it is in memory
        self._done = False
        self._problem: DatasetError | None = None
        self._sure: int | None = None  # lower tags than this one come before the problem

    @property
    def encoding(self) -> Encoding:
        """How the elements are really encoded."""
        if self._encoding is None:
            first = next(self.source.pieces(0), None)
            if first is not None:
                self._begin(first.data)
        return self._encoding or self._expected

    def _begin(self, data: Buffer) -> Encoding:
        self._encoding = found_encoding(data, 0, len(data), self._expected)
        if isinstance(data, bytes) or isinstance(self.source, MemoryPayload):
            self._data = data  # anything else would keep a file mapped
        return self._encoding

    def find(self, raw: int) -> bool:
        """Whether there is an element with this raw tag; then it is in the index.

        Raises:
            DatasetError: the bytes are broken before it could have come.
        """
        index = self._index
        if raw in index:
            return True
        if not self._done:
            self._walk(raw)
            if raw in index:
                return True
        if self._problem is not None and not self._passed(swap(raw)):
            raise self._problem
        return False

    def _passed(self, tag: int) -> bool:
        """True when everything up to the broken place was in order and `tag` would have come before."""
        if self._sure is None:
            # the element at which the walk broke off may be anything
            seen = [swap(raw) for raw, position in self._index.items() if position < self._end]
            self._sure = seen[-1] if seen and seen == sorted(seen) else -1
        return tag < self._sure

    def _walk(self, stop: int) -> None:
        """Go on until the element `stop` (raw) is in the index, or to the end."""
        index, data, encoding = self._index, self._data, self._encoding
        at = self._at
        if encoding is not None and at < len(data):  # the common case, without detours
            try:
                self._at = at = scan(data, at, len(data), encoding, index, self._repeats, stop)
            except DatasetError:
                at = self._at  # met again below, where it is known whether there is more
            if stop in index:
                return
        asked, pieces = at, self.source.pieces(at)
        while (piece := next(pieces, None)) is not None:
            data, base, whole = piece
            encoding = self._encoding or self._begin(data)
            end = len(data)
            try:
                position = self._scan(data, max(0, at - base), end, encoding, base, stop)
            except Incomplete as error:
                self._at = at = base + error.position
                if not whole:
                    if at > asked:
                        asked, pieces = at, self.source.pieces(at)
                    continue
                self._problem = error
                break
            except DatasetError as error:
                self._at = at = max(index.values(), default=0)
                self._problem = error
                break
            self._at = at = base + position
            if stop in index:
                return
            if whole and position != end:
                self._problem = _problem_at(data, position, encoding)
                if self._problem is not None:
                    break
            elif not whole and at > asked:
                asked, pieces = at, self.source.pieces(at)
        self._end = at
        self._done = True

    def _scan(self, data: Buffer, at: int, end: int, encoding: Encoding, base: int, stop: int) -> int:
        if not base:
            return scan(data, at, end, encoding, self._index, self._repeats, stop)
        index: dict[int, int] = {}
        repeats: list[tuple[int, int]] = []
        try:
            return scan(data, at, end, encoding, index, repeats, stop)
        finally:
            for raw, position in (*index.items(), *repeats):
                if self._index.setdefault(raw, base + position) != base + position:
                    self._repeats.append((raw, base + position))
            if len(self._repeats) > MAX_REPEATS or len(self._index) > MOST:
                raise DatasetError("the data set has too many elements, or the same again and again")

    def outline(self) -> Outline:
        """Where all elements are, repeated tags included.

        Raises:
            DatasetError: the bytes are broken, or end inside an element.
        """
        if not self._done:
            self._walk(-1)
        if self._problem is not None:
            raise self._problem
        index = self._index
        if not self._repeats:
            return Outline(list(index), list(index.values()), self._end)
        pairs = sorted({*index.items(), *self._repeats}, key=lambda pair: pair[1])
        return Outline([raw for raw, _ in pairs], [at for _, at in pairs], self._end)

    def placed(self, tag: int) -> Element:
        """Where the element with this tag is in this data set.

        Raises:
            KeyError: the element is absent.
            DatasetError: it does not end.
        """
        if not self.find(swap(tag)):
            raise KeyError(tag)
        position = self._index[swap(tag)]
        encoding = self.encoding
        if position < len(self._data):
            with suppress(Incomplete):
                return element_at(self._data, position, len(self._data), encoding)
        for data, base, whole in self.source.pieces(position):
            if position - base >= len(data):
                continue
            try:
                element = element_at(data, position - base, len(data), encoding)
            except Incomplete:
                if whole:
                    raise
                continue
            if not base:
                return element
            return element._replace(start=position, value=base + element.value, end=base + element.end)
        raise Incomplete(f"{tags.name(tag)} is not there any more", position)

    def located(self, tag: int) -> tuple[Element, Buffer]:
        """`placed`, and the encoded value, delimiters included."""
        element = self.placed(tag)
        return element, self.source.read(element.value, element.end)


def verify(source: Source, encoding: Encoding) -> None:
    """Walk to the end.

    Raises:
        DatasetError: the elements do not parse, or do not end where the data do.
    """
    if isinstance(source, FilePayload):
        end = Walker(source, encoding).outline().end
        for start in range(end, source.size, BLOCK):
            if any(source.read(start, min(start + BLOCK, source.size))):
                raise _more_bytes(source.size - end, end)
        return
    for data, base, whole in source.pieces():
        if base == 0:
            encoding = found_encoding(data, 0, len(data), encoding)
        if not whole:
            continue
        position = scan(data, 0, len(data), encoding, {}, [])
        if position > len(data):
            raise _past_the_end(position - len(data))
        if any(data[position:]):
            raise _more_bytes(len(data) - position, base + position)


def _more_bytes(count: int, position: int) -> DatasetError:
    return DatasetError(f"the data set ends with {count} bytes at {position} that are no element")


def _problem_at(data: Buffer, position: int, encoding: Encoding) -> DatasetError | None:
    """What is wrong where a scan came to its end before or behind that of the data; None when only padding is left."""
    end = len(data)
    if position > end:
        return _past_the_end(position - end)
    if position + 8 <= end and encoding.pair(data, position)[0] == ITEM_END and any(data[position + 8 :]):
        return DatasetError(
            f"an item ends at {position}, where none began, and {end - position - 8} bytes follow"
        )
    return None


def _past_the_end(count: int) -> Incomplete:
    return Incomplete(f"the last element runs {count} bytes past the end of the data set")
