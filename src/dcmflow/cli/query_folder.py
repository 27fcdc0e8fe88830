"""A folder that is asked as a node is: by its index where it has one, else by a scan."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import islice
from typing import TYPE_CHECKING, Final, Self, final

from anyio import to_thread

from dcmflow.cli.common import Usage
from dcmflow.errors import DcmflowError
from dcmflow.sync.index import Index, index_path

if TYPE_CHECKING:
    from types import TracebackType

    from dcmflow.config.settings import Settings
    from dcmflow.dicom.query import Query
    from dcmflow.dicom.record import Record

_TOGETHER: Final = 512  # records that are read at once


def named_folder(text: str, settings: Settings) -> str | None:
    """The folder that is meant; None: a node is. Raises Usage for a path where none is."""
    from dcmflow.net.address import is_address

    if text in settings.nodes or is_address(text):
        return None
    if text in settings.dirs and not os.path.isdir(text):
        path = settings.dirs[text].path
    else:
        path = os.path.abspath(os.path.expanduser(text))
        if not os.path.isdir(path) and "/" not in text:
            return None
    if not os.path.isdir(path):
        raise Usage(f"there is no folder {path} to ask")
    return path


@final
class Found:
    """Records that match, as they are read.

    Attributes:
        problems: what is wrong with the folder, in words.
    """

    def __init__(self, records: Iterator[Record], problems: list[str]) -> None:
        self.problems = problems
        self._records = records

    async def __aiter__(self) -> AsyncIterator[Record]:
        while some := await to_thread.run_sync(self._some):
            for record in some:
                yield record

    def _some(self) -> list[Record]:
        return list(islice(self._records, _TOGETHER))


@final
class Folder:
    """Stands in for a client and the only node that it can ask.

    Attributes:
        address: of the folder.
    """

    def __init__(self, path: str) -> None:
        self.address: str = path
        self._stack = AsyncExitStack()
        self._index: Index | None = None

    def __str__(self) -> str:
        return self.address

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()
        self._index = None

    @asynccontextmanager
    async def find(self, node: object, query: Query, *, verify: bool = False) -> AsyncIterator[Found]:
        """What matches; it needs no verification. Raises DcmflowError: the folder cannot be read."""
        problems: list[str] = []
        if self._index is None:
            self._index = await to_thread.run_sync(self._open, problems)
        yield Found(self._index.find(query), problems)

    def _open(self, problems: list[str]) -> Index:
        file = None
        if not os.path.exists(index_path(self.address)):
            scratch = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="dcmflow-"))
            file = os.path.join(scratch, "scan.sqlite")
        index = self._stack.enter_context(Index.open(self.address, file))
        try:
            changes = index.refresh()
        except OSError as error:
            raise DcmflowError(f"{self.address} cannot be read: {error.strerror or error}") from None
        problems += [f"{path}: {reason}" for path, reason in changes.broken]
        problems += index.notes
        return index
