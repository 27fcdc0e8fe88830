"""The settings file: every field is used, every mistake is told with its place, and each value knows where it comes from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dcmflow.config.places import Folder
from dcmflow.config.settings import Local, Settings, settings_path
from dcmflow.errors import ConfigError
from dcmflow.net.node import Node, Timeouts, Tls

EXAMPLE = """\
[local]
ae-title = "ME"
port = 4242
host = "127.0.0.1"
tls = { cert = "me.pem", key = "/keys/me.key", ca = "~/ca.pem" }

[nodes.mypacs]
address = "MYPACS@mypacs.org:11112"
max-associations = 9
character-set = "ISO_IR 100"

[nodes.parts]
host = "parts.org"
port = 2762
ae-title = "PARTS"
timeouts = { connect = "2 s", acse = 3, dimse = "1 min", idle = 0.5 }

[nodes.parts.tls]
cert = "me.pem"
key = "me.key"
ca = "ca.pem"
verify = false
server-name = "pacs"

[dirs.research]
path = "~/dicom"
layout = "{PatientID}/{SOPInstanceUID}.dcm"

[dirs.here]
path = "data"

[selectors]
external = "not internal"
internal = "DeviceSerialNumber in ('12345', '67890')"
"""


def test_every_field_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/users/me")
    settings = Settings.loads(EXAMPLE, file="/etc/dcmflow/config.toml")
    assert settings.local == Local(
        ae_title="ME",
        port=4242,
        host="127.0.0.1",
        tls=Tls(cert="/etc/dcmflow/me.pem", key="/keys/me.key", ca="/users/me/ca.pem"),
    )
    assert settings.local.address == "ME@127.0.0.1:4242"
    assert settings.nodes == {
        "mypacs": Node(
            ae_title="MYPACS", host="mypacs.org", port=11112, max_associations=9, character_set="ISO_IR 100"
        ),
        "parts": Node(
            ae_title="PARTS",
            host="parts.org",
            port=2762,
            timeouts=Timeouts(connect=2.0, acse=3.0, dimse=60.0, idle=0.5),
            tls=Tls(
                cert="/etc/dcmflow/me.pem",
                key="/etc/dcmflow/me.key",
                ca="/etc/dcmflow/ca.pem",
                verify=False,
                server_name="pacs",
            ),
        ),
    }
    assert settings.dirs == {
        "research": Folder(path="/users/me/dicom", layout="{PatientID}/{SOPInstanceUID}.dcm"),
        "here": Folder(path="/etc/dcmflow/data"),
    }
    assert settings.selectors == {
        "external": "not internal",
        "internal": "DeviceSerialNumber in ('12345', '67890')",
    }
    for struct in (Local, Node, Timeouts, Tls, Folder):  # a new field has to find its way into the example
        for name in struct.__struct_encode_fields__:
            assert f"{name} =" in EXAMPLE or name in ("timeouts", "tls"), name


def test_durations_are_seconds_whatever_was_written() -> None:
    timeouts = Settings.loads(EXAMPLE).nodes["parts"].timeouts
    assert all(isinstance(getattr(timeouts, name), float) for name in timeouts.__struct_fields__)


def test_a_missing_file_is_an_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    settings = Settings.load(environ={})
    assert (settings.local, settings.nodes, settings.dirs, settings.selectors) == (Local(), {}, {}, {})
    assert settings.file is None
    assert list(tmp_path.iterdir()) == []


def test_the_default_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "dcmflow").mkdir()
    file = tmp_path / "dcmflow" / "config.toml"
    file.write_text("[local]\nport = 5\n")
    assert settings_path(environ={}) == (file, "default")
    settings = Settings.load(environ={})
    assert (settings.file, settings.local.port, settings.origins["config"]) == (file, 5, "default")


def test_a_named_file_has_to_be_there(tmp_path: Path) -> None:
    missing = tmp_path / "no.toml"
    for load in (
        lambda: Settings.load(missing, environ={}),
        lambda: Settings.load(environ={"DCMFLOW_CONFIG": str(missing)}),
    ):
        with pytest.raises(ConfigError) as caught:
            load()
        assert str(caught.value) == f"{missing}: there is no such settings file"


def test_which_file_is_read(tmp_path: Path) -> None:
    one, two = tmp_path / "one.toml", tmp_path / "two.toml"
    one.write_text("[local]\nport = 1\n")
    two.write_text("[local]\nport = 2\n")
    environ = {"DCMFLOW_CONFIG": str(two)}
    assert Settings.load(one, environ=environ).local.port == 1
    assert Settings.load(one, environ=environ).origins["config"] == "--config"
    assert Settings.load(environ=environ).local.port == 2
    assert Settings.load(environ=environ).origins["config"] == "environment variable DCMFLOW_CONFIG"


def test_option_before_environment_before_file_before_default() -> None:
    environ = {"DCMFLOW_PORT": "2", "DCMFLOW_AE_TITLE": "ENV"}
    settings = Settings.loads(
        '[local]\nport = 3\nae-title = "FILE"\n',
        file="c.toml",
        environ=environ,
        options={"local.port": 1, "local.ae-title": None},
    )
    origins = {key: (value, origin) for key, value, origin in settings.resolved()}
    assert origins["local.port"] == (1, "command line")
    assert origins["local.ae-title"] == ("ENV", "environment variable DCMFLOW_AE_TITLE")
    assert origins["local.host"] == ("0.0.0.0", "default")
    from_file = Settings.loads('[local]\nport = 3\nae-title = "FILE"\n', file="c.toml")
    assert ("local.port", 3, "c.toml:2") in from_file.resolved()


def test_every_value_has_an_origin() -> None:
    origins = {key: origin for key, _, origin in Settings.loads(EXAMPLE, file="c.toml").resolved()}
    assert origins["nodes.mypacs.host"] == origins["nodes.mypacs.port"] == "c.toml:8"
    assert origins["nodes.mypacs.timeouts.acse"] == "default"
    assert origins["nodes.parts.timeouts.acse"] == "c.toml:16"
    assert origins["nodes.parts.tls.server-name"] == "c.toml:23"
    assert origins["dirs.here.layout"] == "default"
    assert origins["selectors.internal"] == "c.toml:34"


@pytest.mark.parametrize(
    ("environ", "options", "says"),
    [
        ({"DCMFLOW_PORT": "many"}, {}, "environment variable DCMFLOW_PORT: expected a whole number"),
        ({"DCMFLOW_PORT": "0"}, {}, "environment variable DCMFLOW_PORT: expected a whole number >= 1"),
        ({"DCMFLOW_AE_TITLE": ""}, {}, "environment variable DCMFLOW_AE_TITLE: an AE title is not empty"),
        ({}, {"local.port": 70000}, "command line: expected a whole number <= 65535"),
        ({}, {"local.prt": 1}, "command line: there is no key 'prt' here; did you mean 'port'?"),
        ({}, {"nodes.x": 1}, "there is no setting 'nodes.x'"),
    ],
)
def test_bad_values_from_elsewhere_name_that_place(
    environ: dict[str, str], options: dict[str, object], says: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        Settings.loads("", file="c.toml", environ=environ, options=options)
    assert says in str(caught.value)
    assert caught.value.file is None


@pytest.mark.parametrize(
    ("text", "table", "key", "line", "says"),
    [
        ("[locl]\n", "locl", None, 1, "there is no table 'locl'; did you mean 'local'?"),
        ("port = 1\n", None, "port", 1, "there is no key 'port' here"),
        ("nodes = 1\n", None, "nodes", 1, "nodes is a table, not 1: write [nodes]"),
        ("[local]\nprt = 1\n", "local", "prt", 2, "did you mean 'port'?"),
        ('[local]\nport = "1"\n', "local", "port", 2, "expected a whole number, got the text '1'"),
        ('[local]\nae-title = "A234567890123456X"\n', "local", "ae-title", 2, "has 17 characters"),
        ('[nodes.a]\n\naddress = "a"\n', "nodes.a", "address", 3, "did you mean 'a:104'?"),
        ("[nodes.a]\naddress = 1\n", "nodes.a", "address", 2, "expected a text, got 1"),
        (
            '[nodes.a]\nhost = "h"\nmax-association = 1\n',
            "nodes.a",
            "max-association",
            3,
            "'max-associations'",
        ),
        ('[nodes.a]\nhost = "h"\nmax-associations = 0\n', "nodes.a", "max-associations", 3, ">= 1, got 0"),
        ('[nodes.a]\nhost = "h h"\n', "nodes.a", "host", 2, "'h h' is no host name"),
        ('[nodes.a]\nhost = "h"\nae-title = "\\\\"\n', "nodes.a", "ae-title", 3, "has the character"),
        ('[nodes.a]\nhost = "h"\ntls = { certs = "x" }\n', "nodes.a", "tls.certs", 3, "did you mean 'cert'?"),
        (
            '[nodes.a]\nhost = "h"\ntls = { key = "x" }\n',
            "nodes.a",
            "tls.key",
            3,
            "a key needs its certificate",
        ),
        ('[nodes."a@b"]\nhost = "h"\n', 'nodes."a@b"', None, 1, "is no name"),
        ('[dirs.a]\nlayout = "{PatientID}/x"\n', "dirs.a", "path", 1, "'path' is missing"),
        ('[dirs.a]\npath = "x"\nlayout = "{Patient}/x"\n', "dirs.a", "layout", 3, "Patient"),
        ('[dirs.a]\npath = "~nobody-at-all/x"\n', "dirs.a", "path", 2, "cannot be found"),
        ('[selectors]\na = "Rows >"\n', "selectors", "a", 2, "^"),
        ('[selectors]\na = "b"\nb = "c"\nc = "a"\n', "selectors", "a", 2, "circle"),
        ('[selectors]\na = "not a"\n', "selectors", "a", 2, "circle"),
        ('[selectors]\n"a b" = "Rows > 1"\n', "selectors", '"a b"', 2, "is no name of a selector"),
        (
            '[nodes.x]\nhost = "h"\n[dirs.x]\npath = "p"\n',
            "dirs.x",
            None,
            3,
            "the name 'x' is taken: nodes.x is on line 1",
        ),
        (
            '[selectors]\nx = "Rows > 1"\n[nodes.x]\nhost = "h"\n',
            "selectors.x",
            None,
            2,
            "the name 'x' is taken: nodes.x is on line 3",
        ),
        (
            '[dirs.x]\npath = "p"\n[selectors]\nx = "Rows > 1"\n',
            "selectors.x",
            None,
            4,
            "the name 'x' is taken: dirs.x is on line 1",
        ),
    ],
)
def test_mistakes_are_told_with_their_place(
    text: str, table: str | None, key: str | None, line: int, says: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        Settings.loads(text, file="c.toml")
    error = caught.value
    assert says in error.problem
    assert (error.file, error.table, error.key, error.line) == ("c.toml", table, key, line)


def test_syntax_errors_have_line_and_column(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[local]\nport 1\n")
    with pytest.raises(ConfigError) as caught:
        Settings.load(file, environ={})
    assert str(caught.value) == f"{file}:2:6: Expected '=' after a key in a key/value pair"


def test_names_are_looked_up_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "c.toml").write_text('[dirs.d]\npath = "../data"\n')
    monkeypatch.chdir(tmp_path)
    assert Settings.load("conf/c.toml", environ={}).dirs["d"].path == os.fspath(tmp_path / "data")
