"""Files become instances."""

from __future__ import annotations

import os
from pathlib import Path

import anyio
import pytest

import corpus
from dcmflow import ConfigError, Limits, Pipeline, StageError, sinks, sources
from dcmflow.dicom.payload import FilePayload
from dcmflow.testing import instance, synthesize
from stage_runs import Gather, Observed, drained, files_in, put, run, until

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]


async def test_whole_corpus(tmp_path: Path) -> None:
    base = corpus.base(tmp_path)
    seen = Gather()
    ran = await run(sources.Directory(str(tmp_path)) | seen | sinks.Discard())
    assert ran.totals.accepted == base.instances == 12
    assert sorted(seen.uids) == sorted(base.uids.values())
    paths = [given.origin.path for given in seen.seen]
    assert paths == sorted(paths)


async def test_origin(tmp_path: Path) -> None:
    put(tmp_path, "a.dcm")
    seen = Gather()
    await run(sources.Directory(str(tmp_path), name="in") | seen | sinks.Discard())
    origin = seen.seen[0].origin
    assert (origin.stage, origin.path) == ("in", str(tmp_path / "a.dcm"))
    assert origin.received is not None
    assert origin.received.tzinfo is not None


async def test_files_off_the_wire(tmp_path: Path) -> None:
    wire = corpus.wire(tmp_path)
    broken = {name for name in wire if name not in wire.readable}
    seen = Gather()
    ran = await run(sources.Directory(str(tmp_path)) | seen | sinks.Discard())
    assert sorted(seen.uids) == sorted(wire.uids.values())
    assert {Path(event.path or "").name for event in ran.refused} == broken
    assert all(event.stage == "directory-1" for event in ran.refused)


async def test_junk_is_counted_and_passed_over(tmp_path_factory: pytest.TempPathFactory) -> None:
    tmp_path = tmp_path_factory.mktemp("junk")
    junk = corpus.junk(tmp_path / "junk")
    junk["unreadable.dcm"].unlink()
    put(tmp_path, "good.dcm")
    with anyio.fail_after(5):  # a FIFO is in it
        ran = await run(sources.Directory(str(tmp_path)) | sinks.Discard())
    assert ran.totals.accepted == 1
    said = [*ran.not_dicom, *(Path(event.path or "").name for event in ran.refused)]
    assert sorted(said) == sorted({*junk} - {"unreadable.dcm", "loop"})
    assert {Path(event.path or "").name for event in ran.refused} <= {"preamble-only.dcm"}


async def test_names_say_nothing(tmp_path_factory: pytest.TempPathFactory) -> None:
    tmp_path = tmp_path_factory.mktemp("names")
    for name in ("IM0001", "a.DCM", "b.ima", ".hidden", "deep/.er/1.2.3", "x.txt", "ünïcode 山"):
        put(tmp_path, name)
    (tmp_path / "fake.dcm").write_text("no")
    ran = await run(sources.Directory(str(tmp_path)) | sinks.Discard())
    assert (ran.totals.accepted, ran.not_dicom) == (7, ["fake.dcm"])


async def test_include_and_exclude(tmp_path: Path) -> None:
    for name in ("a.dcm", "b.ima", "old/c.dcm", "new/d.dcm"):
        put(tmp_path, name)
    seen = Gather()
    await run(sources.Directory(str(tmp_path), include=["*.dcm"], exclude=["old"]) | seen | sinks.Discard())
    assert [Path(given.origin.path or "").name for given in seen.seen] == ["a.dcm", "d.dcm"]


async def test_one_file(tmp_path: Path) -> None:
    one = put(tmp_path, "a.dcm")
    put(tmp_path, "b.dcm")
    seen = Gather()
    await run(sources.Directory(str(tmp_path / "a.dcm")) | seen | sinks.Discard())
    assert seen.uids == [one.sop_instance_uid]


async def test_relative_to_the_pipeline_file(tmp_path: Path) -> None:
    put(tmp_path, "in/a.dcm")
    ran = await run(sources.Directory("in") | sinks.Discard(), base=tmp_path)
    assert ran.totals.accepted == 1


async def test_missing_path_is_found_before_anything_moves(tmp_path: Path) -> None:
    put(tmp_path, "in/a.dcm")
    out = tmp_path / "out"
    with pytest.raises(StageError, match="nowhere") as caught:
        await run(
            (sources.Directory(str(tmp_path / "in")), sources.Directory(str(tmp_path / "nowhere")))
            | sinks.Discard()
        )
    assert caught.value.opening
    assert not out.exists()


