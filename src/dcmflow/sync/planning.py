"""Asks places until a plan can be made: the destinations from coarse to fine, the sources only for what that needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import anyio

from dcmflow.catalog.catalog import Catalog
from dcmflow.dicom.level import Level
from dcmflow.dicom.query import Query
from dcmflow.sync.places import FolderPlace, Place
from dcmflow.sync.plan import Plan, plan_sync, study_uids, undecided

_TOGETHER: Final = 32  # studies that are asked about at once


class Wish(NamedTuple):
    """What is wanted of a place.

    Attributes:
        query: None: all that the catalog names.
        known: what was found before.
    """

    place: Place
    query: Query | None
    known: Catalog | None = None


async def wanted(wish: Wish) -> Catalog:
    """What is wanted, as coarsely as it was asked for. Raises DcmflowError: the place cannot be asked."""
    if wish.query is None:
        assert wish.known is not None
        return wish.known
    level = Level.IMAGE if isinstance(wish.place, FolderPlace) else max(wish.query.level, Level.STUDY)
    return await wish.place.find(Query(level, wish.query.keys))


async def make_plan(
    wishes: Sequence[Wish],
    destinations: Sequence[Place],
    *,
    trust: Level = Level.IMAGE,
    force: bool = False,
) -> Plan:
    """What has to be moved.

    Args:
        trust: see `dcmflow.sync.plan.undecided`.
        force: all that is wanted, whatever the destinations have.

    Raises:
        DcmflowError: a source cannot be asked. A destination that cannot lacks everything.
    """
    want = {wish.place.name: await wanted(wish) for wish in wishes}
    sources = {wish.place.name: wish.place for wish in wishes}
    holdings: dict[str, Catalog | None] = {place.name: None for place in destinations}

    async def ask(place: Place) -> None:
        level = Level.IMAGE if isinstance(place, FolderPlace) else Level.STUDY
        holdings[place.name] = await place.holds(_studies(want.values()), level)

    if not force:
        async with anyio.create_task_group() as tasks:
            for place in destinations:
                tasks.start_soon(ask, place)
        by_name = {place.name: place for place in destinations}
        for level in (Level.SERIES, Level.IMAGE):
            if level is Level.IMAGE or trust is Level.SERIES:
                await _look_deeper(level, want, sources, holdings, by_name, trust)
    plan = plan_sync(want, holdings, trust=trust)
    plan.notes = [
        f"{place.name}: {note}" for place in (*sources.values(), *destinations) for note in place.notes
    ]
    return plan


async def _look_deeper(
    level: Level,
    want: dict[str, Catalog],
    sources: Mapping[str, Place],
    holdings: dict[str, Catalog | None],
    destinations: Mapping[str, Place],
    trust: Level,
) -> None:
    """Ask everybody concerned for what is still undecided, down to this level."""
    open_: dict[str, dict[str, None]] = {}  # studies, by source
    for source, catalog in want.items():
        for held in holdings.values():
            if held is not None:
                uids = study_uids(undecided(catalog, held, trust))
                open_.setdefault(source, {}).update(dict.fromkeys(uids))
    for source, ours in open_.items():
        if not ours or want[source].level >= level:
            continue
        finer = Catalog(level)
        names = list(ours)
        for start in range(0, len(names), _TOGETHER):
            some = "\\".join(names[start : start + _TOGETHER])
            finer = finer | await sources[source].find(Query(level, {"StudyInstanceUID": some}))
        want[source] = want[source] | (want[source] & finer)
    every = list({uid: None for uids in open_.values() for uid in uids})

    async def ask(name: str, held: Catalog) -> None:
        finer = await destinations[name].holds(every, level)
        if finer is not None:
            holdings[name] = held | finer

    if every:
        async with anyio.create_task_group() as tasks:
            for name, held in holdings.items():
                if held is not None and held.level < level:
                    tasks.start_soon(ask, name, held)


def _studies(catalogs: object) -> list[str]:
    found: dict[str, None] = {}
    for catalog in catalogs:  # type: ignore[attr-defined]
        found.update(dict.fromkeys(catalog.uids(Level.STUDY)))
    return [uid for uid in found if uid]
