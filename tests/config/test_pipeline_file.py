"""A file becomes the pipeline it says, and a pipeline the file that says it."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest
from hypothesis import given

from config.strategies import pipelines
from dcmflow import Limits, Pipeline, Retry, filters, routers, sinks, sources
from dcmflow.config.pipeline_file import dumps, load, loads
from dcmflow.config.settings import Settings
from dcmflow.config.toml_text import key
from dcmflow.errors import ConfigError, GraphError
from dcmflow.flow.graph import Edge
from dcmflow.net.node import Local, Node, Tls

EXAMPLE = """\
name = "radiology"
limits = { instances = 100, memory = "1 GiB" }

[nodes.ctpacs]
address = "CTPACS@10.0.0.5:104"
tls = { ca = "certs/ca.pem" }

[selectors]
images = "Modality in ('CT', 'MR')"

[sources.inbox]
type = "directory"
path = "inbox"

[filters.ct-and-mr]
type = "where"
from = "inbox"
match = "images"

[routers.by-kind]
type = "match"
from = "ct-and-mr"
branch.ct = "Modality == 'CT'"
branch."mr images" = "Modality == 'MR'"

[sinks.archive]
type = "directory"
from = ["by-kind.ct", "clean", "by-kind.mr images"]
path = "archive"
retry = { attempts = 8 }
on-error = "bad"

[filters.clean]
type = "edit"
from = "by-kind.*"
set = { PatientName = "Anon" }

