"""Whatever the graph, the faults and the moment of the end: the sums close and nothing is left behind."""

from __future__ import annotations

import gc
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from dcmflow.errors import StageError
from dcmflow.flow.capacity import Limits
from dcmflow.flow.graph import Edge
from dcmflow.flow.pipeline import Pipeline
from dcmflow.flow.policy import Retry
from dcmflow.flow.stage import Stage
from little_stages import Choose, Deny, Do, Keep, Numbers, Receipts, number_of

pytestmark = pytest.mark.anyio


def every(step: int) -> Callable[[int], bool]:
    return lambda number: number % step == 0


def passing(instance: Any) -> Any:
    return instance


def dropping(instance: Any) -> Any:
    return None if number_of(instance) % 3 == 0 else instance


def splitting(instance: Any) -> Any:
    return [instance] * (number_of(instance) % 4)


def failing(instance: Any) -> Any:
    if number_of(instance) % 4 == 0:
        raise ValueError("every fourth")
    return instance


async def dawdling(instance: Any) -> Any:
    for _ in range(number_of(instance) % 3):
        await checkpoint()
    return instance


def left_right(number: int) -> list[str]:
    return [["left"], ["right"], ["left", "right"], [], ["nowhere"]][number % 5]


@st.composite
def pipelines(draw: st.DrawFn) -> tuple[Pipeline, Receipts]:
    """A random acyclic graph: 1-2 sources, 0-4 steps, 1-3 sinks, every stage fed by some before it."""
    receipts = Receipts()
    stages: dict[str, Stage] = {}
    edges: list[Edge] = []
    open_ends: list[tuple[str, str | None]] = []
    policy = st.sampled_from(["refuse", "refuse", "refuse", "skip", "stop", "caught"])
    common = {"inbox": st.integers(0, 3), "workers": st.integers(1, 3), "on_error": policy}
    retry = st.sampled_from([None, Retry(attempts=2, first=0, longest=0)])

    for number in range(draw(st.integers(1, 2))):
        stages[f"source{number}"] = Numbers(
            draw(st.integers(0, 12)), receipts, at_once=draw(st.integers(1, 3))
        )
        open_ends.append((f"source{number}", None))
    for number in range(draw(st.integers(0, 4))):
        name, fields = f"step{number}", {key: draw(value) for key, value in common.items()}
        router = draw(st.booleans()) and draw(st.booleans())
        what = draw(st.sampled_from([passing, dropping, splitting, failing, dawdling]))
        stages[name] = Choose(left_right, **fields) if router else Do(what, **fields)
        for end in draw(st.lists(st.sampled_from(open_ends), min_size=1, max_size=2, unique=True)):
            edges.append(Edge(*end, name))
        open_ends += [(name, "left"), (name, "right")] if router else [(name, None)]
        if router and draw(st.booleans()):
            open_ends.append((name, "*"))
    for number in range(draw(st.integers(1, 3))):
        name, fields = f"sink{number}", {key: draw(value) for key, value in common.items()}
        denied = draw(st.sampled_from([None, every(2), every(5)]))
        fields["required"] = draw(st.booleans())
        stages[name] = (
            Keep(**fields)
            if denied is None
            else Deny(when=denied, transient=draw(st.booleans()), retry=draw(retry), **fields)
        )
        for end in draw(st.lists(st.sampled_from(open_ends), min_size=1, max_size=3, unique=True)):
            edges.append(Edge(*end, name))
    used = {(edge.source, edge.branch) for edge in edges}
    edges += [Edge(*end, "sink0") for end in open_ends if end not in used]
    stages["caught"] = Keep()
    edges.append(Edge("source0", None, "caught"))
    limits = Limits(instances=draw(st.integers(1, 8)))
    return Pipeline.from_graph(stages, edges, limits=limits), receipts


@given(data=st.data())
async def test_sums_close_whatever_happens(data: st.DataObject) -> None:
    pipeline, receipts = data.draw(pipelines())
    end = data.draw(st.sampled_from(["wait", "wait", "drain", "cancel", "raise", "outside"]), label="end")
    turns = data.draw(st.integers(0, 40), label="turns")
    threads = threading.active_count()
    running = None
    stopped = False
    try:
        with anyio.CancelScope() as scope:
            async with pipeline.start() as running:
                if end == "wait":
                    await running.wait()
                else:
                    for _ in range(turns):
                        await checkpoint()
                        totals = running.statistics().pipeline
                        assert (
                            totals.emitted
                            == totals.accepted + totals.dropped + totals.refused + totals.unsettled
                        )
                        assert totals.unsettled <= pipeline.limits.instances
                    if end == "cancel":
                        running.cancel()
                    elif end == "raise":
                        raise LookupError("mine")
                    elif end == "outside":
                        scope.cancel()
                        await checkpoint()
    except* StageError:  # in a group only where a cancellation from outside came at the same time
        stopped = True
        assert any(stage.on_error == "stop" for stage in pipeline.graph.stages.values())
    except* LookupError:
        assert end == "raise"
    assert running is not None
    totals = running.statistics().pipeline
    assert (totals.unsettled, totals.resident) == (0, 0)
    assert totals.emitted == totals.accepted + totals.dropped + totals.refused
    # A source that is cancelled as emit returns never sees that receipt; every receipt it saw has settled.
    outcomes = Counter(receipt.outcome for receipt in receipts)
    assert None not in outcomes
    if end == "wait" and not stopped:
        assert len(receipts) == totals.emitted
        assert outcomes == {
            key: count for key in ("accepted", "dropped", "refused") if (count := getattr(totals, key))
        }
    assert threading.active_count() <= threads + 1
    del running
    gc.collect()  # a delivery that was let go of unsettled would warn here, and fail the test
