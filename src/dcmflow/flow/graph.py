"""How stages are joined: the `|` of the DSL, and the graph that comes of it.

Two rules replace tee and merge: an output with several consumers gives to all of them, an input with
several producers takes from all of them. Only a router chooses. Stages are told apart by identity: the same
object twice is one node.

    Flow     a piece of a pipeline with open ends, made by `|`
    Graph    the whole: named stages and edges, checked
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any, ClassVar, NamedTuple

import msgspec

from dcmflow.errors import GraphError
from dcmflow.flow.stage import Part, Router, Sink, Source, Stage
from dcmflow.suggest import suggest as suggest

OTHERWISE = "*"
ON_ERROR_WORDS = ("refuse", "skip", "stop")


class End(NamedTuple):
    """Where something goes on from: a stage, or one branch of a router."""

    stage: Stage
    branch: str | None


class Link(NamedTuple):
    """From an end to a stage."""

    end: End
    target: Stage


class Flow:
    """A piece of a pipeline: stages, the links between them, and the ends that are still open."""

    __slots__ = ("heads", "links", "stages", "tails")

    def __init__(
        self,
        stages: Iterable[Stage] = (),
        links: Iterable[Link] = (),
        heads: Iterable[Stage] = (),
        tails: Iterable[End] = (),
    ) -> None:
        self.stages: tuple[Stage, ...] = tuple({id(stage): stage for stage in stages}.values())
        self.links: tuple[Link, ...] = tuple(
            {(id(link.end.stage), link.end.branch, id(link.target)): link for link in links}.values()
        )
        self.heads: tuple[Stage, ...] = tuple({id(stage): stage for stage in heads}.values())
        self.tails: tuple[End, ...] = tuple({(id(end.stage), end.branch): end for end in tails}.values())

    def __or__(self, other: Part) -> Flow:
        return join(self, other)

    def __ror__(self, other: Part) -> Flow:
        return join(other, self)


def as_flow(part: Part) -> Flow:
    """A Flow of whatever may stand beside `|`. Raises GraphError for anything else."""
    if isinstance(part, Flow):
        return part
    if isinstance(part, Stage):
        heads = () if isinstance(part, Source) else (part,)
        tails = () if isinstance(part, Sink) else (End(part, None),)
        return Flow((part,), (), heads, tails)
    if isinstance(part, (tuple, list)):
        if not part:
            raise GraphError("an empty tuple of stages joins nothing")
        flows = [as_flow(item) for item in part]
        return Flow(
            (stage for flow in flows for stage in flow.stages),
            (link for flow in flows for link in flow.links),
            (stage for flow in flows for stage in flow.heads),
            (end for flow in flows for end in flow.tails),
        )
    if isinstance(part, Mapping):
        raise GraphError("a dict of branches stands to the right of a router: router | {'branch': stage}")
    if isinstance(part, type):
        raise GraphError(f"{part.__name__} is a class; write {part.__name__}(...)")
    if callable(part):
        from dcmflow.flow.registry import stage_type

        return as_flow(stage_type("filter", "call")(part))
    raise GraphError(f"{part!r} is no stage, function, tuple of stages or dict of branches")


def join(left: Part, right: Part) -> Flow:
    """Everything that is open on the left goes to everything that is open on the right."""
    before = as_flow(left)
    if isinstance(right, Mapping):
        return _join_branches(before, right)
    after = as_flow(right)
    _check_open(before)
    if not after.heads:
        raise GraphError(f"{_names(after.stages)} takes nothing in: a source stands at the left end")
    for end in before.tails:
        if isinstance(end.stage, Router) and end.branch is None:
            raise GraphError(
                f"{_describe(end.stage)} needs a dict of branches after it: router | {{'name': stage}}"
            )
    links = [Link(end, target) for end in before.tails for target in after.heads]
    return Flow(
        before.stages + after.stages, before.links + after.links + tuple(links), before.heads, after.tails
    )


def _join_branches(before: Flow, branches: Mapping[str, Part]) -> Flow:
    _check_open(before)
    routers = [end.stage for end in before.tails]
    for stage in routers:
        if not isinstance(stage, Router):
            raise GraphError(f"{_describe(stage)} is no router, so a dict of branches cannot follow it")
    flow = Flow(before.stages, before.links, before.heads)
    stages, links, tails = list(flow.stages), list(flow.links), list[End]()
    for name, part in branches.items():
        after = as_flow(part)
        if not after.heads:
            raise GraphError(f"branch {name!r} leads to {_names(after.stages)}, which takes nothing in")
        stages += after.stages
        links += after.links
        links += [Link(End(router, str(name)), target) for router in routers for target in after.heads]
        tails += after.tails
    return Flow(stages, links, before.heads, tails)


def _check_open(flow: Flow) -> None:
    if not flow.tails:
        raise GraphError(f"nothing comes out of {_names(flow.stages)}: a sink stands at the right end")


def _describe(stage: Stage) -> str:
    return f"{stage.kind} {stage.name or stage.type!r}"


def _names(stages: Iterable[Stage]) -> str:
    return ", ".join(_describe(stage) for stage in stages)


class Edge(NamedTuple):
    """One connection, by name; `branch` is None unless it comes from a router."""

    source: str
    branch: str | None
    target: str

    @property
    def origin(self) -> str:
        """As written after `from` in a pipeline file."""
        return self.source if self.branch is None else f"{self.source}.{self.branch}"


class Graph:
    """The named stages of a pipeline and the edges between them.

    Attributes:
        stages: by name, in the order in which they were written.
        edges: in the order in which they were written.
    """

    def __init__(self, stages: Mapping[str, Stage], edges: Iterable[Edge]) -> None:
        self.stages: dict[str, Stage] = dict(stages)
        self.edges: tuple[Edge, ...] = tuple(dict.fromkeys(edges))

    @classmethod
    def of(cls, *parts: Part) -> Graph:
        """The graph of one or several flows; a lone sink may be given, for `on_error` to name."""
        flow = as_flow(parts)
        names = _name(flow.stages)
        edges = [
            Edge(names[id(link.end.stage)], link.end.branch, names[id(link.target)]) for link in flow.links
        ]
        return cls({names[id(stage)]: stage for stage in flow.stages}, edges)

    def name_of(self, stage: Stage | str) -> str:
        """The name of a stage in this graph. Raises GraphError when it is not in it."""
        if isinstance(stage, str):
            if stage in self.stages:
                return stage
            raise GraphError(f"there is no stage {stage!r}{suggest(stage, self.stages)}")
        for name, candidate in self.stages.items():
            if candidate is stage:
                return name
        raise GraphError(f"{_describe(stage)} is no stage of this pipeline")

    def targets(self, name: str) -> dict[str | None, list[str]]:
        """Who follows a stage, by branch (None where it is no router)."""
        found: dict[str | None, list[str]] = {}
        for edge in self.edges:
            if edge.source == name:
                found.setdefault(edge.branch, []).append(edge.target)
        return found

    def origins(self, name: str) -> list[str]:
        """What a stage takes from, as written after `from`."""
        return [edge.origin for edge in self.edges if edge.target == name]

    def order(self) -> list[str]:
        """Names such that each stage comes after all that it takes from. Raises GraphError on a cycle."""
        sorter: TopologicalSorter[str] = TopologicalSorter(dict.fromkeys(self.stages, ()))
        for edge in self.edges:
            sorter.add(edge.target, edge.source)
        for name, stage in self.stages.items():
            if isinstance(self.stages.get(stage.on_error), Sink):
                sorter.add(stage.on_error, name)
        try:
            return list(sorter.static_order())
        except CycleError as error:
            raise GraphError(f"a cycle: {' → '.join(reversed(error.args[1]))}") from None

    def check(self) -> None:
        """Raise GraphError unless every instance has a way from a source to a sink."""
        if not any(isinstance(stage, Source) for stage in self.stages.values()):
            raise GraphError("there is no source: nothing can come in")
        if not any(isinstance(stage, Sink) for stage in self.stages.values()):
            raise GraphError("there is no sink: nothing can be accepted")
        for name in self.stages:
            check_name(name)
        for edge in self.edges:
            self.name_of(edge.source)
            self.name_of(edge.target)
        self.order()
        diverted_to = {stage.on_error for stage in self.stages.values()}
        for name, stage in self.stages.items():
            self._check_stage(name, stage, diverted_to)

    def _check_stage(self, name: str, stage: Stage, diverted_to: set[str]) -> None:
        targets, origins = self.targets(name), self.origins(name)
        if isinstance(stage, Router):
            self._check_branches(name, stage, targets)
        elif any(branch is not None for branch in targets):
            raise GraphError(f"{stage.kind} {name!r} is no router, so it has no branches")
        if not isinstance(stage, Sink) and not targets:
            raise GraphError(f"{stage.kind} {name!r} leads nowhere: every way has to end in a sink")
        if isinstance(stage, Sink) and targets:
            raise GraphError(f"sink {name!r} gives nothing on, so nothing can come from it")
        if isinstance(stage, Source) and origins:
            raise GraphError(f"source {name!r} takes nothing in, so it cannot come from {origins[0]!r}")
        if not isinstance(stage, Source) and not origins and name not in diverted_to:
            raise GraphError(f"{stage.kind} {name!r} gets nothing: say what it takes from")
        if isinstance(stage, Source) and stage.on_error not in ON_ERROR_WORDS:
            raise GraphError(
                f"on-error of source {name!r} is {stage.on_error!r}: what a source cannot read is no instance that"
                " another stage could take; it is refuse, skip or stop"
            )
        if stage.on_error not in ON_ERROR_WORDS and not isinstance(self.stages.get(stage.on_error), Sink):
            sinks = [key for key, value in self.stages.items() if isinstance(value, Sink)]
            raise GraphError(
                f"on-error of {stage.kind} {name!r} is {stage.on_error!r}, which is neither refuse, skip, stop nor a sink"
                f"{suggest(stage.on_error, [*ON_ERROR_WORDS, *sinks])}"
            )

    def _check_branches(self, name: str, router: Router, targets: Mapping[str | None, list[str]]) -> None:
        wired = {branch for branch in targets if branch is not None}
        if None in targets:
            raise GraphError(f"router {name!r} gives by branch: take from '{name}.BRANCH'")
        known = router.branches()
        if known is None:
            return
        for branch in sorted(wired - known - {OTHERWISE}):
            raise GraphError(
                f"router {name!r} has no branch {branch!r}{suggest(branch, [*known, OTHERWISE])}"
            )
        for branch in sorted(known - wired):
            raise GraphError(
                f"branch {branch!r} of router {name!r} leads nowhere: give it a stage, sinks.Discard() to let go"
            )

    def canonical(self) -> Any:
        """The graph as plain values, for comparison."""
        stages = {}
        for name, stage in self.stages.items():
            fields = plain(stage)
            fields.pop("name", None)
            stages[name] = (stage.kind, fields)
        return stages, frozenset(self.edges)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Graph) and self.canonical() == other.canonical()

    __hash__: ClassVar[None] = None  # type: ignore[assignment]


def plain(stage: Stage) -> dict[str, Any]:
    """The fields of a stage as a pipeline file holds them: type and name included, defaults left out."""
    from dcmflow.flow.registry import function_name

    fields = msgspec.to_builtins(stage, enc_hook=function_name)
    assert isinstance(fields, dict)
    return fields


def check_name(name: object) -> None:
    """Raise GraphError for what cannot be the name of a stage."""
    if not isinstance(name, str) or not name or "." in name or name in ON_ERROR_WORDS:
        raise GraphError(
            f"{name!r} cannot be the name of a stage: a text without dots, not refuse, skip, stop"
        )


def _name(stages: Iterable[Stage]) -> dict[int, str]:
    """Names by identity: the given ones, else the type and a number."""
    stages = list(stages)
    taken: dict[str, Stage] = {}
    for stage in stages:
        if stage.name:
            if stage.name in taken:
                raise GraphError(f"two stages have the name {stage.name!r}: names are for one stage each")
            check_name(stage.name)
            taken[stage.name] = stage
    names: dict[int, str] = {}
    for stage in stages:
        name, number = stage.name, 0
        while not name:
            number += 1
            if (candidate := f"{stage.type}-{number}") not in taken:
                name = candidate
        taken[name] = stage
        names[id(stage)] = name
    return names
