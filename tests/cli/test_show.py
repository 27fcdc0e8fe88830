"""`dcmflow show`: one pipeline, four drawings."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from dcmflow import Pipeline

Command = Callable[..., subprocess.CompletedProcess[str]]
Write = Callable[..., Path]


def test_formats(dcmflow: Command, pipeline: Write) -> None:
    file = pipeline("slow")
    tree = dcmflow("show", file, "--format", "tree")
    assert tree.returncode == 0
    assert [line.split()[-2:] for line in tree.stdout.splitlines()[1:2]] != []
    assert all(name in tree.stdout for name in ("trial", "made", "act", "out"))
    assert dcmflow("show", file, "--format", "mermaid").stdout.startswith("flowchart")
    toml = dcmflow("show", file, "--format", "toml").stdout
    assert Pipeline.from_toml(toml) == Pipeline.from_toml(file.read_text())


def test_json_in_a_pipe(dcmflow: Command, pipeline: Write) -> None:
    done = dcmflow("show", pipeline())
    assert done.returncode == 0
    assert json.loads(done.stdout)["name"] == "trial"


def test_wrong(dcmflow: Command, pipeline: Write) -> None:
    done = dcmflow("show", pipeline(), "--format", "dot")
    assert done.returncode == 2
    assert "--format is tree, mermaid, toml or json, not 'dot'" in done.stderr
