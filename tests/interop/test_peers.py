"""The bench itself: the real peers talk to each other, without dcmflow between them.

What a test with dcmflow in the middle may expect is what is proven here.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from corpus import Corpus, base, comp
from peers.base import Address
from peers.dcmjs import Dcmjs
from peers.dcmtk import Dcmtk
from peers.fixtures import Certificates
from peers.orthanc import Orthanc
from peers.orthanc import orthanc as run_orthanc
from peers.pynet import Pynetdicom, statuses
from wire_data import dataset_bytes, digests, every_class, rounds, sendable

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]


@pytest.fixture
def small(tmp_path: Path) -> Corpus:
    return base(tmp_path / "base")


def test_dcmtk_with_itself(dcmtk_peer: Dcmtk, small: Corpus, tmp_path: Path) -> None:
    with dcmtk_peer.storescp(tmp_path / "in") as server:
        assert dcmtk_peer.echoscu(server.address).returncode == 0
        standard = [path for path in small.paths if "/14/" not in str(path)]
        assert dcmtk_peer.storescu(server.address, *standard).returncode == 0
        assert dcmtk_peer.dcmsend(server.address, *small.paths).returncode == 0
    assert server.stored().keys() == set(small.uids.values())
    assert server.process.returncode is not None


@pytest.mark.parametrize("nodelay", [True, False])
def test_nagle_is_the_peers_choice(dcmtk_peer: Dcmtk, small: Corpus, tmp_path: Path, nodelay: bool) -> None:
    with dcmtk_peer.storescp(tmp_path / "in", nodelay=nodelay) as server:
        assert dcmtk_peer.dcmsend(server.address, *small.paths, nodelay=nodelay).returncode == 0
        environment = Path(f"/proc/{server.process.pid}/environ").read_bytes()
    assert (b"TCP_NODELAY=1" in environment) is nodelay


def test_faults_of_storescp(dcmtk_peer: Dcmtk, small: Corpus, tmp_path: Path) -> None:
    with dcmtk_peer.storescp(tmp_path / "in", "--refuse") as server:
        done = dcmtk_peer.storescu(server.address, small.paths[0])
        assert done.returncode != 0
        assert "Rejected" in done.stdout + done.stderr
    with dcmtk_peer.storescp(tmp_path / "in", "--abort-during") as server:
        assert dcmtk_peer.storescu(server.address, small.paths[0]).returncode != 0


def test_dcmqrscp_stores(dcmtk_peer: Dcmtk, small: Corpus, tmp_path: Path) -> None:
    first, *others = (path for path in small.paths if "/14/" not in str(path))
    with dcmtk_peer.dcmqrscp(tmp_path / "archive", files=[first], clients={"DCMFLOW": 11112}) as server:
        assert dcmtk_peer.storescu(server.address, *others).returncode == 0
    assert len([path for path in server.folder.iterdir() if path.name != "index.dat"]) == len(others) + 1


def test_dcmtk_to_orthanc(dcmtk_peer: Dcmtk, orthanc: Orthanc, small: Corpus) -> None:
    assert orthanc.instances() == {}
    assert dcmtk_peer.dcmsend(orthanc.address, *small.paths).returncode == 0
    assert orthanc.instances().keys() == set(small.uids.values())
    statistics = orthanc.get("/statistics")
    counts = [statistics[f"Count{level}"] for level in ("Patients", "Studies", "Series", "Instances")]
    assert counts == [small.patients, small.studies, small.series, small.instances]
    assert digests(orthanc.stored().values()) == digests(small.paths)


def test_orthanc_with_settings_of_its_own(dcmtk_peer: Dcmtk, tmp_path: Path) -> None:
    with run_orthanc(tmp_path / "orthanc", DicomCheckCalledAet=True, dicomweb=True) as server:
        assert dcmtk_peer.echoscu(server.address).returncode == 0
        wrong = Address(server.address.port, "NOBODY")
        assert dcmtk_peer.echoscu(wrong).returncode != 0
        assert server.get("/dicom-web/studies") == []
        server.register({"us": Address(11112, "DCMFLOW")})
        assert server.get("/modalities") == ["us"]


def test_pynetdicom_and_dcmjs(pynetdicom_peer: Pynetdicom, dcmjs_peer: Dcmjs, tmp_path: Path) -> None:
    corpus = comp(tmp_path / "comp")
    with dcmjs_peer.scp(tmp_path / "js") as js, pynetdicom_peer.scp(tmp_path / "py") as py:
        assert dcmjs_peer.send(js.address).returncode == 0, "C-ECHO"
        to_js = pynetdicom_peer.send(js.address, *corpus.paths)
        to_py = dcmjs_peer.send(py.address, *corpus.paths)
    assert statuses(to_js) == dict.fromkeys(corpus.paths, 0)
    assert statuses(to_py) == dict.fromkeys(corpus.paths, 0)
    sent = {corpus.uids[name]: dataset_bytes(path) for name, path in corpus.items()}
    for server in (js, py):
        assert {uid: dataset_bytes(path) for uid, path in server.stored().items()} == sent


def test_dcmjs_converts_by_itself(pynetdicom_peer: Pynetdicom, dcmjs_peer: Dcmjs, tmp_path: Path) -> None:
    corpus = base(tmp_path / "base")
    with pynetdicom_peer.scp(tmp_path / "py") as server:
        assert dcmjs_peer.send(server.address, *corpus.paths, natural=True).returncode == 0
    assert server.stored().keys() == set(corpus.uids.values())


def test_statuses_are_seen(pynetdicom_peer: Pynetdicom, dcmjs_peer: Dcmjs, tmp_path: Path) -> None:
    path = base(tmp_path / "base").paths[0]
    with pynetdicom_peer.scp(tmp_path / "py", status=0xA700, strict=True) as server:
        for peer in (pynetdicom_peer, dcmjs_peer):
            done = peer.send(server.address, path)
            assert (done.returncode, statuses(done)) == (1, {path: 0xA700})
            assert peer.send(Address(server.address.port, "OTHER"), path).returncode == 3
    assert server.stored() == {}


def test_every_class(dcmjs_peer: Dcmjs, pynetdicom_peer: Pynetdicom, tmp_path: Path) -> None:
    corpus = every_class(tmp_path / "classes")
    assert len(corpus) > 160
    with pynetdicom_peer.scp(tmp_path / "py") as server:
        assert dcmjs_peer.send(server.address, *corpus.paths).returncode == 0
    assert digests(server.stored().values()) == digests(corpus.paths)


def test_every_file_of_pydicom(
    pydicom_files: list[Path], pynetdicom_peer: Pynetdicom, tmp_path: Path
) -> None:
    files = sendable(pydicom_files)
    assert len(files) > 100
    for number, paths in enumerate(rounds(files)):
        with pynetdicom_peer.scp(tmp_path / str(number)) as server:
            assert pynetdicom_peer.send(server.address, *paths).returncode == 0
        assert digests(server.stored().values()) == digests(paths)


def test_mutual_tls(
    dcmtk_peer: Dcmtk,
    pynetdicom_peer: Pynetdicom,
    dcmjs_peer: Dcmjs,
    certificates: Certificates,
    small: Corpus,
    tmp_path: Path,
) -> None:
    path = small.paths[0]
    servers = {
        "dcmtk": dcmtk_peer.storescp(tmp_path / "dcmtk", tls=certificates.server),
        "pynetdicom": pynetdicom_peer.scp(tmp_path / "pynetdicom", tls=certificates.server),
        "dcmjs": dcmjs_peer.scp(tmp_path / "dcmjs", tls=certificates.server),
        "orthanc": run_orthanc(tmp_path / "orthanc", tls=certificates.server),
    }
    for name, starting in servers.items():
        with starting as server:
            to = server.address
            assert dcmtk_peer.storescu(to, path, tls=certificates.client).returncode == 0, name
            assert pynetdicom_peer.send(to, path, tls=certificates.client).returncode == 0, name
            assert dcmjs_peer.send(to, path, tls=certificates.client).returncode == 0, name
            assert dcmtk_peer.storescu(to, path, tls=certificates.stranger).returncode != 0, name
            assert dcmtk_peer.storescu(to, path).returncode != 0, name
