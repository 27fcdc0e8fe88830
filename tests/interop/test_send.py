"""A pipeline that sends: real peers have what its source held, byte by byte where they keep bytes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from hashlib import sha256
from pathlib import Path
from typing import Any

import anyio
import pytest

from corpus import PRIVATE_TRANSFER_SYNTAX, Corpus
from dcmflow import Retry
from dcmflow.net.node import Node, Timeouts, Tls
from peers.base import HOST, Address, Pem, Server
from peers.dcmjs import Dcmjs
from peers.dcmtk import NOT_STORAGE, Dcmtk
from peers.fixtures import Certificates
from peers.orthanc import REFUSED_FILES, Orthanc
from peers.orthanc import orthanc as run_orthanc
from peers.pynet import Pynetdicom
from wire_data import dataset_bytes, digests, file_meta, rounds, syntax_of, uid_of
from wire_flows import copied, sending

pytestmark = [pytest.mark.anyio, pytest.mark.interop, pytest.mark.timeout(150)]

ONCE = Retry(attempts=1)


def padded(paths: Iterable[Path]) -> Counter[str]:
    """`digests` of what may go over a wire: data sets are of even length (PS3.8 E.1), deflated ones end with a null then
    (PS3.5 A.5).
    """
    found: Counter[str] = Counter()
    for path in paths:
        data = dataset_bytes(path)
        found[f"{sha256(data + bytes(len(data) % 2)).hexdigest()} {syntax_of(path)}"] += 1
    return found


@pytest.fixture(params=["storescp", "pynetdicom", "dcmjs-dimse"])
def keeper(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A store SCP that keeps the bytes of data sets."""
    folder = tmp_path / "kept"
    starting: AbstractContextManager[Server]
    if request.param == "storescp":
        starting = request.getfixturevalue("dcmtk_peer").storescp(folder)
    elif request.param == "pynetdicom":
        starting = request.getfixturevalue("pynetdicom_peer").scp(folder)
    else:
        starting = request.getfixturevalue("dcmjs_peer").scp(folder)
    with starting as server:
        yield server


def _refused_by(server: Server, paths: Iterable[Path]) -> set[Path]:
    """What a peer cannot take, whoever sends it."""
    if server.address.ae_title != "STORESCP":
        return set()
    return {
        path
        for path in paths
        if file_meta(path)[0].MediaStorageSOPClassUID in NOT_STORAGE
        or syntax_of(path) == PRIVATE_TRANSFER_SYNTAX
    }


@pytest.mark.parametrize("corpus", ["base", "comp", "priv", "classes"])
async def test_bytes_arrive_as_they_are(keeper: Server, corpora: dict[str, Corpus], corpus: str) -> None:
    paths = corpora[corpus].paths
    impossible = _refused_by(keeper, paths)
    flow = await sending(corpora[corpus].folder, keeper.address, retry=ONCE)
    refused = {Path(event.path or "") for event in flow.refused}
    assert refused <= impossible, flow.reasons()
    assert digests(keeper.stored().values()) == digests(set(paths) - refused)
    assert flow.totals.accepted == len(paths) - len(refused)


async def test_every_file_of_pydicom(keeper: Server, whole_files: list[Path], tmp_path: Path) -> None:
    for number, paths in enumerate(rounds(whole_files)):
        copies = copied(paths, tmp_path / str(number))
        flow = await sending(tmp_path / str(number), keeper.address, retry=ONCE)
        assert not flow.refused, flow.reasons()
        stored = keeper.stored()
        assert padded(stored[uid_of(path)] for path in copies) == padded(copies)


async def test_odd_data_sets_go_out_even(keeper: Server, whole_files: list[Path], tmp_path: Path) -> None:
    [path] = [path for path in whole_files if path.name == "image_dfl.dcm"]
    data = dataset_bytes(path)
    assert len(data) % 2
    copied([path], tmp_path / "odd")
    flow = await sending(tmp_path / "odd", keeper.address, retry=ONCE)
    assert not flow.refused, flow.reasons()
    [stored] = keeper.stored().values()
    assert dataset_bytes(stored) == data + b"\0"


async def test_orthanc_takes_every_class(orthanc: Orthanc, corpora: dict[str, Corpus]) -> None:
    corpus = corpora["classes"]
    flow = await sending(corpus.folder, orthanc.address, retry=ONCE)
    refused = {Path(event.path or "") for event in flow.refused}
    assert {str(file_meta(path)[0].MediaStorageSOPClassUID) for path in refused} <= NOT_STORAGE, (
        flow.reasons()
    )
    taken = [path for path in corpus.paths if path not in refused]
    assert orthanc.instances().keys() == {uid_of(path) for path in taken}
    assert digests(orthanc.stored().values()) == digests(taken)


