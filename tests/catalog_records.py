"""Made-up records of a small world in which every entity has a place and values of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product
from typing import Any

from dcmflow.catalog import Catalog, Level, Record

Path = tuple[int, ...]


def record(*path: int, **more: Any) -> Record:
    """The record of the entity at a path of numbers: of a patient for one number, of an image for four."""
    patient = path[0]
    values: dict[str, Any] = {"PatientID": f"PAT{patient}", "PatientName": f"Doe^{patient}"}
    for level, number in enumerate(path[1:], 1):
        uid = ".".join(map(str, ("2.25", *path[: level + 1])))
        values |= {
            Level.STUDY: {
                "StudyInstanceUID": uid,
                "StudyDate": f"2019060{number}",
                "StudyDescription": f"S{number}",
            },
            Level.SERIES: {"SeriesInstanceUID": uid, "SeriesNumber": number, "Modality": "MR"},
            Level.IMAGE: {"SOPInstanceUID": uid, "InstanceNumber": number},
        }[Level(level)]
    return Record(Level(len(path) - 1), {**values, **more})


def paths(*numbers: int) -> Iterator[Path]:
    """All paths of a world with so many patients, studies in each, and so on."""
    return product(*(range(1, number + 1) for number in numbers))


def catalog(*numbers: int) -> Catalog:
    """The catalog of a world with so many patients, studies in each, and so on."""
    return of(Level(len(numbers) - 1), paths(*numbers))


def of(level: Level, chosen: Iterable[Path]) -> Catalog:
    """The catalog of these paths."""
    return Catalog(level, (record(*path) for path in chosen))


def without(given: Record, *keywords: str) -> Record:
    """The record with elements not returned."""
    return Record(given.level, {key: value for key, value in given.values.items() if key not in keywords})
