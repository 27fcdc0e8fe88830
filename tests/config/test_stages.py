"""What there is to say about a stage, built in or added by another package."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dcmflow.config.pipeline_file import dumps, loads
from dcmflow.config.schema import stage_schema
from dcmflow.config.stages import document, stage_types
from dcmflow.errors import ConfigError
from dcmflow.flow import registry

MODULE = '''
from typing import Annotated, Literal
from msgspec import Meta, Struct
from dcmflow import Filter, Sink


class Level(Struct, frozen=True, rename="kebab", forbid_unknown_fields=True):
    how_much: int = 1


class Smooth(Filter, frozen=True):
    """Smooths.

    In detail.
    """

    mode: Annotated[Literal["soft", "hard"], Meta(description="How.")]
    only: Annotated[str, Meta(description="What.", extra={"selector": True})] = "Modality == 'CT'"
    level: Annotated[Level, Meta(description="How much.")] = Level()
    levels: Annotated[dict[str, Level], Meta(description="By name.")] = {}
    sizes: Annotated[list[int | str], Meta(description="Sizes.")] = []
    factor: Annotated[float | None, Meta(description="Factor.")] = None


class Other(Sink, frozen=True):
    """Registered under another name."""
'''


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package with stages of its own is installed."""
    (tmp_path / "smoothing_stages.py").write_text(MODULE)
    info = tmp_path / "smoothing-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: smoothing\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[dcmflow.filters]\nsmooth = smoothing_stages:Smooth\nbroken = no_such_module_anywhere:Broken\n"
        "[dcmflow.sinks]\nelsewhere = smoothing_stages:Other\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    registry.registered.cache_clear()
    yield
    sys.modules.pop("smoothing_stages", None)
    registry.registered.cache_clear()
    registry._load.cache_clear()


TEXT = """\
name = "pipeline"

[sources.in]
type = "inlet"

[filters.f]
type = "smooth"
from = "in"
mode = "soft"
levels = { a = { how-much = 3 } }

[sinks.out]
type = "elsewhere"
from = "f"
"""


@pytest.mark.usefixtures("added")
def test_stages_of_another_package() -> None:
    assert ("filter", "smooth") in stage_types()
    pipeline = loads(TEXT)
    assert type(pipeline.graph.stages["f"]).__name__ == "Smooth"
    assert dumps(pipeline) == TEXT


@pytest.mark.usefixtures("added")
@pytest.mark.parametrize(
    ("before", "after", "key", "says"),
    [
        ('"soft"', '"sft"', "mode", "'sft' is none of 'hard', 'soft'; did you mean 'soft'?"),
        ("how-much = 3", "how-mch = 3", "levels.a.how-mch", "did you mean 'how-much'?"),
        ("how-much = 3", 'how-much = "3"', "levels.a.how-much", "expected a whole number, got the text '3'"),
        ('mode = "soft"', 'mode = "soft"\nonly = "Rows >"', "only", "\n  Rows >\n        ^"),
        (
            'mode = "soft"',
            'mode = "soft"\nsizes = [1, 2.5]',
            "sizes",
            "expected a whole number or a text, got 2.5",
        ),
        ('mode = "soft"', 'mode = "soft"\nfactor = "x"', "factor", "expected a number, got the text 'x'"),
        ('mode = "soft"', "", "mode", "'mode' is missing: How."),
        ('"smooth"', '"broken"', "type", "cannot be loaded from no_such_module_anywhere:Broken"),
        ('"smooth"', '"smoth"', "type", "did you mean 'smooth'?"),
    ],
)
def test_mistakes_in_them(before: str, after: str, key: str, says: str) -> None:
    assert before in TEXT
    with pytest.raises(ConfigError) as caught:
        loads(TEXT.replace(before, after))
    assert (caught.value.table, caught.value.key) == ("filters.f", key)
    assert says in caught.value.problem


@pytest.mark.usefixtures("added")
def test_the_page_of_a_stage() -> None:
    page = document("filter", "smooth")
    assert (page.class_name, page.summary) == ("smoothing_stages.Smooth", "Smooths.")
    assert page.description == "Smooths.\n\nIn detail."
    own = {field.name: field for field in page.fields if not field.common}
    assert {
        name: (field.type, field.default, field.required, field.description) for name, field in own.items()
    } == {
        "mode": ('"hard" or "soft"', None, True, "How."),
        "only": ("text", "\"Modality == 'CT'\"", False, "What."),
        "level": ("table with how-much", "{ how-much = 1 }", False, "How much."),
        "levels": ("table of table with how-much", "{}", False, "By name."),
        "sizes": ("list of whole number or text", "[]", False, "Sizes."),
        "factor": ("number", None, False, "Factor."),
    }
    assert [field.name for field in page.fields if field.common] == ["workers", "inbox", "retry", "on-error"]
    assert stage_schema("filter", "smooth")["required"] == ["type", "from", "mode"]


@pytest.mark.parametrize(("kind", "name"), stage_types())
def test_every_built_in_stage_is_described(kind: str, name: str) -> None:
    page = document(kind, name)
    assert page.summary.endswith(".") or page.summary.endswith('".')
    assert page.class_name.startswith(f"dcmflow.{kind}s.")
    assert all(
        field.description and field.type != "value" for field in page.fields if field.name != "function"
    )
