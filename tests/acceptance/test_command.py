"""The command itself: exit codes, reports, streams, signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import corpus
from acceptance_kit import Command, digests, pipeline_file, report, source_to_sink, visible
from corpus import Corpus


def ended(process: subprocess.Popen[bytes]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=15)
    return process.returncode, out.decode(), err.decode()


@pytest.fixture
def started(run: Command) -> Iterator[list[subprocess.Popen[bytes]]]:
    """What a test starts and then does not end, ends here."""
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def watching(folder: Path) -> Path:
    """A pipeline that does not end by itself."""
    (folder / "in").mkdir()
    return pipeline_file(
        folder / "p.toml",
        sources={"in": {"type": "directory", "path": "in", "watch": True}},
        sinks={"out": {"type": "directory", "from": "in", "path": "out"}},
    )


def wait_for(condition: object, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.02)


# exit codes ----------------------------------------------------------------------------------------------------


def test_all_done_is_0_some_failed_and_all_failed_are_1(
    run: Command, base_set: Corpus, tmp_path: Path
) -> None:
    cut = base_set.paths[0].read_bytes()[:-50]
    for name, good, bad, code in (("all", 3, 0, 0), ("some", 3, 1, 1), ("none", 0, 2, 1), ("empty", 0, 0, 0)):
        folder = tmp_path / name
        folder.mkdir()
        for number in range(good):
            (folder / f"{number}.dcm").write_bytes(base_set.paths[number].read_bytes())
        for number in range(bad):
            (folder / f"bad{number}.dcm").write_bytes(cut)
        file = source_to_sink(tmp_path / f"{name}.toml", folder, tmp_path / f"out-{name}")
        run("run", file, "--report", tmp_path / f"{name}.json").must(code)
        assert len(visible(tmp_path / f"out-{name}")) == good
        figures = report(tmp_path / f"{name}.json")["pipeline"]
        assert (figures["accepted"], figures["refused"]) == (good, bad)


@pytest.mark.parametrize(
    "line",
    [["no-such-command"], ["run"], ["run", "x.toml", "--no-such"], ["run", "x.toml", "--backend", "twisted"],
     ["check", "x.toml", "--format", "xml"], ["--no-such"], ["sort", "a"]],
)  # fmt: skip
def test_what_is_written_wrongly_is_2(run: Command, tmp_path: Path, line: list[str]) -> None:
    done = run(*line, cwd=tmp_path).must(2)
    assert done.out == ""
    assert done.err.strip()
    assert list(tmp_path.iterdir()) == []


def test_a_misspelt_command_or_stage_gets_a_suggestion(run: Command) -> None:
    assert "check" in run("chek").must(2).err
    assert "directory" in run("stages", "directry").must(2).err


@pytest.mark.parametrize(
    ("number", "code", "backend"),
    [(signal.SIGINT, 130, "asyncio"), (signal.SIGTERM, 0, "asyncio"), (signal.SIGINT, 130, "trio")],
)
def test_a_signal_drains(
    run: Command,
    tmp_path: Path,
    started: list[subprocess.Popen[bytes]],
    number: signal.Signals,
    code: int,
    backend: str,
) -> None:
    process = run.start("run", watching(tmp_path), "--backend", backend, "--report", tmp_path / "r.json")
    started.append(process)
    (tmp_path / "in" / "x.dcm").write_bytes(corpus.part10(corpus.mr()))
    wait_for(lambda: visible(tmp_path / "out"))
    process.send_signal(number)
    ending, out, err = ended(process)
    assert ending == code, err
    assert "Traceback" not in err
    figures = report(tmp_path / "r.json")["pipeline"]
    assert (figures["accepted"], figures["unsettled"]) == (1, 0)
    assert "accepted 1" in out + err, "a summary at the end"


def test_a_second_signal_cancels(
    run: Command, tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    (tmp_path / "stuck_for_ever.py").write_text(
        "import anyio, pathlib\n"
        "async def wait(instance):\n"
        f"    pathlib.Path({str(tmp_path / 'at-it')!r}).touch()\n"
        "    await anyio.sleep_forever()\n"
    )
    file = pipeline_file(
        tmp_path / "p.toml",
        sources={"in": {"type": "synthetic"}},
        filters={"stuck": {"type": "call", "from": "in", "function": "stuck_for_ever:wait"}},
        sinks={"out": {"type": "discard", "from": "stuck"}},
    )
    process = run.start("run", file, "--grace", "60 s", "--report", tmp_path / "r.json")
    started.append(process)
    wait_for(lambda: (tmp_path / "at-it").exists())
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None, "the first one waits for what is under way"
    process.send_signal(signal.SIGINT)
    code, _, err = ended(process)
    assert code == 130, err
    assert "Traceback" not in err
    figures = report(tmp_path / "r.json")["pipeline"]
    assert figures["refused"] == figures["emitted"] > 0


# the report ----------------------------------------------------------------------------------------------------


def test_the_report_says_of_each_stage_and_each_refusal(
    run: Command, base_set: Corpus, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    for number, path in enumerate(base_set.paths):
        target = folder / f"{number}.dcm"
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(path.read_bytes())
    (folder / "cut.dcm").write_bytes(base_set.paths[0].read_bytes()[:-50])
    (folder / "notes.txt").write_text("none")
    file = pipeline_file(
        tmp_path / "p.toml",
        head={"name": "reported"},
        sources={"in": {"type": "directory", "path": folder}},
        filters={"some": {"type": "where", "from": "in", "match": "SeriesNumber != 14"}},
        routers={"by": {"type": "match", "from": "some", "branch": {"one": "PatientID == 'TestPat1'"}}},
        sinks={"out": {"type": "directory", "from": "by.one", "path": "out"}},
    )
    run("run", file, "--report", tmp_path / "r.json").must(1)
    said = report(tmp_path / "r.json")
    assert said["version"] == 1
    figures = said["pipeline"]
    assert {key: figures[key] for key in ("emitted", "accepted", "dropped", "refused", "unsettled", "not_dicom")} == {
        "emitted": 13, "accepted": 7, "dropped": 1, "refused": 5, "unsettled": 0, "not_dicom": 1,
    }  # fmt: skip
    assert figures["seconds"] > 0
    size = sum(len(path.read_bytes()) for path in base_set.paths)
    assert 0.5 * size < figures["bytes"] < 1.5 * size
    assert set(said["stages"]) == {"in", "some", "by", "out"}
    assert (said["stages"]["some"]["in"], said["stages"]["some"]["out"]) == (12, 11)
    assert said["stages"]["some"]["dropped"] == 1
    assert (said["stages"]["by"]["refused"], said["stages"]["out"]["in"]) == (4, 7)
    assert len(said["refusals"]) == 5
    for refusal in said["refusals"]:
        assert set(refusal) >= {"stage", "sop_instance_uid", "status", "reason", "path"}
        assert refusal["reason"]
        assert Path(refusal["path"]).parent == folder
    by = [refusal for refusal in said["refusals"] if refusal["stage"] == "by"]
    assert {each["sop_instance_uid"] for each in by} == {
        uid for name, uid in base_set.uids.items() if name.startswith("TestPat2")
    }
    (cut,) = [refusal for refusal in said["refusals"] if refusal["stage"] == "in"]
    assert cut["path"].endswith("cut.dcm")


@pytest.mark.parametrize("option", ["--report", "--log-file"])
def test_a_place_that_cannot_be_written_is_found_before_work_starts(
    run: Command, base_set: Corpus, tmp_path: Path, option: str
) -> None:
    file = source_to_sink(tmp_path / "p.toml", base_set.folder, tmp_path / "out")
    place = tmp_path / "no" / "such" / "folder" / "x" if option == "--report" else tmp_path
    done = run("run", file, option, place).must(2)
    assert str(place) in done.err
    assert not (tmp_path / "out").exists()


def test_json_on_stdout_is_the_report_and_nothing_else(
    run: Command, base_set: Corpus, tmp_path: Path
) -> None:
    file = source_to_sink(tmp_path / "p.toml", base_set.folder, tmp_path / "out")
    done = run("run", file, "--format", "json").must(0)
    assert json.loads(done.out)["pipeline"]["accepted"] == 12


# what is said --------------------------------------------------------------------------------------------------


def test_quiet_verbose_and_debug(run: Command, base_set: Corpus, tmp_path: Path) -> None:
    file = source_to_sink(tmp_path / "p.toml", base_set.folder, tmp_path / "out")
    quiet = run("-q", "run", file).must(0)
    assert (quiet.out, quiet.err) == ("", "")
    plain, verbose, debug = (run("run", file, *level).must(0) for level in ([], ["-v"], ["--debug"]))
    assert len(verbose.err.splitlines()) >= len(plain.err.splitlines())
    assert len(debug.err.splitlines()) >= len(verbose.err.splitlines())
    assert len(debug.err.splitlines()) > len(plain.err.splitlines())
    for done in (plain, verbose, debug):
        assert "warning" not in done.err.lower(), "a run without trouble warns of nothing"
        assert "\x1b" not in done.out + done.err
        assert "\r" not in done.err, "no progress where there is no terminal"


def test_quiet_still_says_what_failed(run: Command, lone: Path, tmp_path: Path) -> None:
    lone.write_bytes(lone.read_bytes()[:-50])
    done = run("run", source_to_sink(tmp_path / "p.toml", lone, tmp_path / "out"), "-q").must(1)
    assert "lone.dcm" in done.err
    assert done.out == ""


@pytest.mark.parametrize("levels", [["-q", "-v"], ["-q", "--debug"]])
def test_levels_that_contradict_each_other(
    run: Command, lone: Path, tmp_path: Path, levels: list[str]
) -> None:
    done = run("run", source_to_sink(tmp_path / "p.toml", lone, tmp_path / "out"), *levels)
    assert done.code == 2
    assert "contradict" in done.err
    assert not (tmp_path / "out").exists()


def test_a_log_file_gets_lines_a_program_can_read(run: Command, lone: Path, tmp_path: Path) -> None:
    file = source_to_sink(tmp_path / "p.toml", lone, tmp_path / "out")
    run("run", file, "--log-file", tmp_path / "log", "--log-format", "json").must(0)
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert any(line.get("event") == "pipeline-finished" for line in lines)
    run("run", file, "--log-file", tmp_path / "log").must(0)
    assert len((tmp_path / "log").read_text().splitlines()) > len(lines), "a log goes on"


def test_debug_shows_where_an_error_comes_from_and_else_nothing_does(run: Command, tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text("[sources.x]\ntype = 'nothing'\n")
    assert len(run("run", tmp_path / "p.toml").must(2).err.splitlines()) == 1
    assert "Traceback" in run("--debug", "run", tmp_path / "p.toml").err


def test_help_and_version(run: Command) -> None:
    assert run("--version").must(0).out.strip().split()[-1].count(".") >= 1
    text = run("--help").must(0).out
    for command in ("run", "check", "show", "stages", "sort", "dump", "diff", "config"):
        assert command in text
        assert "Example:" in run(command, "--help").must(0).out


def test_help_of_dump_names_its_options(run: Command) -> None:
    text = run("dump", "--help").must(0).out
    for option in ("--element", "--exclude", "--no-private", "--format", "--bulk", "--depth"):
        assert option in text


def test_help_needs_none_of_the_heavy_libraries(run: Command) -> None:
    code = "import sys\ntry:\n from dcmflow.cli.app import main; main(['--help'])\nexcept (SystemExit, TypeError): pass\n"
    code += "import dcmflow; print([m for m in ('pydicom','pynetdicom','structlog','rich') if m in sys.modules], file=sys.stderr)"
    done = subprocess.run(
        [run.line()[0], "-c", code], env=run.environment({}), capture_output=True, text=True, check=False
    )
    assert done.stderr.splitlines()[-1] == "[]"


@pytest.mark.parametrize("kind", ["source", "filter", "router", "sink"])
def test_every_stage_is_described_with_an_example_that_is_right(
    run: Command, tmp_path: Path, kind: str
) -> None:
    listed = run("stages").must(0).out
    names = {"source": ["directory", "inlet", "synthetic"], "filter": ["where", "edit", "dedupe", "call"],
             "router": ["match", "lookup", "call"], "sink": ["directory", "quarantine", "discard", "outlet"]}[kind]  # fmt: skip
    for name in names:
        assert name in listed
    schema = json.loads(run("stages", f"{kind}.{names[0]}", "--schema").must(0).out)
    assert "on-error" in json.dumps(schema)


# streams -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stdin", ["silent pipe", "closed"])
def test_nothing_waits_for_stdin(
    run: Command, base_set: Corpus, tmp_path: Path, started: list[subprocess.Popen[bytes]], stdin: str
) -> None:
    file = source_to_sink(tmp_path / "p.toml", base_set.folder, tmp_path / "out")
    lines = [["run", file], ["sort", base_set.folder, f"{tmp_path}/sorted"], ["dump", base_set.paths[0]],
             ["config", "show"], ["sort", "nowhere", "./x"]]  # fmt: skip
    for line in lines:
        if stdin == "closed":
            process = subprocess.Popen(
                ["sh", "-c", 'exec "$@" <&-', "sh", *run.line(*line)],
                env=run.environment({}), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
            started.append(process)
            code = process.wait(timeout=15)
        else:
            process = run.start(*line, stdin=subprocess.PIPE)
            started.append(process)
            code = process.wait(timeout=15)  # its stdin is open and says nothing all the while
        assert process.stderr is not None
        assert code == (2 if "nowhere" in line else 0), process.stderr.read()
    assert len(visible(tmp_path / "out")) == len(visible(tmp_path / "sorted")) == 12


def test_a_reader_that_goes_away_ends_a_dump_quietly(run: Command, base_set: Corpus) -> None:
    line = run.line("dump", "--format", "tree", *base_set.paths * 30)
    reader = subprocess.Popen(line, env=run.environment({}), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert reader.stdout is not None
    assert reader.stderr is not None
    reader.stdout.readline()
    reader.stdout.close()
    said = reader.stderr.read().decode()
    reader.stderr.close()
    reader.wait(timeout=15)
    assert said == ""


def test_a_reader_that_goes_away_does_not_stop_a_run(run: Command, base_set: Corpus, tmp_path: Path) -> None:
    """Neither stdout nor stderr has a reader: the objects arrive all the same, as after `dcmflow run p.toml | head`."""
    file = source_to_sink(tmp_path / "p.toml", base_set.folder, tmp_path / "out")
    for stream in ("stdout", "stderr"):
        read, write = os.pipe()
        os.close(read)
        other = {"stdout": "stderr", "stderr": "stdout"}[stream]
        process = run.start(
            "run", file, "--report", tmp_path / "r.json", **{stream: write, other: subprocess.PIPE}
        )
        os.close(write)
        out, err = process.communicate(timeout=15)
        assert b"Traceback" not in (out or b"") + (err or b"")
        assert digests(visible(tmp_path / "out")) == digests(base_set.paths), stream
        assert report(tmp_path / "r.json")["pipeline"]["accepted"] == 12


def test_full_stdout_is_no_success(run: Command, base_set: Corpus) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    with open("/dev/full", "wb") as full:
        process = run.start("dump", "--format", "json", *base_set.paths, stdout=full)
        _, err = process.communicate(timeout=15)
    assert process.returncode not in (0, None)
    assert b"Traceback" not in err
