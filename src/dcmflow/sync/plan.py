"""What has to be moved so that every destination has what is wanted: decided from catalogs, nothing is asked and nothing is moved.

Each wanted entity has a mask: one bit for each destination that lacks it. A study whose series all have the same mask is moved as a
study, once, to all of them; else the series are looked at, and then the images. So the work is linear in what is wanted,
whatever the number of destinations, and everything is moved at the coarsest level at which it can be.

What a destination has may be known more or less deeply. `undecided` says of what more has to be known before a plan can be made;
what stays undecided, since somebody cannot be asked, counts as lacking.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from dcmflow.catalog.catalog import Catalog
from dcmflow.catalog.node import Node
from dcmflow.dicom.level import Level
from dcmflow.errors import ConfigError

FORMAT: Final = "dcmflow-plan"
VERSION: Final = 1
_LENGTHS: Final = {"study": 2, "series": 3, "image": 3}  # of the paths of transfers


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
    """What is to be moved. A plan is data: `to_json` is what a dry run prints, and what can be carried out later.

    Attributes:
        lost: sources that could not be asked, and why; nothing is planned from them.
        options: how it is meant to be carried out, for whoever does that.
    """

    sources: tuple[str, ...]
    destinations: tuple[str, ...]
    transfers: list[Transfer]
    tallies: dict[str, Tally]
    notes: list[str] = []
    lost: dict[str, str] = {}
    options: dict[str, Any] = {}
    format: str = FORMAT
    version: int = VERSION

    def to_json(self) -> str:
        """The document of it."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Plan:
        """The plan of a document. Raises ConfigError: it is none."""
        head = _decoded(text, _Head)
        if head.format != FORMAT or head.version != VERSION:
            said = f"{head.format or 'no format'} {head.version}"
            raise ConfigError(f"this is no plan of version {VERSION}: it says {said}")
        plan = _decoded(text, cls)
        for number, transfer in enumerate(plan.transfers):
            wrong = _wrong(plan, transfer)
            if wrong:
                raise ConfigError(f"this is no plan: transfer {number} {wrong}")
        for name in plan.destinations:
            if name not in plan.tallies:
                raise ConfigError(f"this is no plan: there is no tally of {name}")
        return plan


class _Head(Struct):
    format: str = ""
    version: int = 0


_Document = TypeVar("_Document", bound=Struct)


def _decoded(text: str | bytes, kind: type[_Document]) -> _Document:
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ConfigError(f"this is no plan: {error}") from None


def _wrong(plan: Plan, transfer: Transfer) -> str:
    """What cannot be carried out; empty: nothing."""
    if transfer.source not in plan.sources:
        return f"is from {transfer.source!r}, which is none of its sources"
    for name in transfer.to:
        if name not in plan.destinations:
            return f"is to {name!r}, which is none of its destinations"
    length = _LENGTHS.get(transfer.level)
    if length is None:
        return f"is of a level {transfer.level!r}: study, series and image are"
    if transfer.level == Level.IMAGE.word:
        named = transfer.images and all(transfer.images)
    else:
        named = bool(transfer.path and transfer.path[-1])
    if len(transfer.path) != length or not named:
        return "does not say what is to be moved"
    return ""


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
    want: Mapping[str, Catalog],
    holdings: Mapping[str, Catalog | None],
    *,
    trust: Level = Level.IMAGE,
    units: Mapping[str, Level] | None = None,
) -> Plan:
    """The plan for these sources and destinations.

    Args:
        want: by source, what is wanted of it, of study level or below; what several have is taken from the first.
        holdings: by destination, what it has of that; None: it cannot be asked, and lacks everything.
        trust: as in `undecided`.
        units: by source, the coarsest level of which things are wanted whole: at image level a study may have more images than
            are wanted, and is not moved as a study. Default: study.

    Raises:
        ValueError: there are patients without studies, or studies and series without a UID and without images.
    """
    plan = Plan(tuple(want), tuple(holdings), [], {name: Tally() for name in holdings})
    done: Catalog | None = None
    for source, catalog in want.items():
        unit = (units or {}).get(source, Level.STUDY)
        depth = max(trust, unit)  # numbers of a part tell nothing of the rest
        rest = catalog if done is None else _lacking(catalog, done, depth)
        lacking = {
            name: None if held is None else _lacking(rest, held, depth) for name, held in holdings.items()
        }
        visit = _Visit(source, rest, lacking, plan, unit, whole=None if rest is catalog else catalog)
        visit.run()
        done = rest if done is None else done | rest
    return plan


def _lacking(want: Catalog, held: Catalog, trust: Level) -> Catalog:
    """What is not there."""
    missing = want.difference(held).missing
    for node in undecided(want, held, trust):
        missing.graft_all(node)
    return missing


class _Visit:
    def __init__(
        self,
        source: str,
        want: Catalog,
        lacking: Mapping[str, Catalog | None],
        plan: Plan,
        unit: Level,
        *,
        whole: Catalog | None,
    ) -> None:
        self._source = source
        self._want = want
        self._lacking = list(lacking.items())
        self._all = (1 << len(self._lacking)) - 1
        self._plan = plan
        self._unit = unit
        self._source_has = whole  # None: all of it is wanted

    def run(self) -> None:
        for node in self._want.walk(Level.STUDY):
            if node.level is Level.STUDY:
                self._study_or_series(node)
            elif not node._children:
                raise ValueError(f"nothing is known of the studies of patient {node.uid!r}")

    def _study_or_series(self, node: Node) -> None:
        if not node._children and not node.uid:
            raise ValueError(f"a {node.level.word} without {node.level.keyword} cannot be asked for")
        mask = self._mask(node) if self._may_go_whole(node) else None
        if mask is None:
            self._part(node)
        else:
            self._emit(node, mask)

    def _may_go_whole(self, node: Node) -> bool:
        """Whether asking for it brings what is wanted and nothing else."""
        if not all(each.uid for each in node.chain() if each.level is not Level.PATIENT):
            return False
        if not node._children:
            return True
        if node.level < self._unit:
            return False
        there = None if self._source_has is None else self._source_has.counterpart(node)
        return there is None or _ends(node) == _ends(there)

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
            if child.level is Level.IMAGE:
                images.setdefault(self._own(child), []).append(child)
            else:
                self._study_or_series(child)
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


def _ends(node: Node) -> int:
    return sum(map(_ends, node._children.values())) if node._children else 1


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
