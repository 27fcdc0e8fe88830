"""`dcmflow sync`: what is missing, from where it is to where it belongs."""

from __future__ import annotations

import copy
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pydicom
import pytest

from acceptance_query import got
from acceptance_wire import loop, scripted
from base_data import BASE, ECHOES, MPRAGE, TWO, uids, write_base
from corpus import Corpus
from dcmflow.catalog.catalog import Catalog
from dcmflow.catalog.notes import Provenance
from dcmflow.dicom.level import Level
from dcmflow.dicom.record import Record
from dcmflow.testing import Answer, Wait
from peers.archives import Archive, Archives
from peers.base import HOST, Address, free_port
from peers.orthanc import Orthanc

Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]

SECOND = {fact.image for fact in BASE if fact.patient == TWO.patient}
"""The four images of the second patient."""
EMPTY = '{"sources": [], "destinations": [], "transfers": [], "tallies": {}, "format": "dcmflow-plan", %s}'


@pytest.fixture
def base(work: Path) -> Path:
    """A folder with BASE in it."""
    write_base(work / "base")
    return work / "base"


@pytest.fixture
def pacs(orthanc: Orthanc) -> Iterator[Orthanc]:
    """An Orthanc that is empty, and lets us ask."""
    orthanc.register({"DCMFLOW": Address(free_port(), "DCMFLOW")})
    yield orthanc
    orthanc.fetch("/modalities/DCMFLOW", "DELETE")


def results(done: Done, code: int = 0) -> dict[str, dict[str, Any]]:
    """What became of it by destination; the sums close."""
    assert done.returncode == code, done.stderr
    found: dict[str, dict[str, Any]] = json.loads(done.stdout)["destinations"]
    for result in found.values():
        assert result["wanted"] == sum(result[key] for key in ("present", "sent", "failed", "skipped"))
    return found


def numbers(done: Done, code: int = 0) -> list[tuple[int, ...]]:
    """Wanted, present, sent and failed of each destination."""
    keys = ("wanted", "present", "sent", "failed")
    return [tuple(result[key] for key in keys) for result in results(done, code).values()]


def refused(done: Done, *words: str) -> None:
    """The command line cannot be right, and these words say why."""
    assert done.returncode == 2, (done.stdout, done.stderr)
    for word in words:
        assert word in done.stderr
    assert not done.stdout


# folders ------------------------------------------------------------------------------------------------------------


def test_what_is_missing_and_nothing_else(dcmflow: Run, base: Path, work: Path) -> None:
    sync = ("sync", "./out/", "-s", "base", "--format", "json")
    assert numbers(dcmflow(*sync)) == [(12, 0, 12, 0)]
    assert got(work / "out") == uids("image")
    assert numbers(dcmflow(*sync)) == [(12, 12, 0, 0)]
    gone = [path for path in (work / "out").rglob("*.dcm") if path.stem in (TWO.image, MPRAGE.image)]
    kept = {path: path.stat().st_mtime_ns for path in (work / "out").rglob("*.dcm") if path not in gone}
    for path in gone:
        path.unlink()
    assert numbers(dcmflow(*sync)) == [(12, 10, 2, 0)]
    assert got(work / "out") == uids("image")
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_the_table_for_people(dcmflow: Run, base: Path, work: Path) -> None:
    done = dcmflow("sync", "./out/", "-s", "base")
    assert done.returncode == 0
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["destination", "wanted", "present", "sent", "failed", "skipped"],
        ["./out", "12", "0", "12", "0", "0"],
    ]
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("keys", "wanted"),
    [
        (("-q", f"PatientID={TWO.patient}"), SECOND),
        (("-q", "StudyDate=20190601-20190630"), {f.image for f in BASE if f.study in (BASE[0].study, TWO.study)}),
        (("--since", "2019-06-20"), {f.image for f in BASE if f.text("StudyDate") == "20190625"}),
        (("-q", "EchoTime=4.25"), {ECHOES[1].image}),
        (("-q", "EchoTime=4.25", "--level", "series"), {fact.image for fact in ECHOES}),
        (("-q", "EchoTime=4.25", "--level", "study"), SECOND),
        (("-q", "EchoTime=4.25", "--level", "patient"), SECOND),
        (("-q", "PatientID=NOBODY"), set()),
    ],
)  # fmt: skip
def test_only_what_matches(
    dcmflow: Run, base: Path, work: Path, keys: tuple[str, ...], wanted: set[str]
) -> None:
    found = dcmflow("sync", "./out/", "-s", "base", *keys, "--format", "json")
    assert numbers(found) == [(len(wanted), 0, len(wanted), 0)]
    assert got(work / "out") == wanted


