"""`dcmflow query`: what does a node hold?"""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from acceptance_wire import scripted
from base_data import ECHOES, MPRAGE, counts, paths, uids, write_base
from dcmflow.catalog.catalog import Catalog
from dcmflow.dicom.level import Level
from dcmflow.dicom.record import Record
from dcmflow.testing import Answer, CloseNow, Exchange, Matches, Wait
from peers.archives import Archive
from peers.base import HOST, free_port

Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]

LEVELS = (Level.PATIENT, Level.STUDY, Level.SERIES, Level.IMAGE)


def study(number: int, **elements: Any) -> Dataset:
    """An answer at study level."""
    ds = Dataset()
    ds.QueryRetrieveLevel = "STUDY"
    ds.PatientID, ds.PatientName, ds.StudyInstanceUID = f"P{number}", f"Name{number}", f"2.25.{number}"
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    return ds


def studies(*numbers: int) -> list[Dataset]:
    return [study(number) for number in numbers]


def catalog(done: Done, code: int = 0) -> Catalog:
    assert done.returncode == code, done.stderr
    return Catalog.from_json(done.stdout)


def notes(done: Done) -> list[str]:
    return [note for entry in catalog(done, done.returncode).provenance for note in entry.notes]


ALL = ("StudyInstanceUID", "--assume-yes")


# archives that are real ---------------------------------------------------------------------------------------------


@pytest.mark.interop
@pytest.mark.parametrize("level", LEVELS, ids=lambda level: level.word)
def test_each_level_has_what_the_archive_holds(dcmflow: Run, archive: Archive, level: Level) -> None:
    found = catalog(dcmflow("query", str(archive.address), "--all", "--level", level.word))
    assert {node.path for node in found.walk(level) if node.level is level} == paths(level, archive.expected)
    assert tuple(map(found.count, LEVELS))[: level + 1] == counts(archive.expected)[: level + 1]


@pytest.mark.interop
def test_a_chain_of_queries_refines(dcmflow: Run, archive: Archive) -> None:
    node = str(archive.address)
    first = dcmflow("query", node, "PatientID=TestPat2", "--level", "patient")
    second = dcmflow("query", node, "--from", "-", "Modality=MR", stdin=None, input=first.stdout)
    third = dcmflow("query", node, "--from", "-", "InstanceNumber=2", stdin=None, input=second.stdout)
    assert [catalog(done).level for done in (first, second, third)] == [
        Level.PATIENT,
        Level.SERIES,
        Level.IMAGE,
    ]
    assert set(catalog(second).uids()) == {
        fact.series for fact in archive.expected if fact.patient == "TestPat2"
    }
    wanted = {
        fact.image
        for fact in archive.expected
        if fact.patient == "TestPat2" and fact.text("InstanceNumber") == "2"
    }
    assert set(catalog(third).uids()) == wanted
    assert [entry.source for entry in catalog(third).provenance] == [node] * 3


@pytest.mark.interop
def test_a_key_alone_is_returned_or_listed(dcmflow: Run, archive: Archive) -> None:
    done = dcmflow("query", str(archive.address), f"SeriesInstanceUID={ECHOES[0].series}", "EchoTime")
    found = catalog(done)
    assert set(found.uids()) == {fact.image for fact in ECHOES}
    times = {record.text("EchoTime") for record in found}
    if times == {""}:
        assert "EchoTime" in done.stderr or any("EchoTime" in note for note in notes(done))
    else:
        assert sorted(map(float, times)) == [2.46, 4.25]


@pytest.mark.interop
@pytest.mark.parametrize("kind", ["dcmqrscp", "orthanc"])
def test_an_example_decides_where_the_archive_does_not(dcmflow: Run, archives: Any, kind: str) -> None:
    node = str(archives.holding_base(kind).address)
    done = dcmflow("query", node, "SeriesDescription=*MPRAGE*", "--fetch-example")
    assert catalog(done).uids() == [MPRAGE.series]


