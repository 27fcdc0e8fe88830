"""What became of an instance.

A *receipt* is made when a source emits an instance and settles once, to a DIMSE status. A *delivery* is one
copy of that instance under way: it holds one share of the receipt. A fan-out adds shares, a filter that
makes several instances adds shares, and every share is given back by exactly one of `accept`, `drop` and
`refuse`. When the last one is back the receipt settles:

    refused     if any share was refused: the status is that of the first refusal
    accepted    else, if any sink accepted
    dropped     else: a filter let it fall, and the sender is told Success, since that is what was asked for

The receipt is no part of the instance: instances split and join, the promise to the sender is one. A stage
that joins several instances into one sends a delivery that holds a share of each of their receipts.

Nothing here waits except `Receipt.wait`. All of it runs on the event loop's thread, so there are no locks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import anyio

from dcmflow.status import Status

if TYPE_CHECKING:
    from dcmflow.dicom.instance import Instance
    from dcmflow.dicom.payload import Payload
    from dcmflow.flow.ledger import Ledger
    from dcmflow.flow.statistics import Counters

Outcome = Literal["accepted", "dropped", "refused"]


class Receipt:
    """Settles once to a DIMSE status, when everything made from an emitted instance was accepted or one of them refused.

    Attributes:
        source: the stage that emitted it.
        instance_uid, path: of the emitted instance.
        outcome: None until settled.
        status: None until settled.
        stage, reason: who refused and why; empty otherwise.
        complete: accepted, and by every sink it came to, best-effort ones included.
        named: its refusal was reported by the stage that refused.
    """

    __slots__ = (
        "_accepted",
        "_callbacks",
        "_event",
        "_lapses",
        "_ledger",
        "_refusal",
        "_shares",
        "admitted",
        "charge",
        "instance_uid",
        "named",
        "outcome",
        "path",
        "reason",
        "size",
        "source",
        "stage",
        "status",
    )

    def __init__(self, ledger: Ledger, source: str, instance: Instance, charge: int) -> None:
        self._ledger = ledger
        self._shares = 1
        self._accepted = False
        self._lapses = 0
        self._event: anyio.Event | None = None
        self._callbacks: list[Callable[[Receipt], None]] | None = None
        self.admitted: bool = False
        self.named: bool = False
        self.source: str = source
        self.instance_uid: str = instance.sop_instance_uid
        self.path: str | None = instance.origin.path
        self.charge: int = charge
        self.size: int = instance.payload.size
        self.outcome: Outcome | None = None
        self.status: Status | None = None
        self._refusal: tuple[Status, str, str] | None = None
        self.stage: str = ""
        self.reason: str = ""

    async def wait(self) -> Status:
        """Wait until settled and return the status. Any number of tasks may wait."""
        if self.outcome is None:
            if self._event is None:
                self._event = anyio.Event()
            await self._event.wait()
        assert self.status is not None
        return self.status

    @property
    def complete(self) -> bool:
        return self.outcome == "accepted" and not self._lapses

    def on_settled(self, callback: Callable[[Receipt], None]) -> None:
        """Call `callback(receipt)` when settled, at once if it is; it must not block or raise."""
        if self.outcome is not None:
            callback(self)
        elif self._callbacks is None:
            self._callbacks = [callback]
        else:
            self._callbacks.append(callback)

    def _add(self, shares: int) -> None:
        self._shares += shares

    def _give_back(self) -> None:
        self._shares -= 1
        if self._shares == 0 and self.outcome is None:
            self._settle()

    def _note_refusal(self, status: Status, stage: str, reason: str) -> None:
        if self._refusal is None:
            self._refusal = (status, stage, reason)

    def _settle(self) -> None:
        if self._refusal is not None:
            self.outcome = "refused"
            self.status, self.stage, self.reason = self._refusal
        else:
            self.outcome = "accepted" if self._accepted else "dropped"
            self.status = Status.SUCCESS
        self._ledger.settled(self)
        if self._event is not None:
            self._event.set()
        callbacks, self._callbacks = self._callbacks, None
        for callback in callbacks or ():
            try:
                callback(self)
            except Exception as error:  # it belongs to somebody else than who settles this
                self._ledger.failed(error)

    def give_up(self) -> None:
        """Give back the share of a copy that its source called back while another copy is under way."""
        self._note_refusal(
            Status.CANCELLED, self.source, "its source stopped waiting for room in every branch"
        )
        self._give_back()

    def lose(self) -> None:
        """Give back a share that a stage let go of."""
        self._note_refusal(Status.PROCESSING_FAILURE, "", "lost: a stage let go of it without settling it")
        self._give_back()

    def close(self, status: Status, reason: str) -> None:
        """Refuse whatever is still open, because the pipeline was cancelled."""
        if self.outcome is None:
            self._note_refusal(status, "", reason)
            self._settle()

    def __repr__(self) -> str:
        state = self.outcome or f"{self._shares} open"
        return f"<Receipt {self.instance_uid} {state}>"


class Delivery:
    """One copy of an instance under way, with its share of the receipt.

    Attributes:
        instance: what is under way.
        receipts: what it settles; several when instances were joined.
        taken: a stage has taken it out of its inbox. Until then its sender may still call it back.
    """

    __slots__ = ("_counters", "_done", "_shared", "instance", "receipts", "taken")

    def __init__(self, instance: Instance, *receipts: Receipt, shared: bool = False) -> None:
        self.instance: Instance = instance
        self.receipts: tuple[Receipt, ...] = receipts
        self.taken: bool = False
        self._done = False
        self._shared = shared
        self._counters: Counters | None = None

    def accept(self, *, lapse: bool = False) -> None:
        """A sink has it, for good; a lapse means that it has another version of it and kept that."""
        if not self._done:
            self._done = True
            if self._counters is not None:
                self._counters.sent += 1
            for receipt in self.receipts:
                receipt._accepted = True
                receipt._lapses += lapse
                receipt._give_back()

    def drop(self, *, lapse: bool = False) -> None:
        """It goes no further and nobody minds; a lapse means that something was meant to take it and did not."""
        if not self._done:
            self._done = True
            if self._counters is not None:
                self._counters.dropped += 1
            for receipt in self.receipts:
                receipt._lapses += lapse
                receipt._give_back()

    def refuse(self, status: Status, stage: str, reason: str) -> None:
        """It was not accepted."""
        if not self._done:
            self._done = True
            if self._counters is not None:
                self._counters.refused += 1
            for receipt in self.receipts:
                receipt._note_refusal(status, stage, reason)
                receipt._give_back()

    def replace(self, instance: Instance) -> Delivery:
        """The same delivery with another instance in it: what a filter made."""
        before, after = self.instance.payload, instance.payload
        self.instance = instance
        if after is not before:
            extra = own_bytes(after, before) if self._shared else after.resident - before.resident
            self._shared = False
            self._charge(extra)
        return self

    def fork(self, *instances: Instance) -> list[Delivery]:
        """Deliveries of these instances instead of this one, each with a share of its own."""
        if not instances:
            self.drop()
            return []
        for receipt in self.receipts:
            receipt._add(len(instances) - 1)
        self._done = True
        before = self.instance.payload
        for payload in {id(other.payload): other.payload for other in instances}.values():
            if payload is not before:
                self._charge(own_bytes(payload, before))
        return [Delivery(instance, *self.receipts, shared=True) for instance in instances]

    @staticmethod
    def join(instance: Instance, deliveries: list[Delivery]) -> Delivery:
        """One delivery instead of several: settles all of their receipts."""
        for delivery in deliveries:
            delivery._done = True
        joined = Delivery(instance, *(receipt for delivery in deliveries for receipt in delivery.receipts))
        joined._charge(own_bytes(instance.payload, *(delivery.instance.payload for delivery in deliveries)))
        return joined

    def _charge(self, extra: int) -> None:
        if extra > 0:
            self.receipts[0]._ledger.grow(self.receipts[0], extra)

    def take(self, counters: Counters | None) -> None:
        """A stream actor has it and will settle it; `counters` are those of its stage, None when it is sent on."""
        self.taken = counters is not None
        self._counters = counters

    def call_back(self) -> bool:
        """Its sender gives up waiting; False when a stage has taken it already. What is left in an inbox is passed over."""
        if self.taken:
            return False
        self._done = True
        return True

    @property
    def called_back(self) -> bool:
        return self._done

    def __del__(self) -> None:
        if not self._done and any(receipt.outcome is None for receipt in self.receipts):
            self.receipts[0]._ledger.lost(self)

    def __repr__(self) -> str:
        return f"<Delivery of {self.instance.sop_instance_uid}>"


def own_bytes(payload: Payload, *others: Payload) -> int:
    """Bytes that a payload holds in memory and does not share with the others."""
    if not payload.resident:
        return 0
    shared = {id(_whole(part)) for other in others if other.resident for part in other.held()}
    return sum(len(part) for part in payload.held() if id(_whole(part)) not in shared)


def _whole(part: bytes | bytearray | memoryview) -> object:
    return part.obj if isinstance(part, memoryview) else part
