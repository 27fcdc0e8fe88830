"""Instances that came before go no further.

What counts as having come before is what was not refused: a sender that tries again after a refusal gets through. So a
duplicate of an instance that is still under way waits until that one has settled; then it is dropped, or goes on in its place.
Two instances could wait for each other that way when a filter before this one makes several of one; such a duplicate goes on
instead, since an object that comes twice does less harm than one that waits for ever.
"""

from __future__ import annotations

import hashlib
import zlib
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Annotated, Final, Literal

import anyio
from anyio import to_thread
from msgspec import Meta

from dcmflow.dicom.instance import Instance
from dcmflow.dicom.payload import Payload
from dcmflow.errors import DcmflowError
from dcmflow.flow.context import Context
from dcmflow.flow.delivery import Delivery, Receipt
from dcmflow.flow.events import InstanceRefused
from dcmflow.flow.stage import Filter, Inbox, Outlet

LARGE: Final = 1024 * 1024  # from this size on, bytes are added up in a thread
PATIENCE: Final = 30.0  # seconds at the end of the stream, after which what waits goes on

Key = str | bytes


class Dedupe(Filter, frozen=True):
    """Drops instances that came before: by SOP Instance UID, or by the bytes of the data set.

    Of several with the same UID the first one goes on; one of them that has other content is reported.
    """

    by: Annotated[
        Literal["sop-instance", "content"],
        Meta(description="The same is what has the same SOP Instance UID, or the same bytes."),
    ] = "sop-instance"
    remember: Annotated[
        int, Meta(ge=1, description="How many instances are remembered; the oldest are forgotten.")
    ] = 100_000

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[_Actor]:
        yield _Actor(self, context)


class _Seen:
    """An instance that came first, and what waits for it to settle."""

    __slots__ = ("fingerprint", "held", "open")

    def __init__(self, fingerprint: int, receipts: tuple[Receipt, ...]) -> None:
        self.fingerprint = fingerprint
        self.open: tuple[Receipt, ...] = receipts
        self.held: list[Delivery] = []


class _Actor:
    def __init__(self, stage: Dedupe, context: Context) -> None:
        self._stage = stage
        self._context = context
        self._seen: OrderedDict[Key, _Seen] = OrderedDict()
        self._waits: dict[Receipt, set[_Seen]] = {}  # receipts of held deliveries: what they wait for
        self._released: deque[Delivery] = deque()
        self._changed = anyio.Event()
        self._busy = False

    async def run(self, inbox: Inbox, outlet: Outlet) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._send_released, outlet)
            async for delivery in inbox:
                await self._take(delivery, outlet)
            with anyio.move_on_after(PATIENCE):
                await self._settled()
            for seen in {seen for several in self._waits.values() for seen in several}:
                await self._send_all(seen, outlet)
            await self._settled()
            tasks.cancel_scope.cancel()

    async def _settled(self) -> None:
        while self._waits or self._released or self._busy:
            await self._changed.wait()

    def _change(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def _send_released(self, outlet: Outlet) -> None:
        while True:
            while not self._released:
                await self._changed.wait()
            self._busy = True
            await self._take(self._released.popleft(), outlet)
            self._busy = False
            self._change()

    async def _send_all(self, seen: _Seen, outlet: Outlet) -> None:
        held = seen.held
        self._let_go(seen)
        for delivery in held:
            await outlet.send(delivery)

    async def _take(self, delivery: Delivery, outlet: Outlet) -> None:
        try:
            key, fingerprint = await self._identify(delivery.instance)
        except (DcmflowError, OSError) as error:
            self._refuse(delivery, error)
            return
        seen = self._seen.get(key)
        if seen is None:
            self._remember(key, fingerprint, delivery)
            await outlet.send(delivery)
            return
        self._seen.move_to_end(key)
        if seen.fingerprint != fingerprint:
            self._warn(delivery.instance)
        if not seen.open or set(delivery.receipts) <= set(seen.open):
            delivery.drop()
        elif self._waits_for(seen.open, set(delivery.receipts)):
            await outlet.send(delivery)
        else:
            seen.held.append(delivery)
            for receipt in delivery.receipts:
                self._waits.setdefault(receipt, set()).add(seen)

    async def _identify(self, instance: Instance) -> tuple[Key, int]:
        payload, content = instance.payload, self._stage.by == "content"
        large = payload.size > LARGE
        if content:
            return (await to_thread.run_sync(digest, payload) if large else digest(payload)), 0
        return instance.sop_instance_uid, await to_thread.run_sync(checksum, payload) if large else checksum(
            payload
        )

    def _remember(self, key: Key, fingerprint: int, delivery: Delivery) -> None:
        seen = self._seen[key] = _Seen(fingerprint, delivery.receipts)
        if len(self._seen) > self._stage.remember:
            self._seen.popitem(last=False)
        open_receipts = len(delivery.receipts)
        refused = False

        def settled(receipt: Receipt) -> None:
            nonlocal open_receipts, refused
            open_receipts -= 1
            refused = refused or receipt.outcome == "refused"
            if not open_receipts:
                self._decide(key, seen, refused=refused)

        for receipt in delivery.receipts:
            receipt.on_settled(settled)

    def _decide(self, key: Key, seen: _Seen, *, refused: bool) -> None:
        held = seen.held
        self._let_go(seen)
        if refused:
            if self._seen.get(key) is seen:
                del self._seen[key]
            self._released.extend(held)
        else:
            for delivery in held:
                delivery.drop()
        self._change()

    def _let_go(self, seen: _Seen) -> None:
        """Nothing waits for this one any more."""
        for delivery in seen.held:
            for receipt in delivery.receipts:
                waiting = self._waits.get(receipt)
                if waiting is not None:
                    waiting.discard(seen)
                    if not waiting:
                        del self._waits[receipt]
        seen.held = []
        seen.open = ()

    def _waits_for(self, receipts: Iterable[Receipt], wanted: set[Receipt]) -> bool:
        """Whether one of these receipts can settle only after one of the wanted ones."""
        todo, visited = list(receipts), set[Receipt]()
        while todo:
            receipt = todo.pop()
            if receipt in wanted:
                return True
            if receipt not in visited:
                visited.add(receipt)
                todo += [first for seen in self._waits.get(receipt, ()) for first in seen.open]
        return False

    def _refuse(self, delivery: Delivery, error: DcmflowError | OSError) -> None:
        status = error.status if isinstance(error, DcmflowError) else DcmflowError.status
        delivery.refuse(status, self._context.stage, str(error))
        self._context.report(
            InstanceRefused(
                stage=self._context.stage,
                sop_instance_uid=delivery.instance.sop_instance_uid,
                status=status,
                reason=str(error),
                path=delivery.instance.origin.path,
            )
        )

    def _warn(self, instance: Instance) -> None:
        self._context.warn(
            f"conflict: SOP Instance {instance.sop_instance_uid} came before with other content; the first one is kept",
            instance.origin.path,
        )


def checksum(payload: Payload) -> int:
    """Tells versions of an object apart; not meant to withstand anybody's intent. Raises DatasetError."""
    crc = payload.size
    for block in payload.blocks():
        crc = zlib.crc32(block, crc)
    return crc


def digest(payload: Payload) -> bytes:
    """Names the content. Raises DatasetError."""
    found = hashlib.sha256(usedforsecurity=False)
    for block in payload.blocks():
        found.update(block)
    return found.digest()
