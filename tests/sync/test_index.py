"""The index of a folder: what is in it, and that it stays right whatever happens to the folder, to its file or to who writes it."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest

import corpus
from corpus import Corpus, mr, part10, uid
from dcmflow.dicom.instance import Instance
from dcmflow.dicom.level import Level
from dcmflow.dicom.query import Query
from dcmflow.errors import ConfigError, DcmflowError
from dcmflow.sources.globs import Globs
from dcmflow.sources.reading import read_all
from dcmflow.sources.walk import walk
from dcmflow.sync import Changes, Index, folder_records
from dcmflow.sync.index_facts import COLUMNS
from dcmflow.sync.index_schema import NAME

IMAGES = Query(Level.IMAGE, {})


def images(index: Index) -> set[str]:
    return {record.uid for record in index.find(IMAGES)}


def refreshed(folder: Path, mode: str = "trust", **options: object) -> Changes:
    with Index.open(folder, **options) as index:  # type: ignore[arg-type]
        return index.refresh(mode)  # type: ignore[arg-type]


def numbers(changes: Changes) -> tuple[int, int, int, int, int]:
    return changes.new, changes.changed, changes.gone, changes.unchanged, changes.read


@pytest.fixture
def base(tmp_path: Path) -> Corpus:
    return corpus.base(tmp_path / "base")


# -- what is in it


def test_everything_is_read_once(base: Corpus) -> None:
    assert numbers(refreshed(base.folder)) == (12, 0, 0, 0, 12)
    assert numbers(refreshed(base.folder)) == (0, 0, 0, 12, 0)
    with Index.open(base.folder) as index:
        assert images(index) == set(base.uids.values())
        assert dict(index.paths(IMAGES)) == {base.uids[name]: base[name] for name in base.readable}


MAKERS: list[Callable[[Path], Corpus]] = [
    corpus.base,
    corpus.comp,
    corpus.wire,
    corpus.holes,
    corpus.evil,
    corpus.char,
    corpus.priv,
    corpus.clash,
    corpus.junk,
    corpus.classes,
]


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_files_are_what_a_source_takes_them_for(make: Callable[[Path], Corpus], tmp_path: Path) -> None:
    _same_as_a_source(make(tmp_path / "in").folder, tmp_path / "x.sqlite")


def test_files_of_pydicom_are_what_a_source_takes_them_for(pydicom_files: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number, path in enumerate(pydicom_files):
        (folder / f"{number:03d}-{path.name}").symlink_to(path)
    _same_as_a_source(folder, tmp_path / "x.sqlite")


def _same_as_a_source(folder: Path, file: Path) -> None:
    items = list(read_all(walk(str(folder), Globs()), "in"))
    with Index.open(folder, file) as index:
        changes = index.refresh()
        taken = {item.instance.sop_instance_uid for item in items if item.instance is not None}
        assert {uid for uid, _ in index.paths(IMAGES)} == taken
        assert {record.uid for record in index.find(IMAGES)} == taken
    assert changes.new == sum(item.instance is not None for item in items)
    assert {path for path, _ in changes.broken} == {item.relative for item in items if item.error is not None}
    assert changes.not_dicom == sum(item.instance is None and item.error is None for item in items)
    assert all(reason for _, reason in changes.broken)
    again = refreshed(folder, path=file)
    assert numbers(again) == (0, 0, 0, changes.new, 0)
    assert again.broken == changes.broken
    assert again.not_dicom == changes.not_dicom
    assert numbers(refreshed(folder, "check", path=file))[:4] == (0, 0, 0, changes.new)


@pytest.mark.parametrize("make", [corpus.base, corpus.char, corpus.evil, corpus.holes])
def test_values_are_those_of_the_files(make: Callable[[Path], Corpus], tmp_path: Path) -> None:
    made = make(tmp_path / "in")
    for name in made.readable:
        only = tmp_path / "only" / name.replace("/", "-")
        only.mkdir(parents=True)
        os.link(made[name], only / "1.dcm")
        with Index.open(only) as index:
            index.refresh()
            (record,) = index.find(IMAGES)
        header = Instance.load(str(made[name])).header
        for keyword in (keyword for level in COLUMNS for keyword in level):
            expected = header.get(keyword)
            if keyword == "PatientID":
                expected = header.text(keyword)  # tells patients apart, so it is one text
            assert record.get(keyword) == expected or expected in ("", None), (name, keyword)


def test_a_truncated_file_is_broken_and_no_instance(base: Corpus) -> None:
    path = base.paths[0]
    path.write_bytes(path.read_bytes()[:-10])
    changes = refreshed(base.folder)
    assert changes.new == 11
    assert [name for name, _ in changes.broken] == [str(path.relative_to(base.folder))]
    assert "past the end" in changes.broken[0][1]


def test_a_folder_is_not_written_to_where_the_index_lies_elsewhere(base: Corpus, tmp_path: Path) -> None:
    before = sorted(base.folder.rglob("*"))
    refreshed(base.folder, path=tmp_path / "x.sqlite")
    assert sorted(base.folder.rglob("*")) == before


def test_an_index_in_the_folder_under_another_name_is_no_file_of_it(base: Corpus) -> None:
    for _ in range(2):
        with Index.open(base.folder, base.folder / "TestPat1" / "my.sqlite") as index:
            changes = index.refresh()
            assert (changes.instances, changes.not_dicom, changes.broken) == (12, 0, [])


def test_files_of_one_uid_are_duplicates(tmp_path: Path) -> None:
    made = corpus.clash(tmp_path)
    refreshed(tmp_path)
    with Index.open(tmp_path) as index:
        found = {uid: [path.name for path in paths] for uid, paths in index.duplicates()}
    assert found == {
        made.uids[f"{name}-a.dcm"]: [f"{name}-a.dcm", f"{name}-b.dcm"]
        for name in ("same-uid", "pixels", "copy")
    }


def test_names_are_bytes(tmp_path: Path) -> None:
    odd = os.fsencode(tmp_path) + b"/odd\xff\xfe"
    os.mkdir(odd)
    for name in (b"a\xff.dcm", "山田'; DROP TABLE files;--".encode(), b"new\nline", b" "):
        with open(odd + b"/" + name, "wb") as file:
            file.write(part10(mr(SOPInstanceUID=uid("odd", name.hex()))))
    assert numbers(refreshed(tmp_path)) == (4, 0, 0, 0, 4)
    assert numbers(refreshed(tmp_path)) == (0, 0, 0, 4, 0)
    with Index.open(tmp_path) as index:
        found = dict(index.paths(IMAGES))
        assert {os.path.basename(os.fsencode(path)) for path in found.values()} == set(os.listdir(odd))
        for image, path in found.items():
            assert pydicom.dcmread(path).SOPInstanceUID == image


# -- what changes


def test_changes_of_a_folder(base: Corpus) -> None:
    refreshed(base.folder)
    paths = base.paths
    new = base.folder / "TestPat3" / "new.dcm"
    new.parent.mkdir()
    new.write_bytes(part10(mr(patient="TestPat3")))
    paths[0].unlink()
    paths[1].rename(paths[1].with_name("renamed.dcm"))
    paths[2].write_bytes(
        part10(mr(patient="Another", StudyDescription="edited and longer", SOPInstanceUID="2.25.77"))
    )
    paths[3].write_text("no DICOM any more")
    (base.folder / "notes.txt").write_text("nor this")
    changes = refreshed(base.folder)
    assert numbers(changes) == (2, 1, 3, 8, 5)
    assert changes.not_dicom == 2
    with Index.open(base.folder) as index:
        assert images(index) == {
            *(base.uids[name] for name in base.readable[4:]),
            base.uids[base.readable[1]],
            "2.25.77",
            uid("TestPat3", "only"),
        }
        patients = {record.uid for record in index.find(Query(Level.PATIENT, {}))}
        assert patients == {"TestPat1", "TestPat2", "TestPat3", "Another"}


def test_a_folder_that_is_gone_is_gone(base: Corpus) -> None:
    refreshed(base.folder)
    for path in base.paths:
        path.unlink()
    assert numbers(refreshed(base.folder)) == (0, 0, 12, 0, 0)
    with Index.open(base.folder) as index:
        assert not list(index.find(Query(Level.PATIENT, {})))


def test_what_cannot_be_looked_at_is_not_gone(base: Corpus) -> None:
    refreshed(base.folder)
    away = base.folder.with_name("away")
    (base.folder / "TestPat2").rename(away)
    (base.folder / "TestPat2").symlink_to("TestPat2")  # leads to itself
    changes = refreshed(base.folder)
    assert (changes.gone, [path for path, _ in changes.broken]) == (0, ["TestPat2"])
    (base.folder / "TestPat2").unlink()
    away.rename(base.folder / "TestPat2")
    assert numbers(refreshed(base.folder)) == (0, 0, 0, 12, 0)


def _edited_in_secret(path: Path) -> None:
    """Another patient's name, in as many bytes and with the old time."""
    status = path.stat()
    data = path.read_bytes()
    assert data.count(b"TestPat1^Test") == 1
    path.write_bytes(data.replace(b"TestPat1^Test", b"TestPatX^Test"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_check_finds_what_trust_believes(base: Corpus) -> None:
    refreshed(base.folder)
    _edited_in_secret(min(base.paths))  # the one that says who the patient is
    assert numbers(refreshed(base.folder)) == (0, 0, 0, 12, 0)
    assert numbers(refreshed(base.folder, "check")) == (0, 1, 0, 11, 12)
    assert numbers(refreshed(base.folder, "check")) == (0, 0, 0, 12, 12)
    with Index.open(base.folder) as index:
        assert len(list(index.find(Query.of({"PatientName": "TestPatX*"}, Level.PATIENT)))) == 1


def test_scrub_finds_rot_and_goes_on_saying_so(base: Corpus) -> None:
    path = base.paths[0]
    assert numbers(refreshed(base.folder, "scrub")) == (12, 0, 0, 0, 12)
    assert numbers(refreshed(base.folder, "scrub")) == (0, 0, 0, 12, 12)
    status, data = path.stat(), bytearray(path.read_bytes())
    data[-5] ^= 4  # in the pixels
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    for mode in ("trust", "check"):
        assert numbers(refreshed(base.folder, mode))[:4] == (0, 0, 0, 12)
    for _ in range(2):
        changes = refreshed(base.folder, "scrub")
        assert [name for name, _ in changes.rotten] == [base.readable[0]]
        assert changes.unchanged == 11
    os.utime(path)  # somebody meant it
    assert numbers(refreshed(base.folder, "scrub")) == (0, 1, 0, 11, 12)


def test_a_digest_is_that_of_the_data_set_and_remembered(base: Corpus) -> None:
    refreshed(base.folder)
    path = base.paths[0]
    with Index.open(base.folder) as index:
        made = index.digest(path)
        assert made == index.digest(base.readable[0])
        data = path.read_bytes()
        path.write_bytes(data.replace(b"DICM", b"DICM", 1)[:0] + b"\1" * 128 + data[128:])  # another preamble
        assert index.digest(path) == made
        path.write_bytes(part10(mr(SOPInstanceUID="2.25.5")))
        assert index.digest(path) != made


# -- its file


def test_there_is_none_unless_it_is_made(base: Corpus, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no index"):
        Index.open(base.folder, create=False)
    with pytest.raises(ConfigError, match="no folder"):
        Index.open(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="--index"):
        Index.open(base.folder, tmp_path / "nowhere" / "x.sqlite")


@pytest.mark.parametrize("rubbish", [b"rubbish", b"SQLite format 3\0" + bytes(range(256)) * 40])
def test_a_broken_one_is_made_again(base: Corpus, rubbish: bytes) -> None:
    refreshed(base.folder)
    (base.folder / NAME).write_bytes(rubbish)
    with Index.open(base.folder) as index:
        assert any("made again" in note for note in index.notes)
        assert numbers(index.refresh()) == (12, 0, 0, 0, 12)


def test_one_that_breaks_inside_is_made_again(base: Corpus) -> None:
    refreshed(base.folder)
    file = base.folder / NAME
    data = bytearray(file.read_bytes())
    for page in range(4096, len(data), 4096):  # all pages but the first, which says what it is
        data[page : page + 200] = b"\xaa" * 200
    file.write_bytes(data)
    with Index.open(base.folder) as index:
        with pytest.raises(DcmflowError, match="--rebuild"):
            list(index.find(IMAGES))
        changes = index.refresh()
        assert any("made again" in note for note in changes.notes)
        assert len(images(index)) == 12


def test_one_of_another_version_is_made_again(base: Corpus) -> None:
    refreshed(base.folder)
    db = sqlite3.connect(base.folder / NAME)
    db.execute("PRAGMA user_version = 77")
    db.execute("DROP TABLE headers")
    db.close()
    with Index.open(base.folder) as index:
        assert any("version 77" in note for note in index.notes)
        assert numbers(index.refresh()) == (12, 0, 0, 0, 12)


@pytest.mark.parametrize("database", [True, False])
def test_something_else_is_left_alone(base: Corpus, tmp_path: Path, database: bool) -> None:
    path = tmp_path / "thesis"
    if database:
        db = sqlite3.connect(path)
        db.execute("CREATE TABLE chapters (text)")
        db.commit()
        db.close()
    else:
        path.write_text("Chapter 1. It was a dark and stormy night, and the archive was full.\n" * 20)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="left alone"):
        Index.open(base.folder, path)
    assert path.read_bytes() == before


def test_one_that_cannot_be_written_can_be_asked(small_tmpfs: Callable[[int], Path]) -> None:
    folder = small_tmpfs(4 << 20)
    made = corpus.base(folder)
    refreshed(folder)
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    with Index.open(folder) as index:
        assert index.frozen
        assert images(index) == set(made.uids.values())
        assert index.refresh().unchanged == 12
        with pytest.raises(ConfigError, match="--index"):
            index.clear()
        assert len(index.digest(made.paths[0])) == 64
    assert len(list(folder_records(folder, IMAGES))) == 12


def test_clearing_forgets_everything(base: Corpus) -> None:
    refreshed(base.folder)
    with Index.open(base.folder) as index:
        index.clear()
        assert not images(index)
        assert numbers(index.refresh()) == (12, 0, 0, 0, 12)


def test_progress_ends_with_all_files(base: Corpus) -> None:
    for _ in range(2):
        told: list[tuple[int, int | None]] = []
        with Index.open(base.folder) as index:
            index.refresh(progress=lambda done, total, told=told: told.append((done, total)))  # type: ignore[misc]
        assert told[-1] == (12, 12)


def test_who_is_interrupted_can_go_on(tmp_path: Path) -> None:
    corpus.big(tmp_path, 200, 64)

    def interrupt(done: int, _total: int | None) -> None:
        if done >= 128:
            raise KeyboardInterrupt

    with Index.open(tmp_path) as index:
        with pytest.raises(KeyboardInterrupt):
            index.refresh(progress=interrupt)
        assert index.refresh().instances == 200
        assert len(images(index)) == 200


def test_an_element_of_another_kind_than_it_should_be(tmp_path: Path) -> None:
    data = part10(mr())
    assert data.count(b"\x08\x00\x60\x00CS\x02\x00MR") == 1
    (tmp_path / "1.dcm").write_bytes(data.replace(b"\x08\x00\x60\x00CS", b"\x08\x00\x60\x00US"))
    with Index.open(tmp_path) as index:
        assert index.refresh().new == 1
        (record,) = index.find(IMAGES)
    assert record.get("Modality") == int.from_bytes(b"MR", "little")


def test_a_character_set_that_makes_lone_surrogates(tmp_path: Path) -> None:
    """They are in no UTF-8, and SQLite takes nothing else."""
    ds = mr(SpecificCharacterSet="ISO_IR 192", PatientName="+2AA-^+2AA-")
    data = part10(ds)
    (tmp_path / "1.dcm").write_bytes(data.replace(b"ISO_IR 192", b"utf_7     "))
    with Index.open(tmp_path) as index:
        assert index.refresh().new == 1
        (record,) = index.find(Query.of({"PatientName": "*^*"}, "patient"))
    assert record.text("PatientName").isprintable()


# -- several processes

REFRESH = "import sys; from dcmflow.sync import Index\nwith Index.open(sys.argv[1]) as index: print(index.refresh().files)"


def _process(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", REFRESH, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.timeout(60)
def test_several_processes_at_once(tmp_path: Path) -> None:
    made = corpus.big(tmp_path, 600, 64)
    processes = [_process(tmp_path) for _ in range(4)]
    said = [(*process.communicate(timeout=50), process.returncode) for process in processes]
    assert said == [("600\n", "", 0)] * 4
    assert numbers(refreshed(tmp_path)) == (0, 0, 0, 600, 0)
    with Index.open(tmp_path) as index:
        assert images(index) == set(made.uids.values())


@pytest.mark.timeout(90)
def test_who_is_killed_leaves_an_index_that_goes_on(tmp_path: Path) -> None:
    made = corpus.big(tmp_path, 1500, 64)
    chance = random.Random(7)
    for _ in range(5):
        process = _process(tmp_path)
        while process.poll() is None and not (tmp_path / NAME).exists():
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.15))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    changes = refreshed(tmp_path)
    assert (changes.instances, changes.gone, changes.broken, changes.notes) == (1500, 0, [], [])
    with Index.open(tmp_path) as index:
        assert images(index) == set(made.uids.values())
