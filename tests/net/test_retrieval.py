"""C-MOVE and C-GET one by one: what is proposed, what is asked, and the report."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from dcmflow.dicom.level import Level
from dcmflow.dicom.query import Query
from dcmflow.errors import NoAcceptedContext, RequestFailed
from dcmflow.net import failures, models, retrieval
from dcmflow.net.association import Association
from dcmflow.net.entity import Answer as Said
from dcmflow.net.models import Model
from dcmflow.net.node import Node
from dcmflow.net.pool import Pool
from dcmflow.net.received import Received
from dcmflow.net.retrieval import MoveReport, get_contexts, move, retrievable
from dcmflow.net.retrieving import added_up
from dcmflow.protocol.command import CommandSet
from dcmflow.status import Status
from dcmflow.testing import Accept, Answer, Get, ScriptedScp, instance, storage_classes

STUDY = Query.of({"StudyInstanceUID": "1.2.3"})
KEYS = {"PatientID": "P", "StudyInstanceUID": "1", "SeriesInstanceUID": "2", "SOPInstanceUID": "3\\4"}


@asynccontextmanager
async def associated(peer: ScriptedScp, contexts: Any = None, user: Any = None) -> AsyncIterator[Association]:
    node = Node(ae_title=peer.ae, host="127.0.0.1", port=peer.port)
    proposed = models.proposed("move") if contexts is None else contexts
    async with Pool(node, calling_ae="HERE") as pool, pool.associate(proposed, user) as association:
        yield association


# -- what is proposed for C-GET


@given(st.lists(st.sampled_from(storage_classes(private=True)), max_size=200))
def test_as_many_contexts_as_there_are_ids(classes: list[str]) -> None:
    contexts, user = get_contexts(classes)
    assert len(contexts) <= 128
    assert [context.id for context in contexts] == list(range(1, 2 * len(contexts), 2))
    proposed = list(dict.fromkeys(context.abstract_syntax for context in contexts[3:]))
    assert proposed == list(dict.fromkeys(classes))[:125]
    assert [role.sop_class for role in user.roles] == proposed
    assert all(role.scp for role in user.roles)
    for sop_class in proposed:
        mine = [context for context in contexts if context.abstract_syntax == sop_class]
        syntaxes = [syntax for context in mine for syntax in context.transfer_syntaxes]
        assert sorted(syntaxes) == sorted(retrieval.SYNTAXES) or len(contexts) == 128
        assert len(set(syntaxes)) == len(syntaxes)


def test_few_classes_have_a_context_for_each_syntax() -> None:
    contexts, _ = get_contexts(["1.2.840.10008.5.1.4.1.1.2"])
    assert [context.transfer_syntaxes for context in contexts[3:]] == [
        (syntax,) for syntax in retrieval.SYNTAXES
    ]


def test_the_usual_classes_fit_each_with_all_syntaxes() -> None:
    contexts, _ = get_contexts(retrieval.COMMON)
    for sop_class in retrieval.COMMON:
        offered = {
            syntax
            for context in contexts
            if context.abstract_syntax == sop_class
            for syntax in context.transfer_syntaxes
        }
        assert offered == set(retrieval.SYNTAXES)


# -- what is asked


@pytest.mark.parametrize(
    ("level", "model", "keys"),
    [
        ("study", Model.STUDY_ROOT, ["StudyInstanceUID"]),
        ("study", Model.PATIENT_ROOT, ["PatientID", "StudyInstanceUID"]),
        ("image", Model.STUDY_ROOT, ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]),
        ("patient", Model.PATIENT_ROOT, ["PatientID"]),
    ],
)
def test_unique_keys_of_the_model_are_asked(level: str, model: Model, keys: list[str]) -> None:
    query = Query.of({**KEYS, "StudyDescription": "x"}, level)
    assert retrievable(query, model) == Query(Level.parse(level), {key: KEYS[key] for key in keys})


@pytest.mark.anyio
async def test_a_level_that_the_model_has_not() -> None:
    accept = Accept(refuse={model.sop_class("move"): 3 for model in (Model.STUDY_ROOT, Model.PATIENT_ROOT)})
    async with ScriptedScp(accept=accept) as peer:
        with pytest.raises(RequestFailed, match="series level: it offers Patient/Study Only only"):
            async with associated(peer) as association:
                await move(association, Query.of(KEYS, "series"), to="THERE")
        assert peer.received.of("C-MOVE-RQ") == []


@pytest.mark.anyio
async def test_no_model_at_all() -> None:
    refuse = {model.sop_class("move"): 3 for model in Model}
    async with ScriptedScp(accept=Accept(refuse=refuse)) as peer:
        with pytest.raises(NoAcceptedContext):
            async with associated(peer) as association:
                await move(association, STUDY, to="THERE")


@pytest.mark.anyio
async def test_the_message_id_of_who_has_to_know_it_before() -> None:
    async with ScriptedScp() as peer, associated(peer) as association:
        await move(association, STUDY, to="THERE", message_id=4711)
        (asked,) = peer.received.of("C-MOVE-RQ")
        assert asked.command is not None
        assert (asked.command.message_id, asked.command.move_destination) == (4711, "THERE")


# -- the report


def named(*uids: str) -> Dataset:
    ds = Dataset()
    ds.FailedSOPInstanceUIDList = list(uids)
    return ds


def counts(completed: int, failed: int, warning: int, remaining: int | None = None) -> dict[str, int | None]:
    return {"completed": completed, "failed": failed, "warning": warning, "remaining": remaining}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("end", "report"),
    [
        (Answer(0, fields=counts(4, 0, 0)), MoveReport(Status(0), "", 4, 0, 0)),
        (Answer(0), MoveReport(Status(0))),
        (
            Answer(0xB000, "some", fields=counts(2, 1, 1), data=named("1.2.3")),
            MoveReport(Status(0xB000), "some", 2, 1, 1, None, ("1.2.3",)),
        ),
        (
            Answer(0xB000, fields=counts(1, 2, 0), data=named("1.2", "1.3")),
            MoveReport(Status(0xB000), "", 1, 2, 0, None, ("1.2", "1.3")),
        ),
        (Answer(0xB000, data=b"\xff" * 9), MoveReport(Status(0xB000))),
        (Answer(0xB000, data=Dataset()), MoveReport(Status(0xB000))),
        (
            Answer(0xFE00, fields=counts(1, 0, 0, 3)),
            MoveReport(Status(0xFE00), "", 1, 0, 0, 3),
        ),
    ],
)
async def test_how_it_ended(end: Answer, report: MoveReport) -> None:
    async with ScriptedScp(on_move=end) as peer, associated(peer) as association:
        assert await move(association, STUDY, to="THERE") == report


@pytest.mark.anyio
async def test_counts_on_the_way() -> None:
    seen: list[CommandSet] = []
    steps = (
        Answer(0xFF00, fields=counts(1, 0, 0, 2)),
        Answer(0xFF00),
        Answer(0, fields=counts(3, 0, 0)),
    )
    async with ScriptedScp(on_move=steps) as peer, associated(peer) as association:
        await move(association, STUDY, to="THERE", progress=seen.append)
    assert [(command.completed, command.remaining) for command in seen] == [(1, 2), (None, None)]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("status", "says"),
    [
        (0xA701, "ask for less"),
        (0xA702, "is THERE reachable"),
        (0xA801, r"register that AE title with host and port \(port 11112 of this host\)"),
        (0xA900, "keys of every level above"),
        (0xC000, "Orthanc"),
        (0xC123, "Orthanc|log may say why"),
        (0x0124, "does not let HERE retrieve"),
        (0x0122, "log may say why"),
    ],
)
async def test_a_failure_says_what_to_try(status: int, says: str) -> None:
    async with ScriptedScp(on_move=Answer(status, "because")) as peer:
        with pytest.raises(RequestFailed, match=says) as error:
            async with associated(peer) as association:
                await move(association, STUDY, to="THERE", where="port 11112 of this host")
    assert error.value.status == status
    assert error.value.comment == "because"
    assert f"{status:04X}" in str(error.value)
    assert peer.ae in str(error.value)


@pytest.mark.parametrize("operation", ["C-FIND", "C-MOVE", "C-GET"])
@given(status=st.integers(0xA000, 0xCFFF))
def test_there_is_something_to_say_of_every_failure(operation: str, status: int) -> None:
    error = failures.failed(operation, "PACS", Status(status), calling="{to}", to="{calling}")
    assert str(error).startswith(f"PACS answered {operation}")
    assert error.status == status


@pytest.mark.anyio
async def test_instances_are_taken_as_they_come() -> None:
    made = [instance() for _ in range(3)]
    came: list[str] = []

    async def store(received: Received) -> Said:
        came.append(received.command.affected_sop_instance or "")
        return Said(Status.SUCCESS if len(came) < 3 else Status.OUT_OF_RESOURCES)

    contexts, user = get_contexts([made[0].sop_class_uid])
    async with ScriptedScp(on_get=Get(made)) as peer, associated(peer, contexts, user) as association:
        report = await retrieval.get(association, STUDY, store=store)
    assert came == [each.sop_instance_uid for each in made]
    assert (report.status, report.completed, report.failed) == (0xB000, 2, 1)


# -- several as one

NUMBER = st.none() | st.integers(0, 9)
REPORT = st.builds(
    MoveReport,
    st.sampled_from([Status(0), Status(0xB000)]),
    st.just(""),
    NUMBER,
    NUMBER,
    NUMBER,
    NUMBER,
    st.lists(st.sampled_from(["1", "2"])).map(tuple),
)


@given(st.lists(REPORT, min_size=1))
def test_a_count_is_known_where_all_are(reports: list[MoveReport]) -> None:
    total = added_up(reports)
    for name in ("completed", "failed", "warning", "remaining"):
        numbers = [getattr(report, name) for report in reports]
        assert getattr(total, name) == (None if None in numbers else sum(numbers))
    assert total.status == max(report.status for report in reports)
    assert len(total.failed_uids) == sum(len(report.failed_uids) for report in reports)


def test_nothing_was_to_be_done() -> None:
    assert added_up([]) == MoveReport(Status.SUCCESS, completed=0, failed=0, warning=0)
