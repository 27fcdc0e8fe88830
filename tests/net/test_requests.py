"""Requests with many responses, and calling them off."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from dcmflow.dicom.query import Query
from dcmflow.errors import AssociationAborted, NetworkError, RemoteProtocolError
from dcmflow.net import models, retrieval
from dcmflow.net.association import Association
from dcmflow.net.entity import Answer
from dcmflow.net.models import Model
from dcmflow.net.node import Node, Timeouts
from dcmflow.net.pool import Pool
from dcmflow.net.received import Received
from dcmflow.net.requests import Request, request
from dcmflow.protocol.command import c_find_rq, c_get_rq
from dcmflow.status import Status
from dcmflow.testing import (
    AbortNow,
    CloseNow,
    Exchange,
    Get,
    Matches,
    Release,
    ScriptedScp,
    Silence,
    Wait,
    instance,
)
from dcmflow.testing import Answer as Reply

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]

PENDING, CANCELLED = 0xFF00, 0xFE00
STUDY = Query.of({"StudyInstanceUID": "1.2.3"})
CT = instance()


@asynccontextmanager
async def associated(peer: ScriptedScp, **timeouts: float) -> AsyncIterator[Association]:
    node = Node(host="127.0.0.1", port=peer.port, timeouts=Timeouts(**timeouts))
    async with Pool(node, calling_ae="HERE") as pool, pool.associate(models.proposed("find")) as association:
        yield association


@asynccontextmanager
async def asking(association: Association, message_id: int | None = None) -> AsyncIterator[Request]:
    context = models.offered(association, "find")[Model.STUDY_ROOT]
    identifier = STUDY.identifier(context.transfer_syntax)
    async with request(
        association,
        context,
        lambda number: c_find_rq(number, context.abstract_syntax),
        identifier,
        message_id=message_id,
    ) as asked:
        yield asked


async def statuses(asked: Request) -> list[int]:
    found = []
    while asked.status is None:
        received = await asked.response()
        assert received.command.status is not None
        found.append(received.command.status)
    return found


async def test_the_last_response_says_how_it_ended() -> None:
    three = Matches([b""] * 3, final=Reply(0xA700, "too many"))
    async with ScriptedScp(on_find=[three, three, 0]) as peer, associated(peer) as association:
        async with asking(association) as asked:
            assert asked.status is None
            assert await statuses(asked) == [PENDING] * 3 + [0xA700]
        assert asked.status == 0xA700
        assert asked.comment == "too many"
        async with asking(association) as asked:
            assert len(await statuses(asked)) == 4
        async with asking(association) as asked:
            assert await statuses(asked) == [0]
        assert asked.comment == ""
        numbers = [seen.command.message_id for seen in peer.received.of("C-FIND-RQ") if seen.command]
        assert len(set(numbers)) == 3
        assert "C-CANCEL-RQ" not in peer.received.whats


async def test_responses_to_something_else_are_passed_over() -> None:
    def stray(exchange: Exchange) -> Any:
        other = ((exchange.request.message_id or 0) + 7) % 0xFFFF
        return Reply(0, fields={"message_id_responded": other}), Reply(PENDING, data=b""), Reply(0)

    async with (
        ScriptedScp(on_find=stray) as peer,
        associated(peer) as association,
        asking(association) as asked,
    ):
        assert await statuses(asked) == [PENDING, 0]


async def test_left_early_it_is_called_off_and_the_association_goes_on() -> None:
    async with (
        ScriptedScp(on_find=[(Reply(PENDING, data=b""), Wait("C-CANCEL-RQ"), Reply(CANCELLED)), 0]) as peer,
        associated(peer) as association,
    ):
        async with asking(association, message_id=77) as asked:
            await asked.response()
        assert asked.status == CANCELLED
        (cancel,) = peer.received.of("C-CANCEL-RQ")
        assert cancel.command is not None
        assert cancel.command.message_id_responded == 77
        async with asking(association) as asked:
            assert await statuses(asked) == [0]
        assert "A-ABORT" not in peer.received.whats


async def test_answers_on_their_way_are_read_out_after_a_cancel() -> None:
    """PS3.7 9.3.2.3: what was sent before the peer saw the C-CANCEL comes all the same."""
    many = Matches((bytes(2000) for _ in range(300)), heed_cancel=False)
    async with ScriptedScp(on_find=[many, 0]) as peer, associated(peer) as association:
        async with asking(association) as asked:
            await asked.response()
        assert asked.status == 0
        async with asking(association) as asked:
            assert await statuses(asked) == [0]
        assert len(peer.received.of("A-ASSOCIATE-RQ")) == 1


async def test_nobody_heeds_the_cancel_and_the_association_is_aborted() -> None:
    async with (
        ScriptedScp(on_find=(Reply(PENDING, data=b""), Silence())) as peer,
        associated(peer) as association,
    ):
        with anyio.fail_after(10):
            async with asking(association) as asked:
                await asked.response()
            await peer.received.wait("A-ABORT")
        assert asked.status is None
        assert not association.usable
        assert [what for what in peer.received.whats if what in ("C-CANCEL-RQ", "A-ABORT")] == [
            "C-CANCEL-RQ",
            "A-ABORT",
        ]


async def test_cancelled_from_outside_it_is_called_off_too() -> None:
    script = (Reply(PENDING, data=b""), Wait("C-CANCEL-RQ"), Reply(CANCELLED))
    async with ScriptedScp(on_find=script) as peer, associated(peer) as association:
        with anyio.CancelScope() as scope:
            async with asking(association) as asked:
                await asked.response()
                scope.cancel()
                await asked.response()
        assert scope.cancelled_caught
        assert asked.status == CANCELLED
        assert association.usable


@pytest.mark.parametrize("end", [AbortNow(), CloseNow(), CloseNow(reset=True)])
async def test_an_end_in_the_middle(end: Any) -> None:
    async with ScriptedScp(on_find=Matches([b""] * 2, final=end)) as peer:
        with pytest.raises(AssociationAborted):
            async with associated(peer) as association, asking(association) as asked:
                await statuses(asked)
        assert asked.status is None
        assert "C-CANCEL-RQ" not in peer.received.whats


async def test_a_release_in_the_middle() -> None:
    from dcmflow.protocol.pdu import ReleaseRequest

    async def ask_for_release(exchange: Exchange) -> None:
        await exchange.channel.send(ReleaseRequest())

    async with ScriptedScp(on_find=ask_for_release, on_release=Release()) as peer:
        with pytest.raises(NetworkError, match="release"):
            async with associated(peer) as association, asking(association) as asked:
                await asked.response()


async def test_silence_ends_after_the_dimse_timeout() -> None:
    async with ScriptedScp(on_find=Silence()) as peer:
        with anyio.fail_after(10), pytest.raises(NetworkError, match="the next message"):
            async with associated(peer, dimse=0.3) as association, asking(association) as asked:
                await asked.response()


async def test_a_request_where_a_response_is_due() -> None:
    async def echo(exchange: Exchange) -> None:
        from dcmflow.protocol.command import c_echo_rq

        await exchange.channel.send_message(exchange.seen.context_id, c_echo_rq(5), None)

    async with ScriptedScp(on_find=echo) as peer:
        with pytest.raises(RemoteProtocolError, match="0030H"):
            async with associated(peer) as association, asking(association) as asked:
                await asked.response()
        await peer.received.wait("A-ABORT")


# -- sub-operations on the same association


@asynccontextmanager
async def getting(peer: ScriptedScp) -> AsyncIterator[tuple[Association, Request]]:
    node = Node(host="127.0.0.1", port=peer.port)
    contexts, user = retrieval.get_contexts([CT.sop_class_uid])
    async with (
        Pool(node, calling_ae="HERE") as pool,
        pool.associate(contexts, user) as association,
        request(
            association,
            models.offered(association, "get")[Model.STUDY_ROOT],
            lambda number: c_get_rq(number, Model.STUDY_ROOT.sop_class("get")),
            STUDY.identifier(),
        ) as asked,
    ):
        yield association, asked


async def test_each_sub_operation_is_answered_as_it_is_told() -> None:
    answers = iter([Answer(Status.SUCCESS), Answer(Status.OUT_OF_RESOURCES, "no " + "very " * 30 + "full")])
    taken: list[Received] = []

    async def store(received: Received) -> Answer:
        taken.append(received)
        return next(answers)

    async with ScriptedScp(on_get=Get([CT, instance()])) as peer, getting(peer) as (_, asked):
        while asked.status is None:
            await asked.response(store=store)
    assert asked.status == 0xB000
    assert taken[0].command.affected_sop_instance == CT.sop_instance_uid
    good, bad = peer.received.of("C-STORE-RSP")
    assert (good.status, bad.status) == (0, 0xA700)
    assert bad.command is not None
    assert len(bad.command.error_comment or "") <= 64


async def test_sub_operations_that_come_after_a_cancel_are_refused() -> None:
    made = [instance() for _ in range(3)]

    async def store(received: Received) -> Answer:
        raise ZeroDivisionError

    async with ScriptedScp(on_get=(Reply(PENDING), Get(made))) as peer:
        async with getting(peer) as (association, asked):
            await asked.response(store=store)
        assert asked.status == CANCELLED
        await peer.received.wait("A-RELEASE-RQ")
        assert {seen.status for seen in peer.received.of("C-STORE-RSP")} <= {0xA700}
        assert "A-ABORT" not in peer.received.whats
        assert not association.usable


async def test_a_defect_of_who_takes_them_ends_it() -> None:
    async def store(received: Received) -> Answer:
        raise ZeroDivisionError

    async with ScriptedScp(on_get=Get([CT])) as peer:
        with anyio.fail_after(10), pytest.raises(ZeroDivisionError):
            async with getting(peer) as (_, asked):
                await asked.response(store=store)
        await peer.received.wait("A-ABORT", "A-RELEASE-RQ")
