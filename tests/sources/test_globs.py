"""Patterns of file names."""

from __future__ import annotations

import re

import pytest

from dcmflow.sources.globs import Globs, translate


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("*.dcm", "a.dcm", True),
        ("*.dcm", "deep/down/a.dcm", True),
        ("*.dcm", "a.dcm.bak", False),
        ("a", "b/a", True),
        ("a", "b/ab", False),
        ("scans/*.dcm", "scans/a.dcm", True),
        ("scans/*.dcm", "scans/b/a.dcm", False),
        ("scans/*.dcm", "x/scans/a.dcm", False),
        ("scans/**", "scans/a/b/c", True),
        ("scans/**/CT*", "scans/CT1", True),
        ("scans/**/CT*", "scans/a/b/CT1", True),
        ("scans/**/CT*", "scans/a/b/MR1", False),
        ("**/CT", "CT", True),
        ("./scans/*", "scans/a", True),
        ("img?", "img1", True),
        ("img?", "img/", False),
        ("img[0-9]", "img7", True),
        ("img[!0-9]", "img7", False),
        ("img[!0-9]", "imgx", True),
        ("img[", "img[", True),
        ("a+b(c)", "a+b(c)", True),
        ("Müller*", "Müller^Jörg", True),
        ("a*", "a\nb", True),
    ],
)
def test_pattern(pattern: str, path: str, matches: bool) -> None:
    assert (re.fullmatch(translate(pattern), path, re.DOTALL) is not None) is matches
    assert Globs(include=[pattern]).wants(path) is matches
    assert Globs(exclude=[pattern]).wants(path) is not matches


def test_exclude_wins() -> None:
    globs = Globs(include=["*.dcm"], exclude=["old/**", "x*"])
    assert globs.wants("a.dcm")
    assert not globs.wants("old/a.dcm")
    assert not globs.wants("x.dcm")
    assert not globs.wants("a.txt")


def test_folder_on_the_way() -> None:
    globs = Globs(exclude=["old/"])
    assert globs.excludes("new/old")
    assert globs.excludes_some_folder("new/old/a/b.dcm")
    assert not globs.excludes_some_folder("new/olden/a.dcm")


@pytest.mark.parametrize("pattern", ["", "/", ".", "a[z-a]"])
def test_not_a_pattern(pattern: str) -> None:
    with pytest.raises(ValueError, match="pattern"):
        Globs(include=[pattern])
