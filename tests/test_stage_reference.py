"""docs/stages.md is what docs/generate_stages.py makes of the stages as they are."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[1]


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_stages", ROOT / "docs" / "generate_stages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_page_is_up_to_date() -> None:
    generator = _generator()
    assert generator.PAGE.read_text(encoding="utf-8") == generator.page(), (
        "run: python docs/generate_stages.py"
    )


def test_every_field_is_described() -> None:
    generator = _generator()
    silent = [
        f"{kind} {name}: {field.name}"
        for kind, name in generator.built_in()
        for field in generator.document(kind, name).fields
        if not field.description
    ]
    assert not silent


def test_readme_lists_every_stage() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (source|filter|router|sink) \| `([\w-]+)` \|", text, re.MULTILINE)
    assert sorted(rows) == sorted(_generator().built_in())
