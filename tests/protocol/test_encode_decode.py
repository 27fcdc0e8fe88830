"""PDUs: there and back, against pynetdicom in both directions, as exact bytes, and broken."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from struct import pack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom import pdu as theirs
from pynetdicom import pdu_items as items

from dcmflow.dicom import part10
from dcmflow.errors import LocalProtocolError, RemoteProtocolError
from dcmflow.protocol import items as our_items
from dcmflow.protocol.decode import MOST_CONTEXTS, decode
from dcmflow.protocol.encode import encode
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
    P_DATA_TF,
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
from protocol.strategies import PDUS

CT = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
KINDS = (ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, RELEASE_RQ, RELEASE_RP, ABORT)
FIXED = pack(">Hxx", 1) + b"PACS".ljust(16) + b"DCMFLOW".ljust(16) + bytes(32)

EVERYTHING = AssociateRequest(
    "PACS",
    "DCMFLOW",
    (ProposedContext(1, CT, (IMPLICIT, EXPLICIT)), ProposedContext(255, "1.2.3", (EXPLICIT,))),
    UserInformation(
        16384,
        "1.2.3.4",
        "VERSION",
        AsynchronousOperations(3, 4),
        (Role(CT, True, False), Role("1.2.3", False, True)),
        (ExtendedNegotiation(CT, b"\1\0\1"),),
        (CommonExtendedNegotiation(CT, "1.2.5", ("1.2.6", "1.2.77")), CommonExtendedNegotiation(CT, "1.2")),
        UserIdentity(2, b"name", b"secret", True),
        b"ticket",
    ),
)


def item(kind: int, content: bytes) -> bytes:
    return pack(">BxH", kind, len(content)) + content


def counted(content: bytes) -> bytes:
    return pack(">H", len(content)) + content


def parts(pdu: Pdu) -> tuple[int, bytes]:
    """The type and what follows the header."""
    encoded = encode(pdu)
    assert encoded[1] == 0
    assert int.from_bytes(encoded[2:6], "big") == len(encoded) - 6
    return encoded[0], encoded[6:]


def user_of(content: bytes) -> UserInformation:
    decoded = decode(ASSOCIATE_RQ, FIXED + item(0x50, content))
    assert isinstance(decoded, AssociateRequest)
    return decoded.user


# ---------------------------------------------------------------------------------------------- there and back


@given(PDUS)
def test_decode_undoes_encode(pdu: Pdu) -> None:
    kind, body = parts(pdu)
    assert decode(kind, body) == pdu
    assert decode(kind, memoryview(bytearray(body))) == pdu


def test_everything_there_and_back() -> None:
    assert decode(*parts(EVERYTHING)) == EVERYTHING


def test_the_implementation_is_called_as_in_files() -> None:
    assert our_items.IMPLEMENTATION_CLASS_UID == part10.IMPLEMENTATION_CLASS_UID
    assert our_items.IMPLEMENTATION_VERSION_NAME == part10.IMPLEMENTATION_VERSION_NAME
    assert len(our_items.IMPLEMENTATION_VERSION_NAME) <= 16


# ---------------------------------------------------------------------------------------------- pynetdicom


def to_pynetdicom(pdu: Pdu) -> Any:
    """The same as an object of pynetdicom."""
    if isinstance(pdu, AssociateRequest):
        request = theirs.A_ASSOCIATE_RQ()
        request.called_ae_title, request.calling_ae_title = pdu.called_ae, pdu.calling_ae
        return _filled(request, pdu)
    if isinstance(pdu, AssociateAccept):
        accept = theirs.A_ASSOCIATE_AC()
        accept.reserved_aet, accept.reserved_aec = pdu.called_ae, pdu.calling_ae
        return _filled(accept, pdu)
    if isinstance(pdu, AssociateReject):
        reject = theirs.A_ASSOCIATE_RJ()
        reject.result, reject.source, reject.reason_diagnostic = pdu.result, pdu.source, pdu.reason
        return reject
    if isinstance(pdu, Abort):
        abort = theirs.A_ABORT_RQ()
        abort.source, abort.reason_diagnostic = pdu.source, pdu.reason
        return abort
    return theirs.A_RELEASE_RQ() if isinstance(pdu, ReleaseRequest) else theirs.A_RELEASE_RP()


def _filled(to: Any, pdu: AssociateRequest | AssociateAccept) -> Any:
    to.protocol_version = pdu.protocol_version
    application = items.ApplicationContextItem()
    application.application_context_name = pdu.application_context
    user = items.UserInformationItem()
    user.user_data = [_set(*each) for each in _sub_items(pdu.user)]
    to.variable_items = [application, *map(_context, pdu.contexts), user]
    return to


def _set(made: Any, values: dict[str, Any]) -> Any:
    for name, value in values.items():
        setattr(made, name, value)
    return made


def _context(context: ProposedContext | AnsweredContext) -> Any:
    def syntax(uid: str) -> Any:
        return _set(items.TransferSyntaxSubItem(), {"transfer_syntax_name": uid})

    if isinstance(context, AnsweredContext):
        values = {"presentation_context_id": context.id, "result_reason": context.result}
        answered = _set(items.PresentationContextItemAC(), values)
        answered.transfer_syntax_sub_item = [syntax(context.transfer_syntax)]
        return answered
    proposed = items.PresentationContextItemRQ()
    proposed.presentation_context_id = context.id
    abstract = _set(items.AbstractSyntaxSubItem(), {"abstract_syntax_name": context.abstract_syntax})
    proposed.abstract_transfer_syntax_sub_items = [abstract, *map(syntax, context.transfer_syntaxes)]
    return proposed


def _sub_items(user: UserInformation) -> list[tuple[Any, dict[str, Any]]]:
    made: list[tuple[Any, dict[str, Any]]] = [
        (items.MaximumLengthSubItem(), {"maximum_length_received": user.maximum_length}),
        (items.ImplementationClassUIDSubItem(), {"implementation_class_uid": user.implementation_class_uid}),
    ]
    if user.asynchronous_operations:
        window = items.AsynchronousOperationsWindowSubItem()
        window.maximum_number_operations_invoked = user.asynchronous_operations.invoked
        window.maximum_number_operations_performed = user.asynchronous_operations.performed
        made.append((window, {}))
    for role in user.roles:
        values = {"sop_class_uid": role.sop_class, "scu_role": int(role.scu), "scp_role": int(role.scp)}
        made.append((items.SCP_SCU_RoleSelectionSubItem(), values))
    if user.implementation_version_name:
        values = {"implementation_version_name": user.implementation_version_name}
        made.append((items.ImplementationVersionNameSubItem(), values))
    for extended in user.extended:
        made.append((items.SOPClassExtendedNegotiationSubItem(), {"sop_class_uid": extended.sop_class}))
        made[-1][0].service_class_application_information = extended.information
    for common in user.common_extended:
        values = {"sop_class_uid": common.sop_class, "service_class_uid": common.service_class}
        made.append((items.SOPClassCommonExtendedNegotiationSubItem(), values))
        made[-1][0].related_general_sop_class_identification = list(common.related)
    if user.user_identity:
        identity = items.UserIdentitySubItemRQ()
        identity.user_identity_type = user.user_identity.type
        identity.positive_response_requested = int(user.user_identity.response)
        identity.primary_field = user.user_identity.primary
        identity.secondary_field = user.user_identity.secondary
        made.append((identity, {}))
    if user.user_identity_answer:
        made.append((items.UserIdentitySubItemAC(), {"server_response": user.user_identity_answer}))
    return made


@given(PDUS)
def test_pynetdicom_reads_what_we_write(pdu: Pdu) -> None:
    encoded = encode(pdu)
    expected = to_pynetdicom(pdu)
    read = type(expected)()
    read.decode(encoded)
    assert read == expected
    if isinstance(pdu, AssociateRequest):
        assert (read.called_ae_title, read.calling_ae_title) == (pdu.called_ae, pdu.calling_ae)
        contexts = [
            (each.context_id, each.abstract_syntax, *each.transfer_syntax)
            for each in read.presentation_context
        ]
        assert contexts == [(each.id, each.abstract_syntax, *each.transfer_syntaxes) for each in pdu.contexts]
        assert read.user_information.maximum_length == pdu.user.maximum_length
    if isinstance(pdu, AssociateAccept):
        answers = [(each.context_id, each.result, each.transfer_syntax) for each in read.presentation_context]
        assert answers == [(each.id, each.result, each.transfer_syntax) for each in pdu.contexts]


@given(PDUS)
def test_we_read_what_pynetdicom_writes(pdu: Pdu) -> None:
    written = to_pynetdicom(pdu).encode()
    assert decode(written[0], written[6:]) == pdu


@given(PDUS)
def test_our_bytes_are_those_of_pynetdicom(pdu: Pdu) -> None:
    assert encode(pdu) == to_pynetdicom(pdu).encode()


# ---------------------------------------------------------------------------------------------- exact bytes


def test_the_bytes_of_an_association_request() -> None:
    """PS3.8 tables 9-11 to 9-15 and D.1-1; PS3.7 tables D.3-1 to D.3-14: types, reserved bytes, lengths, no padding."""
    user = (
        bytes.fromhex("51000004 00004000")
        + bytes.fromhex("52000007") + b"1.2.3.4"
        + bytes.fromhex("53000004 0003 0004")
        + bytes.fromhex("5400001d 0019") + CT.encode() + bytes.fromhex("01 00")
        + bytes.fromhex("54000009 0005") + b"1.2.3" + bytes.fromhex("00 01")
        + bytes.fromhex("55000007") + b"VERSION"
        + bytes.fromhex("5600001e 0019") + CT.encode() + bytes.fromhex("010001")
        + bytes.fromhex("57000033 0019") + CT.encode() + b"\0\x051.2.5" + b"\0\x0f" + b"\0\x051.2.6" + b"\0\x061.2.77"
        + bytes.fromhex("57000022 0019") + CT.encode() + b"\0\x031.2" + b"\0\0"
        + bytes.fromhex("58000010 02 01 0004") + b"name" + b"\0\x06secret"
        + bytes.fromhex("59000008 0006") + b"ticket"
    )  # fmt: skip
    body = (
        bytes.fromhex("0001 0000")
        + b"PACS            "
        + b"DCMFLOW         "
        + bytes(32)
        + bytes.fromhex("10000015") + b"1.2.840.10008.3.1.1.1"
        + bytes.fromhex("2000004d 01000000")
        + bytes.fromhex("30000019") + b"1.2.840.10008.5.1.4.1.1.2"
        + bytes.fromhex("40000011") + b"1.2.840.10008.1.2"
        + bytes.fromhex("40000013") + b"1.2.840.10008.1.2.1"
        + bytes.fromhex("20000024 ff000000")
        + bytes.fromhex("30000005") + b"1.2.3"
        + bytes.fromhex("40000013") + b"1.2.840.10008.1.2.1"
        + pack(">BxH", 0x50, len(user)) + user
    )  # fmt: skip
    assert encode(EVERYTHING) == pack(">BxI", 1, len(body)) + body


def test_the_bytes_of_an_acceptance() -> None:
    """PS3.8 tables 9-17 and 9-18: the result is the third byte of the context."""
    accept = AssociateAccept(
        "PACS", "DCMFLOW", (AnsweredContext(1, 0, IMPLICIT), AnsweredContext(3, 4, "")), UserInformation(0)
    )
    body = (
        FIXED
        + bytes.fromhex("10000015") + b"1.2.840.10008.3.1.1.1"
        + bytes.fromhex("21000019 01 00 00 00 40000011") + b"1.2.840.10008.1.2"
        + bytes.fromhex("21000008 03 00 04 00 40000000")
        + bytes.fromhex("50000008 51000004 00000000")
    )  # fmt: skip
    assert encode(accept) == bytes.fromhex("0200") + pack(">I", len(body)) + body
    assert decode(ASSOCIATE_AC, body) == accept


@pytest.mark.parametrize(
    ("pdu", "encoded"),
    [
        (AssociateReject(1, 2, 3), "03 00 00000004 00 01 02 03"),
        (ReleaseRequest(), "05 00 00000004 00000000"),
        (ReleaseReply(), "06 00 00000004 00000000"),
        (Abort(2, 6), "07 00 00000004 00 00 02 06"),
    ],
)
def test_the_bytes_of_short_pdus(pdu: Pdu, encoded: str) -> None:
    """PS3.8 tables 9-21, 9-24, 9-25, 9-26."""
    assert encode(pdu) == bytes.fromhex(encoded)


# ---------------------------------------------------------------------------------------------- what cannot be sent


def request(
    *contexts: ProposedContext, called: str = "A", calling: str = "B", **user: Any
) -> AssociateRequest:
    return AssociateRequest(called, calling, contexts, UserInformation(**user))


@pytest.mark.parametrize(
    ("pdu", "text"),
    [
        (request(called="A" * 17), "'AAAAAAAAAAAAAAAAA' has 17 characters"),
        (request(calling="Ä"), "ascii"),
        (request(ProposedContext(2, CT, ())), "odd and in 1 to 255, not 2"),
        (request(ProposedContext(0, CT, ())), "not 0"),
        (request(ProposedContext(257, CT, ())), "not 257"),
        (AssociateAccept("A", "B", (AnsweredContext(-1, 0, CT),)), "not -1"),
        (AssociateAccept("A" * 17, "B", ()), "17 characters"),
        (request(ProposedContext(1, "1." + "2" * 63, ())), "has 65 characters, at most 64"),
        (request(ProposedContext(1, CT, ("1.2é",))), "ascii"),
        (request(maximum_length=1 << 32), "cannot encode AssociateRequest"),
        (request(implementation_version_name="V" * 17), "more than 16"),
        (request(extended=(ExtendedNegotiation(CT, bytes(65536)),)), "56H has 655"),
        (request(user_identity=UserIdentity(1, bytes(65536))), "65536 bytes"),
        (request(extended=(ExtendedNegotiation(CT, bytes(40000)),) * 2), "50H has "),
        (AssociateReject(256, 1, 1), "cannot encode AssociateReject"),
        (Abort(0, -1), "cannot encode Abort"),
    ],
)
def test_what_cannot_be_encoded(pdu: Pdu, text: str) -> None:
    with pytest.raises(LocalProtocolError, match=text):
        encode(pdu)


def test_an_acceptance_repeats_what_breaks_the_rules() -> None:
    """The peer's own titles and UIDs cannot keep us from answering it."""
    strange = AssociateAccept("P\xc4CS", "\xff", (AnsweredContext(1, 0, "1." + "2" * 90 + "\xe9"),))
    assert decode(*parts(strange)) == strange


