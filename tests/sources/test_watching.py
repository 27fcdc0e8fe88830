"""A folder that is watched."""

from __future__ import annotations

import builtins
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from dcmflow import Pipeline, StageError, sinks, sources
from dcmflow.flow.running import Running
from dcmflow.sources import watching
from dcmflow.testing import instance, synthesize
from stage_runs import Gather, Observed, drained, files_in, put, run, until

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks", "quick")]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "SETTLE", 0.1)
    monkeypatch.setattr(watching, "PATIENCE", 1.0)
    monkeypatch.setattr(watching, "TICK", 40)


class Watched:
    def __init__(self, running: Running, seen: Gather, observed: Observed) -> None:
        self.running, self.seen, self.observed = running, seen, observed

    async def have(self, count: int) -> None:
        await until(lambda: self.running.statistics().pipeline.accepted >= count)


@asynccontextmanager
async def watched(path: Path, **fields: Any) -> AsyncIterator[Watched]:
    seen, observed = Gather(), Observed()
    source = sources.Directory(str(path), watch=True, **fields)
    async with Pipeline(source | seen | sinks.Discard()).start(observe=observed) as running:
        yield Watched(running, seen, observed)
        await drained(running)
    totals = running.statistics().pipeline
    assert totals.unsettled == 0
    observed.statistics = running.statistics()


async def test_existing_files_then_new_ones(tmp_path: Path) -> None:
    first = put(tmp_path, "a.dcm")
    async with watched(tmp_path) as inbox:
        await inbox.have(1)
        second = put(tmp_path, "b.dcm")
        third = put(tmp_path, "new/folder/c.dcm")
        await inbox.have(3)
    assert inbox.seen.uids[0] == first.sop_instance_uid
    assert sorted(inbox.seen.uids[1:]) == sorted([second.sop_instance_uid, third.sop_instance_uid])
    assert inbox.observed.totals.emitted == 3


async def test_file_that_is_written_slowly_comes_whole_and_once(tmp_path: Path) -> None:
    given = instance()
    data = b"".join(map(bytes, given.part10_segments()))
    async with watched(tmp_path) as inbox:
        with (tmp_path / "slow.dcm").open("wb", buffering=0) as file:
            for start in range(0, len(data), 100):
                file.write(data[start : start + 100])
                await anyio.sleep(0.03 if start % 400 else 0.15)
        await inbox.have(1)
        await anyio.sleep(0.3)
    assert inbox.seen.uids == [given.sop_instance_uid]
    assert inbox.observed.totals.emitted == 1
    assert inbox.seen.seen[0].header["PatientID"] == given.header["PatientID"]


async def test_moved_in(tmp_path: Path) -> None:
    put(tmp_path, "elsewhere/set/a.dcm")
    put(tmp_path, "elsewhere/b.dcm")
    (tmp_path / "in").mkdir()
    async with watched(tmp_path / "in") as inbox:
        os.rename(tmp_path / "elsewhere" / "set", tmp_path / "in" / "set")
        os.rename(tmp_path / "elsewhere" / "b.dcm", tmp_path / "in" / "b.dcm")
        await inbox.have(2)


async def test_broken_file_is_refused_in_the_end(tmp_path: Path) -> None:
    data = b"".join(map(bytes, instance().part10_segments()))
    async with watched(tmp_path) as inbox:
        (tmp_path / "cut.dcm").write_bytes(data[:-30])
        (tmp_path / "notes.txt").write_text("hello")
        await until(lambda: inbox.observed.refused and inbox.observed.not_dicom)
    assert [Path(event.path or "").name for event in inbox.observed.refused] == ["cut.dcm"]
    assert inbox.observed.not_dicom == ["notes.txt"]


async def test_file_that_changes_comes_again(tmp_path: Path) -> None:
    put(tmp_path, "a.dcm")
    async with watched(tmp_path) as inbox:
        await inbox.have(1)
        again = put(tmp_path, "a.dcm")
        await inbox.have(2)
        os.utime(tmp_path / "a.dcm")  # the same bytes at another time are a change too
        await inbox.have(3)
    assert inbox.seen.uids[1:] == [again.sop_instance_uid] * 2


async def test_after_delete_empties_the_inbox(tmp_path: Path) -> None:
    async with watched(tmp_path, after="delete") as inbox:
        for number, given in enumerate(synthesize(instances=30, size=100)):
            put(tmp_path, f"{number % 3}/{number}.dcm", given)
        await inbox.have(30)
        await until(lambda: not files_in(tmp_path))
    assert inbox.observed.totals.emitted == 30


async def test_after_move_into_the_folder_itself(tmp_path: Path) -> None:
    async with watched(tmp_path, after=f"move:{tmp_path}/done") as inbox:
        put(tmp_path, "a.dcm")
        await inbox.have(1)
        await until(lambda: files_in(tmp_path) == ["done/a.dcm"])
        await anyio.sleep(0.4)
    assert inbox.observed.totals.emitted == 1


async def test_patterns_and_our_own_files(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    async with watched(tmp_path, include=["*.dcm"], exclude=["old"]) as inbox:
        put(tmp_path, "x.ima")
        put(tmp_path, "old/y.dcm")
        put(tmp_path, ".dcmflow-1.00000000.0123456789abcdef.tmp").with_labels()
        put(tmp_path, "z.dcm")
        await inbox.have(1)
        await anyio.sleep(0.3)
    (tmp_path / ".dcmflow-1.00000000.0123456789abcdef.tmp").unlink()
    assert [Path(given.origin.path or "").name for given in inbox.seen.seen] == ["z.dcm"]


async def test_not_recursive(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    async with watched(tmp_path, recursive=False) as inbox:
        put(tmp_path, "sub/a.dcm")
        put(tmp_path, "new/a.dcm")
        put(tmp_path, "b.dcm")
        await inbox.have(1)
        await anyio.sleep(0.3)
    assert inbox.observed.totals.emitted == 1


async def test_idle_inbox_drains_and_cancels_promptly(tmp_path: Path) -> None:
    async with watched(tmp_path):
        await anyio.sleep(0.1)
    async with Pipeline(sources.Directory(str(tmp_path), watch=True) | sinks.Discard()).start() as running:
        await anyio.sleep(0.1)
        with anyio.fail_after(5):
            running.cancel()
            await running.wait()


async def test_only_folders_are_watched(tmp_path: Path) -> None:
    put(tmp_path, "a.dcm")
    with pytest.raises(StageError, match="only a folder"):
        await run(sources.Directory(str(tmp_path / "a.dcm"), watch=True) | sinks.Discard())


async def test_without_watchfiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = builtins.__import__

    def without(name: str, *rest: Any, **options: Any) -> Any:
        if name == "watchfiles":
            raise ImportError(name)
        return plain(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(StageError, match=r"dcmflow\[watch\]"):
        await run(sources.Directory(str(tmp_path), watch=True) | sinks.Discard())
