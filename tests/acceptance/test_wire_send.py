"""Sending files with `dcmflow send`: what a server has afterwards, and what is said about what it has not."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import anyio
import pydicom
import pytest

from acceptance_kit import Command, check_part10, pipeline_file, report, visible
from acceptance_wire import (
    BOTH_LOOPS,
    Scripted,
    archived,
    loop,
    scripted,
    secure,
    serving,
    tls_options,
    wait_for,
)
from corpus import PRIVATE_SOP_CLASS, Corpus, big
from dcmflow.protocol.items import ProposedContext
from dcmflow.protocol.pdu import AssociateRequest
from dcmflow.testing import AbortNow, Accept, Answer, CloseNow, Reject, Silence, Wait
from peers.base import HOST, Server, free_port
from peers.dcmtk import NOT_STORAGE, Dcmtk
from peers.fixtures import Certificates
from peers.orthanc import Orthanc
from peers.pynet import Pynetdicom
from wire_data import digests, file_meta, syntax_of, uid_of

VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"


def uids(paths: Iterable[Path]) -> set[str]:
    return {uid_of(path) for path in paths}


def plain(base_set: Corpus) -> list[Path]:
    """BASE without its object of a private SOP Class."""
    return [path for name, path in base_set.items() if "/14/" not in name]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with twelve MR images of the same SOP Class, each an instance of its own."""
    return big(tmp_path / "twelve", 12, name="twelve").folder


# whole sets ---------------------------------------------------------------------------------------------------------


def subsets(base_set: Corpus) -> list[list[Path]]:
    """Images, a series, studies, patients, all: a little more each time, in any order of levels."""
    names = [
        ["TestPat2/20190615/01/001"],
        ["TestPat1/20180530/02", "TestPat2/20190615/02"],
        ["TestPat1/20180530"],
        ["TestPat1", "TestPat2"],
    ]
    return [[path for name, path in base_set.items() if name.startswith(tuple(wanted))] for wanted in names]


@pytest.fixture(params=["dcmqrscp", "orthanc", "pynetdicom"])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    starting: AbstractContextManager[Server]
    match request.param:
        case "orthanc":
            yield request.getfixturevalue("orthanc")
            return
        case "dcmqrscp":
            starting = request.getfixturevalue("dcmtk_peer").dcmqrscp(tmp_path / "archive")
        case _:
            starting = request.getfixturevalue("pynetdicom_peer").scp(tmp_path / "archive")
    with starting as server:
        yield server


def held(server: Server) -> set[str]:
    """The SOP Instance UIDs a server holds, by its own REST interface or its files."""
    if isinstance(server, Orthanc):
        return set(server.instances())
    return set(archived(server.folder))


@pytest.mark.interop
def test_what_was_sent_is_what_the_archive_has(
    run: Command, archive: Server, base_set: Corpus, tmp_path: Path
) -> None:
    archive_is_dcmqrscp = archive.address.ae_title == "DCMQRSCP"
    sent: set[str] = set()
    for number, paths in enumerate(subsets(base_set)):
        # dcmqrscp accepts the context of a private SOP Class and then refuses the object
        files = [path for path in paths if not (archive_is_dcmqrscp and "/14/" in str(path))]
        said = tmp_path / f"{number}.json"
        run("send", archive.address, *files, "--associations", 1, "--report", said, "--quiet").must(0)
        sent |= uids(files)
        assert held(archive) == sent
        assert report(said)["pipeline"]["accepted"] == len(files)


@pytest.mark.interop
def test_bytes_of_every_kind_arrive_as_they_were(
    run: Command, dcmtk_peer: Dcmtk, comp_set: Corpus, base_set: Corpus, tmp_path: Path
) -> None:
    with dcmtk_peer.storescp(tmp_path / "in") as server:
        run("send", server.address, comp_set.folder, base_set.folder, "--quiet").must(0)
        assert digests(server.stored().values()) == digests([*comp_set.paths, *base_set.paths])


@pytest.mark.interop
def test_sending_again_changes_nothing(run: Command, orthanc: Orthanc, base_set: Corpus) -> None:
    for _ in range(2):
        run("send", orthanc.address, base_set.folder, "--quiet").must(0)
        assert orthanc.instances().keys() == set(base_set.uids.values())