async def test_pipe_as_path(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StageError, match="neither a folder nor a regular file"):
        await run(sources.Directory(str(tmp_path / "pipe")) | sinks.Discard())


async def test_large_files_stay_on_disk(tmp_path: Path) -> None:
    for number, given in enumerate(synthesize(instances=2, size=3_000_000)):
        put(tmp_path, f"{number}.dcm", given)
    (tmp_path / "cut.dcm").write_bytes((tmp_path / "0.dcm").read_bytes()[:2_000_000])
    seen = Gather()
    ran = await run(sources.Directory(str(tmp_path)) | seen | sinks.Discard())
    assert all(isinstance(given.payload, FilePayload) for given in seen.seen)
    assert ran.totals.accepted == 2
    assert [Path(event.path or "").name for event in ran.refused] == ["cut.dcm"]


async def test_file_that_disappears_is_refused_and_the_rest_goes_on(tmp_path: Path) -> None:
    for number in range(40):
        put(tmp_path, f"{number:02}.dcm")

    def remove_a_later_one(given: object) -> object:
        (tmp_path / "39.dcm").unlink(missing_ok=True)
        return given

    limits = Limits(instances=1)
    ran = await run(
        sources.Directory(str(tmp_path)) | remove_a_later_one | sinks.Discard(inbox=0), limits=limits
    )
    assert ran.totals.accepted == 39
    assert [Path(event.path or "").name for event in ran.refused] == ["39.dcm"]


# -- after


async def test_after_delete(tmp_path: Path) -> None:
    for number in range(50):
        put(tmp_path, f"in/{number}.dcm")
    (tmp_path / "in" / "notes.txt").write_text("stays")
    ran = await run(
        sources.Directory(str(tmp_path / "in"), after="delete") | sinks.Directory(str(tmp_path / "out"))
    )
    assert ran.totals.accepted == 50
    assert files_in(tmp_path / "in") == ["notes.txt"]
    assert len(files_in(tmp_path / "out")) == 50


async def test_after_waits_for_every_sink(tmp_path: Path) -> None:
    put(tmp_path, "in/a.dcm", PatientID="1")
    put(tmp_path, "in/b.dcm", PatientID="2")
    put(tmp_path, "in/c.dcm", PatientID="3")

    def fails_for_1(given: object) -> object:
        if given.header["PatientID"] == "1":  # type: ignore[attr-defined]
            raise ValueError("not this one")
        return given

    source = sources.Directory(str(tmp_path / "in"), after="delete")
    drops_2 = "PatientID != '2'"
    from dcmflow import filters

    flow = source | filters.Where(drops_2) | (sinks.Discard(), filters.Call(fails_for_1) | sinks.Discard())
    ran = await run(flow)
    assert (ran.totals.accepted, ran.totals.refused, ran.totals.dropped) == (1, 1, 1)
    assert files_in(tmp_path / "in") == ["a.dcm", "b.dcm"]


async def test_best_effort_sink_that_refused_keeps_the_file(tmp_path: Path) -> None:
    from little_stages import Deny

    put(tmp_path, "in/a.dcm", SOPInstanceUID="2.25.7")
    source = sources.Directory(str(tmp_path / "in"), after="delete")
    ran = await run(source | (sinks.Discard(), Deny(required=False)))
    assert ran.totals.accepted == 1
    assert files_in(tmp_path / "in") == ["a.dcm"]


async def test_after_move_keeps_relative_paths_and_never_replaces(tmp_path: Path) -> None:
    put(tmp_path, "in/a.dcm")
    put(tmp_path, "in/deep/er/b.dcm")
    (tmp_path / "done").mkdir()
    (tmp_path / "done" / "a.dcm").write_text("here first")
    await run(sources.Directory("in", after="move:done") | sinks.Discard(), base=tmp_path)
    assert files_in(tmp_path / "in") == []
    assert files_in(tmp_path / "done") == ["a-2.dcm", "a.dcm", "deep/er/b.dcm"]
    assert (tmp_path / "done" / "a.dcm").read_text() == "here first"


async def test_after_move_into_the_folder_itself(tmp_path: Path) -> None:
    put(tmp_path, "a.dcm")
    put(tmp_path, "done/before.dcm")
    for _ in range(2):
        await run(sources.Directory(str(tmp_path), after=f"move:{tmp_path}/done") | sinks.Discard())
    assert files_in(tmp_path) == ["done/a.dcm", "done/before.dcm"]


