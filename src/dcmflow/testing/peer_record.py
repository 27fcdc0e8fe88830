"""What a scripted peer has been sent, in order."""

from __future__ import annotations

from collections.abc import Iterator

import anyio
from msgspec import Struct

from dcmflow.protocol.command import CommandSet
from dcmflow.protocol.pdu import Pdu


class Seen(Struct, frozen=True, kw_only=True):
    """One thing that came.

    Attributes:
        association: the connection it came on, counted from 1.
        what: `connect`, `A-ASSOCIATE-RQ`, `A-ASSOCIATE-AC`, `A-ASSOCIATE-RJ`, `A-RELEASE-RQ`, `A-RELEASE-RP`,
            `A-ABORT`, the name of a DIMSE message as in `C-STORE-RQ`, `close`, `reset`, or `unreadable`.
        pdu: of an association PDU, its fields.
        command: of a DIMSE message, its command set.
        context_id: of a DIMSE message, with the abstract and transfer syntax that was agreed, empty if none was.
        data: of a DIMSE message, its encoded data set; else what came of a message or a PDU that is not whole.
    """

    association: int
    what: str
    pdu: Pdu | None = None
    command: CommandSet | None = None
    context_id: int = 0
    abstract_syntax: str = ""
    transfer_syntax: str = ""
    data: bytes | None = None

    @property
    def status(self) -> int | None:
        """The status of a response (0000,0900)."""
        return self.command.status if self.command is not None else None

    def __repr__(self) -> str:
        size = f", {len(self.data)} bytes" if self.data is not None else ""
        status = f" {self.status:04X}" if self.status is not None else ""
        return f"<{self.what}{status} on association {self.association}{size}>"


class Record:
    """A list of `Seen` that can be waited on, and what the peer under test did that the standard forbids.

    Attributes:
        wrong: in words, one text for each violation.
    """

    def __init__(self) -> None:
        self.all: list[Seen] = []
        self.wrong: list[str] = []
        self._associations = 0
        self._changed = anyio.Event()

    def new_association(self) -> int:
        """Its number."""
        self._associations += 1
        return self._associations

    def __iter__(self) -> Iterator[Seen]:
        return iter(self.all)

    def __len__(self) -> int:
        return len(self.all)

    def __getitem__(self, index: int) -> Seen:
        return self.all[index]

    def __repr__(self) -> str:
        return repr(self.all)

    @property
    def whats(self) -> list[str]:
        """The names of what came, in order."""
        return [seen.what for seen in self.all]

    def of(self, *whats: str, association: int | None = None) -> list[Seen]:
        """Those of these names, on one association or on any."""
        return [
            seen
            for seen in self.all
            if seen.what in whats and (association is None or seen.association == association)
        ]

    def add(self, seen: Seen) -> Seen:
        """Notes it, and wakes who waits."""
        self.all.append(seen)
        self._changed.set()
        self._changed = anyio.Event()
        return seen

    async def wait(self, *whats: str, count: int = 1, association: int | None = None) -> Seen:
        """Until so many of these names have come, counted from the beginning; returns the last of them."""
        while len(found := self.of(*whats, association=association)) < count:
            await self._changed.wait()
        return found[count - 1]
