"""A sink that sends to a node."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from corpus import Corpus, base, comp
from dcmflow import Pipeline, Retry, sinks, sources
from dcmflow.dicom.instance import Instance
from dcmflow.errors import ConfigError
from dcmflow.flow.events import RetryScheduled
from dcmflow.flow.policy import longest_wait
from dcmflow.net.client import Client
from dcmflow.net.node import Local, Node, Timeouts
from dcmflow.testing import (
    AbortNow,
    Accept,
    Answer,
    CloseNow,
    Reject,
    ScriptedScp,
    Silence,
    Wait,
    check_sink,
    instance,
)
from little_stages import Numbers
from peers.base import Address, Server, free_port
from peers.dcmtk import Dcmtk
from peers.pynet import Pynetdicom
from stage_runs import Observed, files_in, put, run, until
from wire_data import digests, every_class

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks"), pytest.mark.timeout(60)]

ONCE = Retry(attempts=1)
SOON = Retry(attempts=3, first="10 ms")


def numbered(count: int) -> list[Instance]:
    return [
        instance(SOPInstanceUID=f"2.25.{number}", InstanceNumber=number) for number in range(1, count + 1)
    ]


def folder_of(path: Path, given: list[Instance]) -> str:
    for each in given:
        put(path, f"{each.sop_instance_uid}.dcm", each)
    return str(path)


async def send(path: Path, given: list[Instance], store: sinks.Store, **options: Any) -> Observed:
    return await run(sources.Directory(folder_of(path, given)) | store, **options)


# -- as data


def test_positional_and_named() -> None:
    store = sinks.Store("PACS@10.0.0.5:104", associations=4)
    assert (store.to, store.associations, store.type) == ("PACS@10.0.0.5:104", 4, "store")
    assert (store.workers, store.tasks) == (0, 8)
    assert sinks.Store("pacs", workers=3).tasks == 3
    assert sinks.Store("pacs").retry == Retry(attempts=3, first="500 ms", longest="10 s")


def test_as_a_table() -> None:
    table = {
        "type": "store",
        "to": "main",
        "associations": 3,
        "calling-ae": "HERE",
        "timeouts": {"dimse": "2 min"},
    }
    store = msgspec.convert(table, sinks.Store)
    assert store == sinks.Store("main", 3, calling_ae="HERE", timeouts=Timeouts(dimse=120))


@pytest.mark.parametrize(
    ("to", "why"),
    [
        ("mypac", r"to: there is no node 'mypac'; did you mean 'mypacs'\?"),
        ("PACS@host:port", "to: .*'port' is no port"),
        ("http://pacs", "to: .*neither dicom:// nor dicoms://"),
    ],
)
def test_a_node_that_there_is_not(to: str, why: str) -> None:
    pipeline = Pipeline(Numbers(1) | sinks.Store(to), nodes={"mypacs": Node(host="pacs.example")})
    with pytest.raises(ConfigError, match=why):
        pipeline.check()


def test_what_cannot_be_right() -> None:
    with pytest.raises(ConfigError, match=r"calling-ae: .*17 characters"):
        sinks.Store("pacs", calling_ae="SEVENTEEN--------")
    with pytest.raises(ConfigError, match="associations"):
        Pipeline(Numbers(1) | sinks.Store("PACS@pacs.example", associations=0)).check()


def test_promise() -> None:
    pipeline = Pipeline(Numbers(1, name="in") | sinks.Store("PACS@pacs.example", name="ctpacs"))
    assert pipeline.promises() == {"in": "Success means: accepted by ctpacs"}


def test_waits_of_a_policy() -> None:
    assert longest_wait(Retry(attempts=1)) == 0
    assert longest_wait(Retry(attempts=3, first="500 ms", longest="10 s")) == 1 + 1.5
    assert longest_wait(Retry(attempts=5, first="1 s", longest="4 s")) == 2 + 3 + 4 + 4
    assert longest_wait(Retry(attempts=10**9, first=0)) == 0
    assert longest_wait(Retry(attempts=10**9 + 1, first=1, longest=2)) == 2e9


# -- what it does


async def test_conformance() -> None:
    async with ScriptedScp() as peer:
        await check_sink(sinks.Store(peer.node, retry=SOON, timeouts=Timeouts(dimse=2)))


async def test_who_we_are(tmp_path: Path) -> None:
    async with ScriptedScp(ae="PACS") as peer:
        for store, local, title in (
            (sinks.Store(peer.node), None, "DCMFLOW"),
            (sinks.Store(peer.node), Local(ae_title="LOCAL"), "LOCAL"),
            (sinks.Store(peer.node, calling_ae="OTHER"), Local(ae_title="LOCAL"), "OTHER"),
        ):
            observed = await send(tmp_path / title, numbered(1), store, local=local)
            assert observed.totals.accepted == 1
            assert peer.channels[-1].peer_ae == title


async def test_a_node_of_the_settings(tmp_path: Path) -> None:
    async with ScriptedScp() as peer:
        nodes = {"pacs": Node(host="127.0.0.1", port=peer.port, max_associations=1)}
        observed = await send(tmp_path, numbered(20), sinks.Store("pacs", associations=5), nodes=nodes)
        assert observed.totals.accepted == 20
        assert len(peer.received.of("A-ASSOCIATE-RQ")) == 1


async def test_no_more_associations_than_it_says() -> None:
    go = anyio.Event()
    async with ScriptedScp(on_store=lambda exchange: (Wait(go), 0)) as peer:
        async with Pipeline(
            Numbers(20) | sinks.Store(peer.node, associations=3, inbox=4, name="out")
        ).start() as running:
            await peer.received.wait("C-STORE-RQ", count=3)
            await anyio.wait_all_tasks_blocked()
            assert len(peer.received.of("C-STORE-RQ")) == peer.most_open == 3
            # three on their way, three that wait for an association, four in the inbox
            assert running.statistics().stages["out"].received == 6
            assert running.statistics().pipeline.emitted == 6 + 4
            go.set()
            await running.wait()
        assert running.statistics().pipeline.accepted == 20


async def test_two_stages_share_the_associations_with_a_node(tmp_path: Path) -> None:
    async with ScriptedScp() as peer:
        stores = tuple(sinks.Store(peer.node, 1, name=name) for name in ("one", "other"))
        observed = await run(sources.Directory(folder_of(tmp_path, numbered(10))) | stores)
        assert observed.totals.accepted == 10
        assert len(peer.received.of("C-STORE-RQ")) == 20
        assert len(peer.received.of("A-ASSOCIATE-RQ")) <= 2


async def test_few_associations_for_many_classes() -> None:
    """What waits in the inbox is proposed, too."""
    given = [instance(f"1.2.3.4.{number}", SOPInstanceUID=f"2.25.{number}") for number in range(1, 121)]
    async with ScriptedScp() as peer:
        source = sources.Inlet()
        async with Pipeline(source | sinks.Store(peer.node, 1, inbox=30)).start() as running:
            async with anyio.create_task_group() as tasks:
                for each in given:
                    tasks.start_soon(running.send, source, each)
            running.close(source)
            await running.wait()
        assert running.statistics().pipeline.accepted == 120
        assert len(peer.received.of("A-ASSOCIATE-RQ")) <= 5


async def test_several_stages_are_within_what_the_node_takes(tmp_path: Path) -> None:
    async with ScriptedScp() as peer:
        nodes = {"pacs": Node(host="127.0.0.1", port=peer.port, max_associations=1)}
        stores = tuple(sinks.Store("pacs", 4, name=name) for name in ("one", "other"))
        source = sources.Directory(folder_of(tmp_path, numbered(20)))
        observed = await run(source | stores, nodes=nodes)
        assert observed.totals.accepted == 20
        assert (peer.most_open, len(peer.received.of("C-STORE-RQ"))) == (1, 40)


async def test_another_stage_without_patience_takes_none_away(tmp_path: Path) -> None:
    """Two sinks for one node: the one that tries once does not make the other one give up."""
    async with ScriptedScp(accept=[Reject(2, 3, 2)] * 4 + [Accept()]) as peer:
        patient = sinks.Store(peer.node, retry=Retry(attempts=12, first="10 ms"), name="patient")
        hasty = sinks.Store(peer.node, retry=None, required=False, name="hasty")
        observed = await run(sources.Directory(folder_of(tmp_path, numbered(1))) | (hasty, patient))
    assert observed.totals.accepted == 1


@pytest.mark.parametrize("attempts", [1, 3, 5])
async def test_as_many_calls_as_attempts(tmp_path: Path, attempts: int) -> None:
    async with ScriptedScp(accept=Reject(2, 3, 2)) as peer:
        store = sinks.Store(peer.node, retry=Retry(attempts=attempts, first="10 ms"))
        observed = await send(tmp_path, numbered(1), store)
        assert len(peer.received.of("A-ASSOCIATE-RQ")) == attempts
    assert observed.totals.refused == 1


@pytest.mark.parametrize("status", [0xB000, 0xB006, 0x0107, 0x0116])
async def test_a_warning_is_accepted_and_said_once(tmp_path: Path, status: int) -> None:
    async with ScriptedScp(on_store=Answer(status, "as you like")) as peer:
        observed = await send(tmp_path, numbered(5), sinks.Store(peer.node))
    assert observed.totals.accepted == 5
    [warned] = observed.warned
    assert re.search(
        rf"{re.escape(peer.node)} accepted 2\.25\.\d with {status:04X} .*'as you like'", warned.message
    )
    assert (warned.path or "").endswith(".dcm")


async def test_a_duplicate_is_accepted_and_no_reason_to_delete(tmp_path: Path) -> None:
    async with ScriptedScp(on_store=0x0111) as peer:
        source = sources.Directory(folder_of(tmp_path, numbered(2)), after="delete")
        observed = await run(source | sinks.Store(peer.node))
    assert observed.totals.accepted == 2
    assert len(observed.warned) >= 1
    assert "0111 duplicate SOP instance" in observed.warned[0].message
    assert len(files_in(tmp_path)) == 2


@pytest.mark.parametrize(
    ("status", "sent"), [(0xA700, 3), (0xA7FF, 3), (0x0213, 3), (0xA900, 1), (0xC000, 1), (0x0124, 1)]
)
async def test_a_failure_is_refused_with_its_status(tmp_path: Path, status: int, sent: int) -> None:
    async with ScriptedScp(on_store=Answer(status, "not today")) as peer:
        observed = await send(tmp_path, numbered(1), sinks.Store(peer.node, retry=SOON))
        assert len(peer.received.of("C-STORE-RQ")) == sent
    [refused] = observed.refused
    assert refused.status == status
    assert refused.reason.startswith(f"refused with {status:04X} ")
    assert "not today" in refused.reason


@pytest.mark.parametrize("status", [0xFF00, 0xFE00])
async def test_what_is_no_answer_to_a_store_is_no_success(tmp_path: Path, status: int) -> None:
    async with ScriptedScp(on_store=status) as peer:
        observed = await send(tmp_path, numbered(1), sinks.Store(peer.node, retry=SOON))
    assert observed.totals.refused == 1


async def test_the_sender_is_told_what_the_peer_said(tmp_path: Path) -> None:
    listen = f"DCMFLOW@127.0.0.1:{free_port()}"
    async with ScriptedScp(on_store=[0, Answer(0xA900, "not this one"), 0xB007, 0x0111]) as peer:
        async with Pipeline(sources.Scp(listen) | sinks.Store(peer.node, 1)).start() as running:
            async with Client("SENDER") as client:
                statuses = [await client.store(listen, each) for each in numbered(4)]
            await running.drain()
        assert statuses == [0, 0xA900, 0, 0]


async def test_what_is_not_accepted_is_not_tried_again(tmp_path: Path) -> None:
    other = instance("1.2.840.10008.5.1.4.1.1.4", SOPInstanceUID="2.25.99")
    async with ScriptedScp(accept=Accept(refuse={other.sop_class_uid: 3})) as peer:
        observed = await send(tmp_path, [*numbered(3), other], sinks.Store(peer.node, retry=SOON))
    assert observed.totals.accepted == 3
    [refused] = observed.refused
    assert (refused.sop_instance_uid, refused.status) == ("2.25.99", 0x0122)
    assert "MR Image Storage" in refused.reason
    assert not [event for event in observed.events if isinstance(event, RetryScheduled)]


# -- what breaks


@pytest.mark.parametrize("end", [AbortNow(), CloseNow(), CloseNow(reset=True)], ids=lambda end: repr(end))
async def test_a_peer_that_breaks_off_now_and_then(tmp_path: Path, end: Any) -> None:
    async with ScriptedScp(on_store=[end, 0, 0, end, 0, end, end]) as peer:
        observed = await send(tmp_path, numbered(12), sinks.Store(peer.node, retry=SOON))
        assert observed.totals.accepted == 12
        sent = Counter(
            seen.command.affected_sop_instance for seen in peer.received.of("C-STORE-RQ") if seen.command
        )
    assert sum(sent.values()) == 12 + 4
    assert sent.keys() == {each.sop_instance_uid for each in numbered(12)}


async def test_a_peer_that_does_not_answer_in_time(tmp_path: Path) -> None:
    store = sinks.Store("pacs", 1, retry=ONCE, timeouts=Timeouts(dimse=0.3))
    async with ScriptedScp(on_store=[0, Silence(), 0]) as peer:
        nodes = {"pacs": Node(host="127.0.0.1", port=peer.port)}
        observed = await send(tmp_path, numbered(3), store, nodes=nodes)
    assert observed.totals.accepted == 2
    assert "waited 0.30 s" in observed.refused[0].reason


async def test_a_node_that_is_down_holds_nothing_up(tmp_path: Path) -> None:
    """Ten thousand instances and nobody there: each is refused with the reason, in no time."""
    down = f"DOWN@127.0.0.1:{free_port()}"
    other = sinks.Discard(name="other")
    store = sinks.Store(down, retry=Retry(attempts=3, first="10 ms"), name="down")
    observed = Observed()
    with anyio.fail_after(20):
        observed.statistics = await Pipeline(Numbers(10_000) | (store, other)).run(observe=observed)
    assert observed.totals.refused == 10_000
    assert observed.statistics.stages["other"].sent == 10_000
    assert {event.status for event in observed.refused} == {0xA700}
    assert all(f"{down} cannot be reached: connection refused" in event.reason for event in observed.refused)


async def test_a_start_does_not_wait_for_the_peer() -> None:
    async with ScriptedScp(accept=Silence()) as peer:
        source = sources.Inlet()
        async with Pipeline(source | sinks.Store(peer.node)).start() as running:
            receipt = await running.send(source, instance())
            await peer.received.wait("A-ASSOCIATE-RQ")
            running.cancel()
        assert await receipt.wait() == 0xFE00 or receipt.outcome == "refused"


async def test_it_is_there_when_the_peer_comes_up() -> None:
    port = free_port()
    source = sources.Inlet()
    store = sinks.Store(f"PACS@127.0.0.1:{port}", retry=Retry(attempts=20, first="100 ms", longest="200 ms"))
    observed = Observed()
    async with Pipeline(source | store).start(observe=observed) as running:
        receipt = await running.send(source, instance())
        await until(lambda: any(isinstance(event, RetryScheduled) for event in observed.events))
        async with ScriptedScp(port=port):
            assert await receipt.wait() == 0
            await running.drain()


async def test_cancelled_in_the_middle() -> None:
    async with ScriptedScp(on_store=[0, Silence()]) as peer:
        async with Pipeline(Numbers(3) | sinks.Store(peer.node, 1)).start() as running:
            await peer.received.wait("C-STORE-RQ", count=2)
            running.cancel()
        assert running.statistics().pipeline.accepted == 1
        await peer.received.wait("A-ABORT")
        assert "A-RELEASE-RQ" not in peer.received.whats


async def test_drained_it_releases() -> None:
    async with ScriptedScp() as peer:
        async with Pipeline(Numbers(3) | sinks.Store(peer.node, 1)).start() as running:
            await running.wait()
        assert peer.received.whats.count("A-RELEASE-RQ") == 1
        assert "A-ABORT" not in peer.received.whats


async def test_rejected_for_good_is_not_tried_again(tmp_path: Path) -> None:
    async with ScriptedScp(accept=Reject(1, 1, 7)) as peer:
        observed = await send(tmp_path, numbered(8), sinks.Store(peer.node))
        assert len(peer.received.of("A-ASSOCIATE-RQ")) <= 2
    assert observed.totals.refused == 8
    assert "called AE title not recognized" in observed.refused[0].reason


# -- real peers


Serve = Callable[..., AbstractContextManager[Server]]


@pytest.fixture(params=["dcmtk", "pynetdicom"])
def serve(request: pytest.FixtureRequest) -> Serve:
    """Starts a Storage SCP that keeps the bytes."""
    peer = request.getfixturevalue(f"{request.param}_peer")
    starts: Serve = peer.storescp if request.param == "dcmtk" else peer.scp
    return starts


@pytest.mark.interop
@pytest.mark.parametrize("make", [base, comp], ids=["base", "comp"])
async def test_bytes_arrive_as_they_are(serve: Serve, make: Callable[[Path], Corpus], tmp_path: Path) -> None:
    corpus = make(tmp_path / "out")
    with serve(tmp_path / "in") as server:
        observed = await run(sources.Directory(str(corpus.folder)) | sinks.Store(str(server.address)))
    assert not observed.refused
    assert digests(server.stored().values()) == digests(corpus.paths)


@pytest.mark.interop
async def test_more_contexts_than_an_association_has(pynetdicom_peer: Pynetdicom, tmp_path: Path) -> None:
    corpus = every_class(tmp_path / "out")
    assert len(corpus) > 128
    with pynetdicom_peer.scp(tmp_path / "in") as server:
        observed = await run(sources.Directory(str(corpus.folder)) | sinks.Store(str(server.address)))
    assert not observed.refused
    assert digests(server.stored().values()) == digests(corpus.paths)


@pytest.mark.interop
@pytest.mark.parametrize(
    ("fault", "again"), [("--refuse", False), ("--abort-after", True), ("--abort-during", True)]
)
async def test_faults_of_storescp(dcmtk_peer: Dcmtk, fault: str, again: bool, tmp_path: Path) -> None:
    with dcmtk_peer.storescp(tmp_path / "in", fault) as server:
        store = sinks.Store(str(server.address), retry=SOON)
        observed = await send(tmp_path / "out", numbered(4), store)
    assert observed.totals.refused == 4
    assert all(str(server.address) in event.reason for event in observed.refused)
    # it rejects for good, and aborts for once
    assert any(isinstance(event, RetryScheduled) for event in observed.events) is again


@pytest.mark.interop
async def test_storescp_that_is_slow_to_answer(dcmtk_peer: Dcmtk, tmp_path: Path) -> None:
    with dcmtk_peer.storescp(tmp_path / "in", "--sleep-during", "5") as server:
        store = sinks.Store(
            str(server.address), 1, retry=ONCE, timeouts=Timeouts(dimse=0.5, acse=1, connect=1)
        )
        observed = await send(tmp_path / "out", numbered(2), store)
    assert observed.totals.refused == 2
    assert all("did not answer" in event.reason for event in observed.refused)


@pytest.mark.interop
async def test_through_two_of_us(dcmtk_peer: Dcmtk, tmp_path: Path) -> None:
    """storescu to an scp source, a store sink to storescp."""
    corpus = base(tmp_path / "out")
    standard = [
        path for path in corpus.paths if "/14/" not in str(path)
    ]  # storescu sends what the standard knows
    place = Address(free_port(), "DCMFLOW")
    with dcmtk_peer.storescp(tmp_path / "in") as server:
        flow = sources.Scp(str(place)) | sinks.Store(str(server.address))
        async with Pipeline(flow).start() as running:
            done = await anyio.to_thread.run_sync(lambda: dcmtk_peer.storescu(place, *standard))
            assert done.returncode == 0, done.stdout + done.stderr
            await running.drain()
    assert server.stored().keys() == {uid for path, uid in corpus.uids.items() if "14/" not in path}


@pytest.mark.interop
async def test_a_destination_that_is_down_is_told_to_the_sender(dcmtk_peer: Dcmtk, tmp_path: Path) -> None:
    place = Address(free_port(), "DCMFLOW")
    file = tmp_path / "one.dcm"
    put(tmp_path, file.name, instance())
    store = sinks.Store(f"DOWN@127.0.0.1:{free_port()}", retry=SOON)
    async with Pipeline(sources.Scp(str(place)) | store).start() as running:
        done = await anyio.to_thread.run_sync(lambda: dcmtk_peer.storescu(place, file))
        assert "OutOfResources" in done.stdout + done.stderr
        await running.drain()
    assert running.statistics().pipeline.refused == 1
