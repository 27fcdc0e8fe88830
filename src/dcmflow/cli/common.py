"""Options that every command has, before or after its name, and how a command ends.

They are taken from the arguments before the rest is parsed, so that `dcmflow --debug run x.toml` and
`dcmflow run x.toml --debug` are the same and no command has to repeat them.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import IO

DONE, SOME_FAILED, WRONG, NOTHING_TRIED, INTERRUPTED = 0, 1, 2, 3, 130

HELP = """\
Common options, before or after the command:
  --config FILE             the settings file
  -q, --quiet               errors only, no progress, no summary
  -v, --verbose             more about what happens
  --debug                   everything, and tracebacks
  --no-progress             no progress on a terminal
  --log-file FILE           log lines go to this file too
  --log-format text|json    how log lines are written
"""

_FLAGS = {
    "--quiet": "quiet",
    "-q": "quiet",
    "--verbose": "verbose",
    "-v": "verbose",
    "--debug": "debug",
    "--no-progress": "no_progress",
}
_VALUES = {"--config": "config", "--log-file": "log_file", "--log-format": "log_format"}
# `sync -q KEY=VALUE` is a query, as in the tools before it; --quiet has its long name there
_OWN = {"sync": {"-q"}}


def help_of(command: str) -> str:
    """The common options as a command has them."""
    return HELP.replace("-q, --quiet", "--quiet    ") if "-q" in _OWN.get(command, ()) else HELP


class Usage(Exception):
    """What was written on the command line cannot be right."""


@dataclass(frozen=True)
class Common:
    """The options that every command has."""

    config: str | None = None
    quiet: bool = False
    verbose: bool = False
    debug: bool = False
    no_progress: bool = False
    log_file: str | None = None
    log_format: str = "text"
    log_stream: IO[str] | None = field(default=None, compare=False)

    def checked(self) -> Common:
        """The same with the log file open. Raises Usage when options contradict each other or it cannot be written."""
        if self.quiet and (self.verbose or self.debug):
            raise Usage(f"--quiet and {'--debug' if self.debug else '--verbose'} contradict each other")
        if self.log_format not in ("text", "json"):
            raise Usage(f"--log-format is text or json, not {self.log_format!r}")
        if self.log_file is None:
            return self
        try:
            stream = open(self.log_file, "a", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
        except OSError as error:
            reason = error.strerror or error
            raise Usage(
                f"--log-file {self.log_file} cannot be written: {reason}; name another file"
            ) from error
        return replace(self, log_stream=stream)


_current: ContextVar[Common | None] = ContextVar("common", default=None)


def options() -> Common:
    """The common options of the command that runs."""
    return _current.get() or Common()


def use(common: Common) -> None:
    _current.set(common)


def close() -> None:
    """Close the log file; what is on its way to it is written."""
    common = _current.get()
    if common is not None and common.log_stream is not None:
        with contextlib.suppress(OSError):
            common.log_stream.close()


def split(arguments: Iterable[str], commands: Iterable[str]) -> tuple[Common, list[str]]:
    """The common options, and the arguments without them; what stands after `--` is left alone.

    Raises Usage when an option lacks its value.
    """
    commands = set(commands)
    found: dict[str, str | bool] = {}
    rest: list[str] = []
    command: str | None = None
    waiting = list(reversed(list(arguments)))
    while waiting:
        word = waiting.pop()
        if word == "--":
            rest += [word, *reversed(waiting)]
            break
        name, equals, value = word.partition("=")
        if command is not None and name in _OWN.get(command, ()):
            rest.append(word)
        elif word in _FLAGS:
            found[_FLAGS[word]] = True
        elif name in _VALUES:
            if not equals:
                if not waiting or waiting[-1] == "--":
                    raise Usage(f"{name} needs a value")
                value = waiting.pop()
            if not value:
                raise Usage(f"{name} needs a value")
            found[_VALUES[name]] = value
        else:
            if command is None and word in commands:
                command = word
            rest.append(word)
    return Common(**found), rest  # type: ignore[arg-type]


def say(text: str = "") -> None:
    """A line for people, on stderr."""
    with contextlib.suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


def notice(level: str, text: str, **facts: object) -> None:
    """`dcmflow: error: ...` on stderr, or one JSON line where log lines are JSON."""
    if options().log_format == "json":
        import json

        say(json.dumps({"event": level, "level": level, "message": text, **facts}, default=str))
    else:
        say(f"dcmflow: {level}: {text}")


def warn(text: str) -> None:
    """Something a person should know, although the command goes on."""
    notice("warning", text)


def flush_streams() -> None:
    """Write out what is buffered; where nobody reads it, let it go, so that the exit code stays what it is."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            discard(stream)


def discard(stream: IO[str]) -> None:
    """What is still written to this stream goes nowhere, and ends without a message."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def chosen(format: str | None, known: tuple[str, ...], *, terminal: str, pipe: str = "json") -> str:
    """The format to write: what `--format` says, else by what stdout is. Raises Usage for an unknown one."""
    if format is None:
        return terminal if sys.stdout.isatty() else pipe
    if format not in known:
        raise Usage(f"--format is {', '.join(known[:-1])} or {known[-1]}, not {format!r}")
    return format


def print_json(value: object) -> None:
    """JSON for people and programs on stdout: indented, Unicode as it is."""
    import json

    print(json.dumps(value, indent=2, ensure_ascii=not _unicode_out(), default=str))


def _unicode_out() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