def test_a_table_of_queries(dcmflow: Run, base: Path, work: Path) -> None:
    (work / "wanted.csv").write_text(f"SeriesInstanceUID\n{TWO.series}\n{MPRAGE.series}\n")
    dcmflow("sync", "./out/", "-s", "base", "--batch", "wanted.csv")
    assert got(work / "out") == {fact.image for fact in BASE if fact.series in (TWO.series, MPRAGE.series)}


def test_several_destinations_get_what_each_lacks(dcmflow: Run, base: Path, work: Path) -> None:
    dcmflow("sync", "./one/", "-s", "base", "-q", f"PatientID={TWO.patient}")
    assert numbers(dcmflow("sync", "./one/", "./two/", "-s", "base", "--format", "json")) == [
        (12, 4, 8, 0),
        (12, 0, 12, 0),
    ]
    assert got(work / "one") == got(work / "two") == uids("image")


def test_several_sources(dcmflow: Run, base: Path, work: Path) -> None:
    write_base(work / "other", [fact for fact in BASE if fact.image in SECOND])
    shutil.rmtree(base / TWO.patient)
    assert numbers(dcmflow("sync", "./out/", "-s", "base", "-s", "other", "--format", "json")) == [
        (12, 0, 12, 0)
    ]
    assert got(work / "out") == uids("image")


def test_another_layout_is_no_difference(dcmflow: Run, base: Path, work: Path) -> None:
    first = dcmflow("sync", "./out/{SOPInstanceUID}.dcm", "-s", "base", "--format", "json")
    assert numbers(first) == [(12, 0, 12, 0)]
    assert {path.parent for path in (work / "out").rglob("*.dcm")} == {work / "out"}
    again = dcmflow(
        "sync", "out", "-s", "base", "--layout", "{PatientID}/{SOPInstanceUID}", "--format", "json"
    )
    assert numbers(again) == [(12, 12, 0, 0)]


def test_all_is_sent_where_that_is_meant(dcmflow: Run, base: Path) -> None:
    dcmflow("sync", "./out/", "-s", "base")
    assert numbers(dcmflow("sync", "./out/", "-s", "base", "--force-all", "--format", "json")) == [
        (12, 0, 12, 0)
    ]
    again = dcmflow(
        "sync", "./out/", "-s", "base", "--force-all", "--edit", "PatientSex=F", "--format", "json"
    )
    assert numbers(again) == [(12, 0, 12, 0)]
    stored = [pydicom.dcmread(path) for path in (base.parent / "out").rglob("*.dcm")]
    assert {ds.PatientSex for ds in stored} == {"F"}
    assert len(stored) == 12


def test_link_copy_and_move(dcmflow: Run, base: Path, work: Path) -> None:
    files = sorted(base.rglob("*.dcm"))
    dcmflow("sync", "./linked/", "-s", "base", "--method", "link")
    assert {path.stat().st_nlink for path in files} == {2}
    dcmflow("sync", "./copied/", "-s", "base", "--method", "copy")
    assert {path.stat().st_nlink for path in (work / "copied").rglob("*.dcm")} == {1}
    done = dcmflow(
        "sync", "./moved/", "-s", "base", "--move", "-q", f"PatientID={TWO.patient}", "--format", "json"
    )
    assert numbers(done) == [(4, 0, 4, 0)]
    assert got(work / "moved") == SECOND
    assert {path for path in files if not path.exists()} == {
        path for path in files if TWO.patient in path.parts
    }


def test_what_was_not_accepted_is_not_removed(dcmflow: Run, base: Path, work: Path) -> None:
    dead = f"DEAD@{HOST}:{free_port()}"
    done = dcmflow("sync", "./out/", dead, "-s", "base", "--move", "--format", "json")
    assert [line[2:] for line in numbers(done, 1)] == [(12, 0), (0, 12)]
    assert len(list(base.rglob("*.dcm"))) == 12
    assert got(work / "out") == uids("image")


