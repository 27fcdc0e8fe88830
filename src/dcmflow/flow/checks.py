"""Whether the values in a stage are what its type says; the DSL takes anything, a pipeline file does not."""

from __future__ import annotations

from datetime import date, datetime, time
from typing import Any, get_type_hints

import msgspec

from dcmflow.errors import ConfigError
from dcmflow.flow.capacity import Limits
from dcmflow.flow.stage import Stage


class _BeyondFiles(Exception):
    """A value, or a type, that no pipeline file can hold: whoever made the stage knows what it is."""


def _beyond(*_: Any) -> Any:
    raise _BeyondFiles


def check_values(name: str, stage: Stage) -> None:
    """Raise ConfigError for the first field whose value is not of its type."""
    hints = get_type_hints(type(stage), include_extras=True)
    for field in msgspec.structs.fields(stage):
        problem = _problem(getattr(stage, field.name), hints[field.name])
        if problem:
            raise ConfigError(problem, table=f"{stage.kind}s.{name}", key=field.encode_name)


def check_limits(limits: Any) -> None:
    """Raise ConfigError for what are no limits."""
    problem = _problem(limits, Limits)
    if problem:
        raise ConfigError(problem, key="limits")


def _problem(value: Any, hint: Any) -> str:
    if hint is Any:
        return ""
    try:
        plain = msgspec.to_builtins(value, builtin_types=(datetime, date, time), enc_hook=_beyond)
        found = msgspec.convert(plain, hint, dec_hook=_beyond)
    except (_BeyondFiles, RecursionError):
        return ""
    except msgspec.ValidationError as error:
        return str(error).replace("`", "'").replace(" - at '$'", "")
    except TypeError:
        return ""  # a type of which msgspec knows nothing
    if isinstance(found, msgspec.Struct) and not isinstance(value, msgspec.Struct):
        return f"a {type(found).__name__}(...) is needed, not {type(value).__name__}"
    return ""
