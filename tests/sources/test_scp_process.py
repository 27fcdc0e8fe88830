"""A service that receives: `dcmflow run`, seen from outside."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from dcmflow.protocol.command import c_store_rq, encode_command
from dcmflow.protocol.pdu import AssociateReject
from dcmflow.testing import ScriptedScu
from dcmflow.testing.peer_wire import message
from peers.base import client as run
from peers.base import free_port, listening
from scp_runs import CT, EXPLICIT, echo, encoded, made
from stage_runs import files_in
from wire_flows import beside

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]

FILE = """
[sources.in]
type = "scp"
listen = "DCMFLOW@127.0.0.1:{port}"
{more}

[sinks.archive]
type = "directory"
from = "in"
path = "archive"
layout = "{{SOPInstanceUID}}.dcm"
"""


@contextmanager
def service(folder: Path, backend: str, more: str = "") -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The process, and its port."""
    port = free_port()
    file = folder / "pipeline.toml"
    file.write_text(FILE.format(port=port, more=more))
    words = [sys.executable, "-m", "dcmflow", "run", str(file), "--backend", backend, "--no-progress"]
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
    )
    assert process.stdout is not None
    try:
        while port not in listening():
            assert process.poll() is None, process.stdout.read()
            time.sleep(0.01)
        yield process, port
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


async def test_a_signal_while_something_arrives(
    tmp_path: Path, anyio_backend_name: str, dcmtk: Callable[[str], str]
) -> None:
    """It is taken in and answered, nobody else is let in, and then the service ends."""
    whole = message(1, encode_command(c_store_rq(1, CT, "2.25.6")), encoded(made(5, 100_000)), largest=16_384)
    with service(tmp_path, anyio_backend_name) as (process, port):
        async with (
            ScriptedScu(f"DCMFLOW@127.0.0.1:{port}") as scu,
            ScriptedScu(f"DCMFLOW@127.0.0.1:{port}") as idle,
        ):
            await scu.associate((CT, EXPLICIT))
            await idle.associate()
            await scu.send(whole[:50_000])
            words = [dcmtk("echoscu"), "-aec", "DCMFLOW", "127.0.0.1", str(port)]
            assert (await beside(run, words)).returncode == 0  # also while a transfer runs
            process.send_signal(signal.SIGTERM)
            assert (await idle.receive()).what == "A-ABORT"
            assert (await echo(f"DCMFLOW@127.0.0.1:{port}")).pdu == AssociateReject(2, 3, 1)
            await scu.send(whole[50_000:])
            assert (await scu.receive()).status == 0
            await scu.release()
        said = await beside(process.communicate, timeout=15)
        assert process.returncode == 0, said
        assert "1 accepted" in said[0] or "accepted=1" in said[0], said
    assert files_in(tmp_path / "archive") == ["2.25.6.dcm"]


async def test_it_ends_when_nobody_calls(tmp_path: Path, anyio_backend_name: str) -> None:
    with service(tmp_path, anyio_backend_name, 'until-idle = "500 ms"') as (process, port):
        assert (await echo(f"DCMFLOW@127.0.0.1:{port}")).status == 0
        with anyio.fail_after(15):
            said = await beside(process.communicate)
        assert process.returncode == 0, said
