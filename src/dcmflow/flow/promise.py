"""What an acknowledgement means: for each source, in words, where an accepted instance is then."""

from __future__ import annotations

from dcmflow.flow.graph import Graph
from dcmflow.flow.stage import Sink, Source

NOTHING = "Success means nothing durable: no required sink behind this source keeps what it is given"


def sinks_behind(graph: Graph, name: str, *, failed: bool = False) -> list[str]:
    """The sinks that something from this stage can come to, in the order of the pipeline.

    Args:
        failed: also those to which only `on-error` leads.
    """
    seen = {name}
    waiting = [name]
    while waiting:
        current = waiting.pop()
        onward = [target for targets in graph.targets(current).values() for target in targets]
        if failed and graph.stages[current].on_error in graph.stages:
            onward.append(graph.stages[current].on_error)
        waiting += [target for target in onward if target not in seen]
        seen.update(onward)
    return [key for key, stage in graph.stages.items() if key in seen and isinstance(stage, Sink)]


def promises(graph: Graph) -> dict[str, str]:
    """By source: "Success means: on disk at archive and on disk at mirror"; `NOTHING` where it means nothing."""
    chosen = any(edge.branch is not None for edge in graph.edges)
    found: dict[str, str] = {}
    for name, stage in graph.stages.items():
        if not isinstance(stage, Source):
            continue
        if caveat := stage.caveat():
            found[name] = caveat
            continue
        meant = sinks_behind(graph, name)
        rest = [key for key in sinks_behind(graph, name, failed=True) if key not in meant]
        kept, instead = _promises(graph, meant), _promises(graph, rest)
        text = _listed(kept, "and")
        if chosen and len(kept) > 1:
            text += ", as far as its branches lead there"
        if instead:
            text += f"{', or ' if kept else ''}{_listed(instead, 'or')} where a stage failed"
        found[name] = f"Success means: {text}" if text else NOTHING
    return found


def _promises(graph: Graph, names: list[str]) -> list[str]:
    kept = []
    for name in names:
        sink = graph.stages[name]
        assert isinstance(sink, Sink)
        promise = sink.promise()
        if sink.required and promise:
            kept.append(f"{promise} {name}" if promise.endswith((" at", " by", " in")) else promise)
    return kept


def _listed(words: list[str], conjunction: str) -> str:
    if len(words) < 3:
        return f" {conjunction} ".join(words)
    return f"{', '.join(words[:-1])} {conjunction} {words[-1]}"
