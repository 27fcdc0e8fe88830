"""A catalog of a million images fits into 2 GB: an image takes well below 1 KB, and shared values are stored once."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

from catalog_records import record
from dcmflow.catalog import Catalog, Level, Record

IMAGES = 4_000
SERIES = 40
LONG = "a description that is long and the same for all images of one study " * 10


def answers() -> Iterator[Record]:
    """As a server gives them: each with all values, none of them shared with another."""
    for number in range(IMAGES):
        series, image = divmod(number, IMAGES // SERIES)
        description = "".join([LONG, str(series // 10)])
        yield record(
            1,
            series // 10,
            series,
            image,
            StudyDescription=description,
            SOPClassUID="".join(["1.2.840.10008.5.1.4.1.1.", "4"]),
        )


def test_memory_per_image() -> None:
    tracemalloc.start()
    try:
        found = Catalog(Level.IMAGE, answers())
        first, _ = tracemalloc.get_traced_memory()
        copied = found.copy()
        second, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found) == len(copied) == IMAGES
    assert first / IMAGES < 700
    assert (second - first) / IMAGES < 400, "values are shared"
    classes = {id(node.values["SOPClassUID"]) for node in found.walk() if node.level is Level.IMAGE}
    assert len(classes) == 1, "what is equal from one image to the next is stored once"
