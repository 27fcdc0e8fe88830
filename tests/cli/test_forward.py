"""`dcmflow forward`: what comes in goes on to nodes and folders."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import anyio
import pytest

import corpus
from corpus import Corpus
from dcmflow.testing import Answer, ScriptedScp, Silence, Wait
from peers.base import HOST, Address, free_port
from peers.dcmtk import Dcmtk
from peers.fixtures import Certificates
from peers.pynet import Pynetdicom, statuses
from wire_data import digests, every_class, small_series, syntax_of

Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]
Start = Callable[..., subprocess.Popen[str]]
Process = subprocess.Popen[str]
EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"


@pytest.fixture
def base(work: Path) -> Corpus:
    return corpus.base(work / "in")


@pytest.fixture
def at() -> Address:
    """Where forward listens."""
    return Address(free_port(), "GATE")


def listens(process: Process) -> str:
    """All that it said until it listens."""
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if "Success means" in line:
            return said
    pytest.fail(f"ended without listening:\n{said}")


def ended(process: Process, number: signal.Signals | None = signal.SIGINT) -> tuple[int, str, str]:
    """Exit code, stdout and stderr after a signal."""
    if number is not None:
        process.send_signal(number)
    out, said = process.communicate(timeout=15)
    assert "Traceback" not in said, said
    return process.returncode, out, said


def received(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.interop
@pytest.mark.parametrize(("option", "syntax"), [("-xe", EXPLICIT), ("-xi", IMPLICIT)])
def test_storescu_to_a_folder(
    start: Start,
    dcmtk: Callable[[str], str],
    dcmtk_peer: Dcmtk,
    base: Corpus,
    work: Path,
    at: Address,
    option: str,
    syntax: str,
) -> None:
    process = start("forward", "./out", "--listen", at)
    said = listens(process)
    assert f"dcmflow: listening as {at}; what comes goes to {work / 'out'}\n" in said
    assert "dcmflow: Success means: on disk at out\n" in said
    standard = [path for path in base.paths if "/14/" not in str(path)]
    assert dcmtk_peer.storescu(at, *standard, options=(option,)).returncode == 0
    code, out, said = ended(process)
    assert code == 130
    assert "emitted 11 = accepted 11 + dropped 0 + refused 0" in out
    files = received(work / "out")
    assert {path.stem for path in files} == {uid for name, uid in base.uids.items() if "/14/" not in name}
    assert {syntax_of(path) for path in files} == {syntax}
    if syntax == EXPLICIT:
        assert digests(files) == digests(standard)
    for path in files:
        subprocess.run([dcmtk("dcmftest"), path], check=True, capture_output=True)


@pytest.mark.interop
@pytest.mark.timeout(60)
def test_everything_is_taken_as_it_is(
    start: Start, pynetdicom_peer: Pynetdicom, work: Path, at: Address
) -> None:
    files = [*every_class(work / "classes").paths, *corpus.comp(work / "comp").paths]
    process = start("forward", "./out", "--listen", at)
    listens(process)
    done = pynetdicom_peer.send(at, *files)
    assert statuses(done) == dict.fromkeys(files, 0)
    assert ended(process)[0] == 130
    assert digests(received(work / "out")) == digests(files)


@pytest.mark.interop
def test_to_a_node_and_a_folder_until_idle(
    dcmflow: Run,
    start: Start,
    dcmtk_peer: Dcmtk,
    pynetdicom_peer: Pynetdicom,
    base: Corpus,
    work: Path,
    tmp_path: Path,
    at: Address,
) -> None:
    with pynetdicom_peer.scp(tmp_path / "archive", strict=True) as server:
        (work / "settings.toml").write_text(
            f'[nodes.mypacs]\naddress = "{server.address}"\n[dirs.research]\npath = "research"\n'
        )
        process = start(
            *(
                "--config",
                "settings.toml",
                "forward",
                "mypacs",
                "research",
                "--listen",
                at,
                "--until-idle",
                "3 s",
            ),
            *("--report", "r.json", "--calling-ae", "RELAY", "--format", "json"),
        )
        assert "Success means: accepted by mypacs and on disk at research" in listens(process)
        sent = dcmflow("send", at, "in")
        assert dcmtk_peer.echoscu(at).returncode == 0
        code, out, said = ended(process, None)
    assert sent.returncode == 0, sent.stderr
    assert code == 0, said
    assert json.loads(out)["pipeline"]["accepted"] == 12
    assert json.loads((work / "r.json").read_text())["stages"]["mypacs"]["out"] == 12
    assert digests(server.stored().values()) == digests(received(work / "research")) == digests(base.paths)
    assert "RELAY" in server.log


@pytest.mark.anyio
async def test_not_idle_while_an_association_is_open(start: Start, base: Corpus, at: Address) -> None:
    async with ScriptedScp(on_store=(Wait(1.5), 0)) as peer:
        process = start("forward", peer.node, "--listen", at, "--until-idle", "1 s")
        await anyio.to_thread.run_sync(listens, process)
        sender = start("send", at, base.paths[0], base.paths[1], "--associations", "1")
        sent = await anyio.to_thread.run_sync(ended, sender, None)
        code, out, said = await anyio.to_thread.run_sync(ended, process, None)
    assert (sent[0], code) == (0, 0), said
    assert "emitted 2 = accepted 2" in out


@pytest.mark.interop
def test_a_destination_that_is_down(
    dcmflow: Run, start: Start, pynetdicom_peer: Pynetdicom, base: Corpus, work: Path, at: Address
) -> None:
    process = start(
        *(
            "forward",
            f"DOWN@{HOST}:{free_port()}",
            "./out",
            "--listen",
            at,
            "--retries",
            "0",
            "--report",
            "r.json",
        )
    )
    listens(process)
    done = pynetdicom_peer.send(at, base.paths[0])
    code, out, said = ended(process, signal.SIGTERM)
    assert statuses(done) == {base.paths[0]: 0xA700}
    assert code == 1, said
    assert "emitted 1 = accepted 0 + dropped 0 + refused 1" in out
    (refusal,) = json.loads((work / "r.json").read_text())["refusals"]
    assert (refusal["stage"], refusal["status"]) == ("DOWN", "A700")
    assert len(received(work / "out")) == 1, "the other destination has it all the same"


@pytest.mark.anyio
async def test_what_a_destination_says_reaches_the_sender(
    dcmflow: Run, start: Start, base: Corpus, at: Address
) -> None:
    async with ScriptedScp(on_store=[Answer(0xC123, comment="no room for it")]) as peer:
        process = start("forward", peer.node, "--listen", at)
        await anyio.to_thread.run_sync(listens, process)
        done = await anyio.to_thread.run_sync(partial(dcmflow, "send", at, base.paths[0], base.paths[1]))
        code, _, _ = await anyio.to_thread.run_sync(ended, process)
    assert code == 130
    assert done.returncode == 1
    assert "emitted 2 = accepted 1 + dropped 0 + refused 1" in done.stdout
    assert "C123" in done.stderr


@pytest.mark.interop
def test_who_may_call(
    start: Start, dcmflow: Run, dcmtk_peer: Dcmtk, base: Corpus, work: Path, at: Address
) -> None:
    process = start(
        "forward", "./out", "--listen", at, "--accept-from", "CT1", "--accept-from", "CT2@10.0.0.0/8"
    )
    listens(process)
    path = base.paths[0]
    assert dcmtk_peer.storescu(at, path, calling_ae="CT1").returncode == 0
    foreign = dcmtk_peer.storescu(at, path, calling_ae="CT2")
    wrong = dcmflow("echo", f"OTHER@{HOST}:{at.port}", "--calling-ae", "CT1", "--format", "text")
    code, _, said = ended(process)
    assert "Calling AE Title Not Recognized" in foreign.stdout + foreign.stderr
    assert wrong.returncode == 3
    assert "called AE title not recognized" in wrong.stderr
    assert code == 130
    assert said.count("association-rejected") == 2
    assert "calling AE title not recognized" in said
    assert len(received(work / "out")) == 1


@pytest.mark.anyio
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
async def test_a_signal_while_it_receives(
    start: Start, work: Path, at: Address, number: signal.Signals, code: int
) -> None:
    small_series(work / "in", 300)
    async with ScriptedScp(on_store=(Wait(0.02), 0)) as peer:
        process = start("forward", peer.node, "./out", "--listen", at, "--report", "r.json")
        await anyio.to_thread.run_sync(listens, process)
        sender = start("send", at, "in", "--retries", "0", "--report", "s.json", "-q")
        await peer.received.wait("C-STORE-RQ", count=5)
        ends, _, said = await anyio.to_thread.run_sync(ended, process, number)
        sender_ends, _, _ = await anyio.to_thread.run_sync(ended, sender, None)
    assert ends == code, said
    ours = json.loads((work / "r.json").read_text())["pipeline"]
    theirs = json.loads((work / "s.json").read_text())["pipeline"]
    assert 5 <= ours["emitted"] == ours["accepted"] < 300
    assert theirs["accepted"] == ours["accepted"], "who was told Success, and what is in its place"
    assert sender_ends == 1
    assert len(received(work / "out")) == ours["accepted"]
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind((HOST, at.port))


@pytest.mark.anyio
async def test_grace_runs_out(start: Start, base: Corpus, work: Path, at: Address) -> None:
    async with ScriptedScp(on_store=Silence()) as peer:
        process = start("forward", peer.node, "--listen", at, "--grace", "200 ms", "--report", "r.json")
        await anyio.to_thread.run_sync(listens, process)
        sender = start("send", at, base.paths[0], "--retries", "0", "-q")
        await peer.received.wait("C-STORE-RQ")
        code, _, said = await anyio.to_thread.run_sync(ended, process, signal.SIGTERM)
        assert (await anyio.to_thread.run_sync(ended, sender, None))[0] == 1
    assert code == 1, said
    assert json.loads((work / "r.json").read_text())["pipeline"]["refused"] == 1


@pytest.mark.anyio
async def test_echo_and_others_while_one_is_busy(
    dcmflow: Run, start: Start, base: Corpus, at: Address
) -> None:
    release = anyio.Event()
    async with ScriptedScp(on_store=(Wait(release), 0)) as peer:
        process = start("forward", peer.node, "--listen", at, "--max-associations", "2")
        await anyio.to_thread.run_sync(listens, process)
        sender = start("send", at, base.paths[0], "--associations", "1")
        await peer.received.wait("C-STORE-RQ")
        echo = await anyio.to_thread.run_sync(partial(dcmflow, "echo", at))
        release.set()
        sent, _, _ = await anyio.to_thread.run_sync(ended, sender, None)
        await anyio.to_thread.run_sync(ended, process)
    assert (echo.returncode, sent) == (0, 0)


@pytest.mark.anyio
async def test_too_many_associations(dcmflow: Run, start: Start, base: Corpus, at: Address) -> None:
    release = anyio.Event()
    async with ScriptedScp(on_store=(Wait(release), 0)) as peer:
        process = start("forward", peer.node, "--listen", at, "--max-associations", "1")
        await anyio.to_thread.run_sync(listens, process)
        sender = start("send", at, base.paths[0], "--associations", "1")
        await peer.received.wait("C-STORE-RQ")
        echo = await anyio.to_thread.run_sync(partial(dcmflow, "echo", at))
        release.set()
        sent, _, _ = await anyio.to_thread.run_sync(ended, sender, None)
        await anyio.to_thread.run_sync(ended, process)
    assert (echo.returncode, sent) == (3, 0)
    assert "rejected-transient" in echo.stderr


def test_answers_at_once_where_that_is_asked_for(
    dcmflow: Run, start: Start, base: Corpus, at: Address
) -> None:
    process = start(
        *("forward", f"DOWN@{HOST}:{free_port()}", "--listen", at, "--respond", "received", "--retries", "0")
    )
    assert "dcmflow: warning: Success means: received, and nothing more" in listens(process)
    done = dcmflow("send", at, base.paths[0])
    code, out, _ = ended(process, signal.SIGTERM)
    assert done.returncode == 0, done.stderr
    assert code == 1
    assert "refused 1" in out


@pytest.mark.interop
def test_tls(
    start: Start,
    dcmflow: Run,
    dcmtk_peer: Dcmtk,
    certificates: Certificates,
    base: Corpus,
    work: Path,
    tmp_path: Path,
    at: Address,
) -> None:
    ours = certificates.server
    secret = ["--tls-cert", ours.cert, "--tls-key", ours.key, "--tls-ca", ours.ca]
    with dcmtk_peer.storescp(tmp_path / "out", tls=certificates.server) as server:
        process = start("forward", f"dicoms://{server.address}", "--listen", f"dicoms://{at}", *secret)
        assert "with TLS" in listens(process)
        standard = base.paths[0]
        assert dcmtk_peer.storescu(at, standard, tls=certificates.client).returncode == 0
        assert dcmtk_peer.storescu(at, standard).returncode != 0
        assert dcmtk_peer.storescu(at, standard, tls=certificates.stranger).returncode != 0
        code, out, said = ended(process)
    assert code == 130, said
    assert "emitted 1 = accepted 1" in out
    assert digests(server.stored().values()) == digests([standard])


def test_log_lines_as_json(start: Start, at: Address) -> None:
    process = start("forward", "./out", "--listen", at, "--log-format", "json")
    said = listens(process) + ended(process)[2]
    events = [json.loads(line) for line in said.splitlines()]
    assert any("listening as" in event.get("message", "") for event in events)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "forward where to?"),
        (["out"], "'./out'"),
        (["./out", "--until-idle", "0"], "--until-idle"),
        (["./out", "--until-idle", "later"], "--until-idle"),
        (["./out", "--spill", "much"], "--spill"),
        (["./out", "--max-associations", "0"], "--max-associations"),
        (["A@h:104", "--associations", "0"], "--associations"),
        (["A@h:104", "--retries", "-1"], "--retries"),
        (["./out", "--grace", "long"], "--grace"),
        (["./out", "--accept-from", "CT@nowhere"], "'CT@nowhere' is no caller"),
        (["./out", "--listen", "here"], "--listen"),
        (["./out", "--listen", "A@127.0.0.1:0"], "port 0"),
        (["./out", "out/"], "named twice"),
        (["A@h:104", "A@h:104"], "named twice"),
        (["A@127.0.0.1:11112"], "itself"),
        (["./out", "--tls-ca", "ca.pem"], "dicoms://"),
        (["./out", "--listen", "dicoms://A@127.0.0.1:11112"], "--tls-cert"),
        (["functions_of_this_test.py"], "functions_of_this_test.py"),
        (["./out", "--report", "nowhere/r.json"], "nowhere/r.json"),
    ],
)
def test_what_cannot_be_right(dcmflow: Run, work: Path, arguments: list[str], words: str) -> None:
    done = dcmflow("forward", *arguments)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert words in done.stderr.splitlines()[-1]


def test_port_in_use(dcmflow: Run, at: Address) -> None:
    with socket.create_server((HOST, at.port)):
        done = dcmflow("forward", "./out", "--listen", at)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"cannot listen on {HOST}:{at.port}: the port is in use" in done.stderr
