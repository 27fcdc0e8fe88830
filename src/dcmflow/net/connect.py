"""Calls a node: TCP, TLS, A-ASSOCIATE."""

from __future__ import annotations

import errno
import math
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
from msgspec.structs import replace

from dcmflow.errors import NetworkError, RemoteProtocolError
from dcmflow.net import reasons
from dcmflow.net.association import Association
from dcmflow.net.node import Node
from dcmflow.net.tls import kept_client_context, server_name
from dcmflow.net.transport import Transport
from dcmflow.net.watch import Watch
from dcmflow.protocol.connection import MAXIMUM_LENGTH, Connection
from dcmflow.protocol.items import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    ProposedContext,
    UserInformation,
)
from dcmflow.protocol.negotiation import agreed, refused
from dcmflow.protocol.pdu import Abort, AssociateAccept, AssociateReject, AssociateRequest

HEAD_START = 0.25  # seconds for an address before the next one is tried too (RFC 8305 5)

IN_PROGRESS = (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY)


@asynccontextmanager
async def associate(
    node: Node,
    contexts: Sequence[ProposedContext],
    *,
    calling_ae: str,
    user: UserInformation | None = None,
    watch: Watch | None = None,
) -> AsyncIterator[Association]:
    """An association with a node; leaving the block releases it, an exception aborts it.

    Args:
        contexts: what is proposed, at most 128.
        calling_ae: who we are.
        user: further user information, such as roles; lengths and implementation are filled in.

    Raises:
        ConnectError, NetworkTimeout, AssociationRejected, AssociationAborted: it did not come about.
    """
    if watch is None:
        async with (
            Watch() as own,
            associate(node, contexts, calling_ae=calling_ae, user=user, watch=own) as made,
        ):
            yield made
        return
    association = await connect(node, contexts, calling_ae=calling_ae, user=user, watch=watch)
    try:
        yield association
    except BaseException:
        association.abort()
        raise
    await association.release()


async def connect(
    node: Node,
    contexts: Sequence[ProposedContext],
    *,
    calling_ae: str,
    watch: Watch,
    user: UserInformation | None = None,
    reached: Callable[[], None] = lambda: None,
) -> Association:
    """As `associate`, for who releases or aborts it himself; `reached` is called once the connection stands."""
    transport = await _reach(node)
    reached()
    watch.add(transport)
    try:
        association = await _ask(node, contexts, calling_ae, transport, watch, user or UserInformation())
    except BaseException:
        watch.remove(transport)
        transport.close()
        raise
    transport.deadline = math.inf
    return association


async def _reach(node: Node) -> Transport:
    """TCP, and TLS where the node wants it."""
    seconds = float(node.timeouts.connect)
    secured = kept_client_context(node.tls, node.host) if node.tls is not None else None
    with anyio.move_on_after(seconds):
        try:
            transport = Transport(await _connected(node))
        except OSError as error:
            raise reasons.no_connection(node, error) from error
        if secured is None or node.tls is None:
            return transport
        try:
            await transport.start_tls(
                secured, server_name=server_name(node.tls, node.host), server_side=False
            )
        except OSError as error:
            transport.close()
            raise reasons.no_connection(node, error) from error
        except BaseException:
            transport.close()
            raise
        return transport
    raise reasons.timed_out(node.address, "the connection", seconds)


async def _connected(node: Node) -> socket.socket:
    """A connected socket: the first address that answers. Raises OSError: that of the last one.

    An address that says nothing does not hold up the next one for long: nor does it take its time away.
    """
    found = await anyio.getaddrinfo(node.host, node.port, type=socket.SOCK_STREAM)
    failure = OSError(errno.EADDRNOTAVAIL, "it has no address")
    first: socket.socket | None = None

    async def attempt(place: tuple[Any, ...], over: anyio.Event) -> None:
        nonlocal failure, first
        try:
            sock = await _dialled(*place)
        except OSError as error:
            failure = error
        else:
            if first is None:
                first = sock
                tasks.cancel_scope.cancel()
            else:
                sock.close()
        over.set()

    try:
        async with anyio.create_task_group() as tasks:
            for family, kind, protocol, _, address in found:
                over = anyio.Event()
                tasks.start_soon(attempt, (family, kind, protocol, address), over)
                with anyio.move_on_after(HEAD_START):
                    await over.wait()
    except BaseException:
        if first is not None:
            first.close()
        raise
    if first is None:
        raise failure
    return first


async def _dialled(family: int, kind: int, protocol: int, address: Any) -> socket.socket:
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        code = sock.connect_ex(address)
        if code in IN_PROGRESS:
            await anyio.wait_writable(sock)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
    except BaseException:
        sock.close()
        raise
    return sock


async def _ask(
    node: Node,
    contexts: Sequence[ProposedContext],
    calling_ae: str,
    transport: Transport,
    watch: Watch,
    user: UserInformation,
) -> Association:
    connection = Connection("requestor")
    request = AssociateRequest(
        node.ae_title,
        calling_ae,
        tuple(contexts),
        replace(
            user,
            maximum_length=connection.maximum_length or MAXIMUM_LENGTH,
            implementation_class_uid=IMPLEMENTATION_CLASS_UID,
            implementation_version_name=IMPLEMENTATION_VERSION_NAME,
        ),
    )
    seconds = float(node.timeouts.acse)
    transport.deadline = anyio.current_time() + seconds
    unsaid: OSError | None = None
    try:
        try:
            await transport.write(connection.send(request))
        except OSError as error:  # why may be there to be read: in TLS 1.3, that it wants a certificate
            unsaid = error
        while (event := connection.next_event()) is None:
            count = await transport.read_into(connection.receive_buffer())
            if not count and transport.expired:
                transport.write_now(connection.send(Abort()))
                raise reasons.timed_out(node.address, "the answer to the association request", seconds)
            connection.received(count)
    except RemoteProtocolError as error:
        transport.write_now(connection.to_write())
        raise RemoteProtocolError(f"{node.address} broke the protocol: {error}") from None
    except OSError as error:
        lost = error if unsaid is None or isinstance(error, ssl.SSLError) else unsaid
        raise reasons.lost(
            node, lost, "the association request", calling_ae=calling_ae, first=True
        ) from error
    if isinstance(event, AssociateAccept):
        association = Association(
            connection,
            transport,
            watch,
            peer=node.address,
            timeouts=node.timeouts,
            calling_ae=calling_ae,
            called_ae=node.ae_title,
        )
        association.agree(agreed(request, event), refused(request, event))
        association.extended = {item.sop_class: item.information for item in event.user.extended}
        return association
    raise _refusal(node, calling_ae, event)


def _refusal(node: Node, calling_ae: str, event: object) -> NetworkError:
    if isinstance(event, AssociateReject):
        return reasons.rejected(node, event, calling_ae)
    if isinstance(event, Abort):
        return reasons.aborted(node, event, "the association request", calling_ae=calling_ae, first=True)
    return reasons.lost(node, None, "the association request", calling_ae=calling_ae, first=True)
