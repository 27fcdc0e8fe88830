"""Takes in data sets as they arrive: small ones in memory, large ones in a file.

A data set grows in one buffer, because whoever walks its elements wants it in one piece. What passes `spill` bytes, or would take
more memory than all receptions of a listener may use for what is not let in yet, goes to a file and grows there: one block is
filled while the one before is written. The more go to files at once, the smaller their blocks.
"""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Final, final

import anyio
from anyio import to_thread
from anyio.abc import TaskStatus
from anyio.streams.memory import MemoryObjectSendStream

from dcmflow.dicom.part10 import build_meta
from dcmflow.dicom.payload import FilePayload, MemoryPayload, Payload, Region
from dcmflow.dicom.spilled import Spilled
from dcmflow.errors import DatasetError, Refused
from dcmflow.protocol.command import CommandSet, Field
from dcmflow.protocol.negotiation import AcceptedContext

if TYPE_CHECKING:
    from dcmflow.net.early import Early

SPILL: Final = 64 * 1024 * 1024
EARLY: Final = 8 * 1024 * 1024  # where the file is to be kept anyway, there is nothing to gain from waiting
BLOCK: Final = 4 * 1024 * 1024  # what is written to a file at once, at most
SMALL_BLOCK: Final = 256 * 1024  # at least
SCARCE: Final = 1024 * 1024  # what is smaller never goes to a file
ODDMENTS: Final = 16 * 1024 * 1024  # the largest data set of a command other than C-STORE
WRITERS: Final = (
    8  # threads that write for all receptions of a listener: one slow disk is not to take those of everybody
)

_STRETCH: Final = 256 * 1024  # what comes in one piece


