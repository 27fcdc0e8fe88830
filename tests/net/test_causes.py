"""What errors of the system mean for who called a peer."""

from __future__ import annotations

import errno
import os
import socket

import anyio
import pytest

from dcmflow.net.causes import Cause, cause_of


@pytest.mark.parametrize(
    ("number", "what", "hint"),
    [
        (errno.ECONNREFUSED, "connection refused", "is it running, is the port right, does a firewall"),
        (errno.EHOSTUNREACH, "no route to it", "network or VPN up"),
        (errno.ENETUNREACH, "no route to it", "network or VPN up"),
        (errno.ETIMEDOUT, "no answer", "does a firewall drop"),
        (errno.ECONNRESET, "it closed the connection", "log"),
        (errno.EPIPE, "it closed the connection", "log"),
        (errno.EACCES, "not permitted", "this machine forbids"),
        (errno.EMFILE, "too many open files", "ulimit"),
        (errno.EADDRNOTAVAIL, "no local address or port left to call from", "kind"),
        (errno.EAFNOSUPPORT, "this machine does not speak that kind of address", "IPv4"),
        (errno.EIO, os.strerror(errno.EIO), ""),
    ],
)
def test_errors_of_the_system(number: int, what: str, hint: str) -> None:
    found = cause_of(OSError(number, os.strerror(number)))
    assert found.what == what
    assert hint in found.hint


def test_names() -> None:
    unknown = cause_of(socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
    assert unknown.what == "the host name cannot be resolved"
    silent = cause_of(socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"))
    assert silent.what == "the name server does not answer"


def test_a_deadline_is_no_answer() -> None:
    assert cause_of(TimeoutError()).what == "no answer"


def test_what_nobody_understands_is_said_as_it_came() -> None:
    assert cause_of(OSError("the moon is full")) == Cause("the moon is full")
    assert cause_of(OSError()) == Cause("OSError")


def test_several_addresses() -> None:
    """The error that is understood counts, wherever it stands among those of several attempts."""
    attempts = [OSError("what?"), OSError(errno.EHOSTUNREACH, "No route to host")]
    error = OSError("All connection attempts failed")
    error.__cause__ = ExceptionGroup("several", attempts)
    assert cause_of(error).what == "no route to it"


@pytest.mark.anyio
async def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # a port of our own that does not listen
        with pytest.raises(OSError) as caught:  # noqa: PT011 - what it is depends on the event loop
            await anyio.connect_tcp("127.0.0.1", taken.getsockname()[1])
    assert cause_of(caught.value).what == "connection refused"
