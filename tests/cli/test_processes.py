"""`dcmflow run --processes`: several processes, seen as one service."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest

from dcmflow.dicom.instance import Instance
from dcmflow.protocol.command import c_store_rq, encode_command
from dcmflow.protocol.pdu import AssociateReject
from dcmflow.testing import ScriptedScu
from dcmflow.testing.peer_wire import message
from peers.base import Address, free_port
from peers.dcmtk import Dcmtk
from scp_runs import CT, EXPLICIT, echo, encoded, made
from stage_runs import files_in
from wire_flows import beside

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks"), pytest.mark.timeout(60)]

Command = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., subprocess.Popen[str]]

FILE = """
name = "both"
[sources.in]
type = "scp"
listen = "DCMFLOW@127.0.0.1:{port}"
{source}
[filters.act]
type = "call"
from = "in"
function = "functions_of_this_test:{function}"
[sinks.archive]
type = "directory"
from = "act"
path = "archive"
layout = "{{label.process}}/{{SOPInstanceUID}}.dcm"
"""

FUNCTIONS = """
import os, sys
import anyio
from dcmflow.errors import Refused

def note_process(instance):
    return instance.with_labels(process=str(os.getpid()))

def refuse(instance):
    raise Refused("no room", status=0xA700)

async def stuck(instance):
    print("it is stuck", file=sys.stderr, flush=True)
    await anyio.sleep(3600)
"""


@dataclass
class Service:
    """A command with two processes that runs beside the test.

    Attributes:
        port: where it listens.
        said: what it has written to stderr so far, as far as it was read.
    """

    process: subprocess.Popen[str]
    port: int
    said: list[str] = field(default_factory=list)

    @property
    def node(self) -> str:
        return f"DCMFLOW@127.0.0.1:{self.port}"

    async def until(self, word: str) -> str:
        """The line in which a word comes for the first time."""
        return await beside(self._until, word)

    def _until(self, word: str) -> str:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            if word in line:
                return line
        pytest.fail(f"ended without saying {word!r}:\n{''.join(self.said)}")

    def pids(self) -> list[int]:
        """Of the processes that take calls."""
        return [int(pid) for pid in re.findall(r"process-started process=\d pid=(\d+)", "".join(self.said))]

    async def end(self, *signals: signal.Signals) -> tuple[int, str, str]:
        """Send signals; the exit code, what it wrote to stdout, and to stderr."""
        for number in signals:
            self.process.send_signal(number)
        out, rest = await beside(self.process.communicate, timeout=30)
        return self.process.returncode, out, "".join(self.said) + rest


@pytest.fixture
def serve(start: Start, work: Path, anyio_backend_name: str) -> Iterator[Callable[..., Any]]:
    """`async with serve("note_process", "max-associations = 3", "--report", "r.json") as service`."""
    (work / "functions_of_this_test.py").write_text(FUNCTIONS)
    services: list[Service] = []

    @asynccontextmanager
    async def run(function: str = "note_process", source: str = "", *options: str) -> AsyncIterator[Service]:
        port = free_port()
        (work / "both.toml").write_text(FILE.format(port=port, source=source, function=function))
        words = ["run", "both.toml", "--processes", "2", "--backend", anyio_backend_name, *options]
        service = Service(start(*words), port)
        services.append(service)
        await service.until("pipeline-started")
        yield service

    yield run
    for service in services:
        for pid in service.pids():
            _killed(pid)


def _killed(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    _gone([pid])


def _gone(pids: list[int]) -> None:
    """Wait until they have ended."""
    deadline = time.monotonic() + 15
    while any(map(_alive, pids)):
        assert time.monotonic() < deadline, "a process does not end"
        time.sleep(0.01)


def _alive(pid: int) -> bool:
    """Whether it runs; one that has ended and that nobody has asked for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def request(instance: Instance) -> bytes:
    command = c_store_rq(1, instance.sop_class_uid, instance.sop_instance_uid)
    return message(1, encode_command(command), encoded(instance), largest=16_384)


def taken(folder: Path) -> Counter[str]:
    """How many instances each process has stored."""
    return Counter(name.partition("/")[0] for name in files_in(folder))


def report(work: Path) -> dict[str, Any]:
    """The report; its sums close."""
    found: dict[str, Any] = json.loads((work / "r.json").read_text())
    totals = found["pipeline"]
    parts = ("accepted", "dropped", "refused", "unsettled")
    assert totals["emitted"] == sum(totals[part] for part in parts)
    return found


