"""Pipelines as data: the two wiring rules, the file form, and what is no pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import msgspec
import pydicom
import pydicom.data
import pytest

from acceptance_kit import Command, digests, visible
from corpus import Corpus
from dcmflow import ConfigError, GraphError, Instance, Pipeline, filters, routers, sinks, sources


def radiology(source: Corpus, folder: Path) -> Pipeline:
    """The pipeline of the first page, with folders for its listener and its PACS."""
    archive = sinks.Directory(
        str(folder / "archive"), layout="{PatientID}/{StudyInstanceUID}/{SOPInstanceUID}.dcm"
    )
    halves = [str(source.folder / patient) for patient in ("TestPat1", "TestPat2")]
    return Pipeline(
        (sources.Directory(halves[0]), sources.Directory(halves[1]))
        | filters.Where("Modality in ('CT', 'MR')")
        | routers.Match({"one": "PatientID == 'TestPat1'"})
        | {
            "one": (archive, sinks.Directory(str(folder / "pacs"), layout="{SOPInstanceUID}")),
            "*": filters.Edit(set={"PatientName": "Anon"}) | archive,
        },
        name="radiology",
    )


def check_radiology(source: Corpus, folder: Path) -> None:
    archive, pacs = visible(folder / "archive"), visible(folder / "pacs")
    assert (len(archive), len(pacs)) == (12, 8)
    assert digests(pacs) == digests(path for name, path in source.items() if name.startswith("TestPat1"))
    names = {ds.PatientID: str(ds.PatientName) for ds in map(pydicom.dcmread, archive)}
    assert names == {"TestPat1": "TestPat1^Test", "TestPat2": "Anon"}


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_pipeline_of_the_first_page_runs(base_set: Corpus, tmp_path: Path, backend: str) -> None:
    pipeline = radiology(base_set, tmp_path)
    statistics = anyio.run(pipeline.run, backend=backend)
    check_radiology(base_set, tmp_path)
    assert statistics.pipeline.emitted == statistics.pipeline.accepted == 12


def test_the_same_object_is_the_same_node(base_set: Corpus, tmp_path: Path) -> None:
    pipeline = radiology(base_set, tmp_path)
    kinds = [name.rsplit("-", 1)[0] for name in pipeline.graph.stages]
    assert sorted(kinds) == ["directory"] * 4 + ["edit", "match", "where"], pipeline.graph.stages
    # an equal one is another node
    one, other = sinks.Discard(), sinks.Discard()
    assert one == other
    graph = Pipeline(sources.Synthetic() | (one, other)).graph
    assert len(graph.stages) == 3


def test_what_the_dsl_built_is_a_file_that_builds_the_same(
    run: Command, base_set: Corpus, tmp_path: Path
) -> None:
    pipeline = radiology(base_set, tmp_path)
    text = pipeline.to_toml()
    assert Pipeline.from_toml(text) == pipeline
    assert Pipeline.from_toml(text).to_toml() == text
    (tmp_path / "radiology.toml").write_text(text)
    assert Pipeline.from_file(tmp_path / "radiology.toml").to_toml() == text
    run("check", tmp_path / "radiology.toml").must(0)
    run("run", tmp_path / "radiology.toml").must(0)
    check_radiology(base_set, tmp_path)


def test_a_path_may_be_a_path(base_set: Corpus, tmp_path: Path) -> None:
    """What the DSL runs it writes, too."""
    pipeline = Pipeline(sources.Directory(base_set.folder) | sinks.Directory(tmp_path / "out"))
    anyio.run(pipeline.run)
    assert len(visible(tmp_path / "out")) == 12
    assert Pipeline.from_toml(pipeline.to_toml()) == pipeline


EVERYTHING = """
name = "every-field"
limits = { instances = 7, memory = "3 MiB" }

[sources.files]
type = "directory"
path = "in"
recursive = false
include = ["*.dcm", "a/**"]
exclude = ["b*"]
after = "move:done"
workers = 2
inbox = 3

[sources.made]
type = "synthetic"
patients = 2
instances = 3
size = "4 KiB"
modality = ["CT", "MR"]
seed = 9

[filters.some]
type = "where"
from = ["files", "made"]
match = "Modality == 'CT' or exists(EchoTime)"
retry = { attempts = 2, first = "10 ms", longest = "1 s" }

[filters.change]
type = "edit"
from = "some"
remove = ["PatientBirthDate"]
blank = ["PatientSex"]
remap-uids = "key"
only-existing = true
on-error = "bad"

