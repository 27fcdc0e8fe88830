"""What a repeated retrieval remembers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dcmflow.dicom.level import Level
from dcmflow.errors import ConfigError
from dcmflow.sources.watermark import Watermark
from stage_runs import files_in

ABOUT = {"node": "PACS@h:104", "query": {"PatientID": "P"}}


def saved(path: Path) -> Watermark:
    mark = Watermark(path, ABOUT)
    mark.done = {"1.2": 4}
    mark.save()
    return mark


def test_it_outlives_the_process(tmp_path: Path) -> None:
    path = tmp_path / "new" / "state.json"
    assert Watermark(path, ABOUT).done == {}
    saved(path)
    assert Watermark(path, ABOUT).done == {"1.2": 4}
    assert files_in(tmp_path) == ["new/state.json"]


def test_about_something_else_it_begins_anew(tmp_path: Path) -> None:
    saved(tmp_path / "s.json")
    assert Watermark(tmp_path / "s.json", {**ABOUT, "query": {"PatientID": "Q"}}).done == {}


def test_without_a_file_it_is_kept_in_memory(tmp_path: Path) -> None:
    mark = Watermark(None, ABOUT)
    mark.done["1"] = 2
    mark.save()
    assert files_in(tmp_path) == []


def test_what_is_not_there_any_more_is_forgotten() -> None:
    mark = Watermark(None, ABOUT)
    mark.done = {"1": 1, "2": 2}
    mark.keep({"2", "3"})
    assert mark.done == {"2": 2}


def test_what_was_retrieved_together_is_noted_one_by_one() -> None:
    mark = Watermark(None, ABOUT)
    mark.note(Level.IMAGE, ["1", "2"], 2)
    mark.note(Level.STUDY, ["3"], 7)
    assert mark.done == {"1": 1, "2": 1, "3": 7}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        '{"version": 1}',
        '{"version": 2, "about": {}, "done": {}}',
        '{"version": 1, "about": {}, "done": {"1": "many"}}',
        '{"version": 1, "about": {}, "done": []}',
        '{"version": 1, "done": {}}',
        "\udcff",
    ],
)
def test_a_file_that_is_none_of_these_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "s.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ConfigError, match="name another file, or remove it") as error:
        Watermark(path, ABOUT)
    assert error.value.key == "state"
    assert path.read_bytes() == text.encode(errors="surrogateescape")


def test_a_file_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = saved(tmp_path / "s.json")
    before = json.loads((tmp_path / "s.json").read_text())

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    mark.done["9"] = 9
    with pytest.raises(OSError, match="No space"):
        mark.save()
    assert json.loads((tmp_path / "s.json").read_text()) == before
    assert files_in(tmp_path) == ["s.json"]
