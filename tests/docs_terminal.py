"""What goes on beside a page: a program in a terminal of its own, and the ports that it listens on."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

_TURN = 0.02  # seconds between two looks
_LISTENING = "0A"  # a state of /proc/net/tcp
_PORTS = range(20000, 32000)  # below those that connections are made from


class Terminal:
    """A command that goes on while the page does.

    Args:
        command: for bash.
        transcript: the file that its output goes to.
        environment: of the command.
        patience: seconds for everything that is awaited.
    """

    def __init__(
        self, command: str, transcript: Path, environment: Mapping[str, str], patience: float
    ) -> None:
        self._transcript = transcript
        self._patience = patience
        self._shown = 0
        with transcript.open("wb") as out:
            self._process = subprocess.Popen(
                ["bash", "-c", command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )

    def show(self, fits: Callable[[str], bool]) -> str | None:
        """Wait until what it has printed since the last time fits; returns what it printed instead, None if it did."""
        return self._wait(lambda: fits(self._printed()), ends=True)

    def listens(self, ports: Iterable[int]) -> str | None:
        """Wait until somebody listens on these ports; returns what was printed if nobody comes to."""
        wanted = set(ports)
        return self._wait(lambda: wanted <= listening(), ends=True, consume=False)

    def interrupt(self, fits: Callable[[str], bool]) -> str | None:
        """Press Ctrl-C, wait until it has ended, and see what it printed."""
        os.killpg(self._process.pid, signal.SIGINT)
        self._wait(lambda: self._process.poll() is not None, ends=False, consume=False)
        if self._process.returncode not in (0, 130, -signal.SIGINT):
            return f"it ended with status {self._process.poll()}; it printed\n{self._printed()}"
        return self._wait(lambda: fits(self._printed()), ends=True)

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def close(self) -> None:
        """Kill it, and what it has started."""
        with suppress(ProcessLookupError):  # all of it has ended
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _wait(self, condition: Callable[[], bool], *, ends: bool, consume: bool = True) -> str | None:
        until = time.monotonic() + self._patience
        while True:
            over = (ends and self.ended) or time.monotonic() > until
            if condition():
                if consume:
                    self._shown = len(self._output())
                return None
            if over:
                return self._printed()
            time.sleep(_TURN)

    def _output(self) -> str:
        return self._transcript.read_text(encoding="utf-8", errors="replace")

    def _printed(self) -> str:
        return self._output()[self._shown :]


def listening() -> set[int]:
    """The TCP ports of this machine that somebody listens on."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if Path(table).exists():
            rows = (line.split() for line in Path(table).read_text().splitlines()[1:])
            found |= {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == _LISTENING}
    return found


def free_ports(count: int) -> list[int]:
    """So many ports that nobody listens on."""
    taken: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        if len(taken) == count:
            break
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
        taken.append(port)
    return taken
