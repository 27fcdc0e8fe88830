"""How many there are below a node: counted, said, or unknown.

What is in the catalog is counted. Where it does not go deep enough, the numbers that the place gave
(NumberOfStudyRelatedInstances and its like, PS3.4 C.3.4) are added up. What it said of a node as a whole holds only
while the catalog has all of that node.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from dcmflow.catalog.node import Node
from dcmflow.dicom.level import COUNTS, Level

if TYPE_CHECKING:
    from dcmflow.catalog.catalog import Catalog

KEYWORDS: Final = {(level, below): keyword for keyword, level, below in COUNTS}


def counts(node: Node) -> Mapping[Level, int | None]:
    """The numbers of entities of each level below a node; None where unknown."""
    return {Level(below): count(node, Level(below)) for below in range(node.level + 1, Level.IMAGE + 1)}


def count(node: Node, below: Level) -> int | None:
    """The number of entities of one level below a node; None where unknown."""
    children = node._children
    if not children:
        return declared(node, below)
    if below == node.level + 1:
        return len(children)
    total = 0
    for child in children.values():
        number = count(child, below)
        if number is None:
            whole = declared(node, Level(node.level + 1)) == len(children)
            return declared(node, below) if whole else None
        total += number
    return total


def declared(node: Node, below: Level) -> int | None:
    """The number that the place gave for it; None where it gave none."""
    value: Any = node.values.get(KEYWORDS[node.level, below])
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    return value if isinstance(value, int) and value >= 0 else None


def reduced(catalog: Catalog, target: Catalog) -> Catalog:
    """Put into `target` what a catalog has down to its level, with the numbers of what it leaves out."""
    for node in catalog.walk(target.level):
        values = node.values
        for below, number in counts(node).items():
            keyword = KEYWORDS[node.level, below]
            if below > target.level and number is not None and values.get(keyword) != number:
                values = {**values, keyword: number}
        target.graft(Node(node.level, node.uid, values, node.parent))
    return target
