"""Imports point down: every arrow between the parts of dcmflow is one that the layers allow.

::

    cli                                             people
    config    sync                                  a file becomes a pipeline; a wish becomes a plan
    sources   filters   routers   sinks             one stage per file
    flow      net       queues    catalog           neighbours that do not know each other
    dicom               protocol                    values · DICOM upper layer and DIMSE without I/O
    errors    status    suggest   units             words

`observe` sees only the events of the engine; `testing` may import anything and nothing imports it.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "dcmflow"

WORDS = frozenset({"_lazy", "errors", "status", "suggest", "units"})
ROWS = [
    WORDS,
    frozenset({"dicom", "protocol"}),
    frozenset({"flow", "net", "queues", "catalog"}),
    frozenset({"sources", "filters", "routers", "sinks"}),
    frozenset({"config", "sync"}),
    frozenset({"cli"}),
    frozenset({"__main__"}),
]
LEVEL = {part: level for level, row in enumerate(ROWS) for part in row}
PARTS = frozenset({*LEVEL, "observe", "testing"})

# parts that are loaded without anybody asking for a pydicom Dataset
LIGHT = frozenset({"dicom", "flow", "sources", "filters", "routers", "sinks"})
HEAVY = frozenset({"pydicom", "pynetdicom"})


class Import(NamedTuple):
    line: int
    target: str  # dotted name; "dcmflow:Name" for a name taken from the root package
    on_load: bool  # it runs when the module is imported


def imports(source: str, module: str, *, package: bool = False) -> Iterator[Import]:
    """Every import in a source text, those in functions and `if TYPE_CHECKING:` blocks included."""
    tree = ast.parse(source)
    late = {
        id(inner)
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef) or _for_type_checkers(outer)
        for inner in ast.walk(outer)
    }
    for node in ast.walk(tree):
        for target in _targets(node, module, package):
            assert isinstance(node, ast.stmt | ast.expr)
            yield Import(node.lineno, target, id(node) not in late)


def _for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def _targets(node: ast.AST, module: str, package: bool) -> list[str]:
    match node:
        case ast.Import(names):
            return [alias.name for alias in names]
        case ast.ImportFrom(home, names, level):
            base = _absolute(home, level or 0, module, package)
            if base != "dcmflow":
                # `flow import events` names a module, `status import Status` a class: serve both
                return [f"{base}.{alias.name}" for alias in names]
            return [f"dcmflow.{a.name}" if a.name in PARTS else f"dcmflow:{a.name}" for a in names]
        case ast.Call(
            ast.Name("import_module" | "__import__") | ast.Attribute(_, "import_module"), [first, *_]
        ):
            return [str(first.value)] if isinstance(first, ast.Constant) else []
    return []


def _absolute(home: str | None, level: int, module: str, package: bool) -> str:
    if not level:
        return home or ""
    parts = module.split(".")
    base = parts[: len(parts) - level + (1 if package else 0)]
    return ".".join([*base, *([home] if home else [])])


def wrong_arrows(source: str, module: str, *, package: bool = False) -> list[str]:
    """What is wrong with the imports of one module, in words, a line number first."""
    if (
        module == "dcmflow"
    ):  # its table of public names points everywhere; tests/test_imports.py keeps it lazy
        return []
    here = module.split(".")[1]
    if here not in PARTS:
        return [f"1: {here} has no place in the layers: give it one in {Path(__file__).name}"]
    found = []
    for line, target, on_load in imports(source, module, package=package):
        if complaint := _complaint(here, target, on_load):
            found.append(f"{line}: {complaint}")
    return found


def _complaint(here: str, target: str, on_load: bool) -> str | None:
    if here == "testing":
        return None
    root, _, rest = target.partition(".")
    if root == "dcmflow" and rest:
        there = rest.split(".")[0]
        return None if _allowed(here, there, target) else f"{here} imports {target}"
    if root.startswith("dcmflow"):
        if target == "dcmflow:__version__":
            return None
        return f"{here} imports {target} from the root package; import it from the module that defines it"
    if here == "protocol" and root not in sys.stdlib_module_names | {"msgspec"}:
        return f"protocol imports {target}; it knows the standard library and msgspec only"
    if here in LIGHT and root in HEAVY and on_load:
        return f"{here} imports {target} when it is loaded; import it where it is used"
    return None


def _allowed(here: str, there: str, target: str) -> bool:
    if here == there:
        return True
    if there == "testing" or there not in PARTS:
        return False
    if here == "observe":
        return there in WORDS or f"{target}.".startswith("dcmflow.flow.events.")
    if there == "observe":
        return here == "cli"
    if here in WORDS:
        return (here, there) == ("errors", "status")
    return LEVEL[there] < LEVEL[here]


def _modules() -> list[tuple[Path, str, bool]]:
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        parts = list(path.relative_to(SOURCE.parent).with_suffix("").parts)
        package = parts[-1] == "__init__"
        found.append((path, ".".join(parts[:-1] if package else parts), package))
    return found


def test_arrows_point_down() -> None:
    modules = _modules()
    assert len(modules) > 5
    wrong = [
        f"{path.relative_to(SOURCE.parent)}:{text}"
        for path, module, package in modules
        for text in wrong_arrows(path.read_text(encoding="utf-8"), module, package=package)
    ]
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("dcmflow.dicom.instance", "from dcmflow.flow.stage import Stage"),
        ("dcmflow.dicom.instance", "def late():\n    import dcmflow.net.client"),
        ("dcmflow.dicom.instance", "if TYPE_CHECKING:\n    from dcmflow.flow.stage import Stage"),
        ("dcmflow.dicom.instance", "from ..flow import stage"),
        ("dcmflow.dicom.instance", "import dcmflow.protocol.pdu"),
        ("dcmflow.dicom.instance", "import_module('dcmflow.cli.app')"),
        ("dcmflow.dicom.instance", "import pydicom"),
        ("dcmflow.dicom.instance", "try:\n    from pydicom import dcmread\nexcept ImportError:\n    raise"),
        ("dcmflow.flow.stage", "from dcmflow.net import client"),
        ("dcmflow.flow.stage", "from dcmflow.observe import log"),
        ("dcmflow.flow.stage", "from dcmflow import Instance"),
        ("dcmflow.flow.stage", "from .. import Instance"),
        ("dcmflow.flow.stage", "import dcmflow"),
        ("dcmflow.sinks.store", "from dcmflow.sources.directory import Directory"),
        ("dcmflow.sinks.store", "from dcmflow.testing import check_sink"),
        ("dcmflow.protocol.pdu", "import anyio"),
        ("dcmflow.protocol.pdu", "from dcmflow.dicom.uids import uid"),
        ("dcmflow.observe.log", "from dcmflow.flow.stage import Stage"),
        ("dcmflow.observe.log", "from dcmflow.flow import running"),
        ("dcmflow.observe.log", "from dcmflow.flow.events_of_another_kind import x"),
        ("dcmflow.status", "from dcmflow.errors import Refused"),
        ("dcmflow.config.file", "from dcmflow.cli.app import main"),
        ("dcmflow.config.file", "from dcmflow.sync.plan import plan"),
        ("dcmflow.somewhere.new", "import math"),
    ],
)
def test_wrong_arrow_is_found(module: str, source: str) -> None:
    assert len(wrong_arrows(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("dcmflow.errors", "from dcmflow.status import Status"),
        ("dcmflow.dicom.instance", "from dcmflow.dicom.payload import Payload\nfrom .header import Header"),
        ("dcmflow.dicom.instance", "def read():\n    import pydicom"),
        ("dcmflow.dicom.instance", "if TYPE_CHECKING:\n    from pydicom import Dataset"),
        ("dcmflow.protocol.pdu", "import struct\nimport msgspec\nfrom dcmflow.errors import ProtocolError"),
        ("dcmflow.sinks.store", "from dcmflow.net.client import Client\nfrom dcmflow.flow.stage import Sink"),
        (
            "dcmflow.observe.log",
            "from dcmflow.flow.events import Event\nfrom dcmflow.units import format_size",
        ),
        ("dcmflow.observe.log", "from dcmflow.flow import events\nimport structlog"),
        ("dcmflow.cli.app", "from dcmflow import __version__\nfrom dcmflow.observe.log import Log"),
        ("dcmflow.cli.run", "from dcmflow import sinks\nfrom dcmflow.config.file import load"),
        ("dcmflow.testing.checks", "import dcmflow\nfrom dcmflow.cli.app import main"),
        ("dcmflow", "from dcmflow.flow.pipeline import Pipeline"),
    ],
)
def test_arrow_that_is_drawn(module: str, source: str) -> None:
    assert wrong_arrows(source, module) == []


def test_relative_import_in_a_package() -> None:
    assert wrong_arrows("from ..net import client", "dcmflow.flow", package=True) == [
        "1: flow imports dcmflow.net.client"
    ]
    assert wrong_arrows("from .stage import Stage", "dcmflow.flow", package=True) == []
