"""Sub-operations of a scripted SCP: C-MOVE to another node, C-GET on the same association.

`Move` and `Get` do what a well-behaved server does. For anything else there are the pieces: `SendTo`, `SendHere` and
`Answer`, in any order and with any counts.

    on_move=(SendTo(node, three_of_four), Answer(0x0000, fields={"completed": 4, "failed": 0, "warning": 0}))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from dcmflow.status import Status
from dcmflow.testing.peer_record import Seen
from dcmflow.testing.peer_script import Answer, Exchange, Step
from dcmflow.testing.peer_scu import ScriptedScu, Sendable, bytes_of, store_request

Instances = Sequence[Sendable] | Callable[[Exchange], Sequence[Sendable]]

PENDING, CANCELLED = 0xFF00, 0xFE00
SOME_FAILED = 0xB000
ALL_FAILED = 0xA702
UNKNOWN_DESTINATION = 0xA801


class SendTo(Step, frozen=True):
    """Opens an association to a node, stores instances there one after the other, and releases it.

    What is not accepted there is left out; the SCP's `returned` has all answers.

    Attributes:
        node: `"AE@host:port"`; empty: what the SCP's `destinations` have for the move destination.
        instances: what is sent; as often as it is named.
        calling_ae: another AE title than the SCP's.
        originator: say which C-MOVE it belongs to (0000,1030), (0000,1031).
        fields: fields of each C-STORE-RQ that get other values.
    """

    node: str
    instances: Instances
    calling_ae: str = ""
    originator: bool = True
    fields: Mapping[str, Any] = {}

    async def run(self, exchange: Exchange) -> None:
        made = _instances(self.instances, exchange)
        node = self.node or exchange.peer.destinations[exchange.request.move_destination or ""]
        async with _sender(exchange, node, self.calling_ae) as scu:
            if (await scu.associate(instances=made)).what != "A-ASSOCIATE-AC":
                return
            for instance in made:
                if scu.channel.context_for(instance.sop_class_uid, instance.transfer_syntax_uid) is not None:
                    originator = _originator(exchange) if self.originator else None
                    await scu.store(instance, originator=originator, fields=dict(self.fields))
            await scu.release()


class SendHere(Step, frozen=True):
    """Stores instances on the association of the request, one after the other.

    Attributes:
        instances: what is sent; as often as it is named.
        context_id: on this presentation context, whatever it was accepted for.
        fields: fields of each C-STORE-RQ that get other values.
        wait: for each response.
    """

    instances: Instances
    context_id: int | None = None
    fields: Mapping[str, Any] = {}
    wait: bool = True

    async def run(self, exchange: Exchange) -> None:
        for instance in _instances(self.instances, exchange):
            await _store_here(exchange, instance, self.context_id, self.fields, wait=self.wait)


class Move(Step, frozen=True):
    """A whole C-MOVE (PS3.4 C.4.2): sub-operations, a pending answer with counts after each, a final one.

    An unknown destination is A801, a destination that takes nothing A702, some failures B000. A C-CANCEL ends it with FE00.

    Attributes:
        instances: what is sent.
        node: `"AE@host:port"`; empty: what the SCP's `destinations` have for the move destination.
        calling_ae: another AE title than the SCP's.
    """

    instances: Instances
    node: str = ""
    calling_ae: str = ""

    async def run(self, exchange: Exchange) -> None:
        destination = exchange.request.move_destination or ""
        node = self.node or exchange.peer.destinations.get(destination)
        if node is None:
            await Answer(UNKNOWN_DESTINATION, f"{destination} is not known here").run(exchange)
            return
        made = _instances(self.instances, exchange)
        tally = _Tally(len(made))
        try:
            async with _sender(exchange, node, self.calling_ae) as scu:
                if (await scu.associate(instances=made)).what != "A-ASSOCIATE-AC":
                    raise ConnectionError(f"{node} does not associate")
                for instance in made:
                    if exchange.cancelled:
                        break
                    tally.count(await _store_there(scu, instance, exchange))
                    await tally.pending(exchange)
                await scu.release()
        except OSError:
            tally.fail_rest()
        await tally.final(exchange)


class Get(Step, frozen=True):
    """A whole C-GET (PS3.4 C.4.3): sub-operations, a pending answer with counts after each, a final one.

    What no presentation context was accepted for fails. A C-CANCEL ends it with FE00.

    Attributes:
        instances: what is sent.
    """

    instances: Instances

    async def run(self, exchange: Exchange) -> None:
        made = _instances(self.instances, exchange)
        tally = _Tally(len(made))
        for instance in made:
            if exchange.cancelled:
                break
            context = exchange.channel.context_for(instance.sop_class_uid, instance.transfer_syntax_uid)
            tally.count(None if context is None else await _store_here(exchange, instance, context, {}))
            await tally.pending(exchange)
        await tally.final(exchange)


class _Tally:
    def __init__(self, total: int) -> None:
        self.remaining, self.completed, self.failed, self.warning = total, 0, 0, 0

    def count(self, answer: Seen | None) -> None:
        self.remaining -= 1
        status = None if answer is None or answer.status is None else Status(answer.status)
        if status is None or not status.accepted:
            self.failed += 1
        elif status.category == "warning":
            self.warning += 1
        else:
            self.completed += 1

    def fail_rest(self) -> None:
        self.failed += self.remaining
        self.remaining = 0

    async def pending(self, exchange: Exchange) -> None:
        if self.remaining:
            await Answer(PENDING, fields=vars(self)).run(exchange)

    async def final(self, exchange: Exchange) -> None:
        """PS3.4 C.4.2.1.6: the remaining ones are only named when cancelled."""
        counts = dict(vars(self))
        if exchange.cancelled:
            status = CANCELLED
        else:
            del counts["remaining"]
            status = 0 if not self.failed else SOME_FAILED if self.completed or self.warning else ALL_FAILED
        await Answer(status, fields=counts).run(exchange)


def _instances(instances: Instances, exchange: Exchange) -> Sequence[Sendable]:
    return instances(exchange) if callable(instances) else instances


def _originator(exchange: Exchange) -> tuple[str, int]:
    return exchange.channel.peer_ae, exchange.request.message_id or 0


def _sender(exchange: Exchange, node: str, calling_ae: str) -> ScriptedScu:
    ae = calling_ae or exchange.peer.ae
    return ScriptedScu(node, calling_ae=ae, received=exchange.peer.returned)


async def _store_there(scu: ScriptedScu, instance: Sendable, exchange: Exchange) -> Seen | None:
    if scu.channel.context_for(instance.sop_class_uid, instance.transfer_syntax_uid) is None:
        return None
    return await scu.store(instance, originator=_originator(exchange))


async def _store_here(
    exchange: Exchange,
    instance: Sendable,
    context_id: int | None,
    fields: Mapping[str, Any],
    *,
    wait: bool = True,
) -> Seen:
    channel = exchange.channel
    if context_id is None:
        context_id = channel.context_for(instance.sop_class_uid, instance.transfer_syntax_uid)
    if context_id is None:
        raise LookupError(
            f"no context was accepted for {instance.sop_class_uid}; name one: {channel.contexts}"
        )
    command = replace(store_request(next(channel.message_ids), instance, None), **fields)
    before = len(channel.record.of("C-STORE-RSP", association=channel.number))
    await channel.send_message(context_id, command, bytes_of(instance))
    if not wait:
        return exchange.seen
    return await channel.record.wait("C-STORE-RSP", count=before + 1, association=channel.number)
