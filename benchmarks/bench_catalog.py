"""A catalog of a million images: seconds and memory of building, combining, comparing, writing and reading it.

Every record repeats the values of its patient, study and series, as answers of a server do, and has three of its own. The second
catalog has half of the images of the first, and half of its own.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from timing import arguments

from dcmflow.catalog import Catalog, Level, Record

T = TypeVar("T")
IMAGES_PER_SERIES, SERIES_PER_STUDY, STUDIES_PER_PATIENT = 100, 5, 2
MR = "1.2.840.10008.5.1.4.1.1.4"


def main(argv: list[str]) -> int:
    """Prints one line per step: seconds, microseconds per image, memory of the process afterwards."""
    options = arguments(__doc__ or "", argv)
    images = 100_000 if options.quick else 1_000_000
    print(f"{images:,} images; resident before: {resident():.0f} MiB")
    first = measured("build", images, lambda: Catalog(Level.IMAGE, records(0, images)))
    assert len(first) == images
    measured("add the same again", images, lambda: add_again(first, images))
    combine(first, images)
    take_apart(first, images)
    through_json(first, images)
    return 0


def combine(first: Catalog, images: int) -> None:
    """Operators, with a catalog of which half is the same."""
    half = images // 2
    second = measured("build another", images, lambda: Catalog(Level.IMAGE, records(half, images)))
    assert len(measured("union", images, lambda: first | second)) == images + half
    assert len(measured("intersection", images, lambda: first & second)) == half
    assert len(measured("subtraction", images, lambda: first - second)) == half
    difference = measured("difference", images, lambda: first.difference(second))
    assert len(difference.missing) == len(difference.present) == half


def take_apart(first: Catalog, images: int) -> None:
    """Subtrees, a coarser level, all records."""
    patients = list(first.walk(Level.PATIENT))
    parts = measured(
        "subtree of each patient", images, lambda: [len(first.subtree(node)) for node in patients]
    )
    assert sum(parts) == images
    reduced = measured("reduce to studies", images, lambda: first.reduce(Level.STUDY))
    assert len(reduced) == first.count(Level.STUDY)
    assert measured("iterate", images, lambda: sum(1 for _ in first)) == images


def through_json(first: Catalog, images: int) -> None:
    """A document and back."""
    text = measured("write JSON", images, first.to_json)
    print(f"  {len(text) / 1e6:.0f} MB of JSON")
    assert measured("read JSON", images, lambda: Catalog.from_json(text)) == first


def records(start: int, number: int) -> Iterator[Record]:
    """Records that share no text with each other, as if each came from a server."""
    for image in range(start, start + number):
        series = image // IMAGES_PER_SERIES
        study = series // SERIES_PER_STUDY
        patient = study // STUDIES_PER_PATIENT
        yield Record(
            Level.IMAGE,
            {
                "PatientID": f"PAT{patient:08}",
                "PatientName": f"Family{patient}^Given",
                "PatientBirthDate": f"19{patient % 90 + 10}0101",
                "StudyInstanceUID": f"2.25.1.{study}",
                "StudyDate": f"20{study % 20 + 10}0606",
                "StudyDescription": f"Study number {study}",
                "SeriesInstanceUID": f"2.25.2.{series}",
                "SeriesNumber": series % SERIES_PER_STUDY + 1,
                "Modality": "MR",
                "SOPClassUID": f"{MR}",
                "SOPInstanceUID": f"2.25.3.30293845061718223940185827614{image:010}",
                "InstanceNumber": image % IMAGES_PER_SERIES + 1,
            },
        )


def add_again(catalog: Catalog, images: int) -> None:
    """Add what is there already."""
    assert not any(catalog.add(record) for record in records(0, images))


def measured(name: str, images: int, work: Callable[[], T]) -> T:
    """Do it, and print what it took."""
    start = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - start
    print(
        f"{name:28} {seconds:7.2f} s  {seconds / images * 1e6:6.2f} µs each  {resident():7.0f} MiB",
        flush=True,
    )
    return result


def resident() -> float:
    """The memory of this process in MiB, now; NaN where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return float("nan")
    return pages * 4096 / 2**20


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
