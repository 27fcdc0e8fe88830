"""Branches by selector."""

from __future__ import annotations

import pytest

from dcmflow import ConfigError, GraphError, Pipeline, routers, sinks, sources
from stage_runs import Gather, run

pytestmark = pytest.mark.anyio

MIXED = sources.Synthetic(series=3, instances=2, size=100, modality=["CT", "MR", "US"])


async def test_every_branch_that_matches() -> None:
    ct, late, rest = Gather(), Gather(), Gather()
    router = routers.Match({"ct": "Modality == 'CT'", "second": "InstanceNumber == 2"})
    out = sinks.Discard()
    ran = await run(MIXED | router | {"ct": ct, "second": late, "*": rest} | out)
    assert [len(each.seen) for each in (ct, late, rest)] == [2, 3, 2]
    assert ran.totals.accepted == 6


async def test_first_only() -> None:
    ct, late = Gather(), Gather()
    router = routers.Match({"ct": "Modality == 'CT'", "second": "InstanceNumber == 2"}, first_only=True)
    await run(MIXED | router | {"ct": ct, "second": late, "*": sinks.Discard()} | sinks.Discard())
    assert [len(each.seen) for each in (ct, late)] == [2, 2]


async def test_no_branch_is_refused_never_dropped() -> None:
    ran = await run(MIXED | routers.Match({"ct": "Modality == 'CT'"}) | {"ct": sinks.Discard()})
    assert (ran.totals.accepted, ran.totals.refused, ran.totals.dropped) == (2, 4, 0)


async def test_named_selectors() -> None:
    router = routers.Match({"ct": "sliced"})
    ran = await run(
        MIXED | router | {"ct": sinks.Discard()}, selectors={"sliced": "Modality in ('CT', 'MR')"}
    )
    assert ran.totals.accepted == 4
    with pytest.raises(ConfigError, match=r"branch\.ct"):
        await run(MIXED | router | {"ct": sinks.Discard()})


def test_wiring_is_checked() -> None:
    router = routers.Match({"ct": "Modality == 'CT'", "mr": "Modality == 'MR'"})
    assert router.branches() == {"ct", "mr"}
    with pytest.raises(GraphError, match="mr"):
        Pipeline(MIXED | router | {"ct": sinks.Discard()}).check()
    with pytest.raises(GraphError, match="did you mean 'ct'"):
        Pipeline(MIXED | router | {"ctt": sinks.Discard(), "mr": sinks.Discard()}).check()


@pytest.mark.parametrize(
    "branch",
    [{}, {"*": "Modality == 'CT'"}, {"ct": "Modalty == 'CT'"}, {"ct": ""}, {"a.b": "Modality == 'CT'"}],
)
def test_wrong_branches(branch: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        routers.Match(branch)
    assert (caught.value.key or "").startswith("branch")