@pytest.mark.interop
def test_the_lines_of_all_images_are_the_images(dcmflow: Run, archive: Archive) -> None:
    done = dcmflow("query", str(archive.address), "--all", "--level", "image", "--format", "ndjson")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {row["SOPInstanceUID"] for row in rows} == uids("image", archive.expected)
    assert len(rows) == len(archive.expected)


# formats ------------------------------------------------------------------------------------------------------------

EVIL = "\x1b[31mred\x07\x9b31m"


@pytest.mark.parametrize("format", ["tree", "csv", "json", "ndjson"])
def test_no_format_has_anything_that_a_terminal_obeys(dcmflow: Run, format: str) -> None:
    evil = study(1, SpecificCharacterSet="ISO_IR 192", StudyDescription=EVIL, PatientName=f"A^{EVIL}")
    with scripted(on_find=Matches([evil])) as server:
        done = dcmflow("query", server.node, *ALL, "--format", format)
    assert done.returncode == 0, done.stderr
    assert "red" in done.stdout
    assert not set(done.stdout + done.stderr) & {"\x1b", "\x07", "\x9b"}
    if format == "json":
        [record] = catalog(done)
        assert record.text("StudyDescription") == EVIL


def test_csv_is_read_by_whoever_reads_csv(dcmflow: Run) -> None:
    odd = 'says "a, b"; c'
    with scripted(on_find=Matches([study(1, StudyDescription=odd), study(2)])) as server:
        done = dcmflow("query", server.node, *ALL, "--format", "csv")
    first, second = csv.DictReader(io.StringIO(done.stdout))
    assert (first["StudyDescription"], second["StudyDescription"]) == (odd, "")
    assert (first["PatientID"], second["PatientID"]) == ("P1", "P2")


def test_lines_are_written_when_they_come(dcmflow: Run, start: Callable[..., subprocess.Popen[str]]) -> None:
    with scripted(
        on_find=(Matches(studies(1, 2), final=None), Wait("C-CANCEL-RQ"), Answer(0xFE00))
    ) as server:
        process = start("query", server.node, *ALL, "--format", "ndjson")
        assert process.stdout is not None
        rows = [json.loads(process.stdout.readline()) for _ in range(2)]
        assert [row["StudyInstanceUID"] for row in rows] == ["2.25.1", "2.25.2"]
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        server.wait("C-CANCEL-RQ")
        rest, said = process.communicate(timeout=15)
    assert (process.returncode, rest) == (130, "")
    assert "interrupted; 2 studies so far" in said


def test_a_termination_is_an_interrupt(start: Callable[..., subprocess.Popen[str]]) -> None:
    with scripted(on_find=(Answer(0xFF00, data=study(1)), Wait("C-CANCEL-RQ"), Answer(0xFE00))) as server:
        process = start("query", server.node, *ALL)
        server.wait("C-FIND-RQ")
        process.terminate()
        server.wait("C-CANCEL-RQ")
        out, _ = process.communicate(timeout=15)
    assert process.returncode == 130
    assert out == "" or Catalog.from_json(out).uids() in (["2.25.1"], [])


# a terminal ---------------------------------------------------------------------------------------------------------


def test_progress_shows_on_a_terminal_while_it_takes_long(terminal: Callable[..., Any]) -> None:
    script = (Matches(studies(1, 2), final=None), Wait("C-CANCEL-RQ"), Answer(0xFE00))
    with scripted(on_find=script) as server:
        shown = terminal("query", server.node, *ALL)
        shown.until("2 answers, ")
        assert "answers/s" in shown.until("answers/s")
        shown.write("\x03")
        code, said = shown.end()
    assert code == 130
    assert "P1" in said
    assert "2 patients, 2 studies" in said


def test_no_progress_where_it_is_not_wanted(terminal: Callable[..., Any]) -> None:
    script = (Matches(studies(1, 2), final=None), Wait(1.5), Answer(0))
    with scripted(on_find=script) as server:
        code, said = terminal("query", server.node, *ALL, "--no-progress").end()
    assert code == 0
    assert "answers/s" not in said


