"""Retrieving into a pipeline that is slow, that is interrupted or that goes on for ever, from archives that stop in the middle."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import corpus
from acceptance_kit import FLAT, Command, digests, everything, pipeline_file, report, visible
from acceptance_query import (
    STUDY,
    Holdings,
    archiving,
    ended,
    files_of,
    got,
    is_free,
    retrieving,
    script,
    speaks_of,
    sub_operations,
)
from acceptance_wire import BOTH_LOOPS, Scripted, gate, serving, wait_for
from corpus import Corpus
from dcmflow.testing import (
    AbortNow,
    Accept,
    Answer,
    CloseNow,
    Encoded,
    Exchange,
    Get,
    Move,
    Wait,
)
from peers.base import HOST, Address, free_port
from wire_data import small_series, uid_of

BOTH_METHODS = pytest.mark.parametrize("method", ["move", "get"])


@pytest.fixture
def four(base_set: Corpus) -> list[Path]:
    """The four files of the study that is asked for."""
    return files_of(base_set, "TestPat2")


# a slow consumer ----------------------------------------------------------------------------------------------------


@BOTH_METHODS
def test_nothing_is_taken_that_nobody_has_room_for(
    run: Command, at: Address, method: str, tmp_path: Path
) -> None:
    files = small_series(tmp_path / "small", 60).paths
    with archiving(files, to=at) as server:
        shut = gate(tmp_path)
        file = retrieving(
            tmp_path,
            server.node,
            {"PatientID": "SMALL"},
            at,
            method=method,
            head={"limits": {"instances": 5}},
            more_filters={"gate": {"type": "call", "from": "pull", "function": shut.function}},
        )
        with serving(run, "run", file) as service:
            wait_for(lambda: shut.reached)
            answered = server.peer.returned if method == "move" else server.peer.received
            assert len(answered.of("C-STORE-RSP")) <= 5
            shut.open()
            service.ended().must(0)
    assert digests(visible(tmp_path / "out")) == digests(files)


class Large(Sequence[Encoded]):
    """Objects of a megabyte each that are made when they are sent."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.ds = corpus.mr(patient="LARGE", side=724)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: Any) -> Any:
        if not 0 <= number < self.count:
            raise IndexError(number)
        self.ds.SOPInstanceUID = corpus.uid("LARGE", number)
        self.ds.InstanceNumber = number
        return Encoded(
            str(self.ds.SOPClassUID), self.ds.SOPInstanceUID, "1.2.840.10008.1.2.1", corpus.encode(self.ds)
        )


def peak(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(text.partition("VmHWM:")[2].split()[0])


@pytest.mark.timeout(60)
@BOTH_METHODS
def test_memory_does_not_grow_with_what_is_retrieved(
    run: Command, at: Address, method: str, tmp_path: Path
) -> None:
    """150 MB, a limit of 8."""
    large = Large(150)
    move = Move(large, node=str(at)) if method == "move" else Get(large)
    listed = list(small_files(tmp_path, large))
    with archiving(listed, to=at, **{f"on_{method}": move}) as server:
        file = retrieving(
            tmp_path,
            server.node,
            {"PatientID": "LARGE"},
            at,
            method=method,
            head={"limits": {"memory": "8 MiB"}},
        )
        with serving(run, "run", file) as service:
            out = tmp_path / "out"
            wait_for(lambda: out.is_dir() and len(list(out.glob("[!.]*"))) >= 10)
            early = peak(service.process.pid)
            wait_for(lambda: len(list(out.glob("[!.]*"))) >= 140)
            assert peak(service.process.pid) - early < 24 << 20
            service.ended().must(0)
    assert len(visible(out)) == 150


def small_files(folder: Path, large: Large) -> Iterator[Path]:
    """The same objects without their pixels: what a server answers from."""
    made = Corpus(folder / "listed")
    for number in range(len(large)):
        ds = corpus.mr(
            patient="LARGE", side=2, SOPInstanceUID=corpus.uid("LARGE", number), InstanceNumber=number
        )
        yield made.save(f"{number}.dcm", ds)


# an end in the middle -----------------------------------------------------------------------------------------------


def half(method: str, at: Address, four: list[Path], then: Any) -> dict[str, Any]:
    """Two of four, and then."""
    pending = Answer(0xFF00, fields={"remaining": 2, "completed": 2, "failed": 0, "warning": 0})
    return script(method, sub_operations(method, at, *four[:2]), pending, then)


@BOTH_LOOPS
@BOTH_METHODS
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)], ids=["SIGINT", "SIGTERM"]
)
def test_an_interrupt_is_told_to_the_archive_and_leaves_whole_files(
    run: Command,
    four: list[Path],
    at: Address,
    method: str,
    backend: str,
    number: signal.Signals,
    code: int,
    tmp_path: Path,
) -> None:
    cancelled = Answer(0xFE00, fields={"remaining": 2, "completed": 2, "failed": 0, "warning": 0})
    move = half(method, at, four, (Wait("C-CANCEL-RQ"), cancelled))
    with archiving(four, to=at, **move) as server:
        file = retrieving(tmp_path, server.node, STUDY, at, method=method)
        with serving(run, "run", file, "--backend", backend, "--report", tmp_path / "r.json") as service:
            wait_for(lambda: (tmp_path / "out").is_dir() and len(visible(tmp_path / "out")) == 2)
            service.interrupt(number)
            ended(server)
            done = service.ended()
    assert done.readable().code == code or (number == signal.SIGTERM and done.code == 1), done
    assert digests(visible(tmp_path / "out")) == digests(four[:2])
    assert everything(tmp_path / "out") == sorted(path.name for path in visible(tmp_path / "out"))
    assert is_free(at.port)
    assert report(tmp_path / "r.json")["pipeline"]["accepted"] == 2


