"""The books of one run: what was emitted, what is open, what became of it. The sums close at every moment."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable
from threading import get_ident
from typing import TYPE_CHECKING

import anyio

from dcmflow.flow.capacity import Capacity, Limits
from dcmflow.flow.delivery import Delivery, Receipt
from dcmflow.status import Status

if TYPE_CHECKING:
    from dcmflow.dicom.instance import Instance


class Ledger:
    """Opens receipts, and counts as they settle.

    emitted == accepted + dropped + refused + unsettled, always.

    Attributes:
        on_refused: called with each receipt that settles as refused.
        failure: the first error of somebody else's callback or observer.
        closing: the run ends early; deliveries that are let go of now are not lost, `close` will refuse them.
    """

    def __init__(self, limits: Limits) -> None:
        self.capacity: Capacity = Capacity(limits)
        self.emitted: int = 0
        self.accepted: int = 0
        self.dropped: int = 0
        self.refused: int = 0
        self.not_dicom: int = 0
        self.bytes: int = 0
        self.closing: bool = False
        self.failure: Exception | None = None
        self.on_refused: Callable[[Receipt], None] = lambda receipt: None
        self._open: dict[Receipt, None] = {}
        self._open_by_source: dict[str, int] = {}
        self._on_idle: dict[str, anyio.Event] = {}
        self._lost: deque[tuple[Receipt, ...]] = deque()
        self._thread = get_ident()

    @property
    def unsettled(self) -> int:
        return len(self._open)

    def unsettled_of(self, source: str) -> int:
        return self._open_by_source.get(source, 0)

    def open(self, source: str, instance: Instance, charge: int) -> Receipt:
        """A receipt for an instance whose room is taken; it counts as emitted from `admit` on."""
        return Receipt(self, source, instance, charge)

    def admit(self, receipt: Receipt) -> None:
        """A stage has taken it: from now on it counts. Called twice is called once."""
        if not receipt.admitted:
            receipt.admitted = True
            self._open[receipt] = None
            self._open_by_source[receipt.source] = self._open_by_source.get(receipt.source, 0) + 1
            self.emitted += 1
            self.bytes += receipt.size

    def withdraw(self, receipt: Receipt) -> None:
        """No stage took it and none will: it never was."""
        self.capacity.release(receipt.charge)

    def grow(self, receipt: Receipt, extra: int) -> None:
        if receipt.outcome is None:
            receipt.charge += extra
            self.capacity.grow(extra)

    def settled(self, receipt: Receipt) -> None:
        self.admit(receipt)  # it may settle before the source that emitted it runs again
        if receipt.outcome == "accepted":
            self.accepted += 1
        elif receipt.outcome == "refused":
            self.refused += 1
            self.on_refused(receipt)
        else:
            self.dropped += 1
        del self._open[receipt]
        self._open_by_source[receipt.source] -= 1
        self.capacity.release(receipt.charge)
        if self._on_idle and not self._open_by_source[receipt.source]:
            self.wake(receipt.source)
        if self._lost:
            self.settle_lost()

    def on_idle(self, source: str) -> anyio.Event:
        """Set when it is worth looking again whether anything of this source is unsettled."""
        return self._on_idle.setdefault(source, anyio.Event())

    def wake(self, source: str) -> None:
        event = self._on_idle.pop(source, None)
        if event is not None:
            event.set()

    def lost(self, delivery: Delivery) -> None:
        """A stage let go of a delivery without settling it: refused, with a warning. May come from any thread."""
        if self.closing:
            return
        self._lost.append(delivery.receipts)
        if get_ident() == self._thread:
            self.settle_lost()

    def settle_lost(self) -> None:
        while self._lost:
            receipts = self._lost.popleft()
            for receipt in receipts:
                receipt.lose()
            text = f"a delivery of {receipts[0].instance_uid} was let go of unsettled"
            warnings.warn(text, ResourceWarning, stacklevel=3)

    def failed(self, error: Exception) -> None:
        """Somebody else's callback or observer raised; the run goes on and says so at its end."""
        if self.failure is None:
            self.failure = error

    def count_refused(self, size: int = 0, *, skipped: bool = False) -> None:
        """A source could not make an instance of what it found: emitted and refused (or skipped) at once."""
        self.emitted += 1
        self.refused += not skipped
        self.dropped += skipped
        self.bytes += size

    def close(self, reason: str) -> list[Receipt]:
        """Refuse everything that is still open; returns what that was."""
        self.closing = True
        self.settle_lost()
        receipts = list(self._open)
        for receipt in receipts:
            receipt.close(Status.CANCELLED, reason)
        return [receipt for receipt in receipts if receipt.outcome == "refused"]
