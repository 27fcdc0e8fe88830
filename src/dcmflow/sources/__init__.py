"""Stages that instances come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcmflow._lazy import lazy_names

_HOMES = {
    "Directory": "dcmflow.sources.directory",
    "Inlet": "dcmflow.sources.inlet",
    "Retrieve": "dcmflow.sources.retrieve",
    "Scp": "dcmflow.sources.scp",
    "Synthetic": "dcmflow.sources.synthetic",
}

if TYPE_CHECKING:
    from dcmflow.sources.directory import Directory as Directory
    from dcmflow.sources.inlet import Inlet as Inlet
    from dcmflow.sources.retrieve import Retrieve as Retrieve
    from dcmflow.sources.scp import Scp as Scp
    from dcmflow.sources.synthetic import Synthetic as Synthetic
else:
    __getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
