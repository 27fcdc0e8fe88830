"""Retrieving into a pipeline from archives that send too little, too much, something else, too late, or stop in the middle."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pydicom
import pytest
from anyio.from_thread import BlockingPortal
from msgspec.structs import replace
from pydicom.dataset import Dataset

import corpus
from acceptance_kit import FLAT, Command, digests, everything, pipeline_file, report, visible
from acceptance_query import (
    GET,
    MOVE,
    PATIENT_ROOT,
    PATIENT_STUDY,
    STUDY,
    STUDY_ROOT,
    Holdings,
    archiving,
    asked,
    files_of,
    final,
    got,
    held,
    most_at_once,
    retrieving,
    script,
    sendable,
    speaks_of,
    sub_operations,
    value_of,
)
from acceptance_wire import BOTH_LOOPS, Caller, calling, dcmftest, serving, wait_for
from corpus import Corpus
from dcmflow.testing import (
    Accept,
    Answer,
    Encoded,
    Exchange,
    Later,
    SendTo,
    Wait,
    instance,
)
from peers.base import HOST, Address
from wire_data import small_series, uid_of

MODELS = (PATIENT_ROOT, STUDY_ROOT, PATIENT_STUDY)
BOTH_METHODS = pytest.mark.parametrize("method", ["move", "get"])


@pytest.fixture
def four(base_set: Corpus) -> list[Path]:
    """The four files of the study that is asked for."""
    return files_of(base_set, "TestPat2")


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A file of somebody else."""
    path = tmp_path / "foreign.dcm"
    path.write_bytes(corpus.part10(corpus.mr(patient="STRANGER")))
    return path


def refusing(service: str) -> Accept:
    """Accepts associations, and no context for this service."""
    return Accept(refuse={model + service: 3 for model in MODELS})


# as it should be ----------------------------------------------------------------------------------------------------


@BOTH_LOOPS
@BOTH_METHODS
def test_what_was_asked_for_comes_byte_by_byte_and_nothing_else(
    run: Command,
    base_set: Corpus,
    four: list[Path],
    at: Address,
    method: str,
    backend: str,
    dcmtk: Callable[[str], str],
    tmp_path: Path,
) -> None:
    with archiving(base_set.paths, to=at) as server:
        file = retrieving(tmp_path, server.node, STUDY, at, method=method)
        run("run", file, "--backend", backend, "--report", tmp_path / "r.json").must(0)
    assert digests(visible(tmp_path / "out")) == digests(four)
    dcmftest(dcmtk, visible(tmp_path / "out"))
    figures = report(tmp_path / "r.json")["pipeline"]
    assert figures["emitted"] == figures["accepted"] == 4


@BOTH_METHODS
def test_a_private_class_comes_as_any_other(
    run: Command, base_set: Corpus, at: Address, method: str, tmp_path: Path
) -> None:
    wanted = files_of(base_set, "TestPat1/20180530")
    query = {"StudyInstanceUID": corpus.uid("BASE", "TestPat1", "20180530")}
    with archiving(base_set.paths, to=at) as server:
        run("run", retrieving(tmp_path, server.node, query, at, method=method)).must(0)
    assert digests(visible(tmp_path / "out")) == digests(wanted)


@BOTH_METHODS
def test_compressed_objects_come_as_they_are(
    run: Command, comp_set: Corpus, at: Address, method: str, tmp_path: Path
) -> None:
    """Nobody is made to decompress what has been compressed."""
    files = [path for name, path in comp_set.items() if name != "big-endian.dcm"]
    with archiving(files, to=at) as server:
        run("run", retrieving(tmp_path, server.node, {"PatientID": "COMP"}, at, method=method)).must(0)
    assert digests(visible(tmp_path / "out")) == digests(files)


def test_conditions_beyond_unique_keys_choose_what_is_retrieved(
    run: Command, base_set: Corpus, at: Address, tmp_path: Path
) -> None:
    """A retrieval knows unique keys alone (PS3.4 C.4.2.1.4): what matches is asked first."""
    query = {"PatientID": "TestPat1", "SeriesDescription": "*MPRAGE*"}
    with archiving(base_set.paths, to=at) as server:
        run("run", retrieving(tmp_path, server.node, query, at)).must(0)
        for sent in [*asked(server, "C-MOVE-RQ"), *asked(server, "C-GET-RQ")]:
            assert "SeriesDescription" not in sent
            assert sent.QueryRetrieveLevel in ("SERIES", "IMAGE")
    assert got(tmp_path / "out") == held(files_of(base_set, "TestPat1/20180530/02"))


