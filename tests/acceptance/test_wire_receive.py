"""A listener of ours, seen by those who send to it: what is stored, what the sender is told, how it ends."""

from __future__ import annotations

import hashlib
import shutil
import signal
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pydicom
import pytest
from anyio.from_thread import BlockingPortal
from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from acceptance_kit import (
    FLAT,
    Command,
    check_part10,
    dataset,
    digest,
    digests,
    pipeline_file,
    report,
    visible,
)
from acceptance_wire import (
    BOTH_LOOPS,
    archived,
    calling,
    dcmftest,
    gate,
    here,
    scripted,
    serving,
    wait_for,
)
from corpus import Corpus
from dcmflow.testing import Answer, instance
from peers.base import HOST, Address, free_port
from peers.dcmjs import Dcmjs
from peers.dcmtk import Dcmtk
from peers.fixtures import Certificates
from peers.orthanc import Orthanc
from peers.pynet import Pynetdicom, statuses
from wire_data import digests as syntax_digests
from wire_data import small_series, uid_of

Tool = Callable[[str], str]


def to_folder(folder: Path, at: Address, **scp: Any) -> Path:
    """A pipeline file: from a listener into the folder `out` beside it."""
    return pipeline_file(
        folder / "p.toml",
        sources={"scp": {"type": "scp", "listen": str(at), **scp}},
        sinks={"out": {"type": "directory", "from": "scp", "path": "out", "layout": FLAT}},
    )


def behind_a_gate(folder: Path, at: Address, **scp: Any) -> Path:
    """The same, where nothing gets through until `gate(folder).open()`."""
    return pipeline_file(
        folder / "p.toml",
        sources={"scp": {"type": "scp", "listen": str(at), **scp}},
        filters={"gate": {"type": "call", "from": "scp", "function": gate(folder).function}},
        sinks={"out": {"type": "directory", "from": "gate", "path": "out", "layout": FLAT}},
    )


def pixels(path: Path) -> str:
    return hashlib.sha256(pydicom.dcmread(path).PixelData).hexdigest()


def some(base_set: Corpus, count: int = 4) -> list[Path]:
    """Ordinary images."""
    return [path for path in base_set.paths if "/14/" not in str(path)][:count]


# into a folder ------------------------------------------------------------------------------------------------------


@pytest.mark.interop
@pytest.mark.parametrize(("option", "backend"), [("-xe", "asyncio"), ("-xi", "trio")])
def test_what_storescu_sends_becomes_valid_files(
    run: Command,
    dcmtk_peer: Dcmtk,
    dcmtk: Tool,
    base_set: Corpus,
    at: Address,
    option: str,
    backend: str,
    tmp_path: Path,
) -> None:
    files = some(base_set)
    with serving(run, "run", to_folder(tmp_path, at), "--backend", backend, ports=[at.port]) as service:
        assert dcmtk_peer.storescu(at, *files, options=(option,)).returncode == 0
        stored = {uid_of(path): path for path in visible(tmp_path / "out")}
        service.stop().must(0)
    assert stored.keys() == {uid_of(path) for path in files}
    dcmftest(dcmtk, stored.values())
    for path in files:
        check_part10(stored[uid_of(path)], dcmtk)
        assert pixels(stored[uid_of(path)]) == pixels(path)


@pytest.mark.interop
@pytest.mark.parametrize("sender", ["dcmsend", "pynetdicom", "dcmjs"])
def test_bytes_are_stored_as_they_came(
    run: Command,
    request: pytest.FixtureRequest,
    base_set: Corpus,
    comp_set: Corpus,
    at: Address,
    sender: str,
    tmp_path: Path,
) -> None:
    """Compressed, private and unknown alike."""
    files = [*base_set.paths, *comp_set.paths]
    with serving(run, "forward", tmp_path / "in", "--listen", at, ports=[at.port]) as service:
        if sender == "dcmsend":  # it encodes anew what it may send in explicit VR
            files = [path for path in files if path.stem not in ("big-endian", "deflated", "implicit")]
            assert request.getfixturevalue("dcmtk_peer").dcmsend(at, *files).returncode == 0
        else:
            done = request.getfixturevalue(f"{sender}_peer").send(at, *files)
            assert statuses(done) == dict.fromkeys(files, 0)
        assert syntax_digests(visible(tmp_path / "in")) == syntax_digests(files)
        service.stop().must(0)


