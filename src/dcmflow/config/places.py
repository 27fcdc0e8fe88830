"""How people write a directory: a name of the settings, or a path with or without a layout at its end.

./out                                     a path; the layout is left to whoever writes there
~/scans/{PatientID}/{SeriesNumber:03d}.dcm   the layout begins with the first part that has a brace
research                                  a directory of the settings
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from dcmflow.errors import ConfigError
from dcmflow.net.address import FORMS, is_address, parse_node
from dcmflow.net.node import Node
from dcmflow.suggest import suggest

if TYPE_CHECKING:
    from dcmflow.config.settings import Settings

_WINDOWS = re.compile(r"[A-Za-z]:(?:[\\/]|$)|\\\\")


class Folder(
    Struct, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True, omit_defaults=True
):
    """A directory with instances, and how files are laid out in it."""

    path: Annotated[
        str, Meta(min_length=1, description="The directory; relative to the settings file, `~` is expanded.")
    ]
    layout: Annotated[
        str | None,
        Meta(description="Template of the files below it, such as {PatientID}/{SOPInstanceUID}.dcm."),
    ] = None

    def __post_init__(self) -> None:
        if self.layout is not None:
            check_layout(self.layout)


def check_layout(text: str) -> None:
    """Raise ConfigError, with key `layout`, for a template that is none or could leave its directory."""
    from dcmflow.dicom.layout import Layout

    try:
        Layout(text)
    except ConfigError as error:
        raise error.at(key="layout") from None


def parse_directory(text: str, settings: Settings | None = None, *, base: Path | None = None) -> Folder:
    """The directory that is meant; its path is absolute.

    Args:
        text: a name of the settings, or a path. `~` is expanded, spaces are kept as they are.
        settings: where names are looked up; a path of that name is written `./name`.
        base: the folder that relative paths are relative to; None: the working directory.

    Raises:
        ConfigError: an empty text, a Windows path where paths are not those of Windows, a bad layout.
    """
    if settings is not None and text in settings.dirs:
        return settings.dirs[text]
    if not text.strip():
        raise ConfigError("a directory is not empty: write '.' for the one you are in")
    if "\0" in text:
        raise ConfigError(f"{text!r} is no path: it has a NUL character")
    if os.name != "nt" and _WINDOWS.match(text):
        raise ConfigError(
            f"{text!r} is a path of Windows, which means nothing here; write it with '/' from where it is mounted"
        )
    path, layout = _split_layout(text)
    return Folder(path=str(absolute(path, base)), layout=layout)


def _split_layout(text: str) -> tuple[str, str | None]:
    brace = text.find("{")
    if brace < 0:
        return text, None
    slash = text.rfind("/", 0, brace)
    return (text[: slash + 1] or "."), text[slash + 1 :]


def absolute(path: str, base: Path | None) -> Path:
    """A path with `~` expanded, relative to `base` or the working directory. Raises ConfigError for an unknown `~user`."""
    try:
        expanded = Path(path).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"the path {path!r} cannot be found: {error}") from None
    return Path(os.path.normpath((base or Path.cwd()) / expanded))


def parse_place(text: str, settings: Settings | None = None) -> Node | Folder:
    """A node or a directory, whichever is meant.

    Names of the settings come first, then `dicom://` and `dicoms://`, then what has the form of a path (a separator, a
    leading `.` or `~`), then node addresses, then existing directories.

    Raises:
        ConfigError: a bare word that is no name and no path; with a suggestion where there is one.
    """
    nodes = settings.nodes if settings is not None else {}
    dirs = settings.dirs if settings is not None else {}
    if text in nodes:
        return nodes[text]
    if is_address(text):
        return parse_node(text)
    if (
        text in dirs
        or not text.strip()
        or re.search(r"[/\\{]", text)
        or text in (".", "..")
        or text.startswith("~")
    ):
        return parse_directory(text, settings)
    if re.search(r"[@:]", text):
        return parse_node(text, settings)
    if Path(text).exists():
        return parse_directory(text)
    hint = suggest(text, [*nodes, *dirs])
    raise ConfigError(
        f"{text!r} is no name of the settings and no existing path{hint}; a new directory is written './{text}', "
        f"a node as {FORMS}"
    )
