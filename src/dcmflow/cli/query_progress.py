"""How many answers there are so far, on a terminal: one line on stderr that is painted over, from the first second on."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from dcmflow.cli.common import options
from dcmflow.observe.progress import EVERY, FIRST_AFTER, Pace
from dcmflow.observe.table import format_rate


def wanted() -> bool:
    """Whether somebody sees it and wants it."""
    common = options()
    return not (
        common.quiet
        or common.no_progress
        or common.log_format == "json"
        or not sys.stderr.isatty()
        or os.environ.get("TERM") == "dumb"
    )


async def follow(answers: Callable[[], int], done: Callable[[], str]) -> None:
    """Show it until cancelled.

    Args:
        answers: how many there are so far.
        done: how much of what is to be asked is answered, in words; empty where there is one query.
    """
    import anyio

    await anyio.sleep(FIRST_AFTER)
    pace = Pace()
    try:
        while True:
            count = answers()
            pace.note(anyio.current_time(), count, 0)
            parts = [done(), f"{count} answers", f"{format_rate(pace.rate)} answers/s"]
            sys.stderr.write(f"\r\x1b[K{', '.join(part for part in parts if part)}")
            sys.stderr.flush()
            await anyio.sleep(EVERY)
    finally:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()
