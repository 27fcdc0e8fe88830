"""The listener that several sources of a pipeline share."""

from __future__ import annotations

import ssl
from collections.abc import Hashable

from dcmflow.errors import ConfigError
from dcmflow.flow.context import Context
from dcmflow.flow.failure import only_cause
from dcmflow.net.address import parse_listen
from dcmflow.net.crew import Crew
from dcmflow.net.listener import Listener, listening
from dcmflow.net.node import Local, Tls
from dcmflow.net.tls import absolute, server_context


def place_of(
    listen: str, tls: Tls | None, context: Context
) -> tuple[Local, Tls | None, ssl.SSLContext | None]:
    """Where to listen, and how.

    Args:
        listen: `AE@host:port`; empty: as the settings say.
        tls: None: as the settings say.

    Raises:
        ConfigError: that is no address, or a certificate cannot be loaded.
    """
    place = parse_listen(listen, context.local)
    tls = tls or place.tls
    if tls is None:
        return place, None, None
    tls = absolute(tls, context.path)
    try:
        return place, tls, server_context(tls)
    except ConfigError as error:
        raise error.at(key="tls") from None


def listener_key(place: Local, context: Context) -> Hashable:
    """What stands for the listener of a place, which several sources may share."""
    return "listener", place.host, place.port or context.stage  # 0 is another port for each


async def shared_listener(
    context: Context, place: Local, tls: Tls | None, secured: ssl.SSLContext | None
) -> Listener:
    """The listener of a place, opened by the first one who asks.

    Raises:
        ConfigError: the port cannot be had, or others listen there and do not agree on TLS.
    """
    key = listener_key(place, context)
    sockets = context.provided.get(key, ())
    crew: Crew | None = context.provided.get(Crew)
    try:
        listener = await context.resource(
            key,
            lambda: listening(place.host, place.port, tls=secured, settings=tls, sockets=sockets, crew=crew),
        )
    except BaseExceptionGroup as group:
        cause = only_cause(group)
        if isinstance(cause, ConfigError):
            raise cause from None
        raise
    if listener.settings != tls:
        raise ConfigError(
            f"two sources listen on port {place.port} and do not agree on TLS; give both the same tls, or one of them"
            " another port",
            key="tls",
        )
    return listener
