"""Command sets: there and back, against pynetdicom in both directions, as exact bytes, and broken."""

from __future__ import annotations

import tracemalloc
from contextlib import suppress
from io import BytesIO
from struct import pack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pynetdicom import dimse_messages, dsutils
from pynetdicom.pdu_primitives import P_DATA

from dcmflow.errors import LocalProtocolError, RemoteProtocolError
from dcmflow.protocol import command as module
from dcmflow.protocol.command import (
    CommandSet,
    Field,
    c_cancel_rq,
    c_echo_rq,
    c_find_rq,
    c_get_rq,
    c_move_rq,
    c_store_rq,
    decode_command,
    encode_command,
    response,
)
from dcmflow.status import Status
from protocol.strategies import COMMANDS, FIELDS, command_sets

CT = "1.2.840.10008.5.1.4.1.1.2"
COMMITMENT = "1.2.840.10008.1.20.1"

KEYWORDS = {
    "affected_sop_class": "AffectedSOPClassUID",
    "requested_sop_class": "RequestedSOPClassUID",
    "field": "CommandField",
    "message_id": "MessageID",
    "message_id_responded": "MessageIDBeingRespondedTo",
    "move_destination": "MoveDestination",
    "priority": "Priority",
    "status": "Status",
    "offending_elements": "OffendingElement",
    "error_comment": "ErrorComment",
    "error_id": "ErrorID",
    "affected_sop_instance": "AffectedSOPInstanceUID",
    "requested_sop_instance": "RequestedSOPInstanceUID",
    "event_type": "EventTypeID",
    "attributes": "AttributeIdentifierList",
    "action_type": "ActionTypeID",
    "remaining": "NumberOfRemainingSuboperations",
    "completed": "NumberOfCompletedSuboperations",
    "failed": "NumberOfFailedSuboperations",
    "warning": "NumberOfWarningSuboperations",
    "move_originator_ae": "MoveOriginatorApplicationEntityTitle",
    "move_originator_id": "MoveOriginatorMessageID",
}


def element(number: int, value: bytes) -> bytes:
    return pack("<HHI", 0, number, len(value)) + value


def number(element_number: int, value: int) -> bytes:
    return element(element_number, pack("<H", value))


def to_dataset(command: CommandSet) -> Dataset:
    dataset = Dataset()
    dataset.CommandDataSetType = 0x0001 if command.has_data else 0x0101
    for name, keyword in KEYWORDS.items():
        value: Any = getattr(command, name)
        if isinstance(value, tuple):
            value = [Tag(each) for each in value]
        if value is not None:
            setattr(dataset, keyword, value)
    return dataset


def from_dataset(dataset: Dataset) -> CommandSet:
    values: dict[str, Any] = {"has_data": dataset.CommandDataSetType != 0x0101}
    for name, keyword in KEYWORDS.items():
        if keyword not in dataset:
            continue
        found = dataset[keyword]
        if found.VR == "AT":
            several = [found.value] if found.VM == 1 else found.value
            values[name] = tuple(int(each) for each in several)
        else:
            values[name] = int(found.value) if found.VR == "US" else str(found.value)
    return CommandSet(**values)


# ---------------------------------------------------------------------------------------------- there and back


@pytest.mark.parametrize("field", Field, ids=lambda field: field.name)
@given(data=st.data())
def test_decode_undoes_encode(field: Field, data: st.DataObject) -> None:
    command = data.draw(command_sets(field))
    encoded = encode_command(command)
    assert decode_command(encoded) == command
    assert decode_command(memoryview(bytearray(encoded))) == command
    assert command.is_response == field.name.endswith("_RSP")
    assert len(encoded) % 2 == 0


def test_every_message_of_the_standard_is_tried() -> None:
    assert set(FIELDS) == set(Field)


def test_absent_and_empty_are_told_apart_for_text() -> None:
    command = CommandSet(field=1, affected_sop_class="", attributes=(), error_comment="")
    assert decode_command(encode_command(command)) == command
    assert decode_command(encode_command(CommandSet(field=1))) == CommandSet(field=1)


# ---------------------------------------------------------------------------------------------- pynetdicom