@pytest.mark.interop
@BOTH_LOOPS
def test_a_pipeline_sends_on_both_loops(
    run: Command, dcmtk_peer: Dcmtk, base_set: Corpus, backend: str, tmp_path: Path
) -> None:
    with dcmtk_peer.storescp(tmp_path / "in") as server:
        file = pipeline_file(
            tmp_path / "p.toml",
            nodes={"peer": {"address": str(server.address)}},
            sources={"files": {"type": "directory", "path": base_set.folder}},
            sinks={"out": {"type": "store", "from": "files", "to": "peer"}},
        )
        run("run", file, "--backend", backend, "--report", tmp_path / "r.json").must(0)
        assert digests(server.stored().values()) == digests(base_set.paths)
    assert report(tmp_path / "r.json")["stages"]["out"]["out"] == 12


@pytest.mark.interop
def test_sent_over_tls_and_never_without_trust(
    run: Command, dcmtk_peer: Dcmtk, certificates: Certificates, comp_set: Corpus, tmp_path: Path
) -> None:
    with dcmtk_peer.storescp(tmp_path / "in", tls=certificates.server) as server:
        line = ["send", secure(server.address), comp_set.folder, "--quiet", "--retries", "0"]
        for wrong in ([], tls_options(certificates.client, shown=False), tls_options(certificates.stranger)):
            run(*line, *wrong).must(3)
            assert server.stored() == {}
        run(*line, *tls_options(certificates.client)).must(0)
        assert digests(server.stored().values()) == digests(comp_set.paths)


# private, many, compressed ------------------------------------------------------------------------------------------


@pytest.mark.interop
def test_a_private_sop_class_is_sent_like_any_other(run: Command, orthanc: Orthanc, base_set: Corpus) -> None:
    [private] = [path for path in base_set.paths if "/14/" in str(path)]
    assert file_meta(private)[0].MediaStorageSOPClassUID == PRIVATE_SOP_CLASS
    run("send", orthanc.address, base_set.folder, "--quiet").must(0)
    assert uid_of(private) in orthanc.instances()
    assert len(orthanc.instances()) == 12


@pytest.mark.interop
def test_what_an_archive_refuses_is_named_and_the_others_are_there(
    run: Command, dcmtk_peer: Dcmtk, base_set: Corpus, tmp_path: Path
) -> None:
    [private] = [path for path in base_set.paths if "/14/" in str(path)]
    with dcmtk_peer.dcmqrscp(tmp_path / "archive") as server:
        said = tmp_path / "r.json"
        done = run("send", server.address, base_set.folder, "--associations", 1, "--report", said).must(1)
        assert archived(server.folder).keys() == uids(plain(base_set))
    [refusal] = report(said)["refusals"]
    assert (refusal["path"], refusal["status"]) == (str(private), "0122")
    assert refusal["sop_instance_uid"] == uid_of(private)
    assert "1 of 12 instances were refused" in done.err
    assert str(private) in done.err


def test_without_a_context_for_it_one_kind_is_refused_by_name(
    run: Command, base_set: Corpus, tmp_path: Path
) -> None:
    with scripted(accept=Accept(refuse={PRIVATE_SOP_CLASS: 3})) as server:
        said = tmp_path / "r.json"
        run("send", server.node, base_set.folder, "--report", said, "--quiet").must(1)
        assert set(server.stores()) == uids(plain(base_set))
    [refusal] = report(said)["refusals"]
    assert refusal["status"] == "0122"
    assert PRIVATE_SOP_CLASS in refusal["reason"]
    assert "/14/" in refusal["path"]


def test_a_node_that_takes_objects_but_no_echo_gets_them(run: Command, base_set: Corpus) -> None:
    with scripted(accept=Accept(refuse={VERIFICATION: 3}), on_echo=AbortNow()) as server:
        run("send", server.node, base_set.folder, "--quiet").must(0)
        assert set(server.stores()) == uids(base_set.paths)


