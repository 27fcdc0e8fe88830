"""The settings file: every field counts, every mistake is named with its place."""

from __future__ import annotations

import json
import os
import pty
import re
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from acceptance_kit import Command, Done, pipeline_file, source_to_sink, visible
from corpus import Corpus

FULL = """\
[local]
ae-title = "OURS"
port = 11999
host = "127.0.0.1"
tls = { cert = "cert.pem", key = "key.pem", ca = "ca.pem" }

[nodes.short]
address = "SHORT@[::1]:4242"
max-associations = 9

[nodes.long]
host = "pacs.example.org"
port = 2762
ae-title = "LONG"
tls = { ca = "ca.pem", verify = false, server-name = "other.example.org" }
timeouts = { connect = 1, acse = 2, dimse = 3, idle = 4 }

[dirs.research]
path = "~/my dicom"
layout = "{PatientID}/{SeriesNumber:03d}.dcm"

[dirs.beside]
path = "beside"

[selectors]
internal = "DeviceSerialNumber in ('12345', '67890')"
external = "not internal"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(FULL)
    return path


def values(run: Command, *arguments: object, **how: Any) -> dict[str, tuple[Any, str]]:
    """What is in effect, and whence: `config show --resolved`."""
    done = run("config", "show", "--resolved", "--format", "json", *arguments, **how).must(0)
    return {each["key"]: (each["value"], each["origin"]) for each in json.loads(done.out)}


def test_every_field_is_honoured(run: Command, config: Path) -> None:
    got = {key: value for key, (value, _) in values(run, "--config", config).items()}
    folder = config.parent
    expected = {
        "local.ae-title": "OURS", "local.port": 11999, "local.host": "127.0.0.1",
        "local.tls.cert": str(folder / "cert.pem"), "local.tls.key": str(folder / "key.pem"),
        "nodes.short.host": "::1", "nodes.short.port": 4242, "nodes.short.ae-title": "SHORT",
        "nodes.short.max-associations": 9,
        "nodes.long.host": "pacs.example.org", "nodes.long.port": 2762, "nodes.long.ae-title": "LONG",
        "nodes.long.max-associations": 4, "nodes.long.tls.verify": False,
        "nodes.long.tls.server-name": "other.example.org", "nodes.long.tls.ca": str(folder / "ca.pem"),
        "nodes.long.timeouts.connect": 1, "nodes.long.timeouts.acse": 2,
        "nodes.long.timeouts.dimse": 3, "nodes.long.timeouts.idle": 4,
        "dirs.research.path": str(run.home / "my dicom"),
        "dirs.research.layout": "{PatientID}/{SeriesNumber:03d}.dcm",
        "dirs.beside.path": str(folder / "beside"),
        "selectors.internal": "DeviceSerialNumber in ('12345', '67890')", "selectors.external": "not internal",
    }  # fmt: skip
    assert {key: got.get(key) for key in expected} == expected


def test_each_value_says_where_it_is_from(run: Command, config: Path) -> None:
    got = values(run, "--config", config)
    assert got["local.port"][1] == f"{config}:3"
    assert got["nodes.short.port"][1] == f"{config}:8"
    assert got["nodes.long.timeouts.idle"][1] == f"{config}:16"
    assert got["nodes.long.max-associations"][1] == "default"


def test_option_before_environment_before_the_usual_place(run: Command, tmp_path: Path) -> None:
    usual = Path(run("config", "path").must(0).out.strip())
    assert usual.is_relative_to(run.home)
    assert not usual.exists()
    assert values(run)["local.ae-title"] == ("DCMFLOW", "default")
    files = {name: tmp_path / f"{name}.toml" for name in ("option", "environment")} | {"usual": usual}
    usual.parent.mkdir(parents=True)
    for name, path in files.items():
        path.write_text(f'[local]\nae-title = "{name.upper()}"\n')
    env = {"DCMFLOW_CONFIG": str(files["environment"])}
    assert values(run)["local.ae-title"] == ("USUAL", f"{usual}:2")
    assert values(run, env=env)["local.ae-title"] == ("ENVIRONMENT", f"{files['environment']}:2")
    assert values(run, "--config", files["option"], env=env)["local.ae-title"][0] == "OPTION"
    before = run("--config", files["option"], "config", "path", env=env).must(0)
    assert before.out.strip() == str(files["option"])


def test_a_missing_file_is_an_empty_one_and_nothing_is_written(run: Command, tmp_path: Path) -> None:
    for arguments in (["config", "show"], ["config", "path"], ["stages"], ["config", "check"]):
        run(*arguments).must(0)
    run("config", "show", "--config", tmp_path / "nowhere.toml").readable()
    assert list(run.home.rglob("*")) == []
    assert list(tmp_path.iterdir()) == []


def test_the_template_uncommented_is_right(run: Command) -> None:
    run("config", "init").must(0)
    path = Path(run("config", "path").out.strip())
    lines = path.read_text().splitlines()
    assert values(run)["local.ae-title"] == ("DCMFLOW", "default"), "all of it is commented out"
    path.write_text(
        "\n".join(re.sub(r"^# ?(?!#)", "", line) for line in lines if not line.startswith("##")) + "\n"
    )
    run("config", "check").must(0)
    got = values(run)
    for table in ("nodes.", "dirs.", "selectors."):
        assert any(key.startswith(table) for key in got), f"the template shows no [{table}x]"
    assert got["local.ae-title"][1] != "default"


def test_init_overwrites_nothing(run: Command) -> None:
    run("config", "init").must(0)
    path = Path(run("config", "path").out.strip())
    path.write_text('[local]\nae-title = "MINE"\n')
    run("config", "init").readable()
    assert path.read_text() == '[local]\nae-title = "MINE"\n'


MISTAKES = {
    "unknown key": ('[local]\naetitle = "X"\n', 2, "ae-title"),
    "unknown table": ('[node.x]\naddress = "X@h:1"\n', 1, "nodes"),
    "unknown key of a node": ('[nodes.x]\naddress = "X@h:1"\nmax-assoc = 3\n', 3, "max-associations"),
    "unknown key of a table in a line": (
        '[nodes.x]\naddress = "X@h:1"\ntimeouts = { conect = 3 }\n',
        3,
        "connect",
    ),
    "wrong type": ('[local]\nport = "many"\n', 2, "port"),
    "out of range": ("[local]\nport = 70000\n", 2, "port"),
    "AE title too long": ('[local]\nae-title = "ABCDEFGHIJKLMNOPQ"\n', 2, "16"),
    "bad address": ('[nodes.x]\naddress = "A@b@c:1"\n', 2, "A@b@c:1"),
    "both ways": ('[nodes.x]\naddress = "A@b:1"\nhost = "c"\n', 3, "host"),
    "neither": ("[nodes.x]\nport = 3\n", 1, "x"),
    "dir without path": ('[dirs.x]\nlayout = "{PatientID}"\n', 1, "path"),
    "bad layout": ('[dirs.x]\npath = "x"\nlayout = "{PatientId}"\n', 3, "PatientID"),
    "bad selector": ('[selectors]\na = "Modalty == 1"\n', 2, "Modality"),
    "one name for a node and a directory": (
        '[nodes.x]\naddress = "A@b:1"\n[dirs.x]\npath = "x"\n',
        3,
        "nodes.x",
    ),
    "one name twice": ('[nodes.x]\naddress = "A@b:1"\n[nodes.x]\naddress = "A@b:2"\n', 3, "x"),
    "no TOML": ("[local]\nport = = 3\n", 2, ""),
    "no end of a string": ('[local]\nae-title = "X\n', 2, ""),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_is_named_with_its_line(run: Command, tmp_path: Path, what: str) -> None:
    text, line, word = MISTAKES[what]
    path = tmp_path / "config.toml"
    path.write_text(text)
    done = run("config", "check", path).must(2)
    assert f"config.toml:{line}" in done.err, done.err
    assert word in done.err
    assert len(done.err.splitlines()) <= 4


def test_a_syntax_error_has_a_column_too(run: Command, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[local]\nport = = 3\n")
    assert re.search(
        r"config\.toml:2:8\b|line 2,? column 8", run("config", "check", tmp_path / "config.toml").must(2).err
    )


def test_names_that_clash_name_both_places(run: Command, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(
        '[nodes.x]\naddress = "A@b:1"\n\n[dirs.x]\npath = "x"\n\n[selectors]\nx = "Rows > 1"\n'
    )
    said = run("config", "check", tmp_path / "config.toml").must(2).err
    assert "nodes.x" in said
    assert "dirs.x" in said


def test_a_command_with_broken_settings_says_so_before_it_does_anything(
    run: Command, base_set: Corpus, tmp_path: Path
) -> None:
    (tmp_path / "config.toml").write_text("[local]\nprot = 3\n")
    file = source_to_sink(tmp_path / "p.toml", base_set.folder, tmp_path / "out")
    done = run("run", file, "--config", tmp_path / "config.toml").must(2)
    assert "config.toml:2" in done.err
    assert not (tmp_path / "out").exists()


def editor(folder: Path, *contents: str) -> str:
    """An editor that writes the first text the first time, the second one the second time, and so on."""
    for number, content in enumerate(contents):
        (folder / f"content{number}").write_text(content)
    script = folder / "editor.py"
    script.write_text(
        f"import pathlib, shutil, sys\n"
        f"folder = pathlib.Path({str(folder)!r})\n"
        f"with open(folder / 'calls', 'a') as calls: calls.write('x')\n"
        f"n = len((folder / 'calls').read_text()) - 1\n"
        f"shutil.copy(folder / f'content{{min(n, {len(contents) - 1})}}', sys.argv[-1])\n"
    )
    return f"{sys.executable} {script}"


def at_terminal(run: Command, *arguments: object, env: dict[str, str]) -> Done:
    """As a person runs it, one who answers everything with the return key."""
    ours, theirs = pty.openpty()
    process = run.start(*arguments, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    os.write(ours, b"\n" * 10)
    said = b""
    try:
        while piece := os.read(ours, 4096):
            said += piece
    except OSError:  # Linux says so when the other side is closed
        pass
    finally:
        os.close(ours)
    return Done(process.wait(timeout=15), said.decode(), "")


def test_the_editor_comes_back_until_the_file_is_right(run: Command, tmp_path: Path) -> None:
    call = editor(tmp_path, "[local]\nport = = 3\n", "[local]\nprot = 3\n", "[local]\nport = 11113\n")
    done = at_terminal(run, "config", "edit", env={"EDITOR": call, "VISUAL": call}).must(0)
    assert (tmp_path / "calls").read_text() == "xxx"
    assert ":2" in done.out, "what was wrong, and where"
    assert "prot" in done.out
    assert values(run)["local.port"][0] == 11113


def test_an_edit_that_is_right_is_kept(run: Command, tmp_path: Path) -> None:
    call = editor(tmp_path, "# mine\n[local]\nport = 11113\n")
    at_terminal(run, "config", "edit", env={"EDITOR": call, "VISUAL": call}).must(0)
    path = Path(run("config", "path").out.strip())
    assert path.read_text() == "# mine\n[local]\nport = 11113\n"
    assert values(run)["local.port"][0] == 11113


def test_an_editor_that_is_not_there_is_said(run: Command) -> None:
    done = at_terminal(
        run, "config", "edit", env={"EDITOR": "no-such-editor", "VISUAL": "no-such-editor"}
    ).must(2)
    assert "no-such-editor" in done.out


def test_an_editor_needs_somebody_at_a_terminal_or_waits_for_nobody(run: Command, tmp_path: Path) -> None:
    call = editor(tmp_path, "[local]\nport = = 3\n")
    run("config", "edit", env={"EDITOR": call, "VISUAL": call}).must(2)


def test_commands_work_without_a_home_that_can_be_written(
    run: Command, base_set: Corpus, tmp_path: Path
) -> None:
    os.chmod(run.home, stat.S_IRUSR | stat.S_IXUSR)
    file = source_to_sink(tmp_path / "p.toml", base_set.folder, tmp_path / "out")
    run("run", file, powerless=True).must(0)
    assert len(visible(tmp_path / "out")) == 12
    assert list(run.home.iterdir()) == []


ADDRESSES = {
    "A@b:11": ("A", "b", 11),
    "b:A:11": ("A", "b", 11),
    "A@b": ("A", "b", 104),
    "A@[::1]:11": ("A", "::1", 11),
    "A@[::1]": ("A", "::1", 104),
    "A@192.168.0.1:11": ("A", "192.168.0.1", 11),
}


def test_addresses_in_the_forms_people_write(run: Command, tmp_path: Path) -> None:
    lines = [f'[nodes.x{n}]\naddress = "{address}"\n' for n, address in enumerate(ADDRESSES)]
    (tmp_path / "c.toml").write_text("".join(lines))
    got = values(run, "--config", tmp_path / "c.toml")
    for n, (address, parts) in enumerate(ADDRESSES.items()):
        assert tuple(got[f"nodes.x{n}.{key}"][0] for key in ("ae-title", "host", "port")) == parts, address


def test_a_windows_path_is_a_path(run: Command, base_set: Corpus, tmp_path: Path) -> None:
    r"""On this system, where `C:\scans` is a name like any other."""
    if os.name != "posix":
        pytest.skip("there it is a real one")
    file = pipeline_file(
        tmp_path / "p.toml",
        sources={"in": {"type": "directory", "path": base_set.folder}},
        sinks={"out": {"type": "directory", "from": "in", "path": "C:\\scans and more",
                       "layout": "{SeriesNumber:03d}/{SOPInstanceUID}"}},
    )  # fmt: skip
    run("run", file, cwd="/").must(0)
    assert len(visible(tmp_path / "C:\\scans and more" / "001")) == 6
