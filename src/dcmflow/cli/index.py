"""`dcmflow index`: builds or refreshes the index of a folder."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, final

from cyclopts import Parameter

from dcmflow.cli.common import DONE, SOME_FAILED, Usage, chosen, notice, options, print_json, warn
from dcmflow.cli.failure import printable
from dcmflow.cli.opening import existing

if TYPE_CHECKING:
    from dcmflow.sync.index import Index
    from dcmflow.sync.index_changes import Changes

_SHOWN = 20  # of what is broken; --verbose shows all


def index(
    folder: Annotated[str, Parameter(name="DIR", help="The folder, or a name of the settings.")],
    /,
    *,
    mode: Annotated[
        Literal["trust", "check", "scrub"],
        Parameter(
            help="trust: read what is new, or has another size or time; check: read the elements of every file;"
            " scrub: read every byte, and find what has rotted."
        ),
    ] = "trust",
    index: Annotated[
        Path | None,
        Parameter(metavar="PATH", help="The file of the index (default: .dcmflow-index.sqlite in DIR)."),
    ] = None,
    rebuild: Annotated[
        bool, Parameter(negative=(), help="Forget what the index has, and read everything.")
    ] = False,
    format: Annotated[
        str | None, Parameter(metavar="FORMAT", help="text: a summary; json: all of it (default: text).")
    ] = None,
) -> int:
    """Build or refresh the index of a folder.

    With it `query DIR` reads no file, and a transfer knows what is there. Files are known by their content.
    """
    from dcmflow.sync.index import Index

    wanted = chosen(format, ("text", "json"), terminal="text", pipe="text")
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    root = _folder(folder)
    begun = time.monotonic()
    with Index.open(root, index) as opened:
        if rebuild:
            opened.clear()
        progress = Progress()
        try:
            changes = opened.refresh(mode, progress if progress.wanted else None)
        except OSError as error:
            raise Usage(f"{root} cannot be read: {error.strerror or error}") from None
        finally:
            progress.close()
        _complain(changes)
        if wanted == "json":
            print_json(_as_json(opened, mode, changes, time.monotonic() - begun))
        elif not options().quiet:
            print(printable(_summary(opened, changes, time.monotonic() - begun), lines=False))
    return SOME_FAILED if changes.broken or changes.rotten else DONE


def _folder(text: str) -> str:
    """The folder that is meant. Raises Usage where there is none."""
    from dcmflow.cli.load import load_settings

    settings = load_settings()
    if text in settings.dirs and not os.path.lexists(text):
        text = settings.dirs[text].path
    path = existing(os.path.expanduser(text))
    if not os.path.isdir(path):
        raise Usage(f"{text} is a file, and only a folder can have an index")
    return path


def _complain(changes: Changes) -> None:
    for note in changes.notes:
        warn(printable(note, lines=False))
    failures = [*changes.rotten, *changes.broken]
    shown = failures if options().verbose or options().debug else failures[:_SHOWN]
    for path, reason in shown:
        notice("error", printable(f"{path or '.'}: {reason}", lines=False))
    if len(shown) < len(failures):
        notice("error", f"and {len(failures) - len(shown)} more that cannot be read; --verbose names them")


def _summary(opened: Index, changes: Changes, seconds: float) -> str:
    """`archive: 12 instances (2 new, 1 changed, 9 unchanged), 1 gone, 3 not DICOM, 0 broken, 0.02 s, 600 files/s`."""
    from dcmflow.observe.table import format_rate
    from dcmflow.units import format_duration

    several = sum(1 for _ in opened.duplicates())
    parts = [
        f"{changes.instances} instances ({changes.new} new, {changes.changed} changed, {changes.unchanged} unchanged)",
        f"{changes.gone} gone",
        f"{changes.not_dicom} not DICOM",
        f"{len(changes.broken)} broken",
        *([f"{len(changes.rotten)} rotten"] if changes.rotten else []),
        *([f"{several} in several files"] if several else []),
        f"{format_duration(seconds)}, {format_rate(changes.files / max(seconds, 1e-6))} files/s",
    ]
    return f"{os.path.relpath(opened.folder)}: {', '.join(parts)}"


def _as_json(opened: Index, mode: str, changes: Changes, seconds: float) -> dict[str, Any]:
    return {
        "folder": opened.folder,
        "index": opened.path,
        "mode": mode,
        "instances": changes.instances,
        "new": changes.new,
        "changed": changes.changed,
        "unchanged": changes.unchanged,
        "gone": changes.gone,
        "not_dicom": changes.not_dicom,
        "read": changes.read,
        "broken": _listed(changes.broken),
        "rotten": _listed(changes.rotten),
        "duplicates": [
            {"sop_instance_uid": uid, "paths": [os.path.relpath(path, opened.folder) for path in paths]}
            for uid, paths in opened.duplicates()
        ],
        "notes": changes.notes,
        "seconds": round(seconds, 3),
    }


def _listed(files: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"path": path or ".", "reason": reason} for path, reason in files]


@final
class Progress:
    """How far it is, on a terminal: one line on stderr that is painted over, from the first second on."""

    def __init__(self) -> None:
        from dcmflow.cli.query_progress import wanted
        from dcmflow.observe.progress import FIRST_AFTER, Pace

        self.wanted: bool = wanted()
        self._pace = Pace()
        self._begun = time.monotonic()
        self._next = self._begun + FIRST_AFTER
        self._painted = False

    def __call__(self, done: int, total: int | None) -> None:
        """So many files are done. Paints four times a second at most."""
        from dcmflow.observe.progress import EVERY
        from dcmflow.observe.table import format_rate
        from dcmflow.units import format_duration

        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + EVERY
        self._pace.note(now, done, 0)
        rate = self._pace.rate or done / (now - self._begun)
        parts = [f"{done} of {total} files" if total else f"{done} files", f"{format_rate(rate)} files/s"]
        remaining = self._pace.remaining(total)
        if remaining is not None:
            parts.append(f"{format_duration(remaining)} remaining")
        sys.stderr.write(f"\r\x1b[K{', '.join(parts)}")
        sys.stderr.flush()
        self._painted = True

    def close(self) -> None:
        """Take the line away."""
        if self._painted:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
