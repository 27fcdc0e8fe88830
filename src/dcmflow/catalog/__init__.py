"""What a place holds: records as a set and a tree, compared, written and shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcmflow._lazy import lazy_names

_HOMES = {
    "Catalog": "dcmflow.catalog.catalog",
    **dict.fromkeys(("Difference", "Partial"), "dcmflow.catalog.difference"),
    "Node": "dcmflow.catalog.node",
    **dict.fromkeys(("Conflict", "Provenance"), "dcmflow.catalog.notes"),
    **dict.fromkeys(("Level", "Record"), "dcmflow.catalog.record"),
}

if TYPE_CHECKING:
    from dcmflow.catalog.catalog import Catalog as Catalog
    from dcmflow.catalog.difference import Difference as Difference
    from dcmflow.catalog.difference import Partial as Partial
    from dcmflow.catalog.node import Node as Node
    from dcmflow.catalog.notes import Conflict as Conflict
    from dcmflow.catalog.notes import Provenance as Provenance
    from dcmflow.catalog.record import Level as Level
    from dcmflow.catalog.record import Record as Record
else:
    __getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
