"""Nodes as they are written on a command line, and the options that say how they are called."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from dcmflow.cli.common import Usage
from dcmflow.errors import ConfigError

if TYPE_CHECKING:
    from dcmflow.config.settings import Settings
    from dcmflow.net.node import Node, Tls

_TLS_FLAGS = {"tls.ca": "--tls-ca", "tls.cert": "--tls-cert", "tls.key": "--tls-key"}


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Calling:
    """Options of the commands that call nodes."""

    calling_ae: Annotated[
        str | None, Parameter(metavar="AE", help="Our AE title (default: that of the settings).")
    ] = None
    timeout: Annotated[
        str | None,
        Parameter(metavar="TIME", help="How long to wait for each answer, such as '5 s'."),
    ] = None
    tls_ca: Annotated[
        str | None,
        Parameter(
            metavar="FILE", help="Certificates (PEM) that the certificate of the peer is checked with."
        ),
    ] = None
    tls_cert: Annotated[str | None, Parameter(metavar="FILE", help="Our own certificate (PEM).")] = None
    tls_key: Annotated[str | None, Parameter(metavar="FILE", help="Its private key (PEM).")] = None

    def settings(self) -> Settings:
        """The settings, with our AE title from the command line where it is said there. Raises ConfigError, Usage."""
        from dcmflow.cli.load import load_settings
        from dcmflow.net.node import ae_title

        if self.calling_ae is not None:
            try:
                ae_title(self.calling_ae)
            except ConfigError as error:
                raise Usage(f"--calling-ae: {error}") from None
        return load_settings({"local.ae-title": self.calling_ae})

    def nodes(self, texts: Sequence[str], settings: Settings) -> list[Node]:
        """The nodes that are meant, called as the options say.

        Raises:
            ConfigError: a text is no node, or a certificate cannot be used.
            Usage: the options cannot be right.
        """
        from dcmflow.net.address import parse_node

        nodes = [parse_node(text, settings) for text in texts]
        self.check(any(node.tls is not None for node in nodes), texts)
        return [self.reaching(text, node) for text, node in zip(texts, nodes, strict=True)]

    def check(self, secured: bool, texts: Sequence[str]) -> None:
        """Raise Usage for TLS options that go together badly, or where nothing speaks TLS."""
        if self.tls_key is not None and self.tls_cert is None:
            raise Usage("--tls-key needs its certificate: give --tls-cert too")
        given = next((flag for key, flag in _TLS_FLAGS.items() if self._of(key) is not None), None)
        if given is not None and not secured:
            raise Usage(
                f"{given} is for TLS, and {' and '.join(texts)} {'is' if len(texts) == 1 else 'are'} called without: "
                "write dicoms://AE@host:port, or give the node a tls in the settings"
            )

    def tls(self, tls: Tls) -> Tls:
        """The same with what the options say."""
        from msgspec.structs import replace

        said = {key.removeprefix("tls."): self._of(key) for key in _TLS_FLAGS}
        return replace(tls, **{key: os.path.abspath(path) for key, path in said.items() if path is not None})

    def _of(self, key: str) -> str | None:
        value: str | None = getattr(self, key.replace(".", "_"))
        return None if value is None else os.path.expanduser(value)

    def reaching(self, text: str, node: Node) -> Node:
        """The node, called as the options say; `text` is how it was written. Raises as `nodes` does."""
        from msgspec.structs import replace

        from dcmflow.cli.load import seconds
        from dcmflow.net.node import Timeouts
        from dcmflow.net.tls import client_context

        if self.timeout is not None:
            patience = seconds(self.timeout, "--timeout")
            if not patience:
                raise Usage("--timeout is longer than nothing")
            node = replace(
                node,
                timeouts=Timeouts(connect=patience, acse=patience, dimse=patience, idle=node.timeouts.idle),
            )
        if node.tls is not None:
            node = replace(node, tls=self.tls(node.tls))
            assert node.tls is not None
            try:
                client_context(node.tls, node.host)
            except ConfigError as error:
                raise self.blamed(error, text) from None
        return node

    def blamed(self, error: ConfigError, text: str) -> ConfigError:
        """An error of TLS with the option that it comes from, or the node."""
        if error.key in _TLS_FLAGS and self._of(error.key) is not None:
            return ConfigError(error.problem, key=_TLS_FLAGS[error.key])
        return error.at(table=text)


def why(error: Exception) -> str:
    """The text of an error; where it names a key of `tls`, with the option that says the same."""
    text = str(error)
    flags = [flag for key, flag in _TLS_FLAGS.items() if key in text]
    return f"{text} (here: {' and '.join(flags)} FILE)" if flags else text
