"""A TOML table becomes a Struct, and what is wrong with it an error at its key."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from dcmflow.config.document import Document
from dcmflow.errors import ConfigError
from dcmflow.suggest import suggest

T = TypeVar("T")

_WHERE = re.compile(r"^(.*?)(?: - at `(?:key` in `)?\$?(.*?)`)?$", re.DOTALL)
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")
_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
    "null": "nothing",
}


def convert(
    fields: Mapping[str, Any],
    struct: type[T],
    document: Document,
    table: tuple[str, ...],
    key: tuple[str, ...] = (),
    *,
    lax: bool = False,
    hide: Iterable[str] = (),
    also: Iterable[str] = (),
) -> T:
    """The Struct of a table.

    Args:
        fields: the content of the table.
        struct: a msgspec Struct class.
        document, table, key: where the content stands, for errors.
        lax: text that looks like a number or truth value may stand for one, as in what comes from the environment.
        hide: fields that a file does not give and that are not suggested.
        also: keys that a file may give besides the fields, to be suggested too.

    Raises:
        ConfigError: with file, table, key, line and, where there is one, a suggestion.
    """
    try:
        try:
            return msgspec.convert(fields, struct)
        except msgspec.ValidationError:
            if not lax:
                raise
            return msgspec.convert(fields, struct, strict=False)
    except msgspec.ValidationError as error:
        raise _explain(error, fields, struct, document, table, key, set(hide), set(also)) from None
    except ConfigError as error:
        # a column inside of the value says nothing about the file; the text has a caret
        raise document.error(error.problem, table, (*key, *_place(fields, error.key))) from None


def _explain(
    error: msgspec.ValidationError,
    fields: Mapping[str, Any],
    struct: type,
    document: Document,
    table: tuple[str, ...],
    key: tuple[str, ...],
    hide: set[str],
    also: set[str],
) -> ConfigError:
    match = _WHERE.match(str(error))
    assert match is not None
    problem, steps = match[1], [name or index for name, index in _STEP.findall(match[2] or "")]
    steps = _resolve(steps, fields, struct, str(error))
    path = tuple(step for step in steps if not step.isdigit())
    found = _at(fields, steps)
    known = set(_field_types(struct, path)) - hide | (set() if path else also)
    if named := re.match(r"Object (contains unknown|missing required) field `(.*)`$", problem):
        name = named[2]
        if named[1] == "missing required":
            about = _description(struct, path, name)
            return document.error(
                f"{name!r} is missing{f': {about}' if about else ''}", table, (*key, *path, name)
            )
        hint = suggest(name, known) or f"; there are: {', '.join(sorted(known))}"
        return document.error(f"there is no key {name!r} here{hint}", table, (*key, *path, name))
    if problem.startswith("Invalid enum value"):
        choices = [str(value) for value in _choices(struct, path)]
        one_of = ", ".join(map(repr, choices))
        problem = f"{found!r} is none of {one_of}{suggest(str(found), choices)}"
    elif problem.startswith("Expected "):
        problem = _expectation(problem, found)
    elif not path or isinstance(found, Mapping):
        path += _mentioned(problem, found if path else fields)
    return document.error(problem, table, (*key, *path))


def _resolve(steps: list[str], fields: Any, struct: type, message: str) -> list[str]:
    """The steps with the key of a free-form table in place of `[...]`, which is all that msgspec says."""
    if "..." not in steps:
        return steps
    position = steps.index("...")
    outer = _at(fields, steps[:position])
    if position == 0 or not isinstance(outer, Mapping):
        return steps[:position]
    for name, item in outer.items():
        alone: Any = {name: item}
        for step in reversed(steps[:position]):
            alone = {step: alone}
        try:
            msgspec.convert({**fields, steps[0]: alone[steps[0]]}, struct)
        except msgspec.ValidationError as error:
            if str(error) == message:
                return _resolve([*steps[:position], name, *steps[position + 1 :]], fields, struct, message)
        except ConfigError:
            continue
    return steps[:position]


def _place(fields: Mapping[str, Any], key: str | None) -> tuple[str, ...]:
    """Where the key is that a Struct complains of: in the table itself, or in a table in it."""
    steps = tuple(key.split(".")) if key else ()
    if not steps or steps[0] in fields:
        return steps
    inner = [name for name, item in fields.items() if isinstance(item, Mapping) and steps[0] in item]
    return (inner[0], *steps) if len(inner) == 1 else steps


def _at(fields: Any, steps: Iterable[str]) -> Any:
    for step in steps:
        if isinstance(fields, Mapping):
            fields = fields.get(step)
        elif isinstance(fields, list) and step.isdigit():
            fields = fields[int(step)]
    return fields


def _expectation(problem: str, found: Any) -> str:
    wanted = problem.removeprefix("Expected ").rsplit(", got ", 1)[0]
    in_words = re.sub(
        r"`([^`]*)`",
        lambda match: " or ".join(_WORDS.get(word, word) for word in match[1].split(" | ") if word != "null"),
        wanted,
    )
    return f"expected {in_words}, got {in_toml(found)}"


def in_toml(item: Any) -> str:
    """A value as people may have written it, for an error message."""
    if isinstance(item, bool):
        return "true" if item else "false"
    if isinstance(item, Mapping):
        return "a table"
    if isinstance(item, list):
        return "a list"
    if isinstance(item, (datetime.date, datetime.time)):
        return f"the date or time {item.isoformat()}; put it in quotes"
    return f"the text {item!r}" if isinstance(item, str) else repr(item)


def _mentioned(problem: str, fields: Any) -> tuple[str, ...]:
    """The one key whose value an error of the Struct as a whole talks about."""
    named = [name for name, item in fields.items() if isinstance(item, (str, int)) and repr(item) in problem]
    return (str(named[0]),) if len(named) == 1 else ()


def _field_types(struct: type, path: Iterable[str]) -> Mapping[str, msgspec.inspect.Field]:
    """The fields of the Struct that is found by following keys, empty where there is none."""
    current: msgspec.inspect.Type = msgspec.inspect.type_info(struct)
    for step in path:
        inner = _structs(current)
        if inner and step in (fields := {field.encode_name: field for field in inner[0].fields}):
            current = fields[step].type
    inner = _structs(current)
    return {field.encode_name: field for field in inner[0].fields} if inner else {}


def _structs(kind: msgspec.inspect.Type) -> list[msgspec.inspect.StructType]:
    """The Struct types that a value of this type may be, through unions, annotations, lists and dicts."""
    match kind:
        case msgspec.inspect.StructType():
            return [kind]
        case msgspec.inspect.Metadata():
            return _structs(kind.type)
        case msgspec.inspect.UnionType():
            return [found for part in kind.types for found in _structs(part)]
        case msgspec.inspect.DictType():
            return _structs(kind.value_type)
        case msgspec.inspect.ListType():
            return _structs(kind.item_type)
    return []


def _description(struct: type, path: tuple[str, ...], name: str) -> str:
    field = _field_types(struct, path).get(name)
    return describe(field.type) if field else ""


def describe(kind: msgspec.inspect.Type) -> str:
    """The description in the `Meta` of a field; empty where there is none."""
    if isinstance(kind, msgspec.inspect.Metadata):
        return str((kind.extra_json_schema or {}).get("description", "")) or describe(kind.type)
    return ""


def _choices(struct: type, path: tuple[str, ...]) -> list[Any]:
    field = _field_types(struct, path[:-1]).get(path[-1]) if path else None
    return literals(field.type) if field else []


def literals(kind: msgspec.inspect.Type) -> list[Any]:
    """The words that a field may have, where it has a fixed list of them."""
    match kind:
        case msgspec.inspect.LiteralType(values):
            return list(values)
        case msgspec.inspect.EnumType(cls):
            return [member.value for member in cls]
        case msgspec.inspect.Metadata():
            return literals(kind.type)
        case msgspec.inspect.UnionType():
            return [value for part in kind.types for value in literals(part)]
        case msgspec.inspect.ListType():
            return literals(kind.item_type)
    return []