@pytest.mark.interop
def test_private_and_invented_kinds_are_stored_as_they_came(
    run: Command,
    pynetdicom_peer: Pynetdicom,
    priv_set: Corpus,
    classes_set: Corpus,
    at: Address,
    tmp_path: Path,
) -> None:
    files = [*priv_set.paths, *classes_set.paths[:125]]
    with serving(run, "forward", tmp_path / "in", "--listen", at, ports=[at.port]) as service:
        assert statuses(pynetdicom_peer.send(at, *files)) == dict.fromkeys(files, 0)
        assert syntax_digests(visible(tmp_path / "in")) == syntax_digests(files)
        service.stop().must(0)


SPECIAL = {
    "radiation dose report": "1.2.840.10008.5.1.4.1.1.88.67",
    "12-lead ECG": "1.2.840.10008.5.1.4.1.1.9.1.1",
    "encapsulated PDF": "1.2.840.10008.5.1.4.1.1.104.1",
    "segmentation": "1.2.840.10008.5.1.4.1.1.66.4",
}


@pytest.mark.interop
def test_reports_curves_documents_and_segmentations_are_taken(
    run: Command, dcmtk_peer: Dcmtk, orthanc: Orthanc, dcmtk: Tool, at: Address, tmp_path: Path
) -> None:
    files = []
    for name, sop_class in SPECIAL.items():
        files.append(tmp_path / f"{name}.dcm")
        files[-1].write_bytes(b"".join(instance(sop_class).part10_segments()))
    (tmp_path / "letter.pdf").write_bytes(
        b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
    )
    files.append(tmp_path / "letter.dcm")
    subprocess.run([dcmtk("pdf2dcm"), tmp_path / "letter.pdf", files[-1]], check=True, capture_output=True)
    wanted = {uid_of(path) for path in files}
    with serving(run, "forward", tmp_path / "in", "--listen", at, ports=[at.port]) as service:
        assert dcmtk_peer.storescu(at, *files).returncode == 0
        assert {uid_of(path) for path in visible(tmp_path / "in")} == wanted
        first = digests(visible(tmp_path / "in"))
        shutil.rmtree(tmp_path / "in")
        orthanc.add(*files)
        orthanc.register({"us": at})
        for identifier in orthanc.instances().values():
            orthanc.fetch("/modalities/us/store", "POST", identifier.encode())
        assert {uid_of(path) for path in visible(tmp_path / "in")} == wanted
        service.stop().must(0)
    assert len(first) == len(files)
    dcmftest(dcmtk, visible(tmp_path / "in"))


def test_on_ipv6_too(run: Command, base_set: Corpus, tmp_path: Path, portal: BlockingPortal) -> None:
    at = here(free_port(), host="[::1]")
    with serving(run, "run", to_folder(tmp_path, at), ports=[at.port]) as service:
        run("send", at, *base_set.paths, "--quiet").must(0)
        service.stop().must(0)
    assert digests(visible(tmp_path / "out")) == digests(base_set.paths)


@pytest.mark.interop
def test_over_tls_only_who_is_trusted_gets_in(
    run: Command, dcmtk_peer: Dcmtk, dcmjs_peer: Dcmjs, certificates: Certificates, base_set: Corpus, at: Address, tmp_path: Path,
) -> None:  # fmt: skip
    first, second, third = some(base_set, 3)
    pem = certificates.server
    file = to_folder(tmp_path, at, tls={"cert": pem.cert, "key": pem.key, "ca": pem.ca})
    with serving(run, "run", file, "--backend", "trio", ports=[at.port]) as service:
        assert dcmtk_peer.storescu(at, third, tls=certificates.stranger).returncode != 0
        assert dcmtk_peer.storescu(at, third).returncode != 0
        assert dcmtk_peer.storescu(at, first, tls=certificates.client).returncode == 0
        assert dcmjs_peer.send(at, second, tls=certificates.client).returncode == 0
        assert digests(visible(tmp_path / "out")) == digests([first, second])
        service.stop().must(0)


# on to a node -------------------------------------------------------------------------------------------------------