def test_everything_is_asked_for_only_when_the_person_says_yes(terminal: Callable[..., Any]) -> None:
    with scripted(on_find=Matches(studies(1))) as server:
        asked = terminal("query", server.node, "StudyDescription")
        assert f"This asks {server.node} for all the studies that it has." in asked.until("[y/N]")
        asked.write("\n")
        code, said = asked.end()
        assert (code, server.whats) == (130, [])
        assert "nothing was asked" in said
        asked = terminal("query", server.node)
        asked.until("[y/N]")
        asked.write("yes\n")
        code, said = asked.end()
    assert code == 0
    assert "1 study" in said


def test_without_a_terminal_nobody_is_asked(dcmflow: Run) -> None:
    with scripted() as server:
        done = dcmflow("query", server.node)
        assert (done.returncode, done.stdout, server.whats) == (2, "", [])
    assert "--assume-yes" in done.stderr


# what is asked, and of whom -----------------------------------------------------------------------------------------


def test_a_folder_is_asked_like_a_node(dcmflow: Run, work: Path) -> None:
    write_base(work / "scans")
    found = catalog(dcmflow("query", "scans", "EchoTime=4.25"))
    assert found.uids() == [ECHOES[1].image]
    assert found.provenance[-1].source == str(work / "scans")
    everything = dcmflow("query", "./scans/", "--level", "image", "--format", "ndjson")
    assert {json.loads(line)["SOPInstanceUID"] for line in everything.stdout.splitlines()} == uids("image")
    refined = dcmflow("query", "scans", "--from", "-", "--level", "series", stdin=None, input=found.to_json())
    assert catalog(refined).uids() == [ECHOES[1].series]
    assert not [path for path in (work / "scans").iterdir() if path.name.startswith(".")]


def test_a_file_that_cannot_be_read_is_no_end_of_a_folder(dcmflow: Run, work: Path) -> None:
    *_, last = write_base(work / "scans")
    last.write_bytes(last.read_bytes()[:200])
    done = dcmflow("query", "scans", "--level", "image")
    assert len(catalog(done, 1).uids()) == 11
    assert last.name in done.stderr


def test_a_folder_that_is_not_there(dcmflow: Run) -> None:
    done = dcmflow("query", "./scans/", "PatientID=1")
    assert done.returncode == 2
    assert "there is no folder" in done.stderr


def test_from_and_batch_are_one_too_many(dcmflow: Run) -> None:
    done = dcmflow("query", "A@h:1", "--from", "x.json", "--batch", "x.csv")
    assert (done.returncode, "--from and --batch" in done.stderr) == (2, True)


@pytest.mark.parametrize("words", [["--from", "--level", "image"], ["--from", ""], ["--since", " "]])
def test_an_option_without_its_value_is_said_so(dcmflow: Run, words: list[str]) -> None:
    done = dcmflow("query", "A@h:1", "PatientID=1", *words)
    assert done.returncode == 2
    assert f"{words[0]} needs a" in done.stderr


def test_a_key_below_the_level_is_matched_where_it_can_be(dcmflow: Run) -> None:
    """Which studies have a series of that modality? That is asked of the series."""

    def find(exchange: Exchange) -> Any:
        asked = exchange.dataset()
        if asked.QueryRetrieveLevel == "STUDY":
            return Matches(studies(1, 2))
        answers = []
        for number, modality in enumerate(("CT", "MR", "MR"), 1):
            ds = study(1 if number < 3 else 2, Modality=modality, SeriesInstanceUID=f"2.25.9{number}")
            ds.QueryRetrieveLevel = "SERIES"
            answers.append(ds)
        return Matches(answers)  # whatever is asked

    with scripted(on_find=find) as server:
        done = dcmflow("query", server.node, "Modality=CT", "--level", "study")
        lines = dcmflow("query", server.node, "Modality=MR", "--level", "study", "--format", "ndjson")
    found = catalog(done)
    assert (found.level, found.uids()) == (Level.STUDY, ["2.25.1"])
    assert {json.loads(line)["StudyInstanceUID"] for line in lines.stdout.splitlines()} == {
        "2.25.1",
        "2.25.2",
    }
    assert "SeriesInstanceUID" not in lines.stdout


