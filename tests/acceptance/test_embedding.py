"""Inlets, outlets, figures and events: a pipeline inside of another program."""

from __future__ import annotations

from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from anyio import wait_all_tasks_blocked

import corpus
from acceptance_flows import check_sums, made, number_of, refusing, send_all, told
from acceptance_kit import FLAT, dataset, everything, visible
from dcmflow import (
    DcmflowError,
    Instance,
    Pipeline,
    Receipt,
    filters,
    routers,
    sinks,
    sources,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]


async def test_an_outlet_accepts_when_the_next_one_is_asked_for() -> None:
    inlet, outlet = sources.Inlet(), sinks.Outlet()
    async with Pipeline(inlet | outlet).start() as running, running.outlet(outlet) as instances:
        first = await running.send(inlet, made(1))
        second = await running.send(inlet, made(2))
        at_hand = await anext(instances)
        assert number_of(at_hand) == 1
        await wait_all_tasks_blocked()
        assert await told(first) is None
        assert number_of(await anext(instances)) == 2
        assert await first.wait() == 0
        assert await told(second) is None
        running.close(inlet)
        async for _ in instances:
            raise AssertionError("there were two")
        assert await second.wait() == 0


async def test_leaving_an_outlet_early_refuses_the_one_at_hand() -> None:
    inlet, outlet = sources.Inlet(), sinks.Outlet()
    async with Pipeline(inlet | outlet).start() as running:
        receipt = await running.send(inlet, made(1))
        async with running.outlet(outlet) as instances:
            await anext(instances)
        assert not (await receipt.wait()).accepted


async def test_the_sums_close_at_every_moment() -> None:
    inlet = sources.Inlet()
    flow = (
        inlet
        | filters.Where("InstanceNumber != 3")
        | refusing(0xA700, 5, 8)
        | (sinks.Discard(name="one"), sinks.Discard(name="two"))
    )
    receipts: list[Receipt] = []
    async with Pipeline(flow).start() as running:
        for number in range(1, 11):
            receipts.append(await running.send(inlet, made(number)))
            check_sums(running)
            await anyio.lowlevel.checkpoint()
            check_sums(running)
    statistics = running.statistics()
    figures = statistics.pipeline
    assert (figures.emitted, figures.accepted, figures.dropped, figures.refused) == (10, 7, 1, 2)
    for name in ("one", "two"):
        assert (statistics.stages[name].received, statistics.stages[name].sent) == (7, 7)
    told = [int(receipt.status) for receipt in receipts if receipt.status is not None]
    assert told == [0, 0, 0, 0, 0xA700, 0, 0, 0xA700, 0, 0]


async def test_events_name_stage_object_status_and_reason() -> None:
    inlet = sources.Inlet()
    async with Pipeline(
        inlet | filters.Call(refusing(0xA900), name="picky") | sinks.Discard()
    ).start() as running:
        async with running.events() as events:
            await (await running.send(inlet, made(1))).wait()
            async for event in events:
                if type(event).__name__ == "InstanceRefused":
                    break
        assert (event.stage, event.status) == ("picky", 0xA900)
        assert event.sop_instance_uid == made(1).sop_instance_uid
        assert "told to say A900" in event.reason


async def test_run_gives_the_final_figures(tmp_path: Path) -> None:
    flow = sources.Synthetic(instances=3, series=2, size=100) | sinks.Directory(tmp_path / "out", layout=FLAT)
    statistics = await Pipeline(flow).run()
    assert statistics.pipeline.accepted == 6 == len(visible(tmp_path / "out"))


async def test_a_running_pipeline_can_be_started_in_a_task_group() -> None:
    inlet = sources.Inlet()
    async with anyio.create_task_group() as tasks:
        running = await tasks.start(Pipeline(inlet | sinks.Discard()).run)
        assert await (await running.send(inlet, made(1))).wait() == 0
        await running.drain()


async def test_a_duplicate_is_repaired_by_a_function(tmp_path: Path) -> None:
    """Two files of one UID with other pixels: a new UID that depends on where each came from; both are stored."""
    given = corpus.clash(tmp_path / "in")

    def own_uid(instance: Instance) -> Instance:
        return instance.with_elements({"SOPInstanceUID": corpus.uid(Path(str(instance.origin.path)).name)})

    pair = [sources.Directory(given[f"pixels-{letter}.dcm"]) for letter in "ab"]
    await Pipeline(tuple(pair) | filters.Call(own_uid) | sinks.Directory(tmp_path / "out", layout=FLAT)).run()
    assert sorted(path.stem for path in visible(tmp_path / "out")) == sorted(
        corpus.uid(f"pixels-{letter}.dcm") for letter in "ab"
    )


