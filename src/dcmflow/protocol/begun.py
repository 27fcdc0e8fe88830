"""A DIMSE message that is begun before its data set is whole: cut into P-DATA-TF PDUs as it comes (PS3.8 9.3.5, Annex E).

How long the data set will be need not be known. All PDUs but the last one are equally long, so that where each of them begins
follows from how many bytes have been written; and one is written only when more than that has come, because the last one says
that it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, final

from dcmflow.protocol.fragment import HEAD, HEAD_SIZE, LAST, Buffer, cut, fragments, room

LARGEST: Final = 128 * 1024  # of these PDUs: what is sent in larger ones begins its journey later
STEP: Final = 128 * 1024  # bytes: whoever is sent less at a time is woken more often than it is good for
_AT_ONCE: Final = 64  # PDUs


@final
class Begun:
    """One message.

    Args:
        context_id: the presentation context.
        command: the encoded command set.
        maximum_length: of the receiver, in bytes; 0: any.

    Attributes:
        written: bytes of the message that have been written.
    """

    __slots__ = ("_context_id", "_full", "_head", "_most", "written")

    def __init__(self, context_id: int, command: bytes, maximum_length: int) -> None:
        (head,) = fragments(context_id, command, None, maximum_length)
        most = min(room(maximum_length), LARGEST)
        self._context_id = context_id
        self._head = head
        self._most = most
        self._full = HEAD.pack(4, most + 6, most + 2, context_id, 0)
        self.written: int = 0

    @property
    def wanted(self) -> int:
        """How many bytes of the data set must be there for it to be worth while to write."""
        return self._place()[0] + max(self._most, STEP) + 1

    def ready(self, data: memoryview) -> list[Buffer]:
        """What can be written now.

        Args:
            data: what there is of the data set, from its beginning on; it goes on behind.
        """
        at, begun = self._place()
        most = self._most
        buffers: list[Buffer] = [] if at or self.written >= len(self._head) else [self._head]
        for start in range(at, min(len(data) - most, at + most * _AT_ONCE), most):
            buffers += (self._full, data[start : start + most])
        return behind(buffers, begun)

    def rest(self, segments: Sequence[Buffer]) -> list[Buffer]:
        """All that is left to write, with the whole data set in any number of segments."""
        at, begun = self._place()
        head = self._head if self.written < len(self._head) else b""
        left = sum(map(len, segments)) - at
        data = behind(segments, at)
        if left > self._most:
            return behind(cut(bytes(head), self._context_id, data, left, self._most), begun)
        last = HEAD.pack(4, left + 6, left + 2, self._context_id, LAST)
        return behind([bytes(head) + last, *data], begun)

    @property
    def between(self) -> bool:
        """What has been written ends with a PDU."""
        return not self._place()[1]

    def _place(self) -> tuple[int, int]:
        """Where the PDU to go on with begins in the data set, and how much of it, or of the command before it, is written."""
        beyond = self.written - len(self._head)
        if beyond < 0:
            return 0, self.written
        number, begun = divmod(beyond, HEAD_SIZE + self._most)
        return number * self._most, begun


def behind(buffers: Sequence[Buffer], count: int) -> list[Buffer]:
    """The buffers without so many bytes at their beginning."""
    for number, buffer in enumerate(buffers):
        if count < len(buffer):
            return [memoryview(buffer)[count:] if count else buffer, *buffers[number + 1 :]]
        count -= len(buffer)
    return []