def test_an_edit(dcmflow: Run, base: Path, work: Path) -> None:
    sync = (
        "sync",
        "./out/",
        "-s",
        "base",
        "--edit",
        "PatientID=ANON",
        "--edit",
        "PatientName=",
        "--format",
        "json",
    )
    assert numbers(dcmflow(*sync)) == [(12, 0, 12, 0)]
    edited = [pydicom.dcmread(path) for path in (work / "out").rglob("*.dcm")]
    assert {(ds.PatientID, str(ds.PatientName)) for ds in edited} == {("ANON", "")}
    assert {ds.SOPInstanceUID for ds in edited} == uids("image")
    assert numbers(dcmflow(*sync)) == [(12, 12, 0, 0)]


@pytest.mark.parametrize("how", ["count", "uid"])
def test_verified_afterwards(dcmflow: Run, base: Path, how: str) -> None:
    done = dcmflow("sync", "./out/", "-s", "base", "--verify", how, "--format", "json")
    assert numbers(done) == [(12, 0, 12, 0)]


def test_what_cannot_be_read_is_named(dcmflow: Run, base: Path, work: Path) -> None:
    path = next(base.rglob("*.dcm"))
    path.write_bytes(path.read_bytes()[:-100])
    (base / "notes.txt").write_text("no DICOM")
    done = dcmflow("sync", "./out/", "-s", "base", "--format", "json")
    assert len(got(work / "out")) == 11
    assert "cannot be read" in done.stderr


# plans ---------------------------------------------------------------------------------------------------------------


def test_a_dry_run_is_a_plan(dcmflow: Run, base: Path, work: Path, tmp_path: Path) -> None:
    how = ("--edit", "PatientID=ANON", "--layout", "{PatientID}/{SOPInstanceUID}.dcm")
    planned = dcmflow("sync", "./out/", "-s", "base", "--dry-run", "-q", f"PatientID={TWO.patient}", *how)
    assert planned.returncode == 0
    assert not (work / "out").exists()
    plan = json.loads(planned.stdout)
    assert [(one["level"], one["path"], one["count"]) for one in plan["transfers"]] == [
        ("study", [TWO.patient, TWO.study], 4)
    ]
    (work / "plan.json").write_text(planned.stdout)
    done = dcmflow("sync", "--plan", work / "plan.json", "--format", "json", cwd=tmp_path)
    assert numbers(done) == [(4, 0, 4, 0)]
    assert {path.stem for path in (work / "out" / "ANON").iterdir()} == SECOND


def test_a_plan_for_people(dcmflow: Run, base: Path, work: Path) -> None:
    dcmflow("sync", "./out/", "-s", "base")
    assert "nothing to do" in dcmflow("sync", "./out/", "-s", "base", "--dry-run", "--format", "text").stdout
    next((work / "out").rglob(f"{TWO.image}.dcm")).unlink()
    shown = dcmflow("sync", "./out/", "-s", "base", "--dry-run", "--format", "text").stdout
    assert [line.split() for line in shown.splitlines()] == [
        ["destination", "wanted", "present", "lacking"],
        ["./out", "12", "11", "1"],
        [],
        ["level", "patient", "study", "or", "series", "images", "from"],
        ["image", TWO.patient, TWO.series, "1", "./base"],
    ]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "no plan"),
        ("{}", "no plan"),
        ('{"format": "dcmflow-catalog"}', "no plan"),
        (EMPTY % '"version": 99', "version"),
        (EMPTY % '"version": 1, "options": {"method": "x"}', "method"),
        (EMPTY % '"version": 1, "options": {"edit": 7}', "options"),
    ],
)  # fmt: skip
def test_what_is_no_plan(dcmflow: Run, work: Path, text: str, word: str) -> None:
    (work / "plan.json").write_text(text)
    refused(dcmflow("sync", "--plan", "plan.json"), "plan.json", word)


