"""`dcmflow run`: a pipeline file, until its sources end or a signal comes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from dcmflow.cli.common import chosen, options

if TYPE_CHECKING:
    from dcmflow.flow.pipeline import Pipeline


def run(
    file: Annotated[Path, Parameter(help="The pipeline file.")],
    /,
    *,
    report: Annotated[
        Path | None, Parameter(metavar="FILE", help="Write what became of everything to this file, as JSON.")
    ] = None,
    backend: Annotated[
        Literal["asyncio", "trio", "uvloop"], Parameter(metavar="NAME", help="The event loop it runs on.")
    ] = "asyncio",
    grace: Annotated[
        str,
        Parameter(metavar="TIME", help="How long what is under way may take to settle after a first signal."),
    ] = "30 s",
    processes: Annotated[
        int,
        Parameter(
            metavar="N",
            help="Share the calls that come to scp sources among so many processes, each on a core of its own.",
        ),
    ] = 1,
    format: Annotated[
        str | None, Parameter(metavar="FORMAT", help="text: a summary; json: the report, on stdout.")
    ] = None,
) -> int:
    """Run a pipeline file.

    The first SIGINT or SIGTERM drains: sources take on nothing more, and what is under way settles. The second cancels.
    """
    from dcmflow.cli.execute import end_quietly, execute
    from dcmflow.cli.load import divided, load_pipeline, seconds

    wanted = chosen(format, ("text", "json"), terminal="text", pipe="text")
    patience = seconds(grace, "--grace")
    end_quietly()
    pipeline = load_pipeline(file)
    divided(pipeline, processes, file)
    if processes > 1:
        return _several(file, pipeline, processes, backend, patience, report, wanted)
    return execute(
        pipeline, backend=backend, grace=patience, report=report, format=wanted, total=expected(pipeline)
    )


def _several(
    file: Path,
    pipeline: Pipeline,
    processes: int,
    backend: str,
    grace: float,
    report: Path | None,
    format: str,
) -> int:
    from dcmflow.cli.ending import Ending
    from dcmflow.cli.execute import backend_options, live_table
    from dcmflow.cli.processes import Processes
    from dcmflow.observe.report import ReportFile

    backend_options(backend)
    live = live_table(options())
    ending = Ending(
        pipeline.name,
        report=ReportFile(report) if report is not None else None,
        format=format,
        live=live,
    )
    return Processes(file, pipeline, processes, ending, backend=backend, grace=grace, live=live).run()


def expected(pipeline: Pipeline) -> int | None:
    """How many instances the sources will emit; None where that shows only as they come."""
    from dcmflow.sources.synthetic import Synthetic

    total = 0
    for stage in pipeline.graph.stages.values():
        if isinstance(stage, Synthetic):
            total += stage.patients * stage.studies * stage.series * stage.instances
        elif stage.kind == "source":
            return None
    return total
