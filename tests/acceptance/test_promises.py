"""What a sender is told, when it is told it, and what the counters say, seen by an embedding program."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio import wait_all_tasks_blocked

import corpus
from acceptance_kit import FLAT, dataset, everything, visible
from dcmflow import (
    DcmflowError,
    Instance,
    Limits,
    Pipeline,
    Receipt,
    Refused,
    Retry,
    Running,
    Sink,
    StageError,
    Status,
    filters,
    routers,
    sinks,
    sources,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]


def made(number: int, *, size: int = 16, **elements: Any) -> Instance:
    """A small image with this instance number."""
    uid = corpus.uid("PROMISES", number)
    return Instance.from_dataset(corpus.mr(side=size, InstanceNumber=number, SOPInstanceUID=uid, **elements))


def number_of(instance: Instance) -> int:
    return int(instance.header["InstanceNumber"])


def refusing(status: int, *numbers: int) -> Any:
    """A filter that refuses these numbers, or all."""

    def refuse(instance: Instance) -> Instance:
        if not numbers or number_of(instance) in numbers:
            raise Refused(f"told to say {status:04X}", status=status)
        return instance

    return refuse


def gate(opens: anyio.Event) -> Any:
    """A filter that lets nothing on before the event."""

    async def wait(instance: Instance) -> Instance:
        await opens.wait()
        return instance

    return wait


async def told(receipt: Receipt) -> Status | None:
    """What the sender has been told by now; None when it is still waiting and everybody else waits, too."""
    await wait_all_tasks_blocked()
    with anyio.move_on_after(0.02):
        return await receipt.wait()
    return None


async def until_true(condition: Callable[[], bool]) -> None:
    """Waits for what no event tells; for ever, if need be: the test has an end of its own."""
    while not condition():  # noqa: ASYNC110
        await anyio.sleep(0.01)


def check_sums(running: Running) -> None:
    figures = running.statistics().pipeline
    assert figures.emitted == figures.accepted + figures.dropped + figures.refused + figures.unsettled


class Stuck(Sink, frozen=True, tag="acceptance-stuck"):
    """Accepts so many, then waits for the event; notes what it accepts."""

    after: int
    until: Any
    seen: Any

    @asynccontextmanager
    async def open(self, context: Any) -> AsyncIterator[Stuck]:
        yield self

    async def write(self, instance: Instance) -> None:
        if len(self.seen) == self.after:
            await self.until.wait()
        self.seen.append(number_of(instance))


# receipts ------------------------------------------------------------------------------------------------------


async def test_success_when_every_leaf_has_accepted_and_not_before(tmp_path: Path) -> None:
    opens = anyio.Event()
    inlet = sources.Inlet()
    flow = inlet | (sinks.Directory(tmp_path / "quick"), gate(opens) | sinks.Directory(tmp_path / "slow"))
    async with Pipeline(flow).start() as running:
        receipt = await running.send(inlet, made(1))
        await until_true(lambda: bool(visible(tmp_path / "quick")))
        assert len(visible(tmp_path / "quick")) == 1
        assert await told(receipt) is None
        assert running.statistics().pipeline.unsettled == 1
        check_sums(running)
        opens.set()
        status = await receipt.wait()
        assert (status, status.category, status.name) == (0, "success", "success")
        assert len(visible(tmp_path / "slow")) == 1
        assert await receipt.wait() == 0, "any number of tasks may wait, also later"


async def test_the_first_refusal_is_told_once_all_leaves_have_settled(tmp_path: Path) -> None:
    opens = anyio.Event()
    inlet = sources.Inlet()
    flow = inlet | (
        refusing(0xA900) | sinks.Discard(),
        filters.Call(gate(opens)) | (sinks.Directory(tmp_path / "other"), refusing(0xC123) | sinks.Discard()),
    )
    async with Pipeline(flow).start() as running:
        receipt = await running.send(inlet, made(1))
        assert await told(receipt) is None, "a branch is still at it"
        opens.set()
        status = await receipt.wait()
        assert (int(status), status.category) == (0xA900, "failure")
        assert len(visible(tmp_path / "other")) == 1, "the other branch completes"
        figures = running.statistics().pipeline
        assert (figures.emitted, figures.refused, figures.accepted) == (1, 1, 0)


async def test_a_receipt_has_no_status_before_it_is_settled() -> None:
    opens = anyio.Event()
    inlet = sources.Inlet()
    flow = inlet | (refusing(0xA900) | sinks.Discard(), gate(opens) | sinks.Discard())
    async with Pipeline(flow).start() as running:
        receipt = await running.send(inlet, made(1))
        await wait_all_tasks_blocked()
        before = receipt.status, receipt.outcome
        opens.set()
        await receipt.wait()
        assert before == (None, None)
        assert receipt.status == 0xA900


async def test_first_is_in_time_not_in_the_order_written() -> None:
    opens = anyio.Event()
    inlet = sources.Inlet()
    flow = inlet | (
        filters.Call(gate(opens)) | refusing(0xA900) | sinks.Discard(),
        refusing(0xC123) | sinks.Discard(),
    )
    async with Pipeline(flow).start() as running:
        receipt = await running.send(inlet, made(1))
        await wait_all_tasks_blocked()
        opens.set()
        assert await receipt.wait() == 0xC123


async def test_what_a_filter_drops_is_accepted() -> None:
    inlet = sources.Inlet()
    flow = inlet | (lambda instance: None) | sinks.Discard()
    async with Pipeline(flow).start() as running:
        assert await (await running.send(inlet, made(1))).wait() == 0
        figures = running.statistics().pipeline
        assert (figures.accepted, figures.dropped) == (0, 1)


async def test_dropped_on_one_branch_and_refused_on_the_other_is_refused() -> None:
    inlet = sources.Inlet()
    flow = inlet | (
        filters.Where("Modality == 'CT'") | sinks.Discard(),
        refusing(0xA700) | sinks.Discard(),
    )
    async with Pipeline(flow).start() as running:
        assert await (await running.send(inlet, made(1))).wait() == 0xA700


async def test_dropped_on_one_branch_and_accepted_on_the_other_counts_once() -> None:
    inlet = sources.Inlet()
    flow = inlet | (filters.Where("Modality == 'CT'") | sinks.Discard(), sinks.Discard())
    async with Pipeline(flow).start() as running:
        assert await (await running.send(inlet, made(1))).wait() == 0
        check_sums(running)
        assert running.statistics().pipeline.emitted == 1


async def test_a_router_without_a_branch_for_it_refuses() -> None:
    inlet = sources.Inlet()
    flow = inlet | routers.Match({"ct": "Modality == 'CT'"}) | {"ct": sinks.Discard()}
    async with Pipeline(flow).start() as running:
        receipt = await running.send(inlet, made(1))
        assert (await receipt.wait()).category == "failure"
        assert receipt.stage == "match-1"
        assert await (await running.send(inlet, made(2, Modality="CT"))).wait() == 0


async def test_a_best_effort_sink_refuses_nothing_and_is_counted(tmp_path: Path) -> None:
    full = sinks.Directory(tmp_path / "b", layout=FLAT, exists="refuse", required=False, name="spare")
    inlet = sources.Inlet()
    seen: list[object] = []
    async with Pipeline(inlet | (sinks.Directory(tmp_path / "a", layout=FLAT), full)).start(
        observe=seen.append
    ) as running:
        assert await (await running.send(inlet, made(1))).wait() == 0
        (taken,) = visible(tmp_path / "b")
        taken.write_bytes(b"something else")
        (tmp_path / "a" / taken.name).unlink()
        receipt = await running.send(inlet, made(1))
        assert await receipt.wait() == 0
        statistics = running.statistics()
        assert statistics.stages["spare"].refused == 1
        assert (statistics.pipeline.accepted, statistics.pipeline.refused) == (2, 0)
    refusals = [event for event in seen if type(event).__name__ == "InstanceRefused"]
    assert [(event.stage, event.required) for event in refusals] == [("spare", False)]  # type: ignore[attr-defined]


async def test_what_became_several_is_accepted_when_all_of_them_are(tmp_path: Path) -> None:
    def split(instance: Instance) -> Iterable[Instance]:
        first = number_of(instance)
        return [made(first + n) for n in range(3)]

    inlet = sources.Inlet()
    flow = inlet | split | refusing(0xA800, 12) | sinks.Directory(tmp_path / "out", layout="{InstanceNumber}")
    async with Pipeline(flow).start() as running:
        assert await (await running.send(inlet, made(1))).wait() == 0
        assert await (await running.send(inlet, made(10))).wait() == 0xA800
    assert everything(tmp_path / "out") == ["1", "10", "11", "2", "3"]


@pytest.mark.parametrize("failures", [2, 3])
async def test_transient_errors_are_tried_again_and_others_are_not(failures: int) -> None:
    tries: list[int] = []

    def flaky(instance: Instance) -> Instance:
        tries.append(number_of(instance))
        if tries.count(1) <= failures:
            raise Refused("busy", status=0xA700, transient=True)
        return instance

    inlet = sources.Inlet()
    step = filters.Call(flaky, retry=Retry(attempts=3, first=0.001, longest=0.002), name="flaky")
    async with Pipeline(inlet | step | sinks.Discard()).start() as running:
        assert await (await running.send(inlet, made(1))).wait() == (0 if failures == 2 else 0xA700)
        assert tries == [1, 1, 1]
        assert running.statistics().stages["flaky"].retried == 2


async def test_a_lasting_error_is_not_tried_again() -> None:
    tries: list[int] = []

    def never(instance: Instance) -> Instance:
        tries.append(1)
        raise Refused("no", status=0xA900, transient=False)

    inlet = sources.Inlet()
    step = filters.Call(never, retry=Retry(attempts=5, first=0.001))
    async with Pipeline(inlet | step | sinks.Discard()).start() as running:
        assert await (await running.send(inlet, made(1))).wait() == 0xA900
    assert tries == [1]


async def test_a_bug_in_a_function_refuses_that_instance_only() -> None:
    inlet = sources.Inlet()
    flow = (
        inlet | filters.Call(lambda instance: 1 // (number_of(instance) - 1) and instance) | sinks.Discard()
    )
    async with Pipeline(flow).start() as running:
        receipt = await running.send(inlet, made(1))
        assert (await receipt.wait()).category == "failure"
        assert "ZeroDivisionError" in receipt.reason
        assert await (await running.send(inlet, made(2))).wait() == 0


async def test_on_error_hands_it_to_a_sink_that_then_decides(tmp_path: Path) -> None:
    bad = sinks.Quarantine(tmp_path / "bad", name="bad")
    inlet = sources.Inlet()
    flow = inlet | filters.Call(refusing(0xC001), on_error="bad", name="picky") | sinks.Discard()
    seen: list[object] = []
    async with Pipeline(flow, bad).start(observe=seen.append) as running:
        assert await (await running.send(inlet, made(1))).wait() == 0
    assert [path.suffix for path in visible(tmp_path / "bad")].count(".json") == 1
    assert len(visible(tmp_path / "bad")) == 2
    (event,) = [event for event in seen if type(event).__name__ == "InstanceDiverted"]
    assert (event.stage, event.to, int(event.status)) == ("picky", "bad", 0xC001)  # type: ignore[attr-defined]


# room ----------------------------------------------------------------------------------------------------------


async def send_all(running: Running, inlet: Any, count: int, receipts: list[Receipt]) -> None:
    for number in range(1, count + 1):
        receipts.append(await running.send(inlet, made(number)))


async def test_a_stuck_sink_stops_its_sender_after_five_and_one_and_four() -> None:
    until, seen, receipts = anyio.Event(), [], []  # type: ignore[var-annotated]
    inlet = sources.Inlet()
    sink = Stuck(after=5, until=until, seen=seen, inbox=4)
    async with anyio.create_task_group() as tasks, Pipeline(inlet | sink).start() as running:
        tasks.start_soon(send_all, running, inlet, 20, receipts)
        await wait_all_tasks_blocked()
        assert len(seen) == 5
        assert len(receipts) == 5 + 1 + 4
        until.set()
        while len(receipts) < 20:
            await anyio.lowlevel.checkpoint()
        for receipt in receipts:
            assert await receipt.wait() == 0
    assert seen == list(range(1, 21)), "first in, first out"


@pytest.mark.parametrize("branches", [1, 3])
async def test_no_more_are_unsettled_than_the_limit_says(branches: int) -> None:
    until, receipts = anyio.Event(), []  # type: ignore[var-annotated]
    stuck = tuple(Stuck(after=0, until=until, seen=[]) for _ in range(branches))
    inlet = sources.Inlet()
    async with (
        anyio.create_task_group() as tasks,
        Pipeline(inlet | stuck, limits=Limits(instances=3)).start() as running,
    ):
        tasks.start_soon(send_all, running, inlet, 8, receipts)
        await wait_all_tasks_blocked()
        assert len(receipts) == 3, "copies for several branches count once"
        assert running.statistics().pipeline.unsettled == 3
        until.set()
        while len(receipts) < 8:
            await anyio.lowlevel.checkpoint()
    assert running.statistics().pipeline.accepted == 8


async def test_memory_is_bounded_and_what_is_too_large_goes_alone() -> None:
    until, receipts = anyio.Event(), []  # type: ignore[var-annotated]
    one = made(1).payload.size
    inlet = sources.Inlet()
    sink = Stuck(after=0, until=until, seen=[])
    async with (
        anyio.create_task_group() as tasks,
        Pipeline(inlet | sink, limits=Limits(memory=2 * one + one // 2)).start() as running,
    ):
        tasks.start_soon(send_all, running, inlet, 4, receipts)
        await wait_all_tasks_blocked()
        assert len(receipts) == 2
        assert 2 * one - 20 < running.statistics().pipeline.resident <= 2 * one + 20
        until.set()
        while len(receipts) < 4:
            await anyio.lowlevel.checkpoint()
        for receipt in receipts:
            await receipt.wait()
        with anyio.fail_after(5):
            large = await running.send(inlet, made(9, size=64))
        assert large.status is None or large.status == 0
        assert await large.wait() == 0
        assert running.statistics().pipeline.resident == 0


# ends ----------------------------------------------------------------------------------------------------------


async def test_leaving_the_block_lets_everything_settle(tmp_path: Path) -> None:
    inlet = sources.Inlet()
    receipts: list[Receipt] = []

    async def slow(instance: Instance) -> Instance:
        await anyio.sleep(0.002)
        return instance

    async with Pipeline(inlet | slow | sinks.Directory(tmp_path / "out", layout=FLAT)).start() as running:
        await send_all(running, inlet, 10, receipts)
    assert [receipt.status for receipt in receipts] == [0] * 10
    assert len(visible(tmp_path / "out")) == 10
    figures = running.statistics().pipeline
    assert (figures.emitted, figures.accepted, figures.unsettled) == (10, 10, 0)


async def test_draining_takes_nothing_more_and_settles_what_is_admitted() -> None:
    opens = anyio.Event()
    inlet = sources.Inlet()
    async with (
        anyio.create_task_group() as tasks,
        Pipeline(inlet | gate(opens) | sinks.Discard()).start() as running,
    ):
        receipt = await running.send(inlet, made(1))
        tasks.start_soon(running.drain)
        await wait_all_tasks_blocked()
        with pytest.raises(DcmflowError):
            await running.send(inlet, made(2))
        assert await told(receipt) is None
        opens.set()
        assert await receipt.wait() == 0
        await running.wait()


async def test_an_endless_source_ends_by_draining(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    watched = sources.Directory(tmp_path / "in", watch=True)
    async with Pipeline(watched | sinks.Directory(tmp_path / "out", layout=FLAT)).start() as running:
        (tmp_path / "in" / "x").write_bytes(corpus.part10(corpus.mr()))
        await until_true(lambda: running.statistics().pipeline.accepted == 1)
        await running.drain()
        await running.wait()
    assert len(visible(tmp_path / "out")) == 1


async def test_grace_ends_what_does_not_settle() -> None:
    inlet = sources.Inlet()
    async with Pipeline(inlet | gate(anyio.Event()) | sinks.Discard()).start() as running:
        receipt = await running.send(inlet, made(1))
        await running.drain(grace=0.01)
        assert (await receipt.wait()).category != "success"


@pytest.mark.parametrize("how", ["cancel", "raise", "scope"])
async def test_cancelling_refuses_every_open_receipt(how: str) -> None:
    inlet = sources.Inlet()
    receipts: list[Receipt] = []
    caught: list[BaseException] = []
    with anyio.CancelScope() as scope:
        try:
            async with Pipeline(inlet | gate(anyio.Event()) | sinks.Discard()).start() as running:
                await send_all(running, inlet, 3, receipts)
                if how == "cancel":
                    running.cancel()
                    await running.wait()
                elif how == "raise":
                    raise LookupError("the program's own")
                else:
                    scope.cancel()
                    await anyio.sleep_forever()
        except* LookupError as error:
            caught += error.exceptions
    assert len(caught) == (how == "raise")
    assert [receipt.status is not None and receipt.status.category for receipt in receipts] == [
        "cancel"
    ] * 3 or all(receipt.status is not None and not receipt.status.accepted for receipt in receipts)
    figures = running.statistics().pipeline
    assert (figures.emitted, figures.refused, figures.unsettled) == (3, 3, 0)


async def test_a_sink_that_cannot_open_names_itself_and_nothing_moves(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "x.dcm").write_bytes(corpus.part10(corpus.mr()))
    flow = sources.Directory(tmp_path / "x.dcm") | (
        sinks.Directory(tmp_path / "good"),
        sinks.Directory(tmp_path / "file" / "below", name="blocked"),
    )
    with pytest.raises(StageError) as caught:
        async with Pipeline(flow).start():
            raise AssertionError("it must not start")
    assert (caught.value.stage, caught.value.opening) == ("blocked", True)
    assert visible(tmp_path / "good") == []


# outlets and figures -------------------------------------------------------------------------------------------


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