def test_days_choose_what_is_retrieved(run: Command, base_set: Corpus, at: Address, tmp_path: Path) -> None:
    files = [path for name, path in base_set.items() if "/14/" not in name]
    with archiving(files, to=at) as server:
        source = {"since": "2019-06-15", "before": "2019-06-15"}
        run("run", retrieving(tmp_path, server.node, {"PatientID": "Test*"}, at, **source)).must(0)
    assert got(tmp_path / "out") == held(files_of(base_set, "TestPat2"))


def test_everything_is_not_retrieved_by_mistake(
    run: Command, base_set: Corpus, at: Address, tmp_path: Path
) -> None:
    with archiving(base_set.paths, to=at) as server:
        for query in ({}, {"PatientID": "*"}, {"PatientIdd": "TestPat1"}):
            done = run("run", retrieving(tmp_path, server.node, query, at)).must(2)
            assert "pull" in done.err
        assert server.whats == []
    assert not (tmp_path / "out").exists() or everything(tmp_path / "out") == []


def test_nothing_that_matches_is_nothing_to_do(
    run: Command, base_set: Corpus, at: Address, tmp_path: Path
) -> None:
    with archiving(base_set.paths, to=at) as server:
        run("run", retrieving(tmp_path, server.node, {"PatientID": "Nobody"}, at)).must(0)
        assert server.of("C-MOVE-RQ", "C-GET-RQ") == []
    assert got(tmp_path / "out") == set()


# which way ----------------------------------------------------------------------------------------------------------


def test_c_get_needs_no_port_of_ours(run: Command, base_set: Corpus, at: Address, tmp_path: Path) -> None:
    with socket.create_server((HOST, at.port)), archiving(base_set.paths) as server:
        run("run", retrieving(tmp_path, server.node, STUDY, at, method="get")).must(0)
        assert server.of("C-MOVE-RQ") == []
    assert got(tmp_path / "out") == held(files_of(base_set, "TestPat2"))


@pytest.mark.parametrize(("service", "other"), [(MOVE, "C-GET-RQ"), (GET, "C-MOVE-RQ")])
def test_the_way_is_chosen_by_what_the_archive_takes(
    run: Command, base_set: Corpus, at: Address, service: str, other: str, tmp_path: Path
) -> None:
    with archiving(base_set.paths, to=at, accept=refusing(service)) as server:
        run("run", retrieving(tmp_path, server.node, STUDY, at, method="auto")).must(0)
        assert server.of(other)
    assert got(tmp_path / "out") == held(files_of(base_set, "TestPat2"))


@pytest.mark.parametrize(("method", "service"), [("move", MOVE), ("get", GET)])
def test_the_way_that_was_asked_for_is_no_other(
    run: Command, base_set: Corpus, at: Address, method: str, service: str, tmp_path: Path
) -> None:
    with archiving(base_set.paths, to=at, accept=refusing(service)) as server:
        done = run("run", retrieving(tmp_path, server.node, STUDY, at, method=method))
        assert server.of("C-MOVE-RQ", "C-GET-RQ") == []
    assert done.readable().code in (1, 3)
    speaks_of(done.err, re.escape(server.node), method, "does not accept|presentation context")


def test_an_archive_that_does_not_know_us_is_explained(
    run: Command, base_set: Corpus, at: Address, tmp_path: Path
) -> None:
    """What its administrator has to be told: title, host and port."""
    with archiving(base_set.paths) as server:
        done = run("run", retrieving(tmp_path, server.node, STUDY, at, method="move"))
    assert done.readable().code in (1, 3)
    speaks_of(done.err, "A801|unknown", "register", at.ae_title, str(at.port))


def test_a_port_of_ours_that_is_taken_is_named_and_nothing_is_moved(
    run: Command, base_set: Corpus, at: Address, tmp_path: Path
) -> None:
    with socket.create_server((HOST, at.port)), archiving(base_set.paths, to=at) as server:
        done = run("run", retrieving(tmp_path, server.node, STUDY, at, method="move")).must(2)
        assert server.of("C-MOVE-RQ") == []
    speaks_of(done.err, str(at.port), "in use")


# too little, too much, something else -------------------------------------------------------------------------------


