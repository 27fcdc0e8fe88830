"""What has to be moved so that every destination has what is wanted: decided from catalogs, nothing is asked and nothing is moved.

Each wanted entity has a mask: one bit for each destination that lacks it. A study whose series all have the same mask is moved as a
study, once, to all of them; else the series are looked at, and then the images. So the work is linear in what is wanted,
whatever the number of destinations, and everything is moved at the coarsest level at which it can be.

What a destination has may be known more or less deeply. `undecided` says of what more has to be known before a plan can be made;
what stays undecided, since somebody cannot be asked, counts as lacking.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec
from msgspec import Struct

from dcmflow.catalog.catalog import Catalog
from dcmflow.catalog.node import Node
from dcmflow.dicom.level import Level
from dcmflow.errors import ConfigError

FORMAT: Final = "dcmflow-plan"
VERSION: Final = 1


class Transfer(Struct, frozen=True, omit_defaults=True):
    """One thing to be moved.

    Attributes:
        source: where it is.
        level: `study`, `series` or `image`.
        path: the unique keys from the patient down to the study or series; to the series for images.
        to: the destinations that lack it.
        count: images; None: not known.
        images: SOP Instance UIDs, at image level.
    """

    source: str
    level: str
    path: tuple[str, ...]
    to: tuple[str, ...]
    count: int | None = None
    images: tuple[str, ...] = ()


class Tally(Struct):
    """Of one destination, in images; None: not known.

    Attributes:
        wanted: that it is to have.  present: that it has.  lacking: that it has not.
    """

    wanted: int | None = 0
    present: int | None = 0
    lacking: int | None = 0


class Plan(Struct):
    """What is to be moved. A plan is data: `to_json` is what a dry run prints, and what can be carried out later."""

    sources: tuple[str, ...]
    destinations: tuple[str, ...]
    transfers: list[Transfer]
    tallies: dict[str, Tally]
    notes: list[str] = []
    format: str = FORMAT
    version: int = VERSION

    def to_json(self) -> str:
        """The document of it."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Plan:
        """The plan of a document. Raises ConfigError: it is none."""
        try:
            plan = msgspec.json.decode(text, type=cls)
        except msgspec.DecodeError as error:
            raise ConfigError(f"this is no plan: {error}") from None
        if plan.format != FORMAT or plan.version != VERSION:
            raise ConfigError(f"this is no plan of version {VERSION}: it says {plan.format} {plan.version}")
        return plan


def undecided(want: Catalog, held: Catalog, trust: Level = Level.IMAGE) -> list[Node]:
    """Nodes of `want` of which more has to be known, here and at the destination, to tell what it lacks.

    Args:
        trust: equal and known numbers of images at this level, or above it, count as being the same images.
    """
    found = want.difference(held)
    open_ = [partial.node for partial in found.partial if partial.node.level < Level.IMAGE]
    open_ += found.unknown
    open_ += [node for node in found.by_count if node.level < trust]
    return list({id(node): node for node in open_}.values())


def plan_sync(
    want: Mapping[str, Catalog], holdings: Mapping[str, Catalog | None], *, trust: Level = Level.IMAGE
) -> Plan:
    """The plan for these sources and destinations.

    Args:
        want: by source, what is wanted of it; what several have is taken from the first.
        holdings: by destination, what it has of that; None: it cannot be asked, and lacks everything.
        trust: as in `undecided`.
    """
    plan = Plan(tuple(want), tuple(holdings), [], {name: Tally() for name in holdings})
    done: Catalog | None = None
    for source, catalog in want.items():
        rest = catalog if done is None else catalog - done
        lacking = {name: _lacking(rest, held, trust) for name, held in holdings.items()}
        visit = _Visit(source, rest, lacking, plan)
        visit.run()
        done = rest if done is None else done | rest
    return plan


def _lacking(want: Catalog, held: Catalog | None, trust: Level) -> Catalog | None:
    """What is not there; None: all of it."""
    if held is None:
        return None
    missing = want.difference(held).missing.copy()
    for node in undecided(want, held, trust):
        missing = missing | want.subtree(node)
    return missing


class _Visit:
    def __init__(self, source: str, want: Catalog, lacking: Mapping[str, Catalog | None], plan: Plan) -> None:
        self._source = source
        self._want = want
        self._lacking = list(lacking.items())
        self._all = (1 << len(self._lacking)) - 1
        self._plan = plan

    def run(self) -> None:
        for node in self._want.walk(Level.STUDY):
            if node.level is not Level.STUDY:
                continue
            mask = self._mask(node)
            if mask is None:
                self._part(node)
            else:
                self._emit(node, mask)

    def _mask(self, node: Node) -> int | None:
        """Who lacks a node and everything below it; None: some lack a part."""
        if not node._children:
            return self._own(node)
        masks = {self._mask(child) for child in node._children.values()}
        return masks.pop() if len(masks) == 1 else None

    def _own(self, node: Node) -> int:
        mask = 0
        for number, (_, missing) in enumerate(self._lacking):
            if missing is None or missing.counterpart(node) is not None:
                mask |= 1 << number
        return mask

    def _part(self, node: Node) -> None:
        """Emit what is below a node that some destinations lack a part of."""
        images: dict[int, list[Node]] = {}
        for child in node.children:
            mask = self._mask(child)
            if mask is None:
                self._part(child)
            elif child.level is Level.IMAGE:
                images.setdefault(mask, []).append(child)
            else:
                self._emit(child, mask)
        for mask, several in images.items():
            self._count(mask, len(several))
            if mask:
                uids = tuple(child.uid for child in several)
                self._add("image", node.path, mask, len(uids), uids)

    def _emit(self, node: Node, mask: int) -> None:
        count = self._want.counts(node).get(Level.IMAGE)
        self._count(mask, count)
        if mask:
            self._add(node.level.word, node.path, mask, count, ())

    def _add(
        self, level: str, path: tuple[str, ...], mask: int, count: int | None, images: tuple[str, ...]
    ) -> None:
        to = tuple(name for number, (name, _) in enumerate(self._lacking) if mask >> number & 1)
        self._plan.transfers.append(Transfer(self._source, level, path, to, count, images))

    def _count(self, mask: int, count: int | None) -> None:
        for number, (name, _) in enumerate(self._lacking):
            tally = self._plan.tallies[name]
            tally.wanted = _sum(tally.wanted, count)
            if mask >> number & 1:
                tally.lacking = _sum(tally.lacking, count)
            else:
                tally.present = _sum(tally.present, count)


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def study_uids(nodes: Iterable[Node]) -> list[str]:
    """The studies that nodes are, or are part of, each once."""
    found: dict[str, None] = {}
    for node in nodes:
        for each in _studies(node):
            found[each.uid] = None
    return list(found)


def _studies(node: Node) -> Iterator[Node]:
    if node.level is Level.PATIENT:
        yield from (node._children or {}).values()
        return
    yield next(each for each in node.chain() if each.level is Level.STUDY)
