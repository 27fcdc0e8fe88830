"""Client.get and Client.move: what comes, how it ends, and what becomes of it when nobody wants it any more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest
from pydicom.dataset import Dataset

import base_data
from acceptance_query import Holdings
from base_data import BASE, SUBSETS
from dcmflow.dicom.instance import Instance
from dcmflow.dicom.level import Level
from dcmflow.dicom.query import Query
from dcmflow.errors import AssociationAborted, ConfigError, NetworkError, NoAcceptedContext, RequestFailed
from dcmflow.net.client import Client
from dcmflow.net.entity import ApplicationEntity
from dcmflow.net.listener import listening
from dcmflow.net.models import Model
from dcmflow.net.node import Node, Timeouts
from dcmflow.testing import (
    AbortNow,
    Accept,
    Answer,
    CloseNow,
    Exchange,
    Get,
    Matches,
    Move,
    ScriptedScp,
    SendHere,
    Silence,
    Wait,
    instance,
)
from dcmflow.testing.peer_dataset import decoded
from peers.archives import Archive
from scp_runs import Kept
from wire_data import dataset_bytes

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]

CANCELLED = 0xFE00
STUDY = {"StudyInstanceUID": BASE[0].study}
MADE = [instance(StudyInstanceUID=BASE[0].study) for _ in range(4)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return base_data.write_base(tmp_path_factory.mktemp("base"))


def encoded(made: Instance) -> bytes:
    return b"".join(map(bytes, made.payload.segments()))


def final(completed: int | None, failed: int | None = 0, status: int = 0, **more: Any) -> Answer:
    return Answer(status, fields={"completed": completed, "failed": failed, "warning": 0}, **more)


def failed_list(*uids: str) -> Dataset:
    ds = Dataset()
    ds.FailedSOPInstanceUIDList = list(uids)
    return ds


# -- archives


@pytest.mark.parametrize("name", SUBSETS)
async def test_get_brings_each_part_of_base_byte_by_byte(
    archive: Archive, base: list[Path], name: str
) -> None:
    subset = SUBSETS[name]
    meant = {fact.image: dataset_bytes(path) for fact, path in zip(BASE, base, strict=True)}
    came: list[Instance] = []
    async with Client() as client:
        for level, keys in subset.requests:
            async with client.get(str(archive.address), Query.of(keys, level)) as instances:
                came += [each async for each in instances]
                assert instances.report is not None
                assert instances.report.status == 0
    assert sorted(each.sop_instance_uid for each in came) == sorted(
        fact.image for fact in subset.of(archive.expected)
    )
    for each in came:
        assert encoded(each) == meant[each.sop_instance_uid]
        assert each.origin is not None
        assert each.origin.calling_ae == archive.address.ae_title


async def test_get_brings_what_a_list_of_images_names(archive: Archive) -> None:
    images = [fact.image for fact in base_data.ECHOES]
    query = Query.of({**base_data.ECHOES[0].keys("series"), "SOPInstanceUID": images})
    async with Client() as client, client.get(str(archive.address), query) as instances:
        assert sorted([each.sop_instance_uid async for each in instances]) == sorted(images)


async def test_get_brings_what_a_query_matches(archive: Archive) -> None:
    query = {"PatientID": "TestPat1", "StudyDate": "20190101-20191231"}
    async with Client() as client, client.get(str(archive.address), query) as instances:
        assert {each.sop_instance_uid async for each in instances} == {
            fact.image
            for fact in archive.expected
            if fact.patient == "TestPat1" and fact.text("StudyDate").startswith("2019")
        }


async def test_move_sends_to_who_is_named(archive: Archive) -> None:
    kept, ours = Kept(), archive.clients["DCMFLOW2"]
    async with listening("127.0.0.1", ours.port) as listener, Client() as client:
        with listener.host(ApplicationEntity("DCMFLOW2", store=kept)):
            listener.open()
            report = await client.move(str(archive.address), STUDY, to="DCMFLOW2")
    meant = {fact.image for fact in archive.expected if fact.study == BASE[0].study}
    assert {received.command.affected_sop_instance for received in kept.seen} == meant
    assert (report.status, report.completed, report.failed) == (0, len(meant), 0)


async def test_move_to_nobody(archive: Archive) -> None:
    async with Client() as client:
        with pytest.raises(RequestFailed, match="STRANGER") as error:
            await client.move(str(archive.address), STUDY, to="STRANGER")
    assert error.value.status == (0xC000 if archive.kind == "orthanc" else 0xA801)


# -- how C-GET ends


async def test_each_instance_is_answered_when_the_next_one_is_asked_for() -> None:
    async with ScriptedScp(on_get=Get(MADE)) as peer, Client() as client:
        async with client.get(peer.node, STUDY) as instances:
            for number in range(4):
                await anext(instances)
                assert len(peer.received.of("C-STORE-RSP")) == number
            with pytest.raises(StopAsyncIteration):
                await anext(instances)
            assert instances.report is not None
            assert instances.report.completed == 4
        assert [seen.status for seen in peer.received.of("C-STORE-RSP")] == [0] * 4
        assert "C-CANCEL-RQ" not in peer.received.whats


@pytest.mark.parametrize(
    ("end", "says"),
    [
        (final(3, 1, 0xB000, data=failed_list("1.2.3.4")), "1.2.3.4"),
        (final(3, 1, 0xB000), "1 of what was asked for"),
        (final(None, None, 0xB000), "some of what was asked for"),
        (final(3, 1, 0), "1 of what was asked for"),
        (Answer(0xA702, "no room"), "no room"),
        (Answer(0xA701), "ask for less"),
        (Answer(0xC000), "its log may say why"),
    ],
)
async def test_what_could_not_be_sent_is_no_success(end: Answer, says: str) -> None:
    async with ScriptedScp(on_get=(SendHere(MADE[:3]), end)) as peer, Client() as client:
        came = []
        with pytest.raises(RequestFailed, match=says) as error:
            async with client.get(peer.node, STUDY) as instances:
                async for each in instances:
                    came.append(each.sop_instance_uid)
        assert came == [each.sop_instance_uid for each in MADE[:3]]
        assert error.value.operation == "C-GET"


@pytest.mark.parametrize("end", [AbortNow(), CloseNow(), Silence()])
async def test_an_end_in_the_middle_leaves_what_has_come(end: Any) -> None:
    async with ScriptedScp(on_get=(SendHere(MADE[:3]), end)) as peer, Client() as client:
        came = []
        node = Node(host="127.0.0.1", port=peer.port, timeouts=Timeouts(dimse=0.5))
        with anyio.fail_after(10), pytest.raises(NetworkError):
            async with client.get(node, STUDY) as instances:
                async for each in instances:
                    came.append(each.sop_instance_uid)
        assert came == [each.sop_instance_uid for each in MADE[:3]]


async def test_nothing_matches_and_nothing_is_asked_for() -> None:
    async with ScriptedScp() as peer, Client() as client:
        async with client.get(peer.node, {"PatientID": "NOBODY"}) as instances:
            assert [each async for each in instances] == []
        assert (await client.move(peer.node, {"PatientID": "NOBODY"}, to="THERE")).completed == 0
        assert peer.received.of("C-GET-RQ", "C-MOVE-RQ") == []


async def test_no_c_get_is_named() -> None:
    refuse = {model.sop_class("get"): 3 for model in Model}
    async with ScriptedScp(accept=Accept(refuse=refuse)) as peer, Client() as client:
        with pytest.raises(NoAcceptedContext):
            async with client.get(peer.node, STUDY) as instances:
                await anext(instances)


# -- leaving


@pytest.mark.parametrize("read", [0, 1, 2])
async def test_leaving_early_calls_it_off(read: int) -> None:
    made = [instance(StudyInstanceUID=BASE[0].study) for _ in range(50)]
    async with ScriptedScp(on_get=Get(made)) as peer, Client() as client:
        with anyio.fail_after(10):
            async with client.get(peer.node, STUDY) as instances:
                for _ in range(read):
                    await anext(instances)
                await peer.received.wait("C-GET-RQ")
            await peer.received.wait("C-CANCEL-RQ", "A-ABORT")
        assert len(peer.received.of("C-STORE-RSP")) <= read + 5


async def test_leaving_while_an_instance_waits_to_be_read() -> None:
    async with ScriptedScp(on_get=Get(MADE)) as peer, Client() as client:
        async with client.get(peer.node, STUDY):
            await peer.received.wait("C-GET-RQ")
            await anyio.sleep(0.3)  # it has come, and nobody has asked for it
        assert await client.echo(peer.node) == 0


async def test_between_two_instances_a_server_heeds_the_cancel() -> None:
    script = (SendHere(MADE[:1]), Answer(0xFF00), Wait("C-CANCEL-RQ"), Answer(CANCELLED))
    async with ScriptedScp(on_get=script) as peer, Client() as client:
        with anyio.move_on_after(10) as scope:
            async with client.get(peer.node, STUDY) as instances:
                await anext(instances)
                scope.cancel()
                await anext(instances)
        assert scope.cancelled_caught
        await peer.received.wait("C-CANCEL-RQ", "A-ABORT")


async def test_an_error_of_the_reader_comes_out_as_it_is() -> None:
    async with ScriptedScp(on_get=Get(MADE)) as peer, Client() as client:
        with pytest.raises(ZeroDivisionError):
            async with client.get(peer.node, STUDY) as instances:
                async for _ in instances:
                    raise ZeroDivisionError


async def test_cancelled_while_a_move_is_under_way_it_is_called_off() -> None:
    script = (Answer(0xFF00), Wait("C-CANCEL-RQ"), Answer(CANCELLED))
    async with ScriptedScp(on_move=script) as peer, Client() as client:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: client.move(peer.node, STUDY, to="THERE"))
            await peer.received.wait("C-MOVE-RQ")
            tasks.cancel_scope.cancel()
        await peer.received.wait("C-CANCEL-RQ")
        (asked,), (cancel,) = peer.received.of("C-MOVE-RQ"), peer.received.of("C-CANCEL-RQ")
        assert asked.command is not None
        assert cancel.command is not None
        assert cancel.command.message_id_responded == asked.command.message_id


async def test_a_move_that_cannot_be_called_off_is_aborted() -> None:
    async with ScriptedScp(on_move=Silence()) as peer, Client() as client:
        with anyio.fail_after(8):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lambda: client.move(peer.node, STUDY, to="THERE"))
                await peer.received.wait("C-MOVE-RQ")
                tasks.cancel_scope.cancel()
            await peer.received.wait("A-ABORT")
        assert "C-CANCEL-RQ" in peer.received.whats


# -- what is asked


@pytest.mark.parametrize("operation", ["move", "get"])
@pytest.mark.parametrize(
    ("keys", "level"),
    [
        (base_data.ECHOES[0].keys("study"), "study"),
        (base_data.ECHOES[0].keys("series"), "series"),
        (base_data.ECHOES[0].keys("image"), "image"),
    ],
)
async def test_a_request_has_the_unique_keys_and_nothing_else(
    operation: str, keys: dict[str, str], level: str
) -> None:
    query = Query.of({**keys, "PatientName": "", "StudyDescription": "*"}, level)
    async with ScriptedScp() as peer, Client() as client:
        if operation == "move":
            await client.move(peer.node, query, to="THERE")
        else:
            async with client.get(peer.node, query) as instances:
                assert [each async for each in instances] == []
        (seen,) = peer.received.of(f"C-{operation.upper()}-RQ")
        asked = decoded(seen.data or b"", seen.transfer_syntax)
        wanted = {key: value for key, value in keys.items() if key != "PatientID"}
        assert {element.keyword: str(element.value) for element in asked} == {
            **wanted,
            "QueryRetrieveLevel": level.upper(),
        }
        if operation == "move":
            assert seen.command is not None
            assert seen.command.move_destination == "THERE"
    assert Level.parse(level).keyword in keys


@pytest.mark.parametrize("operation", ["move", "get"])
async def test_a_server_that_takes_no_lists_is_asked_one_by_one(base: list[Path], operation: str) -> None:
    holdings = Holdings(base)

    def retrieve(exchange: Exchange) -> Any:
        if not isinstance(exchange.dataset().SOPInstanceUID, str):
            return Answer(0xC413, "one at a time")
        made = holdings.select(exchange)
        return Move(made) if operation == "move" else Get(made)

    query = Query.of(
        {**base_data.ECHOES[0].keys("series"), "SOPInstanceUID": [fact.image for fact in base_data.ECHOES]}
    )
    async with ScriptedScp() as there, Client() as client:
        scripts: dict[str, Any] = {f"on_{operation}": retrieve}
        async with ScriptedScp(on_find=holdings.find, destinations={"THERE": there.node}, **scripts) as peer:
            if operation == "move":
                report = await client.move(peer.node, query, to="THERE")
                assert (report.completed, report.failed) == (2, 0)
                assert len(there.received.of("C-STORE-RQ")) == 2
            else:
                async with client.get(peer.node, query) as instances:
                    assert len([each async for each in instances]) == 2
            assert len(peer.received.of(f"C-{operation.upper()}-RQ")) == 3


async def test_counts_of_several_requests_are_added_up() -> None:
    studies = []
    for number in (1, 2, 3):
        ds = Dataset()
        ds.QueryRetrieveLevel, ds.PatientID, ds.StudyInstanceUID = "STUDY", "P", f"1.{number}"
        studies.append(ds)
    answers = [final(3), final(1, 1, 0xB000, data=failed_list("1.2.3")), final(2)]
    async with ScriptedScp(on_find=Matches(studies), on_move=answers) as peer, Client() as client:
        report = await client.move(peer.node, {"PatientID": "P"}, to="THERE")
    assert (report.status, report.completed, report.failed, report.warning) == (0xB000, 6, 1, 0)
    assert report.failed_uids == ("1.2.3",)
    assert len(peer.received.of("C-MOVE-RQ")) == 3


async def test_a_destination_that_is_no_title() -> None:
    async with ScriptedScp() as peer, Client() as client:
        with pytest.raises(ConfigError):
            await client.move(peer.node, STUDY, to="SEVENTEEN--------")
        assert peer.received.all == []


async def test_an_abort_in_a_move() -> None:
    async with ScriptedScp(on_move=AbortNow()) as peer, Client() as client:
        with pytest.raises(AssociationAborted):
            await client.move(peer.node, STUDY, to="THERE")
