"""Real DICOM peers as fixtures; a test that uses one is marked `interop`.

A missing peer skips the test, and fails it where DCMFLOW_REQUIRE_PEERS is set. What a peer logged is shown with a test that
failed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from peers.archives import KINDS, PROGRAMS, Archive, Archives
from peers.base import HOST, Pem, used
from peers.dcmjs import Dcmjs
from peers.dcmtk import Dcmtk
from peers.orthanc import Orthanc
from peers.orthanc import orthanc as run_orthanc
from peers.pynet import Pynetdicom

if TYPE_CHECKING:
    import trustme


@pytest.fixture
def dcmtk_peer(dcmtk: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Dcmtk:
    """DCMTK: `storescp`, `dcmqrscp`, `storescu`, `dcmsend`, `echoscu`."""
    return Dcmtk(dcmtk, tmp_path_factory.mktemp("dcmtk"))


@pytest.fixture
def pynetdicom_peer(tmp_path_factory: pytest.TempPathFactory) -> Pynetdicom:
    """pynetdicom: `scp`, `send`."""
    return Pynetdicom(tmp_path_factory.mktemp("pynetdicom"))


@pytest.fixture
def dcmjs_peer(tmp_path_factory: pytest.TempPathFactory) -> Dcmjs:
    """dcmjs-dimse: `scp`, `send`."""
    return Dcmjs(tmp_path_factory.mktemp("dcmjs"))


@pytest.fixture(scope="session")
def _one_orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with run_orthanc(tmp_path_factory.mktemp("orthanc")) as server:
        yield server


@pytest.fixture
def orthanc(_one_orthanc: Orthanc) -> Iterator[Orthanc]:
    """An Orthanc that is empty and takes everything from everybody; the same one for all tests.

    One with other settings: `with peers.orthanc.orthanc(folder, DicomCheckCalledAet=True) as server`.
    """
    used("orthanc")
    _one_orthanc.clear()
    before = len(_one_orthanc.log)
    yield _one_orthanc
    print(f"--- Orthanc at {_one_orthanc.address}\n{_one_orthanc.log[before:][-6000:]}")


@pytest.fixture(scope="session")
def archives(dcmtk: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archives]:
    """Archives to query and retrieve from: `holding_base(kind)` is shared by all tests, `start(kind, folder, …)` is a new one."""
    with Archives(dcmtk, tmp_path_factory) as found:
        yield found


@pytest.fixture(scope="session", params=KINDS)
def _archive_of_all(request: pytest.FixtureRequest, archives: Archives) -> Archive:
    # for the whole run: it is there before a test begins to watch for leaks
    return archives.holding_base(str(request.param))


@pytest.fixture
def archive(_archive_of_all: Archive) -> Iterator[Archive]:
    """Each of the archives in turn, holding BASE; the same ones for all tests, which leave them as they are."""
    used(PROGRAMS[_archive_of_all.kind])
    before = len(_archive_of_all.log)
    yield _archive_of_all
    print(f"--- {_archive_of_all.kind} at {_archive_of_all.address}\n{_archive_of_all.log[before:][-6000:]}")


@dataclass(frozen=True)
class Certificates:
    """Files for TLS between two sides that trust one authority, and a stranger whom nobody knows."""

    server: Pem
    client: Pem
    stranger: Pem


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Certificates for 127.0.0.1 and localhost, made anew for each run."""
    import trustme

    folder = tmp_path_factory.mktemp("certificates")
    ours, theirs = trustme.CA(), trustme.CA()
    return Certificates(
        server=_pem(folder, "server", ours, ours),
        client=_pem(folder, "client", ours, ours),
        stranger=_pem(folder, "stranger", theirs, ours),
    )


def _pem(folder: Path, name: str, issuer: trustme.CA, trusted: trustme.CA) -> Pem:
    import trustme

    # RSA: what every peer knows
    issued = issuer.issue_cert(HOST, "localhost", key_type=trustme.KeyType.RSA)
    pem = Pem(folder / f"{name}.pem", folder / f"{name}.key", folder / f"{name}-ca.pem")
    pem.cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    pem.key.write_bytes(issued.private_key_pem.bytes())
    trusted.cert_pem.write_to_path(str(pem.ca))
    return pem
