"""How a sync is done: methods, edits and layouts, from the command line or from a plan."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from msgspec import Struct, ValidationError, convert

from dcmflow.cli.common import Usage
from dcmflow.errors import ConfigError

if TYPE_CHECKING:
    from dcmflow.cli.sync_places import Spot
    from dcmflow.filters.edit import Edit
    from dcmflow.sync.plan import Plan

Method = Literal["auto", "proxy", "move", "get", "remote-copy", "copy", "link", "move-files"]
_UNIQUE = ("StudyInstanceUID", "SeriesInstanceUID")


class How(Struct, frozen=True, omit_defaults=True):
    """What a plan has to be carried out with; it stands in the plan."""

    method: str = "auto"
    edit: Sequence[str] = ()
    layout: str | None = None


def method_of(method: Method | None, *, move: bool) -> str:
    """The method that `--method` and `--move` say. Raises Usage."""
    if move and method not in (None, "move-files"):
        raise Usage(f"--move and --method {method} contradict each other")
    if move:
        return "move-files"
    return "auto" if method in (None, "proxy") else str(method)


def read_plan(file: Path) -> Plan:
    """The plan in a file. Raises ConfigError, Usage."""
    from dcmflow.sync.plan import Plan

    try:
        return Plan.from_json(file.read_bytes())
    except OSError as error:
        raise Usage(f"--plan {file} cannot be read: {error.strerror or error}") from None
    except ConfigError as error:
        raise error.at(file=str(file)) from None


def how_of(plan: Plan, file: Path) -> How:
    """What a plan says about how it is meant to be carried out. Raises ConfigError."""
    try:
        how = convert(plan.options, How)
    except ValidationError as error:
        raise ConfigError(f"its options are not those of a plan: {error}", file=str(file)) from None
    if how.method not in get_args(Method):
        raise ConfigError(f"its options name no method: {how.method!r}", file=str(file))
    return how


def edit_of(texts: Sequence[str], *, force: bool) -> Edit | None:
    """The filter for `--edit`. Raises ConfigError, Usage."""
    from dcmflow.dicom.query import canonical
    from dcmflow.filters.edit import Edit

    values: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key.strip() or not equals:
            raise Usage(f"--edit {text!r}: write KEY=VALUE, such as PatientName=Anon; KEY= makes it empty")
        name = canonical(key)
        if name in values:
            raise Usage(f"--edit: {name} comes twice")
        if name == "SOPInstanceUID":
            raise Usage("--edit SOPInstanceUID: every instance would be the same one")
        if name in _UNIQUE and not force:
            raise Usage(
                f"--edit {name}: with another UID nobody can ask DEST what it has; say --force-all to send everything"
            )
        values[name] = value
    if not values:
        return None
    try:
        return Edit(set=values, name="edit")
    except ConfigError as error:
        raise Usage(f"--edit: {error.problem}") from None


def check_method(method: str, src: Sequence[Spot], to: Sequence[Spot], *, edited: bool) -> None:
    """Raise Usage for a method that cannot be, between these places."""
    if method in ("move", "get", "remote-copy") and not any(spot.is_node for spot in src):
        raise Usage(f"--method {method} is for sources that are nodes")
    if method == "remote-copy":
        folder = next((spot.name for spot in (*src, *to) if not spot.is_node), None)
        if folder is not None:
            raise Usage(f"--method remote-copy is from node to node, and {folder} is a folder")
        if edited:
            raise Usage("--edit: what a node sends to another one does not come by here; use another method")
    if method in ("copy", "link"):
        node = next((spot.name for spot in (*src, *to) if spot.is_node), None)
        if node is not None:
            raise Usage(f"--method {method} is between folders, and {node} is a node")
    if method == "move-files":
        node = next((spot.name for spot in src if spot.is_node), None)
        if node is not None:
            raise Usage(f"files can be moved out of folders, and {node} is a node")
    if edited and method in ("link", "move-files"):
        raise Usage(
            f"--edit and --method {method}: what is edited is another file, and the first one has to stay"
        )