[sinks.bad]
type = "quarantine"
path = "bad"
"""


def test_stages_and_wiring() -> None:
    pipeline = loads(EXAMPLE)
    assert pipeline.name == "radiology"
    assert pipeline.limits == Limits(instances=100, memory="1 GiB")
    assert dict(pipeline.graph.stages) == {
        "inbox": sources.Directory("inbox", name="inbox"),
        "ct-and-mr": filters.Where("images", name="ct-and-mr"),
        "clean": filters.Edit({"PatientName": "Anon"}, name="clean"),
        "by-kind": routers.Match({"ct": "Modality == 'CT'", "mr images": "Modality == 'MR'"}, name="by-kind"),
        "archive": sinks.Directory("archive", name="archive", retry=Retry(attempts=8), on_error="bad"),
        "bad": sinks.Quarantine("bad", name="bad"),
    }
    assert set(pipeline.graph.edges) == {
        Edge("inbox", None, "ct-and-mr"),
        Edge("ct-and-mr", None, "by-kind"),
        Edge("by-kind", "ct", "archive"),
        Edge("by-kind", "mr images", "archive"),
        Edge("by-kind", "*", "clean"),
        Edge("clean", None, "archive"),
    }


def test_the_same_as_the_dsl() -> None:
    bad = sinks.Quarantine("bad", name="bad")
    archive = sinks.Directory("archive", name="archive", retry=Retry(attempts=8), on_error="bad")
    pipeline = Pipeline(
        sources.Directory("inbox", name="inbox")
        | filters.Where("images", name="ct-and-mr")
        | routers.Match({"ct": "Modality == 'CT'", "mr images": "Modality == 'MR'"}, name="by-kind")
        | {
            "ct": archive,
            "mr images": archive,
            "*": filters.Edit(set={"PatientName": "Anon"}, name="clean") | archive,
        },
        bad,
        name="radiology",
        limits=Limits(instances=100, memory="1 GiB"),
        selectors={"images": "Modality in ('CT', 'MR')"},
        nodes={"ctpacs": Node(host="10.0.0.5", ae_title="CTPACS", tls=Tls(ca="certs/ca.pem"))},
    )
    assert loads(EXAMPLE) == pipeline
    assert loads(pipeline.to_toml()) == pipeline


def test_a_branch_may_have_dots() -> None:
    pipeline = loads(
        '[sources.in]\ntype = "inlet"\n[sinks.out]\ntype = "discard"\nfrom = ["r.a.b", "r.*"]\n'
        '[routers.r]\ntype = "call"\nfrom = "in"\nfunction = "os.path:basename"\nbranches = ["a.b"]\n'
    )
    assert set(pipeline.graph.edges) == {
        Edge("in", None, "r"),
        Edge("r", "a.b", "out"),
        Edge("r", "*", "out"),
    }
    assert loads(dumps(pipeline)) == pipeline


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    file = tmp_path / "sub" / "p.toml"
    file.write_text(EXAMPLE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for pipeline in (load(file), load("sub/p.toml"), Pipeline.from_file("sub/p.toml")):
        assert pipeline.base == tmp_path / "sub"
        stage = pipeline.graph.stages["inbox"]
        assert isinstance(stage, sources.Directory)
        assert stage.path == "inbox"
    tls = load(file).nodes["ctpacs"].tls
    assert tls is not None
    assert tls.ca == str(tmp_path / "sub" / "certs" / "ca.pem")
    assert loads(EXAMPLE).base is None


def test_a_byte_order_mark_and_windows_lines_are_fine(tmp_path: Path) -> None:
    file = tmp_path / "p.toml"
    file.write_bytes(b"\xef\xbb\xbf" + EXAMPLE.replace("\n", "\r\n").encode())
    assert load(file) == loads(EXAMPLE, base=tmp_path)


def test_variables_come_from_the_environment() -> None:
    text = EXAMPLE.replace('"archive"\nretry', '"${ARCHIVE:-/else}"\nworkers = "${WORKERS:-4}"\nretry')
    text = text.replace("{ instances = 100", '{ instances = "${N}"').replace("10.0.0.5:104", "${HOST}:104")
    pipeline = loads(text, environ={"ARCHIVE": "/from env", "N": "7", "HOST": "pacs"})
    archive = pipeline.graph.stages["archive"]
    assert isinstance(archive, sinks.Directory)
    assert (archive.path, archive.workers, pipeline.limits.instances) == ("/from env", 4, 7)
    assert pipeline.nodes["ctpacs"].host == "pacs"


def test_text_is_no_number_where_nothing_comes_from_the_environment() -> None:
    with pytest.raises(ConfigError, match="expected a whole number, got the text '4'"):
        loads(EXAMPLE.replace("retry = { attempts = 8 }", 'workers = "4"'))


def test_nodes_and_selectors_of_the_settings() -> None:
    settings = Settings.loads(
        '[nodes.other]\naddress = "OTHER@o"\n[selectors]\nct = "Modality == \'CT\'"\n'
        "images = \"Modality in ('CT', 'MR')\"\n",
        file="config.toml",
    )
    text = EXAMPLE.replace("branch.ct = \"Modality == 'CT'\"", 'branch.ct = "ct and images"')
    with pytest.raises(ConfigError, match="ct"):
        loads(text)
    pipeline = loads(text, settings=settings)
    assert set(pipeline.selectors) == {"ct", "images"}
    assert set(pipeline.nodes) == {"other", "ctpacs"}


@pytest.mark.parametrize(
    ("text", "table", "name"),
    [
        ("[selectors]\nimages = \"Modality == 'CR'\"", "selectors", "images"),
        ('[nodes.ctpacs]\naddress = "CTPACS@elsewhere"', "nodes", "ctpacs"),
    ],
)
def test_a_name_that_means_two_things(text: str, table: str, name: str) -> None:
    settings = Settings.loads(text, file="config.toml")
    with pytest.raises(ConfigError) as caught:
        loads(EXAMPLE, file="p.toml", settings=settings)
    error = caught.value
    assert (error.file, error.table, error.key) == ("p.toml", table, name)
    assert error.line == EXAMPLE[: EXAMPLE.index(f"{name}")].count("\n") + 1
    assert f"{table}.{name} in config.toml" in error.problem


def test_several_problems_are_all_told() -> None:
    text = EXAMPLE.replace('path = "inbox"', "paht = 1").replace(
        'type = "quarantine"', 'type = "quarantaine"'
    )
    with pytest.raises(ConfigError) as caught:
        loads(text, file="p.toml")
    assert caught.value.table == "sources.inbox"
    (note,) = caught.value.__notes__
    assert note.startswith("also: p.toml:39 [sinks.bad] type: ")
    assert "did you mean 'quarantine'?" in note


def test_how_a_written_file_looks() -> None:
    pipeline = Pipeline(
        (sources.Directory("/in", name="one"), sources.Inlet(name="two"))
        | routers.Match(
            {"ct": "Modality == 'CT'", "big": 'StudyDescription == "x" and Rows > 512'}, name="by kind"
        )
        | {
            "ct": (archive := sinks.Directory("/archive", name="archive")),
            "big": archive,
            "*": sinks.Discard(),
        },
        name="radiology",
        limits=Limits(instances=3),
        selectors={"ct": "Modality == 'CT'"},
    )
    assert (
        dumps(pipeline)
        == """\
name = "radiology"
limits = { instances = 3 }

