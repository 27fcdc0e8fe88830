"""What is unsettled is bounded once, for the whole pipeline, in instances and in bytes.

Admission is first come first served: while anybody waits, nobody overtakes. A single oversized instance is
let in when it would be alone, so that it cannot wait for ever. Bytes are those held in memory; what lies in
a file costs one instance and next to no bytes. A stage that makes an instance bigger is charged afterwards,
without waiting: what is inside must be able to get out, and new arrivals wait the longer.
"""

from __future__ import annotations

from collections import deque
from typing import Annotated

import anyio
from msgspec import Meta, Struct

from dcmflow.units import parse_size


class Limits(
    Struct, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True, omit_defaults=True
):
    """How much may be unsettled at once in a pipeline.

    `limits = { instances = 512, memory = "2 GiB" }`
    """

    instances: Annotated[int, Meta(ge=1, description="Instances that are emitted and not settled.")] = 512
    memory: Annotated[int | str, Meta(description="Bytes of them held in memory: '2 GiB' or a number.")] = (
        "2 GiB"
    )

    def __post_init__(self) -> None:
        parse_size(self.memory)


class _Waiter:
    __slots__ = ("charge", "event")

    def __init__(self, charge: int) -> None:
        self.charge = charge
        self.event = anyio.Event()


class Capacity:
    """Room for a number of instances and bytes."""

    __slots__ = ("_bytes_used", "_instances_used", "_waiters", "bytes", "instances")

    def __init__(self, limits: Limits) -> None:
        self.instances: int = limits.instances
        self.bytes: int = parse_size(limits.memory)
        self._instances_used = 0
        self._bytes_used = 0
        self._waiters: deque[_Waiter] = deque()

    @property
    def instances_used(self) -> int:
        return self._instances_used

    @property
    def bytes_used(self) -> int:
        return self._bytes_used

    @property
    def waiting(self) -> int:
        return len(self._waiters)

    def _has_room(self, charge: int) -> bool:
        if self._instances_used == 0:
            return True
        return self._instances_used < self.instances and self._bytes_used + charge <= self.bytes

    def try_acquire(self, charge: int) -> bool:
        """Take room for one instance of `charge` bytes; False when that would mean waiting."""
        if self._waiters or not self._has_room(charge):
            return False
        self._instances_used += 1
        self._bytes_used += charge
        return True

    async def acquire(self, charge: int) -> None:
        """Take room for one instance of `charge` bytes, waiting in line for it."""
        if self.try_acquire(charge):
            return
        waiter = _Waiter(charge)
        self._waiters.append(waiter)
        try:
            await waiter.event.wait()
        except BaseException:
            if waiter.event.is_set():  # granted and cancelled at once: give it back
                self.release(charge)
            else:
                self._waiters.remove(waiter)
                self._admit()
            raise

    def grow(self, charge: int) -> None:
        """Charge bytes to what is inside already, without waiting."""
        self._bytes_used += charge

    def release(self, charge: int) -> None:
        """Give back the room of one instance and all the bytes charged for it."""
        self._instances_used -= 1
        self._bytes_used -= charge
        if self._waiters:
            self._admit()

    def _admit(self) -> None:
        waiters = self._waiters
        while waiters and self._has_room(waiters[0].charge):
            waiter = waiters.popleft()
            self._instances_used += 1
            self._bytes_used += waiter.charge
            waiter.event.set()