@pytest.mark.interop
def test_what_comes_goes_on_to_a_node_under_our_title(
    run: Command, dcmtk_peer: Dcmtk, base_set: Corpus, at: Address, tmp_path: Path
) -> None:
    with dcmtk_peer.storescp(tmp_path / "far", level="debug") as far:
        line = ["forward", far.address, "--listen", at, "--calling-ae", "GATEWAY"]
        with serving(run, *line, ports=[at.port]) as service:
            assert dcmtk_peer.dcmsend(at, *base_set.paths).returncode == 0
            # as the sender was told Success, they are there
            assert digests(far.stored().values()) == digests(base_set.paths)
            service.stop().must(0)
        assert "GATEWAY" in far.log


@pytest.mark.interop
def test_from_one_archive_through_us_to_another(
    run: Command,
    dcmtk_peer: Dcmtk,
    dcmtk: Tool,
    orthanc: Orthanc,
    base_set: Corpus,
    at: Address,
    tmp_path: Path,
) -> None:
    """dcmqrscp is told to move a patient to us; Orthanc, to which all goes, has it then."""
    files = some(base_set, 12)
    with (
        serving(run, "forward", orthanc.address, tmp_path / "in", "--listen", at, ports=[at.port]) as service,
        dcmtk_peer.dcmqrscp(tmp_path / "near", clients={"DCMFLOW": at.port}, files=files) as near,
    ):
        command = [
            dcmtk("movescu"),
            "-S",
            "-aet",
            "DCMFLOW",
            "-aec",
            near.address.ae_title,
            "-aem",
            "DCMFLOW",
        ]
        keys = ["-k", "0008,0052=STUDY", "-k", "0020,000D"]
        for study in {str(pydicom.dcmread(path).StudyInstanceUID) for path in files}:
            keys[-1] = f"0020,000D={study}"
            moved = subprocess.run(
                [*command, *keys, HOST, str(near.address.port)], capture_output=True, text=True, check=False
            )
            assert moved.returncode == 0, moved.stdout + moved.stderr
        service.stop().must(0)
    assert orthanc.instances().keys() == {uid_of(path) for path in files}
    assert {uid_of(path) for path in visible(tmp_path / "in")} == {uid_of(path) for path in files}


@pytest.mark.interop
def test_from_orthanc_through_us_to_two_archives(
    run: Command, dcmtk_peer: Dcmtk, orthanc: Orthanc, base_set: Corpus, at: Address, tmp_path: Path
) -> None:
    files = some(base_set)
    orthanc.add(*files)
    orthanc.register({"us": at})
    with (
        dcmtk_peer.storescp(tmp_path / "one") as one,
        dcmtk_peer.dcmqrscp(tmp_path / "two") as two,
        serving(
            run, "forward", one.address, two.address, "--associations", 1, "--listen", at, ports=[at.port]
        ) as service,
    ):
        for identifier in orthanc.instances().values():
            orthanc.fetch("/modalities/us/store", "POST", identifier.encode())
        assert one.stored().keys() == archived(two.folder).keys() == {uid_of(path) for path in files}
        service.stop().must(0)


@pytest.mark.interop
def test_a_destination_that_is_down_is_told_to_the_sender(
    run: Command,
    dcmtk_peer: Dcmtk,
    pynetdicom_peer: Pynetdicom,
    base_set: Corpus,
    at: Address,
    tmp_path: Path,
) -> None:
    [first, *others] = files = some(base_set, 3)
    down = here(free_port(), "DOWN")
    said = tmp_path / "r.json"
    line = ["forward", down, "--listen", at, "--retries", "0", "--report", said]
    with serving(run, *line, ports=[at.port]) as service:
        done = dcmtk_peer.storescu(at, first)
        assert done.returncode != 0
        assert "Refused: OutOfResources" in done.stdout + done.stderr
        assert statuses(pynetdicom_peer.send(at, *others)) == dict.fromkeys(others, 0xA700)
        service.stop().must(1)
    refusals = report(said)["refusals"]
    assert {refusal["sop_instance_uid"] for refusal in refusals} == {uid_of(path) for path in files}
    assert all(f"{down} cannot be reached: connection refused" in refusal["reason"] for refusal in refusals)


