"""What each of several processes runs of a pipeline."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import pytest

from dcmflow import ConfigError, Filter, Pipeline, filters, routers, sinks, sources
from dcmflow.config.division import divide
from dcmflow.dicom.instance import Instance
from dcmflow.flow.capacity import Limits
from dcmflow.flow.context import Context
from dcmflow.net.node import Local, Node

SCP = sources.Scp("DCMFLOW@127.0.0.1:11112", name="in")


class Passing(Filter, frozen=True, tag="test-passing"):
    """Hands on."""

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[Any]:
        yield self


class Divisible(Passing, frozen=True, tag="test-divisible"):
    """Hands on, and says that it remembers nothing."""

    divisible: ClassVar[bool] = True


def same(instance: Instance) -> Instance:
    return instance


def test_limits_are_divided_and_all_else_stays() -> None:
    pipeline = Pipeline(
        SCP | filters.Where("Modality == 'CT'", name="ct") | same | sinks.Directory("x", name="out"),
        name="p",
        limits=Limits(instances=11, memory="1 GiB"),
        selectors={"internal": "Modality == 'CT'"},
        local=Local(ae_title="ME"),
    )
    part = divide(pipeline, 3)
    assert part.limits == Limits(instances=3, memory=2**30 // 3)
    assert part.graph == pipeline.graph
    assert (part.name, part.selectors, part.local, part.base) == (
        "p",
        pipeline.selectors,
        pipeline.local,
        None,
    )


def test_associations_with_a_node_are_divided() -> None:
    nodes = {
        "pacs": Node(host="10.0.0.5", max_associations=5),
        "other": Node(host="10.0.0.6", max_associations=1),
    }
    flow: Any = SCP | (
        sinks.Store("pacs", associations=4, name="pacs"),
        sinks.Store("A@10.0.0.7:104", associations=7, name="far"),
    )
    part = divide(Pipeline(flow, nodes=nodes), 2)
    stages: dict[str, Any] = dict(part.graph.stages)
    assert [stages[name].associations for name in ("pacs", "far")] == [2, 3]
    assert [part.nodes[name].max_associations for name in nodes] == [2, 1]


@pytest.mark.parametrize(
    ("stage", "says"),
    [
        (
            sinks.Store("A@10.0.0.7:104", associations=2, name="to"),
            "associations is 2, and each of 3 processes",
        ),
        (sinks.Store("pacs", associations=9, name="to"), "max-associations of pacs is 2"),
    ],
)
def test_too_few_associations_for_all(stage: Any, says: str) -> None:
    pipeline = Pipeline(SCP | stage, nodes={"pacs": Node(host="10.0.0.5", max_associations=2)})
    with pytest.raises(ConfigError, match=says) as caught:
        divide(pipeline, 3)
    assert (caught.value.table, caught.value.key) == ("sinks.to", "associations")


@pytest.mark.parametrize(
    ("flow", "table"),
    [
        (sources.Directory("x", name="files") | sinks.Discard(), "sources.files"),
        ((SCP, sources.Synthetic(name="made")) | sinks.Discard(), "sources.made"),  # type: ignore[operator]
        (SCP | filters.Dedupe(name="once") | sinks.Discard(), "filters.once"),
        (SCP | Passing(name="own") | sinks.Discard(), "filters.own"),
        (SCP | sinks.Outlet(name="out"), "sinks.out"),
    ],
)
def test_what_only_one_process_may_run(flow: Any, table: str) -> None:
    with pytest.raises(ConfigError, match="--processes") as caught:
        divide(Pipeline(flow), 2)
    assert caught.value.table == table
    assert ("divisible = True" in caught.value.problem) == (table == "filters.own")


def test_a_stage_that_says_so_is_divided() -> None:
    assert divide(Pipeline(SCP | Divisible() | sinks.Discard()), 2).limits.instances == 256


def test_every_stage_that_handles_instances_one_by_one_says_so() -> None:
    flow: Any = (
        SCP
        | filters.Edit(set={"PatientID": "1"})
        | filters.Call(same)
        | routers.Match({"ct": "Modality == 'CT'"}, name="route")
        | {"ct": sinks.Quarantine("q"), "*": sinks.Discard()}
    )
    assert divide(Pipeline(flow), 2).graph.order()


def test_fewer_instances_than_processes() -> None:
    with pytest.raises(ConfigError, match="not enough for 3 processes"):
        divide(Pipeline(SCP | sinks.Discard(), limits=Limits(instances=2)), 3)
