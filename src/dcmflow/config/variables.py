"""`${VAR}` and `${VAR:-default}` in the strings of a pipeline file; `$${` is a plain `${`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from dcmflow.config.document import Document
from dcmflow.suggest import suggest

_VARIABLE = re.compile(r"\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(:-[^}]*)?\})?")


def has_variable(item: Any) -> bool:
    """Whether some string in a value takes something from the environment."""
    if isinstance(item, str):
        return any(match[1] for match in _VARIABLE.finditer(item))
    if isinstance(item, Mapping):
        return any(has_variable(part) for part in item.values())
    return isinstance(item, list) and any(has_variable(part) for part in item)


def escape(text: str) -> str:
    """Text that stands for itself after `expand`."""
    return text.replace("${", "$${")


def expand(item: Any, environ: Mapping[str, str], document: Document, table: tuple[str, ...] = ()) -> Any:
    """A value with the variables in its strings replaced, dicts and lists included; keys stay as they are.

    An empty variable counts as missing where there is a default.

    Raises:
        ConfigError: a variable without a default is not set, naming it and where it is used.
    """
    return _expand(item, environ, document, table, ())


def _expand(
    item: Any, environ: Mapping[str, str], document: Document, table: tuple[str, ...], keys: tuple[str, ...]
) -> Any:
    if isinstance(item, dict):
        return {k: _expand(v, environ, document, table, (*keys, k)) for k, v in item.items()}
    if isinstance(item, list):
        return [_expand(part, environ, document, table, keys) for part in item]
    if not isinstance(item, str):
        return item

    def replace(match: re.Match[str]) -> str:
        name, default = match[1], match[2]
        if match[0] == "$${":
            return "${"
        if name is None:
            raise document.error(
                f"{item!r}: after '${{' comes the name of a variable and '}}'; '$${{' stands for a plain '${{'",
                table,
                keys,
            )
        found = environ.get(name)
        if default is not None:
            return found or default[2:]
        if found is None:
            raise document.error(
                f"the environment variable {name} is not set{suggest(name, environ)}"
                f"; set it, or write '${{{name}:-default}}'",
                table,
                keys,
            )
        return found

    return _VARIABLE.sub(replace, item)
