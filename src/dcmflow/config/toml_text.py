"""Values as TOML text that people like to read."""

from __future__ import annotations

import datetime
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from dcmflow.errors import ConfigError

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_UNSAFE_IN_BLOCK = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_EARLY_END = re.compile(r'"(?="")|"\Z')
_WIDTH = 100


def key(name: str) -> str:
    """A key, quoted where it has to be."""
    return name if _BARE_KEY.fullmatch(name) else _line(name)


def string(text: str) -> str:
    """A string: in single quotes where that saves escapes, in several lines where it has several.

    Raises ConfigError for text that is no Unicode (a lone surrogate).
    """
    if "\n" not in text.strip("\n") or _UNSAFE_IN_BLOCK.search(text):
        return _line(text)
    escaped = _EARLY_END.sub(r"\"", _valid(text).replace("\\", r"\\"))
    return f'"""\n{escaped}"""'


def _line(text: str) -> str:
    if ("\\" in text or '"' in text) and "'" not in text and not _CONTROL.search(text):
        return f"'{_valid(text)}'"
    return json.dumps(_valid(text), ensure_ascii=False).replace("\x7f", "\\u007F")


def _valid(text: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ConfigError(f"{text!r} cannot be written to a file: it is not valid Unicode") from None
    return text


def value(item: Any, *, where: str = "value") -> str:
    """Any value on one line, tables inline; long lists of several items over several lines.

    Raises ConfigError for what TOML has no words for, such as None.
    """
    match item:
        case bool():
            return "true" if item else "false"
        case int():
            return str(item)
        case float():
            return repr(item) if math.isfinite(item) else str(item)
        case str():
            return string(item)
        case datetime.date() | datetime.time():  # a datetime is a date
            return item.isoformat()
        case Mapping():
            pairs = [f"{key(str(k))} = {_inline(v, where)}" for k, v in item.items()]
            return f"{{ {', '.join(pairs)} }}" if pairs else "{}"
        case Sequence():
            items = [_inline(part, where) for part in item]
            short = f"[{', '.join(items)}]"
            return (
                short if len(short) <= _WIDTH else "[\n" + "".join(f"    {text},\n" for text in items) + "]"
            )
    raise ConfigError(f"{item!r} of {where} cannot be written to a TOML file")


def _inline(item: Any, where: str) -> str:
    if isinstance(item, str):
        return _line(item)  # an inline table has to stay on one line
    if isinstance(item, (list, tuple)):
        return f"[{', '.join(_inline(part, where) for part in item)}]"
    return value(item, where=where)


def table(path: Sequence[str], content: Mapping[str, Any]) -> str:
    """A table with its header.

    Of the dicts in it, short ones are inline, those with values that want lines of their own are dotted keys (`branch.ct = ...`).
    """
    lines = [f"[{'.'.join(map(key, path))}]"]
    where = ".".join(path)
    for name, item in content.items():
        if isinstance(item, Mapping) and item and not _is_small(item, where):
            lines += [
                f"{key(name)}.{key(str(k))} = {value(v, where=f'{where} {name}')}" for k, v in item.items()
            ]
        else:
            lines.append(f"{key(name)} = {value(item, where=f'{where} {name}')}")
    return "\n".join(lines) + "\n"


def _is_small(item: Mapping[str, Any], where: str) -> bool:
    return (
        not any(isinstance(v, str) and len(v) > 30 for v in item.values())
        and len(value(item, where=where)) <= 60
    )
