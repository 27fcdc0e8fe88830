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
import msgspec

from dcmflow.cli import common
from dcmflow.cli.common import DONE, INTERRUPTED, SOME_FAILED, Usage, notice, say, warn
from dcmflow.cli.failure import printable
from dcmflow.cli.logs import start_logging
from dcmflow.errors import ConfigError
from dcmflow.flow.events import InstanceDiverted, Observer
from dcmflow.observe.progress import Progress
from dcmflow.observe.report import Refusals, ReportFile, write_report
from dcmflow.observe.table import summary

if TYPE_CHECKING:
    from dcmflow.flow.pipeline import Pipeline
    from dcmflow.flow.running import Running
    from dcmflow.flow.statistics import Statistics

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
        self._report = report
        self._format = format
        self._options = common.options()
        self._live = live = _live_table(self._options)
        self._progress = Progress(enabled=live, total=total)
        self._listed = self._options.log_format == "text"
        self.refusals: Refusals = Refusals(spool=report is not None or format == "json")
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
                    _spare_collector()
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
            return self._finish()
        finally:
            self.refusals.close()

    def _finish(self) -> int:
        code = self._code()
        if self._running is not None:
            statistics = self._running.statistics()
            plain = msgspec.to_builtins(statistics)
            if self._report is not None:
                try:
                    self._report.write(plain["pipeline"], plain["stages"], self.refusals)
                except OSError as error:
                    notice("error", f"the report cannot be written: {error.strerror or error}")
                    code = code or SOME_FAILED
            if self.refusals.lost:
                warn(f"{self.refusals.lost} refusals are not in the report: the temporary folder is full")
            try:
                self._show(statistics, plain)
                sys.stdout.flush()
            except BrokenPipeError:
                common.discard(sys.stdout)
            self._list_refusals(statistics)
        if self._error is not None:
            if code == INTERRUPTED:
                notice("error", printable(str(self._error)))
            else:
                raise self._error
        return code

    def _show(self, statistics: Statistics, plain: dict[str, Any]) -> None:
        if self._format == "json":
            write_report(sys.stdout, plain["pipeline"], plain["stages"], self.refusals)
        elif not self._options.quiet:
            print(printable(summary(self._pipeline.name, statistics)))

    def _list_refusals(self, statistics: Statistics) -> None:
        if not self._listed:
            return
        pipeline = statistics.pipeline
        if pipeline.refused:
            say(f"dcmflow: {pipeline.refused} of {pipeline.emitted} instances were refused")
        if self.refusals.kept:
            say(f"dcmflow: {self.refusals.kept} were not stored: another version of them was there and stays")
        if not self._live and not self._options.quiet:
            return  # each was a line of the log
        for event in self.refusals.first:
            uid = event.sop_instance_uid or "an object"
            path = f" ({event.path})" if event.path else ""
            if isinstance(event, InstanceDiverted):
                what = f"to {event.to}"
            else:
                what = "refused" if event.required else "refused, best effort"
            text = f"{what}: {uid}{path} at {event.stage}: {event.status}: {event.reason}"
            say(printable(text, lines=False))
        more = self.refusals.count - len(self.refusals.first)
        if more:
            say(f"and {more} more, see {'the report' if self._report else '--report'}")

    def _code(self) -> int:
        if signal.SIGINT in self._signals:
            return INTERRUPTED
        if self._error is not None:
            return SOME_FAILED
        if self._running is None:
            return DONE
        pipeline = self._running.statistics().pipeline
        return SOME_FAILED if pipeline.refused or pipeline.unsettled else DONE


def _spare_collector() -> None:
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


def _live_table(options: common.Common) -> bool:
    return (
        not options.no_progress
        and not options.quiet
        and options.log_format == "text"
        and sys.stderr.isatty()
        and os.environ.get("TERM") != "dumb"
    )
