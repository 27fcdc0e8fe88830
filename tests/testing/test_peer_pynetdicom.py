"""The scripted peers against pynetdicom, each way round."""

from __future__ import annotations

import anyio
import pytest
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import (
    CTImageStorage,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from dcmflow.dicom.instance import Instance
from dcmflow.testing import (
    AbortNow,
    Accept,
    Answer,
    CloseNow,
    Get,
    Matches,
    Move,
    Reject,
    ScriptedScp,
    ScriptedScu,
    Silence,
    instance,
)

pytestmark = [pytest.mark.anyio, pytest.mark.interop]

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
CLASSES = (
    Verification,
    CTImageStorage,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)


def bytes_of(made):
    return b"".join(made.payload.segments())


def dataset(number):
    ds = Dataset()
    ds.QueryRetrieveLevel, ds.StudyInstanceUID = "STUDY", f"2.25.{number}"
    return ds


async def with_client(peer, act, *, maximum=16382, handlers=(), timeout=5.0):
    """What `act(association)` returns, in a thread."""

    def run():
        ae = AE("PYNETDICOM")
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = timeout
        for sop_class in CLASSES:
            ae.add_requested_context(sop_class, EXPLICIT)
        roles = [build_role(CTImageStorage, scp_role=True, scu_role=True)]
        association = ae.associate(
            "127.0.0.1", peer.port, max_pdu=maximum, ext_neg=roles, evt_handlers=list(handlers)
        )
        try:
            return act(association)
        finally:
            if association.is_established:
                association.release()
            if association.ident is not None:  # else it was not accepted
                association.join()

    return await anyio.to_thread.run_sync(run)


async def test_echo_and_store():
    made = instance()
    async with ScriptedScp(on_store=[0, Answer(0xA700, "disk full")]) as peer:

        def act(association):
            statuses = [association.send_c_echo().Status]
            return statuses + [association.send_c_store(made.read()) for _ in range(2)]

        echo, first, second = await with_client(peer, act)
        assert (echo, first.Status, second.Status) == (0, 0, 0xA700)
        assert second.ErrorComment == "disk full"
        await peer.received.wait("A-RELEASE-RQ")
    stored = peer.received.of("C-STORE-RQ")
    assert [Instance.from_dataset(made.read()).read() for _ in stored] == [made.read()] * 2
    assert stored[0].command.affected_sop_instance == made.sop_instance_uid
    assert stored[0].transfer_syntax == EXPLICIT
    assert peer.received[1].pdu.calling_ae == "PYNETDICOM"


async def test_it_keeps_to_a_small_maximum():
    made = instance()
    async with ScriptedScp(accept=Accept(maximum_length=128)) as peer:
        status = await with_client(peer, lambda association: association.send_c_store(made.read()).Status)
    assert status == 0
    lengths = [length for kind, length in peer.channels[0].pdus if kind == 4]
    assert max(lengths) <= 128
    assert len(lengths) > 4


@pytest.mark.parametrize("how", [{"largest": 20}, {"joined": True}, {"drip": 1}, {"largest": 0}])
async def test_it_reads_answers_however_they_are_cut(how):
    found = Matches(map(dataset, range(1, 4)), like=Answer(0xFF00, **how))
    async with ScriptedScp(on_find=found) as peer:

        def act(association):
            answers = association.send_c_find(dataset(1), StudyRootQueryRetrieveInformationModelFind)
            return [(status.Status, ds and ds.StudyInstanceUID) for status, ds in answers]

        got = await with_client(peer, act)
    assert got == [(0xFF00, f"2.25.{number}") for number in (1, 2, 3)] + [(0, None)]


async def test_it_cancels():
    def endless():
        while True:
            yield dataset(1)

    async with ScriptedScp(on_find=Matches(endless())) as peer:

        def act(association):
            statuses = []
            for status, _ in association.send_c_find(
                dataset(1), StudyRootQueryRetrieveInformationModelFind, msg_id=7
            ):
                statuses.append(status.Status)
                if len(statuses) == 3:
                    association.send_c_cancel(7, query_model=StudyRootQueryRetrieveInformationModelFind)
            return statuses

        got = await with_client(peer, act)
    assert got[:3] == [0xFF00] * 3
    assert got[-1] == 0xFE00
    assert peer.received.of("C-CANCEL-RQ")[0].command.message_id_responded == 7


@pytest.mark.parametrize(
    ("script", "received"),
    [
        (Reject(1, 1, 7), ["A_ASSOCIATE_RJ"]),
        (AbortNow(close=True), ["A_ABORT_RQ"]),
        (CloseNow(), []),
    ],
)
async def test_it_is_not_let_in(script, received):
    got = []
    handlers = [(evt.EVT_PDU_RECV, lambda event: got.append(type(event.pdu).__name__))]
    async with ScriptedScp(accept=script) as peer:
        established = await with_client(
            peer, lambda association: association.is_established, handlers=handlers
        )
    assert not established
    assert got == received


async def test_it_sees_an_abort_and_the_lack_of_an_answer():
    def act(association):
        return association.send_c_echo(), association.is_aborted

    async with ScriptedScp(on_echo=AbortNow()) as peer:
        answer, _ = await with_client(peer, act)
        assert "Status" not in answer
    async with ScriptedScp(on_echo=Silence()) as peer:
        answer, _ = await with_client(peer, act, timeout=0.3)
        assert "Status" not in answer
        await peer.received.wait("A-ABORT")


async def test_it_has_contexts_refused():
    def act(association):
        return {context.abstract_syntax: context.result for context in association.rejected_contexts}

    async with ScriptedScp(accept=Accept(refuse={CTImageStorage: 3, Verification: 4})) as peer:
        got = await with_client(peer, act)
    assert got == {CTImageStorage: 3, Verification: 4}


async def test_it_gets():
    made = [instance() for _ in range(3)]
    got = []

    def stored(event):
        got.append(event.dataset.SOPInstanceUID)
        return 0x0000

    def act(association):
        answers = association.send_c_get(dataset(1), StudyRootQueryRetrieveInformationModelGet)
        return [(status.Status, status.get("NumberOfCompletedSuboperations")) for status, _ in answers]

    async with ScriptedScp(on_get=Get(made)) as peer:
        statuses = await with_client(peer, act, handlers=[(evt.EVT_C_STORE, stored)])
    assert statuses == [(0xFF00, 1), (0xFF00, 2), (0, 3)]
    assert got == [each.sop_instance_uid for each in made]


# --------------------------------------------------------------------------------------------- as the server


@pytest.fixture
def server():
    """`server(handlers)` is the node of a pynetdicom SCP."""
    running = []

    def start(*handlers):
        ae = AE("SERVER")
        ae.maximum_pdu_size = 256
        ae.require_calling_aet = []
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 5
        for sop_class in CLASSES:
            ae.add_supported_context(sop_class, [IMPLICIT, EXPLICIT])
        running.append(ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=list(handlers)))
        return f"SERVER@127.0.0.1:{running[-1].server_address[1]}"

    yield start
    for each in running:
        each.shutdown()


