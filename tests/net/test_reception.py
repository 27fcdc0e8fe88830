"""Data sets as they arrive: what goes to memory, what to a file, and that either is what was sent."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random

import anyio
import pytest

from dcmflow.dicom.part10 import build_meta
from dcmflow.dicom.payload import FilePayload, MemoryPayload, Payload
from dcmflow.errors import Refused
from dcmflow.net import reception as reception_module
from dcmflow.net.reception import EARLY, SPILL, WRITERS, Reception, Room
from dcmflow.protocol.command import CommandSet, c_store_rq
from dcmflow.protocol.negotiation import AcceptedContext
from scp_runs import CT, EXPLICIT
from stage_runs import files_in

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]

CONTEXT = AcceptedContext(1, CT, EXPLICIT)
COMMAND = c_store_rq(1, CT, "2.25.1")


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reception_module, "BLOCK", 4096)
    monkeypatch.setattr(reception_module, "SMALL_BLOCK", 1024)
    monkeypatch.setattr(reception_module, "SCARCE", 2048)
    monkeypatch.setattr(reception_module, "_STRETCH", 1024)


async def take(reception: Reception, stretches: Iterable[bytes], command: CommandSet = COMMAND) -> Payload:
    """A whole data set, as an association takes it in."""
    reception.begin(CONTEXT, command)
    left = list(stretches)
    while not reception.add(memoryview(left.pop(0))):
        if not left:
            return reception.in_memory()
    async with anyio.create_task_group() as tasks:
        await tasks.start(reception.write_blocks)
        await reception.hand_over()
        for stretch in left:
            if reception.add(memoryview(stretch)):
                await reception.hand_over()
        await reception.finish()
    return reception.in_file()


def stretches(size: int, longest: int = 1000, seed: int = 1) -> list[bytes]:
    random, made = Random(seed), []
    while size:
        count = min(size, random.randint(1, longest))
        made.append(random.randbytes(count))
        size -= count
    return made


def content(payload: Payload) -> bytes:
    return b"".join(payload.segments())


async def test_small_ones_stay_in_memory() -> None:
    reception = Reception(Room(spill=5000))
    parts = stretches(5000)
    payload = await take(reception, parts)
    assert isinstance(payload, MemoryPayload)
    assert content(payload) == b"".join(parts)
    assert len(payload.segments()) == 1  # in one piece


async def test_one_byte_more_goes_to_a_file() -> None:
    reception = Reception(Room(spill=5000))
    parts = stretches(5001)
    payload = await take(reception, parts)
    assert isinstance(payload, FilePayload)
    assert payload.resident == 0
    assert payload.size == 5001
    assert content(payload) == b"".join(parts)


@pytest.mark.parametrize("spill", [0, 1, 4096, 9000])
async def test_every_size_arrives_whole(spill: int) -> None:
    room = Room(spill=spill)
    reception = Reception(room)
    for size in (1, 4095, 4096, 4097, 8192, 12345, 200_000, 1):
        parts = stretches(size, seed=size)
        payload = await take(reception, parts)
        assert isinstance(payload, FilePayload) is (size > spill)
        assert content(payload) == b"".join(parts)
    reception.done()
    assert room.used == 0


async def test_the_file_is_a_part_10_file_already() -> None:
    payload = await take(Reception(Room(spill=0)), stretches(10_000))
    assert payload.spilled is not None
    meta = build_meta(CT, "2.25.1", EXPLICIT)
    assert payload.spilled.begins_with(meta)
    assert payload.spilled.size == len(meta) + 10_000


async def test_a_command_without_uids_makes_no_part_10_file_and_no_trouble() -> None:
    command = CommandSet(field=1, has_data=True)
    parts = stretches(10_000)
    payload = await take(Reception(Room(spill=0)), parts, command)
    assert content(payload) == b"".join(parts)


async def test_nothing_is_seen_in_the_folder_and_nothing_is_left(tmp_path: Path) -> None:
    reception = Reception(Room(spill=0, landing=str(tmp_path)))
    payload = await take(reception, stretches(10_000))
    assert payload.spilled is not None
    assert os.stat(payload.spilled.path).st_dev == os.stat(tmp_path).st_dev
    assert files_in(tmp_path) == []


def test_where_the_file_is_to_stay_it_is_made_early(tmp_path: Path) -> None:
    assert Room().spill == SPILL
    assert Room(landing=str(tmp_path)).spill == EARLY
    assert Room(spill=1000, landing=str(tmp_path)).spill == 1000


async def test_room_is_shared_and_given_back() -> None:
    room = Room(spill=1 << 30, most=100_000)
    room.most = 100_000
    first, second = Reception(room), Reception(room)
    payload = await take(first, stretches(100_000))
    assert isinstance(payload, MemoryPayload)
    assert room.used == 100_000
    assert isinstance(await take(second, stretches(2048)), MemoryPayload)  # so much is always granted
    assert isinstance(await take(second, stretches(3000)), FilePayload)
    first.done()
    assert room.used == 0
    assert isinstance(await take(second, stretches(3000)), MemoryPayload)


async def test_many_files_at_once_have_smaller_blocks() -> None:
    room = Room(spill=0, most=4 * 4096 * 2)
    assert room.block == 4096
    receptions = [Reception(room) for _ in range(6)]
    parts = [stretches(30_000, seed=number) for number in range(len(receptions))]
    payloads: dict[int, Payload] = {}

    async def run(number: int) -> None:
        payloads[number] = await take(receptions[number], parts[number])

    async with anyio.create_task_group() as tasks:
        busy = [object() for _ in range(WRITERS)]
        for each in busy:
            room.writers.acquire_on_behalf_of_nowait(each)
        for number in range(len(receptions)):
            tasks.start_soon(run, number)
        await anyio.wait_all_tasks_blocked()
        assert (room.spilling, room.block) == (6, 8192 // 6)
        for each in busy:
            room.writers.release_on_behalf_of(each)
    assert (room.spilling, room.block) == (0, 4096)
    for number, payload in payloads.items():
        assert content(payload) == b"".join(parts[number])


async def test_what_does_not_become_whole_is_gone() -> None:
    room = Room(spill=5000)
    reception = Reception(room)
    reception.begin(CONTEXT, COMMAND)
    assert not reception.add(memoryview(bytes(4000)))
    reception.discard()
    assert room.used == 0
    reception.begin(CONTEXT, COMMAND)
    assert reception.add(memoryview(bytes(6000)))
    async with anyio.create_task_group() as tasks:
        await tasks.start(reception.write_blocks)
        await reception.hand_over()
        reception.discard()
    assert room.used == 0
    assert room.spilling == 0
    parts = stretches(6000)
    assert content(await take(reception, parts)) == b"".join(parts)


async def test_a_full_disk_is_told_after_the_last_byte(small_tmpfs: Callable[[int], Path]) -> None:
    folder = small_tmpfs(64 * 1024)
    reception = Reception(Room(spill=0, landing=str(folder)))
    with pytest.raises(Refused, match=rf"500000 bytes in {folder}.*No space left") as raised:
        await take(reception, stretches(500_000))
    assert raised.value.status == 0xA700
    assert raised.value.transient
    assert os.statvfs(folder).f_bfree == os.statvfs(folder).f_blocks  # nothing of it is left
    parts = stretches(20_000)
    assert content(await take(reception, parts)) == b"".join(parts)


async def test_a_folder_that_has_gone(tmp_path: Path) -> None:
    reception = Reception(Room(spill=0, landing=str(tmp_path / "gone")))
    with pytest.raises(Refused, match="No such file"):
        await take(reception, stretches(10_000))


async def test_who_idles_keeps_no_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reception_module, "BLOCK", 1 << 20)
    reception, parts = Reception(Room(spill=0)), [bytes(1000)] * 4000
    tracemalloc.start()
    try:
        payload = await take(reception, parts)
        assert tracemalloc.get_traced_memory()[1] > 1 << 20
        while tracemalloc.get_traced_memory()[0] > 1 << 18:  # noqa: ASYNC110  the thread that wrote lets go a little later
            await anyio.sleep(0.001)
    finally:
        tracemalloc.stop()
    assert payload.size == 4_000_000


async def test_no_more_than_so_many_write_at_once() -> None:
    room = Room(spill=0)
    busy = [object() for _ in range(WRITERS)]
    for each in busy:
        room.writers.acquire_on_behalf_of_nowait(each)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(take, Reception(room), stretches(10_000))
        await anyio.wait_all_tasks_blocked()
        assert room.writers.statistics().tasks_waiting == 1
        for each in busy:
            room.writers.release_on_behalf_of(each)


async def test_progress_counts_bytes() -> None:
    reception = Reception(Room())
    reception.begin(CONTEXT, COMMAND)
    reception.add(memoryview(bytes(10)))
    reception.add(memoryview(bytes(20)))
    assert reception.progress == 30