@pytest.mark.interop
def test_more_kinds_than_an_association_takes_are_all_sent(
    run: Command, dcmtk_peer: Dcmtk, classes_set: Corpus, tmp_path: Path
) -> None:
    assert len(classes_set) > 128
    with dcmtk_peer.storescp(tmp_path / "in") as server:
        said = tmp_path / "r.json"
        run("send", server.address, classes_set.folder, "--report", said, "--quiet", timeout=30)
        refused = {Path(refusal["path"]) for refusal in report(said)["refusals"]}
        assert {file_meta(path)[0].MediaStorageSOPClassUID for path in refused} <= NOT_STORAGE
        assert digests(server.stored().values()) == digests(set(classes_set.paths) - refused)


def proposals(server: Scripted) -> list[list[ProposedContext]]:
    """The contexts of each association request, but for the one that only asks whether the node is there."""
    pdus = [seen.pdu for seen in server.of("A-ASSOCIATE-RQ")]
    return [
        [context for context in pdu.contexts if context.abstract_syntax != VERIFICATION]
        for pdu in pdus
        if isinstance(pdu, AssociateRequest)
    ]


def test_only_contexts_that_are_needed_are_proposed(
    run: Command, classes_set: Corpus, comp_set: Corpus
) -> None:
    needed = {(str(file_meta(path)[0].MediaStorageSOPClassUID), syntax_of(path))
              for path in [*classes_set.paths, *comp_set.paths]}  # fmt: skip
    with scripted(accept=Accept(maximum_length=0)) as server:
        run("send", server.node, classes_set.folder, comp_set.folder, "--quiet", timeout=30).must(0)
        requests = proposals(server)
        assert len(set(server.stores())) == len(server.stores()) == len(classes_set) + len(comp_set)
    proposed = {
        (context.abstract_syntax, syntax)
        for contexts in requests
        for context in contexts
        for syntax in context.transfer_syntaxes
    }
    assert len(requests) > 1
    assert all(len(contexts) <= 128 for contexts in requests)
    assert proposed == needed


def test_a_few_files_of_one_kind_propose_one_context(run: Command, folder: Path) -> None:
    with scripted() as server:
        run("send", server.node, folder, "--associations", 1, "--quiet").must(0)
        found = proposals(server)
    assert len(found) <= 2, "one, and one that asks whether it is there"
    for [context] in found:
        assert context.transfer_syntaxes == (EXPLICIT,)


@pytest.mark.interop
def test_an_archive_of_uncompressed_only_gets_nothing_else(
    run: Command, dcmtk_peer: Dcmtk, comp_set: Corpus, tmp_path: Path
) -> None:
    with dcmtk_peer.storescp(tmp_path / "in", "+B", "+xi", anything=False) as server:
        said = tmp_path / "r.json"
        run("send", server.address, comp_set.folder, "--report", said, "--quiet").must(1)
        stored = server.stored()
    assert digests(stored.values()) == digests([comp_set["implicit.dcm"]])
    refusals = report(said)["refusals"]
    assert {Path(refusal["path"]) for refusal in refusals} == set(comp_set.paths) - {comp_set["implicit.dcm"]}
    for refusal in refusals:
        assert refusal["status"] == "0122"
        assert "does not accept MR Image Storage" in refusal["reason"]
        assert syntax_of(Path(refusal["path"])) in refusal["reason"], "what it was encoded in"


# peers that fail ----------------------------------------------------------------------------------------------------


@pytest.mark.interop
def test_a_server_that_rejects_for_good_is_not_asked_twice(
    run: Command, dcmtk_peer: Dcmtk, base_set: Corpus, tmp_path: Path
) -> None:
    with dcmtk_peer.storescp(tmp_path / "in", "--refuse") as server:
        done = run("send", server.address, base_set.folder, "--quiet").must(3)
        assert server.log.count("efusing Association") == 1, server.log
    assert f"{server.address} rejected the association" in done.err
    assert "rejected-permanent" in done.err


@pytest.mark.parametrize("retries", [0, 1])
def test_a_server_that_is_busy_is_asked_again_as_often_as_told(
    run: Command, folder: Path, retries: int
) -> None:
    with scripted(accept=lambda _: Reject(2, 3, 2)) as server:
        done = run("send", server.node, folder, "--retries", retries, "--quiet").must(3)
        assert len(server.of("A-ASSOCIATE-RQ")) == retries + 1
    assert "local limit exceeded" in done.err


