"""DICOM JSON of a data set (PS3.18 Annex F), in pieces of text, so that memory does not grow with the object.

- Tags have eight capital hexadecimal digits, names of persons their three representations, characters are Unicode.
- Integers are JSON numbers as long as every reader keeps them exact (below 2^53), else text, which F.2.3 allows. Floating point
  values that JSON lacks are "NaN", "inf" and "-inf". What is no number although its VR says so stays text.
- Group lengths (gggg,0000) are left out, as F.2.2 asks. File Meta Information is not part of a data set.
- Values of bytes (OB OD OF OL OV OW UN) stand inline as Base64 up to a limit; above it a `BulkDataURI` says where they are:
  `file:///…/x.dcm?offset=1234&length=5678` are bytes of that file. Of a deflated file, whose bytes are not the value, it is the
  file with the place in this JSON, `file:///…/x.dcm#/7FE00010`. Inline values are little endian, compressed pixel data with its
  items; what a URI names is as it stands in the file.
- Sequences that were not opened are left out.
- An element that cannot be read is a UN with its bytes.
"""

from __future__ import annotations

import json
import math
from base64 import b64encode
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from dcmflow.dicom.nodes import Node

BULK_LIMIT: Final = 1024  # bytes of a value that stand inline
_STEP: Final = 768 * 1024  # a multiple of 3, so that Base64 can be cut, and of 8, so that words are whole
_EXACT: Final = 2**53
_WORDS: Final = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}


class Bulk(NamedTuple):
    """What becomes of values that are bytes.

    Attributes:
        limit: up to so many bytes they stand inline; None: always.
        uri: of the file.
        offset: where the data set begins in it; None where its bytes do not stand there.
    """

    limit: int | None = BULK_LIMIT
    uri: str = ""
    offset: int | None = None


def json_object(
    parts: Iterable[tuple[Iterable[Node], Bulk]], *, lines: bool = False, ascii: bool = False
) -> Iterator[str]:
    """The object of a data set, in pieces.

    Args:
        parts: elements, ascending, and what becomes of bytes in them.
        lines: with one element per line.
        ascii: escape all other characters.
    """
    begin, between, end = ("{\n  ", ",\n  ", "\n}") if lines else ("{", ", ", "}")
    first = True
    for nodes, bulk in parts:
        for node in nodes:
            if _is_left_out(node):
                continue
            yield begin if first else between
            first = False
            yield f'"{node.tag:08X}": '
            yield from json_attribute(node, bulk, ascii=ascii)
    yield "{}" if first else end


def _is_left_out(node: Node) -> bool:
    is_group_length = not node.tag & 0xFFFF
    return is_group_length or (node.vr == "SQ" and node.items is None)


def json_attribute(node: Node, bulk: Bulk, *, ascii: bool = False) -> Iterator[str]:
    """The object of one element, in pieces."""
    vr = "UN" if node.problem else node.vr
    if vr == "SQ":
        yield from _sequence(node, bulk, ascii)
    elif not (node.bulk or node.problem):
        found = json_values(node)
        yield json.dumps({"vr": vr, "Value": found} if found else {"vr": vr}, ensure_ascii=ascii)
    elif not node.length:
        yield json.dumps({"vr": vr})
    elif bulk.limit is None or node.length <= bulk.limit:
        yield f'{{"vr": "{vr}", "InlineBinary": "'
        yield from (b64encode(part).decode("ascii") for part in little_endian(node))
        yield '"}'
    else:
        yield json.dumps({"vr": vr, "BulkDataURI": _bulk_uri(node, bulk)})


def _sequence(node: Node, bulk: Bulk, ascii: bool) -> Iterator[str]:
    if not node.items:
        yield '{"vr": "SQ"}'
        return
    yield '{"vr": "SQ", "Value": ['
    for number, item in enumerate(node.items):
        if number:
            yield ", "
        yield from json_object([(item, bulk)], ascii=ascii)
    yield "]}"


def _bulk_uri(node: Node, bulk: Bulk) -> str:
    if bulk.offset is not None:
        return f"{bulk.uri}?offset={bulk.offset + node.offset}&length={node.length}"
    way = "".join(
        f"/{step.tag:08X}" + (f"/Value/{step.item}" if step.item >= 0 else "") for step in node.trail
    )
    return f"{bulk.uri}#{way}"


def value_bytes(node: Node) -> Iterator[bytes]:
    """The bytes of a value as they are encoded, in pieces of at most 768 KiB.

    Raises:
        DatasetError: the file is not there any more, or is another one.
    """
    source = node.header.source
    end = node.element.value + node.length
    for start in range(node.element.value, end, _STEP):
        yield bytes(source.read(start, min(start + _STEP, end)))


def little_endian(node: Node) -> Iterator[bytes]:
    """The same with words of big endian data sets turned round (PS3.5 7.3)."""
    width = _WORDS.get(node.vr, 1)
    if node.header.encoding.little or width == 1 or node.element.undefined:
        yield from value_bytes(node)
        return
    from array import array

    code = {2: "H", 4: "I", 8: "Q"}[width]
    for part in value_bytes(node):
        whole = len(part) // width * width
        words = array(code, part[:whole])
        words.byteswap()
        yield words.tobytes() + part[whole:]


def json_values(node: Node) -> list[Any]:
    """The values of an element that is neither bytes nor a sequence; an empty list where it has none.

    Raises:
        DatasetError: they cannot be decoded.
    """
    value = node.header[node.tag]
    if value is None or value == "" or value == ():
        return []
    several = value if isinstance(value, tuple) else (value,)
    if node.vr == "PN":
        return [_person(name) for name in several]
    if node.vr == "AT":
        return [f"{tag:08X}" for tag in several]
    return [_plain(one) for one in several]


def _plain(value: Any) -> Any:
    if value is None or value == "":
        return None
    if isinstance(value, float):
        if math.isfinite(value):
            return int(value) if value.is_integer() and abs(value) < _EXACT else value
        return "NaN" if math.isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, int) and abs(value) >= _EXACT:
        return str(value)
    return value


def _person(name: str) -> dict[str, str] | None:
    groups = zip(("Alphabetic", "Ideographic", "Phonetic"), name.split("="), strict=False)
    return {kind: text for kind, text in groups if text} or None
