"""How people write a node: `AE@host:port`, `host:AE:port`, `host:port`, `AE@host`, IPv6 in brackets, or a known name.

`dicoms://` before an address means TLS with its defaults, `dicom://` means what is meant without it. A bare word is a known
name or an error; a host is never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from dcmflow.errors import ConfigError
from dcmflow.net.node import ANY_AE, DEFAULT_PORT, Local, Node, Tls, ae_title
from dcmflow.suggest import suggest

FORMS = "AE@host:port, host:AE:port, host:port or AE@host"

_HOST = re.compile(r"[^\s:@/\\\[\]{}]+")
_SCHEME = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]*)://")


class Known(Protocol):
    """Where names are looked up: settings, which know more than nodes by name."""

    @property
    def nodes(self) -> Mapping[str, Node]: ...
    @property
    def dirs(self) -> Mapping[str, object]: ...
    @property
    def selectors(self) -> Mapping[str, object]: ...


def parse_node(text: str, nodes: Mapping[str, Node] | Known | None = None) -> Node:
    """The node that is meant.

    >>> parse_node("PACS@10.0.0.5:11112").address, parse_node("pacs.org:PACS:104").host
    ('PACS@10.0.0.5:11112', 'pacs.org')
    >>> parse_node("AE@[::1]").port, parse_node("dicoms://AE@pacs.org:2762").tls is not None
    (104, True)

    Args:
        text: an address, or the name of a node. `host:port` calls the AE title `ANY-SCP`; `AE@host` means port 104.
        nodes: where names are looked up, nodes by name or the settings; None: there are none.

    Raises:
        ConfigError: neither; with a suggestion where there is one.
    """
    known: Mapping[str, Node] = {} if nodes is None else nodes if isinstance(nodes, Mapping) else nodes.nodes
    if text in known:
        return known[text]
    if re.search(r"[@:]", text):
        return parse_address(text)
    name = text.strip()
    if not name:
        raise ConfigError(f"a node is not empty: write {FORMS}, or the name of a node of the settings")
    hint = suggest(name, known)
    if not hint and nodes is not None and not isinstance(nodes, Mapping):
        if name in nodes.dirs:
            hint = f"; {name!r} is a directory of the settings"
        elif name in nodes.selectors:
            hint = f"; {name!r} is a selector of the settings"
    raise ConfigError(
        f"there is no node {name!r}{hint}; write {FORMS}, or the name of a node of the settings"
    )


def parse_address(text: str) -> Node:
    """The node at an address, in any of the forms. Raises ConfigError for anything else."""
    whole, tls = _without_scheme(text)
    place = _place(whole)
    port = DEFAULT_PORT if place.port is None else _port(whole, place.port)
    title = ANY_AE if place.title is None else _title(whole, place.title)
    return Node(host=place.host, port=port, ae_title=title, tls=tls)


def parse_listen(text: str, local: Local | None = None) -> Local:
    """What we are and where we listen, as written in `listen`; an address without a port means that of `local`.

    >>> parse_listen("", Local(ae_title="ME")).address, parse_listen("GATE@127.0.0.1:0").address
    ('ME@0.0.0.0:11112', 'GATE@127.0.0.1:0')

    Args:
        text: an address, port 0 for any free one; without an AE title: `ANY-SCP`, which answers to any. Empty: that of `local`.
        local: who we are; None: the defaults.

    Raises:
        ConfigError: no address.
    """
    local = local or Local()
    if not text.strip():
        return local
    whole, tls = _without_scheme(text)
    place = _place(whole)
    return Local(
        ae_title=ANY_AE if place.title is None else _title(whole, place.title),
        port=local.port if place.port is None else _port(whole, place.port, least=0),
        host=place.host,
        tls=local.tls or tls,
    )


def is_address(text: str) -> bool:
    """True for what begins as an address with a scheme does, `dicom://` or `dicoms://`, and cannot be a path."""
    match = _SCHEME.match(text)
    return match is not None and match[1].lower() in ("dicom", "dicoms")


class _Place(NamedTuple):
    """The parts of an address as they are written; None: not said."""

    host: str
    port: str | None
    title: str | None


def _without_scheme(text: str) -> tuple[str, Tls | None]:
    match = _SCHEME.match(text)
    if match is None:
        return text.strip(), None
    scheme = match[1].lower()
    if scheme not in ("dicom", "dicoms"):
        raise _wrong(text.strip(), f"{match[1]}:// is neither dicom:// nor dicoms://")
    return text[match.end() :].strip(), Tls() if scheme == "dicoms" else None


def _place(whole: str) -> _Place:
    title, at, place = whole.rpartition("@")
    if not at:
        return _without_at(whole)
    if "@" in title:
        raise _wrong(whole, "there is more than one '@'")
    host, rest = _split_host(place, whole)
    if len(rest) > 1:
        raise _wrong(whole, "after the host comes the port and nothing else", f"{title}@{host}:{rest[-1]}")
    return _Place(host, rest[0] if rest else None, title)


def _without_at(whole: str) -> _Place:
    host, rest = _split_host(whole, whole)
    match rest:
        case [port] if port.isdecimal():
            return _Place(host, port, None)
        case [word]:
            raise _wrong(whole, f"{word!r} is no port", f"{host}:{word}:{DEFAULT_PORT}" if word else "")
        case [title, port]:
            return _Place(host, port, title)
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


def _port(whole: str, port: str, *, least: int = 1) -> int:
    if not port.isascii() or not port.isdecimal():
        raise _wrong(whole, f"{port!r} is no port: a number from {least} to 65535")
    if not least <= int(port) <= 65535:
        raise _wrong(whole, f"there is no port {port}: they go from {least} to 65535")
    return int(port)


def _title(whole: str, title: str) -> str:
    try:
        return ae_title(title)
    except ConfigError as error:
        raise _wrong(whole, error.problem) from None


def _wrong(whole: str, why: str, instead: str = "") -> ConfigError:
    meant = f"; did you mean {instead!r}?" if instead else ""
    return ConfigError(f"{whole!r} is no node: {why}{meant}; write {FORMS}")