async def test_calls_are_spread(serve: Callable[..., Any], work: Path) -> None:
    async with serve("note_process", "", "--report", "r.json") as service:
        async with AsyncExitStack() as stack:
            callers = [await stack.enter_async_context(ScriptedScu(service.node)) for _ in range(6)]
            for number, caller in enumerate(callers):
                await caller.associate((CT, EXPLICIT))
                await caller.send(request(made(number)))
                assert (await caller.receive()).status == 0
            for caller in callers:
                await caller.release()
        assert (await echo(service.node)).status == 0
        code, out, said = await service.end(signal.SIGTERM)
    assert code == 0, said
    shares = taken(work / "archive")
    assert set(shares) == set(map(str, service.pids()))
    assert sum(shares.values()) == 6
    assert "emitted 6 = accepted 6 + dropped 0 + refused 0\n" in out
    stages = report(work)["stages"]
    assert [stages[name]["out"] for name in ("in", "act", "archive")] == [6, 6, 6]
    assert said.count("pipeline-finished") == 1
    assert "emitted=6 accepted=6" in said


@pytest.mark.interop
async def test_all_that_is_sent_at_once_is_there_once(
    serve: Callable[..., Any], work: Path, dcmtk_peer: Dcmtk, pydicom_files: list[Path], tmp_path: Path
) -> None:
    from pydicom import dcmread

    senders, each = 8, 25
    wanted = set()
    source = dcmread(next(path for path in pydicom_files if path.name == "CT_small.dcm"))
    for sender in range(senders):
        (tmp_path / f"sent-{sender}").mkdir()
        for number in range(each):
            source.SOPInstanceUID = source.file_meta.MediaStorageSOPInstanceUID = (
                f"2.25.1{sender}{number:03d}"
            )
            source.save_as(tmp_path / f"sent-{sender}" / f"{number}.dcm")
            wanted.add(f"{source.SOPInstanceUID}.dcm")
    async with serve("note_process", "", "--report", "r.json") as service:
        address = Address(service.port, "DCMFLOW")
        async with anyio.create_task_group() as tasks:
            for sender in range(senders):
                folder = tmp_path / f"sent-{sender}"
                tasks.start_soon(_sent, dcmtk_peer, address, folder)
        assert dcmtk_peer.echoscu(address).returncode == 0
        code, _, said = await service.end(signal.SIGTERM)
    assert code == 0, said
    stored = [name.partition("/")[2] for name in files_in(work / "archive")]
    assert len(stored) == len(wanted)
    assert set(stored) == wanted
    assert set(taken(work / "archive")) == set(map(str, service.pids()))
    assert report(work)["pipeline"]["accepted"] == senders * each


async def _sent(peer: Dcmtk, address: Address, folder: Path) -> None:
    done = await beside(peer.storescu, address, folder, options=("-R", "+sd"))
    assert done.returncode == 0, done.stderr


async def test_the_limit_is_that_of_all_processes(serve: Callable[..., Any]) -> None:
    async with serve("note_process", "max-associations = 3") as service:
        async with AsyncExitStack() as stack:
            callers = [await stack.enter_async_context(ScriptedScu(service.node)) for _ in range(3)]
            for caller in callers:
                assert (await caller.associate()).what == "A-ASSOCIATE-AC"
            for _ in range(4):
                assert (await echo(service.node)).pdu == AssociateReject(2, 3, 2)
            await callers[0].release()
            callers[0].close()
            while (seen := await echo(service.node)).pdu == AssociateReject(2, 3, 2):
                pass  # the place is given back when the service has seen the end of it
            assert seen.status == 0
        code, _, said = await service.end(signal.SIGTERM)
    assert code == 0, said
    assert re.search(r"warning association-rejected process=[12] stage=in", said)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
