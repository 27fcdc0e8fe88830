"""A DIMSE message that has come."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from dcmflow.dicom.instance import NOWHERE, Instance, Origin

if TYPE_CHECKING:
    from dcmflow.dicom.payload import Payload
    from dcmflow.errors import Refused
    from dcmflow.net.association import Association
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

    def instance(self, origin: Origin = NOWHERE) -> Instance:
        """What a C-STORE with a payload brings."""
        command = self.command
        assert self.payload is not None
        return Instance(
            command.affected_sop_class or "",
            command.affected_sop_instance or "",
            self.context.transfer_syntax,
            self.payload,
            origin=origin,
        )


def instance_of(
    received: Received, association: Association, *, stage: str = "", ours: bool = False
) -> Instance:
    """What came with a C-STORE, and where from.

    Args:
        stage: the source that takes it.
        ours: we have opened the association: who sends is the one that was called.
    """
    calling, called = association.calling_ae, association.called_ae
    origin = Origin(
        stage=stage,
        received=datetime.now(UTC),
        calling_ae=called if ours else calling,
        called_ae=calling if ours else called,
        address=association.address,
        move_originator=received.command.move_originator_ae or "",
    )
    return received.instance(origin)
