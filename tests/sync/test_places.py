"""Nodes and folders are asked in the same way and answer the same."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

import corpus
from acceptance_kit import FLAT, everything
from base_data import BASE, MPRAGE, ONE, TWO, counts, matching, uids, write_base
from corpus import Corpus
from dcmflow import Client
from dcmflow.catalog import Level
from dcmflow.dicom.query import Query
from dcmflow.errors import ConfigError, DcmflowError
from dcmflow.net.address import parse_node
from dcmflow.sinks.directory import Directory
from dcmflow.sinks.store import Store
from dcmflow.sync.index import Index
from dcmflow.sync.index_schema import NAME
from dcmflow.sync.places import FolderPlace, NodePlace
from peers.archives import Archive
from sync_runs import nobody

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]


@pytest.fixture
def base(tmp_path: Path) -> Corpus:
    return corpus.base(tmp_path / "base")


@pytest.fixture
def folder(base: Corpus) -> Iterator[FolderPlace]:
    with FolderPlace("base", str(base.folder)) as place:
        yield place


@pytest.fixture
async def node(archive: Archive) -> AsyncIterator[NodePlace]:
    async with Client("DCMFLOW") as client:
        yield NodePlace("archive", parse_node(str(archive.address)), client)


# folders ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("indexed", [False, True])
async def test_a_folder_says_what_it_has_at_every_level(base: Corpus, indexed: bool) -> None:
    if indexed:
        with Index.open(base.folder) as index:
            index.refresh()
    before = everything(base.folder)
    with FolderPlace("base", str(base.folder)) as place:
        for level in Level:
            found = await place.find(Query(level, {}))
            assert found.level is level
            assert set(found.uids()) == uids(level)
        assert place.notes == []
    assert [name for name in everything(base.folder) if "sqlite-" not in name] == before


async def test_nothing_is_left_of_a_scan(base: Corpus, tmp_path: Path, no_leaks: None) -> None:
    with FolderPlace("base", str(base.folder)) as place:
        await place.find(Query(Level.IMAGE, {}))
    assert NAME not in everything(base.folder)


async def test_a_folder_is_asked_about_some_studies(folder: FolderPlace) -> None:
    held = await folder.holds([ONE.study, TWO.study, "2.25.404"], Level.IMAGE)
    assert held is not None
    wanted = [fact for fact in BASE if fact.study in (ONE.study, TWO.study)]
    assert set(held.uids()) == uids("image", wanted)
    nothing = await folder.holds([], Level.IMAGE)
    assert nothing is not None
    assert not nothing


async def test_what_says_nothing_of_its_study_is_asked_for_by_no_uid(tmp_path: Path) -> None:
    made = corpus.Corpus(tmp_path / "in")
    lone = corpus.mr(patient="LONE", SOPInstanceUID="1.2.3")
    del lone.StudyInstanceUID
    made.save("lone.dcm", lone)
    made.save("other.dcm", corpus.mr(patient="LONE", SOPInstanceUID="1.2.4", SeriesInstanceUID="1.2.4.1"))
    with FolderPlace("in", str(made.folder)) as place:
        for studies, expected in (([""], ["1.2.3"]), ([corpus.uid("LONE", "study")], ["1.2.4"]), ([], [])):
            held = await place.holds(studies, Level.IMAGE)
            assert held is not None
            assert held.uids() == expected


async def test_a_folder_gives_one_file_for_each_image(base: Corpus, folder: FolderPlace) -> None:
    base.place("again/copy.dcm").write_bytes(base["TestPat1/20190625/01/001.dcm"].read_bytes())
    found = await folder.paths(Query(Level.IMAGE, {"PatientID": "TestPat1"}))
    facts = matching({"PatientID": "TestPat1"})
    assert sorted(uid for uid, _ in found) == sorted(uids("image", facts))
    assert all(path.is_file() for _, path in found)
    some = await folder.paths([MPRAGE.image, "2.25.404"])
    assert some == [(MPRAGE.image, base.folder / MPRAGE.file)]


async def test_a_folder_that_is_not_there_holds_nothing_and_is_not_made(tmp_path: Path) -> None:
    out = tmp_path / "not" / "there"
    with FolderPlace("out", str(out)) as place:
        assert not await place.find(Query(Level.STUDY, {}))
        held = await place.holds([ONE.study], Level.IMAGE)
        assert held is not None
        assert not held
        assert await place.paths(Query(Level.IMAGE, {})) == []
    assert not out.parent.exists()


async def test_files_that_cannot_be_read_are_noted_and_do_not_count_as_there(tmp_path: Path) -> None:
    """A truncated file is no reason not to send the whole one."""
    made = corpus.base(tmp_path / "in")
    victim = made[MPRAGE.file]
    victim.write_bytes(victim.read_bytes()[:-100])
    with FolderPlace("in", str(made.folder)) as place:
        held = await place.holds([MPRAGE.study], Level.IMAGE)
        assert held is not None
        assert MPRAGE.image not in held
        [note] = place.notes
    assert note == "1 files cannot be read and count as not being there"


async def test_a_folder_may_be_entered_again(base: Corpus) -> None:
    place = FolderPlace("base", str(base.folder))
    for count in (12, 11):
        with place:
            assert len(await place.find(Query(Level.IMAGE, {}))) == count
        base[MPRAGE.file].unlink(missing_ok=True)


async def test_an_index_elsewhere_is_used_and_kept(base: Corpus, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.sqlite"
    with FolderPlace("base", str(base.folder), index=str(elsewhere)) as place:
        assert len(await place.find(Query(Level.IMAGE, {}))) == 12
    assert elsewhere.exists()
    assert NAME not in everything(base.folder)


async def test_a_file_that_is_no_index_is_a_configuration_error(base: Corpus, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("somebody's\n" * 1000)
    with FolderPlace("base", str(base.folder), index=str(other)) as place, pytest.raises(ConfigError):
        await place.find(Query(Level.IMAGE, {}))


def test_the_sink_of_a_folder_is_that_folder(tmp_path: Path) -> None:
    place = FolderPlace("out", str(tmp_path / "out"), layout=FLAT, fsync=False, link=True)
    sink = place.sink()
    assert isinstance(sink, Directory)
    assert (sink.path, sink.layout, sink.fsync, sink.link) == (str(tmp_path / "out"), FLAT, False, True)


# nodes ------------------------------------------------------------------------------------------------------------


@pytest.mark.interop
@pytest.mark.parametrize("level", list(Level)[1:])
async def test_a_node_says_what_it_has_at_every_level(
    archive: Archive, node: NodePlace, level: Level
) -> None:
    found = await node.find(Query(level, {}))
    assert set(found.uids()) == uids(level, archive.expected)
    assert found.count(Level.PATIENT) == counts(archive.expected)[0]
    assert found.provenance[0].source == str(archive.address)
    assert node.notes == []


@pytest.mark.interop
async def test_a_node_and_a_folder_say_the_same(archive: Archive, node: NodePlace, tmp_path: Path) -> None:
    write_base(tmp_path / "in", archive.expected)
    studies = [ONE.study, TWO.study, "2.25.404", ""]
    with FolderPlace("in", str(tmp_path / "in")) as place:
        for level in list(Level)[1:]:
            there, here = await node.holds(studies, level), await place.holds(studies, level)
            assert there is not None
            assert here is not None
            assert [node.path for node in there.walk()] == [node.path for node in here.walk()]


@pytest.mark.interop
async def test_a_node_is_asked_about_more_studies_than_fit_into_a_question(
    archive: Archive, node: NodePlace
) -> None:
    studies = [f"2.25.{number}" for number in range(1, 70)]
    held = await node.holds([*studies[:40], ONE.study, *studies[40:], TWO.study], Level.STUDY)
    assert held is not None
    assert set(held.uids()) == {ONE.study, TWO.study}


@pytest.mark.interop
async def test_no_studies_are_none_and_not_all(node: NodePlace) -> None:
    for none in ([], [""]):
        held = await node.holds(none, Level.STUDY)
        assert held is not None
        assert not held


async def test_a_node_that_cannot_be_asked_holds_nothing_that_is_known() -> None:
    async with Client("DCMFLOW") as client:
        place = NodePlace("dead", parse_node(str(nobody())), client)
        assert await place.holds([ONE.study], Level.STUDY) is None
        [note] = place.notes
        assert note.startswith("it cannot be asked what it has, and counts as having nothing: ")
        with pytest.raises(DcmflowError):
            await place.find(Query(Level.STUDY, {}))


async def test_the_sink_of_a_node_calls_that_node() -> None:
    node = parse_node("PACS@pacs.invalid:11112")
    async with Client("DCMFLOW") as client:
        sink = NodePlace("pacs", node, client, associations=3).sink()
    assert isinstance(sink, Store)
    assert (sink.to, sink.associations) == ("PACS@pacs.invalid:11112", 3)
