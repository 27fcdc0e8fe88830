"""Branches by a table in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dcmflow import ConfigError, Instance, Pipeline, StageError, routers, sinks, sources
from dcmflow.flow.context import Context
from dcmflow.flow.events import Event, Warned
from dcmflow.routers import lookup
from dcmflow.routers.table import read_table
from dcmflow.testing import instance
from stage_runs import Gather, run

pytestmark = pytest.mark.anyio

TABLES = {
    "a.csv": "StationName,branch\nCT1,ward\nCT2,icu\nCT2,archive\n# MR1,ward\n\n",
    "b.csv": "CT1;ward\nCT2;icu\nCT2;archive\n",
    "c.json": '{"CT1": "ward", "CT2": ["icu", "archive"]}',
    "d.toml": 'CT1 = "ward"\nCT2 = ["icu", "archive"]\n',
}


@pytest.mark.parametrize("name", list(TABLES))
def test_tables(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(TABLES[name], encoding="utf-8-sig" if name == "b.csv" else "utf-8")
    assert read_table(tmp_path / name, "StationName") == {"CT1": ("ward",), "CT2": ("icu", "archive")}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "CT1\n"),
        ("a.csv", "CT1,\n"),
        ("a.json", "[1]"),
        ("a.json", '{"a": 3}'),
        ("a.json", "{"),
        ("a.toml", "a = []"),
    ],
)
def test_wrong_tables(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError, match=name) as caught:
        read_table(tmp_path / name, "StationName")
    assert caught.value.key == "table"


async def choose(actor: Any, **elements: Any) -> list[str]:
    return list(await actor.choose(instance(**elements)))


async def test_values(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("3,three\n\u5c71\u7530,yamada\nA B,spaced\n,empty\n")
    context = Context(stage="x", base=tmp_path)
    async with routers.Lookup("SeriesNumber", "t.csv").open(context) as actor:
        assert await choose(actor, SeriesNumber=3) == ["three"]
        assert await choose(actor, SeriesNumber=4) == []
    async with routers.Lookup("StationName", "t.csv").open(context) as actor:
        assert await choose(actor, StationName="山田") == ["yamada"]
        assert await choose(actor, StationName=" A B ") == ["spaced"]
        assert await choose(actor, StationName="") == ["empty"]
        assert await choose(actor) == []
    async with routers.Lookup("ImageType", "t.csv").open(context) as actor:
        assert await choose(actor, ImageType=["A B", "3"]) == ["spaced", "three"]
    async with routers.Lookup("calling_ae", "t.csv").open(context) as actor:
        assert list(await actor.choose(instance().with_origin(calling_ae="3"))) == ["three"]


async def test_read_again_when_it_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "INTERVAL", 0.0)
    events: list[Event] = []
    table = tmp_path / "t.csv"
    table.write_text("A,one\n")
    async with routers.Lookup("PatientID", str(table)).open(
        Context(stage="x", report=events.append)
    ) as actor:
        assert await choose(actor, PatientID="A") == ["one"]
        table.write_text("A,second\n")
        assert await choose(actor, PatientID="A") == ["second"]
        table.write_text("A\n")
        assert await choose(actor, PatientID="A") == ["second"]
        assert await choose(actor, PatientID="A") == ["second"]
        table.unlink()
        assert await choose(actor, PatientID="A") == ["second"]
        table.write_text("A,third\n")
        assert await choose(actor, PatientID="A") == ["third"]
    warnings = [event for event in events if isinstance(event, Warned)]
    assert len(warnings) == 2
    assert all("stays in force" in warning.message and warning.path == str(table) for warning in warnings)


async def test_looked_at_only_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    plain = lookup.version

    def counted(path: Path) -> Any:
        nonlocal looks
        looks += 1
        return plain(path)

    monkeypatch.setattr(lookup, "version", counted)
    monkeypatch.setattr(lookup, "INTERVAL", 3600.0)
    (tmp_path / "t.csv").write_text("A,one\n")
    async with routers.Lookup("PatientID", str(tmp_path / "t.csv")).open(Context(stage="x")) as actor:
        for _ in range(100):
            await choose(actor, PatientID="A")
    assert looks == 1


async def test_in_a_pipeline(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("1,first\n")
    first, rest = Gather(), Gather()
    router = routers.Lookup("InstanceNumber", "t.csv")
    source = sources.Synthetic(instances=3, size=100)
    await run(source | router | {"first": first, "*": rest} | sinks.Discard(), base=tmp_path)
    assert (len(first.seen), len(rest.seen)) == (1, 2)


async def test_missing_table_is_found_before_anything_moves(tmp_path: Path) -> None:
    router = routers.Lookup("PatientID", str(tmp_path / "none.csv"))
    with pytest.raises(StageError, match=r"none\.csv") as caught:
        await run(sources.Synthetic(size=100) | router | {"*": sinks.Discard()})
    assert caught.value.opening


@pytest.mark.parametrize("key", ["", "PatientIdd", "PatientID == 'x'", "PatientID StudyDate"])
def test_wrong_keys(key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        routers.Lookup(key, "t.csv")
    assert caught.value.key == "key"


def test_any_branch_may_come() -> None:
    assert routers.Lookup("PatientID", "t.csv").branches() is None
    Pipeline(sources.Synthetic() | routers.Lookup("PatientID", "t.csv") | {"a": sinks.Discard()}).check()


def test_key_looks_at_one_thing() -> None:
    get = lookup._getter("label.site")
    given: Instance = instance().with_labels(site="x")
    assert get(given) == "x"
