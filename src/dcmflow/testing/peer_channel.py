"""One association of a scripted peer: what comes is noted and put together, what goes is what the script says."""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from typing import NamedTuple

from dcmflow.errors import ProtocolError
from dcmflow.protocol.command import CommandSet, Field, decode_command, encode_command
from dcmflow.protocol.decode import decode
from dcmflow.protocol.encode import encode
from dcmflow.protocol.pdu import Abort, Pdu
from dcmflow.testing.peer_record import Record, Seen
from dcmflow.testing.peer_wire import COMMAND, LAST, P_DATA_TF, Gone, Pdv, RawPdu, Wire, items_of, message

NAMES = {
    1: "A-ASSOCIATE-RQ",
    2: "A-ASSOCIATE-AC",
    3: "A-ASSOCIATE-RJ",
    5: "A-RELEASE-RQ",
    6: "A-RELEASE-RP",
    7: "A-ABORT",
}
LONGEST_COMMAND = 1 << 16
ENDS = frozenset({"A-ABORT", "close", "reset"})
"""After these nothing comes that has a meaning."""

Fault = Callable[[bytes], bytes]
"""Takes the right bytes of a message or PDU and gives the wrong ones."""


class Context(NamedTuple):
    """What an accepted presentation context is for."""

    abstract_syntax: str
    transfer_syntax: str


