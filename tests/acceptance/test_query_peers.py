"""`dcmflow query` and archives that answer wrongly, too much, too late or not at all."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

import corpus
from acceptance_kit import Command
from acceptance_query import (
    FIND,
    LEVELS,
    PATIENT_ROOT,
    PATIENT_STUDY,
    STUDY_ROOT,
    Holdings,
    archiving,
    asked,
    ended,
    files_of,
    held,
    leaves,
    most_at_once,
    rows,
    speaks_of,
    tally,
    uids,
    value_of,
)
from acceptance_wire import scripted, serving, wait_for
from corpus import Corpus
from dcmflow.testing import AbortNow, Accept, Answer, CloseNow, Exchange, Matches, Reject, Silence, Wait
from dcmflow.testing.peer_dataset import encoded
from peers.base import HOST, free_port

IMPLICIT = "1.2.840.10008.1.2"


def study(number: int, **elements: Any) -> Dataset:
    """An answer at study level; None leaves an element out."""
    ds = Dataset()
    ds.QueryRetrieveLevel = "STUDY"
    ds.PatientID, ds.PatientName = f"P{number}", f"Name{number}"
    ds.StudyInstanceUID, ds.StudyDate, ds.StudyDescription = f"2.25.{number}", "20190625", f"Study {number}"
    for keyword, value in elements.items():
        if value is None:
            del ds[keyword]
        else:
            setattr(ds, keyword, value)
    return ds


def studies(*numbers: int) -> list[Dataset]:
    return [study(number) for number in numbers]


def found(done: Any) -> set[str]:
    return uids(done, "StudyInstanceUID")


def names(*numbers: int) -> set[str]:
    return {f"2.25.{number}" for number in numbers}


ALL = ("StudyInstanceUID=", "--assume-yes")


# answers that are not as they should be -----------------------------------------------------------------------------


def test_an_answer_without_a_patient_id_is_kept_and_marked_and_the_others_with_it(run: Command) -> None:
    answers = [study(1), study(2, PatientID=None), study(3)]
    with scripted(on_find=Matches(answers)) as server:
        done = run("query", server.node, *ALL).must(1)
    assert found(done) == names(1, 2, 3)
    speaks_of(done.err, "incomplete|PatientID", "1 ")


@pytest.mark.parametrize("uid", [None, ""], ids=["none", "empty"])
def test_an_answer_without_its_own_uid_is_listed_as_invalid_and_the_others_are_kept(
    run: Command, uid: str | None
) -> None:
    answers = [study(1), study(2, StudyInstanceUID=uid), study(3)]
    with scripted(on_find=Matches(answers)) as server:
        done = run("query", server.node, *ALL).must(1)
    assert found(done) == names(1, 3)
    speaks_of(done.err, "invalid|StudyInstanceUID")


def test_an_answer_twice_is_one_record_and_counted_whatever_the_order(run: Command) -> None:
    with scripted(on_find=Matches(studies(1, 2, 1, 3, 2, 1))) as server:
        done = run("query", server.node, *ALL).must(0)
    assert len(leaves(done)) == 3
    assert found(done) == names(1, 2, 3)
    speaks_of(done.err, r"\b3\b", "duplicate|repeat|twice|again")


def test_the_order_of_answers_does_not_show(run: Command) -> None:
    said = []
    for order in ((1, 2, 3, 4), (3, 1, 4, 2)):
        with scripted(on_find=Matches(studies(*order))) as server:
            said.append(leaves(run("query", server.node, *ALL).must(0)))
    assert said[0] == said[1]


BROKEN = {
    "cut": encoded(study(9), IMPLICIT)[:-5],
    "a length that runs past its end": b"\x20\x00\x0d\x00\xff\xff\x00\x002.25.9",
    "noise": b"\xff" * 33,
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=list(BROKEN))
def test_one_answer_that_cannot_be_read_does_not_end_the_query(run: Command, data: bytes) -> None:
    with scripted(on_find=Matches([study(1), data, study(2)])) as server:
        done = run("query", server.node, *ALL).must(1)
    assert found(done) >= names(1, 2)
    assert found(done) <= names(1, 2, 9)
    speaks_of(done.err, "answer|response", "read|invalid|malformed|incomplete")


def test_a_pending_answer_without_an_identifier_does_not_end_the_query(run: Command) -> None:
    script = (
        Answer(0xFF00, data=study(1)),
        Answer(0xFF00),
        Answer(0xFF01, data=study(2)),
        Answer(0),
    )
    with scripted(on_find=script) as server:
        done = run("query", server.node, *ALL)
    assert done.readable().code in (0, 1)
    assert found(done) == names(1, 2)


@pytest.mark.parametrize("status", [0xA700, 0xA900, 0xC001])
def test_a_failure_after_three_answers_keeps_them_and_tells_status_and_comment(
    run: Command, status: int
) -> None:
    with scripted(on_find=Matches(studies(1, 2, 3), final=Answer(status, "tape robot is jammed"))) as server:
        done = run("query", server.node, *ALL).must(1)
    assert found(done) == names(1, 2, 3)
    speaks_of(done.err, f"{status:04X}", "tape robot is jammed", re.escape(server.node))


def test_a_failure_at_once_is_no_empty_result(run: Command) -> None:
    with scripted(on_find=Answer(0xA700, "tape robot is jammed")) as server:
        done = run("query", server.node, *ALL)
    assert done.readable().code in (1, 3), done
    speaks_of(done.err, "A700", "tape robot is jammed")


@pytest.mark.parametrize("end", [AbortNow(), AbortNow(close=True), CloseNow(), CloseNow(reset=True)], ids=str)
def test_an_end_of_the_association_keeps_what_came_and_is_an_error(run: Command, end: Any) -> None:
    with scripted(on_find=Matches(studies(1, 2, 3), final=end)) as server:
        done = run("query", server.node, *ALL).must(1)
    if not getattr(end, "reset", False):  # a reset may overtake what was sent before
        assert found(done) == names(1, 2, 3)
    speaks_of(done.err, re.escape(server.node), "abort|closed|reset|lost")


def test_a_server_that_falls_silent_costs_no_more_than_the_timeout(run: Command) -> None:
    with scripted(on_find=Matches(studies(1, 2), final=Silence())) as server:
        done = run("query", server.node, *ALL, "--timeout", "300 ms").must(1)
    assert found(done) == names(1, 2)
    speaks_of(done.err, re.escape(server.node), "did not answer")


def test_a_server_that_is_not_there_or_wants_nothing_of_us_is_nothing_tried(run: Command) -> None:
    node = f"PACS@{HOST}:{free_port()}"
    done = run("query", node, *ALL).must(3)
    assert f"{node} cannot be reached: connection refused" in done.err
    with scripted(accept=Reject(1, 1, 7)) as server:
        done = run("query", server.node, *ALL).must(3)
    speaks_of(done.err, "called AE title not recognized", "check the called AE title")
    with scripted(accept=Reject(1, 1, 3)) as server:
        done = run("query", server.node, *ALL, "--calling-ae", "STRANGER").must(3)
    speaks_of(done.err, "calling AE title not recognized", "STRANGER")


@pytest.mark.parametrize("how", ["at the request", "at the query"])
def test_an_abort_before_any_answer_hints_that_we_may_have_to_be_registered(run: Command, how: str) -> None:
    script = {"accept": AbortNow()} if how == "at the request" else {"on_find": AbortNow()}
    with scripted(**script) as server:
        done = run("query", server.node, *ALL, "--calling-ae", "STRANGER")
    assert done.readable().code in (1, 3)
    speaks_of(done.err, "abort", "register", "STRANGER")


# servers that ignore what they are asked ----------------------------------------------------------------------------


def test_a_key_that_the_server_does_not_match_is_matched_by_us(run: Command, base_set: Corpus) -> None:
    with archiving(
        base_set.paths, unmatched=frozenset({"PatientID", "StudyDate", "StudyDescription"})
    ) as server:
        done = run("query", server.node, "PatientID=TestPat2").must(0)
        assert {leaf["PatientID"] for leaf in leaves(done)} == {"TestPat2"}
        assert tally(run("query", server.node, "StudyDate=20190601-20190620").must(0))[1] == 1
        assert tally(run("query", server.node, "StudyDescription=Head 2018").must(0))[1] == 1
        assert tally(run("query", server.node, "PatientID=Test*1").must(0))[1] == 2
        assert tally(run("query", server.node, "PatientID=Nobody").must(0)) == (0, 0, 0, 0)


@pytest.mark.parametrize("quirk", ["ignores", "blank"])
def test_a_key_that_the_server_does_not_know_gives_nothing_and_a_warning_and_never_everything(
    run: Command, base_set: Corpus, quirk: str
) -> None:
    with archiving(base_set.paths, **{quirk: frozenset({"SeriesDescription"})}) as server:
        done = run("query", server.node, "SeriesDescription=*MPRAGE*")
    assert done.readable().code in (0, 1)
    assert tally(done)[2] == 0
    speaks_of(done.err, "SeriesDescription", "--fetch-example")


@pytest.mark.parametrize("quirk", ["ignores", "blank"])
def test_one_image_of_each_series_decides_where_the_server_cannot(
    run: Command, base_set: Corpus, quirk: str
) -> None:
    """Over the same association (C-GET): no port of ours is needed."""
    with archiving(base_set.paths, **{quirk: frozenset({"SeriesDescription"})}) as server:
        done = run("query", server.node, "SeriesDescription=*MPRAGE*", "--fetch-example").must(0)
    [series] = leaves(done)
    assert series["SeriesInstanceUID"] == value_of(
        files_of(base_set, "TestPat1/20180530/02")[0], "SeriesInstanceUID"
    )


def test_a_key_to_be_returned_that_the_server_does_not_know_is_listed_and_leaves_the_rest_alone(
    run: Command, base_set: Corpus
) -> None:
    with archiving(base_set.paths, ignores=frozenset({"EchoTime"})) as server:
        done = run("query", server.node, "PatientID=TestPat2", "EchoTime=")
    assert done.readable().code in (0, 1)
    assert tally(done) == (1, 1, 2, 4)
    speaks_of(done.err + done.out, "EchoTime")
    with archiving(base_set.paths) as server:
        done = run("query", server.node, "PatientID=TestPat2", "EchoTime=").must(0)
    assert sorted(float(leaf["EchoTime"]) for leaf in leaves(done)) == [2.46, 2.46, 2.46, 4.25]


def test_unknown_keys_of_the_answers_are_in_the_document(run: Command) -> None:
    """What a server adds unasked is kept: it was returned."""
    with scripted(on_find=Matches([study(1, InstitutionName="Ward 7")])) as server:
        [leaf] = leaves(run("query", server.node, *ALL).must(0))
    assert leaf["InstitutionName"] == "Ward 7"


@pytest.mark.parametrize("format", ["json", "ndjson", "csv", "tree"])
def test_nothing_is_lost_for_lack_of_an_element(run: Command, holes_set: Corpus, format: str) -> None:
    """Objects without PatientID, PatientName, StudyDate, SeriesNumber, InstanceNumber or Modality."""
    with archiving([holes_set[name] for name in holes_set.readable]) as server:
        done = run("query", server.node, "--assume-yes", "--level", "image", "--format", format)
    assert done.readable().code in (0, 1)
    wanted = set(holes_set.uids.values())
    if format == "json":
        assert uids(done) == wanted
    elif format == "ndjson":
        assert {row["SOPInstanceUID"] for row in rows(done)} == wanted
    elif format == "csv":
        assert all(uid in done.out for uid in wanted)
    else:
        speaks_of(done.out, f"{len(wanted)} (images|instances)")


# names in other scripts ---------------------------------------------------------------------------------------------

YAMADA = "Yamada^Tarou=山田^太郎=やまだ^たろう"


def people(*, latin: bool = False) -> list[Dataset]:
    """Four persons, as a server answers who ignores PatientName: Yamada in kanji, others."""
    yamada = study(1, SpecificCharacterSet="ISO_IR 192", PatientName=YAMADA)
    kanji = study(2, SpecificCharacterSet=["", "ISO 2022 IR 87"], PatientName="Suzuki^Hanako=鈴木^花子")
    german = study(3, SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jürgen")
    plain = study(4, PatientName="Doe^Jane")
    if latin:  # what a server makes of it that answers in Latin-1
        yamada = study(1, SpecificCharacterSet="ISO_IR 100", PatientName="Yamada^Tarou=^=^")
        kanji = study(2, SpecificCharacterSet="ISO_IR 100", PatientName="Suzuki^Hanako=^")
    return [yamada, kanji, german, plain]


@pytest.mark.parametrize(
    ("pattern", "number"),
    [("*山田*", 1), ("*太郎", 1), ("*鈴木*", 2), ("Müller*", 3), ("M?ller^J?rgen", 3), ("Doe*", 4)],
)
def test_a_name_that_is_not_ascii_matches_that_person_only(run: Command, pattern: str, number: int) -> None:
    with scripted(on_find=Matches(people())) as server:
        done = run("query", server.node, f"PatientName={pattern}").must(0)
        [sent] = asked(server)
    assert found(done) == names(number)
    assert str(sent.PatientName) == pattern
    if not pattern.isascii():
        assert sent.SpecificCharacterSet == "ISO_IR 192"


def test_a_node_may_want_another_character_set(run: Command, tmp_path: Path) -> None:
    settings = tmp_path / "settings.toml"
    with scripted(on_find=Matches(people())) as server:
        settings.write_text(f'[nodes.old]\naddress = "{server.node}"\ncharacter-set = "ISO_IR 100"\n')
        done = run("query", "old", "PatientName=Müller*", "--config", settings).must(0)
        [seen] = server.of("C-FIND-RQ")
        refused = run("query", "old", "PatientName=*山田*", "--config", settings).must(2)
        assert len(server.of("C-FIND-RQ")) == 1, "what cannot be written is not sent as something else"
    assert found(done) == names(3)
    assert b"ISO_IR 100" in (seen.data or b"")
    assert "Müller".encode("latin-1") in (seen.data or b"")
    speaks_of(refused.err, "山田", "ISO_IR 100")


def test_names_that_the_server_lost_are_not_taken_for_matches(run: Command) -> None:
    with scripted(on_find=Matches(people(latin=True))) as server:
        done = run("query", server.node, "PatientName=*山田*")
    assert done.readable().code in (0, 1)
    assert found(done) == set()
    speaks_of(done.err, "PatientName")


def test_names_come_out_as_they_were_meant(run: Command) -> None:
    with scripted(on_find=Matches(people())) as server:
        done = run("query", server.node, *ALL).must(0)
    assert {leaf["PatientName"] for leaf in leaves(done)} == {
        YAMADA,
        "Suzuki^Hanako=鈴木^花子",
        "Müller^Jürgen",
        "Doe^Jane",
    }


def test_nothing_that_a_server_answers_moves_the_cursor(run: Command) -> None:
    evil = study(1, SpecificCharacterSet="ISO_IR 192", StudyDescription="\x1b[31mred\r\n\x07")
    with scripted(on_find=Matches([evil])) as server:
        for format in ("tree", "csv"):
            done = run("query", server.node, *ALL, "--format", format)
            assert done.readable().code in (0, 1)
            assert not re.search(r"[\x00-\x08\x0b-\x0c\x0e-\x1f\x7f]", done.out + done.err), done


# many answers -------------------------------------------------------------------------------------------------------


def endless() -> Iterator[Dataset]:
    """Fat answers without end."""
    for number in count(1):
        yield study(number, StudyDescription=f"{number:064d}", PatientComments=f"{number:08000d}")


def resident(pid: int) -> int:
    """Bytes of memory that a process has now."""
    text = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(text.partition("VmRSS:")[2].split()[0])


def lines_in(path: Path) -> int:
    return path.read_bytes().count(b"\n")


@pytest.mark.timeout(60)
def test_lines_come_as_the_answers_do_in_bounded_memory_and_an_interrupt_cancels(run: Command) -> None:
    with (
        scripted(on_find=Matches(endless())) as server,
        serving(run, "query", server.node, *ALL, "--format", "ndjson") as service,
    ):
        wait_for(lambda: lines_in(service.out) > 500, "no line came while the server went on")
        before = resident(service.process.pid)
        wait_for(lambda: lines_in(service.out) > 3000, "it is too slow")
        assert resident(service.process.pid) - before < 12 << 20  # the answers alone have 20 MB
        service.interrupt()
        ended(server)
        done = service.ended().must(130)
    numbers = [row["StudyInstanceUID"] for row in rows(done)]
    assert len(numbers) > 3000
    assert numbers == [f"2.25.{number}" for number in range(1, len(numbers) + 1)]


def test_an_interrupt_gives_a_whole_document_of_what_has_come(run: Command) -> None:
    with (
        scripted(on_find=Matches(studies(1, 2), final=(Wait("C-CANCEL-RQ"), Answer(0xFE00)))) as server,
        serving(run, "query", server.node, *ALL) as service,
    ):
        server.wait("C-FIND-RQ")
        service.interrupt()
        ended(server)
        done = service.ended().must(130)
    if done.out:
        assert found(done) <= names(1, 2)


def test_a_server_that_does_not_heed_the_cancel_does_not_hold_us(run: Command) -> None:
    with (
        scripted(on_find=Matches(endless(), heed_cancel=False)) as server,
        serving(run, "query", server.node, *ALL, "--format", "ndjson") as service,
    ):
        wait_for(lambda: lines_in(service.out) > 10)
        service.interrupt()
        ended(server)
        rows(service.ended().must(130))


def test_a_second_interrupt_ends_at_once(run: Command) -> None:
    with (
        scripted(on_find=Matches(studies(1), final=Silence()), on_cancel=Silence()) as server,
        serving(run, "query", server.node, *ALL) as service,
    ):
        server.wait("C-FIND-RQ")
        service.interrupt()
        server.wait("C-CANCEL-RQ", "A-ABORT")
        if service.process.poll() is None:
            service.interrupt(signal.SIGINT)
        service.ended().must(130)


def test_no_more_than_the_limit_is_taken_and_the_server_is_told_so(run: Command) -> None:
    with scripted(on_find=Matches(endless())) as server:
        done = run("query", server.node, *ALL, "--limit", 7, "--format", "ndjson").must(0)
        ended(server)
    assert len(rows(done)) == 7
    with scripted(on_find=Matches(studies(1, 2, 3))) as server:
        assert len(leaves(run("query", server.node, *ALL, "--limit", 2).must(0))) == 2
        assert len(leaves(run("query", server.node, *ALL, "--limit", 3).must(0))) == 3


def test_a_limit_counts_what_matches_and_not_what_was_answered(run: Command) -> None:
    answers = [study(number, PatientID="B" if number % 2 else "A") for number in range(1, 9)]
    with scripted(on_find=Matches(answers)) as server:
        done = run("query", server.node, "PatientID=A", "--limit", 3).must(0)
    assert found(done) == names(2, 4, 6)


# models and levels --------------------------------------------------------------------------------------------------


def only(*models: str) -> Accept:
    """Accepts query and retrieve in some information models alone."""
    every = (PATIENT_ROOT, STUDY_ROOT, PATIENT_STUDY)
    refused = [model + service for model in every if model not in models for service in (".1", ".2", ".3")]
    return Accept(refuse=dict.fromkeys(refused, 3))


WANTED = {"patient": (1, 0, 0, 0), "study": (1, 2, 0, 0), "series": (1, 2, 5, 0), "image": (1, 2, 5, 8)}


@pytest.mark.parametrize("level", WANTED)
@pytest.mark.parametrize("model", [STUDY_ROOT, PATIENT_ROOT], ids=["study root", "patient root"])
def test_whichever_root_a_server_has_each_level_can_be_asked_for(
    run: Command, base_set: Corpus, level: str, model: str
) -> None:
    with archiving(base_set.paths, accept=only(model), strict=True) as server:
        done = run("query", server.node, "PatientID=TestPat1", "--level", level).must(0)
        models = {seen.abstract_syntax for seen in server.of("C-FIND-RQ")}
    assert tally(done) == WANTED[level]
    assert models == {model + FIND}


def test_a_server_with_patients_and_studies_only_says_so_for_what_is_below(
    run: Command, base_set: Corpus
) -> None:
    with archiving(base_set.paths, accept=only(PATIENT_STUDY)) as server:
        for level in ("patient", "study"):
            done = run("query", server.node, "PatientID=TestPat1", "--level", level).must(0)
            assert tally(done) == WANTED[level]
        for level in ("series", "image"):
            done = run("query", server.node, "PatientID=TestPat1", "--level", level)
            assert done.readable().code in (1, 3)
            speaks_of(done.err, level, re.escape(server.node))


def test_a_server_without_any_query_model_is_named(run: Command) -> None:
    with scripted(accept=only()) as server:
        done = run("query", server.node, *ALL).must(3)
    speaks_of(done.err, re.escape(server.node), "does not accept|presentation context", "quer")


# a hierarchy of keys ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [STUDY_ROOT, PATIENT_ROOT], ids=["study root", "patient root"])
@pytest.mark.parametrize(
    "keys", [["AccessionNumber=ACC20180530"], ["PatientID=TestPat1", "StudyDate=20180530"]]
)
def test_upper_keys_are_looked_up_for_a_server_that_needs_them(
    run: Command, base_set: Corpus, model: str, keys: list[str]
) -> None:
    with archiving(base_set.paths, strict=True, accept=only(model)) as server:
        done = run("query", server.node, *keys, "--level", "image").must(0)
    wanted = held(files_of(base_set, "TestPat1/20180530"))
    if "AccessionNumber" in keys[0]:
        assert uids(done) == wanted
    assert uids(done) >= wanted - held(files_of(base_set, "TestPat1/20180530/14"))


def test_an_image_by_its_uid_alone_is_found_by_a_server_that_needs_all_keys(
    run: Command, base_set: Corpus
) -> None:
    wanted = base_set.uids["TestPat2/20190615/02/002.dcm"]
    with archiving(base_set.paths, strict=True) as server:
        done = run("query", server.node, f"SOPInstanceUID={wanted}", timeout=20).must(0)
    assert uids(done) == {wanted}
    assert tally(done) == (1, 1, 1, 1)


def test_keys_of_lower_levels_are_not_asked_of_upper_ones(run: Command, base_set: Corpus) -> None:
    """A server that matches nothing when it gets one is none the wiser."""
    with archiving(base_set.paths, strict=True) as server:
        done = run(
            "query", server.node, "PatientID=TestPat1", "SeriesDescription=*MPRAGE*", "InstanceNumber=2"
        ).must(0)
        for sent in asked(server):
            depth = LEVELS.index(sent.QueryRetrieveLevel)
            assert not (depth < 3 and "InstanceNumber" in sent), sent
            assert not (depth < 2 and "SeriesDescription" in sent), sent
    assert uids(done) == held(files_of(base_set, "TestPat1/20180530/02"), InstanceNumber="2")


def test_conditions_of_upper_levels_hold_for_lower_ones(run: Command, base_set: Corpus) -> None:
    with archiving(base_set.paths, strict=True) as server:
        done = run("query", server.node, "StudyDescription=Head 2018", "Modality=MR", "SeriesNumber=2").must(
            0
        )
    assert {leaf["SeriesDescription"] for leaf in leaves(done)} == {"Accelerated Sagittal MPRAGE"}


@pytest.fixture(scope="module")
def forty(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Forty studies of two series with one image each."""
    made = Corpus(tmp_path_factory.mktemp("forty"))
    for number in range(40):
        for series in (1, 2):
            made.save(
                f"{number}-{series}.dcm",
                corpus.mr(
                    side=2,
                    patient="FORTY",
                    StudyInstanceUID=corpus.uid("forty", number),
                    SeriesInstanceUID=corpus.uid("forty", number, series),
                    SOPInstanceUID=corpus.uid("forty", number, series, 1),
                    SeriesNumber=series,
                ),
            )
    return made


