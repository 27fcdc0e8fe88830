"""`dcmflow send`: files to a node."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

import corpus
from corpus import Corpus
from dcmflow.testing import AbortNow, Accept, Answer, Reject, ScriptedScp, Silence, Wait
from peers.base import HOST, free_port
from peers.dcmtk import Dcmtk
from peers.fixtures import Certificates
from peers.pynet import Pynetdicom
from terminal import on_terminal
from wire_data import dataset_bytes, digests, every_class, small_series

Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]
Start = Callable[..., subprocess.Popen[str]]
IMPLICIT = "1.2.840.10008.1.2"


@pytest.fixture
def base(work: Path) -> Corpus:
    return corpus.base(work / "in")


def one_line(done: Done) -> str:
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


async def beside(run: Run, *arguments: object) -> Done:
    """The command in a thread, while a scripted peer of this test goes on."""
    return await anyio.to_thread.run_sync(partial(run, *arguments))


def stored(peer: ScriptedScp) -> list[str]:
    """The SOP Instances of the C-STORE requests that came."""
    return [
        seen.command.affected_sop_instance or ""
        for seen in peer.received.of("C-STORE-RQ")
        if seen.command is not None
    ]


@pytest.mark.interop
def test_folder_to_storescp(
    dcmflow: Run, dcmtk_peer: Dcmtk, base: Corpus, work: Path, tmp_path: Path
) -> None:
    with dcmtk_peer.storescp(tmp_path / "out", level="debug") as server:
        done = dcmflow("send", server.address, "in", "--report", "r.json", "--calling-ae", "RESEARCH")
        assert done.returncode == 0, done.stderr
        assert "warning" not in done.stderr
        assert "emitted 12 = accepted 12 + dropped 0 + refused 0" in done.stdout
        assert server.stored().keys() == set(base.uids.values())
    assert digests(server.stored().values()) == digests(base.paths)
    assert "RESEARCH" in server.log
    report = json.loads((work / "r.json").read_text())
    assert report["pipeline"]["accepted"] == report["pipeline"]["emitted"] == 12
    assert report["refusals"] == []


@pytest.mark.interop
def test_files_archives_and_a_dicomdir_at_once(
    dcmflow: Run,
    pynetdicom_peer: Pynetdicom,
    base: Corpus,
    work: Path,
    tmp_path: Path,
    dcmtk: Callable[[str], str],
) -> None:
    paths = base.paths
    files, packed, listed, rest = paths[:3], paths[3:6], paths[8:10], [*paths[6:8], *paths[10:]]
    with zipfile.ZipFile(work / "some.zip", "w") as archive:
        for number, path in enumerate(packed):
            archive.write(path, f"{number}.dcm")
        archive.writestr("note.txt", "nothing")
    medium, folder = work / "medium", work / "folder"
    medium.mkdir()
    folder.mkdir()
    for number, path in enumerate(listed):
        shutil.copy(path, medium / f"IM{number}")
    subprocess.run(
        [dcmtk("dcmmkdir"), "+r", "+id", medium, "+D", medium / "DICOMDIR", "-Nxc"], check=True, cwd=medium
    )
    shutil.copy(path, medium / "UNLISTED")
    for number, path in enumerate(rest):
        shutil.copy(path, folder / str(number))
    with pynetdicom_peer.scp(tmp_path / "out") as server:
        done = dcmflow(
            "send", server.address, *files, "some.zip", "medium/DICOMDIR", "folder", "--format", "json"
        )
    assert done.returncode == 0, done.stderr
    assert digests(server.stored().values()) == digests(base.paths)
    report = json.loads(done.stdout)
    assert report["pipeline"]["accepted"] == 12
    assert report["pipeline"]["not_dicom"] == 1


@pytest.mark.interop
@pytest.mark.timeout(60)
def test_more_kinds_than_an_association_takes(
    dcmflow: Run, pynetdicom_peer: Pynetdicom, work: Path, tmp_path: Path
) -> None:
    files = every_class(work / "in")
    assert len(files) > 128
    with pynetdicom_peer.scp(tmp_path / "out") as server:
        done = dcmflow("send", server.address, "in", timeout=50)
    assert done.returncode == 0, done.stderr
    assert digests(server.stored().values()) == digests(files.paths)


@pytest.mark.interop
def test_what_an_archive_does_not_take_is_named(
    dcmflow: Run, dcmtk_peer: Dcmtk, base: Corpus, work: Path, tmp_path: Path
) -> None:
    alone = ("--associations", "1")  # two at once are too much for its index
    with dcmtk_peer.dcmqrscp(tmp_path / "archive") as server:
        done = dcmflow("send", server.address, "in", "--report", "r.json", "--retries", "0", *alone)
    assert done.returncode == 1, done.stderr
    (refusal,) = json.loads((work / "r.json").read_text())["refusals"]
    assert "/14/" in refusal["path"]
    assert refusal["sop_instance_uid"] in done.stderr
    assert "emitted 12 = accepted 11 + dropped 0 + refused 1" in done.stdout


@pytest.mark.interop
def test_compressed_is_sent_as_it_is_or_not_at_all(
    dcmflow: Run, dcmtk_peer: Dcmtk, work: Path, tmp_path: Path
) -> None:
    files = corpus.comp(work / "in")
    with dcmtk_peer.storescp(tmp_path / "implicit", "+xi", anything=False) as server:
        done = dcmflow("send", server.address, "in", "--report", "r.json")
    assert done.returncode == 1, done.stderr
    report = json.loads((work / "r.json").read_text())
    assert report["pipeline"]["accepted"] == len(server.stored()) >= 1
    assert report["pipeline"]["emitted"] == len(files)
    assert len(report["refusals"]) == report["pipeline"]["refused"] == len(files) - len(server.stored())
    assert all("does not accept" in refusal["reason"] for refusal in report["refusals"])


@pytest.mark.interop
def test_broken_files_and_text_among_good_ones(
    dcmflow: Run, dcmtk_peer: Dcmtk, base: Corpus, work: Path, tmp_path: Path
) -> None:
    truncated, *good = base.paths
    truncated.write_bytes(truncated.read_bytes()[:-100])
    note = work / "in" / "note.txt"
    note.write_text("nothing")
    with dcmtk_peer.storescp(tmp_path / "1") as server:
        folder = dcmflow("send", server.address, "in")
    assert server.stored().keys() == {uid for name, uid in base.uids.items() if base[name] != truncated}
    assert folder.returncode == 1
    assert "emitted 12 = accepted 11 + dropped 0 + refused 1" in folder.stdout
    assert "not DICOM 1" in folder.stdout
    assert str(truncated) in folder.stderr
    with dcmtk_peer.storescp(tmp_path / "2") as server:
        named = dcmflow("send", server.address, note, truncated, *good)
    assert len(server.stored()) == 11
    assert named.returncode == 1
    assert "emitted 13 = accepted 11 + dropped 0 + refused 2" in named.stdout
    assert f"{note} is not DICOM" in named.stderr


@pytest.mark.interop
def test_patterns(dcmflow: Run, dcmtk_peer: Dcmtk, base: Corpus, tmp_path: Path) -> None:
    with dcmtk_peer.storescp(tmp_path / "out") as server:
        done = dcmflow("send", server.address, "in", "--include", "TestPat1/**", "--exclude", "14")
    expected = {uid for name, uid in base.uids.items() if "TestPat1/" in name and "/14/" not in name}
    assert 0 < len(expected) < 12
    assert (done.returncode, server.stored().keys()) == (0, expected), done.stderr


@pytest.mark.interop
def test_names_of_the_settings(
    dcmflow: Run, dcmtk_peer: Dcmtk, base: Corpus, work: Path, tmp_path: Path
) -> None:
    with dcmtk_peer.storescp(tmp_path / "out") as server:
        (work / "settings.toml").write_text(
            f'[nodes."my.pacs"]\naddress = "{server.address}"\nmax-associations = 1\n[dirs.scans]\npath = "in"\n'
        )
        done = dcmflow("--config", "settings.toml", "send", "my.pacs", "scans")
    assert done.returncode == 0, done.stderr
    assert server.stored().keys() == set(base.uids.values())
    assert "my-pacs" in done.stdout


@pytest.mark.interop
def test_tls(
    dcmflow: Run, dcmtk_peer: Dcmtk, certificates: Certificates, base: Corpus, tmp_path: Path
) -> None:
    ours = certificates.client
    mutual = ["--tls-cert", ours.cert, "--tls-key", ours.key]
    with dcmtk_peer.storescp(tmp_path / "out", tls=certificates.server) as server:
        done = dcmflow("send", f"dicoms://{server.address}", "in", "--tls-ca", ours.ca, *mutual)
        strange = dcmflow("send", f"dicoms://{server.address}", "in", *mutual)
    assert done.returncode == 0, done.stderr
    assert server.stored().keys() == set(base.uids.values())
    assert strange.returncode == 3
    assert "--tls-ca FILE" in one_line(strange)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["send"], "NODE"),
        (["send", "A@h:104"], "send what?"),
        (["send", "A@h:104", "nowhere"], "there is no file or folder nowhere"),
        (["send", "A@h:104", "in", "nowhere"], "there is no file or folder nowhere"),
        (["send", "A@h:104", ""], "is empty"),
        (["send", "pacs", "in"], "there is no node 'pacs'"),
        (["send", "A@h:104", "in", "--retries", "-1"], "--retries"),
        (["send", "A@h:104", "in", "--associations", "0"], "--associations"),
        (["send", "A@h:104", "in", "--dry-run", "--report", "r.json"], "--dry-run"),
        (["send", "A@h:104", "in", "--report", "nowhere/r.json"], "nowhere/r.json"),
        (["send", "A@h:104", "in", "--tls-ca", "ca.pem"], "dicoms://"),
        (["send", "A@h:104", "broken.zip"], "broken.zip"),
    ],
)
def test_what_cannot_be_right(
    dcmflow: Run, base: Corpus, work: Path, arguments: list[str], words: str
) -> None:
    (work / "broken.zip").write_bytes(b"PK\3\4 and no more")
    done = dcmflow(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in one_line(done)


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["nowhere", "broken.zip"])
async def test_missing_paths_are_seen_before_anything_moves(
    dcmflow: Run, base: Corpus, work: Path, path: str
) -> None:
    (work / "broken.zip").write_bytes(b"PK\3\4 and no more")
    async with ScriptedScp() as peer:
        done = await beside(dcmflow, "send", peer.node, "in", path)
    assert done.returncode == 2
    assert len(peer.received) == 0


@pytest.mark.parametrize("retries", [0, 1])
def test_nobody_there(dcmflow: Run, base: Corpus, retries: int) -> None:
    done = dcmflow("send", f"PACS@{HOST}:{free_port()}", "in", "--retries", retries)
    assert (done.returncode, done.stdout) == (3, "")
    assert "connection refused" in one_line(done)


@pytest.mark.interop
def test_rejected_from_the_start(dcmflow: Run, dcmtk_peer: Dcmtk, base: Corpus, tmp_path: Path) -> None:
    with dcmtk_peer.storescp(tmp_path / "out", "--refuse") as server:
        done = dcmflow("send", server.address, "in")
    assert (done.returncode, done.stdout) == (3, "")
    assert "rejected the association" in one_line(done)


@pytest.mark.anyio
async def test_rejected_for_a_moment(dcmflow: Run, base: Corpus, work: Path) -> None:
    async with ScriptedScp(accept=[Reject(2, 3, 1), Accept()]) as peer:
        done = await beside(dcmflow, "send", peer.node, "in", "-v")
    assert done.returncode == 0, done.stderr
    assert "temporary congestion" in done.stderr
    assert "trying again (1 of 2)" in done.stderr
    assert sorted(stored(peer)) == sorted(base.uids.values())


@pytest.mark.anyio
async def test_an_association_that_breaks(dcmflow: Run, base: Corpus, work: Path) -> None:
    async with ScriptedScp(on_store=[0, 0, AbortNow(), 0]) as peer:
        done = await beside(dcmflow, "send", peer.node, "in", "--associations", "1", "--report", "r.json")
    assert done.returncode == 0, done.stderr
    assert json.loads((work / "r.json").read_text())["pipeline"]["accepted"] == 12
    sent = stored(peer)
    assert set(sent) == set(base.uids.values())
    assert len(sent) == 13


@pytest.mark.anyio
async def test_no_answer_in_time(dcmflow: Run, base: Corpus, work: Path) -> None:
    async with ScriptedScp(on_store=[Silence()]) as peer:
        done = await beside(
            dcmflow, "send", peer.node, "in", "--timeout", "500 ms", "--retries", "0", "--report", "r.json"
        )
    assert done.returncode == 1, done.stderr
    report = json.loads((work / "r.json").read_text())
    assert (report["pipeline"]["accepted"], report["pipeline"]["refused"]) == (11, 1)
    assert "did not answer: waited" in report["refusals"][0]["reason"]


@pytest.mark.anyio
async def test_refused_by_status(dcmflow: Run, base: Corpus, work: Path) -> None:
    async with ScriptedScp(on_store=[Answer(0xC001, comment="no such patient"), 0xB000]) as peer:
        done = await beside(dcmflow, "send", peer.node, "in", "--report", "r.json")
    assert done.returncode == 1, done.stderr
    report = json.loads((work / "r.json").read_text())
    assert (report["pipeline"]["accepted"], report["pipeline"]["refused"]) == (11, 1)
    assert "no such patient" in report["refusals"][0]["reason"]
    assert "coercion of data elements" in done.stderr


@pytest.mark.anyio
@pytest.mark.parametrize("associations", [1, 6])
async def test_associations(dcmflow: Run, work: Path, associations: int) -> None:
    small_series(work / "in", 40)
    async with ScriptedScp(on_store=(Wait(0.05), 0)) as peer:
        done = await beside(dcmflow, "send", peer.node, "in", "--associations", associations)
    assert done.returncode == 0, done.stderr
    assert len(stored(peer)) == 40
    assert peer.most_open == associations


@pytest.mark.anyio
async def test_dry_run(dcmflow: Run, base: Corpus, work: Path) -> None:
    base.paths[0].write_bytes(base.paths[0].read_bytes()[:-100])
    async with ScriptedScp() as peer:
        text = await beside(dcmflow, "send", peer.node, "in", "--dry-run")
        lines = await beside(dcmflow, "send", peer.node, "in", "--dry-run", "--format", "json")
    assert len(peer.received) == 0
    assert text.returncode == lines.returncode == 1
    assert (
        f"{base.paths[1]} -> {peer.node} (MR Image Storage (1.2.840.10008.5.1.4.1.1.4), Explicit"
        in text.stdout
    )
    assert f"would send 11 instances, {text.stderr.partition(' instances, ')[2][:3]}" in text.stderr
    assert "; nothing was sent" in text.stderr
    assert "  10 MR Image Storage (1.2.840.10008.5.1.4.1.1.4)\n" in text.stderr
    assert f"  1 {corpus.PRIVATE_SOP_CLASS}\n" in text.stderr
    planned = [json.loads(line) for line in lines.stdout.splitlines()]
    assert {entry["sop_instance_uid"] for entry in planned} == set(base.uids.values()) - {
        base.uids[next(iter(base))]
    }
    assert sum(entry["size"] for entry in planned) == sum(len(dataset_bytes(path)) for path in base.paths[1:])


def test_dry_run_needs_no_node(dcmflow: Run, base: Corpus) -> None:
    done = dcmflow("send", f"PACS@{HOST}:{free_port()}", "in", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 12


@pytest.mark.anyio
async def test_nothing_to_send(dcmflow: Run, work: Path) -> None:
    (work / "in").mkdir()
    async with ScriptedScp() as peer:
        done = await beside(dcmflow, "send", peer.node, "in")
    assert done.returncode == 0, done.stderr
    assert "emitted 0" in done.stdout


@pytest.mark.anyio
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
async def test_a_signal_lets_what_is_under_way_finish(
    start: Start, work: Path, number: signal.Signals, code: int
) -> None:
    small_series(work / "in", 200)
    async with ScriptedScp(on_store=(Wait(0.03), 0)) as peer:
        process = start("send", peer.node, "in", "--report", "r.json")
        await peer.received.wait("C-STORE-RQ", count=5)
        process.send_signal(number)
        _, said = await anyio.to_thread.run_sync(partial(process.communicate, timeout=15))
        associations = {seen.association for seen in peer.received.of("A-ASSOCIATE-RQ")}
        for each in associations:
            await peer.received.wait("A-RELEASE-RQ", association=each)
    assert process.returncode == code, said
    report = json.loads((work / "r.json").read_text())["pipeline"]
    assert 5 <= report["emitted"] == report["accepted"] == len(stored(peer)) < 200
    assert peer.received.of("A-ABORT") == []


@pytest.mark.anyio
async def test_interrupted_before_anything_was_answered(start: Start, base: Corpus) -> None:
    async with ScriptedScp(accept=Silence()) as peer:
        process = start("send", peer.node, "in")
        await peer.received.wait("A-ASSOCIATE-RQ")
        process.send_signal(signal.SIGINT)
        _, said = await anyio.to_thread.run_sync(partial(process.communicate, timeout=15))
    assert (process.returncode, said) == (130, "")


@pytest.mark.interop
def test_on_a_terminal(
    dcmtk_peer: Dcmtk, environment: dict[str, Any], base: Corpus, work: Path, tmp_path: Path
) -> None:
    with dcmtk_peer.storescp(tmp_path / "out") as server:
        shown = on_terminal(["send", str(server.address), "in"], environment, cwd=work)
    assert shown.code == 0, shown.out
    assert "emitted 12 = accepted 12" in shown.out
    nobody = on_terminal(
        ["send", f"PACS@{HOST}:{free_port()}", "in", "--retries", "1"], environment, cwd=work
    )
    assert nobody.code == 3
    assert [line.split(": ")[1] for line in nobody.out.splitlines()] == ["warning", "error"]