class Channel:
    """Reads and writes on one connection.

    Attributes:
        number: of the association in the record, from 1.
        contexts: the accepted presentation contexts, by id.
        maximum: the longest P-DATA-TF we told the peer that we take, in bytes; 0: any. A longer one is wrong.
        largest: the longest one that the peer takes; 0: any.
        peer_ae: the AE title of the requestor.
        pdus: type and announced length of each PDU, as they came.
        cancelled: message ids of operations that the peer wants cancelled.
        at_data: awaited after each P-DATA-TF, with its number.
        postponed: what is to be done after the next request or after a release.
        over: nothing is answered any more.
    """

    def __init__(self, wire: Wire, record: Record) -> None:
        self.wire: Wire = wire
        self.record: Record = record
        self.number: int = record.new_association()
        self.contexts: dict[int, Context] = {}
        self.maximum: int = 0
        self.largest: int = 0
        self.peer_ae: str = ""
        self.pdus: list[tuple[int, int]] = []
        self.cancelled: set[int | None] = set()
        self.at_data: Callable[[int], Awaitable[None]] | None = None
        self.postponed: list[tuple[str, Callable[[], Awaitable[None]]]] = []
        self.over: bool = False
        self.message_ids: Iterator[int] = count(1)
        self._command: CommandSet | None = None
        self._context_id = 0
        self._pieces = bytearray()
        self._unfinished = False
        self._whole: list[Seen] = []
        self._data_pdus = 0

    async def next(self) -> Seen:
        """The next whole thing that comes, noted in the record."""
        while not self._whole:
            try:
                raw = await self.wire.read_pdu()
            except Gone as gone:
                return self.saw("reset" if gone.reset else "close", data=self.wire.unread or self._left())
            self.pdus.append((raw.kind, raw.length))
            if raw.kind == P_DATA_TF and raw.body is not None:
                self._take(raw.body)
                self._data_pdus += 1
                if self.at_data is not None:
                    await self.at_data(self._data_pdus)
            else:
                return self._association_pdu(raw)
        return self._whole.pop(0)

    def _association_pdu(self, raw: RawPdu) -> Seen:
        name = NAMES.get(raw.kind)
        if name is None or raw.body is None:
            return self._unreadable(f"a PDU of type {raw.kind:02X}H and {raw.length} bytes", raw.body)
        try:
            pdu = decode(raw.kind, raw.body)
        except ProtocolError as error:
            return self._unreadable(f"{name}: {error}", raw.body)
        if self._unfinished and name != "A-ABORT":
            self.is_wrong(f"{name} in the middle of a message")
        return self.saw(name, pdu=pdu, data=self._left())

    def _left(self) -> bytes | None:
        return bytes(self._pieces) if self._unfinished else None

    def _take(self, body: bytes) -> None:
        if self.maximum and len(body) > self.maximum:
            self.is_wrong(f"a P-DATA-TF of {len(body)} bytes, where at most {self.maximum} are taken")
        try:
            items = items_of(body)
        except ValueError as error:
            self._whole.append(self._unreadable(str(error), body))
            return
        for item in items:
            self._take_item(item)

    def _take_item(self, item: Pdv) -> None:
        if item.context_id not in self.contexts:
            self.is_wrong(f"data on presentation context {item.context_id}, which was not accepted")
        if bool(item.header & COMMAND) != (self._command is None):
            expected = "command set" if self._command is None else "data set"
            self._whole.append(self._unreadable(f"no {expected} where one is due", item.data))
            return
        if self._unfinished and item.context_id != self._context_id:
            self.is_wrong(f"presentation context {item.context_id} within a message on {self._context_id}")
        self._context_id, self._unfinished = item.context_id, True
        self._pieces += item.data
        if self._command is None and len(self._pieces) > LONGEST_COMMAND:
            self._whole.append(self._unreadable("a command set without end", bytes(self._pieces)))
            self._pieces.clear()
        if not item.header & LAST:
            return
        pieces = bytes(self._pieces)
        self._pieces.clear()
        if self._command is not None:
            self._finish(self._command, pieces)
            return
        if fault := _fault_of_command(pieces):
            self.is_wrong(fault)
        try:
            command = decode_command(pieces)
        except ProtocolError as error:
            self._unfinished = False
            self._whole.append(self._unreadable(str(error), pieces))
            return
        if command.has_data:
            self._command = command
        else:
            self._finish(command, None)

    def _finish(self, command: CommandSet, data: bytes | None) -> None:
        self._command, self._unfinished = None, False
        if command.field == Field.C_CANCEL_RQ:
            self.cancelled.add(command.message_id_responded)
        self._whole.append(
            self.saw(_name(command.field), command=command, context_id=self._context_id, data=data)
        )

    def _unreadable(self, why: str, data: bytes | None) -> Seen:
        self.is_wrong(why)
        return self.saw("unreadable", data=data)

    def is_wrong(self, what: str) -> None:
        """Notes a violation."""
        self.record.wrong.append(f"association {self.number}: {what}")

    def saw(
        self,
        what: str,
        *,
        pdu: Pdu | None = None,
        command: CommandSet | None = None,
        context_id: int = 0,
        data: bytes | None = None,
    ) -> Seen:
        """Notes what came."""
        abstract, transfer = self.contexts.get(context_id, ("", ""))
        return self.record.add(
            Seen(
                association=self.number,
                what=what,
                pdu=pdu,
                command=command,
                context_id=context_id,
                abstract_syntax=abstract,
                transfer_syntax=transfer,
                data=data,
            )
        )

    async def send(self, what: bytes | Pdu, *, fault: Fault | None = None, drip: int = 0) -> None:
        """Sends bytes, or a PDU. Raises Gone.

        Args:
            what: bytes are sent as they are.
            fault: changes the bytes before they go.
            drip: so many bytes at a time.
        """
        data = what if isinstance(what, bytes) else encode(what)
        await self.wire.send(fault(data) if fault else data, drip=drip)

    async def send_message(
        self,
        context_id: int,
        command: CommandSet,
        data: bytes | None = None,
        *,
        largest: int | None = None,
        joined: bool = False,
        fault: Fault | None = None,
        drip: int = 0,
    ) -> None:
        """Sends a DIMSE message, cut to what the peer takes unless `largest` says otherwise. Raises Gone."""
        longest = self.largest if largest is None else largest
        made = message(context_id, encode_command(command), data, largest=longest, joined=joined)
        await self.send(made, fault=fault, drip=drip)

    async def abort(self, source: int = 0, reason: int = 0) -> None:
        """Sends an A-ABORT. Raises Gone."""
        await self.send(Abort(source, reason))

    def context_for(self, abstract_syntax: str, transfer_syntax: str) -> int | None:
        """The id of an accepted context for both."""
        wanted = (abstract_syntax, transfer_syntax)
        return next((number for number, context in self.contexts.items() if context == wanted), None)


def _name(field: int) -> str:
    try:
        return Field(field).name.replace("_", "-")
    except ValueError:
        return f"{field:04X}H"


def _fault_of_command(data: bytes) -> str | None:
    """What PS3.7 6.3.1 forbids in an encoded command set: elements out of order, odd or wrong lengths."""
    position, before, group_length = 0, -1, None
    while position < len(data):
        if len(data) - position < 8:
            return "a command set that ends within an element"
        group, element, length = struct.unpack_from("<HHL", data, position)
        tag = group << 16 | element
        if group or tag <= before or length % 2 or position + 8 + length > len(data):
            return f"a command set with element ({group:04X},{element:04X}) of {length} bytes at {position}"
        if not tag and length == 4:
            (group_length,) = struct.unpack_from("<L", data, position + 8)
        position, before = position + 8 + length, tag
    if group_length != len(data) - 12:
        return f"a command set of {len(data)} bytes whose group length is {group_length}"
    return None
