"""Catalogs as sets: union, intersection, subtraction and equality, by UIDs.

Elements are nodes with nothing below them. Catalogs of different levels meet where the coarser one ends: its leaf
stands for all that is below it, except that a coarse leaf is taken away by finer ones only if it is known to have no
more than those.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dcmflow.catalog import counting
from dcmflow.catalog.node import Node
from dcmflow.dicom.level import Level

if TYPE_CHECKING:
    from dcmflow.catalog.catalog import Catalog


def union(a: Catalog, b: Catalog) -> Catalog:
    """All of both, at the finer level."""
    made = _joint(a, b)
    for catalog in (a, b):
        for patient in catalog._index[Level.PATIENT].values():
            made.graft_all(patient)
    return made._with_conflicts(a, b)


def intersection(a: Catalog, b: Catalog) -> Catalog:
    """What both have, at the finer level."""
    made = _joint(a, b)

    def keep(node: Node, whole: bool) -> None:
        made.graft_all(node) if whole else made.graft(node)
        above: Node | None = node
        while above is not None:
            other = b.counterpart(above)
            if other is not None and other.uid:
                made.graft(other)
            above = above.parent

    def visit(node: Node) -> None:
        other = b.counterpart(node)
        children = node._children
        if children and (other is None or other._children):
            for child in children.values():
                visit(child)
        elif other is not None:
            keep(node, whole=bool(children))
            if other._children:
                made.graft_all(other)

    for patient in a._index[Level.PATIENT].values():
        visit(patient)
    return made._with_conflicts(a, b)


def subtraction(a: Catalog, b: Catalog) -> Catalog:
    """What of `a` is not known to be in `b`."""
    made = a._like(a.level)

    def visit(node: Node) -> None:
        other = b.counterpart(node)
        children = node._children
        if children and (other is None or other._children):
            for child in children.values():
                visit(child)
        elif other is None or (other._children and not agree(node, other)):
            made.graft(node)

    for patient in a._index[Level.PATIENT].values():
        visit(patient)
    return made._with_conflicts(a)


def agree(a: Node, b: Node) -> bool:
    """Whether the numbers of images below two nodes are known and equal, and no other number says otherwise."""
    here, there = counting.counts(a), counting.counts(b)
    images = here.get(Level.IMAGE)
    if images is None or images != there.get(Level.IMAGE):
        return False
    return all(None in (number, there[level]) or number == there[level] for level, number in here.items())


def same(a: Mapping[str, Node] | None, b: Mapping[str, Node] | None) -> bool:
    """Whether siblings, their values and all below them are equal."""
    if not a or not b:
        return not a and not b
    return a.keys() == b.keys() and all(
        node.values == b[key].values and same(node._children, b[key]._children) for key, node in a.items()
    )


def _joint(a: Catalog, b: Catalog) -> Catalog:
    made = a._like(max(a.level, b.level))
    made.provenance += [entry for entry in b.provenance if entry not in made.provenance]
    made.extra = {**b.extra, **a.extra}
    return made
