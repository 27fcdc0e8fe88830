"""Conditions."""

from __future__ import annotations

import pytest

from dcmflow import ConfigError, filters, sinks, sources
from stage_runs import Gather, run

pytestmark = pytest.mark.anyio


async def test_lets_through_what_matches() -> None:
    seen = Gather()
    source = sources.Synthetic(series=4, instances=3, size=100, modality=["CT", "MR"])
    ran = await run(
        source | filters.Where("Modality == 'MR' and InstanceNumber > 1") | seen | sinks.Discard()
    )
    assert (ran.totals.accepted, ran.totals.dropped) == (4, 8)
    assert {(given.header["Modality"], int(given.header["InstanceNumber"])) for given in seen.seen} == {
        ("MR", 2),
        ("MR", 3),
    }


async def test_named_selectors() -> None:
    source = sources.Synthetic(instances=3, size=100)
    selectors = {"first": "InstanceNumber == 1", "later": "not first"}
    ran = await run(source | filters.Where("later") | sinks.Discard(), selectors=selectors)
    assert (ran.totals.accepted, ran.totals.dropped) == (2, 1)


@pytest.mark.parametrize(
    "match", ["", "  ", "Modalty == 'CT'", "Modality ==", "Modality", "(Modality == 'CT'"]
)
def test_wrong_selectors_are_found_at_once(match: str) -> None:
    with pytest.raises(ConfigError) as caught:
        filters.Where(match)
    assert caught.value.key == "match"


async def test_unknown_name_is_found_before_anything_moves() -> None:
    stage = filters.Where("research")
    with pytest.raises(ConfigError, match="research") as caught:
        await run(sources.Synthetic(size=100) | stage | sinks.Discard())
    assert caught.value.key == "match"
