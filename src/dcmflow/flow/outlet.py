"""The sending side of a stage: the same delivery to every stage that follows, waiting for room in each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from anyio import WouldBlock
from anyio.streams.memory import MemoryObjectSendStream

from dcmflow.flow.delivery import Delivery
from dcmflow.flow.direct_channel import DirectChannel
from dcmflow.flow.visible_inbox import VisibleChannel
from dcmflow.status import Status

if TYPE_CHECKING:
    from dcmflow.flow.ledger import Ledger

Channel = MemoryObjectSendStream[Delivery] | VisibleChannel | DirectChannel


class Fanout:
    """Gives to all of its channels; those with room get theirs before any full one is waited for."""

    __slots__ = ("channels",)

    def __init__(self, channels: tuple[Channel, ...]) -> None:
        self.channels: tuple[Channel, ...] = channels

    async def send(self, delivery: Delivery) -> None:
        """Hand on; the delivery is not the caller's any more."""
        if len(self.channels) == 1:
            channel = self.channels[0]
            try:
                channel.send_nowait(delivery)
            except WouldBlock:
                await channel.send(delivery)
        elif self.channels:
            full = self._spread(self._copies(delivery))  # held here: cancelled, what was not sent is not lost
            for channel, copy in full:
                await channel.send(copy)
        else:
            delivery.refuse(Status.PROCESSING_FAILURE, "", "there is no stage to take it")

    async def emit(self, delivery: Delivery, ledger: Ledger) -> None:
        """As `send`, for a source: it counts as emitted when the first channel has taken it, and not before.

        Cancelled while it waits, what no stage has taken is called back: it never was or, when another branch
        has it, is refused on this one.
        """
        receipt = delivery.receipts[0]
        copies = self._copies(delivery) if len(self.channels) > 1 else [delivery]
        full = self._spread(copies)
        if len(full) < len(copies):
            ledger.admit(receipt)
        try:
            while full:
                channel, copy = full[0]
                await channel.send(copy)
                del full[0]
                ledger.admit(receipt)
        except BaseException:
            called_back = [copy for _, copy in full if copy.call_back()]
            if receipt.admitted or len(called_back) < len(full):
                ledger.admit(receipt)
                for _ in called_back:
                    receipt.give_up()
            else:
                ledger.withdraw(receipt)
            raise

    def _copies(self, delivery: Delivery) -> list[Delivery]:
        return delivery.fork(*(delivery.instance for _ in self.channels))

    def _spread(self, copies: list[Delivery]) -> list[tuple[Channel, Delivery]]:
        """Give to the channels that have room; returns the others with what they are to get."""
        full = []
        for channel, copy in zip(self.channels, copies, strict=True):
            try:
                channel.send_nowait(copy)
            except WouldBlock:
                full.append((channel, copy))
        return full

    def close(self) -> None:
        for channel in self.channels:
            channel.close()


class Branches:
    """The outlet of a stage: one fan-out, or for a router one per branch."""

    __slots__ = ("by_name", "main")

    def __init__(self, by_name: Mapping[str | None, Fanout]) -> None:
        self.by_name: Mapping[str | None, Fanout] = by_name
        self.main: Fanout = by_name.get(None, Fanout(()))

    async def send(self, delivery: Delivery, branch: str | None = None) -> None:
        await (self.main if branch is None else self.by_name[branch]).send(delivery)

    def close(self) -> None:
        for fanout in self.by_name.values():
            fanout.close()
