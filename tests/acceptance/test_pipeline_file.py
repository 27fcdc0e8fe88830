"""The pipeline file: what it may say, what is said of its mistakes, and what its sources find."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pydicom
import pydicom.data
import pytest

import corpus
from acceptance_kit import Command, digests, visible
from corpus import Corpus
from dcmflow import ConfigError, GraphError, Pipeline, sinks, sources

SMALL: dict[str, dict[str, Any]] = {
    "sources.in": {"type": "synthetic"},
    "filters.some": {"type": "where", "from": "in", "match": "Rows > 1"},
    "routers.by": {"type": "match", "from": "some", "branch": {"ct": "Modality == 'CT'"}},
    "sinks.ct": {"type": "directory", "from": "by.ct", "path": "ct"},
    "sinks.rest": {"type": "directory", "from": "by.*", "path": "rest"},
}


def written(folder: Path, changes: Mapping[str, Mapping[str, Any] | None]) -> Path:
    """SMALL with some tables replaced, added or left out, as a file with one inline table a line."""
    tables = {**SMALL, **changes}
    lines = []
    for table, fields in tables.items():
        if fields is None:
            continue
        lines.append(f"[{table}]")
        for key, value in fields.items():
            if isinstance(value, dict):
                lines += [f'{key}."{name}" = "{text}"' for name, text in value.items()]
            else:
                lines.append(f"{key} = {value!r}".replace("True", "true"))
    path = folder / "p.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


WRONG: dict[str, tuple[dict[str, dict[str, Any] | None], list[str]]] = {
    "unknown table": ({"sink.x": {"type": "discard"}}, ["sink", "sinks"]),
    "unknown type": ({"sinks.ct": {"type": "directry", "from": "by.ct", "path": "x"}}, ["sinks.ct", "directory"]),
    "type of another kind": ({"sinks.ct": {"type": "where", "from": "by.ct"}}, ["sinks.ct", "where"]),
    "no type": ({"sinks.ct": {"from": "by.ct", "path": "x"}}, ["sinks.ct", "type"]),
    "unknown field": (
        {"sinks.ct": {"type": "directory", "from": "by.ct", "path": "x", "layut": "y"}},
        ["sinks.ct", "layut", "layout"],
    ),
    "wrong type of value": ({"sources.in": {"type": "synthetic", "series": "many"}}, ["sources.in", "series"]),
    "out of range": ({"sources.in": {"type": "synthetic", "workers": 0}}, ["sources.in", "workers"]),
    "no such choice": (
        {"sinks.ct": {"type": "directory", "from": "by.ct", "path": "x", "exists": "overwrite"}},
        ["sinks.ct", "exists", "replace"],
    ),
    "missing field": ({"sinks.ct": {"type": "directory", "from": "by.ct"}}, ["sinks.ct", "path"]),
    "unknown name": ({"routers.by": {**SMALL["routers.by"], "from": "som"}}, ["routers.by", "som", "some"]),
    "unknown branch": (
        {"sinks.ct": {"type": "directory", "from": "by.cd", "path": "x"}},
        ["sinks.ct", "cd", "by.ct"],
    ),
    "cycle": ({"filters.some": {"type": "where", "from": ["in", "loop"], "match": "Rows > 1"},
               "filters.loop": {"type": "where", "from": "by.*", "match": "Rows > 1"}}, ["cycle"]),
    "source without a sink": ({"sources.lost": {"type": "synthetic"}}, ["lost"]),
    "no from": ({"sinks.rest": {"type": "discard"}}, ["sinks.rest", "from"]),
    "from a sink": ({"filters.more": {"type": "where", "from": "ct", "match": "Rows > 1"},
                     "sinks.more2": {"type": "discard", "from": "more"}}, ["filters.more", "ct"]),
    "one name in two tables": ({"filters.ct": {"type": "where", "from": "in", "match": "Rows > 1"},
                                "sinks.two": {"type": "discard", "from": "filters.ct"}}, ["filters.ct", "sinks.ct"]),
    "unknown on-error": (
        {"filters.some": {**SMALL["filters.some"], "on-error": "quarantin"}},
        ["filters.some", "on-error", "quarantin"],
    ),
    "bad limits": ({"limits": {"memory": "2 GiBs"}}, ["limits", "memory"]),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_an_error_names_file_table_key_and_what_was_meant(tmp_path: Path, what: str) -> None:
    changes, words = WRONG[what]
    with pytest.raises((ConfigError, GraphError)) as caught:
        Pipeline.from_file(written(tmp_path, changes)).check()
    said = str(caught.value)
    for word in ["p.toml", *words]:
        assert word in said, f"{word!r} is not in: {said}"


def test_the_small_file_itself_is_right(run: Command, tmp_path: Path) -> None:
    file = written(tmp_path, {})
    Pipeline.from_file(file).check()
    done = run("check", file).must(0)
    assert "Success means" in done.out
    for place in ("ct", "rest"):
        assert place in done.out


def test_check_and_run_say_the_same_of_a_wrong_file(run: Command, tmp_path: Path) -> None:
    file = written(tmp_path, WRONG["unknown field"][0])
    said = [run(command, file).must(2).err for command in ("check", "run", "show")]
    assert said[0] == said[1] == said[2]
    line = file.read_text().splitlines().index("layut = 'y'") + 1
    assert f"p.toml:{line}" in said[0]
    assert len(said[0].strip().splitlines()) == 1


def test_broken_toml_is_named_with_its_line(run: Command, tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text('name = "x"\n[sources.in]\ntype = \n')
    said = run("run", tmp_path / "p.toml").must(2).err
    assert "p.toml" in said
    assert "3" in said.split("p.toml", 1)[1]


def test_a_file_that_is_not_there_is_said(run: Command, tmp_path: Path) -> None:
    for command in ("check", "run", "show"):
        assert "nowhere.toml" in run(command, tmp_path / "nowhere.toml").must(2).err


def test_names_of_the_environment_are_filled_in(run: Command, base_set: Corpus, tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(
        '[sources.in]\ntype = "directory"\npath = "${SCANS}"\n'
        '[sinks.out]\ntype = "directory"\nfrom = "in"\npath = "${OUT:-by default}"\n'
    )
    run("run", tmp_path / "p.toml", env={"SCANS": str(base_set.folder)}).must(0)
    assert len(visible(tmp_path / "by default")) == 12
    run("run", tmp_path / "p.toml", env={"SCANS": str(base_set.folder), "OUT": "named"}).must(0)
    assert len(visible(tmp_path / "named")) == 12
    done = run("run", tmp_path / "p.toml").must(2)
    assert "SCANS" in done.err
    assert "sources.in" in done.err


@pytest.mark.parametrize("format", ["tree", "mermaid", "toml", "json"])
def test_a_drawing_names_every_stage(run: Command, tmp_path: Path, format: str) -> None:
    done = run("show", written(tmp_path, {}), "--format", format).must(0)
    for name in ("in", "some", "by", "ct", "rest"):
        assert name in done.out
    if format == "toml":
        (tmp_path / "again.toml").write_text(done.out)
        assert run("show", tmp_path / "again.toml", "--format", "toml").must(0).out == done.out
    if format == "json":
        assert msgspec.json.decode(done.out)


def test_home_and_blanks_in_paths(run: Command, base_set: Corpus, tmp_path: Path) -> None:
    shutil.copytree(base_set.folder / "TestPat2", run.home / "my scans" / "in")
    (tmp_path / "p.toml").write_text(
        '[sources.in]\ntype = "directory"\npath = "~/my scans/in"\n'
        '[sinks.out]\ntype = "directory"\nfrom = "in"\npath = "~/my out/{}"\n'
        'layout = "{SeriesNumber:03d}-{SeriesDescription}/{SOPInstanceUID}.dcm"\n'
    )
    run("run", tmp_path / "p.toml").must(0)
    out = run.home / "my out" / "{}"
    assert sorted(os.listdir(out)) == ["001-Localizer", "002-gre field map"]
    assert digests(visible(out)) == digests(visible(base_set.folder / "TestPat2"))


def test_archives_are_sources(base_set: Corpus, tmp_path: Path) -> None:
    for kind in ("zip", "tar", "gztar"):
        archive = shutil.make_archive(str(tmp_path / kind), kind, base_set.folder)
        flow = sources.Directory(archive) | sinks.Directory(tmp_path / f"out-{kind}")
        anyio.run(Pipeline(flow).run)
        assert digests(visible(tmp_path / f"out-{kind}")) == digests(base_set.paths)


def test_globs_choose_files(base_set: Corpus, tmp_path: Path) -> None:
    for fields, count in (
        ({"include": ["001.dcm"]}, 7),
        ({"include": ["TestPat1/**"]}, 8),
        ({"exclude": ["TestPat1"]}, 4),
        ({"include": ["*.dcm"], "exclude": ["002.dcm"]}, 7),
        ({"recursive": False}, 0),
        ({"include": ["*.ima"]}, 0),
    ):
        statistics = anyio.run(Pipeline(sources.Directory(base_set.folder, **fields) | sinks.Discard()).run)
        assert statistics.pipeline.emitted == count, fields


def test_synthetic_instances_are_the_same_for_the_same_seed(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        made = sources.Synthetic(patients=2, series=2, instances=2, size=64, modality=["CT", "SR"], seed=seed)
        anyio.run(Pipeline(made | sinks.Directory(tmp_path / name)).run)
    assert digests(visible(tmp_path / "a")) == digests(visible(tmp_path / "b"))
    assert set(digests(visible(tmp_path / "a"))).isdisjoint(digests(visible(tmp_path / "c")))
    assert {pydicom.dcmread(path).Modality for path in visible(tmp_path / "a")} == {"CT", "SR"}
    assert len(visible(tmp_path / "a")) == 8


def test_corpus_is_what_these_tests_think(base_set: Corpus) -> None:
    assert (base_set.patients, base_set.studies, base_set.series, base_set.instances) == (2, 3, 7, 12)
    assert len(corpus.EVIL_PATIENT_IDS) >= 12


def test_what_a_dicomdir_lists_is_a_source(tmp_path: Path) -> None:
    folder = Path(pydicom.data.__file__).parent / "test_files" / "dicomdirtests"
    listed = [
        record
        for record in pydicom.dcmread(folder / "DICOMDIR").DirectoryRecordSequence
        if "ReferencedFileID" in record
    ]
    paths = [folder.joinpath(*record.ReferencedFileID) for record in listed]
    anyio.run(Pipeline(sources.Directory(folder / "DICOMDIR") | sinks.Directory(tmp_path / "out")).run)
    assert len(paths) > 20
    assert digests(visible(tmp_path / "out")) == digests(paths)
