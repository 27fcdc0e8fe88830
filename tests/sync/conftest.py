"""Archives and folders that syncs run between."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from base_data import Fact, write_base
from peers.archives import Archive, Archives
from peers.base import Address
from peers.orthanc import Orthanc


@pytest.fixture
def base(archives: Archives) -> Path:
    """The folder of BASE, not to be changed."""
    return archives.base()[0].parents[3]


@pytest.fixture
def start(archives: Archives, tmp_path: Path) -> Iterator[Callable[..., Archive]]:
    """`start(facts)` is a dcmqrscp of our own that holds these objects."""
    with ExitStack() as stack:

        def run(facts: Iterable[Fact] = (), name: str = "ARCHIVE", **more: object) -> Archive:
            files = write_base(tmp_path / f"files of {name}", facts)
            starting = archives.start("dcmqrscp", tmp_path / name, ae_title=name, files=files, **more)
            return stack.enter_context(starting)

        yield run


@pytest.fixture
def empty(orthanc: Orthanc) -> Archive:
    """An Orthanc that holds nothing and takes everything."""
    orthanc.register({"DCMFLOW": Address(1, "DCMFLOW")})  # else we may not ask
    return Archive("orthanc", orthanc, {})
