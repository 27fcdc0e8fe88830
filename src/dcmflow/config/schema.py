"""What may stand in a pipeline file, as a JSON Schema for editors; it comes from the Structs of the stages alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from dcmflow.config.stages import document as document
from dcmflow.config.stages import stage_class, stage_types
from dcmflow.flow.capacity import Limits
from dcmflow.flow.stage import KINDS, Stage
from dcmflow.net.node import Node

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_DEFINITIONS = "#/$defs/{name}"
_NAMES = {"minLength": 1, "not": {"enum": ["refuse", "skip", "stop"]}, "pattern": r"^[^.]*$"}
_FROM = {
    "description": "Where it takes instances from: a stage, ROUTER.BRANCH, or a list of them.",
    "anyOf": [
        {"type": "string", "minLength": 1},
        {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1},
    ],
}
_VARIABLE = {"type": "string", "pattern": r"\$\{"}


def pipeline_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a pipeline file with all stages that are installed.

    It knows nothing of wiring: names after `from` are checked by reading the file.
    """
    classes = {(kind, name): stage_class(kind, name) for kind, name in stage_types()}
    definitions: dict[str, Any] = {}
    for (kind, name), cls in classes.items():
        own, shared = _stage(kind, name, cls)
        definitions[f"{kind}-{name}"] = own
        definitions |= shared
    for struct in (Limits, Node):
        own, shared = _components(struct)
        definitions |= {struct.__name__: own, **shared}
    _allow_address(definitions["Node"])
    properties: dict[str, Any] = {
        "name": {
            "type": "string",
            "minLength": 1,
            "description": "Name of the pipeline, for logs and reports.",
        },
        "limits": {"$ref": _ref("Limits")},
        "nodes": {"type": "object", "additionalProperties": {"$ref": _ref("Node")}},
        "selectors": {"type": "object", "additionalProperties": {"type": "string"}},
    }
    for kind in KINDS:
        names = [name for other, name in classes if other == kind]
        properties[f"{kind}s"] = {
            "type": "object",
            "minProperties": 1,
            "propertyNames": _NAMES,
            "additionalProperties": _one_of(kind, names),
        }
    return {
        "$schema": _DRAFT,
        "title": "dcmflow pipeline file",
        "type": "object",
        "properties": properties,
        "required": ["sources", "sinks"],
        "additionalProperties": False,
        "$defs": definitions,
    }


def stage_schema(kind: str, type_name: str) -> dict[str, Any]:
    """JSON Schema (2020-12) of the table of one stage. Raises ConfigError for a stage that there is not."""
    own, shared = _stage(kind, type_name, stage_class(kind, type_name))
    return {"$schema": _DRAFT, **own, "$defs": shared}


def _ref(name: str) -> str:
    return _DEFINITIONS.format(name=name)


def _one_of(kind: str, names: Iterable[str]) -> dict[str, Any]:
    """The type decides which schema holds, so that an error is about the fields of that stage only."""
    names = list(names)
    return {
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"enum": names}},
        "allOf": [
            {
                "if": {"properties": {"type": {"const": name}}, "required": ["type"]},
                "then": {"$ref": _ref(f"{kind}-{name}")},
            }
            for name in names
        ],
    }


def _components(struct: type) -> tuple[dict[str, Any], dict[str, Any]]:
    (reference,), components = msgspec.json.schema_components(
        [struct], ref_template=_DEFINITIONS, schema_hook=lambda _: {}
    )
    own_name = reference["$ref"].rpartition("/")[2]
    shared = dict(components)
    own = shared.pop(own_name)
    for schema in (own, *shared.values()):
        _allow_variables(schema)
    return own, shared


def _stage(kind: str, type_name: str, cls: type[Stage]) -> tuple[dict[str, Any], dict[str, Any]]:
    own, shared = _components(cls)
    properties = {key: item for key, item in own["properties"].items() if key not in ("name", "type")}
    properties = {"type": {"const": type_name}} | ({} if kind == "source" else {"from": _FROM}) | properties
    required = [key for key in own.get("required", []) if key not in ("name", "type")]
    wired = ["from"] if kind in ("filter", "router") else []
    return {**own, "properties": properties, "required": ["type", *wired, *required]}, shared


def _allow_variables(schema: Mapping[str, Any]) -> None:
    """Where something else than text is wanted, `"${VAR}"` may stand for it."""
    for key, item in schema.get("properties", {}).items():
        kinds = {part.get("type") for part in item.get("anyOf", [item])}
        if kinds & {"integer", "number", "boolean"} and "string" not in kinds:
            about = {word: item[word] for word in ("description", "default") if word in item}
            rest = {word: value for word, value in item.items() if word not in about}
            schema["properties"][key] = {**about, "anyOf": [*rest.pop("anyOf", [rest]), _VARIABLE]}
        elif "enum" in item:
            rest = {"enum": item["enum"]}
            about = {word: value for word, value in item.items() if word != "enum"}
            schema["properties"][key] = {**about, "anyOf": [rest, _VARIABLE]}


def _allow_address(node: dict[str, Any]) -> None:
    node["properties"] = {
        "address": {"type": "string", "description": "AE@host:port, instead of host, port and ae-title."},
        **node["properties"],
    }
    node["required"] = []
    node["oneOf"] = [
        {
            "required": ["address"],
            "not": {"anyOf": [{"required": [key]} for key in ("host", "port", "ae-title")]},
        },
        {"required": ["host"]},
    ]
