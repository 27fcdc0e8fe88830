"""Places are asked until a plan can be made: from coarse to fine, and no further than it needs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path as FilePath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import corpus
from catalog_records import Path, catalog, of, paths, record, without
from dcmflow import sinks
from dcmflow.catalog import Catalog, Level
from dcmflow.dicom.matching import Matcher, Verdict
from dcmflow.dicom.query import Query
from dcmflow.errors import ConfigError, NetworkError
from dcmflow.flow.stage import Stage
from dcmflow.sync.places import FolderPlace
from dcmflow.sync.plan import Plan, Tally
from dcmflow.sync.planning import Wish, make_plan

pytestmark = pytest.mark.anyio

WORLD = tuple(paths(2, 2, 2, 2))
COUNTS = ("NumberOfStudyRelatedInstances", "NumberOfSeriesRelatedInstances", "NumberOfStudyRelatedSeries")
ALL = Query(Level.STUDY, {})
some = st.frozensets(st.sampled_from(WORLD))


class Shelf:
    """A place that holds images of the world and answers as a server does.

    Args:
        counts: whether it says how many there are below.
        deepest: the finest level that it can be asked about; None: it cannot be asked.

    Attributes:
        asked: level and number of studies named, of each question.
    """

    def __init__(
        self, name: str, images: Iterable[Path], *, counts: bool = True, deepest: Level | None = Level.IMAGE
    ) -> None:
        self.name = name
        self.notes: list[str] = []
        self.asked: list[tuple[Level, int]] = []
        self._images = of(Level.IMAGE, images)
        self._counts, self._deepest = counts, deepest

    async def find(self, query: Query) -> Catalog:
        named = query.keys.get("StudyInstanceUID", "")
        self.asked.append((query.level, len(named.split("\\")) if named else 0))
        if self._deepest is None or query.level > self._deepest:
            raise NetworkError(f"{self.name} does not answer")
        matcher = Matcher(query)
        whole = self._images.reduce(query.level) if query.level < Level.IMAGE else self._images
        found = [each for each in whole if matcher.verdict(each) is Verdict.MATCH]
        return Catalog(query.level, found if self._counts else [without(each, *COUNTS) for each in found])

    async def holds(self, studies: Sequence[str], level: Level) -> Catalog | None:
        try:
            return await self.find(Query(level, {"StudyInstanceUID": "\\".join(studies)}))
        except NetworkError as error:
            self.notes.append(f"counts as having nothing: {error}")
            return None

    def sink(self) -> Stage:
        return sinks.Discard()

    @property
    def levels(self) -> list[Level]:
        return [level for level, _ in self.asked]


def moved(plan: Plan, to: str) -> list[tuple[str, Path]]:
    """The images of the world that a plan moves to a destination, and from where; each as often as it is moved."""
    found = []
    for transfer in plan.transfers:
        for image in WORLD:
            path = record(*image).path
            inside = path[: len(transfer.path)] == transfer.path
            if to in transfer.to and inside and (not transfer.images or path[-1] in transfer.images):
                found.append((transfer.source, image))
    return found


async def test_a_place_that_has_everything_is_asked_for_studies_alone() -> None:
    source, there = Shelf("s", WORLD), Shelf("d", WORLD)
    plan = await make_plan([Wish(source, ALL)], [there], trust=Level.STUDY)
    assert plan.transfers == []
    assert plan.tallies["d"] == Tally(16, 16, 0)
    assert source.levels == there.levels == [Level.STUDY]


async def test_equal_numbers_are_looked_into_unless_they_are_trusted() -> None:
    source, there = Shelf("s", WORLD), Shelf("d", WORLD)
    plan = await make_plan([Wish(source, ALL)], [there])
    assert plan.transfers == []
    assert Level.IMAGE in there.levels


async def test_a_place_that_has_nothing_is_asked_no_further() -> None:
    source, there = Shelf("s", WORLD), Shelf("d", [])
    plan = await make_plan([Wish(source, ALL)], [there])
    assert [transfer.level for transfer in plan.transfers] == ["study"] * 4
    assert source.levels == there.levels == [Level.STUDY]


async def test_only_the_studies_in_question_are_looked_into() -> None:
    source, there = Shelf("s", WORLD), Shelf("d", set(WORLD) - {(1, 1, 1, 1)})
    plan = await make_plan([Wish(source, ALL)], [there], trust=Level.STUDY)
    assert [image for _, image in moved(plan, "d")] == [(1, 1, 1, 1)]
    assert [(level, count) for level, count in source.asked if level is Level.IMAGE] == [(Level.IMAGE, 1)]
    assert [(level, count) for level, count in there.asked if level is Level.IMAGE] == [(Level.IMAGE, 1)]


@pytest.mark.parametrize("trust", list(Level))
@pytest.mark.parametrize("counts", [(False, False), (True, False), (False, True)])
async def test_numbers_that_are_not_known_are_never_equal(counts: tuple[bool, bool], trust: Level) -> None:
    source, there = Shelf("s", WORLD, counts=counts[0]), Shelf("d", WORLD[1:], counts=counts[1])
    plan = await make_plan([Wish(source, ALL)], [there], trust=trust)
    assert [image for _, image in moved(plan, "d")] == [WORLD[0]]
    blind = Shelf("d", WORLD, counts=counts[1], deepest=Level.STUDY)
    plan = await make_plan([Wish(source, ALL)], [blind], trust=trust)
    trusted = counts[1] and trust <= Level.STUDY  # the source can be looked into, and has as many
    assert len(moved(plan, "d")) == (0 if trusted else 16)  # else nobody can tell, so it is moved


@given(want=some, first=some, second=some, counts=st.booleans(), trust=st.sampled_from(list(Level)))
async def test_each_place_gets_what_it_lacks(
    want: frozenset[Path], first: frozenset[Path], second: frozenset[Path], counts: bool, trust: Level
) -> None:
    source = Shelf("s", want)
    places = [Shelf("a", first, counts=counts), Shelf("b", second), Shelf("c", want, deepest=None)]
    plan = await make_plan([Wish(source, ALL)], places, trust=trust)
    for name, there in (("a", first), ("b", second), ("c", frozenset[Path]())):
        arrived = [image for _, image in moved(plan, name) if image in want]
        assert len(arrived) == len(set(arrived))
        if trust is Level.IMAGE or name == "c":
            assert set(arrived) == want - there
        else:  # equal numbers are trusted: a documented risk
            assert set(arrived) <= want - there


async def test_a_place_that_cannot_be_asked_lacks_everything_and_that_is_said() -> None:
    there = Shelf("d", WORLD, deepest=None)
    plan = await make_plan([Wish(Shelf("s", WORLD), ALL)], [there, Shelf("e", WORLD)])
    assert len(moved(plan, "d")) == 16
    assert moved(plan, "e") == []
    assert plan.notes == ["d: counts as having nothing: d does not answer"]


async def test_what_is_forced_is_not_asked_about() -> None:
    there = Shelf("d", WORLD)
    plan = await make_plan([Wish(Shelf("s", WORLD), ALL)], [there], force=True)
    assert len(moved(plan, "d")) == 16
    assert there.asked == []


# what is wanted ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "level", "expected"),
    [
        ({"InstanceNumber": "1"}, "image", {path for path in WORLD if path[3] == 1}),
        ({"SeriesNumber": "2"}, "series", {path for path in WORLD if path[2] == 2}),
        ({"SeriesNumber": "2", "InstanceNumber": "1"}, "image", {p for p in WORLD if p[2:] == (2, 1)}),
        ({"PatientID": "PAT1"}, "study", {path for path in WORLD if path[0] == 1}),
    ],
)
async def test_a_wish_for_a_part_moves_that_part(
    keys: dict[str, str], level: str, expected: set[Path]
) -> None:
    plan = await make_plan([Wish(Shelf("s", WORLD), Query.of(keys))], [Shelf("d", [])])
    assert {image for _, image in moved(plan, "d")} == expected
    assert {transfer.level for transfer in plan.transfers} == {level}
    assert plan.tallies["d"] == Tally(len(expected), 0, len(expected))


async def test_a_wish_at_image_level_for_all_of_a_study_moves_the_study() -> None:
    query = Query(Level.IMAGE, {"PatientID": "PAT1"})
    plan = await make_plan([Wish(Shelf("s", WORLD), query)], [Shelf("d", [])])
    assert [transfer.level for transfer in plan.transfers] == ["study", "study"]


async def test_a_key_of_a_lower_level_restricts_what_is_wanted() -> None:
    query = Query(Level.STUDY, {"SeriesNumber": "2"})
    plan = await make_plan([Wish(Shelf("s", WORLD), query)], [Shelf("d", [])])
    assert {image for _, image in moved(plan, "d")} == {path for path in WORLD if path[2] == 2}


async def test_what_was_found_before_is_not_asked_for_again() -> None:
    source = Shelf("s", WORLD)
    known = of(Level.IMAGE, [path for path in WORLD if path[3] == 1])
    plan = await make_plan([Wish(source, None, known)], [Shelf("d", [(1, 1, 1, 1)])])
    assert {image for _, image in moved(plan, "d")} == {p for p in WORLD if p[3] == 1} - {(1, 1, 1, 1)}
    assert source.asked == []


async def test_patients_that_were_found_before_are_all_their_studies() -> None:
    plan = await make_plan([Wish(Shelf("s", WORLD), None, catalog(1))], [Shelf("d", [])])
    assert {image for _, image in moved(plan, "d")} == {path for path in WORLD if path[0] == 1}


async def test_two_wishes_of_one_place_are_both_fulfilled() -> None:
    """All of one study, and single images of the same one and of others: none of them takes away from the other."""
    source = Shelf("s", WORLD)
    wishes = [
        Wish(source, Query.of({"StudyInstanceUID": record(1, 1).uid})),
        Wish(source, Query.of({"InstanceNumber": "2", "PatientID": "PAT1"})),
    ]
    plan = await make_plan(wishes, [Shelf("d", [])])
    expected = {path for path in WORLD if path[0] == 1 and (path[1] == 1 or path[3] == 2)}
    arrived = [image for _, image in moved(plan, "d")]
    assert sorted(arrived) == sorted(expected)


# several sources --------------------------------------------------------------------------------------------------


@given(first=some, second=some, there=some, counts=st.booleans())
async def test_what_two_sources_have_is_moved_once(
    first: frozenset[Path], second: frozenset[Path], there: frozenset[Path], counts: bool
) -> None:
    sources = [Shelf("a", first, counts=counts), Shelf("b", second)]
    plan = await make_plan([Wish(source, ALL) for source in sources], [Shelf("d", there)])
    arrived = [
        image
        for source, image in moved(plan, "d")
        if image in {"a": first, "b": second}[source]  # a study is moved as that source has it
    ]
    assert sorted(arrived) == sorted((first | second) - there)


async def test_a_study_of_which_two_sources_have_different_parts_comes_from_both_even_by_force() -> None:
    first, second = [(1, 1, 1, 1)], [(1, 1, 1, 1), (1, 1, 1, 2)]
    plan = await make_plan(
        [Wish(Shelf("a", first), ALL), Wish(Shelf("b", second), ALL)], [Shelf("d", [])], force=True
    )
    arrived = moved(plan, "d")
    assert ("b", (1, 1, 1, 2)) in arrived
    assert plan.tallies["d"].wanted == 2


async def test_one_source_of_two_that_cannot_be_asked_is_named_and_the_other_is_planned() -> None:
    wishes = [Wish(Shelf("a", WORLD, deepest=None), ALL), Wish(Shelf("b", WORLD), ALL)]
    plan = await make_plan(wishes, [Shelf("d", [])])
    assert plan.lost == {"a": "a does not answer"}
    assert {source for source, _ in moved(plan, "d")} == {"b"}
    assert Plan.from_json(plan.to_json()) == plan
    with pytest.raises(NetworkError, match="a does not answer"):
        await make_plan(wishes[:1], [Shelf("d", [])])


# folders ----------------------------------------------------------------------------------------------------------


async def test_a_destination_whose_index_is_something_else_is_a_configuration_error(
    tmp_path: FilePath,
) -> None:
    """And no group of exceptions."""
    other = tmp_path / "notes.txt"
    other.write_text("not an index, and somebody's\n" * 100)
    corpus.base(tmp_path / "in")
    with FolderPlace("d", str(tmp_path / "in"), index=str(other)) as place, pytest.raises(ConfigError):
        await make_plan([Wish(Shelf("s", WORLD), ALL)], [place])
    assert other.read_text().startswith("not an index")


async def test_many_studies_are_asked_about_some_at_a_time(tmp_path: FilePath) -> None:
    many = [(patient, 1, 1, 1) for patient in range(1, 101)]
    source, there = Shelf("s", many, counts=False), Shelf("d", many[1:], counts=False)
    plan = await make_plan([Wish(source, ALL)], [there])
    assert [transfer.path for transfer in plan.transfers] == [record(1, 1).path]
    assert plan.tallies["d"] == Tally(None, 99, None)  # nobody has looked into what is not there at all
    questions: list[Any] = [count for level, count in source.asked if level is Level.IMAGE]
    assert max(questions) <= 32
    assert len(questions) <= 8
