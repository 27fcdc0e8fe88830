"""A data set in a file without a name, which can be given one once."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from dcmflow.dicom.spilled import Spilled
from stage_runs import files_in

pytestmark = pytest.mark.usefixtures("no_leaks")


def test_grows_without_a_name(tmp_path: Path) -> None:
    spilled = Spilled(str(tmp_path), b"head")
    spilled.append([b"one", memoryview(b"two"), b"", bytearray(b"three")])
    assert Path(spilled.path).read_bytes() == b"headonetwothree"
    assert spilled.size == 15
    assert spilled.begins_with(b"headone")
    assert not spilled.begins_with(b"other")
    assert files_in(tmp_path) == []


def test_is_gone_with_its_last_user(tmp_path: Path) -> None:
    spilled = Spilled(str(tmp_path), b"head")
    path = spilled.path
    assert os.path.realpath(path).startswith(str(tmp_path))
    del spilled
    assert not os.path.exists(path) or not os.path.realpath(path).startswith(str(tmp_path))


def test_adopted_once_and_it_is_the_same_file(tmp_path: Path) -> None:
    spilled = Spilled(str(tmp_path), b"content")
    assert spilled.adopt(str(tmp_path / "a"))
    assert not spilled.adopt(str(tmp_path / "b"))
    assert files_in(tmp_path) == ["a"]
    assert os.stat(spilled.path).st_ino == (tmp_path / "a").stat().st_ino
    assert (tmp_path / "a").stat().st_nlink == 1


def test_an_adopted_file_stays(tmp_path: Path) -> None:
    spilled = Spilled(str(tmp_path), b"content")
    assert spilled.adopt(str(tmp_path / "a"))
    del spilled
    assert (tmp_path / "a").read_bytes() == b"content"


def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    spilled = Spilled(str(tmp_path), b"content")
    assert spilled.adopt(str(tmp_path / "a"))
    (tmp_path / "b").write_bytes(b"")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_a_name_that_is_taken(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"mine")
    spilled = Spilled(str(tmp_path), b"content")
    with pytest.raises(FileExistsError):
        spilled.adopt(str(tmp_path / "a"))
    assert (tmp_path / "a").read_bytes() == b"mine"
    assert spilled.adopt(str(tmp_path / "b"))  # nothing has come of the first attempt


def test_not_on_another_file_system(small_tmpfs: Callable[[int], Path], tmp_path: Path) -> None:
    spilled = Spilled(str(tmp_path), b"content")
    elsewhere = small_tmpfs(1 << 20)
    assert not spilled.adopt(str(elsewhere / "a"))
    assert files_in(elsewhere) == []
    assert spilled.adopt(str(tmp_path / "a"))


def test_two_threads_want_it_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two names would be one file that changes in two places."""
    spilled, link = Spilled(str(tmp_path), b"content"), os.link
    both = threading.Barrier(2)

    def slow(*arguments: object, **options: object) -> None:
        with suppress(threading.BrokenBarrierError):  # the other one has to wait outside, as it should
            both.wait(0.3)
        link(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "link", slow)
    adopted = {}
    threads = [
        threading.Thread(target=lambda name=name: adopted.update({name: spilled.adopt(str(tmp_path / name))}))
        for name in ("a", "b")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(adopted.values()) == [False, True]
    assert files_in(tmp_path) == [name for name, done in sorted(adopted.items()) if done]


def test_a_full_disk(small_tmpfs: Callable[[int], Path]) -> None:
    folder = small_tmpfs(64 * 1024)
    spilled = Spilled(str(folder))
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        spilled.append([bytes(1 << 20)])
    del spilled
    assert (os.statvfs(folder).f_bfree) == os.statvfs(folder).f_blocks


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Spilled(str(tmp_path / "missing"))
