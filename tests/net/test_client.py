"""SCU operations of a program."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from dcmflow import Pipeline, sinks, sources
from dcmflow.dicom.instance import Instance
from dcmflow.errors import AssociationRejected, ConfigError, ConnectError, NetworkTimeout, NoAcceptedContext
from dcmflow.net import operations
from dcmflow.net.address import parse_address
from dcmflow.net.client import Client
from dcmflow.net.contexts import propose
from dcmflow.net.node import Node, Timeouts, Tls
from dcmflow.testing import AbortNow, Accept, Answer, Reject, ScriptedScp, instance
from peers.base import Pem, free_port
from peers.dcmtk import Dcmtk
from peers.fixtures import Certificates
from peers.pynet import Pynetdicom
from stage_runs import until

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]

CT = instance()
CONTEXTS = propose([(CT.sop_class_uid, CT.transfer_syntax_uid)])


async def test_echo_and_store_by_name_address_and_node() -> None:
    async with ScriptedScp(on_store=[0, 0xB000, Answer(0xA900, "no such thing")]) as peer:
        node = parse_address(peer.node)
        async with Client("HERE", nodes={"pacs": node}) as client:
            assert await client.echo("pacs") == 0
            assert await client.echo(peer.node) == 0
            assert [await client.store(each, CT) for each in ("pacs", peer.node, node)] == [0, 0xB000, 0xA900]
        assert {channel.peer_ae for channel in peer.channels} == {"HERE"}
        assert len(peer.received.of("A-ASSOCIATE-RQ")) == 2  # for C-ECHO and for C-STORE: it is one node


async def test_as_many_associations_as_the_node_takes() -> None:
    async with ScriptedScp() as peer:
        node = Node(host="127.0.0.1", port=peer.port, max_associations=3)
        async with Client() as client, anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(client.store, node, CT)
        assert len(peer.received.of("C-STORE-RQ")) == 20
        assert 1 <= len(peer.received.of("A-ASSOCIATE-RQ")) <= 3
        assert "A-ABORT" not in peer.received.whats


async def test_several_nodes() -> None:
    async with ScriptedScp() as one, ScriptedScp(accept=Reject(1, 1, 7)) as other, Client() as client:
        assert await client.echo(one.node) == 0
        with pytest.raises(AssociationRejected, match="called AE title not recognized"):
            await client.echo(other.node)
        with pytest.raises(ConnectError, match="connection refused"):
            await client.store(f"NOBODY@127.0.0.1:{free_port()}", CT)
        assert await client.store(one.node, CT) == 0


async def test_an_association_of_ones_own() -> None:
    async with ScriptedScp() as peer, Client() as client:
        async with client.associate(peer.node, CONTEXTS) as association:
            assert [context.abstract_syntax for context in association.contexts.values()] == [
                CT.sop_class_uid
            ]
            assert (await operations.store(association, CT)).status == 0
        await peer.received.wait("A-RELEASE-RQ")


async def test_errors_come_out_as_they_are() -> None:
    async with ScriptedScp(accept=Accept(refuse=lambda context: 3)) as peer:
        with pytest.raises(NoAcceptedContext, match="C-ECHO"):
            async with Client() as client:
                await client.echo(peer.node)
        with pytest.raises(ZeroDivisionError):
            async with Client() as client, client.associate(peer.node, CONTEXTS):
                raise ZeroDivisionError


async def test_cancelled_it_aborts() -> None:
    async with ScriptedScp() as peer:
        with anyio.CancelScope() as scope:
            async with Client() as client:
                await client.store(peer.node, CT)
                scope.cancel()
                await anyio.sleep(5)
        await peer.received.wait("A-ABORT")
        assert "A-RELEASE-RQ" not in peer.received.whats


async def test_used_again_after_everything_broke() -> None:
    async with ScriptedScp(on_store=[0, AbortNow(), 0]) as peer, Client() as client:
        assert [await client.store(peer.node, CT) for _ in range(3)] == [0, 0, 0]


async def test_used_in_one_block_after_the_other() -> None:
    async with ScriptedScp() as peer:
        client = Client()
        for _ in range(2):
            async with client:
                assert await client.echo(peer.node) == 0
                with pytest.raises(RuntimeError, match="in use in another block"):
                    async with client:
                        pytest.fail("it is in use")
                assert await client.echo(peer.node) == 0
        assert len(peer.received.of("A-ASSOCIATE-RQ")) == 2
        with pytest.raises(RuntimeError, match="in its block"):
            await client.echo(peer.node)


async def test_no_room_beside_associations_of_ones_own() -> None:
    async with ScriptedScp() as peer, Client() as client:
        node = Node(host="127.0.0.1", port=peer.port, max_associations=1, timeouts=Timeouts(connect=0.1))
        async with client.associate(node, CONTEXTS):
            with pytest.raises(NetworkTimeout, match="all are in `associate` blocks"):
                await client.echo(node)
        assert await client.echo(node) == 0


async def test_nodes_that_are_never_called_again_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dcmflow.net.client.TICK", 0.0)
    monkeypatch.setattr("dcmflow.net.pool.TICK", 0.02)
    async with ScriptedScp() as peer, ScriptedScp() as other, Client() as client:
        node = Node(host="127.0.0.1", port=peer.port, timeouts=Timeouts(idle=0.1))
        assert await client.echo(node) == 0
        assert await client.echo(other.node) == 0
        await until(lambda: node not in client._pools)
        assert len(client._pools) == 2  # by its name and by what it is
        assert "A-ABORT" not in peer.received.whats
        assert await client.echo(node) == 0
        assert await client.echo(other.node) == 0
        assert len(other.received.of("A-ASSOCIATE-RQ")) == 1


async def test_what_cannot_be_right() -> None:
    with pytest.raises(ConfigError, match="17 characters"):
        Client("SEVENTEEN--------")
    async with Client(nodes={"mypacs": Node(host="127.0.0.1")}) as client:
        with pytest.raises(ConfigError, match="did you mean 'mypacs'"):
            await client.echo("mypac")
    with pytest.raises(RuntimeError, match="in its block"):
        await client.echo("mypacs")


# -- real peers


@pytest.mark.interop
async def test_dcmtk_and_pynetdicom_at_once(
    dcmtk_peer: Dcmtk, pynetdicom_peer: Pynetdicom, tmp_path: Path
) -> None:
    given = [instance(SOPInstanceUID=f"2.25.{number}") for number in range(1, 11)]
    with (
        dcmtk_peer.storescp(tmp_path / "dcmtk") as one,
        pynetdicom_peer.scp(tmp_path / "pynetdicom") as other,
    ):
        async with Client() as client, anyio.create_task_group() as tasks:
            for server in (one, other):
                assert await client.echo(str(server.address)) == 0
                for each in given:
                    tasks.start_soon(client.store, str(server.address), each)
    for server in (one, other):
        assert server.stored().keys() == {each.sop_instance_uid for each in given}


async def test_our_own_scp(tmp_path: Path) -> None:
    port = free_port()
    given = [instance(SOPInstanceUID=f"2.25.{number}") for number in range(1, 11)]
    flow = sources.Scp(f"DCMFLOW@127.0.0.1:{port}") | sinks.Directory(str(tmp_path / "in"))
    async with Pipeline(flow).start() as running:
        node = f"DCMFLOW@127.0.0.1:{port}"
        async with Client() as client:
            assert await client.echo(node) == 0
            for each in given:
                assert await client.store(node, each) == 0
        await running.drain()
    stored = [Instance.load(path) for path in (tmp_path / "in").rglob("*.dcm")]
    assert {each.sop_instance_uid for each in stored} == {each.sop_instance_uid for each in given}


def _tls(port: int, pem: Pem, **changes: str) -> Node:
    tls = Tls(**{"cert": str(pem.cert), "key": str(pem.key), "ca": str(pem.ca), **changes})
    return Node(host="127.0.0.1", port=port, tls=tls)


@pytest.mark.interop
async def test_tls(dcmtk_peer: Dcmtk, certificates: Certificates, tmp_path: Path) -> None:
    with dcmtk_peer.storescp(tmp_path / "in", tls=certificates.server) as server:
        async with Client() as client:
            assert await client.store(_tls(server.address.port, certificates.client), CT) == 0
        async with Client() as client:  # it serves one association at a time
            wrong = _tls(server.address.port, certificates.client, ca=str(certificates.stranger.cert))
            with pytest.raises(ConnectError, match="certificate") as raised:
                await client.echo(wrong)
            assert not raised.value.transient
            missing = _tls(server.address.port, certificates.client, cert=str(tmp_path / "none.pem"))
            with pytest.raises(ConfigError, match=r"none\.pem"):
                await client.echo(missing)
    assert list(server.stored()) == [CT.sop_instance_uid]