def test_a_patient_id_of_an_earlier_result_is_no_pattern(dcmflow: Run) -> None:
    earlier = Catalog(Level.PATIENT, [Record(Level.PATIENT, {"PatientID": "A*"})]).to_json()
    answers = [study(1, PatientID="A*"), study(2, PatientID="AB")]
    with scripted(on_find=Matches(answers)) as server:
        done = dcmflow("query", server.node, "--from", "-", "--level", "study", stdin=None, input=earlier)
    assert catalog(done).uids() == ["2.25.1"]


def test_who_has_no_unique_key_is_told_and_not_asked_about(dcmflow: Run) -> None:
    records = [Record(Level.PATIENT, {"PatientID": uid, "PatientName": "Doe"}) for uid in ("", "P1")]
    earlier = Catalog(Level.PATIENT, records).to_json()
    with scripted(on_find=Matches(studies(1))) as server:
        done = dcmflow("query", server.node, "--from", "-", "--level", "study", stdin=None, input=earlier)
        assert len(server.of("C-FIND-RQ")) == 1
    assert catalog(done, 1).uids() == ["2.25.1"]
    assert "1 of the earlier result" in done.stderr


def earlier_studies(count: int) -> str:
    records = [
        Record(Level.STUDY, {"PatientID": "P", "StudyInstanceUID": f"2.25.{number}"})
        for number in range(count)
    ]
    return Catalog(Level.STUDY, records).to_json()


def refine(dcmflow: Run, node: str, count: int) -> Done:
    return dcmflow("query", node, "--from", "-", "StudyDate", stdin=None, input=earlier_studies(count))


def some(exchange: Exchange) -> list[str]:
    uid = exchange.dataset().StudyInstanceUID
    return [uid] if isinstance(uid, str) else list(uid)


def test_siblings_are_asked_about_in_lists(dcmflow: Run) -> None:
    def find(exchange: Exchange) -> Any:
        return Matches([study(0, PatientID="P", StudyInstanceUID=uid) for uid in some(exchange)[1:]])

    with scripted(on_find=find) as server:
        done = refine(dcmflow, server.node, 40)
        assert len(server.of("C-FIND-RQ")) == 2
    assert len(catalog(done)) == 38  # it has not the first of each list


@pytest.mark.parametrize("how", ["an error", "an error after some", "the first alone", "nothing"])
def test_who_takes_no_lists_is_asked_one_by_one(dcmflow: Run, how: str) -> None:
    def find(exchange: Exchange) -> Any:
        uids = some(exchange)
        answers = [study(0, PatientID="P", StudyInstanceUID=uid) for uid in uids]
        if len(uids) == 1:
            return Matches(answers)
        return {
            "an error": Answer(0xA900),
            "an error after some": Matches(answers[:3], final=Answer(0xC320)),
            "the first alone": Matches(answers[:1]),
            "nothing": Matches(),
        }[how]

    with scripted(on_find=find) as server:
        done = refine(dcmflow, server.node, 7)
        assert len(server.of("C-FIND-RQ")) <= 8
    assert len(catalog(done)) == 7


# what goes wrong ----------------------------------------------------------------------------------------------------


def test_a_node_that_is_not_there_gives_no_document(dcmflow: Run) -> None:
    done = dcmflow("query", f"PACS@{HOST}:{free_port()}", "PatientID=1")
    assert (done.returncode, done.stdout) == (3, "")
    assert len(done.stderr.splitlines()) == 1


def test_the_limit_is_said_in_the_document_too(dcmflow: Run) -> None:
    with scripted(on_find=Matches(studies(1, 2, 3))) as server:
        done = dcmflow("query", server.node, *ALL, "--limit", "2")
    assert len(catalog(done)) == 2
    assert "stopped at --limit 2" in done.stderr
    assert any("stopped at --limit 2" in note for note in notes(done))


