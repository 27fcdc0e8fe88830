"""Plans that are carried out while something fails, is full, is ended early or is killed."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

import corpus
from acceptance_kit import SOURCE, everything, visible
from base_data import BASE, MPRAGE, OLD, ONE, TWO, matching, uids, write_base
from dcmflow.catalog import Level
from dcmflow.dicom.query import Query
from dcmflow.errors import StageError
from peers.archives import KINDS, Archive, Archives
from sync_runs import EVERYTHING, folder_of, holding, nobody, ours, same, sync
from wire_data import digests, uid_of

pytestmark = [pytest.mark.anyio, pytest.mark.interop, pytest.mark.timeout(60)]


# what fails -------------------------------------------------------------------------------------------------------


async def test_a_dead_destination_harms_no_other(base: Path, tmp_path: Path) -> None:
    dead, out = nobody(), tmp_path / "out"
    done = await sync(base, dead, out)
    assert done.numbers(out) == (12, 0, 12, 0, 0)
    same(out)
    assert done.numbers(dead) == (12, 0, 0, 12, 0)
    assert done.failures(dead).keys() == uids("image")
    assert done.report.failed == 12
    assert any(note.startswith(f"{dead}: it cannot be asked") for note in done.plan.notes)
    again = await sync(base, dead, out)
    assert again.numbers(out) == (12, 12, 0, 0, 0)
    assert again.numbers(dead) == (12, 0, 0, 12, 0)


async def test_a_dead_destination_of_an_archive_harms_no_other(archive: Archive, tmp_path: Path) -> None:
    """One C-MOVE serves both: what one of them has accepted is not lost to it."""
    dead, out = nobody(), tmp_path / "out"
    count = len(archive.expected)
    done = await sync(archive, dead, out, local=ours(archive))
    assert done.numbers(out) == (count, 0, count, 0, 0)
    same(out, archive.expected)
    assert done.numbers(dead) == (count, 0, 0, count, 0)
    assert done.failures(dead).keys() == uids("image", archive.expected)


async def test_a_destination_that_cannot_be_opened_is_an_error_before_anything_moves(
    base: Path, tmp_path: Path
) -> None:
    in_the_way, out = tmp_path / "in the way", tmp_path / "out"
    in_the_way.write_text("notes")
    with pytest.raises(StageError, match="in the way"):
        await sync(base, in_the_way, out)
    assert in_the_way.read_text() == "notes"
    assert not out.exists() or visible(out) == []


async def test_what_is_gone_from_the_source_fails_for_those_who_lack_it_alone(
    base: Path, tmp_path: Path
) -> None:
    """A file is truncated: it counts for the destination that was to get it, and not for the one that has it."""
    source = folder_of(tmp_path / "in")
    victim = source / MPRAGE.file
    lacks, has = tmp_path / "lacks", folder_of(tmp_path / "has", matching({"StudyInstanceUID": OLD.study}))

    def spoil(running: object) -> None:
        victim.write_bytes(victim.read_bytes()[:-100])

    done = await sync(source, lacks, has, started=spoil)
    assert done.numbers(lacks) == (12, 0, 11, 1, 0)
    assert done.numbers(has) == (12, 5, 7, 0, 0)
    assert list(done.failures(lacks)) == [MPRAGE.image]
    assert "truncated" in done.failures(lacks)[MPRAGE.image]
    assert set(map(uid_of, visible(lacks))) == uids("image") - {MPRAGE.image}


async def test_an_object_that_the_archive_lost_fails_for_those_who_lack_it_alone(
    start: Callable[..., Archive], tmp_path: Path
) -> None:
    archive = start(BASE)
    lacks, has = tmp_path / "lacks", folder_of(tmp_path / "has", matching({"StudyInstanceUID": OLD.study}))

    def lose(running: object) -> None:
        stored = [path for path in archive.server.folder.rglob("*.dcm") if path.stat().st_size > 0]
        [path] = [path for path in stored if uid_of(path) == MPRAGE.image]
        path.unlink()

    done = await sync(archive, lacks, has, local=ours(archive), started=lose)
    assert done.numbers(lacks) == (12, 0, 11, 1, 0)
    assert done.numbers(has) == (12, 5, 7, 0, 0)
    assert list(done.failures(lacks)) == [MPRAGE.image]


async def test_a_source_that_is_gone_leaves_nothing_said_to_be_done(
    start: Callable[..., Archive], base: Path, tmp_path: Path
) -> None:
    """It answered, then it died. The other source is carried out all the same."""
    archive = start(matching({"PatientID": "TestPat1"}))
    rest = folder_of(tmp_path / "rest", matching({"PatientID": "TestPat2"}))
    out = folder_of(tmp_path / "out", [ONE, OLD])

    def kill(running: object) -> None:
        archive.server.process.kill()
        archive.server.process.wait()

    done = await sync([(archive, EVERYTHING), (rest, EVERYTHING)], out, local=ours(archive), started=kill)
    assert done.numbers(out)[:3] == (12, 2, 4)
    assert done.report.failed == 6
    same(out, [ONE, OLD, *matching({"PatientID": "TestPat2"})])


# killed -----------------------------------------------------------------------------------------------------------

_CHILD = """
import sys
from pathlib import Path

import anyio

from sync_runs import sync

