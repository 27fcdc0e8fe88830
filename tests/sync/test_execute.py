"""Plans that are carried out between real archives and folders: what arrives, what is said of it, and what a second run does."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest

import corpus
from acceptance_kit import everything, visible
from base_data import BASE, ECHOES, MPRAGE, OLD, ONE, PRIVATE, PUBLIC, TWO, matching, uids
from dcmflow import filters
from dcmflow.dicom.query import Query
from peers.archives import Archive, Archives
from sync_runs import folder_of, holding, name_of, nobody, ours, same, sync
from wire_data import uid_of

pytestmark = [pytest.mark.anyio, pytest.mark.interop, pytest.mark.timeout(60)]


# node to folder ---------------------------------------------------------------------------------------------------


async def test_an_archive_to_a_folder_and_again(archive: Archive, tmp_path: Path) -> None:
    out = tmp_path / "out"
    count = len(archive.expected)
    first = await sync(archive, out, local=ours(archive))
    assert first.numbers(out) == (count, 0, count, 0, 0)
    assert {transfer.level for transfer in first.plan.transfers} == {"study"}
    same(out, archive.expected)
    second = await sync(archive, out, local=ours(archive))
    assert second.plan.transfers == []
    assert second.numbers(out) == (count, count, 0, 0, 0)
    same(out, archive.expected)


async def test_only_what_is_missing_moves(archive: Archive, tmp_path: Path) -> None:
    """A study is there, a series is missing, and an image of another one."""
    there = [
        fact for fact in archive.expected if fact.series != MPRAGE.series and fact.image != ECHOES[0].image
    ]
    out = folder_of(tmp_path / "out", there)
    done = await sync(archive, out, local=ours(archive))
    assert done.numbers(out) == (len(archive.expected), len(there), 3, 0, 0)
    moved = {(transfer.level, transfer.images or transfer.path[-1]) for transfer in done.plan.transfers}
    assert moved == {("series", MPRAGE.series), ("image", (ECHOES[0].image,))}
    assert set(map(uid_of, visible(out))) == uids("image", archive.expected)


async def test_images_that_are_wanted_bring_no_others(archive: Archive, tmp_path: Path) -> None:
    """Four objects of twelve, though they are of studies and series that are wanted in part only."""
    out = tmp_path / "out"
    first = Query.of({"InstanceNumber": "2", "StudyInstanceUID": f"{OLD.study}\\{TWO.study}"})
    wanted = [
        fact for fact in archive.expected if fact.text("InstanceNumber") == "2" and fact.study != ONE.study
    ]
    assert len(wanted) == 4
    done = await sync(archive, out, query=first, local=ours(archive))
    assert done.numbers(out) == (4, 0, 4, 0, 0)
    same(out, wanted)
    again = await sync(archive, out, query=first, local=ours(archive))
    assert again.plan.transfers == []


async def test_series_that_are_wanted_bring_no_others(archive: Archive, tmp_path: Path) -> None:
    out = tmp_path / "out"
    query = Query.of({"PatientID": "TestPat1", "SeriesNumber": "2"})
    wanted = [fact for fact in matching(dict(query.keys)) if fact in archive.expected]
    done = await sync(archive, out, query=query, local=ours(archive))
    assert {transfer.level for transfer in done.plan.transfers} == {"series"}
    assert done.numbers(out) == (len(wanted), 0, len(wanted), 0, 0)
    same(out, wanted)


async def test_everything_moves_again_where_that_is_forced(archive: Archive, tmp_path: Path) -> None:
    out = folder_of(tmp_path / "out", archive.expected)
    done = await sync(archive, out, force=True, local=ours(archive))
    assert done.moved() == len(archive.expected)
    assert set(map(uid_of, visible(out))) == uids("image", archive.expected)


# folder to node ---------------------------------------------------------------------------------------------------


async def test_a_folder_to_an_archive_and_again(base: Path, empty: Archive) -> None:
    first = await sync(base, empty)
    assert first.numbers(empty) == (12, 0, 12, 0, 0)
    assert await holding(empty) == uids("image")
    second = await sync(base, empty)
    assert second.plan.transfers == []
    assert second.numbers(empty) == (12, 12, 0, 0, 0)


async def test_what_an_archive_has_of_a_folder_is_not_sent_again(
    base: Path, start: Callable[..., Archive]
) -> None:
    archive = start([fact for fact in BASE if fact.image not in (MPRAGE.image, ONE.image)])
    done = await sync(base, archive)
    assert done.numbers(archive) == (12, 10, 2, 0, 0)
    assert await holding(archive) == uids("image")


async def test_an_archive_that_refuses_the_private_object_has_the_others(
    base: Path, archives: Archives, tmp_path: Path
) -> None:
    with archives.start("qrscp", tmp_path / "qrscp") as archive:
        first = await sync(base, archive)
        assert first.numbers(archive) == (12, 0, 11, 1, 0)
        assert list(first.failures(archive)) == [PRIVATE.image]
        again = await sync(base, archive)
        assert again.numbers(archive) == (12, 11, 0, 1, 0)
        assert await holding(archive) == uids("image", PUBLIC)


# node to node, mixed ----------------------------------------------------------------------------------------------


async def test_an_archive_to_another_one_and_again(
    archive: Archive, empty: Archive, base: Path, tmp_path: Path
) -> None:
    part = folder_of(tmp_path / "part", matching({"StudyInstanceUID": ONE.study}))
    assert (await sync(part, empty)).numbers(empty) == (3, 0, 3, 0, 0)
    count = len(archive.expected)
    first = await sync(archive, empty, local=ours(archive))
    assert first.numbers(empty) == (count, 3, count - 3, 0, 0)
    assert await holding(empty) == uids("image", archive.expected)
    assert (await sync(archive, empty, local=ours(archive))).plan.transfers == []


async def test_an_archive_sends_to_another_one_itself(
    archives: Archives, start: Callable[..., Archive], tmp_path: Path
) -> None:
    other = start(matching({"StudyInstanceUID": ONE.study}), name="OTHER")
    clients = {"OTHER": other.address}
    with archives.start("dcmqrscp", tmp_path / "first", files=archives.base(), clients=clients) as archive:
        done = await sync(archive, other, method="remote-copy")
        assert done.numbers(other) == (12, 3, 8, 1, 0)  # it does not take the private SOP Class
        assert done.failures(other).keys() == {PRIVATE.image}
        assert done.events == []  # nothing came through us
        assert await holding(other) == uids("image", PUBLIC)


async def test_a_remote_copy_to_whom_the_archive_does_not_know_fails_and_says_why(
    archives: Archives, start: Callable[..., Archive], tmp_path: Path
) -> None:
    other, out = start(name="STRANGER"), tmp_path / "out"
    archive = archives.holding_base("dcmqrscp")
    done = await sync(archive, other, out, method="remote-copy")
    assert done.numbers(other) == (12, 0, 0, 12, 0)
    assert done.numbers(out) == (12, 0, 0, 12, 0)
    assert "A801" in " ".join(done.failures(other).values())
    assert "another method" in " ".join(done.failures(out).values())


async def test_two_destinations_get_what_each_of_them_lacks(
    archive: Archive, start: Callable[..., Archive], tmp_path: Path
) -> None:
    """Of one and the same series, one of them lacks one image and the other one the other."""
    node = start([ECHOES[0], *matching({"StudyInstanceUID": OLD.study})])
    out = folder_of(tmp_path / "out", [ECHOES[1], ONE])
    had = [fact for fact in archive.expected if fact.study == OLD.study]
    count = len(archive.expected)
    done = await sync(archive, node, out, local=ours(archive))
    assert done.numbers(node) == (count, 1 + len(had), count - 1 - len(had), 0, 0)
    assert done.numbers(out) == (count, 2, count - 2, 0, 0)
    assert await holding(node) >= uids("image", archive.expected)
    same(out, archive.expected)
    again = await sync(archive, node, out, local=ours(archive))
    assert again.plan.transfers == []


@pytest.mark.parametrize("place", [0, 1, 2])
async def test_a_destination_that_has_everything_keeps_nobody_from_the_rest(
    base: Path, place: int, tmp_path: Path
) -> None:
    """Whichever of several it is."""
    folders = [tmp_path / f"out {number}" for number in range(3)]
    folder_of(folders[place])
    done = await sync(base, *folders)
    for number, folder in enumerate(folders):
        assert done.numbers(folder) == ((12, 12, 0, 0, 0) if number == place else (12, 0, 12, 0, 0))
        same(folder)


# moves, edits -----------------------------------------------------------------------------------------------------


async def test_a_move_removes_what_every_destination_has_accepted(tmp_path: Path) -> None:
    source, one, two = folder_of(tmp_path / "in"), tmp_path / "one", tmp_path / "two"
    done = await sync(source, one, two, move=True)
    assert done.numbers(one) == done.numbers(two) == (12, 0, 12, 0, 0)
    assert visible(source) == []
    same(one)
    same(two)


async def test_a_move_keeps_what_one_destination_did_not_accept(tmp_path: Path) -> None:
    source, out, dead = folder_of(tmp_path / "in"), tmp_path / "out", nobody()
    before = everything(source)
    done = await sync(source, out, dead, move=True)
    assert done.numbers(out) == (12, 0, 12, 0, 0)
    assert done.numbers(dead) == (12, 0, 0, 12, 0)
    assert everything(source) == before
    same(out)


async def test_a_move_keeps_what_is_refused_and_removes_the_rest(archives: Archives, tmp_path: Path) -> None:
    source, out = folder_of(tmp_path / "in"), tmp_path / "out"
    with archives.start("qrscp", tmp_path / "qrscp") as archive:
        done = await sync(source, archive, out, move=True)
    assert done.numbers(archive) == (12, 0, 11, 1, 0)
    assert visible(source) == [source / PRIVATE.file]


async def test_an_edit_changes_what_arrives_and_a_second_run_moves_nothing(
    archive: Archive, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    edit = filters.Edit(set={"PatientID": "ANON", "PatientName": "Anon"})
    count = len(archive.expected)
    first = await sync(archive, out, edit=edit, local=ours(archive))
    assert first.numbers(out) == (count, 0, count, 0, 0)
    found = [pydicom.dcmread(path) for path in visible(out)]
    assert {ds.PatientID for ds in found} == {"ANON"}
    assert {ds.SOPInstanceUID for ds in found} == uids("image", archive.expected)
    second = await sync(archive, out, edit=edit, local=ours(archive))
    assert second.plan.transfers == []
    assert len(visible(out)) == count


async def test_an_edit_is_not_done_to_the_source(tmp_path: Path) -> None:
    source, out = folder_of(tmp_path / "in"), tmp_path / "out"
    await sync(source, out, edit=filters.Edit(set={"PatientID": "ANON"}))
    same(source)
    assert len(visible(out)) == 12


async def test_links_and_copies_hold_the_same(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "a" / "b"
    done = await sync(base, out, layout="{PatientID}/{SOPInstanceUID}.dcm")
    assert done.numbers(out) == (12, 0, 12, 0, 0)
    same(out)
    assert sorted(os.listdir(out)) == ["TestPat1", "TestPat2"]


async def test_the_report_of_nothing_to_do_closes(base: Path, tmp_path: Path) -> None:
    empty, out = folder_of(tmp_path / "empty", []), tmp_path / "out"
    done = await sync(empty, out)
    assert done.numbers(out) == (0, 0, 0, 0, 0)
    assert done.report.failed == 0
    assert not out.exists()
    assert dict(done.report.plain())["destinations"][name_of(out)]["failures"] == []


async def test_objects_without_uids_of_their_parents_go_once(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    made = corpus.Corpus(source)
    for number, lost in enumerate(["StudyInstanceUID", "SeriesInstanceUID", ""]):
        ds = corpus.mr(patient="LONE", SOPInstanceUID=corpus.uid("lone", number))
        if lost:
            del ds[lost]
        made.save(f"{number}.dcm", ds)
    first = await sync(source, out)
    assert first.numbers(out) == (3, 0, 3, 0, 0)
    second = await sync(source, out)
    assert second.plan.transfers == []
    assert second.numbers(out) == (3, 3, 0, 0, 0)


async def test_files_that_disagree_about_their_study_all_arrive(tmp_path: Path) -> None:
    """One series that is of two studies, as the files have it."""
    source, out = tmp_path / "in", tmp_path / "out"
    made = corpus.Corpus(source)
    for number, study in enumerate(["1.2.3", "1.2.4", "1.2.4"]):
        ids = {"StudyInstanceUID": study, "SeriesInstanceUID": "1.2.5", "SOPInstanceUID": f"1.2.6.{number}"}
        made.save(f"{number}.dcm", corpus.mr(patient="TWO", **ids))
    first = await sync(source, out)
    assert first.numbers(out) == (3, 0, 3, 0, 0)
    assert len(visible(out)) == 3
    assert (await sync(source, out)).plan.transfers == []


async def test_one_object_in_two_files_goes_once(tmp_path: Path) -> None:
    """The same SOP Instance UID in two series, too: a UID is one object, whatever says so."""
    source, out = tmp_path / "in", tmp_path / "out"
    made = corpus.Corpus(source)
    twice = corpus.uid("twice")
    for number, series in enumerate(["1.2.3", "1.2.3", "1.2.4"]):
        made.save(
            f"{number}.dcm",
            corpus.mr(patient="TWICE", SOPInstanceUID=twice, SeriesInstanceUID=series),
        )
    made.save("other.dcm", corpus.mr(patient="TWICE", SOPInstanceUID="1.2.5", SeriesInstanceUID="1.2.4"))
    done = await sync(source, out)
    assert done.numbers(out) == (2, 0, 2, 0, 0)
    assert sorted(map(uid_of, visible(out))) == sorted([twice, "1.2.5"])
    assert (await sync(source, out)).plan.transfers == []
