"""How long an association may take for what, and what ends it then."""

from __future__ import annotations

import anyio
import pytest

from dcmflow.net.entity import Answer
from dcmflow.net.node import Timeouts
from dcmflow.protocol.command import CommandSet, Field, c_store_rq, encode_command
from dcmflow.status import Status
from dcmflow.testing import ScriptedScu, instance
from dcmflow.testing.peer_wire import LAST, message, p_data, pdv
from scp_runs import (
    CT,
    IMPLICIT,
    SHORT,
    echo,
    host,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]


async def test_an_idle_association_ends_and_is_told_so() -> None:
    async with host(timeouts=SHORT) as archive, ScriptedScu(archive.node) as scu:
        await scu.associate()
        assert [seen.what for seen in await scu.rest()] == ["A-ABORT", "close"]
        (text,) = archive.notices.texts
        assert "0.6" in text


async def test_who_does_something_is_not_idle() -> None:
    async with host(timeouts=SHORT) as archive, ScriptedScu(archive.node) as scu:
        await scu.associate()
        for _ in range(8):
            await anyio.sleep(0.2)
            assert (await scu.echo()).status == 0


@pytest.mark.parametrize("drop_by_drop", [False, True])
async def test_a_data_set_that_stops_or_trickles(drop_by_drop: bool) -> None:
    timeouts = Timeouts(acse=30, dimse=0.6, idle=30)
    request = message(1, encode_command(c_store_rq(1, CT, "2.25.1")))
    async with host(timeouts=timeouts) as archive, ScriptedScu(archive.node) as scu:
        await scu.associate((CT, IMPLICIT))
        await scu.send(request, p_data(pdv(1, 0, bytes(1000))))
        async with anyio.create_task_group() as tasks:

            async def trickle() -> None:
                while await scu.send(p_data(pdv(1, 0, b"\0"))):  # noqa: ASYNC110 - time is what this is about
                    await anyio.sleep(0.1)

            if drop_by_drop:
                tasks.start_soon(trickle)
            assert (await scu.receive()).what in ("A-ABORT", "reset")
            tasks.cancel_scope.cancel()
        await archive.entity.empty()
        assert archive.stored == []


async def test_slow_and_steady_is_fine() -> None:
    """5000 bytes each 0.3 seconds, for twice the time that may pass without progress."""
    timeouts = Timeouts(acse=30, dimse=0.6, idle=30)
    request = message(1, encode_command(c_store_rq(1, CT, "2.25.1")))
    async with host(timeouts=timeouts) as archive, ScriptedScu(archive.node) as scu:
        await scu.associate((CT, IMPLICIT))
        await scu.send(request)
        for number in range(5):
            await scu.send(p_data(pdv(1, LAST if number == 4 else 0, bytes(5000))))
            await anyio.sleep(0.3)
        assert (await scu.receive()).status == 0


async def test_progress_counts_wherever_it_is_cut() -> None:
    """A long fragment and the beginning of the next one, again and again."""
    timeouts = Timeouts(acse=30, dimse=0.6, idle=30)
    async with host(timeouts=timeouts) as archive, ScriptedScu(archive.node) as scu:
        await scu.associate((CT, IMPLICIT))
        await scu.send(message(1, encode_command(c_store_rq(1, CT, "2.25.1"))))
        for _ in range(6):
            await scu.send(p_data(pdv(1, 0, bytes(5000)), pdv(1, 0, bytes(10))))
            await anyio.sleep(0.25)
        await scu.send(p_data(pdv(1, LAST, b"")))
        assert (await scu.receive()).status == 0


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


async def test_a_peer_that_does_not_read_is_given_up() -> None:
    """Requests without end, and no answer is taken."""
    async with host(timeouts=SHORT) as archive, ScriptedScu(archive.node) as scu:
        await scu.associate()
        requests = message(1, encode_command(CommandSet(field=Field.C_ECHO_RQ, message_id=1))) * 1000
        with anyio.fail_after(15):
            while await scu.send(requests):
                pass
        await archive.entity.empty()
        assert (await echo(archive.node)).status == 0