anyio.run(sync, Path(sys.argv[1]), Path(sys.argv[2]), backend=sys.argv[3])
"""


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 objects of 128 KB in four studies."""
    made = corpus.Corpus(tmp_path_factory.mktemp("many"))
    for number in range(120):
        study, ids = number % 4, corpus.uid("many", number)
        made.save(
            f"{number}.dcm",
            corpus.mr(
                patient="MANY",
                side=256,
                StudyInstanceUID=f"2.25.1{study}",
                SeriesInstanceUID=f"2.25.2{study}",
                SOPInstanceUID=ids,
                InstanceNumber=number,
            ),
        )
    return made.folder


@pytest.mark.parametrize("moment", range(5))
async def test_killed_at_any_moment_and_run_again(
    many: Path, moment: int, anyio_backend_name: str, tmp_path: Path
) -> None:
    """No truncated file is ever visible, only the rest moves, and in the end all is there."""
    out = tmp_path / "out"
    chance = random.Random(f"{moment} {anyio_backend_name}")
    for attempt in range(10):  # a machine that does much else may let it end first
        shutil.rmtree(out, ignore_errors=True)
        _run_and_kill(many, out, anyio_backend_name, chance, before=max(2, 90 >> attempt))
        if len(visible(out)) < 120:
            break
    wanted = digests(visible(many))
    left = visible(out)
    assert 0 < len(left) < 120, "it was to be killed in the middle"
    assert digests(left) <= wanted, "what is visible is whole"
    again = await sync(many, out)
    assert again.numbers(out) == (120, len(left), 120 - len(left), 0, 0)
    assert digests(visible(out)) == wanted
    assert [name for name in everything(out) if Path(name).name.startswith(".")] == []
    assert (await sync(many, out)).plan.transfers == []


def _run_and_kill(many: Path, out: Path, backend: str, chance: random.Random, *, before: int) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([SOURCE, str(Path(__file__).parents[1])])}
    line = [sys.executable, "-c", _CHILD, str(many), str(out), backend]
    with subprocess.Popen(line, env=environment, stdin=subprocess.DEVNULL) as child:
        some = chance.randrange(1, before)
        while child.poll() is None and not (out.exists() and len(visible(out)) >= some):
            time.sleep(0.001)
        time.sleep(chance.random() / 100 if before == 90 else 0)
        child.kill()


# ended early, no room ---------------------------------------------------------------------------------------------


async def test_a_folder_that_is_left_in_the_middle_says_what_was_skipped(many: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    async with anyio.create_task_group() as tasks:
        first = await sync(many, out, started=lambda running: tasks.start_soon(running.drain))
    wanted, present, sent, failed, skipped = first.numbers(out)
    assert (wanted, present, failed) == (120, 0, 0)
    assert skipped > 0
    assert sent == len(visible(out)) if out.exists() else sent == 0
    again = await sync(many, out)
    assert again.numbers(out) == (120, sent, 120 - sent, 0, 0)


async def test_an_archive_that_is_left_in_the_middle_says_what_was_skipped(
    start: Callable[..., Archive], tmp_path: Path
) -> None:
    """Numbers are known, since a part was there before."""
    archive, out = start(BASE), folder_of(tmp_path / "out", [ONE, OLD, TWO])
    async with anyio.create_task_group() as tasks:
        first = await sync(
            archive, out, local=ours(archive), started=lambda running: tasks.start_soon(running.drain)
        )
    wanted, present, sent, failed, skipped = first.numbers(out)
    assert (wanted, present) == (12, 3)
    assert failed + skipped == 9 - sent
    assert first.report.failed == failed + skipped > 0
    again = await sync(archive, out, local=ours(archive))
    assert again.numbers(out) == (12, 3 + sent, 9 - sent, 0, 0)


async def test_a_full_disk_is_the_matter_of_that_destination(
    many: Path, small_tmpfs: Callable[[int], Path], tmp_path: Path
) -> None:
    full, out = small_tmpfs(4_000_000) / "out", tmp_path / "out"
    done = await sync(many, full, out)
    assert done.numbers(out) == (120, 0, 120, 0, 0)
    wanted, present, sent, failed, skipped = done.numbers(full)
    assert (wanted, present, skipped) == (120, 0, 0)
    assert 0 < sent < 30
    assert failed == len(done.failures(full)) == 120 - sent
    assert all(done.failures(full))
    assert digests(visible(full)) <= digests(visible(many))
    assert len(visible(full)) == sent
    assert (await sync(full, out)).plan.transfers == []


@pytest.mark.parametrize("kind", KINDS)
async def test_every_archive_sends_to_another_one_itself(
    archives: Archives, empty: Archive, kind: str, tmp_path: Path
) -> None:
    facts = matching({"PatientID": "TestPat2"})
    files = write_base(tmp_path / "files", [*facts, ONE])
    clients = {empty.address.ae_title: empty.address}
    with archives.start(kind, tmp_path / kind, files=files, clients=clients, ae_title="FIRST") as archive:
        first = await sync(archive, empty, query=Query.of({"PatientID": "TestPat2"}), method="remote-copy")
        assert first.numbers(empty) == (4, 0, 4, 0, 0)
        assert await holding(empty) == uids("image", facts)
        one = Query.of({"SOPInstanceUID": ONE.image, **ONE.keys("series")}, Level.IMAGE)
        second = await sync(archive, empty, query=one, method="remote-copy")
        assert second.numbers(empty) == (1, 0, 1, 0, 0)
        again = await sync(archive, empty, method="remote-copy")
        assert again.plan.transfers == []
