"""The smallest pipeline file that uses a stage, made from its Struct."""

from __future__ import annotations

from typing import Any

from msgspec import inspect

from dcmflow.config.toml_text import value as in_toml
from dcmflow.flow.stage import Stage

# what a required field holds that has no `examples` of its own
_SAMPLES: dict[str, Any] = {
    "branch": {"ct": "Modality == 'CT'"},
    "branches": ["ct"],
    "function": "package.module:name",
    "key": "StationName",
    "listen": "DCMFLOW@0.0.0.0:11112",
    "match": "Modality == 'CT'",
    "node": "PACS@pacs.example.org:104",
    "path": "/data/dicom",
    "queue": "folder:/var/spool/dcmflow",
    "table": "stations.csv",
    "to": "PACS@pacs.example.org:104",
}
# fields that are not required and without which the stage is refused all the same
_NEEDED: dict[tuple[str, str], dict[str, Any]] = {("source", "retrieve"): {"query": {"PatientID": "12345"}}}
_BY_TYPE: dict[type[inspect.Type], Any] = {
    inspect.StrType: "...",
    inspect.IntType: 1,
    inspect.BoolType: True,
    inspect.ListType: [],
}


def example(kind: str, type_name: str, cls: type[Stage]) -> str:
    """The text of a pipeline file with this stage, and with as little else as possible."""
    required = {
        field.encode_name: _sample(field) for field in _fields(cls) if field.required and field.name != "name"
    }
    required |= _NEEDED.get((kind, type_name), {})
    stage = _table(kind, "mine", type_name, "" if kind == "source" else "made", required)
    blocks = [stage] if kind == "source" else [_table("source", "made", "synthetic", "", {}), stage]
    if kind == "router":
        branches = [*required.get("branch", required.get("branches", {"ct": ""})), "*"]
        blocks += [_sink(f"mine.{branch}", f"sink-{number}") for number, branch in enumerate(branches, 1)]
    elif kind != "sink":
        blocks.append(_sink("mine", "sink"))
    return "\n".join(blocks)


def _fields(cls: type[Stage]) -> tuple[inspect.Field, ...]:
    info = inspect.type_info(cls)
    assert isinstance(info, inspect.StructType)
    return info.fields


def _sink(origin: str, name: str) -> str:
    return _table("sink", name, "discard", origin, {})


def _table(kind: str, name: str, type_name: str, origin: str, fields: dict[str, Any]) -> str:
    lines = [f"[{kind}s.{name}]", f"type = {in_toml(type_name)}"]
    if origin:
        lines.append(f"from = {in_toml(origin)}")
    for field, value in fields.items():
        if isinstance(value, dict) and value:
            lines += [f"{field}.{key} = {in_toml(each)}" for key, each in value.items()]
        else:
            lines.append(f"{field} = {in_toml(value)}")
    return "\n".join(lines) + "\n"


def _sample(field: inspect.Field) -> Any:
    info = field.type
    while isinstance(info, inspect.Metadata):
        if examples := (info.extra_json_schema or {}).get("examples"):
            return examples[0]
        info = info.type
    if field.encode_name in _SAMPLES:
        return _SAMPLES[field.encode_name]
    if isinstance(info, inspect.LiteralType):
        return info.values[0]
    return _BY_TYPE.get(type(info), {})
