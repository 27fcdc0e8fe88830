"""An inbox whose stage sees what waits in it, for a stage that prepares for what comes (`Stage.looks_ahead`).

The memory streams of anyio do not show what they hold. So both ends of such an inbox keep a list of it; other stages do not pay
for that.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import final

from anyio.streams.memory import (
    MemoryObjectReceiveStream,
    MemoryObjectSendStream,
    MemoryObjectStreamStatistics,
)

from dcmflow.dicom.instance import Instance
from dcmflow.flow.delivery import Delivery

Waiting = dict[int, Delivery]  # by identity, the oldest first


@final
class VisibleChannel:
    """The end that is sent to."""

    __slots__ = ("_channel", "_waiting")

    def __init__(self, channel: MemoryObjectSendStream[Delivery], waiting: Waiting) -> None:
        self._channel = channel
        self._waiting = waiting

    def send_nowait(self, delivery: Delivery) -> None:
        self._channel.send_nowait(delivery)
        self._waiting[id(delivery)] = delivery

    async def send(self, delivery: Delivery) -> None:
        self._waiting[id(delivery)] = delivery  # what waits for room is seen, too
        try:
            await self._channel.send(delivery)
        except BaseException:
            self._waiting.pop(id(delivery), None)
            raise

    def clone(self) -> VisibleChannel:
        return VisibleChannel(self._channel.clone(), self._waiting)

    def close(self) -> None:
        self._channel.close()


@final
class VisibleInbox:
    """The end that is received from."""

    __slots__ = ("_inbox", "_waiting")

    def __init__(self, inbox: MemoryObjectReceiveStream[Delivery], waiting: Waiting) -> None:
        self._inbox = inbox
        self._waiting = waiting

    def receive_nowait(self) -> Delivery:
        return self._taken(self._inbox.receive_nowait())

    async def receive(self) -> Delivery:
        return self._taken(await self._inbox.receive())

    def _taken(self, delivery: Delivery) -> Delivery:
        self._waiting.pop(id(delivery), None)
        return delivery

    def upcoming(self) -> Iterator[Instance]:
        """What waits, the oldest first, as it is now."""
        return iter([delivery.instance for delivery in self._waiting.values()])

    def statistics(self) -> MemoryObjectStreamStatistics:
        return self._inbox.statistics()

    def close(self) -> None:
        self._inbox.close()
        self._waiting.clear()
