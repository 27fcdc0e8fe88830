"""The words of `dcmflow query`: keys, dates, levels, tables, stdin and stdout; what cannot be right is found first."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from acceptance_kit import Command, Done
from acceptance_query import (
    Holdings,
    archiving,
    asked,
    document,
    entities,
    leaves,
    rows,
    speaks_of,
    tally,
    uids,
)
from acceptance_wire import Scripted, scripted
from corpus import Corpus
from dcmflow.testing import Answer, Exchange, Matches
from terminal import on_terminal


@pytest.fixture
def served(base_set: Corpus) -> Iterator[Scripted]:
    """A scripted archive of BASE that returns counts."""
    with archiving(base_set.paths, counts=True) as server:
        yield server


def refused(done: Done, server: Scripted, *words: str) -> None:
    """What was written was wrong: said in one line, with these words; nobody was called."""
    assert done.must(2).out == "", done
    errors = [line for line in done.err.splitlines() if line.startswith("dcmflow: error: ")]
    assert len(errors) == 1, done
    speaks_of(done.err, *words)
    assert server.whats == []


# keys ---------------------------------------------------------------------------------------------------------------

WRONG = {
    "misspelt": (["PatientIdd=TestPat1"], ["PatientIdd", "did you mean", "PatientID"]),
    "misspelt, without a value": (["PatientIdd="], ["PatientIdd", "PatientID"]),
    "in another case": (["patientid=TestPat1"], ["patientid", "PatientID"]),
    "no key": (["=TestPat1"], ["KEY=VALUE"]),
    "twice": (["PatientID=A", "00100020=B"], ["PatientID", "twice"]),
    "our own": (["QueryRetrieveLevel=STUDY"], ["QueryRetrieveLevel"]),
    "no date": (["StudyDate=yesteryear"], ["StudyDate", "yesteryear"]),
    "no range": (["StudyDate=2019-13-45"], ["StudyDate"]),
    "no level": (["PatientID=A", "--level", "stud"], ["stud", "study"]),
    "no format": (["PatientID=A", "--format", "xml"], ["xml", "json"]),
    "no limit": (["PatientID=A", "--limit", "many"], ["limit", "many"]),
    "a limit of nothing": (["PatientID=A", "--limit", "-1"], ["limit"]),
    "since what": (["--since", "blargh"], ["since", "blargh"]),
    "before what": (["--before", "2019-02-30"], ["before", "2019-02-30"]),
    "since and a date": (["--since", "2019-01-01", "StudyDate="], ["since", "StudyDate"]),
    "before and a date": (["--before", "2019-01-01", "StudyDate=20190101"], ["before", "StudyDate"]),
    "since after before": (["--since", "2019-02-01", "--before", "2019-01-01"], ["since", "before"]),
    "no such file": (["--from", "nowhere.json"], ["nowhere.json"]),
    "no such table": (["--batch", "nowhere.csv"], ["nowhere.csv"]),
    "everything": ([], ["--assume-yes"]),
    "everything, with a star": (["PatientID=*"], ["--assume-yes"]),
    "everything, with a key to be returned": (["StudyDescription="], ["--assume-yes"]),
}


@pytest.mark.parametrize(("words", "said"), WRONG.values(), ids=list(WRONG))
def test_what_cannot_be_right_is_said_before_anybody_is_called(
    run: Command, words: list[str], said: list[str], tmp_path: Path
) -> None:
    with scripted() as server:
        refused(run("query", server.node, *words, cwd=tmp_path), server, *said)


@pytest.mark.parametrize("node", ["nobody", "a:b:c:d", "PACS@host:notaport"])
def test_a_node_that_cannot_be_is_said_so(run: Command, node: str) -> None:
    assert node in run("query", node, "PatientID=A").must(2).err


def test_a_misspelt_keyword_is_refused_whatever_stands_beside_it(run: Command) -> None:
    with scripted() as server:
        done = run("query", server.node, "PatientID=TestPat1", "SeriesDescripton=*MPRAGE*", "--assume-yes")
        refused(done, server, "SeriesDescripton", "SeriesDescription")


SAME = [
    "PatientID=TestPat2",
    "00100020=TestPat2",
    "0010,0020=TestPat2",
    "(0010,0020)=TestPat2",
    "PatientID=*2",
]


@pytest.mark.parametrize("key", SAME)
def test_a_key_is_a_keyword_or_a_tag(run: Command, served: Scripted, key: str) -> None:
    assert tally(run("query", served.node, key).must(0)) == (1, 1, 0, 0)


def test_a_value_may_hold_an_equals_sign(run: Command) -> None:
    with scripted(on_find=Matches()) as server:
        run("query", server.node, "StudyDescription=a=b").must(0)
        [sent] = asked(server)
    assert sent.StudyDescription == "a=b"


def test_a_key_may_be_in_a_sequence(run: Command) -> None:
    with scripted(on_find=Matches()) as server:
        run("query", server.node, "RequestAttributesSequence.ScheduledProcedureStepID=S7").must(0)
        sent = [one for one in asked(server) if one.QueryRetrieveLevel == "SERIES"]
        every = asked(server)
    assert sent or all(one.QueryRetrieveLevel == "STUDY" for one in every), (
        "asked from above, and nothing was there"
    )
    for one in sent:
        assert one.RequestAttributesSequence[0].ScheduledProcedureStepID == "S7"


def test_uids_may_be_a_list(run: Command, served: Scripted, base_set: Corpus) -> None:
    two = [base_set.uids[name] for name in ("TestPat1/20180530/02/001.dcm", "TestPat2/20190615/02/002.dcm")]
    done = run("query", served.node, "SOPInstanceUID=" + "\\".join(two)).must(0)
    assert uids(done) == set(two)


LEVEL_OF = {
    "PatientID=TestPat1": "study",
    "StudyDate=20190625": "study",
    "SeriesDescription=*MPRAGE*": "series",
    "Modality=MR": "series",
    "InstanceNumber=1": "image",
    "EchoTime=": "image",
}


@pytest.mark.parametrize(("key", "level"), LEVEL_OF.items())
def test_the_level_follows_from_the_keys(run: Command, served: Scripted, key: str, level: str) -> None:
    assert document(run("query", served.node, key, "--assume-yes").must(0))["level"] == level


# dates --------------------------------------------------------------------------------------------------------------

BOUNDS = {
    ("--since", "2019-06-15"): {"20190615", "20190625"},
    ("--since", "2019-06-16"): {"20190625"},
    ("--since", "20190616"): {"20190625"},
    ("--before", "2019-06-15"): {"20180530", "20190615"},
    ("--before", "2019-06-14"): {"20180530"},
    ("--since", "2019-06-15", "--before", "2019-06-15"): {"20190615"},
    ("--since", "2018-05-31", "--before", "2019-06-24"): {"20190615"},
    ("StudyDate=20190101-20191231",): {"20190615", "20190625"},
    ("StudyDate=-20181231",): {"20180530"},
    ("StudyDate=20190616-",): {"20190625"},
}


@pytest.mark.parametrize(("words", "dates"), BOUNDS.items(), ids=map(" ".join, BOUNDS))
@pytest.mark.parametrize("matched", [True, False], ids=["by the server", "by us"])
def test_both_ends_of_a_range_of_days_are_in_it(
    run: Command, base_set: Corpus, words: tuple[str, ...], dates: set[str], matched: bool
) -> None:
    files = [path for name, path in base_set.items() if "/14/" not in name]
    with archiving(files, unmatched=frozenset() if matched else frozenset({"StudyDate"})) as server:
        done = run("query", server.node, *words).must(0)
    assert {str(leaf["StudyDate"]) for leaf in leaves(done)} == dates


@pytest.mark.parametrize(
    ("words", "days"), [("14d", 14), ("3 weeks ago", 21), ("1 week ago", 7), ("yesterday", 1), ("today", 0)]
)
def test_a_day_may_be_told_from_today(run: Command, words: str, days: int) -> None:
    before = date.today()
    with scripted(on_find=Matches()) as server:
        run("query", server.node, "--since", words).must(0)
        [sent] = asked(server)
    allowed = {(day - timedelta(days)).strftime("%Y%m%d-") for day in (before, date.today())}
    assert str(sent.StudyDate) in allowed


# asking for everything ----------------------------------------------------------------------------------------------


def test_everything_is_given_to_who_says_that_it_is_meant(run: Command, served: Scripted) -> None:
    assert tally(run("query", served.node, "--assume-yes").must(0)) == (2, 3, 0, 0)
    assert tally(run("query", served.node, "--assume-yes", "--level", "image").must(0)) == (2, 3, 7, 12)


@contextmanager
def at_terminal(run: Command, *arguments: object) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The command with a terminal for all three of its streams, and our end of it."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "dcmflow", *map(str, arguments)],
        env=run.environment({}),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        yield process, ours
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def read_until(terminal: int, pattern: str) -> str:
    said = ""
    while not re.search(pattern, said):
        try:
            part = os.read(terminal, 65536)
        except OSError:
            part = b""
        assert part, f"it ended with: {said}"
        said += part.decode(errors="replace")
    return said


@pytest.mark.parametrize("answer", ["y", "n"])
def test_at_a_terminal_it_asks_whether_everything_is_meant(
    run: Command, served: Scripted, answer: str
) -> None:
    with at_terminal(run, "query", served.node) as (process, terminal):
        read_until(terminal, r"\?")
        assert served.whats == [], "it called before it had an answer"
        os.write(terminal, f"{answer}\n".encode())
        if answer == "y":
            read_until(terminal, "TestPat2")
            assert process.wait(15) == 0
        else:
            assert process.wait(15) != 0
            assert served.of("C-FIND-RQ") == []


# stdin --------------------------------------------------------------------------------------------------------------


def test_a_silent_stdin_that_stays_open_is_not_waited_for(run: Command, served: Scripted) -> None:
    reading, writing = os.pipe()
    try:
        done = run("query", served.node, "PatientID=TestPat1", stdin=reading).must(0)
        assert tally(done) == (1, 2, 0, 0)
        assert run("query", served.node, stdin=reading).must(2).out == ""
    finally:
        os.close(reading)
        os.close(writing)


def test_a_closed_stdin_is_no_trouble(run: Command, served: Scripted) -> None:
    closing = {"preexec_fn": lambda: os.close(0)}
    assert tally(run("query", served.node, "PatientID=TestPat1", **closing).must(0)) == (1, 2, 0, 0)
    refused(run("query", served.node, "--from", "-", "--level", "image", **closing), untouched(served))


def untouched(served: Scripted) -> Scripted:
    """Itself, as if nobody had called yet."""
    served.peer.received.all.clear()
    return served


GARBAGE = {
    "nothing": "",
    "text": "no JSON at all\n",
    "another document": '{"hello": "world"}',
    "a list": "[1, 2, 3]",
    "binary": "\x00\x01\x02",
}


@pytest.mark.parametrize("text", GARBAGE.values(), ids=list(GARBAGE))
def test_what_is_no_result_is_an_error_on_stdin_and_in_a_file(
    run: Command, text: str, tmp_path: Path
) -> None:
    with scripted() as server:
        refused(
            run("query", server.node, "--from", "-", "--level", "image", input=text),
            server,
            "stdin|standard input",
        )
        file = tmp_path / "result.json"
        file.write_text(text)
        refused(run("query", server.node, "--from", file, "--level", "image"), server, "result.json")


def test_a_result_that_is_cut_off_or_newer_is_an_error(run: Command, served: Scripted) -> None:
    whole = run("query", served.node, "PatientID=TestPat1").must(0).out
    later = json.dumps(json.loads(whole) | {"version": 99})
    served.peer.received.all.clear()
    for text, word in ((whole[: len(whole) // 2], "stdin|standard input"), (later, "99")):
        refused(run("query", served.node, "--from", "-", "--level", "image", input=text), served, word)


# refining -----------------------------------------------------------------------------------------------------------


def test_each_step_of_a_chain_refines_and_the_source_is_kept(
    run: Command, served: Scripted, tmp_path: Path
) -> None:
    first = run("query", served.node, "PatientID=TestPat1", "--level", "patient").must(0)
    second = run(
        "query", served.node, "--from", "-", "--level", "study", "StudyDate=20180530", input=first.out
    ).must(0)
    third = run(
        "query", served.node, "--from", "-", "--level", "series", "Modality=MR", input=second.out
    ).must(0)
    fourth = run("query", served.node, "--from", "-", "--level", "image", "SeriesNumber=2", input=third.out)
    assert [tally(done) for done in (first, second, third)] == [(1, 0, 0, 0), (1, 1, 0, 0), (1, 1, 3, 0)]
    assert tally(fourth.must(0)) == (1, 1, 1, 2)
    file = tmp_path / "second.json"
    file.write_text(second.out)
    again = run("query", served.node, "--from", file, "--level", "series", "Modality=MR").must(0)
    assert uids(again, "SeriesInstanceUID") == uids(third, "SeriesInstanceUID")
    for done in (first, second, third, again):
        assert served.node in json.dumps(document(done)["provenance"])


def test_refining_asks_for_nothing_else_than_what_was_found(run: Command, served: Scripted) -> None:
    first = run("query", served.node, "PatientID=TestPat2").must(0)
    served.peer.received.all.clear()
    done = run("query", served.node, "--from", "-", "--level", "image", input=first.out).must(0)
    assert tally(done) == (1, 1, 2, 4)
    for sent in asked(served):
        assert sent.get("PatientID") == "TestPat2" or sent.get("StudyInstanceUID") in uids(
            first, "StudyInstanceUID"
        )


def test_nothing_found_refines_to_nothing_and_never_to_everything(run: Command, served: Scripted) -> None:
    first = run("query", served.node, "PatientID=Nobody").must(0)
    assert tally(first) == (0, 0, 0, 0)
    done = run("query", served.node, "--from", "-", "--level", "image", input=first.out).must(0)
    assert tally(done) == (0, 0, 0, 0)


# tables -------------------------------------------------------------------------------------------------------------

TABLES = {
    "commas": "PatientID,StudyDate\nTestPat1,20180530\nNobody,20180530\n",
    "semicolons": "PatientID;StudyDate\nTestPat1;20180530\nNobody;20180530\n",
    "byte order mark": "\ufeffPatientID,StudyDate\r\nTestPat1,20180530\r\nNobody,20180530\r\n",
    "tags": '"0010,0020","00080020"\n"TestPat1","20180530"\n"Nobody","20180530"\n',
    "blank lines": "PatientID,StudyDate\n\nTestPat1,20180530\n\nNobody,20180530\n\n",
}


@pytest.mark.parametrize("text", TABLES.values(), ids=list(TABLES))
def test_a_table_is_one_query_a_row_and_each_row_is_accounted_for(
    run: Command, base_set: Corpus, text: str, tmp_path: Path
) -> None:
    files = [path for name, path in base_set.items() if "/14/" not in name]
    table = tmp_path / "wanted.csv"
    table.write_text(text, encoding="utf-8", newline="")
    with archiving(files) as server:
        done = run("query", server.node, "--batch", table).must(0)
    assert tally(done) == (1, 1, 0, 0)
    assert {leaf["StudyDate"] for leaf in leaves(done)} == {"20180530"}
    speaks_of(done.err, "Nobody|row 2|line [3-5]")


def test_keys_beside_a_table_hold_for_every_row(run: Command, served: Scripted, tmp_path: Path) -> None:
    table = tmp_path / "wanted.csv"
    table.write_text("PatientID\nTestPat1\nTestPat2\n")
    done = run("query", served.node, "--batch", table, "StudyDescription=Head 2019").must(0)
    assert tally(done) == (2, 2, 0, 0)


def test_a_row_that_fails_leaves_the_others(run: Command, base_set: Corpus, tmp_path: Path) -> None:
    holdings = Holdings(base_set.paths)

    def find(exchange: Exchange) -> Any:
        return Answer(0xC000, "no") if exchange.dataset().PatientID == "TestPat1" else holdings.find(exchange)

    table = tmp_path / "wanted.csv"
    table.write_text("PatientID\nTestPat1\nTestPat2\n")
    with scripted(on_find=find) as server:
        done = run("query", server.node, "--batch", table).must(1)
    assert uids(done, "PatientID") == {"TestPat2"}
    speaks_of(done.err, "TestPat1|row 1|line 2", "C000")


BAD_TABLES = {
    "empty": ("", []),
    "a header alone": ("PatientID,StudyDate\n", []),
    "an unknown column": ("PatientIdd,StudyDate\nTestPat1,20180530\n", ["PatientIdd", "PatientID"]),
    "a value too many": ("PatientID,StudyDate\nTestPat1,20180530,7\n", ["2|1"]),
    "a row that asks for everything": ("PatientID,StudyDate\nTestPat1,20180530\n,\n", ["3|2"]),
    "a date that is none": ("PatientID,StudyDate\nTestPat1,someday\n", ["someday"]),
}


@pytest.mark.parametrize(("text", "said"), BAD_TABLES.values(), ids=list(BAD_TABLES))
def test_a_table_that_cannot_be_right_is_an_error_before_anybody_is_called(
    run: Command, text: str, said: list[str], tmp_path: Path
) -> None:
    table = tmp_path / "wanted.csv"
    table.write_text(text)
    with scripted() as server:
        refused(run("query", server.node, "--batch", table), server, "wanted.csv", *said)


# stdout and stderr --------------------------------------------------------------------------------------------------

TREE = re.compile("[│├└─]")


def test_a_pipe_gets_json_and_no_colours_and_a_terminal_a_tree(run: Command, served: Scripted) -> None:
    done = run("query", served.node, "PatientID=TestPat*").must(0)
    document(done)
    assert "\x1b" not in done.out + done.err
    shown = on_terminal(["query", served.node, "PatientID=TestPat*"], run.environment({}))
    assert shown.code == 0
    assert TREE.search(shown.out)
    assert not shown.out.lstrip().startswith("{")
    for word in ("TestPat1", "TestPat2", "Head 2018", "Head 2019"):
        assert word in shown.out


def test_the_tree_is_sorted_and_has_its_totals(run: Command, base_set: Corpus) -> None:
    with archiving(base_set.paths[::-1], counts=True) as server:
        out = run("query", server.node, "--assume-yes", "--level", "series", "--format", "tree").must(0).out
    assert out.index("TestPat1") < out.index("TestPat2")
    assert out.index("Head 2018") < out.index("t2 tse tra"), "studies are sorted by their date"
    order = [out.index(words) for words in ("Accelerated Sagittal MPRAGE", "Phoenix report", "t2 tse tra")]
    assert order == sorted(order), "series are sorted by their number"
    speaks_of(out, "2 patients", "3 studies", "7 series")


@pytest.mark.parametrize("level", ["patient", "study", "series"])
def test_counts_that_nobody_told_are_unknown_and_not_zero(run: Command, base_set: Corpus, level: str) -> None:
    line = ["--assume-yes", "--level", level, "--format", "tree"]
    with archiving(base_set.paths) as server:
        unknown = run("query", server.node, *line).must(0).out
    assert "?" in unknown
    assert not re.search(r"\b0 (images|series|studies|instances)", unknown)
    with archiving(base_set.paths, counts=True) as server:
        known = run("query", server.node, *line).must(0).out
    assert re.search(r"\b12\b|\b[2578] (images|instances)\b", known)


def test_each_format_has_the_same_leaves(run: Command, served: Scripted) -> None:
    line = ["query", served.node, "--assume-yes", "--level", "image"]
    wanted = uids(run(*line, "--format", "json").must(0))
    assert len(wanted) == 12
    lines = rows(run(*line, "--format", "ndjson").must(0))
    assert {row["SOPInstanceUID"] for row in lines} == wanted
    assert {row["PatientID"] for row in lines} == {"TestPat1", "TestPat2"}
    table = list(csv.DictReader(io.StringIO(run(*line, "--format", "csv").must(0).out)))
    assert {row["SOPInstanceUID"] for row in table} == wanted
    assert {row["StudyDescription"] for row in table} == {"Head 2018", "Head 2019"}


def test_a_normal_query_says_nothing_but_its_result(run: Command, served: Scripted) -> None:
    done = run("query", served.node, "PatientID=TestPat1", "--quiet").must(0)
    assert done.err == ""
    assert "warning" not in run("query", served.node, "PatientID=TestPat1").must(0).err.lower()


def test_nothing_found_is_a_result_and_no_failure(run: Command, served: Scripted) -> None:
    done = run("query", served.node, "PatientID=Nobody").must(0)
    assert tally(done) == (0, 0, 0, 0)
    out = run("query", served.node, "PatientID=Nobody", "--format", "tree").must(0).out
    assert not TREE.search(out)


def test_a_reader_of_stdout_that_goes_away_is_no_traceback(run: Command, base_set: Corpus) -> None:
    def many() -> Iterator[Dataset]:
        for number in range(5000):
            ds = Dataset()
            ds.PatientID, ds.StudyInstanceUID, ds.StudyDescription = "A", f"2.25.{number}", "x" * 64
            yield ds

    with scripted(on_find=Matches(many())) as server:
        process = run.start("query", server.node, "PatientID=A", "--format", "ndjson")
        assert process.stdout is not None
        assert process.stderr is not None
        with process:
            process.stdout.readline()
            process.stdout.close()
            said = process.stderr.read().decode()
            process.wait(15)
    assert "Traceback" not in said


def test_the_answers_carry_where_they_come_from_and_what_was_asked(run: Command, served: Scripted) -> None:
    [said] = document(run("query", served.node, "PatientID=TestPat1", "--level", "series").must(0))[
        "provenance"
    ]
    assert said["source"].endswith(served.node)
    assert said["query"]["PatientID"] == "TestPat1"
    assert said["level"] == "series"
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d.*([+-]\d\d:?\d\d|Z)$", said["when"])


def test_values_of_upper_levels_stand_once(run: Command, served: Scripted) -> None:
    done = run("query", served.node, "--assume-yes", "--level", "image").must(0)
    assert [depth for depth, _ in entities(done)].count(0) == 2
    assert done.out.count('"PatientName"') == 2


# sending, and looking whether it is there ---------------------------------------------------------------------------


def test_send_verifies_by_asking_the_archive(run: Command, base_set: Corpus) -> None:
    """An archive that says Success and has nothing afterwards is found out."""
    files = base_set.paths[:3]
    with archiving(base_set.paths) as honest:
        run("send", honest.node, *files, "--verify", "--quiet").must(0)
        assert honest.of("C-FIND-RQ")
    with archiving(base_set.paths[:2]) as forgetful:
        done = run("send", forgetful.node, *files, "--verify").must(1)
    assert base_set.uids[list(base_set)[2]] in done.err + done.out
