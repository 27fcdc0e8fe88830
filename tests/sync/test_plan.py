"""Plans as pure data: what every destination lacks is moved once, at the coarsest level, and nothing else is."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog_records import Path, catalog, of, paths, record, without
from dcmflow.catalog import Catalog, Level
from dcmflow.errors import ConfigError
from dcmflow.sync.plan import Plan, Tally, Transfer, plan_sync, study_uids, undecided

WORLD = tuple(paths(2, 2, 2, 2))
"""16 images: two of everything."""
IMAGES = "NumberOfStudyRelatedInstances"

some = st.frozensets(st.sampled_from(WORLD))
places = st.one_of(st.none(), some)
units = st.sampled_from([Level.STUDY, Level.SERIES, Level.IMAGE])


def held(chosen: Iterable[Path] | None) -> Catalog | None:
    return None if chosen is None else of(Level.IMAGE, chosen)


def key(*path: int) -> str:
    """The unique key of an entity of the world."""
    return record(*path).uid


def covered(transfer: Transfer, wanted: Iterable[Path]) -> list[Path]:
    """The images of the world that a transfer moves: all of a study or series, whoever wants them."""
    found = []
    for image in wanted:
        path = record(*image).path
        if transfer.level == "image":
            inside = path[-1] in transfer.images and path[:3] == transfer.path
        else:
            inside = path[: len(transfer.path)] == transfer.path
        if inside:
            found.append(image)
    return found


def moved(plan: Plan, to: str, among: Iterable[Path] = WORLD) -> list[Path]:
    """The images that a plan moves to a destination; one that is moved twice is there twice."""
    return [image for transfer in plan.transfers if to in transfer.to for image in covered(transfer, among)]


# what is moved ------------------------------------------------------------------------------------------------------


@given(want=some, holdings=st.lists(places, min_size=1, max_size=4))
def test_each_destination_gets_what_it_lacks_once_and_nothing_else(
    want: frozenset[Path], holdings: list[frozenset[Path] | None]
) -> None:
    there = {f"d{number}": held(chosen) for number, chosen in enumerate(holdings)}
    plan = plan_sync({"s": of(Level.IMAGE, want)}, there)
    for number, chosen in enumerate(holdings):
        lacking = want - (chosen or frozenset())
        assert sorted(moved(plan, f"d{number}", want)) == sorted(lacking)
        assert plan.tallies[f"d{number}"] == Tally(len(want), len(want) - len(lacking), len(lacking))
    assert all(transfer.to for transfer in plan.transfers)


@given(want=some, holdings=st.lists(places, min_size=1, max_size=3), unit=units)
def test_everything_is_moved_at_the_coarsest_level_at_which_it_can_be(
    want: frozenset[Path], holdings: list[frozenset[Path] | None], unit: Level
) -> None:
    there = {f"d{number}": held(chosen) for number, chosen in enumerate(holdings)}
    plan = plan_sync({"s": of(Level.IMAGE, want)}, there, units={"s": unit})
    lacking = {image: [chosen is None or image not in chosen for chosen in holdings] for image in want}

    def coarsest(image: Path) -> Level:
        for level in (Level.STUDY, Level.SERIES):
            siblings = [other for other in want if other[: level + 1] == image[: level + 1]]
            if level >= unit and all(lacking[other] == lacking[image] for other in siblings):
                return level
        return Level.IMAGE

    for transfer in plan.transfers:
        assert {coarsest(image).word for image in covered(transfer, want)} == {transfer.level}
        assert transfer.count == len(covered(transfer, want))
        assert len(transfer.images) in (0, transfer.count)
    for number in range(len(holdings)):
        expected = sorted(image for image in want if lacking[image][number])
        assert sorted(moved(plan, f"d{number}", want)) == expected


@given(want=some, chosen=places)
def test_what_is_wanted_in_part_brings_nothing_else_with_it(
    want: frozenset[Path], chosen: frozenset[Path] | None
) -> None:
    """A study may have more images than are wanted of it: then no study is moved, and no series."""
    plan = plan_sync({"s": of(Level.IMAGE, want)}, {"d": held(chosen)}, units={"s": Level.IMAGE})
    assert sorted(moved(plan, "d", WORLD)) == sorted(want - (chosen or frozenset()))


@given(first=some, second=some, chosen=some)
def test_what_two_sources_have_comes_from_the_first(
    first: frozenset[Path], second: frozenset[Path], chosen: frozenset[Path]
) -> None:
    want = {"a": of(Level.IMAGE, first), "b": of(Level.IMAGE, second)}
    plan = plan_sync(want, {"d": held(chosen)}, units={"a": Level.IMAGE, "b": Level.IMAGE})
    assert sorted(moved(plan, "d")) == sorted((first | second) - chosen)
    by_source: dict[str, set[Path]] = {"a": set(), "b": set()}
    for transfer in plan.transfers:
        by_source[transfer.source].update(covered(transfer, WORLD))
    assert by_source == {"a": first - chosen, "b": second - first - chosen}
    assert plan.tallies["d"].wanted == len(first | second)


def test_one_transfer_serves_all_who_lack_the_same() -> None:
    want = catalog(1, 2, 2, 2)
    first, second = of(Level.IMAGE, [(1, 1, 1, 1)]), of(Level.IMAGE, paths(1, 1, 1, 2))
    plan = plan_sync({"s": want}, {"all": want, "none": None, "one": first, "series": second})
    found = {
        (transfer.level, transfer.path[-1] if not transfer.images else transfer.images): transfer.to
        for transfer in plan.transfers
    }
    assert found == {
        ("study", key(1, 2)): ("none", "one", "series"),
        ("series", key(1, 1, 2)): ("none", "one", "series"),
        ("image", (key(1, 1, 1, 1),)): ("none",),
        ("image", (key(1, 1, 1, 2),)): ("none", "one"),
    }


def test_nothing_is_planned_for_nobody_and_of_nothing() -> None:
    assert plan_sync({"s": catalog(1, 1, 1, 1)}, {}).transfers == []
    assert plan_sync({}, {"d": None}).transfers == []
    nothing = plan_sync({"s": Catalog(Level.STUDY)}, {"d": None})
    assert (nothing.transfers, nothing.tallies) == ([], {"d": Tally(0, 0, 0)})


def test_patients_alone_cannot_be_planned() -> None:
    with pytest.raises(ValueError, match="studies of patient 'PAT1'"):
        plan_sync({"s": catalog(1)}, {"d": None})


# what says nothing of its study or series -------------------------------------------------------------------------


@pytest.mark.parametrize("lost", ["StudyInstanceUID", "SeriesInstanceUID"])
@pytest.mark.parametrize("present", [False, True])
def test_what_has_no_uid_is_never_asked_for_by_it(lost: str, present: bool) -> None:
    nameless = [without(record(1, 1, 1, number), lost) for number in (1, 2)]
    want = Catalog(Level.IMAGE, [*nameless, record(1, 1, 2, 1)])
    plan = plan_sync({"s": want}, {"d": want.copy() if present else of(Level.IMAGE, [(1, 1, 2, 1)])})
    assert plan.tallies["d"] == (Tally(3, 3, 0) if present else Tally(3, 1, 2))
    if present:
        assert plan.transfers == []
        return
    [transfer] = plan.transfers
    assert transfer.level == "image"
    assert transfer.images == (key(1, 1, 1, 1), key(1, 1, 1, 2))


# numbers ----------------------------------------------------------------------------------------------------------


def study(count: int | None, *path: int, **more: Any) -> Catalog:
    """A catalog with one study, and what is said of how many images it has."""
    counted = {} if count is None else {IMAGES: count}
    return Catalog(Level.STUDY, [record(*(path or (1, 1)), **counted, **more)])


@pytest.mark.parametrize(
    ("here", "there", "trust", "lacks"),
    [
        (4, 4, Level.STUDY, False),
        (4, 4, Level.PATIENT, False),
        (4, 4, Level.SERIES, True),
        (4, 4, Level.IMAGE, True),
        (4, 3, Level.STUDY, True),
        (3, 4, Level.STUDY, True),
        (None, None, Level.STUDY, True),  # unknown is equal to nothing
        (None, 4, Level.STUDY, True),
        (4, None, Level.STUDY, True),
        (0, None, Level.STUDY, True),  # and is not zero
        (None, 0, Level.STUDY, True),
        (0, 0, Level.STUDY, False),
    ],
)
def test_what_numbers_tell(here: int | None, there: int | None, trust: Level, lacks: bool) -> None:
    want, holding = study(here), study(there)
    plan = plan_sync({"s": want}, {"d": holding}, trust=trust)
    assert bool(plan.transfers) is lacks
    assert bool(undecided(want, holding, trust)) is lacks
    assert plan.tallies["d"] == (Tally(here, 0, here) if lacks else Tally(here, here, 0))


@pytest.mark.parametrize("text", ["4", "", "many", "-4", None])
def test_a_number_that_is_none_is_not_known(text: str | None) -> None:
    want = study(4)
    said = Catalog(Level.STUDY, [record(1, 1, **{IMAGES: text})])
    assert bool(plan_sync({"s": want}, {"d": said}, trust=Level.STUDY).transfers) is (text != "4")


def test_numbers_of_a_part_are_no_reason_to_trust() -> None:
    """Four images that are wanted of a study of twelve are not the four that are there."""
    want = of(Level.IMAGE, [(1, 1, 1, number) for number in range(1, 5)])
    plan = plan_sync({"s": want}, {"d": study(4)}, trust=Level.STUDY, units={"s": Level.IMAGE})
    assert [len(transfer.images) for transfer in plan.transfers] == [4]


def test_series_are_trusted_by_their_numbers_where_that_is_said() -> None:
    counted = {"NumberOfSeriesRelatedInstances": 2}
    want = Catalog(Level.SERIES, [record(1, 1, 1, **counted), record(1, 1, 2, **counted)])
    holding = Catalog(
        Level.SERIES, [record(1, 1, 1, **counted), record(1, 1, 2, NumberOfSeriesRelatedInstances=1)]
    )
    [transfer] = plan_sync({"s": want}, {"d": holding}, trust=Level.SERIES).transfers
    assert (transfer.level, transfer.path[-1], transfer.count) == ("series", key(1, 1, 2), 2)
    [whole] = plan_sync({"s": want}, {"d": holding}).transfers
    assert (whole.level, whole.path[-1]) == ("study", key(1, 1))


@given(want=some, chosen=some, known=st.booleans(), level=st.sampled_from([Level.STUDY, Level.SERIES]))
def test_a_place_known_coarsely_gets_at_least_what_it_lacks(
    want: frozenset[Path], chosen: frozenset[Path], known: bool, level: Level
) -> None:
    coarse = of(Level.IMAGE, chosen).reduce(level)
    if not known:
        numbers = (IMAGES, "NumberOfSeriesRelatedInstances", "NumberOfStudyRelatedSeries")
        coarse = Catalog(level, [without(each, *numbers) for each in coarse])
    for catalog_ in (of(Level.IMAGE, want), of(Level.IMAGE, want).reduce(Level.STUDY)):
        plan = plan_sync({"s": catalog_}, {"d": coarse})
        assert set(moved(plan, "d", want)) >= want - chosen
        assert len(moved(plan, "d", want)) == len(set(moved(plan, "d", want)))


@pytest.mark.parametrize("counts", [(4, 12), (None, 12), (4, None), (None, None)])
def test_a_study_of_two_sources_is_taken_from_both_unless_they_agree(
    counts: tuple[int | None, int | None],
) -> None:
    """One has four images of it, the other twelve, and nobody has looked further: neither may be left out."""
    plan = plan_sync({"a": study(counts[0]), "b": study(counts[1])}, {"d": None}, trust=Level.STUDY)
    assert [transfer.source for transfer in plan.transfers] == ["a", "b"]
    agreed = plan_sync({"a": study(4), "b": study(4)}, {"d": None}, trust=Level.STUDY)
    assert [transfer.source for transfer in agreed.transfers] == ["a"]


def test_studies_of_what_is_undecided_are_named_once() -> None:
    want = catalog(1, 2, 2, 2)
    nodes = [node for node in want.walk() if node.level is not Level.PATIENT]
    assert study_uids(nodes) == [key(1, 1), key(1, 2)]
    assert study_uids([want.find(Level.PATIENT, "PAT1")]) == [key(1, 1), key(1, 2)]  # type: ignore[list-item]


def test_the_time_it_takes_is_linear_in_the_number_of_studies() -> None:
    """Six destinations: with everything, with nothing, and with parts that have to be told apart."""

    def taken(size: int) -> float:
        want = of(Level.SERIES, product(range(1, size + 1), (1,), (1, 2)))
        part = of(Level.SERIES, ((n, 1, 1) for n in range(1, size + 1)))
        coarse = want.reduce(Level.STUDY)
        there = {"a": want, "b": None, "c": Catalog(Level.IMAGE), "d": part, "e": coarse, "f": part}
        best = float("inf")
        for _ in range(2):
            begun = time.process_time()
            plan = plan_sync({"s": want, "t": part}, there)
            best = min(best, time.process_time() - begun)
        assert len(plan.transfers) >= size
        return best

    assert taken(10_000) < 15 * taken(2_000)  # five times as many: five times as long, and not twenty-five


# as a document ----------------------------------------------------------------------------------------------------


@given(want=some, holdings=st.lists(places, min_size=1, max_size=3))
def test_a_plan_is_the_same_after_it_was_written_and_read(
    want: frozenset[Path], holdings: list[frozenset[Path] | None]
) -> None:
    there = {f"d{number}": held(chosen) for number, chosen in enumerate(holdings)}
    plan = plan_sync({"s": of(Level.IMAGE, want)}, there)
    plan.notes.append("a note in 日本語")
    text = plan.to_json()
    assert Plan.from_json(text) == Plan.from_json(text.encode()) == plan
    assert json.loads(text)["format"] == "dcmflow-plan"


def document(**changes: Any) -> dict[str, Any]:
    plan = plan_sync({"s": catalog(1, 1, 1, 2)}, {"d": of(Level.IMAGE, [(1, 1, 1, 1)]), "e": None})
    made: dict[str, Any] = json.loads(plan.to_json())
    return {**made, **changes}


def with_transfer(**changes: Any) -> dict[str, Any]:
    made = document()
    made["transfers"][0].update(changes)
    return made


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '"plan"', "{", b"\xff", "\udcff", "[" * 100_000])
def test_what_is_no_document_is_a_configuration_error(text: str | bytes) -> None:
    with pytest.raises(ConfigError, match="this is no plan"):
        Plan.from_json(text)


@given(cut=st.integers(0, 400))
def test_a_plan_that_is_cut_off_is_a_configuration_error(cut: int) -> None:
    text = json.dumps(document())
    with pytest.raises(ConfigError, match="this is no plan"):
        Plan.from_json(text[: min(cut, len(text) - 1)])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: document(version=2), "version 1: it says dcmflow-plan 2"),
        (lambda: {"format": "dcmflow-plan", "version": 2, "moves": []}, "version 1: it says dcmflow-plan 2"),
        (lambda: document(format="dcmflow-catalog"), "it says dcmflow-catalog 1"),
        (lambda: {k: v for k, v in document().items() if k != "format"}, "it says no format 1"),
        (lambda: with_transfer(source="x"), "from 'x'"),
        (lambda: with_transfer(to=["d", "x"]), "to 'x'"),
        (lambda: with_transfer(level="galaxy"), "'galaxy'"),
        (lambda: with_transfer(level="patient"), "'patient'"),
        (lambda: with_transfer(level="study"), "does not say what"),
        (lambda: with_transfer(images=[]), "does not say what"),
        (lambda: with_transfer(images=[""]), "does not say what"),
        (lambda: with_transfer(level="series", path=["P", "1.2", ""], images=[]), "does not say what"),
        (lambda: with_transfer(to="d"), "to"),
        (lambda: with_transfer(count="three"), "count"),
        (lambda: document(tallies={}), "no tally of d"),
        (lambda: document(transfers=None), "transfers"),
    ],
)
def test_what_cannot_be_carried_out_is_a_configuration_error(
    make: Callable[[], Mapping[str, Any]], words: str
) -> None:
    with pytest.raises(ConfigError, match="this is no plan") as caught:
        Plan.from_json(json.dumps(make()))
    assert words in str(caught.value)
