"""An open stage, whose own errors are StageErrors that name it."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any

from dcmflow.errors import StageError
from dcmflow.flow.context import Context
from dcmflow.flow.failure import could_not_open, describe, leaves, only_cause
from dcmflow.flow.stage import Stage


class Opened:
    """`stage.open(context)` as a context manager.

    Raises:
        StageError: it could not open (`.opening`), or could not close. When an error is on its way out already, that one
            goes on and notes that the stage could not close.
    """

    def __init__(self, name: str, stage: Stage, context: Context) -> None:
        self._name = name
        self._stage = stage
        self._context = context
        self._inner: AbstractAsyncContextManager[Any]

    async def __aenter__(self) -> Any:
        try:
            self._inner = self._stage.open(self._context)
            return await self._inner.__aenter__()
        except StageError:
            raise
        except Exception as error:
            raise could_not_open(self._name, self._stage.kind, only_cause(error)) from error

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        try:
            return await self._inner.__aexit__(kind, error, trace)
        except Exception as raised:
            if error is not None and set(map(id, leaves(raised))) <= set(map(id, leaves(error))):
                raise
            cause = only_cause(raised)
            text = f"{self._stage.kind} {self._name!r} could not close: {describe(cause)}"
            if isinstance(error, Exception):
                error.add_note(text)
                return None
            if isinstance(cause, StageError):
                raise
            raise StageError(text, stage=self._name) from cause
