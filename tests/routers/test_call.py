"""Functions as routers."""

from __future__ import annotations

import msgspec
import pytest

from dcmflow import ConfigError, GraphError, Instance, Pipeline, routers, sinks, sources
from stage_runs import Gather, run

pytestmark = pytest.mark.anyio

FOUR = sources.Synthetic(instances=4, size=100)


def parity(instance: Instance) -> str:
    return "even" if int(instance.header["InstanceNumber"]) % 2 == 0 else "odd"


async def both_or_none(instance: Instance) -> list[str]:
    return ["even", "odd"] if int(instance.header["InstanceNumber"]) == 1 else []


async def test_one_branch() -> None:
    even, odd = Gather(), Gather()
    await run(FOUR | routers.Call(parity) | {"even": even, "odd": odd} | sinks.Discard())
    assert (len(even.seen), len(odd.seen)) == (2, 2)


async def test_several_or_none() -> None:
    even, odd, rest = Gather(), Gather(), Gather()
    router = routers.Call(both_or_none, branches=["even", "odd"])
    await run(FOUR | router | {"even": even, "odd": odd, "*": rest} | sinks.Discard())
    assert [len(each.seen) for each in (even, odd, rest)] == [1, 1, 3]


async def test_none_is_everything_else() -> None:
    ran = await run(FOUR | routers.Call(lambda instance: None) | {"*": sinks.Discard()})
    assert ran.totals.accepted == 4


async def test_unknown_branch_is_refused() -> None:
    ran = await run(FOUR | routers.Call(parity) | {"even": sinks.Discard()})
    assert (ran.totals.accepted, ran.totals.refused) == (2, 2)
    assert "no branch 'odd'" in ran.refused[0].reason


@pytest.mark.parametrize("answer", [3, b"odd", ["odd", 3]])
async def test_wrong_answers(answer: object) -> None:
    ran = await run(FOUR | routers.Call(lambda instance: answer) | {"odd": sinks.Discard()})
    assert ran.totals.refused == 4
    assert "names of branches" in ran.refused[0].reason


def test_branches_check_the_wiring() -> None:
    router = routers.Call(parity, branches=["even", "odd", "*"])
    assert router.branches() == {"even", "odd"}
    assert routers.Call(parity).branches() is None
    with pytest.raises(GraphError, match="odd"):
        Pipeline(FOUR | router | {"even": sinks.Discard()}).check()


def test_file_form() -> None:
    router = routers.Call("rules:parity", branches=["even"])
    assert msgspec.to_builtins(router) == {"type": "call", "function": "rules:parity", "branches": ["even"]}
    assert msgspec.convert(msgspec.to_builtins(router), routers.Call) == router


@pytest.mark.parametrize(
    ("fields", "key"), [({"function": "x"}, "function"), ({"function": "a:b", "branches": "odd"}, "branches")]
)
def test_wrong_fields(fields: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        routers.Call(**fields)  # type: ignore[arg-type]
    assert caught.value.key == key
