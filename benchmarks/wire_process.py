"""Child processes of a benchmark: started, limited in time, measured, ended. Linux only, it reads /proc."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

TICKS = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A run that did not do what it should; the text says what."""


class Child:
    """A process in a session of its own, and all processes that it starts.

    Args:
        argv: program and arguments.
        log: where its output goes.
        env: what differs from our environment; None takes a variable away.
        every: seconds between two looks at its memory.
        patience: seconds that it may take to end when it is asked to, before it is killed.

    Attributes:
        anon: peak of the anonymous memory in bytes: RssAnon of the process; where it has started others, Pss_Anon of
            all of them together, so that what they share counts once.
        peak: peak of the resident memory (VmHWM) of the largest of them, with what it maps, in bytes.
    """

    def __init__(
        self,
        argv: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str | None] | None = None,
        every: float = 0.02,
        patience: float = 3,
    ) -> None:
        changed = {**os.environ, **(env or {})}
        self.name = Path(argv[0]).name
        self.log = log
        self.anon = self.peak = 0
        self._every = every
        self._patience = patience
        self._over = threading.Event()
        with log.open("wb") as output:
            self.started = time.perf_counter()
            self._process = subprocess.Popen(
                [str(argument) for argument in argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={name: value for name, value in changed.items() if value is not None},
                start_new_session=True,
            )
        self.pid = self._process.pid
        self._pidfd = os.pidfd_open(self.pid)
        self._meter = threading.Thread(target=self._measure, daemon=True)
        self._meter.start()

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def wait(self, limit: float) -> tuple[float, float]:
        """Seconds from start to end, and seconds of processor time.

        Raises:
            Failed: it did not end in time (and was killed), or with another exit code than 0.
        """
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        ended = poll.poll(limit * 1000)
        seconds = time.perf_counter() - self.started
        if not ended:
            self.stop()
            raise Failed(f"{self.name}: more than {limit:.0f} s")
        usage = self._reap()
        if self._process.returncode:
            raise Failed(f"{self.name}: exit code {self._process.returncode}{self.said()}")
        return seconds, usage

    def _reap(self) -> float:
        self._stop_meter()
        _, status, usage = os.wait4(self.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        os.close(self._pidfd)
        return usage.ru_utime + usage.ru_stime

    def said(self) -> str:
        """The last thing it wrote, for an error."""
        lines = self.log.read_text(errors="replace").split("\n")
        return next((f": {line.strip()[:200]}" for line in reversed(lines) if line.strip()), "")

    def alive(self) -> bool:
        """Whether it runs."""
        poll = select.poll()
        if self._process.returncode is not None:
            return False
        poll.register(self._pidfd, select.POLLIN)
        return not poll.poll(0)

    def cpu(self) -> float:
        """Seconds of processor time so far, of the process and those that it started."""
        return sum(sum(_times(pid)) for pid in _family(self.pid)) / TICKS

    def stop(self) -> None:
        """Ask it to end, then kill what is left of its session."""
        if self._process.returncode is not None:
            return
        self._signal(signal.SIGTERM)
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        if not poll.poll(self._patience * 1000):
            self._signal(signal.SIGKILL)
        self._signal(signal.SIGKILL)  # what it forked; it is not reaped yet, so the number is still its own
        self._reap()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def _measure(self) -> None:
        while not self._over.wait(self._every):
            self._look()

    def _look(self) -> None:
        family = _family(self.pid)
        seen = [memory(pid) for pid in family]
        self.peak = max(self.peak, *(peak for _, peak in seen))
        self.anon = max(self.anon, seen[0][0] if len(family) == 1 else sum(map(_share, family)))

    def _stop_meter(self) -> None:
        self._over.set()
        self._meter.join()
        self._look()


class Watch:
    """Looks at something again and again, in a thread, while its block runs; `look` says what, `every` how often (seconds)."""

    every: float

    def __enter__(self) -> Self:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def look(self) -> None:
        """Look once."""
        raise NotImplementedError

    def _look(self) -> None:
        while not self._over.wait(self.every):
            self.look()


def until(condition: Callable[[], bool], child: Child, limit: float) -> None:
    """Wait for something that a child brings about. Raises Failed when it ends before, or takes too long."""
    end = time.monotonic() + limit
    while not condition():
        if not child.alive():
            raise Failed(f"{child.name} ended{child.said()}")
        if time.monotonic() > end:
            raise Failed(f"{child.name}: not ready after {limit:.0f} s{child.said()}")
        time.sleep(0.02)


def _family(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    for member in found:
        try:
            children = Path(f"/proc/{member}/task/{member}/children").read_text()
        except OSError:
            continue
        found += map(int, children.split())
    return found


def _times(pid: int) -> list[int]:
    """Own user and system time and that of the children it waited for, in ticks."""
    try:
        return [
            int(field) for field in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]
        ]
    except OSError:
        return []


def memory(pid: int) -> tuple[int, int]:
    """RssAnon and VmHWM of a process in bytes; zeros when there is none."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0, 0
    values = dict(line.split(":", 1) for line in status.splitlines())
    return tuple(int(values.get(key, "0 kB").split()[0]) * 1024 for key in ("RssAnon", "VmHWM"))  # type: ignore[return-value]


def _share(pid: int) -> int:
    """Pss_Anon of a process in bytes."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss_Anon:")), 0)
