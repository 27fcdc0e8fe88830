"""A message that is begun before its data set is whole: however it arrives and is written, the bytes are those of one message."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcmflow.protocol.begun import LARGEST, STEP, Begun, behind
from dcmflow.protocol.fragment import Buffer, room
from protocol.connections import pdus, pdvs

COMMAND = bytes(range(100, 200))  # 100 bytes


def taken(begun: Begun, buffers: Sequence[Buffer], count: int) -> bytes:
    """The first bytes of what is to be written, as a socket takes them."""
    took = b"".join(buffers)[:count]
    begun.written += len(took)
    return took


@given(
    st.integers(0, 700),
    st.integers(1, 200),
    st.lists(st.tuples(st.integers(0, 150), st.integers(0, 300)), max_size=12),
    st.integers(0, 5),
)
def test_bytes_of_a_message(
    size: int, maximum_length: int, steps: list[tuple[int, int]], segments: int
) -> None:
    data = bytes(number % 253 for number in range(size))
    begun = Begun(3, COMMAND, maximum_length)
    wire, there = b"", 0
    for more, room_to_write in steps:
        there = min(there + more, size)
        ready = begun.ready(memoryview(data)[:there])
        assert b"".join(ready) or there < begun.wanted
        wire += taken(begun, ready, room_to_write)
    cuts = [size * number // (segments + 1) for number in range(segments + 2)]
    whole = [data[start:end] for start, end in pairwise(cuts)]
    wire += b"".join(begun.rest(whole))

    found = [pdv for _, body in pdus(wire) for pdv in pdvs(body)]
    assert all(context_id == 3 for context_id, _, _ in found)
    assert all(len(part) <= room(maximum_length) for _, _, part in found)
    assert all(len(part) % 2 == 0 for _, _, part in found[:-1])
    commands = [(control, part) for _, control, part in found if control & 1]
    parts = [(control, part) for _, control, part in found if not control & 1]
    assert [control for control, _ in commands] == [1] * (len(commands) - 1) + [3]
    assert b"".join(part for _, part in commands) == COMMAND
    assert [control for control, _ in parts] == [0] * (len(parts) - 1) + [2]
    assert b"".join(part for _, part in parts) == data
    assert all(part for _, part in parts[:-1])
    assert parts[-1][1] or not size, "no empty fragment at the end"


def test_nothing_is_the_last_before_the_data_set_is_whole() -> None:
    begun = Begun(1, COMMAND, 106)
    assert b"".join(begun.ready(memoryview(bytes(100)))) == b"".join(begun.rest([b""]))[:-12]
    assert len(b"".join(begun.ready(memoryview(bytes(101))))) == 112 + 112


@pytest.mark.parametrize("maximum_length", [0, 16, LARGEST + 6, 1 << 20])
def test_little_is_not_worth_while(maximum_length: int) -> None:
    begun = Begun(1, COMMAND, maximum_length)
    assert begun.wanted == STEP + 1
    begun.written += len(b"".join(begun.ready(memoryview(bytes(begun.wanted)))))
    assert begun.wanted > STEP + 1
    assert LARGEST <= STEP


def test_between_two_pdus() -> None:
    begun = Begun(1, COMMAND, 106)
    assert begun.between
    data = memoryview(bytes(250))
    for written, between in ((50, False), (62, True), (1, False), (111, True), (100, False), (12, True)):
        assert len(taken(begun, begun.ready(data), written)) == written
        assert begun.between is between


def test_behind() -> None:
    buffers: list[Buffer] = [b"", b"abc", bytearray(b"de"), memoryview(b"f")]
    for count in range(8):
        assert b"".join(behind(buffers, count)) == b"abcdef"[count:]
    assert behind(buffers, 3)[0] is buffers[2]
