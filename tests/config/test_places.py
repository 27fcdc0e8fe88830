"""Directories as people write them, and what is a directory and what a node."""

from __future__ import annotations

from pathlib import Path

import pytest

from dcmflow.config.places import Folder, parse_directory, parse_place
from dcmflow.config.settings import Settings
from dcmflow.errors import ConfigError
from dcmflow.net.node import Node, Tls

SETTINGS = Settings.loads(
    '[nodes.mypacs]\naddress = "MYPACS@mypacs.org:11112"\n'
    '[dirs.research]\npath = "/data/research"\nlayout = "{PatientID}/{SOPInstanceUID}.dcm"\n'
)


@pytest.mark.parametrize(
    ("text", "path", "layout"),
    [
        ("./out", "out", None),
        ("out/", "out", None),
        (".", "", None),
        ("./out/{PatientID}/{SeriesNumber:03d}.dcm", "out", "{PatientID}/{SeriesNumber:03d}.dcm"),
        ("{PatientID}/x.dcm", "", "{PatientID}/x.dcm"),
        ("/a/b/CT-{PatientID}/x.dcm", "/a/b", "CT-{PatientID}/x.dcm"),
        ("/a/{StudyDate:%Y-%m}/{SOPInstanceUID}", "/a", "{StudyDate:%Y-%m}/{SOPInstanceUID}"),
        ("/{PatientID}/x", "/", "{PatientID}/x"),
        ("my scans/two  spaces/{PatientID}.dcm", "my scans/two  spaces", "{PatientID}.dcm"),
        ("~/scans", "~/scans", None),
        ("/a/../b/", "/b", None),
    ],
)
def test_path_and_layout(
    text: str, path: str, layout: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/users/somebody")
    folder = parse_directory(text, base=tmp_path)
    wanted = Path("/users/somebody/scans") if path.startswith("~") else tmp_path / path
    assert (Path(folder.path), folder.layout) == (wanted, layout)


def test_a_name_of_the_settings() -> None:
    assert parse_directory("research", SETTINGS) == SETTINGS.dirs["research"]
    assert parse_directory("./research", SETTINGS, base=Path("/x")) == Folder(path="/x/research")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "a directory is not empty"),
        ("  ", "a directory is not empty"),
        ("C:\\data\\out", "is a path of Windows"),
        ("d:/data", "is a path of Windows"),
        ("\\\\server\\share", "is a path of Windows"),
        ("a\0b", "NUL character"),
        ("./out/{PatientId}/x.dcm", "PatientID"),
        ("./out/{PatientID}/../x.dcm", ".."),
        ("./out/{PatientID", "{"),
        ("~nobody-has-this-name/x", "cannot be found"),
    ],
)
def test_no_directory(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_directory(text)
    assert problem in str(caught.value)


def test_nodes_and_directories_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inbox").mkdir()
    assert parse_place("mypacs", SETTINGS) == SETTINGS.nodes["mypacs"]
    assert parse_place("dicoms://PACS@pacs:2762") == Node(host="pacs", port=2762, ae_title="PACS", tls=Tls())
    assert parse_place("research", SETTINGS) == SETTINGS.dirs["research"]
    assert parse_place("inbox", SETTINGS) == Folder(path=str(tmp_path / "inbox"))
    assert parse_place("./new") == Folder(path=str(tmp_path / "new"))
    assert parse_place("{PatientID}.dcm") == Folder(path=str(tmp_path), layout="{PatientID}.dcm")
    assert parse_place("..") == Folder(path=str(tmp_path.parent))
    assert parse_place("AE@host") == Node(ae_title="AE", host="host")


def test_a_bare_word_is_never_guessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"'reserch' is no name .* did you mean 'research'\?.*'\./reserch'"):
        parse_place("reserch", SETTINGS)
