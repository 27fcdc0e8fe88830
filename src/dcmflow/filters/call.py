"""A Python function as a filter."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Annotated, Any, ClassVar

from msgspec import Meta

from dcmflow.dicom.instance import Instance
from dcmflow.errors import DcmflowError
from dcmflow.flow import functions
from dcmflow.flow.context import Context
from dcmflow.flow.stage import Filter


class Call(Filter, frozen=True):
    """Calls a function with each instance: it returns the instance to go on, another one, several, or None to drop it.

    The function may be `async`. A plain one runs in the event loop and must not block; what takes long belongs in a thread or in
    an `async` function that waits.
    """

    divisible: ClassVar[bool] = True

    function: Annotated[
        Any,
        Meta(
            description="The function, as 'package.module:name'; modules beside the pipeline file are found.",
            extra_json_schema={"type": "string"},
        ),
    ]

    def __post_init__(self) -> None:
        functions.check_function(self.function)

    def check(self, context: Context) -> None:
        functions.find(self.function, context)

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[_Actor]:
        yield _Actor(functions.find(self.function, context), functions.label(self.function))


class _Actor:
    def __init__(self, function: Callable[[Instance], Any], label: str) -> None:
        self._function = function
        self._label = label

    async def process(self, instance: Instance) -> Instance | Iterable[Instance] | None:
        result = await functions.ask(self._function, instance)
        if result is None or isinstance(result, Instance):
            return result
        if isinstance(result, Iterable) and not isinstance(result, (str, bytes)):
            several = tuple(result)
            wrong = next((item for item in several if not isinstance(item, Instance)), None)
            if wrong is None:
                return several
            result = wrong
        raise DcmflowError(
            f"function {self._label} returned {type(result).__name__}; a filter returns an Instance, several, or None"
        )
