"""Runs the code blocks of a page of documentation, top to bottom, the way a reader would.

A page starts in an empty folder with a copy of the project's `examples/` in it. What the fence says decides:

python
    Runs in one name space per page, as `__main__`. `await`, `async with` and `async for` may stand at the
    top level. An exception fails the page.
console
    A shell session: one bash per block, in the page's folder, with `dcmflow` and `python` on PATH. A line
    that begins with `$ ` is a command (lines after a trailing backslash belong to it); the lines below it
    are what it prints to a pipe, standard output and error together. `...` alone on a line stands for any
    lines, also none; `…` inside a line for any text. A command that ends with a status other than 0 fails
    the page, unless the next command is `echo $?`. A command that goes on in the background (`&`) is
    ended with the page.
console background
    Another terminal. Its first block is one command, which goes on while the page does; the page waits until
    it has printed what the block shows, and listens on the ports of the page that stand in the command. Further
    blocks show what it has printed since; one that begins with `^C` interrupts it and shows how it ends.
    `name=NAME` tells several apart.
toml
    With a first line `# file: NAME` the block is written to that file. Without, it is a pipeline file and
    must load. `toml fragment` is a piece of a file: it has to be TOML, no more.
text, json, sh, mermaid
    Are read, not run (`sh` is for what sets up a machine).

Any other fence fails the page, so that no block stays unrun by a slip. With `needs=PROGRAM` behind the kind a block is
left out where that program is not installed, which the result tells.

A line `<!-- ports: 11112 11113 -->` says that these numbers stand for ports: in the blocks of the page, in what they print, too,
they become ports that are free.
"""

from __future__ import annotations

import ast
import inspect
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
import traceback
import types
from collections.abc import Iterable, Iterator, Mapping
from contextlib import chdir
from pathlib import Path
from typing import NamedTuple

import anyio
from markdown_it import MarkdownIt

from docs_terminal import Terminal, free_ports

READ_ONLY = frozenset({"text", "json", "sh", "mermaid"})
_STATUS = re.compile("\x1e(\\d+)\x1e")
_PORTS = re.compile(r"^<!-- ports:((?: \d+)+) -->$", re.MULTILINE)
_PATIENCE = 60  # seconds for the commands of one block


class PageError(AssertionError):
    """A block of a page did not do what the page says. The text begins with page and line."""


class Block(NamedTuple):
    line: int  # of its first line of code, from 1
    kind: str  # the words after the fence
    text: str

    def option(self, name: str) -> str:
        """What stands behind `name=` after the fence."""
        words = (word.partition("=") for word in self.kind.split())
        return next((value for key, _, value in words if key == name), "")


class Result(NamedTuple):
    blocks: int
    left_out: list[str]  # in words: where, and what it needs


def ports(markdown: str) -> dict[str, int]:
    """The numbers that stand for ports on a page, and ports that are free."""
    numbers = [number for line in _PORTS.findall(markdown) for number in line.split()]
    return dict(zip(numbers, free_ports(len(numbers)), strict=True))


def blocks(markdown: str, numbers: Mapping[str, int] | None = None) -> list[Block]:
    """The fenced code blocks of a page, also those in lists and quotations; some numbers in them are replaced."""
    pattern = "|".join(numbers or ()) or "(?!)"

    def code(text: str) -> str:
        return re.sub(rf"(?<!\d)(?:{pattern})(?!\d)", lambda found: str((numbers or {})[found[0]]), text)

    return [
        Block(token.map[0] + 2, token.info.strip(), code(token.content))
        for token in MarkdownIt().parse(markdown)
        if token.type == "fence" and token.map
    ]


def run_page(page: Path, folder: Path, *, examples: Path | None = None) -> Result:
    """Runs all blocks of a page in an empty folder. Raises PageError."""
    work, tools = folder / "page", folder / "bin"
    work.mkdir()
    tools.mkdir()
    if examples is not None and examples.is_dir():
        shutil.copytree(examples, work / "examples")
    text = page.read_text(encoding="utf-8")
    numbers = ports(text)
    found = blocks(text, numbers)
    with chdir(work):
        runner = _Runner(page, tools, numbers.values())
        try:
            for block in found:
                runner.run(block)
        finally:
            runner.close()
    return Result(len(found), runner.left_out)


