"""From what is to be retrieved to the requests that ask for it (PS3.4 C.4.2.1.4.1): unique keys, one value for each level above."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from dcmflow.dicom.level import Level
from dcmflow.dicom.query import Query, restricts, unique_keys
from dcmflow.dicom.record import Record
from dcmflow.net.find import finding
from dcmflow.net.hierarchy import BATCH, lone_values

if TYPE_CHECKING:
    from dcmflow.net.pool import Pool

LISTED: Final = 128
"""UIDs in one request: 8 KB, a fraction of what fits into an element."""


def requests(records: Iterable[Record], *, most: int = LISTED) -> list[Query]:
    """The requests for these records, all of one level: series of one study together, and images of one series.

    A patient and a study have one each: they take long enough.

    Args:
        most: UIDs in one request; 1 for a peer that takes no lists.
    """
    groups: dict[tuple[str, ...], list[list[str]]] = {}
    level: Level | None = None
    for record in records:
        level = record.level
        *above, uid = record.path
        alone = level <= Level.STUDY
        lists = groups.setdefault(tuple(above), [])
        if alone or not lists or len(lists[-1]) >= most:
            lists.append([])
        lists[-1].append(uid)
    if level is None:
        return []
    names = unique_keys(level)
    return [
        Query(
            level, {key: value for key, value in zip(names, (*above, "\\".join(uids)), strict=True) if value}
        )
        for above, lists in groups.items()
        for uids in lists
    ]


def merged(queries: Iterable[Query], *, most: int = BATCH) -> list[Query]:
    """Fewer queries that ask for the same: those that differ in the UID of what they ask for only become one, with a list."""
    groups: dict[object, list[Query]] = {}
    for number, query in enumerate(queries):
        key = query.level.keyword
        uid = query.keys.get(key, "")
        rest = tuple((name, value) for name, value in query.keys.items() if name != key)
        alone = query.level is Level.PATIENT or not restricts(uid) or bool(set(uid) & set("*?\\"))
        groups.setdefault(number if alone else (query.level, rest), []).append(query)
    made: list[Query] = []
    for group in groups.values():
        key = group[0].level.keyword
        for start in range(0, len(group), most):
            some = group[start : start + most]
            uids = "\\".join(dict.fromkeys(query.keys.get(key, "") for query in some))
            made.append(some[0].with_keys({key: uids}) if len(some) > 1 else some[0])
    return made


def singly(request: Query) -> list[Query]:
    """The same for each of its UIDs alone."""
    key = request.level.keyword
    return [request.with_keys({key: uid}) for uid in request.keys.get(key, "").split("\\")]


def is_request(query: Query) -> bool:
    """Whether it can be retrieved as it is: it names what it wants and what that belongs to, and nothing else restricts it."""
    level = query.level
    if level.keyword not in query.conditions or any(
        set("*?") & set(value) for value in query.conditions.values()
    ):
        return False
    if any(key not in (level.keyword, *(each.keyword for each in level.above())) for key in query.conditions):
        return False
    known = lone_values(query)
    return all(each.keyword in known for each in level.above() if each is not Level.PATIENT)


async def resolve(pool: Pool, query: Query) -> list[Query]:
    """The requests for whatever a query matches; asks the node where the query is not one itself.

    Raises:
        RequestFailed, NetworkError, RemoteProtocolError: it could not be asked.
    """
    if is_request(query):
        return [Query(query.level, dict(query.conditions))]
    found: dict[tuple[str, ...], Record] = {}
    async with finding(pool, query) as records:
        async for record in records:
            if record.uid:
                found.setdefault(record.path, record)
    return requests(found.values())
