"""What has to move where: folders that can be asked like nodes, plans and their execution."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcmflow._lazy import lazy_names

_HOMES = {
    "Changes": "dcmflow.sync.index_changes",
    **dict.fromkeys(("Index", "folder_records"), "dcmflow.sync.index"),
}

if TYPE_CHECKING:
    from dcmflow.sync.index import Index as Index
    from dcmflow.sync.index import folder_records as folder_records
    from dcmflow.sync.index_changes import Changes as Changes
else:
    __getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
