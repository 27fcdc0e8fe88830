"""Functions as filters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from dcmflow import ConfigError, Instance, filters, sinks, sources
from stage_runs import Gather, run

pytestmark = pytest.mark.anyio

THREE = sources.Synthetic(instances=3, size=100)


def number(instance: Instance) -> int:
    return int(instance.header["InstanceNumber"])


def keep_odd(instance: Instance) -> Instance | None:
    return instance if number(instance) % 2 else None


async def keep_odd_later(instance: Instance) -> Instance | None:
    return keep_odd(instance)


def twice(instance: Instance) -> list[Instance]:
    return [instance, instance.with_elements({"SOPInstanceUID": instance.sop_instance_uid + ".1"})]


def generated(instance: Instance) -> Iterator[Instance]:
    yield from twice(instance)


class Renames:
    """An object that can be called."""

    def __call__(self, instance: Instance) -> Instance:
        return instance.with_elements({"PatientID": "new"})


@pytest.mark.parametrize("function", [keep_odd, keep_odd_later, f"{__name__}:keep_odd"])
async def test_one_or_none(function: object) -> None:
    if isinstance(function, str):
        pytest.importorskip(__name__)
    ran = await run(THREE | filters.Call(function) | sinks.Discard())
    assert (ran.totals.accepted, ran.totals.dropped) == (2, 1)


@pytest.mark.parametrize("function", [twice, generated])
async def test_several(function: object) -> None:
    seen = Gather()
    ran = await run(THREE | filters.Call(function) | seen | sinks.Discard())
    assert len(seen.seen) == 6
    assert ran.totals.accepted == 3


async def test_plain_functions_and_callable_objects_stand_beside_the_bar() -> None:
    seen = Gather()
    ran = await run(THREE | keep_odd | Renames() | seen | sinks.Discard())
    assert ran.totals.accepted == 2
    assert {given.header["PatientID"] for given in seen.seen} == {"new"}


@pytest.mark.parametrize(
    ("function", "what"),
    [(lambda instance: True, "bool"), (lambda instance: "x", "str"), (lambda instance: [instance, 3], "int")],
)
async def test_wrong_answers_are_refused_by_name(function: object, what: str) -> None:
    ran = await run(THREE | filters.Call(function) | sinks.Discard())
    assert ran.totals.refused == 3
    assert "lambda" in ran.refused[0].reason
    assert what in ran.refused[0].reason


async def test_what_it_raises_refuses_that_instance() -> None:
    def fails_for_two(instance: Instance) -> Instance:
        if number(instance) == 2:
            raise ValueError("no twos")
        return instance

    ran = await run(THREE | fails_for_two | sinks.Discard())
    assert (ran.totals.accepted, ran.totals.refused) == (2, 1)
    assert ran.refused[0].reason == "ValueError: no twos"


async def test_module_beside_the_pipeline_file(tmp_path: Path) -> None:
    (tmp_path / "rules_beside_it.py").write_text("def drop(instance):\n    return None\n")
    ran = await run(THREE | filters.Call("rules_beside_it:drop") | sinks.Discard(), base=tmp_path)
    assert ran.totals.dropped == 3


@pytest.mark.parametrize("function", ["nowhere_at_all:x", "os:nothing_like_it", "os:sep"])
async def test_function_that_cannot_be_found(function: str) -> None:
    with pytest.raises(ConfigError, match=function) as caught:
        await run(THREE | filters.Call(function) | sinks.Discard())
    assert caught.value.key == "function"


@pytest.mark.parametrize("function", ["", "module", "module:", ":name", 3, None])
def test_not_a_function(function: object) -> None:
    with pytest.raises(ConfigError) as caught:
        filters.Call(function)
    assert caught.value.key == "function"


def test_file_form() -> None:
    assert msgspec.convert({"type": "call", "function": "rules:keep"}, filters.Call) == filters.Call(
        "rules:keep"
    )
    schema = msgspec.json.schema(filters.Call)["$defs"]["Call"]["properties"]["function"]
    assert schema["type"] == "string"