@pytest.mark.timeout(60)
@pytest.mark.parametrize("strict", [False, True], ids=["lenient", "strict"])
def test_many_studies_are_asked_over_few_associations(run: Command, forty: Corpus, strict: bool) -> None:
    with archiving(forty.paths, strict=strict) as server:
        done = run("query", server.node, "PatientID=FORTY", "--level", "image", timeout=40).must(0)
        associations, most = len(server.of("A-ASSOCIATE-RQ")), most_at_once(server)
    assert tally(done) == (1, 40, 80, 80)
    assert associations <= 4
    assert most <= 4


@pytest.mark.timeout(60)
def test_no_more_associations_than_the_node_allows(run: Command, forty: Corpus, tmp_path: Path) -> None:
    with archiving(forty.paths, strict=True) as server:
        settings = tmp_path / "settings.toml"
        settings.write_text(f'[nodes.small]\naddress = "{server.node}"\nmax-associations = 1\n')
        line = ["query", "small", "PatientID=FORTY", "--level", "image", "--config", settings]
        assert tally(run(*line, timeout=40).must(0)) == (1, 40, 80, 80)
        assert most_at_once(server) == 1


def test_one_failed_part_of_a_query_leaves_the_others(run: Command, forty: Corpus) -> None:
    """A strict server that cannot say what one study holds: all the others are there, and the exit code tells."""
    bad = corpus.uid("forty", 7)

    def failing(find: Callable[[Exchange], Any]) -> Callable[[Exchange], Any]:
        def script(exchange: Exchange) -> Any:
            sent = exchange.dataset()
            is_bad = sent.QueryRetrieveLevel == "SERIES" and sent.get("StudyInstanceUID") == bad
            return Answer(0xC000, "index is broken") if is_bad else find(exchange)

        return script

    find = failing(Holdings(forty.paths, strict=True).find)
    with scripted(on_find=find) as server:
        done = run("query", server.node, "PatientID=FORTY", "--level", "series").must(1)
    assert len(uids(done, "SeriesInstanceUID")) == 78
    speaks_of(done.err, "C000", "index is broken")
