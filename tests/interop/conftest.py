"""Sets of files for all of these tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from corpus import Corpus, base, comp, priv
from wire_data import every_class, sendable


@pytest.fixture(scope="session")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Corpus]:
    """The sets that are sent, by name; made once, and not to be changed."""
    folder = tmp_path_factory.mktemp("corpora")
    makers = {"base": base, "comp": comp, "priv": priv, "classes": every_class}
    return {name: make(folder / name) for name, make in makers.items()}


@pytest.fixture(scope="session")
def whole_files(pydicom_files: list[Path]) -> list[Path]:
    """pydicom's files that a Storage SCU can send: with SOP Class, SOP Instance and transfer syntax, and not cut off."""
    files = [path for path in sendable(pydicom_files) if "truncated" not in path.name]
    assert len(files) > 100
    return files
