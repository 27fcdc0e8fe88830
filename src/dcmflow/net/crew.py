"""Processes that serve the same ports together, and how they share the work.

All of them wait at the same sockets, so a call is taken by whoever is there first. That none of them gets all the calls, and that
`max-associations` and `until-idle` are about all of them together, needs a few numbers that each can see: they are in memory that
the processes share, a row for each.

    there   connections   associations, last active (of the first source)   ... (of the next one) ...

A process writes its own row only. Where the sum of rows decides something, a lock of the operating system makes looking
and writing one step; it is let go by itself when its process dies.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import select
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from time import monotonic, monotonic_ns
from typing import Final, final

import anyio

PATIENCE: Final = 0.1  # seconds for which a call waits for the process that has the fewest
NAP: Final = 0.0005  # seconds between two looks meanwhile

_THERE, _CONNECTIONS, _FIRST = 0, 1, 2
_EACH = 2  # numbers of a source in a row
_SIZE = 8  # bytes of a number

Lock = Callable[[], AbstractContextManager[None]]


@final
class Attendance:
    """How many associations a source has, in all processes together.

    Args:
        numbers: what all processes see.
        mine: where the number of this process is; that of when it was last active follows.
        every: where those of all processes are, this one included.
        over: where it says that the source has ended.
        lock: makes what is done in it one step.
    """

    def __init__(
        self, numbers: memoryview[int], mine: int, every: Sequence[int], over: int, lock: Lock = nullcontext
    ) -> None:
        self._numbers = numbers
        self._mine = mine
        self._every = every
        self._over = over
        self._lock = lock

    @classmethod
    def alone(cls) -> Attendance:
        """Of a source that is served by this process alone."""
        return cls(memoryview(bytearray(3 * _SIZE)).cast("q"), 0, (0,), 2)

    def take(self, most: int) -> bool:
        """One association more, unless there are so many already or the source has ended."""
        with self._lock():
            if self.is_over() or self._total() >= most:
                return False
            self._numbers[self._mine] += 1
            self.touch()
            return True

    def leave(self) -> None:
        """One less."""
        self.touch()
        self._numbers[self._mine] -= 1

    def touch(self) -> None:
        """Somebody is active now."""
        self._numbers[self._mine + 1] = monotonic_ns()

    def is_over(self) -> bool:
        """The source has ended, whichever process found that out."""
        return bool(self._numbers[self._over])

    def end(self, patience: float) -> float | None:
        """End the source if it had no association for so many seconds.

        Returns:
            None when it has ended, whichever process found that out; else the seconds after which to ask again.
        """
        with self._lock():
            if self.is_over():
                return None
            if self._total():
                return max(patience, PATIENCE)
            active = max(self._numbers[place + 1] for place in self._every)
            left = patience - (monotonic_ns() - active) / 1e9
            if left > 0:
                return left
            self._numbers[self._over] = 1
            return None

    def _total(self) -> int:
        return sum(self._numbers[place] for place in self._every)


@final
class Crew:
    """Of the processes that serve some sources together, one process.

    Args:
        descriptor: of the file with the numbers; the processes inherit it.
        processes: how many there are.
        sources: the names of the sources, the same for all.
        number: which process this is, from 0.

    Attributes:
        begun: set when all processes are ready; until then nobody takes a call.
    """

    def __init__(self, descriptor: int, processes: int, sources: Sequence[str], number: int = 0) -> None:
        self.descriptor = descriptor
        self.begun: anyio.Event = anyio.Event()
        self._sources = tuple(sources)
        self._row = _FIRST + _EACH * len(self._sources)
        self._overs = processes * self._row
        self._rows = [each * self._row for each in range(processes)]
        self._mine = self._rows[number]
        self._memory = mmap.mmap(descriptor, _bytes(processes, len(self._sources)))
        self._numbers = memoryview(self._memory).cast("q")

    @classmethod
    def make(cls, processes: int, sources: Sequence[str]) -> Crew:
        """With new numbers, for the one who starts the processes and is none of them."""
        descriptor = _nameless()
        os.ftruncate(descriptor, _bytes(processes, len(sources)))
        return cls(descriptor, processes, sources)

    def close(self) -> None:
        self._numbers.release()
        self._memory.close()
        os.close(self.descriptor)

    def attendance(self, source: str) -> Attendance:
        """That of a source."""
        index = self._sources.index(source)
        place = _FIRST + _EACH * index
        return Attendance(
            self._numbers,
            self._mine + place,
            [row + place for row in self._rows],
            self._overs + index,
            self._locked,
        )

    @contextmanager
    def serving(self) -> Iterator[None]:
        """In the block, this process takes calls, or will as soon as all have `begun`."""
        self._numbers[self._mine + _THERE] += 1
        try:
            yield
        finally:
            self._numbers[self._mine + _THERE] -= 1

    def forget(self, number: int) -> None:
        """That process is gone, whatever it had."""
        row = self._rows[number]
        for place in range(row, row + self._row):
            if (place - row) < _FIRST or (place - row) % _EACH == 0:  # when it was last active stays
                self._numbers[place] = 0

    def connected(self) -> None:
        """This process has one connection more."""
        self._numbers[self._mine + _CONNECTIONS] += 1

    def disconnected(self) -> None:
        """One less."""
        self._numbers[self._mine + _CONNECTIONS] -= 1

    def is_first(self) -> bool:
        """No process that takes calls has fewer connections than this one."""
        numbers, mine = self._numbers, self._numbers[self._mine + _CONNECTIONS]
        return all(numbers[row + _CONNECTIONS] >= mine or not numbers[row + _THERE] for row in self._rows)

    async def turn(self, listening: socket.socket) -> bool:
        """Whether this process is to take the call that waits at a socket.

        One that has more connections than another leaves it to that one. It takes the call nevertheless when nobody else has
        for a while: the other one may be stuck.
        """
        if self.is_first():
            return True
        calls = select.poll()
        calls.register(listening, select.POLLIN)
        deadline = monotonic() + PATIENCE
        while calls.poll(0):
            if self.is_first() or monotonic() > deadline:
                return True
            await anyio.sleep(NAP)
        return False

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.lockf(self.descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self.descriptor, fcntl.LOCK_UN)


def _bytes(processes: int, sources: int) -> int:
    return _SIZE * (processes * (_FIRST + _EACH * sources) + sources)


def _nameless() -> int:
    """A descriptor of a file without a name, in memory where the system can."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("dcmflow", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
