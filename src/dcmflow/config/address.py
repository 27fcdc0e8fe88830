"""How people write a node: `AE@host:port`, `host:AE:port`, `host:port`, `AE@host`, IPv6 in brackets, or a known name.

A bare word is a known name or an error; a host is never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from dcmflow.config.node import ANY_AE, DEFAULT_PORT, Node, ae_title
from dcmflow.errors import ConfigError
from dcmflow.flow.graph import suggest

if TYPE_CHECKING:
    from dcmflow.config.settings import Settings

FORMS = "AE@host:port, host:AE:port, host:port or AE@host"

_HOST = re.compile(r"[^\s:@/\\\[\]{}]+")


def parse_node(text: str, settings: Settings | None = None) -> Node:
    """The node that is meant.

    >>> parse_node("PACS@10.0.0.5:11112").address, parse_node("pacs.org:PACS:104").host
    ('PACS@10.0.0.5:11112', 'pacs.org')
    >>> parse_node("AE@[::1]").port
    104

    Args:
        text: an address, or the name of a node of the settings. `host:port` calls the AE title `ANY-SCP`; `AE@host`
            means port 104.
        settings: where names are looked up; None: there are none.

    Raises:
        ConfigError: neither; with a suggestion where there is one.
    """
    nodes: Mapping[str, Node] = settings.nodes if settings is not None else {}
    if text in nodes:
        return nodes[text]
    if re.search(r"[@:]", text):
        return parse_address(text)
    name = text.strip()
    if not name:
        raise ConfigError(f"a node is not empty: write {FORMS}, or the name of a node of the settings")
    hint = suggest(name, nodes)
    if not hint and settings is not None and name in {**settings.dirs, **settings.selectors}:
        hint = f"; {name!r} is a {'directory' if name in settings.dirs else 'selector'} of the settings"
    raise ConfigError(
        f"there is no node {name!r}{hint}; write {FORMS}, or the name of a node of the settings"
    )


def parse_address(text: str) -> Node:
    """The node at an address, in any of the four forms. Raises ConfigError for anything else."""
    whole = text.strip()
    title, at, place = whole.rpartition("@")
    if not at:
        return _without_at(whole)
    if "@" in title:
        raise _wrong(whole, "there is more than one '@'")
    host, rest = _split_host(place, whole)
    if len(rest) > 1:
        raise _wrong(whole, "after the host comes the port and nothing else", f"{title}@{host}:{rest[-1]}")
    return _node(whole, host, rest[0] if rest else str(DEFAULT_PORT), title)


def _without_at(whole: str) -> Node:
    host, rest = _split_host(whole, whole)
    match rest:
        case [port] if port.isdecimal():
            return _node(whole, host, port, ANY_AE)
        case [word]:
            raise _wrong(whole, f"{word!r} is no port", f"{host}:{word}:{DEFAULT_PORT}" if word else "")
        case [title, port]:
            return _node(whole, host, port, title)
        case []:
            raise _wrong(whole, "a host alone says neither AE title nor port", f"{whole}:{DEFAULT_PORT}")
    raise _wrong(whole, f"it has {len(rest) + 1} parts", f"{host}:{rest[0]}:{rest[1]}")


def _split_host(place: str, whole: str) -> tuple[str, list[str]]:
    """The host, and what follows it between colons; an address in brackets may hold colons."""
    if place.startswith("["):
        host, bracket, after = place[1:].partition("]")
        if not bracket or (after and not after.startswith(":")):
            raise _wrong(whole, "an IPv6 address ends with ']', and ':port' may follow", "AE@[::1]:104")
        if not re.fullmatch(r"[0-9A-Fa-f:.]+(?:%\w+)?", host) or ":" not in host:
            raise _wrong(whole, f"{host!r} in brackets is no IPv6 address", "AE@[::1]:104")
        return host, after.split(":")[1:]
    host, *rest = place.split(":")
    looks_like_ipv6 = "::" in place or (len(rest) > 2 and re.fullmatch(r"[0-9A-Fa-f:.]*", place))
    if looks_like_ipv6:
        raise _wrong(whole, "an IPv6 address needs brackets", f"{whole[: -len(place)]}[{place}]")
    if not _HOST.fullmatch(host):
        raise _wrong(whole, f"{host!r} is no host name")
    return host, rest


def _node(whole: str, host: str, port: str, title: str) -> Node:
    if not port.isascii() or not port.isdecimal():
        raise _wrong(whole, f"{port!r} is no port: a number from 1 to 65535")
    if not 1 <= int(port) <= 65535:
        raise _wrong(whole, f"there is no port {port}: they go from 1 to 65535")
    try:
        return Node(host=host, port=int(port), ae_title=ae_title(title))
    except ConfigError as error:
        raise _wrong(whole, error.problem) from None


def _wrong(whole: str, why: str, instead: str = "") -> ConfigError:
    meant = f"; did you mean {instead!r}?" if instead else ""
    return ConfigError(f"{whole!r} is no node: {why}{meant}; write {FORMS}")
