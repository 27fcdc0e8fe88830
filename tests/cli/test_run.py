"""`dcmflow run`: exit codes, summary, report, log lines."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., subprocess.CompletedProcess[str]]
Write = Callable[..., Path]

REPORT_KEYS = {"version", "pipeline", "stages", "refusals"}
PIPELINE_KEYS = {"emitted", "accepted", "dropped", "refused", "unsettled", "not_dicom", "seconds", "bytes"}
REFUSAL_KEYS = {"stage", "sop_instance_uid", "status", "reason", "path"}


def _closes(pipeline: dict[str, Any]) -> bool:
    parts = ("accepted", "dropped", "refused", "unsettled")
    return bool(pipeline["emitted"] == sum(pipeline[part] for part in parts))


def test_all_done(dcmflow: Command, pipeline: Write) -> None:
    done = dcmflow("run", pipeline())
    assert done.returncode == 0
    assert "emitted 10 = accepted 10 + dropped 0 + refused 0\n" in done.stdout
    assert "warning" not in done.stderr
    assert "pipeline-started" in done.stderr
    assert "pipeline-finished" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def test_everything_dropped_is_done(dcmflow: Command, pipeline: Write) -> None:
    done = dcmflow("run", pipeline("drop"))
    assert done.returncode == 0
    assert "emitted 10 = accepted 0 + dropped 10 + refused 0\n" in done.stdout


def test_nothing_to_do_is_done(dcmflow: Command, work: Path) -> None:
    (work / "inbox").mkdir()
    (work / "inbox" / "readme.txt").write_text("no DICOM")
    (work / "p.toml").write_text(
        '[sources.inbox]\ntype = "directory"\npath = "inbox"\n[sinks.out]\ntype = "discard"\nfrom = "inbox"\n'
    )
    done = dcmflow("run", "p.toml")
    assert done.returncode == 0
    assert "emitted 0 = accepted 0 + dropped 0 + refused 0\nnot DICOM 1" in done.stdout


def test_some_failed(dcmflow: Command, pipeline: Write, work: Path) -> None:
    done = dcmflow("run", pipeline("refuse_every_third", instances=40), "--report", "r.json")
    assert done.returncode == 1
    assert "emitted 40 = accepted 27 + dropped 0 + refused 13\n" in done.stdout
    logged = [line for line in done.stderr.splitlines() if "instance-refused stage=act" in line]
    assert len(logged) == 13
    assert all("status=A701" in line and 'reason="every third"' in line for line in logged)
    assert "dcmflow: 13 of 40 instances were refused\n" in done.stderr

    report = json.loads((work / "r.json").read_text())
    assert set(report) == REPORT_KEYS
    assert report["version"] == 1
    assert set(report["pipeline"]) == PIPELINE_KEYS
    assert _closes(report["pipeline"])
    assert (
        report["pipeline"]["refused"] == len(report["refusals"]) == report["stages"]["act"]["refused"] == 13
    )
    assert len({refusal["sop_instance_uid"] for refusal in report["refusals"]}) == 13
    for refusal in report["refusals"]:
        assert set(refusal) == REFUSAL_KEYS
        assert (refusal["stage"], refusal["status"], refusal["reason"]) == ("act", "A701", "every third")
    assert report["stages"]["act"]["in"] == 40
    assert report["stages"]["out"]["in"] == report["stages"]["out"]["out"] == 27


def test_without_a_log_the_first_refusals_are_listed(dcmflow: Command, pipeline: Write) -> None:
    done = dcmflow("run", pipeline("refuse", instances=12), "--quiet")
    assert done.returncode == 1
    assert sum(line.startswith("refused: ") for line in done.stderr.splitlines()) == 10
    assert "and 2 more, see --report\n" in done.stderr


def test_nothing_in_a_reason_commands_the_terminal(dcmflow: Command, pipeline: Write) -> None:
    done = dcmflow("run", pipeline("refuse", instances=1))
    assert "\x1b" not in done.stderr
    assert "no room" in done.stderr
    assert "\n" + "red" not in done.stderr
    quiet = dcmflow("run", pipeline("refuse", instances=1), "--quiet")
    assert ": no room\\n\\x1b[31mred\n" in quiet.stderr


def test_report_on_stdout(dcmflow: Command, pipeline: Write) -> None:
    done = dcmflow("run", pipeline("refuse_every_third"), "--format", "json")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert set(report) == REPORT_KEYS
    assert len(report["refusals"]) == report["pipeline"]["refused"] == 3


def test_best_effort_is_reported_and_no_failure(dcmflow: Command, pipeline: Write) -> None:
    file = pipeline()
    file.write_text(
        file.read_text()
        + '[sinks.mirror]\ntype = "directory"\npath = "mirror"\nfrom = "made"\nrequired = false\n'
        'exists = "refuse"\nlayout = "{SeriesInstanceUID}.dcm"\n'
    )
    done = dcmflow("run", file, "--format", "json")
    report = json.loads(done.stdout)
    assert (done.returncode, report["pipeline"]["accepted"]) == (0, 10)
    assert len(report["refusals"]) == 9
    assert {refusal["required"] for refusal in report["refusals"]} == {False}


def test_report_replaces_the_one_before(dcmflow: Command, pipeline: Write, work: Path) -> None:
    (work / "r.json").write_text("old")
    assert dcmflow("run", pipeline(), "--report", "r.json").returncode == 0
    assert json.loads((work / "r.json").read_text())["pipeline"]["accepted"] == 10
    assert sorted(path.name for path in work.iterdir() if "r.json" in path.name) == ["r.json"]
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((work / "r.json").stat().st_mode) == 0o666 & ~mask


def test_report_behind_a_link_and_in_a_device(dcmflow: Command, pipeline: Write, work: Path) -> None:
    (work / "elsewhere").mkdir()
    (work / "r.json").symlink_to(work / "elsewhere" / "real.json")
    assert dcmflow("run", pipeline(), "--report", "r.json").returncode == 0
    assert (work / "r.json").is_symlink()
    assert json.loads((work / "elsewhere" / "real.json").read_text())["version"] == 1
    done = dcmflow("run", pipeline(), "--report", "/dev/stdout", "-q")
    assert json.loads(done.stdout)["version"] == 1
    assert Path("/dev/stdout").exists()


@pytest.mark.parametrize("path", ["no/such/folder/r.json", "."])
def test_report_that_cannot_be_written(dcmflow: Command, pipeline: Write, work: Path, path: str) -> None:
    file = pipeline(sink='type = "directory"\npath = "out"')
    done = dcmflow("run", file, "--report", path)
    assert done.returncode == 2
    assert f"dcmflow: error: report {path} cannot be written" in done.stderr
    assert not (work / "out").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[sources.a]\ntype = 'synthetic'\n[sinks.b]\ntype = 'discrad'\nfrom = 'a'\n",
            "p.toml:4 [sinks.b] type",
        ),
        ("[sources.a]\ntype = 'synthetic'\n", "sink"),
        ("[sources.a\n", "p.toml:1:11"),
        (
            "[sources.a]\ntype = 'directory'\npath = 'nosuch'\n[sinks.b]\ntype = 'discard'\nfrom = 'a'\n",
            "source 'a' cannot be opened",
        ),
        (
            "[sources.a]\ntype = 'synthetic'\n[sinks.b]\ntype = 'directory'\npath = '/dev/null/x'\nfrom = 'a'\n",
            "sink 'b' cannot be opened",
        ),
    ],
)
def test_wrong_before_anything_moved(dcmflow: Command, work: Path, text: str, said: str) -> None:
    (work / "p.toml").write_text(text)
    done = dcmflow("run", "p.toml")
    assert done.returncode == 2
    assert done.stdout == ""
    assert said in done.stderr.splitlines()[-1]
    assert done.stderr.splitlines()[-1].startswith("dcmflow: error: ")


def test_a_stage_that_stops_the_pipeline(dcmflow: Command, pipeline: Write, work: Path) -> None:
    file = pipeline("refuse")
    file.write_text(file.read_text().replace('refuse"\n', 'refuse"\non-error = "stop"\n'))
    done = dcmflow("run", file, "--report", "r.json")
    assert done.returncode == 1
    assert "dcmflow: error: filter 'act' refused" in done.stderr
    report = json.loads((work / "r.json").read_text())
    assert _closes(report["pipeline"])
    assert report["pipeline"]["accepted"] == 0
    assert report["refusals"][0]["reason"] == "no room\n\x1b[31mred"


def test_on_trio(dcmflow: Command, pipeline: Write) -> None:
    pytest.importorskip("trio")
    done = dcmflow("run", pipeline("refuse_every_third"), "--backend", "trio")
    assert done.returncode == 1
    assert "emitted 10 = accepted 7 + dropped 0 + refused 3\n" in done.stdout


def test_on_uvloop_where_it_is_installed(dcmflow: Command, pipeline: Write) -> None:
    done = dcmflow("run", pipeline(), "--backend", "uvloop")
    if find_spec("uvloop") is None:
        assert done.returncode == 2
        assert "uvloop is not installed; try: pip install 'dcmflow[uvloop]'" in done.stderr
    else:
        assert done.returncode == 0


def test_json_lines(dcmflow: Command, pipeline: Write) -> None:
    done = dcmflow("run", pipeline("refuse_every_third"), "--log-format", "json")
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    refused = [line for line in lines if line["event"] == "instance-refused"]
    assert len(refused) == 3
    assert {(line["stage"], line["status"], line["level"]) for line in refused} == {
        ("act", "A701", "warning")
    }
    assert lines[-1]["event"] == "pipeline-finished"
    assert lines[-1]["refused"] == 3


def test_quiet_and_verbose(dcmflow: Command, pipeline: Write) -> None:
    file = pipeline()
    quiet, verbose = dcmflow("run", file, "--quiet"), dcmflow("run", file, "-v")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")
    assert "debug stage-opened stage=made type=synthetic" in verbose.stderr
    assert verbose.returncode == 0


def test_quiet_still_names_what_failed(dcmflow: Command, pipeline: Write) -> None:
    done = dcmflow("run", pipeline("refuse_every_third"), "-q")
    assert (done.returncode, done.stdout) == (1, "")
    assert "dcmflow: 3 of 10 instances were refused" in done.stderr
    assert "instance-refused" not in done.stderr


def test_log_file(dcmflow: Command, pipeline: Write, work: Path) -> None:
    done = dcmflow(
        "-q", "run", pipeline("refuse_every_third"), "--log-file", "log.jsonl", "--log-format", "json"
    )
    assert (done.returncode, done.stderr) == (1, "")
    events = [json.loads(line)["event"] for line in (work / "log.jsonl").read_text().splitlines()]
    assert events[0] == "pipeline-started"
    assert events.count("instance-refused") == 3


def test_retries_are_said_once(dcmflow: Command, pipeline: Write, work: Path) -> None:
    code = "\ndef flaky(instance):\n    raise Refused('busy', transient=True)\n"
    functions = work / "functions_of_this_test.py"
    functions.write_text(functions.read_text() + code)
    file = pipeline("flaky", instances=1)
    file.write_text(file.read_text().replace('flaky"\n', 'flaky"\nretry = { attempts = 3, first = 0.01 }\n'))
    done = dcmflow("run", file)
    assert done.returncode == 1
    assert done.stderr.count("retry-scheduled") == 2
    assert "stamina" not in done.stderr


def test_exit_code_outlives_a_reader_that_goes_away(
    start: Callable[..., subprocess.Popen[str]], pipeline: Write
) -> None:
    process = start("run", pipeline("refuse_every_third"), "--log-format", "json")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    said = process.stderr.read()
    assert process.wait(timeout=15) == 1
    assert [json.loads(line)["level"] for line in said.splitlines()].count("error") == 0


def test_exit_code_when_nobody_reads_anything(
    work: Path, environment: dict[str, str], pipeline: Write
) -> None:
    file = pipeline("refuse_every_third")
    process = subprocess.Popen(
        [sys.executable, "-m", "dcmflow", "run", file],
        cwd=work,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(timeout=15) == 1


def test_full_disk_behind_stdout(dcmflow: Command, pipeline: Write) -> None:
    with open("/dev/full", "w") as full:
        done = dcmflow("run", pipeline(), capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stderr.endswith("dcmflow: error: No space left on device\n")


def test_full_disk_behind_the_report(dcmflow: Command, pipeline: Write) -> None:
    done = dcmflow("run", pipeline(), "--report", "/dev/full")
    assert done.returncode == 1
    assert "dcmflow: error: the report cannot be written: No space left on device\n" in done.stderr
    assert "emitted 10" in done.stdout


def test_settings_are_known_to_the_pipeline(dcmflow: Command, work: Path) -> None:
    (work / "settings.toml").write_text("[selectors]\nmine = \"Modality == 'CT'\"\n")
    (work / "p.toml").write_text(
        '[sources.a]\ntype = "synthetic"\nmodality = "CT"\n[filters.f]\ntype = "where"\nmatch = "mine"\nfrom = "a"\n'
        '[sinks.b]\ntype = "discard"\nfrom = "f"\n'
    )
    assert dcmflow("check", "p.toml").returncode == 2
    done = dcmflow("run", "p.toml", "--config", "settings.toml")
    assert done.returncode == 0
    assert "+ dropped 0 +" in done.stdout
