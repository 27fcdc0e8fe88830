"""A pool of associations with one node, against peers that follow a script and against real ones."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from msgspec.structs import replace

from dcmflow.dicom import uids
from dcmflow.dicom.instance import Instance
from dcmflow.errors import (
    AssociationAborted,
    AssociationRejected,
    ConnectError,
    DatasetError,
    NetworkError,
    NetworkTimeout,
    NoAcceptedContext,
    ProtocolError,
)
from dcmflow.net import operations
from dcmflow.net.address import parse_address
from dcmflow.net.association import Association
from dcmflow.net.contexts import propose
from dcmflow.net.node import Timeouts
from dcmflow.net.pool import Pool
from dcmflow.protocol.pdu import AssociateRequest, ReleaseRequest
from dcmflow.testing import (
    AbortNow,
    Accept,
    CloseNow,
    Exchange,
    Reject,
    ScriptedScp,
    Silence,
    Wait,
    instance,
    storage_classes,
)
from peers.base import free_port
from peers.dcmtk import Dcmtk
from peers.pynet import Pynetdicom
from stage_runs import until

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]

CT = instance()
MR = instance("1.2.840.10008.5.1.4.1.1.4")
PRIVATE = instance("1.3.12.2.1107.5.9.1")


@asynccontextmanager
async def pool_of(
    peer: ScriptedScp, limit: int = 2, *, patience: float = 5, **timeouts: Any
) -> AsyncIterator[Pool]:
    node = replace(parse_address(peer.node), timeouts=Timeouts(**timeouts))
    async with Pool(node, calling_ae="DCMFLOW", limit=limit, patience=patience) as pool:
        yield pool


async def store_all(pool: Pool, *instances: Instance) -> list[int]:
    """Status of each, all at once."""
    statuses = [-1] * len(instances)

    async def store(number: int, given: Instance) -> None:
        statuses[number] = (await pool.store(given)).status

    async with anyio.create_task_group() as tasks:
        for number, given in enumerate(instances):
            tasks.start_soon(store, number, given)
    return statuses


def proposals(peer: ScriptedScp) -> list[set[str]]:
    """The abstract syntaxes of each association request."""
    requests = [seen.pdu for seen in peer.received.of("A-ASSOCIATE-RQ")]
    return [
        {context.abstract_syntax for context in request.contexts}
        for request in requests
        if isinstance(request, AssociateRequest)
    ]


# -- associations are kept


async def test_one_association_for_one_after_the_other() -> None:
    async with ScriptedScp() as peer:
        async with pool_of(peer) as pool:
            for _ in range(5):
                assert (await pool.store(CT)).status == 0
            assert len(pool) == 1
        assert proposals(peer) == [{CT.sop_class_uid}]
        await peer.received.wait("A-RELEASE-RQ")
    assert [seen.data for seen in peer.received.of("C-STORE-RQ")] == 5 * [b"".join(CT.payload.segments())]


async def test_status_and_comment() -> None:
    from dcmflow.testing import Answer

    async with ScriptedScp(on_store=[Answer(0xA700, "disk full")]) as peer, pool_of(peer) as pool:
        answer = await pool.store(CT)
        assert (answer.status, answer.comment) == (0xA700, "disk full")
        assert await pool.echo() == 0


async def test_what_is_waited_for_is_proposed_at_once() -> None:
    async with ScriptedScp() as peer, pool_of(peer, 1) as pool:
        assert await store_all(pool, CT, MR, PRIVATE, CT, MR) == [0] * 5
        assert proposals(peer) == [{CT.sop_class_uid, MR.sop_class_uid, PRIVATE.sop_class_uid}]


async def test_what_comes_later_opens_it_again_with_both() -> None:
    async with ScriptedScp() as peer, pool_of(peer, 1) as pool:
        for given in (CT, MR, CT, MR):
            assert (await pool.store(given)).status == 0
        assert proposals(peer) == [{CT.sop_class_uid}, {CT.sop_class_uid, MR.sop_class_uid}]
        whats = [what for what in peer.received.whats if what not in ("connect", "close")]
        first, second = ["A-ASSOCIATE-RQ", "C-STORE-RQ"], ["A-ASSOCIATE-RQ"] + ["C-STORE-RQ"] * 3
        assert whats == [*first, "A-RELEASE-RQ", *second]


async def test_one_context_for_each_transfer_syntax() -> None:
    explicit, implicit = (
        instance(transfer_syntax=syntax)
        for syntax in (uids.EXPLICIT_VR_LITTLE_ENDIAN, uids.IMPLICIT_VR_LITTLE_ENDIAN)
    )
    async with ScriptedScp() as peer, pool_of(peer, 1) as pool:
        await store_all(pool, explicit, implicit)
        [request] = [seen.pdu for seen in peer.received.of("A-ASSOCIATE-RQ")]
        assert isinstance(request, AssociateRequest)
        assert sorted(context.transfer_syntaxes for context in request.contexts) == sorted(
            [(uids.EXPLICIT_VR_LITTLE_ENDIAN,), (uids.IMPLICIT_VR_LITTLE_ENDIAN,)]
        )
        stored = {seen.transfer_syntax: seen.data for seen in peer.received.of("C-STORE-RQ")}
        assert stored[uids.IMPLICIT_VR_LITTLE_ENDIAN] == b"".join(implicit.payload.segments())


async def test_more_contexts_than_an_association_has() -> None:
    many = [instance(f"1.2.3.4.{number}") for number in range(1, 201)]
    async with ScriptedScp() as peer, pool_of(peer, 2) as pool:
        assert await store_all(pool, *many) == [0] * 200
        assert 2 <= len(proposals(peer)) <= 6
        assert max(map(len, proposals(peer))) == 128
        assert len(peer.received.of("C-STORE-RQ")) == 200


async def test_no_more_than_the_limit() -> None:
    go = anyio.Event()
    async with ScriptedScp(on_store=lambda exchange: (Wait(go), 0)) as peer, pool_of(peer, 3) as pool:
        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(pool.store, CT)
            await peer.received.wait("C-STORE-RQ", count=3)
            await anyio.wait_all_tasks_blocked()
            assert (peer.most_open, len(peer.received.of("C-STORE-RQ")), len(pool)) == (3, 3, 3)
            go.set()
        assert (peer.most_open, len(peer.received.of("C-STORE-RQ"))) == (3, 8)


async def test_somebody_else_is_not_overtaken_for_ever() -> None:
    """One association, always somebody who wants CT: MR has its turn all the same."""
    async with ScriptedScp() as peer, pool_of(peer, 1) as pool:
        await pool.store(CT)
        stored = anyio.Event()

        async def others() -> None:
            while not stored.is_set():
                await pool.store(CT)

        async def one() -> None:
            await pool.store(MR)
            stored.set()

        async with anyio.create_task_group() as tasks:
            for start in (others, others, others, one):
                tasks.start_soon(start)
        before = [seen.abstract_syntax for seen in peer.received.of("C-STORE-RQ")].index(MR.sop_class_uid)
        assert before <= 40


# -- what a peer does not take


async def test_what_is_not_accepted_is_not_proposed_again() -> None:
    async with ScriptedScp(accept=Accept(refuse={MR.sop_class_uid: 3})) as peer, pool_of(peer, 1) as pool:
        for _ in range(3):
            with pytest.raises(NoAcceptedContext, match="MR Image Storage") as raised:
                await pool.store(MR)
            assert not raised.value.transient
            assert peer.node in str(raised.value)
        await pool.store(CT)
        assert proposals(peer) == [{MR.sop_class_uid}, {CT.sop_class_uid}]


async def test_after_a_while_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dcmflow.net.context_memory.REFUSED", 0.0)
    async with (
        ScriptedScp(accept=[Accept(refuse={MR.sop_class_uid: 3})]) as peer,
        pool_of(peer, 1) as pool,
    ):
        with pytest.raises(NoAcceptedContext):
            await pool.store(MR)
        assert (await pool.store(MR)).status == 0


async def refused_at_once(pool: Pool, *instances: Instance) -> list[str]:
    """The SOP Classes of those that have no accepted context, when all are stored at the same time."""
    refused = []

    async def store(given: Instance) -> None:
        try:
            await pool.store(given)
        except NoAcceptedContext as error:
            refused.append(error.sop_class)

    async with anyio.create_task_group() as tasks:
        for given in instances:
            tasks.start_soon(store, given)
    return refused


async def test_others_are_not_held_up_by_what_is_not_accepted() -> None:
    async with ScriptedScp(accept=Accept(refuse={MR.sop_class_uid: 4})) as peer, pool_of(peer, 1) as pool:
        assert await refused_at_once(pool, MR, CT, MR, CT) == [MR.sop_class_uid] * 2
        assert len(proposals(peer)) == 1


KINDS = [instance(f"1.2.840.10008.5.1.4.1.1.{number}") for number in ("2", "4", "7", "128")]


@pytest.mark.parametrize("limit", [1, 2, 4])
async def test_a_peer_with_room_for_few_contexts(limit: int) -> None:
    """It says "no reason" to the third context and those that follow, whatever they are."""
    accept = Accept(refuse=lambda context: 2 if context.id > 3 else None)
    async with ScriptedScp(accept=accept) as peer, pool_of(peer, limit) as pool:
        assert await store_all(pool, *KINDS) == [0] * 4
        for kind in KINDS:
            assert (await pool.store(kind)).status == 0


@pytest.mark.parametrize("result", [1, 2])
async def test_a_peer_that_gives_no_reason(result: int) -> None:
    """What it refuses although it was proposed first is refused."""
    accept = Accept(refuse={MR.sop_class_uid: result})
    async with ScriptedScp(accept=accept) as peer, pool_of(peer, 1) as pool:
        assert await refused_at_once(pool, CT, MR, CT, MR) == [MR.sop_class_uid] * 2
        asked = len(proposals(peer))
        assert asked in (1, 2)  # whichever of them came first was proposed first
        with pytest.raises(NoAcceptedContext):
            await pool.store(MR)
        assert len(proposals(peer)) == asked


# -- what breaks


@pytest.mark.parametrize(
    "end", [AbortNow(), AbortNow(close=True), CloseNow(), CloseNow(reset=True)], ids=lambda end: repr(end)
)
async def test_a_warm_one_that_has_ended_is_replaced(end: Any) -> None:
    async with ScriptedScp(on_store=[0, end, 0]) as peer, pool_of(peer, 1) as pool:
        assert (await pool.store(CT)).status == 0
        assert (await pool.store(CT)).status == 0
        assert [seen.association for seen in peer.received.of("C-STORE-RQ")] == [1, 1, 2]


async def test_once() -> None:
    async with ScriptedScp(on_store=[0, AbortNow(), AbortNow(), 0]) as peer, pool_of(peer, 1) as pool:
        await pool.store(CT)
        with pytest.raises(AssociationAborted) as raised:
            await pool.store(CT)
        assert raised.value.transient
        assert (await pool.store(CT)).status == 0
        assert len(peer.received.of("C-STORE-RQ")) == 4


async def test_a_fresh_one_that_ends_is_an_error() -> None:
    async with ScriptedScp(on_store=[AbortNow(), 0]) as peer, pool_of(peer, 1) as pool:
        with pytest.raises(AssociationAborted):
            await pool.store(CT)
        assert len(peer.received.of("C-STORE-RQ")) == 1
        assert (await pool.store(CT)).status == 0


async def test_all_warm_ones_have_ended() -> None:
    """A peer that was started anew: one attempt in vain, not one for each association."""
    both = anyio.Event()
    async with ScriptedScp(on_store=[(Wait(both), 0), (Wait(both), 0)]) as peer, pool_of(peer, 2) as pool:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pool.store, CT)
            tasks.start_soon(pool.store, CT)
            await peer.received.wait("C-STORE-RQ", count=2)
            both.set()
        for channel in peer.channels:
            channel.wire.close()
        await anyio.wait_all_tasks_blocked()
        assert (await pool.store(CT)).status == 0
        assert peer.received.of("C-STORE-RQ")[-1].association == 3


async def test_others_that_are_idle_are_released_when_one_has_ended() -> None:
    """They may have ended unnoticed, too; those that have not end in good order."""
    both = anyio.Event()
    async with ScriptedScp(on_store=[(Wait(both), 0), (Wait(both), 0)]) as peer, pool_of(peer, 2) as pool:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pool.store, CT)
            tasks.start_soon(pool.store, CT)
            await peer.received.wait("C-STORE-RQ", count=2)
            both.set()
        peer.channels[0].wire.close()
        await anyio.wait_all_tasks_blocked()
        assert (await pool.store(CT)).status == 0
        await peer.received.wait("A-RELEASE-RQ")
        assert [seen.association for seen in peer.received.of("A-RELEASE-RQ")] == [2]
        assert "A-ABORT" not in peer.received.whats


async def test_no_answer() -> None:
    async with ScriptedScp(on_store=[0, Silence(), 0]) as peer, pool_of(peer, 1, dimse=0.3) as pool:
        await pool.store(CT)
        with pytest.raises(NetworkTimeout):
            await pool.store(CT)
        assert (await pool.store(CT)).status == 0
        await peer.received.wait("A-ABORT")
        assert len(proposals(peer)) == 2


async def test_cancelled_in_the_middle_it_is_not_used_again() -> None:
    async with ScriptedScp(on_store=[Silence(), 0]) as peer, pool_of(peer, 1) as pool:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pool.store, CT)
            await peer.received.wait("C-STORE-RQ")
            tasks.cancel_scope.cancel()
        assert len(pool) == 0
        await peer.received.wait("A-ABORT")
        assert (await pool.store(CT)).status == 0
        assert peer.received.of("C-STORE-RQ")[-1].association == 2


async def test_cancelled_while_it_waits_it_takes_nothing_away() -> None:
    go = anyio.Event()
    async with ScriptedScp(on_store=[(Wait(go), 0)]) as peer, pool_of(peer, 1) as pool:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pool.store, CT)
            await peer.received.wait("C-STORE-RQ")
            async with anyio.create_task_group() as others:
                others.start_soon(pool.store, CT)
                await anyio.wait_all_tasks_blocked()
                others.cancel_scope.cancel()
            go.set()
        assert (await pool.store(CT)).status == 0
        assert [seen.association for seen in peer.received.of("C-STORE-RQ")] == [1, 1]


async def test_cancelled_when_it_is_given_one_it_gives_it_back() -> None:
    go, scope = anyio.Event(), anyio.CancelScope()
    wanted = (CT.sop_class_uid, CT.transfer_syntax_uid)

    async def cancel_the_other(association: Association) -> None:
        await go.wait()
        scope.cancel()  # which it has not seen when this one's association is given to it

    async with ScriptedScp() as peer, pool_of(peer, 1) as pool:

        async def other() -> None:
            with scope:
                await pool.store(CT)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pool.perform, wanted, cancel_the_other)
            await peer.received.wait("A-ASSOCIATE-RQ")
            tasks.start_soon(other)
            await anyio.wait_all_tasks_blocked()
            go.set()
        assert scope.cancelled_caught
        assert (await pool.store(CT)).status == 0
        assert {seen.association for seen in peer.received.of("C-STORE-RQ")} == {1}


async def test_an_instance_that_cannot_be_read_costs_no_association(tmp_path: Path) -> None:
    path = tmp_path / "gone.dcm"
    path.write_bytes(b"".join(CT.part10_segments()))
    gone = Instance.load(path, memory_limit=0)
    path.unlink()
    async with ScriptedScp() as peer, pool_of(peer, 1) as pool:
        await pool.store(CT)
        with pytest.raises(DatasetError):
            await pool.store(gone)
        await pool.store(CT)
        assert len(proposals(peer)) == 1


# -- a peer that takes few associations, or none


async def test_a_further_one_that_is_rejected_holds_nothing_up() -> None:
    async with (
        ScriptedScp(accept=[Accept(), Reject(result=2, source=3, reason=2)]) as peer,
        pool_of(peer, 4) as pool,
    ):
        await pool.store(CT)
        assert await store_all(pool, *[CT] * 6) == [0] * 6
        await peer.received.wait("A-ASSOCIATE-RQ", count=4)
        await until(lambda: len(pool) == 3)
        for _ in range(3):
            assert await store_all(pool, *[CT] * 6) == [0] * 6
        assert len(proposals(peer)) == 4


async def test_a_further_one_that_does_not_come_holds_nothing_up() -> None:
    async with ScriptedScp(accept=[Accept(), Silence(), Silence()]) as peer, pool_of(peer, 2) as pool:
        for _ in range(3):
            assert await store_all(pool, *[CT] * 4) == [0] * 4
        assert len(proposals(peer)) == 2
        assert {seen.association for seen in peer.received.of("C-STORE-RQ")} == {1}


async def test_it_is_given_up_and_the_pool_makes_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dcmflow.net.opener.FURTHER", 0.1)
    async with ScriptedScp(accept=[Accept(), Silence()]) as peer, pool_of(peer, 2) as pool:
        await store_all(pool, CT, CT)
        await peer.received.wait("close")
        await store_all(pool, CT, CT)
        await store_all(pool, CT, MR)
        assert len(proposals(peer)) == 3  # the second did not come, the third replaces the first
        assert proposals(peer)[2] == {CT.sop_class_uid, MR.sop_class_uid}
        monkeypatch.setattr("dcmflow.net.roster.monotonic", lambda: 1e9)
        go = anyio.Event()
        peer.turns["C-STORE-RQ"]._rest = lambda exchange: (Wait(go), 0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pool.store, CT)
            tasks.start_soon(pool.store, CT)
            await peer.received.wait("A-ASSOCIATE-RQ", count=4)
            go.set()


async def test_all_who_wait_are_told_and_the_peer_is_asked_once() -> None:
    reject = Reject(result=2, source=3, reason=1)
    async with ScriptedScp(accept=reject) as peer, pool_of(peer, 4) as pool:
        errors: list[NetworkError] = []

        async def store() -> None:
            try:
                await pool.store(CT)
            except AssociationRejected as error:
                errors.append(error)

        for attempts in (1, 2):
            async with anyio.create_task_group() as tasks:
                for _ in range(10):
                    tasks.start_soon(store)
            assert len(errors) == 10 * attempts
            assert len(proposals(peer)) == attempts
        assert len({str(error) for error in errors}) == 1
        assert "temporary congestion" in str(errors[0])
        assert all(error.transient for error in errors)


async def test_every_attempt_is_a_call() -> None:
    """An attempt that comes a moment after one has failed waits until the peer may be called again."""
    async with (
        ScriptedScp(accept=[Reject(2, 3, 2), Reject(2, 3, 2), Accept()]) as peer,
        pool_of(peer, 1) as pool,
    ):
        for _ in range(2):
            with pytest.raises(AssociationRejected):
                await pool.store(CT)
        assert (await pool.store(CT)).status == 0
        assert len(proposals(peer)) == 3


async def test_what_is_rejected_for_good_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dcmflow.net.breaker.HOLD", 1000.0)
    async with ScriptedScp(accept=Reject(1, 1, 7)) as peer, pool_of(peer, 1) as pool:
        for _ in range(3):
            with pytest.raises(AssociationRejected):
                await pool.store(CT)
        assert len(proposals(peer)) == 1


async def test_cancelled_while_nobody_calls_it() -> None:
    async with ScriptedScp(accept=[Reject(2, 3, 2), Accept()]) as peer, pool_of(peer, 1) as pool:
        with pytest.raises(AssociationRejected):
            await pool.store(CT)
        with anyio.move_on_after(0.05) as waited:
            await pool.store(CT)
        assert waited.cancelled_caught
        assert (await pool.store(CT)).status == 0
        assert len(proposals(peer)) == 2


async def test_in_the_long_run_it_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dcmflow.net.breaker.HOLD", 0.0)
    async with Pool(
        parse_address(f"NOBODY@127.0.0.1:{free_port()}"), calling_ae="DCMFLOW", patience=0
    ) as pool:
        transient = []
        for _ in range(4):
            with pytest.raises(ConnectError, match=r"NOBODY@.*connection refused") as raised:
                await pool.store(CT)
            transient.append(raised.value.transient)
        assert transient == [True, True, False, False]


async def test_it_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dcmflow.net.breaker.HOLD", 0.0)
    port = free_port()
    async with Pool(parse_address(f"SCRIPTED@127.0.0.1:{port}"), calling_ae="DCMFLOW", patience=0) as pool:
        for _ in range(4):
            with pytest.raises(ConnectError):
                await pool.store(CT)
        async with ScriptedScp(port=port):
            assert (await pool.store(CT)).status == 0
        with pytest.raises(ConnectError) as raised:
            await pool.store(CT)
        assert raised.value.transient


async def test_a_connection_that_never_comes_ends_with_the_pool() -> None:
    async with ScriptedScp(accept=Silence()) as peer:
        with anyio.fail_after(5):
            async with pool_of(peer) as pool, anyio.create_task_group() as tasks:
                tasks.start_soon(pool.store, CT)
                await peer.received.wait("A-ASSOCIATE-RQ")
                tasks.cancel_scope.cancel()


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_happens_nobody_waits_for_ever(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that does what it likes, tasks that are cancelled: everybody gets an answer or an error, nothing is left."""
    for name, value in {
        "opener.FURTHER": 0.1,
        "opener.SLOW": 0.02,
        "pool.TICK": 0.02,
        "breaker.HOLD": 0.0,
    }.items():
        monkeypatch.setattr(f"dcmflow.net.{name}", value)
    chance = random.Random(seed)

    def one_of(*replies: Any) -> Any:
        return lambda exchange: chance.choice(replies)

    async def release(exchange: Exchange) -> None:
        await exchange.channel.send(ReleaseRequest())

    slowly = (Wait(0.02), 0)
    ends = (AbortNow(), CloseNow(), CloseNow(reset=True), (0, CloseNow()), (0, release), Silence())
    peer = ScriptedScp(
        accept=one_of(
            *[Accept()] * 5, Accept(refuse={MR.sop_class_uid: 3}), Reject(2, 3, 1), Silence(), AbortNow()
        ),
        on_store=one_of(*[0] * 12, slowly, slowly, *ends),
        check=False,
    )
    done: Counter[str] = Counter()

    async def user() -> None:
        for _ in range(12):
            with anyio.move_on_after(chance.choice([0.01, 1, 1, 1])):
                try:
                    await pool.store(chance.choice([CT, CT, MR, PRIVATE]))
                    done["stored"] += 1
                except (NetworkError, ProtocolError) as error:
                    done[type(error).__name__] += 1

    async with peer, pool_of(peer, 3, dimse=0.2, acse=0.2, idle=0.1) as pool:
        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(user)
        assert done["stored"]
        assert not pool._roster.waiters
        await until(lambda: not pool._roster.opening)
        await until(lambda: not len(pool))


