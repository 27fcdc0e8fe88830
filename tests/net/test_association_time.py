"""How long an association may take for what, and what ends it then. All at once: each of them mostly waits."""

from __future__ import annotations

import anyio
import pytest

from dcmflow.net.entity import Answer
from dcmflow.net.node import Timeouts
from dcmflow.protocol.command import CommandSet, Field, c_store_rq, encode_command
from dcmflow.status import Status
from dcmflow.testing import ScriptedScu, instance
from dcmflow.testing.peer_wire import LAST, message, p_data, pdv
from scp_runs import CT, IMPLICIT, SHORT, VERIFICATION, echo, host

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]

PATIENCE = Timeouts(acse=30, dimse=1, idle=1)
BEAT = 0.25
BEATS = 8  # together twice the time that may pass without anything

STORE = message(1, encode_command(c_store_rq(1, CT, "2.25.1")))


# -- fine


async def _requests_now_and_then(node: str) -> None:
    async with ScriptedScu(node) as scu:
        await scu.associate()
        for _ in range(BEATS):
            await anyio.sleep(BEAT)
            assert (await scu.echo()).status == 0


async def _a_data_set_slow_and_steady(node: str) -> None:
    async with ScriptedScu(node) as scu:
        await scu.associate((CT, IMPLICIT))
        await scu.send(STORE)
        for number in range(BEATS):
            await scu.send(p_data(pdv(1, LAST if number == BEATS - 1 else 0, bytes(5000))))
            await anyio.sleep(BEAT)
        assert (await scu.receive()).status == 0


async def _a_long_fragment_and_the_beginning_of_the_next(node: str) -> None:
    async with ScriptedScu(node) as scu:
        await scu.associate((CT, IMPLICIT))
        await scu.send(STORE)
        for _ in range(BEATS):
            await scu.send(p_data(pdv(1, 0, bytes(5000)), pdv(1, 0, bytes(10))))
            await anyio.sleep(BEAT)
        await scu.send(p_data(pdv(1, LAST, b"")))
        assert (await scu.receive()).status == 0


async def test_progress_is_enough() -> None:
    async with host(timeouts=PATIENCE) as archive:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_requests_now_and_then, archive.node)
            tasks.start_soon(_a_data_set_slow_and_steady, archive.node)
            tasks.start_soon(_a_long_fragment_and_the_beginning_of_the_next, archive.node)
        assert archive.stored == ["2.25.1"] * 2


async def test_an_answer_that_takes_longer_than_any_timeout() -> None:
    made = instance()
    async with host(timeouts=SHORT) as archive, ScriptedScu(archive.node) as scu:

        async def slow(association: object, received: object) -> Answer:
            archive.entity.store = archive.kept
            await anyio.sleep(1.2)
            return Answer(Status.SUCCESS)

        archive.entity.store = slow
        await scu.associate(instances=[made])
        for _ in range(2):
            assert (await scu.store(made)).status == 0
        assert archive.stored == [made.sop_instance_uid]
        assert [seen.what for seen in await scu.release()] == ["A-RELEASE-RP"]
    assert archive.notices.all == []


# -- too slow


async def _silence(scu: ScriptedScu) -> None:
    assert [seen.what for seen in await scu.rest()] == ["A-ABORT", "close"]


async def _half_a_data_set(scu: ScriptedScu) -> None:
    await scu.send(STORE, p_data(pdv(1, 0, bytes(1000))))
    assert [seen.what for seen in await scu.rest()] == ["A-ABORT", "close"]


async def _a_data_set_drop_by_drop(scu: ScriptedScu) -> None:
    await scu.send(STORE, p_data(pdv(1, 0, bytes(1000))))
    while await scu.send(p_data(pdv(1, 0, b"\0"))):  # noqa: ASYNC110 - time is what this is about
        await anyio.sleep(0.05)


async def _a_data_set_of_empty_fragments(scu: ScriptedScu) -> None:
    await scu.send(STORE)
    while await scu.send(p_data(pdv(1, 0, b""))):  # noqa: ASYNC110 - time is what this is about
        await anyio.sleep(0.05)


async def _a_command_drop_by_drop(scu: ScriptedScu) -> None:
    await scu.send(p_data(pdv(1, 1, STORE[12:20])))
    while await scu.send(p_data(pdv(1, 1, b""))):  # noqa: ASYNC110 - time is what this is about
        await anyio.sleep(0.05)


async def _no_answer_is_read(scu: ScriptedScu) -> None:
    requests = message(3, encode_command(CommandSet(field=Field.C_ECHO_RQ, message_id=1))) * 1000
    while await scu.send(requests):
        pass


async def test_who_does_not_get_on_is_given_up_and_others_go_on() -> None:
    async with host(timeouts=SHORT) as archive:

        async def attempt(what: object) -> None:
            async with ScriptedScu(archive.node) as scu:
                await scu.associate((CT, IMPLICIT), (VERIFICATION, IMPLICIT))
                await what(scu)  # type: ignore[operator]

        slow = [
            _silence,
            _half_a_data_set,
            _a_data_set_drop_by_drop,
            _a_data_set_of_empty_fragments,
            _a_command_drop_by_drop,
            _no_answer_is_read,
        ]
        async with anyio.create_task_group() as tasks:
            for what in slow:
                tasks.start_soon(attempt, what)
        await archive.entity.empty()
        assert (await echo(archive.node)).status == 0
        assert archive.stored == []
        assert len(archive.notices.texts) == len(slow)
        assert all("0.6" in text for text in archive.notices.texts)


async def test_a_long_idle_time_is_no_time_for_a_data_set() -> None:
    """The time for it counts from its command, also when both came in one stretch."""
    timeouts = Timeouts(acse=30, dimse=0.6, idle=300)
    async with host(timeouts=timeouts) as archive, ScriptedScu(archive.node) as scu:
        await scu.associate((CT, IMPLICIT))
        await _half_a_data_set(scu)
        await archive.entity.empty()
