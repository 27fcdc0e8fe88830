"""A pipeline that listens: what real peers send is stored as they sent it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import anyio
import pytest

from corpus import Corpus
from dcmflow.net.node import Tls
from peers.base import Address, Pem
from peers.dcmjs import Dcmjs
from peers.dcmtk import MISNAMED_FILES, Dcmtk
from peers.fixtures import Certificates
from peers.orthanc import Orthanc
from peers.pynet import Pynetdicom, statuses
from wire_data import digests, rounds
from wire_flows import beside, receiving

pytestmark = [pytest.mark.anyio, pytest.mark.interop, pytest.mark.timeout(150)]

Send = Callable[..., "CompletedProcess[str]"]


@pytest.fixture(params=["pynetdicom", "dcmjs-dimse"])
def send(request: pytest.FixtureRequest) -> Send:
    """A sender that sends the bytes of files as they are."""
    name = {"pynetdicom": "pynetdicom_peer", "dcmjs-dimse": "dcmjs_peer"}[request.param]
    sender: Send = request.getfixturevalue(name).send
    return sender


@pytest.mark.parametrize("corpus", ["base", "comp", "priv", "classes"])
async def test_bytes_arrive_as_they_were_sent(
    send: Send, corpora: dict[str, Corpus], corpus: str, tmp_path: Path
) -> None:
    paths = corpora[corpus].paths
    async with receiving(tmp_path / "in") as flow:
        done = await beside(send, flow.address, *paths)
        assert statuses(done) == dict.fromkeys(paths, 0), done.stderr
        stored = digests(flow.files())
    assert stored == digests(paths), flow.reasons()
    assert flow.totals.accepted == len(paths)


async def test_every_file_of_pydicom(send: Send, whole_files: list[Path], tmp_path: Path) -> None:
    for number, paths in enumerate(rounds(whole_files)):
        async with receiving(tmp_path / str(number)) as flow:
            done = await beside(send, flow.address, *paths)
        refused = {path: status for path, status in statuses(done).items() if status != 0}
        assert not refused, flow.reasons()
        assert digests(flow.files()) == digests(paths)


@pytest.mark.parametrize("nodelay", [True, False])
@pytest.mark.parametrize("tool", ["storescu", "dcmsend"])
async def test_dcmtk_sends_base(
    dcmtk_peer: Dcmtk, corpora: dict[str, Corpus], tool: str, nodelay: bool, tmp_path: Path
) -> None:
    paths = corpora["base"].paths
    if tool == "storescu":  # refuses to send what it does not know
        paths = [path for path in paths if "/14/" not in str(path)]
    sender = getattr(dcmtk_peer, tool)
    async with receiving(tmp_path / "in") as flow:
        done = await beside(sender, flow.address, *paths, nodelay=nodelay)
        assert done.returncode == 0
        assert digests(flow.files()) == digests(paths)


PROPOSALS = {
    "explicit": "-xe",
    "implicit": "-xi",
    "big-endian": "-xb",
    "deflated": "-xd",
    "rle": "-xr",
    "jpeg": "-xs",
    "jpeg-ls": "-xt",
}


@pytest.mark.parametrize("name", PROPOSALS)
async def test_storescu_in_each_transfer_syntax(
    dcmtk_peer: Dcmtk, corpora: dict[str, Corpus], name: str, tmp_path: Path
) -> None:
    path = corpora["comp"][f"{name}.dcm"]
    options = ("-R", PROPOSALS[name])
    with dcmtk_peer.storescp(tmp_path / "reference") as reference:
        assert (await beside(dcmtk_peer.storescu, reference.address, path, options=options)).returncode == 0
    async with receiving(tmp_path / "in") as flow:
        assert (await beside(dcmtk_peer.storescu, flow.address, path, options=options)).returncode == 0
    assert digests(flow.files()) == digests(reference.stored().values())


async def test_dcmsend_every_class(dcmtk_peer: Dcmtk, corpora: dict[str, Corpus], tmp_path: Path) -> None:
    paths = corpora["classes"].paths
    async with receiving(tmp_path / "in") as flow:
        done = await beside(dcmtk_peer.dcmsend, flow.address, *paths)
        assert done.returncode == 0
    assert digests(flow.files()) == digests(paths), flow.reasons()


async def test_dcmsend_every_file_of_pydicom(
    dcmtk_peer: Dcmtk, whole_files: list[Path], tmp_path: Path
) -> None:
    """DCMTK reads and writes anew what it sends, so what its own storescp gets is the measure."""
    files = [path for path in whole_files if path.name not in MISNAMED_FILES]
    for number, paths in enumerate(rounds(files)):
        with dcmtk_peer.storescp(tmp_path / f"reference-{number}") as reference:
            await beside(dcmtk_peer.dcmsend, reference.address, *paths)
        async with receiving(tmp_path / str(number)) as flow:
            await beside(dcmtk_peer.dcmsend, flow.address, *paths)
        assert not flow.refused, flow.reasons()
        missing = digests(reference.stored().values()) - digests(flow.files())
        assert not missing


async def test_dcmjs_as_it_is(dcmjs_peer: Dcmjs, corpora: dict[str, Corpus], tmp_path: Path) -> None:
    """It decodes, proposes implicit and explicit VR in one context, and encodes into what was accepted."""
    corpus = corpora["base"]
    async with receiving(tmp_path / "in") as flow:
        done = await beside(dcmjs_peer.send, flow.address, *corpus.paths, natural=True)
        assert statuses(done) == dict.fromkeys(corpus.paths, 0)
    assert {path.stem for path in flow.files()} == set(corpus.uids.values())


async def test_orthanc_sends(
    orthanc: Orthanc, dcmtk_peer: Dcmtk, corpora: dict[str, Corpus], tmp_path: Path
) -> None:
    """Orthanc encodes as it likes; it sends us what it sends to storescp."""
    orthanc.add(*corpora["base"].paths, *corpora["comp"].paths)
    identifiers = orthanc.instances()

    def store(name: str, address: Address) -> dict[str, object]:
        orthanc.register({name: address})
        what = json.dumps({"Resources": list(identifiers.values()), "Synchronous": True})
        answer: dict[str, object] = json.loads(
            orthanc.fetch(f"/modalities/{name}/store", "POST", what.encode())
        )
        return answer

    with dcmtk_peer.storescp(tmp_path / "reference") as reference:
        await beside(store, "reference", reference.address)
    async with receiving(tmp_path / "in") as flow:
        answer = await beside(store, "dcmflow", flow.address)
        assert answer["FailedInstancesCount"] == 0
        assert answer["InstancesCount"] == len(identifiers)
    assert {path.stem for path in flow.files()} == identifiers.keys()
    assert digests(flow.files()) == digests(reference.stored().values())


async def test_echo_while_others_send(
    dcmtk_peer: Dcmtk, pynetdicom_peer: Pynetdicom, corpora: dict[str, Corpus], tmp_path: Path
) -> None:
    paths = corpora["classes"].paths
    async with receiving(tmp_path / "in") as flow:
        results: list[CompletedProcess[str]] = []

        async def transfer() -> None:
            results.append(await beside(pynetdicom_peer.send, flow.address, *paths))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(transfer)
            while not flow.files():  # noqa: ASYNC110 - the peer cannot tell
                await anyio.sleep(0.01)
            for _ in range(3):
                assert (await beside(dcmtk_peer.echoscu, flow.address)).returncode == 0
        assert results[0].returncode == 0
    assert len(flow.files()) == len(paths)


async def test_all_peers_at_once(
    dcmtk_peer: Dcmtk,
    pynetdicom_peer: Pynetdicom,
    dcmjs_peer: Dcmjs,
    corpora: dict[str, Corpus],
    tmp_path: Path,
) -> None:
    base, comp, priv = (corpora[name].paths for name in ("base", "comp", "priv"))
    async with receiving(tmp_path / "in") as flow, anyio.create_task_group() as tasks:

        async def transfer(sender: Send, *paths: Path) -> None:
            assert (await beside(sender, flow.address, *paths)).returncode == 0

        tasks.start_soon(transfer, dcmtk_peer.dcmsend, *base)
        tasks.start_soon(transfer, pynetdicom_peer.send, *comp)
        tasks.start_soon(transfer, dcmjs_peer.send, *priv)
    assert digests(flow.files()) == digests([*base, *comp, *priv])


def _tls(pem: Pem, *, mutual: bool) -> Tls:
    return Tls(cert=str(pem.cert), key=str(pem.key), ca=str(pem.ca) if mutual else None)


async def test_mutual_tls(
    dcmtk_peer: Dcmtk,
    pynetdicom_peer: Pynetdicom,
    dcmjs_peer: Dcmjs,
    certificates: Certificates,
    corpora: dict[str, Corpus],
    tmp_path: Path,
) -> None:
    first, second, third, *_ = corpora["base"].paths
    async with receiving(tmp_path / "in", tls=_tls(certificates.server, mutual=True)) as flow:
        ours = {"tls": certificates.client}
        senders: list[tuple[Send, Path]] = [
            (dcmtk_peer.storescu, first),
            (pynetdicom_peer.send, second),
            (dcmjs_peer.send, third),
        ]
        for sender, path in senders:
            assert (await beside(sender, flow.address, path, tls=certificates.stranger)).returncode != 0
            assert (await beside(sender, flow.address, path)).returncode != 0
        assert flow.files() == []
        for sender, path in senders:
            assert (await beside(sender, flow.address, path, **ours)).returncode == 0
        assert (await beside(dcmtk_peer.echoscu, flow.address, **ours)).returncode == 0
    assert digests(flow.files()) == digests([first, second, third])


async def test_tls_without_certificates_of_clients(
    dcmtk_peer: Dcmtk, certificates: Certificates, corpora: dict[str, Corpus], tmp_path: Path
) -> None:
    path = corpora["base"].paths[0]
    anonymous = ("-R", "+tla", "+cf", str(certificates.client.ca))
    async with receiving(tmp_path / "in", tls=_tls(certificates.server, mutual=False)) as flow:
        assert (await beside(dcmtk_peer.storescu, flow.address, path, options=anonymous)).returncode == 0
    assert digests(flow.files()) == digests([path])


async def test_who_may_call(
    dcmtk_peer: Dcmtk, pynetdicom_peer: Pynetdicom, corpora: dict[str, Corpus], tmp_path: Path
) -> None:
    path = corpora["base"].paths[0]
    async with receiving(tmp_path / "in", accept_from=["MODALITY"]) as flow:
        stranger = await beside(dcmtk_peer.storescu, flow.address, path, calling_ae="STRANGER")
        assert stranger.returncode != 0
        assert "Calling AE Title Not Recognized" in stranger.stdout + stranger.stderr
        wrong = Address(flow.address.port, "OTHER")
        misled = await beside(dcmtk_peer.storescu, wrong, path, calling_ae="MODALITY")
        assert misled.returncode != 0
        assert "Called AE Title Not Recognized" in misled.stdout + misled.stderr
        assert (await beside(pynetdicom_peer.send, flow.address, path)).returncode == 3
        assert flow.files() == []
        done = await beside(dcmtk_peer.storescu, flow.address, path, calling_ae="MODALITY")
        assert done.returncode == 0
    assert Counter(path.suffix for path in flow.files()) == {".dcm": 1}
