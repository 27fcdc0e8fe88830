"""PDUs as bytes (PS3.8 9.3; user information PS3.8 Annex D and PS3.7 Annex D.3.3). All numbers are big endian."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Literal

from dcmflow.errors import LocalProtocolError
from dcmflow.protocol.items import AnsweredContext, ProposedContext, UserInformation
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
    ReleaseRequest,
)

_Codec = Literal["ascii", "latin-1"]


def encode(pdu: Pdu) -> bytes:
    """A whole PDU, with its header of 6 bytes.

    An acceptance repeats what a peer requested: its AE titles and UIDs are written as they came, even where they break the rules.

    Raises:
        LocalProtocolError: an AE title of more than 16 characters, a UID of more than 64, either not ASCII; a presentation context
            id that is even or not in 1 to 255; a number or an item that is too large for its field.
    """
    try:
        if isinstance(pdu, AssociateRequest | AssociateAccept):
            return _associate(pdu)
        if isinstance(pdu, AssociateReject):
            return _pdu(ASSOCIATE_RJ, bytes((0, pdu.result, pdu.source, pdu.reason)))
        if isinstance(pdu, Abort):
            return _pdu(ABORT, bytes((0, 0, pdu.source, pdu.reason)))
        return _pdu(RELEASE_RQ if isinstance(pdu, ReleaseRequest) else RELEASE_RP, bytes(4))
    except (struct.error, ValueError) as error:
        raise LocalProtocolError(f"cannot encode {type(pdu).__name__}: {error}") from error


def _pdu(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxI", kind, len(body)) + body


def _associate(pdu: AssociateRequest | AssociateAccept) -> bytes:
    request = isinstance(pdu, AssociateRequest)
    codec: _Codec = "ascii" if request else "latin-1"
    body = b"".join(
        (
            struct.pack(">Hxx", pdu.protocol_version),
            _title(pdu.called_ae, codec),
            _title(pdu.calling_ae, codec),
            bytes(32),
            _item(0x10, _uid(pdu.application_context, codec)),
            *(_context(context, codec) for context in pdu.contexts),
            _item(0x50, _user(pdu.user, codec)),
        )
    )
    return _pdu(ASSOCIATE_RQ if request else ASSOCIATE_AC, body)


def _title(title: str, codec: _Codec) -> bytes:
    encoded = title.encode(codec)
    if len(encoded) > 16:
        raise ValueError(f"the AE title {title!r} has {len(encoded)} characters, at most 16 fit")
    return encoded.ljust(16)


def _uid(uid: str, codec: _Codec) -> bytes:
    # PS3.8 Annex F: not padded
    encoded = uid.encode(codec)
    if codec == "ascii" and len(encoded) > 64:
        raise ValueError(f"the UID {uid!r} has {len(encoded)} characters, at most 64 are allowed")
    return encoded


def _item(kind: int, content: bytes) -> bytes:
    if len(content) > 0xFFFF:
        raise ValueError(f"an item of type {kind:02X}H has {len(content)} bytes, at most 65535 fit")
    return struct.pack(">BxH", kind, len(content)) + content


def _counted(content: bytes) -> bytes:
    if len(content) > 0xFFFF:
        raise ValueError(f"a field of user information has {len(content)} bytes, at most 65535 fit")
    return struct.pack(">H", len(content)) + content


def _context(context: ProposedContext | AnsweredContext, codec: _Codec) -> bytes:
    if not 0 < context.id < 256 or not context.id & 1:
        raise ValueError(f"a presentation context id is odd and in 1 to 255, not {context.id}")
    if isinstance(context, AnsweredContext):
        syntax = _item(0x40, _uid(context.transfer_syntax, codec))
        return _item(0x21, bytes((context.id, 0, context.result, 0)) + syntax)
    syntaxes = [_item(0x40, _uid(syntax, codec)) for syntax in context.transfer_syntaxes]
    content = (bytes((context.id, 0, 0, 0)), _item(0x30, _uid(context.abstract_syntax, codec)), *syntaxes)
    return _item(0x20, b"".join(content))


def _user(user: UserInformation, codec: _Codec) -> bytes:
    # the order of the sub-items is free (PS3.8 9.3.2.3); ascending is what most peers send
    items = [_item(0x51, struct.pack(">I", user.maximum_length))]
    if user.implementation_class_uid:
        items.append(_item(0x52, _uid(user.implementation_class_uid, codec)))
    if user.asynchronous_operations is not None:
        window = user.asynchronous_operations
        items.append(_item(0x53, struct.pack(">HH", window.invoked, window.performed)))
    for role in user.roles:
        items.append(_item(0x54, _counted(_uid(role.sop_class, codec)) + bytes((role.scu, role.scp))))
    if user.implementation_version_name:
        items.append(_item(0x55, _version_name(user.implementation_version_name)))
    for extended in user.extended:
        items.append(_item(0x56, _counted(_uid(extended.sop_class, codec)) + extended.information))
    for common in user.common_extended:
        items.append(_item(0x57, _common(common.sop_class, common.service_class, common.related, codec)))
    if user.user_identity is not None:
        identity = user.user_identity
        head = bytes((identity.type, identity.response))
        items.append(_item(0x58, head + _counted(identity.primary) + _counted(identity.secondary)))
    if user.user_identity_answer is not None:
        items.append(_item(0x59, _counted(user.user_identity_answer)))
    return b"".join(items)


def _version_name(name: str) -> bytes:
    encoded = name.encode("ascii")
    if len(encoded) > 16:
        raise ValueError(f"the implementation version name {name!r} has more than 16 characters")
    return encoded


def _common(sop_class: str, service_class: str, related: Sequence[str], codec: _Codec) -> bytes:
    uids = b"".join(_counted(_uid(uid, codec)) for uid in related)
    return _counted(_uid(sop_class, codec)) + _counted(_uid(service_class, codec)) + _counted(uids)