class _Runner:
    def __init__(self, page: Path, tools: Path, ports: Iterable[int] = ()) -> None:
        self.page = page
        self.left_out: list[str] = []
        self._tools = tools
        self._ports = list(ports)
        self._shells: list[int] = []
        self._terminals: dict[str, Terminal] = {}
        self._module = types.ModuleType("__main__")
        self._main = sys.modules["__main__"]

    def run(self, block: Block) -> None:
        language, _, rest = block.kind.partition(" ")
        needed = block.option("needs")
        if needed and shutil.which(needed, path=self._environment()["PATH"]) is None:
            self.left_out.append(f"{self.page.name}:{block.line} needs {needed}, which is not installed")
            return
        try:
            match language:
                case "python":
                    self._python(block)
                case "console" if "background" in rest.split():
                    self._background(block)
                case "console":
                    self._console(block)
                case "toml":
                    self._toml(block, fragment=rest == "fragment")
                case _ if language not in READ_ONLY:
                    raise PageError(
                        f"a fence says {language or 'nothing'!r}; docs_runner.py lists what it may say"
                    )
        except PageError as error:
            raise PageError(f"{self.page.name}:{block.line}: {error}") from None
        except (Exception, SystemExit) as error:
            line = self._line_of(error) or block.line
            raise PageError(f"{self.page.name}:{line}: {type(error).__name__}: {error}") from error

    def _line_of(self, error: BaseException) -> int | None:
        if isinstance(error, SyntaxError) and error.filename == str(self.page):
            return error.lineno
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(self.page)]
        return lines[-1] if lines else None

    def _python(self, block: Block) -> None:
        source = "\n" * (block.line - 1) + block.text
        code = compile(source, str(self.page), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        sys.modules["__main__"] = self._module
        try:
            if code.co_flags & inspect.CO_COROUTINE:
                anyio.run(self._coroutine, code)
            else:
                exec(code, vars(self._module))
        finally:
            sys.modules["__main__"] = self._main

    async def _coroutine(self, code: types.CodeType) -> None:
        await eval(code, vars(self._module))

    def _toml(self, block: Block, *, fragment: bool) -> None:
        first, _, _ = block.text.partition("\n")
        tomllib.loads(block.text)
        if first.startswith("# file: "):
            path = Path(first.removeprefix("# file: ").strip())
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        elif not fragment:
            from dcmflow import Pipeline

            Pipeline.from_toml(block.text)

    def _console(self, block: Block) -> None:
        steps = list(session(block))
        output = self._shell([step.command for step in steps])
        for step, following, (printed, status) in zip(steps, [*steps[1:], None], output, strict=False):
            if not matches(step.output, printed):
                expected = "\n".join(step.output)
                raise PageError(f"$ {step.command}\n--- the page says\n{expected}\n--- printed\n{printed}")
            if status and (following is None or following.command != "echo $?"):
                raise PageError(f"$ {step.command}\nends with status {status}\n{printed}")
        if len(output) < len(steps):
            raise PageError(f"$ {steps[len(output)].command}\nended the shell")

    def _background(self, block: Block) -> None:
        name = block.option("name")
        first, _, rest = block.text.partition("\n")
        terminal = self._terminals.get(name)
        if block.text.startswith("$ "):
            (step,) = session(block)
            if terminal is not None and not terminal.ended:
                raise PageError(f"in the terminal {name!r} a command goes on already")
            transcript = self._tools / f"terminal-{len(self._terminals)}-{block.line}"
            terminal = Terminal(step.command, transcript, self._environment(), _PATIENCE)
            self._terminals[name] = terminal
            wanted, act = step.output, terminal.show
        elif terminal is None:
            raise PageError(f"nothing goes on in the terminal {name!r}: its first block is a command (`$ …`)")
        elif first == "^C":
            wanted, act = rest.splitlines(), terminal.interrupt
        else:
            wanted, act = block.text.splitlines(), terminal.show
        printed = act(lambda text: matches(wanted, text))
        if printed is None and block.text.startswith("$ "):
            printed = terminal.listens(port for port in self._ports if str(port) in block.text)
        if printed is not None:
            expected = "\n".join(wanted)
            raise PageError(f"{first}\n--- the page says\n{expected}\n--- printed\n{printed}")

    def _shell(self, commands: list[str]) -> list[tuple[str, int]]:
        """What each command printed and its status; `$?` in a command is that of the one before."""
        script = "exec 2>&1\n" + "".join(
            f"{command}\n__=$?; printf '\\036%d\\036' $__; (exit $__)\n" for command in commands
        )
        transcript = self._tools / f"shell-{len(self._shells)}"
        # a file, not a pipe: what goes on in the background must not keep us waiting
        with transcript.open("wb") as out:
            shell = subprocess.Popen(
                ["bash", "-c", script],
                stdin=subprocess.DEVNULL,
                stdout=out,
                env=self._environment(),
                start_new_session=True,
            )
            self._shells.append(shell.pid)
            try:
                shell.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(shell.pid, signal.SIGKILL)
                shell.wait()
                said = transcript.read_text(encoding="utf-8", errors="replace")
                raise PageError(f"commands went on after {_PATIENCE} s; so far:\n{said}") from None
        pieces = _STATUS.split(transcript.read_text(encoding="utf-8", errors="replace"))
        return [(text, int(status)) for text, status in zip(pieces[::2], pieces[1::2], strict=False)]

    def _environment(self) -> dict[str, str]:
        """PATH without this interpreter's folder, where pynetdicom puts tools named like DCMTK's."""
        installed = Path(sys.executable).parent
        for name in ("dcmflow", "python", "python3"):
            wrapper = self._tools / name
            if (installed / name).exists():
                wrapper.write_text(f'#!/bin/sh\nexec "{installed / name}" "$@"\n')
            else:
                wrapper.write_text(
                    f"#!/bin/sh\necho no {name} in {installed}: pip install -e . >&2\nexit 127\n"
                )
            wrapper.chmod(0o755)
        others = [folder for folder in os.get_exec_path() if Path(folder) != installed]
        return {
            **os.environ,
            "PATH": os.pathsep.join([str(self._tools), *others]),
            "HOME": str(self._tools.parent),
            "XDG_CONFIG_HOME": str(self._tools.parent / "config"),
            "COLUMNS": "110",
            "NO_COLOR": "1",
            "LC_ALL": "C.UTF-8",
        }

    def close(self) -> None:
        for terminal in self._terminals.values():
            terminal.close()
        for pid in self._shells:
            try:
                os.killpg(pid, signal.SIGKILL)
            except ProcessLookupError:  # all of it has ended
                continue


class Step(NamedTuple):
    command: str
    output: list[str]


def session(block: Block) -> Iterator[Step]:
    """The commands of a console block, each with the lines that the page shows below it."""
    lines = iter(block.text.splitlines())
    step: Step | None = None
    for line in lines:
        if not line.startswith("$ "):
            if step is None:
                raise PageError(f"a console block begins with a command (`$ …`), not with {line!r}")
            step.output.append(line)
            continue
        if step is not None:
            yield step
        command = line[2:]
        while command.endswith("\\"):
            command += "\n" + next(lines, "")
        step = Step(command, [])
    if step is not None:
        yield step


def matches(expected: list[str], printed: str) -> bool:
    """Whether output is what a page shows, blanks at line ends and empty lines at both ends aside."""
    pattern = ""
    for line in "\n".join(expected).strip("\n").split("\n"):
        if line.strip() == "...":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += ".*?".join(re.escape(piece) for piece in line.rstrip().split("…")) + r"\n"
    actual = "\n".join(line.rstrip() for line in printed.splitlines()).strip("\n")
    return re.fullmatch(pattern, actual + "\n") is not None


def find_pages(root: Path) -> list[Path]:
    """The README and every page below docs/."""
    return [root / "README.md", *sorted((root / "docs").rglob("*.md"))]
