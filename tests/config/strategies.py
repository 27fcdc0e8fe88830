"""Random pipelines of built-in stages, wired so that they are valid."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from dcmflow import Limits, Pipeline, Retry, Router, Stage, filters, routers, sinks, sources
from dcmflow.flow.graph import Edge
from dcmflow.net.node import Node, Timeouts, Tls

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)
WORDS = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,8}", fullmatch=True)
NAMES = st.one_of(WORDS, TEXTS.map(lambda text: text.replace(".", "_"))).filter(
    lambda name: bool(name.strip()) and name not in ("refuse", "skip", "stop")
)
PATHS = st.one_of(
    TEXTS.filter(str.strip), st.sampled_from(["/archive", "./in box", "C:\\x", "${HOME}", "~/x", "a'b\"c"])
)
SELECTORS = st.sampled_from(
    [
        "Modality == 'CT'",
        'Modality in ("CT", "MR")',
        "SeriesNumber > 3\n  and SeriesNumber < 9",
        "PatientName like '*山田*'",
        r"StudyDescription matches '^\d+\.\"$'",
        "PatientID == '${x}'",
        "not exists((0010,0010))",
    ]
)
RETRIES = st.none() | st.builds(
    Retry,
    attempts=st.integers(1, 9),
    first=st.sampled_from(["1 s", "250 ms", 2.5]),
    longest=st.sampled_from(["60 s", 90.0]),
)
VALUES = st.one_of(
    TEXTS.map(lambda text: "".join(c for c in text if c.isprintable() and c != "\\") or "x").filter(
        str.isascii
    ),
    st.just("山田^太郎"),
)


NODES = st.builds(
    Node,
    host=st.sampled_from(["pacs", "10.0.0.5", "::1", "fe80::1%eth-0", "${HOST}"]),
    port=st.integers(1, 65535),
    ae_title=st.sampled_from(["ANY-SCP", "MY PACS", "A@B", "A:B", "$AE"]),
    max_associations=st.integers(1, 9),
    tls=st.none() | st.builds(Tls, ca=st.none() | PATHS, verify=st.booleans()),
    timeouts=st.builds(Timeouts, dimse=st.sampled_from([60, "2 min", 0.5])),
)


def _common(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "workers": draw(st.sampled_from([1, 1, 2, 16])),
        "inbox": draw(st.sampled_from([16, 16, 0, 400])),
        "retry": draw(RETRIES),
        "on_error": draw(st.sampled_from(["refuse", "skip", "stop"])),
    }


@st.composite
def _source(draw: st.DrawFn) -> Stage:
    common = _common(draw)
    if draw(st.booleans()):
        return sources.Inlet(**common)
    return sources.Directory(
        draw(PATHS),
        recursive=draw(st.booleans()),
        exclude=draw(st.lists(WORDS, max_size=2)),
        after=draw(st.sampled_from(["keep", "delete", "move:./done"])),
        **common,
    )


@st.composite
def _filter(draw: st.DrawFn) -> Stage:
    common = _common(draw)
    match draw(st.integers(0, 3)):
        case 0:
            return filters.Where(draw(SELECTORS), **common)
        case 1:
            edits: dict[str, Any] = draw(
                st.dictionaries(
                    st.sampled_from(["PatientName", "PatientComments", "(0010,0020)"]), VALUES, max_size=3
                )
            )
            if draw(st.booleans()):
                edits["StudyDate"] = datetime.date(2020, 2, 29)
            return filters.Edit(edits, only_existing=draw(st.booleans()), **common)
        case 2:
            return filters.Dedupe(by=draw(st.sampled_from(["sop-instance", "content"])), **common)
    return filters.Call("os.path:basename", **common)


@st.composite
def _router(draw: st.DrawFn) -> Router:
    if draw(st.booleans()):
        return routers.Call("os.path:basename", branches=draw(st.tuples(NAMES | st.just("with.dot"))))
    branches: Mapping[str, str] = draw(st.dictionaries(NAMES, SELECTORS, min_size=1, max_size=3))
    return routers.Match(
        {name: text for name, text in branches.items() if name != "*"} or {"ct": "Modality == 'CT'"}
    )


@st.composite
def _sink(draw: st.DrawFn) -> Stage:
    common = {**_common(draw), "required": draw(st.booleans())}
    match draw(st.integers(0, 2)):
        case 0:
            return sinks.Discard(**common)
        case 1:
            return sinks.Quarantine(draw(PATHS), **common)
    return sinks.Directory(
        draw(PATHS),
        layout=draw(
            st.sampled_from(["{PatientID}/{SOPInstanceUID}.dcm", "{PatientID|none}/x-{SeriesNumber:03d}"])
        ),
        exists=draw(st.sampled_from(["skip", "replace", "keep-both", "refuse"])),
        **common,
    )


@st.composite
def pipelines(draw: st.DrawFn) -> Pipeline:
    """A pipeline that `check()` accepts: each stage takes from earlier ones and every way ends in a sink."""
    stages: dict[str, Stage] = {}

    def add(stage: Stage) -> str:
        name = draw(NAMES.filter(lambda name: name not in stages))
        stages[name] = stage
        return name

    names = [add(draw(_source())) for _ in range(draw(st.integers(1, 2)))]
    ends: list[tuple[str, str | None]] = [(name, None) for name in names]
    open_ends = list(ends)
    edges: list[Edge] = []

    def connect(target: str) -> None:
        chosen = draw(st.lists(st.sampled_from(ends), min_size=1, max_size=2, unique=True))
        if open_ends and draw(st.booleans()):
            chosen = [open_ends[-1], *(end for end in chosen if end != open_ends[-1])]
        for source, branch in chosen:
            edges.append(Edge(source, branch, target))
            if (source, branch) in open_ends:
                open_ends.remove((source, branch))

    for _ in range(draw(st.integers(0, 5))):
        stage = draw(_filter() | _router())
        name = add(stage)
        connect(name)
        own: list[tuple[str, str | None]] = [(name, None)]
        if isinstance(stage, Router):
            own = [(name, branch) for branch in sorted(stage.branches() or ())]
            if draw(st.booleans()):
                own.append((name, "*"))
        ends += own
        open_ends += own
    last = add(draw(_sink()))
    connect(last)
    edges += [Edge(source, branch, last) for source, branch in open_ends]
    for _ in range(draw(st.integers(0, 2))):
        connect(add(draw(_sink())))
    return Pipeline.from_graph(
        stages,
        edges,
        name=draw(TEXTS.filter(str.strip)),
        limits=draw(
            st.none()
            | st.builds(Limits, instances=st.integers(1, 9), memory=st.sampled_from(["1 GiB", 4096]))
        ),
        nodes=draw(st.dictionaries(WORDS, NODES, max_size=2)),
        selectors=draw(st.dictionaries(WORDS.map(lambda word: f"own-{word}"), SELECTORS, max_size=2)),
    )
