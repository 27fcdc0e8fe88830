"""How the stages of a file are joined: what is written after `from` becomes edges, and what cannot be is an error at its key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from dcmflow.config.convert import in_toml
from dcmflow.config.document import Document
from dcmflow.errors import ConfigError, GraphError
from dcmflow.flow.graph import ON_ERROR_WORDS, OTHERWISE, Edge, Graph
from dcmflow.flow.stage import Router, Sink, Source, Stage
from dcmflow.suggest import suggest


class Entry(NamedTuple):
    """A stage as found in a file: its table, and what is written after `from` (None: nothing)."""

    table: tuple[str, ...]
    stage: Stage
    origin: object


def wire(document: Document, entries: Mapping[str, Entry]) -> tuple[list[Edge], list[ConfigError]]:
    """The edges between stages, in the order of the file, and everything that is wrong with them."""
    edges: list[Edge] = []
    problems: list[ConfigError] = []
    for name, entry in entries.items():
        try:
            edges += _edges(document, entries, name, entry)
            _check_on_error(document, entries, entry)
        except ConfigError as error:
            problems.append(error)
    if not problems:
        problems += _check_branches(document, entries, edges)
    return edges, problems


def _edges(document: Document, entries: Mapping[str, Entry], name: str, entry: Entry) -> list[Edge]:
    origins = [entry.origin] if isinstance(entry.origin, str) else entry.origin
    if isinstance(entry.stage, Source):
        if origins is not None:
            raise document.error("a source takes nothing in: it has no 'from'", entry.table, "from")
        return []
    if not origins:
        if origins is None and isinstance(entry.stage, Sink) and _is_diverted_to(entries, name):
            return []
        example = next((key for key, other in entries.items() if isinstance(other.stage, Source)), "SOURCE")
        raise document.error(
            f"{entry.stage.kind} {name!r} gets nothing: say what it takes from, for example from = {example!r}",
            entry.table,
            "from",
        )
    if not isinstance(origins, list) or not all(isinstance(origin, str) for origin in origins):
        raise document.error(
            f"expected the name of a stage or a list of names, got {in_toml(origins)}", entry.table, "from"
        )
    return [_edge(document, entries, name, entry, origin) for origin in origins]


def _edge(document: Document, entries: Mapping[str, Entry], name: str, entry: Entry, origin: str) -> Edge:
    def wrong(problem: str) -> ConfigError:
        return document.error(problem, entry.table, "from")

    before, dot, branch = origin.partition(".")
    if before not in entries:
        givers = [key for key, other in entries.items() if key != name and not isinstance(other.stage, Sink)]
        raise wrong(f"there is no stage {before!r}{suggest(before, givers)}")
    stage = entries[before].stage
    if isinstance(stage, Sink):
        raise wrong(f"{before!r} is a sink: it gives nothing on, so nothing can come from it")
    if not isinstance(stage, Router):
        if dot:
            raise wrong(f"{before!r} is a {stage.kind} and has no branches: write from = {before!r}")
        return Edge(before, None, name)
    branches = stage.branches()
    if not branch:
        known = [f"'{before}.{key}'" for key in (*sorted(branches or ("BRANCH",)), OTHERWISE)]
        raise wrong(f"{before!r} is a router: say which branch, {' or '.join(known)}")
    if branches is not None and branch not in branches and branch != OTHERWISE:
        known = [f"{before}.{key}" for key in (*sorted(branches), OTHERWISE)]
        hint = suggest(origin, known) or f"; there are: {', '.join(known)}"
        raise wrong(f"router {before!r} has no branch {branch!r}{hint}")
    return Edge(before, branch, name)


def _is_diverted_to(entries: Mapping[str, Entry], name: str) -> bool:
    return any(entry.stage.on_error == name for key, entry in entries.items() if key != name)


def _check_on_error(document: Document, entries: Mapping[str, Entry], entry: Entry) -> None:
    target = entry.stage.on_error
    if target in ON_ERROR_WORDS:
        return
    sinks = [key for key, other in entries.items() if isinstance(other.stage, Sink)]
    if target not in entries:
        raise document.error(
            f"{target!r} is neither refuse, skip, stop nor the name of a sink{suggest(target, [*ON_ERROR_WORDS, *sinks])}",
            entry.table,
            "on-error",
        )
    if target not in sinks:
        raise document.error(
            f"{target!r} is a {entries[target].stage.kind}; only a sink can take what fails here",
            entry.table,
            "on-error",
        )


def _check_branches(document: Document, entries: Mapping[str, Entry], edges: list[Edge]) -> list[ConfigError]:
    wired = {(edge.source, edge.branch) for edge in edges}
    return [
        document.error(
            f"branch {branch!r} leads nowhere: some stage has to take from '{name}.{branch}', "
            "a sink of type 'discard' to let go",
            entry.table,
        )
        for name, entry in entries.items()
        if isinstance(entry.stage, Router)
        for branch in sorted(entry.stage.branches() or ())
        if (name, branch) not in wired
    ]


def check_graph(document: Document, entries: Mapping[str, Entry], graph: Graph) -> None:
    """Raise ConfigError, at the table that is named first, for what only the graph as a whole shows: cycles, dead ends."""
    try:
        graph.check()
    except GraphError as error:
        problem = str(error)
        named = [(at, name) for name in entries if (at := _mention(name, problem)) >= 0]
        raise document.error(problem, entries[min(named)[1]].table if named else ()) from None


def _mention(name: str, problem: str) -> int:
    quoted = problem.find(repr(name))
    if quoted >= 0 or not problem.startswith("a cycle: "):
        return quoted
    way = problem.removeprefix("a cycle: ").split(" → ")
    return way.index(name) if name in way else -1
