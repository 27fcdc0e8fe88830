"""Who may call an scp source, as whom, and where it listens."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from dcmflow import ConfigError, Pipeline, StageError, sinks, sources
from dcmflow.net.node import Local, Tls
from dcmflow.protocol.pdu import AssociateReject
from dcmflow.testing import ScriptedScu
from peers.base import free_port
from peers.fixtures import Certificates
from scp_runs import (
    CT,
    EXPLICIT,
    IMPLICIT,
    MR,
    VERIFICATION,
    echo,
    made,
    receiving,
    send,
    until,
)
from stage_runs import Gather

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]


async def test_two_on_one_port() -> None:
    port, one, two = free_port(), Gather(), Gather()
    a = sources.Scp(f"ONE@127.0.0.1:{port}") | one
    b = sources.Scp(f"TWO@127.0.0.1:{port}") | two
    async with Pipeline((a, b) | sinks.Discard()).start():
        assert await send(f"TWO@127.0.0.1:{port}", made(2)) == [0]
        assert await send(f"ONE@127.0.0.1:{port}", made(1)) == [0]
        seen = await echo(f"THREE@127.0.0.1:{port}")
        assert seen.pdu == AssociateReject(1, 1, 7)
    assert (one.uids, two.uids) == (["2.25.2"], ["2.25.3"])


async def test_two_on_one_port_and_title_by_caller() -> None:
    port, mine, others = free_port(), Gather(), Gather()
    place = f"DCMFLOW@127.0.0.1:{port}"
    a = sources.Scp(place, accept_from=["MR1"]) | mine
    b = sources.Scp(place, accept_from=["CT1", "CT2"]) | others
    async with Pipeline((a, b) | sinks.Discard()).start():
        assert await send(place, made(2), calling_ae="CT2") == [0]
        assert await send(place, made(1), calling_ae="MR1") == [0]
        seen = await echo(place, calling_ae="US1")
        assert seen.pdu == AssociateReject(1, 1, 3)
    assert (mine.uids, others.uids) == (["2.25.2"], ["2.25.3"])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {}),
        ({"accept_from": ["MR1"]}, {"accept_from": ["MR1", "MR2"]}),
        ({"accept_from": ["MR1"]}, {"accept_from": ["@10.0.0.0/8"]}),
    ],
)
async def test_a_collision_is_an_error(one: dict[str, Any], other: dict[str, Any]) -> None:
    place = f"DCMFLOW@127.0.0.1:{free_port()}"
    pipeline = Pipeline((sources.Scp(place, **one), sources.Scp(place, **other)) | sinks.Discard())
    with pytest.raises(ConfigError, match="source scp-1 answers to DCMFLOW") as raised:
        await pipeline.run()
    assert raised.value.key == "listen"


async def test_two_on_one_port_agree_on_tls(certificates: Certificates) -> None:
    """Who asks for TLS does not get a port in the clear because another stage was quicker."""
    port = free_port()
    tls = Tls(cert=str(certificates.server.cert), key=str(certificates.server.key))
    a, b = sources.Scp(f"ONE@127.0.0.1:{port}"), sources.Scp(f"TWO@127.0.0.1:{port}", tls=tls)
    for pair in ((a, b), (b, a)):
        with pytest.raises(StageError, match=f"port {port}.*TLS"):
            await Pipeline(pair | sinks.Discard()).run()


async def test_any_free_port_is_one_for_each() -> None:
    a, b = sources.Scp("ONE@127.0.0.1:0"), sources.Scp("ONE@127.0.0.1:0")
    async with Pipeline((a, b) | sinks.Discard()).start() as running:  # on one they would collide
        await running.drain()


async def test_without_a_title_any_will_do() -> None:
    async with receiving(sinks.Discard(), title="") as flow:
        for title in ("ANY-SCP", "SOMEBODY"):
            assert (await echo(f"{title}@{flow.node.partition('@')[2]}")).status == 0


async def test_place_and_title_of_the_settings() -> None:
    local = Local(ae_title="SETTINGS", host="127.0.0.1", port=free_port())
    async with Pipeline(sources.Scp() | sinks.Discard(), local=local).start():
        assert (await echo(local.address)).status == 0
        other = await echo(str(replace(local, ae_title="OTHER").address))
        assert other.pdu == AssociateReject(1, 1, 7)


async def test_who_is_rejected_is_reported() -> None:
    async with receiving(sinks.Discard(), accept_from=["MR1"]) as flow:
        assert (await echo(flow.node, calling_ae="\x1b[31mX")).pdu == AssociateReject(1, 1, 3)
        (event,) = flow.rejected
        assert event.stage == "scp"
        assert "127.0.0.1" in event.peer


async def test_no_more_than_so_many_associations() -> None:
    async with receiving(sinks.Discard(), max_associations=1) as flow:
        async with ScriptedScu(flow.node) as scu:
            await scu.associate()
            assert (await echo(flow.node)).pdu == AssociateReject(2, 3, 2)
            await scu.release()
        await until(lambda: len(flow.rejected) == 1)


async def test_only_these_sop_classes_and_transfer_syntaxes() -> None:
    taken = {"sop_classes": [MR], "transfer_syntaxes": [EXPLICIT]}
    proposed = [(CT, EXPLICIT), (MR, IMPLICIT), (MR, IMPLICIT, EXPLICIT), (VERIFICATION, EXPLICIT)]
    async with receiving(sinks.Discard(), **taken) as flow, ScriptedScu(flow.node) as scu:
        await scu.associate(*proposed)
        contexts = scu.channel.contexts
    assert {number: context.transfer_syntax for number, context in contexts.items()} == {
        5: EXPLICIT,
        7: EXPLICIT,
    }


async def test_a_port_in_use() -> None:
    async with receiving(sinks.Discard()) as flow:
        with pytest.raises(StageError, match=r"scp-1.*127\.0\.0\.1:\d+: the port is in use") as raised:
            await Pipeline(sources.Scp(flow.node) | sinks.Discard()).run()
        assert raised.value.opening
        assert (await echo(flow.node)).status == 0


async def test_tls_of_a_source(certificates: Certificates) -> None:
    from dcmflow.net.tls import client_context

    ca = str(certificates.client.ca)
    tls = Tls(cert=str(certificates.server.cert), key=str(certificates.server.key), ca=ca)
    shown = Tls(cert=str(certificates.client.cert), key=str(certificates.client.key), ca=ca)
    async with receiving(sinks.Discard(), tls=tls) as flow:
        assert await send(flow.node, made(0, 3 << 20), tls=client_context(shown, "127.0.0.1")) == [0]
        assert flow.counts == (1, 1, 0, 0, 0)


def test_fields_that_cannot_be() -> None:
    for fields in (
        {"listen": "A@h:p"},
        {"accept_from": ["@nowhere"]},
        {"spill": "a lot"},
        {"until_idle": "soon"},
        {"tls": Tls(ca="ca.pem")},
    ):
        with pytest.raises((ConfigError, ValueError)):
            sources.Scp(**fields)  # type: ignore[arg-type]
