"""Pipelines drawn."""

from __future__ import annotations

import json
import re

from hypothesis import given

from config.strategies import pipelines
from dcmflow import Pipeline, filters, routers, sinks, sources
from dcmflow.config import draw
from dcmflow.flow.graph import Edge


def radiology() -> Pipeline:
    bad = sinks.Quarantine("/bad", name="bad")
    archive = sinks.Directory("/archive", name="archive", on_error="bad")
    return Pipeline(
        (sources.Inlet(name="scp"), sources.Directory("/inbox", name="inbox"))
        | filters.Where("Modality in ('CT',\n 'MR')", name="ct-and-mr")
        | routers.Match({"ct": "Modality == 'CT'"}, name="by-kind")
        | {
            "ct": (archive, sinks.Discard(name="copy", required=False)),
            "*": filters.Edit(set={"PatientName": "Anon"}, name="clean") | archive,
        },
        bad,
        name="radiology",
    )


def test_tree() -> None:
    assert (
        draw.tree(radiology())
        == """\
radiology
├── scp  inlet
│   └── ct-and-mr  where  Modality in ('CT', 'MR')
│       └── by-kind  match
│           ├── ct → archive  directory  /archive
│           │   └── on-error → bad  quarantine  /bad
│           ├── ct → copy  discard  (best effort)
│           └── * → clean  edit
│               └── archive  (above)
└── inbox  directory  /inbox
    └── ct-and-mr  (above)
"""
    )


def test_tree_of_what_is_no_valid_pipeline() -> None:
    stages = {"a": filters.Dedupe(), "b": filters.Dedupe(), "in": sources.Inlet(), "lone": sinks.Discard()}
    pipeline = Pipeline.from_graph(stages, [Edge("a", None, "b"), Edge("b", None, "a")])
    assert (
        draw.tree(pipeline)
        == """\
pipeline
├── in  inlet
└── lone  discard
├── a  dedupe
│   └── b  dedupe
│       └── a  (above)
└── b  (above)
"""
    )


def test_mermaid() -> None:
    assert (
        draw.mermaid(radiology())
        == """\
flowchart LR
    s1(["scp<br/>inlet"])
    s2(["inbox<br/>directory"])
    s3["ct-and-mr<br/>where"]
    s4{"by-kind<br/>match"}
    s5[("archive<br/>directory")]
    s6[("copy<br/>discard")]
    s7["clean<br/>edit"]
    s8[("bad<br/>quarantine")]
    s1 --> s3
    s2 --> s3
    s3 --> s4
    s4 -->|"ct"| s5
    s4 -->|"ct"| s6
    s7 --> s5
    s4 -->|"#42;"| s7
    s5 -.->|"on-error"| s8
"""
    )


def test_mermaid_escapes_what_means_something() -> None:
    pipeline = Pipeline(sources.Inlet(name='a"<b>&#山\n') | sinks.Discard(name="end"))
    label = draw.mermaid(pipeline).split("\n")[1]
    assert label == '    s1(["a#34;#60;b#62;#38;#35;山#10;<br/>inlet"])'


def test_json() -> None:
    plain = draw.as_json(radiology())
    assert json.loads(json.dumps(plain)) == plain
    assert [stage["name"] for stage in plain["stages"]] == list(radiology().graph.stages)
    by_kind = plain["stages"][3]
    assert by_kind == {
        "name": "by-kind",
        "kind": "router",
        "type": "match",
        "fields": {"branch": {"ct": "Modality == 'CT'"}},
        "branches": ["ct"],
    }
    assert {"source": "by-kind", "branch": "ct", "target": "archive"} in plain["edges"]
    assert set(plain["promises"]) == {"scp", "inbox"}


@given(pipelines())
def test_each_stage_is_drawn_once(pipeline: Pipeline) -> None:
    lines = draw.tree(pipeline).splitlines()
    drawn = [line for line in lines[1:] if not line.endswith("  (above)")]
    assert len(drawn) == len(pipeline.graph.stages)
    assert all(re.match(r"[│ ]*[├└]── ", line) for line in lines[1:])
    chart = draw.mermaid(pipeline).splitlines()
    diverted = sum(stage.on_error in pipeline.graph.stages for stage in pipeline.graph.stages.values())
    assert len(chart) == 1 + len(pipeline.graph.stages) + len(pipeline.graph.edges) + diverted
    json.dumps(draw.as_json(pipeline))
