"""`dcmflow diff`: two files element by element, two folders by SOP Instance UID."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from dcmflow.cli.common import Usage, chosen, discard, notice, options, print_json
from dcmflow.cli.opening import existing

if TYPE_CHECKING:
    from dcmflow.cli.folder_diff import FolderDiff, Pair
    from dcmflow.dicom.compare import Difference
    from dcmflow.dicom.nodes import Node

SAME: Final = 0
DIFFERENT: Final = 1
TROUBLE: Final = 2


def diff(
    a: Annotated[str, Parameter(help="A DICOM file, or a folder.")],
    b: Annotated[str, Parameter(help="Another one.")],
    /,
    *,
    ignore: Annotated[
        list[str] | None,
        Parameter(
            name=("--ignore", "-i"),
            negative=(),
            help="Leave this out: a keyword, a tag, a group (0010), a pattern (Patient*, /UID$/), "
            "Sequence[0].Keyword. May be repeated.",
        ),
    ] = None,
    pixels: Annotated[
        bool, Parameter(negative=(), help="Decode pixel data that are not the same bytes, and compare that.")
    ] = False,
    strict: Annotated[
        bool, Parameter(negative=(), help="What is only written differently is different, too.")
    ] = False,
    format: Annotated[
        str | None, Parameter(help="text or json (default: text on a terminal, json in a pipe).")
    ] = None,
) -> int:
    """Compare two DICOM files or folders. Exit code 0: the same, 1: different, 2: trouble.

    Files are compared element by element, folders by SOP Instance UID. What is only written differently (transfer syntax, VR,
    padding, undefined lengths) is said, but is no difference without --strict. In text - is the first, + the second, ~ is only
    written differently.
    """
    from dcmflow.dicom.keys import Key
    from dcmflow.dicom.tags import UnknownKeyword

    wanted = chosen(format, ("text", "json"), terminal="text")
    one, other = Path(existing(a)), Path(existing(b))
    if one.is_dir() != other.is_dir():
        folder, file = (a, b) if one.is_dir() else (b, a)
        raise Usage(f"{folder} is a folder and {file} is a file: compare two files or two folders")
    keys = ignore or []
    try:
        for text in keys:
            Key(text)
    except UnknownKeyword as error:
        raise Usage(str(error)) from None
    compare = _folders if one.is_dir() else _files
    try:
        return compare(one, other, keys, pixels, strict, wanted)
    except Exception as error:
        from dcmflow.cli.failure import complain

        complain(error, debug=options().debug)
        return TROUBLE


def _printed(lines: Iterable[str], code: int) -> int:
    """Write lines; whoever has read enough gets the same exit code."""
    try:
        for line in lines:
            print(line)
        sys.stdout.flush()
    except BrokenPipeError:
        discard(sys.stdout)
    return code


def _json_lines(value: object) -> int:
    try:
        print_json(value)
        sys.stdout.flush()
    except BrokenPipeError:
        discard(sys.stdout)
    return SAME


# -- files


def _files(a: Path, b: Path, ignore: list[str], pixels: bool, strict: bool, format: str) -> int:
    from dcmflow.cli.opening import error_text
    from dcmflow.dicom.compare import compare
    from dcmflow.dicom.view import FileView
    from dcmflow.errors import DatasetError

    views = []
    for path in (a, b):
        try:
            views.append(FileView.open(path))
        except OSError as error:
            raise DatasetError(error_text(error, str(path))) from error
    found = list(compare(*views, ignore=ignore, pixels=pixels))
    different = [each for each in found if not each.encoding or strict]
    code = DIFFERENT if different else SAME
    if format == "json":
        _json_lines(
            {
                "a": str(a),
                "b": str(b),
                "same": not different,
                "differences": [_as_json(each) for each in found if not each.encoding],
                "encoding": [_as_json(each) for each in found if each.encoding],
            }
        )
        return code
    return _printed(_file_lines(a, b, found), code)


def _as_json(found: Difference) -> dict[str, Any]:
    row: dict[str, Any] = {"path": found.path, "kind": found.kind}
    if found.what:
        row["what"] = found.what
    for name, node in (("a", found.a), ("b", found.b)):
        if node is not None:
            row["tag"] = f"{node.tag:08X}"
            row[name] = _attribute(node)
    return row


def _attribute(node: Node) -> Any:
    """As in DICOM JSON; of a value of many bytes only their number, of a sequence that of its items."""
    import json

    from dcmflow.dicom.json_model import BULK_LIMIT, Bulk, json_attribute

    if node.vr == "SQ":
        return {"vr": "SQ", "items": node.item_count}
    if (node.bulk or node.problem) and node.length > BULK_LIMIT:
        return {"vr": node.vr, "bytes": node.length}
    return json.loads("".join(json_attribute(node, Bulk(None))))


def _file_lines(a: Path, b: Path, found: list[Difference]) -> Iterator[str]:
    from dcmflow.cli.dump_text import cut, harmless, tree_value
    from dcmflow.cli.opening import terminal_width

    width = terminal_width()
    if found:
        yield harmless(f"--- {a}")
        yield harmless(f"+++ {b}")
    for each in found:
        if each.encoding:
            what = each.what or each.kind.replace("-", " ")
            yield cut(f"~ {harmless(each.path)}: {what}", width)
            continue
        for sign, node in (("-", each.a), ("+", each.b)):
            if node is not None:
                tag = f"({node.tag >> 16:04X},{node.tag & 0xFFFF:04X})"
                line = f"{sign} {tag} {node.vr:2} {harmless(each.path):<30} {tree_value(node, width)}"
                yield cut(line.rstrip(), width)
        if each.what and each.a is not None and each.a.vr != "SQ":
            yield cut(f"  {each.what}", width)


# -- folders


def _folders(a: Path, b: Path, ignore: list[str], pixels: bool, strict: bool, format: str) -> int:
    from dcmflow.cli.failure import printable
    from dcmflow.cli.folder_diff import FolderDiff

    found = FolderDiff(a, b, ignore=ignore, pixels=pixels)
    for _, reason in found.unreadable:
        notice("error", printable(reason))
    different = found.different or (strict and bool(found.encoding))
    code = TROUBLE if found.unreadable else DIFFERENT if different else SAME
    if format == "json":
        _json_lines(found.as_json() | {"same": not different})
        return code
    return _printed(_folder_lines(found), code)


def _folder_lines(found: FolderDiff) -> Iterator[str]:
    from dcmflow.cli.dump_text import harmless

    for name, folder, instances in (
        ("a", found.a, found.only_in_a),
        ("b", found.b, found.only_in_b),
    ):
        if instances:
            yield f"only in {harmless(str(folder.path))}: {len(instances)}"
        for uid, paths in instances.items():
            yield f"  {'-' if name == 'a' else '+'} {uid}  {harmless(paths[0])}"
    for title, pairs in (("changed", found.changed), ("only written differently", found.encoding)):
        if pairs:
            yield f"{title}: {len(pairs)}"
        for pair in pairs:
            yield from _pair_lines(pair)
    if found.duplicates:
        yield f"more than once in one folder: {len(found.duplicates)}"
    for _, uid, paths in found.duplicates:
        yield f"  {uid}"
        yield from (f"      {harmless(path)}" for path in paths)
    yield ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in found.counts().items())


def _pair_lines(pair: Pair) -> Iterator[str]:
    from dcmflow.cli.dump_text import harmless

    shown = pair.elements[:8]
    more = len(pair.elements) - len(shown)
    yield f"  {pair.sop_instance_uid}  {harmless(', '.join(shown))}{f' and {more} more' if more else ''}"
    yield f"    - {harmless(pair.a)}"
    yield f"    + {harmless(pair.b)}"
