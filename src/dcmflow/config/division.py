"""A pipeline that several processes run together: what each of them runs.

Each process takes a part of the calls and does with an instance all that the pipeline says. What the pipeline allows at once,
in memory and in associations with others, each process gets its part of.
"""

from __future__ import annotations

from msgspec import structs

from dcmflow.errors import ConfigError
from dcmflow.flow.capacity import Limits
from dcmflow.flow.pipeline import Pipeline
from dcmflow.flow.registry import registered
from dcmflow.flow.stage import Stage
from dcmflow.units import parse_size


def divide(pipeline: Pipeline, among: int) -> Pipeline:
    """What each of so many processes runs.

    Raises:
        ConfigError: a stage that only one process may run, or that there is not enough of for all.
    """
    stages = {name: _part(pipeline, name, among) for name in pipeline.graph.stages}
    nodes = {
        name: structs.replace(node, max_associations=max(1, node.max_associations // among))
        for name, node in pipeline.nodes.items()
    }
    return Pipeline.from_graph(
        stages,
        pipeline.graph.edges,
        name=pipeline.name,
        limits=_limits(pipeline.limits, among),
        base=pipeline.base,
        selectors=pipeline.selectors,
        nodes=nodes,
        local=pipeline.local,
    )


def _part(pipeline: Pipeline, name: str, among: int) -> Stage:
    stage = pipeline.graph.stages[name]
    table = f"{stage.kind}s.{name}"
    if not stage.divisible:
        raise ConfigError(_indivisible(name, stage), table=table)
    try:
        return stage.divided(among, pipeline.context(name))
    except ConfigError as error:
        raise error.at(table=table) from None


def _limits(limits: Limits, among: int) -> Limits:
    if limits.instances < among:
        raise ConfigError(
            f"instances = {limits.instances} is not enough for {among} processes: allow {among} or more",
            key="limits",
        )
    return structs.replace(
        limits, instances=limits.instances // among, memory=parse_size(limits.memory) // among
    )


def _indivisible(name: str, stage: Stage) -> str:
    what = f"{stage.kind} {name} ({stage.type})"
    instead = "leave out --processes"
    if stage.type not in registered(stage.kind) or not type(stage).__module__.startswith("dcmflow."):
        instead += ", or say divisible = True in its class if it handles each instance by itself"
    if stage.kind == "source":
        return (
            f"several processes can share the calls that come to scp sources and nothing else: {what} would give the same"
            f" instances to each of them; {instead}"
        )
    return f"{what} knows what came before, and with several processes only a part of it; {instead}"
