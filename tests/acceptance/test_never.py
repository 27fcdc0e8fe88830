"""What must never happen to files: half of one, none of one that was promised, more than the disk holds."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest

import corpus
from acceptance_kit import FLAT, Command, digests, everything, pipeline_file, report, source_to_sink, visible
from corpus import Corpus


def whole(path: Path) -> bool:
    """The file is a complete instance: pydicom finds as many pixels as rows and columns ask for."""
    ds = pydicom.dcmread(path)
    frames = int(ds.get("NumberOfFrames") or 1)
    size = ds.Rows * ds.Columns * ds.SamplesPerPixel * ds.BitsAllocated // 8 * frames
    return len(ds.PixelData) >= size and ds.SOPInstanceUID == ds.file_meta.MediaStorageSOPInstanceUID


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_killed_at_any_moment_there_is_no_half_file_and_the_next_run_heals(
    run: Command, tmp_path: Path, backend: str
) -> None:
    (tmp_path / "in_bursts.py").write_text(
        "import anyio\nseen = []\n"
        "async def pace(instance):\n"
        "    seen.append(1)\n"
        "    if len(seen) % 20 == 0:\n"
        "        await anyio.sleep(0.04)\n"
        "    return instance\n"
    )
    file = pipeline_file(
        tmp_path / "p.toml",
        sources={"made": {"type": "synthetic", "instances": 160, "size": "32 KiB", "modality": "MR"}},
        filters={"pace": {"type": "call", "from": "made", "function": "in_bursts:pace"}},
        sinks={"out": {"type": "directory", "from": "pace", "path": "out", "fsync": False}},
    )
    moments = random.Random(backend)
    seen = []
    for _ in range(2 if backend == "asyncio" else 1):
        process = run.start(
            "run", file, "-q", "--backend", backend, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        before = len(visible(tmp_path / "out"))
        end = time.monotonic() + 10
        while len(visible(tmp_path / "out")) <= before and process.poll() is None and time.monotonic() < end:
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.15))
        process.send_signal(signal.SIGKILL)
        process.wait()
        found = visible(tmp_path / "out")
        seen.append(len(found))
        assert [path for path in found if not whole(path)] == []
        if len(found) == 160:
            break
    assert 0 < seen[0] < 160, f"it was to be killed at work: {seen}"
    run("run", file, "--backend", backend).must(0)
    found = visible(tmp_path / "out")
    assert len(found) == 160
    assert [path for path in found if not whole(path)] == []
    other = pipeline_file(
        tmp_path / "q.toml",
        sources={"in": {"type": "directory", "path": "out"}},
        sinks={"count": {"type": "directory", "from": "in", "path": "again", "fsync": False}},
    )
    run("run", other, "--backend", backend, "--report", tmp_path / "r.json").must(0)
    figures = report(tmp_path / "r.json")["pipeline"]
    assert (figures["accepted"], figures["emitted"]) == (160, 160), (
        "what was left half-written is no source of anything"
    )


def test_temporary_files_of_a_run_that_died_are_cleared_away(run: Command, tmp_path: Path) -> None:
    """Killed in the middle of large files nothing half-written shows; what a dead process left is gone after the next run."""
    file = pipeline_file(
        tmp_path / "p.toml",
        sources={"made": {"type": "synthetic", "instances": 6, "size": "48 MiB", "modality": "MR"}},
        sinks={"out": {"type": "directory", "from": "made", "path": "out", "fsync": False}},
    )
    for pause in (0.01, 0.03, 0.05, 0.1):
        process = run.start("run", file, "-q", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not (tmp_path / "out").exists():
            time.sleep(0.0005)
        time.sleep(pause)
        process.kill()
        process.wait()
        assert [path for path in visible(tmp_path / "out") if not whole(path)] == []
    code = "from dcmflow.sinks.writing import temporary_name; print(temporary_name())"
    dead = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()
    run("run", file).must(0)
    folder = visible(tmp_path / "out")[0].parent
    (folder / dead).write_bytes(b"half of a file")
    run("run", file).must(0)
    assert len(visible(tmp_path / "out")) == 6
    assert [name for name in everything(tmp_path / "out") if Path(name).name.startswith(".")] == []


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_full_disk_refuses_what_does_not_fit_and_keeps_what_does(
    run: Command, tmp_path: Path, small_tmpfs: Callable[[int], Path], backend: str
) -> None:
    disk = small_tmpfs(1 << 20)
    file = pipeline_file(
        tmp_path / "p.toml",
        sources={"made": {"type": "synthetic", "instances": 40, "size": "64 KiB", "modality": "MR"}},
        sinks={
            "small": {"type": "directory", "from": "made", "path": disk / "out", "layout": FLAT},
            "large": {"type": "directory", "from": "made", "path": "large", "layout": FLAT},
        },
    )
    done = run("run", file, "--backend", backend, "--report", tmp_path / "r.json").must(1)
    said = report(tmp_path / "r.json")
    kept = visible(disk / "out")
    assert 0 < len(kept) < 40
    assert [path for path in kept if not whole(path)] == []
    assert everything(disk / "out") == [path.name for path in kept], "no temporary file takes up what is left"
    assert len(visible(tmp_path / "large")) == 40, "the other destination has all of them"
    refused = {each["sop_instance_uid"] for each in said["refusals"]}
    assert said["pipeline"]["refused"] == 40 - len(kept) == len(refused)
    assert refused.isdisjoint({path.stem for path in kept})
    assert {each["stage"] for each in said["refusals"]} == {"small"}
    assert all(each["status"] in ("A700", 0xA700) for each in said["refusals"]), said["refusals"][0]
    assert "small" in done.err


def test_a_full_disk_keeps_the_source_of_a_move(
    run: Command, tmp_path: Path, small_tmpfs: Callable[[int], Path]
) -> None:
    disk = small_tmpfs(512 << 10)
    corpus.big(tmp_path / "in", 20, 65_536)
    before = {path.name: path.read_bytes() for path in visible(tmp_path / "in")}
    run("sort", tmp_path / "in", disk / "out", "--move", "--layout", "{InstanceNumber:06d}.dcm").must(1)
    here, there = visible(tmp_path / "in"), visible(disk / "out")
    assert 0 < len(there) < 20
    assert len(here) + len(there) == 20
    for path in here:
        assert path.read_bytes() == before[path.name]
    assert [path for path in there if not whole(path)] == []


def test_a_destination_that_stops_being_writable(run: Command, tmp_path: Path) -> None:
    """Its folder loses its permissions after the first files: the rest is refused, named, and can be sent again."""
    (tmp_path / "lock_it.py").write_text(
        "import os\nseen = []\n"
        "def count(instance):\n"
        "    seen.append(1)\n"
        "    if len(seen) == 20:\n"
        f"        os.chmod({str(tmp_path / 'out')!r}, 0o555)\n"
        "    return instance\n"
    )
    file = pipeline_file(
        tmp_path / "p.toml",
        sources={"made": {"type": "synthetic", "instances": 60, "size": 4096, "modality": "MR"}},
        filters={"lock": {"type": "call", "from": "made", "function": "lock_it:count"}},
        sinks={
            "out": {
                "type": "directory",
                "from": "lock",
                "path": "out",
                "layout": FLAT,
                "fsync": False,
                "inbox": 1,
            },
            "other": {"type": "directory", "from": "lock", "path": "other", "layout": FLAT, "fsync": False},
        },
    )
    done = run("run", file, "--report", tmp_path / "r.json", powerless=True).must(1)
    kept = len(visible(tmp_path / "out"))
    assert 0 < kept < 60
    assert report(tmp_path / "r.json")["pipeline"]["refused"] == 60 - kept
    assert len(visible(tmp_path / "other")) == 60
    assert "out" in done.err
    os.chmod(tmp_path / "out", 0o755)
    (tmp_path / "lock_it.py").write_text("def count(instance):\n    return instance\n")
    run("run", file, powerless=True).must(0)
    assert digests(visible(tmp_path / "out")) == digests(visible(tmp_path / "other"))


def test_a_link_in_the_destination_does_not_lead_out_of_it(run: Command, lone: Path, tmp_path: Path) -> None:
    """Somebody's symbolic link has the name of the file to be written: what it points to stays as it is."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "out").mkdir()
    name = f"{pydicom.dcmread(lone).SOPInstanceUID}.dcm"
    for exists in ("replace", "skip", "keep-both"):
        (tmp_path / "out" / name).unlink(missing_ok=True)
        (tmp_path / "out" / name).symlink_to(victim)
        run(
            "run", source_to_sink(tmp_path / "p.toml", lone, tmp_path / "out", layout=FLAT, exists=exists)
        ).readable()
        assert victim.read_text() == "precious"


