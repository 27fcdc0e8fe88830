"""Instances that came before."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from dcmflow import Instance, Limits, Pipeline, filters, sinks, sources
from dcmflow.filters import dedupe
from dcmflow.flow.context import Context
from dcmflow.flow.delivery import Receipt
from dcmflow.flow.stage import Filter, Inbox, Outlet
from dcmflow.testing import instance, synthesize
from little_stages import Deny, Do, Keep, Numbers, Stuck, made, number_of
from stage_runs import Gather, Observed, put, run, until

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("by", ["sop-instance", "content"])
async def test_second_copy_is_dropped(by: Any) -> None:
    seen: list[int] = []
    ran = await run((Numbers(20), Numbers(20, name="again")) | filters.Dedupe(by=by) | Keep(seen=seen))
    assert sorted(seen) == list(range(20))
    assert (ran.totals.accepted, ran.totals.dropped) == (20, 20)
    assert ran.warned == []


async def test_order_stays() -> None:
    seen: list[int] = []
    await run(Numbers(50) | filters.Dedupe() | Keep(seen=seen))
    assert seen == list(range(50))


async def test_same_uid_with_other_content_is_reported_and_the_first_kept(tmp_path: Any) -> None:
    one = put(tmp_path, "1.dcm", SOPInstanceUID="2.25.7", PatientID="one")
    put(tmp_path, "2.dcm", one.with_elements({"PatientID": "two"}))
    put(tmp_path, "3.dcm", one)
    seen = Gather()
    ran = await run(sources.Directory(str(tmp_path)) | filters.Dedupe() | seen | sinks.Discard())
    assert [given.header["PatientID"] for given in seen.seen] == ["one"]
    assert (ran.totals.accepted, ran.totals.dropped) == (1, 2)
    (warning,) = ran.warned
    assert "2.25.7" in warning.message
    assert warning.path == str(tmp_path / "2.dcm")


async def test_by_content_keeps_every_version() -> None:
    one = instance(SOPInstanceUID="2.25.7", PatientID="one")
    versions = [one, one.with_elements({"PatientID": "two"}), one]
    seen = Gather()
    flow = Numbers(3) | Do(lambda given: versions[number_of(given)]) | filters.Dedupe(by="content") | seen
    ran = await run(flow | sinks.Discard())
    assert [given.header["PatientID"] for given in seen.seen] == ["one", "two"]
    assert ran.warned == []


@pytest.mark.parametrize("by", ["sop-instance", "content"])
async def test_large_ones(tmp_path: Any, by: Any) -> None:
    for number, given in enumerate(synthesize(instances=2, size=3_000_000)):
        put(tmp_path, f"{number}", given)
        put(tmp_path, f"{number}-copy", given)
    ran = await run(sources.Directory(str(tmp_path)) | filters.Dedupe(by=by) | sinks.Discard())
    assert (ran.totals.accepted, ran.totals.dropped) == (2, 2)


async def test_only_so_many_are_remembered() -> None:
    seen: list[int] = []
    order = [0, 1, 2, 0, 2, 0]
    one_by_one = Limits(instances=1)
    flow = Numbers(len(order)) | Do(lambda given: made(order[number_of(given)])) | filters.Dedupe(remember=2)
    await run(flow | Keep(seen=seen), limits=one_by_one)
    assert seen == [0, 1, 2, 0]


async def test_after_a_refusal_the_next_copy_gets_through() -> None:
    seen: list[int] = []
    tries = 0

    def first_time(number: int) -> bool:
        nonlocal tries
        tries += 1
        return tries == 1

    one_by_one = Limits(instances=1)
    flow = Numbers(3) | Do(lambda given: made(7)) | filters.Dedupe() | Deny(when=first_time, seen=seen)
    ran = await run(flow, limits=one_by_one)
    assert seen == [7]
    assert (ran.totals.refused, ran.totals.accepted, ran.totals.dropped) == (1, 1, 1)


@pytest.mark.parametrize("refuse", [True, False])
async def test_copy_of_one_under_way_waits_for_it(refuse: bool) -> None:
    inlet, gate = sources.Inlet(), anyio.Event()
    calls = 0

    async def first_waits(given: Instance) -> Instance:
        nonlocal calls
        calls += 1
        if calls == 1:
            await gate.wait()
            if refuse:
                raise ValueError("refused")
        return given

    async with Pipeline(inlet | filters.Dedupe() | first_waits | sinks.Discard()).start() as running:
        receipts: list[Receipt] = [await running.send(inlet, made(7)) for _ in range(3)]
        await anyio.wait_all_tasks_blocked()
        assert [receipt.outcome for receipt in receipts] == [None] * 3
        gate.set()
        with anyio.fail_after(5):
            for receipt in receipts:
                await receipt.wait()
    outcomes = [str(receipt.outcome) for receipt in receipts]
    assert outcomes == (["refused", "accepted", "dropped"] if refuse else ["accepted", "dropped", "dropped"])
    assert calls == (2 if refuse else 1)


async def test_copies_of_one_emitted_instance() -> None:
    def doubled(given: Instance) -> list[Instance]:
        return [given, given]

    seen: list[int] = []
    ran = await run(Numbers(5) | Do(doubled) | filters.Dedupe() | Keep(seen=seen))
    assert seen == list(range(5))
    assert ran.totals.accepted == 5


class Crossed(Filter, frozen=True, tag="test-crossed"):
    """Makes 1 and 2 of each of two instances, and gives them on in the order 1 of the first, 2 of the second, and the others."""

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[Crossed]:
        yield self

    async def run(self, inbox: Inbox, outlet: Outlet) -> None:
        first, second = [(await inbox.receive()).fork(made(1), made(2)) for _ in range(2)]
        for delivery in (first[0], second[1], first[1], second[0]):
            await outlet.send(delivery)
        async for delivery in inbox:
            delivery.drop()


async def test_instances_that_would_wait_for_each_other_go_on() -> None:
    gate, seen = anyio.Event(), list[int]()
    flow = Numbers(2) | Crossed() | filters.Dedupe() | Stuck(gate, seen=seen)
    with anyio.fail_after(5):
        async with Pipeline(flow).start() as running:
            await anyio.wait_all_tasks_blocked()
            gate.set()
            await running.wait()
    assert running.statistics().pipeline.accepted == 2
    assert sorted(seen) == [1, 1, 2]  # one copy is dropped, the other goes on


async def test_what_waits_at_the_end_goes_on_at_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dedupe, "PATIENCE", 0.1)
    gate, seen = anyio.Event(), list[int]()
    observed = Observed()
    flow = Numbers(2) | Do(lambda given: made(7)) | filters.Dedupe() | Stuck(gate, seen=seen, workers=2)
    async with Pipeline(flow).start(observe=observed) as running:
        await until(lambda: running.statistics().stages["test-stuck-1"].received == 2)
        gate.set()
        with anyio.fail_after(5):
            await running.wait()
    assert seen == [7, 7]


async def test_cancelled_while_one_waits() -> None:
    flow = Numbers(3) | Do(lambda given: made(7)) | filters.Dedupe() | Stuck(anyio.Event())
    async with Pipeline(flow).start() as running:
        await anyio.wait_all_tasks_blocked()
        running.cancel()
    assert running.statistics().pipeline.refused == 3


async def test_bytes_that_are_gone(tmp_path: Any) -> None:
    put(tmp_path, "a.dcm", next(synthesize(size=3_000_000)))

    def removes(given: Instance) -> Instance:
        (tmp_path / "a.dcm").unlink()
        return given

    ran = await run(sources.Directory(str(tmp_path)) | removes | filters.Dedupe() | sinks.Discard())
    assert ran.totals.refused == 1
    assert "a.dcm" in ran.refused[0].reason
