"""Queries and retrievals: `dcmflow query` beside findscu, a `retrieve` source beside movescu with its own receiver.

The servers are Orthanc and DCMTK's dcmqrscp. What is timed is the whole command, start included; each run is checked: so many
answers, so many files.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import anyio
from timing import Comparison, Skipped, arguments
from wire_peers import FAST, dcmtk, free_port, listens, pipeline, run
from wire_process import Child, until

from dcmflow.dicom.synthetic import CT, SMALL, synthesize

QUERY = {"patients": 10, "studies": 4, "series": 5, "instances": 25, "size": 64}
ANSWERS = 5000
STARTS = 3  # how often a start is measured
SETS = {"SMALL 13 KB": (2000, SMALL), "CT 527 KB": (300, CT)}
KEYS = (
    "PatientID",
    "PatientName",
    "StudyInstanceUID",
    "StudyDate",
    "SeriesInstanceUID",
    "SeriesNumber",
    "Modality",
    "SOPClassUID",
    "SOPInstanceUID",
    "InstanceNumber",
)
_LOCAL = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Archive:
    """A server that holds a folder of files."""

    def __init__(self, title: str, port: int) -> None:
        self.title, self.port = title, port

    @property
    def node(self) -> str:
        return f"{self.title}@127.0.0.1:{self.port}"


def write(folder: Path, **shape: int) -> list[Path]:
    """Synthetic instances."""
    folder.mkdir()

    async def save() -> None:
        for number, instance in enumerate(synthesize(**shape)):  # type: ignore[arg-type]
            await instance.save(folder / f"{folder.name}-{number:06d}.dcm")

    anyio.run(save)
    return sorted(folder.iterdir())


@contextmanager
def orthanc(scratch: Path, files: list[Path], clients: dict[str, int]) -> Iterator[Archive]:
    """An Orthanc with these files, that knows these clients."""
    program = shutil.which("Orthanc", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if program is None:
        raise Skipped("Orthanc is not installed")
    scratch.mkdir()
    http, port = free_port(), free_port()
    settings = {
        "Name": "bench",
        "StorageDirectory": str(scratch),
        "IndexDirectory": str(scratch),
        "SaveJobs": False,
        "Plugins": [],
        "HttpPort": http,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAet": "ORTHANC",
        "DicomPort": port,
        "DicomModalities": {title: [title, "127.0.0.1", number] for title, number in clients.items()},
        "TcpNoDelay": True,
        "SynchronousCMove": True,
    }
    (scratch / "orthanc.json").write_text(json.dumps(settings))
    command = [program, scratch / "orthanc.json"]
    with Child(command, log=scratch / "server.log", env=FAST, every=1, patience=10) as child:
        until(lambda: listens(port) and listens(http), child, 20)
        for file in files:
            request = urllib.request.Request(f"http://127.0.0.1:{http}/instances", data=file.read_bytes())
            _LOCAL.open(request).read()
        yield Archive("ORTHANC", port)


@contextmanager
def dcmqrscp(scratch: Path, files: list[Path], clients: dict[str, int]) -> Iterator[Archive]:
    """A dcmqrscp with these files, that knows these clients."""
    server, index = dcmtk("dcmqrscp"), dcmtk("dcmqridx")
    folder, port = scratch / "db", free_port()
    folder.mkdir(parents=True)
    copies = [shutil.copy(file, folder / file.name) for file in files]
    for start in range(0, len(copies), 500):
        subprocess.run([index, folder, *copies[start : start + 500]], check=True, capture_output=True)
    hosts = "".join(
        f"c{number} = ({title}, 127.0.0.1, {place})\n"
        for number, (title, place) in enumerate(clients.items())
    )
    (scratch / "qr.cfg").write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 131072\nMaxAssociations = 16\nHostTable BEGIN\n{hosts}HostTable END\n"
        f"VendorTable BEGIN\nVendorTable END\nAETable BEGIN\nQR {folder} RW (200, 9999mb) ANY\nAETable END\n"
    )
    with Child([server, "-c", scratch / "qr.cfg"], log=scratch / "server.log", env=FAST, every=1) as child:
        until(lambda: listens(port), child, 20)
        yield Archive("QR", port)


Start = Callable[[Path, list[Path], dict[str, int]], object]
SERVERS: dict[str, Start] = {"Orthanc": orthanc, "dcmqrscp": dcmqrscp}


def command(argv: list[str | Path], log: Path, folder: Path | None = None) -> float:
    """Seconds that a command takes; its output goes to a file. Raises CalledProcessError."""
    environment = {**os.environ, **FAST}
    with log.open("wb") as output:
        start = time.perf_counter()
        subprocess.run(
            [str(each) for each in argv],
            env=environment,
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=True,
        )
        return time.perf_counter() - start


def findscu(archive: Archive, log: Path) -> float:
    """All images, in one relational query."""
    keys = [option for key in KEYS for option in ("-k", key)]
    argv = [
        dcmtk("findscu"),
        "-S",
        "-aet",
        "BENCH",
        "-aec",
        archive.title,
        "-k",
        "QueryRetrieveLevel=IMAGE",
        *keys,
    ]
    taken = command([*argv, "127.0.0.1", str(archive.port)], log)
    found = log.read_text(errors="replace").count("Find Response:")
    assert found == ANSWERS, found
    return taken


def query(archive: Archive, log: Path, form: str) -> float:
    """All images, asked from the top down, studies and patients with them."""
    argv = [sys.executable, "-m", "dcmflow", "query", archive.node, "--level", "image", "--assume-yes"]
    taken = command([*argv, "--format", form, "--calling-ae", "BENCH", "--no-progress"], log)
    found = log.read_text().count('"SOPInstanceUID"')
    assert found == ANSWERS, found
    return taken


def movescu(archive: Archive, study: str, port: int, folder: Path, log: Path, count: int) -> float:
    """A study to a receiver of its own, bit preserving."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    argv = [
        dcmtk("movescu"),
        "-S",
        "-aet",
        "BENCH",
        "-aem",
        "BENCH",
        "-aec",
        archive.title,
        "+P",
        str(port),
        "-od",
        folder,
        "+B",
    ]
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}"]
    taken = command(
        [*argv, "--max-pdu", "131072", *keys, "127.0.0.1", str(archive.port)], log, folder
    )  # where +B writes to
    return _checked(taken, folder, count)