@pytest.mark.interop
def test_who_is_answered_at_once_is_told_success_and_the_loss_is_reported(
    run: Command, dcmtk_peer: Dcmtk, base_set: Corpus, at: Address, tmp_path: Path
) -> None:
    files = some(base_set, 3)
    said = tmp_path / "r.json"
    down = here(free_port(), "DOWN")
    line = ["forward", down, "--listen", at, "--retries", "0", "--respond", "received", "--report", said]
    with serving(run, *line, ports=[at.port]) as service:
        assert dcmtk_peer.storescu(at, *files).returncode == 0
        service.stop().must(1)
    assert "received" in service.said, "that it promises nothing was said at the start"
    assert report(said)["pipeline"]["refused"] == 3


@pytest.mark.interop
def test_a_destination_that_comes_back_gets_what_is_sent_again(
    run: Command, dcmtk_peer: Dcmtk, base_set: Corpus, at: Address
) -> None:
    [file] = some(base_set, 1)
    port = free_port()
    line = ["forward", f"SCRIPTED@{HOST}:{port}", "--listen", at, "--retries", "0"]
    with serving(run, *line, ports=[at.port]) as service:
        for _ in range(3):
            assert dcmtk_peer.storescu(at, file).returncode != 0
        with scripted(port=port) as back:
            wait_for(lambda: dcmtk_peer.storescu(at, file).returncode == 0)
            assert back.stores() == [uid_of(file)]
        service.stop()


@pytest.mark.interop
def test_a_store_that_does_not_count_keeps_nobody_from_success(
    run: Command, dcmtk_peer: Dcmtk, base_set: Corpus, at: Address, tmp_path: Path
) -> None:
    files = some(base_set)
    file = pipeline_file(
        tmp_path / "p.toml",
        sources={"scp": {"type": "scp", "listen": str(at)}},
        sinks={
            "out": {"type": "directory", "from": "scp", "path": "out"},
            "extra": {"type": "store", "from": "scp", "to": str(here(free_port(), "DOWN")), "required": False,
                      "retry": {"attempts": 1}},
        },
    )  # fmt: skip
    with serving(run, "run", file, "--report", tmp_path / "r.json", ports=[at.port]) as service:
        assert dcmtk_peer.storescu(at, *files).returncode == 0
        assert digests(visible(tmp_path / "out")) == digests(files)
        service.stop()
    said = report(tmp_path / "r.json")
    assert said["pipeline"]["accepted"] == said["stages"]["extra"]["refused"] == 4


# several on a port, and who may call --------------------------------------------------------------------------------


@pytest.mark.interop
@BOTH_LOOPS
def test_two_sources_on_one_port_each_get_their_own(
    run: Command, dcmtk_peer: Dcmtk, base_set: Corpus, at: Address, backend: str, tmp_path: Path
) -> None:
    first, second, third, fourth = some(base_set)
    file = pipeline_file(
        tmp_path / "p.toml",
        sources={
            "ct": {"type": "scp", "listen": str(at), "accept_from": ["CTSCAN"]},
            "mr": {"type": "scp", "listen": str(at), "accept_from": ["MRSCAN"]},
            "trial": {"type": "scp", "listen": str(here(at.port, "TRIAL"))},
        },
        sinks={f"to-{name}": {"type": "directory", "from": name, "path": name} for name in ("ct", "mr", "trial")},
    )  # fmt: skip
    with serving(run, "run", file, "--backend", backend, ports=[at.port]) as service:
        assert dcmtk_peer.storescu(at, first, calling_ae="CTSCAN").returncode == 0
        assert dcmtk_peer.storescu(at, second, calling_ae="MRSCAN").returncode == 0
        assert dcmtk_peer.storescu(here(at.port, "TRIAL"), third, calling_ae="CTSCAN").returncode == 0
        stranger = dcmtk_peer.storescu(at, fourth, calling_ae="XASCAN")
        assert stranger.returncode != 0
        assert "Calling AE Title Not Recognized" in stranger.stdout + stranger.stderr
        nobody = dcmtk_peer.storescu(here(at.port, "WARD"), fourth, calling_ae="CTSCAN")
        assert nobody.returncode != 0
        assert "Called AE Title Not Recognized" in nobody.stdout + nobody.stderr
        service.stop().must(0)
    for name, path in (("ct", first), ("mr", second), ("trial", third)):
        assert digests(visible(tmp_path / name)) == digests([path])


SAME_CALLERS = [[[], []], [["CTSCAN", "MRSCAN"], ["MRSCAN"]]]