# ---------------------------------------------------------------------------------------------- lenient


def test_unknown_items_and_padding_are_passed_over() -> None:
    body = bytearray(
        FIXED
        + item(0x77, b"whatever")
        + item(0x10, b"1.2.3\0")
        + item(
            0x20,
            b"\1\xff\xff\xff" + item(0x30, CT.encode() + b" \0") + item(0x99, b"") + item(0x40, b"1.2\0"),
        )
        + item(0x50, item(0x51, pack(">I", 9) + b"more") + item(0x5F, b"?") + item(0x52, b"1.2.3 "))
        + item(0x50, item(0x51, pack(">I", 10)))
    )
    body[2:4] = b"\xff\xff"
    body[36:68] = b"\xff" * 32
    assert decode(ASSOCIATE_RQ, body) == AssociateRequest(
        "PACS", "DCMFLOW", (ProposedContext(1, CT, ("1.2",)),), UserInformation(9, "1.2.3"), "1.2.3"
    )


def test_items_come_in_any_order() -> None:
    context = item(0x20, b"\1\0\0\0" + item(0x40, b"1.2") + item(0x30, b"1.3") + item(0x40, b"1.4"))
    decoded = decode(ASSOCIATE_RQ, FIXED + item(0x50, b"") + context + item(0x10, b"1.5"))
    assert decoded == AssociateRequest(
        "PACS", "DCMFLOW", (ProposedContext(1, "1.3", ("1.2", "1.4")),), UserInformation(), "1.5"
    )


