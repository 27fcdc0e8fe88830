"""Every no of a peer in words, with what to try."""

from __future__ import annotations

import pytest

from dcmflow.errors import AssociationAborted, ConnectError, NetworkTimeout, NoAcceptedContext
from dcmflow.net import reasons
from dcmflow.net.node import Node, Tls
from dcmflow.protocol.pdu import Abort, AssociateReject

NODE = Node(host="10.0.0.5", port=104, ae_title="PACS")
REGISTER = "ask the PACS administrator to register DCMFLOW"
CT, VERIFICATION, JPEG = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.1", "1.2.840.10008.1.2.4.50"


def test_the_text_of_a_rejection() -> None:
    error = reasons.rejected(NODE, AssociateReject(1, 1, 7), "DCMFLOW")
    assert str(error) == (
        "PACS@10.0.0.5:104 rejected the association: called AE title not recognized (rejected-permanent, service-user 7); "
        "check the called AE title, or ask the PACS administrator to register DCMFLOW"
    )
    assert (error.result, error.source, error.reason, error.transient) == (1, 1, 7, False)


# PS3.8 table 9-21, row by row
@pytest.mark.parametrize(
    ("source", "reason", "meaning", "hint"),
    [
        (
            1,
            1,
            "no reason given (rejected-transient, service-user 1)",
            f"check both AE titles, or {REGISTER}",
        ),
        (
            1,
            2,
            "application context name not supported (rejected-transient, service-user 2)",
            "does it speak DICOM",
        ),
        (1, 3, "calling AE title not recognized (rejected-transient, service-user 3)", REGISTER),
        (
            1,
            7,
            "called AE title not recognized (rejected-transient, service-user 7)",
            "check the called AE title",
        ),
        (2, 1, "no reason given (rejected-transient, service-provider (ACSE) 1)", "its log may say why"),
        (
            2,
            2,
            "protocol version not supported (rejected-transient, service-provider (ACSE) 2)",
            "DICOM on this port",
        ),
        (
            3,
            1,
            "temporary congestion (rejected-transient, service-provider (presentation) 1)",
            "max-associations",
        ),
        (
            3,
            2,
            "local limit exceeded (rejected-transient, service-provider (presentation) 2)",
            "max-associations",
        ),
    ],
)
def test_why_an_association_was_rejected(source: int, reason: int, meaning: str, hint: str) -> None:
    error = reasons.rejected("PACS@10.0.0.5:104", AssociateReject(2, source, reason), "DCMFLOW")
    assert str(error).startswith(f"PACS@10.0.0.5:104 rejected the association: {meaning}; ")
    assert hint in str(error)
    assert error.transient


@pytest.mark.parametrize("source", [1, 2, 3])
@pytest.mark.parametrize("reason", [0, 4, 5, 6, 8, 9, 10, 255])
def test_reserved_reasons_have_numbers(source: int, reason: int) -> None:
    text = reasons.rejection(AssociateReject(1, source, reason))
    assert text.startswith("unknown reason (rejected-permanent, service-")
    assert text.endswith(f" {reason})")


def test_what_no_table_knows() -> None:
    assert reasons.rejection(AssociateReject(0, 9, 9)) == "unknown reason (result 0, source 9 9)"
    assert reasons.abortion(Abort(1, 9)) == "unknown reason (source 1 9)"


# PS3.8 table 9-26, row by row
@pytest.mark.parametrize(
    ("source", "reason", "meaning"),
    [
        (0, 0, "service-user"),
        (0, 6, "service-user"),  # the reason has no meaning then
        (2, 0, "reason not specified (service-provider 0)"),
        (2, 1, "unrecognized PDU (service-provider 1)"),
        (2, 2, "unexpected PDU (service-provider 2)"),
        (2, 3, "unknown reason (service-provider 3)"),
        (2, 4, "unrecognized PDU parameter (service-provider 4)"),
        (2, 5, "unexpected PDU parameter (service-provider 5)"),
        (2, 6, "invalid PDU parameter value (service-provider 6)"),
    ],
)
def test_why_an_association_was_aborted(source: int, reason: int, meaning: str) -> None:
    error = reasons.aborted(NODE, Abort(source, reason), "C-STORE")
    assert (
        str(error)
        == f"PACS@10.0.0.5:104 aborted the association during C-STORE: {meaning}; its log may say why"
    )
    assert (error.source, error.reason, error.transient) == (source, reason, True)


