"""PDUs from bytes (PS3.8 9.3; user information PS3.8 Annex D and PS3.7 Annex D.3.3).

Strict about bounds: a length that runs past what holds it ends the association. Lenient about content: items and sub-items that are
unknown are skipped (PS3.8 9.3.1), reserved fields are not tested, padding that should not be there is stripped, what is missing is
empty. Whoever uses a value judges it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from struct import Struct
from typing import TypeVar

from dcmflow.errors import RemoteProtocolError
from dcmflow.protocol.command import Buffer
from dcmflow.protocol.items import (
    AnsweredContext,
    AsynchronousOperations,
    CommonExtendedNegotiation,
    ExtendedNegotiation,
    ProposedContext,
    Role,
    UserIdentity,
    UserInformation,
)
from dcmflow.protocol.pdu import (
    ABORT,
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    ASSOCIATE_RQ,
    RELEASE_RP,
    RELEASE_RQ,
    Abort,
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    Pdu,
    ReleaseReply,
    ReleaseRequest,
)

MOST_CONTEXTS = 1000  # a request has at most 128 (ids are odd and one byte); room for those who repeat ids

_NAMES = {
    ASSOCIATE_RQ: "A-ASSOCIATE-RQ",
    ASSOCIATE_AC: "A-ASSOCIATE-AC",
    ASSOCIATE_RJ: "A-ASSOCIATE-RJ",
    RELEASE_RQ: "A-RELEASE-RQ",
    RELEASE_RP: "A-RELEASE-RP",
    ABORT: "A-ABORT",
}
Context = TypeVar("Context", ProposedContext, AnsweredContext)

_HEADER = 6  # offsets in messages are those of the whole PDU
_FIXED = 68  # version, reserved, AE titles, reserved
_ITEM = Struct(">BxH")
_U16 = Struct(">H")
_U32 = Struct(">I")


def decode(kind: int, body: Buffer) -> Pdu:
    """Read a PDU.

    Args:
        kind: the PDU type, all but P-DATA-TF.
        body: what follows the header of 6 bytes. Copied.

    Raises:
        RemoteProtocolError: of an unknown type, too short, a length that runs past its item, or more than `MOST_CONTEXTS` contexts.
    """
    name = _NAMES.get(kind)
    if name is None:
        raise RemoteProtocolError(f"PDU of unknown type {kind:02X}H")
    data = bytes(body)
    if kind in (ASSOCIATE_RQ, ASSOCIATE_AC):
        _need(data, 0, _FIXED, len(data), name)
        return _request(data, name) if kind == ASSOCIATE_RQ else _accept(data, name)
    _need(data, 0, 4, len(data), name)
    if kind == ASSOCIATE_RJ:
        return AssociateReject(data[1], data[2], data[3])
    if kind == ABORT:
        return Abort(data[2], data[3])
    return ReleaseRequest() if kind == RELEASE_RQ else ReleaseReply()


# ---------------------------------------------------------------------------------------------- bounds


def _need(data: bytes, start: int, count: int, end: int, where: str) -> None:
    if end - start < count:
        raise RemoteProtocolError(
            f"{where}: {count} bytes are needed at byte {start + _HEADER}, {end - start} are left"
        )


def _items(data: bytes, position: int, end: int, where: str) -> Iterator[tuple[int, int, int]]:
    """Type, start and end of the items between two offsets."""
    while position < end:
        _need(data, position, 4, end, where)
        kind, length = _ITEM.unpack_from(data, position)
        start = position + 4
        position = start + length
        if position > end:
            raise RemoteProtocolError(
                f"{where}: item {kind:02X}H at byte {start - 4 + _HEADER} claims {length} bytes, {end - start} are left"
            )
        yield kind, start, position


def _counted(data: bytes, position: int, end: int, where: str) -> int:
    """Where the field ends that begins with its length in two bytes."""
    _need(data, position, 2, end, where)
    stop = position + 2 + int(_U16.unpack_from(data, position)[0])
    if stop > end:
        raise RemoteProtocolError(
            f"{where}: a field at byte {position + _HEADER} claims {stop - position - 2} bytes, {end - position - 2} are left"
        )
    return stop


def _text(data: bytes, start: int, end: int) -> str:
    return data[start:end].strip(b"\0 ").decode("latin-1")


# ---------------------------------------------------------------------------------------------- associations


def _request(data: bytes, name: str) -> AssociateRequest:
    return AssociateRequest(*_association(data, name, 0x20, _proposed))


def _accept(data: bytes, name: str) -> AssociateAccept:
    return AssociateAccept(*_association(data, name, 0x21, _answered))


def _association(
    data: bytes, name: str, context: int, read: Callable[[bytes, int, int, str], Context]
) -> tuple[str, str, tuple[Context, ...], UserInformation, str, int]:
    """What a request and its acceptance have in common; their presentation contexts are items of type `context`."""
    application, user = "", None
    contexts: list[Context] = []
    for kind, start, end in _items(data, _FIXED, len(data), name):
        if kind == context:
            _one_more(len(contexts), name)
            contexts.append(read(data, start, end, f"{name}: presentation context"))
        elif kind == 0x50 and user is None:
            user = _user(data, start, end, f"{name}: user information")
        elif kind == 0x10:
            application = _text(data, start, end)
    return (
        _text(data, 4, 20),
        _text(data, 20, 36),
        tuple(contexts),
        user or UserInformation(),
        application,
        _U16.unpack_from(data)[0],
    )


def _one_more(count: int, name: str) -> None:
    if count == MOST_CONTEXTS:
        raise RemoteProtocolError(
            f"{name}: more than {MOST_CONTEXTS} presentation contexts, 128 are possible"
        )


def _proposed(data: bytes, start: int, end: int, where: str) -> ProposedContext:
    _need(data, start, 4, end, where)
    abstract = ""
    syntaxes: list[str] = []
    for kind, first, last in _items(data, start + 4, end, where):
        if kind == 0x40:
            syntaxes.append(_text(data, first, last))
        elif kind == 0x30:
            abstract = _text(data, first, last)
    return ProposedContext(data[start], abstract, tuple(syntaxes))


def _answered(data: bytes, start: int, end: int, where: str) -> AnsweredContext:
    _need(data, start, 4, end, where)
    syntax = ""
    for kind, first, last in _items(data, start + 4, end, where):
        if kind == 0x40:
            syntax = _text(data, first, last)
    return AnsweredContext(data[start], data[start + 2], syntax)


# ---------------------------------------------------------------------------------------------- user information


def _user(data: bytes, start: int, end: int, where: str) -> UserInformation:
    maximum_length, class_uid, version_name = 0, "", ""
    window: AsynchronousOperations | None = None
    identity: UserIdentity | None = None
    answer: bytes | None = None
    roles: list[Role] = []
    extended: list[ExtendedNegotiation] = []
    common: list[CommonExtendedNegotiation] = []
    for kind, first, last in _items(data, start, end, where):
        item = f"{where}: item {kind:02X}H"
        if kind == 0x51:
            _need(data, first, 4, last, item)
            maximum_length = _U32.unpack_from(data, first)[0]
        elif kind == 0x52:
            class_uid = _text(data, first, last)
        elif kind == 0x53:
            _need(data, first, 4, last, item)
            window = AsynchronousOperations(
                _U16.unpack_from(data, first)[0], _U16.unpack_from(data, first + 2)[0]
            )
        elif kind == 0x54:
            stop = _counted(data, first, last, item)
            _need(data, stop, 2, last, item)
            roles.append(Role(_text(data, first + 2, stop), data[stop] != 0, data[stop + 1] != 0))
        elif kind == 0x55:
            version_name = _text(data, first, last)
        elif kind == 0x56:
            stop = _counted(data, first, last, item)
            extended.append(ExtendedNegotiation(_text(data, first + 2, stop), data[stop:last]))
        elif kind == 0x57:
            common.append(_common(data, first, last, item))
        elif kind == 0x58:
            identity = _identity(data, first, last, item)
        elif kind == 0x59:
            answer = data[first + 2 : _counted(data, first, last, item)]
    return UserInformation(
        maximum_length,
        class_uid,
        version_name,
        window,
        tuple(roles),
        tuple(extended),
        tuple(common),
        identity,
        answer,
    )


def _common(data: bytes, start: int, end: int, where: str) -> CommonExtendedNegotiation:
    first = _counted(data, start, end, where)
    second = _counted(data, first, end, where)
    related: list[str] = []
    if second < end:
        position, last = second + 2, _counted(data, second, end, where)
        while position < last:
            stop = _counted(data, position, last, where)
            related.append(_text(data, position + 2, stop))
            position = stop
    return CommonExtendedNegotiation(
        _text(data, start + 2, first), _text(data, first + 2, second), tuple(related)
    )


def _identity(data: bytes, start: int, end: int, where: str) -> UserIdentity:
    _need(data, start, 2, end, where)
    first = _counted(data, start + 2, end, where)
    # the length of the secondary field is always there (PS3.7 D.3.3.7.1), yet not everybody sends it
    second = _counted(data, first, end, where) if first < end else first
    return UserIdentity(
        data[start], data[start + 4 : first], data[first + 2 : second], response=data[start + 1] != 0
    )
