"""A pipeline as the text of a pipeline file: what the DSL built, as a person would have written it."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

import msgspec

from dcmflow.config import toml_text
from dcmflow.config.names import name_problem
from dcmflow.config.variables import escape
from dcmflow.errors import ConfigError
from dcmflow.flow.pipeline import Pipeline
from dcmflow.flow.registry import function_name, registered, stage_type
from dcmflow.flow.stage import KINDS, Stage
from dcmflow.net.address import parse_address
from dcmflow.net.node import Node

_OF_TOML = (datetime.datetime, datetime.date, datetime.time)


def dumps(pipeline: Pipeline) -> str:
    """The text of a pipeline file; reading it gives an equal pipeline.

    The four kinds follow each other, in each the stages in their order; defaults are left out. Paths stay as they are, so
    relative ones mean something else when the file lies in another folder.

    Raises:
        ConfigError: a node whose name no file can have, a function that is not at the top level of a module, a stage
            whose class is not registered under a type, a value that TOML has no words for.
    """
    head = [f"name = {toml_text.value(escape(pipeline.name))}"]
    if limits := msgspec.to_builtins(pipeline.limits):
        head.append(f"limits = {toml_text.value(_escaped(limits))}")
    parts = ["\n".join(head) + "\n"]
    for name, node in pipeline.nodes.items():
        if problem := name_problem(name):
            raise ConfigError(problem, table="nodes", key=name)
        parts.append(toml_text.table(("nodes", name), _escaped(_node(node))))
    if pipeline.selectors:
        parts.append(toml_text.table(("selectors",), _escaped(pipeline.selectors)))
    graph = pipeline.graph
    for kind in KINDS:
        for name, stage in graph.stages.items():
            if stage.kind == kind:
                parts.append(_stage(name, stage, graph.origins(name)))
    return "\n".join(parts)


def _stage(name: str, stage: Stage, origins: list[str]) -> str:
    table = (f"{stage.kind}s", name)
    try:
        content: dict[str, Any] = {"type": type_of(stage)}
        if origins:
            content["from"] = origins[0] if len(origins) == 1 else origins
        fields = msgspec.to_builtins(stage, builtin_types=_OF_TOML, enc_hook=function_name)
        content |= {key: item for key, item in fields.items() if key not in ("name", "type")}
        return toml_text.table(table, _escaped(content))
    except ConfigError as error:
        raise error.at(table=".".join(table)) from None


def type_of(stage: Stage) -> str:
    """The type under which the class of a stage is registered. Raises ConfigError for one that is not."""
    candidates = [stage.type, *(name for name in registered(stage.kind) if name != stage.type)]
    for name in candidates:
        if name in registered(stage.kind) and stage_type(stage.kind, name) is type(stage):
            return name
    raise ConfigError(
        f"{stage.kind} {stage.name or type(stage).__name__!r} cannot be written to a pipeline file: its class "
        f"{type(stage).__module__}.{type(stage).__qualname__} is not registered as an entry point of dcmflow.{stage.kind}s"
    )


def _node(node: Node) -> dict[str, Any]:
    fields = msgspec.to_builtins(node)
    try:
        place = parse_address(node.address)
    except ConfigError:  # an AE title with '@' in it, for one
        return fields  # type: ignore[no-any-return]
    if (place.host, place.port, place.ae_title) != (node.host, node.port, node.ae_title):
        return fields  # type: ignore[no-any-return]
    rest = {key: item for key, item in fields.items() if key not in ("host", "port", "ae-title")}
    return {"address": node.address, **rest}


def _escaped(item: Any) -> Any:
    """The value with strings that mean themselves when variables are replaced."""
    if isinstance(item, str):
        return escape(item)
    if isinstance(item, Mapping):
        return {key: _escaped(part) for key, part in item.items()}
    return [_escaped(part) for part in item] if isinstance(item, (list, tuple)) else item