async def test_orthanc_takes_every_file_of_pydicom(
    orthanc: Orthanc, pynetdicom_peer: Pynetdicom, whole_files: list[Path], tmp_path: Path
) -> None:
    """Orthanc encodes anew what it takes; it has of us what it has of pynetdicom. What it refuses leaves the rest alone."""
    for number, paths in enumerate(rounds(whole_files)[:2]):
        orthanc.clear()
        folder = tmp_path / str(number)
        copies = copied(paths, folder)
        flow = await sending(folder, orthanc.address, retry=ONCE)
        refused = {Path(event.path or "").name for event in flow.refused}
        assert refused <= REFUSED_FILES, flow.reasons()
        ours = orthanc.stored()
        assert ours.keys() == {uid_of(path) for path in copies if path.name not in refused}
        ours_digests = digests(path for path in ours.values() if not _deflated(path))
        orthanc.clear()
        good = [path for path in copies if path.name not in refused and not _deflated(path)]
        assert pynetdicom_peer.send(orthanc.address, *good).returncode == 0
        assert ours_digests == digests(orthanc.stored().values())


def _deflated(path: Path) -> bool:
    return syntax_of(path) == "1.2.840.10008.1.2.1.99"


async def test_more_than_128_contexts(dcmtk_peer: Dcmtk, corpora: dict[str, Corpus], tmp_path: Path) -> None:
    """Nothing is proposed that is not there, and never more than one association can hold."""
    corpus = corpora["classes"]
    with dcmtk_peer.storescp(tmp_path / "kept", level="debug") as server:
        flow = await sending(corpus.folder, server.address, retry=ONCE)
        log = server.log
    requests = re.findall(r"BEGIN A-ASSOCIATE-RQ(.*?)END A-ASSOCIATE-RQ", log, flags=re.DOTALL)
    assert len(requests) >= 2
    for request in requests:
        assert 1 <= len(re.findall(r"Abstract Syntax: ", request)) <= 128
        # DCMTK names what it knows, but the UID is there in the debug output of what it does not
    assert flow.totals.accepted >= len(corpus) - len(NOT_STORAGE)


async def test_a_peer_that_serves_one_at_a_time(
    dcmtk_peer: Dcmtk, corpora: dict[str, Corpus], tmp_path: Path
) -> None:
    """storescp takes the second association when the first one ends: nothing may wait for it, neither an object of another SOP
    Class nor the end. The timeout that would cut the knot is longer than this test may take.
    """
    corpus = corpora["base"]
    with dcmtk_peer.storescp(tmp_path / "kept") as server, anyio.fail_after(60):
        patient = Timeouts(acse=600, dimse=600, idle=600)
        flow = await sending(corpus.folder, server.address, retry=ONCE, associations=2, timeouts=patient)
    assert not flow.refused, flow.reasons()
    assert digests(server.stored().values()) == digests(corpus.paths)


async def test_private_class_to_an_archive_that_knows_none(
    dcmtk_peer: Dcmtk, corpora: dict[str, Corpus], tmp_path: Path
) -> None:
    corpus = corpora["base"]
    with dcmtk_peer.dcmqrscp(tmp_path / "archive") as server:
        flow = await sending(corpus.folder, server.address, retry=ONCE, associations=1)
        kept = [path for path in server.folder.iterdir() if path.name != "index.dat"]
    [refused] = flow.refused
    assert "/14/" in (refused.path or "")
    assert refused.sop_instance_uid in corpus.uids.values()
    assert len(kept) == len(corpus) - 1 == flow.totals.accepted


async def test_an_orthanc_that_wants_known_classes_only(corpora: dict[str, Corpus], tmp_path: Path) -> None:
    corpus = corpora["base"]
    with run_orthanc(tmp_path / "orthanc", UnknownSopClassAccepted=False) as server:
        flow = await sending(corpus.folder, server.address, retry=ONCE)
        assert len(server.instances()) == len(corpus) - 1
    [refused] = flow.refused
    assert "/14/" in (refused.path or "")
    assert "1.3.12.2.1107.5.9.1" in refused.reason


