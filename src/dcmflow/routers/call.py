"""A Python function as a router."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Annotated, Any, ClassVar

from msgspec import Meta, field
from msgspec.structs import force_setattr

from dcmflow.dicom.instance import Instance
from dcmflow.errors import ConfigError, DcmflowError
from dcmflow.flow import functions
from dcmflow.flow.context import Context
from dcmflow.flow.stage import Router


class _Names(list[str]):
    """The field `branches`, which can be asked as the method of all routers can."""

    __slots__ = ()

    def __call__(self) -> frozenset[str] | None:
        return frozenset(self) or None


class Call(Router, frozen=True):
    """Calls a function with each instance: it returns the name of a branch, or several; none at all means "*".

    The function may be `async`. A plain one runs in the event loop and must not block.
    """

    divisible: ClassVar[bool] = True

    function: Annotated[
        Any,
        Meta(
            description="The function, as 'package.module:name'; modules beside the pipeline file are found.",
            extra_json_schema={"type": "string"},
        ),
    ]
    branches: Annotated[
        list[str],
        Meta(description="The names it may return; with these the wiring is checked before anything moves."),
    ] = field(default_factory=list)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        functions.check_function(self.function)
        names: Any = self.branches
        if isinstance(names, str):
            raise ConfigError(f"branches are several names, e.g. [{names!r}]", key="branches")
        force_setattr(self, "branches", _Names(name for name in names if name != "*"))

    def check(self, context: Context) -> None:
        functions.find(self.function, context)

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[_Actor]:
        yield _Actor(functions.find(self.function, context), functions.label(self.function))


class _Actor:
    def __init__(self, function: Callable[[Instance], Any], label: str) -> None:
        self._function = function
        self._label = label

    async def choose(self, instance: Instance) -> Iterable[str]:
        result = await functions.ask(self._function, instance)
        if result is None:
            return ()
        if isinstance(result, str):
            return (result,)
        if isinstance(result, Iterable) and not isinstance(result, (bytes, Instance)):
            names = tuple(result)
            wrong = next((name for name in names if not isinstance(name, str)), None)
            if wrong is None:
                return names
            result = wrong
        raise DcmflowError(
            f"function {self._label} returned {type(result).__name__}; a router returns names of branches, or None"
        )
