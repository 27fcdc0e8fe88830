"""What a sender is told, and when: receipts, seen by an embedding program."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from anyio import wait_all_tasks_blocked

from acceptance_flows import check_sums, gate, made, number_of, refusing, told, until_true
from acceptance_kit import FLAT, everything, visible
from dcmflow import (
    Instance,
    Pipeline,
    Refused,
    Retry,
    filters,
    routers,
    sinks,
    sources,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]


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
