"""A DICOM peer that can be called and what is known about it, and who we are ourselves."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import force_setattr

from dcmflow.errors import ConfigError
from dcmflow.units import parse_duration

DEFAULT_PORT = 104
ANY_AE = "ANY-SCP"
"""Called where a node is given without an AE title; most peers that do not check accept anything."""


class Timeouts(
    Struct, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True, omit_defaults=True
):
    """How long to wait for a peer, in seconds; `timeouts = { connect = 10, dimse = "2 min" }`."""

    connect: Annotated[float | str, Meta(description="For the TCP connection and TLS.")] = 10.0
    acse: Annotated[float | str, Meta(description="For the answer to an association request or release.")] = (
        30.0
    )
    dimse: Annotated[float | str, Meta(description="For the next DIMSE message of an operation.")] = 60.0
    idle: Annotated[float | str, Meta(description="An association that is not used ends after this.")] = 300.0

    def __post_init__(self) -> None:
        for field in self.__struct_fields__:
            force_setattr(self, field, parse_duration(getattr(self, field)))


class Tls(Struct, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True, omit_defaults=True):
    """TLS towards a node, or for what listens; `tls = { ca = "ca.pem" }`."""

    cert: Annotated[str | None, Meta(description="Certificate (PEM file) that we show.")] = None
    key: Annotated[str | None, Meta(description="Its private key (PEM file).")] = None
    ca: Annotated[
        str | None, Meta(description="Certificates (PEM file) that the peer's is checked with.")
    ] = None
    verify: Annotated[bool, Meta(description="False: the peer's certificate is not checked.")] = True
    server_name: Annotated[
        str | None, Meta(description="The name in the peer's certificate, where it is not the host.")
    ] = None

    def __post_init__(self) -> None:
        if self.key is not None and self.cert is None:
            raise ConfigError("a key needs its certificate: give cert too", key="key")


class Node(Struct, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True, omit_defaults=True):
    """A DICOM peer: AE title, host, port and what is known about it."""

    host: Annotated[str, Meta(description="Host name or address.")]
    port: Annotated[int, Meta(ge=1, le=65535, description="TCP port.")] = DEFAULT_PORT
    ae_title: Annotated[str, Meta(description="Its AE title, the called one of our associations.")] = ANY_AE
    max_associations: Annotated[int, Meta(ge=1, description="Associations that we have with it at once.")] = 4
    character_set: Annotated[
        str, Meta(description="Specific Character Set of queries with text that is not ASCII, as ISO_IR 100.")
    ] = "ISO_IR 192"
    tls: Annotated[Tls | None, Meta(description="Speak TLS: { cert, key, ca, verify, server-name }.")] = None
    timeouts: Annotated[Timeouts, Meta(description="{ connect, acse, dimse, idle } in seconds.")] = Timeouts()

    def __post_init__(self) -> None:
        if not self.host or any(character.isspace() for character in self.host):
            raise ConfigError(f"{self.host!r} is no host name", key="host")
        try:
            force_setattr(self, "ae_title", ae_title(self.ae_title))
        except ConfigError as error:
            raise error.at(key="ae-title") from None

    @property
    def address(self) -> str:
        """`AE@host:port`, IPv6 in brackets."""
        return _address(self)

    def __str__(self) -> str:
        return self.address


class Local(
    Struct, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True, omit_defaults=True
):
    """Who we are: `[local]`."""

    ae_title: Annotated[
        str, Meta(description="Our AE title: calling on our associations, called on our port.")
    ] = "DCMFLOW"
    port: Annotated[int, Meta(ge=1, le=65535, description="The port we listen on.")] = 11112
    host: Annotated[
        str, Meta(min_length=1, description="The address we listen on; 0.0.0.0 is all of IPv4.")
    ] = "0.0.0.0"
    tls: Annotated[
        Tls | None, Meta(description="Speak TLS on our port; a `ca` asks for the client's certificate.")
    ] = None

    def __post_init__(self) -> None:
        try:
            force_setattr(self, "ae_title", ae_title(self.ae_title))
        except ConfigError as error:
            raise error.at(key="ae-title") from None

    @property
    def address(self) -> str:
        """`AE@host:port`, as a `listen` of a pipeline file."""
        return _address(self)


def _address(place: Node | Local) -> str:
    return f"{place.ae_title}@{host_port(place.host, place.port)}"


def host_port(host: str, port: int) -> str:
    """`host:port`, IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def ae_title(text: str) -> str:
    """An AE title without the spaces around it, which do not count.

    Raises:
        ConfigError: not 1 to 16 characters of the default repertoire without backslash and control characters, or
            nothing but spaces (PS3.5 6.2, VR AE).
    """
    title = text.strip(" ")
    if not title:
        raise ConfigError("an AE title is not empty: it has 1 to 16 characters")
    if len(title) > 16:
        raise ConfigError(f"the AE title {title!r} has {len(title)} characters; 16 are the most")
    wrong = next((c for c in title if c == "\\" or not 0x20 <= ord(c) <= 0x7E), None)
    if wrong is not None:
        raise ConfigError(
            f"the AE title {title!r} has the character {wrong!r}; allowed are ASCII letters, digits, spaces and "
            "signs other than the backslash"
        )
    return title
