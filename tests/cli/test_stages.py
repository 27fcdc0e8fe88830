"""`dcmflow stages`: the list, a page about each, JSON Schema."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

import pytest

from dcmflow import Pipeline
from dcmflow.cli.stage_example import example
from dcmflow.config.stages import stage_class, stage_types

Command = Callable[..., subprocess.CompletedProcess[str]]


def test_list(dcmflow: Command) -> None:
    done = dcmflow("stages")
    assert done.returncode == 0
    assert "cannot be loaded" not in done.stdout
    listed = json.loads(dcmflow("stages", "--format", "json").stdout)
    found = {(kind, row["type"]) for kind, rows in listed.items() for row in rows}
    assert found == {(f"{kind}s", name) for kind, name in stage_types()}
    for rows in listed.values():
        for row in rows:
            assert row["about"].split()[0] in done.stdout
            assert row["type"] in done.stdout


@pytest.mark.parametrize(("kind", "name"), stage_types())
def test_page_of_each(dcmflow: Command, kind: str, name: str) -> None:
    done = dcmflow("stages", f"{kind}.{name}")
    assert done.returncode == 0
    assert done.stdout.startswith(f"{kind} {name} ")
    page = json.loads(dcmflow("stages", f"{kind}s.{name}", "--format", "json").stdout)
    assert page["example"].rstrip() in done.stdout
    assert {"workers", "on-error"} <= {field["name"] for field in page["fields"]}
    for field in page["fields"]:
        assert field["description"].strip(), field
        assert f"  {field['name']}" in done.stdout


@pytest.mark.parametrize(("kind", "name"), stage_types())
def test_example_is_a_pipeline_with_that_stage(kind: str, name: str) -> None:
    text = example(kind, name, stage_class(kind, name))
    stages = Pipeline.from_toml(text).graph.stages
    assert (stages["mine"].kind, stages["mine"].type) == (kind, name)


def test_a_name_of_two_stages_shows_both(dcmflow: Command) -> None:
    done = dcmflow("stages", "directory")
    assert "source directory " in done.stdout
    assert "sink directory " in done.stdout


def test_schema(dcmflow: Command) -> None:
    one = json.loads(dcmflow("stages", "where", "--schema").stdout)
    assert one["properties"]["type"] == {"const": "where"}
    everything = json.loads(dcmflow("stages", "--schema").stdout)
    assert {"sources", "filters", "routers", "sinks"} <= set(everything["properties"])
    twice = dcmflow("stages", "directory", "--schema")
    assert twice.returncode == 2
    assert "source.directory, sink.directory" in twice.stderr