def retrieve(
    archive: Archive, study: str, port: int, folder: Path, log: Path, count: int, backend: str
) -> float:
    """The same with a pipeline."""
    shutil.rmtree(folder, ignore_errors=True)
    source = (
        "retrieve",
        {"node": archive.node, "method": "move", "local": f"BENCH@127.0.0.1:{port}", "level": "study"},
    )
    sink = ("directory", {"path": str(folder), "layout": "{SOPInstanceUID}.dcm", "fsync": False})
    file = pipeline(log.with_suffix(".toml"), source, sink)
    text = file.read_text().replace(
        "[sinks.out]", f'query = {{ StudyInstanceUID = "{study}" }}\n\n[sinks.out]'
    )
    file.write_text(text)
    return _checked(command(list(run(backend, file)), log), folder, count)


def _checked(taken: float, folder: Path, count: int) -> float:
    arrived = sum(1 for entry in os.scandir(folder) if not entry.name.startswith("."))
    assert arrived == count, f"{arrived} of {count} arrived"
    return taken


def main(argv: list[str]) -> int:
    """Print one table for each case and server."""
    options = arguments(__doc__ or "", argv)
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else None) as name:
        scratch = Path(name)
        log = scratch / "out.log"
        with Comparison("query, image level", unit="answers", work=ANSWERS, options=options) as comparison:
            files = write(scratch / "query", **QUERY)
            for title, start in SERVERS.items():
                with start(scratch / f"q-{title}", files, {"BENCH": free_port()}) as archive:  # type: ignore[attr-defined]
                    comparison.run(
                        {
                            "findscu": lambda archive=archive: findscu(archive, log),
                            "dcmflow query, ndjson": lambda archive=archive: query(archive, log, "ndjson"),
                            "dcmflow query, json": lambda archive=archive: query(archive, log, "json"),
                        },
                        case=title,
                    )
            for set_name, (count, size) in SETS.items():
                label = set_name.split()[0]
                files = write(scratch / label, instances=count, size=size)
                one = write(scratch / f"{label}-one", instances=1, size=size, seed=1)
                for title, start in SERVERS.items():
                    port, place = free_port(), scratch / f"{label}-{title}"
                    with start(place, [*one, *files], {"BENCH": port}) as archive:  # type: ignore[attr-defined]
                        _retrievals(comparison, archive, port, scratch, f"{set_name}, {title}", files, one)
                    shutil.rmtree(place, ignore_errors=True)
    return 0


def _retrievals(
    comparison: Comparison,
    archive: Archive,
    port: int,
    scratch: Path,
    case: str,
    files: list[Path],
    one: list[Path],
) -> None:
    """Two tables: the whole commands, and what they take beyond what one instance takes them."""
    log, folder = scratch / "out.log", scratch / "got"

    def by_movescu(some: list[Path]) -> float:
        return movescu(archive, _study(some[0]), port, folder, log, len(some))

    def by_run(some: list[Path], backend: str) -> float:
        return retrieve(archive, _study(some[0]), port, folder, log, len(some), backend)

    contenders: dict[str, Callable[[list[Path]], float]] = {
        "movescu": by_movescu,
        "dcmflow run, asyncio": lambda some: by_run(some, "asyncio"),
        "dcmflow run, trio": lambda some: by_run(some, "trio"),
    }
    whole = {name: partial(contender, files) for name, contender in contenders.items()}
    comparison.run(whole, case=f"retrieve {case}", work=len(files))
    starting = {name: min(contender(one) for _ in range(STARTS)) for name, contender in contenders.items()}
    beyond = {
        name: partial(lambda name, contender: contender(files) - starting[name], name, contender)
        for name, contender in contenders.items()
    }
    comparison.run(beyond, case=f"retrieve {case}, without the start", work=len(files))


def _study(file: Path) -> str:
    from pydicom import dcmread

    return str(dcmread(file, stop_before_pixels=True).StudyInstanceUID)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
