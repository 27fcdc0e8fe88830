"""Asks places until a plan can be made: the destinations from coarse to fine, the sources only for what that needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import anyio

from dcmflow.catalog.catalog import Catalog
from dcmflow.dicom.level import Level
from dcmflow.dicom.query import Query, deepest
from dcmflow.errors import DcmflowError
from dcmflow.net.hierarchy import BATCH
from dcmflow.sync.places import FolderPlace, Place
from dcmflow.sync.plan import Plan, plan_sync, study_uids, undecided


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
    """What is wanted, as coarsely as it was asked for, studies at least. Raises DcmflowError: the place cannot be asked."""
    if wish.query is None:
        assert wish.known is not None
        return await _studies_of(wish.place, wish.known)
    level = Level.IMAGE if isinstance(wish.place, FolderPlace) else max(wish.query.level, _unit(wish))
    return await wish.place.find(Query(level, wish.query.keys))


def _unit(wish: Wish) -> Level:
    """The coarsest level at which all of something is wanted, since nothing below it restricts the wish."""
    if wish.query is None:
        assert wish.known is not None
        return max(wish.known.level, Level.STUDY)
    return deepest(wish.query.conditions)


async def _studies_of(place: Place, known: Catalog) -> Catalog:
    """What is known, with the studies of patients where it goes no further."""
    if known.level >= Level.STUDY:
        return known
    studies = Catalog(Level.STUDY)
    for patient in known.uids(Level.PATIENT):
        if patient:
            studies = studies | await place.find(Query(Level.STUDY, {"PatientID": patient}))
        else:
            place.notes.append("a patient without PatientID cannot be asked about, and is left out")
    return studies


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
        DcmflowError: no source can be asked. One of several that cannot is in `lost`; a destination that cannot lacks everything.
    """
    want: dict[str, Catalog] = {}
    units: dict[str, Level] = {}
    lost: dict[str, str] = {}
    for wish in wishes:
        name = wish.place.name
        try:
            found = await wanted(wish)
            want[name] = await _joined(wish.place, want[name], found) if name in want else found
            units[name] = max(units.get(name, Level.STUDY), _unit(wish))
        except DcmflowError as error:
            if len(lost) == len(wishes) - 1:
                raise
            lost[name] = str(error)
    sources = {wish.place.name: wish.place for wish in wishes}
    holdings: dict[str, Catalog | None] = {place.name: None for place in destinations}
    failures: list[DcmflowError | OSError] = []

    async def ask(place: Place) -> None:
        level = Level.IMAGE if isinstance(place, FolderPlace) else Level.STUDY
        try:
            holdings[place.name] = await place.holds(_studies(want.values()), level)
        except (DcmflowError, OSError) as error:  # is not to come out in a group
            failures.append(error)

    if not force:
        async with anyio.create_task_group() as tasks:
            for place in destinations:
                tasks.start_soon(ask, place)
        if failures:
            raise failures[0]
    by_name = {place.name: place for place in destinations}
    for level in (Level.SERIES, Level.IMAGE):
        if level is Level.IMAGE or trust is Level.SERIES:
            await _look_deeper(level, want, units, sources, holdings, by_name, trust)
    plan = plan_sync(want, holdings, trust=trust, units=units)
    plan.lost = lost
    places = {id(place): place for place in (*sources.values(), *destinations)}
    plan.notes = list(
        dict.fromkeys(f"{place.name}: {note}" for place in places.values() for note in place.notes)
    )
    return plan


async def _joined(place: Place, one: Catalog, other: Catalog) -> Catalog:
    """What two wishes want of one place: where one goes further down, so has the other, else the union would have less of it."""
    level = max(one.level, other.level)
    deep = [await _deepened(place, each, level, _studies([each])) for each in (one, other)]
    return deep[0] | deep[1]


async def _deepened(place: Place, catalog: Catalog, level: Level, studies: Sequence[str]) -> Catalog:
    """A catalog with what is below it in these studies, down to a level. Raises DcmflowError: the place cannot be asked."""
    named = [uid for uid in studies if uid]
    if catalog.level >= level or not named:
        return catalog
    finer = Catalog(level)
    for start in range(0, len(named), BATCH):
        some = "\\".join(named[start : start + BATCH])
        for patient in (await place.find(Query(level, {"StudyInstanceUID": some}))).walk(Level.PATIENT):
            finer.graft_all(patient)
    return catalog | (catalog & finer)


async def _look_deeper(
    level: Level,
    want: dict[str, Catalog],
    units: Mapping[str, Level],
    sources: Mapping[str, Place],
    holdings: dict[str, Catalog | None],
    destinations: Mapping[str, Place],
    trust: Level,
) -> None:
    """Ask everybody concerned for what is still undecided, down to this level."""
    open_: dict[str, dict[str, None]] = {}  # studies, by source
    for source, catalog in want.items():
        depth = max(trust, units[source])
        ours = open_[source] = {}
        for held in holdings.values():
            if held is not None:
                ours.update(dict.fromkeys(study_uids(undecided(catalog, held, depth))))
        for earlier in list(open_)[:-1]:  # what both have is taken from one of them
            both = dict.fromkeys(study_uids(undecided(catalog, want[earlier], depth)))
            ours.update(both)
            open_[earlier].update(both)
    for source, ours in open_.items():
        want[source] = await _deepened(sources[source], want[source], level, list(ours))
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
    return list(found)