CUTS = {"in the file meta": 200, "in a value": 1009, "between two elements": 1000}


@pytest.mark.parametrize("where", CUTS)
def test_a_stub_in_the_way_does_not_count_as_present(run: Command, tmp_path: Path, where: str) -> None:
    """The beginning of the very file that is to be written, left by a program that died: Success means the whole."""
    given = corpus.big(tmp_path / "in", 3, 4096)
    first = next(iter(given))
    (tmp_path / "out").mkdir()
    target = tmp_path / "out" / f"{given.uids[first]}.dcm"
    target.write_bytes(given[first].read_bytes()[: CUTS[where]])
    done = run(
        "run", source_to_sink(tmp_path / "p.toml", tmp_path / "in", tmp_path / "out", layout=FLAT)
    ).readable()
    assert given.uids[first] in done.err, "it is said what was found there"
    if done.code == 0:
        assert target.stat().st_size > 4096
        assert whole(target)
    assert len(visible(tmp_path / "out")) == 3


@pytest.mark.timeout(60)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_memory_does_not_grow_with_the_length_of_the_run(run: Command, tmp_path: Path, backend: str) -> None:
    """The largest resident size of a run four times as long is the same, give or take a few megabytes."""
    peaks = []
    for count in (1000, 4000):
        file = pipeline_file(
            tmp_path / f"{count}.toml",
            sources={"made": {"type": "synthetic", "instances": count, "size": 4096, "modality": "MR"}},
            filters={
                "change": {"type": "edit", "from": "made", "set": {"PatientName": "Anon"}},
                "some": {"type": "where", "from": "change", "match": "Modality == 'MR'"},
            },
            routers={"by": {"type": "match", "from": "some", "branch": {"odd": "InstanceNumber > 3"}}},
            sinks={"out": {"type": "discard", "from": ["by.odd", "by.*"]}},
        )
        process = run.start("run", file, "-q", "--backend", backend, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.stderr is not None
        assert process.returncode == 0, process.stderr.read()
        process.stderr.close()
        peaks.append(usage.ru_maxrss / 1024)
    assert peaks[1] - peaks[0] < 8, f"MiB: {peaks}"


def test_refusals_do_not_pile_up_in_memory_without_end(run: Command, tmp_path: Path) -> None:
    """What is refused is said while it happens; 4000 refusals take hardly more memory than 1000."""
    peaks = []
    for count in (1000, 4000):
        file = pipeline_file(
            tmp_path / f"{count}.toml",
            sources={"made": {"type": "synthetic", "instances": count, "size": 1024, "modality": "MR"}},
            routers={"by": {"type": "match", "from": "made", "branch": {"none": "Modality == 'CT'"}}},
            sinks={"out": {"type": "discard", "from": "by.none"}},
        )
        process = run.start("run", file, "-q", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 1
        peaks.append(usage.ru_maxrss / 1024)
    assert peaks[1] - peaks[0] < 8, f"MiB: {peaks}"


def test_a_large_file_never_sits_in_memory(run: Command, tmp_path: Path) -> None:
    """256 MiB of pixels, edited on their way by a process that may have 220 MB of its own memory."""
    size = 256 << 20
    ds = corpus.mr(patient="LARGE", PixelData=b"\0" * 1024, Rows=8192, Columns=size // 2 // 8192)
    head = corpus.part10(ds)[:-1024]
    with (tmp_path / "large.dcm").open("wb") as file:
        file.write(head[:-4] + size.to_bytes(4, "little"))
        file.truncate(len(head) + size)
    pipeline = pipeline_file(
        tmp_path / "p.toml",
        sources={"in": {"type": "directory", "path": "large.dcm"}},
        filters={"change": {"type": "edit", "from": "in", "set": {"PatientName": "Anon"}}},
        sinks={"out": {"type": "directory", "from": "change", "path": "out", "fsync": False, "layout": FLAT}},
    )
    run("run", pipeline, memory=220_000_000).must(0)
    (arrived,) = visible(tmp_path / "out")
    assert arrived.stat().st_size > size
    assert pydicom.dcmread(arrived, stop_before_pixels=True).PatientName == "Anon"


def test_files_that_come_and_go_while_they_are_read_stop_nothing(run: Command, tmp_path: Path) -> None:
    """Another program renames and removes files in the source folder all the while."""
    given = corpus.big(tmp_path / "in", 600, 2048)
    file = source_to_sink(tmp_path / "p.toml", tmp_path / "in", tmp_path / "out", layout=FLAT, fsync=False)
    over = threading.Event()

    def disturb() -> None:
        moved = list(given.paths)[::7]
        while not over.is_set():
            for path in moved:
                other = path.with_suffix(".away")
                if path.exists():
                    path.rename(other)
                if other.exists():
                    other.rename(path)

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        done = run("run", file, "--report", tmp_path / "r.json").readable()
    finally:
        over.set()
        thread.join()
    assert done.code in (0, 1), done
    undisturbed = {given.uids[name] for number, name in enumerate(given) if number % 7}
    arrived = visible(tmp_path / "out")
    assert undisturbed <= {path.stem for path in arrived}
    assert [path for path in arrived if not whole(path)] == []
    assert (done.code == 1) == (report(tmp_path / "r.json")["pipeline"]["refused"] > 0)


def test_two_runs_into_one_folder_at_once(run: Command, base_set: Corpus, tmp_path: Path) -> None:
    given = corpus.big(tmp_path / "in", 300, 4096)
    files = [
        source_to_sink(tmp_path / f"{n}.toml", tmp_path / "in", tmp_path / "out", layout=FLAT, fsync=False)
        for n in "ab"
    ]
    processes = [run.start("run", file, "-q") for file in files]
    for process in processes:
        _, err = process.communicate(timeout=15)
        assert process.returncode == 0, err
    assert {path.stem for path in visible(tmp_path / "out")} == set(given.uids.values())
    assert everything(tmp_path / "out") == sorted(path.name for path in visible(tmp_path / "out"))


@pytest.mark.parametrize("edit", [False, True])
def test_a_destination_inside_the_source_ends(
    run: Command, base_set: Corpus, tmp_path: Path, edit: bool
) -> None:
    """What is written is not taken for what is to be read, over and over."""
    folder = tmp_path / "in"
    shutil.copytree(base_set.folder, folder)
    file = pipeline_file(
        tmp_path / "p.toml",
        sources={"in": {"type": "directory", "path": folder}},
        filters={
            "change": {"type": "edit", "from": "in", "set": {"SOPInstanceUID": "2.25.1"} if edit else {}}
        },
        sinks={
            "out": {
                "type": "directory",
                "from": "change",
                "path": folder / "zzz",
                "exists": "keep-both",
                "fsync": False,
            }
        },
    )
    done = run("run", file).readable()
    assert done.code in (0, 2)
    assert set(digests(base_set.paths)) <= set(digests(visible(folder)))
    assert len(visible(folder)) <= 24, "each file once"


def test_a_file_that_is_still_being_written_is_waited_for(run: Command, tmp_path: Path) -> None:
    """A watched folder: half of a file, a pause, the other half."""
    (tmp_path / "in").mkdir()
    file = pipeline_file(
        tmp_path / "p.toml",
        sources={"in": {"type": "directory", "path": "in", "watch": True, "after": "delete"}},
        sinks={"out": {"type": "directory", "from": "in", "path": "out", "layout": FLAT}},
    )
    data = corpus.part10(corpus.mr(patient="SLOW", side=64))
    process = run.start("run", file, "--report", tmp_path / "r.json")
    try:
        with (tmp_path / "in" / "slow.dcm").open("wb") as slow:
            for start in range(0, len(data), len(data) // 6 + 1):
                slow.write(data[start : start + len(data) // 6 + 1])
                slow.flush()
                time.sleep(0.15)
        end = time.monotonic() + 10
        while not visible(tmp_path / "out") and time.monotonic() < end:
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=15)
    assert process.returncode == 0, err
    (arrived,) = visible(tmp_path / "out")
    assert whole(arrived)
    assert report(tmp_path / "r.json")["pipeline"]["refused"] == 0
    assert visible(tmp_path / "in") == []
