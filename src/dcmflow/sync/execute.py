"""Carries out a plan: one pipeline for each source, from which each instance goes to whoever lacks it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

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
from dcmflow.sync.pull import Pull
from dcmflow.sync.report import Failure, Report, Result
from dcmflow.sync.spread import Spread

if TYPE_CHECKING:
    from dcmflow.flow.running import Running
    from dcmflow.net.client import Client

_AT_ONCE: Final = 100  # studies that an index is asked for at once
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
    observe: Sequence[Observe] = (),
    started: Callable[[Running], None] = lambda running: None,
) -> Report:
    """Move what a plan says; one destination that fails does not keep the others from getting theirs.

    Args:
        method: how nodes are retrieved from: `auto`, `move`, `get`; `remote-copy`: they send to nodes themselves.
        local: our own AE title and port for C-MOVE, as in `retrieve`.
        move: remove files once every destination has accepted them.
        edit: done to every instance on its way.
        client: asks for remote copies.
        observe: told what happens; see `dcmflow.flow.events`.
        started: is given each pipeline as it runs.
    """
    begun = monotonic()
    report = Report(notes=list(plan.notes))
    for name in plan.destinations:
        tally = plan.tallies[name]
        report.destinations[name] = Result(present=tally.present or 0)
    for name in plan.sources:
        transfers = [transfer for transfer in plan.transfers if transfer.source == name]
        if not transfers:
            continue
        place = sources[name]
        if method == "remote-copy" and isinstance(place, NodePlace) and client is not None:
            await _remote(place, transfers, destinations, client, report)
            continue
        source = await _source(place, transfers, plan.destinations, method, local, move=move)
        await _run(source, plan, transfers, destinations, edit, report, observe, started)
    _close(plan, report)
    report.seconds = monotonic() - begun
    return report


async def _source(
    place: Place, transfers: Sequence[Transfer], names: Sequence[str], method: str, local: str, *, move: bool
) -> Source:
    numbers = {name: number for number, name in enumerate(names)}
    to: dict[str, tuple[int, ...]] = {}
    for transfer in transfers:
        for uid in transfer.images or (transfer.path[-1],):
            to[uid] = tuple(numbers[name] for name in transfer.to)
    if isinstance(place, NodePlace):
        return Pull(
            place.node.address,
            name="source",
            records=[record for transfer in transfers for record in _records(transfer)],
            to=to,
            all=True,
            method=method if method in ("move", "get") else "auto",  # type: ignore[arg-type]
            local=local,
        )
    assert isinstance(place, FolderPlace)
    return Files(name="source", paths=await _paths(place, transfers, to), move=move)


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
    """The files of transfers, and where each goes."""
    found: list[tuple[str, tuple[int, ...]]] = []
    for level, keyword in ((Level.STUDY, "StudyInstanceUID"), (Level.SERIES, "SeriesInstanceUID")):
        for transfer in transfers:
            if transfer.level == level.word:
                query = Query(Level.IMAGE, {keyword: transfer.path[-1]})
                found += [(str(path), to[transfer.path[-1]]) for _, path in await place.paths(query)]
    images = [uid for transfer in transfers for uid in transfer.images]
    found += [(str(path), to[uid]) for uid, path in await place.paths(images)] if images else []
    return found


async def _run(
    source: Source,
    plan: Plan,
    transfers: Sequence[Transfer],
    destinations: Mapping[str, Place],
    edit: Filter | None,
    report: Report,
    observe: Sequence[Observe],
    started: Callable[[Running], None],
) -> None:
    names = {name for transfer in transfers for name in transfer.to}
    branches: dict[str, Stage] = {}
    for number, name in enumerate(plan.destinations):
        if name in names:
            from msgspec.structs import replace

            branches[str(number)] = replace(destinations[name].sink(), name=f"to-{number}")
    refused: list[InstanceRefused] = []

    def note(event: Event) -> None:
        if isinstance(event, InstanceRefused):
            refused.append(event)

    head: Any = source if edit is None else source | edit
    flow: Flow = head | Spread(len(plan.destinations)) | branches
    async with Pipeline(flow, name="sync").start(observe=[note, *observe]) as running:
        started(running)
        await running.wait()
        stages = running.statistics().stages
    for number, name in enumerate(plan.destinations):
        if str(number) in branches:
            report.destinations[name].sent += stages[f"to-{number}"].sent
    by_uid = {uid: transfer.to for transfer in transfers for uid in transfer.images}
    for event in refused:
        if event.stage.startswith("to-"):
            meant: Sequence[str] = (plan.destinations[int(event.stage.removeprefix("to-"))],)
        else:
            meant = by_uid.get(event.sop_instance_uid, tuple(names))
        for name in meant:
            report.destinations[name].failures.append(Failure(event.sop_instance_uid, event.reason))


async def _remote(
    place: NodePlace,
    transfers: Sequence[Transfer],
    destinations: Mapping[str, Place],
    client: Client,
    report: Report,
) -> None:
    """C-MOVE straight from one node to another; what it says to have sent is all that is known."""
    for transfer in transfers:
        keys = {level.keyword: uid for level, uid in zip(Level, transfer.path, strict=False) if uid}
        if transfer.images:
            keys["SOPInstanceUID"] = "\\".join(transfer.images)
        query = Query(Level.parse(transfer.level), keys)
        for name in transfer.to:
            there, result = destinations[name], report.destinations[name]
            if not isinstance(there, NodePlace):
                result.failures.append(
                    Failure("", f"{place.name} cannot send to a folder: use another method")
                )
                continue
            try:
                moved = await client.move(place.node, query, to=there.node.ae_title)
            except DcmflowError as error:
                result.failures += [Failure(uid, str(error)) for uid in transfer.images or ("",)]
                continue
            result.sent += (moved.completed or 0) + (moved.warning or 0)
            lost = moved.failed_uids or ("",) * (moved.failed or 0)
            result.failures += [Failure(uid, f"{place.name} could not send it") for uid in lost]


def _close(plan: Plan, report: Report) -> None:
    """Add up; where nobody knew how much there would be, it is what came."""
    for name, result in report.destinations.items():
        tally = plan.tallies[name]
        lacking = tally.lacking
        result.failed = len(result.failures)
        if lacking is None:
            lacking = result.sent + result.failed
        elif result.failures and any(not failure.uid for failure in result.failures):
            result.failed = max(
                result.failed, lacking - result.sent
            )  # of a whole study nothing is known but that
        result.skipped = max(0, lacking - result.sent - result.failed)
        result.wanted = result.present + result.sent + result.failed + result.skipped
