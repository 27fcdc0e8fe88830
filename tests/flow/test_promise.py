"""What an acknowledgement means, in words."""

from __future__ import annotations

from dcmflow.flow.pipeline import Pipeline
from dcmflow.flow.promise import NOTHING
from little_stages import Choose, Deny, Do, Keep, Numbers


def test_all_required_sinks_behind_a_source_are_named() -> None:
    pipeline = Pipeline(
        Numbers(1, name="in")
        | Do(None)
        | (Keep(name="archive"), Keep(name="copy"), Keep(name="maybe", required=False))
    )
    assert pipeline.promises() == {"in": "Success means: kept by archive and kept by copy"}


def test_nothing_durable_is_said_plainly() -> None:
    assert Pipeline(Numbers(1, name="in") | Deny()).promises() == {"in": NOTHING}


def test_each_source_has_its_own_and_branches_are_said() -> None:
    a, b = Numbers(1, name="a"), Numbers(1, name="b")
    archive = Keep(name="archive")
    flow = (a | Choose(None, name="r") | {"x": archive, "*": Keep(name="rest")}, b | archive)
    assert Pipeline(*flow).promises() == {
        "a": "Success means: kept by archive and kept by rest, as far as its branches lead there",
        "b": "Success means: kept by archive",
    }


def test_a_sink_named_by_on_error_counts() -> None:
    pipeline = Pipeline(Numbers(1, name="in") | Deny(on_error="bad"), Keep(name="bad"))
    assert pipeline.promises() == {"in": "Success means: kept by bad where a stage failed"}
    both = Pipeline(Numbers(1, name="in") | Keep(name="archive", on_error="bad"), Keep(name="bad"))
    assert both.promises() == {"in": "Success means: kept by archive, or kept by bad where a stage failed"}
