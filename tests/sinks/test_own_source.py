"""A folder that a pipeline reads and writes at once, by whatever name: the only copy stays."""

from __future__ import annotations

from pathlib import Path

import pytest

import corpus
from dcmflow import Pipeline, sinks, sources

pytestmark = pytest.mark.anyio
LAYOUT = "{SOPInstanceUID}.dcm"


@pytest.mark.parametrize("way", ["same", "folder link"])
async def test_what_is_there_already_is_not_deleted_as_its_own_copy(tmp_path: Path, way: str) -> None:
    archive = tmp_path / "archive"
    first = Pipeline(sources.Synthetic(instances=3, size=100) | sinks.Directory(str(archive), LAYOUT))
    await first.run()
    inbox = archive
    if way == "folder link":
        inbox = tmp_path / "inbox"
        inbox.mkdir()
        (inbox / "link").symlink_to(archive)
    before = {path.name: path.read_bytes() for path in archive.iterdir()}
    again = Pipeline(sources.Directory(str(inbox), after="delete") | sinks.Directory(str(archive), LAYOUT))
    statistics = await again.run()
    assert statistics.pipeline.accepted == 3
    assert {path.name: path.read_bytes() for path in archive.iterdir()} == before


async def test_a_hard_link_elsewhere_is_a_name_of_its_own(tmp_path: Path) -> None:
    files = corpus.base(tmp_path / "in").paths
    linked = sinks.Directory(str(tmp_path / "out"), LAYOUT, link=True)
    await Pipeline(sources.Directory(str(tmp_path / "in")) | linked).run()
    await Pipeline(sources.Directory(str(tmp_path / "in"), after="delete") | linked).run()
    assert not any(path.exists() for path in files)
    assert len(list((tmp_path / "out").iterdir())) == len(files)