def test_a_server_that_was_busy_for_a_moment_gets_everything(run: Command, folder: Path) -> None:
    with scripted(accept=[Reject(2, 3, 1)]) as server:
        run("send", server.node, folder, "--quiet").must(0)
        assert len(server.stores()) == len(set(server.stores())) == 12


def test_in_a_pipeline_the_failed_ones_are_listed(run: Command, folder: Path, tmp_path: Path) -> None:
    with scripted(accept=lambda _: Reject(2, 3, 2)) as server:
        file = pipeline_file(
            tmp_path / "p.toml",
            sources={"files": {"type": "directory", "path": folder}},
            sinks={
                "out": {"type": "store", "from": "files", "to": server.node,
                        "retry": {"attempts": 2, "first": "10 ms"}},
            },
        )  # fmt: skip
        done = run("run", file, "--report", tmp_path / "r.json").must(1)
    said = report(tmp_path / "r.json")
    assert {refusal["path"] for refusal in said["refusals"]} == set(map(str, visible(folder)))
    assert {refusal["status"] for refusal in said["refusals"]} == {"A700"}
    assert said["stages"]["out"]["retried"] >= 1
    assert "12 of 12 instances were refused" in done.err


@pytest.mark.parametrize(
    ("end", "associations"), [(AbortNow(), 1), (CloseNow(), 1), (CloseNow(reset=True), 3)]
)
def test_an_association_that_breaks_in_the_middle_costs_one_repetition(
    run: Command, folder: Path, end: Any, associations: int, tmp_path: Path
) -> None:
    with scripted(on_store=[0, 0, 0, 0, end]) as server:
        said = tmp_path / "r.json"
        line = ["send", server.node, folder, "--associations", associations, "--report", said, "--quiet"]
        run(*line).must(0)
        stores = server.stores()
    assert set(stores) == uids(visible(folder))
    again = [name for name in set(stores) if stores.count(name) > 1]
    # what was under way on the association that broke: one at a time
    assert len(again) == 1
    assert stores.count(again[0]) == 2
    assert report(said)["pipeline"]["accepted"] == 12


def test_the_very_first_object_may_break_an_association(run: Command, folder: Path) -> None:
    with scripted(on_store=[AbortNow()]) as server:
        run("send", server.node, folder, "--associations", 1, "--quiet").must(0)
        stores = server.stores()
    assert set(stores) == uids(visible(folder))
    assert len(stores) == 13


@pytest.mark.interop
@pytest.mark.parametrize(("how", "retries"), [("--abort-after", 0), ("--abort-during", 1)])
def test_a_server_that_always_aborts_has_them_all_reported(
    run: Command, dcmtk_peer: Dcmtk, folder: Path, how: str, retries: int, tmp_path: Path
) -> None:
    files = visible(folder)[:4]
    with dcmtk_peer.storescp(tmp_path / "in", how) as server:
        said = tmp_path / "r.json"
        done = run(
            "send", server.address, *files, "--retries", retries, "--report", said, "--quiet", timeout=30
        ).must(1)
        log = server.log
    refusals = report(said)["refusals"]
    assert sorted(refusal["path"] for refusal in refusals) == sorted(map(str, files))
    assert all("abort" in refusal["reason"] or "lost" in refusal["reason"] for refusal in refusals)
    asked = log.count("Association Release")  # whether it is there
    assert 4 <= log.count("Association Received") - asked <= 4 * (1 + retries)
    assert "4 of 4 instances were refused" in done.err


@pytest.mark.interop
def test_a_server_that_answers_too_late_is_a_timeout_of_each(
    run: Command, dcmtk_peer: Dcmtk, base_set: Corpus, tmp_path: Path
) -> None:
    files = plain(base_set)[:2]
    with dcmtk_peer.storescp(tmp_path / "in", "--fork", "--sleep-during", "30") as server:
        line = ["--timeout", "300 ms", "--retries", 0, "--report", tmp_path / "r.json", "--quiet"]
        run("send", server.address, *files, *line).must(1)
        # before the server is asked to end: its children sleep on
    refusals = report(tmp_path / "r.json")["refusals"]
    assert {refusal["path"] for refusal in refusals} == set(map(str, files))
    assert {refusal["status"] for refusal in refusals} == {"A700"}
    assert all("did not answer" in refusal["reason"] for refusal in refusals)


