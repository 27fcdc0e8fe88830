"""`dcmflow echo`: is a node there, and how fast does it answer?"""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from dcmflow.testing import AbortNow, Accept, Answer, Reject, ScriptedScp, Silence
from peers.base import HOST, Address, free_port
from peers.dcmtk import Dcmtk
from peers.fixtures import Certificates
from peers.pynet import Pynetdicom
from terminal import on_terminal

Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]

VERIFICATION = "1.2.840.10008.1.1"


def answers(done: Done) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def one_line(done: Done) -> str:
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.mark.interop
@pytest.mark.parametrize(
    "form", ["{ae}@{host}:{port}", "{host}:{ae}:{port}", "{host}:{port}", "dicom://{ae}@{host}:{port}"]
)
def test_storescp_answers(dcmflow: Run, dcmtk_peer: Dcmtk, tmp_path: Path, form: str) -> None:
    with dcmtk_peer.storescp(tmp_path / "in") as server:
        text = form.format(ae="STORESCP", host=HOST, port=server.address.port)
        done = dcmflow("echo", text)
    assert (done.returncode, done.stderr) == (0, "")
    (answer,) = answers(done)
    assert (answer["node"], answer["calling_ae"]) == (text, "DCMFLOW")
    assert (answer["status"], answer["name"]) == ("0000", "success")
    assert answer["ms"].keys() == {"connect", "association", "echo", "total"}
    parts = [answer["ms"][name] for name in ("connect", "association", "echo")]
    assert all(part > 0 for part in parts)
    assert answer["ms"]["total"] == pytest.approx(sum(parts), abs=0.01)


@pytest.mark.interop
def test_pynetdicom_checks_who_is_called(dcmflow: Run, pynetdicom_peer: Pynetdicom, tmp_path: Path) -> None:
    with pynetdicom_peer.scp(tmp_path / "in", strict=True) as server:
        right = dcmflow("echo", str(server.address))
        wrong = dcmflow("echo", str(Address(server.address.port, "NOBODY")), "--calling-ae", "ME")
    assert right.returncode == 0, right.stderr
    assert wrong.returncode == 3
    said = one_line(wrong)
    assert "rejected the association: called AE title not recognized" in said
    assert "rejected-permanent, service-user 7" in said
    (answer,) = answers(wrong)
    assert (answer["error"], answer["result"], answer["source"], answer["reason"]) == (
        "AssociationRejected",
        1,
        1,
        7,
    )
    assert answer["calling_ae"] == "ME"


@pytest.mark.interop
def test_storescp_that_refuses(dcmflow: Run, dcmtk_peer: Dcmtk, tmp_path: Path) -> None:
    with dcmtk_peer.storescp(tmp_path / "in", "--refuse") as server:
        done = dcmflow("echo", str(server.address), "--format", "text")
    assert (done.returncode, done.stdout) == (3, "")
    assert "rejected the association: no reason given (rejected-permanent, service-user 1)" in one_line(done)


def test_nothing_on_the_port(dcmflow: Run) -> None:
    done = dcmflow("echo", f"PACS@{HOST}:{free_port()}", "--format", "text")
    assert (done.returncode, done.stdout) == (3, "")
    assert "connection refused" in one_line(done)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b"])
