"""`dcmflow sort`: DICOM files into folders, as a pipeline of one line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from dcmflow.cli.common import Usage, chosen
from dcmflow.cli.opening import existing

if TYPE_CHECKING:
    from dcmflow.config.places import Folder
    from dcmflow.config.settings import Settings
    from dcmflow.filters.call import Call
    from dcmflow.flow.pipeline import Pipeline
    from dcmflow.sinks.placing import Exists


def sort(
    src: Annotated[
        str,
        Parameter(help="A folder, a file, a .zip or .tar archive, a DICOMDIR, or a name of the settings."),
    ],
    dest: Annotated[
        str,
        Parameter(
            help="The folder, or a name of the settings. A new one is written with a separator: ./sorted"
        ),
    ],
    /,
    *,
    layout: Annotated[
        str | None,
        Parameter(
            help="Template of the paths in it, such as '{PatientID}/{SeriesNumber:03d}/{SOPInstanceUID}.dcm'."
        ),
    ] = None,
    move: Annotated[
        bool, Parameter(negative=(), help="Remove each file once it is safe in its new place.")
    ] = False,
    link: Annotated[
        bool, Parameter(negative=(), help="Hard-link instead of copying, where that is possible.")
    ] = False,
    exists: Annotated[
        Literal["skip", "replace", "keep-both", "refuse"],
        Parameter(help="When another file has the name. The same content is always fine."),
    ] = "skip",
    dry_run: Annotated[
        bool, Parameter(negative=(), help="Say where each file would go, and change nothing.")
    ] = False,
    report: Annotated[
        Path | None, Parameter(help="Write what became of everything to this file, as JSON.")
    ] = None,
    format: Annotated[
        str | None,
        Parameter(help="text: a summary; json: the report, of a dry run one object per line."),
    ] = None,
) -> int:
    """Sort DICOM files into folders.

    Files are known by their content. What is no DICOM is passed over, what is broken is refused and named, and everything else
    goes on.
    """
    from dcmflow.cli.load import load_settings

    wanted = chosen(format, ("text", "json"), terminal="text", pipe="text")
    if move and link:
        raise Usage("--move and --link contradict each other: a link leaves the file where it is")
    if dry_run and report is not None:
        raise Usage("--dry-run changes nothing, so there is no --report")
    settings = load_settings()
    source = _source(src, settings)
    target = destination(dest, settings)
    if layout is not None and target.layout is not None and dest not in settings.dirs:
        raise Usage(f"two layouts: {target.layout!r} at the end of DEST, and --layout {layout!r}")
    template = layout or target.layout or _default_layout()
    _check_layout(template)
    exclude = _apart(source, target.path, move=move)
    if dry_run:
        from dcmflow.cli.sort_preview import preview

        return preview(source, target.path, template, exists, exclude=exclude, move=move, format=wanted)
    from dcmflow.cli.execute import execute

    pipeline = _pipeline(source, target.path, template, exists, exclude, move=move, link=link)
    return execute(pipeline, report=report, format=wanted)


def _source(text: str, settings: Settings) -> str:
    """The folder or file to read. Raises Usage when it is not there."""
    if text in settings.dirs and not os.path.lexists(text):
        text = settings.dirs[text].path
    return os.path.abspath(existing(os.path.expanduser(text)))


def destination(text: str, settings: Settings) -> Folder:
    """The folder to write to: a name of the settings, what has the form of a path, or a folder that is there.

    Raises:
        ConfigError: a bare word that is none of these.
        Usage: a node.
    """
    from dcmflow.config.places import parse_directory, parse_place
    from dcmflow.net.node import Node

    if os.path.isdir(text) and text not in settings.dirs:
        return parse_directory(text)
    place = parse_place(text, settings)
    if isinstance(place, Node):
        raise Usage(
            f"{text!r} is a node, and sort writes to a folder: use send or sync, or write './{text}' for a folder"
        )
    return place


def _default_layout() -> str:
    from dcmflow.sinks.directory import DEFAULT_LAYOUT

    return DEFAULT_LAYOUT


def _check_layout(template: str) -> None:
    from dcmflow.dicom.layout import Layout
    from dcmflow.errors import ConfigError

    try:
        Layout(template)
    except ConfigError as error:
        raise Usage(f"--layout: {error}") from None


def _apart(source: str, target: str, *, move: bool) -> list[str]:
    """What of the source is left out, so that nothing is read that was just written. Raises Usage where that does not help."""
    src, dest = os.path.realpath(source), os.path.realpath(target)
    if src == dest:
        raise Usage(
            f"SRC and DEST are the same folder, {target}: sort into another one, such as {target}/sorted"
        )
    if move and _inside(src, dest):
        raise Usage(
            f"{source} lies in {target}: --move could remove what is in its place already; "
            "sort into a folder beside it, or copy"
        )
    if _inside(dest, src):
        return ["/" + _escaped(os.path.relpath(dest, src))]
    return []


def _inside(path: str, folder: str) -> bool:
    return os.path.commonpath([path, folder]) == folder


def _escaped(path: str) -> str:
    return "".join(f"[{character}]" if character in "*?[" else character for character in path)


def _pipeline(
    source: str, target: str, layout: str, exists: Exists, exclude: list[str], *, move: bool, link: bool
) -> Pipeline:
    from dcmflow.flow.pipeline import Pipeline
    from dcmflow.sinks.directory import Directory as Sink
    from dcmflow.sources.directory import Directory as Source

    files = Source(source, name="source", exclude=exclude, after="delete" if move else "keep")
    folder = Sink(
        target,
        layout,
        name="destination",
        exists=exists,
        link=link or move,  # a file that moves is not written again
    )
    flow = files | _elsewhere(os.path.realpath(target)) | folder if move else files | folder
    return Pipeline(flow, name="sort")


def _elsewhere(target: str) -> Call:
    """A filter that refuses what lies in the destination, reached by a link: to remove it would be to lose it."""
    from dcmflow.dicom.instance import Instance
    from dcmflow.errors import Refused
    from dcmflow.filters.call import Call

    def elsewhere(instance: Instance) -> Instance:
        path = instance.origin.path
        if path is not None and _inside(os.path.realpath(path), target):
            raise Refused(f"{path} leads into the destination, where it stays")
        return instance

    return Call(elsewhere, name="elsewhere")