@BOTH_METHODS
def test_what_was_promised_and_did_not_come_is_missing_by_name(
    run: Command, four: list[Path], at: Address, method: str, tmp_path: Path
) -> None:
    """Three of four, and the server says that it sent four."""
    move = script(method, sub_operations(method, at, *four[:3]), final(4))
    with archiving(four, to=at, **move) as server:
        source = {"method": method, "grace": "100 ms"}
        done = run(
            "run", retrieving(tmp_path, server.node, STUDY, at, **source), "--report", tmp_path / "r.json"
        ).must(1)
    assert got(tmp_path / "out") == {uid_of(path) for path in four[:3]}
    assert uid_of(four[3]) in done.err
    assert uid_of(four[3]) in (tmp_path / "r.json").read_text()
    speaks_of(done.err, "missing|did not (come|arrive)")


@pytest.mark.parametrize(("policy", "code"), [("drop", 0), ("pass", 0), ("fail", 1)])
def test_what_is_missing_fails_the_run_unless_it_is_told_not_to(
    run: Command, four: list[Path], at: Address, policy: str, code: int, tmp_path: Path
) -> None:
    move = script("move", sub_operations("move", at, *four[:3]), final(4))
    with archiving(four, to=at, **move) as server:
        source = {"method": "move", "grace": "50 ms", "missing": policy}
        done = run("run", retrieving(tmp_path, server.node, STUDY, at, **source)).must(code)
    assert len(got(tmp_path / "out")) == 3
    if policy != "drop":
        assert uid_of(four[3]) in done.err


WORDS = {"unexpected": "unexpected|none of|not asked for", "duplicate": "duplicate|once more|twice|again"}


def too_much(method: str, at: Address, four: list[Path], foreign: Path) -> dict[str, Any]:
    return script(method, sub_operations(method, at, *four, foreign, four[0]), final(6))


@BOTH_METHODS
def test_what_was_not_asked_for_and_what_comes_twice_is_counted_and_left_out(
    run: Command, four: list[Path], foreign: Path, at: Address, method: str, tmp_path: Path
) -> None:
    with archiving(four, to=at, **too_much(method, at, four, foreign)) as server:
        file = retrieving(tmp_path, server.node, STUDY, at, method=method, grace="200 ms")
        done = run("run", file, "--report", tmp_path / "r.json").must(0)
    assert got(tmp_path / "out") == {uid_of(path) for path in four}
    for path in (foreign, four[0]):
        assert uid_of(path) in done.err
    speaks_of(done.err, *WORDS.values())


@pytest.mark.parametrize("policy", ["drop", "pass", "fail"])
@pytest.mark.parametrize("what", ["unexpected", "duplicate"])
def test_each_of_them_has_its_policy(
    run: Command, four: list[Path], foreign: Path, at: Address, what: str, policy: str, tmp_path: Path
) -> None:
    more = foreign if what == "unexpected" else four[0]
    move = script("move", sub_operations("move", at, *four, more), final(5))
    with archiving(four, to=at, **move) as server:
        file = retrieving(tmp_path, server.node, STUDY, at, method="move", grace="200 ms", **{what: policy})
        done = run("run", file, "--report", tmp_path / "r.json").must(1 if policy == "fail" else 0)
    asked_for = {uid_of(path) for path in four}
    passed = asked_for | {uid_of(more)} if policy == "pass" else asked_for
    assert got(tmp_path / "out") == passed
    accepted = report(tmp_path / "r.json")["pipeline"]["accepted"]
    assert accepted == (5 if policy == "pass" else 4)
    assert uid_of(more) in done.err
    speaks_of(done.err, WORDS[what])


def changed(path: Path, **elements: str) -> Encoded:
    """The object of a file under its name, with other values inside."""
    ds = Dataset(dict(pydicom.dcmread(path).items()))
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    was = sendable(path)
    return Encoded(was.sop_class_uid, was.sop_instance_uid, was.transfer_syntax_uid, corpus.encode(ds))


