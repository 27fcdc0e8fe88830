"""The test kit: what dcmflow's own tests use, for the tests of those who build on it.

Every name is loaded on first use, so that `hypothesis` is needed only by who asks for a strategy.

- instances: `instance`, `instances_of_every_storage_class`, `instances_in_every_transfer_syntax`,
  `storage_classes`, `transfer_syntaxes`, and `synthesize` for many
- hypothesis strategies: `datasets`, `encoded_datasets`
- conformance of a stage, whoever wrote it: `check_source`, `check_filter`, `check_router`, `check_sink`
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dcmflow.dicom.synthetic import synthesize as synthesize
    from dcmflow.testing.checks import check_filter as check_filter
    from dcmflow.testing.checks import check_router as check_router
    from dcmflow.testing.checks import check_sink as check_sink
    from dcmflow.testing.checks import check_source as check_source
    from dcmflow.testing.instances import instance as instance
    from dcmflow.testing.instances import (
        instances_in_every_transfer_syntax as instances_in_every_transfer_syntax,
    )
    from dcmflow.testing.instances import instances_of_every_storage_class as instances_of_every_storage_class
    from dcmflow.testing.instances import storage_classes as storage_classes
    from dcmflow.testing.instances import transfer_syntaxes as transfer_syntaxes
    from dcmflow.testing.strategies import datasets as datasets
    from dcmflow.testing.strategies import encoded_datasets as encoded_datasets

__all__ = [
    "check_filter",
    "check_router",
    "check_sink",
    "check_source",
    "datasets",
    "encoded_datasets",
    "instance",
    "instances_in_every_transfer_syntax",
    "instances_of_every_storage_class",
    "storage_classes",
    "synthesize",
    "transfer_syntaxes",
]

_HOME = {
    "synthesize": "dcmflow.dicom.synthetic",
    "instance": "dcmflow.testing.instances",
    "instances_in_every_transfer_syntax": "dcmflow.testing.instances",
    "instances_of_every_storage_class": "dcmflow.testing.instances",
    "storage_classes": "dcmflow.testing.instances",
    "transfer_syntaxes": "dcmflow.testing.instances",
    "datasets": "dcmflow.testing.strategies",
    "encoded_datasets": "dcmflow.testing.strategies",
    **dict.fromkeys(("check_filter", "check_router", "check_sink", "check_source"), "dcmflow.testing.checks"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
