"""Many objects, and large ones: all of them arrive, byte by byte, whoever sends to whom."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.from_thread import BlockingPortal

from acceptance_kit import FLAT, Command, digests, pipeline_file, report, visible
from acceptance_wire import here, scripted, secure, serving, tls_options
from corpus import Corpus
from peers.base import Address, free_port
from peers.dcmtk import Dcmtk
from peers.fixtures import Certificates
from peers.orthanc import Orthanc
from peers.pynet import Pynetdicom
from wire_data import ct_series, small_series

pytestmark = pytest.mark.timeout(60)

SMALL, LARGE = 500, 20

ON_EACH_LOOP = pytest.mark.parametrize(
    ("name", "backend"), [("small", "asyncio"), ("small", "trio"), ("large", "trio"), ("huge", "asyncio")]
)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Hundreds of objects of 13 kB."""
    return small_series(tmp_path_factory.mktemp("small"), SMALL)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Objects of 527 kB, 10 MB in all."""
    return ct_series(tmp_path_factory.mktemp("large"), LARGE)


@pytest.fixture(scope="module")
def huge(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Two objects of 20 MB."""
    return ct_series(tmp_path_factory.mktemp("huge"), 2, side=3200)


def set_of(request: pytest.FixtureRequest, name: str) -> Corpus:
    found = request.getfixturevalue(name)
    assert isinstance(found, Corpus)
    return found


@pytest.mark.interop
@ON_EACH_LOOP
def test_a_server_gets_every_byte_that_is_sent(
    run: Command, request: pytest.FixtureRequest, dcmtk_peer: Dcmtk, name: str, backend: str, tmp_path: Path
) -> None:
    files = set_of(request, name)
    with dcmtk_peer.storescp(tmp_path / "in", "--fork", level="warn") as server:
        file = pipeline_file(
            tmp_path / "p.toml",
            sources={"in": {"type": "directory", "path": files.folder}},
            sinks={"out": {"type": "store", "from": "in", "to": str(server.address), "associations": 4}},
        )
        line = ["run", file, "--backend", backend, "--report", tmp_path / "r.json", "--quiet"]
        run(*line, timeout=40).must(0)
        assert digests(visible(tmp_path / "in")) == digests(files.paths)
    figures = report(tmp_path / "r.json")["pipeline"]
    assert figures["emitted"] == figures["accepted"] == len(files)


@pytest.mark.interop
@ON_EACH_LOOP
def test_a_listener_stores_every_byte_that_comes(
    run: Command,
    request: pytest.FixtureRequest,
    dcmtk_peer: Dcmtk,
    at: Address,
    name: str,
    backend: str,
    tmp_path: Path,
) -> None:
    files = set_of(request, name)
    file = pipeline_file(
        tmp_path / "p.toml",
        sources={"scp": {"type": "scp", "listen": str(at), "spill": "16 MiB"}},
        sinks={"out": {"type": "directory", "from": "scp", "path": "out", "layout": FLAT}},
    )
    line = ["run", file, "--backend", backend, "--report", tmp_path / "r.json"]
    with serving(run, *line, ports=[at.port]) as service:
        assert dcmtk_peer.storescu(at, *files.paths).returncode == 0
        assert digests(visible(tmp_path / "out")) == digests(files.paths)
        service.stop().must(0)
    assert report(tmp_path / "r.json")["pipeline"]["accepted"] == len(files)


@pytest.mark.interop
@pytest.mark.parametrize("name", ["small", "large"])
def test_what_is_forwarded_arrives_as_it_was_sent(
    run: Command, request: pytest.FixtureRequest, dcmtk_peer: Dcmtk, at: Address, name: str, tmp_path: Path
) -> None:
    files = set_of(request, name)
    with (
        dcmtk_peer.storescp(tmp_path / "far", "--fork", level="warn") as far,
        serving(run, "forward", far.address, tmp_path / "near", "--listen", at, ports=[at.port]) as service,
    ):
        assert dcmtk_peer.storescu(at, *files.paths).returncode == 0
        wanted = digests(files.paths)
        assert digests(visible(tmp_path / "near")) == wanted
        assert digests(visible(far.folder)) == wanted
        service.stop().must(0)


@pytest.mark.interop
def test_orthanc_holds_what_was_sent_in_the_very_bytes(run: Command, orthanc: Orthanc, large: Corpus) -> None:
    run("send", orthanc.address, large.folder, "--quiet", "--associations", 3, timeout=40).must(0)
    assert digests(orthanc.stored().values()) == digests(large.paths)


@pytest.mark.interop
def test_several_senders_at_once_lose_nothing(
    run: Command,
    dcmtk_peer: Dcmtk,
    pynetdicom_peer: Pynetdicom,
    small: Corpus,
    large: Corpus,
    at: Address,
    portal: BlockingPortal,
    tmp_path: Path,
) -> None:
    quarter = SMALL // 4
    with serving(run, "forward", tmp_path / "in", "--listen", at, ports=[at.port]) as service:
        sends: list[Callable[[], Any]] = [
            partial(dcmtk_peer.storescu, at, *small.paths[:quarter]),
            partial(dcmtk_peer.dcmsend, at, *small.paths[quarter : 2 * quarter]),
            partial(run, "send", at, *small.paths[2 * quarter : 3 * quarter], "--quiet"),
            partial(dcmtk_peer.storescu, at, *large.paths),
            partial(pynetdicom_peer.send, at, *small.paths[-50:]),
        ]
        running = [portal.start_task_soon(anyio.to_thread.run_sync, send) for send in sends]
        for future in running:
            done = future.result(50)
            assert (done.code if hasattr(done, "code") else done.returncode) == 0, done
        sent = [*small.paths[: 3 * quarter], *small.paths[-50:], *large.paths]
        assert digests(visible(tmp_path / "in")) == digests(sent)
        service.stop().must(0)


def test_many_associations_take_each_object_once_and_no_more_than_allowed(
    run: Command, small: Corpus
) -> None:
    with scripted() as server:
        run("send", server.node, small.folder, "--associations", 8, "--quiet", timeout=40).must(0)
        stores = server.stores()
        assert server.peer.most_open <= 8
    assert len(stores) == len(set(stores)) == SMALL


@pytest.mark.interop
def test_over_tls_every_byte_arrives_too(
    run: Command, dcmtk_peer: Dcmtk, certificates: Certificates, small: Corpus, huge: Corpus, tmp_path: Path
) -> None:
    at = here(free_port(), "SECURE")
    pem = certificates.server
    line = ["forward", tmp_path / "in", "--listen", secure(at), "--tls-cert", pem.cert, "--tls-key", pem.key]
    with serving(run, *line, "--tls-ca", pem.ca, "--spill", "16 MiB", ports=[at.port]) as service:
        run("send", secure(at), huge.folder, *tls_options(certificates.client), "--quiet", timeout=40).must(0)
        assert dcmtk_peer.storescu(at, *small.paths, tls=certificates.client).returncode == 0
        assert digests(visible(tmp_path / "in")) == digests([*huge.paths, *small.paths])
        service.stop().must(0)