@final
class Room:
    """Memory for data sets that are not whole or not let in yet, shared by all associations of a listener.

    Args:
        spill: the size from which a data set goes to a file at the latest.
        most: bytes in memory for all of them together.
        landing: a folder on the file system where large data sets are likely to be stored; None: not known.

    Attributes:
        used: bytes in memory.
        spilling: how many data sets are going to files now.
        writers: lets so many write at once.
    """

    def __init__(self, spill: int = SPILL, most: int = SPILL, landing: str | None = None) -> None:
        self.spill: int = min(spill, EARLY) if landing is not None else spill
        self.most: int = max(most, spill)
        self.used: int = 0
        self.spilling: int = 0
        self.landing: str | None = landing
        self.writers: anyio.CapacityLimiter = anyio.CapacityLimiter(WRITERS)

    @property
    def block(self) -> int:
        """Bytes to be written to a file at once: two blocks of each of those that spill are half of `most` together."""
        return max(SMALL_BLOCK, min(BLOCK, self.most // (4 * max(self.spilling, 1))))


@final
class Reception:
    """Takes in one data set after the other.

    Args:
        early: is shown data sets as they grow in memory.

    Attributes:
        progress: bytes that came since somebody set it to 0.
    """

    __slots__ = (
        "_block",
        "_blocks",
        "_buffer",
        "_charged",
        "_early",
        "_error",
        "_file",
        "_fill",
        "_free",
        "_full",
        "_head",
        "_most",
        "_offset",
        "_room",
        "_scarce",
        "_size",
        "progress",
    )

    def __init__(self, room: Room | None = None, early: Early | None = None) -> None:
        self._room = room or Room()
        self._early = early
        self._buffer = bytearray()  # what is in memory
        self._block: memoryview | None = None  # being filled for the file
        self._fill = self._full = 0
        self._blocks: MemoryObjectSendStream[memoryview] | None = None
        self._free: list[bytearray] = []
        self._file: Spilled | None = None
        self._head = b""
        self._offset = 0
        self._size = 0
        self._most = 0
        self._scarce = SCARCE
        self._charged = 0
        self._error: str | None = None
        self.progress: int = 0

    def whole(self, data: memoryview) -> Payload:
        """A data set that came in one stretch."""
        return MemoryPayload(bytes(data))

    def begin(self, context: AcceptedContext, command: CommandSet) -> None:
        """Take in the data set that follows this command."""
        self.discard()
        self._size = self.progress = 0
        self._error = None
        if self._early is not None:
            self._early.begin(context, command)
        stored = command.field == Field.C_STORE_RQ
        self._most = self._room.spill if stored else ODDMENTS
        self._scarce = SCARCE if stored else BLOCK
        try:
            self._head = build_meta(
                command.affected_sop_class or "", command.affected_sop_instance or "", context.transfer_syntax
            )
        except DatasetError:  # not an instance: no file meta
            self._head = b""

    def add(self, data: memoryview) -> bool:
        """Take a stretch; True: now is the time for `write_blocks` and `hand_over`, or it is too much."""
        count = len(data)
        self.progress += count
        self._size += count
        if self._block is not None:
            return self._add_to_block(data)
        self._buffer += data
        room = self._room
        room.used += count
        self._charged += count
        early = self._early
        if early is not None and self._size >= early.wanted:
            early.feed(self._buffer)
        return self._size > self._most or (room.used > room.most and self._size > self._scarce)

    def _add_to_block(self, data: memoryview) -> bool:
        block, fill = self._block, self._fill
        assert block is not None
        end = fill + len(data)
        block[fill:end] = data
        self._fill = end
        return end >= self._full

    def in_memory(self) -> Payload:
        """The data set is whole, and never went to a file. It counts as being in memory until `done`."""
        buffer, self._buffer = self._buffer, bytearray()
        return MemoryPayload(buffer)

    async def write_blocks(self, *, task_status: TaskStatus[None]) -> None:
        """Write what is handed over, in a thread, until all is."""
        self._blocks, taken = anyio.create_memory_object_stream[memoryview]()
        self._free = []
        self._room.spilling += 1
        try:
            task_status.started()
            with taken:
                async for block in taken:
                    if self._error is None:
                        await to_thread.run_sync(self._write, block, limiter=self._room.writers)
                    self._uncharge()
                    if isinstance(block.obj, bytearray) and len(block.obj) == self._room.block + _STRETCH:
                        self._free.append(block.obj)
        finally:
            self._room.spilling -= 1

    async def hand_over(self) -> None:
        """Have what has gathered written, and begin a new block; waits while the one before is being written."""
        await self._hand_over()
        self._full = self._room.block
        size = self._full + _STRETCH
        while self._free and len(self._free[-1]) != size:
            self._free.pop()
        self._block = memoryview(self._free.pop() if self._free else bytearray(size))

    async def _hand_over(self) -> None:
        assert self._blocks is not None
        if self._block is not None:
            block, self._block = self._block[: self._fill], None
        else:
            buffer, self._buffer = self._buffer, bytearray()
            block = memoryview(buffer)
        self._fill = 0
        await self._blocks.send(block)

    async def finish(self) -> None:
        """The data set is whole: have the rest written, and nothing more."""
        await self._hand_over()
        assert self._blocks is not None
        self._blocks.close()

    def _write(self, block: memoryview) -> None:
        try:
            if self._file is None:
                self._file = Spilled(self._room.landing, self._head)
                self._offset = self._file.size
            self._file.append([block])
        except OSError as error:  # the rest is read all the same, so that the sender can be told
            self._error = error.strerror or str(error)
            self._file = None  # it takes room that others need; so would the error, whose traceback has it

    def in_file(self) -> Payload:
        """The data set is whole and in a file. Raises Refused: there was no room for it on the disk."""
        file, self._file, self._block = self._file, None, None
        self._free.clear()  # an association that idles is to cost nothing
        if self._error is not None:
            raise Refused(
                f"cannot keep a data set of {self._size} bytes in {self._room.landing or tempfile.gettempdir()}"
                f" while it arrives: {self._error}",
                transient=True,
            )
        assert file is not None
        return FilePayload(file.path, [Region(self._offset, self._size)], owner=file)

    def done(self) -> None:
        """Somebody else answers for the memory of the data set now."""
        if self._early is not None:
            self._early.end()
        self._uncharge()

    def discard(self) -> None:
        """It will not become whole."""
        if self._early is not None:
            self._early.end()
        self._uncharge()
        if self._buffer:
            self._buffer = bytearray()
        self._file = self._block = None
        self._free.clear()
        self._fill = 0
        if self._blocks is not None:
            self._blocks.close()
            self._blocks = None

    def _uncharge(self) -> None:
        self._room.used -= self._charged
        self._charged = 0
