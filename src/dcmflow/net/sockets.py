"""Sockets that listen: bound and ready to be taken from, or an error that says what to try."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from typing import Any, Final

from dcmflow.errors import ConfigError
from dcmflow.net.node import host_port

BACKLOG: Final = 512


def bound(host: str, port: int, found: Sequence[Any] | None = None) -> list[socket.socket]:
    """Sockets that listen on an address, one for each family that it has; they do not block.

    Args:
        host: the address; `0.0.0.0` is all of IPv4, `::` all of IPv6.
        port: 0: any free one, the same for all of them.
        found: what `getaddrinfo` says of it; None: it is asked, which may take its time.

    Raises:
        ConfigError: the port cannot be had.
    """
    listening: list[socket.socket] = []
    try:
        if found is None:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in found:
            sock = socket.socket(family, kind, protocol)
            listening.append(sock)
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((address[0], port, *address[2:]))
            sock.listen(BACKLOG)
            port = sock.getsockname()[1]
    except BaseException as error:
        for sock in listening:
            sock.close()
        if isinstance(error, OSError):
            raise cannot_listen(host, port, error) from error
        raise
    return listening


def cannot_listen(host: str, port: int, error: OSError) -> ConfigError:
    """The error of the operating system, with what to try."""
    where = f"cannot listen on {host_port(host, port)}"
    text = f"{where}: {error.strerror or error}"
    if error.errno == errno.EADDRINUSE:
        text = f"{where}: the port is in use; choose another one, or stop what listens there"
    elif error.errno == errno.EACCES:
        text = f"{where}: ports below 1024 need a privilege; choose a higher one such as 11112"
    elif error.errno == errno.EADDRNOTAVAIL:
        text = f"{where}: this machine has no such address; 0.0.0.0 means all of them"
    return ConfigError(text, key="listen")
