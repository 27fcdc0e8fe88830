"""A large data set that goes to the disk while it arrives: a DICOM file without a name.

The file begins with the File Meta Information, so that whoever stores the instance as it came only has to give the file a name,
where the file system allows that (`O_TMPFILE`, `linkat`). Without a name it is gone as soon as nobody needs it any more,
however the process ends.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Sequence
from typing import final

from dcmflow.dicom.elements import Buffer
from dcmflow.dicom.nameless import give_name, open_nameless, path_of


@final
class Spilled:
    """An open file without a name; closed, and thereby gone, when the last payload that needs it is.

    Args:
        folder: a folder on the file system where it is to be; None: the temporary folder of the system.
        head: what the file begins with.

    Attributes:
        path: under which this process can open it.

    Raises:
        OSError: it cannot be made or written to.
    """

    __slots__ = ("_adopted", "_adopting", "_descriptor", "_linkable", "path", "size")

    def __init__(self, folder: str | None, head: Buffer = b"") -> None:
        self._descriptor, self._linkable = _open(folder)
        self._adopted = False
        self._adopting = threading.Lock()  # sinks write in threads
        self.size: int = 0
        self.path: str = path_of(self._descriptor)
        self.append([head])

    def append(self, buffers: Sequence[Buffer]) -> None:
        """Write buffers at the end. Raises OSError."""
        for buffer in buffers:
            view = memoryview(buffer)
            while view:
                written = os.write(self._descriptor, view)
                self.size += written
                view = view[written:]

    def adopt(self, path: str) -> bool:
        """Give the file a name that is not taken yet; False where that does not go, or was done once already.

        Once only: two names would be two copies that change together.
        """
        with self._adopting:
            if self._adopted or not self._linkable:
                return False
            try:
                give_name(self._descriptor, path)
            except FileExistsError:
                raise
            except OSError:
                return False
            self._adopted = True
            return True

    def begins_with(self, head: bytes) -> bool:
        """Whether these are the first bytes of the file. Raises OSError."""
        return os.pread(self._descriptor, len(head), 0) == head

    def __del__(self) -> None:
        descriptor = getattr(self, "_descriptor", None)
        if descriptor is not None:
            os.close(descriptor)


def _open(folder: str | None) -> tuple[int, bool]:
    """A descriptor, and whether its file can be given a name."""
    place = folder or tempfile.gettempdir()
    try:
        return open_nameless(place), True
    except OSError:
        pass  # if it is not that there are none, the next line fails too
    with tempfile.TemporaryFile(dir=place, buffering=0) as file:
        return os.dup(file.fileno()), False
