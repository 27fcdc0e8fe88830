"""Entities that are wanted whole since something in them matches, such as all studies with a series of some description."""

from __future__ import annotations

from collections.abc import Iterable

from dcmflow.catalog.catalog import Catalog
from dcmflow.dicom.level import Level
from dcmflow.dicom.query import Query, unique_keys
from dcmflow.dicom.record import Record
from dcmflow.sync.places import Place


async def whole(place: Place, queries: Iterable[Query], level: Level) -> Catalog:
    """The entities of a level in which anything matches one of the queries; how much is in them is not known.

    Raises:
        DcmflowError: the place cannot be asked.
    """
    found = Catalog(level)
    keywords = unique_keys(level)
    for query in queries:
        for node in (await place.find(query)).walk(level):
            if node.level is level and node.uid:
                found.add(Record(level, dict(zip(keywords, node.path, strict=True))))
    return found
