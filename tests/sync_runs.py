"""Syncs between folders and peers, planned and carried out as a program does it, and what came of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import corpus
from acceptance_kit import FLAT, visible
from base_data import BASE, Fact, write_base
from dcmflow import Client
from dcmflow.catalog import Catalog, Level
from dcmflow.dicom.query import Query
from dcmflow.flow.events import Event
from dcmflow.net.address import parse_node
from dcmflow.sync.execute import execute
from dcmflow.sync.places import FolderPlace, NodePlace, Place
from dcmflow.sync.plan import Plan
from dcmflow.sync.planning import Wish, make_plan
from dcmflow.sync.report import Report
from peers.archives import Archive
from peers.base import Address, reserved_port
from wire_data import dataset_bytes, syntax_of, uid_of

EVERYTHING = Query(Level.STUDY, {})
Where = Archive | Address | Path


@dataclass
class Outcome:
    """What was planned and what came of it."""

    plan: Plan
    report: Report
    events: list[Event] = field(default_factory=list)

    def moved(self, to: Where | None = None) -> int:
        """How many were sent to a destination, or to all."""
        results = self.report.destinations
        if to is not None:
            return results[name_of(to)].sent
        return sum(result.sent for result in results.values())

    def numbers(self, to: Where) -> tuple[int, int, int, int, int]:
        """wanted, present, sent, failed, skipped of a destination; they add up, and to what was planned where that was known."""
        result = self.report.destinations[name_of(to)]
        tally = self.plan.tallies[name_of(to)]
        assert result.wanted == result.present + result.sent + result.failed + result.skipped, result
        assert tally.wanted in (None, result.wanted), (tally, result)
        assert result.failed == 0 or result.failures, result
        return result.wanted, result.present, result.sent, result.failed, result.skipped

    def failures(self, to: Where) -> dict[str, str]:
        """Reasons by SOP Instance UID."""
        return {failure.uid: failure.reason for failure in self.report.destinations[name_of(to)].failures}


def name_of(where: Where) -> str:
    return str(where if isinstance(where, Path) else address_of(where))


def address_of(where: Archive | Address) -> Address:
    return where.address if isinstance(where, Archive) else where


def nobody() -> Address:
    """Where nothing listens."""
    return Address(reserved_port(), "NOBODY")


class Places:
    """Makes places for one sync."""

    def __init__(self, client: Client, stack: ExitStack, layout: str = FLAT) -> None:
        self._client, self._stack, self._layout = client, stack, layout
        self.made: dict[str, Place] = {}

    def __call__(self, where: Where) -> Place:
        name = name_of(where)
        if name not in self.made:
            if isinstance(where, Path):
                made: Place = self._stack.enter_context(FolderPlace(name, name, layout=self._layout))
            else:
                # dcmqrscp, a process for each association, sometimes loses one of two entries that are made at once
                alone = isinstance(where, Archive) and where.kind == "dcmqrscp"
                made = NodePlace(name, parse_node(name), self._client, associations=1 if alone else 2)
            self.made[name] = made
        return self.made[name]


async def planned(
    sources: Where | Sequence[tuple[Where, Query | Catalog]],
    *to: Where,
    query: Query = EVERYTHING,
    **how: Any,
) -> Plan:
    """The plan alone."""
    with ExitStack() as stack:
        async with Client("DCMFLOW") as client:
            places = Places(client, stack)
            return await make_plan(_wishes(places, sources, query), [places(each) for each in to], **how)


async def sync(
    sources: Where | Sequence[tuple[Where, Query | Catalog]],
    *to: Where,
    query: Query = EVERYTHING,
    force: bool = False,
    trust: Level = Level.IMAGE,
    layout: str = FLAT,
    **how: Any,
) -> Outcome:
    """Plan and execute, with places of its own; `how` is for `execute`.

    Args:
        sources: one place, from which what `query` asks for is wanted, or pairs of a place and what is wanted of it.
    """
    events: list[Event] = []
    with ExitStack() as stack:
        async with Client("DCMFLOW") as client:
            places = Places(client, stack, layout)
            wishes = _wishes(places, sources, query)
            destinations = [places(each) for each in to]
            plan = await make_plan(wishes, destinations, trust=trust, force=force)
            report = await execute(
                Plan.from_json(plan.to_json()),
                {wish.place.name: wish.place for wish in wishes},
                {place.name: place for place in destinations},
                client=client,
                observe=[events.append],
                **how,
            )
    return Outcome(plan, report, events)


def _wishes(places: Places, sources: Any, query: Query) -> list[Wish]:
    pairs = [(sources, query)] if isinstance(sources, Where) else sources
    return [
        Wish(places(where), None, wanted) if isinstance(wanted, Catalog) else Wish(places(where), wanted)
        for where, wanted in pairs
    ]


def folder_of(path: Path, facts: Iterable[Fact] = BASE) -> Path:
    """A folder with these objects, or an empty one."""
    path.mkdir(parents=True)
    write_base(path, facts)
    return path


def ours(archive: Archive) -> str:
    """Where an archive takes us to listen."""
    return str(archive.clients["DCMFLOW"])


def same(folder: Path, facts: Iterable[Fact] = BASE) -> None:
    """A folder holds these objects and nothing else, byte by byte in the transfer syntax that was chosen."""
    files = visible(folder) if folder.exists() else []
    by_uid = {uid_of(path): path for path in files}
    wanted = {fact.image: fact for fact in facts}
    assert by_uid.keys() == wanted.keys()
    assert len(files) == len(wanted)
    for uid, path in by_uid.items():
        assert dataset_bytes(path) == corpus.encode(wanted[uid].ds, syntax_of(path)), path


async def holding(archive: Archive) -> set[str]:
    """The images that an archive says it has."""
    async with (
        Client("DCMFLOW") as client,
        client.find(str(archive.address), Query(Level.IMAGE, {})) as found,
    ):
        return {record.uid async for record in found}