# what cannot be right --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ["where to"]),
        (("./out/", "-s", "missing"), ["missing", "./missing"]),
        (("./out/", "-s", "./missing/"), ["there is no folder"]),
        (("outt", "-s", "base"), ["outt", "./outt"]),
        (("./base", "-s", "base"), ["same place"]),
        (("./base/inside", "-s", "base"), ["lies in"]),
        (("./alias", "-s", "base"), ["same place"]),
        (("./out/", "./out", "-s", "base"), ["twice"]),
        (("./out/", "-s", "base", "-s", "./base/"), ["twice"]),
        (("A@h.invalid:104", "-s", "A@h.invalid:104", "--all"), ["same place"]),
        (("A@127.0.0.1:104", "-s", "A@localhost:104", "--all"), ["same place"]),
        (("./out/", "-s", "A@127.0.0.1:104"), ["everything", "--all"]),
        (("./base/one.txt/x", "-s", "./other/"), ["is a file"]),
        (("./out/", "-s", "./base/one.txt"), ["is a file"]),
        (("./out/", "-s", "base", "-q", "PatientIdd=1"), ["PatientIdd", "PatientID"]),
        (("./out/", "-s", "base", "--since", "blargh"), ["--since"]),
        (("./out/", "-s", "base", "--level", "xyz"), ["level"]),
        (("./out/", "-s", "base", "--trust-level", "xyz"), ["level"]),
        (("./out/", "-s", "base", "--from", "x.json", "-q", "PatientID=1"), ["--from"]),
        (("./out/", "-q", "PatientID=1"), ["-s"]),
        (("./out/", "-s", "base", "--edit", "PatientName"), ["KEY=VALUE"]),
        (("./out/", "-s", "base", "--edit", "Patient Nam=x"), ["Patient Nam"]),
        (("./out/", "-s", "base", "--edit", "StudyInstanceUID=1.2"), ["--force-all"]),
        (("./out/", "-s", "base", "--edit", "SOPInstanceUID=1.2", "--force-all"), ["same one"]),
        (("./out/", "-s", "base", "--edit", "PatientID=x", "--move"), ["--edit"]),
        (("./out/", "-s", "base", "--method", "remote-copy"), ["remote-copy"]),
        (("./out/", "-s", "A@127.0.0.1:104", "--all", "--method", "remote-copy"), ["folder"]),
        (("./out/", "-s", "A@127.0.0.1:104", "--all", "--move"), ["node"]),
        (("A@127.0.0.1:104", "-s", "base", "--method", "link"), ["between folders"]),
        (("./out/", "-s", "base", "--move", "--method", "link"), ["contradict"]),
        (("./out/", "-s", "base", "--move", "--verify", "uid"), ["--verify"]),
        (("./out/", "-s", "base", "--layout", "{../x}"), ["layout"]),
        (("A@127.0.0.1:104", "-s", "base", "--layout", "{PatientID}/{SOPInstanceUID}"), ["--layout"]),
        (("./out/{SOPInstanceUID}", "-s", "base", "--layout", "{SOPInstanceUID}"), ["two layouts"]),
        (("./out/", "-s", "base", "--local", "h:1"), ["--local"]),
        (("./out/", "-s", "base", "--local", "A@0.0.0.0:1", "--calling-ae", "B"), ["two AE titles"]),
        (("./out/", "-s", "base", "--dry-run", "--report", "r.json"), ["--report"]),
        (("./out/", "-s", "base", "--report", "./missing/r.json"), ["--report"]),
        (("./out/", "-s", "base", "--tls-ca", "ca.pem"), ["--tls-ca"]),
        (("./out/", "--plan", "plan.json"), ["--plan"]),
        (("--plan", "plan.json"), ["plan.json"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)  # fmt: skip
def test_nothing_moves(dcmflow: Run, work: Path, arguments: tuple[str, ...], words: list[str]) -> None:
    for folder in ("base", "other"):
        (work / folder).mkdir()
        (work / folder / "one.txt").write_text("")
    (work / "alias").symlink_to("base")
    before = sorted(work.rglob("*"))
    refused(dcmflow("sync", *arguments), *words)
    assert sorted(work.rglob("*")) == before


@pytest.mark.parametrize("text", ["", "garbage", '{"format": "dcmflow-catalog", "version": 1, "level"'])
def test_no_result_on_stdin(dcmflow: Run, text: str) -> None:
    refused(dcmflow("sync", "./out/", stdin=None, input=text), "stdin", "-s")


def test_it_says_that_it_waits_for_a_silent_pipe(work: Path, environment: dict[str, str]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "dcmflow", "sync", "./out/"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=work,
        env=environment,
    )
    try:
        assert process.stderr is not None
        assert "waiting" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)
        assert process.returncode == 130
    finally:
        process.kill()
        process.communicate()


# results of queries ----------------------------------------------------------------------------------------------------


def result(source: str, *facts: Any, level: Level = Level.IMAGE) -> str:
    """What `query` writes."""
    catalog = Catalog(level, (Record(level, fact.keys(level.word)) for fact in facts))
    catalog.provenance.append(Provenance(source))
    return catalog.to_json()


