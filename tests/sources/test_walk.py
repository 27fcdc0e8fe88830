"""What lies in a folder, in a fixed order, without opening what must not be opened."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from dcmflow.sources.globs import Globs
from dcmflow.sources.walk import Found, is_ours, walk


def found(root: Path, globs: Globs | None = None, **options: object) -> list[Found]:
    return list(walk(str(root), globs or Globs(), **options))  # type: ignore[arg-type]


def names(root: Path, globs: Globs | None = None, **options: object) -> list[str]:
    return [item.relative for item in found(root, globs, **options)]


def touch(root: Path, *relative: str) -> None:
    for name in relative:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def test_order_is_that_of_names(tmp_path: Path) -> None:
    touch(tmp_path, "b/2", "b/1", "a", "c/x/1", ".hidden", "B")
    assert names(tmp_path) == [".hidden", "B", "a", "b/1", "b/2", "c/x/1"]


def test_not_recursive(tmp_path: Path) -> None:
    touch(tmp_path, "a", "b/1")
    assert names(tmp_path, recursive=False) == ["a"]


def test_excluded_folder_is_not_entered(tmp_path: Path) -> None:
    touch(tmp_path, "keep/1", "old/1", "keep/old/2")
    assert names(tmp_path, Globs(exclude=["old"])) == ["keep/1"]


def test_our_own_files_are_passed_over(tmp_path: Path) -> None:
    touch(
        tmp_path,
        ".dcmflow-index.sqlite",
        ".dcmflow-12.0123abcd.0123456789abcdef.tmp",
        ".0123456789abcdef.dcmflow",
    )
    touch(tmp_path, ".other", "x.dcmflow", ".dcmflowx")
    assert names(tmp_path) == [".dcmflowx", ".other", "x.dcmflow"]
    assert not is_ours(".x.dcmflow")


def test_folder_is_entered_once(tmp_path: Path) -> None:
    touch(tmp_path, "a/1")
    (tmp_path / "a" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "again").symlink_to(tmp_path / "a", target_is_directory=True)
    assert names(tmp_path) == ["a/1"]


def test_links_are_followed(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/x/1", "root/real")
    (tmp_path / "root" / "folder").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "root" / "file").symlink_to(tmp_path / "root" / "real")
    assert names(tmp_path / "root") == ["file", "folder/x/1", "real"]


def test_special_files_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "device").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(tmp_path / "socket"))
        assert {item.relative: item.what for item in found(tmp_path)} == dict.fromkeys(
            ("dangling", "device", "fifo", "socket"), "other"
        )


def test_deep_folders(tmp_path: Path) -> None:
    depth = 1100  # more than Python would recurse; names stay below what a path may have
    descriptor = os.open(tmp_path, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=descriptor)
        inner = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=descriptor))
    os.close(descriptor)
    try:
        assert names(tmp_path) == ["d/" * depth + "file"]
    finally:  # deeper than shutil.rmtree can go, so pytest could not clear it away
        subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)


def test_folder_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a/1", "b/1", "c/1")
    listed = os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("/b"):  # root may list every folder, so the system has to be asked to refuse
            raise PermissionError(13, "Permission denied", path)
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert [(item.relative, item.what) for item in found(tmp_path)] == [
        ("a/1", "file"),
        ("b", "error"),
        ("c/1", "file"),
    ]


def test_folder_to_skip(tmp_path: Path) -> None:
    touch(tmp_path, "a/1", "done/1")
    assert names(tmp_path, skip=str(tmp_path / "done")) == ["a/1"]


def test_missing_folder(tmp_path: Path) -> None:
    (item,) = found(tmp_path / "none")
    assert isinstance(item.error, FileNotFoundError)
