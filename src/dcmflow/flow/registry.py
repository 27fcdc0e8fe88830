"""Which stages there are: entry points, one group per kind, loaded when a name is asked for.

A package adds a stage by an entry point in the group `dcmflow.sources`, `.filters`, `.routers` or `.sinks`;
the built-in stages are registered in the same way. The name of the entry point is the type in a pipeline
file.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from dcmflow.errors import ConfigError
from dcmflow.flow.stage import KINDS, Stage


@functools.cache
def registered(kind: str) -> Mapping[str, EntryPoint]:
    """Entry points of the stages of a kind ("source", "filter", "router", "sink"), by type."""
    if kind not in KINDS:
        raise ConfigError(f"there is no kind of stage {kind!r}: there are {', '.join(KINDS)}")
    found = sorted(entry_points(group=f"dcmflow.{kind}s"), key=lambda point: point.name)
    return {point.name: point for point in found}


def stage_type(kind: str, type_name: str) -> Callable[..., Stage]:
    """The class of a stage. Raises ConfigError for an unknown type, with a suggestion, or one that cannot be loaded."""
    from dcmflow.suggest import suggest

    points = registered(kind)
    if type_name not in points:
        elsewhere = [other for other in KINDS if other != kind and type_name in registered(other)]
        hint = suggest(type_name, points) or (
            f"; there is a {elsewhere[0]} of that type" if elsewhere else ""
        )
        raise ConfigError(f"there is no {kind} of type {type_name!r}{hint}", key="type")
    return _load(points[type_name], kind)


@functools.cache
def _load(point: EntryPoint, kind: str) -> type[Stage]:
    try:
        loaded = point.load()
    except Exception as error:  # an add-on may raise anything while it is imported
        raise ConfigError(f"{kind} {point.name!r} cannot be loaded from {point.value}: {error}") from error
    if not (isinstance(loaded, type) and issubclass(loaded, KINDS[kind])):
        raise ConfigError(f"{point.value} is registered as a {kind}, but is none")
    return loaded


@functools.cache
def file_format() -> Any:
    """The module that reads and writes pipeline files: `load`, `loads`, `dumps`. It registers itself as stages do."""
    (point,) = entry_points(group="dcmflow.formats", name="toml")
    return point.load()


def function_name(function: Any) -> str:
    """`package.module:name` of a function that can be found by it. Raises ConfigError for one that cannot."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if not callable(function) or not module or not name:
        raise ConfigError(f"{function!r} cannot be written to a pipeline file")
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is not function:
        raise ConfigError(
            f"function {name!r} cannot be written to a pipeline file: it is not at the top level of a module"
        )
    return f"{module}:{name}"


def find_function(text: str, base: Path | None = None) -> Callable[..., Any]:
    """The function of `package.module:name`; modules beside the pipeline file (in `base`) are found first.

    Raises ConfigError.
    """
    module_name, _, name = text.partition(":")
    if not module_name or not name:
        raise ConfigError(f"{text!r} is no function: write 'package.module:name'", key="function")
    try:
        found: Any = _beside(module_name, base) if base is not None else None
        found = found or importlib.import_module(module_name)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:  # the module may raise anything while it is imported
        what = "" if isinstance(error, (ImportError, AttributeError)) else f"{type(error).__name__}: "
        raise ConfigError(f"function {text!r} cannot be loaded: {what}{error}", key="function") from error
    if not callable(found):
        raise ConfigError(f"{text!r} is no function but {type(found).__name__}", key="function")
    return found  # type: ignore[no-any-return]


@functools.cache
def _beside(module_name: str, base: Path) -> ModuleType | None:
    """A module that is a file in `base`, known by that place: two pipelines may each have their own `rules.py`."""
    path = base.resolve() / f"{module_name}.py"
    if not module_name.isidentifier() or not path.is_file():
        return None
    spec = importlib.util.spec_from_file_location(f"{module_name}@{path.parent}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(path.parent))  # it may import its neighbours
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[spec.name]
        raise
    finally:
        sys.path.remove(str(path.parent))
    return module
