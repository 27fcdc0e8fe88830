"""The places of a sync as they are written: nodes and folders, none of them its own source."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from dcmflow.cli.common import Usage
from dcmflow.cli.nodes import Calling
from dcmflow.config.places import Folder, parse_place
from dcmflow.net.node import ANY_AE, Node

if TYPE_CHECKING:
    from dcmflow.config.settings import Settings


class Spot(NamedTuple):
    """A place before anybody is called.

    Attributes:
        name: what it is called in plans and reports; written again, it means the same place wherever one is.
        what: a node as it is called, or a folder.
    """

    name: str
    what: Node | Folder

    @property
    def is_node(self) -> bool:
        return isinstance(self.what, Node)


def sources(texts: Sequence[str], settings: Settings, calling: Calling) -> list[Spot]:
    """Where to take from. Raises Usage, ConfigError for what is no place, or not there."""
    spots = [_spot(text, settings, calling) for text in texts]
    for text, spot in zip(texts, spots, strict=True):
        if isinstance(spot.what, Folder):
            if spot.what.layout is not None and text not in settings.dirs:
                raise Usage(f"{text} has a layout, which is for a destination: name the folder alone")
            if not os.path.lexists(spot.what.path):
                raise Usage(f"there is no folder {spot.what.path} to take from")
            if not os.path.isdir(spot.what.path):
                raise Usage(
                    f"{spot.what.path} is a file: sync takes from folders and nodes; see send and sort"
                )
            if not os.access(spot.what.path, os.R_OK | os.X_OK):
                raise Usage(f"{spot.what.path} cannot be read: its permissions forbid it")
    _once(spots, "source")
    return spots


def destinations(
    texts: Sequence[str],
    settings: Settings,
    calling: Calling,
    layout: str | None = None,
    associations: int | None = None,
) -> list[Spot]:
    """Where to bring it. Raises Usage, ConfigError for what is no place, or cannot be written to."""
    spots = [_spot(text, settings, calling) for text in texts]
    for number, (text, spot) in enumerate(zip(texts, spots, strict=True)):
        if isinstance(spot.what, Node):
            if associations is not None:
                spots[number] = Spot(spot.name, at_once(spot.what, associations))
            continue
        _check_writable(spot.what.path)
        if layout is not None:
            if spot.what.layout is not None and text not in settings.dirs:
                raise Usage(
                    f"two layouts: {spot.what.layout!r} at the end of {text}, and --layout {layout!r}"
                )
            spots[number] = Spot(spot.name, Folder(path=spot.what.path, layout=layout))
    if layout is not None and all(spot.is_node for spot in spots):
        raise Usage("--layout is for folders, and every DEST is a node")
    _once(spots, "destination")
    return spots


def at_once(node: Node, associations: int) -> Node:
    """The node, with as many associations as the command line says. Raises Usage."""
    from msgspec.structs import replace

    if not 1 <= associations <= 256:
        raise Usage("--associations is a number from 1 to 256")
    return replace(node, max_associations=associations)


def check_apart(src: Sequence[Spot], dest: Sequence[Spot]) -> None:
    """Raise Usage where a source is a destination, or one lies in the other."""
    for one in src:
        for other in dest:
            if _same(one, other):
                raise Usage(
                    f"{one.name} and {other.name} are the same place: it cannot be source and destination"
                )
            if isinstance(one.what, Folder) and isinstance(other.what, Folder):
                here, there = os.path.realpath(one.what.path), os.path.realpath(other.what.path)
                common = os.path.commonpath([here, there])
                if common in (here, there):
                    inner, outer = (one, other) if common == there else (other, one)
                    raise Usage(
                        f"{inner.name} lies in {outer.name}: what is written to one would belong to the other, too; "
                        "take folders beside each other"
                    )


def _spot(text: str, settings: Settings, calling: Calling) -> Spot:
    place = parse_place(text, settings)
    if isinstance(place, Node):
        return Spot(text, calling.reaching(text, place))
    if text in settings.dirs:
        return Spot(text, place)
    return Spot(place.path if place.layout is None else os.path.join(place.path, place.layout), place)


def _once(spots: Sequence[Spot], kind: str) -> None:
    for number, spot in enumerate(spots):
        for other in spots[:number]:
            if _same(spot, other):
                raise Usage(f"{spot.name} is named twice as a {kind}, also as {other.name}")


def _same(one: Spot, other: Spot) -> bool:
    if isinstance(one.what, Folder) and isinstance(other.what, Folder):
        return os.path.realpath(one.what.path) == os.path.realpath(other.what.path)
    if not (isinstance(one.what, Node) and isinstance(other.what, Node)):
        return False
    here, there = one.what, other.what
    titles = {here.ae_title, there.ae_title}
    if here.port != there.port or (len(titles) > 1 and ANY_AE not in titles):
        return False
    return here.host == there.host or bool(_addresses(here.host) & _addresses(there.host))


def _addresses(host: str) -> set[str]:
    """What a host name stands for; itself where nobody knows."""
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None)}
    except OSError:
        return {host}
    return {"127.0.0.1" if each == "::1" else each for each in found}


def _check_writable(path: str) -> None:
    there = path
    while not os.path.lexists(there):
        there = os.path.dirname(there)
    if not os.path.isdir(there):
        raise Usage(f"{path} cannot be a folder to write to: {there} is a file")
    if not os.access(there, os.W_OK | os.X_OK):
        raise Usage(f"{path} cannot be written to: the permissions of {there} forbid it")