def _colliding(folder: Path, at: Address, callers: list[list[str]]) -> Path:
    return pipeline_file(
        folder / "p.toml",
        sources={
            name: {"type": "scp", "listen": str(at), "accept_from": who}
            for name, who in zip(("one", "two"), callers, strict=True)
        },
        sinks={"out": {"type": "directory", "from": ["one", "two"], "path": "out"}},
    )


@pytest.mark.parametrize("callers", SAME_CALLERS)
def test_two_sources_for_the_same_callers_are_a_mistake(
    run: Command, at: Address, callers: list[list[str]], tmp_path: Path
) -> None:
    done = run("run", _colliding(tmp_path, at, callers)).must(2)
    assert "one" in done.err
    assert "two" in done.err
    assert not (tmp_path / "out").exists()


def test_a_check_finds_two_sources_for_the_same_callers(run: Command, at: Address, tmp_path: Path) -> None:
    done = run("check", _colliding(tmp_path, at, SAME_CALLERS[1])).must(2)
    assert "one" in done.err
    assert "two" in done.err


@pytest.mark.interop
def test_only_listed_callers_get_in_and_others_learn_why(
    run: Command,
    dcmtk_peer: Dcmtk,
    pynetdicom_peer: Pynetdicom,
    base_set: Corpus,
    at: Address,
    tmp_path: Path,
) -> None:
    first, second, third = some(base_set, 3)
    may = [
        "--accept-from",
        "CTSCAN",
        "--accept-from",
        f"MRSCAN@{HOST}",
        "--accept-from",
        "FARSCAN@10.11.0.0/16",
    ]
    with serving(run, "forward", tmp_path / "in", "--listen", at, *may, ports=[at.port]) as service:
        for calling_ae in ("STRANGER", "ctscan", "FARSCAN"):
            done = dcmtk_peer.storescu(at, third, calling_ae=calling_ae)
            assert done.returncode != 0
            assert "Calling AE Title Not Recognized" in done.stdout + done.stderr
            assert dcmtk_peer.echoscu(at, calling_ae=calling_ae).returncode != 0
        assert pynetdicom_peer.send(at, third).returncode != 0
        assert dcmtk_peer.storescu(at, first, calling_ae="CTSCAN").returncode == 0
        assert dcmtk_peer.storescu(at, second, calling_ae="MRSCAN").returncode == 0
        ended = service.stop().must(0)
    assert digests(visible(tmp_path / "in")) == digests([first, second])
    assert "association-rejected" in ended.err
    assert "STRANGER" in ended.err
    assert "calling AE title not recognized" in ended.err


@pytest.mark.interop
@pytest.mark.parametrize(("network", "inside"), [("@127.0.0.0/8", True), ("@10.11.0.0/16", False)])
def test_a_network_may_be_listed(
    run: Command, dcmtk_peer: Dcmtk, base_set: Corpus, at: Address, network: str, inside: bool, tmp_path: Path
) -> None:
    [file] = some(base_set, 1)
    line = ["forward", tmp_path / "in", "--listen", at, "--accept-from", network]
    with serving(run, *line, ports=[at.port]) as service:
        assert (dcmtk_peer.storescu(at, file).returncode == 0) is inside
        assert len(visible(tmp_path / "in")) == inside
        service.stop().must(0)


def test_more_associations_than_allowed_are_told_to_come_again(
    run: Command, at: Address, portal: BlockingPortal, tmp_path: Path
) -> None:
    made = instance(Modality="CT")
    line = ["forward", tmp_path / "in", "--listen", at, "--max-associations", "1"]
    with serving(run, *line, ports=[at.port]) as service:
        with calling(portal, at) as first, calling(portal, at) as second:
            assert first("associate", instances=[made]).what == "A-ASSOCIATE-AC"
            answer = second("associate", instances=[made])
            assert answer.what == "A-ASSOCIATE-RJ"
            assert (answer.pdu.result, answer.pdu.source, answer.pdu.reason) == (2, 3, 2)
            assert first("store", made).status == 0
            first("release")
        service.stop().must(0)
    assert len(visible(tmp_path / "in")) == 1