async def test_a_wrong_called_ae_is_said(corpora: dict[str, Corpus], tmp_path: Path) -> None:
    corpus = corpora["base"]
    with run_orthanc(tmp_path / "orthanc", DicomCheckCalledAet=True) as server:
        flow = await sending(corpus.folder, Address(server.address.port, "NOBODY"), retry=ONCE)
        assert server.instances() == {}
    assert len(flow.refused) == len(corpus)
    assert "called AE title not recognized" in flow.refused[0].reason


async def test_status_of_the_peer_is_told(
    pynetdicom_peer: Pynetdicom, dcmjs_peer: Dcmjs, corpora: dict[str, Corpus], tmp_path: Path
) -> None:
    corpus = corpora["comp"]
    for peer in (pynetdicom_peer, dcmjs_peer):
        with peer.scp(tmp_path / type(peer).__name__, status=0xA900) as server:
            flow = await sending(corpus.folder, server.address, retry=ONCE)
            assert server.stored() == {}
        assert [int(event.status) for event in flow.refused] == [0xA900] * len(corpus)


def _node(address: Address, pem: Pem, *, anonymous: bool = False, **tls: Any) -> Node:
    shown = {} if anonymous else {"cert": str(pem.cert), "key": str(pem.key)}
    secured = Tls(**shown, **({"ca": str(pem.ca)} | tls))
    return Node(host=HOST, port=address.port, ae_title=address.ae_title, tls=secured)


async def test_mutual_tls(
    dcmtk_peer: Dcmtk,
    pynetdicom_peer: Pynetdicom,
    dcmjs_peer: Dcmjs,
    certificates: Certificates,
    corpora: dict[str, Corpus],
    tmp_path: Path,
) -> None:
    corpus = corpora["comp"]
    servers = {
        "storescp": dcmtk_peer.storescp(tmp_path / "storescp", tls=certificates.server),
        "pynetdicom": pynetdicom_peer.scp(tmp_path / "pynetdicom", tls=certificates.server),
        "dcmjs": dcmjs_peer.scp(tmp_path / "dcmjs", tls=certificates.server),
        "orthanc": run_orthanc(tmp_path / "orthanc", tls=certificates.server),
    }
    for name, starting in servers.items():
        with starting as server:
            for wrong in (
                {"peer": _node(server.address, certificates.stranger)},
                {"peer": _node(server.address, certificates.client, anonymous=True)},
                {"peer": Node(host=HOST, port=server.address.port, ae_title=server.address.ae_title)},
            ):
                flow = await sending(corpus.folder, server.address, to="peer", nodes=wrong, retry=ONCE)
                assert len(flow.refused) == len(corpus), name
            right = {"peer": _node(server.address, certificates.client)}
            flow = await sending(corpus.folder, server.address, to="peer", nodes=right, retry=ONCE)
            assert not flow.refused, flow.reasons()
            stored = server.stored()
        assert stored.keys() == set(corpus.uids.values()), name
        if name != "orthanc":
            assert digests(stored.values()) == digests(corpus.paths), name


async def test_a_peer_that_is_not_trusted(
    dcmtk_peer: Dcmtk, certificates: Certificates, corpora: dict[str, Corpus], tmp_path: Path
) -> None:
    """The stranger's certificate is signed by nobody whom we trust; unless told so, we do not send to it."""
    corpus = corpora["comp"]
    with dcmtk_peer.storescp(tmp_path / "kept", "-ic", tls=certificates.stranger) as server:
        checked = {"peer": _node(server.address, certificates.client)}
        flow = await sending(corpus.folder, server.address, to="peer", nodes=checked, retry=ONCE)
        assert len(flow.refused) == len(corpus)
        assert "certificate" in flow.refused[0].reason
        assert server.stored() == {}
        unchecked = {"peer": _node(server.address, certificates.client, verify=False)}
        flow = await sending(corpus.folder, server.address, to="peer", nodes=unchecked, retry=ONCE)
        assert not flow.refused, flow.reasons()
        assert digests(server.stored().values()) == digests(corpus.paths)


@pytest.mark.parametrize("nodelay", [True, False])
async def test_nagle_at_the_peer(
    dcmtk_peer: Dcmtk, corpora: dict[str, Corpus], nodelay: bool, tmp_path: Path
) -> None:
    corpus = corpora["base"]
    with dcmtk_peer.storescp(tmp_path / "kept", nodelay=nodelay) as server:
        flow = await sending(corpus.folder, server.address, retry=ONCE)
        assert not flow.refused, flow.reasons()
        assert digests(server.stored().values()) == digests(corpus.paths)