@BOTH_METHODS
@pytest.mark.parametrize("end", [AbortNow(close=True), CloseNow(), CloseNow(reset=True)], ids=str)
def test_an_archive_that_goes_away_in_the_middle_leaves_whole_files_and_a_list_of_the_rest(
    run: Command, four: list[Path], at: Address, method: str, end: Any, tmp_path: Path
) -> None:
    move = {f"on_{method}": [half(method, at, four, end)[f"on_{method}"]] * 9}
    with archiving(four, to=at, **move) as server:
        source = {"method": method, "grace": "50 ms"}
        done = run(
            "run", retrieving(tmp_path, server.node, STUDY, at, **source), "--report", tmp_path / "r.json"
        ).must(1)
    assert digests(visible(tmp_path / "out")) == digests(four[:2])
    assert everything(tmp_path / "out") == sorted(path.name for path in visible(tmp_path / "out"))
    for path in four[2:]:
        assert uid_of(path) in done.err
        assert uid_of(path) in (tmp_path / "r.json").read_text()
    with archiving(four, to=at) as server:
        run("run", retrieving(tmp_path, server.node, STUDY, at, method=method)).must(0)
    assert digests(visible(tmp_path / "out")) == digests(four)


def test_an_archive_that_falls_silent_costs_no_more_than_the_timeout(
    run: Command, four: list[Path], at: Address, tmp_path: Path
) -> None:
    move = half("move", at, four, Wait("C-CANCEL-RQ"))
    with archiving(four, to=at, **move) as server:
        file = pipeline_file(
            tmp_path / "p.toml",
            nodes={"slow": {"address": server.node, "timeouts": {"dimse": 0.5}}},
            sources={
                "pull": {
                    "type": "retrieve",
                    "node": "slow",
                    "query": STUDY,
                    "local": str(at),
                    "method": "move",
                    "grace": "50 ms",
                }
            },
            sinks={"out": {"type": "directory", "from": "pull", "path": "out", "layout": FLAT}},
        )
        done = run("run", file).must(1)
    assert len(got(tmp_path / "out")) == 2
    assert uid_of(four[3]) in done.err


def test_an_archive_that_is_down_is_named(run: Command, at: Address, tmp_path: Path) -> None:
    down = f"DOWN@{HOST}:{free_port()}"
    done = run("run", retrieving(tmp_path, down, STUDY, at))
    assert done.readable().code in (1, 3)
    speaks_of(done.err, f"{down} cannot be reached: connection refused", "pull")


# again and again ----------------------------------------------------------------------------------------------------


def test_a_repeated_retrieval_takes_up_what_is_new_and_not_what_it_had(
    run: Command, base_set: Corpus, at: Address, tmp_path: Path
) -> None:
    """Also after a restart, where the archive says how many images a study has."""
    files = files_of(base_set, "TestPat2/20190615/01")
    holdings = Holdings(files, counts=True)
    more = Holdings(files_of(base_set, "TestPat2"))

    def find(exchange: Exchange) -> Any:
        return holdings.find(exchange)

    def select(exchange: Exchange) -> Any:
        return holdings.select(exchange)

    with archiving(files, to=at, on_find=find, on_move=Move(select)) as server:
        often = {"every": "100 ms", "state": "state.json", "since": "2019-01-01"}
        file = retrieving(tmp_path, server.node, {"PatientID": "TestPat2"}, at, method="move", **often)
        with serving(run, "run", file) as service:
            wait_for(lambda: (tmp_path / "out").is_dir() and len(visible(tmp_path / "out")) == 2)
            wait_for(lambda: len(server.of("C-FIND-RQ")) >= 3, "it does not ask again")
            assert len(sub_sent(server)) == 2, "what it has it does not take again"
            holdings.files, holdings.datasets = more.files, more.datasets
            wait_for(lambda: len(visible(tmp_path / "out")) == 4, "it did not take what is new")
            round_about = len(server.of("C-FIND-RQ"))
            wait_for(lambda: len(server.of("C-FIND-RQ")) >= round_about + 3, "it does not ask again")
            service.stop().must(0)
        assert len(sub_sent(server)) <= 6, "the study that grew may come again as a whole, once"
        before = len(sub_sent(server))
        asked_before = len(server.of("C-FIND-RQ"))
        with serving(run, "run", file) as service:
            wait_for(lambda: len(server.of("C-FIND-RQ")) >= asked_before + 3, "it does not ask again")
            service.stop().must(0)
        assert len(sub_sent(server)) == before
    assert digests(visible(tmp_path / "out")) == digests(files_of(base_set, "TestPat2"))


def sub_sent(server: Scripted) -> list[Any]:
    """What came back to the sub-operations of a server."""
    return list(server.peer.returned.of("C-STORE-RSP"))


def test_a_repeated_retrieval_outlives_an_archive_that_is_away_for_a_while(
    run: Command, base_set: Corpus, at: Address, tmp_path: Path
) -> None:
    accept = [AbortNow(), CloseNow(), Accept()]
    with archiving(base_set.paths, to=at, accept=accept) as server:
        file = retrieving(tmp_path, server.node, STUDY, at, method="move", every="100 ms")
        with serving(run, "run", file) as service:
            wait_for(lambda: (tmp_path / "out").is_dir() and len(visible(tmp_path / "out")) == 4)
            service.stop()
    assert digests(visible(tmp_path / "out")) == digests(files_of(base_set, "TestPat2"))
