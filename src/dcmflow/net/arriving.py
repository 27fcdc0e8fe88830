"""What a task of ours gets from a peer, for whoever reads it: in the order in which it comes, and then why there is no more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

import anyio
from anyio import EndOfStream
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from dcmflow.errors import DcmflowError

T = TypeVar("T")
R = TypeVar("R", bound="Arriving[Any]")


class Arriving(Generic[T]):
    """The reader's end."""

    def __init__(self, items: MemoryObjectReceiveStream[T]) -> None:
        self._items = items
        self._failure: Exception | None = None

    async def take(self) -> T:
        """The next one. Raises StopAsyncIteration: there is none; whatever it ended with: that, once."""
        try:
            return await self._items.receive()
        except EndOfStream:
            failure, self._failure = self._failure, None
            if failure is not None:
                raise failure from None
            raise StopAsyncIteration from None

    def fail(self, error: Exception) -> None:
        """It ends with this error."""
        self._failure = error


@asynccontextmanager
async def arriving(
    reader: R,
    give: MemoryObjectSendStream[T],
    take: MemoryObjectReceiveStream[T],
    work: Callable[[], Awaitable[None]],
) -> AsyncIterator[R]:
    """In the block, `work` writes into the stream what the reader reads; leaving it earlier calls the work off.

    Args:
        work: a DcmflowError that ends it comes out at the reader, after all that came before.
    """

    async def run() -> None:
        with give:
            try:
                await work()
            except DcmflowError as error:
                reader.fail(error)

    failure: Exception | None = None
    with take:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            try:
                yield reader
            except Exception as error:  # is not to come out in a group
                failure = error
            finally:
                tasks.cancel_scope.cancel()  # before the stream is closed, which who writes into it would take for an error
    if failure is not None:
        raise failure
