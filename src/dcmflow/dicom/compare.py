"""Two data sets, element by element: what differs, and what is only written differently.

Values count, not bytes. Only written differently, `Difference.encoding`, are

- the transfer syntax, VRs (an UN that holds the same bytes, too), lengths that are undefined in one of them;
- padding, numbers written in another way (2.5 and 2.50), Specific Character Set where the text is the same;
- pixel data in another compression, when they are decoded and the same; group lengths are not looked at.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from dcmflow.dicom import values
from dcmflow.dicom.json_model import little_endian, value_bytes
from dcmflow.dicom.keys import Selection
from dcmflow.dicom.nodes import Node, Walk, listing
from dcmflow.errors import DatasetError

if TYPE_CHECKING:
    from dcmflow.dicom.view import FileView

_CHARACTER_SET: Final = 0x00080005
_PADDING: Final = 0xFFFCFFFC
_PIXELS: Final = 0x7FE00010
_PIXEL_PATHS: Final = "PixelData"
_WRITTEN: Final = values.TEXT_VRS | {"DS", "IS"}  # VRs whose values are text
_BLOCK: Final = 1024 * 1024


class Difference(NamedTuple):
    """One element that is not the same.

    Attributes:
        path: which one, as a key.
        kind: it has another value, or only one of both has it.
        a, b: the element in both; None where it is not.
        encoding: it is only written differently.
        what: how, where `a` and `b` do not show it.
    """

    path: str
    kind: Literal["changed", "only-in-a", "only-in-b"]
    a: Node | None = None
    b: Node | None = None
    encoding: bool = False
    what: str = ""


def compare(
    a: FileView, b: FileView, *, ignore: Iterable[str] = (), pixels: bool = False
) -> Iterator[Difference]:
    """What differs between the data sets of two files; elements in the order of their tags.

    Args:
        ignore: keys of elements that are not looked at.
        pixels: decode pixel data that are not the same bytes, and compare what comes out.

    Raises:
        DatasetError: one of them is broken, or its pixel data cannot be decoded.
        UnknownKeyword: a key names nothing.
    """
    selection = Selection(exclude=ignore)
    if a.transfer_syntax_uid != b.transfer_syntax_uid:
        what = f"{a.transfer_syntax_uid} / {b.transfer_syntax_uid}"
        yield Difference("TransferSyntaxUID", "changed", encoding=True, what=what)
    for found in _compared(_nodes(a, selection), _nodes(b, selection)):
        if found.path == _PIXEL_PATHS and pixels and not found.encoding and found.a and found.b:
            yield _decoded(found, a, b)
        else:
            yield found


def same_bytes(a: FileView, b: FileView) -> bool:
    """Whether two files hold the very same encoded data set."""
    if a.transfer_syntax_uid != b.transfer_syntax_uid or a.payload.size != b.payload.size:
        return False
    return all(
        a.payload.read(start, min(start + _BLOCK, a.payload.size))
        == b.payload.read(start, min(start + _BLOCK, b.payload.size))
        for start in range(0, a.payload.size, _BLOCK)
    )


def _nodes(view: FileView, selection: Selection) -> Iterator[Node]:
    found = listing(view.header)
    if found.problem is not None:
        raise DatasetError(f"{view.path}: {found.problem}")
    return Walk(selection).nodes(view.header, found)


def _compared(a: Iterable[Node], b: Iterable[Node]) -> Iterator[Difference]:
    for mine, other in _paired(a, b):
        if mine is None or other is None:
            node = mine or other
            assert node is not None
            if node.tag & 0xFFFF:
                kind: Literal["only-in-a", "only-in-b"] = "only-in-b" if mine is None else "only-in-a"
                yield Difference(node.path, kind, mine, other, _is_encoding(node.tag))
        elif mine.tag & 0xFFFF:
            yield from _of_element(mine, other)


def _paired(a: Iterable[Node], b: Iterable[Node]) -> Iterator[tuple[Node | None, Node | None]]:
    """Elements with the same tag; both come ascending."""
    ours, theirs = iter(a), iter(b)
    mine, other = next(ours, None), next(theirs, None)
    while mine is not None or other is not None:
        if other is None or (mine is not None and mine.tag < other.tag):
            yield mine, None
            mine = next(ours, None)
        elif mine is None or other.tag < mine.tag:
            yield None, other
            other = next(theirs, None)
        else:
            yield mine, other
            mine, other = next(ours, None), next(theirs, None)


def _is_encoding(tag: int) -> bool:
    return tag in (_CHARACTER_SET, _PADDING)


def _of_element(a: Node, b: Node) -> Iterator[Difference]:
    if a.items is not None and b.items is not None and not (a.problem or b.problem):
        yield from _of_sequence(a, b)
        return
    if not _same_value(a, b):
        yield Difference(a.path, "changed", a, b, _is_encoding(a.tag))
        return
    what = _written(a, b)
    if what:
        yield Difference(a.path, "changed", a, b, encoding=True, what=what)


def _of_sequence(a: Node, b: Node) -> Iterator[Difference]:
    if a.item_count != b.item_count:
        yield Difference(a.path, "changed", a, b, what=f"{a.item_count} / {b.item_count} items")
    for mine, other in zip_longest(a.items or (), b.items or ()):
        if mine is None or other is None:
            break  # said by their number
        yield from _compared(mine, other)
    if a.element.undefined != b.element.undefined:
        yield Difference(a.path, "changed", a, b, encoding=True, what=_lengths(a, b))


def _lengths(a: Node, b: Node) -> str:
    return " / ".join(f"length {'undefined' if node.element.undefined else 'explicit'}" for node in (a, b))


def _same_value(a: Node, b: Node) -> bool:
    if a.problem or b.problem or a.vr == "SQ" or b.vr == "SQ":
        return _same_streams(value_bytes(a), value_bytes(b))
    if a.bulk or b.bulk:
        if a.element.undefined != b.element.undefined:
            return False  # compressed, and not
        return _same_streams(little_endian(a), little_endian(b))
    return _equal(a.header[a.tag], b.header[b.tag])


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, tuple) or isinstance(b, tuple):
        mine = a if isinstance(a, tuple) else (a,)
        other = b if isinstance(b, tuple) else (b,)
        return len(mine) == len(other) and all(map(_equal, mine, other))
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a):
        return math.isnan(b)
    return bool(a == b) or (a in ("", None) and b in ("", None))


def _same_streams(a: Iterator[bytes], b: Iterator[bytes]) -> bool:
    """Whether both give the same bytes, but for padding at the end (PS3.5 6.2)."""
    for mine, other in zip_longest(a, b, fillvalue=b""):
        if mine != other:
            longer, shorter = (mine, other) if len(mine) > len(other) else (other, mine)
            if longer[: len(shorter)] != shorter or longer[len(shorter) :] not in (b"\0", b" "):
                return False
    return True


def _written(a: Node, b: Node) -> str:
    """How elements with the same value are written differently; empty where they are not."""
    if a.vr != b.vr:
        return f"VR {a.vr} / {b.vr}"
    if a.element.undefined != b.element.undefined:
        return _lengths(a, b)
    if a.vr not in _WRITTEN and not a.bulk:
        return ""
    if a.length == b.length and (a.bulk or _raw(a) == _raw(b)):
        return ""
    if a.bulk or _raw(a).rstrip(b" \0") == _raw(b).rstrip(b" \0"):
        return "padding"
    return "the same value, written in another way"


def _raw(node: Node) -> bytes:
    return b"".join(value_bytes(node))


def _decoded(found: Difference, a: FileView, b: FileView) -> Difference:
    from dcmflow.dicom.pixels import same_pixels

    if same_pixels(a.path, b.path):
        return found._replace(encoding=True, what="the same pixels, encoded in another way")
    return found._replace(what="the pixels differ")
