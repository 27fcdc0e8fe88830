"""The books of one run: what was emitted, what is open, what became of it. The sums close at every moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from dcmflow.flow.capacity import Capacity, Limits
from dcmflow.flow.delivery import Receipt
from dcmflow.status import Status

if TYPE_CHECKING:
    from dcmflow.dicom.instance import Instance


class Ledger:
    """Opens receipts, and counts as they settle.

    emitted == accepted + dropped + refused + unsettled, always.

    Attributes:
        on_idle: by source, set when nothing of it is unsettled any more.
        closing: the run ends early; deliveries that are let go of now are not lost, `close` will refuse them.
    """

    def __init__(self, limits: Limits) -> None:
        self.capacity = Capacity(limits)
        self.emitted = 0
        self.accepted = 0
        self.dropped = 0
        self.refused = 0
        self.not_dicom = 0
        self.bytes = 0
        self.closing = False
        self._open: dict[Receipt, None] = {}
        self._open_by_source: dict[str, int] = {}
        self.on_idle: dict[str, anyio.Event] = {}

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
        else:
            self.dropped += 1
        del self._open[receipt]
        self._open_by_source[receipt.source] -= 1
        if self.on_idle and receipt.source in self.on_idle and not self._open_by_source[receipt.source]:
            self.on_idle[receipt.source].set()
        self.capacity.release(receipt.charge)

    def count_refused(self, size: int = 0) -> None:
        """A source could not make an instance of what it found: emitted and refused at once."""
        self.emitted += 1
        self.refused += 1
        self.bytes += size

    def close(self, reason: str) -> list[Receipt]:
        """Refuse everything that is still open; returns what that was."""
        self.closing = True
        receipts = list(self._open)
        for receipt in receipts:
            receipt.close(Status.CANCELLED, reason)
        return receipts