async def test_the_first_signal_drains(
    serve: Callable[..., Any], work: Path, number: signal.Signals, code: int
) -> None:
    """In all processes what is under way is finished, and nobody is let in."""
    large = [request(made(each, 100_000)) for each in range(2)]
    async with serve("note_process", "", "--report", "r.json") as service:
        async with ScriptedScu(service.node) as one, ScriptedScu(service.node) as other:
            for caller, bytes_ in zip((one, other), large, strict=True):
                await caller.associate((CT, EXPLICIT))
                await caller.send(bytes_[:50_000])
            service.process.send_signal(number)
            await service.until("pipeline-draining")
            while (seen := await echo(service.node)).pdu is None:
                pass  # the processes are just being told
            assert seen.pdu == AssociateReject(2, 3, 1)
            for caller, bytes_ in zip((one, other), large, strict=True):
                await caller.send(bytes_[50_000:])
                assert (await caller.receive()).status == 0
                await caller.release()
        ended, _, said = await service.end()
    assert ended == code, said
    assert sum(taken(work / "archive").values()) == 2
    assert report(work)["pipeline"]["accepted"] == 2


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
async def test_a_signal_while_they_start(start: Start, work: Path, number: signal.Signals, code: int) -> None:
    (work / "functions_of_this_test.py").write_text(FUNCTIONS)
    (work / "both.toml").write_text(FILE.format(port=free_port(), source="", function="note_process"))
    service = Service(start("run", "both.toml", "--processes", "2"), 0)
    await service.until("process-started process=1")
    for pid in [service.process.pid, *service.pids()]:  # as Ctrl-C does
        os.kill(pid, number)
    ended, out, said = await service.end()
    assert (ended, out) == (code, ""), said
    assert "error" not in said
    assert "Traceback" not in said


def test_on_a_terminal(terminal: Callable[..., Any], work: Path) -> None:
    (work / "functions_of_this_test.py").write_text(FUNCTIONS)
    (work / "both.toml").write_text(FILE.format(port=free_port(), source="", function="note_process"))
    shown = terminal("run", "both.toml", "--processes", "2")
    shown.until("source scp")  # the table of what all of them do
    shown.write("\x03")
    code, said = shown.end()
    assert code == 130
    assert "draining, 0 unsettled" in said
    assert "emitted 0 = accepted 0" in said
    assert "Traceback" not in said


async def test_a_signal_to_the_whole_group_drains_once(serve: Callable[..., Any]) -> None:
    """As of Ctrl-C, or of a service manager: each process gets it, and none of them cancels."""
    async with serve() as service:
        async with ScriptedScu(service.node) as caller:
            await caller.associate((CT, EXPLICIT))
            whole = request(made(1, 100_000))
            await caller.send(whole[:50_000])
            for pid in service.pids():
                os.kill(pid, signal.SIGTERM)
            service.process.send_signal(signal.SIGTERM)
            await service.until("pipeline-draining")
            await caller.send(whole[50_000:])
            assert (await caller.receive()).status == 0
        code, _, said = await service.end()
    assert code == 0, said


async def test_the_second_signal_cancels(serve: Callable[..., Any], work: Path) -> None:
    async with serve("stuck", "", "--report", "r.json") as service, ScriptedScu(service.node) as caller:
        await caller.associate((CT, EXPLICIT))
        await caller.send(request(made(1)))
        await service.until("it is stuck")
        service.process.send_signal(signal.SIGTERM)
        await service.until("pipeline-draining")
        code, _, said = await service.end(signal.SIGTERM)
    assert code == 1, said
    assert "pipeline-cancelled" in said
    assert report(work)["pipeline"]["refused"] == 1


async def test_refusals_of_all_processes_are_told(serve: Callable[..., Any], work: Path) -> None:
    async with serve("refuse", "", "--report", "r.json") as service:
        async with ScriptedScu(service.node) as one, ScriptedScu(service.node) as other:
            for number, caller in enumerate((one, other, one)):
                if number < 2:
                    await caller.associate((CT, EXPLICIT))
                await caller.send(request(made(number)))
                assert (await caller.receive()).status == 0xA700
        code, out, said = await service.end(signal.SIGTERM)
    assert code == 1, said
    assert "refused 3" in out
    assert "dcmflow: 3 of 3 instances were refused\n" in said
    assert set(re.findall(r"warning instance-refused process=(\d) stage=act", said)) == {"1", "2"}
    refusals = report(work)["refusals"]
    assert {each["sop_instance_uid"] for each in refusals} == {"2.25.1", "2.25.2", "2.25.3"}
    assert {each["status"] for each in refusals} == {"A700"}


