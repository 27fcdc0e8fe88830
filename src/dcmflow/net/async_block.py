"""Objects that are used in an `async with` block and have tasks of their own meanwhile."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Self


class AsyncBlock:
    """`_live()` says what happens around the block.

    A task group puts whatever passes through it into an exception group. What the block raises is not to be changed by that: it
    does not pass through.
    """

    _life: AbstractAsyncContextManager[None]

    def _live(self) -> AbstractAsyncContextManager[None]:
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        life = self._live()
        await life.__aenter__()  # where that fails, what is in use stays in use
        self._life = life
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if isinstance(error, Exception):
            await self._life.__aexit__(None, None, None)
            return False
        return await self._life.__aexit__(kind, error, trace)
