"""What no client should do, done to a listener through real sockets: it answers others before, meanwhile and afterwards."""

from __future__ import annotations

import os
import re
import resource
import socket
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest

from dcmflow import sinks
from dcmflow.net.entity import ApplicationEntity
from dcmflow.protocol.command import c_store_rq, encode_command
from dcmflow.testing import ATTACKS, PATIENT, Encoded, ScriptedScu
from dcmflow.testing.peer_fault import associate_request, context_item, user_item
from dcmflow.testing.peer_wire import message, p_data, pdu, pdv
from peers.base import client as run
from peers.base import free_port, listening
from scp_runs import (
    CT,
    IMPLICIT,
    SHORT,
    VERIFICATION,
    Kept,
    Notices,
    descriptors,
    echo,
    encoded,
    hosting,
    node,
    receiving,
    sized,
    until,
)
from wire_flows import beside

pytestmark = (
    pytest.mark.anyio
)  # without no_leaks, of which a hundred would take long; most of it is looked for here

QUICK = [name for name in ATTACKS if name not in PATIENT]


@asynccontextmanager
async def archive() -> AsyncIterator[tuple[str, Kept, ScriptedScu]]:
    """A listener whose patience is short, and somebody who has been associated before."""
    kept, before = Kept(), descriptors()
    entity = ApplicationEntity("ARCHIVE", store=kept, notice=Notices())
    anybody = ApplicationEntity("*", store=kept, notice=Notices(), timeouts=SHORT)
    async with hosting(entity, anybody, timeouts=SHORT) as listener:
        async with ScriptedScu(node(listener)) as early:
            await early.associate()
            yield node(listener, "ANY-SCP"), kept, early
            assert (await early.echo()).status == 0
            await early.release()
        await entity.empty()
        await anybody.empty()
    assert descriptors() == before


@pytest.mark.parametrize("name", QUICK)
async def test_an_attack_ends_and_others_go_on(name: str) -> None:
    async with archive() as (address, kept, early):
        async with ScriptedScu(address) as scu:
            await scu.run(ATTACKS[name])
            if scu.channel.wire._socket.fileno() >= 0:
                assert (await scu.rest())[-1].what in ("close", "reset")
        assert (await echo(address)).status == 0
        assert (await early.echo()).status == 0
        assert kept.seen == []


async def test_patient_attacks_all_at_once() -> None:
    async with archive() as (address, kept, early), anyio.create_task_group() as tasks:

        async def attack(name: str) -> None:
            async with ScriptedScu(address) as scu:
                await scu.run(ATTACKS[name])
                if name != "a thousand requests":
                    assert (await scu.rest())[-1].what in ("close", "reset")

        for name in sorted(PATIENT):
            tasks.start_soon(attack, name)
        for _ in range(5):
            assert (await early.echo()).status == 0
            assert (await echo(address)).status == 0
            await anyio.sleep(0.2)
        assert kept.seen == []


def spoilt(data: bytes, random: Random) -> bytes:
    """Some bytes changed, taken out or put in."""
    made = bytearray(data)
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(made) or 1)
        what = random.randrange(4)
        if what == 0 and made:
            made[at % len(made)] = random.choice((0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)))
        elif what == 1:
            del made[at : at + random.choice((1, 2, 4, 20))]
        elif what == 2:
            made[at:at] = random.randbytes(random.choice((1, 2, 4, 20)))
        elif len(made) > 4:
            at %= len(made) - 3
            made[at : at + 4] = struct.pack(
                random.choice("<>") + "L", random.choice((0, 1, 0xFFFF, 0xFFFFFFFF))
            )
    return bytes(made)


@pytest.mark.parametrize("seed", range(3))
async def test_spoilt_bytes_of_every_kind(seed: int) -> None:
    """Nothing that comes in stops the listener, or the pipeline behind it."""
    random = Random(seed)
    made = sized(400)
    data = encoded(made)
    contexts = [context_item(1, VERIFICATION, IMPLICIT), context_item(3, CT, made.transfer_syntax_uid)]
    contexts.append(
        context_item(
            5, CT, random.choice(("1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99", IMPLICIT, "2.25.7"))
        )
    )
    request = associate_request(*contexts, user_item(), called=b"DCMFLOW")
    store = encode_command(c_store_rq(1, CT, made.sop_instance_uid))

    def attempt() -> bytes:
        kind, number = random.randrange(4), random.choice((3, 5))
        if kind == 0:
            return spoilt(request, random)
        if kind == 1:
            return request + message(number, spoilt(store, random), data)
        if kind == 2:
            return request + message(number, store, spoilt(data, random))
        return request + spoilt(message(number, store, data), random)

    async with receiving(sinks.Discard(), timeouts=SHORT) as flow:
        limit = anyio.CapacityLimiter(8)

        async def one(sent: bytes) -> None:
            async with limit, ScriptedScu(flow.node) as scu:
                await scu.send(sent)
                try:
                    scu.channel.wire.end_sending()
                except OSError:
                    return
                await scu.rest()

        async with anyio.create_task_group() as tasks:
            for _ in range(150):
                tasks.start_soon(one, attempt())
        assert (await echo(flow.node)).status == 0
        assert flow.totals.emitted > 20


