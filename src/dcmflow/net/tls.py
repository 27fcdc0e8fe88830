"""TLS for associations, as BCP 195 (RFC 9325) and the profile of PS3.15 B.12 ask for.

TLS 1.2 or newer, in 1.2 forward secrecy and authenticated encryption only, no renegotiation. A context is made anew each
time, or when its files are others, so certificates that were renewed on disk are taken up.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import NoReturn

from msgspec.structs import replace

from dcmflow.errors import ConfigError
from dcmflow.net.node import Tls

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"  # of TLS 1.2; all of 1.3 are good


def client_context(tls: Tls, host: str) -> ssl.SSLContext:
    """TLS for calling a host. The peer's certificate is checked with `ca`, else with what the system trusts.

    Args:
        tls: as written; `~` in its paths is expanded.
        host: who is called; see `server_name`.

    Raises:
        ConfigError: a file cannot be loaded, or a name cannot be that of a server; with the key (`tls.ca`).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _harden(context)
    _check_server_name(tls, host)
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif tls.ca is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if tls.ca is not None:
        _trust(context, tls.ca)
    if tls.cert is not None:
        _show(context, tls.cert, tls.key)
    return context


def kept_client_context(tls: Tls, host: str) -> ssl.SSLContext:
    """As `client_context`, the same one each time as long as the files are the same; it is not to be changed."""
    return _kept(tls, host, _state_of_files(tls))


@lru_cache(maxsize=64)
def _kept(tls: Tls, host: str, files: tuple[object, ...]) -> ssl.SSLContext:
    return client_context(tls, host)


def _state_of_files(tls: Tls) -> tuple[object, ...]:
    """Something else when one of the files that are read is another, without reading them."""
    names = [tls.cert, tls.key, tls.ca]
    if tls.verify and tls.ca is None:
        names += ssl.get_default_verify_paths()[:2]
    return tuple(_state(name) for name in names)


def _state(name: str | None) -> tuple[int, ...] | None:
    try:
        found = Path(name).expanduser().stat() if name is not None else None
    except OSError:  # which loading it will say
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns) if found is not None else None


def server_context(tls: Tls) -> ssl.SSLContext:
    """TLS for a port that we listen on. With a `ca` the client has to show a certificate, which is checked with it.

    Raises:
        ConfigError: there is no certificate, or a file cannot be loaded; with the key (`tls.cert`).
    """
    if tls.cert is None:
        raise ConfigError(
            'who listens with TLS shows a certificate: tls = { cert = "cert.pem", key = "key.pem" }',
            key="tls.cert",
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context)
    _show(context, tls.cert, tls.key)
    if tls.ca is not None:
        _trust(context, tls.ca)
        context.verify_mode = ssl.CERT_REQUIRED if tls.verify else ssl.CERT_NONE
    return context


def server_name(tls: Tls, host: str) -> str:
    """The name that is asked for and looked for in the peer's certificate: `server-name`, else the host without zone."""
    return tls.server_name if tls.server_name is not None else host.partition("%")[0].rstrip(".")


def absolute(tls: Tls, path: Callable[[str], str | os.PathLike[str]]) -> Tls:
    """The same with the paths of its files made absolute by `path`."""
    files = {key: getattr(tls, key) for key in ("cert", "key", "ca")}
    return replace(tls, **{key: os.fspath(path(file)) for key, file in files.items() if file is not None})


def _harden(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # a `ca` may be the peer's own certificate


def _check_server_name(tls: Tls, host: str) -> None:
    name = server_name(tls, host)
    try:
        sound = bool(name) and not name.startswith(".") and bool(name.encode("idna"))
    except UnicodeError:
        sound = False
    if not sound:
        key = "host" if tls.server_name is None else "tls.server-name"
        raise ConfigError(f"{name!r} cannot be the name in a certificate", key=key)


def _trust(context: ssl.SSLContext, ca: str) -> None:
    path, text = _read(ca, "tls.ca")
    _expect(text, "CERTIFICATE", path, "tls.ca")
    try:
        context.load_verify_locations(cafile=path)
    except ssl.SSLError as error:
        raise ConfigError(
            f"{path} holds no certificates that can be used: {_reason(error)}", key="tls.ca"
        ) from None


def _show(context: ssl.SSLContext, cert: str, key: str | None) -> None:
    path, text = _read(cert, "tls.cert")
    _expect(text, "CERTIFICATE", path, "tls.cert")
    key_path, key_text = _read(key, "tls.key") if key is not None else (path, text)
    if key is None and "PRIVATE KEY-----" not in text:
        raise ConfigError(f"{path} holds a certificate and no private key: give key too", key="tls.key")
    _expect(key_text, "PRIVATE KEY", key_path, "tls.key")

    def encrypted() -> NoReturn:
        raise ConfigError(
            f"the private key in {key_path} is encrypted, and nobody is there to type its passphrase: write it without one "
            "(openssl pkey), readable for this user alone",
            key="tls.key",
        )

    try:
        context.load_cert_chain(path, key_path, password=encrypted)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(
                f"the private key in {key_path} is not that of the certificate in {path}", key="tls.key"
            ) from None
        raise ConfigError(
            f"{path} and {key_path} hold no certificate and key that can be used: {_reason(error)}",
            key="tls.cert",
        ) from None


def _read(name: str, key: str) -> tuple[str, str]:
    path = Path(name).expanduser()
    try:
        return str(path), path.read_text(encoding="latin-1")
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}", key=key) from None


def _expect(text: str, what: str, path: str, key: str) -> None:
    if "-----BEGIN " not in text or f"{what}-----" not in text:
        raise ConfigError(
            f"{path} holds no {what.lower()} in PEM form, which is text with -----BEGIN {what}-----; "
            "openssl makes it of other forms",
            key=key,
        )


def _reason(error: ssl.SSLError) -> str:
    return error.reason.replace("_", " ").lower() if error.reason else str(error)
