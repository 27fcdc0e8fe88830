"""DIMSE messages cut into P-DATA-TF PDUs (PS3.8 9.3.5, Annex E) without copying the data set.

Each PDU made here carries one PDV. What comes out is a list of buffers to be written together: the command and the head of the
first data PDU are one small buffer, the rest are heads and slices of what was given. A receiver that takes very little in one PDU
gets the message in `portions`: the buffers of all of it at once would take many times its own memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from struct import Struct
from typing import Final

Buffer = bytes | bytearray | memoryview
Portions = Iterator[list[Buffer]]

COMMAND: Final = 1  # message control header (PS3.8 E.2)
LAST: Final = 2
LARGEST: Final = 256 * 1024  # what is sent in one PDU where the peer sets no limit
SMALLEST: Final = 8  # a PDU with fewer bytes could not carry anything
LITTLE: Final = 1024  # who takes less in one PDU gets a message in portions
OVERHEAD: Final = 6  # PDV item length, context id and message control header count as part of the PDU

HEAD: Final = Struct(">BxIIBB")
HEAD_SIZE: Final = HEAD.size
_PORTION: Final = 512  # PDUs


def room(maximum_length: int) -> int:
    """How many bytes of a message go into one PDU, given the receiver's maximum length (0: any); even, as PS3.8 E.1 asks."""
    if not maximum_length or maximum_length > LARGEST:
        maximum_length = LARGEST
    return max(maximum_length, SMALLEST) - OVERHEAD & ~1


def fragments(
    context_id: int, command: bytes, data: Sequence[Buffer] | None, maximum_length: int
) -> list[Buffer]:
    """The buffers of a whole message.

    Args:
        context_id: the presentation context.
        command: the encoded command set.
        data: the encoded data set in any number of buffers; None when the message has none.
        maximum_length: of the receiver, in bytes; 0: any.
    """
    most = room(maximum_length)
    pack = HEAD.pack
    size = len(command)
    if size <= most:
        first = pack(4, size + 6, size + 2, context_id, COMMAND | LAST) + command
    else:
        first = b"".join(
            pack(4, len(part) + 6, len(part) + 2, context_id, COMMAND | (LAST if end >= size else 0)) + part
            for part, end in ((command[at : at + most], at + most) for at in range(0, size, most))
        )
    if data is None:
        return [first]
    left = sum(map(len, data))
    if left <= most:
        return [first + pack(4, left + 6, left + 2, context_id, LAST), *data]
    return cut(first, context_id, data, left, most)


def cut(first: bytes, context_id: int, data: Sequence[Buffer], left: int, most: int) -> list[Buffer]:
    """The buffers of a data set that needs several PDUs, or of the beginning of one.

    Args:
        first: what stands before them.
        left: bytes to the end of the data set; more than `most`.
        most: bytes in one PDU.
    """
    pack = HEAD.pack
    full = pack(4, most + 6, most + 2, context_id, 0)
    result: list[Buffer] = [first + full]
    missing = most  # bytes that the PDU begun still needs
    for buffer in data:
        view = memoryview(buffer)
        position, end = 0, len(view)
        while position < end:
            if not missing:
                missing = min(most, left)
                result.append(full if left > most else pack(4, missing + 6, missing + 2, context_id, LAST))
            count = min(missing, end - position)
            result.append(view[position : position + count])
            position += count
            missing -= count
            left -= count
    return result


def portions(context_id: int, command: bytes, data: Sequence[Buffer], maximum_length: int) -> Portions:
    """The buffers of a whole message as `fragments` makes them, of a few hundred PDUs at a time, made when they are asked for."""
    (head,) = fragments(context_id, command, None, maximum_length)
    left, most = sum(map(len, data)), room(maximum_length)
    for part in _parts(data, most * _PORTION):
        if left > most:
            yield cut(bytes(head), context_id, part, left, most)
        else:
            yield [bytes(head) + HEAD.pack(4, left + 6, left + 2, context_id, LAST), *part]
        left -= sum(map(len, part))
        head = b""


def _parts(data: Sequence[Buffer], size: int) -> Portions:
    """The data, `size` bytes at a time; one part that is empty where there are none."""
    part: list[Buffer] = []
    missing = size
    for buffer in data:
        view = memoryview(buffer)
        while view:
            if not missing:
                yield part
                part, missing = [], size
            part.append(view[:missing])
            view = view[missing:]
            missing -= len(part[-1])
    yield part
