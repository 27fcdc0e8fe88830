"""Queries: what archives hold at each level, and what comes of servers with ways of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from pydicom.dataset import Dataset

import base_data
from acceptance_query import Holdings
from base_data import BASE, SUBSETS, Subset
from dcmflow.dicom.level import Level
from dcmflow.dicom.query import Query
from dcmflow.dicom.record import Record
from dcmflow.errors import AssociationAborted, ConfigError, NetworkError, NoAcceptedContext, RequestFailed
from dcmflow.net.client import Client
from dcmflow.net.found import Found
from dcmflow.net.models import Model
from dcmflow.net.node import Node, Timeouts
from dcmflow.protocol.items import ExtendedNegotiation, UserInformation
from dcmflow.testing import AbortNow, Accept, Answer, CloseNow, Exchange, Matches, ScriptedScp, Silence, Wait
from dcmflow.testing.peer_dataset import decoded
from dcmflow.testing.peer_fault import cut
from peers.archives import Archive

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]

PENDING, CANCELLED = 0xFF00, 0xFE00
PATIENT, STUDY, SERIES, IMAGE = Level
LEVELS = pytest.mark.parametrize("level", list(Level), ids=lambda level: level.word)
ALL = {level.keyword: "" for level in Level}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return base_data.write_base(tmp_path_factory.mktemp("base"))


def node_of(peer: ScriptedScp, **settings: Any) -> Node:
    return Node(ae_title=peer.ae, host="127.0.0.1", port=peer.port, **settings)


@asynccontextmanager
async def found_of(
    node: Node | str, query: Query | Mapping[str, Any], **how: Any
) -> AsyncIterator[tuple[list[Record], Found]]:
    """All the answers."""
    async with Client() as client, client.find(node, query, **how) as found:
        yield [record async for record in found], found


def entity(number: int, **values: Any) -> Dataset:
    """A study as a server answers it."""
    ds = Dataset()
    ds.QueryRetrieveLevel = "STUDY"
    ds.PatientID = "P"
    ds.StudyInstanceUID = f"1.2.{number}"
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


# -- archives


@LEVELS
async def test_each_archive_has_what_base_has_at_each_level(archive: Archive, level: Level) -> None:
    async with found_of(str(archive.address), Query.of({}, level)) as (records, found):
        paths = {record.path for record in records}
        assert {record.level for record in records} == {level}
    assert paths == base_data.paths(level, archive.expected)
    assert found.problems == []
    assert not found.mismatched
    assert not found.unverified


@pytest.mark.parametrize("name", SUBSETS)
async def test_each_archive_has_each_part_of_base(archive: Archive, name: str) -> None:
    subset: Subset = SUBSETS[name]
    images = Counter[str]()
    async with Client() as client:
        for _, keys in subset.requests:
            async with client.find(str(archive.address), Query.of(keys, IMAGE)) as found:
                images.update({record.uid for record in [record async for record in found]})
    assert images == {fact.image: 1 for fact in subset.of(archive.expected)}


@pytest.mark.parametrize("level", [STUDY, SERIES, IMAGE])
async def test_a_unique_key_of_the_lowest_level_is_enough(archive: Archive, level: Level) -> None:
    fact = base_data.ECHOES[1]
    async with found_of(str(archive.address), {level.keyword: fact.uid(level)}) as (records, _):
        assert {record.path for record in records} == {fact.path[: level + 1]}


async def test_keys_of_upper_levels_hold_at_lower_ones(archive: Archive) -> None:
    query = Query.of({"StudyDate": "20190101-20191231", "Modality": "MR", "PatientID": "TestPat1"}, IMAGE)
    async with found_of(str(archive.address), query) as (records, _):
        images = {record.uid for record in records}
    assert images == {
        fact.image
        for fact in archive.expected
        if fact.text("StudyDate") in ("20190615", "20190625") and fact.patient == "TestPat1"
    }


async def test_a_key_that_a_server_ignores_never_means_everything(archive: Archive) -> None:
    query = Query.of({"SeriesDescription": "*MPRAGE*"})
    async with found_of(str(archive.address), query) as (records, found):
        series = {record.uid for record in records}
    meant = {fact.series for fact in archive.expected if "MPRAGE" in fact.text("SeriesDescription")}
    assert meant
    if archive.kind == "orthanc":
        assert series == meant
        assert found.warnings() == []
    else:
        assert series == set()
        assert found.unverified.keys() == {"SeriesDescription"}
        assert "does not return" in found.warnings()[0]
    everything = base_data.uids(SERIES, archive.expected)
    async with found_of(str(archive.address), query, verify=False) as (records, _):
        assert {record.uid for record in records} == (meant if archive.kind == "orthanc" else everything)


async def test_nothing_matches(archive: Archive) -> None:
    async with found_of(str(archive.address), {"PatientID": "NOBODY"}) as (records, found):
        assert records == []
        assert found.warnings() == []


# -- models


def offering(*models: Model) -> Accept:
    return Accept(refuse={model.sop_class("find"): 3 for model in Model if model not in models})


@pytest.mark.parametrize(
    ("models", "level", "asked"),
    [
        ([Model.PATIENT_ROOT], STUDY, Model.PATIENT_ROOT),
        ([Model.PATIENT_ROOT], IMAGE, Model.PATIENT_ROOT),
        ([Model.STUDY_ROOT], PATIENT, Model.STUDY_ROOT),
        ([Model.STUDY_ROOT], SERIES, Model.STUDY_ROOT),
        ([Model.PATIENT_STUDY_ONLY], PATIENT, Model.PATIENT_STUDY_ONLY),
        ([Model.PATIENT_STUDY_ONLY], STUDY, Model.PATIENT_STUDY_ONLY),
        (list(Model), PATIENT, Model.PATIENT_ROOT),
        (list(Model), IMAGE, Model.STUDY_ROOT),
    ],
)
async def test_another_model_does_as_well(
    base: list[Path], models: list[Model], level: Level, asked: Model
) -> None:
    async with (
        ScriptedScp(accept=offering(*models), on_find=Holdings(base, strict=True).find) as peer,
        found_of(peer.node, Query.of({}, level)) as (records, found),
    ):
        assert sorted(record.path for record in records) == sorted(base_data.paths(level))
        assert found.model is asked
    assert {seen.abstract_syntax for seen in peer.received.of("C-FIND-RQ")} == {asked.sop_class("find")}
    assert len(peer.received.of("C-FIND-RQ")) == found.requests


async def test_a_level_that_a_server_has_not(base: list[Path]) -> None:
    async with ScriptedScp(accept=offering(Model.PATIENT_STUDY_ONLY), on_find=Holdings(base).find) as peer:
        with pytest.raises(RequestFailed, match="series level: it offers Patient/Study Only only") as error:
            async with found_of(peer.node, Query.of({}, SERIES)):
                pytest.fail("there is no such level")
        assert error.value.status == 0x0122
    assert peer.received.of("C-FIND-RQ") == []


async def test_a_server_without_queries() -> None:
    async with ScriptedScp(accept=offering()) as peer:
        with pytest.raises(NoAcceptedContext):
            async with found_of(peer.node, {}):
                pytest.fail("it offers none")


# -- levels and lists


@pytest.mark.parametrize("agreed", [b"\x01\x01", b"\x00", b""])
async def test_who_agrees_to_relational_queries_is_asked_once(base: list[Path], agreed: bytes) -> None:
    uid = Model.STUDY_ROOT.sop_class("find")
    extended = (ExtendedNegotiation(uid, agreed),) if agreed else ()
    accept = Accept(fields={"user": UserInformation(maximum_length=16384, extended=extended)})
    query = Query.of({"PatientID": "TestPat1"}, IMAGE)
    async with ScriptedScp(accept=accept, on_find=Holdings(base).find) as peer:
        async with found_of(peer.node, query) as (records, found):
            images = {record.uid for record in records}
        levels = [decoded(seen.data or b"", seen.transfer_syntax) for seen in peer.received.of("C-FIND-RQ")]
    assert images == {fact.image for fact in BASE if fact.patient == "TestPat1"}
    assert (found.requests == 1) == (agreed[:1] == b"\x01")
    assert levels[-1].QueryRetrieveLevel == "IMAGE"
    assert (levels[-1].get("PatientID") == "TestPat1") == (found.requests == 1)


async def test_a_server_that_wants_the_keys_of_every_level_above(base: list[Path]) -> None:
    """A900 without them: they are asked for first."""
    query = Query.of({"AccessionNumber": BASE[0].text("AccessionNumber")}, IMAGE)
    async with ScriptedScp(on_find=Holdings(base, strict=True).find) as peer:
        async with found_of(peer.node, query) as (records, found):
            images = {record.uid for record in records}
        asked = list(peer.received.of("C-FIND-RQ"))
    assert images == {
        fact.image for fact in BASE if fact.text("AccessionNumber") == query.keys["AccessionNumber"]
    }
    assert found.requests == len(asked) >= 3


async def test_an_image_by_its_uid_where_the_keys_of_every_level_are_wanted(base: list[Path]) -> None:
    async with (
        ScriptedScp(on_find=Holdings(base, strict=True).find) as peer,
        found_of(peer.node, {"SOPInstanceUID": BASE[3].image}) as (records, _),
    ):
        assert [record.path for record in records] == [BASE[3].path]


def without_lists(holdings: Holdings, answer: Any) -> Any:
    def find(exchange: Exchange) -> Any:
        asked = exchange.dataset()
        if any("\\" in _text(asked, key) for key in base_data.KEYWORDS):
            return answer
        return holdings.find(exchange)

    return find


def _text(ds: Dataset, keyword: str) -> str:
    value = ds.get(keyword) or ""
    return value if isinstance(value, str) else "\\".join(value)


@pytest.mark.parametrize(
    "answer", [Answer(0xC320, "no lists"), Answer(0xA900), 0], ids=["C320", "A900", "nothing"]
)
@pytest.mark.parametrize("models", [list(Model), [Model.PATIENT_ROOT]], ids=["study-root", "patient-root"])
async def test_a_server_that_takes_no_lists_of_uids(
    base: list[Path], answer: Any, models: list[Model]
) -> None:
    find = without_lists(Holdings(base), answer)
    async with (
        ScriptedScp(accept=offering(*models), on_find=find) as peer,
        found_of(peer.node, Query.of({}, IMAGE)) as (records, found),
    ):
        assert sorted(record.path for record in records) == sorted(base_data.paths(IMAGE))
        assert found.warnings() == []


async def test_a_server_that_takes_only_the_first_of_a_list(base: list[Path]) -> None:
    holdings = Holdings(base)

    def find(exchange: Exchange) -> Any:
        asked = exchange.dataset()
        for key in base_data.KEYWORDS[1:]:
            if "\\" in _text(asked, key):
                setattr(asked, key, _text(asked, key).partition("\\")[0])
        return Matches(holdings.answers(asked))

    async with ScriptedScp(on_find=find) as peer, found_of(peer.node, Query.of({}, IMAGE)) as (records, _):
        assert sorted(record.path for record in records) == sorted(base_data.paths(IMAGE))


async def test_a_server_that_pays_no_regard_to_what_it_is_asked_about(base: list[Path]) -> None:
    """Everything comes, whatever study was named; what is not of it is left out."""
    holdings = Holdings(base)

    def find(exchange: Exchange) -> Any:
        asked = exchange.dataset()
        if asked.QueryRetrieveLevel != "STUDY":
            asked.StudyInstanceUID = asked.SeriesInstanceUID = ""
        return Matches(holdings.answers(asked))

    async with (
        ScriptedScp(on_find=find) as peer,
        found_of(peer.node, Query.of({"StudyInstanceUID": BASE[0].study}, SERIES)) as (records, _),
    ):
        assert {record.path for record in records} == {
            fact.path[:3] for fact in BASE if fact.study == BASE[0].study
        }


async def test_failing_for_one_of_those_above_fails_the_query(base: list[Path]) -> None:
    holdings = Holdings(base)

    def find(exchange: Exchange) -> Any:
        asked = exchange.dataset()
        if asked.QueryRetrieveLevel == "SERIES" and BASE[-1].study in _text(asked, "StudyInstanceUID"):
            return Answer(0xC001, "its index is broken")
        return holdings.find(exchange)

    async with ScriptedScp(on_find=find) as peer:
        records = []
        with pytest.raises(RequestFailed, match="its index is broken"):
            async with Client() as client, client.find(peer.node, Query.of({}, SERIES)) as found:
                async for record in found:
                    records.append(record)
    assert {record.uid for record in records} == {
        fact.series for fact in BASE if fact.study != BASE[-1].study
    }


# -- what is ignored


async def test_what_does_not_match_is_left_out_and_counted(base: list[Path]) -> None:
    holdings = Holdings(base, unmatched=frozenset({"PatientID"}))
    async with (
        ScriptedScp(on_find=holdings.find) as peer,
        found_of(peer.node, {"PatientID": "TestPat2"}) as (records, found),
    ):
        assert {record.path for record in records} == {
            path for path in base_data.paths(STUDY) if path[0] == "TestPat2"
        }
    assert dict(found.mismatched) == {"PatientID": 2}
    assert found.warnings() == ["2 answers do not match PatientID and were left out: the server ignores it"]


@pytest.mark.parametrize("how", ["ignores", "blank"])
async def test_what_cannot_be_told_is_left_out_and_counted(base: list[Path], how: str) -> None:
    holdings = Holdings(base, **{how: frozenset({"StudyDescription"})})
    async with (
        ScriptedScp(on_find=holdings.find) as peer,
        found_of(peer.node, {"StudyDescription": "HEAD*"}) as (records, found),
    ):
        assert records == []
    assert dict(found.unverified) == {"StudyDescription": 3}


async def test_a_server_that_says_that_it_ignores_keys() -> None:
    answers = Matches([entity(1)], like=Answer(0xFF01))
    async with ScriptedScp(on_find=answers) as peer, found_of(peer.node, {}) as (records, found):
        assert len(records) == 1
        assert found.ignoring


# -- wrong answers


async def test_one_answer_that_cannot_be_read_leaves_the_others() -> None:
    def spoilt(exchange: Exchange) -> Any:
        from dcmflow.testing.peer_dataset import encoded

        syntax = exchange.seen.transfer_syntax
        good = [encoded(entity(number, PatientName="Doe^John"), syntax) for number in range(3)]
        return Matches([good[0], good[1][:-5], good[2], b"\xff" * 9])

    async with ScriptedScp(on_find=spoilt) as peer, found_of(peer.node, {}) as (records, found):
        assert [record.uid for record in records] == ["1.2.0", "1.2.2"]
        assert len(found.problems) == 2
        assert "cannot be read" in found.warnings()[0]


async def test_many_problems_are_told_by_number() -> None:
    async with (
        ScriptedScp(on_find=Matches([b"\xff" * 9] * 9)) as peer,
        found_of(peer.node, {}) as (records, found),
    ):
        assert records == []
        assert len(found.problems) == 9
        assert found.warnings()[-1] == "4 more answers cannot be read"


async def test_a_pending_response_without_a_data_set() -> None:
    script = (Answer(PENDING), Answer(PENDING, data=entity(1)), Answer(0))
    async with ScriptedScp(on_find=script) as peer, found_of(peer.node, {}) as (records, found):
        assert [record.uid for record in records] == ["1.2.1"]
        assert len(found.problems) == 1


@pytest.mark.parametrize("status", [0xA700, 0xA900, 0xC001, 0x0122, CANCELLED])
async def test_a_failure_after_three_answers(status: int) -> None:
    three = Matches([entity(number) for number in range(3)], final=Answer(status, "enough of that"))
    async with ScriptedScp(on_find=three) as peer, Client() as client:
        records = []
        with pytest.raises(RequestFailed, match="enough of that") as error:
            async with client.find(peer.node, {}) as found:
                async for record in found:
                    records.append(record)
        assert len(records) == 3
        assert error.value.status == status
        assert error.value.operation == "C-FIND"
        assert f"{status:04X}" in str(error.value)


CUT_OFF = (Answer(0, fault=cut(20)), AbortNow(close=True))


@pytest.mark.parametrize(
    "end",
    [AbortNow(), CloseNow(), CloseNow(reset=True), Silence(), CUT_OFF],
    ids=["abort", "close", "reset", "silence", "cut off"],
)
async def test_an_end_after_three_answers(end: Any) -> None:
    three = Matches([entity(number) for number in range(3)], final=end)
    async with ScriptedScp(on_find=three) as peer, Client() as client:
        records = []
        with anyio.fail_after(10), pytest.raises(NetworkError):
            node = node_of(peer, timeouts=Timeouts(dimse=0.5))
            async with client.find(node, {}) as found:
                async for record in found:
                    records.append(record)
        assert [record.uid for record in records] in (
            [[f"1.2.{number}" for number in range(3)]]
            if end != CloseNow(reset=True)
            else [[f"1.2.{number}" for number in range(count)] for count in range(4)]
        )


async def test_an_error_of_the_reader_comes_out_as_it_is() -> None:
    async with ScriptedScp(on_find=Matches(map(entity, range(1000)))) as peer, Client() as client:
        with pytest.raises(ZeroDivisionError):
            async with client.find(peer.node, {}) as found:
                async for _ in found:
                    raise ZeroDivisionError
        assert await client.echo(peer.node) == 0


# -- leaving


async def test_leaving_early_calls_it_off() -> None:
    endless = Matches(map(entity, range(10**9)))
    async with ScriptedScp(on_find=endless) as peer, Client() as client:
        with anyio.fail_after(10):
            async with client.find(peer.node, {}) as found:
                async for _ in found:
                    break
        await peer.received.wait("C-CANCEL-RQ")
        assert await client.echo(peer.node) == 0


async def test_cancelled_it_is_called_off() -> None:
    script = (Answer(PENDING, data=entity(1)), Wait("C-CANCEL-RQ"), Answer(CANCELLED))
    async with ScriptedScp(on_find=script) as peer, Client() as client:
        with anyio.move_on_after(10) as scope:
            async with client.find(peer.node, {}) as found:
                async for _ in found:
                    scope.cancel()
        assert scope.cancelled_caught
        await peer.received.wait("C-CANCEL-RQ")


async def test_a_server_that_heeds_no_cancel_is_aborted() -> None:
    script = (Answer(PENDING, data=entity(1)), Silence())
    async with ScriptedScp(on_find=script) as peer, Client() as client:
        with anyio.fail_after(8):
            async with client.find(peer.node, {}) as found:
                async for _ in found:
                    break
            await peer.received.wait("A-ABORT")
        (cancel,) = peer.received.of("C-CANCEL-RQ")
        assert peer.received.all.index(cancel) < peer.received.whats.index("A-ABORT")


async def test_a_reader_who_takes_his_time_holds_the_server_back() -> None:
    made = 0

    def answers(exchange: Exchange) -> Any:
        nonlocal made
        for number in range(10**6):
            made += 1
            yield entity(number, StudyDescription="x" * 64)

    async with ScriptedScp(on_find=Matches(answers)) as peer, Client() as client:
        async with client.find(peer.node, {}) as found:
            await anext(found)
            before = -1
            while before != made:  # until it does not go on
                before = made
                await anyio.sleep(0.5)
            assert made < 50_000
        await peer.received.wait("C-CANCEL-RQ", "A-ABORT")


# -- associations


STUDIES = 600


def many(exchange: Exchange) -> Any:
    """A server with many studies, of one series each."""
    asked = exchange.dataset()
    if asked.QueryRetrieveLevel == "STUDY":
        return Matches(map(entity, range(STUDIES)))
    found = []
    for uid in _text(asked, "StudyInstanceUID").split("\\"):
        found.append(entity(0, StudyInstanceUID=uid, SeriesInstanceUID=f"{uid}.1"))
        found[-1].QueryRetrieveLevel = "SERIES"
    return Matches(found)


@pytest.mark.parametrize("most", [1, 2, 4])
async def test_never_more_associations_than_a_node_takes(most: int) -> None:
    async with ScriptedScp(on_find=many) as peer:
        async with found_of(node_of(peer, max_associations=most), Query.of({}, SERIES)) as (records, _):
            assert len({record.uid for record in records}) == len(records) == STUDIES
        assert peer.most_open == most
        for association in range(1, len(peer.channels) + 1):
            requests = peer.received.of("C-FIND-RQ", association=association)
            ids = [seen.command.message_id for seen in requests if seen.command]
            assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("most", [1, 2, 3])
async def test_several_queries_at_once_share_the_associations(most: int) -> None:
    """Who waits for one more association holds up nobody."""
    async with ScriptedScp(on_find=many) as peer, Client() as client:
        node, counts = node_of(peer, max_associations=most), []

        async def ask() -> None:
            async with client.find(node, Query.of({}, SERIES)) as found:
                counts.append(len([record async for record in found]))

        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(ask)
        assert counts == [STUDIES] * 4
        assert peer.most_open <= most


async def test_another_association_that_does_not_come_is_done_without() -> None:
    one_at_a_time: list[Any] = [Accept(), *[AbortNow()] * 20]
    async with (
        ScriptedScp(on_find=many, accept=one_at_a_time) as peer,
        found_of(node_of(peer, max_associations=4), Query.of({}, SERIES)) as (records, _),
    ):
        assert len({record.uid for record in records}) == STUDIES


async def test_another_association_that_breaks_is_no_silent_loss() -> None:
    """What it had begun is not there: then the query has failed."""
    find = many
    broken = 0

    def breaking(exchange: Exchange) -> Any:
        nonlocal broken
        if exchange.channel.number > 1:
            broken += 1
            return AbortNow()
        return find(exchange)

    async with ScriptedScp(on_find=breaking) as peer, Client() as client:
        records, failed = [], False
        try:
            async with client.find(node_of(peer, max_associations=4), Query.of({}, SERIES)) as found:
                async for record in found:
                    records.append(record)
        except AssociationAborted:
            failed = True
        assert broken
        assert failed or len({record.uid for record in records}) == STUDIES


async def test_nothing_is_sent_for_a_key_that_is_none() -> None:
    async with ScriptedScp() as peer, Client() as client:
        with pytest.raises(ConfigError, match="PatientID"):
            async with client.find(peer.node, {"PatientIdd": "x"}):
                pytest.fail("there is no such key")
        assert peer.received.all == []


async def test_the_character_set_of_the_node() -> None:
    async with ScriptedScp() as peer:
        async with found_of(node_of(peer, character_set="ISO_IR 100"), {"PatientName": "Müller"}) as (
            records,
            _,
        ):
            assert records == []
        (asked,) = peer.received.of("C-FIND-RQ")
        assert "Müller".encode("latin-1") in (asked.data or b"")
        assert b"ISO_IR 100" in (asked.data or b"")
