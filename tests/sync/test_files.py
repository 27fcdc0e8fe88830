"""Files that were found before become instances; what they have become since is told."""

from __future__ import annotations

from pathlib import Path

import pytest

import corpus
from corpus import Corpus
from dcmflow import Pipeline, sinks
from dcmflow.flow.events import Event, InstanceRefused, Warned
from dcmflow.flow.statistics import Statistics
from dcmflow.sync.files import Files
from dcmflow.sync.spread import LABEL, Spread, label_of

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

FLAT = "{SOPInstanceUID}.dcm"


@pytest.fixture
def base(tmp_path: Path) -> Corpus:
    return corpus.base(tmp_path / "base")


async def run(
    pairs: list[tuple[str, tuple[int, ...]]], *folders: Path, move: bool = False
) -> tuple[Statistics, list[Event]]:
    """Files to folders by number."""
    events: list[Event] = []
    branches = {
        str(number): sinks.Directory(str(folder), FLAT, name=f"to-{number}")
        for number, folder in enumerate(folders)
    }
    pipeline = Pipeline(
        Files(name="source", paths=pairs, move=move) | Spread(tuple(range(len(folders)))) | branches
    )
    async with pipeline.start(observe=[events.append]) as running:
        await running.wait()
    return running.statistics(), events


def names(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("*.dcm")} if folder.exists() else set()


async def test_each_file_goes_where_it_is_to_go(base: Corpus, tmp_path: Path) -> None:
    everywhere = [(0,), (1,), (0, 1)]
    pairs = [(str(path), everywhere[number % 3]) for number, path in enumerate(base.paths)]
    statistics, _ = await run(pairs, tmp_path / "0", tmp_path / "1")
    uids = [base.uids[name] for name in base]
    assert names(tmp_path / "0") == {uid for number, uid in enumerate(uids) if number % 3 != 1}
    assert names(tmp_path / "1") == {uid for number, uid in enumerate(uids) if number % 3 != 0}
    assert (statistics.pipeline.emitted, statistics.pipeline.accepted) == (12, 12)
    assert statistics.pipeline.refused == 0


async def test_what_cannot_be_read_any_more_is_refused_and_named(base: Corpus, tmp_path: Path) -> None:
    gone, cut, other, *_ = base.paths
    uid = base.uids[next(name for name in base if base[name] == cut)]
    gone.unlink()
    cut.write_bytes(cut.read_bytes()[:-50])
    other.write_text("notes")
    statistics, events = await run([(str(path), (0,)) for path in base.paths], tmp_path / "0")
    refused = {event.path: event for event in events if isinstance(event, InstanceRefused)}
    assert refused.keys() == {str(gone), str(cut), str(other)}
    assert refused[str(cut)].sop_instance_uid == uid
    assert "truncated" in refused[str(cut)].reason
    assert "not DICOM any more" in refused[str(other)].reason
    assert (statistics.pipeline.accepted, statistics.pipeline.refused) == (9, 3)
    assert len(names(tmp_path / "0")) == 9


async def test_what_was_accepted_everywhere_is_removed_and_nothing_else(base: Corpus, tmp_path: Path) -> None:
    """One of the folders is a file in disguise for one object: there the object cannot be stored."""
    victim = base.paths[3]
    uid = base.uids[next(name for name in base if base[name] == victim)]
    (tmp_path / "1" / f"{uid}.dcm" / "in the way").mkdir(parents=True)
    pairs = [(str(path), (0, 1)) for path in base.paths]
    statistics, _ = await run(pairs, tmp_path / "0", tmp_path / "1", move=True)
    assert statistics.pipeline.refused == 1
    assert [path for path in base.paths if path.exists()] == [victim]
    assert len(names(tmp_path / "0")) == 12


async def test_what_goes_nowhere_is_refused_and_not_removed(base: Corpus, tmp_path: Path) -> None:
    statistics, _ = await run([(str(path), ()) for path in base.paths], tmp_path / "0", move=True)
    assert statistics.pipeline.refused == 12
    assert all(path.exists() for path in base.paths)


async def test_a_file_that_cannot_be_removed_is_told(base: Corpus, tmp_path: Path) -> None:
    first = base.paths[0]
    statistics, events = await run([(str(first), (0,)), (str(first), (0,))], tmp_path / "0", move=True)
    told = [event for event in events if isinstance(event, Warned | InstanceRefused)]
    assert len(told) == 1  # the second one is gone when it is read, or when it is removed
    assert names(tmp_path / "0") == {base.uids[next(iter(base))]}
    assert statistics.pipeline.accepted >= 1


def test_a_label_names_destinations() -> None:
    assert label_of((0, 2)) == {LABEL: "0 2"}
    assert label_of(()) == {LABEL: ""}
    assert Spread((0, 2)).branches() == {"0", "2"}
