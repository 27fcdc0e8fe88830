"""Which node gets what: routes by the content of an object, several destinations, one of them down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydicom
import pytest
from anyio.from_thread import BlockingPortal

from acceptance_kit import Command, digests, pipeline_file, report, visible
from acceptance_wire import BOTH_LOOPS, calling, here, scripted, serving, wait_for
from corpus import Corpus
from dcmflow import Pipeline, filters, routers, sinks, sources
from dcmflow.testing import Answer, instance
from peers.base import HOST, Address, free_port
from peers.dcmtk import Dcmtk
from peers.fixtures import Certificates
from peers.orthanc import Orthanc
from peers.pynet import Pynetdicom, statuses
from wire_data import uid_of


def of_patient(base_set: Corpus, patient: str) -> list[Path]:
    return [path for name, path in base_set.items() if name.startswith(patient)]


def uids(paths: list[Path]) -> set[str]:
    return {uid_of(path) for path in paths}


@pytest.mark.interop
@BOTH_LOOPS
def test_a_table_says_by_patient_id_which_archive_gets_it(
    run: Command, dcmtk_peer: Dcmtk, orthanc: Orthanc, base_set: Corpus, backend: str, tmp_path: Path
) -> None:
    (tmp_path / "patients.csv").write_text("TestPat1,research\nTestPat2,clinic\n")
    with dcmtk_peer.storescp(tmp_path / "research") as research:
        file = pipeline_file(
            tmp_path / "p.toml",
            sources={"in": {"type": "directory", "path": base_set.folder}},
            routers={"who": {"type": "lookup", "from": "in", "key": "PatientID", "table": "patients.csv"}},
            sinks={
                "one": {"type": "store", "from": "who.research", "to": str(research.address)},
                "two": {"type": "store", "from": "who.clinic", "to": str(orthanc.address)},
                "rest": {"type": "directory", "from": "who.*", "path": "rest"},
            },
        )
        run("run", file, "--backend", backend, "--report", tmp_path / "r.json").must(0)
        assert digests(research.stored().values()) == digests(of_patient(base_set, "TestPat1"))
    assert orthanc.instances().keys() == uids(of_patient(base_set, "TestPat2"))
    assert not (tmp_path / "rest").exists() or visible(tmp_path / "rest") == []
    stages = report(tmp_path / "r.json")["stages"]
    assert (stages["one"]["out"], stages["two"]["out"], stages["rest"]["in"]) == (8, 4, 0)


@pytest.mark.interop
def test_what_comes_is_routed_by_patient_id_to_its_nodes(
    run: Command,
    dcmtk_peer: Dcmtk,
    pynetdicom_peer: Pynetdicom,
    base_set: Corpus,
    at: Address,
    tmp_path: Path,
) -> None:
    """One patient to one node, the other to another one and a folder; who sends learns that all is well."""
    with (
        dcmtk_peer.storescp(tmp_path / "first") as first,
        pynetdicom_peer.scp(tmp_path / "second") as second,
    ):
        file = pipeline_file(
            tmp_path / "p.toml",
            nodes={"first": {"address": str(first.address)}, "second": {"address": str(second.address)}},
            sources={"in": {"type": "scp", "listen": str(at)}},
            routers={
                "who": {
                    "type": "match",
                    "from": "in",
                    "branch": {"a": "PatientID == 'TestPat1'", "b": "PatientID == 'TestPat2'"},
                }
            },
            sinks={
                "to-first": {"type": "store", "from": "who.a", "to": "first"},
                "to-second": {"type": "store", "from": "who.b", "to": "second"},
                "copy": {"type": "directory", "from": "who.b", "path": "copy"},
            },
        )
        with serving(run, "run", file, "--backend", "trio", ports=[at.port]) as service:
            assert dcmtk_peer.dcmsend(at, *base_set.paths).returncode == 0
            assert digests(first.stored().values()) == digests(of_patient(base_set, "TestPat1"))
            assert digests(second.stored().values()) == digests(of_patient(base_set, "TestPat2"))
            assert digests(visible(tmp_path / "copy")) == digests(of_patient(base_set, "TestPat2"))
            service.stop().must(0)


def test_what_has_no_branch_is_refused_and_never_lost(
    run: Command, at: Address, portal: BlockingPortal, tmp_path: Path
) -> None:
    known, unknown = instance(PatientID="TestPat1"), instance(PatientID="TestPat9")
    with scripted(portal) as far:
        file = pipeline_file(
            tmp_path / "p.toml",
            sources={"in": {"type": "scp", "listen": str(at)}},
            routers={"who": {"type": "match", "from": "in", "branch": {"a": "PatientID == 'TestPat1'"}}},
            sinks={"out": {"type": "store", "from": "who.a", "to": far.node}},
        )
        line = ["run", file, "--report", tmp_path / "r.json"]
        with serving(run, *line, ports=[at.port]) as service, calling(portal, at) as sender:
            sender("associate", instances=[known])
            assert sender("store", unknown).status == 0xA700
            assert sender("store", known).status == 0
            sender("release")
            service.stop().must(1)
        assert far.stores() == [known.sop_instance_uid]
    [refusal] = report(tmp_path / "r.json")["refusals"]
    assert (refusal["stage"], refusal["sop_instance_uid"]) == ("who", unknown.sop_instance_uid)


def test_a_table_that_changes_counts_for_what_comes_next(
    run: Command, at: Address, portal: BlockingPortal, tmp_path: Path
) -> None:
    table = tmp_path / "patients.csv"
    table.write_text("TestPat1,a\n")
    with scripted(portal) as one, scripted(portal) as two:
        file = pipeline_file(
            tmp_path / "p.toml",
            sources={"in": {"type": "scp", "listen": str(at)}},
            routers={"who": {"type": "lookup", "from": "in", "key": "PatientID", "table": "patients.csv"}},
            sinks={
                "one": {"type": "store", "from": "who.a", "to": one.node},
                "two": {"type": "store", "from": "who.*", "to": two.node},
            },
        )
        with serving(run, "run", file, ports=[at.port]) as service, calling(portal, at) as sender:
            sender("associate", instances=[instance()])
            assert sender("store", instance(PatientID="TestPat1")).status == 0
            assert (len(one.stores()), len(two.stores())) == (1, 0)
            fresh = tmp_path / "new.csv"
            fresh.write_text("TestPat2,a\n")
            fresh.replace(table)

            def moved() -> bool:
                assert sender("store", instance(PatientID="TestPat1")).status == 0
                return bool(two.stores())

            wait_for(moved)
            before = len(one.stores())
            assert sender("store", instance(PatientID="TestPat2")).status == 0
            assert len(one.stores()) == before + 1
            sender("release")
            service.stop().must(0)


@pytest.mark.interop
def test_of_two_nodes_the_one_that_is_down_and_does_not_count_costs_nothing(
    run: Command, dcmtk_peer: Dcmtk, base_set: Corpus, at: Address, tmp_path: Path
) -> None:
    down = here(free_port(), "DOWN")
    with dcmtk_peer.storescp(tmp_path / "up") as up:
        file = pipeline_file(
            tmp_path / "p.toml",
            sources={"in": {"type": "scp", "listen": str(at)}},
            sinks={
                "up": {"type": "store", "from": "in", "to": str(up.address)},
                "down": {
                    "type": "store",
                    "from": "in",
                    "to": str(down),
                    "required": False,
                    "retry": {"attempts": 1},
                },
            },
        )
        line = ["run", file, "--report", tmp_path / "r.json"]
        with serving(run, *line, ports=[at.port]) as service:
            assert dcmtk_peer.dcmsend(at, *base_set.paths).returncode == 0
            assert digests(up.stored().values()) == digests(base_set.paths)
            service.stop().must(0)
    said = report(tmp_path / "r.json")
    assert (said["pipeline"]["accepted"], said["stages"]["down"]["refused"]) == (12, 12)
    assert all(refusal["required"] is False for refusal in said["refusals"])
    assert all(str(down) in refusal["reason"] for refusal in said["refusals"])


@pytest.mark.interop
def test_of_two_nodes_the_one_that_is_down_and_counts_is_told_and_the_other_has_all(
    run: Command,
    dcmtk_peer: Dcmtk,
    pynetdicom_peer: Pynetdicom,
    base_set: Corpus,
    at: Address,
    tmp_path: Path,
) -> None:
    down = here(free_port(), "DOWN")
    with dcmtk_peer.storescp(tmp_path / "up") as up:
        line = ["forward", up.address, down, "--listen", at, "--retries", 0, "--report", tmp_path / "r.json"]
        with serving(run, *line, ports=[at.port]) as service:
            told = statuses(pynetdicom_peer.send(at, *base_set.paths))
            assert told == dict.fromkeys(base_set.paths, 0xA700)
            assert digests(up.stored().values()) == digests(base_set.paths)
            service.stop().must(1)
    said = report(tmp_path / "r.json")
    assert (said["pipeline"]["accepted"], said["pipeline"]["refused"]) == (0, 12)
    assert {refusal["sop_instance_uid"] for refusal in said["refusals"]} == set(base_set.uids.values())


@pytest.mark.interop
def test_a_folder_sent_to_two_nodes_of_which_one_is_down(
    run: Command, orthanc: Orthanc, base_set: Corpus, tmp_path: Path
) -> None:
    for required, code in ((True, 1), (False, 0)):
        orthanc.clear()
        file = pipeline_file(
            tmp_path / f"{code}.toml",
            sources={"in": {"type": "directory", "path": base_set.folder}},
            sinks={
                "up": {"type": "store", "from": "in", "to": str(orthanc.address)},
                "down": {"type": "store", "from": "in", "to": f"DOWN@{HOST}:{free_port()}", "required": required,
                         "retry": {"attempts": 1}},
            },
        )  # fmt: skip
        run("run", file, "--quiet").must(code)
        assert orthanc.instances().keys() == set(base_set.uids.values())


def test_what_a_node_refuses_can_go_elsewhere(run: Command, base_set: Corpus, tmp_path: Path) -> None:
    [private] = [path for path in base_set.paths if "/14/" in str(path)]

    def but_private(exchange: Any) -> Any:
        uid = exchange.request.affected_sop_instance
        return Answer(0x0122, "no private objects") if uid == uid_of(private) else 0

    with scripted(on_store=but_private) as far:
        file = pipeline_file(
            tmp_path / "p.toml",
            sources={"in": {"type": "directory", "path": base_set.folder}},
            sinks={
                "out": {"type": "store", "from": "in", "to": far.node, "on_error": "bad"},
                "bad": {"type": "quarantine", "path": "bad"},
            },
        )
        run("run", file, "--report", tmp_path / "r.json").must(0)
        assert set(far.stores()) == set(base_set.uids.values())
    kept = [path for path in visible(tmp_path / "bad") if path.suffix != ".json"]
    assert digests(kept) == digests([private])
    assert report(tmp_path / "r.json")["pipeline"]["accepted"] == 12


@pytest.mark.interop
def test_an_edit_for_one_node_is_not_seen_at_the_other(
    run: Command, dcmtk_peer: Dcmtk, base_set: Corpus, tmp_path: Path
) -> None:
    with dcmtk_peer.storescp(tmp_path / "clinic") as clinic, dcmtk_peer.storescp(tmp_path / "trial") as trial:
        file = pipeline_file(
            tmp_path / "p.toml",
            sources={"in": {"type": "directory", "path": base_set.folder}},
            filters={"anonymous": {"type": "edit", "from": "in", "set": {"PatientName": "Anon"}}},
            sinks={
                "clinic": {"type": "store", "from": "in", "to": str(clinic.address)},
                "trial": {"type": "store", "from": "anonymous", "to": str(trial.address)},
            },
        )
        run("run", file, "--quiet").must(0)
        assert digests(clinic.stored().values()) == digests(base_set.paths)
        stored = trial.stored()
    assert stored.keys() == set(base_set.uids.values())
    assert {str(pydicom.dcmread(path).PatientName) for path in stored.values()} == {"Anon"}


@pytest.mark.interop
def test_one_node_with_tls_and_one_without(
    run: Command, dcmtk_peer: Dcmtk, certificates: Certificates, base_set: Corpus, tmp_path: Path
) -> None:
    pem = certificates.client
    with (
        dcmtk_peer.storescp(tmp_path / "open") as plain,
        dcmtk_peer.storescp(tmp_path / "safe", tls=certificates.server) as safe,
    ):
        file = pipeline_file(
            tmp_path / "p.toml",
            nodes={
                "open": {"address": str(plain.address)},
                "safe": {
                    "address": str(safe.address),
                    "tls": {"ca": pem.ca, "cert": pem.cert, "key": pem.key},
                },
            },
            sources={"in": {"type": "directory", "path": base_set.folder}},
            routers={"who": {"type": "match", "from": "in", "branch": {"secret": "PatientID == 'TestPat2'"}}},
            sinks={
                "out-open": {"type": "store", "from": "who.*", "to": "open"},
                "out-safe": {"type": "store", "from": "who.secret", "to": "safe"},
            },
        )
        run("run", file, "--quiet").must(0)
        assert digests(plain.stored().values()) == digests(of_patient(base_set, "TestPat1"))
        assert digests(safe.stored().values()) == digests(of_patient(base_set, "TestPat2"))


@pytest.mark.interop
@pytest.mark.anyio
async def test_the_same_in_python(dcmtk_peer: Dcmtk, base_set: Corpus, tmp_path: Path) -> None:
    with dcmtk_peer.storescp(tmp_path / "one") as one, dcmtk_peer.storescp(tmp_path / "two") as two:
        both = sinks.Store(str(one.address))
        pipeline = Pipeline(
            sources.Directory(str(base_set.folder))
            | routers.Match({"second": "PatientID == 'TestPat2'"})
            | {
                "second": (both, filters.Where("SeriesNumber == 2") | sinks.Store(str(two.address))),
                "*": both,
            }
        )
        statistics = await pipeline.run()
        assert digests(one.stored().values()) == digests(base_set.paths)
        wanted = [path for name, path in base_set.items() if name.startswith("TestPat2/20190615/02")]
        assert digests(two.stored().values()) == digests(wanted)
    assert statistics.pipeline.accepted == 12