[selectors]
ct = "Modality == 'CT'"

[sources.one]
type = "directory"
path = "/in"

[sources.two]
type = "inlet"

[routers."by kind"]
type = "match"
from = ["one", "two"]
branch.ct = "Modality == 'CT'"
branch.big = 'StudyDescription == "x" and Rows > 512'

[sinks.archive]
type = "directory"
from = ["by kind.ct", "by kind.big"]
path = "/archive"

[sinks.discard-1]
type = "discard"
from = "by kind.*"
"""
    )


def test_nodes_are_written_too() -> None:
    pipeline = loads(EXAMPLE, base="/base")
    text = dumps(pipeline)
    assert 'address = "CTPACS@10.0.0.5:104"' in text
    assert loads(text).nodes == pipeline.nodes


def test_nodes_of_the_dsl_are_written() -> None:
    nodes = {
        "pacs": Node(host="pacs.org", port=11112, ae_title="PACS", tls=Tls(ca="ca.pem"), max_associations=2),
        "odd": Node(host="pacs.org", ae_title="A@B"),
    }
    pipeline = Pipeline(sources.Inlet() | sinks.Discard(), nodes=nodes, local=Local(ae_title="ME"))
    text = pipeline.to_toml()
    assert tomllib.loads(text)["nodes"] == {
        "pacs": {"address": "PACS@pacs.org:11112", "max-associations": 2, "tls": {"ca": "ca.pem"}},
        "odd": {"host": "pacs.org", "ae-title": "A@B"},
    }
    again = Pipeline.from_toml(text)
    assert again == pipeline
    assert again.nodes == nodes
    assert again != Pipeline(sources.Inlet() | sinks.Discard(), nodes={"pacs": nodes["pacs"]})


def test_a_name_that_no_file_can_have_is_not_written() -> None:
    pipeline = Pipeline(sources.Inlet() | sinks.Discard(), nodes={"A@b": Node(host="b")})
    with pytest.raises(ConfigError, match=r"\[nodes\] A@b: 'A@b' is no name"):
        pipeline.to_toml()


def test_stages_know_the_nodes_and_who_we_are() -> None:
    settings = Settings.loads('[local]\nae-title = "ME"\n[nodes.other]\naddress = "OTHER@o"')
    context = loads(EXAMPLE, settings=settings).context("inbox")
    assert {name: node.address for name, node in context.nodes.items()} == {
        "other": "OTHER@o:104",
        "ctpacs": "CTPACS@10.0.0.5:104",
    }
    assert context.local == Local(ae_title="ME")
    assert loads(EXAMPLE).context("inbox").local is None


def test_an_address_may_ask_for_tls() -> None:
    node = '[nodes.a]\naddress = "dicoms://A@a:2762"\n{}\n[sources.i]\ntype = "inlet"\n[sinks.d]\ntype = "discard"\nfrom = "i"'
    assert loads(node.format("")).nodes["a"].tls == Tls()
    assert loads(node.format("tls = { verify = false }")).nodes["a"].tls == Tls(verify=False)


def test_a_function_has_a_name_in_the_file() -> None:
    pipeline = Pipeline(sources.Inlet() | os.path.basename | sinks.Discard())
    text = dumps(pipeline)
    assert tomllib.loads(text)["filters"]["call-1"]["function"] == "posixpath:basename"
    assert loads(text) == pipeline


def test_what_cannot_be_written_says_why() -> None:
    with pytest.raises(ConfigError, match="not at the top level"):
        dumps(Pipeline(sources.Inlet() | (lambda instance: instance) | sinks.Discard()))

    class Mine(sinks.Discard, frozen=True):
        pass

    with pytest.raises(
        ConfigError, match=r"sinks\.mine-1.*not registered as an entry point of dcmflow\.sinks"
    ):
        dumps(Pipeline(sources.Inlet() | Mine()))


def test_graph_errors_of_the_dsl_stay_what_they_are() -> None:
    with pytest.raises(GraphError, match="no sink"):
        Pipeline(sources.Inlet() | filters.Dedupe()).check()


@given(pipelines())
def test_what_is_written_reads_back_as_the_same(pipeline: Pipeline) -> None:
    pipeline.check()
    text = dumps(pipeline)
    again = loads(text, environ={})
    assert again == pipeline
    assert dumps(again) == text
    for name, stage in pipeline.graph.stages.items():
        assert f"[{stage.kind}s.{key(name)}]" in text
