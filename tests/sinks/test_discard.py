"""Nowhere."""

from __future__ import annotations

import pytest

from dcmflow import Pipeline, sinks
from dcmflow.flow.promise import NOTHING
from little_stages import Numbers
from stage_runs import run


@pytest.mark.anyio
async def test_accepts_everything() -> None:
    ran = await run(Numbers(10) | sinks.Discard())
    assert ran.totals.accepted == 10


def test_means_nothing_durable() -> None:
    assert Pipeline(Numbers(1) | sinks.Discard()).promises() == {"test-numbers-1": NOTHING}
