"""dcmflow with a network at one of its ends: commands that listen, and peers that follow a script beside a command."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from acceptance_kit import Command, Done
from dcmflow.testing import ScriptedScp, ScriptedScu, Seen
from peers.base import HOST, Address, Pem, listening
from wire_data import uid_of

T = TypeVar("T")

BOTH_LOOPS = pytest.mark.parametrize("backend", ["asyncio", "trio"])
PATIENCE = 15.0
_numbers = count()


def wait_for(condition: Callable[[], T], what: str = "it did not come to that") -> T:
    """Looks again and again until the condition holds; returns what it gave."""
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < end, what
        time.sleep(0.01)
    return found


@dataclass
class Service:
    """A command that runs beside the test."""

    process: subprocess.Popen[bytes]
    out: Path
    err: Path
    done: Done | None = field(default=None)

    @property
    def said(self) -> str:
        """What it has written to stderr so far."""
        return self.err.read_text(encoding="utf-8")

    def interrupt(self, number: signal.Signals = signal.SIGINT) -> None:
        """Sends it a signal."""
        self.process.send_signal(number)

    def ended(self) -> Done:
        """Waits for its end."""
        code = self.process.wait(PATIENCE)
        return Done(code, self.out.read_text(encoding="utf-8"), self.said)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> Done:
        """Sends it a signal and waits for its end."""
        self.interrupt(number)
        return self.ended()


@contextmanager
def serving(run: Command, *arguments: object, ports: Iterable[int] = (), **how: Any) -> Iterator[Service]:
    """`dcmflow ARGUMENTS` from when its ports, if it has any, are open; killed when the block ends, if it has not ended by then."""
    number = next(_numbers)
    out, err = run.home / f"{number}.out", run.home / f"{number}.err"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = run.start(*arguments, stdout=stdout, stderr=stderr, **how)
    service = Service(process, out, err)
    wanted = set(ports)
    try:
        if wanted:  # asked once: the kernel's table of ports is slow to read
            wait_for(lambda: "pipeline-started" in service.said or process.poll() is not None, "no start")
            assert process.poll() is None, service.said
            assert wanted <= listening(), service.said
        yield service
    finally:
        process.kill()
        process.wait(PATIENCE)
        print(f"--- dcmflow {arguments[0]} ended with {process.returncode}\n{service.said[-4000:]}")


@dataclass
class Scripted:
    """A server that follows a script, in a thread with a loop of its own."""

    peer: ScriptedScp
    portal: BlockingPortal

    @property
    def node(self) -> str:
        return self.peer.node

    @property
    def address(self) -> Address:
        ae_title, _, place = self.node.partition("@")
        host, _, port = place.rpartition(":")
        return Address(int(port), ae_title, host)

    @property
    def whats(self) -> list[str]:
        return list(self.peer.received.whats)

    def of(self, *whats: str) -> list[Seen]:
        return self.peer.received.of(*whats)

    def stores(self) -> list[str]:
        """The SOP Instance UIDs that C-STORE requests named, in order, those that came again too."""
        return [str(seen.command.affected_sop_instance) for seen in self.of("C-STORE-RQ") if seen.command]

    def wait(self, *whats: str, count: int = 1) -> None:
        self.portal.start_task_soon(partial(self.peer.received.wait, *whats, count=count)).result(PATIENCE)


@contextmanager
def loop() -> Iterator[BlockingPortal]:
    """An event loop in a thread, where what is scripted lives while a test waits for a command."""
    with start_blocking_portal() as portal:
        yield portal


@contextmanager
def scripted(portal: BlockingPortal | None = None, **scripts: Any) -> Iterator[Scripted]:
    """A `ScriptedScp` beside the test; at the end the test fails if it was sent what the standard forbids."""
    if portal is None:
        with loop() as own, scripted(own, **scripts) as server:
            yield server
        return
    with portal.wrap_async_context_manager(ScriptedScp(**scripts)) as peer:
        yield Scripted(peer, portal)


@dataclass
class Caller:
    """A `ScriptedScu` beside the test."""

    client: ScriptedScu
    portal: BlockingPortal

    def __call__(self, name: str, *arguments: Any, **named: Any) -> Any:
        """Does one thing, as `caller("associate", instances=[x])`, and gives what comes back."""
        return self.begin(name, *arguments, **named).result(PATIENCE)

    def begin(self, name: str, *arguments: Any, **named: Any) -> Future[Any]:
        """Begins one thing, and does not wait for it."""
        method: Callable[..., Any] = getattr(self.client, name)
        return self.portal.start_task_soon(partial(method, *arguments, **named))


@contextmanager
def calling(portal: BlockingPortal, to: Address, calling_ae: str = "SCRIPTED") -> Iterator[Caller]:
    """A connection to an address, on which nothing happens by itself."""
    with portal.wrap_async_context_manager(ScriptedScu(str(to), calling_ae=calling_ae)) as client:
        yield Caller(client, portal)


@dataclass(frozen=True)
class Gate:
    """A function for the filter `call` that lets nothing through until it is opened."""

    folder: Path

    @property
    def function(self) -> str:
        """The name to write into a pipeline file of the same folder."""
        return f"{self.folder.name}_gate:wait"

    @property
    def reached(self) -> bool:
        return (self.folder / "gate-reached").exists()

    def open(self) -> None:
        (self.folder / "gate-open").touch()


def gate(folder: Path) -> Gate:
    """Writes the function beside a pipeline file that is to be in `folder`."""
    made = Gate(folder)
    (folder / f"{folder.name}_gate.py").write_text(
        "from pathlib import Path\n"
        "import anyio\n"
        f"FOLDER = Path({str(folder)!r})\n"
        "async def wait(instance):\n"
        "    (FOLDER / 'gate-reached').touch()\n"
        "    while not (FOLDER / 'gate-open').exists():\n"
        "        await anyio.sleep(0.01)\n"
        "    return instance\n"
    )
    return made


def archived(folder: Path) -> dict[str, Path]:
    """What lies in the storage area of a dcmqrscp, beside its index: SOP Instance UID → path."""
    return {uid_of(path): path for path in folder.iterdir() if path.is_file() and path.name != "index.dat"}


def tls_options(pem: Pem, *, shown: bool = True) -> list[str]:
    """Options of `dcmflow echo`, `send` and `forward`: who is trusted, and what we show."""
    ours = ["--tls-cert", str(pem.cert), "--tls-key", str(pem.key)] if shown else []
    return ["--tls-ca", str(pem.ca), *ours]


def secure(address: Address) -> str:
    return f"dicoms://{address}"


def dcmftest(dcmtk: Callable[[str], str], paths: Iterable[Path]) -> None:
    """DCMTK takes every one of these for a DICOM file."""
    done = subprocess.run([dcmtk("dcmftest"), *map(str, paths)], capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert lines, "no files"
    assert all(line.startswith("yes:") for line in lines), done.stdout


def here(port: int, ae_title: str = "DCMFLOW", host: str = HOST) -> Address:
    return Address(port, ae_title, host)
