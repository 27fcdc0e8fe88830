"""Logging of a command: lines on stderr, and in the file of `--log-file`."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dcmflow.cli.common import Common
    from dcmflow.flow.events import Observer


def start_logging(
    options: Common,
    write: Callable[[str], object],
    *,
    live: bool = False,
    process: int | None = None,
    without: Iterable[str] = (),
) -> list[Observer]:
    """Observers that log the events of a run, as the common options say.

    Args:
        write: puts a line on stderr.
        live: a table of stages is shown there, which counts refusals as they happen.
        process: which one of several this is, for every line to say.
        without: events that somebody else tells.
    """
    from dcmflow.observe.log import PER_INSTANCE, EventLog, Forward, logger

    chatty = options.verbose or options.debug
    level = "error" if options.quiet else "debug" if chatty else "warning" if live else "info"
    colour = sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    shown = logger(write, level=level, format=options.log_format, colour=colour)
    if process is not None:
        shown = shown.bind(process=process)
    hidden = {*without, *(PER_INSTANCE if live and not chatty else ())}
    if options.log_format == "text":
        hidden.add("stage-failed")  # the last line of the command says it
    loggers = [shown]
    observers: list[Observer] = [EventLog(shown, without=hidden)]
    stream = options.log_stream
    if stream is not None:

        def write_to_file(line: str) -> None:
            stream.write(line + "\n")
            stream.flush()

        filed = logger(write_to_file, level="debug" if chatty else "info", format=options.log_format)
        if process is not None:
            filed = filed.bind(process=process)
        loggers.append(filed)
        observers.append(EventLog(filed, without=without))
    least = logging.DEBUG if options.debug else logging.INFO if options.verbose else logging.ERROR
    logging.basicConfig(level=least, handlers=[Forward(loggers, least)], force=True)
    logging.captureWarnings(True)
    return observers