async def test_a_function_that_returns_nonsense_refuses_and_says_so() -> None:
    inlet = sources.Inlet()
    step = filters.Call(lambda instance: "not an instance", name="odd")
    async with Pipeline(inlet | step | sinks.Discard()).start() as running:
        receipt = await running.send(inlet, made(1))
        assert (await receipt.wait()).category == "failure"
        assert receipt.stage == "odd"
        assert "str" in receipt.reason


async def test_a_router_that_names_no_branch_of_its_own_refuses() -> None:
    inlet = sources.Inlet()
    flow = (
        inlet
        | routers.Call(lambda instance: "nowhere", name="by")
        | {"a": sinks.Discard(), "*": sinks.Discard()}
    )
    async with Pipeline(flow).start() as running:
        receipt = await running.send(inlet, made(1))
        assert (await receipt.wait()).category == "failure"
        assert receipt.stage == "by"
        assert "nowhere" in receipt.reason


async def test_only_an_inlet_takes_instances(tmp_path: Path) -> None:
    source, sink = sources.Inlet(), sinks.Discard()
    async with Pipeline(source | sink).start() as running:
        for wrong in (sink, "nowhere", sources.Inlet()):
            with pytest.raises(DcmflowError):
                await running.send(wrong, made(1))
        assert await (await running.send("inlet-1", made(1))).wait() == 0


async def test_a_pipeline_runs_as_often_as_it_is_started(tmp_path: Path) -> None:
    pipeline = Pipeline(
        sources.Synthetic(instances=3, size=100) | sinks.Directory(tmp_path / "out", layout=FLAT)
    )
    for _ in range(2):
        statistics = await pipeline.run()
        assert (statistics.pipeline.emitted, statistics.pipeline.accepted) == (3, 3)
    assert len(visible(tmp_path / "out")) == 3


async def test_two_pipelines_share_a_stage_and_nothing_else() -> None:
    inlet, sink = sources.Inlet(), sinks.Discard()
    one, two = Pipeline(inlet | sink), Pipeline(inlet | refusing(0xA700) | sink)
    async with one.start() as first, two.start() as second:
        assert await (await first.send(inlet, made(1))).wait() == 0
        assert await (await second.send(inlet, made(1))).wait() == 0xA700
        assert first.statistics().pipeline.refused == 0
        assert second.statistics().pipeline.accepted == 0


async def test_several_workers_lose_nothing(tmp_path: Path) -> None:
    async def now_and_then(instance: Instance) -> Instance:
        await anyio.sleep(0.001 * (number_of(instance) % 3))
        return instance

    inlet = sources.Inlet()
    step = filters.Call(now_and_then, workers=5)
    receipts: list[Receipt] = []
    async with Pipeline(
        inlet | step | sinks.Directory(tmp_path / "out", layout="{InstanceNumber}")
    ).start() as running:
        await send_all(running, inlet, 40, receipts)
    assert sorted(map(int, everything(tmp_path / "out"))) == list(range(1, 41))
    assert {int(receipt.status) for receipt in receipts if receipt.status is not None} == {0}


async def test_labels_and_origin_travel_with_an_instance(base_set: corpus.Corpus, tmp_path: Path) -> None:
    flow = (
        sources.Directory(base_set.folder, name="files")
        | filters.Call(
            lambda instance: instance.with_labels(kind="first" if number_of(instance) == 1 else "later")
        )
        | routers.Match({"first": "label.kind == 'first'"})
        | {
            "first": sinks.Directory(tmp_path / "first", layout="{label.kind}/{SOPInstanceUID}"),
            "*": sinks.Discard(),
        }
    )
    await Pipeline(flow).run()
    assert len(visible(tmp_path / "first" / "first")) == 7


async def test_an_instance_of_another_program_is_delivered_as_it_is(tmp_path: Path) -> None:
    """From bytes to bytes: what an embedding program gives is what lies on the disk."""
    data = corpus.part10(corpus.mr(patient="BYTES"))
    inlet = sources.Inlet()
    async with Pipeline(inlet | sinks.Directory(tmp_path / "out", layout="{PatientID}")).start() as running:
        assert await (await running.send(inlet, Instance.from_bytes(data))).wait() == 0
    assert dataset(tmp_path / "out" / "BYTES") == corpus.encode(corpus.mr(patient="BYTES"))
