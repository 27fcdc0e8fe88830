"""What a test may leave behind by mistake: threads, child processes, open files, temporary files."""

from __future__ import annotations

import gc
import os
import threading
import time
from pathlib import Path

# trio keeps a finished worker thread for ten seconds, for the next one who needs a thread
_IDLE = "Trio thread"
# the index of a folder is a dot file that is meant to stay
_KEPT = ".dcmflow-index.sqlite"


class Watch:
    """Remembers what is there when it is made; `left()` says in words what has come on top since.

    Args:
        folder: where the test works; files open below it and dot files in it count.
        scratch: the folder for temporary files while the test runs; anything in it counts.
    """

    def __init__(self, folder: Path, scratch: Path) -> None:
        self.folder, self.scratch = folder, scratch
        self._threads = set(threading.enumerate())
        self._children = _children()

    def left(self, patience: float = 2.0) -> list[str]:
        """One line per leak. Threads and children that are just ending get `patience` seconds for it."""
        gc.collect()
        deadline = time.monotonic() + patience
        while (alive := self._alive()) and time.monotonic() < deadline:
            time.sleep(0.01)
        return [*alive, *self._files()]

    def _alive(self) -> list[str]:
        threads = [
            t for t in threading.enumerate() if t not in self._threads and not t.name.startswith(_IDLE)
        ]
        children = _children()
        return [
            *(f"thread {thread.name}" for thread in threads),
            *(f"child process {pid} {name}" for pid, name in children.items() if pid not in self._children),
        ]

    def _files(self) -> list[str]:
        folders = (self.folder, self.scratch)
        opened = [path for path in _open_files() if any(path.is_relative_to(folder) for folder in folders)]
        dotted = [
            path
            for path in self.folder.rglob(".*")
            if path.is_file() and not path.name.startswith(_KEPT) and not path.is_relative_to(self.scratch)
        ]
        return [
            *(f"open file {path}" for path in opened),
            *(f"temporary file {path}" for path in [*dotted, *self.scratch.rglob("*")]),
        ]


def _children() -> dict[int, str]:
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            head, _, tail = (folder / "stat").read_text().rpartition(")")
        except OSError:  # it ended while we looked
            continue
        if int(tail.split()[1]) == os.getpid():
            found[int(folder.name)] = head.partition("(")[2]
    return found


def _open_files() -> list[Path]:
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            found.append(Path(os.readlink(f"/proc/self/fd/{number}")))
        except OSError:  # the listing's own descriptor
            continue
    return found
