"""pynetdicom as a peer, in processes of its own: our loops keep running beside it, and it cannot be left behind."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from configparser import ConfigParser
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peers.base import Address, Pem, Server, absent, client, free_port, running, used

_HERE = Path(__file__).parent


class Pynetdicom:
    """pynetdicom's SCP and SCU, and the archive among its applications.

    Args:
        scratch: a folder for logs and settings.
    """

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch

    @contextmanager
    def scp(
        self,
        folder: Path,
        *,
        ae_title: str = "PYNETDICOM",
        status: int = 0,
        delay: float = 0,
        strict: bool = False,
        tls: Pem | None = None,
        nodelay: bool = True,
    ) -> Iterator[Server]:
        """A store SCP that writes the bytes it received.

        Args:
            folder: made if missing.
            ae_title: its own.
            status: what it answers; with another one than 0 it stores nothing.
            delay: seconds before it answers.
            strict: reject associations that call another AE title.
            tls: speak TLS with these files and ask clients for a certificate.
            nodelay: without Nagle's algorithm.
        """
        folder.mkdir(parents=True, exist_ok=True)
        port = free_port()
        settings = self._settings(
            folder=str(folder),
            port=port,
            ae_title=ae_title,
            status=status,
            delay=delay,
            strict=strict,
            tls=tls,
        )
        used("pynetdicom")
        command = [sys.executable, "-u", _HERE / "pynet_scp.py", settings]
        with running(
            command, Address(port, ae_title), folder, settings.with_suffix(".log"), nodelay=nodelay
        ) as server:
            yield server

    @contextmanager
    def qrscp(
        self,
        folder: Path,
        clients: Mapping[str, Address] | None = None,
        *,
        ae_title: str = "QRSCP",
        files: Iterable[Path] = (),
        port: int | None = None,
        nodelay: bool = True,
    ) -> Iterator[Server]:
        """The archive among its applications: C-STORE, C-FIND, C-MOVE, C-GET; needs SQLAlchemy.

        It takes objects over C-STORE only, and none of a SOP Class that is in no standard.

        Args:
            folder: for its database, and for files in `folder` / "files"; made if missing.
            clients: who it may move to: AE title → where that listens.
            ae_title: its own; it answers to any.
            files: sent to it before it is given.
            port: where it listens; without one anywhere.
            nodelay: without Nagle's algorithm.
        """
        if importlib.util.find_spec("sqlalchemy") is None:
            absent("pynetdicom's qrscp needs SQLAlchemy (pip install SQLAlchemy)")
        stored = folder / "files"
        stored.mkdir(parents=True, exist_ok=True)
        address = Address(port or free_port(), ae_title)
        config = ConfigParser()
        config["DEFAULT"] = {
            "ae_title": ae_title,
            "port": str(address.port),
            "bind_address": address.host,
            "max_pdu": "131072",
            "acse_timeout": "30",
            "dimse_timeout": "30",
            "network_timeout": "60",
            "instance_location": str(stored),
            "database_location": str(folder / "instances.sqlite"),
            "log_identifier": "True",
        }
        for title, target in (clients or {}).items():
            config[title] = {"address": target.host, "port": str(target.port)}
        settings = folder / "qrscp.ini"
        with settings.open("w", encoding="utf-8") as file:
            config.write(file)
        used("pynetdicom")
        command = [sys.executable, "-u", _HERE / "pynet_qrscp.py", "-v", "-c", settings]
        with running(command, address, stored, folder / "qrscp.log", nodelay=nodelay) as server:
            given = list(files)
            if given:
                self.send(address, *given)
            yield server

    def send(
        self,
        to: Address,
        *files: Path,
        calling_ae: str = "PYNETDICOM",
        tls: Pem | None = None,
        nodelay: bool = True,
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Sends the data sets of files byte by byte; see `statuses`."""
        settings = self._settings(
            host=to.host,
            port=to.port,
            called_ae=to.ae_title,
            calling_ae=calling_ae,
            files=[str(path) for path in files],
            tls=tls,
        )
        used("pynetdicom")
        return client([sys.executable, _HERE / "pynet_scu.py", settings], nodelay=nodelay, timeout=timeout)

    def _settings(self, *, tls: Pem | None, **values: Any) -> Path:
        path = self._scratch / f"pynetdicom-{len(list(self._scratch.iterdir()))}.json"
        files = {"cert": str(tls.cert), "key": str(tls.key), "ca": str(tls.ca)} if tls else None
        path.write_text(json.dumps(values | {"tls": files}))
        return path


def statuses(done: subprocess.CompletedProcess[str]) -> dict[Path, int | None]:
    """What `send` of pynetdicom or dcmjs-dimse was answered: path → status; None where no response came."""
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {Path(line["file"]): line["status"] for line in lines}
