"""`dcmflow stages`: which stages there are, and a page about each."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from dcmflow.cli.common import Usage, chosen, print_json

KINDS = ("source", "filter", "router", "sink")


def stages(
    name: Annotated[
        str | None,
        Parameter(help="A type, such as where; directory is both: source.directory, sink.directory."),
    ] = None,
    /,
    *,
    schema: Annotated[bool, Parameter(negative=(), help="The JSON Schema instead.")] = False,
    format: Annotated[str | None, Parameter(metavar="FORMAT", help="text or json.")] = None,
) -> None:
    """List the stages there are, or describe one."""
    wanted = chosen(format, ("text", "json"), terminal="text", pipe="text")
    if schema:
        _print_schema(name, format)
    elif name is None:
        _list(wanted)
    else:
        pages = [_page(kind, type_name) for kind, type_name in matching(name)]
        if wanted == "json":
            print_json(pages[0] if len(pages) == 1 else pages)
        else:
            print("\n\n".join(map(_as_text, pages)))


def matching(name: str) -> list[tuple[str, str]]:
    """The stages of a type, written `where`, `filter.where` or `filters.where`: (kind, type). Raises Usage."""
    from dcmflow.flow.registry import registered
    from dcmflow.suggest import suggest

    kind, dot, type_name = name.rpartition(".")
    kinds = [each for each in KINDS if not dot or each == kind.removesuffix("s")]
    if not kinds:
        raise Usage(f"there is no kind of stage {kind!r}; there are {', '.join(KINDS)}")
    found = [(each, type_name) for each in kinds if type_name in registered(each)]
    if not found:
        known = sorted({other for each in kinds for other in registered(each)})
        hint = suggest(type_name, known) or f"; there are {', '.join(known)}"
        raise Usage(f"there is no stage {name!r}{hint}")
    return found


def _list(wanted: str) -> None:
    from dcmflow.cli.help import columns

    listed = _listing()
    if wanted == "json":
        print_json(listed)
        return
    blocks = []
    for kind, rows in listed.items():
        blocks.append("\n".join([f"{kind}:", *columns([(row["type"], row["about"]) for row in rows])]))
    print("\n\n".join(blocks))


def _listing() -> dict[str, list[dict[str, str]]]:
    from dcmflow.config.stages import document, stage_types
    from dcmflow.errors import ConfigError

    found: dict[str, list[dict[str, str]]] = {f"{kind}s": [] for kind in KINDS}
    for kind, type_name in stage_types():
        try:
            about = document(kind, type_name).summary
        except ConfigError as error:  # one add-on that is broken hides no other stage
            about = f"cannot be loaded: {error.problem}"
        found[f"{kind}s"].append({"type": type_name, "about": about})
    return found


def _page(kind: str, type_name: str) -> dict[str, Any]:
    import msgspec

    from dcmflow.cli.stage_example import example
    from dcmflow.config.stages import document, stage_class

    page: dict[str, Any] = msgspec.to_builtins(document(kind, type_name))
    return {**page, "example": example(kind, type_name, stage_class(kind, type_name))}


def _as_text(page: dict[str, Any]) -> str:
    from dcmflow.cli.help import columns

    own = [field for field in page["fields"] if not field["common"]]
    common = [field for field in page["fields"] if field["common"]]
    blocks = [
        f"{page['kind']} {page['type']} ({page['class_name']})",
        page["description"],
        page["example"].rstrip(),
    ]
    for title, fields in (("Fields:", own), (f"Fields of every {page['kind']}:", common)):
        if fields:
            blocks.append("\n".join([title, *columns([(_name(field), _about(field)) for field in fields])]))
    return "\n\n".join(blocks)


def _name(field: dict[str, Any]) -> str:
    if field["required"]:
        return f"{field['name']} (required)"
    return field["name"] if field["default"] is None else f"{field['name']} = {field['default']}"


def _about(field: dict[str, Any]) -> str:
    return f"{field['description']} [{field['type']}]"


def _print_schema(name: str | None, format: str | None) -> None:
    from dcmflow.config.schema import pipeline_schema, stage_schema

    if format not in (None, "json"):
        raise Usage("--schema is JSON: leave out --format")
    if name is None:
        print_json(pipeline_schema())
        return
    found = matching(name)
    if len(found) > 1:
        raise Usage(
            f"{name} is several stages: {', '.join(f'{kind}.{type_name}' for kind, type_name in found)}"
        )
    print_json(stage_schema(*found[0]))
