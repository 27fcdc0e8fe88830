"""What holds for every command: help, version, exit codes, streams, common options."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dcmflow import __version__
from dcmflow.cli.app import COMMANDS, main
from dcmflow.cli.common import Usage, split

HEAVY = {"pydicom", "pynetdicom", "structlog", "anyio", "stamina", "numpy", "tenacity"}
_LOADED = """
import json, sys
from dcmflow.cli.app import main
code = main({arguments!r})
print()
print(json.dumps([code, sorted({{name.partition(".")[0] for name in sys.modules}})]))
"""
Command = Callable[..., subprocess.CompletedProcess[str]]


def _loaded(*arguments: str) -> tuple[int, set[str]]:
    command = [sys.executable, "-c", _LOADED.format(arguments=list(arguments))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=15, check=True)
    code, modules = json.loads(done.stdout.splitlines()[-1])
    return code, set(modules)


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["--version"], ["-V"]])
def test_front_page_and_version_load_nothing(arguments: list[str]) -> None:
    code, modules = _loaded(*arguments)
    assert code == 0
    assert modules.isdisjoint(HEAVY | {"cyclopts", "rich", "msgspec", "argparse"})


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_loads_nothing_heavy(command: str) -> None:
    code, modules = _loaded(command, "--help")
    assert code == 0
    assert modules.isdisjoint(HEAVY)


def test_version(dcmflow: Command) -> None:
    done = dcmflow("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"dcmflow {__version__}\n", "")


def test_front_page_lists_the_commands(dcmflow: Command) -> None:
    done = dcmflow("--help")
    assert done.returncode == 0
    assert done.stderr == ""
    for name, command in COMMANDS.items():
        assert f"  {name} " in done.stdout
        assert command.summary.split()[0] in done.stdout
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize("command", ["run", "check", "show", "stages", "config"])
def test_help_page_has_usage_options_and_an_example(dcmflow: Command, command: str) -> None:
    done = dcmflow(command, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: dcmflow {command}")
    assert COMMANDS[command].example in done.stdout
    assert "\x1b" not in done.stdout


def test_help_as_a_word(dcmflow: Command) -> None:
    assert dcmflow("help").stdout == dcmflow("--help").stdout
    assert dcmflow("help", "run").stdout == dcmflow("run", "--help").stdout


def test_without_a_command_the_front_page_is_an_error(dcmflow: Command) -> None:
    done = dcmflow()
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Commands:" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rnu", "x.toml"], "there is no command 'rnu'; did you mean 'run'?"),
        (["xyzzy"], "the commands are run, "),
        (["--colour"], "there is no option --colour before a command"),
        (["run"], "FILE"),
        (["run", "a.toml", "b.toml"], "b.toml"),
        (["run", "a.toml", "--reprot", "x"], "Did you mean --report?"),
        (["run", "a.toml", "--report"], "--report requires an argument"),
        (["run", "a.toml", "--backend", "tiro"], "Choose from"),
        (["run", "a.toml", "--grace", "soon"], "--grace: not a duration: 'soon'"),
        (["run", "a.toml", "--format", "yaml"], "--format is text or json, not 'yaml'"),
        (["run", "a.toml"], "a.toml: there is no such pipeline file"),
        (["check", "."], "this is a directory"),
        (["config"], "config what?"),
        (["config", "shwo"], 'Did you mean "show"?'),
        (["stages", "whre"], "did you mean 'where'?"),
        (["run", "a.toml", "--config"], "--config needs a value"),
        (["--config=", "run", "a.toml"], "--config needs a value"),
        (["--config", "nosuch.toml", "config", "show"], "nosuch.toml: there is no such settings file"),
        (["-q", "-v", "run", "a.toml"], "--quiet and --verbose contradict each other"),
        (["run", "a.toml", "--debug", "--quiet"], "--quiet and --debug contradict each other"),
        (["--log-format", "xml", "run", "a.toml"], "--log-format is text or json, not 'xml'"),
        (
            ["--log-file", "no/such/folder/log", "run", "a.toml"],
            "--log-file no/such/folder/log cannot be written",
        ),
    ],
)
def test_what_cannot_be_right_is_said_in_one_line(dcmflow: Command, arguments: list[str], said: str) -> None:
    done = dcmflow(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert said in done.stderr
    if "--debug" not in arguments:
        assert done.stderr.startswith("dcmflow: error: ")
        assert done.stderr.count("\n") == 1


def test_log_file_is_opened_before_anything_moves(
    dcmflow: Command, pipeline: Callable[..., Path], work: Path
) -> None:
    file = pipeline(sink='type = "directory"\npath = "out"')
    done = dcmflow("run", file, "--log-file", work)
    assert done.returncode == 2
    assert not (work / "out").exists()


def test_debug_shows_where(dcmflow: Command) -> None:
    done = dcmflow("--debug", "run", "nosuch.toml")
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("dcmflow: error: ")


def test_error_as_json_where_log_lines_are(dcmflow: Command) -> None:
    done = dcmflow("run", "nosuch.toml", "--log-format", "json")
    assert json.loads(done.stderr)["message"] == "nosuch.toml: there is no such pipeline file"


def test_options_stand_before_and_after_the_command() -> None:
    before = split(["-v", "--config", "c.toml", "run", "x.toml", "--report", "r"], COMMANDS)
    after = split(["run", "-v", "x.toml", "--report", "r", "--config=c.toml"], COMMANDS)
    assert before == after
    assert before[1] == ["run", "x.toml", "--report", "r"]
    assert before[0].verbose
    assert before[0].config == "c.toml"


def test_nothing_is_taken_after_two_dashes() -> None:
    common, rest = split(["run", "--", "-v", "--config"], COMMANDS)
    assert not common.verbose
    assert rest == ["run", "--", "-v", "--config"]


def test_a_query_keeps_its_short_option() -> None:
    common, rest = split(["sync", "dest", "-q", "PatientID=1"], [*COMMANDS, "sync"])
    assert not common.quiet
    assert rest == ["sync", "dest", "-q", "PatientID=1"]
    assert split(["-q", "sync", "dest"], [*COMMANDS, "sync"])[0].quiet


def test_an_option_wants_its_value() -> None:
    with pytest.raises(Usage, match="--log-file needs a value"):
        split(["run", "--log-file", "--", "x"], COMMANDS)


def test_main_returns_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert main(["nonsense"]) == 2
    assert capsys.readouterr().out == f"dcmflow {__version__}\n"


@pytest.mark.parametrize("command", [["stages"], ["stages", "where"], ["config", "show"], ["--help"]])
def test_a_reader_that_goes_away_ends_it_quietly(
    work: Path, environment: dict[str, str], command: list[str]
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "dcmflow", *command],
        cwd=work,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    with process.stderr:
        said = process.stderr.read()
    assert (process.wait(timeout=15), said) == (0, b"")


@pytest.mark.parametrize("command", [["--help"], ["stages"], ["run", "nosuch.toml"]])
def test_streams_may_be_closed(work: Path, environment: dict[str, str], command: list[str]) -> None:
    line = " ".join([sys.executable, "-m", "dcmflow", *command, "<&- >&- 2>&-"])
    done = subprocess.run(["sh", "-c", line], cwd=work, env=environment, timeout=15, check=False)
    assert done.returncode == (2 if command[0] == "run" else 0)


@pytest.mark.parametrize(
    "command", [["check", "trial.toml"], ["run", "trial.toml"], ["stages"], ["config", "check"]]
)
def test_nothing_waits_for_a_silent_stdin(
    dcmflow: Command, pipeline: Callable[..., Path], command: list[str]
) -> None:
    pipeline()
    reading, writing = os.pipe()
    try:
        assert dcmflow(*command, stdin=reading).returncode == 0
    finally:
        os.close(reading)
        os.close(writing)


def test_text_that_stdout_cannot_hold_is_escaped(
    dcmflow: Command, pipeline: Callable[..., Path], environment: dict[str, str]
) -> None:
    file = pipeline()
    file.write_text(file.read_text().replace("trial", "山田"), encoding="utf-8")
    done = dcmflow("check", file, env=environment | {"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    assert "\\u5c71\\u7530" in done.stdout


def test_works_with_a_home_that_cannot_be_written(
    dcmflow: Command, pipeline: Callable[..., Path], home: Path
) -> None:
    home.chmod(0o555)
    try:
        assert dcmflow("run", pipeline()).returncode == 0
        assert list(home.iterdir()) == []
    finally:
        home.chmod(0o755)
