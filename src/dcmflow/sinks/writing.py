"""Files that are there as a whole or not at all: written beside their place under a name of our own, then put there.

    .dcmflow-<process>.<host>.<random>.tmp

The name says who writes, so that what a dead process left behind can be told from what a live one is writing.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import socket
import time
from collections.abc import Iterable, Sequence
from functools import cache
from secrets import token_hex
from typing import Final

from anyio import from_thread

from dcmflow.dicom.elements import Buffer
from dcmflow.errors import Refused

STALE: Final = 3600.0  # seconds after which a temporary file that nobody wrote to is nobody's

_NAME: Final = re.compile(r"\.dcmflow-(\d+)\.([0-9a-f]{8})\.[0-9a-f]{16}\.tmp")
_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
_MOST: Final = 256  # buffers for one writev; the system's limit is at least 16, on Linux 1024
STRIDE: Final = 16 * 1024 * 1024  # what is written at once

# these pass by themselves or when somebody makes room
_TRANSIENT: Final = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EIO,
        errno.EAGAIN,
        errno.EBUSY,
        errno.EINTR,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.ESTALE,
        errno.ETIMEDOUT,
    }
)
_ADVICE: Final = {
    errno.ENOSPC: "the disk is full: make room",
    errno.EDQUOT: "the quota is used up: make room",
    errno.EROFS: "the file system is read-only: mount it for writing",
    errno.EACCES: "permission denied: check who owns the folder",
    errno.EPERM: "not permitted: check who owns the folder and its attributes",
    errno.ENAMETOOLONG: "the name is too long: shorten the layout",
    errno.ENOTDIR: "a file is in the way where a folder is needed: move it or change the layout",
    errno.EEXIST: "a file is in the way where a folder is needed: move it or change the layout",
    errno.EISDIR: "a folder is in the way: move it or change the layout",
    errno.ENOENT: "the folder is gone: is the disk still mounted?",
    errno.EMFILE: "too many open files: raise the limit (ulimit -n) or lower `workers`",
}


def refusal(error: OSError, path: str) -> Refused:
    """An error of the operating system as the refusal of an instance, with what to try."""
    code = error.errno or 0
    reason = _ADVICE.get(code) or error.strerror or str(error)
    return Refused(f"cannot write {path}: {reason}", transient=code in _TRANSIENT)


@cache
def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def temporary_name() -> str:
    return f".dcmflow-{os.getpid()}.{_host()}.{token_hex(8)}.tmp"


def is_stale(name: str, path: str, now: float) -> bool:
    """Whether this is a temporary file of ours that nobody writes any more."""
    match = _NAME.fullmatch(name)
    if match is None:
        return False
    process, host = int(match[1]), match[2]
    if host == _host() and not _alive(process):
        return True
    try:
        return now - os.stat(path).st_mtime > STALE
    except OSError:
        return False


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def sweep(folder: str) -> int:
    """Remove stale temporary files of ours from a folder; returns how many. A folder that is not there has none."""
    removed, now = 0, time.time()
    try:
        with os.scandir(folder) as entries:
            stale = [entry.path for entry in entries if is_stale(entry.name, entry.path, now)]
    except OSError:
        return 0
    for path in stale:
        removed += remove(path)
    return removed


def remove(path: str) -> bool:
    """Remove a file if it is there and can be removed."""
    try:
        os.unlink(path)
    except OSError:
        return False
    return True


def write_temporary(
    folder: str, buffers: Sequence[Buffer], *, fsync: bool, made: set[str] | None = None
) -> str:
    """Write buffers to a temporary file in `folder`, which is made if need be; returns its path.

    Args:
        fsync: the content is on the disk when this returns; the name is not, see `fsync_folders`.
        made: is given the folders in which folders were made.

    Raises:
        OSError: nothing was left behind.
    """
    path = os.path.join(folder, temporary_name())
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
    try:
        descriptor = os.open(path, flags, 0o666)
    except FileNotFoundError:
        make_folders(folder, made)
        descriptor = os.open(path, flags, 0o666)
    try:
        try:
            write(descriptor, buffers)
            if fsync:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:
        remove(path)
        raise
    return path


def write(descriptor: int, buffers: Sequence[Buffer]) -> None:
    """Write all of the buffers with as few calls as the system allows. In a worker thread, a cancellation ends it soon."""
    size = sum(map(len, buffers))
    if size <= STRIDE and os.writev(descriptor, buffers[:_MOST]) == size:
        return
    os.lseek(descriptor, 0, os.SEEK_SET)  # it stopped early: begin again and go on wherever it stops
    views = [part for buffer in buffers for part in _strides(memoryview(buffer))]
    views.reverse()
    while views:
        if size > STRIDE:
            from_thread.check_cancelled()
        several = [views[-1]] if len(views[-1]) >= STRIDE else views[: -_MOST - 1 : -1]
        written = os.writev(descriptor, several)
        while views and written >= len(views[-1]):
            written -= len(views.pop())
        if written:
            views[-1] = views[-1][written:]


def _strides(view: memoryview) -> list[memoryview]:
    return [view[start : start + STRIDE] for start in range(0, len(view), STRIDE)]


def make_folders(folder: str, made: set[str] | None = None) -> None:
    """Make a folder and those above it, as far as they are missing. Raises OSError."""
    missing = []
    while folder and not os.path.isdir(folder):
        missing.append(folder)
        parent = os.path.dirname(folder)
        if parent == folder:
            break
        folder = parent
    for path in reversed(missing):
        try:
            os.mkdir(path)
        except FileExistsError:  # somebody else made it meanwhile, or it is no folder
            if not os.path.isdir(path):
                raise
        if made is not None:
            made.add(os.path.dirname(path))


def put(temporary: str, target: str) -> None:
    """Give a temporary file its name, unless the name is taken: then raises FileExistsError. Raises OSError."""
    try:
        os.link(temporary, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # no hard links here: between the look and the rename another process could take the name
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target) from None
        os.rename(temporary, target)
        return
    os.unlink(temporary)


def fsync_folders(folders: Iterable[str]) -> None:
    """Make the names in these folders durable. Raises OSError."""
    for folder in folders:
        descriptor = os.open(
            folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
        )
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def fsync_file(path: str) -> None:
    """Make the content of a file durable. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def begins_as_part10(path: str) -> bool:
    """Whether a file has preamble and prefix (PS3.10 7.1), as every file that we store does."""
    try:
        with open(path, "rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def is_beginning(path: str, offset: int, size: int, segments: Sequence[Buffer]) -> bool:
    """Whether a file of this size holds, from `offset` on, the beginning of these bytes and not all of them."""
    if size - offset >= sum(map(len, segments)):
        return False
    with open(path, "rb") as file:
        file.seek(offset)
        for segment in segments:
            for start in range(0, len(segment), _BLOCK):
                found = file.read(min(_BLOCK, len(segment) - start))
                if found != bytes(memoryview(segment)[start : start + len(found)]):
                    return False
                if len(found) < min(_BLOCK, len(segment) - start):
                    return True
    return False


_BLOCK = 1024 * 1024
