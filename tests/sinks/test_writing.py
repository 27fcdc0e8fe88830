"""Files that are there as a whole or not at all."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from dcmflow.sinks import writing
from stage_runs import dead_process, files_in


def test_written_under_a_name_of_our_own(tmp_path: Path) -> None:
    made: set[str] = set()
    path = writing.write_temporary(str(tmp_path / "a" / "b"), [b"one", b"", b"two"], fsync=True, made=made)
    assert Path(path).read_bytes() == b"onetwo"
    assert Path(path).parent == tmp_path / "a" / "b"
    assert Path(path).name.startswith(f".dcmflow-{os.getpid()}.")
    assert made == {str(tmp_path), str(tmp_path / "a")}


@pytest.mark.parametrize("count", [1, 255, 256, 257, 3000])
def test_many_buffers(tmp_path: Path, count: int) -> None:
    buffers = [bytes([number % 256]) * (number % 7) for number in range(count)]
    path = writing.write_temporary(str(tmp_path), buffers, fsync=False)
    assert Path(path).read_bytes() == b"".join(buffers)


def test_short_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = os.writev

    def short(descriptor: int, buffers: list[memoryview]) -> int:
        return plain(descriptor, [memoryview(buffers[0])[:3]])

    monkeypatch.setattr(os, "writev", short)
    path = writing.write_temporary(str(tmp_path), [b"12345", b"6", b"", b"7890"], fsync=False)
    assert Path(path).read_bytes() == b"1234567890"


def test_larger_than_a_stride(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "STRIDE", 10)
    monkeypatch.setattr(writing.from_thread, "check_cancelled", lambda: None)
    data = bytes(range(101))
    path = writing.write_temporary(str(tmp_path), [b"ab", data, b"cd"], fsync=False)
    assert Path(path).read_bytes() == b"ab" + data + b"cd"


def test_nothing_left_when_the_disk_is_full(small_tmpfs: object) -> None:
    folder = small_tmpfs(64 * 1024)  # type: ignore[operator]
    with pytest.raises(OSError, match="No space") as caught:
        writing.write_temporary(str(folder), [bytes(200_000)], fsync=True)
    assert caught.value.errno == errno.ENOSPC
    assert files_in(folder) == []
    assert writing.refusal(caught.value, "x").transient


def test_put_never_replaces(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("first")
    path = writing.write_temporary(str(tmp_path), [b"second"], fsync=False)
    with pytest.raises(FileExistsError):
        writing.put(path, str(tmp_path / "target"))
    assert (tmp_path / "target").read_text() == "first"
    writing.put(path, str(tmp_path / "other"))
    assert files_in(tmp_path) == ["other", "target"]


def test_put_where_there_are_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", none)
    path = writing.write_temporary(str(tmp_path), [b"x"], fsync=False)
    writing.put(path, str(tmp_path / "a"))
    path = writing.write_temporary(str(tmp_path), [b"x"], fsync=False)
    with pytest.raises(FileExistsError):
        writing.put(path, str(tmp_path / "a"))


def test_stale_files_are_swept(tmp_path: Path) -> None:
    host = writing._host()
    names = {
        "dead": f".dcmflow-{dead_process()}.{host}.{'0' * 16}.tmp",
        "alive": f".dcmflow-{os.getpid()}.{host}.{'1' * 16}.tmp",
        "elsewhere": f".dcmflow-1.{'f' * 8}.{'2' * 16}.tmp",
        "elsewhere-old": f".dcmflow-1.{'f' * 8}.{'3' * 16}.tmp",
        "alive-old": f".dcmflow-{os.getpid()}.{host}.{'4' * 16}.tmp",
        "index": ".dcmflow-index.sqlite",
        "stranger": ".something.tmp",
    }
    for key, name in names.items():
        (tmp_path / name).write_text("")
        if key.endswith("-old"):
            old = time.time() - writing.STALE - 10
            os.utime(tmp_path / name, (old, old))
    assert writing.sweep(str(tmp_path)) == 3
    assert files_in(tmp_path) == sorted(names[key] for key in ("alive", "elsewhere", "index", "stranger"))
    assert writing.sweep(str(tmp_path / "missing")) == 0


@pytest.mark.parametrize(
    ("code", "words", "transient"),
    [
        (errno.ENOSPC, "make room", True),
        (errno.EROFS, "read-only", False),
        (errno.EACCES, "permission denied", False),
        (errno.ENAMETOOLONG, "shorten the layout", False),
        (errno.ENOTDIR, "in the way", False),
        (errno.EIO, "Input/output error", True),
        (errno.ESTALE, "", True),
    ],
)
def test_refusals_say_what_to_try(code: int, words: str, transient: bool) -> None:
    error = writing.refusal(OSError(code, os.strerror(code)), "/archive/a.dcm")
    assert "/archive/a.dcm" in str(error)
    assert words in str(error)
    assert error.transient is transient
