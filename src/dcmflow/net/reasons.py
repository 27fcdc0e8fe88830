"""What a peer said no with, and what to try: the errors of associations and their texts.

Texts of results, sources and reasons are those of PS3.8 table 9-21 (A-ASSOCIATE-RJ), table 9-26 (A-ABORT) and table 9-18
(presentation contexts). A peer is a `Node`, or its address as text.
"""

from __future__ import annotations

from dcmflow.dicom.uids import VERIFICATION
from dcmflow.errors import (
    AssociationAborted,
    AssociationRejected,
    ConnectError,
    NetworkTimeout,
    NoAcceptedContext,
)
from dcmflow.net.causes import CLOSED, cause_of
from dcmflow.net.node import Node
from dcmflow.protocol.pdu import Abort, AssociateReject
from dcmflow.units import format_duration

Peer = Node | str


class Idle(NetworkTimeout):
    """An association was ended because it was not used: no failure of anybody."""


_RESULTS = {1: "rejected-permanent", 2: "rejected-transient"}
_SOURCES = {
    1: "service-user",
    2: "service-provider (ACSE)",
    3: "service-provider (presentation)",
}
_REASONS = {
    (1, 1): "no reason given",
    (1, 2): "application context name not supported",
    (1, 3): "calling AE title not recognized",
    (1, 7): "called AE title not recognized",
    (2, 1): "no reason given",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "local limit exceeded",
}
_REGISTER = "ask the PACS administrator to register {calling}"
_NOT_DICOM = "does it speak DICOM on this port?"
_LATER = "it has too much to do: try again later, or open fewer associations at once (max-associations)"
_HINTS = {
    (1, 1): f"check both AE titles, or {_REGISTER}",
    (1, 2): _NOT_DICOM,
    (1, 3): _REGISTER,
    (1, 7): f"check the called AE title, or {_REGISTER}",
    (2, 1): "its log may say why",
    (2, 2): _NOT_DICOM,
    (3, 1): _LATER,
    (3, 2): _LATER,
}

_ABORT_SOURCES = {0: "service-user", 2: "service-provider"}
_ABORT_REASONS = {
    0: "reason not specified",
    1: "unrecognized PDU",
    2: "unexpected PDU",
    4: "unrecognized PDU parameter",
    5: "unexpected PDU parameter",
    6: "invalid PDU parameter value",
}

_QUERY_RETRIEVE = "1.2.840.10008.5.1.4.1.2."

_CONTEXT_RESULTS = {
    1: "user rejection",
    2: "no reason given",
    3: "abstract syntax not supported",
    4: "transfer syntaxes not supported",
}


def rejection(reject: AssociateReject) -> str:
    """The meaning of an A-ASSOCIATE-RJ, its codes in brackets (PS3.8 table 9-21)."""
    result = _RESULTS.get(reject.result, f"result {reject.result}")
    source = _SOURCES.get(reject.source, f"source {reject.source}")
    reason = _REASONS.get((reject.source, reject.reason), "unknown reason")
    return f"{reason} ({result}, {source} {reject.reason})"


def abortion(abort: Abort) -> str:
    """The meaning of an A-ABORT (PS3.8 table 9-26)."""
    source = _ABORT_SOURCES.get(abort.source, f"source {abort.source}")
    if abort.source == 0:
        return source
    return f"{_ABORT_REASONS.get(abort.reason, 'unknown reason')} ({source} {abort.reason})"


def rejected(node: Peer, reject: AssociateReject, calling_ae: str) -> AssociationRejected:
    """The peer answered the association request with A-ASSOCIATE-RJ."""
    hint = _HINTS.get((reject.source, reject.reason), "its log may say why")
    return AssociationRejected(
        f"{node} rejected the association: {rejection(reject)}; {hint.format(calling=calling_ae)}",
        result=reject.result,
        source=reject.source,
        reason=reject.reason,
    )


def aborted(
    node: Peer, abort: Abort, doing: str = "", *, calling_ae: str = "", first: bool = False
) -> AssociationAborted:
    """The peer sent A-ABORT.

    Args:
        doing: what came of it nothing, such as `"the association request"` or `"C-STORE"`.
        calling_ae: who we said we are.
        first: nothing had been answered on this association before.
    """
    hint = _unknown_caller(calling_ae) if first else "its log may say why"
    return AssociationAborted(
        f"{node} aborted the association{_during(doing)}: {abortion(abort)}; {hint}",
        source=abort.source,
        reason=abort.reason,
    )