@pytest.mark.parametrize("policy", [None, "drop", "pass", "fail"])
def test_another_patient_than_was_asked_for_is_told_with_both_names(
    run: Command, four: list[Path], at: Address, policy: str | None, tmp_path: Path
) -> None:
    odd = changed(four[0], PatientID="SOMEBODY")
    move = script("move", sub_operations("move", at, odd, *four[1:]), final(4))
    with archiving(four, to=at, **move) as server:
        source = {"method": "move"} | ({"inconsistent": policy} if policy else {})
        query = STUDY | {"PatientID": "TestPat2"}
        done = run("run", retrieving(tmp_path, server.node, query, at, **source))
    done.must(1 if policy == "fail" else 0)
    delivered = {uid_of(path) for path in (four[1:] if policy in ("drop", "fail") else four)}
    assert got(tmp_path / "out") == delivered
    if policy != "drop":
        speaks_of(done.err, "SOMEBODY", "TestPat2")


@BOTH_METHODS
def test_another_name_in_the_command_than_in_the_object_is_told_with_both(
    run: Command, four: list[Path], at: Address, method: str, tmp_path: Path
) -> None:
    other = corpus.uid("another name")
    named = {"fields": {"affected_sop_instance": other}}
    move = script(
        method,
        sub_operations(method, at, *four[1:]),
        sub_operations(method, at, four[0], **named),
        final(4),
    )
    with archiving(four, to=at, **move) as server:
        source = {"method": method, "grace": "50 ms"}
        done = run("run", retrieving(tmp_path, server.node, STUDY, at, **source))
    assert done.readable().code in (0, 1)
    assert got(tmp_path / "out") >= {uid_of(path) for path in four[1:]}
    speaks_of(done.err, other, uid_of(four[0]))


def cut(data: bytes) -> bytes:
    return data[:-100]


def runs_away(data: bytes) -> bytes:
    """PatientID says that it is longer than all the rest."""
    place = data.index(b"\x10\x00\x20\x00LO") + 6
    return data[:place] + b"\xff\xff" + data[place + 2 :]


@BOTH_METHODS
@pytest.mark.parametrize("spoil", [cut, runs_away])
def test_an_object_that_is_broken_inside_is_told_and_the_others_are_fine(
    run: Command,
    four: list[Path],
    at: Address,
    method: str,
    spoil: Callable[[bytes], bytes],
    tmp_path: Path,
) -> None:
    whole = sendable(four[1])
    broken = replace(whole, data=spoil(whole.data))
    move = script(method, sub_operations(method, at, four[0], broken, *four[2:]), final(3, 1, 0xB000))
    with archiving(four, to=at, **move) as server:
        source = {"method": method, "grace": "50 ms"}
        done = run("run", retrieving(tmp_path, server.node, STUDY, at, **source)).must(1)
    assert got(tmp_path / "out") == {uid_of(path) for path in (four[0], *four[2:])}
    assert whole.sop_instance_uid in done.err


def test_what_is_not_wanted_can_be_put_into_quarantine(
    run: Command, four: list[Path], foreign: Path, at: Address, tmp_path: Path
) -> None:
    move = script("move", sub_operations("move", at, *four, foreign), final(5))
    with archiving(four, to=at, **move) as server:
        source = {"method": "move", "grace": "200 ms", "unexpected": "quarantine", "quarantine": "odd"}
        run("run", retrieving(tmp_path, server.node, STUDY, at, **source))
    assert got(tmp_path / "out") == {uid_of(path) for path in four}
    assert any(path.is_file() and path.suffix == ".dcm" for path in (tmp_path / "odd").rglob("*"))
    assert any("STRANGER" in path.read_text(errors="replace") for path in visible(tmp_path / "odd"))


def test_sub_operations_that_the_archive_says_failed_are_named(
    run: Command, four: list[Path], at: Address, tmp_path: Path
) -> None:
    """With the list of UIDs of its final response (PS3.4 C.4.2.1.4.2) or without."""
    failed = Dataset()
    failed.FailedSOPInstanceUIDList = [uid_of(four[3])]
    last = Answer(0xB000, data=failed, fields={"completed": 3, "failed": 1, "warning": 0})
    move = script("move", sub_operations("move", at, *four[:3]), last)
    with archiving(four, to=at, **move) as server:
        source = {"method": "move", "grace": "50 ms"}
        done = run("run", retrieving(tmp_path, server.node, STUDY, at, **source)).must(1)
    assert got(tmp_path / "out") == {uid_of(path) for path in four[:3]}
    assert uid_of(four[3]) in done.err


