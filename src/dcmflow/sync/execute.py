"""Carries out a plan: one pipeline for each source, from which each instance goes to whoever lacks it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from msgspec.structs import replace

from dcmflow.catalog.catalog import Catalog
from dcmflow.dicom.level import Level
from dcmflow.dicom.query import Query
from dcmflow.dicom.record import Record
from dcmflow.errors import DcmflowError
from dcmflow.flow.events import Event, InstanceRefused
from dcmflow.flow.graph import Flow
from dcmflow.flow.pipeline import Pipeline
from dcmflow.flow.stage import Filter, Source, Stage
from dcmflow.sync.files import Files
from dcmflow.sync.places import FolderPlace, NodePlace, Place
from dcmflow.sync.plan import Plan, Transfer
from dcmflow.sync.pull import MEANT_FOR, Pull
from dcmflow.sync.report import Failure, Report, Result
from dcmflow.sync.spread import Spread

if TYPE_CHECKING:
    from dcmflow.flow.running import Running
    from dcmflow.net.client import Client
    from dcmflow.net.node import Local, Node

_COUNT: Final = {"study": "NumberOfStudyRelatedInstances", "series": "NumberOfSeriesRelatedInstances"}

Observe = Callable[[Event], None]


async def execute(
    plan: Plan,
    sources: Mapping[str, Place],
    destinations: Mapping[str, Place],
    *,
    method: str = "auto",
    local: str = "",
    move: bool = False,
    edit: Filter | None = None,
    client: Client | None = None,
    ours: Local | None = None,
    observe: Sequence[Observe] = (),
    started: Callable[[Running], None] = lambda running: None,
    stopping: Callable[[], bool] = lambda: False,
) -> Report:
    """Move what a plan says; one destination that fails does not keep the others from getting theirs.

    Args:
        method: how nodes are retrieved from: `auto`, `move`, `get`; `remote-copy`: they send to nodes themselves.
        local: our own AE title and port for C-MOVE, as in `retrieve`; empty: as in `ours`.
        move: remove files once every destination has accepted them.
        edit: done to every instance on its way.
        client: asks for remote copies.
        ours: who we are; None: the defaults.
        observe: told what happens; see `dcmflow.flow.events`.
        started: is given each pipeline as it runs.
        stopping: once it says so, no other source is begun; what was not tried is skipped.

    Raises:
        StageError, ConfigError: something cannot be opened, before anything has moved.
    """
    begun = monotonic()
    report = Report(notes=list(plan.notes))
    for name in plan.destinations:
        tally = plan.tallies[name]
        report.destinations[name] = Result(present=tally.present or 0)
    for name in plan.sources:
        transfers = [transfer for transfer in plan.transfers if transfer.source == name]
        if not transfers or stopping():
            continue
        place = sources[name]
        if method == "remote-copy" and isinstance(place, NodePlace) and client is not None:
            await _remote(place, transfers, destinations, client, report, stopping)
            continue
        whose: dict[str, tuple[int, ...]] = {}
        source = await _source(place, transfers, plan.destinations, method, local, whose, move=move)
        nodes = {
            each.node.address: each.node
            for each in (place, *destinations.values())
            if isinstance(each, NodePlace)
        }
        around = _Around(nodes, ours, observe, started)
        await _run(source, plan, transfers, whose, destinations, edit, report, around)
    _close(plan, report)
    report.seconds = monotonic() - begun
    return report


class _Around(NamedTuple):
    """What pipelines run in."""

    nodes: Mapping[str, Node]
    local: Local | None
    observe: Sequence[Observe]
    started: Callable[[Running], None]


async def _source(
    place: Place,
    transfers: Sequence[Transfer],
    names: Sequence[str],
    method: str,
    local: str,
    whose: dict[str, tuple[int, ...]],
    *,
    move: bool,
) -> Source:
    """What reads what is to be moved. `whose` gets the numbers of the destinations, by UID and by path."""
    numbers = {name: number for number, name in enumerate(names)}
    to: dict[str, tuple[int, ...]] = {}
    for transfer in transfers:
        for uid in transfer.images or (transfer.path[-1],):
            to[uid] = tuple(numbers[name] for name in transfer.to)
    whose.update(to)
    if isinstance(place, NodePlace):
        return Pull(
            place.node.address,
            name="source",
            records=[record for transfer in transfers for record in _records(transfer)],
            to=to,
            whose=whose,
            all=True,
            method=method if method in ("move", "get") else "auto",  # type: ignore[arg-type]
            local=local,
        )
    assert isinstance(place, FolderPlace)
    paths = await _paths(place, transfers, to)
    whose.update(paths)
    return Files(name="source", paths=paths, move=move)


def _records(transfer: Transfer) -> list[Record]:
    keys = dict(zip((level.keyword for level in Level), transfer.path, strict=False))
    level = Level.parse(transfer.level)
    if level is Level.IMAGE:
        return [Record(level, {**keys, "SOPInstanceUID": uid}) for uid in transfer.images]
    values: dict[str, Any] = dict(keys)
    if transfer.count is not None:
        values[_COUNT[transfer.level]] = transfer.count
    return [Record(level, values)]


async def _paths(
    place: FolderPlace, transfers: Sequence[Transfer], to: Mapping[str, tuple[int, ...]]
) -> list[tuple[str, tuple[int, ...]]]:
    """The files of transfers, one for each image, and where each goes."""
    whole = any(not transfer.images for transfer in transfers)
    # all of it, as the planner saw it: where files disagree about what they belong to, a query for a part says otherwise
    catalog = await place.find(Query(Level.IMAGE, {})) if whole else Catalog(Level.IMAGE)
    wanted: dict[str, tuple[int, ...]] = {}
    for transfer in transfers:
        numbers = to[(transfer.images or transfer.path)[-1]]
        for uid in transfer.images or _images_of(catalog, transfer):
            wanted[uid] = tuple(sorted({*wanted.get(uid, ()), *numbers}))
    return [(str(path), wanted[uid]) for uid, path in await place.paths(wanted)] if wanted else []


def _images_of(catalog: Catalog, transfer: Transfer) -> list[str]:
    node = catalog.find(Level.parse(transfer.level), transfer.path[-1])
    return [] if node is None else [each.uid for each in node.walk() if each.level is Level.IMAGE]


async def _run(
    source: Source,
    plan: Plan,
    transfers: Sequence[Transfer],
    whose: Mapping[str, tuple[int, ...]],
    destinations: Mapping[str, Place],
    edit: Filter | None,
    report: Report,
    around: _Around,
) -> None:
    names = {name for transfer in transfers for name in transfer.to}
    branches: dict[str, Stage] = {}
    for number, name in enumerate(plan.destinations):
        if name in names:
            # a node that is told of a refusal may send nothing more, to nobody
            sink = replace(
                destinations[name].sink(), name=f"to-{number}", required=not isinstance(source, Pull)
            )
            branches[str(number)] = sink
    refused: list[tuple[InstanceRefused, tuple[int, ...]]] = []

    def note(event: Event) -> None:
        if isinstance(event, InstanceRefused):
            refused.append((event, MEANT_FOR.get()))

    head: Any = source if edit is None else source | edit
    flow: Flow = head | Spread(tuple(map(int, branches))) | branches
    pipeline = Pipeline(flow, name="sync", nodes=around.nodes, local=around.local)
    running: Running | None = None
    try:
        async with pipeline.start(observe=[note, *around.observe]) as running:
            around.started(running)
            await running.wait()
    except DcmflowError as error:
        if running is None and not any(result.sent for result in report.destinations.values()):
            raise  # it could not be opened, and nothing has moved
        for name in names:
            report.destinations[name].failures.append(Failure("", str(error)))
    if running is None:
        return
    stages = running.statistics().stages
    for number, name in enumerate(plan.destinations):
        if str(number) in branches:
            report.destinations[name].sent += stages[f"to-{number}"].sent
    for event, to in refused:
        if event.stage.startswith("to-"):
            to = (int(event.stage.removeprefix("to-")),)
        to = to or whose.get(event.path or "") or whose.get(event.sop_instance_uid) or ()
        for name in [plan.destinations[number] for number in to] or names:
            report.destinations[name].failures.append(Failure(event.sop_instance_uid, event.reason))


async def _remote(
    place: NodePlace,
    transfers: Sequence[Transfer],
    destinations: Mapping[str, Place],
    client: Client,
    report: Report,
    stopping: Callable[[], bool],
) -> None:
    """C-MOVE straight from one node to another; what it says to have sent is all that is known."""
    for transfer in transfers:
        if stopping():
            return
        keys = {level.keyword: uid for level, uid in zip(Level, transfer.path, strict=False) if uid}
        if transfer.images:
            keys["SOPInstanceUID"] = "\\".join(transfer.images)
        query = Query(Level.parse(transfer.level), keys)
        for name in transfer.to:
            there, result = destinations[name], report.destinations[name]
            if not isinstance(there, NodePlace):
                uids = transfer.images or await _images_at(place, query)
                reason = f"{place.name} cannot send to a folder: use another method"
                result.failures += [Failure(uid, reason) for uid in uids]
                continue
            try:
                moved = await client.move(place.node, query, to=there.node.ae_title)
            except DcmflowError as error:
                uids = transfer.images or await _images_at(place, query)
                result.failures += [Failure(uid, str(error)) for uid in uids]
                continue
            result.sent += (moved.completed or 0) + (moved.warning or 0)
            lost = moved.failed_uids or ("",) * (moved.failed or 0)
            result.failures += [Failure(uid, f"{place.name} could not send it") for uid in lost]


async def _images_at(place: NodePlace, query: Query) -> Sequence[str]:
    """The images that a request asks for; one empty text where nobody says."""
    try:
        return (await place.find(Query(Level.IMAGE, query.keys))).uids() or ("",)
    except DcmflowError:
        return ("",)


def _close(plan: Plan, report: Report) -> None:
    """Add up; where nobody knew how much there would be, it is what came."""
    for name, result in report.destinations.items():
        tally = plan.tallies[name]
        lacking = tally.lacking
        named = [failure for failure in result.failures if failure.uid]
        if lacking is None:
            result.failed = len(result.failures)
            lacking = result.sent + result.failed
        elif len(named) < len(result.failures):  # nothing is known but that the rest did not come
            rest = max(0, lacking - result.sent - len(named))
            if not rest:
                reasons = {failure.reason: None for failure in result.failures if not failure.uid}
                report.notes += [f"{name}: {reason}" for reason in reasons]
                result.failures = named
            result.failed = len(named) + rest
        else:
            result.failed = len(named)
        result.skipped = max(0, lacking - result.sent - result.failed)
        result.wanted = result.present + result.sent + result.failed + result.skipped
