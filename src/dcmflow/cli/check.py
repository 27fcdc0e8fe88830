"""`dcmflow check`: is a pipeline file right, and what do its acknowledgements mean?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from dcmflow.cli.common import chosen, print_json, warn

if TYPE_CHECKING:
    from dcmflow.flow.pipeline import Pipeline


def check(
    file: Annotated[Path, Parameter(help="The pipeline file.")],
    /,
    *,
    processes: Annotated[
        int,
        Parameter(metavar="N", help="Whether so many processes could share it (dcmflow run --processes)."),
    ] = 1,
    format: Annotated[str | None, Parameter(metavar="FORMAT", help="text or json.")] = None,
) -> None:
    """Check a pipeline file without opening or moving anything."""
    from dcmflow.cli.load import divided, load_pipeline

    wanted = chosen(format, ("text", "json"), terminal="text", pipe="text")
    pipeline = load_pipeline(file)
    part = shares(pipeline, divided(pipeline, processes, file))
    promises, doubts = pipeline.promises(), warnings(pipeline)
    if wanted == "json":
        found = {"pipeline": pipeline.name, "promises": promises, "warnings": doubts}
        print_json({**found, "processes": {"count": processes, "each": part}} if processes > 1 else found)
        return
    count = len(pipeline.graph.stages)
    print(f"{pipeline.name}: {count} stages, nothing wrong")
    for source, promise in promises.items():
        print(f"  {source}: {promise}")
    if part:
        print(
            f"  each of {processes} processes: {', '.join(f'{key} = {value}' for key, value in part.items())}"
        )
    for doubt in doubts:
        warn(doubt)


def shares(pipeline: Pipeline, part: Pipeline) -> dict[str, Any]:
    """What one of several processes gets less of, by its name: `limits.instances`, `pacs.associations`."""
    import msgspec

    whole: dict[str, Any] = {"limits": pipeline.limits, **pipeline.graph.stages}
    divided: dict[str, Any] = {"limits": part.limits, **part.graph.stages}
    return {
        f"{name}.{field.encode_name}": getattr(divided[name], field.name)
        for name, value in whole.items()
        for field in msgspec.structs.fields(value)
        if getattr(divided[name], field.name) != getattr(value, field.name)
    }


def warnings(pipeline: Pipeline) -> list[str]:
    """What an operator should think about: acknowledgements that mean nothing."""
    from dcmflow.flow.promise import NOTHING

    found = []
    for name, promise in pipeline.promises().items():
        stage = pipeline.graph.stages[name]
        if promise != NOTHING:
            continue
        after = str(getattr(stage, "after", "keep"))
        if after == "delete":
            found.append(
                f"source {name} deletes its files once they are accepted, and no required sink keeps them: they would be lost"
            )
        elif after != "keep":
            found.append(
                f"source {name} moves its files away once they are accepted, but no required sink keeps them"
            )
        else:
            found.append(f"source {name}: {promise[0].lower()}{promise[1:]}")
    for name, stage in pipeline.graph.stages.items():
        if getattr(stage, "respond", "") == "received" and not _spooled(pipeline, name):
            found.append(
                f'source {name} answers Success on receipt (respond = "received"), and no spool follows it: '
                "what is refused later is lost to its sender"
            )
    return found


def _spooled(pipeline: Pipeline, name: str) -> bool:
    targets = [target for names in pipeline.graph.targets(name).values() for target in names]
    return bool(targets) and all(pipeline.graph.stages[target].type == "spool" for target in targets)
