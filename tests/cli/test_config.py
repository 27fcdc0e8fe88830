"""`dcmflow config`: show, path, check, edit, init."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from dcmflow.cli.editing import TEMPLATE
from dcmflow.config.settings import Settings
from peers.fixtures import Certificates

Command = Callable[..., subprocess.CompletedProcess[str]]

SETTINGS = """\
[local]
ae-title = "HERE"

[nodes."my.pacs"]
address = "MYPACS@pacs.example.org:11112"
timeouts = { dimse = 5 }

[dirs.research]
path = "/data"

[selectors]
ct = "Modality == 'CT'"
"""


@pytest.fixture
def file(work: Path) -> Path:
    path = work / "settings.toml"
    path.write_text(SETTINGS)
    return path


def test_show(dcmflow: Command, file: Path) -> None:
    text = dcmflow("--config", file, "config", "show", "--format", "text")
    assert text.returncode == 0
    shown = Settings.loads(text.stdout)
    assert shown.local.ae_title == "HERE"
    assert shown.nodes["my.pacs"] == Settings.load(file).nodes["my.pacs"]
    assert json.loads(dcmflow("config", "show", "--config", file).stdout)["local"]["port"] == 11112


def test_show_resolved(dcmflow: Command, file: Path, environment: dict[str, str]) -> None:
    more = environment | {"DCMFLOW_PORT": "4242", "DCMFLOW_CONFIG": str(file)}
    rows = json.loads(dcmflow("config", "show", "--resolved", env=more).stdout)
    origins = {row["key"]: (row["value"], row["origin"]) for row in rows}
    assert origins["local.ae-title"] == ("HERE", f"{file}:2")
    assert origins["local.port"] == (4242, "environment variable DCMFLOW_PORT")
    assert origins["local.host"] == ("0.0.0.0", "default")
    text = dcmflow("config", "show", "--resolved", "--format", "text", env=more).stdout
    assert re.search(r"^local.port +4242 +environment variable DCMFLOW_PORT$", text, re.MULTILINE)
    assert text.startswith("settings file ")


def test_path(dcmflow: Command, home: Path, file: Path) -> None:
    assert dcmflow("config", "path").stdout == f"{home}/.config/dcmflow/config.toml\n"
    assert dcmflow("config", "path", "--config", file).stdout == f"{file}\n"


def test_check(dcmflow: Command, file: Path) -> None:
    assert "there is no such file, the defaults are in effect" in dcmflow("config", "check").stdout
    done = dcmflow("config", "check", file)
    assert (done.returncode, done.stdout) == (
        0,
        f"{file}: nothing wrong (1 nodes, 1 directories, 1 selectors)\n",
    )


@pytest.mark.parametrize(
    ("text", "where"),
    [("[local]\nport = = 3\n", ":2:8"), ("[local]\n\nprot = 3\n", ":3"), ("[local]\nport = 70000\n", ":2")],
)
def test_check_says_where(dcmflow: Command, file: Path, text: str, where: str) -> None:
    file.write_text(text)
    done = dcmflow("--config", file, "config", "check")
    assert done.returncode == 2
    assert f"dcmflow: error: {file}{where}" in done.stderr


def test_init(dcmflow: Command, home: Path) -> None:
    done = dcmflow("config", "init")
    assert done.returncode == 0
    written = home / ".config" / "dcmflow" / "config.toml"
    assert written.read_text() == TEMPLATE
    assert dcmflow("config", "check").returncode == 0
    written.write_text("# mine\n")
    again = dcmflow("config", "init")
    assert again.returncode == 2
    assert "there is a settings file already" in again.stderr
    assert written.read_text() == "# mine\n"


def test_template_loads_with_every_line_uncommented() -> None:
    assert Settings.loads(TEMPLATE) == Settings.loads("")
    everything = Settings.loads(re.sub(r"(?m)^# ?", "", TEMPLATE))
    assert set(everything.nodes) == {"mypacs", "research-pacs"}
    assert everything.dirs["research"].layout is not None
    assert set(everything.selectors) == {"internal", "external"}


def test_edit_needs_a_terminal(dcmflow: Command, file: Path) -> None:
    done = dcmflow("--config", file, "config", "edit")
    assert done.returncode == 2
    assert "needs a terminal" in done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[nodes.a]\naddress = "A@h:104"\ntls = { ca = "ca.pem" }\n', ":3 [nodes.a] tls.ca: cannot read"),
        ('[nodes.a]\naddress = "dicoms://A@h:104"\n[nodes.a.tls]\nca = "c.toml"\n', ":4 [nodes.a] tls.ca:"),
        ('[local]\ntls = { ca = "ca.pem" }\n', "[local] tls.cert: who listens with TLS"),
    ],
)
def test_check_reads_certificates(dcmflow: Command, file: Path, text: str, words: str) -> None:
    file.write_text(text)
    (file.parent / "c.toml").write_text("")
    done = dcmflow("--config", file, "config", "check")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"dcmflow: error: {file}")
    assert words in done.stderr


def test_check_with_good_certificates(dcmflow: Command, file: Path, certificates: Certificates) -> None:
    ours = certificates.server
    file.write_text(
        f'[local]\ntls = {{ cert = "{ours.cert}", key = "{ours.key}" }}\n'
        f'[nodes.a]\naddress = "dicoms://A@h:104"\ntls = {{ ca = "{ours.ca}" }}\n'
    )
    done = dcmflow("--config", file, "config", "check")
    assert (done.returncode, done.stderr) == (0, "")