[filters.change.set]
PatientName = "Anon"
"(0020,0011)" = 4
'("CREATOR",0019,10)' = "private"
"RequestAttributesSequence[0].ScheduledProcedureStepID" = "S"

[filters.once]
type = "dedupe"
from = "change"
by = "content"
remember = 5

[routers.by]
type = "match"
from = "once"
first-only = true
branch.ct = "Modality == 'CT'"
branch.two = "PatientID == '2'"

[sinks.out]
type = "directory"
from = ["by.ct", "by.*"]
path = "out"
layout = "{PatientID|unknown}/{SeriesNumber:03d}/{SOPInstanceUID}.dcm"
exists = "keep-both"
fsync = false
link = true
required = false

[sinks.away]
type = "discard"
from = "by.two"

[sinks.bad]
type = "quarantine"
path = "bad"
"""


def test_every_field_survives_the_way_through_the_dsl(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(EVERYTHING)
    pipeline = Pipeline.from_file(tmp_path / "p.toml")
    again = Pipeline.from_toml(pipeline.to_toml())
    assert again.to_toml() == pipeline.to_toml()
    stages = pipeline.graph.stages
    assert set(stages) == {"files", "made", "some", "change", "once", "by", "out", "away", "bad"}
    for name, stage in stages.items():
        assert msgspec.to_builtins(stage) == msgspec.to_builtins(again.graph.stages[name]), name
    assert stages["files"].after == "move:done"  # type: ignore[attr-defined]
    assert (stages["files"].workers, stages["files"].inbox) == (2, 3)
    assert stages["some"].retry is not None
    assert stages["some"].retry.attempts == 2
    assert stages["change"].on_error == "bad"
    assert stages["out"].required is False  # type: ignore[attr-defined]


def test_a_function_has_a_file_form(tmp_path: Path) -> None:
    pipeline = Pipeline(sources.Synthetic() | filters.Call(keep) | sinks.Discard())
    assert f'"{__name__}:keep"' in pipeline.to_toml()
    local = Pipeline(sources.Synthetic() | (lambda instance: instance) | sinks.Discard())
    with pytest.raises(ConfigError):
        local.to_toml()


def keep(instance: Instance) -> Instance | None:
    return instance


def test_branches_of_functions_and_filters_need_no_types(base_set: Corpus, tmp_path: Path) -> None:
    """A plain function is a filter, sync or async; `|` and tuples nest."""

    async def anon(instance: Instance) -> Instance:
        return instance.with_elements({"PatientName": "Anon"})

    out = sinks.Directory(tmp_path / "out", exists="keep-both")
    pipeline = Pipeline(sources.Directory(base_set.folder) | keep | (anon | out, (lambda _: None) | out))
    statistics = anyio.run(pipeline.run)
    assert statistics.pipeline.accepted == 12
    assert {str(pydicom.dcmread(path).PatientName) for path in visible(tmp_path / "out")} == {"Anon"}


NO_PIPELINES: dict[str, Any] = {
    "no sink": lambda: sources.Synthetic() | filters.Where("Rows > 1"),
    "no source": lambda: filters.Where("Rows > 1") | sinks.Discard(),
    "after a sink": lambda: sources.Synthetic() | sinks.Discard() | sinks.Discard(),
    "before a source": lambda: sources.Synthetic() | sources.Synthetic() | sinks.Discard(),
    "unknown branch": lambda: (
        sources.Synthetic() | routers.Match({"a": "Rows > 1"}) | {"a": sinks.Discard(), "b": sinks.Discard()}
    ),
    "branch to nowhere": lambda: (
        sources.Synthetic() | routers.Match({"a": "Rows > 1", "b": "Rows > 2"}) | {"a": sinks.Discard()}
    ),
    "router without branches": lambda: (
        sources.Synthetic() | routers.Match({"a": "Rows > 1"}) | sinks.Discard()
    ),
    "unknown on-error": lambda: sources.Synthetic() | sinks.Discard(on_error="nowhere"),
    "two of one name": lambda: sources.Synthetic(name="x") | sinks.Discard(name="x"),
}


@pytest.mark.parametrize("what", NO_PIPELINES)
def test_what_cannot_be_joined_is_an_error_before_it_runs(what: str) -> None:
    with pytest.raises((GraphError, ConfigError, TypeError)):
        Pipeline(NO_PIPELINES[what]()).check()


def test_a_cycle_is_an_error() -> None:
    one, two = filters.Where("Rows > 1"), filters.Where("Rows > 2")
    with pytest.raises(GraphError, match=r"(?i)cycle"):
        Pipeline(sources.Synthetic() | one | two | one, two | sinks.Discard()).check()
