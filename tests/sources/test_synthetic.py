"""Made-up instances as a source."""

from __future__ import annotations

import anyio
import msgspec
import pytest

from dcmflow import ConfigError, Limits, Pipeline, sinks, sources
from dcmflow.testing import synthesize
from stage_runs import Gather, run, until

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]


async def test_as_many_as_asked_for() -> None:
    seen = Gather()
    source = sources.Synthetic(
        patients=2, studies=3, series=2, instances=4, size=1000, modality=["CT", "MR"], seed=5
    )
    ran = await run(source | seen | sinks.Discard())
    assert ran.totals.accepted == 2 * 3 * 2 * 4
    assert len({given.header["PatientID"] for given in seen.seen}) == 2
    assert {given.header["Modality"] for given in seen.seen} == {"CT", "MR"}
    plain = synthesize(patients=2, studies=3, series=2, instances=4, size=1000, modality=["CT", "MR"], seed=5)
    assert seen.uids == [given.sop_instance_uid for given in plain]
    assert seen.seen[0].origin.stage == "synthetic-1"


async def test_sizes_as_people_write_them() -> None:
    seen = Gather()
    await run(sources.Synthetic(instances=1, size="3 MB") | seen | sinks.Discard())
    assert 2_900_000 < seen.seen[0].size < 3_100_000


@pytest.mark.parametrize(
    "fields",
    [{"size": "big"}, {"modality": "XX"}, {"modality": []}, {"instances": -1}, {"size": 1}],
)
def test_wrong_fields(fields: dict[str, object]) -> None:
    with pytest.raises((ConfigError, msgspec.ValidationError)):
        sources.Synthetic(**fields)  # type: ignore[arg-type]


async def test_drain_ends_it() -> None:
    gate = anyio.Event()

    async def waits(given: object) -> object:
        await gate.wait()
        return given

    source = sources.Synthetic(instances=1_000_000, size=100)
    async with Pipeline(source | waits | sinks.Discard(), limits=Limits(instances=5)).start() as running:
        await until(lambda: running.statistics().pipeline.emitted == 5)
        gate.set()
        with anyio.fail_after(5):
            await running.drain()
    totals = running.statistics().pipeline
    assert 5 <= totals.accepted < 1_000_000
    assert (totals.refused, totals.unsettled) == (0, 0)
