"""Large data sets on their way through an scp source: on the disk and never seen, whole or refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from dcmflow import filters, sinks
from dcmflow.dicom.instance import Instance
from dcmflow.net.reception import BLOCK
from dcmflow.protocol.command import c_store_rq, encode_command
from dcmflow.testing import ScriptedScu
from dcmflow.testing.peer_wire import message
from scp_runs import CT, EXPLICIT, SHORT, descriptors, encoded, made, receiving, send, sized, until
from stage_runs import files_in

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]

SPILL = 64 * 1024
LARGE = 300_000
FLAT = "{SOPInstanceUID}.dcm"


class Look:
    """A filter that notes what payloads are like as they come by."""

    def __init__(self) -> None:
        self.inodes: list[int | None] = []
        self.resident: list[int] = []

    def __call__(self, given: Instance) -> Instance:
        spilled = given.payload.spilled
        self.inodes.append(os.stat(spilled.path).st_ino if spilled is not None else None)
        self.resident.append(given.payload.resident)
        return given


def stored(folder: Path, sent: Instance) -> Instance:
    return Instance.load(str(folder / f"{sent.sop_instance_uid}.dcm"))


def directory(folder: Path, **fields: object) -> sinks.Directory:
    return sinks.Directory(str(folder), layout=FLAT, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("fsync", [True, False])
async def test_the_file_it_arrived_in_is_given_a_name(tmp_path: Path, fsync: bool) -> None:
    look, large, small = Look(), sized(LARGE), sized(1000)
    async with receiving(look, directory(tmp_path, fsync=fsync), spill=SPILL) as flow:
        assert await send(flow.node, large, small) == [0, 0]
        assert flow.totals.resident == 0
    assert look.inodes[1] is None
    assert look.resident[0] == 0
    status = (tmp_path / f"{large.sop_instance_uid}.dcm").stat()
    assert (status.st_ino, status.st_nlink) == (look.inodes[0], 1)
    for sent in (large, small):
        assert encoded(stored(tmp_path, sent)) == encoded(sent)
        stored(tmp_path, sent).verify()
    assert len(files_in(tmp_path)) == 2


async def test_it_is_the_same_file_as_one_that_did_not_spill(tmp_path: Path) -> None:
    sent = sized(LARGE)
    for folder, spill in (("spilled", SPILL), ("whole", 10 * LARGE)):
        async with receiving(directory(tmp_path / folder), spill=spill) as flow:
            assert await send(flow.node, sent) == [0]
    one, other = (tmp_path / folder / f"{sent.sop_instance_uid}.dcm" for folder in ("spilled", "whole"))
    assert one.read_bytes() == other.read_bytes()
    assert one.stat().st_mode == other.stat().st_mode


async def test_nothing_is_seen_while_it_arrives(tmp_path: Path) -> None:
    sent = sized(LARGE)
    request = message(
        1, encode_command(c_store_rq(1, CT, sent.sop_instance_uid)), encoded(sent), largest=8192
    )
    async with receiving(directory(tmp_path), spill=SPILL) as flow, ScriptedScu(flow.node) as scu:
        await scu.associate((CT, EXPLICIT))
        for start in range(0, len(request) - 1, 20_000):
            await scu.send(request[start : min(start + 20_000, len(request) - 1)])
            await anyio.sleep(0.005)
            assert files_in(tmp_path) == []
        assert (
            sum(str(tmp_path) in name for name in descriptors()) == 1
        )  # on the file system where it is to stay
        await scu.send(request[-1:])
        assert (await scu.receive()).status == 0
        assert len(files_in(tmp_path)) == 1
        await until(lambda: not any(str(tmp_path) in name for name in descriptors()))


async def test_where_the_folder_is_on_another_file_system_than_the_first(
    tmp_path: Path, small_tmpfs: Callable[[int], Path]
) -> None:
    look, sent = Look(), sized(LARGE)
    folders = [tmp_path / "here", small_tmpfs(2 << 20)]
    async with receiving(look, tuple(directory(folder) for folder in folders), spill=SPILL) as flow:
        assert await send(flow.node, sent) == [0]
        assert flow.counts == (1, 1, 0, 0, 0)
    assert [encoded(stored(folder, sent)) == encoded(sent) for folder in folders] == [True, True]
    inodes = [(folder / f"{sent.sop_instance_uid}.dcm").stat().st_ino for folder in folders]
    assert look.inodes[0] in inodes


async def test_two_folders_get_two_files(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("a", "b", "c")]
    sent = [sized(LARGE, seed) for seed in range(8)]
    branches = tuple(directory(folder) for folder in folders)
    async with receiving(branches, spill=SPILL) as flow, anyio.create_task_group() as tasks:
        for each in sent:
            tasks.start_soon(send, flow.node, each)
    inodes = set()
    for folder in folders:
        for each in sent:
            assert encoded(stored(folder, each)) == encoded(each)
            status = (folder / f"{each.sop_instance_uid}.dcm").stat()
            assert status.st_nlink == 1
            inodes.add(status.st_ino)
        assert len(files_in(folder)) == len(sent)
    assert len(inodes) == len(folders) * len(sent)


async def test_what_a_filter_edited_is_written_anew(tmp_path: Path) -> None:
    look, sent = Look(), sized(LARGE, PatientID="A1")
    edit = filters.Edit(set={"PatientID": "ANONYMOUS"})
    branches = (directory(tmp_path / "as-it-came"), edit | directory(tmp_path / "edited"))
    async with receiving(look, branches, spill=SPILL) as flow:
        assert await send(flow.node, sent) == [0]
    assert encoded(stored(tmp_path / "as-it-came", sent)) == encoded(sent)
    edited = stored(tmp_path / "edited", sent)
    edited.verify()
    assert edited.header["PatientID"] == "ANONYMOUS"
    assert encoded(edited) == encoded(sent.with_elements({"PatientID": "ANONYMOUS"}))
    assert (tmp_path / "edited" / f"{sent.sop_instance_uid}.dcm").stat().st_ino != look.inodes[0]


async def test_the_same_one_again_is_fine(tmp_path: Path) -> None:
    sent = sized(LARGE)
    async with receiving(directory(tmp_path, exists="refuse"), spill=SPILL) as flow:
        assert await send(flow.node, sent, sent) == [0, 0]
        other = made(5, LARGE)
        assert await send(flow.node, other, made(5, LARGE + 2)) == [0, 0x0111]
    assert len(files_in(tmp_path)) == 2
    assert encoded(stored(tmp_path, other)) == encoded(other)


async def test_without_a_folder_it_goes_where_temporary_files_go() -> None:
    look = Look()
    async with receiving(look, sinks.Discard(), spill=SPILL) as flow:
        assert await send(flow.node, sized(LARGE)) == [0]
    assert look.inodes[0] is not None
    assert look.resident == [0]


async def test_a_full_disk_refuses_and_the_association_goes_on(small_tmpfs: Callable[[int], Path]) -> None:
    folder = small_tmpfs(256 * 1024)
    large, small = sized(2_000_000), sized(20_000)
    async with receiving(directory(folder), spill=SPILL, timeouts=SHORT) as flow:
        async with ScriptedScu(flow.node) as scu:
            await scu.associate(instances=[large])
            for _ in range(3):
                answer = await scu.store(large)
                assert answer.status == 0xA700
                assert answer.command is not None
                assert str(large.payload.size) in (answer.command.error_comment or "")
                assert (await scu.store(small)).status == 0
        assert flow.counts == (6, 3, 0, 3, 0)
        assert len(files_in(folder)) == 1
    assert {event.sop_instance_uid for event in flow.observed.refused} == {large.sop_instance_uid}
    assert "No space left" in flow.observed.refused[0].reason
    assert encoded(stored(folder, small)) == encoded(small)


@pytest.mark.parametrize("how", ["abort", "close", "reset", "silence"])
async def test_what_does_not_arrive_whole_is_gone(tmp_path: Path, how: str) -> None:
    sent = sized(LARGE)
    request = message(
        1, encode_command(c_store_rq(1, CT, sent.sop_instance_uid)), encoded(sent), largest=8192
    )
    async with receiving(directory(tmp_path), spill=SPILL, timeouts=SHORT) as flow:
        async with ScriptedScu(flow.node) as scu:
            await scu.associate((CT, EXPLICIT))
            await scu.send(request[: LARGE // 2])
            await until(lambda: any(str(tmp_path) in name for name in descriptors()))
            if how == "abort":
                await scu.abort()
            elif how != "silence":
                scu.close(reset=how == "reset")
            await until(lambda: flow.ended)
            await until(lambda: not any(str(tmp_path) in name for name in descriptors()))
        assert flow.counts == (0, 0, 0, 0, 0)
        assert files_in(tmp_path) == []
        assert await send(flow.node, sent) == [0]
    (event,) = flow.ended
    assert event.stage == "scp"


async def test_many_at_once_do_not_fill_the_memory(tmp_path: Path) -> None:
    """20 data sets of 5 MiB each, of which the room in memory is for one."""
    sent = [made(number, 5 << 20) for number in range(20)]
    peaks: list[int] = []
    async with receiving(directory(tmp_path, fsync=False), spill=8 << 20) as flow:
        assert BLOCK < 5 << 20
        async with anyio.create_task_group() as tasks:

            async def sample() -> None:
                while True:
                    peaks.append(flow.totals.resident)
                    await anyio.sleep(0.01)

            tasks.start_soon(sample)
            async with anyio.create_task_group() as senders:
                for each in sent:
                    senders.start_soon(send, flow.node, each)
            tasks.cancel_scope.cancel()
        assert flow.counts == (20, 20, 0, 0, 0)
    assert max(peaks) < 40 << 20
    for each in sent:
        assert encoded(stored(tmp_path, each)) == encoded(each)
