"""DCMTK's servers and clients."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from peers.base import Address, Pem, Server, client, free_port, running, used
from peers.dcmtk_negotiation import negotiation
from peers.dcmtk_query import QueryClients

NOT_STORAGE = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.200.1",
        "1.2.840.10008.5.1.4.1.1.200.3",
        "1.2.840.10008.5.1.4.1.1.200.7",
        "1.2.840.10008.5.1.4.38.1",
        "1.2.840.10008.5.1.4.39.1",
        "1.2.840.10008.5.1.4.43.1",
        "1.2.840.10008.5.1.4.44.1",
        "1.2.840.10008.5.1.4.45.1",
    }
)
"""SOP Classes that DCMTK 3.6.7, and Orthanc with it, refuse even when told to take anything: protocols, hanging protocols,
colour palettes and implant templates. It knows them, as objects without a patient, and so they are not unknown to it.
"""

MISNAMED_FILES = frozenset({"rtdose_rle.dcm", "rtdose_rle_1frame.dcm"})
"""Files of pydicom that dcmsend 3.6.7 sends under UIDs that are not theirs: a fragment of odd length leads it astray."""


class Dcmtk(QueryClients):
    """DCMTK as a peer.

    Args:
        tool: the path of one of its tools; the fixture `dcmtk`.
        scratch: a folder for logs and settings.
    """

    @contextmanager
    def storescp(
        self,
        folder: Path,
        *options: str,
        ae_title: str = "STORESCP",
        tls: Pem | None = None,
        nodelay: bool = True,
        anything: bool = True,
        level: str = "info",
        port: int | None = None,
    ) -> Iterator[Server]:
        """A store SCP that writes what it receives into `folder`.

        Args:
            folder: made if missing.
            options: of storescp: `--refuse`, `--abort-after`, `--sleep-during`, `5` …
            ae_title: its own; it answers to any.
            tls: speak TLS with these files and ask clients for a certificate.
            nodelay: without Nagle's algorithm.
            anything: bit preserving, all transfer syntaxes that it knows, all SOP Classes (`+B +xa -pm`).
            level: of its log.
            port: where it listens; without one anywhere.
        """
        folder.mkdir(parents=True, exist_ok=True)
        port = port or free_port()
        command = [self._tool("storescp"), "-ll", level, "-aet", ae_title, "-od", str(folder)]
        command += ["+B", "+xa", "-pm"] if anything else []
        command += [*_tls(tls), *options, str(port)]
        used("dcmtk")
        with running(
            command, Address(port, ae_title), folder, self._log("storescp"), nodelay=nodelay
        ) as server:
            yield server

    @contextmanager
    def dcmqrscp(
        self,
        folder: Path,
        *options: str,
        ae_title: str = "DCMQRSCP",
        clients: Mapping[str, int] | None = None,
        files: Iterable[Path] = (),
        private: bool = False,
        port: int | None = None,
        level: str = "info",
        nodelay: bool = True,
    ) -> Iterator[Server]:
        """An archive: C-STORE, C-FIND, C-MOVE, C-GET.

        Store over one association at a time: 3.6.7 loses objects that two of its processes store at once, and answers Success.

        Args:
            folder: of its one storage area; made if missing.
            options: of dcmqrscp: `--refuse`, `--no-patient-root` …
            ae_title: of the storage area.
            clients: who it may move to: AE title → port.
            files: copied there and entered into its index first.
            private: it gives away objects of `corpus.PRIVATE_SOP_CLASS`, too (`-xf`). Over C-STORE it takes none of them even so.
            port: where it listens; without one anywhere.
            level: of its log.
            nodelay: without Nagle's algorithm.
        """
        folder.mkdir(parents=True, exist_ok=True)
        port = port or free_port()
        hosts = "".join(
            f"peer{number} = ({title}, 127.0.0.1, {target})\n"
            for number, (title, target) in enumerate((clients or {}).items())
        )
        settings = self._scratch / f"dcmqrscp-{port}.cfg"
        settings.write_text(
            f"NetworkTCPPort = {port}\nMaxPDUSize = 131072\nMaxAssociations = 64\n"
            f"HostTable BEGIN\n{hosts}HostTable END\nVendorTable BEGIN\nVendorTable END\n"
            f"AETable BEGIN\n{ae_title} {folder} RW (200, 1024mb) ANY\nAETable END\n"
        )
        self._index(folder, files)
        command = [self._tool("dcmqrscp"), "-ll", level, "-c", str(settings)]
        if private:
            command += ["-xf", str(negotiation(self._scratch)), "Incoming", "Outgoing"]
        command += options
        used("dcmtk")
        with running(
            command, Address(port, ae_title), folder, self._log("dcmqrscp"), nodelay=nodelay
        ) as server:
            yield server

    def _index(self, folder: Path, files: Iterable[Path]) -> None:
        copies = []
        for number, path in enumerate(files):
            copies.append(folder / f"{number:05d}.dcm")
            copies[-1].write_bytes(path.read_bytes())
        if copies:
            done = client([self._tool("dcmqridx"), folder, *copies])
            assert done.returncode == 0, done.stderr

    def storescu(
        self,
        to: Address,
        *files: Path,
        options: Iterable[str] = ("-R",),
        calling_ae: str = "STORESCU",
        tls: Pem | None = None,
        nodelay: bool = True,
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Sends files or folders (with `+sd`); it stops at the first failure unless told `-nh`.

        It proposes uncompressed transfer syntaxes and, with `-xd`, `-xs`, `-xr` …, one other.
        """
        used("dcmtk")
        command = [self._tool("storescu"), "-v", "-aet", calling_ae, "-aec", to.ae_title]
        command += [*_tls(tls), *options, to.host, str(to.port), *map(os.fspath, files)]
        return client(command, nodelay=nodelay, timeout=timeout)

    def dcmsend(
        self,
        to: Address,
        *files: Path,
        options: Iterable[str] = ("-dn", "-nuc", "-nh"),
        calling_ae: str = "DCMSEND",
        nodelay: bool = True,
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Sends files or folders (with `+sd`): proposes what they hold, over several associations when needed.

        The options that are the default here: never decompress, take any UID, go on after a failure. It knows no TLS.
        """
        used("dcmtk")
        command = [self._tool("dcmsend"), "-v", "-aet", calling_ae, "-aec", to.ae_title]
        command += [*options, to.host, str(to.port), *map(os.fspath, files)]
        return client(command, nodelay=nodelay, timeout=timeout)

    def echoscu(
        self, to: Address, *options: str, calling_ae: str = "ECHOSCU", tls: Pem | None = None
    ) -> subprocess.CompletedProcess[str]:
        """A C-ECHO."""
        used("dcmtk")
        command = [self._tool("echoscu"), "-v", "-aet", calling_ae, "-aec", to.ae_title]
        return client([*command, *_tls(tls), *options, to.host, str(to.port)])

    def _log(self, name: str) -> Path:
        return self._scratch / f"{name}-{len(list(self._scratch.iterdir()))}.log"


def _tls(tls: Pem | None) -> list[str]:
    return ["+tls", str(tls.key), str(tls.cert), "+cf", str(tls.ca)] if tls else []
