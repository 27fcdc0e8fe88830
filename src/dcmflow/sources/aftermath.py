"""What happens to a file once what was in it has been accepted by every sink: it stays, is deleted, or moves elsewhere."""

from __future__ import annotations

import errno
import os
import shutil
from collections import deque
from pathlib import Path
from secrets import token_hex
from typing import NamedTuple

import anyio
from anyio import to_thread

from dcmflow.flow.context import Context
from dcmflow.flow.delivery import Receipt
from dcmflow.sources.reading import Item, Signature, signature_of
from dcmflow.sources.walk import OURS

BACKLOG = 256  # files that may wait for what happens to them before reading waits

_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


class Due(NamedTuple):
    """A file whose time has come."""

    path: str
    relative: str
    signature: Signature | None


class Aftermath:
    """Follows receipts and does what is due, several files per thread hop.

    Args:
        folder: where files move to; None deletes them.
    """

    def __init__(self, folder: Path | None, context: Context) -> None:
        self._folder = folder
        self._context = context
        self._open = 0
        self._due: deque[Due] = deque()
        self._changed = anyio.Event()
        self._busy = False

    def follow(self, receipt: Receipt, item: Item) -> None:
        """Do it when this receipt has settled, if it is complete; a file of anything else stays."""
        self._open += 1

        def settled(receipt: Receipt) -> None:
            self._open -= 1
            if receipt.complete:
                self._due.append(Due(item.path, item.relative, item.signature))
            self._change()

        receipt.on_settled(settled)

    def _change(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def run(self) -> None:
        """Works until it is cancelled."""
        while True:
            while not self._due:
                await self._changed.wait()
            batch = [self._due.popleft() for _ in range(min(len(self._due), 64))]
            self._busy = True
            for due, problem in await to_thread.run_sync(self._perform, batch):
                self._context.warn(problem, due.path)
            self._busy = False
            self._change()

    async def room(self) -> None:
        while len(self._due) > BACKLOG:
            await self._changed.wait()

    async def finished(self) -> None:
        """Wait until everything followed so far has settled and is done."""
        while self._open or self._due or self._busy:
            await self._changed.wait()

    def _perform(self, batch: list[Due]) -> list[tuple[Due, str]]:
        problems = []
        for due in batch:
            what = "deleted" if self._folder is None else f"moved to {self._folder}"
            try:
                if signature_of(due.path) != due.signature:
                    problems.append((due, f"{due.path} changed after it was read and was not {what}"))
                elif self._folder is None:
                    os.unlink(due.path)
                else:
                    move(due.path, self._folder / due.relative)
            except OSError as error:
                text = f"{due.path} was accepted, but cannot be {what}: {error.strerror or error}"
                problems.append((due, text))
        return problems


def move(path: str, target: Path) -> Path:
    """Move a file without ever replacing another; returns where it is now.

    Across file systems it is copied, made durable and only then removed. A name that is taken gets a number.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    source = path
    if os.path.islink(path):  # what it leads to is what was read
        source = _copy(path, target.parent)
    try:
        placed = _place(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        source = _copy(path, target.parent)
        placed = _place(source, target)
    if source != path:
        _sync(target.parent)
        os.unlink(path)
    return placed


def _place(source: str, target: Path) -> Path:
    number, candidate = 1, target
    while True:
        try:
            os.link(source, candidate, follow_symlinks=False)
        except FileExistsError:
            number += 1
            candidate = target.with_name(f"{target.stem}-{number}{target.suffix}")
            continue
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if os.path.lexists(candidate):
                number += 1
                candidate = target.with_name(f"{target.stem}-{number}{target.suffix}")
                continue
            os.rename(source, candidate)
            return candidate
        os.unlink(source)
        return candidate


def _copy(path: str, folder: Path) -> str:
    temporary = os.path.join(folder, f"{OURS}{os.getpid()}-{token_hex(8)}.tmp")
    try:
        shutil.copy2(path, temporary)
        with open(temporary, "rb") as copied:
            os.fsync(copied.fileno())
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return temporary


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
