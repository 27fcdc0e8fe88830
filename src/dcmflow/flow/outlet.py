"""The sending side of a stage: the same delivery to every stage that follows, waiting for room in each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from anyio import WouldBlock
from anyio.streams.memory import MemoryObjectSendStream

from dcmflow.flow.delivery import Delivery
from dcmflow.status import Status

if TYPE_CHECKING:
    from dcmflow.flow.ledger import Ledger

Channel = MemoryObjectSendStream[Delivery]


class Fanout:
    """Gives to all of its channels; those with room get theirs before any full one is waited for."""

    __slots__ = ("channels",)

    def __init__(self, channels: tuple[Channel, ...]) -> None:
        self.channels = channels

    async def send(self, delivery: Delivery) -> None:
        """Hand on; the delivery is not the caller's any more."""
        if len(self.channels) == 1:
            channel = self.channels[0]
            try:
                channel.send_nowait(delivery)
            except WouldBlock:
                await channel.send(delivery)
        else:
            await self._spread(delivery)

    async def emit(self, delivery: Delivery, ledger: Ledger) -> None:
        """As `send`, for a source: it counts as emitted when the first channel has taken it, and not before."""
        receipt = delivery.receipts[0]
        try:
            if len(self.channels) == 1:
                channel = self.channels[0]
                try:
                    channel.send_nowait(delivery)
                except WouldBlock:
                    await channel.send(delivery)
                ledger.admit(receipt)
            else:
                await self._spread(delivery, ledger)
        except BaseException:
            if not receipt.admitted:
                delivery._done = True
                ledger.withdraw(receipt)
            raise

    async def _spread(self, delivery: Delivery, ledger: Ledger | None = None) -> None:
        if not self.channels:
            delivery.refuse(Status.PROCESSING_FAILURE, "", "there is no stage to take it")
            return
        copies = delivery.fork(*(delivery.instance for _ in self.channels))
        full: list[tuple[Channel, Delivery]] = []
        for channel, copy in zip(self.channels, copies, strict=True):
            try:
                channel.send_nowait(copy)
            except WouldBlock:
                full.append((channel, copy))
        receipt = delivery.receipts[0]
        if ledger is not None and len(full) < len(copies):
            ledger.admit(receipt)
        try:
            while full:
                channel, copy = full[0]
                await channel.send(copy)
                full.pop(0)
                if ledger is not None:
                    ledger.admit(receipt)
        except BaseException:
            for _, copy in full:
                if ledger is not None and not receipt.admitted:
                    copy._done = True
                else:
                    copy.refuse(Status.CANCELLED, "", "the pipeline was cancelled")
            raise

    def close(self) -> None:
        for channel in self.channels:
            channel.close()


class Branches:
    """The outlet of a stage: one fan-out, or for a router one per branch."""

    __slots__ = ("by_name", "main")

    def __init__(self, by_name: Mapping[str | None, Fanout]) -> None:
        self.by_name = by_name
        self.main = by_name.get(None, Fanout(()))

    async def send(self, delivery: Delivery, branch: str | None = None) -> None:
        await (self.main if branch is None else self.by_name[branch]).send(delivery)

    def close(self) -> None:
        for fanout in self.by_name.values():
            fanout.close()
