"""`dcmflow forward`: what others send here goes on to nodes and folders, as a pipeline of one line."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from cyclopts import Parameter

from dcmflow.cli.common import Usage, chosen, notice, options, say
from dcmflow.cli.nodes import Calling
from dcmflow.cli.sending import RETRIES

if TYPE_CHECKING:
    from dcmflow.config.places import Folder
    from dcmflow.config.settings import Settings
    from dcmflow.flow.events import Event
    from dcmflow.flow.stage import Sink
    from dcmflow.net.node import Local, Node, Tls
    from dcmflow.sources.scp import Scp

_EVERYWHERE = ("0.0.0.0", "::")


def forward(
    *dest: Annotated[
        str, Parameter(help="Nodes and folders; every instance goes to all of them. A new folder: ./received")
    ],
    listen: Annotated[
        str | None,
        Parameter(
            metavar="AE@HOST:PORT",
            help="Where to listen, dicoms://… with TLS (default: as the settings say).",
        ),
    ] = None,
    accept_from: Annotated[
        list[str] | None,
        Parameter(
            metavar="AE",
            negative=(),
            help="Who may call: AE, AE@address or @network; may be repeated (default: anyone).",
        ),
    ] = None,
    respond: Annotated[
        Literal["settled", "received"],
        Parameter(help="Answer a sender when every DEST has it, or at once, which promises nothing."),
    ] = "settled",
    associations: Annotated[
        int | None, Parameter(metavar="N", help="Associations with each node at once (default: 2).")
    ] = None,
    retries: Annotated[
        int, Parameter(metavar="N", help="How often to try again what may work later.")
    ] = RETRIES,
    max_associations: Annotated[
        int, Parameter(metavar="N", help="Associations from others at once; further ones are rejected.")
    ] = 64,
    spill: Annotated[
        str,
        Parameter(metavar="SIZE", help="From this size on, what arrives goes through a temporary file."),
    ] = "64 MiB",
    until_idle: Annotated[
        str | None,
        Parameter(metavar="TIME", help="End after so long without any association, such as '5 min'."),
    ] = None,
    grace: Annotated[
        str, Parameter(metavar="TIME", help="How long what is under way may take after a first signal.")
    ] = "4 s",
    report: Annotated[
        Path | None, Parameter(metavar="FILE", help="Write what became of everything to this file, as JSON.")
    ] = None,
    format: Annotated[
        str | None, Parameter(metavar="FORMAT", help="text: a summary; json: the report, on stdout.")
    ] = None,
    calling: Calling = Calling(),  # noqa: B008
) -> int:
    """Receive instances (C-STORE) and hand them on, as they came, to nodes and folders.

    Goes on until SIGINT (Ctrl-C), SIGTERM or --until-idle. What is under way then is finished, new associations are rejected.
    The second signal cancels.
    """
    from dcmflow.cli.execute import end_quietly, execute
    from dcmflow.cli.load import seconds
    from dcmflow.flow.pipeline import Pipeline

    wanted = chosen(format, ("text", "json"), terminal="text", pipe="text")
    if not dest:
        raise Usage("forward where to? name nodes or folders; see dcmflow forward --help")
    patience = seconds(grace, "--grace")
    end_quietly()
    settings = calling.settings()
    place, tls = _listening(listen, settings, calling)
    to = _destinations(dest, settings, calling, associations, retries, place, secured=_is_secured(listen))
    source = _source(place, tls, accept_from, respond, max_associations, spill, until_idle)
    pipeline = Pipeline(
        source | (tuple(to.sinks) if len(to.sinks) > 1 else to.sinks[0]),
        name="forward",
        nodes=to.nodes,
        local=settings.local,
    )
    announcement = _Announcement(place, tls, to.places, pipeline.promises()[source.name], respond)
    return execute(pipeline, grace=patience, report=report, format=wanted, observe=[announcement])


def _listening(text: str | None, settings: Settings, calling: Calling) -> tuple[Local, Tls | None]:
    """Where to listen, and the TLS that is spoken there. Raises Usage, ConfigError."""
    from dcmflow.errors import ConfigError
    from dcmflow.net.address import parse_listen
    from dcmflow.net.tls import server_context

    try:
        place = parse_listen(text or "", settings.local)
    except ConfigError as error:
        raise Usage(f"--listen: {error}") from None
    if not place.port:
        raise Usage("--listen: port 0 is any free one, which nobody could be told: name a port")
    if place.tls is None:
        return place, None
    tls = calling.tls(place.tls) if _is_secured(text) else place.tls
    if tls.cert is None:
        raise Usage("who listens with TLS shows a certificate: give --tls-cert and --tls-key")
    try:
        server_context(tls)
    except ConfigError as error:
        raise calling.blamed(error, "listen") from None
    return place, tls


def _is_secured(listen: str | None) -> bool:
    """The command line says that TLS is spoken where we listen: its TLS options are meant for that, too."""
    return listen is not None and listen.strip().lower().startswith("dicoms://")


class _Destinations(NamedTuple):
    """Attributes: sinks; nodes: that they call by name; places: in words, for people."""

    sinks: list[Sink]
    nodes: dict[str, Node]
    places: list[str]


def _destinations(
    texts: tuple[str, ...],
    settings: Settings,
    calling: Calling,
    associations: int | None,
    retries: int,
    place: Local,
    *,
    secured: bool,
) -> _Destinations:
    """What the destinations are. Raises Usage, ConfigError."""
    from dcmflow.cli.sending import label, store
    from dcmflow.config.places import parse_place
    from dcmflow.net.node import Node

    found = {text: parse_place(text, settings) for text in texts}
    calling.check(secured or any(isinstance(to, Node) and to.tls is not None for to in found.values()), texts)
    result = _Destinations([], {}, [])
    for text in texts:
        to = found[text]
        known = text in settings.nodes or text in settings.dirs
        where = to.address if isinstance(to, Node) else to.path
        if where in result.places:
            raise Usage(f"{text} is named twice: {where}")
        result.places.append(where)
        taken = ["scp", *(sink.name for sink in result.sinks)]
        if isinstance(to, Node):
            if _is_here(to, place):
                raise Usage(f"{text} is where forward listens itself: it would send everything to itself")
            name = label(text if known else to.ae_title, taken)
            sink, result.nodes[name] = store(name, calling.reaching(text, to), associations, retries)
            result.sinks.append(sink)
        else:
            name = label(text if known else to.path, taken)
            result.sinks.append(_folder(name, to))
    return result


def _folder(name: str, folder: Folder) -> Sink:
    from dcmflow.sinks.directory import DEFAULT_LAYOUT, Directory

    return Directory(folder.path, folder.layout or DEFAULT_LAYOUT, name=name)


def _is_here(node: Node, place: Local) -> bool:
    if node.port != place.port:
        return False
    return node.host == place.host or (
        place.host in _EVERYWHERE
        and node.host in (*_EVERYWHERE, "localhost", "127.0.0.1", "::1", socket.gethostname())
    )


def _source(
    place: Local,
    tls: Tls | None,
    accept_from: list[str] | None,
    respond: Literal["settled", "received"],
    max_associations: int,
    spill: str,
    until_idle: str | None,
) -> Scp:
    from dcmflow.cli.load import seconds
    from dcmflow.sources.scp import Scp
    from dcmflow.units import parse_size

    if max_associations < 1:
        raise Usage("--max-associations is 1 or more")
    try:
        parse_size(spill)
    except ValueError as error:
        raise Usage(f"--spill: {error}") from None
    idle = None if until_idle is None else seconds(until_idle, "--until-idle")
    if idle == 0:
        raise Usage("--until-idle is longer than nothing")
    return Scp(
        place.address,
        name="scp",
        tls=tls,
        accept_from=accept_from or [],
        respond=respond,
        max_associations=max_associations,
        spill=spill,
        until_idle=idle,
    )


class _Announcement:
    """An observer that says, once it is so, where we listen and what Success means."""

    def __init__(self, place: Local, tls: Tls | None, places: list[str], promise: str, respond: str) -> None:
        secured = ", with TLS" if tls is not None else ""
        self._where = f"listening as {place.address}{secured}; what comes goes to {' and to '.join(places)}"
        self._promise = (
            promise
            if respond == "settled"
            else "Success means: received, and nothing more; what is refused later is lost to its sender"
        )
        self._level = "info" if respond == "settled" else "warning"

    def __call__(self, event: Event) -> None:
        from dcmflow.flow.events import PipelineStarted

        if not isinstance(event, PipelineStarted) or options().quiet:
            return
        for level, text in (("info", self._where), (self._level, self._promise)):
            if level == "info" and options().log_format == "text":
                say(f"dcmflow: {text}")
            else:
                notice(level, text)
