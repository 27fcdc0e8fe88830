"""Functions in the fields of stages: `package.module:name`, or a Python function in the DSL."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from dcmflow.dicom.instance import Instance
from dcmflow.errors import ConfigError
from dcmflow.flow.context import Context
from dcmflow.flow.registry import find_function


def check_function(function: Any) -> None:
    """Raise ConfigError for what is neither a function nor the name of one."""
    if isinstance(function, str):
        module, _, name = function.partition(":")
        if not module or not name:
            raise ConfigError(f"{function!r} is no function: write 'package.module:name'", key="function")
    elif not callable(function):
        raise ConfigError(
            f"a function or 'package.module:name' is needed, not {type(function).__name__}", key="function"
        )


def find(function: Any, context: Context) -> Callable[..., Any]:
    """The function itself. Raises ConfigError when it cannot be found or loaded."""
    found = find_function(function, context.base) if isinstance(function, str) else function
    assert callable(found)
    return found


async def ask(function: Callable[[Instance], Any], instance: Instance) -> Any:
    """What a function, plain or async, answers for an instance."""
    answer = function(instance)
    return await answer if inspect.isawaitable(answer) else answer


def label(function: Any) -> str:
    """How a function is called in messages."""
    return str(function) if isinstance(function, str) else getattr(function, "__qualname__", repr(function))