def test_who_cannot_say_how_many_there_are_is_not_taken_to_have_sent_them_all(
    run: Command, four: list[Path], at: Address, tmp_path: Path
) -> None:
    """No counts, no images in its answers to queries: complete or not, nobody knows, and that is said."""
    holdings = Holdings(four)

    def find(exchange: Exchange) -> Any:
        is_image = exchange.dataset().QueryRetrieveLevel == "IMAGE"
        return Answer(0xA900, "no images here") if is_image else holdings.find(exchange)

    move = script("move", sub_operations("move", at, *four), Answer(0))
    with archiving(four, to=at, on_find=find, **move) as server:
        done = run(
            "run", retrieving(tmp_path, server.node, STUDY, at, method="move", level="study", grace="50 ms")
        )
    assert done.readable().code in (0, 1)
    assert got(tmp_path / "out") == {uid_of(path) for path in four}
    speaks_of(done.err, "unverified|not verified|cannot be verified|unknown")


# early, late, under another name ------------------------------------------------------------------------------------


def test_what_comes_under_another_calling_title_or_without_an_originator_is_taken(
    run: Command, four: list[Path], at: Address, tmp_path: Path
) -> None:
    move = script(
        "move",
        sub_operations("move", at, four[0], calling_ae="OTHER"),
        sub_operations("move", at, four[1], originator=False),
        sub_operations("move", at, four[2], originator=False, calling_ae="THIRD"),
        sub_operations("move", at, four[3], fields={"move_originator_id": 999}),
        final(4),
    )
    with archiving(four, to=at, **move) as server:
        run("run", retrieving(tmp_path, server.node, STUDY, at, method="move")).must(0)
    assert digests(visible(tmp_path / "out")) == digests(four)


def test_what_comes_after_the_final_response_is_waited_for(
    run: Command, four: list[Path], at: Address, tmp_path: Path
) -> None:
    late = (Wait(0.3), sub_operations("move", at, *four[2:]))
    move = script("move", sub_operations("move", at, *four[:2]), final(4), *late)
    with archiving(four, to=at, **move) as server:
        run("run", retrieving(tmp_path, server.node, STUDY, at, method="move", grace="10 s")).must(0)
    assert digests(visible(tmp_path / "out")) == digests(four)


def test_what_comes_after_the_release_is_waited_for(
    run: Command, four: list[Path], at: Address, tmp_path: Path
) -> None:
    late = Later(sub_operations("move", at, *four[2:]), after="release")
    move = script("move", sub_operations("move", at, *four[:2]), final(4), late)
    with archiving(four, to=at, **move) as server:
        done = run("run", retrieving(tmp_path, server.node, STUDY, at, method="move", grace="2 s"))
    # an association that is kept warm is released at the end alone: then nothing came in time, and that is told
    if done.code == 0:
        assert digests(visible(tmp_path / "out")) == digests(four)
    else:
        assert uid_of(four[3]) in done.must(1).err


def test_what_comes_before_any_request_does_no_harm(
    run: Command, four: list[Path], at: Address, tmp_path: Path
) -> None:
    """A server that sends an object while we are still associating, and then everything that it was asked for."""

    async def too_early(exchange: Exchange) -> None:
        with suppress(OSError):  # perhaps nobody listens yet
            await exchange.run(SendTo(str(at), [sendable(four[0])], originator=False))
        await exchange.run(Accept())

    with archiving(four, to=at, accept=[too_early] * 4) as server:
        run("run", retrieving(tmp_path, server.node, STUDY, at, method="move")).must(0)
    assert digests(visible(tmp_path / "out")) == digests(four)


# many ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strict", [False, True], ids=["lenient", "strict"])
@BOTH_METHODS
def test_a_table_of_three_hundred_images_is_few_requests(
    run: Command, at: Address, method: str, strict: bool, tmp_path: Path
) -> None:
    files = small_series(tmp_path / "small", 300).paths
    table = tmp_path / "wanted.csv"
    keys = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    wanted = files[:299]  # not the whole series
    lines = [",".join(value_of(path, key) for key in keys) for path in wanted]
    table.write_text("\n".join([",".join(keys), *lines]) + "\n")
    with archiving(files, to=at, strict=strict) as server:
        file = retrieving(tmp_path, server.node, {}, at, method=method, batch=str(table))
        run("run", file, timeout=60).must(0)
        requests = len(server.of("C-MOVE-RQ", "C-GET-RQ"))
    assert got(tmp_path / "out") == {uid_of(path) for path in wanted}
    assert requests <= 20


