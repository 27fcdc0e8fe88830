"""A message that goes out while its data set still comes in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from dcmflow.net.transport import Transport
    from dcmflow.protocol.begun import Begun
    from dcmflow.protocol.fragment import Buffer


@final
class Outgoing:
    """One message; made by `Association.begin`."""

    __slots__ = ("_begun", "_transport", "_write")

    def __init__(
        self,
        begun: Begun,
        transport: Transport,
        write: Callable[[Sequence[Buffer], float | None], Awaitable[None]],
    ) -> None:
        self._begun = begun
        self._transport = transport
        self._write = write

    @property
    def possible(self) -> bool:
        """It can be written a little at a time."""
        return not self._transport.tls

    @property
    def begun(self) -> bool:
        """Something of it has been written."""
        return self._begun.written > 0

    @property
    def wanted(self) -> int:
        """The size of the data set from which on something can be written."""
        return self._begun.wanted

    def feed(self, data: bytearray) -> None:
        """Write what can be written without waiting.

        Args:
            data: what there is of the data set, from its beginning on; it goes on behind.

        Raises:
            OSError: the connection is lost.
        """
        begun, transport = self._begun, self._transport
        view = memoryview(data)  # while there is one, the data set cannot grow
        buffers = begun.ready(view)
        try:
            begun.written += transport.write_some(buffers)
        finally:
            for buffer in buffers:
                if isinstance(buffer, memoryview):
                    buffer.release()
            view.release()
        transport.unfinished = not begun.between

    async def finish(self, segments: Sequence[Buffer], patience: float) -> None:
        """Write the rest; the data set is whole.

        Args:
            patience: seconds within which something must go each time it waits.

        Raises:
            NetworkError: the connection is lost, or nothing could be written for so long.
        """
        await self._write(self._begun.rest(segments), patience)
