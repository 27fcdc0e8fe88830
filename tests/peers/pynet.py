"""pynetdicom as a peer, in processes of its own: our loops keep running beside it, and it cannot be left behind."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peers.base import Address, Pem, Server, client, free_port, running, used

_HERE = Path(__file__).parent


class Pynetdicom:
    """pynetdicom's SCP and SCU.

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
