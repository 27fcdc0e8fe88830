"""Names of a package that are imported when somebody uses them.

`import dcmflow` has to cost next to nothing, so a package lists where its public names live and imports
none of them. Type checkers read the same names from an `if TYPE_CHECKING:` block beside the list.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def lazy_names(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` (PEP 562) for a package.

    Args:
        package: its `__name__`.
        homes: public name to the module that defines it; a sub-package is its own home.
    """

    def getattribute(name: str) -> object:
        home = homes.get(name)
        if home is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = import_module(home)
        value: object = module if home == f"{package}.{name}" else getattr(module, name)
        setattr(sys.modules[package], name, value)
        return value

    def directory() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes})

    return getattribute, directory, list(homes)
