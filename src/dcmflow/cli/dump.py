"""`dcmflow dump`: what is in DICOM files."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

from cyclopts import Parameter

from dcmflow.cli.common import DONE, SOME_FAILED, Usage, chosen, notice, options, say
from dcmflow.cli.opening import error_text, existing, terminal_width

if TYPE_CHECKING:
    from dcmflow.dicom.keys import Selection
    from dcmflow.dicom.nodes import Listing, Node, Walk
    from dcmflow.dicom.view import FileView

FORMATS: Final = ("tree", "json", "ndjson", "plain")


def dump(
    *files: Annotated[str, Parameter(help="DICOM files, and folders with all that is in them.")],
    element: Annotated[
        list[str] | None,
        Parameter(
            name=("--element", "-e"),
            negative=(),
            help="Show only this: a keyword, a tag, a group (0010), a pattern (Patient*, /UID$/), "
            "Sequence[0].Keyword; without a way, at every depth. May be repeated.",
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        Parameter(
            name=("--exclude", "-x"),
            negative=(),
            help="Leave this out; wins over --element. May be repeated.",
        ),
    ] = None,
    no_private: Annotated[
        bool, Parameter(negative=(), help="Leave private elements out; wins over --element.")
    ] = False,
    format: Annotated[
        str | None,
        Parameter(
            help="tree; json: DICOM JSON, an array for several files; ndjson: an object per line; plain: PATH=VALUE, or with one "
            "--element that names one element its value alone (default: tree on a terminal, json in a pipe)."
        ),
    ] = None,
    bulk: Annotated[
        str,
        Parameter(
            help="Bytes in JSON: base64 writes all of them, a size those up to it, omit none. "
            "Others are a BulkDataURI with offset and length in the file."
        ),
    ] = "1 KiB",
    depth: Annotated[
        int | None, Parameter(help="Open sequences in so many others only; 0: none at all.")
    ] = None,
) -> int:
    """Show what is in DICOM files.

    json is DICOM JSON (PS3.18 Annex F): an object for one file, an array for several or a folder, with files that cannot be read
    left out; ndjson is one object per line. plain is one PATH=VALUE per line or, with one --element that names one element, the
    value alone. A key without a way is about every depth; --depth 0 keeps to the top level. --exclude and --no-private win over
    --element.
    """
    from dcmflow.dicom.keys import Selection
    from dcmflow.dicom.tags import UnknownKeyword

    wanted = chosen(format, FORMATS, terminal="tree")
    if not files:
        raise Usage("which files? write dcmflow dump FILE")
    if depth is not None and depth < 0:
        raise Usage(f"--depth is not negative: {depth}")
    paths = [Path(existing(file)) for file in files]
    try:
        selection = Selection(element or (), exclude or (), private=not no_private)
    except UnknownKeyword as error:
        raise Usage(str(error)) from None
    wish = Wish(selection, wanted, depth, _limit(bulk), terminal_width())
    return _Output(wish, several=len(paths) > 1 or paths[0].is_dir()).run(paths)


class Wish(NamedTuple):
    """How files are shown.

    Attributes:
        limit: bytes of a binary value that are written out in JSON; None: all.
        width: of the terminal; None where there is none.
    """

    selection: Selection
    format: str
    depth: int | None
    limit: int | None
    width: int | None


def _limit(text: str) -> int | None:
    from dcmflow.units import parse_size

    if text in ("omit", "base64"):
        return 0 if text == "omit" else None
    try:
        return parse_size(text)
    except ValueError:
        raise Usage(f"--bulk is omit, base64 or a size such as '64 KiB', not {text!r}") from None


class _Output:
    def __init__(self, wish: Wish, *, several: bool) -> None:
        self._wish = wish
        self._several = several
        self._shown = 0
        self._failed = False
        self._write = sys.stdout.write
        self._ascii = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"

    def run(self, paths: Iterable[Path]) -> int:
        from dcmflow.dicom.view import FileView
        from dcmflow.errors import DatasetError, NotDicom

        array = self._wish.format == "json" and self._several
        if array:
            self._write("[")
        passed = 0
        for path, named in _files(paths, self._complain):
            try:
                view = FileView.open(path)
            except NotDicom as error:
                if named:
                    self._complain(str(error))
                else:
                    passed += 1
            except (DatasetError, OSError) as error:
                self._complain(error_text(error, path))
            else:
                self._look_at(view, named)
        if array:
            self._write("\n]\n" if self._shown else "]\n")
        sys.stdout.flush()
        if passed and not options().quiet:
            say(f"dcmflow: passed over {passed} file{'' if passed == 1 else 's'} without DICOM")
        return SOME_FAILED if self._failed else DONE

    def _complain(self, text: str) -> None:
        from dcmflow.cli.failure import printable

        sys.stdout.flush()
        self._failed = True
        notice("error", printable(text))

    def _look_at(self, view: FileView, named: bool) -> None:
        from dcmflow.errors import DatasetError

        try:
            if named or not _is_dicomdir(view):
                self._show(view)
        except DatasetError as error:
            self._complain(error_text(error, view.path))

    def _show(self, view: FileView) -> None:
        from dcmflow.dicom.nodes import Walk, listing

        walk = Walk(self._wish.selection, depth=self._wish.depth)
        found = listing(view.header)
        text = self._wish.format in ("tree", "plain")
        if found.problem is not None and not text:
            raise found.problem  # half an object would look like a whole one
        for part in self._as_text(view, walk, found) if text else self._as_json(view, walk, found):
            self._write(part)
        self._shown += 1
        for problem in walk.problems:
            self._complain(f"{view.path}: {problem}")

    def _as_json(self, view: FileView, walk: Walk, found: Listing) -> Iterator[str]:
        from dcmflow.dicom.json_model import Bulk, json_object

        lines = self._wish.format == "json"
        if lines and self._several:
            yield ",\n" if self._shown else "\n"
        limit = self._wish.limit
        objects: list[tuple[Iterable[Node], Bulk]] = []
        selection = self._wish.selection
        if view.meta is not None and selection.include:
            meta = [node for node in walk.nodes(view.meta) if selection.asks_for(node.trail)]
            objects.append((meta, Bulk(limit, view.uri, view.meta_offset)))
        objects.append((walk.nodes(view.header, found), Bulk(limit, view.uri, view.offset)))
        yield from json_object(objects, lines=lines, ascii=self._ascii)
        if not (lines and self._several):
            yield "\n"

    def _as_text(self, view: FileView, walk: Walk, found: Listing) -> Iterator[str]:
        from dcmflow.cli.dump_text import harmless, tree

        nodes = _all_nodes(view, walk, found)
        if self._wish.format == "plain":
            yield from self._plain(nodes)
            return
        if self._several:
            yield f"{chr(10) if self._shown else ''}{harmless(view.path)}\n"
        for line in tree(nodes, width=self._wish.width):
            yield f"{line}\n"

    def _plain(self, nodes: Iterable[Node]) -> Iterator[str]:
        from dcmflow.cli.dump_text import base64_text, harmless, leaves, value_text

        single = self._wish.selection.single
        for node in leaves(nodes):
            alone = single is not None and single.matches(node.trail)
            if not alone:
                yield f"{harmless(node.path)}="
            if self._wish.limit is None and (node.bulk or node.problem):
                yield from base64_text(node)
            else:
                text = value_text(node)
                yield text if alone and self._wish.width is None else harmless(text)
            yield "\n"


def _all_nodes(view: FileView, walk: Walk, found: Listing) -> Iterator[Node]:
    if view.meta is not None:
        yield from walk.nodes(view.meta)
    yield from walk.nodes(view.header, found)


def _files(paths: Iterable[Path], complain: Callable[[str], None]) -> Iterator[tuple[str, bool]]:
    """Files, and whether they were named; what is in a folder is not."""
    from dcmflow.sources.globs import Globs
    from dcmflow.sources.walk import walk

    for path in paths:
        if not path.is_dir():
            yield str(path), True
            continue
        for found in walk(str(path), Globs()):
            if found.what == "file":
                yield found.path, False
            elif found.error is not None:
                complain(error_text(found.error, found.path))


def _is_dicomdir(view: FileView) -> bool:
    from dcmflow.dicom.part10 import MEDIA_STORAGE_DIRECTORY

    return view.sop_class_uid == MEDIA_STORAGE_DIRECTORY