def test_aborted_at_once() -> None:
    error = reasons.aborted(NODE, Abort(0, 0), "C-ECHO", calling_ae="DCMFLOW", first=True)
    assert str(error) == (
        "PACS@10.0.0.5:104 aborted the association during C-ECHO: service-user; some archives (Orthanc) abort callers that "
        "they do not know: register the AE title DCMFLOW there, with the host and port that it is reached at"
    )


def test_a_connection_that_breaks() -> None:
    error = reasons.lost(NODE, ConnectionResetError(104, "Connection reset by peer"), "C-STORE")
    assert isinstance(error, AssociationAborted)
    assert str(error) == (
        "the connection with PACS@10.0.0.5:104 was lost during C-STORE: it closed the connection; its log may say why"
    )
    assert str(reasons.lost("A@b:1", None)) == (
        "the connection with A@b:1 was lost: it closed the connection; its log may say why"
    )
    assert str(reasons.failed(NODE, "C-ECHO", OSError(5, "Input/output error"))) == (
        "the connection with PACS@10.0.0.5:104 was lost during C-ECHO: Input/output error"
    )


def test_a_connection_that_is_closed_at_once() -> None:
    text = str(reasons.lost(NODE, None, "the association request", calling_ae="DCMFLOW", first=True))
    assert "register the AE title DCMFLOW there" in text
    assert text.endswith("or it speaks TLS there: tls = {}")
    secure = Node(host="10.0.0.5", tls=Tls())
    assert str(reasons.lost(secure, None, first=True)).endswith("or it speaks no TLS there")
    assert "register our AE title there" in str(reasons.lost("A@b:1", None, first=True))


def test_released_where_an_answer_was_due() -> None:
    assert str(reasons.released(NODE, "C-ECHO")) == (
        "PACS@10.0.0.5:104 released the association during C-ECHO without an answer; its log may say why"
    )


def test_no_answer_in_time() -> None:
    error = reasons.timed_out(NODE, "the answer to the association request", 30)
    assert isinstance(error, NetworkTimeout)
    assert str(error).startswith(
        "PACS@10.0.0.5:104 did not answer: waited 30 s for the answer to the association request; "
    )
    assert "timeouts = { connect, acse, dimse }" in str(error)


def test_no_connection() -> None:
    error = reasons.no_connection(NODE, ConnectionRefusedError(111, "Connection refused"))
    assert isinstance(error, ConnectError)
    assert str(error) == (
        "PACS@10.0.0.5:104 cannot be reached: connection refused; nothing listens there: is it running, is the port right, "
        "does a firewall refuse it?"
    )
    assert error.transient


@pytest.mark.parametrize(
    ("sop_class", "transfer_syntax", "answered", "text"),
    [
        (
            CT,
            JPEG,
            3,
            f"PACS@10.0.0.5:104 does not accept CT Image Storage ({CT}) in JPEG Baseline (Process 1) ({JPEG}) "
            "(abstract syntax not supported, 3); this kind of object has to be enabled there",
        ),
        (
            CT,
            JPEG,
            4,
            "(transfer syntaxes not supported, 4); this kind of object it takes otherwise encoded only",
        ),
        (
            CT,
            JPEG,
            2,
            "(no reason given, 2); this kind of object, or its transfer syntax, has to be enabled there",
        ),
        (CT, JPEG, 1, "(user rejection, 1)"),
        (CT, JPEG, 7, "(unknown result, 7)"),
        (CT, "", None, f"does not accept CT Image Storage ({CT}); this kind"),
        (VERIFICATION, "", None, "it does not answer C-ECHO, which says nothing about whether it stores"),
        ("1.3.12.2.1107.5.9.1", "1.2.3", None, "does not accept 1.3.12.2.1107.5.9.1 in 1.2.3; this kind"),
    ],
)
def test_no_accepted_context(sop_class: str, transfer_syntax: str, answered: int | None, text: str) -> None:
    error = reasons.no_context(NODE, sop_class, transfer_syntax, answered)
    assert isinstance(error, NoAcceptedContext)
    assert text in str(error)
    assert (error.sop_class, error.transfer_syntax, error.transient) == (sop_class, transfer_syntax, False)
