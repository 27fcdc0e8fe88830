"""C-MOVE and C-GET: have a node send what it holds, to somebody else or on the same association (PS3.4 C.4.2, C.4.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from dcmflow.dicom import uids
from dcmflow.dicom.encoding import encoding_of
from dcmflow.dicom.header import Header
from dcmflow.dicom.query import Query
from dcmflow.errors import DatasetError
from dcmflow.net import failures, models
from dcmflow.net.contexts import MOST
from dcmflow.net.models import Model, Operation
from dcmflow.net.reception import Reception
from dcmflow.net.requests import Request, Store, request
from dcmflow.protocol.command import CommandSet, c_get_rq, c_move_rq
from dcmflow.protocol.items import ProposedContext, Role, UserInformation
from dcmflow.status import Status

if TYPE_CHECKING:
    from dcmflow.net.association import Association
    from dcmflow.net.received import Received

_FAILED_UIDS: Final = 0x00080058  # Failed SOP Instance UID List

SYNTAXES: Final = (
    uids.EXPLICIT_VR_LITTLE_ENDIAN,
    uids.IMPLICIT_VR_LITTLE_ENDIAN,
    uids.JPEG_LOSSLESS_SV1,
    uids.JPEG_2000_LOSSLESS,
    uids.JPEG_2000,
    uids.JPEG_BASELINE,
    uids.JPEG_LS_LOSSLESS,
    uids.RLE_LOSSLESS,
    uids.JPEG_EXTENDED,
    uids.JPEG_LS_NEAR_LOSSLESS,
    uids.DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    uids.EXPLICIT_VR_BIG_ENDIAN,
    uids.JPEG_LOSSLESS,
    uids.MPEG2_MAIN_PROFILE_MAIN_LEVEL,
    uids.MPEG4_HIGH_PROFILE_41,
    uids.HEVC_MAIN_PROFILE_51,
    uids.HTJ2K_LOSSLESS,
    uids.HTJ2K_LOSSLESS_RPCL,
    uids.HTJ2K,
)
"""Transfer syntaxes that a node may have instances in, the likely ones first."""

COMMON: Final = (
    "1.2.840.10008.5.1.4.1.1.1",  # CR
    "1.2.840.10008.5.1.4.1.1.1.1",  # DX
    "1.2.840.10008.5.1.4.1.1.1.2",  # mammography
    "1.2.840.10008.5.1.4.1.1.2",  # CT
    "1.2.840.10008.5.1.4.1.1.2.1",
    "1.2.840.10008.5.1.4.1.1.3.1",  # US multi-frame
    "1.2.840.10008.5.1.4.1.1.4",  # MR
    "1.2.840.10008.5.1.4.1.1.4.1",
    "1.2.840.10008.5.1.4.1.1.6.1",  # US
    "1.2.840.10008.5.1.4.1.1.7",  # secondary capture
    "1.2.840.10008.5.1.4.1.1.7.4",
    "1.2.840.10008.5.1.4.1.1.9.1.1",  # ECG
    "1.2.840.10008.5.1.4.1.1.11.1",  # presentation state
    "1.2.840.10008.5.1.4.1.1.12.1",  # XA
    "1.2.840.10008.5.1.4.1.1.12.2",  # RF
    "1.2.840.10008.5.1.4.1.1.13.1.3",  # breast tomosynthesis
    "1.2.840.10008.5.1.4.1.1.20",  # NM
    "1.2.840.10008.5.1.4.1.1.66",  # raw data
    "1.2.840.10008.5.1.4.1.1.66.4",  # segmentation
    "1.2.840.10008.5.1.4.1.1.88.11",  # SR
    "1.2.840.10008.5.1.4.1.1.88.22",
    "1.2.840.10008.5.1.4.1.1.88.33",
    "1.2.840.10008.5.1.4.1.1.88.59",  # key objects
    "1.2.840.10008.5.1.4.1.1.88.67",  # dose
    "1.2.840.10008.5.1.4.1.1.104.1",  # PDF
    "1.2.840.10008.5.1.4.1.1.128",  # PET
    "1.2.840.10008.5.1.4.1.1.481.1",  # RT
    "1.2.840.10008.5.1.4.1.1.481.2",
    "1.2.840.10008.5.1.4.1.1.481.3",
    "1.2.840.10008.5.1.4.1.1.481.5",
    "1.3.12.2.1107.5.9.1",  # Siemens, without pixels
)
"""Storage SOP Classes that are proposed where nobody can say which there are."""


class MoveReport(Struct, frozen=True):
    """How a C-MOVE or C-GET ended (PS3.7 9.1.4, 9.1.3).

    Attributes:
        status: the final one: success, warning B000H (some failed) or cancelled.
        comment: its Error Comment.
        completed, failed, warning: sub-operations, as the node counts them; None where it does not.
        remaining: that were not tried, when it was cancelled.
        failed_uids: SOP Instance UIDs that it names as failed.
    """

    status: Status
    comment: str = ""
    completed: int | None = None
    failed: int | None = None
    warning: int | None = None
    remaining: int | None = None
    failed_uids: tuple[str, ...] = ()


Progress = Callable[[CommandSet], None]


async def move(
    association: Association,
    query: Query,
    *,
    to: str,
    where: str = "",
    progress: Progress = lambda command: None,
    message_id: int | None = None,
) -> MoveReport:
    """C-MOVE on an association that was opened with `models.proposed("move")`.

    Args:
        query: its level and the unique keys; every other key is left out.
        to: the AE title that the node is to send to.
        where: host and port of that, for the hint where the node does not know it.
        progress: is given the pending responses, with their counts.
        message_id: of the request, for who has to know it before; see `Desk`.

    Raises:
        RequestFailed: it ended with a failure.
        NetworkError, RemoteProtocolError: there was no final response.
    """
    model, context = models.chosen(association, query.level, "move")
    sop_class = model.sop_class("move")
    identifier = retrievable(query, model).identifier(context.transfer_syntax)
    async with request(
        association,
        context,
        lambda number: c_move_rq(number, sop_class, to),
        identifier,
        message_id=message_id,
    ) as asked:
        while True:
            received = await asked.response()
            if asked.status is not None:
                return _report("move", association, asked, received, to, where)
            progress(received.command)


async def get(
    association: Association,
    query: Query,
    *,
    store: Store,
    reception: Reception | None = None,
    progress: Progress = lambda command: None,
) -> MoveReport:
    """C-GET on an association that was opened with `get_contexts`.

    Args:
        store: takes each instance and says what is answered.
        reception: what takes in data sets; None: memory.

    Raises:
        RequestFailed, NetworkError, RemoteProtocolError: as in `move`.
    """
    model, context = models.chosen(association, query.level, "get")
    sop_class = model.sop_class("get")
    identifier = retrievable(query, model).identifier(context.transfer_syntax)
    async with request(association, context, lambda number: c_get_rq(number, sop_class), identifier) as asked:
        while True:
            received = await asked.response(store=store, reception=reception)
            if asked.status is not None:
                return _report("get", association, asked, received)
            progress(received.command)


def get_contexts(sop_classes: Iterable[str]) -> tuple[list[ProposedContext], UserInformation]:
    """What is proposed for C-GET: the models, and each SOP Class with us as SCP (PS3.7 D.3.3.4).

    Each transfer syntax has a context of its own as far as there are ids, so that the node need not convert anything.
    """
    contexts = models.proposed("get")
    classes = list(dict.fromkeys(sop_classes))[: MOST - len(contexts)]
    alone = max(1, (MOST - len(contexts)) // max(1, len(classes)))
    groups: list[tuple[str, ...]] = [(syntax,) for syntax in SYNTAXES[: alone - 1]]
    groups.append(SYNTAXES[alone - 1 :])
    for sop_class in classes:
        for group in groups:
            if len(contexts) < MOST and group:
                contexts.append(ProposedContext(2 * len(contexts) + 1, sop_class, group))
    roles = tuple(Role(sop_class, scu=True, scp=True) for sop_class in classes)
    return contexts, UserInformation(roles=roles)


def retrievable(query: Query, model: Model) -> Query:
    """What a C-MOVE or C-GET may ask for: unique keys, those of the levels above as one value each (PS3.4 C.4.2.1.4.1)."""
    levels = [level for level in (*query.level.above(), query.level) if level in model.levels]
    return Query(
        query.level,
        {level.keyword: query.keys[level.keyword] for level in levels if query.keys.get(level.keyword)},
    )


def _report(
    operation: Operation,
    association: Association,
    asked: Request,
    received: Received,
    to: str = "",
    where: str = "",
) -> MoveReport:
    command, status = received.command, asked.status
    assert status is not None
    if status.category == "failure":
        raise failures.failed(
            models.title(operation),
            association.peer,
            status,
            asked.comment,
            calling=association.calling_ae,
            to=to,
            where=where,
        )
    return MoveReport(
        status,
        asked.comment,
        command.completed,
        command.failed,
        command.warning,
        command.remaining,
        _failed_uids(received),
    )


def _failed_uids(received: Received) -> tuple[str, ...]:
    if received.payload is None:
        return ()
    try:
        header = Header(received.payload, encoding_of(received.context.transfer_syntax))
        found = header.get(_FAILED_UIDS) or ()
    except DatasetError:
        return ()
    return tuple(uid for uid in ((found,) if isinstance(found, str) else found) if uid)
