"""Stages that choose where instances go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcmflow._lazy import lazy_names

_HOMES = {
    "Call": "dcmflow.routers.call",
    "Lookup": "dcmflow.routers.lookup",
    "Match": "dcmflow.routers.match",
}

if TYPE_CHECKING:
    from dcmflow.routers.call import Call as Call
    from dcmflow.routers.lookup import Lookup as Lookup
    from dcmflow.routers.match import Match as Match
else:
    __getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
