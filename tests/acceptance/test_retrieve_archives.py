"""Retrieving from real archives into folders: what comes is what they have, whatever happens on the way."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import anyio
import pytest

import corpus
from acceptance_kit import FLAT, Command, digests, everything, pipeline_file, report, visible
from acceptance_query import got, is_free, retrieving, speaks_of
from acceptance_wire import BOTH_LOOPS, dcmftest, gate, serving, wait_for
from base_data import BASE, ECHOES, KEYWORDS, MPRAGE, ONE, PRIVATE, SUBSETS, TWO, Fact, uids
from corpus import Corpus
from dcmflow import Client, Pipeline, sinks, sources
from peers.archives import KINDS, Archive, Archives
from peers.base import HOST, Address
from peers.orthanc import Orthanc
from wire_data import dataset_bytes, small_series, syntax_of, uid_of

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60)]

METHODS = pytest.mark.parametrize("method", ["move", "get"])


def ours(archive: Archive) -> Address:
    """Where the archive takes us to listen."""
    return archive.clients["DCMFLOW"]


def same(folder: Path, facts: Iterable[Fact]) -> None:
    """A folder holds these objects and nothing else, byte by byte in the transfer syntax that was chosen."""
    files = {uid_of(path): path for path in visible(folder)}
    wanted = {fact.image: fact for fact in facts}
    assert files.keys() == wanted.keys()
    for uid, path in files.items():
        assert dataset_bytes(path) == corpus.encode(wanted[uid].ds, syntax_of(path)), path


# parts of what there is ---------------------------------------------------------------------------------------------


def table_of(folder: Path, name: str) -> Path:
    """What a subset asks for as a table: a row for each of its requests, empty where that says nothing."""
    rows = [[keys.get(keyword, "") for keyword in KEYWORDS] for _, keys in SUBSETS[name].requests]
    path = folder / f"{name}.csv"
    path.write_text("\n".join(map(",".join, [list(KEYWORDS), *rows])) + "\n")
    return path


@METHODS
@pytest.mark.parametrize("name", SUBSETS)
def test_a_part_of_an_archive_comes_whole_and_alone(
    run: Command, archive: Archive, name: str, method: str, dcmtk: Callable[[str], str], tmp_path: Path
) -> None:
    requests = SUBSETS[name].requests
    if len(requests) == 1:
        [(level, keys)] = requests
        fields: dict[str, Any] = {"query": keys, "level": level}
    else:
        fields = {"query": {}, "batch": str(table_of(tmp_path, name))}
    query = fields.pop("query")
    file = retrieving(tmp_path, archive.address, query, ours(archive), method=method, **fields)
    run("run", file, "--report", tmp_path / "r.json", timeout=30).must(0)
    facts = SUBSETS[name].of(archive.expected)
    same(tmp_path / "out", facts)
    dcmftest(dcmtk, visible(tmp_path / "out"))
    assert report(tmp_path / "r.json")["pipeline"]["accepted"] == len(facts)


@BOTH_LOOPS
def test_a_program_retrieves_on_both_loops(archive: Archive, backend: str, tmp_path: Path) -> None:
    async def retrieve() -> None:
        source = sources.Retrieve(
            str(archive.address), query=TWO.keys("patient"), local=str(ours(archive)), method="move"
        )
        pipeline = Pipeline(source | sinks.Directory(str(tmp_path / "out"), layout=FLAT))
        async with pipeline.start() as running:
            await running.wait()
        assert running.statistics().pipeline.accepted == 4

    anyio.run(retrieve, backend=backend)
    same(tmp_path / "out", SUBSETS["patient-2"].facts)


@BOTH_LOOPS
def test_the_client_gets_what_it_asks_for(archive: Archive, backend: str) -> None:
    async def get() -> list[str]:
        async with (
            Client("DCMFLOW") as client,
            client.get(str(archive.address), TWO.keys("study")) as instances,
        ):
            return [instance.sop_instance_uid async for instance in instances]

    assert sorted(anyio.run(get, backend=backend)) == sorted(uids("image", SUBSETS["patient-2"].facts))


@BOTH_LOOPS
def test_the_client_moves_to_a_listener_of_ours(archive: Archive, backend: str, tmp_path: Path) -> None:
    async def move() -> tuple[int, int | None, int | None]:
        source = sources.Scp(str(ours(archive)))
        pipeline = Pipeline(source | sinks.Directory(str(tmp_path / "out"), layout=FLAT))
        async with pipeline.start(), Client("DCMFLOW") as client:
            moved = await client.move(str(archive.address), MPRAGE.keys("series"), to="DCMFLOW")
            return int(moved.status), moved.completed, moved.failed

    status, completed, failed = anyio.run(move, backend=backend)
    assert (status, completed) == (0, 2)
    assert not failed
    same(tmp_path / "out", SUBSETS["series"].facts)


@BOTH_LOOPS
def test_the_client_finds_records(archive: Archive, backend: str) -> None:
    async def find() -> set[str]:
        async with (
            Client("DCMFLOW") as client,
            client.find(str(archive.address), {"PatientID": "TestPat1", "StudyInstanceUID": ""}) as records,
        ):
            return {record.uid async for record in records}

    wanted = {fact.study for fact in BASE if fact.patient == "TestPat1"}
    assert anyio.run(find, backend=backend) == wanted


@pytest.mark.parametrize("kind", ["dcmqrscp", "orthanc"])
def test_an_object_of_a_private_class_arrives_intact(
    run: Command, archives: Archives, kind: str, tmp_path: Path
) -> None:
    archive = archives.holding_base(kind)
    run("run", retrieving(tmp_path, archive.address, PRIVATE.keys("study"), ours(archive))).must(0)
    [file] = [path for path in visible(tmp_path / "out") if uid_of(path) == PRIVATE.image]
    assert dataset_bytes(file) == corpus.encode(PRIVATE.ds, syntax_of(file))


@METHODS
def test_compressed_objects_of_orthanc_are_not_decompressed(
    run: Command, archives: Archives, comp_set: Corpus, method: str, tmp_path: Path
) -> None:
    files = [path for name, path in comp_set.items() if name.split(".")[0] not in ("big-endian", "deflated")]
    with archives.start("orthanc", tmp_path / "o", files=files) as archive:
        held = archive.orthanc.stored()
        run(
            "run", retrieving(tmp_path, archive.address, {"PatientID": "COMP"}, ours(archive), method=method)
        ).must(0)
    found = {uid_of(path): path for path in visible(tmp_path / "out")}
    assert found.keys() == held.keys()
    for uid, path in found.items():
        assert syntax_of(path) == syntax_of(held[uid])
        assert dataset_bytes(path) == dataset_bytes(held[uid])


def test_documents_curves_and_reports_are_retrieved_as_images_are(
    run: Command, archives: Archives, classes_set: Corpus, tmp_path: Path
) -> None:
    """And they are far more SOP Classes than the presentation contexts of one association."""
    with archives.start("orthanc", tmp_path / "o") as archive:
        run("send", archive.address, classes_set.folder, "--quiet", timeout=40)
        held = set(archive.orthanc.instances())
        assert len(held) > 128
        file = retrieving(tmp_path, archive.address, {"PatientID": "CLASSES"}, ours(archive))
        run("run", file, timeout=40).must(0)
    assert got(tmp_path / "out") == held


@pytest.mark.parametrize("kind", ["dcmqrscp", "qrscp"])
def test_a_study_is_complete_although_the_archive_does_not_count(
    run: Command, archives: Archives, kind: str, tmp_path: Path
) -> None:
    archive = archives.holding_base(kind)
    file = retrieving(tmp_path, archive.address, ONE.keys("study"), ours(archive), level="study")
    done = run("run", file).must(0)
    same(tmp_path / "out", SUBSETS["study"].facts)
    assert "unverified" not in done.err
    assert "missing" not in done.err


# several at once ----------------------------------------------------------------------------------------------------


def two(folder: Path, *pulls: tuple[Archive, Fact]) -> Path:
    """A pipeline file: two patients, each into a folder of its own, at one address of ours."""
    pulled, kept = {}, {}
    for number, (archive, fact) in enumerate(pulls):
        pulled[f"pull{number}"] = {
            "type": "retrieve",
            "node": str(archive.address),
            "query": fact.keys("study"),
            "local": str(ours(archive)),
            "method": "move",
        }
        kept[f"out{number}"] = {
            "type": "directory",
            "from": f"pull{number}",
            "path": f"out{number}",
            "layout": FLAT,
        }
    return pipeline_file(folder / "p.toml", sources=pulled, sinks=kept)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("dcmqrscp", "qrscp"),
        ("dcmqrscp", "orthanc"),
        ("dcmqrscp", "dcmqrscp"),
        ("orthanc", "orthanc"),
        ("qrscp", "qrscp"),
    ],
)
def test_two_retrievals_at_one_port_are_not_mixed_up(
    run: Command, archives: Archives, first: str, second: str, tmp_path: Path
) -> None:
    one, other = archives.holding_base(first), archives.holding_base(second)
    run("run", two(tmp_path, (one, ONE), (other, TWO)), timeout=40).must(0)
    same(tmp_path / "out0", SUBSETS["study"].facts)
    same(tmp_path / "out1", SUBSETS["patient-2"].facts)


def test_a_listener_is_stored_to_while_the_same_title_and_port_retrieve(
    run: Command, archives: Archives, dcmtk_peer: Any, lone: Path, tmp_path: Path
) -> None:
    archive = archives.holding_base("dcmqrscp")
    at = ours(archive)
    file = pipeline_file(
        tmp_path / "p.toml",
        sources={
            "scp": {"type": "scp", "listen": str(at)},
            "pull": {
                "type": "retrieve",
                "node": str(archive.address),
                "query": TWO.keys("study"),
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
        assert dcmtk_peer.storescu(at, lone).returncode == 0
        assert dcmtk_peer.echoscu(at).returncode == 0
        wait_for(lambda: (tmp_path / "pulled").is_dir() and len(visible(tmp_path / "pulled")) == 4)
        service.stop().must(0)
    same(tmp_path / "pulled", SUBSETS["patient-2"].facts)
    assert digests(visible(tmp_path / "pushed")) == digests([lone])


# it does not work ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_who_does_not_know_us_is_told_whom_to_register(
    run: Command, archives: Archives, kind: str, tmp_path: Path
) -> None:
    archive = archives.holding_base(kind)
    local = Address(ours(archive).port, "UNHEARD")
    line = retrieving(tmp_path, archive.address, TWO.keys("study"), local, method="move")
    done = run("run", line)
    assert done.readable().code in (1, 3)
    assert got(tmp_path / "out") == set()
    speaks_of(done.err, "UNHEARD", "register")
    if kind == "dcmqrscp":
        speaks_of(done.err, str(local.port), "A801")


@pytest.mark.parametrize("kind", KINDS)
def test_who_takes_us_to_be_elsewhere_has_sent_nothing(
    run: Command, archives: Archives, kind: str, tmp_path: Path
) -> None:
    """The archive knows our title and another port: nothing arrives, and each object is missing."""
    archive = archives.holding_base(kind)
    local = Address(archive.clients["DCMFLOW2"].port, "DCMFLOW")
    source = {"method": "move", "grace": "100 ms"}
    done = run("run", retrieving(tmp_path, archive.address, TWO.keys("study"), local, **source))
    assert done.readable().code in (1, 3)
    assert got(tmp_path / "out") == set()
    speaks_of(done.err, str(local.port))


def test_our_port_in_use_is_named(run: Command, archives: Archives, tmp_path: Path) -> None:
    archive = archives.holding_base("dcmqrscp")
    at = ours(archive)
    with socket.create_server((HOST, at.port)):
        done = run("run", retrieving(tmp_path, archive.address, TWO.keys("study"), at, method="move")).must(2)
    speaks_of(done.err, str(at.port), "in use")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["get", "auto"])
def test_no_port_of_ours_is_needed_where_the_archive_can_be_got_from(
    run: Command, archives: Archives, kind: str, method: str, tmp_path: Path
) -> None:
    archive = archives.holding_base(kind)
    local = None if method == "auto" else ours(archive)
    file = retrieving(tmp_path, archive.address, TWO.keys("study"), local, method=method)
    settings = tmp_path / "settings.toml"
    settings.write_text(f'[local]\nae-title = "DCMFLOW"\nport = {ours(archive).port}\n')
    run("run", file, "--config", settings).must(0)
    same(tmp_path / "out", SUBSETS["patient-2"].facts)


def test_an_archive_without_c_get_is_moved_from(run: Command, archives: Archives, tmp_path: Path) -> None:
    with archives.start(
        "dcmqrscp", tmp_path / "a", "--disable-get", files=archives.base(), private=False
    ) as archive:
        run(
            "run", retrieving(tmp_path, archive.address, TWO.keys("study"), ours(archive), method="auto")
        ).must(0)
        same(tmp_path / "out", SUBSETS["patient-2"].facts)


# an end in the middle -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """A series of 300 images."""
    return small_series(tmp_path_factory.mktemp("many"), 300)


def whole(folder: Path, many: Corpus, dcmtk: Callable[[str], str]) -> set[str]:
    """The UIDs of files that are all as they should be; nothing else lies beside them."""
    files = visible(folder)
    assert everything(folder) == sorted(path.name for path in files)
    dcmftest(dcmtk, files)
    wanted = {uid_of(path): path for path in many.paths}
    for path in files:
        assert dataset_bytes(path) == dataset_bytes(wanted[uid_of(path)])
    return {uid_of(path) for path in files}


@METHODS
@pytest.mark.parametrize("kind", ["dcmqrscp", "qrscp"])
def test_an_interrupt_leaves_whole_files_and_a_free_port(
    run: Command,
    archives: Archives,
    many: Corpus,
    kind: str,
    method: str,
    dcmtk: Callable[[str], str],
    tmp_path: Path,
) -> None:
    files = many.paths if kind == "dcmqrscp" else many.paths[:40]
    with archives.start(kind, tmp_path / "a", files=files) as archive:
        at = ours(archive)
        file = retrieving(tmp_path, archive.address, {"PatientID": "SMALL"}, at, method=method)
        with serving(run, "run", file, "--report", tmp_path / "r.json") as service:
            wait_for(lambda: (tmp_path / "out").is_dir() and len(visible(tmp_path / "out")) >= 5)
            service.interrupt()
            service.ended().must(130)
        assert is_free(at.port)
        if kind == "qrscp":
            wait_for(lambda: "cancel" in archive.log.lower() or "abort" in archive.log.lower())
    done = whole(tmp_path / "out", many, dcmtk)
    assert len(done) >= 5
    assert report(tmp_path / "r.json")["pipeline"]["accepted"] == len(done)


@pytest.mark.parametrize("kind", ["dcmqrscp", "orthanc"])
def test_a_server_that_is_killed_leaves_whole_files_and_a_list_and_the_rest_comes_later(
    run: Command, archives: Archives, many: Corpus, kind: str, dcmtk: Callable[[str], str], tmp_path: Path
) -> None:
    shut = gate(tmp_path)
    with archives.start(kind, tmp_path / "a", files=many.paths) as archive:
        at = ours(archive)
        file = retrieving(
            tmp_path,
            archive.address,
            {"PatientID": "SMALL"},
            at,
            method="move",
            grace="100 ms",
            more_filters={"gate": {"type": "call", "from": "pull", "function": shut.function}},
        )
        with serving(run, "run", file, "--report", tmp_path / "r.json") as service:
            wait_for(lambda: shut.reached)
            os.killpg(archive.server.process.pid, signal.SIGKILL)
            shut.open()
            done = service.ended().must(1)
    kept = whole(tmp_path / "out", many, dcmtk) if (tmp_path / "out").is_dir() else set()
    lost = {uid_of(path) for path in many.paths} - kept
    assert lost
    listed = (tmp_path / "r.json").read_text()
    assert all(uid in listed for uid in lost)
    speaks_of(done.err, str(archive.address))
    with archives.start(kind, tmp_path / "b", files=many.paths) as again:
        at = ours(again)
        file = retrieving(tmp_path, again.address, {"PatientID": "SMALL"}, at, method="move")
        run("run", file, timeout=40).must(0)
    assert whole(tmp_path / "out", many, dcmtk) == {uid_of(path) for path in many.paths}


# leaving early ------------------------------------------------------------------------------------------------------


@BOTH_LOOPS
def test_a_program_that_leaves_early_ends_the_retrieval_and_frees_the_port(
    archives: Archives, many: Corpus, backend: str, tmp_path: Path
) -> None:
    async def some(archive: Archive) -> None:
        source = sources.Retrieve(
            str(archive.address), query={"PatientID": "SMALL"}, local=str(ours(archive)), method="move"
        )
        outlet = sinks.Outlet()
        with anyio.CancelScope() as scope:
            async with Pipeline(source | outlet).start() as running, running.outlet(outlet) as instances:
                await anext(instances)
                scope.cancel()
        assert scope.cancelled_caught

    with archives.start("dcmqrscp", tmp_path / "a", files=many.paths) as archive:
        anyio.run(some, archive, backend=backend)
        assert is_free(ours(archive).port)


def test_a_slow_consumer_gets_everything(
    run: Command, orthanc: Orthanc, many: Corpus, at: Address, tmp_path: Path
) -> None:
    orthanc.add(*many.paths[:60])
    orthanc.register({"dcmflow": at})
    (tmp_path / "slowly.py").write_text(
        "import anyio\nasync def slowly(instance):\n    await anyio.sleep(0.02)\n    return instance\n"
    )
    file = retrieving(
        tmp_path,
        orthanc.address,
        {"PatientID": "SMALL"},
        at,
        method="move",
        head={"limits": {"instances": 4}},
        more_filters={"slow": {"type": "call", "from": "pull", "function": "slowly:slowly"}},
    )
    run("run", file, timeout=40).must(0)
    assert len(got(tmp_path / "out")) == 60


def test_echoes_of_one_series_come_both(run: Command, archive: Archive, tmp_path: Path) -> None:
    """A series whose images differ in what was not asked for."""
    run(
        "run", retrieving(tmp_path, archive.address, ECHOES[0].keys("series"), ours(archive), level="series")
    ).must(0)
    same(tmp_path / "out", ECHOES)
