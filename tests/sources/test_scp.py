"""An scp source: what it answers, when, to whom, and that the numbers say the same."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from dcmflow import Limits, StageError, filters, sinks, sources
from dcmflow.dicom.instance import Instance
from dcmflow.testing import Encoded, ScriptedScu, check_source, instance
from little_stages import Deny, Do, Keep, Stuck
from peers.base import free_port
from scp_runs import (
    CT,
    EXPLICIT,
    IMPLICIT,
    MR,
    echo,
    encoded,
    made,
    nameless,
    receiving,
    send,
    until,
)
from stage_runs import Gather, files_in

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]


async def test_conformance() -> None:
    await check_source(sources.Scp(f"DCMFLOW@127.0.0.1:{free_port()}", until_idle=0.05))


async def test_an_instance_is_what_was_sent_and_knows_where_from() -> None:
    seen, sent = Gather(), instance(PatientID="A1")
    async with receiving(seen, sinks.Discard()) as flow, ScriptedScu(flow.node, calling_ae="MR1") as scu:
        await scu.associate(instances=[sent])
        assert (await scu.store(sent, originator=("MOVER", 1))).status == 0
    (got,) = seen.seen
    assert encoded(got) == encoded(sent)
    assert (got.sop_class_uid, got.sop_instance_uid, got.transfer_syntax_uid) == (
        sent.sop_class_uid,
        sent.sop_instance_uid,
        sent.transfer_syntax_uid,
    )
    origin = got.origin
    assert (origin.stage, origin.calling_ae, origin.called_ae) == ("scp", "MR1", "DCMFLOW")
    assert (origin.address, origin.move_originator) == ("127.0.0.1", "MOVER")
    assert origin.received is not None
    assert origin.path is None
    assert flow.counts == (1, 1, 0, 0, 0)


@pytest.mark.parametrize(
    "syntax", [IMPLICIT, "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.4.50"]
)
@pytest.mark.parametrize("sop_class", [CT, "1.3.12.2.1107.5.9.1", "2.25.5"])
async def test_every_encoding_and_private_classes_are_stored_as_they_are(
    syntax: str, sop_class: str, tmp_path: Path
) -> None:
    sent = instance(sop_class, syntax)
    async with receiving(sinks.Directory(str(tmp_path), layout="{SOPInstanceUID}.dcm")) as flow:
        assert await send(flow.node, sent) == [0]
    (name,) = files_in(tmp_path)
    stored = Instance.load(str(tmp_path / name))
    assert encoded(stored) == encoded(sent)
    assert stored.transfer_syntax_uid == syntax
    assert stored.sop_class_uid == sop_class


async def test_a_transfer_syntax_nobody_knows(tmp_path: Path) -> None:
    sent = instance()
    unknown = Encoded(CT, sent.sop_instance_uid, "2.25.77", encoded(sent))
    async with (
        receiving(sinks.Directory(str(tmp_path), layout="{SOPInstanceUID}.dcm")) as flow,
        ScriptedScu(flow.node) as scu,
    ):
        await scu.associate(instances=[unknown])  # type: ignore[list-item]
        assert (await scu.store(unknown)).status == 0
    (name,) = files_in(tmp_path)
    assert (tmp_path / name).read_bytes().endswith(unknown.data)
    assert b"2.25.77" in (tmp_path / name).read_bytes()


# -- the answer


async def test_the_answer_is_held_until_it_has_settled() -> None:
    gate, seen = anyio.Event(), []
    async with receiving(Stuck(gate, seen=seen)) as flow, ScriptedScu(flow.node) as scu:
        await scu.associate(instances=[made(1)])
        answers = []
        async with anyio.create_task_group() as tasks:

            async def store() -> None:
                answers.append((await scu.store(made(1))).status)

            tasks.start_soon(store)
            await until(lambda: flow.totals.unsettled == 1)
            await anyio.wait_all_tasks_blocked()
            assert answers == []
            gate.set()
        assert answers == [0]
        assert seen == [1]


async def test_a_refusal_comes_with_status_and_comment() -> None:
    denied = Deny(status=0xA7FF, when=lambda number: number % 2 == 1)
    async with receiving(denied) as flow:
        async with ScriptedScu(flow.node) as scu:
            await scu.associate(instances=[made(0)])
            answers = [await scu.store(made(number)) for number in range(4)]
        assert [answer.status for answer in answers] == [0, 0xA7FF, 0, 0xA7FF]
        comments = [answer.command.error_comment for answer in answers if answer.command is not None]
        assert comments == [None, "will not take 1", None, "will not take 3"]
        assert flow.counts == (4, 2, 0, 2, 0)
    assert [event.sop_instance_uid for event in flow.observed.refused] == ["2.25.2", "2.25.4"]


async def test_the_first_refusal_of_several_branches_once_all_have_settled() -> None:
    gate, seen = anyio.Event(), []
    branches = (Deny(status=0xA701), Stuck(gate, seen=seen))
    async with receiving(branches) as flow, ScriptedScu(flow.node) as scu:
        await scu.associate(instances=[made(0)])
        await scu.send_store(made(0))
        await until(lambda: flow.observed.refused)
        assert not scu.received.of("C-STORE-RSP")
        gate.set()
        assert (await scu.receive()).status == 0xA701
        assert flow.counts == (1, 0, 0, 1, 0)
        assert seen == [0]


async def test_what_a_filter_drops_is_answered_with_success() -> None:
    async with receiving(lambda instance: None, sinks.Discard()) as flow:
        assert await send(flow.node, made(0), made(1)) == [0, 0]
        assert flow.counts == (2, 0, 2, 0, 0)


async def test_a_filter_that_fails() -> None:
    def broken(instance: Instance) -> Instance:
        raise ZeroDivisionError("by nobody")

    async with receiving(broken, sinks.Discard()) as flow, ScriptedScu(flow.node) as scu:
        await scu.associate(instances=[made(0)])
        assert (await scu.store(made(0))).status == 0x0110
        assert flow.counts == (1, 0, 0, 1, 0)


async def test_received_promises_nothing() -> None:
    gate, kept = anyio.Event(), []
    async with (
        receiving(Stuck(gate, inbox=0, seen=kept), respond="received") as flow,
        ScriptedScu(flow.node) as scu,
    ):
        await scu.associate(instances=[made(0)])
        assert (await scu.store(made(0))).status == 0
        assert flow.counts == (1, 0, 0, 0, 1)
        await scu.send_store(made(1))  # no room for this one, so it is no answer
        await until(lambda: flow.running.statistics().stages["scp"].sent == 1)
        await anyio.wait_all_tasks_blocked()
        assert len(scu.received.of("C-STORE-RSP")) == 1
        gate.set()
        assert (await scu.receive()).status == 0
    assert kept == [0, 1]


# -- as arithmetic


async def test_a_stuck_sink_stops_the_senders_after_so_many() -> None:
    """5 are let through, 1 is with the sink, 4 wait in its inbox: 10 are emitted, whoever sends."""
    gate, kept = anyio.Event(), []
    stuck = Stuck(gate, after=5, inbox=4, seen=kept)
    async with receiving(stuck) as flow, anyio.create_task_group() as tasks:
        statuses: list[int | None] = []

        async def sender(first: int) -> None:
            async with ScriptedScu(flow.node) as scu:
                await scu.associate(instances=[made(0)])
                for number in range(first, first + 10):
                    statuses.append((await scu.store(made(number))).status)

        for number in range(16):
            tasks.start_soon(sender, 10 * number)
        await until(lambda: flow.totals.emitted >= 10)
        await anyio.wait_all_tasks_blocked()
        assert flow.counts == (10, 5, 0, 0, 5)
        assert statuses == [0] * 5
        assert (await echo(flow.node)).status == 0  # others are served meanwhile
        gate.set()
    assert sorted(kept) == list(range(160))
    assert statuses == [0] * 160
    assert flow.counts == (160, 160, 0, 0, 0)


async def test_limits_of_the_pipeline_hold_senders_back() -> None:
    gate = anyio.Event()
    options = {"limits": Limits(instances=3)}
    async with receiving(Stuck(gate), options=options) as flow, anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(send, flow.node, made(number))
        await until(lambda: flow.totals.emitted == 3)
        await anyio.wait_all_tasks_blocked()
        assert flow.counts == (3, 0, 0, 0, 3)
        gate.set()
    assert flow.counts == (8, 8, 0, 0, 0)


async def test_a_waiting_association_does_not_read() -> None:
    """What a sender goes on sending stays in its own buffers, and not in ours."""
    gate = anyio.Event()
    async with receiving(Stuck(gate)) as flow, ScriptedScu(flow.node) as scu:
        await scu.associate(instances=[made(0)])
        await scu.send_store(made(0))
        await until(lambda: flow.totals.emitted == 1)
        with anyio.move_on_after(0.5) as scope:
            for number in range(1000):
                await scu.send_store(made(number, 1 << 20))
        assert scope.cancelled_caught
        scu.close(reset=True)
        gate.set()
    assert flow.counts[0] <= 3


# -- what is no instance


@pytest.mark.parametrize(
    ("sop_class", "uid", "status", "word"),
    [
        (CT, "2.25.2", 0xA900, "2.25.2"),
        (MR, "2.25.1", 0xA900, MR),
        ("", "2.25.1", 0xC000, "SOP Class"),
        (CT, "", 0xC000, "SOP Instance"),
        ("", "", 0xC000, "SOP Instance"),
    ],
)
async def test_a_data_set_that_is_another_one_or_none(
    sop_class: str, uid: str, status: int, word: str
) -> None:
    keep: list[int] = []
    async with receiving(Keep(seen=keep)) as flow, ScriptedScu(flow.node) as scu:
        await scu.associate((CT, EXPLICIT))
        answer = await scu.store(Encoded(CT, "2.25.1", EXPLICIT, nameless(sop_class, uid)))
        assert answer.status is not None
        assert answer.status & (0xF000 if status == 0xC000 else 0xFFFF) == status
        assert answer.command is not None
        assert word in (answer.command.error_comment or "")
        assert (await scu.store(Encoded(CT, "2.25.1", EXPLICIT, nameless(CT, "2.25.1")))).status == 0
        assert flow.counts == (2, 1, 0, 1, 0)
    (refused,) = flow.observed.refused
    assert (refused.stage, refused.sop_instance_uid, refused.status) == ("scp", "2.25.1", answer.status)
    assert word in refused.reason
    assert keep == [0]
    assert flow.running.statistics().stages["scp"].refused == 1


async def test_a_command_without_uids_is_refused_and_counted() -> None:
    async with receiving(sinks.Discard()) as flow, ScriptedScu(flow.node) as scu:
        await scu.associate(instances=[made(0)])
        for fields in ({"affected_sop_instance": ""}, {"affected_sop_class": None}):
            assert (await scu.store(made(0), fields=fields)).status == 0x0120
        assert (await scu.store(made(0))).status == 0
        assert flow.counts == (3, 1, 0, 2, 0)


async def test_on_error_stop_stops_and_names_the_stage() -> None:
    with pytest.raises(StageError, match=r"scp.*on-error is 'stop'"):
        async with receiving(sinks.Discard(), on_error="stop") as flow, ScriptedScu(flow.node) as scu:
            await scu.associate((CT, EXPLICIT))
            await scu.store(Encoded(CT, "2.25.1", EXPLICIT, nameless(CT, "2.25.2")))
            await flow.running.wait()


async def test_nothing_received_chooses_a_path(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    uid = "../../../escaped"
    data = nameless(CT, uid)
    async with (
        receiving(sinks.Directory(str(folder), layout="{SOPInstanceUID}.dcm")) as flow,
        ScriptedScu(flow.node) as scu,
    ):
        await scu.associate((CT, EXPLICIT))
        assert (await scu.store(Encoded(CT, uid, EXPLICIT, data))).what == "C-STORE-RSP"
    assert all(name.startswith("a/b/") for name in files_in(tmp_path))


async def test_behind_filters_edits_are_stored_and_the_sender_is_told() -> None:
    seen = Gather()
    edit = filters.Edit(set={"PatientID": "ANON"})
    async with receiving(edit, seen, sinks.Discard()) as flow:
        assert await send(flow.node, instance(PatientID="A1")) == [0]
    assert seen.seen[0].header["PatientID"] == "ANON"


async def test_slow_filters_of_many_workers_keep_each_answer_with_its_request() -> None:
    async def judge(given: Instance) -> Instance | None:
        await anyio.sleep(0.001 * (int(given.sop_instance_uid[5:]) % 7))
        return given

    deny = Deny(when=lambda number: number % 3 == 0)
    async with receiving(Do(what=judge, workers=8), deny) as flow, anyio.create_task_group() as tasks:
        answers: dict[int, int | None] = {}

        async def sender(first: int) -> None:
            async with ScriptedScu(flow.node) as scu:
                await scu.associate(instances=[made(0)])
                for number in range(first, first + 10):
                    answers[number] = (await scu.store(made(number))).status

        for number in range(8):
            tasks.start_soon(sender, 10 * number)
    assert answers == {number: 0 if number % 3 else 0xA700 for number in range(80)}
