"""Where objects are and where they are to be: nodes and folders, asked in the same way."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, final

from anyio import to_thread

from dcmflow.catalog.answers import Answers
from dcmflow.catalog.catalog import Catalog
from dcmflow.catalog.notes import Provenance
from dcmflow.dicom.level import Level
from dcmflow.dicom.query import Query
from dcmflow.errors import DcmflowError
from dcmflow.flow.stage import Stage
from dcmflow.net.hierarchy import BATCH
from dcmflow.sinks.directory import DEFAULT_LAYOUT, Directory
from dcmflow.sinks.store import Store
from dcmflow.sync.index import Index, index_path

if TYPE_CHECKING:
    from dcmflow.net.client import Client
    from dcmflow.net.node import Node


class Place(Protocol):
    """A node or a folder.

    Attributes:
        name: as it was written.
        notes: what a person should know about its answers.
    """

    name: str
    notes: list[str]

    async def find(self, query: Query) -> Catalog:
        """What matches, at the level of the query. Raises DcmflowError: it cannot be asked."""

    async def holds(self, studies: Sequence[str], level: Level) -> Catalog | None:
        """What it has of these studies, down to a level; None: it cannot be asked.

        An empty UID stands for what says nothing of its study; it is known of a folder alone.
        """

    def sink(self) -> Stage:
        """What takes instances there."""


@final
class NodePlace:
    """A node.

    Args:
        client: calls it.
        associations: at once, when sending.
    """

    def __init__(self, name: str, node: Node, client: Client, *, associations: int = 2) -> None:
        self.name = name
        self.node = node
        self.notes: list[str] = []
        self._client = client
        self._associations = associations

    async def find(self, query: Query) -> Catalog:
        answers = Answers(query, asked=query.conditions)
        async with self._client.find(self.node, query, verify=False) as found:
            async for record in found:
                answers.add(record)
        self.notes += [*found.warnings(), *(text for text in answers.warnings() if "repeated" not in text)]
        answers.catalog.provenance.append(
            Provenance(source=self.node.address, query=dict(query.keys), level=query.level)
        )
        return answers.catalog

    async def holds(self, studies: Sequence[str], level: Level) -> Catalog | None:
        held = Catalog(level)
        named = [uid for uid in studies if uid]
        for start in range(0, len(named), BATCH):
            uids = "\\".join(named[start : start + BATCH])
            try:
                found = await self.find(Query(level, {"StudyInstanceUID": uids}))
            except DcmflowError as error:
                self.notes.append(f"it cannot be asked what it has, and counts as having nothing: {error}")
                return None
            for patient in found.walk(Level.PATIENT):
                held.graft_all(patient)
        return held

    def sink(self) -> Stage:
        return Store(self.node.address, associations=self._associations)


@final
class FolderPlace(AbstractContextManager["FolderPlace"]):
    """A folder, by its index where it has one, else by a scan. To be entered before it is asked.

    Args:
        path: of the folder; one that is not there yet holds nothing.
        layout: of what is stored there.
        index: the file of its index; None: that in it, if there is one.
        link: instead of copies, hard links where that can be.
        replace: what is stored there takes the place of another version; else that one stays.
    """

    def __init__(
        self,
        name: str,
        path: str,
        *,
        layout: str = DEFAULT_LAYOUT,
        index: str | None = None,
        fsync: bool = True,
        link: bool = False,
        replace: bool = False,
    ) -> None:
        self.name = name
        self.path: str = os.path.abspath(path)
        self.notes: list[str] = []
        self._layout = layout
        self._file = index
        self._fsync = fsync
        self._link = link
        self._replace = replace
        self._stack = ExitStack()
        self._index: Index | None = None

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()
        self._index = None

    async def find(self, query: Query) -> Catalog:
        index = await self._opened()
        if index is None:
            return Catalog(query.level)
        return await to_thread.run_sync(index.catalog, query)

    async def holds(self, studies: Sequence[str], level: Level) -> Catalog | None:
        wanted = set(studies)
        held = Catalog(level)
        for record in await self.find(Query(level, {})):
            if record.text("StudyInstanceUID") in wanted:
                held.add(record)
        return held

    async def paths(self, query: Query | Iterable[str]) -> list[tuple[str, Path]]:
        """SOP Instance UIDs of what matches, and the files; one file for each."""
        index = await self._opened()
        if index is None:
            return []
        return await to_thread.run_sync(lambda: list(dict(_distinct(index.paths(query))).items()))

    def sink(self) -> Stage:
        return Directory(
            self.path,
            self._layout,
            fsync=self._fsync,
            link=self._link,
            exists="replace" if self._replace else "skip",
        )

    async def _opened(self) -> Index | None:
        if self._index is None:
            self._index = await to_thread.run_sync(self._open)
        return self._index

    def _open(self) -> Index | None:
        if not os.path.isdir(self.path):
            return None
        file = self._file
        if file is None and not os.path.exists(index_path(self.path)):
            scratch = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="dcmflow-"))
            file = os.path.join(scratch, "scan.sqlite")
        index = self._stack.enter_context(Index.open(self.path, file))
        changes = index.refresh()
        self.notes += index.notes
        if changes.broken:
            self.notes.append(f"{len(changes.broken)} files cannot be read and count as not being there")
        return index


def _distinct(found: Iterable[tuple[str, Path]]) -> Iterator[tuple[str, Path]]:
    seen: set[str] = set()
    for uid, path in found:
        if uid not in seen:
            seen.add(uid)
            yield uid, path
