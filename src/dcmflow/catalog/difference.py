"""What of a wanted catalog a place has: all, nothing, a part, or nobody knows.

Leaves of both that are images are compared by UID. Where one of the two does not go down to images, numbers decide:
equal ones count as present (`by_count` names those, since other images of the same number would look alike),
different ones are `partial`, and a number that is not known is equal to nothing: `unknown`. What is partial or
unknown can be told by asking one level further down.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from dcmflow.catalog import counting
from dcmflow.catalog.node import Node
from dcmflow.dicom.level import Level

if TYPE_CHECKING:
    from dcmflow.catalog.catalog import Catalog


class Partial(NamedTuple):
    """An entity that is not the same here and there.

    Attributes:
        node: of the wanted catalog.
        have, want: numbers of images; of series or studies where those of images do not tell. More may be held than is wanted.
    """

    node: Node
    have: int
    want: int


@dataclass(frozen=True)
class Difference:
    """A wanted catalog, taken apart. Every element of it is in one of `missing`, `partial`, `unknown` and `present`.

    Attributes:
        missing: what the place does not have.
        present: what it has.
        partial: what it has otherwise than it is wanted.
        unknown: nodes of the wanted catalog that it has something of, but nobody knows how much.
        by_count: nodes of the wanted catalog that are present since numbers of images are equal, not UIDs.
    """

    missing: Catalog
    present: Catalog
    partial: list[Partial] = field(default_factory=list)
    unknown: list[Node] = field(default_factory=list)
    by_count: list[Node] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Everything that is wanted is there, as far as the place can tell."""
        return not (self.missing or self.partial or self.unknown)


def difference(want: Catalog, held: Catalog) -> Difference:
    """Take a wanted catalog apart."""
    found = Difference(want._like(want.level), want._like(want.level))
    for patient in want._index[Level.PATIENT].values():
        _visit(patient, held, found)
    return found


def _visit(node: Node, held: Catalog, found: Difference) -> None:
    other = held.counterpart(node)
    children = node._children
    if children and (other is None or other._children):
        for child in children.values():
            _visit(child, held, found)
    elif other is None:
        found.missing.graft(node)
    elif node.level is Level.IMAGE:
        found.present.graft(node)
    else:
        _weigh(node, other, found)


def _weigh(node: Node, other: Node, found: Difference) -> None:
    want, have = counting.counts(node), counting.counts(other)
    for level in sorted(want, reverse=True):
        wanted, there = want[level], have[level]
        if wanted is not None and there is not None and wanted != there:
            found.partial.append(Partial(node, there, wanted))
            return
    images = want[Level.IMAGE]
    if images is None or have[Level.IMAGE] is None:
        found.unknown.append(node)
        return
    found.by_count.append(node)
    found.present.graft_all(node)
