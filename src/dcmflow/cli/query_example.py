"""Decides about answers that cannot be checked, by one image of each series (or study, or patient) that is retrieved for it.

A node that does not return a key has it in its images all the same. One image tells for the whole series what is the same in
all of it: keys of the image level cannot be decided so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dcmflow.catalog.answers import Answers, Pile
from dcmflow.dicom import tags
from dcmflow.dicom.level import Level, level_of
from dcmflow.dicom.matching import Matcher
from dcmflow.dicom.query import Query
from dcmflow.dicom.record import Record, plain
from dcmflow.errors import DcmflowError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from dcmflow.catalog.node import Node as Entity
    from dcmflow.dicom.header import Header
    from dcmflow.net.client import Client
    from dcmflow.net.node import Node


def decidable(answers: Answers) -> bool:
    """Whether examples would tell something."""
    return any(_tells(key, _of(answers)) for key in answers.unverified.keys)


async def decided(
    client: Client, node: Node, answers: Answers, problems: list[str]
) -> AsyncIterator[tuple[Record, bool]]:
    """The answers that could not be checked, with what an example says.

    Gives each record with whether it can be told now; the piles of `answers` are left to the caller.

    Args:
        problems: is told what went wrong.
    """
    matcher = Matcher(answers.query)
    level = _of(answers)
    for entity in list(answers.undecided.walk(level)):
        if entity.level is not level:
            continue
        below = [each.record() for each in entity.walk() if each.level is answers.query.level]
        keys = {key for record in below for key in matcher.unverified_keys(record) if _tells(key, level)}
        values: Mapping[str, Any] = {}
        if keys:
            try:
                values = await _example(client, node, entity, keys)
            except DcmflowError as error:
                problems.append(f"no example of {level.word} {entity.uid}: {error}")
        for record in below:
            whole = Record(record.level, {**record.values, **values})
            yield whole, not matcher.examine(whole).unverified


def left_over(matcher: Matcher, records: Iterable[Record]) -> Pile:
    """The answers that still cannot be checked."""
    pile = Pile()
    for record in records:
        pile.put(record, matcher.unverified_keys(record))
    return pile


def _tells(key: str, level: Level) -> bool:
    """Whether an image says of what it belongs to, at some level, what the key asks for."""
    made_up = key.startswith("NumberOf") or "InStudy" in key  # by the server, from what it has
    return level_of(key) <= level and not made_up


def _of(answers: Answers) -> Level:
    return min(answers.query.level, Level.SERIES)


async def _example(client: Client, node: Node, entity: Entity, keys: Iterable[str]) -> dict[str, Any]:
    """Values of one image below an entity; empty where there is none."""
    image = await _image_of(client, node, entity)
    if image is None:
        return {}
    async with client.get(node, image) as instances:
        async for instance in instances:
            return _values(instance.header, [tags.parse(key) for key in keys])
    return {}


async def _image_of(client: Client, node: Node, entity: Entity) -> Query | None:
    path = [*entity.record().path]
    known = {level.keyword: uid for level, uid in zip(Level, path, strict=False) if uid}
    async with client.find(node, Query(Level.IMAGE, known), verify=False) as images:
        async for image in images:
            if image.uid:
                found = {level.keyword: image.text(level.keyword) for level in Level}
                return Query(Level.IMAGE, {key: uid for key, uid in (found | known).items() if uid})
    return None


def _values(header: Header, paths: Sequence[tags.Path]) -> dict[str, Any]:
    """The elements at the beginning of these paths; for private ones all of their group, since blocks are told by it."""
    firsts = [path.steps[0][0] if path.steps else path.leaf for path in paths]
    wanted = {leaf.tag for leaf in firsts if not leaf.creator}
    groups = {leaf.tag >> 16 for leaf in firsts if leaf.creator}
    values: dict[str, Any] = {}
    for tag in header.tags():
        if tag in wanted or tag >> 16 in groups:
            values[tags.name(tag)] = plain(header[tag])
    return values
