"""What comes out of a connection and goes into it: PDUs as values, and the parts of DIMSE messages.

Received: an `AssociateRequest`, `AssociateAccept`, `AssociateReject`, `ReleaseRequest`, `ReleaseReply` or `Abort`; a `Command`,
followed by `Data` as often as it takes when the command has a data set; `Closed` when the transport connection is gone.
Sent: the same PDUs, or a `Message`.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from dcmflow.protocol.command import CommandSet
from dcmflow.protocol.pdu import Pdu

Buffer = bytes | bytearray | memoryview


class Command(Struct, frozen=True, gc=False):
    """A command set has been received whole (PS3.7 6.3.1)."""

    context_id: int
    command: CommandSet


class Data(Struct, frozen=True, gc=False):
    """A stretch of the data set that belongs to the last command.

    Attributes:
        data: a view that is valid until the next bytes are received.
        last: the data set ends with it.
    """

    context_id: int
    data: memoryview
    last: bool


class Closed(Struct, frozen=True):
    """The transport connection is gone (TRANSPORT CONNECTION CLOSED indication, PS3.8 9.2)."""


class Message(Struct, frozen=True):
    """A DIMSE message to be sent.

    Attributes:
        data: the encoded data set in buffers; None when there is none. Not copied: the buffers must stay until they are written.
    """

    context_id: int
    command: CommandSet
    data: Sequence[Buffer] | None = None


Event = Pdu | Command | Data | Closed | Message