def test_what_is_missing_is_empty() -> None:
    assert decode(ASSOCIATE_RQ, FIXED) == AssociateRequest("PACS", "DCMFLOW", (), UserInformation(), "")
    answer = decode(ASSOCIATE_AC, FIXED + item(0x21, b"\1\0\3\0"))
    assert isinstance(answer, AssociateAccept)
    assert answer.contexts == (AnsweredContext(1, 3, ""),)


def test_titles_are_stripped_and_taken_as_they_are() -> None:
    body = pack(">Hxx", 1) + b"  P\xc4CS\0\0\0\0".ljust(16, b"\0") + bytes(16) + bytes(32)
    decoded = decode(ASSOCIATE_RQ, body)
    assert isinstance(decoded, AssociateRequest)
    assert (decoded.called_ae, decoded.calling_ae) == ("PÄCS", "")


def test_short_forms_of_user_information() -> None:
    """Older peers leave out the last field of these."""
    assert user_of(item(0x58, b"\1\0" + counted(b"me"))).user_identity == UserIdentity(1, b"me")
    common = item(0x57, counted(b"1.2") + counted(b"1.3"))
    assert user_of(common).common_extended == (CommonExtendedNegotiation("1.2", "1.3"),)


@pytest.mark.parametrize("kind", [ASSOCIATE_RJ, RELEASE_RQ, RELEASE_RP, ABORT])
def test_more_than_four_bytes_are_no_harm(kind: int) -> None:
    assert decode(kind, b"\0\0\1\1") == decode(kind, b"\0\0\1\1more")


