"""What an acknowledgement means: for each source, in words, where an accepted instance is then."""

from __future__ import annotations

from dcmflow.flow.graph import Graph
from dcmflow.flow.stage import Sink, Source

NOTHING = "Success means nothing durable: no required sink behind this source keeps what it is given"


def sinks_behind(graph: Graph, name: str) -> list[str]:
    """The sinks that something from this stage can come to, in the order of the pipeline; `on-error` sinks too."""
    seen = {name}
    waiting = [name]
    while waiting:
        current = waiting.pop()
        onward = [target for targets in graph.targets(current).values() for target in targets]
        if graph.stages[current].on_error in graph.stages:
            onward.append(graph.stages[current].on_error)
        waiting += [target for target in onward if target not in seen]
        seen.update(onward)
    return [key for key, stage in graph.stages.items() if key in seen and isinstance(stage, Sink)]


def promises(graph: Graph) -> dict[str, str]:
    """By source: "Success means: on disk at archive and on disk at mirror"; `NOTHING` where it means nothing."""
    found: dict[str, str] = {}
    for name, stage in graph.stages.items():
        if not isinstance(stage, Source):
            continue
        kept = []
        chosen = any(edge.branch is not None for edge in graph.edges)
        for key in sinks_behind(graph, name):
            sink = graph.stages[key]
            assert isinstance(sink, Sink)
            promise = sink.promise()
            if sink.required and promise:
                kept.append(f"{promise} {key}" if promise.endswith((" at", " by", " in")) else promise)
        joined = " and ".join(kept) if len(kept) < 3 else ", ".join(kept[:-1]) + " and " + kept[-1]
        if kept and chosen and len(kept) > 1:
            joined += ", as far as its branches lead there"
        found[name] = f"Success means: {joined}" if kept else NOTHING
    return found
