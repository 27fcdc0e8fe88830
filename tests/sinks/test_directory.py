"""Instances become files."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pydicom
import pytest

import corpus
from dcmflow import ConfigError, DcmflowError, Limits, Pipeline, Refused, Retry, StageError, sinks, sources
from dcmflow.dicom.instance import Instance
from dcmflow.flow.context import Context
from dcmflow.flow.events import Event, VersionKept, Warned
from dcmflow.sinks import commit, placing, writing
from dcmflow.testing import instance, synthesize
from stage_runs import dead_process, files_in, put, remount, run, until

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]

BY_UID = "{SOPInstanceUID}.dcm"
BY_NUMBER = "{InstanceNumber}.dcm"
FSYNC = pytest.mark.parametrize("fsync", [True, False])


def part10(given: Instance) -> bytes:
    return b"".join(map(bytes, given.part10_segments()))


class Written:
    """An open sink, and what it warned of."""

    def __init__(self, **fields: Any) -> None:
        self.stage = sinks.Directory(**fields)
        self.events: list[Event] = []

    async def __call__(self, *given: Instance) -> None:
        error = None
        async with self.stage.open(Context(stage="out", report=self.events.append)) as actor:
            try:
                for each in given:
                    await actor.write(each)
            except DcmflowError as refusal:  # raised inside, it would come out in a group
                error = refusal
        if error is not None:
            raise error

    @property
    def warnings(self) -> list[str]:
        return [event.message for event in self.events if isinstance(event, Warned)]


@FSYNC
async def test_layout_and_content(tmp_path: Path, fsync: bool) -> None:
    given = instance(PatientID="A/1", SeriesNumber=7)
    layout = "{PatientID}/{SeriesNumber:03d}.dcm"
    await Written(path=str(tmp_path / "new" / "out"), layout=layout, fsync=fsync)(given)
    (name,) = files_in(tmp_path / "new" / "out")
    assert name.endswith("/007.dcm")
    stored = tmp_path / "new" / "out" / name
    assert stored.read_bytes() == part10(given)
    assert pydicom.dcmread(stored).PatientID == "A/1"
    assert stored.stat().st_nlink == 1


@FSYNC
async def test_corpora_arrive_byte_for_byte(tmp_path: Path, fsync: bool) -> None:
    for make in (corpus.base, corpus.comp, corpus.priv, corpus.char, corpus.evil):
        source = tmp_path / make.__name__
        made = make(source)
        ran = await run(
            sources.Directory(str(source))
            | sinks.Directory(str(tmp_path / f"{make.__name__}-out"), fsync=fsync)
        )
        assert ran.totals.refused == 0
        stored = [
            Instance.load(tmp_path / f"{make.__name__}-out" / name)
            for name in files_in(tmp_path / f"{make.__name__}-out")
        ]
        assert sorted(each.sop_instance_uid for each in stored) == sorted(made.uids.values())
        originals = {Instance.load(path).sop_instance_uid: Instance.load(path) for path in made.paths}
        for each in stored:
            assert part10(each) == part10(originals[each.sop_instance_uid])


async def test_evil_ids_stay_inside(tmp_path: Path) -> None:
    corpus.evil(tmp_path / "in")
    before = files_in(tmp_path)
    ran = await run(sources.Directory(str(tmp_path / "in")) | sinks.Directory(str(tmp_path / "root" / "out")))
    assert ran.totals.accepted > 0
    outside = [name for name in files_in(tmp_path) if not name.startswith("root/out/")]
    assert outside == before


async def test_large_instances(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "LARGE", 2_000_000)
    monkeypatch.setattr(writing, "STRIDE", 300_000)
    for number, given in enumerate(synthesize(instances=3, size=3_000_000)):
        put(tmp_path / "in", f"{number + 1}.dcm", given)
    for fsync in (True, False):
        out = tmp_path / f"out-{fsync}"
        ran = await run(
            sources.Directory(str(tmp_path / "in")) | sinks.Directory(str(out), layout=BY_NUMBER, fsync=fsync)
        )
        assert ran.totals.accepted == 3
        for number in (1, 2, 3):
            assert (out / f"{number}.dcm").read_bytes() == (tmp_path / "in" / f"{number}.dcm").read_bytes()


# -- exists


@pytest.mark.parametrize("exists", ["skip", "replace", "keep-both", "refuse"])
@FSYNC
async def test_same_content_is_always_fine(tmp_path: Path, exists: str, fsync: bool) -> None:
    given = instance()
    write = Written(path=str(tmp_path), layout=BY_UID, exists=exists, fsync=fsync)
    await write(given, given)
    await write(given)
    assert files_in(tmp_path) == [f"{given.sop_instance_uid}.dcm"]
    assert write.warnings == []


def two_versions() -> tuple[Instance, Instance]:
    one = instance(SOPInstanceUID="2.25.7", PatientID="one")
    return one, one.with_elements({"PatientID": "two"})


async def test_skip_keeps_the_first_and_says_so_each_time(tmp_path: Path) -> None:
    one, two = two_versions()
    write = Written(path=str(tmp_path), layout=BY_UID)
    await write(one, two, two)
    assert Instance.load(tmp_path / "2.25.7.dcm").header["PatientID"] == "one"
    kept = [event for event in write.events if isinstance(event, VersionKept)]
    assert [event.sop_instance_uid for event in kept] == ["2.25.7", "2.25.7"]
    assert str(tmp_path / "2.25.7.dcm") in kept[0].reason


async def test_only_copy_of_a_version_that_was_passed_over_stays(tmp_path: Path) -> None:
    one, two = two_versions()
    put(tmp_path / "in", "1.dcm", one)
    put(tmp_path / "in", "2.dcm", two)
    source = sources.Directory(tmp_path / "in", after="delete")
    ran = await run(source | sinks.Directory(tmp_path / "out", layout=BY_UID, workers=1))
    (kept,) = (event for event in ran.events if isinstance(event, VersionKept))
    assert (ran.totals.accepted, kept.path) == (2, str(tmp_path / "in" / "2.dcm"))
    assert files_in(tmp_path) == ["in/2.dcm", "out/2.25.7.dcm"]


async def test_nothing_is_made_before_something_comes(tmp_path: Path) -> None:
    out = sinks.Directory(tmp_path / "new" / "out", layout=BY_UID)
    with pytest.raises(StageError, match="nowhere"):
        await run(sources.Directory(tmp_path / "nowhere") | out)
    assert os.listdir(tmp_path) == []
    async with out.open(Context(stage="out")) as actor:
        assert os.listdir(tmp_path) == []
        await actor.write(instance(SOPInstanceUID="2.25.7"))
    assert files_in(tmp_path) == ["new/out/2.25.7.dcm"]


async def test_replace(tmp_path: Path) -> None:
    one, two = two_versions()
    write = Written(path=str(tmp_path), layout=BY_UID, exists="replace")
    await write(one, two)
    assert files_in(tmp_path) == ["2.25.7.dcm"]
    assert Instance.load(tmp_path / "2.25.7.dcm").header["PatientID"] == "two"


async def test_keep_both(tmp_path: Path) -> None:
    one, two = two_versions()
    three = one.with_elements({"PatientID": "three"})
    await Written(path=str(tmp_path), layout=BY_UID, exists="keep-both")(one, two, three, two, one)
    assert files_in(tmp_path) == ["2.25.7-2.dcm", "2.25.7-3.dcm", "2.25.7.dcm"]
    assert Instance.load(tmp_path / "2.25.7-3.dcm").header["PatientID"] == "three"


async def test_refuse(tmp_path: Path) -> None:
    one, two = two_versions()
    with pytest.raises(Refused, match="exists with other content") as caught:
        await Written(path=str(tmp_path), layout=BY_UID, exists="refuse")(one, two)
    assert caught.value.status == 0x0111
    assert Instance.load(tmp_path / "2.25.7.dcm").header["PatientID"] == "one"


@pytest.mark.parametrize("exists", ["skip", "refuse"])
async def test_another_instance_in_the_way_is_never_taken_for_this_one(tmp_path: Path, exists: str) -> None:
    one, two = instance(PatientID="A"), instance(PatientID="A")
    with pytest.raises(Refused, match=r"add \{SOPInstanceUID\}") as caught:
        await Written(path=str(tmp_path), layout="{PatientID}.dcm", exists=exists)(one, two)
    assert caught.value.status == 0x0111
    assert Instance.load(tmp_path / "A.dcm").sop_instance_uid == one.sop_instance_uid


@pytest.mark.parametrize("content", [b"", "cut"])
async def test_stub_is_written_anew(tmp_path: Path, content: Any) -> None:
    given = instance(SOPInstanceUID="2.25.7")
    (tmp_path / "2.25.7.dcm").write_bytes(part10(given)[:-40] if content == "cut" else content)
    write = Written(path=str(tmp_path), layout=BY_UID)
    await write(given)
    assert (tmp_path / "2.25.7.dcm").read_bytes() == part10(given)
    assert "written anew" in write.warnings[0]


async def test_file_that_is_not_dicom_stays(tmp_path: Path) -> None:
    (tmp_path / "2.25.7.dcm").write_text("somebody's notes")
    with pytest.raises(Refused, match="taken by something else"):
        await Written(path=str(tmp_path), layout=BY_UID)(instance(SOPInstanceUID="2.25.7"))
    assert (tmp_path / "2.25.7.dcm").read_text() == "somebody's notes"


@pytest.mark.parametrize("exists", ["skip", "replace", "refuse"])
async def test_folder_in_the_way(tmp_path: Path, exists: str) -> None:
    (tmp_path / "2.25.7.dcm" / "inner").mkdir(parents=True)
    with pytest.raises(Refused):
        await Written(path=str(tmp_path), layout=BY_UID, exists=exists)(instance(SOPInstanceUID="2.25.7"))
    assert (tmp_path / "2.25.7.dcm" / "inner").is_dir()
    assert files_in(tmp_path) == []


@FSYNC
async def test_two_at_once_to_one_path(tmp_path: Path, fsync: bool) -> None:
    one, two = two_versions()
    write = Written(path=str(tmp_path), layout=BY_UID, exists="keep-both", fsync=fsync)
    async with write.stage.open(Context(stage="out")) as actor, anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(actor.write, one)
            tasks.start_soon(actor.write, two)
    assert files_in(tmp_path) == ["2.25.7-2.dcm", "2.25.7.dcm"]


async def test_another_process_that_is_quicker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = two_versions()
    plain = writing.write

    def meanwhile(descriptor: int, buffers: Any) -> None:
        if not (tmp_path / "2.25.7.dcm").exists():
            put(tmp_path, "2.25.7.dcm", one)
        plain(descriptor, buffers)

    write = Written(path=str(tmp_path), layout=BY_UID, exists="refuse")
    async with write.stage.open(Context(stage="out")) as actor:
        monkeypatch.setattr(writing, "write", meanwhile)
        with pytest.raises(Refused, match="other content"):
            await actor.write(two)
        await actor.write(one)
    assert files_in(tmp_path) == ["2.25.7.dcm"]


# -- link


async def test_unchanged_files_are_linked(tmp_path: Path) -> None:
    put(tmp_path, "in/a.dcm", PatientID="A")
    put(tmp_path, "in/b.dcm", PatientID="B")
    put(tmp_path, "in/c.dcm", next(synthesize(size=3_000_000)).with_elements({"PatientID": "C"}))
    raw = instance(PatientID="D")
    (tmp_path / "in" / "raw").write_bytes(b"".join(map(bytes, raw.payload.segments())))

    def renames_b(given: Instance) -> Instance:
        return given.with_elements({"PatientID": "B2"}) if given.header["PatientID"] == "B" else given

    out = sinks.Directory(str(tmp_path / "out"), layout="{PatientID}.dcm", link=True)
    ran = await run(sources.Directory(str(tmp_path / "in")) | renames_b | out)
    assert ran.totals.accepted == 4
    assert (tmp_path / "in" / "a.dcm").samefile(tmp_path / "out" / "A.dcm")
    assert (tmp_path / "in" / "c.dcm").samefile(tmp_path / "out" / "C.dcm")
    assert (tmp_path / "out" / "B2.dcm").stat().st_nlink == 1
    assert (tmp_path / "out" / "D.dcm").read_bytes() == part10(raw)
    assert (tmp_path / "in" / "b.dcm").stat().st_nlink == 1


async def test_link_across_file_systems_copies(tmp_path: Path, small_tmpfs: Any) -> None:
    there = small_tmpfs(1_000_000)
    given = put(tmp_path, "in/a.dcm", PatientID="A")
    await run(
        sources.Directory(str(tmp_path / "in"))
        | sinks.Directory(str(there), layout="{PatientID}.dcm", link=True)
    )
    assert (there / "A.dcm").read_bytes() == part10(given)
    assert (tmp_path / "in" / "a.dcm").stat().st_nlink == 1


# -- what goes wrong


@FSYNC
async def test_full_disk(tmp_path: Path, small_tmpfs: Any, fsync: bool) -> None:
    there = small_tmpfs(256 * 1024)
    source = sources.Synthetic(instances=10, size=60_000)
    ran = await run(source | sinks.Directory(str(there), layout=BY_NUMBER, fsync=fsync))
    stored = files_in(there)
    assert 0 < len(stored) < 10
    assert ran.totals.accepted == len(stored)
    assert ran.totals.refused == 10 - len(stored)
    assert all("disk is full" in event.reason and event.status == 0xA700 for event in ran.refused)
    for name in stored:
        Instance.load(there / name).verify()


async def test_full_disk_that_gets_room_again(small_tmpfs: Any) -> None:
    there = small_tmpfs(128 * 1024)
    (there / "ballast").write_bytes(bytes(100_000))
    inlet = sources.Inlet()
    retry = Retry(attempts=50, first=0.01, longest=0.05)
    with anyio.fail_after(10):
        async with Pipeline(
            inlet | sinks.Directory(str(there), layout=BY_UID, retry=retry)
        ).start() as running:
            receipt = await running.send(inlet, next(synthesize(size=60_000)))
            await until(lambda: running.statistics().stages["directory-1"].retried > 1)
            (there / "ballast").unlink()
            await receipt.wait()
    assert receipt.outcome == "accepted"
    assert len(files_in(there)) == 1


async def test_read_only_disk_under_way(small_tmpfs: Any) -> None:
    there = small_tmpfs(1_000_000)
    inlet = sources.Inlet()
    async with Pipeline(inlet | sinks.Directory(str(there), layout=BY_UID)).start() as running:
        assert await (await running.send(inlet, instance())).wait() == 0
        remount(there, "ro")
        receipt = await running.send(inlet, instance())
        assert await receipt.wait() == 0xA700
        assert "read-only" in receipt.reason
        remount(there, "rw")
        assert await (await running.send(inlet, instance())).wait() == 0
    assert len(files_in(there)) == 2


async def test_read_only_disk_is_found_before_anything_moves(tmp_path: Path, small_tmpfs: Any) -> None:
    there = small_tmpfs(1_000_000)
    remount(there, "ro")
    put(tmp_path, "in/a.dcm")
    with pytest.raises(StageError, match="read-only") as caught:
        await run(sources.Directory(str(tmp_path / "in"), after="delete") | sinks.Directory(str(there)))
    assert caught.value.opening
    assert files_in(tmp_path / "in") == ["a.dcm"]


async def test_folder_replaced_by_a_file_under_way(tmp_path: Path) -> None:
    inlet = sources.Inlet()
    async with Pipeline(inlet | sinks.Directory(str(tmp_path / "out"), layout=BY_UID)).start() as running:
        await (await running.send(inlet, instance())).wait()
        shutil.rmtree(tmp_path / "out")
        (tmp_path / "out").write_text("in the way")
        receipt = await running.send(inlet, instance())
        assert await receipt.wait() == 0xA700
        assert "in the way" in receipt.reason
        (tmp_path / "out").unlink()
        assert await (await running.send(inlet, instance())).wait() == 0


async def test_name_too_long(tmp_path: Path) -> None:
    deep = "/".join(["{PatientID}"] * 80) + "/" + BY_UID
    given = instance(PatientID="x" * 64)
    with pytest.raises(Refused, match="shorten the layout"):
        await Written(path=str(tmp_path), layout=deep)(given)
    assert files_in(tmp_path) == []


async def test_failing_fsync_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    write = Written(path=str(tmp_path), layout=BY_UID)
    async with write.stage.open(Context(stage="out")) as actor:
        monkeypatch.setattr(os, "fsync", fails)
        with pytest.raises(Refused, match="Input/output") as caught:
            await actor.write(instance())
    assert caught.value.transient
    assert files_in(tmp_path) == []


async def test_source_file_that_is_gone(tmp_path: Path) -> None:
    put(tmp_path, "in/a.dcm", next(synthesize(size=3_000_000)))
    given = Instance.load(tmp_path / "in" / "a.dcm")
    (tmp_path / "in" / "a.dcm").unlink()
    with pytest.raises(Exception, match="cannot read the data set"):
        await Written(path=str(tmp_path / "out"))(given)
    assert files_in(tmp_path / "out") == []


async def test_path_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(StageError, match="in the way"):
        await run(sources.Synthetic(instances=1, size=10) | sinks.Directory(str(tmp_path / "out")))


async def test_stale_files_of_dead_processes_are_removed(tmp_path: Path) -> None:
    name = f".dcmflow-{dead_process()}.{writing._host()}.{'0' * 16}.tmp"
    for folder in (tmp_path, tmp_path / "A"):
        folder.mkdir(exist_ok=True)
        (folder / name).write_text("half")
    (tmp_path / "A" / ".other").write_text("")
    await Written(path=str(tmp_path), layout="{PatientID}/" + BY_UID)(
        instance(PatientID="A", SOPInstanceUID="2.25.7")
    )
    assert files_in(tmp_path) == ["A/.other", "A/2.25.7.dcm"]
    (tmp_path / "A" / ".other").unlink()


@FSYNC
async def test_cancelled_at_any_moment_leaves_whole_files_only(tmp_path: Path, fsync: bool) -> None:
    for turn in range(12):
        out = tmp_path / str(turn)
        source = sources.Synthetic(instances=200, size=30_000)
        async with Pipeline(source | sinks.Directory(str(out), fsync=fsync)).start() as running:
            while running.statistics().pipeline.emitted <= turn * 5:
                await anyio.lowlevel.checkpoint()
            running.cancel()
        names = files_in(out)
        assert not any(name.rsplit("/", 1)[-1].startswith(".") for name in names)
        for name in names:
            Instance.load(out / name).verify()
        assert len(names) >= running.statistics().pipeline.accepted


async def test_cancelled_large_write_ends_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "LARGE", 1000)
    monkeypatch.setattr(writing, "STRIDE", 10)
    written = 0
    plain = os.writev

    def counted(descriptor: int, buffers: Any) -> int:
        nonlocal written
        done = plain(descriptor, buffers)
        written += done
        return done

    write = Written(path=str(tmp_path), layout=BY_UID)
    async with write.stage.open(Context(stage="out")) as actor:
        monkeypatch.setattr(os, "writev", counted)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(actor.write, next(synthesize(size=3_000_000)))
            await until(lambda: written > 100)
            tasks.cancel_scope.cancel()
    assert written < 3_000_000
    assert files_in(tmp_path) == []


# -- fields


@pytest.mark.parametrize("layout", ["", "/{PatientID}", "../{PatientID}", "{Patient}", "{PatientID", "a//b"])
def test_layout_that_cannot_be_right(layout: str) -> None:
    with pytest.raises(ConfigError) as caught:
        sinks.Directory("/x", layout=layout)
    assert caught.value.key == "layout"


def test_paths_are_paths_or_texts() -> None:
    assert sinks.Directory(Path("x") / "y") == sinks.Directory("x/y")
    assert sinks.Quarantine(Path("x")).path == "x"
    for wrong in ("", 3, None):
        with pytest.raises(ConfigError) as caught:
            sinks.Directory(wrong)  # type: ignore[arg-type]
        assert caught.value.key == "path"


def test_promise() -> None:
    pipeline = Pipeline(sources.Inlet() | sinks.Directory("/x", name="archive"))
    assert pipeline.promises() == {"inlet-1": "Success means: on disk at archive"}
    assert "on disk" not in sinks.Directory("/x", fsync=False).promise()


def test_look(tmp_path: Path) -> None:
    one, two = two_versions()
    put(tmp_path, "a", one)
    assert placing.look(str(tmp_path / "a"), one) == "same"
    assert placing.look(str(tmp_path / "a"), two) == "version"
    assert placing.look(str(tmp_path / "a"), instance()) == "other"
    assert placing.look(str(tmp_path / "b"), one) == "free"
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    assert placing.look(str(tmp_path / "dangling"), one) == "other"


async def test_many_small_ones_in_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    plain = commit.perform

    def noted(placements: Any) -> None:
        sizes.append(len(placements))
        plain(placements)

    monkeypatch.setattr(commit, "perform", noted)
    source = sources.Synthetic(instances=200, size=2000)
    ran = await run(source | sinks.Directory(str(tmp_path), layout=BY_NUMBER), limits=Limits(instances=64))
    assert ran.totals.accepted == len(files_in(tmp_path)) == sum(sizes) == 200
    assert max(sizes) > 1
