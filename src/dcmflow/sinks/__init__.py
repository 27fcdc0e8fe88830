"""Stages that instances end in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcmflow._lazy import lazy_names

_HOMES = {
    "Directory": "dcmflow.sinks.directory",
    "Discard": "dcmflow.sinks.discard",
    "Outlet": "dcmflow.sinks.outlet",
    "Quarantine": "dcmflow.sinks.quarantine",
    "Store": "dcmflow.sinks.store",
}

if TYPE_CHECKING:
    from dcmflow.sinks.directory import Directory as Directory
    from dcmflow.sinks.discard import Discard as Discard
    from dcmflow.sinks.outlet import Outlet as Outlet
    from dcmflow.sinks.quarantine import Quarantine as Quarantine
    from dcmflow.sinks.store import Store as Store
else:
    __getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
