"""A catalog for people: a tree, or a line per leaf.

::

    TestPat1  Test^Patient  19700101  M  [2 studies, 5 series, 8 images]
    ├── 2018-05-30  10:11  MR  Brain  [3 series, 5 images]
    │   ├── 1  MR  Localizer  [2 images]

A number that nobody knows is `?`. Where the place says of something that it has more than is in the catalog, both are
told: `2 of 5 images`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final
from unicodedata import combining, east_asian_width

from dcmflow.catalog import counting
from dcmflow.catalog.node import PLURALS, Node, in_order, text_of
from dcmflow.dicom.level import Level

if TYPE_CHECKING:
    from dcmflow.catalog.catalog import Catalog

_SINGULARS: Final = ("patient", "study", "series", "image")
# What a terminal obeys, breaks a line at or turns around, and what cannot be written to it.
_UNSAFE: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_DAY: Final = re.compile(r"(\d{4})\.?(\d\d)\.?(\d\d)")
_TIME: Final = re.compile(r"(\d\d):?(\d\d)")


def tree(catalog: Catalog, *, width: int | None = None, totals: bool = True) -> Iterator[str]:
    """The lines of a tree.

    Args:
        width: columns of the terminal; longer lines are cut.  None: they are not.
        totals: a last line with the numbers of all.
    """
    for patient in catalog.walk(Level.PATIENT):
        for text in _branch(patient, "", "", catalog.level):
            yield cut(text, width)
    if totals:
        yield cut(total(catalog), width)


def lines(catalog: Catalog) -> Iterator[str]:
    """One line per leaf, parts of it apart by two spaces; unique keys of all levels stand in front."""
    for node in catalog.walk():
        if not node._children:
            path = "/".join(printable(uid) or "?" for uid in node.path)
            yield "  ".join(
                part for part in (path, _words(node.parent) if node.parent else "", label(node)) if part
            )


def total(catalog: Catalog) -> str:
    """How many of each level there are, such as `2 patients, 3 studies, 7 series, ? images`."""
    patients = list(catalog._index[Level.PATIENT].values())
    parts = [_number(len(patients), Level.PATIENT)]
    for level in (Level.STUDY, Level.SERIES, Level.IMAGE):
        numbers = [counting.count(patient, level) for patient in patients]
        known = None if None in numbers else sum(number for number in numbers if number is not None)
        parts.append(_number(known, level))
    return ", ".join(parts)


def label(node: Node) -> str:
    """What a person calls it, with how many there are below it."""
    numbers = _numbers(node)
    words = _words(node)
    return f"{words}  [{numbers}]" if numbers else words


def printable(text: str) -> str:
    """The text without anything that a terminal would obey, on one line."""
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def cut(text: str, width: int | None) -> str:
    """The text in that many columns of a terminal, with `…` at the end where some is left out."""
    if width is None or (len(text) * 2 <= width):
        return text
    room = max(width, 1)
    used, fits = 0, 0
    for position, character in enumerate(text):
        used += columns(character)
        if used > room:
            return f"{text[:fits]}…"
        if used <= room - 1:
            fits = position + 1
    return text


def columns(character: str) -> int:
    """How many columns a character takes."""
    return 0 if combining(character) else 2 if east_asian_width(character) in "WF" else 1


def _branch(node: Node, first: str, rest: str, lowest: Level) -> Iterator[str]:
    yield f"{first}{label(node)}"
    if not node._children or node.level >= lowest:
        return
    *others, last = in_order(node._children)
    for child in others:
        yield from _branch(child, f"{rest}├── ", f"{rest}│   ", lowest)
    yield from _branch(last, f"{rest}└── ", f"{rest}    ", lowest)


def _numbers(node: Node) -> str:
    parts = []
    for level, number in counting.counts(node).items():
        said = counting.declared(node, level)
        more = number is not None and said is not None and said > number
        parts.append(_number(said, level, f"{number} of ") if more else _number(number, level))
    return ", ".join(parts)


def _number(number: int | None, level: Level, before: str = "") -> str:
    return (
        f"{before}{'?' if number is None else number} {_SINGULARS[level] if number == 1 else PLURALS[level]}"
    )


def _words(node: Node) -> str:
    values = node.values

    def text(keyword: str) -> str:
        return printable(text_of(values.get(keyword)).strip())

    if node.level is Level.PATIENT:
        parts = [
            printable(node.uid) or "(no PatientID)",
            text("PatientName"),
            _day(text("PatientBirthDate")),
            text("PatientSex"),
        ]
    elif node.level is Level.STUDY:
        modalities = text("ModalitiesInStudy").replace("\\", ",")
        parts = [_day(text("StudyDate")), _time(text("StudyTime")), modalities, text("StudyDescription")]
    elif node.level is Level.SERIES:
        parts = [text("SeriesNumber"), text("Modality"), text("SeriesDescription")]
    else:
        parts = [text("InstanceNumber"), printable(node.uid)]
    return (
        "  ".join(part for part in parts if part)
        or printable(node.uid)
        or f"({node.level.word} without {node.level.keyword})"
    )


def _day(text: str) -> str:
    found = _DAY.fullmatch(text)
    return "-".join(found.groups()) if found else text


def _time(text: str) -> str:
    found = _TIME.match(text)
    return f"{found[1]}:{found[2]}" if found else text
