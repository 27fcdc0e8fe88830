"""Wrong bytes: functions that spoil the right ones, and builders of what no encoder would make.

`Answer(0, fault=pdu_length(0xFFFFFFFF))` announces 4 GiB; `spoilt(pdu_type(0x42), cut(9))` does one after the other.
"""

from __future__ import annotations

import struct
from random import Random

from dcmflow.protocol.items import APPLICATION_CONTEXT
from dcmflow.testing.peer_channel import Fault
from dcmflow.testing.peer_wire import pdu

FOUR_GIB = 0xFFFFFFFF


def pdu_length(length: int) -> Fault:
    """The first PDU announces this length, in bytes."""
    return lambda data: data[:2] + struct.pack(">L", length) + data[6:]


def pdu_length_by(more: int) -> Fault:
    """The first PDU announces so many bytes more than it has; fewer, if negative."""
    return lambda data: data[:2] + struct.pack(">L", _number(data, 2) + more) + data[6:]


def pdu_type(kind: int) -> Fault:
    """The first PDU is of this type."""
    return lambda data: bytes([kind]) + data[1:]


def pdv_length(length: int) -> Fault:
    """The first presentation data value item announces this length, in bytes."""
    return lambda data: data[:6] + struct.pack(">L", length) + data[10:]


def pdv_length_by(more: int) -> Fault:
    """The first presentation data value item announces so many bytes more than it has; fewer, if negative."""
    return lambda data: data[:6] + struct.pack(">L", _number(data, 6) + more) + data[10:]


def pdv_header(header: int) -> Fault:
    """The first presentation data value item has this message control header."""
    return lambda data: data[:11] + bytes([header]) + data[12:]


def with_item(made: bytes) -> Fault:
    """The first PDU has these bytes at its end, and says so: an item of an A-ASSOCIATE-RQ or -AC."""

    def fault(data: bytes) -> bytes:
        end = 6 + _number(data, 2)
        return pdu_length_by(len(made))(data[:end] + made + data[end:])

    return fault


def cut(count: int) -> Fault:
    """Only the first so many bytes are sent; with a negative number the last ones are left out."""
    return lambda data: data[:count]


def before(garbage: bytes) -> Fault:
    """These bytes are sent first."""
    return lambda data: garbage + data


def spoilt(*faults: Fault) -> Fault:
    """Several faults, one after the other."""

    def fault(data: bytes) -> bytes:
        for each in faults:
            data = each(data)
        return data

    return fault


def garbage(count: int, seed: int = 1) -> bytes:
    """Bytes without any meaning, the same for the same seed."""
    return Random(seed).randbytes(count)


def item(kind: int, data: bytes = b"", *, length: int | None = None) -> bytes:
    """An item or sub-item of an association PDU; `length` is announced in place of the right one."""
    return struct.pack(">BxH", kind, len(data) if length is None else length) + data


def context_item(number: int, abstract_syntax: str, *transfer_syntaxes: str) -> bytes:
    """A presentation context item of an A-ASSOCIATE-RQ, with any number as its id (PS3.8 9.3.2.2)."""
    syntaxes = b"".join(item(0x40, syntax.encode()) for syntax in transfer_syntaxes)
    return item(0x20, bytes([number & 0xFF, 0, 0, 0]) + item(0x30, abstract_syntax.encode()) + syntaxes)


def answer_item(number: int, result: int, transfer_syntax: str) -> bytes:
    """A presentation context item of an A-ASSOCIATE-AC, with any number as its id (PS3.8 9.3.3.2)."""
    return item(0x21, bytes([number & 0xFF, 0, result, 0]) + item(0x40, transfer_syntax.encode()))


def user_item(*more: bytes, maximum_length: int = 16384) -> bytes:
    """A user information item with what has to be in one (PS3.8 D.1, PS3.7 D.3.3.2), and more sub-items."""
    maximum = item(0x51, struct.pack(">L", maximum_length))
    return item(0x50, maximum + item(0x52, b"2.25.1") + b"".join(more))


def associate_request(*items: bytes, called: bytes = b"ANY-SCP", calling: bytes = b"SCRIPTED") -> bytes:
    """An A-ASSOCIATE-RQ of items that are not checked, after the right application context."""
    fixed = struct.pack(">HH16s16s32x", 1, 0, called.ljust(16), calling.ljust(16))
    return pdu(1, fixed + item(0x10, APPLICATION_CONTEXT.encode()) + b"".join(items))


def _number(data: bytes, position: int) -> int:
    number: int = struct.unpack_from(">L", data, position)[0]
    return number
