"""Runs the real command, and looks at what it left with eyes that are not dcmflow's."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import anyio

import dcmflow
from dcmflow import Pipeline
from dcmflow.flow.statistics import Statistics

SOURCE = str(Path(dcmflow.__file__).parents[1])
UNDER_ROOT = "{PatientID}/{SeriesNumber:03d}/{SOPInstanceUID}.dcm"
POWERLESS = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
FLAT = "{SOPInstanceUID}.dcm"


@dataclass(frozen=True)
class Done:
    """What a command ended with."""

    code: int
    out: str
    err: str

    def must(self, code: int) -> Done:
        """Itself, when it ended with this exit code; else the test fails and shows what was said."""
        assert self.code == code, f"exit {self.code}, not {code}\n{self}"
        return self.readable()

    def readable(self) -> Done:
        """Itself, when people were spoken to like people."""
        assert "Traceback" not in self.out + self.err, self
        assert "internal error" not in self.err, self
        return self

    def __str__(self) -> str:
        return f"--- stdout\n{self.out}\n--- stderr\n{self.err}"


class Command:
    """`dcmflow` as a person has it: with a home and settings of its own, and nothing on stdin."""

    def __init__(self, home: Path) -> None:
        self.home = home
        home.mkdir(exist_ok=True)

    def __call__(self, *arguments: object, **how: Any) -> Done:
        """Run it to its end. `env`, `cwd`, `input` and `timeout` are those of `subprocess.run`.

        With `powerless` file permissions count for root, too; `memory` bounds what is not a mapped file, in bytes.
        """
        wrap = POWERLESS if how.pop("powerless", False) else []
        if memory := how.pop("memory", None):
            wrap = ["prlimit", f"--data={memory}"]
        given = {"input": how.pop("input").encode()} if "input" in how else {"stdin": subprocess.DEVNULL}
        done = subprocess.run(
            [*wrap, *self.line(*arguments)],
            env=self.environment(how.pop("env", {})),
            capture_output=True,
            check=False,
            timeout=how.pop("timeout", 15),
            **(given | how),
        )
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    def start(self, *arguments: object, env: Mapping[str, str] = {}, **how: Any) -> subprocess.Popen[bytes]:
        """Run it beside the test; whoever starts it ends it."""
        how = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | how
        return subprocess.Popen(self.line(*arguments), env=self.environment(env), **how)

    def line(self, *arguments: object) -> list[str]:
        return [sys.executable, "-m", "dcmflow", *map(str, arguments)]

    def environment(self, more: Mapping[str, str]) -> dict[str, str]:
        plain = {k: v for k, v in os.environ.items() if not k.startswith(("DCMFLOW_", "XDG_", "PYTHON"))}
        return plain | {"HOME": str(self.home), "PYTHONPATH": SOURCE, "LC_ALL": "C.UTF-8"} | more


def toml(value: Any) -> str:
    """A value as TOML; strings, numbers, lists and tables of these are written as in JSON."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)


def pipeline_file(
    path: Path, /, *, head: Mapping[str, Any] = {}, **tables: Mapping[str, Mapping[str, Any]]
) -> Path:
    """Writes a pipeline file: `sources={"in": {"type": "directory", ...}}`; an underscore in a field is a dash."""
    lines = [f"{key} = {toml(value)}" for key, value in ({"name": path.stem} | dict(head)).items()]
    for kind, stages in tables.items():
        for name, fields in stages.items():
            lines += ["", f"[{kind}.{name}]"]
            lines += [f"{key.replace('_', '-')} = {toml(value)}" for key, value in fields.items()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def run_here(file: Path, *, refused: int = 0, backend: str = "asyncio") -> Statistics:
    """Runs a pipeline file in this process, by the public API; so many must be refused."""
    statistics = anyio.run(Pipeline.from_file(file).run, backend=backend)
    assert statistics.pipeline.refused == refused, statistics
    return statistics


def source_to_sink(path: Path, source: Path, sink: Path, **fields: Any) -> Path:
    """The smallest pipeline file: a folder into a folder; `fields` are those of the sink."""
    return pipeline_file(
        path,
        sources={"in": {"type": "directory", "path": source}},
        sinks={"out": {"type": "directory", "from": "in", "path": sink, **fields}},
    )


def visible(folder: Path) -> list[Path]:
    """Files below `folder`; nothing that is, or lies in, a dot file. Links to folders are not followed."""
    found = []
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(root, name) for name in names if not name.startswith(".")]
    return sorted(found)


def everything(folder: Path) -> list[str]:
    """Whatever is below `folder`, dot files and folders too, relative."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def dataset(path: Path) -> bytes:
    """The encoded data set of a Part 10 file, read by its group length (PS3.10 7.1)."""
    whole = path.read_bytes()
    assert whole[128:132] == b"DICM", f"{path} is no Part 10 file"
    group, element, vr, size, length = struct.unpack_from("<HH2sHI", whole, 132)
    assert (group, element, vr, size) == (2, 0, b"UL", 4), f"{path} begins with no group length"
    return whole[144 + length :]


def digest(path: Path) -> str:
    return sha256(dataset(path)).hexdigest()


def digests(paths: Iterable[Path]) -> list[str]:
    """What the files hold, whatever they are called."""
    return sorted(map(digest, paths))


def check_part10(path: Path, dcmtk: Callable[[str], str]) -> None:
    """DCMTK reads the file to its end and finds the same instance in file meta and data set."""
    shown = subprocess.run(
        [dcmtk("dcmdump"), "+P", "0002,0003", "+P", "0008,0018", "+P", "0002,0002", "+P", "0008,0016", "-Un", str(path)],
        capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    assert shown.returncode == 0, f"{path}: {shown.stderr}"
    values = {
        line[1:10]: line[line.index("[") : line.index("]") + 1]
        for line in shown.stdout.splitlines()
        if "[" in line
    }
    assert values["0002,0003"] == values["0008,0018"], shown.stdout
    assert values["0002,0002"] == values["0008,0016"], shown.stdout
    test = subprocess.run([dcmtk("dcmftest"), str(path)], capture_output=True, text=True, check=False)
    assert test.stdout.startswith("yes:"), test.stdout + test.stderr


def report(path: Path) -> dict[str, Any]:
    """A run's report, whose sums close."""
    said: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    figures = said["pipeline"]
    parts = [figures[key] for key in ("accepted", "dropped", "refused", "unsettled")]
    assert figures["emitted"] == sum(parts), figures
    return said
