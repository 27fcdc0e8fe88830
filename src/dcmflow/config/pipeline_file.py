"""The pipeline file: TOML that becomes a `Pipeline`, and back.

Four tables hold the four kinds of stages (`[sources.NAME]`, `[filters.NAME]`, `[routers.NAME]`, `[sinks.NAME]`) in one name
space. `type` chooses the stage and `from` wires it; everything else are the fields of that stage. Beside them stand `name`,
`limits`, `[nodes.NAME]` and `[selectors]`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcmflow.config.convert import convert, in_toml
from dcmflow.config.document import Document, dotted
from dcmflow.config.names import check_tables, read_nodes, read_selectors
from dcmflow.config.selectors import check_selectors
from dcmflow.config.stages import stage_class
from dcmflow.config.variables import expand, has_variable
from dcmflow.config.wiring import Entry, check_graph, wire
from dcmflow.config.write import dumps as dumps
from dcmflow.errors import ConfigError
from dcmflow.flow.capacity import Limits
from dcmflow.flow.graph import ON_ERROR_WORDS
from dcmflow.flow.pipeline import Pipeline
from dcmflow.flow.registry import registered
from dcmflow.flow.stage import KINDS
from dcmflow.suggest import suggest

if TYPE_CHECKING:
    from dcmflow.config.settings import Settings

KEYS = ("name", "limits")
TABLES = ("nodes", "selectors", "sources", "filters", "routers", "sinks")


def load(
    path: str | os.PathLike[str],
    *,
    environ: Mapping[str, str] = os.environ,
    settings: Settings | None = None,
) -> Pipeline:
    """The pipeline of a file; relative paths in it are relative to its folder.

    Args:
        path: the file.
        environ: where `${VAR}` is taken from.
        settings: who we are, and where nodes and selectors come from that the file does not have itself.

    Raises:
        ConfigError: with file, table, key and line, and a suggestion where there is one. Further errors are its notes.
    """
    document = Document.read(path, "pipeline file")
    return _read(document, Path(path).absolute().parent, environ, settings)


def loads(
    text: str,
    *,
    file: str | os.PathLike[str] | None = None,
    base: str | os.PathLike[str] | None = None,
    environ: Mapping[str, str] = os.environ,
    settings: Settings | None = None,
) -> Pipeline:
    """The pipeline of the text of a pipeline file.

    Args:
        text: TOML.
        file: its name for errors.
        base: the folder that relative paths are relative to; None: the working directory when it runs.
        environ, settings: as for `load`.

    Raises:
        ConfigError: as for `load`.
    """
    document = Document(text, os.fspath(file) if file is not None else None)
    return _read(document, Path(base) if base is not None else None, environ, settings)


def _read(
    document: Document, base: Path | None, environ: Mapping[str, str], settings: Settings | None
) -> Pipeline:
    if not document.data:
        raise document.error("the file is empty: a pipeline has at least a source and a sink")
    check_tables(document, TABLES, KEYS)
    name, limits = _name(document, environ), _limits(document, environ)
    tables = {kind: _expanded(document, kind, environ) for kind in ("nodes", "selectors")}
    nodes = read_nodes(document, base, tables, lax=has_variable(document.data.get("nodes")))
    selectors = read_selectors(document, tables, settings.selectors if settings else None)
    if settings is not None:
        nodes = _merged(document, "nodes", nodes, settings.nodes, settings)
        selectors = _merged(document, "selectors", selectors, settings.selectors, settings)
    entries, problems = _stages(document, environ, selectors)
    _raise_all(problems)
    edges, problems = wire(document, entries)
    _raise_all(problems)
    pipeline = Pipeline.from_graph(
        {key: entry.stage for key, entry in entries.items()},
        edges,
        name=name,
        limits=limits,
        base=base,
        selectors=selectors,
        nodes=nodes,
        local=settings.local if settings is not None else None,
    )
    check_graph(document, entries, pipeline.graph)
    return pipeline


def _raise_all(problems: list[ConfigError]) -> None:
    if problems:
        first, *others = problems
        for other in others:
            first.add_note(f"also: {other}")
        raise first


def _name(document: Document, environ: Mapping[str, str]) -> str:
    usual = Path(document.file).stem if document.file else "pipeline"
    name = expand({"name": document.data.get("name", usual)}, environ, document)["name"]
    if not isinstance(name, str) or not name.strip():
        raise document.error(f"expected a text that is not empty, got {in_toml(name)}", (), "name")
    return name


def _limits(document: Document, environ: Mapping[str, str]) -> Limits:
    given = document.data.get("limits", {})
    if not isinstance(given, dict):
        raise document.error(
            f'expected a table such as {{ instances = 512, memory = "2 GiB" }}, got {in_toml(given)}',
            (),
            "limits",
        )
    fields = expand(given, environ, document, ("limits",))
    return convert(fields, Limits, document, ("limits",), lax=has_variable(given))


def _expanded(document: Document, table: str, environ: Mapping[str, str]) -> Any:
    return expand(document.data.get(table, {}), environ, document, (table,))


def _merged(
    document: Document, kind: str, own: dict[str, Any], known: Mapping[str, Any], settings: Settings
) -> dict[str, Any]:
    for name in own.keys() & known.keys():
        if own[name] != known[name]:
            place = settings.origins.get(f"{kind}.{name}") or settings.file or "the settings"
            raise document.error(
                f"the name {name!r} stands for something else in the settings ({kind}.{name} in {place}): "
                "choose another name, or leave it out here",
                (kind,),
                (name,),
            )
    return {**known, **own}


def _stages(
    document: Document, environ: Mapping[str, str], selectors: Mapping[str, str]
) -> tuple[dict[str, Entry], list[ConfigError]]:
    entries: dict[str, Entry] = {}
    problems: list[ConfigError] = []
    for kind in KINDS:
        for name, given in document.data.get(f"{kind}s", {}).items():
            try:
                _check_stage_name(document, kind, name, given, entries)
                entries[name] = _stage(document, kind, name, given, environ)
                check_selectors(document, entries[name], selectors)
            except ConfigError as error:
                problems.append(error)
    return entries, problems


def _check_stage_name(
    document: Document, kind: str, name: str, given: object, entries: Mapping[str, Entry]
) -> None:
    table = (f"{kind}s", name)
    if not isinstance(given, dict):
        raise document.error(
            f"each {kind} is a table of its own: write [{kind}s.NAME], with type and the other keys below it",
            table[:1],
            (name,),
        )
    if not name.strip() or "." in name or name in ON_ERROR_WORDS:
        raise document.error(
            f"{name!r} cannot be the name of a stage: it is not empty, has no dots and is not "
            f"{', '.join(ON_ERROR_WORDS)}",
            table,
        )
    if name in entries:
        other = entries[name].table
        raise document.error(
            f"two stages have the name {name!r}: the other one is [{dotted(other)}] on line {document.line(other)}",
            table,
        )


def _stage(
    document: Document, kind: str, name: str, given: Mapping[str, Any], environ: Mapping[str, str]
) -> Entry:
    table = (f"{kind}s", name)
    fields = expand(dict(given), environ, document, table)
    origin, type_name = fields.pop("from", None), fields.pop("type", None)
    if type_name is None:
        close = [key for key in fields if suggest(key, ["type"])]
        hint = (
            f"; did you mean 'type' by {close[0]!r}?"
            if close
            else f"; there are: {', '.join(registered(kind))}"
        )
        raise document.error(f"'type' is missing: which {kind} is it?{hint}", table, "type")
    if not isinstance(type_name, str):
        raise document.error(f"expected a text, got {in_toml(type_name)}", table, "type")
    if "name" in fields:
        raise document.error(
            f"the name is {name!r}, from the header of the table: leave 'name' out", table, "name"
        )
    try:
        found = stage_class(kind, type_name)
    except ConfigError as error:
        problem = error.problem
        if type_name not in registered(kind) and ";" not in problem:
            problem += f"; there are: {', '.join(registered(kind))}"
        raise document.error(problem, table, "type") from error.__cause__
    fields["name"] = name
    stage = convert(
        fields, found, document, table, lax=has_variable(dict(given)), hide=("name",), also=("from", "type")
    )
    return Entry(table, stage, origin)
