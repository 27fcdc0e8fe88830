"""A catalog as JSON.

::

    {"format": "dcmflow-catalog", "version": 1, "level": "image",
     "provenance": [{"source": "PACS@10.0.0.5:104", "query": {"Modality": "CT"}, "level": "image",
                     "when": "2024-05-01T10:00:00+02:00", "notes": ["one server of two did not answer"]}],
     "conflicts": [{"kind": "value", "level": "patient", "uid": "4711", "keyword": "PatientName", "text": "..."}],
     "patients": [{"PatientID": "4711", ..., "studies": [
       {"StudyInstanceUID": "2.25.1", ..., "series": [
         {"SeriesInstanceUID": "2.25.2", ..., "images": [{"SOPInstanceUID": "2.25.3", ...}]}]}]}]}

Each element stands once, at its level. Several values are an array, sequences an array of objects, bytes `{"base64":
"..."}`, and numbers that JSON does not have `{"float": "nan"}`. Keys that mean nothing here, beside the patients or
in a node, are kept and written again. A document of a newer version is refused; within a version, keys may be added.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from codecs import BOM_UTF8
from collections.abc import Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from dcmflow.catalog.node import PLURALS, Node, uid_of
from dcmflow.catalog.notes import Conflict, Provenance
from dcmflow.dicom.level import Level
from dcmflow.errors import ConfigError

if TYPE_CHECKING:
    from dcmflow.catalog.catalog import Catalog

FORMAT: Final = "dcmflow-catalog"
VERSION: Final = 1
_S = TypeVar("_S", Provenance, Conflict)
_BYTE: Final = re.compile(r"\(byte (\d+)\)")
_OURS: Final = frozenset({"format", "version", "level", "provenance", "conflicts", "patients"})


def write(catalog: Catalog, indent: int | None = None) -> str:
    """The document of a catalog."""
    document = {
        "format": FORMAT,
        "version": VERSION,
        "level": catalog.level.word,
        "provenance": [_provenance(entry) for entry in catalog.provenance],
        "conflicts": [
            {**msgspec.structs.asdict(found), "level": found.level.word} for found in catalog.conflicts
        ],
        **catalog.extra,
        "patients": [_node(node) for node in catalog.walk(Level.PATIENT)],
    }
    text = encode(document)
    return (text if indent is None else msgspec.json.format(text, indent=indent)).decode()


def read(text: str | bytes, kind: type[Catalog]) -> Catalog:
    """The catalog of a document.

    Raises:
        ConfigError: it is none, it is cut off, or it is of a newer version; with line and column where the text itself is at fault.
    """
    document = decode(text)
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ConfigError(f'this is no catalog: it lacks "format": "{FORMAT}"', key="format")
    version = document.get("version")
    if not isinstance(version, int) or version < 1:
        raise ConfigError(f"{version!r} is no version of a catalog", key="version")
    if version > VERSION:
        raise ConfigError(
            f"this catalog is of version {version}, and this dcmflow reads up to {VERSION}: use the newer dcmflow that wrote it",
            key="version",
        )
    catalog = kind(_level(document.get("level"), "level"))
    catalog.provenance = [
        _read_struct(entry, Provenance, f"provenance[{number}]")
        for number, entry in enumerate(_list(document, "provenance", ""))
    ]
    catalog.extra = {key: value for key, value in document.items() if key not in _OURS}
    try:
        for number, entry in enumerate(_list(document, "patients", "")):
            _read_node(catalog, Level.PATIENT, entry, None, f"patients[{number}]")
    except RecursionError:
        raise ConfigError("it is nested too deeply", key="patients") from None
    for number, entry in enumerate(_list(document, "conflicts", "")):
        catalog.note(_read_struct(entry, Conflict, f"conflicts[{number}]"))
    return catalog


def decode(text: str | bytes) -> Any:
    """What JSON says.

    Raises:
        ConfigError: it is not JSON, with line and column.
    """
    data = text.encode("utf-8", "replace") if isinstance(text, str) else text
    try:
        return msgspec.json.decode(data.removeprefix(BOM_UTF8))
    except msgspec.DecodeError as error:
        message = str(error).removeprefix("JSON is malformed: ")
    except UnicodeDecodeError as error:
        message = f"it is no UTF-8 (byte {error.start})"
    except RecursionError:
        message = "it is nested too deeply"
    found = _BYTE.search(message)
    if found is None and "truncated" not in message:
        raise ConfigError(f"the text cannot be read: {message}")
    position = int(found[1]) if found else len(data)
    what = f"is not JSON: {message}" if found else f"is cut off (byte {position})"
    before = data[:position]
    line, column = before.count(b"\n") + 1, position - before.rfind(b"\n")
    raise ConfigError(f"the text {what}", line=line, column=column) from None


def encode(value: Any) -> bytes:
    """JSON of plain values. Halves of surrogate pairs, as names of files may have, are spelled out: JSON text has none."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return msgspec.json.encode(_spelled(value))


