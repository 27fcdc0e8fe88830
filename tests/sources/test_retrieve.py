"""A source that retrieves: from archives, and from servers that send too little, too much, something else, too late, or stop."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from pydicom.dataset import Dataset

import base_data
from acceptance_query import Holdings
from base_data import BASE, Fact
from dcmflow import Pipeline, sources
from dcmflow.dicom.instance import Instance
from dcmflow.errors import ConfigError, DcmflowError
from dcmflow.net.models import Model
from dcmflow.net.node import Node, Timeouts
from dcmflow.testing import (
    AbortNow,
    Accept,
    Answer,
    CloseNow,
    Encoded,
    Exchange,
    Get,
    Matches,
    Move,
    ScriptedScp,
    ScriptedScu,
    SendHere,
    SendTo,
    Silence,
    Wait,
    instance,
)
from little_stages import Keep
from peers.archives import Archive, Archives
from peers.base import free_port, used
from stage_runs import Gather, Observed, files_in, until
from wire_data import dataset_bytes

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks"), pytest.mark.timeout(40)]

STUDY, PATIENT = "1.2.3", "P1"
QUERY = {"StudyInstanceUID": STUDY}
METHODS = pytest.mark.parametrize("method", ["move", "get"])
POLICIES = pytest.mark.parametrize("policy", ["drop", "pass", "quarantine", "fail"])


def of_study(**more: Any) -> Instance:
    return instance(
        **({"StudyInstanceUID": STUDY, "PatientID": PATIENT, "SeriesInstanceUID": "1.2.3.4"} | more)
    )


FOUR = [of_study() for _ in range(4)]
UIDS = [each.sop_instance_uid for each in FOUR]


def encoded(made: Instance) -> bytes:
    return b"".join(map(bytes, made.payload.segments()))


class Pacs:
    """A server with one study, as it says; what it sends is another thing.

    Args:
        said: the instances that it says it has.
        counts: it says how many.
        images: it can be asked for images.
    """

    def __init__(self, said: Sequence[Instance] = FOUR, *, counts: bool = True, images: bool = True) -> None:
        self.said, self.counts, self.images = said, counts, images

    def __call__(self, exchange: Exchange) -> Any:
        asked = exchange.dataset()
        found = []
        if asked.QueryRetrieveLevel == "STUDY":
            found.append(self._entity("STUDY"))
            if self.counts:
                found[-1].NumberOfStudyRelatedInstances = len(self.said)
        elif asked.QueryRetrieveLevel == "SERIES":
            found.append(self._entity("SERIES"))
        elif not self.images:
            return Answer(0xA900)
        else:
            for each in self.said:
                found.append(self._entity("IMAGE"))
                found[-1].SOPInstanceUID, found[-1].SOPClassUID = each.sop_instance_uid, each.sop_class_uid
        return Matches(found)

    def _entity(self, level: str) -> Dataset:
        ds = Dataset()
        ds.QueryRetrieveLevel = level
        ds.PatientID, ds.StudyInstanceUID = PATIENT, STUDY
        if level != "STUDY":
            ds.SeriesInstanceUID = "1.2.3.4"
        return ds


def final(completed: int | None = 4, failed: int | None = 0, status: int = 0, **more: Any) -> Answer:
    return Answer(status, fields={"completed": completed, "failed": failed, "warning": 0}, **more)


class Retrieved:
    """What came of a run."""

    def __init__(self, observed: Observed, gathered: Gather) -> None:
        self.observed, self.gathered = observed, gathered

    @property
    def uids(self) -> list[str]:
        return sorted(self.gathered.uids)

    @property
    def counts(self) -> tuple[int, int, int]:
        """Emitted, accepted, refused."""
        totals = self.observed.totals
        return totals.emitted, totals.accepted, totals.refused

    @property
    def refusals(self) -> dict[str, str]:
        return {event.sop_instance_uid: event.reason for event in self.observed.refused}

    @property
    def warnings(self) -> str:
        return "\n".join(event.message for event in self.observed.warned)


async def retrieved(node: Any, query: dict[str, str] = QUERY, *, port: int = 0, **fields: Any) -> Retrieved:
    """Run it to its end; the sums close."""
    observed, gathered = Observed(), Gather()
    local = f"DCMFLOW@127.0.0.1:{port or free_port()}"
    settings: dict[str, Any] = {"local": local, "grace": 0.2} | fields
    source = sources.Retrieve(node, query=query, **settings)
    with anyio.fail_after(30):
        observed.statistics = await Pipeline(source | gathered | Keep()).run(observe=observed)
    totals = observed.totals
    assert totals.unsettled == 0
    assert totals.emitted == totals.accepted + totals.dropped + totals.refused
    assert len(observed.refused) == totals.refused
    return Retrieved(observed, gathered)


class Scripts:
    """Sends to us by one way or the other."""

    def __init__(self, method: Any) -> None:
        self.method, self.port = method, free_port()
        self.ours = f"DCMFLOW@127.0.0.1:{self.port}"

    def sends(self, made: Iterable[Any], **how: Any) -> Any:
        """Sub-operations, without an answer."""
        if self.method == "move":
            return SendTo(self.ours, list(made), **how)
        return SendHere(list(made), **how)

    def whole(self, made: Any) -> Any:
        """Sub-operations with the right answers."""
        return Move(made, node=self.ours) if self.method == "move" else Get(made)

    def on(self, *steps: Any) -> dict[str, Any]:
        return {f"on_{self.method}": steps if len(steps) > 1 else steps[0]}

    async def run(self, peer: ScriptedScp, **fields: Any) -> Retrieved:
        fields = {"method": self.method} | fields
        return await retrieved(fields.pop("node", peer.node), port=self.port, **fields)


# -- archives


@pytest.fixture(scope="module")
def two_archives(archives: Archives) -> tuple[Archive, Archive]:
    used("dcmtk")
    used("orthanc")
    return archives.holding_base("dcmqrscp"), archives.holding_base("orthanc")


@METHODS
@pytest.mark.parametrize("name", ["patient-1", "series", "image", "study+series"])
async def test_each_archive_gives_each_part_of_base_byte_by_byte(
    archive: Archive, method: Any, name: str, tmp_path: Path
) -> None:
    subset = base_data.SUBSETS[name]
    files = base_data.write_base(tmp_path / "base")
    meant = {fact.image: dataset_bytes(path) for fact, path in zip(BASE, files, strict=True)}
    came: list[Instance] = []
    ours = archive.clients["DCMFLOW"]
    for level, keys in subset.requests:
        query = dict(keys)
        run = await retrieved(
            str(archive.address), query, port=ours.port, method=method, level=level, grace="5 s"
        )
        assert run.counts[2] == 0
        came += run.gathered.seen
    assert sorted(each.sop_instance_uid for each in came) == sorted(
        fact.image for fact in subset.of(archive.expected)
    )
    for each in came:
        assert encoded(each) == meant[each.sop_instance_uid]
        assert each.origin is not None
        assert each.origin.calling_ae == archive.address.ae_title
        assert each.origin.called_ae == "DCMFLOW"


@pytest.mark.parametrize("way", ["two nodes", "one node"])
async def test_two_retrievals_at_one_port_beside_who_takes_calls_there(
    two_archives: tuple[Archive, Archive], way: str
) -> None:
    """Two patients from two archives, or from the same; meanwhile somebody stores to the same AE title and port."""
    one, other = two_archives
    if way == "one node":
        other = one
    ours = one.clients["DCMFLOW"]
    gathered = [Gather(), Gather(), Gather()]
    stray = [instance(PatientID="STRAY") for _ in range(20)]
    pipeline = Pipeline(
        sources.Retrieve(str(one.address), query={"PatientID": "TestPat1"}, local=str(ours), name="a")
        | gathered[0]
        | Keep(),
        sources.Retrieve(str(other.address), query={"PatientID": "TestPat2"}, local=str(ours), name="b")
        | gathered[1]
        | Keep(),
        sources.Scp(str(ours), name="c", until_idle=0.5) | gathered[2] | Keep(),
    )

    async def interfere() -> None:
        async with ScriptedScu(str(ours), calling_ae="ORTHANC") as scu:
            await scu.associate(instances=stray)
            assert [(await scu.store(each)).status for each in stray] == [0] * len(stray)
            await scu.release()

    observed = Observed()
    async with pipeline.start(observe=observed) as running:
        await interfere()
        await running.wait()
    meant = [{fact.image for fact in BASE if fact.patient == name} for name in ("TestPat1", "TestPat2")]
    assert [set(each.uids) for each in gathered] == [*meant, {each.sop_instance_uid for each in stray}]
    assert [len(each.uids) for each in gathered] == [*map(len, meant), len(stray)]
    assert observed.refused == []


# -- as it should be


@METHODS
async def test_what_was_asked_for_comes_byte_by_byte(method: Any) -> None:
    scripts = Scripts(method)
    async with ScriptedScp(on_find=Pacs(), **scripts.on(scripts.whole(FOUR))) as peer:
        run = await scripts.run(peer)
    assert run.counts == (4, 4, 0)
    assert run.warnings == ""
    by_uid = {each.sop_instance_uid: each for each in FOUR}
    for each in run.gathered.seen:
        assert encoded(each) == encoded(by_uid[each.sop_instance_uid])
        assert each.origin is not None
        assert (each.origin.calling_ae, each.origin.called_ae) == (peer.ae, "DCMFLOW")


@METHODS
@pytest.mark.parametrize("refused", [0, 1, 4])
async def test_what_the_pipeline_refuses_is_answered_so_and_counted_once(method: Any, refused: int) -> None:
    from dcmflow.errors import Refused

    scripts = Scripts(method)

    def refuse(given: Instance) -> Instance:
        if given.sop_instance_uid in UIDS[:refused]:
            raise Refused("not that one", status=0xA700)
        return given

    observed, gathered = Observed(), Gather()
    async with ScriptedScp(on_find=Pacs(), **scripts.on(scripts.whole(FOUR))) as peer:
        source = sources.Retrieve(peer.node, query=QUERY, method=method, local=scripts.ours, grace=0.2)
        observed.statistics = await Pipeline(source | refuse | gathered | Keep()).run(observe=observed)
        answers = peer.returned.of("C-STORE-RSP") + peer.received.of("C-STORE-RSP")
    totals = observed.totals
    assert (totals.emitted, totals.accepted, totals.refused) == (4, 4 - refused, refused)
    assert sorted(seen.status or 0 for seen in answers) == [0] * (4 - refused) + [0xA700] * refused
    assert sorted(event.sop_instance_uid for event in observed.refused) == sorted(UIDS[:refused])


async def test_three_hundred_images_are_few_requests() -> None:
    many = [of_study() for _ in range(300)]
    pacs, scripts = Pacs(many), Scripts("move")
    by_uid = {each.sop_instance_uid: each for each in many}

    def select(exchange: Exchange) -> list[Instance]:
        return [by_uid[uid] for uid in exchange.dataset().SOPInstanceUID]

    async with ScriptedScp(on_find=pacs, **scripts.on(scripts.whole(select))) as peer:
        run = await scripts.run(peer, level="image")
        assert len(peer.received.of("C-MOVE-RQ")) <= 3
        assert peer.most_open <= 4
    assert run.counts == (300, 300, 0)


@pytest.mark.parametrize("most", [1, 2])
async def test_never_more_associations_than_the_node_takes(most: int, tmp_path: Path) -> None:
    holdings, scripts = Holdings(base_data.write_base(tmp_path)), Scripts("move")
    async with ScriptedScp(on_find=holdings.find, **scripts.on(scripts.whole(holdings.select))) as peer:
        node = Node(ae_title=peer.ae, host="127.0.0.1", port=peer.port, max_associations=most)
        observed, gathered = Observed(), Gather()
        source = sources.Retrieve("pacs", all=True, local=scripts.ours, level="series", method="move")
        pipeline = Pipeline(source | gathered | Keep(), nodes={"pacs": node})
        observed.statistics = await pipeline.run(observe=observed)
        assert peer.most_open <= most
        ids = [seen.command.message_id for seen in peer.received.of("C-MOVE-RQ") if seen.command]
        assert len(set(ids)) == len(ids)
    assert sorted(gathered.uids) == sorted(fact.image for fact in BASE)


# -- whose it is, and when it comes


@pytest.mark.parametrize(
    "how",
    [
        {"calling_ae": "WORKER7"},
        {"originator": False},
        {"fields": {"move_originator_ae": "WORKER7"}},
        {"fields": {"move_originator_ae": None}},
        {"fields": {"move_originator_id": 3}},
        {"originator": False, "calling_ae": "WORKER7"},
    ],
    ids=str,
)
async def test_whoever_sends_it_and_whatever_he_says_of_the_originator(how: dict[str, Any]) -> None:
    scripts = Scripts("move")
    async with ScriptedScp(on_find=Pacs(), **scripts.on(scripts.sends(FOUR, **how), final())) as peer:
        run = await scripts.run(peer)
    assert run.counts == (4, 4, 0)


@pytest.mark.parametrize("level", ["study", "image"])
@pytest.mark.parametrize(
    "how", [{"originator": False}, {"fields": {"move_originator_ae": "ITSELF"}}], ids=str
)
async def test_two_nodes_that_have_the_same_study(how: dict[str, Any], level: str) -> None:
    """They do not say whose sub-operations they are: each retrieval gets all of it, from its node."""
    scripts = Scripts("move")
    gathered = Gather(), Gather()
    observed, steps = Observed(), (scripts.sends(FOUR, **how), final())
    async with (
        ScriptedScp(on_find=Pacs(), ae="ONE", on_move=steps) as one,
        ScriptedScp(on_find=Pacs(), ae="TWO", on_move=steps) as two,
    ):
        chains = [
            sources.Retrieve(
                peer.node,
                query=QUERY,
                level=level,
                method="move",
                local=scripts.ours,
                grace=0.5,
                name=peer.ae.lower(),
            )
            | gather
            | Keep()
            for peer, gather in zip((one, two), gathered, strict=True)
        ]
        observed.statistics = await Pipeline(*chains).run(observe=observed)
    assert observed.refused == []
    for gather, name in zip(gathered, ("ONE", "TWO"), strict=True):
        assert sorted(gather.uids) == sorted(UIDS)
        assert {each.origin.calling_ae for each in gather.seen if each.origin} == {name}


async def test_everything_comes_before_the_first_response() -> None:
    scripts = Scripts("move")
    steps = (scripts.sends(FOUR), Answer(0xFF00), final())
    async with ScriptedScp(on_find=Pacs(), **scripts.on(*steps)) as peer:
        assert (await scripts.run(peer)).counts == (4, 4, 0)


async def test_what_comes_after_the_final_response_is_waited_for() -> None:
    scripts = Scripts("move")
    steps = (scripts.sends(FOUR[:2]), final(), Wait(0.2), scripts.sends(FOUR[2:]))
    async with ScriptedScp(on_find=Pacs(), **scripts.on(*steps)) as peer:
        assert (await scripts.run(peer, grace="10 s")).counts == (4, 4, 0)


# -- too little


@METHODS
@pytest.mark.parametrize("counts", [True, False])
async def test_what_does_not_come_is_named(method: Any, counts: bool) -> None:
    """It says that it has sent four."""
    scripts = Scripts(method)
    steps = (scripts.sends(FOUR[:3]), final())
    async with ScriptedScp(on_find=Pacs(counts=counts), **scripts.on(*steps)) as peer:
        run = await scripts.run(peer)
    assert run.counts == (4, 3, 1)
    assert run.refusals.keys() == {UIDS[3]}


@METHODS
@pytest.mark.parametrize("policy", ["drop", "pass"])
async def test_what_does_not_come_may_be_a_warning_only(method: Any, policy: str) -> None:
    scripts = Scripts(method)
    async with ScriptedScp(on_find=Pacs(), **scripts.on(scripts.sends(FOUR[:3]), final())) as peer:
        run = await scripts.run(peer, missing=policy)
    assert run.counts == (3, 3, 0)
    assert UIDS[3] in run.warnings


@METHODS
async def test_what_the_server_could_not_send_is_named(method: Any) -> None:
    scripts, failed = Scripts(method), Dataset()
    failed.FailedSOPInstanceUIDList = [UIDS[3]]
    steps = (scripts.sends(FOUR[:3]), final(3, 1, 0xB000, data=failed))
    async with ScriptedScp(on_find=Pacs(counts=False), **scripts.on(*steps)) as peer:
        run = await scripts.run(peer)
    assert run.counts == (4, 3, 1)
    assert run.refusals.keys() == {UIDS[3]}


@METHODS
@pytest.mark.parametrize("by_server", [4, None])
async def test_who_cannot_name_its_images_is_believed_by_number_or_not_at_all(
    method: Any, by_server: int | None
) -> None:
    scripts = Scripts(method)
    steps = (scripts.sends(FOUR[:3]), final(by_server, None if by_server is None else 0))
    async with ScriptedScp(on_find=Pacs(counts=False, images=False), **scripts.on(*steps)) as peer:
        run = await scripts.run(peer)
    if by_server is None:
        assert run.counts == (3, 3, 0)
        assert "unverified" in run.warnings
    else:
        assert run.counts == (4, 3, 1)
        assert "1 instances" in "".join(event.reason for event in run.observed.refused)


@METHODS
@pytest.mark.parametrize("end", [AbortNow(), CloseNow(), Answer(0xA702, "disk on fire"), Silence()], ids=repr)
async def test_an_end_in_the_middle_names_the_rest(method: Any, end: Any) -> None:
    scripts = Scripts(method)
    async with ScriptedScp(on_find=Pacs(), **scripts.on(scripts.sends(FOUR[:2]), end)) as peer:
        node = Node(ae_title=peer.ae, host="127.0.0.1", port=peer.port, timeouts=Timeouts(dimse=0.5))
        observed, gathered = Observed(), Gather()
        source = sources.Retrieve("pacs", query=QUERY, method=method, local=scripts.ours, grace=0.2)
        pipeline = Pipeline(source | gathered | Keep(), nodes={"pacs": node})
        observed.statistics = await pipeline.run(observe=observed)
    assert observed.totals.unsettled == 0
    assert sorted(gathered.uids) == sorted(UIDS[:2])
    assert {event.sop_instance_uid for event in observed.refused} == set(UIDS[2:])
    assert observed.totals.emitted == 4


# -- too much


@METHODS
@POLICIES
async def test_what_was_not_asked_for(method: Any, policy: str, tmp_path: Path) -> None:
    scripts, foreign = Scripts(method), instance(StudyInstanceUID="9.9", PatientID="X")
    steps = (scripts.sends([*FOUR, foreign]), final(5))
    async with ScriptedScp(on_find=Pacs(), **scripts.on(*steps)) as peer:
        run = await scripts.run(peer, unexpected=policy, quarantine=str(tmp_path / "q"))
    delivered = [*UIDS, foreign.sop_instance_uid] if policy == "pass" else UIDS
    assert run.uids == sorted(delivered)
    assert run.counts == (4 + (policy in ("pass", "fail")), len(delivered), int(policy == "fail"))
    assert (foreign.sop_instance_uid in run.warnings) == (policy != "fail")
    kept = [name for name in files_in(tmp_path) if name.endswith(".dcm")]
    assert bool(kept) == (policy == "quarantine")


@METHODS
@POLICIES
async def test_what_comes_twice(method: Any, policy: str, tmp_path: Path) -> None:
    scripts = Scripts(method)
    steps = (scripts.sends([*FOUR, FOUR[0]]), final(5))
    async with ScriptedScp(on_find=Pacs(), **scripts.on(*steps)) as peer:
        run = await scripts.run(peer, duplicate=policy, quarantine=str(tmp_path / "q"))
    assert run.counts == (4 + (policy in ("pass", "fail")), 4 + (policy == "pass"), int(policy == "fail"))
    assert run.uids == sorted([*UIDS, UIDS[0]] if policy == "pass" else UIDS)


@METHODS
@POLICIES
async def test_what_is_of_another_patient_than_the_server_said(
    method: Any, policy: str, tmp_path: Path
) -> None:
    scripts, odd = Scripts(method), of_study(PatientID="P2")
    said = [*FOUR[:3], odd]
    async with ScriptedScp(on_find=Pacs(said), **scripts.on(scripts.sends(said), final())) as peer:
        run = await scripts.run(peer, inconsistent=policy, quarantine=str(tmp_path / "q"))
    uids = [each.sop_instance_uid for each in said]
    assert run.uids == sorted(uids if policy == "pass" else uids[:3])
    assert run.counts[1] == len(run.uids)
    assert run.counts[2] == (policy == "fail")
    told = run.warnings + "".join(run.refusals.values())
    assert "'P2'" in told
    assert "'P1'" in told


@METHODS
async def test_something_that_was_not_asked_for_does_not_stand_in_for_what_is_missing(method: Any) -> None:
    scripts, foreign = Scripts(method), instance(StudyInstanceUID="9.9", PatientID="X")
    steps = (scripts.sends([*FOUR[:3], foreign]), final(4))
    async with ScriptedScp(on_find=Pacs(), **scripts.on(*steps)) as peer:
        run = await scripts.run(peer, unexpected="pass")
    assert run.uids == sorted([*UIDS[:3], foreign.sop_instance_uid])
    assert run.refusals.keys() == {UIDS[3]}


@METHODS
async def test_another_uid_in_the_command_than_in_the_data_set(method: Any) -> None:
    scripts = Scripts(method)
    lie = Encoded(FOUR[3].sop_class_uid, "1.2.3.666", FOUR[3].transfer_syntax_uid, encoded(FOUR[3]))
    steps = (scripts.sends([*FOUR[:3], lie]), final(4))
    async with ScriptedScp(on_find=Pacs(), **scripts.on(*steps)) as peer:
        run = await scripts.run(peer)
    assert run.uids == sorted(UIDS[:3])
    assert run.counts[1] == 3
    assert "1.2.3.666" in run.refusals
    assert UIDS[3] in run.refusals["1.2.3.666"]


# -- the way


async def test_auto_goes_on_with_c_get_where_the_destination_is_not_known() -> None:
    async with ScriptedScp(on_find=Pacs(), on_move=Answer(0xA801), on_get=Get(FOUR)) as peer:
        run = await retrieved(peer.node, method="auto")
        assert peer.received.whats.count("C-MOVE-RQ") == 1
    assert run.counts == (4, 4, 0)
    assert "C-GET works" in run.warnings


async def test_auto_says_why_where_neither_works() -> None:
    refuse = {model.sop_class("get"): 3 for model in Model}
    accept = Accept(refuse=refuse)
    async with ScriptedScp(on_find=Pacs(), on_move=Answer(0xA801), accept=accept) as peer:
        run = await retrieved(peer.node, method="auto")
    assert run.counts == (4, 0, 4)
    assert set(run.refusals) == set(UIDS)
    assert all("A801" in reason and "DCMFLOW" in reason for reason in run.refusals.values())


async def test_a_way_that_was_named_is_the_only_one() -> None:
    async with ScriptedScp(on_find=Pacs(), on_move=Answer(0xA801), on_get=Get(FOUR)) as peer:
        run = await retrieved(peer.node, method="move")
        assert peer.received.of("C-GET-RQ") == []
    assert run.counts == (4, 0, 4)


async def test_a_port_that_is_taken() -> None:
    async with ScriptedScp() as other, ScriptedScp(on_find=Pacs(), on_get=Get(FOUR)) as peer:
        with pytest.raises(DcmflowError, match=str(other.port)):
            await retrieved(peer.node, port=other.port, method="move")
        assert peer.received.of("C-MOVE-RQ") == []
        run = await retrieved(peer.node, port=other.port, method="auto")
        assert run.counts == (4, 4, 0)


async def test_a_port_that_is_taken_where_there_is_no_c_get() -> None:
    accept = Accept(refuse={model.sop_class("get"): 3 for model in Model})
    async with ScriptedScp() as other, ScriptedScp(on_find=Pacs(), accept=accept) as peer:
        with pytest.raises(DcmflowError, match=str(other.port)):
            await retrieved(peer.node, port=other.port, method="auto")


async def test_c_get_needs_no_port() -> None:
    async with ScriptedScp() as other, ScriptedScp(on_find=Pacs(), on_get=Get(FOUR)) as peer:
        assert (await retrieved(peer.node, port=other.port, method="get")).counts == (4, 4, 0)
        assert other.received.all == []


# -- stopped, slow, and again


@METHODS
async def test_drained_it_calls_off_what_is_under_way(method: Any) -> None:
    scripts = Scripts(method)
    steps = (scripts.sends(FOUR[:2]), Answer(0xFF00), Wait("C-CANCEL-RQ"), Answer(0xFE00))
    observed, gathered = Observed(), Gather()
    async with ScriptedScp(on_find=Pacs(), **scripts.on(*steps)) as peer:
        source = sources.Retrieve(peer.node, query=QUERY, method=method, local=scripts.ours)
        async with Pipeline(source | gathered | Keep()).start(observe=observed) as running:
            await until(lambda: len(gathered.uids) == 2)
            with anyio.fail_after(10):
                await running.drain()
        await peer.received.wait("C-CANCEL-RQ")
        totals = running.statistics().pipeline
    assert totals.emitted == totals.accepted + totals.dropped + totals.refused + totals.unsettled
    assert (totals.accepted, totals.unsettled) == (2, 0)


@METHODS
async def test_a_slow_pipeline_holds_the_server_back(method: Any) -> None:
    """What is on its way to the end of the pipeline is bounded; nothing is lost."""
    many, scripts = [of_study() for _ in range(40)], Scripts(method)
    inside = most = 0

    async def slowly(given: Instance) -> Instance:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await anyio.sleep(0.01)
        inside -= 1
        return given

    observed, gathered = Observed(), Gather()
    async with ScriptedScp(on_find=Pacs(many), **scripts.on(scripts.whole(many))) as peer:
        source = sources.Retrieve(peer.node, query=QUERY, method=method, local=scripts.ours)
        observed.statistics = await Pipeline(source | slowly | gathered | Keep()).run(observe=observed)
    assert len(gathered.uids) == 40
    assert most == 1  # one association: the next one comes when this one was answered


@pytest.mark.parametrize("counts", [True, False])
async def test_again_over_a_restart_only_what_is_new_is_retrieved(tmp_path: Path, counts: bool) -> None:
    state, files = tmp_path / "state.json", base_data.write_base(tmp_path / "base")
    olds, news = [fact for fact in BASE if fact.patient == "TestPat1"], list(BASE)

    async def once(facts: Sequence[Fact]) -> list[str]:
        """A process that ends when it has asked once and has remembered what came."""
        before = stamp()
        scripts = Scripts("move")
        chosen = [path for path, fact in zip(files, BASE, strict=True) if fact in facts]
        holdings, gathered = Holdings(chosen, counts=counts), Gather()
        async with ScriptedScp(
            port=port, on_find=holdings.find, **scripts.on(scripts.whole(holdings.select))
        ):
            source = sources.Retrieve(
                f"PACS@127.0.0.1:{port}",
                all=True,
                local=scripts.ours,
                level="study",
                method="move",
                every=0.1,
                state=str(state),
            )
            async with Pipeline(source | gathered | Keep()).start() as running:
                await until(lambda: stamp() != before)
                await running.drain()
        return sorted(gathered.uids)

    def stamp() -> int:
        return state.stat().st_mtime_ns if state.exists() else 0

    port = free_port()
    assert await once(olds) == sorted(fact.image for fact in olds)
    assert await once(olds) == []
    assert await once(news) == sorted(fact.image for fact in news if fact not in olds)


async def test_called_off_it_remembers_what_had_come(tmp_path: Path) -> None:
    """One study has come when it is stopped: that one is not retrieved again."""
    state, files = tmp_path / "state.json", base_data.write_base(tmp_path / "base")
    holdings, scripts = Holdings(files, counts=True), Scripts("move")
    whole = scripts.whole(holdings.select)
    async with ScriptedScp(
        on_find=holdings.find, on_move=[whole, (Wait("C-CANCEL-RQ"), Answer(0xFE00))]
    ) as peer:
        node = Node(ae_title=peer.ae, host="127.0.0.1", port=peer.port, max_associations=1)
        source = sources.Retrieve(
            "pacs", all=True, local=scripts.ours, level="study", method="move", every=60, state=str(state)
        )
        gathered = Gather()
        async with Pipeline(source | gathered | Keep(), nodes={"pacs": node}).start() as running:
            await peer.received.wait("C-MOVE-RQ", count=2)
            await running.drain()
    done = json.loads(state.read_text())["done"]
    (study,) = done
    assert sorted(gathered.uids) == sorted(fact.image for fact in BASE if fact.study == study)
    assert done == {study: len(gathered.uids)}


# -- settings


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "all = true"),
        ({"query": {"PatientIdd": "x"}}, "PatientID"),
        ({"query": QUERY, "level": "studdy"}, "study"),
        ({"query": QUERY, "state": "s.json"}, "every"),
        ({"query": QUERY, "unexpected": "quarantine"}, "folder"),
        ({"query": QUERY, "local": "127.0.0.1:104"}, "AE"),
        ({"query": {"StudyDate": "20190101"}, "since": "2019-01-01"}, "since"),
    ],
)
def test_what_cannot_be_right(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        sources.Retrieve("PACS@127.0.0.1:104", **fields)
