"""Which stages there are, and what there is to say about each: the data of `dcmflow stages`, from the Structs alone."""

from __future__ import annotations

import inspect
from typing import Any

import msgspec
from msgspec import Struct

from dcmflow.config.convert import describe, literals
from dcmflow.config.toml_text import value
from dcmflow.flow.registry import registered, stage_type
from dcmflow.flow.stage import KINDS, Stage


class FieldDocument(Struct, frozen=True, kw_only=True):
    """One field of a stage.

    Attributes:
        name: as in a pipeline file.
        type: in words, such as `text` or `"skip" or "replace"`.
        default: as written in a file; None where there is none to write.
        required: whether it has to be given.
        description: what it does.
        common: whether every stage of this kind has it.
    """

    name: str
    type: str
    default: str | None
    required: bool
    description: str
    common: bool


class StageDocument(Struct, frozen=True, kw_only=True):
    """A stage as `dcmflow stages NAME` shows it.

    Attributes:
        kind, type: which stage.
        class_name: the class of the DSL, `dcmflow.sinks.Directory`.
        summary: one line.  description: all of it.
        fields: its own first, then those that every stage has.
    """

    kind: str
    type: str
    class_name: str
    summary: str
    description: str
    fields: list[FieldDocument]


def stage_types() -> list[tuple[str, str]]:
    """All stages there are, as (kind, type)."""
    return [(kind, name) for kind in KINDS for name in registered(kind)]


def stage_class(kind: str, type_name: str) -> type[Stage]:
    """The class of a stage. Raises ConfigError for one that there is not."""
    found = stage_type(kind, type_name)
    assert isinstance(found, type)
    assert issubclass(found, Stage)
    return found


def document(kind: str, type_name: str) -> StageDocument:
    """What there is to say about a stage. Raises ConfigError for one that there is not."""
    cls = stage_class(kind, type_name)
    text = inspect.cleandoc(cls.__doc__ or "")
    own_module = cls.__module__.startswith(f"dcmflow.{kind}s.")
    own = [field for field in _fields(cls) if field.encode_name not in _common(kind)]
    common = [field for field in _fields(cls) if field.encode_name in _common(kind) - {"name"}]
    return StageDocument(
        kind=kind,
        type=type_name,
        class_name=f"dcmflow.{kind}s.{cls.__name__}"
        if own_module
        else f"{cls.__module__}.{cls.__qualname__}",
        summary=text.partition("\n")[0],
        description=text,
        fields=[_field(field, common=False) for field in own]
        + [_field(field, common=True) for field in common],
    )


def _fields(cls: type) -> tuple[msgspec.inspect.Field, ...]:
    info = msgspec.inspect.type_info(cls)
    assert isinstance(info, msgspec.inspect.StructType)
    return info.fields


def _common(kind: str) -> set[str]:
    return set(KINDS[kind].__struct_encode_fields__)


def _field(field: msgspec.inspect.Field, *, common: bool) -> FieldDocument:
    default = field.default
    if field.default_factory is not msgspec.NODEFAULT:
        default = field.default_factory()
    return FieldDocument(
        name=field.encode_name,
        type=in_words(field.type),
        default=_written(default),
        required=field.required,
        description=describe(field.type),
        common=common,
    )


def _written(default: Any) -> str | None:
    if default is None or default is msgspec.NODEFAULT:
        return None
    plain = msgspec.to_builtins(default)
    return None if plain is None else value(plain)


def in_words(kind: msgspec.inspect.Type) -> str:
    """A type as a person would say it: `whole number or text`, `list of text`."""
    if (choices := literals(kind)) and not isinstance(kind, msgspec.inspect.ListType):
        return " or ".join(f'"{choice}"' if isinstance(choice, str) else str(choice) for choice in choices)
    match kind:
        case msgspec.inspect.Metadata():
            return in_words(kind.type)
        case msgspec.inspect.UnionType():
            parts = [in_words(part) for part in kind.types if not isinstance(part, msgspec.inspect.NoneType)]
            return " or ".join(dict.fromkeys(parts))
        case msgspec.inspect.StrType():
            return "text"
        case msgspec.inspect.BoolType():
            return "true or false"
        case msgspec.inspect.IntType():
            return "whole number"
        case msgspec.inspect.FloatType():
            return "number"
        case msgspec.inspect.DictType():
            return f"table of {in_words(kind.value_type)}"
        case msgspec.inspect.StructType():
            return f"table with {', '.join(field.encode_name for field in kind.fields)}"
        case msgspec.inspect.DateType():
            return "date"
        case msgspec.inspect.CollectionType():
            return f"list of {in_words(kind.item_type)}"
    return "value"