@pytest.mark.parametrize("field", Field, ids=lambda field: field.name)
@given(data=st.data())
def test_pynetdicom_reads_what_we_write(field: Field, data: st.DataObject) -> None:
    command = data.draw(command_sets(field))
    encoded = encode_command(command)
    primitive: Any = P_DATA()
    primitive.presentation_data_value_list = [[1, b"\x03" + encoded]]
    message = dimse_messages.DIMSEMessage()
    whole = message.decode_msg(primitive)
    assert whole != command.has_data
    assert type(message).__name__ == field.name
    assert from_dataset(message.command_set) == command
    assert message.command_set.CommandGroupLength == len(encoded) - 12


@pytest.mark.parametrize("field", Field, ids=lambda field: field.name)
@given(data=st.data())
def test_we_read_what_pynetdicom_writes(field: Field, data: st.DataObject) -> None:
    command = data.draw(command_sets(field))
    message: Any = getattr(dimse_messages, field.name)()
    message.command_set = to_dataset(command)
    message.command_set.CommandGroupLength = 0
    message._set_command_group_length()
    message.data_set = BytesIO()
    fragments = [
        fragment[1:]
        for primitive in message.encode_msg(1, 64)
        for _, fragment in primitive.presentation_data_value_list
    ]
    assert decode_command(b"".join(fragments)) == command


@given(COMMANDS)
def test_our_bytes_are_those_of_pydicom(command: CommandSet) -> None:
    dataset = to_dataset(command)
    dataset.CommandGroupLength = 0
    written = dsutils.encode(dataset, True, True)
    assert written is not None
    assert encode_command(command)[12:] == written[12:]


# ---------------------------------------------------------------------------------------------- exact bytes


def test_the_bytes_of_a_store_request() -> None:
    """PS3.7 table 9.3-1: elements ascend, implicit VR little endian, a NUL pads UIDs, a space AE titles."""
    body = (
        element(0x0002, CT.encode() + b"\0")
        + number(0x0100, 0x0001)
        + number(0x0110, 7)
        + number(0x0700, 2)
        + number(0x0800, 0x0001)
        + element(0x1000, b"1.2.34")
        + element(0x1030, b"DCMFLOW ")
        + number(0x1031, 9)
    )
    written = encode_command(c_store_rq(7, CT, "1.2.34", 2, "DCMFLOW", 9))
    assert written == element(0x0000, pack("<I", len(body))) + body


def test_the_bytes_of_an_echo() -> None:
    """PS3.7 tables 9.3-12 and 9.3-13, written out."""
    request = bytes.fromhex(
        "00000000 04000000 38000000"
        "00000200 12000000 312e322e3834302e31303030382e312e3100"
        "00000001 02000000 3000"
        "00001001 02000000 0100"
        "00000008 02000000 0101"
    )
    reply = bytes.fromhex(
        "00000000 04000000 42000000"
        "00000200 12000000 312e322e3834302e31303030382e312e3100"
        "00000001 02000000 3080"
        "00002001 02000000 0100"
        "00000008 02000000 0101"
        "00000009 02000000 0000"
    )
    assert encode_command(c_echo_rq(1)) == request
    assert encode_command(response(decode_command(request), Status.SUCCESS)) == reply


def test_tags_are_group_then_element() -> None:
    written = encode_command(CommandSet(field=0x8001, offending_elements=(0x00100020, 0x7FE00010)))
    assert element(0x0901, bytes.fromhex("10002000 e07f1000")) in written


# ---------------------------------------------------------------------------------------------- making


def test_constructors() -> None:
    assert c_find_rq(1, CT) == CommandSet(
        field=0x20, affected_sop_class=CT, message_id=1, priority=0, has_data=True
    )
    assert c_get_rq(1, CT, 1) == CommandSet(
        field=0x10, affected_sop_class=CT, message_id=1, priority=1, has_data=True
    )
    assert c_move_rq(1, CT, "HERE") == CommandSet(
        field=0x21, affected_sop_class=CT, message_id=1, priority=0, move_destination="HERE", has_data=True
    )
    assert c_cancel_rq(3) == CommandSet(field=0xFFF, message_id_responded=3)