# ---------------------------------------------------------------------------------------------- broken


@pytest.mark.parametrize(
    ("kind", "body", "text"),
    [
        (P_DATA_TF, bytes(4), "unknown type 04H"),
        (0, bytes(4), "unknown type 00H"),
        (255, b"", "unknown type FFH"),
        (ASSOCIATE_RQ, FIXED[:-1], "A-ASSOCIATE-RQ: 68 bytes are needed at byte 6, 67 are left"),
        (ASSOCIATE_AC, b"", "A-ASSOCIATE-AC: 68 bytes"),
        (ASSOCIATE_RJ, bytes(3), "A-ASSOCIATE-RJ: 4 bytes are needed at byte 6, 3 are left"),
        (RELEASE_RQ, b"", "A-RELEASE-RQ"),
        (RELEASE_RP, b"", "A-RELEASE-RP"),
        (ABORT, b"", "A-ABORT"),
        (ASSOCIATE_RQ, FIXED + b"\x10\0\0", "4 bytes are needed at byte 74, 3 are left"),
        (ASSOCIATE_RQ, FIXED + b"\x10\0\xff\xff123", "item 10H at byte 74 claims 65535 bytes, 3 are left"),
        (ASSOCIATE_RQ, FIXED + item(0x20, b"\1\0\0"), "presentation context: 4 bytes are needed at byte 78"),
        (ASSOCIATE_RQ, FIXED + item(0x20, b""), "presentation context: 4 bytes"),
        (ASSOCIATE_AC, FIXED + item(0x21, b""), "presentation context: 4 bytes"),
        (
            ASSOCIATE_AC,
            FIXED + item(0x21, b"\1\0\0\0\x40\0\0\1"),
            "item 40H at byte 82 claims 1 bytes, 0 are",
        ),
        (
            ASSOCIATE_RQ,
            FIXED + item(0x20, b"\1\0\0\0\x30\0\0\x09" + b"1.2") + item(0x10, bytes(20)),
            "presentation context: item 30H at byte 82 claims 9 bytes, 3 are left",
        ),
    ],
)
def test_what_is_no_pdu(kind: int, body: bytes, text: str) -> None:
    with pytest.raises(RemoteProtocolError, match=text):
        decode(kind, body)


