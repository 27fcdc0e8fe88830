"""The way into a sink that can often write without waiting (`Stage.writes_directly`).

Where nothing waits in its inbox, whoever hands on a delivery writes it there and then: no turn of the loop, no other task, and the
receipt is settled when the sender goes on. What would have to wait, or fails, takes the way through the inbox to the workers, where
the policy of the stage is; a sink may be given an instance twice.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, final

from anyio.streams.memory import MemoryObjectSendStream

from dcmflow.flow.delivery import Delivery
from dcmflow.flow.visible_inbox import VisibleChannel

if TYPE_CHECKING:
    from dcmflow.flow.actor import Node


@final
class DirectChannel:
    """The end of an inbox that is sent to."""

    __slots__ = ("_channel", "_node", "_open")

    def __init__(self, channel: MemoryObjectSendStream[Delivery] | VisibleChannel, node: Node) -> None:
        self._channel = channel
        self._node = node
        self._open = True

    def send_nowait(self, delivery: Delivery) -> None:
        """Raises WouldBlock: there is no room in the inbox."""
        node = self._node
        if not self._open or node.ledger.closing or not node.at_rest or not self._write(node, delivery):
            self._channel.send_nowait(delivery)

    def _write(self, node: Node, delivery: Delivery) -> bool:
        started = perf_counter()
        try:
            answer = node.actor.write_nowait(delivery.instance)
        except Exception:  # it is written again by a worker, which says what is wrong with it
            return False
        counters, size = node.counters, delivery.instance.payload.size
        counters.busy += perf_counter() - started
        counters.received += 1
        counters.sent += 1
        counters.bytes += size
        delivery.taken = True
        delivery.accept(lapse=answer is False)
        return True

    async def send(self, delivery: Delivery) -> None:
        await self._channel.send(delivery)

    def clone(self) -> DirectChannel:
        return DirectChannel(self._channel.clone(), self._node)

    def close(self) -> None:
        self._open = False
        self._channel.close()
