"""Every code block of the README and of the pages in docs/ runs, and every example in a docstring holds."""

from __future__ import annotations

import doctest
import importlib
import os
from pathlib import Path

import pytest

from docs_runner import find_pages, run_page

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "dcmflow"


@pytest.mark.timeout(240)
@pytest.mark.parametrize("page", find_pages(ROOT), ids=lambda page: str(page.relative_to(ROOT)))
def test_page(page: Path, tmp_path: Path) -> None:
    left_out = "; ".join(run_page(page, tmp_path, examples=ROOT / "examples").left_out)
    if left_out and os.environ.get("DCMFLOW_REQUIRE_PEERS"):
        pytest.fail(left_out)
    if left_out:
        pytest.skip(f"everything else on the page ran; {left_out}")


def _modules_with_examples() -> list[str]:
    paths = [path for path in sorted(SOURCE.rglob("*.py")) if ">>> " in path.read_text(encoding="utf-8")]
    return [".".join(path.relative_to(SOURCE.parent).with_suffix("").parts) for path in paths]


@pytest.mark.parametrize("name", _modules_with_examples())
def test_docstring_examples(name: str) -> None:
    module = importlib.import_module(name.removesuffix(".__init__"))
    results = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert results.attempted > 0
    assert results.failed == 0
