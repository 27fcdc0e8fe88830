"""What several stages of one run share: a listener on a port, a pool of associations with one node.

A resource is a context manager that lives in a task of its own. Task groups and cancel scopes have to be left by the task
that entered them, the last one first; a resource is entered while some stage opens and outlives that stage, so it cannot
be entered where it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, TypeVar

import anyio
from anyio.abc import TaskGroup, TaskStatus

T = TypeVar("T")


class Resources:
    """The resources of one run, an async context manager: `async with Resources() as resources`.

    Leaving the block closes them, in the reverse of the order in which they came about, each after the one before has
    closed; whoever uses them has to be gone by then. A resource that fails meanwhile cancels the block, and its error
    comes out of it. When the block is cancelled, resources stay until it is left, and close cancelled.
    """

    def __init__(self) -> None:
        self._tasks: TaskGroup
        self._open = False
        self._held: dict[Hashable, _Held] = {}
        self._coming: dict[Hashable, anyio.Event] = {}

    async def __aenter__(self) -> Resources:
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        self._open = False
        with anyio.CancelScope(shield=True):
            for held in reversed(self._held.values()):
                await held.close()
        return await self._tasks.__aexit__(kind, error, trace)

    async def get(self, key: Hashable, make: Callable[[], AbstractAsyncContextManager[T]]) -> T:
        """The resource of this key; entered at the first request, for all that ask.

        Args:
            key: what it is the one of, such as `("listener", host, port)`.
            make: makes its context manager, which may itself ask for other resources.

        Raises:
            RuntimeError: the resources are closed or not open yet.
            Exception: what entering raised; the next one who asks tries again.
        """
        while key in self._coming:
            await self._coming[key].wait()
        if not self._open:
            raise RuntimeError(f"the resource {key!r} was asked for outside of a run")
        if key not in self._held:
            coming = self._coming[key] = anyio.Event()
            held = _Held()
            try:
                await self._tasks.start(held.run, make, name=f"dcmflow resource {key!r}")
            finally:
                del self._coming[key]
                coming.set()
            if held.failure is not None:
                raise held.failure
            self._held[key] = held
        value: T = self._held[key].value
        return value


class _Held:
    """One resource in its task."""

    def __init__(self) -> None:
        self.value: Any = None
        self.failure: Exception | None = None
        self._scope = anyio.CancelScope()
        self._closing = anyio.Event()
        self._closed = anyio.Event()

    async def run(
        self, make: Callable[[], AbstractAsyncContextManager[Any]], *, task_status: TaskStatus[None]
    ) -> None:
        entered = False
        try:
            with self._scope:
                async with make() as self.value:
                    entered = True
                    self._scope.shield = True  # those who use it close first
                    task_status.started()
                    await self._closing.wait()
        except Exception as error:
            if entered:
                raise
            self.failure = error
            task_status.started()
        finally:
            self._closed.set()

    async def close(self) -> None:
        self._closing.set()
        self._scope.shield = False
        await self._closed.wait()
