"""What a plan wants of a node comes with the numbers of those who are to get it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from base_data import BASE, ECHOES, LONG, MPRAGE, OLD, ONE, PRIVATE, TWO, Fact, matching
from dcmflow import Pipeline, sinks
from dcmflow.dicom.level import Level
from dcmflow.dicom.record import Record
from dcmflow.flow.events import Event, InstanceRefused
from dcmflow.flow.statistics import Statistics
from dcmflow.sync.pull import Pull
from dcmflow.sync.spread import Spread
from peers.archives import Archive
from sync_runs import nobody, ours

pytestmark = [pytest.mark.anyio, pytest.mark.interop, pytest.mark.timeout(60)]

FLAT = "{SOPInstanceUID}.dcm"
METHODS = pytest.mark.parametrize("method", ["move", "get"])


def record(fact: Fact, level: Level, **more: Any) -> Record:
    return Record(level, {**fact.keys(level), **more})


async def pull(
    archive: Archive, records: list[Record], to: dict[str, tuple[int, ...]], *folders: Path, **how: Any
) -> tuple[Statistics, list[InstanceRefused], dict[str, tuple[int, ...]]]:
    whose: dict[str, tuple[int, ...]] = {}
    events: list[Event] = []
    source = Pull(
        str(archive.address),
        name="source",
        records=records,
        to=to,
        whose=whose,
        all=True,
        local=ours(archive),
        grace="1 s",
        **how,
    )
    branches = {
        str(number): sinks.Directory(str(folder), FLAT, name=f"to-{number}")
        for number, folder in enumerate(folders)
    }
    pipeline = Pipeline(source | Spread(tuple(range(len(folders)))) | branches)
    async with pipeline.start(observe=[events.append]) as running:
        await running.wait()
    return running.statistics(), [event for event in events if isinstance(event, InstanceRefused)], whose


def names(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("*.dcm")} if folder.exists() else set()


def images(facts: Iterable[Fact], archive: Archive) -> set[str]:
    return {fact.image for fact in facts if fact in archive.expected}


@METHODS
async def test_studies_series_and_images_go_where_they_are_to_go(
    archive: Archive, method: str, tmp_path: Path
) -> None:
    records = [
        record(ONE, Level.STUDY),
        record(MPRAGE, Level.SERIES),
        record(ECHOES[0], Level.IMAGE),
        record(ECHOES[1], Level.IMAGE),
    ]
    to = {ONE.study: (0,), MPRAGE.series: (1,), ECHOES[0].image: (0, 1), ECHOES[1].image: (1,)}
    one, two = tmp_path / "0", tmp_path / "1"
    statistics, refused, _ = await pull(archive, records, to, one, two, method=method)
    assert refused == []
    study = matching({"StudyInstanceUID": ONE.study})
    series = matching({"SeriesInstanceUID": MPRAGE.series})
    assert names(one) == images([*study, ECHOES[0]], archive)
    assert names(two) == images([*series, *ECHOES], archive)
    assert statistics.pipeline.accepted == len(study) + len(series) + 2


@METHODS
async def test_what_a_destination_refuses_is_no_reason_to_end(
    archive: Archive, method: str, tmp_path: Path
) -> None:
    """Some archives end at the first sub-operation that fails. What one destination refuses, the other one still gets."""
    one, two = tmp_path / "0", tmp_path / "1"
    for fact in BASE:
        (one / f"{fact.image}.dcm" / "in the way").mkdir(parents=True)
    to = {OLD.study: (0, 1), TWO.study: (1,)}
    records = [record(OLD, Level.STUDY), record(TWO, Level.STUDY)]
    _, refused, whose = await pull(archive, records, to, one, two, method=method)
    old, other = matching({"StudyInstanceUID": OLD.study}), matching({"StudyInstanceUID": TWO.study})
    assert names(two) == images([*old, *other], archive)
    assert {event.sop_instance_uid for event in refused if event.stage == "to-0"} == images(old, archive)
    assert {event.stage for event in refused} == {"to-0"}
    assert whose == dict.fromkeys(images(old, archive), (0, 1))


@METHODS
async def test_what_the_archive_has_not_is_named(archive: Archive, method: str, tmp_path: Path) -> None:
    ghost = Record(Level.IMAGE, {**LONG.keys("series"), "SOPInstanceUID": "2.25.404"})
    to = {"2.25.404": (0,), LONG.image: (0,)}
    records = [ghost, record(LONG, Level.IMAGE)]
    statistics, refused, _ = await pull(archive, records, to, tmp_path / "0", method=method)
    assert names(tmp_path / "0") == {LONG.image}
    assert [event.sop_instance_uid for event in refused] == ["2.25.404"]
    assert (statistics.pipeline.accepted, statistics.pipeline.refused) == (1, 1)


async def test_what_the_archive_had_and_has_not_any_more_is_not_waited_for(
    archive: Archive, tmp_path: Path
) -> None:
    """It said three when it was asked, and has two."""
    counted = record(MPRAGE, Level.SERIES, NumberOfSeriesRelatedInstances=3)
    _, refused, _ = await pull(archive, [counted], {MPRAGE.series: (0,)}, tmp_path / "0", method="move")
    assert names(tmp_path / "0") == images(matching({"SeriesInstanceUID": MPRAGE.series}), archive)
    assert refused == []  # what it lists now is complete


async def test_nothing_to_retrieve_is_nothing(archive: Archive, tmp_path: Path) -> None:
    statistics, refused, _ = await pull(archive, [], {}, tmp_path / "0")
    assert (statistics.pipeline.emitted, refused) == (0, [])


async def test_what_a_node_that_is_gone_was_to_send_is_named(archive: Archive) -> None:
    source = Pull(
        str(nobody()),
        name="source",
        records=[record(PRIVATE, Level.IMAGE)],
        to={PRIVATE.image: (0,)},
        all=True,
        local=ours(archive),
    )
    events: list[Event] = []
    pipeline = Pipeline(source | sinks.Discard())
    async with pipeline.start(observe=[events.append]) as running:
        await running.wait()
    refused = [event.sop_instance_uid for event in events if isinstance(event, InstanceRefused)]
    assert refused == [PRIVATE.image]
