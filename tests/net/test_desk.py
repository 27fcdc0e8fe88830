"""Whose sub-operation it is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from dcmflow.dicom.instance import Instance
from dcmflow.net.association import Association
from dcmflow.net.desk import Claim, Desk
from dcmflow.net.entity import Answer, ApplicationEntity
from dcmflow.net.listener import Listener, listening
from dcmflow.net.received import Received
from dcmflow.status import Status
from dcmflow.testing import ScriptedScu, instance
from dcmflow.testing.instances import PRIVATE_STORAGE
from scp_runs import Kept, Notices

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]

OURS = "DCMFLOW"


def of_study(study: str, **more: Any) -> Instance:
    return instance(StudyInstanceUID=study, PatientID="P", **more)


@dataclass
class Taken:
    """Takes what belongs to a claim: UIDs, and whether each was in the scope."""

    all: list[tuple[str, bool]] = field(default_factory=list)
    status: int = 0

    async def __call__(self, association: Association, received: Received, inside: bool) -> Answer:
        self.all.append((received.command.affected_sop_instance or "", inside))
        return Answer(Status(self.status))

    def is_all_of(self, *made: Instance, inside: bool = True) -> bool:
        return sorted(self.all) == sorted((each.sop_instance_uid, inside) for each in made)


@dataclass
class Counter:
    listener: Listener
    desk: Desk
    notices: Notices

    def claim(self, taken: Taken, *, calling: str = OURS, expected: Iterable[str] = (), **scope: str) -> Any:
        return self.desk.claim(
            calling, {key: frozenset(value.split("\\")) for key, value in scope.items()}, taken, expected
        )

    @asynccontextmanager
    async def caller(self, *made: Instance, calling: str = "PACS") -> AsyncIterator[ScriptedScu]:
        node = f"{OURS}@127.0.0.1:{self.listener.port}"
        async with ScriptedScu(node, calling_ae=calling) as scu:
            assert (await scu.associate(instances=made)).what == "A-ASSOCIATE-AC"
            yield scu
            await scu.release()

    async def send(self, *made: Instance, calling: str = "PACS", **how: Any) -> list[int | None]:
        async with self.caller(*made, calling=calling) as scu:
            return [(await scu.store(each, **how)).status for each in made]


@pytest.fixture
async def counter() -> AsyncIterator[Counter]:
    notices = Notices()
    async with listening("127.0.0.1", 0) as listener:
        desk = listener.desk(OURS, lambda: Desk(OURS, notice=notices))
        listener.open()
        yield Counter(listener, desk, notices)
        desk.entity.shut()


async def test_the_originator_says_whose_it_is(counter: Counter) -> None:
    one, other = Taken(), Taken()
    made = of_study("1")
    with (
        counter.claim(one, StudyInstanceUID="1"),
        counter.claim(other, StudyInstanceUID="1") as claim,
    ):
        assert await counter.send(made, originator=(OURS, claim.message_id)) == [0]
    assert one.all == []
    assert other.is_all_of(made)


async def test_two_studies_are_told_apart_without_an_originator(counter: Counter) -> None:
    one, other = Taken(), Taken()
    a, b = of_study("1"), of_study("2")
    with counter.claim(one, StudyInstanceUID="1"), counter.claim(other, StudyInstanceUID="2"):
        assert await counter.send(a, b, calling="ANYBODY") == [0, 0]
    assert one.is_all_of(a)
    assert other.is_all_of(b)


async def test_images_are_told_apart_by_what_is_to_come(counter: Counter) -> None:
    one, other = Taken(), Taken()
    a, b = of_study("1"), of_study("1")
    with (
        counter.claim(
            one, expected=[a.sop_instance_uid], StudyInstanceUID="1", SOPInstanceUID=a.sop_instance_uid
        ),
        counter.claim(
            other, expected=[b.sop_instance_uid], StudyInstanceUID="1", SOPInstanceUID=b.sop_instance_uid
        ),
    ):
        assert await counter.send(b, a) == [0, 0]
    assert one.is_all_of(a)
    assert other.is_all_of(b)


@pytest.mark.parametrize(
    "originator",
    [None, ("SOMEBODY", 1), (OURS, 0)],
    ids=["none", "of somebody else", "a number that is open nowhere"],
)
async def test_a_wrong_originator_does_no_harm(counter: Counter, originator: Any) -> None:
    taken, made = Taken(), of_study("1")
    with counter.claim(taken, StudyInstanceUID="1") as claim:
        if originator == (OURS, 0):
            originator = (OURS, claim.message_id % 0xFFFF + 1)
        assert await counter.send(made, originator=originator) == [0]
    assert taken.is_all_of(made)


async def test_the_number_of_somebody_elses_request_is_not_ours(counter: Counter) -> None:
    """A server that names itself: the number alone proves nothing when the study is that of another request."""
    one, other = Taken(), Taken()
    made = of_study("2")
    with counter.claim(one, StudyInstanceUID="1") as claim, counter.claim(other, StudyInstanceUID="2"):
        assert await counter.send(made, originator=("PACS", claim.message_id)) == [0]
    assert one.all == []
    assert other.is_all_of(made)


async def test_what_was_not_asked_for_comes_to_who_is_served_on_that_association(counter: Counter) -> None:
    taken = Taken()
    made, foreign = of_study("1"), of_study("9")
    with counter.claim(taken, StudyInstanceUID="1"):
        assert await counter.send(made, foreign) == [0, 0]
    assert taken.all == [(made.sop_instance_uid, True), (foreign.sop_instance_uid, False)]


async def test_what_nobody_has_asked_for_is_refused_and_told(counter: Counter) -> None:
    taken, foreign = Taken(), of_study("9")
    with counter.claim(taken, StudyInstanceUID="1"):
        assert await counter.send(foreign) == [0x0124]
    assert taken.all == []
    assert any(foreign.sop_instance_uid in text for _, _, text in counter.notices.all)


async def test_after_the_end_nothing_is_taken_any_more(counter: Counter) -> None:
    taken, made = Taken(), of_study("1")
    with counter.claim(taken, StudyInstanceUID="1") as claim:
        number = claim.message_id
    assert await counter.send(made, originator=(OURS, number)) == [0x0124]
    assert taken.all == []


async def test_who_is_served_there_anyway_gets_what_is_not_ours(counter: Counter) -> None:
    """The same AE title and port: what was asked for goes to who asked, everything else to who takes calls."""
    taken, kept = Taken(), Kept()
    made, foreign = of_study("1"), of_study("9")
    with (
        counter.listener.host(ApplicationEntity(OURS, store=kept)),
        counter.claim(taken, StudyInstanceUID="1"),
    ):
        assert await counter.send(foreign, made) == [0, 0]
    assert taken.is_all_of(made)
    assert [received.command.affected_sop_instance for received in kept.seen] == [foreign.sop_instance_uid]


async def test_a_class_that_who_is_served_there_does_not_take_may_be_asked_for(counter: Counter) -> None:
    taken, kept = Taken(), Kept()
    made = instance(PRIVATE_STORAGE, StudyInstanceUID="1")
    ct_only = ApplicationEntity(OURS, store=kept, sop_classes=["1.2.840.10008.5.1.4.1.1.2"])
    with counter.listener.host(ct_only), counter.claim(taken, StudyInstanceUID="1"):
        assert await counter.send(made) == [0]
    assert taken.is_all_of(made)
    assert kept.seen == []


async def test_what_who_took_it_says_is_answered(counter: Counter) -> None:
    taken = Taken(status=0xA700)
    with counter.claim(taken, StudyInstanceUID="1"):
        assert await counter.send(of_study("1")) == [0xA700]


async def test_an_echo_is_answered(counter: Counter) -> None:
    async with ScriptedScu(f"{OURS}@127.0.0.1:{counter.listener.port}") as scu:
        await scu.associate()
        assert (await scu.echo()).status == 0
        await scu.release()


def scopes() -> Any:
    made = of_study("1", SeriesInstanceUID="1.1", SOPInstanceUID="1.1.1")
    return [
        pytest.param(made, {"StudyInstanceUID": "1"}, True, id="study"),
        pytest.param(made, {"StudyInstanceUID": "1", "SeriesInstanceUID": "1.2\\1.1"}, True, id="series"),
        pytest.param(made, {"StudyInstanceUID": "1", "SeriesInstanceUID": "1.2"}, False, id="another series"),
        pytest.param(made, {"StudyInstanceUID": "2", "SOPInstanceUID": "1.1.1"}, False, id="another study"),
        pytest.param(made, {"SOPInstanceUID": "1.1.1"}, True, id="image"),
        pytest.param(made, {"PatientID": "P"}, True, id="patient"),
        pytest.param(made, {"PatientID": "Q"}, False, id="another patient"),
        pytest.param(made, {}, False, id="nothing"),
    ]


@pytest.mark.parametrize(("made", "scope", "answer"), scopes())
async def test_what_is_of_what_was_asked_for(
    counter: Counter, made: Instance, scope: dict[str, str], answer: bool
) -> None:
    taken = Taken()
    with counter.claim(taken, **scope) as claim:
        await counter.send(made, originator=(OURS, claim.message_id))
    assert taken.all == [("1.1.1", answer)]


def test_numbers_are_unique_among_those_that_are_open() -> None:
    desk = Desk(OURS, notice=Notices())
    claims: list[Claim] = []

    def open_more(count: int) -> None:
        if not count:
            assert len({claim.message_id for claim in claims}) == len(claims)
            assert all(0 < claim.message_id <= 0xFFFF for claim in claims)
            return
        with desk.claim(OURS, {}, Taken()) as claim:
            claims.append(claim)
            open_more(count - 1)

    open_more(200)
    seen = set()
    for _ in range(0x10000):
        with desk.claim(OURS, {}, Taken()) as claim:
            seen.add(claim.message_id)
    assert seen == set(range(1, 0x10000))
