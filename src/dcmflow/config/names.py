"""Tables of named things, which settings and pipeline files share: nodes, directories, selectors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from dcmflow.config.convert import convert, in_toml
from dcmflow.config.document import Document
from dcmflow.config.places import Folder, absolute
from dcmflow.errors import ConfigError
from dcmflow.net.address import parse_address
from dcmflow.net.node import Node, Tls
from dcmflow.suggest import suggest

_NO_NAME = re.compile(r"[@:/\\{}]|^\s|\s$|^$|[\x00-\x1f]|^[.~]")
_PARTS = ("host", "port", "ae-title")


def check_tables(document: Document, tables: Iterable[str], keys: Iterable[str] = ()) -> None:
    """Raise ConfigError for what has no business at the top of a file, and for what should be a table and is none."""
    tables = tuple(tables)
    for name, item in document.data.items():
        if name not in tables and name not in keys:
            hint = suggest(name, [*tables, *keys]) or f"; there are: {', '.join([*keys, *tables])}"
            if isinstance(item, dict):
                raise document.error(f"there is no table {name!r}{hint}", (name,))
            raise document.error(f"there is no key {name!r} here{hint}", (), (name,))
        if name in tables and not isinstance(item, dict):
            raise document.error(f"{name} is a table, not {in_toml(item)}: write [{name}]", (), (name,))


def _entries(document: Document, kind: str, data: Mapping[str, Any]) -> Iterable[tuple[str, dict[str, Any]]]:
    for name, item in data.get(kind, {}).items():
        if not isinstance(item, dict):
            raise document.error(
                f"each of {kind} is a table of its own, not {in_toml(item)}: write [{kind}.{name}]",
                (kind,),
                (name,),
            )
        if problem := name_problem(name):
            raise document.error(problem, (kind, name))
        yield name, item


def name_problem(name: str) -> str:
    """Why this cannot be the name of a node or directory; empty when it can."""
    if not _NO_NAME.search(name):
        return ""
    return (
        f"{name!r} is no name: it is not empty and has no '@', ':', '/', '\\', braces or spaces around it, "
        "and begins with neither '.' nor '~'"
    )


def read_nodes(
    document: Document, base: Path | None, data: Mapping[str, Any] | None = None, *, lax: bool = False
) -> dict[str, Node]:
    """The nodes of a file by name. Paths of certificates become absolute where there is a `base` for relative ones.

    Args:
        data: the content where it is not that of the document, because variables were replaced.
        lax: see `convert`.
    """
    data = document.data if data is None else data
    nodes = {}
    for name, given in _entries(document, "nodes", data):
        table, fields = ("nodes", name), dict(given)
        if "address" in fields:
            address = fields.pop("address")
            if not isinstance(address, str):
                raise document.error(f"expected a text, got {in_toml(address)}", table, "address")
            for part in _PARTS:
                if part in fields:
                    raise document.error(f"{part} is said twice: address has it too", table, part)
            try:
                node = parse_address(address)
            except ConfigError as error:
                raise document.error(error.problem, table, "address") from None
            fields |= {"host": node.host, "port": node.port, "ae-title": node.ae_title}
            if node.tls is not None:
                fields.setdefault("tls", {})
        elif "host" not in fields and set(fields) <= {*Node.__struct_encode_fields__}:
            raise document.error(
                'where is it? write address = "AE@host:port", or host, port and ae-title', table
            )
        node = convert(fields, Node, document, table, lax=lax, also=("address",))
        nodes[name] = replace(node, tls=absolute_tls(node.tls, base)) if node.tls else node
    return nodes


def absolute_tls(tls: Tls, base: Path | None) -> Tls:
    """The same with absolute paths; relative ones are relative to `base`, None: to where they are used.

    Raises:
        ConfigError: an unknown `~user`.
    """
    if base is None:
        return tls
    paths = {key: getattr(tls, key) for key in ("cert", "key", "ca")}
    return replace(tls, **{key: str(absolute(path, base)) for key, path in paths.items() if path is not None})


def read_folders(document: Document, base: Path | None) -> dict[str, Folder]:
    """The directories of a file by name; their paths become absolute, relative ones from `base`."""
    folders = {}
    for name, fields in _entries(document, "dirs", document.data):
        folder = convert(fields, Folder, document, ("dirs", name))
        try:
            folders[name] = replace(folder, path=str(absolute(folder.path, base)))
        except ConfigError as error:
            raise document.error(error.problem, ("dirs", name), "path") from None
    return folders


def read_selectors(
    document: Document, data: Mapping[str, Any] | None = None, others: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The named selectors of a file; each may name the others, and `others`, in any order.

    Raises:
        ConfigError: one that is no selector, with a caret under the offending word, or names itself in a circle.
    """
    found = (document.data if data is None else data).get("selectors", {})
    for name, text in found.items():
        if not isinstance(text, str):
            raise document.error(f"expected a text, got {in_toml(text)}", ("selectors",), (name,))
    if not found:
        return {}
    from dcmflow.dicom.selector import Selector

    for name, text in found.items():
        if not re.fullmatch(r"[^\W\d][\w-]*", name):
            raise document.error(
                f"{name!r} is no name of a selector: letters, digits, '_' and '-', a letter first",
                ("selectors",),
                (name,),
            )
        try:
            Selector.parse(text, {**(others or {}), **found})
        except ConfigError as error:
            raise document.error(error.problem, ("selectors",), (name,)) from None
    return dict(found)