def test_a_port_that_is_taken_is_named_and_its_owner_goes_on(
    run: Command, base_set: Corpus, at: Address, tmp_path: Path
) -> None:
    with serving(run, "forward", tmp_path / "one", "--listen", at, ports=[at.port]) as service:
        done = run("forward", tmp_path / "two", "--listen", at)
        assert done.code in (2, 3), done
        assert str(at.port) in done.readable().err
        assert "in use" in done.err
        # from this machine, under the very title of the listener, which is no server for it
        run("send", at, *some(base_set), "--calling-ae", "DCMFLOW", "--quiet").must(0)
        service.stop().must(0)
    assert len(visible(tmp_path / "one")) == 4
    assert not (tmp_path / "two").exists() or visible(tmp_path / "two") == []


# the end ------------------------------------------------------------------------------------------------------------


@pytest.mark.interop
def test_after_a_while_without_callers_it_ends_by_itself(
    run: Command, dcmtk_peer: Dcmtk, base_set: Corpus, at: Address, tmp_path: Path
) -> None:
    line = ["forward", tmp_path / "in", "--listen", at, "--until-idle", "2 s"]
    with serving(run, *line, ports=[at.port]) as service:
        assert dcmtk_peer.storescu(at, *some(base_set)).returncode == 0
        done = service.ended().must(0)
    assert "emitted 4 = accepted 4 + dropped 0 + refused 0" in done.out + done.err
    assert len(visible(tmp_path / "in")) == 4


@pytest.mark.parametrize(
    ("number", "code", "backend"),
    [(signal.SIGINT, 130, "asyncio"), (signal.SIGINT, 130, "trio"), (signal.SIGTERM, 0, "trio")],
)
def test_a_signal_finishes_what_came_and_takes_nothing_new(
    run: Command,
    at: Address,
    portal: BlockingPortal,
    number: signal.Signals,
    code: int,
    backend: str,
    tmp_path: Path,
) -> None:
    first, second = instance(Modality="CT"), instance(Modality="CT")
    file, held = behind_a_gate(tmp_path, at), gate(tmp_path)
    line = ["run", file, "--backend", backend, "--report", tmp_path / "r.json"]
    with serving(run, *line, ports=[at.port]) as service, calling(portal, at) as sender:
        sender("associate", instances=[first])
        answer = sender.begin("store", first)
        wait_for(lambda: held.reached)
        service.interrupt(number)
        wait_for(lambda: "draining" in service.said)
        with calling(portal, at) as late:
            rejected = late("associate", instances=[second])
            assert rejected.what == "A-ASSOCIATE-RJ"
            assert (rejected.pdu.result, rejected.pdu.source, rejected.pdu.reason) == (2, 3, 1)
        assert not answer.done()
        held.open()
        assert answer.result(15).status == 0
        assert sender("store", second).what == "A-ABORT"
        service.ended().must(code)
    [stored] = visible(tmp_path / "out")
    assert dataset(stored) == b"".join(first.part10_segments()).partition(b"DICM")[2][-len(dataset(stored)) :]
    figures = report(tmp_path / "r.json")["pipeline"]
    assert (figures["accepted"], figures["refused"], figures["unsettled"]) == (1, 0, 0)


def test_what_does_not_settle_in_its_grace_is_refused_and_not_stored(
    run: Command, at: Address, portal: BlockingPortal, tmp_path: Path
) -> None:
    made = instance(Modality="CT")
    file, held = behind_a_gate(tmp_path, at), gate(tmp_path)
    line = ["run", file, "--grace", "200 ms", "--report", tmp_path / "r.json"]
    with serving(run, *line, ports=[at.port]) as service, calling(portal, at) as sender:
        sender("associate", instances=[made])
        answer = sender.begin("store", made)
        wait_for(lambda: held.reached)
        service.interrupt(signal.SIGTERM)
        assert answer.result(15).what in ("A-ABORT", "close", "reset") or answer.result().status != 0
        service.ended().must(1)
    assert visible(tmp_path / "out") == []
    said = report(tmp_path / "r.json")
    assert said["pipeline"]["refused"] == 1
    [refusal] = said["refusals"]
    assert refusal["sop_instance_uid"] == made.sop_instance_uid


