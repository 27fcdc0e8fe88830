"""dcmjs-dimse as a peer, under Node.js."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peers.base import HOST, Address, Pem, Server, absent, client, free_port, running, used

_HERE = Path(__file__).parent
MODULES = Path(os.environ.get("DCMFLOW_NODE_MODULES") or _HERE.parents[1] / ".peers" / "node_modules")
"""Where `npm install --prefix .peers dcmjs-dimse@VERSION` put it; DCMFLOW_NODE_MODULES names another place."""


def node() -> str:
    """The path of Node.js; without it or the package the test skips or fails."""
    program = shutil.which("node")
    if program is None:
        absent("Node.js is not on PATH (Debian: apt-get install nodejs npm)")
    if not (MODULES / "dcmjs-dimse").is_dir():
        version = (_HERE / "dcmjs-dimse.version").read_text().strip()
        absent(f"dcmjs-dimse is not in {MODULES} (npm install --prefix .peers dcmjs-dimse@{version})")
    return program


class Dcmjs:
    """The SCP and SCU of dcmjs-dimse.

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
        ae_title: str = "DCMJS",
        status: int = 0,
        tls: Pem | None = None,
        nodelay: bool = True,
    ) -> Iterator[Server]:
        """A store SCP that writes the bytes it received.

        Args:
            folder: made if missing.
            ae_title: only for the address: it answers to any.
            status: what it answers; with another one than 0 it stores nothing.
            tls: speak TLS with these files and ask clients for a certificate.
            nodelay: without Nagle's algorithm.
        """
        folder.mkdir(parents=True, exist_ok=True)
        port = free_port()
        settings = self._settings(role="scp", folder=str(folder), port=port, status=status, tls=tls)
        command = [node(), _HERE / "dimse.js", settings]
        used("dcmjs-dimse")
        with running(
            command, Address(port, ae_title), folder, settings.with_suffix(".log"), nodelay=nodelay
        ) as server:
            yield server

    def send(
        self,
        to: Address,
        *files: Path,
        calling_ae: str = "DCMJS",
        natural: bool = False,
        tls: Pem | None = None,
        nodelay: bool = True,
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Sends the data sets of files, byte by byte unless `natural`; without files a C-ECHO. See `pynet.statuses`."""
        settings = self._settings(
            role="scu",
            port=to.port,
            called_ae=to.ae_title,
            calling_ae=calling_ae,
            natural=natural,
            files=[_described(path) for path in files],
            tls=tls,
        )
        command = [node(), _HERE / "dimse.js", settings]
        used("dcmjs-dimse")
        return client(command, nodelay=nodelay, timeout=timeout)

    def _settings(self, *, tls: Pem | None, **values: Any) -> Path:
        path = self._scratch / f"dcmjs-{len(list(self._scratch.iterdir()))}.json"
        files = {"cert": str(tls.cert), "key": str(tls.key), "ca": str(tls.ca)} if tls else None
        path.write_text(json.dumps(values | {"host": HOST, "modules": str(MODULES), "tls": files}))
        return path


def _described(path: Path) -> dict[str, Any]:
    from wire_data import file_meta

    meta, offset = file_meta(path)
    return {
        "path": str(path),
        "sop_class": str(meta.MediaStorageSOPClassUID),
        "sop_instance": str(meta.MediaStorageSOPInstanceUID),
        "transfer_syntax": str(meta.TransferSyntaxUID),
        "offset": offset,
    }