def lost(
    node: Peer, error: OSError | None, doing: str = "", *, calling_ae: str = "", first: bool = False
) -> AssociationAborted:
    """The connection broke, which ends the association as A-P-ABORT does (PS3.8 9.2, AA-4).

    Args:
        error: how; None: the peer closed it.
        doing, calling_ae, first: see `aborted`.
    """
    if error is None:
        what, hint, transient = CLOSED, "its log may say why", True
    else:
        what, hint, transient = cause_of(error)
    if first and what == CLOSED:
        hint = _unknown_caller(calling_ae)
        if isinstance(node, Node):
            hint += (
                "; or it speaks TLS there: tls = {}" if node.tls is None else "; or it speaks no TLS there"
            )
    failure = AssociationAborted(
        f"the connection with {node} was lost{_during(doing)}: {what}{f'; {hint}' if hint else ''}",
        source=2,
        reason=0,
    )
    if not transient:
        failure.transient = False
    return failure


def failed(node: Peer, doing: str, error: OSError) -> AssociationAborted:
    """The system reported an error while something was done; see `lost`."""
    return lost(node, error, doing)


def released(node: Peer, doing: str = "") -> AssociationAborted:
    """The peer released the association (A-RELEASE-RQ) where an answer was due."""
    return AssociationAborted(
        f"{node} released the association{_during(doing)} without an answer; its log may say why",
        source=0,
        reason=0,
    )


def timed_out(node: Peer, doing: str, seconds: float) -> NetworkTimeout:
    """Something did not come in time.

    Args:
        doing: what was waited for, such as `"the connection"`.
        seconds: how long.
    """
    return NetworkTimeout(
        f"{node} did not answer: waited {format_duration(seconds)} for {doing}; is it overloaded, or does a firewall drop "
        "what is sent? timeouts = { connect, acse, dimse } say how long to wait"
    )


def idle(node: Peer, seconds: float) -> Idle:
    """An association was not used for so long that it was ended."""
    return Idle(f"{node} was idle for {format_duration(seconds)} and was ended")


def no_connection(node: Peer, error: OSError) -> ConnectError:
    """No TCP connection came about, or no TLS on it."""
    what, hint, transient = cause_of(error)
    text = f"{node} cannot be reached: {what}{f'; {hint}' if hint else ''}"
    return ConnectError(text, transient=transient)


def no_context(
    node: Peer, sop_class: str, transfer_syntax: str, answered: int | None = None
) -> NoAcceptedContext:
    """The peer accepted no presentation context for what is to be done.

    Args:
        transfer_syntax: empty where any would have done.
        answered: the result that it gave for the context (PS3.8 table 9-18); None: not known.
    """
    result = "" if answered is None else f" ({_CONTEXT_RESULTS.get(answered, 'unknown result')}, {answered})"
    syntax = f" in {named(transfer_syntax)}" if transfer_syntax else ""
    if sop_class == VERIFICATION:
        hint = "it does not answer C-ECHO, which says nothing about whether it stores"
    elif sop_class.startswith(_QUERY_RETRIEVE):
        hint = "it does not offer this service, or not to us: its administrator can say"
    elif answered == 3:
        hint = "this kind of object has to be enabled there"
    elif answered == 4:
        hint = "this kind of object it takes otherwise encoded only: enable the transfer syntax there, or convert before"
    else:
        hint = "this kind of object, or its transfer syntax, has to be enabled there"
    return NoAcceptedContext(
        f"{node} does not accept {named(sop_class)}{syntax}{result}; {hint}",
        sop_class=sop_class,
        transfer_syntax=transfer_syntax,
    )


def named(uid: str) -> str:
    """`CT Image Storage (1.2.840.10008.5.1.4.1.1.2)`; the UID alone where it has no name in PS3.6."""
    from pydicom._uid_dict import UID_dictionary

    row = UID_dictionary.get(uid)
    return f"{row[0]} ({uid})" if row is not None and row[0] else uid


def _during(doing: str) -> str:
    return f" during {doing}" if doing else ""


def _unknown_caller(calling_ae: str) -> str:
    who = f"the AE title {calling_ae}" if calling_ae else "our AE title"
    return (
        "some archives (Orthanc) abort callers that they do not know: "
        f"register {who} there, with the host and port that it is reached at"
    )