@pytest.mark.interop
def test_whoever_was_told_success_before_the_end_has_it_stored(
    run: Command,
    dcmtk_peer: Dcmtk,
    portal: BlockingPortal,
    at: Address,
    tmp_path: Path,
) -> None:
    files = small_series(tmp_path / "files", 800).paths
    with serving(run, "forward", tmp_path / "in", "--listen", at, ports=[at.port]) as service:
        send = partial(dcmtk_peer.storescu, at, *files)
        sending = portal.start_task_soon(anyio.to_thread.run_sync, send)
        wait_for(lambda: len(visible(tmp_path / "in")) >= 5)
        service.interrupt()
        service.ended().must(130)
        told = sending.result(30)
    assert told.returncode != 0, "it was cut off"
    # one after the other, in this order; it stops at the first that fails
    successes = (told.stdout + told.stderr).count("Received Store Response (Success)")
    stored = {uid_of(path): path for path in visible(tmp_path / "in")}
    assert {uid_of(path) for path in files[:successes]} <= stored.keys()
    assert 5 <= successes <= len(stored) <= successes + 1
    whole = {uid_of(path): digest(path) for path in files[: len(stored)]}
    assert {uid: digest(path) for uid, path in stored.items()} == whole, "no half files"


# senders that misbehave ---------------------------------------------------------------------------------------------


def test_what_breaks_off_in_the_middle_leaves_nothing_and_harms_nobody(
    run: Command, at: Address, portal: BlockingPortal, base_set: Corpus, tmp_path: Path
) -> None:
    made = instance(Modality="CT")
    with serving(run, "forward", tmp_path / "in", "--listen", at, ports=[at.port]) as service:
        for ending in ("abort", "close"):
            with calling(portal, at) as sender:
                sender("associate", instances=[made])
                context = sender.client.context_id(made.sop_class_uid)
                whole = b"".join(made.part10_segments())
                # announces an object, gives part of it, and is gone
                sender("send", _part_of(sender, made, context, whole))
                sender(ending)
        run("send", at, *some(base_set), "--quiet").must(0)
        service.stop().must(0)
    assert digests(visible(tmp_path / "in")) == digests(some(base_set))


def _part_of(sender: Any, made: Any, context: int, whole: bytes) -> bytes:
    """A P-DATA-TF with a C-STORE-RQ, and one with a first fragment that is not the last one (PS3.8 9.3.5)."""
    command = Dataset()
    command.AffectedSOPClassUID, command.CommandField = made.sop_class_uid, 1
    command.MessageID, command.Priority, command.CommandDataSetType = 77, 0, 1
    command.AffectedSOPInstanceUID = made.sop_instance_uid
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, True
    write_dataset(stream, command)
    encoded = stream.getvalue()
    body = b"\0\0\0\0\4\0\0\0" + len(encoded).to_bytes(4, "little") + encoded
    return _pdata(context, 3, body) + _pdata(context, 0, whole[400:600])


def _pdata(context: int, header: int, fragment: bytes) -> bytes:
    pdv = (len(fragment) + 2).to_bytes(4, "big") + bytes([context, header]) + fragment
    return b"\4\0" + len(pdv).to_bytes(4, "big") + pdv


def test_an_object_that_is_not_what_it_says_is_refused_and_others_go_on(
    run: Command, at: Address, portal: BlockingPortal, tmp_path: Path
) -> None:
    made, other = instance(Modality="CT"), instance(Modality="CT")
    with serving(run, "forward", tmp_path / "in", "--listen", at, ports=[at.port]) as service:
        with calling(portal, at) as sender:
            sender("associate", instances=[made])
            lie = sender("store", made, fields={"affected_sop_instance": other.sop_instance_uid})
            assert lie.status == 0xA900
            assert sender("store", other).status == 0
            sender("release")
        service.stop().must(1)
    assert [uid_of(path) for path in visible(tmp_path / "in")] == [other.sop_instance_uid]


def test_what_a_destination_answers_is_what_the_sender_is_told(
    run: Command, at: Address, portal: BlockingPortal
) -> None:
    made = [instance(Modality="CT") for _ in range(3)]
    with (
        scripted(portal, on_store=[Answer(0x0124, "not from you"), Answer(0xB007), 0]) as far,
        serving(run, "forward", far.node, "--listen", at, ports=[at.port]) as service,
    ):
        with calling(portal, at) as sender:
            sender("associate", instances=made)
            answers = [sender("store", one) for one in made]
            sender("release")
        service.stop().must(1)
    assert [answer.status for answer in answers] == [0x0124, 0, 0]
    assert "not from you" in answers[0].command.error_comment