async def test_one_that_is_killed_takes_the_others_along(serve: Callable[..., Any], work: Path) -> None:
    async with serve("note_process", "", "--report", "r.json") as service:
        first, second = service.pids()
        async with ScriptedScu(service.node) as caller:
            await caller.associate((CT, EXPLICIT))
            await caller.send(request(made(1)))
            assert (await caller.receive()).status == 0
            (busy,) = taken(work / "archive")
            os.kill(first if busy == str(second) else second, signal.SIGKILL)
            await service.until("process-died")
            assert (await caller.receive()).what == "A-ABORT"  # it has nothing to say, and the service drains
        code, _, said = await service.end()
    assert code == 1, said
    which = 1 if busy == str(second) else 2
    assert f"dcmflow: error: process {which} of 2 died: killed by SIGKILL" in said
    assert report(work)["pipeline"]["accepted"] == 1
    assert not any(map(_alive, (first, second)))


async def test_the_others_go_on_while_one_stands_still(serve: Callable[..., Any]) -> None:
    async with serve() as service:
        still = service.pids()[0]
        os.kill(still, signal.SIGSTOP)
        for _ in range(4):
            assert (await echo(service.node)).status == 0
        os.kill(still, signal.SIGCONT)
        code, _, said = await service.end(signal.SIGTERM)
    assert code == 0, said


async def test_none_stays_when_the_first_process_is_gone(serve: Callable[..., Any]) -> None:
    async with serve() as service:
        service.process.kill()
        await beside(_gone, service.pids())
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", service.port))


async def test_it_ends_when_nobody_calls_any_process(serve: Callable[..., Any]) -> None:
    async with serve("note_process", 'until-idle = "2 s"') as service:
        async with ScriptedScu(service.node) as caller:
            await caller.associate()
            await anyio.sleep(2.5)
            assert (await echo(service.node)).status == 0, "one has an association, so the others stay"
            await caller.release()
        code, _, said = await service.end()
    assert code == 0, said
    assert "emitted=0" in said


def test_what_cannot_be_opened_is_found_before_anything_moves(dcmflow: Command, work: Path) -> None:
    (work / "functions_of_this_test.py").write_text(FUNCTIONS)
    (work / "archive").write_text("a file in the way")
    (work / "both.toml").write_text(FILE.format(port=free_port(), source="", function="note_process"))
    done = dcmflow("run", "both.toml", "--processes", "2", timeout=50)
    assert done.returncode == 2
    assert "dcmflow: error: sink 'archive' cannot be opened: path: cannot write" in done.stderr
    assert "pipeline-started" not in done.stderr
    assert not done.stdout


def test_a_port_that_is_taken(dcmflow: Command, work: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (work / "both.toml").write_text(FILE.format(port=port, source="", function="refuse"))
        done = dcmflow("run", "both.toml", "--processes", "2", timeout=50)
    assert done.returncode == 2
    assert (
        f"source 'in' cannot be opened: listen: cannot listen on 127.0.0.1:{port}: the port is in use"
        in done.stderr
    )
    assert "process-started" not in done.stderr


@pytest.mark.parametrize("count", ["0", "-1", "65"])
def test_how_many(dcmflow: Command, pipeline: Callable[..., Path], count: str) -> None:
    done = dcmflow("run", pipeline(), "--processes", count)
    assert (done.returncode, done.stderr) == (2, f"dcmflow: error: --processes is 1 to 64, not {count}\n")


def test_a_source_that_cannot_be_shared(dcmflow: Command, pipeline: Callable[..., Path]) -> None:
    done = dcmflow("run", pipeline(), "--processes", "2")
    assert done.returncode == 2
    assert "[sources.made]: several processes can share the calls that come to scp sources" in done.stderr
    assert "source made (synthetic)" in done.stderr
    assert "leave out --processes" in done.stderr


def test_log_lines_for_programs(dcmflow: Command, work: Path) -> None:
    source = 'until-idle = "100 ms"'
    (work / "functions_of_this_test.py").write_text(FUNCTIONS)
    (work / "both.toml").write_text(FILE.format(port=free_port(), source=source, function="note_process"))
    options = ["--processes", "2", "--log-format", "json", "--log-file", "log.json", "--debug"]
    done = dcmflow("run", "both.toml", *options, timeout=50)
    assert done.returncode == 0, done.stderr
    for text in (done.stderr, (work / "log.json").read_text()):
        lines = [json.loads(line) for line in text.splitlines()]
        opened = [line["process"] for line in lines if line["event"] == "stage-opened"]
        assert sorted(opened) == [1, 1, 1, 2, 2, 2]
        assert Counter(line["event"] for line in lines)["pipeline-finished"] == 1