@pytest.mark.parametrize(
    "level", [Level.PATIENT, Level.STUDY, Level.SERIES, Level.IMAGE], ids=lambda level: level.word
)
def test_a_result_says_what_and_where_from(dcmflow: Run, base: Path, work: Path, level: Level) -> None:
    wanted = {fact.image for fact in BASE if fact.uid(level.word) == MPRAGE.uid(level.word)}
    done = dcmflow("sync", "./out/", stdin=None, input=result(str(base), MPRAGE, level=level))
    assert done.returncode == 0, done.stderr
    assert f"from {base}" in done.stderr
    assert got(work / "out") == wanted


def test_a_result_in_a_file_and_another_source(dcmflow: Run, base: Path, work: Path) -> None:
    (work / "found.json").write_text(result("GONE@127.0.0.1:1", TWO))
    done = dcmflow("sync", "./out/", "--from", "found.json", "-s", "base")
    assert done.returncode == 0, done.stderr
    assert got(work / "out") == {TWO.image}


def test_a_result_from_nowhere(dcmflow: Run, base: Path) -> None:
    text = Catalog(Level.IMAGE, [Record(Level.IMAGE, TWO.keys("image"))]).to_json()
    refused(dcmflow("sync", "./out/", stdin=None, input=text), "-s")


def test_query_of_a_folder_into_sync(dcmflow: Run, base: Path, work: Path) -> None:
    found = dcmflow("query", "./base/", f"PatientID={TWO.patient}", "--format", "json")
    assert found.returncode == 0, found.stderr
    done = dcmflow("sync", "./out/", stdin=None, input=found.stdout)
    assert done.returncode == 0, done.stderr
    assert got(work / "out") == SECOND


# nodes ------------------------------------------------------------------------------------------------------------------


@pytest.mark.interop
@pytest.mark.timeout(120)
def test_node_to_folder(dcmflow: Run, archives: Archives, archive: Archive, work: Path) -> None:
    local = ("--local", str(archives.clients["DCMFLOW"]))
    sync = ("sync", "./out/", "-s", str(archive.address), "--all", *local, "--format", "json")
    expected = {fact.image for fact in archive.expected}
    sent = results(dcmflow(*sync, timeout=60))[str(work / "out")]
    assert (sent["sent"], sent["failed"], sent["skipped"]) == (len(expected), 0, 0)
    assert got(work / "out") == expected
    again = results(dcmflow(*sync, timeout=60))[str(work / "out")]
    assert (again["present"], again["sent"], again["failed"]) == (len(expected), 0, 0)
    gone = [path for path in (work / "out").rglob("*.dcm") if path.stem in (TWO.image, MPRAGE.image)]
    for path in gone:
        path.unlink()
    third = results(dcmflow(*sync, timeout=60))[str(work / "out")]
    assert (third["sent"], third["failed"]) == (2, 0)
    assert got(work / "out") == expected


@pytest.mark.interop
@pytest.mark.timeout(120)
def test_query_into_sync(dcmflow: Run, archives: Archives, archive: Archive, work: Path) -> None:
    found = dcmflow("query", str(archive.address), f"PatientID={TWO.patient}")
    local = ("--local", str(archives.clients["DCMFLOW"]))
    done = dcmflow("sync", "./out/", *local, "--verify", "uid", stdin=None, input=found.stdout, timeout=60)
    assert done.returncode == 0, done.stderr
    assert f"from {archive.address}" in done.stderr
    assert got(work / "out") == SECOND


@pytest.mark.interop
@pytest.mark.timeout(120)
def test_folder_to_node(dcmflow: Run, pacs: Orthanc, base: Path) -> None:
    sync = ("sync", str(pacs.address), "-s", "base", "--verify", "uid", "--format", "json")
    first = results(dcmflow(*sync, timeout=60))
    assert [result["sent"] for result in first.values()] == [12]
    assert set(pacs.instances()) == uids("image")
    assert numbers(dcmflow(*sync, timeout=60)) == [(12, 12, 0, 0)]
    identifier = pacs.instances()[TWO.image]
    pacs.fetch(f"/instances/{identifier}", "DELETE")
    assert numbers(dcmflow(*sync, timeout=60)) == [(12, 11, 1, 0)]
    assert set(pacs.instances()) == uids("image")


