"""How much a pipeline takes on, and how it ends: limits, draining, cancelling."""

from __future__ import annotations

from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from anyio import wait_all_tasks_blocked

import corpus
from acceptance_flows import Stuck, gate, made, send_all, told, until_true
from acceptance_kit import FLAT, visible
from dcmflow import (
    DcmflowError,
    Instance,
    Limits,
    Pipeline,
    Receipt,
    StageError,
    sinks,
    sources,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]


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