def test_what_cannot_be_checked_stays_out_when_no_example_can_be_had(dcmflow: Run) -> None:
    answer = study(1, SeriesInstanceUID="2.25.5")

    def find(exchange: Exchange) -> Any:
        answer.QueryRetrieveLevel = exchange.dataset().QueryRetrieveLevel
        answer.SOPInstanceUID = "2.25.6"
        return Matches([answer])

    with scripted(on_find=find, on_get=Answer(0xC000, "no")) as server:
        done = dcmflow("query", server.node, "SeriesDescription=*MPRAGE*", "--fetch-example")
    assert catalog(done, 1).uids() == []
    for words in ("no example of series 2.25.5", "C000", "cannot be checked for SeriesDescription"):
        assert words in done.stderr, done.stderr


# tables -------------------------------------------------------------------------------------------------------------


def table(work: Path, *patients: str) -> Path:
    path = work / "wanted.csv"
    path.write_text("\n".join(["PatientID", *patients, ""]))
    return path


def test_each_row_has_its_line_on_stderr_and_its_entry_in_the_document(dcmflow: Run, work: Path) -> None:
    def find(exchange: Exchange) -> Any:
        wanted = exchange.dataset().PatientID
        return (
            Answer(0xC001, "broken")
            if wanted == "P3"
            else Matches(studies(1))
            if wanted == "P1"
            else Answer(0)
        )

    with scripted(on_find=find) as server:
        done = dcmflow("query", server.node, "--batch", table(work, "P1", "P2", "P3"))
    found = catalog(done, 1)
    assert found.uids() == ["2.25.1"]
    first, second, third, *rest = done.stderr.splitlines()
    assert first == "row 1 (line 2)  PatientID=P1  1 study"
    assert second == "row 2 (line 3)  PatientID=P2  nothing found"
    assert third.startswith("row 3 (line 4)  PatientID=P3  failed: ")
    assert "C001" in third
    assert rest == []
    assert [entry.query["PatientID"] for entry in found.provenance] == ["P1", "P2", "P3"]
    assert [entry.notes[1].partition(":")[0] for entry in found.provenance] == [
        "1 study",
        "nothing found",
        "failed",
    ]


def test_what_two_rows_find_is_there_once(dcmflow: Run, work: Path) -> None:
    def find(exchange: Exchange) -> Any:
        return Matches(studies(1, 2))

    path = work / "wanted.csv"
    path.write_text("StudyInstanceUID\n2.25.1\n2.25.1\\2.25.2\n")
    with scripted(on_find=find) as server:
        done = dcmflow("query", server.node, "--batch", path, "--format", "ndjson")
        assert [json.loads(line)["StudyInstanceUID"] for line in done.stdout.splitlines()] == [
            "2.25.1",
            "2.25.2",
        ]
        done = dcmflow("query", server.node, "--batch", path)
    assert catalog(done).uids() == ["2.25.1", "2.25.2"]


def test_a_node_that_goes_away_ends_a_table_at_once(dcmflow: Run, work: Path) -> None:
    node = f"PACS@{HOST}:{free_port()}"
    done = dcmflow("query", node, "--batch", table(work, "P1", "P2", "P3"))
    assert (done.returncode, done.stdout) == (3, "")
    first, second, third, *_ = done.stderr.splitlines()
    assert "failed: " in first
    assert second.endswith("not asked")
    assert third.endswith("not asked")


def test_a_row_whose_association_breaks_is_no_end_of_the_others(dcmflow: Run, work: Path) -> None:
    def find(exchange: Exchange) -> Any:
        return CloseNow() if exchange.dataset().PatientID == "P1" else Matches(studies(2))

    with scripted(on_find=find) as server:
        done = dcmflow("query", server.node, "--batch", table(work, "P1", "P2"))
    assert catalog(done, 1).uids() == ["2.25.2"]


# the module ---------------------------------------------------------------------------------------------------------


def test_loading_the_command_loads_nothing_heavy() -> None:
    statement = (
        "import sys; import dcmflow.cli.query\n"
        "assert not {'pydicom', 'pynetdicom', 'structlog', 'rich', 'anyio'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", statement], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
