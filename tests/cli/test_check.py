"""`dcmflow check`: what acknowledgements mean, and where they mean nothing."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

Command = Callable[..., subprocess.CompletedProcess[str]]


def _write(work: Path, source: str, sink: str) -> Path:
    path = work / "p.toml"
    path.write_text(f'name = "p"\n[sources.in]\n{source}\n[sinks.out]\n{sink}\nfrom = "in"\n')
    return path


def test_durable(dcmflow: Command, work: Path) -> None:
    file = _write(work, 'type = "directory"\npath = "a"\nafter = "delete"', 'type = "directory"\npath = "b"')
    done = dcmflow("check", file)
    assert done.returncode == 0
    assert "p: 2 stages, nothing wrong\n" in done.stdout
    assert "in: Success means: on disk at out\n" in done.stdout
    assert done.stderr == ""
    assert not (work / "b").exists()


def test_means_nothing(dcmflow: Command, work: Path) -> None:
    done = dcmflow("check", _write(work, 'type = "synthetic"', 'type = "discard"'))
    assert done.returncode == 0
    assert "in: Success means nothing durable" in done.stdout
    assert done.stderr.startswith("dcmflow: warning: source in: success means nothing durable")


def test_deletes_what_nobody_keeps(dcmflow: Command, work: Path) -> None:
    source = 'type = "directory"\npath = "a"\nafter = "{}"'
    done = dcmflow("check", _write(work, source.format("delete"), 'type = "discard"'), "--format", "json")
    assert done.returncode == 0
    answer = json.loads(done.stdout)
    assert answer["pipeline"] == "p"
    assert len(answer["warnings"]) == 1
    assert "deletes its files" in answer["warnings"][0]
    moved = dcmflow("check", _write(work, source.format("move:done"), 'type = "discard"'))
    assert "moves its files away" in moved.stderr
    best = _write(work, source.format("delete"), 'type = "directory"\npath = "b"\nrequired = false')
    assert "deletes its files" in dcmflow("check", best).stderr


def test_wrong(dcmflow: Command, work: Path) -> None:
    done = dcmflow("check", _write(work, 'type = "synthetic"\npatiens = 3', 'type = "discard"'))
    assert done.returncode == 2
    assert "p.toml:4 [sources.in] patiens" in done.stderr
    assert "did you mean 'patients'" in done.stderr


SCP = 'type = "scp"\nlisten = "A@127.0.0.1:11112"'


def test_what_each_of_several_processes_has(dcmflow: Command, work: Path) -> None:
    file = _write(work, SCP, 'type = "store"\nto = "B@10.0.0.5:104"\nassociations = 7')
    done = dcmflow("check", file, "--processes", "3")
    assert done.returncode == 0
    assert (
        "each of 3 processes: limits.instances = 170, limits.memory = 715827882, out.associations = 2\n"
        in done.stdout
    )
    answer = json.loads(dcmflow("check", file, "--processes", "3", "--format", "json").stdout)
    each = {"limits.instances": 170, "limits.memory": 715827882, "out.associations": 2}
    assert answer["processes"] == {"count": 3, "each": each}
    assert "processes" not in json.loads(dcmflow("check", file, "--format", "json").stdout)


def test_too_little_for_so_many_processes(dcmflow: Command, work: Path) -> None:
    done = dcmflow("check", _write(work, SCP, 'type = "store"\nto = "B@10.0.0.5:104"'), "--processes", "3")
    assert done.returncode == 2
    assert (
        "p.toml [sinks.out] associations: associations is 2, and each of 3 processes needs one" in done.stderr
    )
