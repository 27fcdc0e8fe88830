"""Room for instances and bytes, first come first served."""

from __future__ import annotations

import anyio
import pytest
from anyio import wait_all_tasks_blocked

from dcmflow.flow.capacity import Capacity, Limits

pytestmark = pytest.mark.anyio


def used(capacity: Capacity) -> tuple[int, int]:
    return capacity.instances_used, capacity.bytes_used


async def test_instances_are_bounded() -> None:
    capacity = Capacity(Limits(instances=2, memory=100))
    assert [capacity.try_acquire(1) for _ in range(3)] == [True, True, False]


async def test_bytes_are_bounded_and_one_too_large_comes_in_alone() -> None:
    capacity = Capacity(Limits(instances=9, memory=100))
    assert capacity.try_acquire(500)
    assert not capacity.try_acquire(0)
    capacity.release(500)
    assert capacity.try_acquire(60)
    assert not capacity.try_acquire(41)
    assert capacity.try_acquire(40)


async def test_nobody_overtakes() -> None:
    capacity = Capacity(Limits(instances=9, memory=100))
    assert capacity.try_acquire(60)
    order: list[int] = []

    async def come(charge: int) -> None:
        await capacity.acquire(charge)
        order.append(charge)

    async with anyio.create_task_group() as tasks:
        for charge in (90, 10, 20):
            tasks.start_soon(come, charge)
            await wait_all_tasks_blocked()
        assert order == []
        assert not capacity.try_acquire(1), "one byte would fit, but others came first"
        capacity.release(60)
        await wait_all_tasks_blocked()
        assert sorted(order) == [10, 90]
        capacity.release(90)
    assert order[-1] == 20
    assert used(capacity) == (2, 30)


async def test_a_cancelled_waiter_leaves_its_place() -> None:
    capacity = Capacity(Limits(instances=1, memory=100))
    assert capacity.try_acquire(1)
    got: list[str] = []

    async def come(name: str, scope: anyio.CancelScope) -> None:
        with scope:
            await capacity.acquire(1)
            got.append(name)

    first, second = anyio.CancelScope(), anyio.CancelScope()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(come, "first", first)
        await wait_all_tasks_blocked()
        tasks.start_soon(come, "second", second)
        await wait_all_tasks_blocked()
        first.cancel()
        await wait_all_tasks_blocked()
        assert capacity.waiting == 1
        capacity.release(1)
    assert got == ["second"]
    assert used(capacity) == (1, 1)


async def test_granted_and_cancelled_at_once_keeps_no_room() -> None:
    capacity = Capacity(Limits(instances=1, memory=100))
    assert capacity.try_acquire(1)

    async def come_and_go() -> None:
        await capacity.acquire(1)
        capacity.release(1)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(come_and_go)
        await wait_all_tasks_blocked()
        capacity.release(1)
        tasks.cancel_scope.cancel()
    assert used(capacity) == (0, 0)
    assert capacity.waiting == 0


async def test_growth_makes_new_arrivals_wait() -> None:
    capacity = Capacity(Limits(instances=9, memory=100))
    assert capacity.try_acquire(50)
    capacity.grow(50)
    assert not capacity.try_acquire(1)
    capacity.release(100)
    assert capacity.try_acquire(100)
