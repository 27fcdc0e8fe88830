"""A file that is whole and not there yet: without any name where the file system allows that, else under one that nobody reads.

A nameless file (`O_TMPFILE`) saves the directory two changes, and after a crash there is nothing to be swept up.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import Final, final

from dcmflow.dicom.elements import Buffer
from dcmflow.dicom.nameless import give_name, open_nameless
from dcmflow.sinks import writing

_NOT_THERE: Final = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT})


@final
class Draft:
    """A file to be given a name.

    Args:
        path: its temporary name.  descriptor: of a file without a name.
    """

    __slots__ = ("_descriptor", "_path")

    def __init__(self, path: str | None = None, descriptor: int | None = None) -> None:
        self._path = path
        self._descriptor = descriptor

    def put(self, target: str) -> None:
        """Give it its name, unless the name is taken: then raises FileExistsError. Raises OSError."""
        if self._descriptor is not None:
            self._name(target)
        else:
            assert self._path is not None
            writing.put(self._path, target)
            self._path = None

    def replace(self, target: str) -> None:
        """Give it its name, whatever had that. Raises OSError."""
        if self._descriptor is not None:
            self._path = os.path.join(os.path.dirname(target), writing.temporary_name())
            self._name(self._path)
        assert self._path is not None
        os.replace(self._path, target)
        self._path = None

    def _name(self, path: str) -> None:
        assert self._descriptor is not None
        give_name(self._descriptor, path)
        os.close(self._descriptor)
        self._descriptor = None

    def discard(self) -> None:
        """Leave nothing of it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        if self._path is not None:
            writing.remove(self._path)
            self._path = None


def write_draft(
    folder: str, buffers: Sequence[Buffer], *, fsync: bool, nameless: bool, made: set[str] | None = None
) -> Draft:
    """Write buffers to a file in `folder`, which is made if need be.

    Args:
        fsync: the content is on the disk when this returns.
        nameless: without a name, where the system can do that.
        made: is given the folders in which folders were made.

    Raises:
        OSError: nothing was left behind.
    """
    descriptor = _open_nameless(folder, made) if nameless else None
    if descriptor is None:
        return Draft(writing.write_temporary(folder, buffers, fsync=fsync, made=made))
    try:
        writing.write(descriptor, buffers)
        if fsync:
            os.fsync(descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return Draft(descriptor=descriptor)


def _open_nameless(folder: str, made: set[str] | None) -> int | None:
    """A descriptor; None where the file system knows no such files. Raises OSError."""
    try:
        return open_nameless(folder)
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise
        if not os.path.isdir(folder):
            writing.make_folders(folder, made)
            return _open_nameless(folder, made)
    return None


def knows_nameless(folder: str) -> bool:
    """Whether files without a name can be made in this folder and named afterwards."""
    try:
        descriptor = _open_nameless(folder, None)
    except OSError:
        return False
    if descriptor is None:
        return False
    draft = Draft(descriptor=descriptor)
    path = os.path.join(folder, writing.temporary_name())
    try:
        draft.put(path)
    except OSError:
        return False
    finally:
        draft.discard()
    return writing.remove(path)