def test_two_archives_send_to_one_port_and_nothing_is_mixed_up(
    run: Command, base_set: Corpus, at: Address, portal: BlockingPortal, tmp_path: Path
) -> None:
    """Both have the same AE title, and both send under it."""
    ones, twos = files_of(base_set, "TestPat1"), files_of(base_set, "TestPat2")
    with archiving(ones, to=at, portal=portal) as one, archiving(twos, to=at, portal=portal) as two:
        run("run", two_pulls(tmp_path, at, (one.node, {"PatientID": "TestPat1"}), (two.node, STUDY))).must(0)
    assert digests(visible(tmp_path / "out0")) == digests(ones)
    assert digests(visible(tmp_path / "out1")) == digests(twos)


def two_pulls(folder: Path, at: Address, *pulls: tuple[str, dict[str, str]], **fields: Any) -> Path:
    """A pipeline file of several retrievals at one address, each into a folder of its own."""
    sources, sinks = {}, {}
    for number, (node, query) in enumerate(pulls):
        sources[f"pull{number}"] = {
            "type": "retrieve",
            "node": node,
            "query": query,
            "local": str(at),
            "method": "move",
        } | fields
        sinks[f"out{number}"] = {
            "type": "directory",
            "from": f"pull{number}",
            "path": f"out{number}",
            "layout": FLAT,
        }
    return pipeline_file(folder / "p.toml", sources=sources, sinks=sinks)


@pytest.mark.parametrize("originator", [True, False], ids=["originator", "no originator"])
def test_two_retrievals_from_one_archive_are_not_mixed_up(
    run: Command, base_set: Corpus, at: Address, originator: bool, tmp_path: Path
) -> None:
    holdings = Holdings(base_set.paths)

    def move(exchange: Exchange) -> Any:
        made = holdings.select(exchange)
        return (SendTo(str(at), made, originator=originator), final(len(made)))

    studies = [(patient, date) for patient, date in (("TestPat1", "20190625"), ("TestPat2", "20190615"))]
    with archiving(base_set.paths, to=at, on_move=move) as server:
        pulls = [(server.node, {"StudyInstanceUID": corpus.uid("BASE", *study)}) for study in studies]
        run("run", two_pulls(tmp_path, at, *pulls)).must(0)
        assert most_at_once(server) <= 4
    for number, study in enumerate(studies):
        assert digests(visible(tmp_path / f"out{number}")) == digests(files_of(base_set, "/".join(study)))


def by_name(file: Path, node: str, **fields: Any) -> Path:
    """The same pipeline file, where the archive is a node with these fields."""
    text = file.read_text().replace(f'"{node}"', '"archive"')
    lines = [f"{key} = {value}" for key, value in fields.items()]
    file.write_text("\n".join([text, "[nodes.archive]", f'address = "{node}"', *lines]) + "\n")
    return file


def test_two_retrievals_from_one_archive_go_on_at_the_same_time(
    run: Command, base_set: Corpus, at: Address, tmp_path: Path
) -> None:
    """The archive sends nothing before both have been asked for."""
    holdings = Holdings(base_set.paths)

    async def move(exchange: Exchange) -> Any:
        await exchange.peer.received.wait("C-MOVE-RQ", count=2)
        made = holdings.select(exchange)
        return (SendTo(str(at), made), final(len(made)))

    with archiving(base_set.paths, to=at, on_move=move) as server:
        pulls = [(server.node, {"PatientID": patient}) for patient in ("TestPat1", "TestPat2")]
        run("run", two_pulls(tmp_path, at, *pulls)).must(0)
    for number, patient in enumerate(("TestPat1", "TestPat2")):
        assert digests(visible(tmp_path / f"out{number}")) == digests(files_of(base_set, patient))


@BOTH_METHODS
def test_an_archive_that_takes_one_association_gets_one(
    run: Command, base_set: Corpus, at: Address, method: str, tmp_path: Path
) -> None:
    with archiving(base_set.paths, to=at, strict=True) as server:
        pulls = [(server.node, {"PatientID": patient}) for patient in ("TestPat1", "TestPat2")]
        file = two_pulls(tmp_path, at, *pulls, method=method)
        run("run", by_name(file, server.node, **{"max-associations": 1})).must(0)
        assert most_at_once(server) == 1
    for number, patient in enumerate(("TestPat1", "TestPat2")):
        assert digests(visible(tmp_path / f"out{number}")) == digests(files_of(base_set, patient))


