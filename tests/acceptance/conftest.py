"""Sets of files that the tests of this folder read and never write to, and the command."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal

import corpus
from acceptance_kit import Command
from acceptance_wire import here, loop
from corpus import Corpus
from peers.base import Address, free_port


@pytest.fixture
def run(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """`run("check", file)` runs dcmflow and waits for it."""
    return Command(tmp_path_factory.mktemp("home"))


@pytest.fixture
def at() -> Address:
    """Where the listener of a test is."""
    return here(free_port())


@pytest.fixture
def portal() -> Iterator[BlockingPortal]:
    """A loop in a thread, for the scripted peers beside a command."""
    with loop() as made:
        yield made


@pytest.fixture(scope="session")
def base_set(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return corpus.base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def comp_set(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return corpus.comp(tmp_path_factory.mktemp("comp"))


@pytest.fixture(scope="session")
def wire_set(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return corpus.wire(tmp_path_factory.mktemp("wire"))


@pytest.fixture(scope="session")
def holes_set(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return corpus.holes(tmp_path_factory.mktemp("holes"))


@pytest.fixture(scope="session")
def evil_set(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return corpus.evil(tmp_path_factory.mktemp("evil"))


@pytest.fixture(scope="session")
def char_set(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return corpus.char(tmp_path_factory.mktemp("char"))


@pytest.fixture(scope="session")
def priv_set(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return corpus.priv(tmp_path_factory.mktemp("priv"))


@pytest.fixture(scope="session")
def clash_set(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return corpus.clash(tmp_path_factory.mktemp("clash"))


@pytest.fixture(scope="session")
def classes_set(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return corpus.classes(tmp_path_factory.mktemp("classes"))


@pytest.fixture
def lone(tmp_path: Path) -> Path:
    """One MR image in a file."""
    path = tmp_path / "lone.dcm"
    path.write_bytes(corpus.part10(corpus.mr(patient="LONE")))
    return path
