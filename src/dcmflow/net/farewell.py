"""The last moments of a connection: what is still said is read before it is closed."""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import Final

import anyio

from dcmflow.errors import NetworkError, RemoteProtocolError
from dcmflow.net import reasons
from dcmflow.net.transport import Transport
from dcmflow.protocol.connection import Connection
from dcmflow.protocol.pdu import Abort

LINGER: Final = 1.0  # seconds for the peer to close after an abort or a release


async def linger(connection: Connection, transport: Transport) -> None:
    """Give the peer a moment to close the connection first (Sta13), so that nothing it is to read is lost."""
    if transport.closed:
        return
    transport.finish()
    transport.deadline = anyio.current_time() + LINGER
    with suppress(OSError, RemoteProtocolError):
        while count := await transport.read_into(connection.receive_buffer()):
            connection.received(count)
            connection.next_event()


async def last_words(connection: Connection, transport: Transport, peer: str, error: OSError) -> NetworkError:
    """Why writing failed with this error: an A-ABORT may have come before."""
    transport.deadline = anyio.current_time() + LINGER
    try:
        while count := await transport.read_into(connection.receive_buffer()):
            connection.received(count)
            while (event := connection.next_event()) is not None:
                if isinstance(event, Abort):
                    return reasons.aborted(peer, event)
    except (OSError, RemoteProtocolError) as later:
        if isinstance(later, ssl.SSLError):  # TLS 1.3: only now does it say what it wants
            error = later
    return reasons.lost(peer, error)
