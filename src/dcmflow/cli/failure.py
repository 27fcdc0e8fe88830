"""An error becomes one line for people and an exit code for programs."""

from __future__ import annotations

import re
import sys

from dcmflow.cli.common import NOTHING_TRIED, SOME_FAILED, WRONG, Usage, notice, options, say
from dcmflow.errors import ConfigError, DcmflowError, GraphError, NetworkError, StageError

_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")


def complain(error: Exception, *, debug: bool) -> int:
    """Say what went wrong, on stderr, and return the exit code. A traceback only when `debug` is set."""
    text, code = describe(error)
    facts = {}
    if debug:
        import traceback

        trace = "".join(traceback.format_exception(error)).rstrip()
        if options().log_format == "json":
            facts["traceback"] = trace
        else:
            say(trace)
    notice("error", text if facts else printable(text), **facts)
    return code


def describe(error: Exception) -> tuple[str, int]:
    """What to say about an error, and the exit code."""
    text = "\n".join([str(error) or type(error).__name__, *getattr(error, "__notes__", [])])
    if _is_parse_error(error):
        return f"{text.strip()} (see {_help_command(error)})", WRONG
    if isinstance(error, Usage | ConfigError | GraphError):
        return text, WRONG
    if isinstance(error, StageError):
        if error.opening:
            return text, WRONG
        return text, NOTHING_TRIED if isinstance(error.__cause__, NetworkError) else SOME_FAILED
    if isinstance(error, NetworkError):
        return text, NOTHING_TRIED
    if isinstance(error, OSError):
        return (
            f"{error.filename}: {error.strerror}" if error.filename else error.strerror or text,
            SOME_FAILED,
        )
    if isinstance(error, DcmflowError):
        return text, SOME_FAILED
    if isinstance(error, ExceptionGroup):
        texts = [describe(inner)[0] for inner in error.exceptions]
        return "; ".join(texts), SOME_FAILED
    return (
        f"internal error: {type(error).__name__}: {text}; run it again with --debug to see where",
        SOME_FAILED,
    )


def printable(text: str, *, lines: bool = True) -> str:
    """The text without anything that a terminal would obey; line breaks stay where `lines` says so."""
    safe = _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
    return safe if lines else safe.replace("\n", "\\n")


def _is_parse_error(error: Exception) -> bool:
    exceptions = sys.modules.get("cyclopts.exceptions")
    return exceptions is not None and isinstance(error, exceptions.CycloptsError)


def _help_command(error: Exception) -> str:
    chain = getattr(error, "command_chain", None) or ()
    return " ".join(["dcmflow", *chain, "--help"])