def test_the_timeout_of_a_node_counts_in_a_pipeline(run: Command, folder: Path, tmp_path: Path) -> None:
    with scripted(on_store=[Silence()]) as server:
        file = pipeline_file(
            tmp_path / "p.toml",
            nodes={"slow": {"address": server.node, "timeouts": {"dimse": 0.3}, "max-associations": 1}},
            sources={"files": {"type": "directory", "path": folder}},
            sinks={"out": {"type": "store", "from": "files", "to": "slow", "retry": {"attempts": 1}}},
        )
        run("run", file, "--report", tmp_path / "r.json")
        said = report(tmp_path / "r.json")
        assert len(server.of("C-STORE-RQ")) >= 12
        assert server.peer.most_open == 1
    assert said["pipeline"]["accepted"] >= 11
    assert all("did not answer" in refusal["reason"] for refusal in said["refusals"])


def test_one_refused_object_stops_no_other(run: Command, folder: Path, tmp_path: Path) -> None:
    with scripted(on_store=[0, Answer(0xC123, "not this one"), Answer(0xB000)]) as server:
        run("send", server.node, folder, "--associations", 1, "--report", tmp_path / "r.json").must(1)
        assert len(server.stores()) == 12
    said = report(tmp_path / "r.json")
    [refusal] = said["refusals"]
    assert refusal["status"] == "C123"
    assert "not this one" in refusal["reason"]
    assert said["pipeline"]["accepted"] == 11


def test_out_of_resources_is_tried_again(run: Command, folder: Path) -> None:
    with scripted(on_store=[Answer(0xA700, "disk full"), Answer(0x0111)]) as server:
        run("send", server.node, folder, "--associations", 1, "--quiet").must(0)
        stores = server.stores()
    assert len(stores) == 13
    assert stores.count(stores[0]) == 2


# files that are not as they should be -------------------------------------------------------------------------------


@pytest.mark.interop
@pytest.mark.parametrize("named", [True, False], ids=["files named", "folder named"])
def test_broken_files_and_text_keep_no_other_from_going(
    run: Command, dcmtk_peer: Dcmtk, base_set: Corpus, named: bool, tmp_path: Path
) -> None:
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for number, path in enumerate(plain(base_set)[:8]):
        shutil.copy(path, mixed / f"{number}.dcm")
    good = visible(mixed)
    (mixed / "cut.dcm").write_bytes(plain(base_set)[8].read_bytes()[:-100])
    (mixed / "text.dcm").write_text("Scanned on Monday, all fine.\n" * 40)
    with dcmtk_peer.dcmqrscp(tmp_path / "archive") as server:
        what = visible(mixed) if named else [mixed]
        line = ["send", server.address, *what, "--associations", 1, "--report", tmp_path / "r.json"]
        done = run(*line).must(1)
        assert archived(server.folder).keys() == uids(good)
    said = report(tmp_path / "r.json")
    refused = {Path(refusal["path"]).name: refusal["reason"] for refusal in said["refusals"]}
    assert refused.keys() == ({"cut.dcm", "text.dcm"} if named else {"cut.dcm"})
    assert "truncated" in refused["cut.dcm"]
    assert said["pipeline"]["not_dicom"] == (0 if named else 1)
    assert said["pipeline"]["accepted"] == 8
    assert str(mixed / "cut.dcm") in done.err
    assert "text.dcm" in done.err or not named


@pytest.mark.interop
def test_files_without_preamble_or_meta_are_sent_for_what_they_hold(
    run: Command, dcmtk_peer: Dcmtk, dcmtk: Any, wire_set: Corpus, tmp_path: Path
) -> None:
    readable = {wire_set.uids[name]: wire_set[name] for name in wire_set.readable}
    with dcmtk_peer.storescp(tmp_path / "in") as server:
        line = ["send", server.address, *wire_set.paths, "--report", tmp_path / "r.json", "--quiet"]
        run(*line).must(1)
        stored = server.stored()
        assert stored.keys() == readable.keys()
        for uid, path in stored.items():
            check_part10(path, dcmtk)
            found = pydicom.dcmread(path)
            assert found == pydicom.dcmread(readable[uid], force=True), readable[uid].name
        implicit = stored[wire_set.uids["dataset-implicit"]]
        assert syntax_of(implicit) == IMPLICIT
    refused = {Path(refusal["path"]).name for refusal in report(tmp_path / "r.json")["refusals"]}
    assert refused == {name for name in wire_set if name.startswith("truncated")}