@pytest.mark.parametrize(
    "syntax", [IMPLICIT, "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99", "2.25.7"]
)
async def test_data_sets_of_nonsense_are_refused_one_by_one(syntax: str) -> None:
    random = Random(1)
    nested = (
        b"\x08\x00\x05\x11\xff\xff\xff\xff"
        + b"\xfe\xff\x00\xe0\xff\xff\xff\xff\x08\x00\x05\x11\xff\xff\xff\xff" * 5000
    )
    datasets = [b"", b"\0", b"\0" * 7, b"\xff" * 1000, random.randbytes(5000), nested, b"DICM" * 100]
    async with receiving(sinks.Discard()) as flow, ScriptedScu(flow.node) as scu:
        await scu.associate((CT, syntax), (VERIFICATION, IMPLICIT))
        for number, data in enumerate(datasets):
            answer = await scu.store(Encoded(CT, f"2.25.{number}", syntax, data))
            assert answer.what == "C-STORE-RSP", data[:20]
            assert answer.status is not None
            if syntax != "1.2.840.10008.1.2.1.99":  # what is deflated is not looked into
                assert answer.status & 0xF000 in (0xA000, 0xC000)
        assert (await scu.echo()).status == 0
        assert flow.totals.emitted == len(datasets)


async def test_an_abort_in_every_phase() -> None:
    """And a reset, and an end: whatever the phase, nothing comes of it and nothing stays."""
    made = sized(200_000)
    request = encode_command(c_store_rq(1, CT, made.sop_instance_uid))
    associate = associate_request(
        context_item(1, CT, made.transfer_syntax_uid), user_item(), called=b"ANY-SCP"
    )
    whole = associate + message(1, request, encoded(made), largest=16384)
    phases = [0, 3, 6, 60, len(associate) - 1, len(associate), len(associate) + 3, len(associate) + 20]
    phases += [len(associate) + 12 + len(request) + more for more in (0, 6, 12, 5000, 17_000, 150_000)]
    abort = pdu(7, bytes(4))
    async with archive() as (address, kept, _):

        async def end(count: int, how: str) -> None:
            async with ScriptedScu(address) as scu:
                await scu.send(whole[:count] + (abort if how == "abort" else b""))
                await anyio.sleep(random.random() / 20)
                scu.close(reset=how == "reset")

        random = Random(1)
        async with anyio.create_task_group() as tasks:
            for count in phases:
                for how in ("abort", "reset", "close"):
                    tasks.start_soon(end, count, how)
        assert (await echo(address)).status == 0
        assert kept.seen == []


SERVER = """
import sys, anyio
from dcmflow import Pipeline, sinks, sources
from dcmflow.net.node import Timeouts

async def main(port, folder):
    scp = sources.Scp(f"DCMFLOW@127.0.0.1:{port}", timeouts=Timeouts(acse=1, dimse=1, idle=5), spill="1 MiB")
    await Pipeline(scp | sinks.Directory(folder)).run()

anyio.run(main, int(sys.argv[1]), sys.argv[2], backend=sys.argv[3])
"""


@contextmanager
def server(folder: Path, backend: str) -> Iterator[tuple[int, int]]:
    """A process that listens and stores: its number and its port."""
    port = free_port()
    words = [sys.executable, "-c", SERVER, str(port), str(folder), backend]
    process = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    try:
        while port not in listening():
            assert process.poll() is None, process.stderr.read().decode()
            time.sleep(0.01)
        yield process.pid, port
        assert process.poll() is None, process.stderr.read().decode()
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def peak(pid: int) -> int:
    """The most memory a process has had, in bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


@pytest.mark.usefixtures("no_leaks")
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc")
async def test_more_connections_than_files_may_be_open(tmp_path: Path, anyio_backend_name: str) -> None:
    """They wait in the queue of the system until there is room, and nobody else suffers for longer."""
    with server(tmp_path / "in", anyio_backend_name) as (pid, port):
        address = f"DCMFLOW@127.0.0.1:{port}"
        async with ScriptedScu(address) as early:
            await early.associate()
            used = len(os.listdir(f"/proc/{pid}/fd"))
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 20, used + 20))
            crowd = [socket.create_connection(("127.0.0.1", port)) for _ in range(60)]
            await until(lambda: len(os.listdir(f"/proc/{pid}/fd")) == used + 20)
            assert (await early.echo()).status == 0
            for each in crowd:
                each.close()
            assert (await echo(address)).status == 0
            await early.release()


@pytest.mark.usefixtures("no_leaks")
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc")
async def test_memory_of_a_process_under_attack(
    tmp_path: Path, anyio_backend_name: str, dcmtk: Callable[[str], str]
) -> None:
    """All attacks at once, 300 connections that say nothing, ten that announce 4 GiB and send 32 MiB each."""
    with server(tmp_path / "in", anyio_backend_name) as (pid, port):
        address = f"DCMFLOW@127.0.0.1:{port}"
        await until(lambda: peak(pid))
        assert (await echo(address)).status == 0

        async def attack(what: Any) -> None:
            async with ScriptedScu(address) as scu:
                await scu.run(what)

        async def much(scu: ScriptedScu) -> None:
            await scu.associate((CT, IMPLICIT))
            if scu.channel.contexts:
                await scu.send(message(1, encode_command(c_store_rq(1, CT, "2.25.1"))))
                piece = p_data(*[pdv(1, 0, bytes(65000))] * 4)
                for _ in range(128):
                    if not await scu.send(piece):
                        return

        async with anyio.create_task_group() as tasks:
            for what in ATTACKS.values():
                tasks.start_soon(attack, what)
            for _ in range(10):
                tasks.start_soon(attack, much)
        async with anyio.create_task_group() as tasks:

            async def hold(scu: ScriptedScu) -> None:
                await scu.rest()

            for _ in range(300):
                tasks.start_soon(attack, hold)
        assert (await echo(address)).status == 0
        words = [dcmtk("echoscu"), "-aec", "DCMFLOW", "127.0.0.1", str(port)]
        assert (await beside(run, words)).returncode == 0
        assert peak(pid) < 200 * 1024 * 1024
    assert not [path for path in (tmp_path / "in").rglob("*") if path.is_file()]