def test_a_response_repeats_what_identifies_the_request() -> None:
    assert response(c_store_rq(5, CT, "1.2.3"), 0xA700, error_comment="disk full") == CommandSet(
        field=0x8001,
        affected_sop_class=CT,
        affected_sop_instance="1.2.3",
        message_id_responded=5,
        status=0xA700,
        error_comment="disk full",
    )
    assert response(c_move_rq(5, CT, "HERE"), 0xFF00, remaining=2, completed=1) == CommandSet(
        field=0x8021,
        affected_sop_class=CT,
        message_id_responded=5,
        status=0xFF00,
        remaining=2,
        completed=1,
    )


def test_what_was_requested_is_affected_in_the_response() -> None:
    action = CommandSet(
        field=Field.N_ACTION_RQ,
        requested_sop_class=COMMITMENT,
        requested_sop_instance="1.2.3",
        message_id=2,
        action_type=1,
        has_data=True,
    )
    assert response(action, 0) == CommandSet(
        field=Field.N_ACTION_RSP,
        affected_sop_class=COMMITMENT,
        affected_sop_instance="1.2.3",
        message_id_responded=2,
        action_type=1,
        status=0,
    )


def test_a_response_may_name_the_instance_that_was_created() -> None:
    create = CommandSet(field=Field.N_CREATE_RQ, affected_sop_class=CT, message_id=1, has_data=True)
    created = response(create, 0, has_data=True, affected_sop_instance="1.2.9")
    assert (created.affected_sop_instance, created.has_data) == ("1.2.9", True)


@pytest.mark.parametrize("nothing", [c_cancel_rq(1), response(c_echo_rq(1), 0)])
def test_nothing_answers_a_cancel_or_a_response(nothing: CommandSet) -> None:
    with pytest.raises(LocalProtocolError, match="nothing may be answered"):
        response(nothing, 0)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"message_id": 65536}, "message_id takes 0 to 65535, not 65536"),
        ({"status": -1}, "status"),
        ({"affected_sop_class": "1." + "2" * 63}, "affected_sop_class takes at most 64"),
        ({"affected_sop_instance": "1.2é"}, "ascii"),
        ({"move_destination": "A" * 17}, "move_destination takes at most 16"),
        ({"move_originator_ae": "山"}, "ascii"),
        ({"attributes": (1 << 32,)}, "attributes takes tags"),
    ],
)
def test_what_cannot_be_encoded(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(LocalProtocolError, match=text):
        encode_command(CommandSet(field=1, **fields))


def test_a_response_repeats_what_breaks_the_rules() -> None:
    """The peer's own UIDs cannot keep us from answering it."""
    data = number(0x0100, 1) + element(0x0002, b"1." + b"2" * 90) + element(0x1000, b"1.\xe9")
    answer = response(decode_command(data), 0x0117)
    assert answer.affected_sop_class == "1." + "2" * 90
    assert decode_command(encode_command(answer)) == answer


@given(st.text())
def test_any_error_comment_can_be_sent(comment: str) -> None:
    sent = decode_command(encode_command(CommandSet(field=0x8001, error_comment=comment))).error_comment
    assert sent is not None
    assert len(sent) <= 64
    assert sent.isascii()
    assert "\\" not in sent
    assert sent == "" or sent.isprintable()


def test_an_error_comment_is_cut_and_keeps_its_ascii() -> None:
    said = decode_command(encode_command(CommandSet(field=1, error_comment=" no\nroom é" + "x" * 90)))
    assert said.error_comment == ("no room ?" + "x" * 90)[:64]


# ---------------------------------------------------------------------------------------------- lenient


def test_other_peoples_text() -> None:
    data = (
        number(0x0100, 0x8001)
        + element(0x0902, "Fehler: größer ".encode("latin-1") + b"\0")
        + element(0x0002, b"1.2 \0\0")
        + element(0x1030, b"  MOVER\0\0 ")
    )
    command = decode_command(data)
    assert command.error_comment == "Fehler: größer"
    assert command.affected_sop_class == "1.2"
    assert command.move_originator_ae == "MOVER"


def test_unknown_elements_and_a_wrong_group_length_are_passed_over() -> None:
    data = (
        element(0x0000, pack("<I", 999_999))
        + element(0x0001, b"\0\0\0\0")  # retired length to end
        + number(0x0100, 0x0030)
        + element(0x5010, b"retired odd")
        + pack("<HHI", 0x0009, 0x0010, 4)
        + b"ACME"
        + number(0x0110, 4)
    )
    assert decode_command(data) == CommandSet(field=0x30, message_id=4)


def test_numbers_without_value_are_absent() -> None:
    data = number(0x0100, 1) + element(0x0110, b"") + element(0x0800, b"") + element(0x0901, b"")
    assert decode_command(data) == CommandSet(field=1, offending_elements=())


@pytest.mark.parametrize(("value", "has_data"), [(0x0101, False), (0, True), (1, True), (0x0102, True)])
def test_any_data_set_type_but_one_means_data(value: int, has_data: bool) -> None:
    assert decode_command(number(0x0100, 1) + number(0x0800, value)).has_data is has_data


# ---------------------------------------------------------------------------------------------- broken


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "no command field"),
        (number(0x0110, 1), r"no command field \(0000,0100\)"),
        (element(0x0100, b""), "no command field"),
        (element(0x0100, b"\1"), r"\(0000,0100\) at byte 0 has 1 byte"),
        (number(0x0100, 1) + element(0x0800, b"\1"), r"\(0000,0800\) at byte 10 has 1 byte"),
        (number(0x0100, 1) + b"\0\0\0", "3 bytes at byte 10 are too few"),
        (number(0x0100, 1) + pack("<HHI", 0, 2, 0xFFFFFFFF), r"\(0000,0002\) at byte 10 claims 4294967295"),
        (number(0x0100, 1) + pack("<HHI", 8, 5, 9) + b"abc", r"\(0008,0005\) at byte 10 claims 9 bytes, 3 "),
    ],
)
def test_what_is_no_command_set(data: bytes, text: str) -> None:
    with pytest.raises(RemoteProtocolError, match=text):
        decode_command(data)