@pytest.mark.interop
@pytest.mark.timeout(120)
@pytest.mark.parametrize("method", ["auto", "get"])
def test_node_to_node_and_folder(
    dcmflow: Run, archives: Archives, archive: Archive, pacs: Orthanc, work: Path, method: str
) -> None:
    local = ("--local", str(archives.clients["DCMFLOW"]))
    done = dcmflow(
        "sync", str(pacs.address), "./out/", "-s", str(archive.address), "-q", f"PatientID={TWO.patient}",
        *local, "--method", method, "--format", "json", timeout=60,
    )  # fmt: skip
    assert [(each["sent"], each["failed"]) for each in results(done).values()] == [(4, 0), (4, 0)]
    assert set(pacs.instances()) == SECOND
    assert got(work / "out") == SECOND


@pytest.mark.interop
@pytest.mark.timeout(120)
def test_equal_numbers_are_enough_where_that_is_said(dcmflow: Run, pacs: Orthanc, base: Path) -> None:
    others = [copy.deepcopy(fact.ds) for fact in BASE if fact.image in SECOND]
    for number, ds in enumerate(others):
        ds.SOPInstanceUID = f"2.25.{number + 1}"
        pacs.add(Corpus(base.parent / "others").save(f"{number}.dcm", ds))
    sync = ("sync", str(pacs.address), "-s", "base", "-q", f"PatientID={TWO.patient}", "--format", "json")
    trusting = dcmflow(*sync, "--trust-level", "study", timeout=60)
    assert numbers(trusting) == [(4, 4, 0, 0)]
    assert "equal numbers" in trusting.stderr
    assert numbers(dcmflow(*sync, timeout=60)) == [(4, 0, 4, 0)]
    assert set(pacs.instances()) > SECOND


@pytest.mark.interop
@pytest.mark.timeout(120)
def test_remote_copy(dcmflow: Run, archives: Archives, pacs: Orthanc, tmp_path: Path) -> None:
    known = {"ORTHANC": Address(pacs.address.port, "ORTHANC")}
    with archives.start("dcmqrscp", tmp_path / "source", files=archives.base(), clients=known) as source:
        sync = ("sync", str(pacs.address), "-s", str(source.address), "--all", "--method", "remote-copy")
        done = dcmflow(*sync, "--verify", "uid", "--format", "json", timeout=60)
        assert [(each["sent"], each["failed"]) for each in results(done).values()] == [(12, 0)]
        assert set(pacs.instances()) == uids("image")
        again = dcmflow(*sync, "--format", "json", timeout=60)
        assert [(each["sent"], each["failed"]) for each in results(again).values()] == [(0, 0)]


@pytest.mark.interop
@pytest.mark.timeout(120)
def test_one_dead_destination_of_two(dcmflow: Run, archives: Archives, archive: Archive, work: Path) -> None:
    dead = f"DEAD@{HOST}:{free_port()}"
    local = ("--local", str(archives.clients["DCMFLOW"]))
    done = dcmflow(
        "sync", dead, "./out/", "-s", str(archive.address), "-q", f"PatientID={TWO.patient}", *local,
        "--format", "json", "--report", "r.json", timeout=60,
    )  # fmt: skip
    found = results(done, 1)
    assert (found[dead]["sent"], found[dead]["failed"]) == (0, 4)
    assert {failure["uid"] for failure in found[dead]["failures"]} == SECOND
    assert (found[str(work / "out")]["sent"], found[str(work / "out")]["failed"]) == (4, 0)
    assert json.loads((work / "r.json").read_text())["destinations"] == found
    assert "refused" in done.stderr
    assert got(work / "out") == SECOND


@pytest.mark.interop
@pytest.mark.timeout(120)
def test_one_dead_source_of_two(dcmflow: Run, base: Path, work: Path) -> None:
    dead = f"DEAD@{HOST}:{free_port()}"
    done = dcmflow("sync", "./out/", "-s", dead, "-s", "base", "--all", "--format", "json", timeout=60)
    assert numbers(done, 1) == [(12, 0, 12, 0)]
    assert dead in done.stderr
    assert got(work / "out") == uids("image")


def test_a_source_that_is_not_there(dcmflow: Run, work: Path) -> None:
    done = dcmflow("sync", "./out/", "-s", f"DEAD@{HOST}:{free_port()}", "--all")
    assert done.returncode == 3, done.stderr
    assert not (work / "out").exists()
    assert not done.stdout


