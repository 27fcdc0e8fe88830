"""Queries and retrievals from within a program: what it gets, what is raised, what a server hears when it leaves early."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import anyio
import pytest
from pydicom.dataset import Dataset

import corpus
from acceptance_kit import FLAT, dataset
from acceptance_query import Holdings, files_of, got, identifier
from acceptance_wire import here
from corpus import Corpus
from dcmflow import (
    AssociationAborted,
    AssociationRejected,
    Client,
    ConfigError,
    DcmflowError,
    Level,
    NetworkError,
    Node,
    Pipeline,
    Query,
    RequestFailed,
    Timeouts,
    sinks,
    sources,
)
from dcmflow.testing import (
    AbortNow,
    Answer,
    CloseNow,
    Get,
    Matches,
    Move,
    Reject,
    ScriptedScp,
    SendHere,
    SendTo,
    Silence,
    Wait,
)
from peers.base import Address, free_port
from wire_data import uid_of

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]

STUDY = {"StudyInstanceUID": corpus.uid("BASE", "TestPat2", "20190615")}


def study(number: int) -> Dataset:
    ds = Dataset()
    ds.QueryRetrieveLevel, ds.PatientID, ds.StudyInstanceUID = "STUDY", f"P{number}", f"2.25.{number}"
    return ds


async def find(node: str | Node, query: Any) -> list[str]:
    async with Client("DCMFLOW") as client, client.find(node, query) as records:
        return [record.uid async for record in records]


@pytest.fixture
def four(base_set: Corpus) -> list[Path]:
    return files_of(base_set, "TestPat2")


@pytest.fixture
def bytes_of(four: list[Path]) -> dict[str, bytes]:
    return {uid_of(path): dataset(path) for path in four}


# find ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        {"PatientID": "P*"},
        Query.of(["PatientID=P*", "StudyInstanceUID"]),
        Query.of({"PatientID": "P*"}, "study"),
    ],
    ids=["mapping", "texts", "level"],
)
async def test_records_come_one_by_one(query: Any) -> None:
    async with ScriptedScp(on_find=Matches(map(study, (1, 2, 3)))) as server:
        assert sorted(await find(server.node, query)) == ["2.25.1", "2.25.2", "2.25.3"]
        [sent] = map(identifier, server.received.of("C-FIND-RQ"))
    assert (sent.QueryRetrieveLevel, sent.PatientID) == ("STUDY", "P*")
    assert "StudyInstanceUID" in sent


async def test_a_record_has_what_was_returned() -> None:
    async with (
        ScriptedScp(on_find=Matches([study(1)])) as server,
        Client("DCMFLOW") as client,
        client.find(server.node, {"PatientID": "P1"}) as records,
    ):
        [record] = [record async for record in records]
    assert record.level == Level.STUDY
    assert (record["PatientID"] if hasattr(record, "__getitem__") else record.get("PatientID")) == "P1"
    assert record.path == ("P1", "2.25.1")


async def test_a_key_that_is_none_is_an_error_before_anything_is_sent() -> None:
    async with ScriptedScp() as server:
        with pytest.raises(ConfigError, match=r"PatientIdd.*PatientID"):
            await find(server.node, {"PatientIdd": "A"})
        assert server.received.whats == []


@pytest.mark.parametrize("status", [0xA700, 0xA900, 0xC001])
async def test_what_came_before_a_failure_is_given_and_then_the_failure(status: int) -> None:
    seen: list[str] = []
    final = Answer(status, "tape robot is jammed")
    async with (
        ScriptedScp(on_find=Matches(map(study, (1, 2, 3)), final=final)) as server,
        Client("DCMFLOW") as client,
    ):
        with pytest.raises(RequestFailed) as caught:
            async with client.find(server.node, {"PatientID": "P*"}) as records:
                async for record in records:
                    seen.append(record.uid)
    assert seen == ["2.25.1", "2.25.2", "2.25.3"]
    assert (caught.value.status, caught.value.comment) == (status, "tape robot is jammed")
    assert (caught.value.operation, caught.value.peer) == ("C-FIND", server.node)


@pytest.mark.parametrize("end", [AbortNow(), CloseNow()], ids=str)
async def test_an_end_of_the_association_is_an_error_after_what_came(end: Any) -> None:
    seen: list[str] = []
    async with (
        ScriptedScp(on_find=Matches(map(study, (1, 2, 3)), final=end)) as server,
        Client("DCMFLOW") as client,
    ):
        with pytest.raises(NetworkError, match=server.node) as caught:
            async with client.find(server.node, {"PatientID": "P*"}) as records:
                async for record in records:
                    seen.append(record.uid)
    assert seen == ["2.25.1", "2.25.2", "2.25.3"]
    assert isinstance(caught.value, AssociationAborted) or isinstance(end, CloseNow)


async def test_a_rejection_has_its_numbers() -> None:
    async with ScriptedScp(accept=Reject(1, 1, 7)) as server:
        with pytest.raises(AssociationRejected) as caught:
            await find(server.node, {"PatientID": "A"})
    assert (caught.value.result, caught.value.source, caught.value.reason) == (1, 1, 7)


async def test_a_silent_server_is_waited_for_as_long_as_was_said() -> None:
    async with ScriptedScp(on_find=Silence(), on_cancel=Silence()) as server:
        node = Node(host="127.0.0.1", port=server.port, timeouts=Timeouts(dimse=0.2))
        with pytest.raises(NetworkError, match="did not answer"):
            await find(node, {"PatientID": "A"})


def endless() -> Any:
    for number in count(1):
        yield study(number)


async def hears_the_end(server: ScriptedScp) -> None:
    """Within a few seconds, where two would do."""
    with anyio.fail_after(5):
        await server.received.wait("C-CANCEL-RQ", "A-ABORT")


@pytest.mark.parametrize("how", ["break", "error", "cancel"])
async def test_leaving_a_query_early_is_told_to_the_server(how: str) -> None:
    async with ScriptedScp(on_find=Matches(endless())) as server, Client("DCMFLOW") as client:
        with anyio.CancelScope() as scope:
            try:
                async with client.find(server.node, {"PatientID": "P*"}) as records:
                    async for record in records:
                        assert record.uid == "2.25.1"
                        if how == "error":
                            raise LookupError("enough")
                        if how == "cancel":
                            scope.cancel()
                            await anyio.sleep(10)
                        break
            except LookupError:
                assert how == "error"
        await hears_the_end(server)
        assert (await client.echo(server.node)).accepted, "the client is as good as before"


async def test_leaving_early_does_not_wait_for_a_server_that_does_not_heed_it() -> None:
    async with (
        ScriptedScp(on_find=Matches(endless(), heed_cancel=False)) as server,
        Client("DCMFLOW") as client,
    ):
        with anyio.fail_after(10):
            async with client.find(server.node, {"PatientID": "P*"}) as records:
                await anext(records)
        await hears_the_end(server)


async def test_several_queries_at_once_do_not_mix() -> None:
    def answer(exchange: Any) -> Any:
        number = int(str(exchange.dataset().PatientID)[1:])
        answers = [study(number * 100 + each) for each in range(20)]
        for answer in answers:
            answer.PatientID = f"P{number}"
        return answers

    found: dict[int, list[str]] = {}

    async def one(client: Client, number: int) -> None:
        async with client.find(server.node, {"PatientID": f"P{number}"}) as records:
            found[number] = [record.uid async for record in records]

    async with (
        ScriptedScp(on_find=Matches(answer)) as server,
        Client("DCMFLOW") as client,
        anyio.create_task_group() as tasks,
    ):
        for number in range(8):
            tasks.start_soon(one, client, number)
    assert found == {n: [f"2.25.{n * 100 + m}" for m in range(20)] for n in range(8)}
    assert server.most_open <= 4


# get ----------------------------------------------------------------------------------------------------------------


async def test_instances_come_as_they_are_sent(four: list[Path], bytes_of: dict[str, bytes]) -> None:
    held = Holdings(four)
    async with (
        ScriptedScp(on_find=held.find, on_get=Get(held.select)) as server,
        Client("DCMFLOW") as client,
        client.get(server.node, STUDY) as instances,
    ):
        found = {one.sop_instance_uid: b"".join(one.payload.segments()) async for one in instances}
    assert found == bytes_of


@pytest.mark.parametrize("how", ["break", "cancel"])
async def test_leaving_a_retrieval_early_is_told_to_the_server(four: list[Path], how: str) -> None:
    held = Holdings(four)
    two = Holdings(four[:2])
    get = (SendHere(two.select), Wait("C-CANCEL-RQ"), Answer(0xFE00))
    async with ScriptedScp(on_find=held.find, on_get=get) as server, Client("DCMFLOW") as client:
        with anyio.CancelScope() as scope:
            async with client.get(server.node, STUDY) as instances:
                async for one in instances:
                    assert one.sop_instance_uid
                    if how == "cancel":
                        scope.cancel()
                        await anyio.sleep(10)
                    break
        await hears_the_end(server)
        assert (await client.echo(server.node)).accepted


async def test_a_retrieval_that_fails_is_an_error_after_what_came(four: list[Path]) -> None:
    held, two = Holdings(four), Holdings(four[:2])
    get = (SendHere(two.select), Answer(0xA702, "no more"))
    seen: list[str] = []
    async with ScriptedScp(on_find=held.find, on_get=get) as server, Client("DCMFLOW") as client:
        with pytest.raises(DcmflowError, match=server.node):
            async with client.get(server.node, STUDY) as instances:
                async for one in instances:
                    seen.append(one.sop_instance_uid)
    assert seen == [uid_of(path) for path in four[:2]]


# move ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def at() -> Address:
    return here(free_port())


async def moved(four: list[Path], at: Address, **scripts: Any) -> Any:
    held = Holdings(four)
    script = {
        "on_find": held.find,
        "on_move": Move(held.select),
        "destinations": {"DCMFLOW": str(at)},
    } | scripts
    async with ScriptedScp(**script) as server, Client("DCMFLOW") as client:
        return await client.move(server.node, STUDY, to="DCMFLOW")


async def test_a_move_reports_its_counts(four: list[Path]) -> None:
    async with ScriptedScp() as there:
        address = Address(there.port, "DCMFLOW")
        report = await moved(four, address)
        assert [
            seen.command.affected_sop_instance for seen in there.received.of("C-STORE-RQ") if seen.command
        ] == [uid_of(path) for path in four]
    assert (report.status, report.completed, report.failed, report.warning) == (0, 4, 0, 0)
    assert not report.failed_uids


async def test_a_move_reports_what_failed(four: list[Path], at: Address) -> None:
    failed = Dataset()
    failed.FailedSOPInstanceUIDList = [uid_of(four[1])]
    counts = {"completed": 3, "failed": 1, "warning": 0}
    report = await moved(four, at, on_move=Answer(0xB000, "one is lost", data=failed, fields=counts))
    assert (report.status, report.completed, report.failed) == (0xB000, 3, 1)
    assert list(report.failed_uids) == [uid_of(four[1])]


async def test_a_move_to_nowhere_is_an_error(four: list[Path], at: Address) -> None:
    held = Holdings(four)
    async with (
        ScriptedScp(on_find=held.find, on_move=Move(held.select)) as server,
        Client("DCMFLOW") as client,
    ):
        with pytest.raises(RequestFailed, match="NOBODY") as caught:
            await client.move(server.node, STUDY, to="NOBODY")
    assert caught.value.status == 0xA801


async def test_a_cancelled_move_is_told_to_the_server(four: list[Path], at: Address) -> None:
    held = Holdings(four)
    async with (
        ScriptedScp(on_find=held.find, on_move=(Wait("C-CANCEL-RQ"), Answer(0xFE00))) as server,
        Client("DCMFLOW") as client,
    ):
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:

                async def move() -> None:
                    await client.move(server.node, STUDY, to="DCMFLOW")

                tasks.start_soon(move)
                await server.received.wait("C-MOVE-RQ")
                scope.cancel()
        await hears_the_end(server)


# in a pipeline ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["cancel", "drain"])
async def test_a_pipeline_that_ends_early_tells_the_server_and_keeps_what_came(
    four: list[Path], at: Address, how: str, tmp_path: Path
) -> None:
    held, two = Holdings(four), Holdings(four[:2])

    def move(exchange: Any) -> Any:
        return (SendTo(str(at), two.select(exchange)), Wait("C-CANCEL-RQ"), Answer(0xFE00))

    async with ScriptedScp(on_find=held.find, on_move=move) as server:
        source = sources.Retrieve(server.node, query=STUDY, local=str(at), method="move")
        pipeline = Pipeline(source | sinks.Directory(str(tmp_path / "out"), layout=FLAT))
        with anyio.CancelScope() as scope:
            async with pipeline.start() as running:
                while running.statistics().pipeline.accepted < 2:  # noqa: ASYNC110 - no event says so
                    await anyio.sleep(0.01)
                if how == "cancel":
                    scope.cancel()
                else:
                    await running.drain()
        await hears_the_end(server)
    assert got(tmp_path / "out") == {uid_of(path) for path in four[:2]}
    with anyio.move_on_after(5):
        async with await anyio.create_tcp_listener(local_host=at.host, local_port=at.port):
            return
    raise AssertionError("the port is still taken")


async def test_a_source_that_is_asked_twice_is_two_requests(
    four: list[Path], at: Address, tmp_path: Path
) -> None:
    """The same pipeline can be started again."""
    held = Holdings(four)
    async with ScriptedScp(
        on_find=held.find, on_move=Move(held.select), destinations={"DCMFLOW": str(at)}
    ) as server:
        source = sources.Retrieve(server.node, query=STUDY, local=str(at), method="move")
        pipeline = Pipeline(source | sinks.Directory(str(tmp_path / "out"), layout=FLAT))
        for _ in range(2):
            async with pipeline.start() as running:
                await running.wait()
            assert running.statistics().pipeline.accepted == 4
    assert got(tmp_path / "out") == {uid_of(path) for path in four}
