"""Progress of a run on a terminal: a table that is painted over, after one second, four times a second at most.

Nothing here is told anything: it looks at `running.statistics()` now and then.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from dcmflow.observe.figures import Figures
from dcmflow.observe.table import format_rate, stage_lines
from dcmflow.units import format_duration, format_size

if TYPE_CHECKING:
    from rich.live import Live

FIRST_AFTER = 1.0
EVERY = 0.25
_WINDOW = 10.0


class Pace:
    """How fast something goes: over the last ten seconds, so that a pause shows."""

    def __init__(self, window: float = _WINDOW) -> None:
        self._window = window
        self._seen: deque[tuple[float, int, int]] = deque()

    def note(self, seconds: float, count: int, size: int) -> None:
        """At this time, so much is done."""
        self._seen.append((seconds, count, size))
        while len(self._seen) > 2 and self._seen[1][0] <= seconds - self._window:
            self._seen.popleft()

    @property
    def rate(self) -> float:
        """Things a second; 0 while unknown."""
        return self._per_second(1)

    @property
    def bytes_rate(self) -> float:
        """Bytes a second; 0 while unknown."""
        return self._per_second(2)

    def remaining(self, total: int | None) -> float | None:
        """Seconds until `total` are done; None while that cannot be known."""
        if total is None or not self._seen or self.rate <= 0:
            return None
        return max(0.0, (total - self._seen[-1][1]) / self.rate)

    def _per_second(self, which: int) -> float:
        if len(self._seen) < 2:
            return 0.0
        first, last = self._seen[0], self._seen[-1]
        seconds = last[0] - first[0]
        return (last[which] - first[which]) / seconds if seconds > 0 else 0.0


def progress_line(figures: Figures, pace: Pace, total: int | None) -> str:
    """`120 of 500 settled, 312 instances/s, 1.2 MiB/s, 5.0 s, 2 s remaining`."""
    pipeline = figures.pipeline
    settled = pipeline.emitted - pipeline.unsettled
    done = f"{settled} of {total} settled" if total is not None else f"{settled} settled"
    parts = [done, f"{pipeline.refused} refused"] if pipeline.refused else [done]
    parts += [f"{format_rate(pace.rate)} instances/s", f"{format_size(int(pace.bytes_rate))}/s"]
    parts.append(format_duration(pipeline.seconds))
    remaining = pace.remaining(total)
    if remaining is not None:
        parts.append(f"{format_duration(remaining)} remaining")
    return ", ".join(parts)


class Progress:
    """A live table on stderr. `follow` paints it; `write` puts a line above it."""

    def __init__(self, *, enabled: bool, total: int | None = None) -> None:
        self._enabled = enabled
        self._total = total
        self._live: Live | None = None

    def write(self, line: str) -> None:
        """A line on stderr, above the table where there is one."""
        if self._live is not None:
            self._live.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            print(line, file=sys.stderr, flush=True)  # noqa: T201

    async def follow(self, statistics: Callable[[], Figures]) -> None:
        """Show the table until cancelled; returns at once where none is wanted."""
        if not self._enabled:
            return
        import anyio

        await anyio.sleep(FIRST_AFTER)
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        pace = Pace()
        console = Console(stderr=True)
        with Live(console=console, auto_refresh=False, transient=True) as live:
            self._live = live
            try:
                while True:
                    figures = statistics()
                    pipeline = figures.pipeline
                    settled = pipeline.emitted - pipeline.unsettled
                    pace.note(pipeline.seconds, settled, pipeline.bytes)
                    lines = [*stage_lines(figures, waiting=True), progress_line(figures, pace, self._total)]
                    live.update(Text("\n".join(lines), no_wrap=True, overflow="ellipsis"), refresh=True)
                    await anyio.sleep(EVERY)
            finally:
                self._live = None
