"""The statements behind queries. What people write is an argument of them, never a part."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from dcmflow.dicom import tags
from dcmflow.dicom.level import COUNTS, UNIQUE_KEYS, Level, level_of
from dcmflow.dicom.query import Query
from dcmflow.sync.index_facts import COLUMNS, SHARED

Statement = tuple[str, tuple[Any, ...]]

_UIDS: Final = UNIQUE_KEYS[Level.STUDY :]
_LISTED: Final = "(SELECT value FROM json_each(?))"
_TEXT_VRS: Final = frozenset({"CS", "LO", "SH"})
_DAYS: Final = re.compile(r"(\d{8})|(\d{8})?\s*-\s*(\d{8})?", re.ASCII)


def _below(level: Level) -> str:
    """Headers of an entity."""
    return " AND ".join(f"h.{key} = ?" for key in UNIQUE_KEYS[: level + 1])


def _distinct(level: Level, above: Level) -> str:
    """How many entities of a level there are, told apart by what is between them and the level above."""
    keys = [
        f"nullif({'f' if key == 'SOPInstanceUID' else 'h'}.{key}, '')"
        for key in UNIQUE_KEYS[above + 1 : level + 1]
    ]
    if level is Level.IMAGE:
        keys[:-1] = [f"h.{key}" for key in UNIQUE_KEYS[above + 1 : level]]
    return f"count(DISTINCT {' || char(10) || '.join(keys)})"


def _count(level: Level) -> tuple[tuple[str, ...], str]:
    wanted = [(keyword, below) for keyword, above, below in COUNTS if above is level]
    said = ", ".join(_distinct(below, level) for _, below in wanted)
    return (
        tuple(keyword for keyword, _ in wanted),
        f"SELECT {said} FROM headers h JOIN files f ON f.header = h.id WHERE {_below(level)}",
    )


COUNT: Final = tuple(_count(level) for level in (Level.PATIENT, Level.STUDY, Level.SERIES))
"""By level: keywords, and the statement that counts; its arguments are unique keys."""

MODALITIES: Final = (
    "SELECT DISTINCT h.Modality FROM headers h WHERE h.PatientID = ? AND h.StudyInstanceUID = ? AND h.Modality NOTNULL"
    " AND EXISTS (SELECT 1 FROM files f WHERE f.header = h.id)"
)


def rows(lowest: Level, where: str, arguments: tuple[Any, ...]) -> Statement:
    """Unique keys down to a level, in order."""
    keys = ", ".join(f"h.{key}" for key in UNIQUE_KEYS[: lowest + 1])
    there = "EXISTS (SELECT 1 FROM files f WHERE f.header = h.id)"
    return f"SELECT DISTINCT {keys} FROM headers h WHERE {there}{where} ORDER BY {keys}", arguments


def first_row(level: Level, path: tuple[str, ...], *, in_order: bool = False) -> Statement:
    """What files say of an entity: all that is different, or what the first one in the order of paths says."""
    columns = ", ".join(f"h.{keyword}" for keyword in COLUMNS[level])
    if not in_order:
        return f"SELECT DISTINCT {columns} FROM headers h WHERE {_below(level)}", path
    return (
        f"SELECT {columns} FROM headers h JOIN files f ON f.header = h.id JOIN folders d ON d.id = f.folder"
        f" WHERE {_below(level)} ORDER BY d.path, f.name LIMIT 1"
    ), path


def first_file(path: tuple[str, ...]) -> Statement:
    """Folder and name of the first file of an entity."""
    return (
        "SELECT d.path, f.name FROM headers h JOIN files f ON f.header = h.id JOIN folders d ON d.id = f.folder"
        f" WHERE {_below(Level(len(path) - 1))} ORDER BY d.path, f.name LIMIT 1"
    ), path


def images(path: tuple[str, ...], query: Query) -> Statement:
    """UID, columns, folder and name of the files of a series; files of one image one after the other."""
    columns = ", ".join(f"f.{keyword}" for keyword in COLUMNS[Level.IMAGE])
    wanted = query.conditions.get("SOPInstanceUID")
    where = f" AND f.SOPInstanceUID IN {_LISTED}" if wanted else ""
    arguments = (_uids(wanted),) if wanted else ()
    return (
        f"SELECT f.SOPInstanceUID, {columns}, d.path, f.name FROM headers h JOIN files f ON f.header = h.id"
        f" JOIN folders d ON d.id = f.folder WHERE {_below(Level.SERIES)}{where}"
        " ORDER BY f.SOPInstanceUID, d.path, f.name"
    ), (*path, *arguments)


# -- what cannot match


def narrowed(query: Query) -> Statement:
    """What is worth looking at: at least all headers of each entity that matches the keys of its own level.

    Only what a table can tell for sure is left out, and whole entities at a time, since other headers of one may say
    something else.
    """
    found: list[str] = []
    arguments: list[Any] = []
    for key, text in query.conditions.items():
        for make in (_by_uid, _by_day, _by_text):
            made = make(key, text)
            if made is not None:
                found.append(f" AND {made[0]}")
                arguments += made[1]
                break
    return "".join(found), tuple(arguments)


def _by_uid(key: str, text: str) -> Statement | None:
    if key not in _UIDS:
        return None
    if key == "SOPInstanceUID":
        return f"h.id IN (SELECT header FROM files WHERE SOPInstanceUID IN {_LISTED})", (_uids(text),)
    return f"h.{key} IN {_LISTED}", (_uids(text),)


def _uids(text: str) -> str:
    return json.dumps([uid.strip("\0 ") for uid in text.split("\\")])


def _by_day(key: str, text: str) -> Statement | None:
    days = _DAYS.fullmatch(text.strip()) if key == "StudyDate" else None
    if days is None:
        return None
    low, high = (days[1], days[1]) if days[1] else (days[2] or "", days[3] or "99999999")
    # 2019.06.25 is a date, too, and there may be several
    like = "(StudyDate BETWEEN ? AND ? OR length(StudyDate) <> 8)"
    return f"h.StudyInstanceUID IN (SELECT StudyInstanceUID FROM headers WHERE {like})", (low, high)


def _by_text(key: str, text: str) -> Statement | None:
    column = "Modality" if key == "ModalitiesInStudy" else key
    if column not in SHARED or tags.dictionary_vr(tags.parse(key).leaf.tag) not in _TEXT_VRS:
        return None
    if not text.isascii() or "*" in text or "?" in text or "\0" in text:
        return None
    wanted = json.dumps([part.strip() for part in text.split("\\") if part.strip()])
    # several values, and characters that are the same in another form (NFC), are left to the matcher
    like = f"(trim({column}) IN {_LISTED} OR instr({column}, '\\') OR {column} GLOB '*[^ -~]*')"
    unique = level_of(key).keyword
    if unique == column:
        return like, (wanted,)
    return f"h.{unique} IN (SELECT {unique} FROM headers WHERE {like})", (wanted,)
