"""A DIMSE message that has come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from dcmflow.dicom.payload import Payload
    from dcmflow.errors import Refused
    from dcmflow.net.early import Start
    from dcmflow.protocol.command import CommandSet
    from dcmflow.protocol.negotiation import AcceptedContext


class Received(NamedTuple):
    """A DIMSE message from the peer.

    Attributes:
        context: the presentation context it came in.
        payload: its data set; None where it has none.
        error: why it has none although one came.
        starts: what has been begun with while it arrived.
    """

    context: AcceptedContext
    command: CommandSet
    payload: Payload | None = None
    error: Refused | None = None
    starts: Sequence[Start] = ()