def test_a_dry_run_calls_nobody(run: Command, base_set: Corpus) -> None:
    with scripted() as server:
        done = run("send", server.node, base_set.folder, "--dry-run", "--format", "text").must(0)
        assert server.whats == []
    assert all(str(path) in done.out for path in base_set.paths)
    assert "nothing was sent" in done.err


# interrupted --------------------------------------------------------------------------------------------------------


@pytest.fixture
def long_folder(tmp_path: Path) -> Path:
    """More files than may be under way at once."""
    return big(tmp_path / "sixty", 60, name="sixty").folder


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_lets_the_present_object_finish_and_releases(
    run: Command, long_folder: Path, number: signal.Signals, code: int, tmp_path: Path
) -> None:
    with loop() as portal:
        go = portal.call(anyio.Event)
        with scripted(portal, on_store=[0, 0, (Wait(go), Answer(0))]) as server:
            line = ["send", server.node, long_folder, "--associations", 1, "--report", tmp_path / "r.json"]
            with serving(run, *line) as sending:
                server.wait("C-STORE-RQ", count=3)
                sending.interrupt(number)
                wait_for(lambda: "draining" in sending.said)
                assert sending.process.poll() is None, "the third object has not been answered"
                portal.call(go.set)
                sending.ended().must(code)
            server.wait("close")
            assert "A-RELEASE-RQ" in server.whats
            assert "A-ABORT" not in server.whats
            stores = server.stores()
    figures = report(tmp_path / "r.json")["pipeline"]
    assert figures["accepted"] == len(stores)
    assert 3 <= len(stores) < 60
    assert figures["unsettled"] == 0


def test_a_second_ctrl_c_aborts_and_says_what_was_not_sent(
    run: Command, folder: Path, tmp_path: Path
) -> None:
    with scripted(on_store=[0, 0, Silence()]) as server:
        line = ["send", server.node, folder, "--associations", 1, "--report", tmp_path / "r.json"]
        with serving(run, *line) as sending:
            server.wait("C-STORE-RQ", count=3)
            sending.interrupt()
            wait_for(lambda: "draining" in sending.said)
            sending.interrupt()
            sending.ended().must(130)
        server.wait("close")
        assert "A-ABORT" in server.whats
        third = server.stores()[2]
    said = report(tmp_path / "r.json")
    assert said["pipeline"]["accepted"] == 2
    assert third in {refusal["sop_instance_uid"] for refusal in said["refusals"]}


@pytest.mark.interop
def test_after_ctrl_c_a_real_server_has_what_was_counted_and_no_more(
    run: Command, pynetdicom_peer: Pynetdicom, long_folder: Path, tmp_path: Path
) -> None:
    with pynetdicom_peer.scp(tmp_path / "in", delay=0.02) as server:
        line = ["send", server.address, long_folder, "--associations", 1, "--report", tmp_path / "r.json"]
        with serving(run, *line) as sending:
            wait_for(lambda: visible(server.folder))
            sending.interrupt()
            sending.ended().must(130)
        stored = server.stored()
    figures = report(tmp_path / "r.json")["pipeline"]
    assert figures["accepted"] == len(stored) < 60
    assert stored.keys() <= uids(visible(long_folder))


# what cannot be right -----------------------------------------------------------------------------------------------


def test_a_missing_path_is_found_before_anybody_is_called(
    run: Command, base_set: Corpus, tmp_path: Path
) -> None:
    with scripted() as server:
        done = run("send", server.node, base_set.folder, tmp_path / "nowhere").must(2)
        assert str(tmp_path / "nowhere") in done.err
        assert server.whats == []


def test_nobody_listens_is_one_line_that_says_so(run: Command, base_set: Corpus) -> None:
    node = f"PACS@{HOST}:{free_port()}"
    done = run("send", node, base_set.folder, "--retries", 0, "--quiet").must(3)
    assert done.err.count("\n") == 1
    assert f"{node} cannot be reached: connection refused" in done.err
