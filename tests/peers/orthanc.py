"""Orthanc, with its REST interface as an independent witness."""

from __future__ import annotations

import json
import shutil
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peers.base import HOST, Address, Pem, Server, absent, free_port, running, used

REFUSED_FILES = frozenset(
    {
        "JPEGLSNearLossless_08.dcm",
        "JPEGLSNearLossless_16.dcm",
        "SC_rgb_jls_lossy_line.dcm",
        "SC_rgb_jls_lossy_sample.dcm",
        "SC_rgb_jpeg.dcm",
        "rtdose_rle.dcm",
        "rtdose_rle_1frame.dcm",
    }
)
"""Files of pydicom that Orthanc 1.10.1 does not take: it answers A700 to JPEG-LS near-lossless, C000 to fragments of odd length,
and aborts where the data set is not encoded as its transfer syntax says.
"""

# loopback is nothing for a proxy
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Orthanc(Server):
    """An Orthanc that runs, and what it says about itself over REST."""

    http: int = 0

    def get(self, path: str) -> Any:
        """The JSON document at a path: `/statistics`, `/instances?expand` …"""
        return json.loads(self.fetch(path))

    def fetch(self, path: str, method: str = "GET", data: bytes | None = None) -> bytes:
        """What REST answers. Raises urllib.error.HTTPError."""
        request = urllib.request.Request(f"http://{HOST}:{self.http}{path}", method=method, data=data)
        with _OPENER.open(request, timeout=30) as answer:
            return bytes(answer.read())

    def instances(self) -> dict[str, str]:
        """SOP Instance UID → Orthanc's own identifier of all it holds."""
        found = self.get("/instances?expand")
        return {entry["MainDicomTags"]["SOPInstanceUID"]: entry["ID"] for entry in found}

    def file(self, identifier: str) -> bytes:
        """The Part 10 file of an instance."""
        return self.fetch(f"/instances/{identifier}/file")

    def stored(self) -> dict[str, Path]:
        """Its instances, saved below `folder` / "files": SOP Instance UID → path."""
        folder = self.folder / "files"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        found = {}
        for uid, identifier in self.instances().items():
            found[uid] = folder / f"{identifier}.dcm"
            found[uid].write_bytes(self.file(identifier))
        return found

    def add(self, *files: Path) -> None:
        """Uploads files over REST."""
        for path in files:
            self.fetch("/instances", "POST", path.read_bytes())

    def register(self, clients: Mapping[str, Address]) -> None:
        """Makes application entities known to it: name → where they listen."""
        for name, address in clients.items():
            data = {"AET": address.ae_title, "Host": address.host, "Port": address.port}
            self.fetch(f"/modalities/{name}", "PUT", json.dumps(data).encode())

    def clear(self) -> None:
        """Deletes all that it holds."""
        for patient in self.get("/patients"):
            self.fetch(f"/patients/{patient}", "DELETE")


def program() -> str:
    """The path of Orthanc; without it the test skips or fails."""
    found = shutil.which("Orthanc") or shutil.which("/usr/sbin/Orthanc")  # a daemon: not on everybody's PATH
    if found is None:
        absent("Orthanc is not on PATH (Debian: apt-get install orthanc)")
    return found


@contextmanager
def orthanc(
    folder: Path,
    *,
    ae_title: str = "ORTHANC",
    clients: Mapping[str, Address] | None = None,
    tls: Pem | None = None,
    mutual: bool = True,
    nodelay: bool = True,
    dicomweb: bool = False,
    port: int | None = None,
    **config: Any,
) -> Iterator[Orthanc]:
    """An Orthanc of its own.

    Args:
        folder: for its database and log; made if missing.
        ae_title: its own; called by another one it answers all the same, unless `DicomCheckCalledAet=True`.
        clients: modalities that it knows: name → where they listen. Anybody may store; others may not query.
        tls: speak TLS on its DICOM port.
        mutual: with TLS, ask the client for a certificate.
        nodelay: without Nagle's algorithm.
        dicomweb: load the DICOMweb plugin.
        port: where it listens for DICOM; without one anywhere.
        config: settings of Orthanc: `UnknownSopClassAccepted=True`, `DicomCheckCalledAet=True` …
    """
    executable = program()
    folder.mkdir(parents=True, exist_ok=True)
    dicom, http = port or free_port(), free_port()
    settings: dict[str, Any] = {
        "Name": "dcmflow tests",
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "DicomAet": ae_title,
        "DicomPort": dicom,
        "DicomModalities": {
            name: [address.ae_title, address.host, address.port] for name, address in (clients or {}).items()
        },
        "HttpPort": http,
        "HttpServerEnabled": True,
        "HttpDescribeErrors": True,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "Plugins": ["/usr/share/orthanc/plugins/libOrthancDicomWeb.so"] if dicomweb else [],
        "UnknownSopClassAccepted": True,
        "StableAge": 1,
        "DicomScpTimeout": 3,  # that long it keeps an association before it aborts because of a data set that it cannot read
        "SaveJobs": False,
        "DicomServerEnabled": True,
        "DicomAlwaysAllowEcho": True,
        "DicomAlwaysAllowStore": True,
        "SynchronousCMove": True,
    }
    if tls:
        settings |= {
            "DicomTlsEnabled": True,
            "DicomTlsCertificate": str(tls.cert),
            "DicomTlsPrivateKey": str(tls.key),
            "DicomTlsTrustedCertificates": str(tls.ca),
            "DicomTlsRemoteCertificateRequired": mutual,
        }
    path = folder / "orthanc.json"
    path.write_text(json.dumps(settings | config, indent=1))
    used("orthanc")
    with running(
        [executable, "--verbose-dicom", path],
        Address(dicom, ae_title),
        folder,
        folder / "orthanc.log",
        nodelay=nodelay,
        ports=[http],
    ) as server:
        yield Orthanc(server.address, folder, server.process, server.output, http)
