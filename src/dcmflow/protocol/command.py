"""Command sets (PS3.7 6.3, 9.3, 10.3, Annex E): encoded implicit VR little endian, read and written as `CommandSet`."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import IntEnum
from functools import lru_cache
from struct import Struct as Layout
from struct import error as struct_error
from typing import Any

from msgspec import Struct
from msgspec.structs import astuple

from dcmflow.errors import LocalProtocolError, RemoteProtocolError

Buffer = bytes | bytearray | memoryview

NO_DATA_SET = 0x0101  # (0000,0800) of a message without data set
DATA_SET = 0x0001  # any other value will do
VERIFICATION = "1.2.840.10008.1.1"

_RESPONSE = 0x8000


class Field(IntEnum):
    """Command field (0000,0100), PS3.7 table E.1-1."""

    C_STORE_RQ = 0x0001
    C_STORE_RSP = 0x8001
    C_GET_RQ = 0x0010
    C_GET_RSP = 0x8010
    C_FIND_RQ = 0x0020
    C_FIND_RSP = 0x8020
    C_MOVE_RQ = 0x0021
    C_MOVE_RSP = 0x8021
    C_ECHO_RQ = 0x0030
    C_ECHO_RSP = 0x8030
    N_EVENT_REPORT_RQ = 0x0100
    N_EVENT_REPORT_RSP = 0x8100
    N_GET_RQ = 0x0110
    N_GET_RSP = 0x8110
    N_SET_RQ = 0x0120
    N_SET_RSP = 0x8120
    N_ACTION_RQ = 0x0130
    N_ACTION_RSP = 0x8130
    N_CREATE_RQ = 0x0140
    N_CREATE_RSP = 0x8140
    N_DELETE_RQ = 0x0150
    N_DELETE_RSP = 0x8150
    C_CANCEL_RQ = 0x0FFF


class CommandSet(Struct, frozen=True, kw_only=True, gc=False):
    """The command set of one DIMSE message; None: the element is absent (PS3.7 table E.1-1).

    Attributes:
        field: a `Field`, or another number a peer came up with.
        has_data: a data set follows.
        offending_elements, attributes: tags as numbers, 0xGGGGEEEE.
        remaining, completed, failed, warning: numbers of sub-operations.
    """

    # in the order of the elements: encode_command relies on it
    affected_sop_class: str | None = None
    requested_sop_class: str | None = None
    field: int
    message_id: int | None = None
    message_id_responded: int | None = None
    move_destination: str | None = None
    priority: int | None = None
    has_data: bool = False
    status: int | None = None
    offending_elements: tuple[int, ...] | None = None
    error_comment: str | None = None
    error_id: int | None = None
    affected_sop_instance: str | None = None
    requested_sop_instance: str | None = None
    event_type: int | None = None
    attributes: tuple[int, ...] | None = None
    action_type: int | None = None
    remaining: int | None = None
    completed: int | None = None
    failed: int | None = None
    warning: int | None = None
    move_originator_ae: str | None = None
    move_originator_id: int | None = None

    @property
    def is_response(self) -> bool:
        return bool(self.field & _RESPONSE)


# element number, VR (has_data has none: two values of a US mean it), field; in the order of CommandSet
_ELEMENTS: tuple[tuple[int, str, str], ...] = (
    (0x0002, "UI", "affected_sop_class"),
    (0x0003, "UI", "requested_sop_class"),
    (0x0100, "US", "field"),
    (0x0110, "US", "message_id"),
    (0x0120, "US", "message_id_responded"),
    (0x0600, "AE", "move_destination"),
    (0x0700, "US", "priority"),
    (0x0800, "", "has_data"),
    (0x0900, "US", "status"),
    (0x0901, "AT", "offending_elements"),
    (0x0902, "LO", "error_comment"),
    (0x0903, "US", "error_id"),
    (0x1000, "UI", "affected_sop_instance"),
    (0x1001, "UI", "requested_sop_instance"),
    (0x1002, "US", "event_type"),
    (0x1005, "AT", "attributes"),
    (0x1008, "US", "action_type"),
    (0x1020, "US", "remaining"),
    (0x1021, "US", "completed"),
    (0x1022, "US", "failed"),
    (0x1023, "US", "warning"),
    (0x1030, "AE", "move_originator_ae"),
    (0x1031, "US", "move_originator_id"),
)

_HEADER = Layout("<II")  # tag of group 0000 as element << 16, length
_NUMBER = Layout("<IIH")
_LENGTH = Layout("<III")
_TAG = Layout("<HH")

# ---------------------------------------------------------------------------------------------- reading

_KINDS = {element << 16: (vr, name) for element, vr, name in _ELEMENTS}


def decode_command(data: Buffer) -> CommandSet:
    """Read a command set.

    Unknown elements and the group length are passed over, numbers without value count as absent, text is taken as ISO 8859-1.

    Args:
        data: the bytes of all command fragments of one message.

    Raises:
        RemoteProtocolError: an element runs past the end, or there is no command field.
    """
    data = bytes(data)
    end = len(data)
    position = 0
    values: dict[str, Any] = {}
    unpack = _HEADER.unpack_from
    kinds = _KINDS
    while position + 8 <= end:
        tag, length = unpack(data, position)
        start = position + 8
        position = start + length
        if position > end:
            raise RemoteProtocolError(
                f"command set: element {_name(tag)} at byte {start - 8} claims {length} bytes, {end - start} are left"
            )
        kind = kinds.get(tag)
        if kind is None:
            continue
        vr, name = kind
        if vr == "US":
            if length >= 2:
                values[name] = data[start] | data[start + 1] << 8
            elif length:
                raise _short(tag, start)
        elif vr == "UI":
            values[name] = data[start:position].rstrip(b"\0 ").decode("latin-1")
        elif not vr:
            if length >= 2:
                values[name] = data[start] | data[start + 1] << 8 != NO_DATA_SET
            elif length:
                raise _short(tag, start)
        elif vr == "AT":
            whole = data[start : start + length // 4 * 4]
            values[name] = tuple(group << 16 | element for group, element in _TAG.iter_unpack(whole))
        else:
            values[name] = data[start:position].strip(b"\0 ").decode("latin-1")
    if position != end:
        raise RemoteProtocolError(
            f"command set: {end - position} bytes at byte {position} are too few for an element"
        )
    if "field" not in values:
        raise RemoteProtocolError(f"command set of {end} bytes: no command field (0000,0100)")
    return CommandSet(**values)


def _name(tag: int) -> str:
    return f"({tag & 0xFFFF:04X},{tag >> 16:04X})"


def _short(tag: int, start: int) -> RemoteProtocolError:
    return RemoteProtocolError(
        f"command set: element {_name(tag)} at byte {start - 8} has 1 byte, a number takes 2"
    )


# ---------------------------------------------------------------------------------------------- writing


def encode_command(command: CommandSet) -> bytes:
    """Write a command set, group length first.

    An error comment is made to fit LO: cut to 64 characters, controls become spaces, a backslash "/", all that is not ASCII "?".
    A response repeats the UIDs of its request: they are written as they came, even where they break the rules.

    Raises:
        LocalProtocolError: a number, UID or AE title does not fit its element.
    """
    try:
        writers = _RESPONSE_WRITERS if command.field & _RESPONSE else _REQUEST_WRITERS
        values = zip(writers, astuple(command), strict=True)
        body = b"".join([write(value) for write, value in values if value is not None])
    except ValueError as error:
        raise LocalProtocolError(f"cannot encode the command {command.field:04X}: {error}") from error
    return _LENGTH.pack(0, 4, len(body)) + body


def _writer(element: int, vr: str, name: str, *, repeats: bool) -> Callable[[Any], bytes]:
    tag = element << 16
    pack_number, pack_header, pack_tag = _NUMBER.pack, _HEADER.pack, _TAG.pack

    def number(value: int) -> bytes:
        try:
            return pack_number(tag, 2, value)
        except struct_error:
            raise ValueError(f"{name} takes 0 to 65535, not {value}") from None

    def has_data(value: bool) -> bytes:
        return pack_number(tag, 2, DATA_SET if value else NO_DATA_SET)

    def text(value: str, longest: int, pad: bytes) -> bytes:
        if len(value) > longest:
            raise ValueError(f"{name} takes at most {longest} characters, {value!r} has {len(value)}")
        return padded(value.encode("ascii"), pad)

    def padded(encoded: bytes, pad: bytes) -> bytes:
        length = len(encoded)
        if length & 1:
            return pack_header(tag, length + 1) + encoded + pad
        return pack_header(tag, length) + encoded

    def uid(value: str) -> bytes:
        return text(value, 64, b"\0")

    def repeated_uid(value: str) -> bytes:
        return padded(value.encode("latin-1"), b"\0")

    def tags(value: tuple[int, ...]) -> bytes:
        try:
            encoded = b"".join([pack_tag(each >> 16, each & 0xFFFF) for each in value])
        except struct_error:
            raise ValueError(f"{name} takes tags, not all of these are: {value}") from None
        return pack_header(tag, len(encoded)) + encoded

    writers: dict[str, Callable[[Any], bytes]] = {
        "US": number,
        "": has_data,
        "UI": repeated_uid if repeats else uid,
        "AE": lambda value: text(value, 16, b" "),
        "LO": lambda value: text(_for_lo(value), 64, b" "),
        "AT": tags,
    }
    if name == "affected_sop_class" and not repeats:  # few, and short; what peers send is not kept
        return lru_cache(64)(uid)
    return writers[vr]


_REQUEST_WRITERS = tuple(_writer(*row, repeats=False) for row in _ELEMENTS)
_RESPONSE_WRITERS = tuple(_writer(*row, repeats=True) for row in _ELEMENTS)


def _for_lo(text: str) -> str:
    printable = re.sub(r"[\0-\x1f\x7f]", " ", text).strip()
    return re.sub(r"[^ -~]", "?", printable).replace("\\", "/")[:64].rstrip()


# ---------------------------------------------------------------------------------------------- making


def c_echo_rq(message_id: int) -> CommandSet:
    """C-ECHO-RQ (PS3.7 9.3.5.1)."""
    return CommandSet(field=Field.C_ECHO_RQ, affected_sop_class=VERIFICATION, message_id=message_id)


def c_store_rq(
    message_id: int,
    sop_class: str,
    sop_instance: str,
    priority: int = 0,
    move_originator_ae: str | None = None,
    move_originator_id: int | None = None,
) -> CommandSet:
    """C-STORE-RQ (PS3.7 9.3.1.1); priority 0 medium, 1 high, 2 low.

    Args:
        move_originator_ae, move_originator_id: of the C-MOVE that this is a sub-operation of.
    """
    return CommandSet(
        field=Field.C_STORE_RQ,
        affected_sop_class=sop_class,
        message_id=message_id,
        priority=priority,
        has_data=True,
        affected_sop_instance=sop_instance,
        move_originator_ae=move_originator_ae,
        move_originator_id=move_originator_id,
    )


def c_find_rq(message_id: int, sop_class: str, priority: int = 0) -> CommandSet:
    """C-FIND-RQ (PS3.7 9.3.2.1)."""
    return CommandSet(
        field=Field.C_FIND_RQ,
        affected_sop_class=sop_class,
        message_id=message_id,
        priority=priority,
        has_data=True,
    )


def c_get_rq(message_id: int, sop_class: str, priority: int = 0) -> CommandSet:
    """C-GET-RQ (PS3.7 9.3.3.1)."""
    return CommandSet(
        field=Field.C_GET_RQ,
        affected_sop_class=sop_class,
        message_id=message_id,
        priority=priority,
        has_data=True,
    )


def c_move_rq(message_id: int, sop_class: str, destination: str, priority: int = 0) -> CommandSet:
    """C-MOVE-RQ (PS3.7 9.3.4.1); the destination is an AE title."""
    return CommandSet(
        field=Field.C_MOVE_RQ,
        affected_sop_class=sop_class,
        message_id=message_id,
        move_destination=destination,
        priority=priority,
        has_data=True,
    )


def c_cancel_rq(message_id: int) -> CommandSet:
    """C-CANCEL-RQ of the request with this message id (PS3.7 9.3.2.3)."""
    return CommandSet(field=Field.C_CANCEL_RQ, message_id_responded=message_id)


def response(
    request: CommandSet,
    status: int,
    *,
    has_data: bool = False,
    error_comment: str | None = None,
    **fields: Any,
) -> CommandSet:
    """The response to a request: message id, SOP Class and SOP Instance as they came (PS3.7 9.3, 10.3).

    Args:
        fields: more fields of `CommandSet`, which win over those of the request.

    Raises:
        LocalProtocolError: the request is a response or C-CANCEL-RQ; nothing answers these.
    """
    if request.field & _RESPONSE or request.field == Field.C_CANCEL_RQ:
        raise LocalProtocolError(f"nothing may be answered to the command {request.field:04X}")
    # what a request calls requested, its response calls affected: N-GET, N-SET, N-ACTION, N-DELETE (PS3.7 10.3)
    values: dict[str, Any] = {
        "affected_sop_class": request.affected_sop_class or request.requested_sop_class,
        "affected_sop_instance": request.affected_sop_instance or request.requested_sop_instance,
        "event_type": request.event_type,
        "action_type": request.action_type,
    }
    values.update(fields)
    return CommandSet(
        field=request.field | _RESPONSE,
        message_id_responded=request.message_id,
        status=status,
        has_data=has_data,
        error_comment=error_comment,
        **values,
    )
