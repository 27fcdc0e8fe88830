"""What all real peers have in common: starting one, waiting for its port, ending it, saying that it took part."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import pytest

HOST = "127.0.0.1"
START = 15.0
"""Seconds that a server has to open its port."""
RUN = 60.0
"""Seconds that a client may take."""
_LEASH = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
"""A peer does not outlive the test run, however that ends."""
_RESERVED: set[int] = set()
_LISTENS = "0A"  # TCP_LISTEN in /proc/net/tcp


@dataclass(frozen=True)
class Address:
    """Where a DICOM application entity listens; as text `AE@host:port`."""

    port: int
    ae_title: str = "ANY-SCP"
    host: str = HOST

    def __str__(self) -> str:
        return f"{self.ae_title}@{self.host}:{self.port}"


@dataclass(frozen=True)
class Pem:
    """Files for TLS: our certificate, its private key, and who is trusted."""

    cert: Path
    key: Path
    ca: Path


@dataclass(frozen=True)
class Server:
    """A peer that runs and listens.

    Attributes:
        address: where.
        folder: where it puts what it receives.
        process: the peer itself.
        output: the file that it logs into.
    """

    address: Address
    folder: Path
    process: subprocess.Popen[bytes] = field(repr=False)
    output: Path = field(repr=False)

    @property
    def log(self) -> str:
        return self.output.read_text(encoding="utf-8", errors="replace")

    def stored(self) -> dict[str, Path]:
        """The Part 10 files it has written, by SOP Instance UID of their file meta information."""
        from wire_data import uid_of

        return {uid_of(path): path for path in self.folder.rglob("[!.]*") if path.is_file()}


def used(peer: str) -> None:
    """Notes in the file that DCMFLOW_PEERS_USED names that the present test talks to a peer."""
    record = os.environ.get("DCMFLOW_PEERS_USED")
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" (")[0]
    if record and test:
        with open(record, "a", encoding="utf-8") as file:
            file.write(f"{peer}\t{test}\n")


def absent(reason: str) -> NoReturn:
    """The test skips; it fails where DCMFLOW_REQUIRE_PEERS is set."""
    if os.environ.get("DCMFLOW_REQUIRE_PEERS"):
        pytest.fail(reason)
    pytest.skip(reason)


def free_port() -> int:
    """A loopback port that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def reserved_port() -> int:
    """A loopback port for later: below those that the system gives away by itself, and given once in this process."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        if port not in _RESERVED:
            _RESERVED.add(port)
            return port


def environment(*, nodelay: bool = True, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """For a peer: our own, and TCP_NODELAY, with which DCMTK, Orthanc and the scripts here switch Nagle's algorithm off."""
    names = {key: value for key, value in os.environ.items() if key != "TCP_NODELAY"}
    return names | ({"TCP_NODELAY": "1"} if nodelay else {}) | dict(more or {})


@contextmanager
def running(
    command: Sequence[str | os.PathLike[str]],
    address: Address,
    folder: Path,
    output: Path,
    *,
    nodelay: bool = True,
    more: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    ports: Sequence[int] = (),
) -> Iterator[Server]:
    """A server from when its ports are open until the block ends; what it logged goes to stdout then, which pytest shows when
    the test failed.

    Args:
        command: the program and its arguments.
        address: where it will listen.
        folder: where it stores.
        output: its stdout and stderr go into this file.
        nodelay: without Nagle's algorithm.
        more: further variables of its environment.
        cwd: its working directory.
        ports: further ports that it opens.
    """
    with output.open("wb") as log:
        process = subprocess.Popen(
            [*_LEASH, *map(os.fspath, command)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment(nodelay=nodelay, more=more),
            cwd=cwd,
            start_new_session=True,  # a Ctrl-C at the test run is ours, not the peer's
        )
    server = Server(address, folder, process, output)
    try:
        _wait(server, {address.port, *ports})
        yield server
    finally:
        end(process)
        print(f"--- {Path(command[0]).name} at {address}\n{server.log[-6000:]}")


def end(process: subprocess.Popen[bytes]) -> None:
    """Asks a process to end, and insists after a while; with it go the children it forked."""
    for number, patience in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
        try:
            os.killpg(process.pid, number)
            process.wait(patience)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue
    process.wait(5.0)


def _wait(server: Server, ports: set[int]) -> None:
    deadline = time.monotonic() + START
    while not ports <= listening():
        if server.process.poll() is not None:
            raise RuntimeError(f"{server.process.args} ended with {server.process.returncode}:\n{server.log}")
        if time.monotonic() > deadline:
            raise RuntimeError(
                f"{server.process.args} opened no port {ports} within {START} s:\n{server.log}"
            )
        time.sleep(0.03)


def listening() -> set[int]:
    """The TCP ports that somebody listens at. Looked up, not tried: a peer would take a trial for an association."""
    found = set()
    for table in ("tcp", "tcp6"):
        path = Path("/proc/net", table)
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            _, local, _, state, *_ = line.split()
            if state == _LISTENS:
                found.add(int(local.rpartition(":")[2], 16))
    return found


def client(
    command: Sequence[str | os.PathLike[str]],
    *,
    nodelay: bool = True,
    more: Mapping[str, str] | None = None,
    timeout: float = RUN,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Runs a client to its end; says what it said. The exit code is for the test to look at."""
    done = subprocess.run(
        [os.fspath(word) for word in command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=timeout,
        env=environment(nodelay=nodelay, more=more),
        cwd=cwd,
    )
    print(
        f"--- {Path(command[0]).name} ended with {done.returncode}\n"
        f"{done.stdout[-3000:]}{done.stderr[-3000:]}"
    )
    return done
