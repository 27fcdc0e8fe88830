"""How a run ends, for people and programs: the report, the summary, the refusals, the exit code."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from dcmflow.cli import common
from dcmflow.cli.common import DONE, INTERRUPTED, SOME_FAILED, notice, say, warn
from dcmflow.cli.failure import printable
from dcmflow.flow.events import InstanceDiverted
from dcmflow.observe.report import Refusals, ReportFile, write_report
from dcmflow.observe.table import summary

if TYPE_CHECKING:
    from dcmflow.flow.statistics import Statistics


class Ending:
    """Of one run of a pipeline.

    Args:
        name: of the pipeline.
        report: where the report goes; None: nowhere.
        format: "text" for the summary, "json" for the report on stdout.
        live: refusals were no lines of a log.
    """

    def __init__(self, name: str, *, report: ReportFile | None, format: str, live: bool) -> None:
        self._name = name
        self._report = report
        self._format = format
        self._live = live
        self._options = common.options()

    @property
    def wants_all_refusals(self) -> bool:
        """Not only the first ones are asked for."""
        return self._report is not None or self._format == "json"

    def tell(
        self,
        statistics: Statistics | None,
        refusals: Refusals,
        *,
        signals: Sequence[signal.Signals],
        error: Exception | None,
    ) -> int:
        """Write the report and the summary, and return the exit code. Raises what ended the run.

        Args:
            statistics: the final ones; None: nothing had begun.
            signals: that came.
            error: that ended it.
        """
        code = _code(statistics, signals, error)
        if statistics is not None:
            plain = msgspec.to_builtins(statistics)
            if self._report is not None:
                try:
                    self._report.write(plain["pipeline"], plain["stages"], refusals)
                except OSError as failure:
                    notice("error", f"the report cannot be written: {failure.strerror or failure}")
                    code = code or SOME_FAILED
            if refusals.lost:
                warn(f"{refusals.lost} refusals are not in the report: the temporary folder is full")
            try:
                self._show(statistics, plain, refusals)
                sys.stdout.flush()
            except BrokenPipeError:
                common.discard(sys.stdout)
            if self._options.log_format == "text":
                self._list(statistics, refusals)
        if error is not None:
            if code != INTERRUPTED:
                raise error
            notice("error", printable(str(error)))
        return code

    def _show(self, statistics: Statistics, plain: dict[str, Any], refusals: Refusals) -> None:
        if self._format == "json":
            write_report(sys.stdout, plain["pipeline"], plain["stages"], refusals)
        elif not self._options.quiet:
            print(printable(summary(self._name, statistics)))

    def _list(self, statistics: Statistics, refusals: Refusals) -> None:
        pipeline = statistics.pipeline
        if pipeline.refused:
            say(f"dcmflow: {pipeline.refused} of {pipeline.emitted} instances were refused")
        if refusals.kept:
            say(f"dcmflow: {refusals.kept} were not stored: another version of them was there and stays")
        if not self._live and not self._options.quiet:
            return  # each was a line of the log
        for event in refusals.first:
            uid = event.sop_instance_uid or "an object"
            path = f" ({event.path})" if event.path else ""
            if isinstance(event, InstanceDiverted):
                what = f"to {event.to}"
            else:
                what = "refused" if event.required else "refused, best effort"
            text = f"{what}: {uid}{path} at {event.stage}: {event.status}: {event.reason}"
            say(printable(text, lines=False))
        more = refusals.count - len(refusals.first)
        if more:
            say(f"and {more} more, see {'the report' if self._report else '--report'}")


def _code(statistics: Statistics | None, signals: Sequence[signal.Signals], error: Exception | None) -> int:
    if signal.SIGINT in signals:
        return INTERRUPTED
    if error is not None:
        return SOME_FAILED
    if statistics is None:
        return DONE
    pipeline = statistics.pipeline
    return SOME_FAILED if pipeline.refused or pipeline.unsettled else DONE