@BOTH_METHODS
def test_nothing_is_lost_for_lack_of_an_element(
    run: Command, holes_set: Corpus, at: Address, method: str, tmp_path: Path
) -> None:
    """Objects without PatientID, PatientName, StudyDate, SeriesNumber, InstanceNumber or Modality."""
    files = [holes_set[name] for name in holes_set.readable]
    with archiving(files, to=at) as server:
        file = retrieving(tmp_path, server.node, {}, at, method=method, all=True, grace="200 ms")
        done = run("run", file)
    assert done.readable().code in (0, 1)
    assert got(tmp_path / "out") == set(holes_set.uids.values())


@pytest.fixture
def sender(portal: BlockingPortal, at: Address) -> Callable[..., Any]:
    def send(*made: Any) -> list[int | None]:
        with calling(portal, at, "MODALITY") as caller:
            return stored(caller, made)

    return send


def stored(caller: Caller, made: Sequence[Any]) -> list[int | None]:
    caller("associate", instances=made)
    found = [caller("store", one).status for one in made]
    caller("release")
    return found


def test_a_listener_of_the_same_title_and_port_goes_on_beside_a_retrieval(
    run: Command, base_set: Corpus, at: Address, sender: Callable[..., Any], tmp_path: Path
) -> None:
    pushed = instance(PatientID="PUSHED")
    with archiving(base_set.paths, to=at) as server:
        file = pipeline_file(
            tmp_path / "p.toml",
            sources={
                "scp": {"type": "scp", "listen": str(at)},
                "pull": {
                    "type": "retrieve",
                    "node": server.node,
                    "query": STUDY,
                    "local": str(at),
                    "method": "move",
                },
            },
            sinks={
                "pushed": {"type": "directory", "from": "scp", "path": "pushed", "layout": FLAT},
                "pulled": {"type": "directory", "from": "pull", "path": "pulled", "layout": FLAT},
            },
        )
        with serving(run, "run", file, ports=[at.port]) as service:
            wait_for(lambda: len(list((tmp_path / "pulled").glob("[!.]*"))) == 4, "it was not retrieved")
            assert sender(pushed) == [0]
            service.stop().must(0)
    assert digests(visible(tmp_path / "pulled")) == digests(files_of(base_set, "TestPat2"))
    assert got(tmp_path / "pushed") == {pushed.sop_instance_uid}


def test_a_listener_of_another_process_on_our_port_is_an_error_that_names_it(
    run: Command, base_set: Corpus, at: Address, tmp_path: Path
) -> None:
    with (
        archiving(base_set.paths, to=at) as server,
        serving(run, "forward", tmp_path / "in", "--listen", at, ports=[at.port]) as service,
    ):
        done = run("run", retrieving(tmp_path, server.node, STUDY, at, method="move")).must(2)
        assert str(at.port) in done.err
        service.stop().must(0)
    assert got(tmp_path / "in") == set()


# what a pipeline file says ------------------------------------------------------------------------------------------

MISTAKES = {
    "query": {"query": {"PatientIdd": "A"}},
    "level": {"level": "drawer"},
    "method": {"method": "carry"},
    "since": {"since": "blargh"},
    "unexpected": {"unexpected": "shred"},
    "missing": {"missing": "shred"},
    "every": {"every": "sometimes"},
    "grace": {"grace": "a while"},
    "local": {"local": "nowhere:x"},
    "node": {"node": "a:b:c:d"},
}


@pytest.mark.parametrize(("key", "fields"), MISTAKES.items())
def test_a_mistake_in_a_field_is_found_by_check(
    run: Command, at: Address, key: str, fields: dict[str, Any], tmp_path: Path
) -> None:
    table = {"type": "retrieve", "node": f"PACS@{HOST}:104", "query": STUDY, "local": str(at)} | fields
    file = pipeline_file(
        tmp_path / "p.toml", sources={"pull": table}, sinks={"out": {"type": "discard", "from": "pull"}}
    )
    done = run("check", file).must(2)
    assert key in done.err + done.out
    assert "pull" in done.err + done.out


def test_check_says_what_it_means(run: Command, at: Address, tmp_path: Path) -> None:
    file = retrieving(tmp_path, f"PACS@{HOST}:104", STUDY, at)
    run("check", file).must(0)
    shown = run("show", file, "--format", "toml").must(0).out
    assert STUDY["StudyInstanceUID"] in shown
