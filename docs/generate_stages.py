"""Writes docs/stages.md from the Structs of the stages: `python docs/generate_stages.py`.

The page says what `dcmflow stages NAME` says. tests/test_stage_reference.py fails when it is stale.
"""

from __future__ import annotations

from pathlib import Path

from dcmflow.cli.stage_example import example
from dcmflow.config.stages import FieldDocument, StageDocument, document, stage_class, stage_types

PAGE = Path(__file__).with_name("stages.md")

HEAD = """\
# Stages

Every stage there is, with the smallest pipeline file that uses it. The same text comes from `dcmflow stages NAME`.

This page is made by `python docs/generate_stages.py` from the classes themselves.
"""
NOTES = {
    "source": (
        "At a source `workers`, `inbox` and `retry` mean nothing: nothing comes to it. `on-error` is about what it comes\n"
        "across and cannot emit, such as a truncated file: `refuse`, `skip` and `stop` apply, a sink cannot be given it.\n"
    )
}
TITLES = {"source": "Sources", "filter": "Filters", "router": "Routers", "sink": "Sinks"}


def page() -> str:
    """The whole page."""
    documents = [document(kind, name) for kind, name in built_in()]
    blocks = [HEAD, *contents(documents)]
    for kind, title in TITLES.items():
        of_kind = [each for each in documents if each.kind == kind]
        blocks += [f"## {title}\n", *(stage(each) for each in of_kind)]
        blocks += [
            f"### Fields of every {kind}\n",
            fields([f for f in of_kind[0].fields if f.common], of_kind[0]),
            *([NOTES[kind]] if kind in NOTES else []),
        ]
    return "\n".join(blocks)


def built_in() -> list[tuple[str, str]]:
    """Stages of dcmflow itself; other packages may have added theirs."""
    return [
        (kind, name)
        for kind, name in stage_types()
        if stage_class(kind, name).__module__.startswith("dcmflow.")
    ]


def contents(documents: list[StageDocument]) -> list[str]:
    """A table of all stages, each with its first sentence."""
    rows = ["| kind | type | what it does |", "|---|---|---|"]
    rows += [
        f"| {each.kind} | [`{each.type}`](#{each.kind}-{each.type}) | {cell(each.summary)} |"
        for each in documents
    ]
    return ["\n".join(rows) + "\n"]


def stage(about: StageDocument) -> str:
    """One stage: what it does, an example, its own fields."""
    own = [field for field in about.fields if not field.common]
    return "\n".join(
        [
            f"### {about.kind} {about.type}\n",
            f"{about.description}\n",
            f"In Python: `{about.class_name}`.\n",
            f"```toml\n{example(about.kind, about.type, stage_class(about.kind, about.type)).rstrip()}\n```\n",
            fields(own, about) if own else "It has no fields of its own.\n",
        ]
    )


def fields(listed: list[FieldDocument], about: StageDocument) -> str:
    """A table of fields; in Python their names are written with underscores."""
    rows = ["| field | type | default | |", "|---|---|---|---|"]
    for field in listed:
        default = (
            "required" if field.required else f"`{cell(field.default)}`" if field.default is not None else ""
        )
        rows.append(f"| `{field.name}` | {cell(field.type)} | {default} | {cell(field.description)} |")
    return "\n".join(rows) + "\n"


def cell(text: str) -> str:
    """Text that does not end a cell of a table."""
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
