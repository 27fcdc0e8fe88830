"""Paths in the fields of stages: text in a file, whatever `os.fspath` takes in the DSL."""

from __future__ import annotations

import os
from typing import Any

from msgspec.structs import force_setattr

from dcmflow.errors import ConfigError
from dcmflow.flow.stage import Stage


def settle_path(stage: Stage, key: str) -> None:
    """Make the path in a field a text. Raises ConfigError for what is no path, or an empty one."""
    given: Any = getattr(stage, key)
    try:
        text = os.fspath(given)
    except TypeError:
        raise ConfigError(f"a path is needed, not {type(given).__name__}", key=key) from None
    if not isinstance(text, str):
        text = os.fsdecode(text)
    if not text.strip():
        raise ConfigError("no path was given", key=key)
    if text is not given:
        force_setattr(stage, key, text)
