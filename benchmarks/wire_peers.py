"""Who receives and who sends: DCMTK, pynetdicom, Orthanc and dcmflow, each as a child process."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from timing import Skipped
from wire_blast import Blocked, send
from wire_process import Child, Failed, until
from wire_sets import WireSet, verify

HERE = Path(__file__).resolve().parent
FAST = {"TCP_NODELAY": "1"}  # DCMTK leaves Nagle's algorithm on unless told so
SHIPPED: dict[str, str | None] = {"TCP_NODELAY": None}
STARTING = 20.0  # seconds


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@functools.cache
def dcmtk(tool: str) -> str:
    """Where the program of DCMTK is; pynetdicom has some of the same name. Raises Skipped."""
    for folder in os.get_exec_path():
        path = shutil.which(tool, path=folder)
        if path and "$dcmtk" in subprocess.run([path, "--version"], capture_output=True, text=True).stdout:
            return path
    raise Skipped(f"{tool} of DCMTK is not installed")


@dataclass(frozen=True)
class Server:
    """One way to receive: a program that writes what it gets into a folder.

    Args:
        name: in the table.
        exact: the data set is written as it came.
        at_most: how many instances it is given, where it is slow.
        patience: seconds that it may take to end.
        processes: that serve associations and stay; each is given some of the first instances.
    """

    name: str
    exact: bool = True
    patience: float = 3
    at_most: int | None = None
    processes: int = 1
    env: dict[str, str | None] = field(default_factory=dict)

    def command(self, port: int, folder: Path, scratch: Path) -> Sequence[str | Path]:
        """What to start."""
        raise NotImplementedError

    def start(self, port: int, folder: Path, scratch: Path, *, prime: WireSet, every: float) -> Child:
        """Start it and give it a few instances, so that what it does at first is done."""
        folder.mkdir()
        command = self.command(port, folder, scratch)
        log, patience = scratch / "server.log", self.patience
        child = Child(command, log=log, env=self.env, every=every, patience=patience)
        try:
            until(lambda: listens(port), child, STARTING)
            if prime.files:
                send(port, prime.files, associations=self.processes)
        except BaseException as error:
            child.stop()
            if isinstance(error, (Blocked, OSError)):
                raise Failed(f"{child.name}: {error}{child.said()}") from error
            raise
        return child

    def check(self, sets: Sequence[WireSet], folder: Path, scratch: Path) -> None:
        """All has arrived. Raises Failed."""
        verify(sets, folder, exact=self.exact)


def listens(port: int) -> bool:
    """Whether somebody does, asked without connecting: a server with one association at a time would take it for one."""
    wanted = f":{port:04X}"
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[1].endswith(wanted) and fields[3] == "0A":
                return True
    return False


@dataclass(frozen=True)
class Storescp(Server):
    """DCMTK."""

    options: tuple[str, ...] = ()

    def command(self, port: int, folder: Path, scratch: Path) -> Sequence[str | Path]:
        return [dcmtk("storescp"), *self.options, "-od", folder, str(port)]


def storescp(name: str = "storescp", *options: str) -> Storescp:
    """With all that makes it fast."""
    tuned = ("--max-pdu", "131072", "--disable-host-lookup", *options)
    return Storescp(name, exact="+B" in options, env={**FAST}, options=tuned)


@dataclass(frozen=True)
class Pynetdicom(Server):
    """See wire_pynetdicom.py."""

    def command(self, port: int, folder: Path, scratch: Path) -> Sequence[str | Path]:
        if importlib.util.find_spec("pynetdicom") is None:
            raise Skipped("pynetdicom is not installed")
        return [sys.executable, HERE / "wire_pynetdicom.py", "serve", str(port), folder]


@dataclass(frozen=True)
class Orthanc(Server):
    """Which says itself how many instances it has; in its folder they have other names."""

    def command(self, port: int, folder: Path, scratch: Path) -> Sequence[str | Path]:
        program = shutil.which(
            "Orthanc", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin"
        )
        if program is None:
            raise Skipped("Orthanc is not installed")
        http = free_port()
        (scratch / "orthanc.port").write_text(str(http))
        settings = {
            "Name": "bench",
            "StorageDirectory": str(folder),
            "IndexDirectory": str(folder),
            "SaveJobs": False,
            "Plugins": [],
            "HttpPort": http,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomAet": "DCMFLOW",
            "DicomPort": port,
            "DicomAlwaysAllowStore": True,
            "DicomCheckModalityHost": False,
            "DicomThreadsCount": 100,  # one for each association
            "TcpNoDelay": True,
        }
        (scratch / "orthanc.json").write_text(json.dumps(settings))
        return [program, scratch / "orthanc.json"]

    def check(self, sets: Sequence[WireSet], folder: Path, scratch: Path) -> None:
        port = (scratch / "orthanc.port").read_text()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/statistics", timeout=10) as response:
            said = json.load(response)
        count, size = sum(len(made.files) for made in sets), sum(made.bytes for made in sets)
        if said["CountInstances"] != count or int(said["TotalDiskSize"]) < size - 2048 * count:
            raise Failed(
                f"Orthanc has {said['CountInstances']} instances of {count}, {said['TotalDiskSize']} bytes"
            )


@dataclass(frozen=True)
class Dcmflow(Server):
    """`dcmflow run` with an `scp` and a folder, or with an `scp` and a `store` that sends on."""

    backend: str = "asyncio"
    to: int | None = None
    associations: int = 1

    def command(self, port: int, folder: Path, scratch: Path) -> Sequence[str | Path]:
        source = ("scp", {"listen": f"DCMFLOW@127.0.0.1:{port}", "max-associations": 256})
        if self.to is None:
            layout = "{SOPInstanceUID}.dcm"
            sink = ("directory", {"path": str(folder), "layout": layout, "fsync": False})
        else:
            sink = _store(self.to, self.associations)
        several = ["--processes", str(self.processes)] if self.processes > 1 else []
        return [*run(self.backend, pipeline(scratch / "server.toml", source, sink)), *several]


def pipeline(file: Path, source: tuple[str, dict[str, object]], sink: tuple[str, dict[str, object]]) -> Path:
    """Writes a pipeline file of two stages, each given by its type and fields."""
    lines = ['name = "bench"']
    for table, (type_, fields), wiring in (("sources.in", source, {}), ("sinks.out", sink, {"from": "in"})):
        lines += ["", f"[{table}]"]
        lines += [
            f"{key} = {json.dumps(value)}" for key, value in {"type": type_, **wiring, **fields}.items()
        ]
    file.write_text("\n".join(lines) + "\n")
    return file


def run(backend: str, file: Path) -> Sequence[str | Path]:
    """The command for a pipeline file. Raises Skipped without the event loop."""
    if backend != "asyncio" and importlib.util.find_spec(backend) is None:
        raise Skipped(f"{backend} is not installed")
    return [sys.executable, "-m", "dcmflow", "run", file, "--backend", backend]


def _store(port: int, associations: int) -> tuple[str, dict[str, object]]:
    return "store", {"to": f"PEER@127.0.0.1:{port}", "associations": associations}


@dataclass(frozen=True)
class Sender:
    """One way to send: a program that sends a folder and ends.

    Args:
        at_most: how many instances it is given, where it is slow.
    """

    name: str
    at_most: int | None = None
    env: dict[str, str | None] = field(default_factory=dict)

    def command(self, port: int, folder: Path, scratch: Path) -> Sequence[str | Path]:
        """What to start."""
        raise NotImplementedError

    def start(self, port: int, folder: Path, scratch: Path) -> Child:
        """Start it."""
        log = scratch / f"{self.name.split()[0]}-{time.monotonic_ns()}.log"
        return Child(self.command(port, folder, scratch), log=log, env=self.env)


@dataclass(frozen=True)
class DcmtkSender(Sender):
    """`storescu` or `dcmsend`."""

    options: tuple[str, ...] = ()

    def command(self, port: int, folder: Path, scratch: Path) -> Sequence[str | Path]:
        tool = dcmtk(self.name.split()[0])
        return [tool, *self.options, "+sd", "+r", "-aec", "DCMFLOW", "127.0.0.1", str(port), folder]


STORESCU = DcmtkSender("storescu", env={**FAST}, options=("--max-send-pdu", "131072", "--required"))
STORESCU_SHIPPED = DcmtkSender("storescu", env=SHIPPED)
DCMSEND = DcmtkSender("dcmsend", env={**FAST}, options=("--max-send-pdu", "131072"))


@dataclass(frozen=True)
class PynetdicomSender(Sender):
    """See wire_pynetdicom.py."""

    def command(self, port: int, folder: Path, scratch: Path) -> Sequence[str | Path]:
        if importlib.util.find_spec("pynetdicom") is None:
            raise Skipped("pynetdicom is not installed")
        return [sys.executable, HERE / "wire_pynetdicom.py", "send", str(port), folder]


@dataclass(frozen=True)
class DcmflowSender(Sender):
    """`dcmflow run` with a folder and a `store`."""

    backend: str = "asyncio"
    associations: int = 1

    def command(self, port: int, folder: Path, scratch: Path) -> Sequence[str | Path]:
        source: tuple[str, dict[str, object]] = "directory", {"path": str(folder)}
        return run(self.backend, pipeline(scratch / "sender.toml", source, _store(port, self.associations)))


@dataclass(frozen=True)
class Blast(Sender):
    """See wire_blast.py."""

    associations: int = 1

    def command(self, port: int, folder: Path, scratch: Path) -> Sequence[str | Path]:
        script = HERE / "wire_blast.py"
        return [sys.executable, script, str(port), folder, "--associations", str(self.associations)]
