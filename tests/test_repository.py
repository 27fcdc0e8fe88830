"""What must not be in the project: machine paths, addresses of registries, files that ran away."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "dcmflow"
LONGEST = 400
_NOT_OURS = {".git", ".venv", ".nox", "__pycache__", "build", "dist", "out"}

# In pieces, so that this file may be searched as well.
_FOLDERS = ["wo" + "rk", "ro" + "ot", "ho" + "me"]
_HOSTS = [
    r"pypi\." + "org",
    r"python" + r"hosted\.",
    r"npm" + r"js\.",
    r"deb\." + r"debian\.",
    "index" + "-url",
]
_WORDS = [
    "C" + "EO",
    "cla" + "ude",
    "anthro" + "pic",
    "dcmflow" + "-dev",
    "exem" + "plars",
    "accept" + r"ance\.md",
    "/sha" + "red/",
]
FORBIDDEN = {
    # not `https://example.org/…/`, not `{folder}/…/`, not `./…/`
    "a path of one machine": re.compile(r"(?<![\w.}*~-])/(?:" + "|".join(_FOLDERS) + r")/"),
    "the address of a package registry": re.compile("|".join(_HOSTS)),
    "a word of a workplace": re.compile(
        r"(?<!\w)(?:" + "|".join([_WORDS[0], *(f"(?i:{word})" for word in _WORDS[1:])]) + ")"
    ),
}


def forbidden(text: str) -> list[str]:
    """What a text must not say, each with its line."""
    return [
        f"{number}: {what}: {match[0]}"
        for number, line in enumerate(text.splitlines(), 1)
        for what, pattern in FORBIDDEN.items()
        for match in pattern.finditer(line)
    ]


def _files() -> list[Path]:
    """Files that git knows or would add; without git, all but what tools leave behind."""
    if (ROOT / ".git").exists():
        command = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "-co", "--exclude-standard"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
        paths = [ROOT / name for name in listed.split("\0") if name]
    else:
        paths = [path for path in ROOT.rglob("*") if not _NOT_OURS & set(path.relative_to(ROOT).parts)]
    return [path for path in paths if path.is_file()]


def test_texts() -> None:
    files = _files()
    assert ROOT / "pyproject.toml" in files
    found = []
    for path in files:
        name = str(path.relative_to(ROOT))
        try:
            text = path.read_bytes().decode()
        except UnicodeDecodeError:
            continue
        found += [f"{name}:{complaint}" for complaint in [*forbidden(text), *(forbidden(name))]]
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    "text",
    [
        "see /" + "home/somebody/data",
        'path = "/' + 'work/data"',
        "(/" + "root/.config)",
        "pip install --index" + "-url x",
        "https://pypi." + "org/project/dcmflow",
        "asked the C" + "EO",
        "with Cla" + "ude",
    ],
)
def test_forbidden_text_is_found(text: str) -> None:
    assert len(forbidden(f"first line\n{text}\n")) == 1
    assert forbidden(f"first line\n{text}\n")[0].startswith("2: ")


@pytest.mark.parametrize(
    "text",
    ["frame" + "work/x", "~/home/x", "https://example.org/" + "home/", "{tmp}/" + "work/x", "the root / of"],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert forbidden(text) == []


def _modules() -> list[Path]:
    paths = sorted(SOURCE.rglob("*.py"))
    assert paths
    return paths


def test_no_module_ran_away() -> None:
    lengths = {
        path.relative_to(SOURCE): len(path.read_text(encoding="utf-8").splitlines()) for path in _modules()
    }
    long = {str(path): length for path, length in lengths.items() if length > LONGEST}
    assert not long, f"more than {LONGEST} lines: a second noun wants a file of its own: {long}"


def test_every_module_says_what_it_is() -> None:
    silent = [
        str(path.relative_to(SOURCE))
        for path in _modules()
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not silent


def test_tests_mirror_the_source() -> None:
    assert not list((ROOT / "tests").rglob("__init__.py")), "pytest imports tests by path"


def test_changelog_fragments() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    settings = project["tool"]["towncrier"]
    kinds = {kind["directory"] for kind in settings["type"]}
    folder = ROOT / settings["directory"]
    assert (folder / "README.md").is_file()
    assert settings["start_string"].strip() in (ROOT / settings["filename"]).read_text(encoding="utf-8")
    for path in folder.iterdir():
        if path.name == "README.md":
            continue
        match = re.fullmatch(r"\+[a-z0-9-]+\.([a-z]+)\.md", path.name)
        assert match, f"{path.name}: a fragment is called +some-words.KIND.md"
        assert match[1] in kinds, f"{path.name}: KIND is one of {sorted(kinds)}"
        assert path.read_text(encoding="utf-8").strip().endswith("."), f"{path.name}: write whole sentences"
