"""The real command in processes of its own, far from anybody's settings."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

Done = subprocess.CompletedProcess[str]

FUNCTIONS = """
import anyio
from dcmflow.errors import Refused

seen = 0

async def slow(instance):
    await anyio.sleep(0.05)
    return instance

async def stuck(instance):
    await anyio.sleep(3600)

def refuse(instance):
    raise Refused("no room\\n\\x1b[31mred", status=0xA700)

def refuse_every_third(instance):
    global seen
    seen += 1
    if seen % 3 == 0:
        raise Refused("every third", status=0xA701)
    return instance

def drop(instance):
    return None
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home folder without settings."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def environment(home: Path) -> dict[str, str]:
    """The environment that commands run in."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("DCMFLOW", "XDG_"))}
    for key in ("NO_COLOR", "VISUAL", "EDITOR"):
        kept.pop(key, None)
    return {**kept, "HOME": str(home), "TERM": "xterm", "COLUMNS": "100", "PYTHONUNBUFFERED": "1"}


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """The folder that commands run in."""
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "functions_of_this_test.py").write_text(FUNCTIONS)
    return folder


@pytest.fixture
def dcmflow(work: Path, environment: dict[str, str]) -> Callable[..., Done]:
    """`dcmflow("run", "x.toml")` runs the command and returns what it said."""

    def run(*arguments: str | Path, **options: Any) -> Done:
        settings: dict[str, Any] = {
            "cwd": work,
            "env": environment,
            "stdin": subprocess.DEVNULL,
            "capture_output": True,
            "text": True,
            "timeout": 15,
            "check": False,
        }
        command = [sys.executable, "-m", "dcmflow", *map(str, arguments)]
        done: Done = subprocess.run(command, **(settings | options))
        if isinstance(done.stderr, str) and "--debug" not in arguments:
            assert "Traceback" not in done.stderr, done.stderr
        return done

    return run


@pytest.fixture
def start(work: Path, environment: dict[str, str]) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """`start("run", "x.toml")` starts the command; it is ended with the test."""
    started: list[subprocess.Popen[str]] = []

    def popen(*arguments: str | Path) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "dcmflow", *map(str, arguments)],
            cwd=work,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield popen
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def pipeline(work: Path) -> Callable[..., Path]:
    """`pipeline("slow", series=2)` writes a pipeline file: synthetic instances, a function, a sink that discards."""

    def write(
        function: str | None = None, *, extra: str = "", sink: str = 'type = "discard"', **fields: int
    ) -> Path:
        sizes = {"patients": 1, "studies": 1, "series": 1, "instances": 10} | fields
        made = "\n".join(f"{key} = {value}" for key, value in sizes.items())
        text = f'name = "trial"\n{extra}\n[sources.made]\ntype = "synthetic"\n{made}\n'
        if function:
            text += f'[filters.act]\ntype = "call"\nfrom = "made"\nfunction = "functions_of_this_test:{function}"\n'
        text += f'[sinks.out]\n{sink}\nfrom = "{"act" if function else "made"}"\n'
        path = work / "trial.toml"
        path.write_text(text)
        return path

    return write


_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A process whose stdin, stdout and stderr are a terminal of 100 columns.

    Attributes:
        said: all that it has written so far.
    """

    def __init__(
        self, *arguments: str | Path, cwd: Path, env: Mapping[str, str], stdout: int | None = None
    ) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self.said = ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dcmflow", *map(str, arguments)],
            cwd=cwd,
            env=dict(env),
            stdin=theirs,
            stdout=theirs if stdout is None else stdout,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(theirs, termios.TIOCSCTTY, 0),  # so that Ctrl-C reaches it
        )
        os.close(theirs)

    def until(self, words: str) -> str:
        """Read until it has written these words."""
        while words not in self.said:
            if not self._read():
                raise AssertionError(f"ended without saying {words!r}:\n{self.said}")
        return self.said

    def write(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def end(self) -> tuple[int, str]:
        """Read to the end; the exit code, and what was written without escape sequences."""
        while self._read():
            pass
        return self.process.wait(timeout=10), _ESCAPES.sub("", self.said).replace("\r\n", "\n")

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._ours)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._ours], [], [], 15)
        if not ready:
            raise AssertionError(f"silent for too long after:\n{self.said}")
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # the other side is closed
            return False
        self.said += data.decode(errors="replace")
        return bool(data)


@pytest.fixture
def terminal(work: Path, environment: dict[str, str]) -> Iterator[Callable[..., Terminal]]:
    """`terminal("run", "x.toml", NO_COLOR="1")` runs the command on a terminal; what is named changes its environment."""
    opened: list[Terminal] = []

    def open(*arguments: str | Path, stdout: int | None = None, **more: str) -> Terminal:
        opened.append(Terminal(*arguments, cwd=work, env=environment | more, stdout=stdout))
        return opened[-1]

    yield open
    for each in opened:
        each.close()
