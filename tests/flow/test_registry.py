"""Stages and functions are found by name."""

from __future__ import annotations

import json
import os.path
from pathlib import Path

import pytest

from dcmflow.errors import ConfigError
from dcmflow.flow.context import Context
from dcmflow.flow.registry import find_function, function_name, registered, stage_type
from dcmflow.flow.stage import KINDS


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_registered_stage_loads_and_is_named_as_its_type(kind: str) -> None:
    assert registered(kind)
    for name in registered(kind):
        loaded = stage_type(kind, name)
        assert isinstance(loaded, type)
        assert issubclass(loaded, KINDS[kind])
        assert loaded.__struct_config__.tag == name


@pytest.mark.parametrize(
    ("kind", "name", "text"),
    [
        ("sink", "direktory", "no sink of type 'direktory'; did you mean 'directory'"),
        ("source", "where", "no source of type 'where'; there is a filter of that type"),
        ("filter", "xyzzy", "no filter of type 'xyzzy'$"),
        ("pump", "x", "no kind of stage 'pump'"),
    ],
)
def test_unknown_types(kind: str, name: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        stage_type(kind, name)


def test_function_names_go_both_ways() -> None:
    assert function_name(json.dumps) == "json:dumps"
    assert find_function("json:dumps") is json.dumps
    assert find_function("os.path:join") is os.path.join


def test_functions_that_have_no_name() -> None:
    with pytest.raises(ConfigError, match="not at the top level"):
        function_name(lambda: None)
    with pytest.raises(ConfigError, match="cannot be written"):
        function_name(5)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("json", "write 'package.module:name'"),
        ("no_such_module_here:f", "No module named"),
        ("json:no_such", "has no attribute 'no_such'"),
        ("json:__name__", "is no function but str"),
    ],
)
def test_functions_that_cannot_be_found(text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        find_function(text)


def test_functions_beside_the_pipeline_file(tmp_path: Path) -> None:
    (tmp_path / "beside_the_file.py").write_text("def keep(instance):\n    return instance\n")
    assert find_function("beside_the_file:keep", tmp_path)(5) == 5


def test_paths_of_a_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    context = Context(stage="s", base=Path("/base"))
    assert context.path("a/b") == Path("/base/a/b")
    assert context.path("/a") == Path("/a")
    assert context.path("~/a") == tmp_path / "a"
    assert context.path("package:dcmflow/flow").joinpath("registry.py").is_file()
    assert Context(stage="s").path("a") == Path.cwd() / "a"
    with pytest.raises(ConfigError, match="no Python package 'nothere'"):
        context.path("package:nothere/x")
