"""Runs a pipeline for a command: signals, log, progress, summary, report, exit code.

`run` and the one-line pipelines (`sort`, `send`, `forward`) are this with another pipeline.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, Any

import anyio

from dcmflow.cli import common
from dcmflow.cli.common import DONE, Usage
from dcmflow.cli.ending import Ending
from dcmflow.cli.logs import start_logging
from dcmflow.errors import ConfigError
from dcmflow.flow.events import Observer
from dcmflow.observe.progress import Progress
from dcmflow.observe.report import Refusals, ReportFile

if TYPE_CHECKING:
    from dcmflow.flow.pipeline import Pipeline
    from dcmflow.flow.running import Running

BACKENDS = ("asyncio", "trio", "uvloop")


class Execution:
    """One pipeline that runs for a command.

    Args:
        grace: seconds that a drain may take; what is unsettled after that is refused.
        report: where the report goes; None: nowhere.
        format: "text" for the summary, "json" for the report on stdout.
        total: how many instances will come, where that is known.
        observe: further observers of its events.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        grace: float = 30,
        report: ReportFile | None = None,
        format: str = "text",
        total: int | None = None,
        observe: Iterable[Observer] = (),
    ) -> None:
        self._pipeline = pipeline
        self._grace = grace
        self._options = common.options()
        live = live_table(self._options)
        self._ending = Ending(pipeline.name, report=report, format=format, live=live)
        self._progress = Progress(enabled=live, total=total)
        self._listed = self._options.log_format == "text"
        self.refusals: Refusals = Refusals(spool=self._ending.wants_all_refusals)
        self._observers: list[Observer] = [
            self.refusals,
            *start_logging(self._options, self._progress.write, live=live),
            *observe,
        ]
        self._running: Running | None = None
        self._error: Exception | None = None
        self._signals: list[signal.Signals] = []

    async def run(self) -> None:
        """Run it. Never raises what ended the pipeline: `finish` does."""
        async with anyio.create_task_group() as outer:
            await outer.start(self._watch_signals, outer)
            try:
                async with self._pipeline.start(observe=self._observers) as running:
                    self._running = running
                    spare_collector()
                    async with anyio.create_task_group() as watchers:
                        watchers.start_soon(self._progress.follow, running.statistics)
                        await running.wait()
                        watchers.cancel_scope.cancel()
            except Exception as error:
                self._error = error
            outer.cancel_scope.cancel()

    async def _watch_signals(
        self, outer: Any, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            task_status.started()
            await self._obey(signals, outer)

    async def _obey(self, signals: AsyncIterator[signal.Signals], outer: Any) -> None:
        async for number in signals:
            self._signals.append(number)
            if self._running is None:
                outer.cancel_scope.cancel()
            elif len(self._signals) == 1:
                unsettled = self._running.statistics().pipeline.unsettled
                if self._listed and not self._options.quiet:
                    self._progress.write(f"dcmflow: draining, {unsettled} unsettled; once more to cancel")
                outer.start_soon(self._running.drain, self._grace)
            else:
                self._running.cancel()

    def finish(self) -> int:
        """Write the report and the summary, and return the exit code. Raises what ended the pipeline."""
        try:
            statistics = self._running.statistics() if self._running is not None else None
            return self._ending.tell(statistics, self.refusals, signals=self._signals, error=self._error)
        finally:
            self.refusals.close()


def spare_collector() -> None:
    """What is loaded by now stays: to look through it again and again for cycles would take a tenth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def end_quietly() -> None:
    """Until a pipeline runs, SIGTERM ends the command: nothing has moved yet."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(DONE))


def execute(
    pipeline: Pipeline,
    *,
    backend: str = "asyncio",
    grace: float = 30,
    report: str | os.PathLike[str] | None = None,
    format: str = "text",
    total: int | None = None,
    observe: Iterable[Observer] = (),
) -> int:
    """Run a pipeline until its sources end or a signal comes; returns the exit code. Arguments as of `Execution`.

    Raises:
        ConfigError, GraphError, StageError: what ended it, or kept it from starting.
    """
    options = backend_options(backend)
    pipeline.check()
    report_file = ReportFile(report) if report is not None else None
    execution = Execution(
        pipeline, grace=grace, report=report_file, format=format, total=total, observe=observe
    )
    anyio.run(execution.run, backend="asyncio" if backend == "uvloop" else backend, backend_options=options)
    return execution.finish()


def backend_options(backend: str) -> dict[str, Any]:
    """Options of anyio for an event loop. Raises Usage for an unknown one, ConfigError when it is not installed."""
    if backend not in BACKENDS:
        raise Usage(f"--backend is {', '.join(BACKENDS[:-1])} or {BACKENDS[-1]}, not {backend!r}")
    if backend == "asyncio":
        return {}
    from importlib.util import find_spec

    if find_spec(backend) is None:
        raise ConfigError(
            f"--backend {backend}: {backend} is not installed; try: pip install 'dcmflow[{backend}]'"
        )
    return {"use_uvloop": True} if backend == "uvloop" else {}


def live_table(options: common.Common) -> bool:
    """Whether a table of stages is shown while the pipeline runs."""
    return (
        not options.no_progress
        and not options.quiet
        and options.log_format == "text"
        and sys.stderr.isatty()
        and os.environ.get("TERM") != "dumb"
    )
