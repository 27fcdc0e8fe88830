"""Messages cut into PDUs: the arithmetic of PS3.8 9.3.5 and Annex E, and that nothing is copied."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcmflow.protocol.fragment import HEAD_SIZE, LARGEST, Buffer, fragments, portions, room
from protocol.connections import pdus, pdvs

COMMAND = bytes(range(100, 200))  # 100 bytes


def test_the_largest_pdu_that_is_sent() -> None:
    assert room(0) == room(LARGEST) == room(0xFFFF_FFFF) == LARGEST - 6
    assert HEAD_SIZE == 12


@given(st.integers(1, 0xFFFF_FFFF))
def test_room_is_even_and_within_the_maximum(maximum_length: int) -> None:
    most = room(maximum_length)
    assert most % 2 == 0
    assert most >= 2
    if maximum_length >= 8:
        assert most + 6 <= maximum_length
        assert most + 6 >= min(maximum_length, LARGEST) - 1, (
            "no byte more is given away than evenness asks for"
        )


@pytest.mark.parametrize("maximum_length", range(1, 10))
def test_a_maximum_that_leaves_no_room_is_taken_for_the_smallest_that_does(maximum_length: int) -> None:
    assert room(maximum_length) == 2


def test_bytes_of_a_message_without_data_set() -> None:
    assert fragments(5, b"abcd", None, 16384) == [bytes.fromhex("04 00 0000000a 00000006 05 03") + b"abcd"]


def test_bytes_of_a_small_message() -> None:
    head, data = fragments(5, b"abcd", [b"123456"], 16384)
    assert head == bytes.fromhex("0400 0000000a 00000006 05 03") + b"abcd" + bytes.fromhex(
        "0400 0000000c 00000008 05 02"
    )
    assert data == b"123456"


def test_bytes_of_a_message_in_the_smallest_pdus() -> None:
    assert b"".join(fragments(1, b"abcd", [b"12345"], 8)) == b"".join(
        bytes.fromhex(f"0400 {6 + len(part):08x} {2 + len(part):08x} 01 {control:02x}") + part
        for control, part in ((1, b"ab"), (3, b"cd"), (0, b"12"), (0, b"34"), (2, b"5"))
    )


@given(
    st.binary(min_size=2, max_size=300),
    st.none() | st.lists(st.binary(max_size=200), max_size=6),
    st.sampled_from([0, 8, 9, 10, 11, 12, 13, 31, 32, 64, 106, 107, 112, 16384, 0xFFFF_FFFF]),
    st.integers(0, 127).map(lambda number: 2 * number + 1),
)
def test_any_message(command: bytes, data: list[bytes] | None, maximum_length: int, context_id: int) -> None:
    command += bytes(len(command) % 2)
    most = room(maximum_length)
    kinds: list[int] = []
    parts: list[bytes] = []
    for kind, body in pdus(b"".join(fragments(context_id, command, data, maximum_length))):
        assert kind == 4
        assert len(body) <= (maximum_length or LARGEST)
        ((context, control, part),) = pdvs(body)
        assert context == context_id
        kinds.append(control)
        parts.append(part)
    commands = -(-len(command) // most)
    assert b"".join(parts[:commands]) == command
    assert kinds[:commands] == [1] * (commands - 1) + [3]
    if data is None:
        assert kinds[commands:] == []
        return
    assert b"".join(parts[commands:]) == b"".join(data)
    assert kinds[commands:] == [0] * (len(parts) - commands - 1) + [2]
    assert all(len(part) == most for part in parts[: commands - 1] + parts[commands:-1]), "full, hence even"


@pytest.mark.parametrize(
    ("size", "buffers", "data_pdus"),
    [
        (0, 2, 1),
        (1, 2, 1),
        (994, 2, 1),  # just fits
        (995, 4, 2),
        (2 * 994, 4, 2),
        (2 * 994 + 1, 6, 3),
        (100 * 994, 200, 100),
    ],
)
def test_the_number_of_buffers(size: int, buffers: int, data_pdus: int) -> None:
    """One head and one slice for each PDU, the command in the first head."""
    made = fragments(1, COMMAND, [bytes(size)], 1000)
    assert len(made) == buffers
    assert len(pdus(b"".join(made))) == 1 + data_pdus
    if size:
        assert [len(buffer) for buffer in made[::2]] == [124] + [12] * (data_pdus - 1)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("size", [10, 100_000])
def test_nothing_is_copied(kind: type, size: int) -> None:
    """What is to be written are the buffers given, or views of them."""
    data: list[Buffer] = [kind(bytearray(size)), kind(bytearray(size + 1))]
    slices = [buffer for buffer in fragments(1, COMMAND, data, 16384) if len(buffer) > 124 or buffer in data]
    origins = {id(_origin(buffer)) for buffer in slices}
    assert origins == {id(_origin(buffer)) for buffer in data}
    assert sum(len(buffer) for buffer in slices) >= 2 * size - 124


def _origin(buffer: Buffer) -> object:
    return buffer.obj if isinstance(buffer, memoryview) else buffer


def test_small_buffers_are_handed_on_as_they_are() -> None:
    data: list[Buffer] = [b"ab", bytearray(b"cd"), memoryview(b"ef")]
    head, *rest = fragments(1, COMMAND, data, 16384)
    assert [id(buffer) for buffer in rest] == [id(buffer) for buffer in data]
    assert len(head) == 12 + len(COMMAND) + 12


def test_repeated_heads_are_one_object() -> None:
    made = fragments(1, COMMAND, [bytes(10_000)], 1000)
    heads = made[2:-2:2]
    assert len(heads) == 9
    assert len({id(head) for head in heads}) == 1


@pytest.mark.parametrize("empty", [[], [b""], [b"", memoryview(b""), bytearray()]])
def test_an_empty_data_set_is_one_empty_pdv(empty: list[Buffer]) -> None:
    (_, (kind, body)) = pdus(b"".join(fragments(3, COMMAND, empty, 16384)))
    assert (kind, pdvs(body)) == (4, [(3, 2, b"")])


def test_a_pdu_goes_across_buffers() -> None:
    made = fragments(1, COMMAND, [b"a" * 10, b"", b"b" * 10, b"c"], 22)  # 16 bytes in each
    assert [bytes(buffer) for buffer in made[-5:]] == [
        b"a" * 10,
        b"b" * 6,
        bytes.fromhex("0400 0000000b 00000007 01 02"),
        b"b" * 4,
        b"c",
    ]


@given(st.lists(st.binary(max_size=3000), max_size=5), st.integers(1, 100))
def test_in_portions_it_is_the_same(data: list[bytes], maximum_length: int) -> None:
    made = list(portions(5, COMMAND, data, maximum_length))
    assert b"".join(map(b"".join, made)) == b"".join(fragments(5, COMMAND, data, maximum_length))


def test_a_portion_is_small_whatever_the_message_is() -> None:
    data = [bytes(1_000_000)]
    assert max(map(len, portions(1, COMMAND, data, 16))) <= 1025
    tracemalloc.start()
    try:
        assert sum(1 for _ in portions(1, COMMAND, data, 16)) > 100
        assert tracemalloc.get_traced_memory()[1] < 500_000
    finally:
        tracemalloc.stop()