@pytest.mark.parametrize(
    "content",
    [
        item(0x51, b"\0\0\0"),
        item(0x53, b"\0\1\0"),
        item(0x54, b""),
        item(0x54, counted(b"1.2") + b"\1"),
        item(0x54, b"\0\x09" + b"1.2\1\1"),
        item(0x56, b"\0\x04" + b"1.2"),
        item(0x57, counted(b"1.2")),
        item(0x57, counted(b"1.2") + counted(b"1.3") + b"\0"),
        item(0x57, counted(b"1.2") + counted(b"1.3") + b"\0\x06" + counted(b"1.4")),
        item(0x57, counted(b"1.2") + counted(b"1.3") + counted(b"\0\x041.2")),
        item(0x58, b"\1"),
        item(0x58, b"\1\0\0\4abc"),
        item(0x58, b"\2\0" + counted(b"me") + b"\0\1"),
        item(0x59, b"\0"),
        item(0x59, b"\0\x09abc"),
        b"\x51\0\0\5\0\0\0\0",
        b"\x51",
    ],
    ids=bytes.hex,
)
def test_broken_user_information(content: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="A-ASSOCIATE-RQ: user information"):
        user_of(content)


def ends_of_items(body: bytes) -> set[int]:
    ends, position = {68}, 68
    while position < len(body):
        position += 4 + int.from_bytes(body[position + 2 : position + 4], "big")
        ends.add(position)
    return ends


