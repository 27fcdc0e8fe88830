"""Public names are there, and loading dcmflow loads nothing heavy."""

from __future__ import annotations

import ast
import importlib.util
import json
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

import dcmflow

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
KINDS = ("sources", "filters", "routers", "sinks")

HEAVY = {"pydicom", "pynetdicom", "structlog"}
HEAVY_FOR_THE_LIBRARY = HEAVY | {"rich", "anyio", "msgspec", "cyclopts", "numpy", "trio"}

_REPORT = """
import json, sys, time
before = set(sys.modules)
start = time.perf_counter()
{statement}
seconds = time.perf_counter() - start
print()
print(json.dumps({{"seconds": seconds, "modules": sorted(set(sys.modules) - before)}}))
"""


def _loaded(statement: str) -> set[str]:
    """Top-level packages that a fresh interpreter has imported after a statement; prints how long it took."""
    command = [sys.executable, "-c", _REPORT.format(statement=statement)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=15, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    print(f"{1000 * report['seconds']:.1f} ms")
    return {name.partition(".")[0] for name in report["modules"]}


def test_import_is_light() -> None:
    loaded = _loaded("import dcmflow")
    assert "dcmflow" in loaded
    assert loaded.isdisjoint(HEAVY_FOR_THE_LIBRARY)


def test_stage_packages_are_light() -> None:
    assert _loaded("from dcmflow import filters, routers, sinks, sources").isdisjoint(HEAVY_FOR_THE_LIBRARY)


def test_errors_are_light() -> None:
    assert _loaded("from dcmflow import Refused, Status").isdisjoint(HEAVY_FOR_THE_LIBRARY)


def test_help_is_light() -> None:
    statement = (
        "from dcmflow.cli.app import main\n"
        "sys.argv = ['dcmflow', '--help']\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    assert not end.code, end.code"
    )
    assert _loaded(statement).isdisjoint(HEAVY)


def _public(package: str) -> list[str]:
    names: list[str] = import_module(package).__all__
    return names


def test_every_public_name_is_there() -> None:
    for package in ("dcmflow", *(f"dcmflow.{kind}" for kind in KINDS)):
        module = import_module(package)
        for name in _public(package):
            assert getattr(module, name) is not None
            assert name in dir(module)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'dcmflow' has no attribute 'Pipelime'"):
        _ = dcmflow.Pipelime  # type: ignore[attr-defined]


@pytest.mark.parametrize("package", ["dcmflow", *(f"dcmflow.{kind}" for kind in KINDS)])
def test_type_checkers_see_the_same_names(package: str) -> None:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    seen = {}
    for block in tree.body:
        if isinstance(block, ast.If):
            for node in block.body:
                assert isinstance(node, ast.ImportFrom)
                for alias in node.names:
                    assert alias.name == alias.asname, "`import X as X` makes a name public"
                    home = str(node.module)
                    seen[alias.name] = f"{home}.{alias.name}" if home == package else home
    assert seen == vars(import_module(package))["_HOMES"]


@pytest.mark.parametrize("kind", KINDS)
def test_stages_are_those_of_the_entry_points(kind: str) -> None:
    declared = {tuple(value.split(":")) for value in PROJECT["entry-points"][f"dcmflow.{kind}"].values()}
    homes = vars(import_module(f"dcmflow.{kind}"))["_HOMES"]
    assert {(home, name) for name, home in homes.items()} == declared


@pytest.mark.parametrize("kind", KINDS)
def test_entry_points_bear_the_name_of_their_module(kind: str) -> None:
    for name, value in PROJECT["entry-points"][f"dcmflow.{kind}"].items():
        assert value.partition(":")[0] == f"dcmflow.{kind}.{name.replace('-', '_')}"


def test_version() -> None:
    assert dcmflow.__version__ == PROJECT["version"]