def _spelled(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, list | tuple):
        return [_spelled(item) for item in value]
    return (
        {_spelled(key): _spelled(item) for key, item in value.items()} if isinstance(value, dict) else value
    )


def plain(value: Any) -> Any:
    """A value of a record as JSON has it."""
    kind = value.__class__
    if kind is str or kind is int or value is None:
        return value
    if isinstance(value, float):
        return value if isfinite(value) else {"float": str(value)}
    if isinstance(value, bytes | bytearray | memoryview):
        return {"base64": b64encode(value).decode()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return value if isinstance(value, str | int) else str(value)


def from_plain(value: Any) -> Any:
    """A value of a record from what JSON has."""
    if isinstance(value, list):
        return tuple(from_plain(item) for item in value)
    if isinstance(value, dict):
        match value:
            case {"base64": str(text), **rest} if not rest:
                return b64decode(text, validate=True)
            case {"float": str(text), **rest} if not rest:
                return float(text)
        return {key: from_plain(item) for key, item in value.items()}
    return value


def _node(node: Node) -> dict[str, Any]:
    written = {keyword: plain(value) for keyword, value in node.values.items()}
    if node._children:
        written[PLURALS[node.level + 1]] = [_node(child) for child in node.children]
    return written


def _read_node(catalog: Catalog, level: Level, entry: Any, parent: Node | None, place: str) -> None:
    if not isinstance(entry, dict):
        raise ConfigError(f"a {level.word} is an object with its elements, not {entry!r:.40}", key=place)
    below = PLURALS[level + 1] if level < catalog.level else None
    if below is None and level < Level.IMAGE and PLURALS[level + 1] in entry:
        problem = f"{PLURALS[level + 1]} in a catalog of {catalog.level.word} level"
        raise ConfigError(problem, key=f"{place}.{PLURALS[level + 1]}")
    try:
        values = {key: from_plain(value) for key, value in entry.items() if key != below}
    except ValueError as error:
        raise ConfigError(f"it has a value that cannot be read: {error}", key=place) from None
    children = _list(entry, below, f"{place}.") if below else []
    if level is not Level.PATIENT and not children and not uid_of(level, values):
        raise ConfigError(f"a {level.word} without {level.keyword}", key=place)
    node = catalog.put(level, values, parent)
    for number, child in enumerate(children):
        _read_node(catalog, Level(level + 1), child, node, f"{place}.{below}[{number}]")


def _list(entry: dict[str, Any], key: str, place: str) -> list[Any]:
    found = entry.get(key, [])
    if not isinstance(found, list):
        raise ConfigError(f"a list is expected, not {found!r:.40}", key=f"{place}{key}")
    return found


def _level(word: Any, place: str) -> Level:
    if not isinstance(word, str):
        raise ConfigError(f"{word!r:.40} is no level", key=place)
    try:
        return Level.parse(word)
    except ConfigError as error:
        raise ConfigError(error.problem, key=place) from None


def _provenance(entry: Provenance) -> dict[str, Any]:
    written = {key: value for key, value in msgspec.structs.asdict(entry).items() if value or key == "source"}
    if entry.level is not None:
        written["level"] = entry.level.word
    return written


def _read_struct(entry: Any, kind: type[_S], place: str) -> _S:
    if not isinstance(entry, dict):
        raise ConfigError(f"an object is expected, not {entry!r:.40}", key=place)
    if "level" in entry:
        entry = {**entry, "level": _level(entry["level"], f"{place}.level")}
    try:
        return msgspec.convert(entry, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(str(error), key=place) from None
