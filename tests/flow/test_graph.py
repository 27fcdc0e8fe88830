"""How stages are joined with `|`, and what cannot be joined."""

from __future__ import annotations

from typing import Any

import pytest

from dcmflow.errors import GraphError
from dcmflow.flow.graph import Edge, Graph
from dcmflow.flow.pipeline import Pipeline
from little_stages import Choose, Deny, Do, Keep, Numbers


def edges(*parts: Any) -> set[str]:
    return {f"{edge.origin} > {edge.target}" for edge in Graph.of(*parts).edges}


def a(name: str) -> Numbers:
    return Numbers(1, name=name)


def f(name: str) -> Do:
    return Do(None, name=name)


def z(name: str) -> Keep:
    return Keep(name=name)


def r(name: str, *branches: str) -> Choose:
    return Choose(None, list(branches), name=name)


def test_a_line() -> None:
    assert edges(a("a") | f("f") | z("z")) == {"a > f", "f > z"}


def test_fan_in_and_fan_out_by_tuples() -> None:
    assert edges((a("a"), a("b")) | f("f") | (z("y"), z("z"))) == {"a > f", "b > f", "f > y", "f > z"}
    assert edges((a("a"), a("b")) | f("f") | (f("g"), f("h")) | z("z")) == {
        "a > f",
        "b > f",
        "f > g",
        "f > h",
        "g > z",
        "h > z",
    }


def test_branches_by_a_dict_and_open_ends_go_on() -> None:
    flow = a("a") | r("r", "x", "y") | {"x": f("f"), "y": (f("g"), z("q")), "*": z("rest")} | z("z")
    assert edges(flow) == {"a > r", "r.x > f", "r.y > g", "r.y > q", "r.* > rest", "f > z", "g > z"}


def test_the_same_object_is_the_same_node_an_equal_one_is_not() -> None:
    sink = Keep()
    once = Graph.of(Numbers(1) | (Do(None) | sink, sink))
    assert list(once.stages) == ["test-numbers-1", "test-do-1", "test-keep-1"]
    twice = Graph.of(Numbers(1) | (Do(None) | Keep(), Keep()))
    assert list(twice.stages) == ["test-numbers-1", "test-do-1", "test-keep-1", "test-keep-2"]


def test_pieces_can_be_prepared_and_joined_later() -> None:
    tail = f("f") | (f("g"), f("h"))
    assert edges(a("a") | tail | z("z")) == {"a > f", "f > g", "f > h", "g > z", "h > z"}


def test_generated_names_make_room_for_given_ones() -> None:
    graph = Graph.of(Numbers(1) | (Keep(), Keep(name="test-keep-1"), Keep()))
    assert list(graph.stages) == ["test-numbers-1", "test-keep-2", "test-keep-1", "test-keep-3"]


def test_order_is_from_sources_to_sinks_and_knows_on_error() -> None:
    pipeline = Pipeline(a("a") | Deny(on_error="bad", name="d"), z("bad"))
    assert pipeline.graph.order() == ["a", "d", "bad"]


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: z("z") | f("f"), "nothing comes out of sink 'z'"),
        (lambda: f("f") | a("a"), "source 'a' takes nothing in"),
        (lambda: a("a") | {"x": z("z")}, "source 'a' is no router"),
        (lambda: a("a") | r("r") | z("z"), "router 'r' needs a dict of branches"),
        (lambda: a("a") | r("r") | {"x": a("b")}, "branch 'x' leads to source 'b', which takes nothing in"),
        (lambda: a("a") | 5, "5 is no stage"),
        (lambda: a("a") | (), "an empty tuple"),
        (lambda: a("a") | Keep, "Keep is a class; write Keep"),
        (lambda: {"x": z("z")} | a("a"), "stands to the right of a router"),
        (lambda: Graph.of(a("a") | z("a")), "two stages have the name 'a'"),
        (lambda: Graph.of(a("a.b") | z("z")), "'a.b' cannot be the name"),
        (lambda: Graph.of(a("a") | z("skip")), "'skip' cannot be the name"),
    ],
)
def test_what_cannot_be_joined(make: Any, text: str) -> None:
    with pytest.raises(GraphError, match=text):
        make()


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ((z("z"),), "there is no source"),
        ((a("a") | f("f"),), "there is no sink"),
        ((a("a") | (f("f"), z("z")),), "filter 'f' leads nowhere"),
        ((a("a") | z("z"), z("y")), "sink 'y' gets nothing"),
        ((a("a") | z("z"), f("f") | z("y")), "filter 'f' gets nothing"),
        ((a("a") | r("r", "left") | {"lefd": z("z")},), "no branch 'lefd'; did you mean 'left'"),
        (
            (a("a") | r("r", "left", "right") | {"left": z("z")},),
            "branch 'right' of router 'r' leads nowhere",
        ),
        ((a("a") | Deny(on_error="bda"), z("bad")), "did you mean 'bad'"),
        ((Numbers(1, name="a", on_error="z") | z("z"),), "what a source cannot read is no instance"),
        ((a("a") | Deny(on_error="a"),), "on-error of sink 'test-deny-1' is 'a'"),
    ],
)
def test_what_cannot_run(parts: Any, text: str) -> None:
    with pytest.raises(GraphError, match=text):
        Pipeline(*parts).check()


def test_cycles_are_named() -> None:
    stages = {"a": a("a"), "f": f("f"), "g": f("g"), "z": z("z")}
    loop = [Edge("a", None, "f"), Edge("f", None, "g"), Edge("g", None, "f"), Edge("g", None, "z")]
    with pytest.raises(GraphError, match=r"a cycle: (f → g → f|g → f → g)"):
        Pipeline.from_graph(stages, loop).check()


def test_a_cycle_by_on_error() -> None:
    pipeline = Pipeline(a("a") | Deny(on_error="two", name="one"), Deny(on_error="one", name="two"))
    with pytest.raises(GraphError, match="a cycle"):
        pipeline.check()


def test_equality_is_by_names_fields_and_edges() -> None:
    assert Graph.of(a("a") | (z("y"), z("z"))) == Graph.of(a("a") | (z("z"), z("y")))
    assert Graph.of(a("a") | z("z")) != Graph.of(a("a") | f("f") | z("z"))
    assert Graph.of(a("a") | z("z")) != Graph.of(a("a") | Keep(name="z", workers=2))


def test_name_of_finds_by_identity_and_by_name() -> None:
    first, second = Keep(), Keep()
    graph = Graph.of(Numbers(1) | (first, second))
    assert (graph.name_of(first), graph.name_of(second)) == ("test-keep-1", "test-keep-2")
    with pytest.raises(GraphError, match="no stage 'test-kep-1'; did you mean 'test-keep-1'"):
        graph.name_of("test-kep-1")
    with pytest.raises(GraphError, match="no stage of this pipeline"):
        graph.name_of(Keep())
