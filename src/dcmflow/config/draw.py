"""A pipeline drawn: a tree for the terminal, a flowchart for Mermaid, plain values for JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_type_hints

import msgspec

from dcmflow.flow.graph import Graph, plain
from dcmflow.flow.pipeline import Pipeline
from dcmflow.flow.stage import Router, Sink, Source, Stage

_TELLING = 60


def tree(pipeline: Pipeline) -> str:
    """The pipeline as lines with box characters, one tree per source; what comes a second time is only referred to.

    ::

        radiology
        └── modalities  scp
            └── by-kind  match
                ├── ct → archive  directory /archive
                └── * → clean  edit
                    └── archive  (above)
    """
    graph = pipeline.graph
    lines = [_one_line(pipeline.name)]
    sources = [name for name, stage in graph.stages.items() if isinstance(stage, Source)]
    roots: list[tuple[str | None, str]] = [(None, name) for name in sources]
    reached = set(_reach(graph, sources))
    roots += [(None, name) for name in graph.stages if name not in reached and not graph.origins(name)]
    drawn: set[str] = set()
    _branch(graph, roots, "", lines, drawn)
    rest: list[tuple[str | None, str]] = [(None, name) for name in graph.stages if name not in drawn]
    if rest:  # only in a pipeline that has not been checked: a circle that nothing leads to
        _branch(graph, rest, "", lines, drawn)
    return "\n".join(lines) + "\n"


def _reach(graph: Graph, names: list[str]) -> Iterator[str]:
    seen: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            yield name
            waiting += [target for _, target in _onward(graph, name)]


def _onward(graph: Graph, name: str) -> list[tuple[str | None, str]]:
    """What follows a stage: (branch, name); where its failures go comes last, as branch `on-error`."""
    onward = [(branch, target) for branch, targets in graph.targets(name).items() for target in targets]
    if graph.stages[name].on_error in graph.stages:
        onward.append(("on-error", graph.stages[name].on_error))
    return onward


def _branch(
    graph: Graph, items: list[tuple[str | None, str]], indent: str, lines: list[str], drawn: set[str]
) -> None:
    for number, (branch, name) in enumerate(items, 1):
        last = number == len(items)
        arrow = "" if branch is None else f"{branch} → "
        again = name in drawn
        label = f"{name}  (above)" if again else describe(name, graph.stages[name])
        lines.append(f"{indent}{'└── ' if last else '├── '}{_one_line(arrow + label)}")
        if not again:
            drawn.add(name)
            _branch(graph, _onward(graph, name), indent + ("    " if last else "│   "), lines, drawn)


def describe(name: str, stage: Stage) -> str:
    """A stage in one line: its name, its type and its most telling field."""
    fields = plain(masked(stage))
    for key in ("name", "type", *Stage.__struct_encode_fields__):
        fields.pop(key, None)
    first = next(((key, item) for key, item in fields.items() if isinstance(item, str) and item), None)
    telling = ""
    if first is not None:
        text = " ".join(first[1].split())
        telling = f"  {text if len(text) <= _TELLING else text[: _TELLING - 1] + '…'}"
    best_effort = "  (best effort)" if isinstance(stage, Sink) and not stage.required else ""
    return f"{name}  {stage.type}{telling}{best_effort}"


def masked(stage: Stage) -> Stage:
    """The stage with what its type says is secret (`Meta(extra={"secret": True})`) written as stars."""
    hints = get_type_hints(type(stage), include_extras=True)
    secret = [
        field.name
        for field in msgspec.structs.fields(stage)
        if isinstance(getattr(stage, field.name), str)
        and any(
            (getattr(note, "extra", None) or {}).get("secret") for note in get_args(hints[field.name])[1:]
        )
    ]
    return msgspec.structs.replace(stage, **dict.fromkeys(secret, "****")) if secret else stage


def without_secrets(pipeline: Pipeline) -> Pipeline:
    """The pipeline to be shown, not to be run: secrets are stars."""
    graph = pipeline.graph
    return Pipeline.from_graph(
        {name: masked(stage) for name, stage in graph.stages.items()},
        graph.edges,
        name=pipeline.name,
        limits=pipeline.limits,
        base=pipeline.base,
        selectors=pipeline.selectors,
        nodes=pipeline.nodes,
        local=pipeline.local,
    )


def _one_line(text: str) -> str:
    return "".join(
        c if c.isprintable() else f"\\x{ord(c):02x}" if ord(c) < 256 else f"\\u{ord(c):04x}" for c in text
    )


_SHAPES: Mapping[str, tuple[str, str]] = {
    "source": ("([", "])"),
    "filter": ("[", "]"),
    "router": ("{", "}"),
    "sink": ("[(", ")]"),
}


def mermaid(pipeline: Pipeline) -> str:
    """The pipeline as a Mermaid flowchart."""
    graph = pipeline.graph
    ids = {name: f"s{number}" for number, name in enumerate(graph.stages, 1)}
    lines = ["flowchart LR"]
    for name, stage in graph.stages.items():
        before, after = _SHAPES[stage.kind]
        label = f"{_label(name)}<br/>{_label(stage.type)}"
        lines.append(f'    {ids[name]}{before}"{label}"{after}')
    for edge in graph.edges:
        arrow = "-->" if edge.branch is None else f'-->|"{_label(edge.branch)}"|'
        lines.append(f"    {ids[edge.source]} {arrow} {ids[edge.target]}")
    for name, stage in graph.stages.items():
        if stage.on_error in graph.stages:
            lines.append(f'    {ids[name]} -.->|"on-error"| {ids[stage.on_error]}')
    return "\n".join(lines) + "\n"


def _label(text: str) -> str:
    """Text inside of double quotes; what means something to Mermaid or HTML becomes an entity code."""
    return "".join(c if c.isalnum() or c in " -_.,:/" else f"#{ord(c)};" for c in text)


def as_json(pipeline: Pipeline) -> dict[str, Any]:
    """The pipeline as plain values: name, limits, stages with kind, type and fields, edges, promises."""
    graph = pipeline.graph
    stages = []
    for name, stage in graph.stages.items():
        fields = plain(masked(stage))
        for key in ("name", "type"):
            fields.pop(key, None)
        entry: dict[str, Any] = {"name": name, "kind": stage.kind, "type": stage.type, "fields": fields}
        if isinstance(stage, Router):
            branches = stage.branches()
            entry["branches"] = None if branches is None else sorted(branches)
        stages.append(entry)
    return {
        "name": pipeline.name,
        "base": str(pipeline.base) if pipeline.base is not None else None,
        "limits": {
            "instances": pipeline.limits.instances,
            "memory": pipeline.limits.memory,
        },
        "selectors": dict(pipeline.selectors),
        "stages": stages,
        "edges": [msgspec.to_builtins(edge._asdict()) for edge in graph.edges],
        "promises": pipeline.promises(),
    }
