"""What an acceptor does on its associations: one request after the other, each answered before the next is read."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from dcmflow.dicom.part10 import LONGEST_UID
from dcmflow.errors import (
    DcmflowError,
    NetworkError,
    NetworkTimeout,
    ProtocolError,
    Refused,
    StageError,
)
from dcmflow.net.early import Early
from dcmflow.net.entity import Answer, ApplicationEntity
from dcmflow.net.reasons import Idle
from dcmflow.net.reception import Reception
from dcmflow.net.storage import is_storage
from dcmflow.protocol.command import CommandSet, Field, response
from dcmflow.status import Status

if TYPE_CHECKING:
    from dcmflow.net.association import Association
    from dcmflow.net.received import Received

PATIENCE = 0.5  # seconds that an association may stay without a request once its entity drains

_MISSING = Status(0x0120)
_INVALID_INSTANCE = Status(0x0117)
_SOP_CLASS_NOT_SUPPORTED = Status(0x0122)
_UNRECOGNIZED_OPERATION = Status(0x0211)


class Leaving(DcmflowError):
    """A request cannot be answered any more because the entity drains: the association is aborted."""


async def serve(association: Association, entity: ApplicationEntity) -> None:
    """Answer requests until the association ends. What ends it other than a release is told as a notice."""
    early = Early(association, entity.begin) if entity.begin is not None else None
    reception = Reception(entity.room, early)
    try:
        with association.scope:
            while True:
                draining = entity.draining
                received = await association.receive(timeout=_idle(entity), reception=reception, idle=True)
                if received is None:
                    return
                if draining and received.command.field == Field.C_STORE_RQ:
                    raise Leaving
                if early is not None and early.starts:
                    received = received._replace(starts=early.starts)
                await _answer(association, entity, received)
                del received  # or it would stay while the next one is awaited
                reception.done()
    except Leaving:
        association.abort()
    except (NetworkTimeout, NetworkError, ProtocolError) as error:
        if not entity.draining:
            entity.notice("idle" if isinstance(error, Idle) else "ended", association.peer, str(error))
    finally:
        reception.discard()
        association.abort()
        entity.leave(association)


def _idle(entity: ApplicationEntity) -> float:
    return PATIENCE if entity.draining else float(entity.timeouts.idle)


async def _answer(association: Association, entity: ApplicationEntity, received: Received) -> None:
    command = received.command
    field = command.field
    if field == Field.C_STORE_RQ:
        status, comment = await _store(association, entity, received)
        # PS3.7 C.5: error comment has at most 64 characters
        answer = response(command, status, error_comment=comment[:64] or None)
    elif field == Field.C_CANCEL_RQ:
        return  # what it cancels has been answered
    elif command.is_response:
        entity.notice("ended", association.peer, f"a response ({field:04X}H) that nobody waits for")
        raise Leaving
    elif received.error is not None:
        answer = response(command, received.error.status, error_comment=str(received.error)[:64])
    elif field == Field.C_ECHO_RQ:
        answer = response(command, Status.SUCCESS)
    else:
        answer = response(command, _UNRECOGNIZED_OPERATION)
    await association.respond(received.context.id, answer)


async def _store(association: Association, entity: ApplicationEntity, received: Received) -> Answer:
    claim = association.desk.find(association, received) if association.desk is not None else None
    store = entity.store if claim is None else claim.store
    if store is None:
        return Answer(_SOP_CLASS_NOT_SUPPORTED)
    wrong = _wrong(entity, received.command, anything=claim is not None)
    if wrong is not None:
        received = received._replace(payload=None, error=wrong)
    try:
        return await store(association, received)
    except (Leaving, StageError):
        raise
    except Exception as error:  # a defect: one instance is not taken, and the others are
        entity.notice("failed", association.peer, f"{type(error).__name__}: {error}")
        return Answer(Status.PROCESSING_FAILURE, f"{type(error).__name__}: {error}")


def _wrong(entity: ApplicationEntity, command: CommandSet, *, anything: bool) -> Refused | None:
    """What is wrong with a C-STORE request, whatever its data set may be.

    Args:
        anything: we have asked for it ourselves: then it is of no account what else is taken here.
    """
    if not command.has_data:
        return Refused("no data set", status=_MISSING)
    if not command.affected_sop_class or not command.affected_sop_instance:
        return Refused("no Affected SOP Class or Instance UID", status=_MISSING)
    if max(len(command.affected_sop_class), len(command.affected_sop_instance)) > LONGEST_UID:
        return Refused("a UID has at most 64 characters", status=_INVALID_INSTANCE)
    sop_class = command.affected_sop_class
    if not is_storage(sop_class) or not (anything or entity.supports(sop_class)):
        return Refused(f"{command.affected_sop_class} is not stored here", status=_SOP_CLASS_NOT_SUPPORTED)
    return None


def drain(entity: ApplicationEntity) -> None:
    """Take on no association any more; those that wait for a request end soon."""
    entity.draining = True
    for association in entity.associations:
        with suppress(NetworkError):
            association.hurry(PATIENCE)