@pytest.mark.interop
@pytest.mark.timeout(120)
def test_a_remote_copy_to_somebody_whom_the_source_does_not_know(
    dcmflow: Run, archives: Archives, tmp_path: Path
) -> None:
    known = archives.holding_base("dcmqrscp")
    with archives.start("dcmqrscp", tmp_path / "stranger", ae_title="STRANGER") as stranger:
        done = dcmflow(
            "sync", str(stranger.address), "-s", str(known.address), "-q", f"PatientID={TWO.patient}",
            "--method", "remote-copy", "--format", "json", timeout=60,
        )  # fmt: skip
    (result,) = results(done, 1).values()
    assert (result["sent"], result["failed"]) == (0, 4)
    assert "A801" in done.stderr
    assert "STRANGER" in done.stderr


# what happens on the way ------------------------------------------------------------------------------------------------


def test_what_was_accepted_and_is_not_there_has_failed(dcmflow: Run, base: Path) -> None:
    with scripted(on_store=0, on_find=Answer(0)) as forgetful:
        sync = ("sync", forgetful.node, "-s", "base", "--format", "json")
        assert numbers(dcmflow(*sync)) == [(12, 0, 12, 0)]
        done = dcmflow(*sync, "--verify", "uid")
    assert numbers(done, 1) == [(12, 0, 0, 12)]
    assert "not found there afterwards" in done.stderr


def test_what_is_refused_is_named(dcmflow: Run, base: Path, work: Path) -> None:
    with scripted(on_store=[Answer(0xC001, comment="no such patient"), 0], on_find=Answer(0)) as choosy:
        done = dcmflow("sync", choosy.node, "-s", "base", "--format", "json", "--report", "r.json")
    assert numbers(done, 1) == [(12, 0, 11, 1)]
    (result,) = results(done, 1).values()
    (failure,) = result["failures"]
    assert failure["uid"] in uids("image")
    assert "no such patient" in failure["reason"]
    assert failure["uid"] in done.stderr
    assert json.loads((work / "r.json").read_text())["destinations"] == results(done, 1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_lets_finish_what_is_under_way(
    start: Callable[..., subprocess.Popen[str]], base: Path, number: signal.Signals
) -> None:
    ds = copy.deepcopy(TWO.ds)
    for image in range(100):  # more than waits between source and destination
        ds.SOPInstanceUID = f"2.25.{image + 1}"
        Corpus(base).save(f"{image}.dcm", ds)
    with loop() as portal:
        go_on = portal.call(anyio.Event)
        with scripted(portal, on_store=[0, (Wait(go_on), 0)], on_find=Answer(0)) as slow:
            process = start("sync", slow.node, "-s", "base", "--format", "json")
            slow.wait("C-STORE-RQ", count=2)
            process.send_signal(number)
            assert process.stderr is not None
            assert "finished" in process.stderr.readline()
            portal.call(go_on.set)
            out, said = process.communicate(timeout=15)
            stored = len(slow.stores())
    assert process.returncode == 130
    (result,) = json.loads(out)["destinations"].values()
    assert result["sent"] == stored < 112
    assert (result["failed"], result["skipped"]) == (0, 112 - stored)
    assert json.loads(out)["interrupted"] is True
    assert "run it again" in said


def test_an_interrupt_while_it_asks(start: Callable[..., subprocess.Popen[str]], base: Path) -> None:
    with scripted(on_find=(Wait("C-CANCEL-RQ"), Answer(0xFE00))) as slow:
        process = start("sync", slow.node, "-s", "base")
        slow.wait("C-FIND-RQ")
        process.send_signal(signal.SIGINT)
        out, said = process.communicate(timeout=15)
        assert not slow.stores()
    assert (process.returncode, out) == (130, "")
    assert "nothing was moved" in said


def test_progress_on_a_terminal(terminal: Callable[..., Any], base: Path) -> None:
    with loop() as portal:
        go_on = portal.call(anyio.Event)
        with scripted(portal, on_store=[0, (Wait(go_on), 0), 0], on_find=Answer(0)) as slow:
            shown = terminal("sync", slow.node, "-s", "base")
            shown.until("of 12 settled")
            portal.call(go_on.set)
            code, said = shown.end()
            node = slow.node
    assert code == 0
    assert said.splitlines()[-1].split() == [node, "12", "0", "12", "0", "0"]
