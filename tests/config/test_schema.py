"""The JSON Schema takes what the reader takes, and refuses what can be seen to be wrong without it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given

from config.strategies import pipelines
from dcmflow import Pipeline
from dcmflow.config.pipeline_file import dumps
from dcmflow.config.schema import pipeline_schema, stage_schema
from dcmflow.config.stages import stage_types

VALIDATOR = jsonschema.Draft202012Validator(pipeline_schema())
EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.toml"))

GOOD = """
limits.instances = "${N:-5}"
[nodes.a]
address = "A@b:104"
[nodes.b]
host = "b"
tls = { verify = "${VERIFY}" }
timeouts.connect = "2 s"
[selectors]
ct = "Modality == 'CT'"
[sources.in]
type = "inlet"
[routers.r]
type = "match"
from = "in"
branch.ct = "ct"
[sinks.out]
type = "directory"
from = ["r.ct", "r.*"]
path = "/x"
exists = "${EXISTS}"
workers = "${WORKERS}"
retry = { attempts = 3 }
"""


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(pipeline_schema())
    for kind, name in stage_types():
        jsonschema.Draft202012Validator.check_schema(stage_schema(kind, name))


def test_a_good_file() -> None:
    VALIDATOR.validate(tomllib.loads(GOOD))


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_example_files(file: Path) -> None:
    VALIDATOR.validate(tomllib.loads(file.read_text(encoding="utf-8")))


@given(pipelines())
def test_whatever_is_written_is_valid(pipeline: Pipeline) -> None:
    VALIDATOR.validate(_without_dates(tomllib.loads(dumps(pipeline))))


def _without_dates(item: Any) -> Any:
    """Dates are TOML's own and nothing that JSON has."""
    if isinstance(item, dict):
        return {key: _without_dates(part) for key, part in item.items()}
    return item if isinstance(item, (str, int, float, list)) else str(item)


@pytest.mark.parametrize(
    ("before", "after", "path"),
    [
        ("[sources.in]", "[source.in]", []),
        ("limits.instances", "limits.instance", ["limits"]),
        ("[sinks.out]", "[sinks.skip]", ["sinks"]),
        ("[sinks.out]", '[sinks."o.ut"]', ["sinks"]),
        ('type = "directory"', 'type = "directry"', ["sinks", "out", "type"]),
        ('type = "directory"\n', "", ["sinks", "out"]),
        ('path = "/x"\n', "", ["sinks", "out"]),
        ('path = "/x"', 'pth = "/x"', ["sinks", "out"]),
        ('path = "/x"', "path = 1", ["sinks", "out", "path"]),
        ('from = "in"\n', "", ["routers", "r"]),
        ('type = "inlet"', 'type = "inlet"\nfrom = "r"', ["sources", "in"]),
        ('from = ["r.ct", "r.*"]', "from = []", ["sinks", "out", "from"]),
        ('"${EXISTS}"', '"maybe"', ["sinks", "out", "exists"]),
        ('"${WORKERS}"', "0", ["sinks", "out", "workers"]),
        ('"${WORKERS}"', '"4"', ["sinks", "out", "workers"]),
        ("attempts = 3", "attempt = 3", ["sinks", "out", "retry"]),
        ('branch.ct = "ct"', "branch.ct = 1", ["routers", "r", "branch", "ct"]),
        ('host = "b"\n', "port = 1\n", ["nodes", "b"]),
        ('address = "A@b:104"', 'address = "A@b:104"\nport = 1', ["nodes", "a"]),
        ("ct = \"Modality == 'CT'\"", "ct = 1", ["selectors", "ct"]),
    ],
)
def test_faulty_files(before: str, after: str, path: list[str]) -> None:
    assert before in GOOD
    errors = list(VALIDATOR.iter_errors(tomllib.loads(GOOD.replace(before, after, 1))))
    assert path in [list(error.absolute_path) for error in errors]


def test_one_stage() -> None:
    schema = stage_schema("sink", "directory")
    assert "name" not in schema["properties"]
    assert schema["required"] == ["type", "path"]
    jsonschema.validate({"type": "directory", "from": "x", "path": "/x"}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"type": "directory", "from": "x"}, schema)
