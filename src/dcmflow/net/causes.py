"""Why a connection did not come about or broke: errors of the system, the resolver and TLS, in words, with what to try."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from typing import NamedTuple

CLOSED = "it closed the connection"


class Cause(NamedTuple):
    """What went wrong, what to try (empty: nothing to say), and whether trying again later may work."""

    what: str
    hint: str = ""
    transient: bool = True


_BY_NUMBER = {
    errno.ECONNREFUSED: Cause(
        "connection refused",
        "nothing listens there: is it running, is the port right, does a firewall refuse it?",
    ),
    errno.ETIMEDOUT: Cause(
        "no answer", "is it switched on, is the address right, does a firewall drop what is sent?"
    ),
    **dict.fromkeys(
        (errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ENETUNREACH, errno.ENETDOWN),
        Cause("no route to it", "is it switched on, is the address right, is the network or VPN up?"),
    ),
    **dict.fromkeys(
        (errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED, errno.ESHUTDOWN, errno.ENOTCONN),
        Cause(CLOSED, "its log may say why"),
    ),
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM),
        Cause("not permitted", "a firewall or policy of this machine forbids it", transient=False),
    ),
    errno.EADDRNOTAVAIL: Cause(
        "no local address or port left to call from",
        "is the address of a kind that this machine has? too many connections at once use up the ports",
    ),
    errno.EAFNOSUPPORT: Cause(
        "this machine does not speak that kind of address", "give its IPv4 address", transient=False
    ),
    **dict.fromkeys(
        (errno.EMFILE, errno.ENFILE), Cause("too many open files", "raise the limit (ulimit -n)")
    ),
}

_NO_NAME = Cause("the host name cannot be resolved", "check its spelling, or write its IP address")
_NO_RESOLVER = Cause(
    "the name server does not answer", "is the network up? an IP address needs no name server"
)

_PLAIN = Cause(
    "what answers there does not speak TLS",
    "is this its TLS port? leave tls out for a port without",
    transient=False,
)
_OURS = "check cert and key of tls, and that it trusts who signed the certificate"

# OpenSSL's names; both alerts of the peer and what is found on this side
_BY_REASON = {
    **dict.fromkeys(
        ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"), _PLAIN
    ),
    **dict.fromkeys(
        ("UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION"),
        Cause(
            "it speaks only a TLS older than 1.2", "ask for TLS 1.2 or newer to be enabled", transient=False
        ),
    ),
    **dict.fromkeys(
        ("SSLV3_ALERT_HANDSHAKE_FAILURE", "NO_SHARED_CIPHER", "TLSV1_ALERT_INSUFFICIENT_SECURITY"),
        Cause(
            "there is no TLS that both sides accept",
            "it may want a certificate (tls.cert and tls.key), or know only outdated cipher suites",
            transient=False,
        ),
    ),
    **dict.fromkeys(
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "PEER_DID_NOT_RETURN_A_CERTIFICATE"),
        Cause("it wants a certificate", "give tls.cert and tls.key", transient=False),
    ),
    **dict.fromkeys(
        ("TLSV1_ALERT_UNKNOWN_CA", "SSLV3_ALERT_BAD_CERTIFICATE", "SSLV3_ALERT_CERTIFICATE_UNKNOWN"),
        Cause("it does not trust our certificate", _OURS, transient=False),
    ),
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": Cause("our certificate has expired", "renew it", transient=False),
    "SSLV3_ALERT_CERTIFICATE_REVOKED": Cause("our certificate is revoked", "renew it", transient=False),
    **dict.fromkeys(
        ("SSLV3_ALERT_UNSUPPORTED_CERTIFICATE", "TLSV1_ALERT_ACCESS_DENIED", "TLSV1_ALERT_DECRYPT_ERROR"),
        Cause("it does not accept our certificate", _OURS, transient=False),
    ),
    "TLSV1_UNRECOGNIZED_NAME": Cause(
        "it does not know the name it is called by", "give tls.server-name", transient=False
    ),
}

_UNTRUSTED = "give the certificate of who signed it, or its own, as tls.ca; verify = false checks nothing"
_BY_VERIFICATION = {  # X509_V_ERR_ of OpenSSL
    9: Cause("its certificate is not valid yet", "are the clocks right?", transient=False),
    10: Cause("its certificate has expired", "it has to be renewed; are the clocks right?", transient=False),
    **dict.fromkeys((18, 19), Cause("its certificate is self-signed", _UNTRUSTED, transient=False)),
    **dict.fromkeys(
        (2, 20, 21), Cause("its certificate is signed by nobody we trust", _UNTRUSTED, transient=False)
    ),
    **dict.fromkeys(
        (62, 64),
        Cause(
            "its certificate is for another name",
            "give the name in it as tls.server-name",
            transient=False,
        ),
    ),
}


def cause_of(error: OSError) -> Cause:
    """What an error of a connection means. The first that is understood counts where there are several."""
    leaves = _leaves(error)
    for leaf in leaves:
        if found := _known(leaf):
            return found
    return Cause(_words(leaves[0]))


def _known(error: OSError) -> Cause | None:
    match error:
        case ssl.SSLCertVerificationError():
            known = _BY_VERIFICATION.get(error.verify_code)
            return known or Cause(
                f"its certificate cannot be checked ({error.verify_message})", _UNTRUSTED, transient=False
            )
        case ssl.SSLEOFError() | ssl.SSLZeroReturnError():
            return Cause(CLOSED, "is this its TLS port?")
        case ssl.SSLError():
            return _BY_REASON.get(error.reason or "") or Cause(f"TLS failed: {_words(error)}")
        case socket.gaierror():
            return _NO_RESOLVER if error.errno == socket.EAI_AGAIN else _NO_NAME
        case TimeoutError():
            return _BY_NUMBER[errno.ETIMEDOUT]
    return _BY_NUMBER.get(error.errno or 0)


def _leaves(error: OSError) -> list[OSError]:
    """The errors of the single attempts, where several addresses were tried."""
    if error.errno is not None or isinstance(error, (ssl.SSLError, TimeoutError)):
        return [error]
    cause = error.__cause__
    inner = cause.exceptions if isinstance(cause, BaseExceptionGroup) else (cause,)
    return [leaf for part in inner if isinstance(part, OSError) for leaf in _leaves(part)] or [error]


def _words(error: OSError) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    if error.strerror:
        return error.strerror
    return str(error) or (os.strerror(error.errno) if error.errno else type(error).__name__)
