"""What an SCU asks for on an association, one operation at a time (PS3.7 9)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from dcmflow.errors import RemoteProtocolError
from dcmflow.net import reasons
from dcmflow.net.entity import Answer
from dcmflow.net.storage import VERIFICATION
from dcmflow.protocol.command import CommandSet, c_echo_rq, c_store_rq
from dcmflow.protocol.events import Message
from dcmflow.status import Status

if TYPE_CHECKING:
    from dcmflow.dicom.instance import Instance
    from dcmflow.net.association import Association
    from dcmflow.protocol.fragment import Buffer
    from dcmflow.protocol.negotiation import AcceptedContext


async def echo(association: Association) -> Status:
    """C-ECHO; see `verify`."""
    return (await verify(association)).status


async def verify(association: Association) -> Answer:
    """C-ECHO (PS3.7 9.1.5): returns the peer's status and comment.

    Raises:
        NoAcceptedContext: the peer does not take Verification.
        NetworkError, RemoteProtocolError: there was no answer.
    """
    context = next((c for c in association.contexts.values() if c.abstract_syntax == VERIFICATION), None)
    if context is None:
        refused = next((r for (uid, _), r in association.refused.items() if uid == VERIFICATION), None)
        raise reasons.no_context(association.peer, VERIFICATION, "", refused)
    message_id = association.next_message_id()
    await association.send(Message(context.id, c_echo_rq(message_id)))
    response = await answer_to(association, message_id)
    return Answer(status_of(response), response.error_comment or "")


async def store(
    association: Association,
    instance: Instance,
    *,
    priority: int = 0,
    move_originator: tuple[str, int] | None = None,
) -> Answer:
    """C-STORE (PS3.7 9.1.1): send an instance as it is encoded; returns the peer's status and comment.

    Args:
        priority: 0 medium, 1 high, 2 low.
        move_originator: AE title and message id of the C-MOVE that asked for it.

    Raises:
        NoAcceptedContext: the peer does not take this SOP Class in this transfer syntax.
        DatasetError: the instance cannot be read.
        NetworkError, RemoteProtocolError: there was no answer; whether the peer has it is not known.
    """
    context, command = store_request(association, instance, priority, move_originator)
    await association.send(Message(context.id, command, data_of(instance)))
    return await answer(association, command)


def store_request(
    association: Association,
    instance: Instance,
    priority: int = 0,
    move_originator: tuple[str, int] | None = None,
) -> tuple[AcceptedContext, CommandSet]:
    """The C-STORE-RQ for an instance. Raises NoAcceptedContext."""
    wanted = (instance.sop_class_uid, instance.transfer_syntax_uid)
    context = association.context(*wanted)
    if context is None:
        raise reasons.no_context(association.peer, *wanted, association.refused.get(wanted))
    title, number = move_originator or (None, None)
    command = c_store_rq(
        association.next_message_id(),
        instance.sop_class_uid,
        instance.sop_instance_uid,
        priority,
        move_originator_ae=title,
        move_originator_id=number,
    )
    return context, command


def data_of(instance: Instance) -> list[Buffer]:
    """What follows the command. Raises DatasetError."""
    segments = instance.payload.segments()
    if instance.payload.size & 1:  # PS3.8 E.1, PS3.5 A.5: what is deflated ends with a null then
        segments.append(b"\0")
    return segments


async def answer(association: Association, request: CommandSet) -> Answer:
    """The peer's status and comment; see `answer_to`."""
    assert request.message_id is not None
    response = await answer_to(association, request.message_id)
    return Answer(status_of(response), response.error_comment or "")


async def answer_to(association: Association, message_id: int) -> CommandSet:
    """The response to a request; what comes late to an earlier one is passed over, and gives no more time."""
    until = anyio.current_time() + association.dimse
    for _ in range(16):
        received = await association.receive(timeout=max(until - anyio.current_time(), 0))
        if received is None:
            raise reasons.released(association.peer)
        command = received.command
        if command.is_response and command.message_id_responded == message_id:
            return command
    association.abort()
    raise RemoteProtocolError(f"{association.peer} sends messages, but no answer to the one it was asked")


def status_of(response: CommandSet) -> Status:
    """Its status; a response without one is a failure."""
    return Status(response.status) if response.status is not None else Status.PROCESSING_FAILURE
