"""Files without a name (`O_TMPFILE`): nobody sees them, and they are gone with their descriptor unless they are given one."""

from __future__ import annotations

import errno
import os
from typing import Final

_FLAG: Final[int | None] = getattr(os, "O_TMPFILE", None)
_LINKS: Final = os.path.isdir("/proc/self/fd")


def open_nameless(folder: str) -> int:
    """A descriptor of a new file on the file system of the folder.

    Raises:
        OSError: it cannot be made; among others where the system or the file system knows no such files.
    """
    if _FLAG is None or not _LINKS:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP), folder)
    return os.open(folder, _FLAG | os.O_RDWR | getattr(os, "O_CLOEXEC", 0), 0o666)


def give_name(descriptor: int, path: str) -> None:
    """Give it a name that is not taken yet. Raises OSError, FileExistsError where it is."""
    # without a folder Python calls link(), which does not follow; what folder is of no matter to a whole path
    os.link(path_of(descriptor), path, src_dir_fd=descriptor, follow_symlinks=True)


def path_of(descriptor: int) -> str:
    """Under which this process can open the file again."""
    return f"/proc/self/fd/{descriptor}" if _LINKS else f"/dev/fd/{descriptor}"