async def test_after_move_to_another_file_system(tmp_path: Path, small_tmpfs: object) -> None:
    there = small_tmpfs(1_000_000)  # type: ignore[operator]
    one = put(tmp_path, "in/x/a.dcm")
    (tmp_path / "in" / "link.dcm").symlink_to(tmp_path / "in" / "x" / "a.dcm")
    await run(sources.Directory(str(tmp_path / "in"), after=f"move:{there}") | sinks.Discard())
    assert files_in(tmp_path / "in") == []
    assert files_in(there) == ["link.dcm", "x/a.dcm"]
    assert (there / "x" / "a.dcm").read_bytes() == b"".join(map(bytes, one.part10_segments()))


async def test_after_move_to_a_full_disk_keeps_the_file(tmp_path: Path, small_tmpfs: object) -> None:
    there = small_tmpfs(64 * 1024)  # type: ignore[operator]
    put(tmp_path, "in/a.dcm", next(synthesize(size=200_000)))
    ran = await run(sources.Directory(str(tmp_path / "in"), after=f"move:{there}") | sinks.Discard())
    assert files_in(tmp_path / "in") == ["a.dcm"]
    assert files_in(there) == []
    assert "cannot be moved" in ran.warned[0].message


async def test_file_that_changed_meanwhile_is_not_deleted(tmp_path: Path) -> None:
    put(tmp_path, "in/a.dcm")
    newer = instance()

    def replaces_the_file(given: object) -> object:
        (tmp_path / "in" / "a.dcm").unlink()
        put(tmp_path / "in", "a.dcm", newer)
        return given

    ran = await run(
        sources.Directory(str(tmp_path / "in"), after="delete") | replaces_the_file | sinks.Discard()
    )
    assert files_in(tmp_path / "in") == ["a.dcm"]
    assert "changed after it was read" in ran.warned[0].message


async def test_file_in_the_way_of_the_folder_to_move_to(tmp_path: Path) -> None:
    put(tmp_path, "in/a.dcm")
    (tmp_path / "done").write_text("")
    with pytest.raises(StageError, match="is a file") as caught:
        await run(sources.Directory(tmp_path / "in", after=f"move:{tmp_path}/done/x") | sinks.Discard())
    assert caught.value.opening


async def test_stub_without_a_data_set_is_refused(tmp_path: Path) -> None:
    given = instance()
    (tmp_path / "stub.dcm").write_bytes(bytes(given.part10_segments()[0]))
    ran = await run(sources.Directory(tmp_path) | sinks.Discard())
    assert "stub.dcm" in str(ran.refused[0].path)
    assert ran.totals.accepted == 0


async def test_files_cannot_move_to_where_they_are(tmp_path: Path) -> None:
    put(tmp_path, "a.dcm")
    with pytest.raises(StageError, match="read from"):
        await run(sources.Directory(str(tmp_path), after=f"move:{tmp_path}") | sinks.Discard())


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"after": "burn"}, "after"),
        ({"after": "move:"}, "after"),
        ({"after": "move: "}, "after"),
        ({"include": [""]}, "include"),
        ({"exclude": ["[z-a]"]}, "exclude"),
        ({"path": ""}, "path"),
    ],
)
def test_wrong_fields(fields: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        sources.Directory(**{"path": "x", **fields})  # type: ignore[arg-type]
    assert caught.value.key == key


# -- drain and cancel


async def test_drain_ends_reading_and_finishes_what_is_under_way(tmp_path: Path) -> None:
    for number in range(300):
        put(tmp_path, f"in/{number:03}.dcm")
    gate = anyio.Event()

    async def waits(given: object) -> object:
        await gate.wait()
        return given

    observed = Observed()
    source = sources.Directory(str(tmp_path / "in"), after="delete")
    async with Pipeline(source | waits | sinks.Discard(), limits=Limits(instances=20)).start(
        observe=observed
    ) as running:
        await until(lambda: running.statistics().pipeline.emitted == 17)  # 1 held, 16 in its inbox
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(drained, running)
            await anyio.wait_all_tasks_blocked()
            gate.set()
    totals = running.statistics().pipeline
    assert 17 <= totals.accepted <= 18
    assert (totals.refused, totals.unsettled) == (0, 0)
    assert len(files_in(tmp_path / "in")) == 300 - totals.accepted


async def test_cancel_loses_no_file(tmp_path: Path) -> None:
    for number in range(100):
        put(tmp_path, f"in/{number:03}.dcm")
    source = sources.Directory(str(tmp_path / "in"), after="delete")

    async def forever(given: object) -> object:
        await anyio.sleep_forever()
        return given

    async with Pipeline(source | forever | sinks.Discard()).start() as running:
        await until(lambda: running.statistics().pipeline.emitted > 10)
        running.cancel()
    assert len(files_in(tmp_path / "in")) == 100