# -- idle associations


async def test_an_idle_one_is_released_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dcmflow.net.pool.TICK", 0.05)
    async with ScriptedScp() as peer, pool_of(peer, idle=0.2) as pool:
        await pool.store(CT)
        await peer.received.wait("A-RELEASE-RQ")
        assert len(pool) == 0
        assert (await pool.store(CT)).status == 0
        assert len(proposals(peer)) == 2


async def test_it_is_used_however_short_the_time_for_an_answer_is() -> None:
    async with ScriptedScp() as peer, pool_of(peer, dimse=0.3) as pool:
        await pool.store(CT)
        await anyio.sleep(0.8)
        await pool.store(CT)
        assert len(proposals(peer)) == 1


async def test_a_peer_may_release_an_idle_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dcmflow.net.pool.TICK", 0.05)

    async def release(exchange: Exchange) -> None:
        await exchange.channel.send(ReleaseRequest())

    async with ScriptedScp(on_store=[(0, release), 0]) as peer, pool_of(peer) as pool:
        await pool.store(CT)
        await peer.received.wait("A-RELEASE-RP")
        assert (await pool.store(CT)).status == 0
        assert [seen.association for seen in peer.received.of("C-STORE-RQ")] == [1, 2]


async def test_an_error_of_one_that_is_idle_ends_that_one_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong with it, be it in this library."""
    monkeypatch.setattr("dcmflow.net.pool.TICK", 0.05)
    notices: list[str] = []

    async def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("of a peer's making")

    async with ScriptedScp() as peer:
        node = parse_address(peer.node)
        async with Pool(node, calling_ae="DCMFLOW", limit=1, notice=notices.append) as pool:
            await pool.store(CT)
            with monkeypatch.context() as broken:
                broken.setattr(Association, "receive", fail)
                await peer.received.wait("A-ABORT")
                await until(lambda: not len(pool))
            assert (await pool.store(CT)).status == 0
            with monkeypatch.context() as broken:
                broken.setattr(Association, "release", fail)
                await pool._release_all()
    assert len(notices) == 2
    assert all(f"{peer.node} was aborted: ZeroDivisionError: of a peer's making" in said for said in notices)


async def test_looking_after_idle_ones_gets_in_nobodys_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dcmflow.net.pool.TICK", 0.0)
    async with ScriptedScp() as peer, pool_of(peer, 4) as pool:

        async def user(pause: float) -> None:
            for _ in range(100):
                assert (await pool.store(CT)).status == 0
                await anyio.sleep(pause)

        async with anyio.create_task_group() as tasks:
            for number in range(5):
                tasks.start_soon(user, number * 0.0005)
        assert len(peer.received.of("C-STORE-RQ")) == 500
        assert len(proposals(peer)) <= 4


# -- one's own


async def test_an_association_of_ones_own_is_one_of_the_pool() -> None:
    wanted = propose([(CT.sop_class_uid, CT.transfer_syntax_uid)])
    async with ScriptedScp() as peer, pool_of(peer, 1) as pool:
        await pool.store(CT)
        async with pool.associate(wanted) as association:
            assert (await operations.store(association, CT)).status == 0
            with anyio.move_on_after(0.1) as waited:
                await pool.store(CT)
            assert waited.cancelled_caught
        assert (await pool.store(CT)).status == 0
        assert peer.received.whats.count("A-RELEASE-RQ") == 2
        assert peer.received.whats.count("A-ABORT") == 0
        with pytest.raises(ZeroDivisionError):
            async with pool.associate(wanted):
                raise ZeroDivisionError
        await peer.received.wait("A-ABORT")


async def test_who_waits_while_all_are_somebodys_own_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dcmflow.net.pool.TICK", 0.05)
    wanted = propose([(CT.sop_class_uid, CT.transfer_syntax_uid)])
    async with ScriptedScp() as peer, pool_of(peer, 1, connect=0.2) as pool:
        async with pool.associate(wanted) as association:
            with pytest.raises(NetworkTimeout, match=r"all are in `associate` blocks"):
                await pool.store(CT)
            with pytest.raises(NetworkTimeout, match=r"max_associations"):
                async with pool.associate(wanted):
                    pytest.fail("there is one already")
            assert (await operations.store(association, CT)).status == 0
        assert (await pool.store(CT)).status == 0


async def test_who_waits_for_a_slow_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dcmflow.net.pool.TICK", 0.02)
    async with (
        ScriptedScp(on_store=[(Wait(0.5), 0), 0]) as peer,
        pool_of(peer, 1, connect=0.1) as pool,
    ):
        assert await store_all(pool, CT, CT) == [0, 0]


async def test_one_of_ones_own_that_is_rejected() -> None:
    async with ScriptedScp(accept=[Reject()]) as peer, pool_of(peer, 1) as pool:
        with pytest.raises(AssociationRejected):
            async with pool.associate(propose([("1.2.3", "1.2.840.10008.1.2")])):
                pytest.fail("it was rejected")
        assert (await pool.store(CT)).status == 0


async def test_sharing() -> None:
    async with ScriptedScp() as peer:
        async with Pool(parse_address(peer.node), calling_ae="DCMFLOW", limit=0) as pool:
            with pool.share(1), pool.share(2):
                assert await store_all(pool, *[CT] * 9) == [0] * 9
        assert peer.most_open <= 3


async def test_sharing_has_a_limit() -> None:
    go = anyio.Event()
    async with ScriptedScp(on_store=lambda exchange: (Wait(go), 0)) as peer, pool_of(peer, 0) as pool:
        with pool.share(4, most=2), pool.share(4):
            async with anyio.create_task_group() as tasks:
                for _ in range(8):
                    tasks.start_soon(pool.store, CT)
                await peer.received.wait("C-STORE-RQ", count=2)
                await anyio.wait_all_tasks_blocked()
                assert peer.most_open == 2
                go.set()
    assert peer.most_open == 2


async def test_what_will_be_wanted_soon_is_proposed() -> None:
    soon = [(each.sop_class_uid, each.transfer_syntax_uid) for each in KINDS]
    refused = soon[-1][0]
    async with ScriptedScp(accept=Accept(refuse={refused: 3})) as peer, pool_of(peer, 0) as pool:
        with (
            pool.share(1, upcoming=lambda: soon),
            pool.share(0, upcoming=lambda: [(PRIVATE.sop_class_uid, "1.2")]),
        ):
            for each in KINDS[:-1]:
                assert (await pool.store(each)).status == 0
            every = {PRIVATE.sop_class_uid, *(sop_class for sop_class, _ in soon)}
            assert proposals(peer) == [every]
            await pool.store(PRIVATE)
            assert proposals(peer)[1:] == [every - {refused}]


async def test_the_longest_patience_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dcmflow.net.breaker.HOLD", 0.0)
    node = parse_address(f"NOBODY@127.0.0.1:{free_port()}")
    async with Pool(node, calling_ae="DCMFLOW", limit=0, patience=0) as pool:
        transient = []
        with pool.share(1, patience=0), pool.share(1, patience=1000), pool.share(1, patience=0):
            for _ in range(4):
                with pytest.raises(ConnectError) as raised:
                    await pool.store(CT)
                transient.append(raised.value.transient)
        assert transient == [True] * 4
        with pool.share(1, patience=0), pytest.raises(ConnectError) as raised:
            await pool.store(CT)
        assert not raised.value.transient


# -- the end


async def test_used_in_one_block_after_the_other() -> None:
    async with ScriptedScp() as peer:
        pool = Pool(parse_address(peer.node), calling_ae="DCMFLOW")
        with pytest.raises(RuntimeError, match="in its block"):
            await pool.store(CT)
        for _ in range(2):
            async with pool:
                assert (await pool.store(CT)).status == 0
                with pytest.raises(RuntimeError, match="in use in another block"):
                    async with pool:
                        pytest.fail("it is in use")
                assert (await pool.store(CT)).status == 0
        assert len(proposals(peer)) == 2


async def test_who_still_waits_when_it_is_left_is_told() -> None:
    async with ScriptedScp(accept=Silence()) as peer, anyio.create_task_group() as tasks:

        async def store() -> None:
            with pytest.raises(RuntimeError, match="was left"):
                await pool.store(CT)

        async with pool_of(peer) as pool:
            tasks.start_soon(store)
            await peer.received.wait("A-ASSOCIATE-RQ")


async def test_the_error_of_the_block_comes_out_as_it_is() -> None:
    async with ScriptedScp() as peer:
        with pytest.raises(ZeroDivisionError):
            async with pool_of(peer) as pool:
                await pool.store(CT)
                raise ZeroDivisionError
        await peer.received.wait("A-RELEASE-RQ")


async def test_cancelled_it_aborts() -> None:
    async with ScriptedScp() as peer:
        with anyio.CancelScope() as scope:
            async with pool_of(peer) as pool:
                await pool.store(CT)
                scope.cancel()
                await anyio.sleep(5)
        await peer.received.wait("A-ABORT")
        assert "A-RELEASE-RQ" not in peer.received.whats


async def test_a_peer_that_does_not_answer_a_release(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dcmflow.net.pool.GOODBYE", 0.1)
    async with ScriptedScp(on_release=Silence()) as peer, pool_of(peer) as pool:
        await pool.store(CT)


# -- real peers


@pytest.mark.interop
async def test_a_peer_that_serves_one_association_at_a_time(dcmtk_peer: Dcmtk, tmp_path: Path) -> None:
    given = [instance(SOPInstanceUID=f"2.25.{number}") for number in range(1, 31)]
    with dcmtk_peer.storescp(tmp_path / "in") as server:
        async with Pool(parse_address(str(server.address)), calling_ae="DCMFLOW", limit=3) as pool:
            assert await store_all(pool, *given) == [0] * 30
            assert len(pool) == 1
    assert server.stored().keys() == {each.sop_instance_uid for each in given}


@pytest.mark.interop
async def test_an_idle_one_makes_way_at_such_a_peer(
    dcmtk_peer: Dcmtk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dcmflow.net.opener.FURTHER", 1000.0)
    monkeypatch.setattr("dcmflow.net.opener.SLOW", 0.05)
    given = [instance(sop_class) for sop_class in storage_classes()[20:30]]
    with dcmtk_peer.storescp(tmp_path / "in") as server:
        async with Pool(parse_address(str(server.address)), calling_ae="DCMFLOW", limit=3) as pool:
            for each in given:
                assert (await pool.store(each)).status == 0
    assert server.stored().keys() == {each.sop_instance_uid for each in given}


@pytest.mark.interop
async def test_many_associations_with_pynetdicom(pynetdicom_peer: Pynetdicom, tmp_path: Path) -> None:
    given = [instance(SOPInstanceUID=f"2.25.{number}") for number in range(1, 31)]
    with pynetdicom_peer.scp(tmp_path / "in") as server:
        async with Pool(parse_address(str(server.address)), calling_ae="DCMFLOW", limit=4) as pool:
            assert await pool.echo() == 0
            assert await store_all(pool, *given) == [0] * 30
            assert 1 <= len(pool) <= 4
    assert server.stored().keys() == {each.sop_instance_uid for each in given}
