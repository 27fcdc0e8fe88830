"""Elements as text: a tree for people, plain values for programs."""

from __future__ import annotations

import re
import unicodedata
from base64 import b64encode
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from dcmflow.errors import DatasetError

if TYPE_CHECKING:
    from dcmflow.dicom.nodes import Node

_SHOWN: Final = 64  # bytes of a value that are shown in hexadecimal
_NAME: Final = 30
# what a terminal would obey, or what turns the order of what follows round
_OBEYED = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def tree(nodes: Iterable[Node], *, width: int | None = None, indent: int = 0) -> Iterator[str]:
    """One line per element: tag, VR, keyword, value; items of sequences below, indented.

    Args:
        width: columns that a line may have; None: as many as it needs.
    """
    margin = "  " * indent
    for node in nodes:
        tag = f"({node.tag >> 16:04X},{node.tag & 0xFFFF:04X})"
        line = f"{margin}{tag} {node.vr:2} {harmless(label(node)):<{_NAME}} {tree_value(node, width)}"
        yield cut(line.rstrip(), width)
        for number, item in enumerate(node.items or ()):
            if item:
                yield f"{margin}  [{number}]"
                yield from tree(item, width=width, indent=indent + 2)


def label(node: Node) -> str:
    """What an element is called: its keyword; for a private one its creator and, where known, its description."""
    from dcmflow.dicom import tags

    keyword = tags.keyword_of(node.tag)
    if keyword:
        return keyword
    if not node.tag & 0x10000:
        return "GroupLength" if not node.tag & 0xFFFF else "(unknown)"
    if 0x10 <= node.tag & 0xFFFF <= 0xFF:
        return "PrivateCreator"
    known = _private_name(node.tag, node.creator) if node.creator else ""
    return f"[{node.creator or 'no creator'}] {known}".rstrip()


@lru_cache(maxsize=4096)
def _private_name(tag: int, creator: str) -> str:
    from pydicom.datadict import private_dictionary_description

    try:
        found = private_dictionary_description(tag, creator)
    except KeyError:
        return ""
    return "" if found == "Unknown" else found


def tree_value(node: Node, width: int | None = None) -> str:
    """The value as one line that a terminal shows and does not obey."""
    if node.problem:
        return f"<{harmless(node.problem)}>"
    if node.vr == "SQ":
        return f"{node.item_count} item{'' if node.item_count == 1 else 's'}"
    try:
        text = value_text(node, longest=None if width is None else 4 * width)
    except DatasetError as error:
        return f"<{harmless(str(error))}>"
    text = harmless(text)
    name = _uid_name(text) if node.vr == "UI" else ""
    return f"{text} ({name})" if name else text


def _uid_name(uid: str) -> str:
    from pydicom._uid_dict import UID_dictionary

    found = UID_dictionary.get(uid)
    return found[0] if found else ""


def value_text(node: Node, *, longest: int | None = None) -> str:
    r"""The value as text, several joined by ``\``, numbers as they are written, bytes in hexadecimal or, when they are many, as a
    size.

    Args:
        longest: no more characters of it are needed.

    Raises:
        DatasetError: it cannot be decoded.
    """
    if node.bulk or node.problem:
        return _bytes_text(node)
    if node.vr == "AT":
        value = node.header[node.tag]
        several = value if isinstance(value, tuple) else () if value is None else (value,)
        return "\\".join(f"({tag >> 16:04X},{tag & 0xFFFF:04X})" for tag in several)
    value = node.header[node.tag]
    if longest is not None and isinstance(value, tuple) and len(value) > longest:
        return "\\".join(map(str, value[:longest]))
    return node.header.text(node.tag)


def _bytes_text(node: Node) -> str:
    from dcmflow.dicom.json_model import value_bytes

    if node.length > _SHOWN or node.element.undefined:
        compressed = "compressed, " if node.element.undefined and node.tag == 0x7FE00010 else ""
        return f"<{compressed}{node.length} bytes>"
    data = b"".join(value_bytes(node))
    if node.vr == "OW":
        order = "little" if node.header.encoding.little else "big"
        return "\\".join(
            f"{int.from_bytes(data[at : at + 2], order):04x}"  # type: ignore[arg-type]
            for at in range(0, len(data), 2)
        )
    return data.hex("\\")


def base64_text(node: Node) -> Iterator[str]:
    """The bytes of a value as Base64, in pieces."""
    from dcmflow.dicom.json_model import little_endian

    for part in little_endian(node):
        yield b64encode(part).decode("ascii")


def leaves(nodes: Iterable[Node]) -> Iterator[Node]:
    """The elements with a value of their own, those in sequences too."""
    for node in nodes:
        if node.items is None and node.vr != "SQ":
            yield node
        for item in node.items or ():
            yield from leaves(item)


def harmless(text: str) -> str:
    """The text in one line, without anything that a terminal would obey."""
    return _OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def cut(line: str, width: int | None) -> str:
    """As much of a line as fits; wide characters count twice."""
    if width is None or 2 * len(line) <= width:
        return line
    used = end = 0
    for number, character in enumerate(line):
        used += cells(character)
        if used <= width - 1:
            end = number + 1
        elif used > width:
            return line[:end] + "…"
    return line


def cells(character: str) -> int:
    """Columns that a character takes."""
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