def test_no_such_host(dcmflow: Run, host: str) -> None:
    done = dcmflow("echo", f"PACS@{host}:104", "--format", "text")
    assert (done.returncode, done.stdout) == (3, "")
    assert "the host name cannot be resolved" in one_line(done)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "echo whom?"),
        (["pacs"], "there is no node 'pacs'"),
        (["a:b:c:104"], "did you mean"),
        (["@h:104", "--count", "1"], "an AE title is not empty"),
        (["A@h:104", "--count", "0"], "--count"),
        (["A@h:104", "--interval", "soon"], "--interval"),
        (["A@h:104", "--timeout", "0"], "--timeout"),
        (["A@h:104", "--timeout", "soon"], "--timeout"),
        (["A@h:104", "--calling-ae", "SEVENTEEN LETTERS"], "--calling-ae"),
        (["A@h:104", "--format", "xml"], "--format"),
        (["A@h:104", "--tls-ca", "ca.pem"], "dicoms://AE@host:port"),
        (["dicoms://A@h:104", "--tls-key", "key.pem"], "--tls-cert"),
        (["dicoms://A@h:104", "--tls-ca", "nowhere.pem"], "--tls-ca: cannot read"),
    ],
)
def test_what_cannot_be_right(dcmflow: Run, arguments: list[str], words: str) -> None:
    done = dcmflow("echo", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in one_line(done)


@pytest.mark.interop
def test_a_name_of_the_settings(
    dcmflow: Run, dcmtk_peer: Dcmtk, environment: dict[str, str], work: Path, tmp_path: Path
) -> None:
    settings = work / "settings.toml"
    with dcmtk_peer.storescp(tmp_path / "in", level="debug") as server:
        settings.write_text(
            f'[local]\nae-title = "GATE"\n[nodes.mypacs]\naddress = "{server.address}"\n'
            f'[nodes.down]\naddress = "DOWN@{HOST}:{free_port()}"\n'
        )
        shown = on_terminal(["echo", "mypacs", "--config", str(settings)], environment)
        some = dcmflow("--config", settings, "echo", "mypacs", "down")
    assert shown.code == 0, shown.out
    number = r"\d+\.\d"
    assert re.fullmatch(
        rf"mypacs \({re.escape(str(server.address))}\): Success in {number} ms "
        rf"\(connect {number}, association {number}, echo {number}\)\n",
        shown.out,
    )
    assert some.returncode == 1
    assert {answer["node"]: answer.get("status") for answer in answers(some)} == {
        "mypacs": "0000",
        "down": None,
    }
    assert one_line(some).startswith(f"dcmflow: error: down: DOWN@{HOST}:")
    assert "GATE" in server.log


@pytest.mark.interop
def test_several_times(dcmflow: Run, dcmtk_peer: Dcmtk, tmp_path: Path) -> None:
    with dcmtk_peer.storescp(tmp_path / "in") as server:
        done = dcmflow("echo", str(server.address), "--count", "3", "--interval", "10 ms")
    assert done.returncode == 0
    assert [answer["status"] for answer in answers(done)] == ["0000"] * 3
    assert f"{server.address}: 3 of 3 answered Success, in " in one_line(done)
    assert server.log.count("Association Release") == 3


@pytest.mark.interop
def test_tls(dcmflow: Run, dcmtk_peer: Dcmtk, certificates: Certificates, work: Path, tmp_path: Path) -> None:
    ours = certificates.client
    mutual = ["--tls-cert", str(ours.cert), "--tls-key", str(ours.key)]
    with dcmtk_peer.storescp(tmp_path / "in", tls=certificates.server) as server:
        node = f"dicoms://{server.address}"
        trusted = dcmflow("echo", node, "--tls-ca", ours.ca, *mutual)
        strange = dcmflow("echo", node, *mutual)
        another = dcmflow("echo", node, "--tls-ca", certificates.stranger.cert, *mutual)
        anonymous = dcmflow("echo", node, "--tls-ca", ours.ca)
        (work / "settings.toml").write_text(
            f'[nodes.secure]\naddress = "{node}"\ntls = {{ ca = "{ours.ca}" }}\n'
        )
        named = dcmflow("--config", "settings.toml", "echo", "secure", *mutual)
    assert trusted.returncode == 0, trusted.stderr
    assert named.returncode == 0, named.stderr
    for done in (strange, another):
        assert done.returncode == 3
        assert "certificate" in one_line(done)
        assert "--tls-ca FILE" in one_line(done)
    assert anonymous.returncode == 3
    assert f"{server.address}" in one_line(anonymous)


def test_certificate_that_is_none(dcmflow: Run, work: Path) -> None:
    (work / "text.pem").write_text("nothing\n")
    (work / "settings.toml").write_text('[nodes.secure]\naddress = "A@h:104"\ntls = { ca = "text.pem" }\n')
    done = dcmflow("--config", "settings.toml", "echo", "secure")
    assert (done.returncode, done.stdout) == (2, "")
    assert "[secure] tls.ca" in one_line(done)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("script", "code", "words"),
    [
        ({"accept": Accept(refuse={VERIFICATION: 3})}, 3, "no accepted presentation context"),
        (
            {"accept": Reject(2, 3, 2)},
            3,
            "local limit exceeded (rejected-transient, service-provider (presentation) 2)",
        ),
        ({"accept": Reject(1, 1, 3)}, 3, "register DCMFLOW"),
        ({"accept": AbortNow()}, 3, "aborted the association"),
        ({"accept": Silence()}, 3, "did not answer: waited"),
        ({"on_connect": AbortNow()}, 3, "abort"),
        ({"on_echo": Silence()}, 1, "did not answer: waited"),
        ({"on_echo": AbortNow()}, 1, "aborted the association"),
    ],
)
async def test_peers_that_misbehave(dcmflow: Run, script: dict[str, Any], code: int, words: str) -> None:
    async with ScriptedScp(check=False, **script) as peer:
        done = await anyio.to_thread.run_sync(lambda: dcmflow("echo", peer.node, "--timeout", "300 ms"))
    assert done.returncode == code, done.stderr
    assert words in one_line(done)
    (answer,) = answers(done)
    assert words in answer["message"]


@pytest.mark.anyio
async def test_status_other_than_success(dcmflow: Run) -> None:
    async with ScriptedScp(on_echo=Answer(0x0122)) as peer:
        done = await anyio.to_thread.run_sync(lambda: dcmflow("echo", peer.node))
        text = await anyio.to_thread.run_sync(lambda: dcmflow("echo", peer.node, "--format", "text"))
    assert (done.returncode, text.returncode) == (1, 1)
    assert answers(done)[0]["status"] == "0122"
    assert f"{peer.node}: 0122 SOP class not supported in " in text.stdout
    assert peer.received.wrong == []


@pytest.mark.anyio
async def test_interrupted(start: Callable[..., subprocess.Popen[str]]) -> None:
    async with ScriptedScp() as peer:
        process = start("echo", peer.node, "--count", "1000", "--interval", "10 ms")
        await peer.received.wait("A-RELEASE-RQ", count=3)
        process.send_signal(signal.SIGINT)
        out, said = await anyio.to_thread.run_sync(partial(process.communicate, timeout=15))
    assert process.returncode == 130
    count = len(out.splitlines())
    assert 2 <= count < 1000  # the third may be on its way to be printed
    assert f"{peer.node}: {count} of " in said
    assert "Traceback" not in said
