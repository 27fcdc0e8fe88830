"""Events of a run become log lines: a name in kebab case, and facts as keys.

    12:40:03 warning instance-refused stage=pacs status=A700 reason="out of resources" ...
    {"event": "instance-refused", "stage": "pacs", "status": "A700", ..., "level": "warning", "timestamp": "..."}

The library configures no logging; the command line does, with `Log`. Whoever embeds dcmflow may use an `EventLog` on a structlog
logger of their own.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable, MutableMapping
from typing import Any

import structlog

from dcmflow.flow.events import Event
from dcmflow.status import Status

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
PER_INSTANCE = frozenset({"instance-refused", "instance-skipped", "instance-diverted", "retry-scheduled"})

_COLOURS = {"warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[31m", "debug": "\x1b[2m"}
_BARE = re.compile(r"[\w.,:;/@+*()\[\]'-]+")
_NOT_SHOWN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

Facts = MutableMapping[str, Any]


def event_name(event: Event) -> str:
    """`InstanceRefused` → `instance-refused`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", type(event).__name__).lower()


def event_facts(event: Event) -> dict[str, Any]:
    """The facts of an event; a status as its four digits, and `required` only where it is false."""
    facts = event.facts()
    if facts.get("required") is True:
        del facts["required"]
    status = getattr(event, "status", None)
    if isinstance(status, Status):
        facts["status"] = f"{status:04X}"
    return facts


class EventLog:
    """An observer that writes each event to a structlog logger."""

    def __init__(self, logger: Any, *, without: Iterable[str] = ()) -> None:
        self._logger = logger
        self._without = frozenset(without)

    def __call__(self, event: Event) -> None:
        name = event_name(event)
        if name not in self._without:
            getattr(self._logger, event.level)(name, **event_facts(event))


class _Lines:
    """Where structlog hands its rendered lines; what cannot be written is let go, since observers must not raise."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write

    def msg(self, line: str) -> None:
        try:
            self._write(line)
        except (OSError, ValueError):
            self._write = lambda _: None

    debug = info = warning = error = critical = msg


def logger(
    write: Callable[[str], object], *, level: str = "info", format: str = "text", colour: bool = False
) -> Any:
    """A structlog logger that gives each rendered line to `write`.

    Args:
        level: the least that is written: debug, info, warning or error.
        format: "text" for people, "json" for programs, one object a line.
    """
    processors: list[Any] = [structlog.stdlib.add_log_level]
    if format == "json":
        processors += [structlog.processors.TimeStamper(fmt="iso", utc=True), _as_json]
    else:
        processors += [structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False), TextLine(colour=colour)]
    return structlog.wrap_logger(
        _Lines(write),
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        cache_logger_on_first_use=True,
    )


def _as_json(_: Any, __: str, facts: Facts) -> str:
    return json.dumps(dict(facts), ensure_ascii=False, default=str)


class TextLine:
    """Renders a line for people. Nothing in a value can break the line or command the terminal."""

    def __init__(self, *, colour: bool = False) -> None:
        self._colour = colour

    def __call__(self, _: Any, __: str, facts: Facts) -> str:
        time, level, event = facts.pop("timestamp"), facts.pop("level"), facts.pop("event")
        shown = f"{_COLOURS[level]}{level}\x1b[0m" if self._colour and level in _COLOURS else level
        words = [f"{key}={_value(value)}" for key, value in facts.items()]
        return " ".join([time, shown, _clean(str(event)), *words])


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    text = str(value)
    if _BARE.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{_clean(escaped)}"'


def _clean(text: str) -> str:
    return _NOT_SHOWN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class Forward(logging.Handler):
    """What other libraries say through the standard library's logging becomes lines of the same kind."""

    def __init__(self, loggers: Iterable[Any], level: int) -> None:
        super().__init__(level)
        self._loggers = tuple(loggers)

    def emit(self, record: logging.LogRecord) -> None:
        level = next((name for name, value in reversed(LEVELS.items()) if record.levelno >= value), "debug")
        facts = {"logger": record.name}
        if record.exc_info and record.exc_info[1] is not None:
            facts["reason"] = repr(record.exc_info[1])
        for each in self._loggers:
            getattr(each, level)(record.getMessage(), **facts)
