"""`dcmflow check`: is a pipeline file right, and what do its acknowledgements mean?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from dcmflow.cli.common import chosen, print_json, warn

if TYPE_CHECKING:
    from dcmflow.flow.pipeline import Pipeline


def check(
    file: Annotated[Path, Parameter(help="The pipeline file.")],
    /,
    *,
    format: Annotated[str | None, Parameter(metavar="FORMAT", help="text or json.")] = None,
) -> None:
    """Check a pipeline file without opening or moving anything."""
    from dcmflow.cli.load import load_pipeline

    wanted = chosen(format, ("text", "json"), terminal="text", pipe="text")
    pipeline = load_pipeline(file)
    promises, doubts = pipeline.promises(), warnings(pipeline)
    if wanted == "json":
        print_json({"pipeline": pipeline.name, "promises": promises, "warnings": doubts})
        return
    count = len(pipeline.graph.stages)
    print(f"{pipeline.name}: {count} stages, nothing wrong")
    for source, promise in promises.items():
        print(f"  {source}: {promise}")
    for doubt in doubts:
        warn(doubt)


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