@given(COMMANDS)
def test_cut_anywhere(command: CommandSet) -> None:
    encoded = encode_command(command)
    ends = {0}
    while (last := max(ends)) < len(encoded):
        ends.add(last + 8 + int.from_bytes(encoded[last + 4 : last + 8], "little"))
    for end in range(len(encoded)):
        if end in ends:
            with suppress(RemoteProtocolError):
                decode_command(encoded[:end])
        else:
            with pytest.raises(RemoteProtocolError):
                decode_command(encoded[:end])


@given(COMMANDS, st.data())
def test_bytes_changed(command: CommandSet, data: st.DataObject) -> None:
    encoded = bytearray(encode_command(command))
    for _ in range(data.draw(st.integers(1, 4))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    with suppress(RemoteProtocolError):
        decode_command(encoded)


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    with suppress(RemoteProtocolError):
        decode_command(data)
    with suppress(RemoteProtocolError):
        decode_command(number(0x0100, 1) + data)


@pytest.mark.parametrize(
    "piece",
    [
        element(0x0002, b""),
        element(0x0002, b"ab"),
        number(0x0110, 300),
        element(0x0901, b"abcd" * 9000),
        b"\0",
    ],
    ids=["empty", "text", "number", "tags", "zeros"],
)
def test_memory_stays_within_a_multiple_of_the_input(piece: bytes) -> None:
    data = number(0x0100, 1) + piece * (400_000 // len(piece) // 8 * 8)
    decode_command(data)
    tracemalloc.start()
    try:
        decode_command(data)
        assert tracemalloc.get_traced_memory()[1] < 16 * len(data)
    finally:
        tracemalloc.stop()


def test_kinds_are_in_the_order_of_the_fields() -> None:
    """`encode_command` writes fields in order, which is that of the elements."""
    assert [row[2] for row in module._ELEMENTS] == list(CommandSet.__struct_fields__)
    assert sorted(module._ELEMENTS) == list(module._ELEMENTS)