async def test_scu_echoes_stores_and_finds(server):
    made, got = instance(), []

    def stored(event):
        got.append(event.request.DataSet.getvalue())
        return 0xB000

    def find(event):
        yield 0xFF00, event.identifier
        yield 0xFF00, dataset(9)

    node = server((evt.EVT_C_STORE, stored), (evt.EVT_C_FIND, find))
    async with ScriptedScu(node) as scu:
        answer = await scu.associate(
            (Verification, IMPLICIT),
            (StudyRootQueryRetrieveInformationModelFind, EXPLICIT),
            ("1.2.3", IMPLICIT),
            instances=[made],
        )
        assert answer.what == "A-ASSOCIATE-AC"
        assert {context.id: context.result for context in answer.pdu.contexts} == {1: 0, 3: 0, 5: 3, 7: 0}
        assert scu.channel.largest == 256
        assert (await scu.echo()).status == 0
        assert (await scu.store(made)).status == 0xB000
        assert (await scu.store(made, joined=True, drip=50)).status == 0xB000
        *pending, final = await scu.find(StudyRootQueryRetrieveInformationModelFind, dataset(5))
        assert [seen.what for seen in await scu.release()] == ["A-RELEASE-RP"]
    assert got == [bytes_of(made)] * 2
    assert final.status == 0
    found = [read_dataset(_file(seen.data), is_implicit_VR=False, is_little_endian=True) for seen in pending]
    assert [ds.StudyInstanceUID for ds in found] == ["2.25.5", "2.25.9"]
    assert scu.received.wrong == []


def _file(data):
    from io import BytesIO

    return BytesIO(data)


async def test_move_stores_at_a_pynetdicom_server(server):
    made, got = [instance() for _ in range(2)], []

    def stored(event):
        originator = event.request.MoveOriginatorApplicationEntityTitle, event.request.MoveOriginatorMessageID
        got.append((event.dataset.SOPInstanceUID, originator, event.assoc.requestor.ae_title))
        return 0

    def act(association):
        answers = association.send_c_move(
            dataset(1), "SERVER", StudyRootQueryRetrieveInformationModelMove, msg_id=5
        )
        return [status.Status for status, _ in answers]

    destinations = {"SERVER": server((evt.EVT_C_STORE, stored))}
    async with ScriptedScp(on_move=Move(made, calling_ae="MOVER"), destinations=destinations) as peer:
        assert await with_client(peer, act) == [0xFF00, 0]
    originator = ("PYNETDICOM", 5)
    assert got == [(each.sop_instance_uid, originator, "MOVER") for each in made]
