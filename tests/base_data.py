"""BASE as facts: what a place that holds it has at each level, and parts of it to ask for.

The files come from `corpus.base`, and so do HOLES, CLASH, CHAR and COMP: `corpus.holes(folder)` and its sisters. Like that module
this one knows nothing of dcmflow; where it takes a level, dcmflow's `Level`, its word and its number all do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

import corpus

LEVELS: Final = ("patient", "study", "series", "image")
KEYWORDS: Final = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
"""The unique keys, PS3.4 C.2.2.1."""


def _number(level: int | str) -> int:
    return LEVELS.index(level.lower()) if isinstance(level, str) else int(level)


@dataclass(frozen=True)
class Fact:
    """One object of BASE.

    Attributes:
        file: its path below the folder.
        patient: PatientID.
        study: Study Instance UID.
        series: Series Instance UID.
        image: SOP Instance UID.
        ds: all of it, not to be changed.
    """

    file: str
    patient: str
    study: str
    series: str
    image: str
    ds: Dataset = field(repr=False, compare=False)

    def uid(self, level: int | str) -> str:
        """The unique key of the object itself or of what it belongs to."""
        return self.path[_number(level)]

    @property
    def path(self) -> tuple[str, str, str, str]:
        return (self.patient, self.study, self.series, self.image)

    @property
    def private(self) -> bool:
        """Whether its SOP Class is in no standard; some archives do not take it."""
        return self.ds.SOPClassUID == corpus.PRIVATE_SOP_CLASS

    def text(self, keyword: str) -> str:
        r"""An element as DICOM writes it, several values joined by ``\``; empty where there is none."""
        value: Any = self.ds.get(keyword)
        if value is None:
            return ""
        return "\\".join(map(str, value)) if isinstance(value, MultiValue) else str(value)

    def keys(self, level: int | str) -> dict[str, str]:
        """The unique keys down to a level, as a hierarchical request for that entity has them."""
        number = _number(level) + 1
        return dict(zip(KEYWORDS[:number], self.path[:number], strict=True))


BASE: Final = tuple(
    Fact(name, ds.PatientID, ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID, ds)
    for name, ds in corpus.base_objects()
)
PUBLIC: Final = tuple(fact for fact in BASE if not fact.private)
"""What is left where the private SOP Class is refused: 11 objects in 6 series."""
PRIVATE: Final = next(fact for fact in BASE if fact.private)


def write_base(folder: Path, facts: Iterable[Fact] = BASE) -> list[Path]:
    """Writes the objects as Part 10 files, Explicit VR Little Endian, in the order of the facts."""
    made = corpus.Corpus(folder)
    return [made.save(fact.file, fact.ds) for fact in facts]


def uids(level: int | str, facts: Iterable[Fact] = BASE) -> set[str]:
    """The unique keys of a level; those of patients are PatientIDs."""
    return {fact.uid(level) for fact in facts}


def counts(facts: Iterable[Fact] = BASE) -> tuple[int, int, int, int]:
    """How many patients, studies, series and images: of all of them (2, 3, 7, 12)."""
    kept = tuple(facts)
    patients, studies, series, images = (len(uids(level, kept)) for level in LEVELS)
    return patients, studies, series, images


def tree(facts: Iterable[Fact] = BASE) -> dict[str, dict[str, dict[str, set[str]]]]:
    """Patient → study → series → images."""
    found: dict[str, dict[str, dict[str, set[str]]]] = {}
    for fact in facts:
        studies = found.setdefault(fact.patient, {})
        studies.setdefault(fact.study, {}).setdefault(fact.series, set()).add(fact.image)
    return found


def paths(level: int | str, facts: Iterable[Fact] = BASE) -> set[tuple[str, ...]]:
    """The unique keys down to a level, of each entity of it."""
    return {fact.path[: _number(level) + 1] for fact in facts}


def matching(keys: Mapping[str, str], facts: Iterable[Fact] = BASE) -> tuple[Fact, ...]:
    """Those whose elements are equal to all of these."""
    return tuple(fact for fact in facts if all(fact.text(key) == value for key, value in keys.items()))


@dataclass(frozen=True)
class Subset:
    """A part of BASE that requests of one or several levels name.

    Attributes:
        requests: level and its unique keys with those above it; together they ask for each of the objects once.
        facts: the objects.
    """

    requests: tuple[tuple[str, Mapping[str, str]], ...]

    @property
    def facts(self) -> tuple[Fact, ...]:
        asked = {fact.image for _, keys in self.requests for fact in matching(keys)}
        return tuple(fact for fact in BASE if fact.image in asked)

    def of(self, facts: Iterable[Fact]) -> tuple[Fact, ...]:
        """Those of its objects that are among `facts`: what an archive that refused some can give."""
        kept = set(facts)
        return tuple(fact for fact in self.facts if fact in kept)


def _first(patient: str, date: str, number: int, image: int = 1) -> Fact:
    return next(fact for fact in BASE if fact.file == f"{patient}/{date}/{number:02d}/{image:03d}.dcm")


def _ask(*parts: tuple[str, Fact]) -> Subset:
    return Subset(tuple((level, fact.keys(level)) for level, fact in parts))


ONE, TWO = _first("TestPat1", "20190625", 1), _first("TestPat2", "20190615", 1)
OLD, MPRAGE = _first("TestPat1", "20180530", 1), _first("TestPat1", "20180530", 2)
LONG = _first("TestPat1", "20190625", 2)
"""The object with 119 items in a sequence."""
ECHOES = (_first("TestPat2", "20190615", 2, 1), _first("TestPat2", "20190615", 2, 2))
"""The images of one series whose EchoTime differs."""

SUBSETS: Final = {
    "patient-1": _ask(("patient", ONE)),
    "patient-2": _ask(("patient", TWO)),
    "study": _ask(("study", ONE)),
    "series": _ask(("series", MPRAGE)),
    "image": _ask(("image", ECHOES[1])),
    "study+series": _ask(("study", OLD), ("series", ECHOES[0])),
    "series+images": _ask(("series", LONG), ("image", MPRAGE), ("image", ECHOES[0])),
    "patient+series+image": _ask(("patient", TWO), ("series", PRIVATE), ("image", ONE)),
}
"""Eight parts of BASE by name: whole patients, studies, series, images, and mixtures."""
EVERYTHING: Final = _ask(("patient", ONE), ("patient", TWO))
NOTHING: Final = Subset(())