def test_cut_anywhere_but_between_items() -> None:
    kind, body = parts(EVERYTHING)
    ends = ends_of_items(body)
    assert len(ends) == 5
    for end in range(len(body)):
        if end in ends:
            decode(kind, body[:end])
        else:
            with pytest.raises(RemoteProtocolError):
                decode(kind, body[:end])


@given(PDUS)
def test_any_pdu_cut_anywhere(pdu: Pdu) -> None:
    kind, body = parts(pdu)
    for end in range(len(body)):
        with suppress(RemoteProtocolError):
            decode(kind, body[:end])


@pytest.mark.parametrize("lie", [0, 1, 0xFF, 0xFFFF])
def test_a_lying_length_anywhere(lie: int) -> None:
    """Each two bytes in turn, those that are lengths among them."""
    kind, body = parts(EVERYTHING)
    refused = 0
    for position in range(68, len(body) - 1):
        broken = bytearray(body)
        broken[position : position + 2] = lie.to_bytes(2, "big")
        try:
            decode(kind, broken)
        except RemoteProtocolError:
            refused += 1
    assert refused > 20  # as many lengths as there are


@given(PDUS, st.data())
def test_bytes_changed(pdu: Pdu, data: st.DataObject) -> None:
    kind, body = parts(pdu)
    broken = bytearray(body)
    for _ in range(data.draw(st.integers(1, 4))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    with suppress(RemoteProtocolError):
        decode(kind, broken)


@given(st.sampled_from(KINDS), st.binary(max_size=300))
def test_any_bytes(kind: int, data: bytes) -> None:
    for body in (data, FIXED + data, FIXED + item(0x50, data), FIXED + item(0x20, data)):
        with suppress(RemoteProtocolError):
            decode(kind, body)


PIECES = st.sampled_from(
    [item(kind, b"") for kind in (0x10, 0x20, 0x21, 0x30, 0x40, 0x50, *range(0x51, 0x5B))]
    + [item(0x54, counted(b"1.2") + b"\1\1"), item(0x20, b"\1\0\0\0"), b"\x50\0", b"\0\4", b"\xff\xff"]
)


@given(st.sampled_from((ASSOCIATE_RQ, ASSOCIATE_AC)), st.lists(PIECES | st.binary(max_size=4), max_size=30))
def test_pieces_of_pdus(kind: int, pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    for body in (FIXED + data, FIXED + item(0x50, data), FIXED + item(0x20, b"\1\0\0\0" + data)):
        with suppress(RemoteProtocolError):
            decode(kind, body)


# ---------------------------------------------------------------------------------------------- bounds

CONTEXTS = [
    (ASSOCIATE_RQ, item(0x20, b"\1\0\0\0" + item(0x30, b"1.2") + item(0x40, b"1.3"))),
    (ASSOCIATE_AC, item(0x21, b"\1\0\0\0" + item(0x40, b"1.3"))),
]


@pytest.mark.parametrize(("kind", "context"), CONTEXTS)
def test_ten_thousand_contexts(kind: int, context: bytes) -> None:
    decoded = decode(kind, FIXED + context * MOST_CONTEXTS)
    assert isinstance(decoded, AssociateRequest | AssociateAccept)
    assert len(decoded.contexts) == MOST_CONTEXTS
    with pytest.raises(RemoteProtocolError, match="more than 1000 presentation contexts"):
        decode(kind, FIXED + context * 10_000)


def many(content: bytes, count: int) -> bytes:
    """As often as fits into one item."""
    return content * min(count, 60_000 // len(content))


# what a peer might repeat to make us work or remember: (kind, size in pieces -> body)
FLOODS: dict[str, tuple[int, Callable[[int], bytes]]] = {
    "unknown items": (ASSOCIATE_RQ, lambda n: item(0x77, b"") * n),
    "application contexts": (ASSOCIATE_RQ, lambda n: item(0x10, b"1.2") * n),
    "empty user information": (ASSOCIATE_AC, lambda n: item(0x50, b"") * n),
    "user information": (ASSOCIATE_RQ, lambda n: item(0x50, item(0x51, bytes(4)) * 100) * (n // 100)),
    "empty syntaxes": (ASSOCIATE_RQ, lambda n: item(0x20, bytes(4) + many(item(0x40, b""), n))),
    "syntaxes": (ASSOCIATE_RQ, lambda n: item(0x20, bytes(4) + many(item(0x40, b"12"), n))),
    "syntaxes of an answer": (ASSOCIATE_AC, lambda n: item(0x21, bytes(4) + many(item(0x40, b"12"), n))),
    "roles": (ASSOCIATE_RQ, lambda n: item(0x50, many(item(0x54, bytes(4)), n))),
    "extended": (ASSOCIATE_RQ, lambda n: item(0x50, many(item(0x56, bytes(2)), n))),
    "common extended": (ASSOCIATE_RQ, lambda n: item(0x50, many(item(0x57, bytes(6)), n))),
    "related": (ASSOCIATE_RQ, lambda n: item(0x50, item(0x57, bytes(4) + counted(many(bytes(2), n))))),
    "identities": (ASSOCIATE_RQ, lambda n: item(0x50, many(item(0x58, bytes(6)), n))),
}


@pytest.mark.parametrize("flood", FLOODS)
def test_work_grows_with_the_input_and_no_faster(flood: str) -> None:
    """Counted in function calls, not in seconds."""
    kind, make = FLOODS[flood]

    def calls(body: bytes) -> int:
        count = 0

        def counting(frame: Any, event: str, argument: Any) -> None:
            nonlocal count
            count += 1

        before = sys.getprofile()
        sys.setprofile(counting)
        try:
            decode(kind, body)
        finally:
            sys.setprofile(before)
        return count

    one, four = calls(FIXED + make(1000)), calls(FIXED + make(4000))
    assert one > 10
    assert four <= 4.2 * one


@pytest.mark.parametrize("flood", FLOODS)
def test_memory_stays_within_a_multiple_of_the_input(flood: str) -> None:
    kind, make = FLOODS[flood]
    body = FIXED + make(100_000)
    decode(kind, body)
    tracemalloc.start()
    try:
        decode(kind, body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20 * len(body)
