"""Stages that change, drop or pass instances."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcmflow._lazy import lazy_names

_HOMES = {
    "Call": "dcmflow.filters.call",
    "Dedupe": "dcmflow.filters.dedupe",
    "Edit": "dcmflow.filters.edit",
    "Where": "dcmflow.filters.where",
}

if TYPE_CHECKING:
    from dcmflow.filters.call import Call as Call
    from dcmflow.filters.dedupe import Dedupe as Dedupe
    from dcmflow.filters.edit import Edit as Edit
    from dcmflow.filters.where import Where as Where
else:
    __getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
