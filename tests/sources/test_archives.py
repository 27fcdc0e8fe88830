"""Archives are read member by member, without unpacking."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import tempfile
import zipfile
from pathlib import Path

import anyio
import pytest

import corpus
from dcmflow import Limits, Pipeline, StageError, sinks, sources
from dcmflow.sources import archives
from dcmflow.testing import instance, synthesize
from stage_runs import Gather, files_in, put, run, until

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]

TAR_MODES = {".tar": "w", ".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.bz2": "w:bz2", ".tar.xz": "w:xz"}


def pack(folder: Path, name: str) -> Path:
    """Pack a folder beside itself."""
    path = folder.parent / name
    if name.endswith(".zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for item in sorted(folder.rglob("*")):
                archive.write(item, item.relative_to(folder))
    else:
        with tarfile.open(path, TAR_MODES[name[name.index(".") :]]) as archive:
            archive.add(folder, ".")
    return path


@pytest.mark.parametrize("name", ["a.zip", *(f"a{suffix}" for suffix in TAR_MODES)])
async def test_members(tmp_path: Path, name: str) -> None:
    base = corpus.base(tmp_path / "in")
    (tmp_path / "in" / "notes.txt").write_text("x")
    path = pack(tmp_path / "in", name)
    seen = Gather()
    ran = await run(sources.Directory(str(path)) | seen | sinks.Discard())
    assert sorted(seen.uids) == sorted(base.uids.values())
    assert ran.totals.not_dicom == 1
    first = seen.seen[0].origin.path
    assert first is not None
    outer, _, inner = first.partition("!")
    assert outer == str(path)
    assert (tmp_path / "in" / inner).is_file()
    assert sorted(os.listdir(tmp_path)) == sorted([name, "in"])


async def test_known_by_content(tmp_path: Path) -> None:
    put(tmp_path / "in", "x")
    for name in ("a.zip", "a.tar", "a.tgz"):
        path = pack(tmp_path / "in", name)
        plain = path.rename(tmp_path / f"{name.replace('.', '-')}")
        ran = await run(sources.Directory(str(plain)) | sinks.Discard())
        assert ran.totals.accepted == 1


async def test_patterns_are_about_members(tmp_path: Path) -> None:
    for name in ("a/1.dcm", "a/2.ima", "old/3.dcm"):
        put(tmp_path / "in", name)
    for archive in ("x.zip", "x.tar"):
        seen = Gather()
        path = str(pack(tmp_path / "in", archive))
        await run(sources.Directory(path, include=["*.dcm"], exclude=["old"]) | seen | sinks.Discard())
        assert [given.origin.path for given in seen.seen] == [f"{path}!a/1.dcm"]


async def test_archive_in_a_folder_is_not_opened(tmp_path: Path) -> None:
    put(tmp_path / "in" / "x", "a.dcm")
    pack(tmp_path / "in" / "x", "a.zip")
    ran = await run(sources.Directory(str(tmp_path / "in")) | sinks.Discard())
    assert (ran.totals.accepted, ran.not_dicom) == (1, ["a.zip"])


async def test_corrupt_member(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("1", "2", "3"):
            archive.writestr(name, b"".join(map(bytes, instance(PatientID=f"ID{name}").part10_segments())))
    data = bytearray(path.read_bytes())
    data[data.index(b"ID2") + 2] ^= 1
    path.write_bytes(data)
    ran = await run(sources.Directory(str(path)) | sinks.Discard())
    assert ran.totals.accepted == 2
    (event,) = ran.refused
    assert event.path == f"{path}!2"
    assert "CRC" in event.reason


async def test_truncated_object_in_an_archive(tmp_path: Path) -> None:
    whole = b"".join(map(bytes, instance().part10_segments()))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("cut.dcm", whole[:-20])
        archive.writestr("whole.dcm", whole)
    ran = await run(sources.Directory(str(tmp_path / "a.zip")) | sinks.Discard())
    assert ran.totals.accepted == 1
    assert ran.refused[0].path == f"{tmp_path / 'a.zip'}!cut.dcm"


async def test_encrypted_member(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("secret.dcm", b"".join(map(bytes, instance().part10_segments())))
    data = bytearray(path.read_bytes())
    data[6] |= 1  # general purpose flag: encrypted
    data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    ran = await run(sources.Directory(str(path)) | sinks.Discard())
    assert ran.refused[0].path == f"{path}!secret.dcm"
    assert "password" in ran.refused[0].reason


async def test_archive_that_breaks_off(tmp_path: Path) -> None:
    for number in range(20):
        put(tmp_path / "in", f"{number:02}.dcm")
    path = pack(tmp_path / "in", "a.tgz")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    ran = await run(sources.Directory(str(path)) | sinks.Discard())
    assert 0 < ran.totals.accepted < 20
    assert str(path) in ran.refused[-1].reason


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
async def test_not_an_archive_at_all(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"not what it is called")
    with pytest.raises(StageError, match=r"cannot be read as a (zip|tar) archive"):
        await run(sources.Directory(str(tmp_path / name)) | sinks.Discard())


async def test_what_is_in_an_archive_can_only_be_kept(tmp_path: Path) -> None:
    put(tmp_path / "in", "a.dcm")
    path = pack(tmp_path / "in", "a.zip")
    with pytest.raises(StageError, match="can only be kept"):
        await run(sources.Directory(str(path), after="delete") | sinks.Discard())


async def test_links_and_special_members(tmp_path: Path) -> None:
    given = put(tmp_path / "in", "a.dcm")
    os.link(tmp_path / "in" / "a.dcm", tmp_path / "in" / "b.dcm")
    (tmp_path / "in" / "c.dcm").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "in" / "pipe")
    seen = Gather()
    ran = await run(sources.Directory(str(pack(tmp_path / "in", "a.tar"))) | seen | sinks.Discard())
    assert seen.uids == [given.sop_instance_uid]
    assert ran.refused == []


async def test_large_members_go_through_a_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "SPILL", 1_000_000)
    made = list(synthesize(instances=3, size=3_000_000))
    for number, given in enumerate(made):
        put(tmp_path / "in", f"{number}.dcm", given)
    scratch = Path(tempfile.gettempdir())
    most = 0

    def looks(given: object) -> object:
        nonlocal most
        most = max(most, len(os.listdir(scratch)))
        return given

    for name in ("a.zip", "a.tar"):
        most = 0
        out = sinks.Directory(str(tmp_path / name.replace(".", "-")), layout="{InstanceNumber}.dcm")
        ran = await run(sources.Directory(str(pack(tmp_path / "in", name))) | looks | out)
        assert ran.totals.accepted == 3
        assert most > 0
        assert os.listdir(scratch) == []
        for number, given in enumerate(made):
            stored = tmp_path / name.replace(".", "-") / f"{number + 1}.dcm"
            assert stored.read_bytes() == b"".join(map(bytes, given.part10_segments()))


async def test_cancelled_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "SPILL", 100_000)
    for number, given in enumerate(synthesize(instances=12, size=1_100_000)):
        put(tmp_path / "in", f"{number}.dcm", given)
    path = pack(tmp_path / "in", "a.tar")

    async def forever(given: object) -> object:
        await anyio.sleep_forever()
        return given

    async with Pipeline(
        sources.Directory(str(path)) | forever | sinks.Discard(), limits=Limits(instances=2)
    ).start() as running:
        await until(lambda: running.statistics().pipeline.emitted == 2)
        assert os.listdir(tempfile.gettempdir())
        running.cancel()
    assert os.listdir(tempfile.gettempdir()) == []


async def test_bomb_that_is_not_dicom_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("zeros", "w") as member,
    ):
        for _ in range(200):
            member.write(bytes(1 << 20))
    read = 0
    plain = zipfile.ZipExtFile.read

    def counted(self: zipfile.ZipExtFile, n: int | None = -1) -> bytes:
        nonlocal read
        data = plain(self, n)
        read += len(data)
        return data

    monkeypatch.setattr(zipfile.ZipExtFile, "read", counted)
    ran = await run(sources.Directory(str(tmp_path / "a.zip")) | sinks.Discard())
    assert ran.totals.not_dicom == 1
    assert 0 < read <= 1 << 20


async def test_memory_does_not_grow_with_members(tmp_path: Path) -> None:
    data = b"".join(map(bytes, instance().part10_segments()))
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for number in range(500):
            info = tarfile.TarInfo(f"{number}.dcm")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    items = archives.members(str(tmp_path / "a.tar"), "tar", archives.Globs(), "x", archives.Spill())
    next(items)
    frame = items.gi_frame  # type: ignore[attr-defined]
    held = frame.f_locals["reader"]
    assert held is archives._tar_members
    assert sum(1 for _ in items) == 499


def test_made_by_the_tools_people_use(tmp_path: Path) -> None:
    put(tmp_path / "in", "a.dcm")
    subprocess.run(["tar", "-C", str(tmp_path / "in"), "-czf", str(tmp_path / "a.tgz"), "."], check=True)
    assert archives.kind_of(str(tmp_path / "a.tgz")) == "tar"
    assert archives.kind_of(str(tmp_path / "in" / "a.dcm")) is None
    assert files_in(tmp_path / "in") == ["a.dcm"]
