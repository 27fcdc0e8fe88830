"""Selectors in the fields of stages are tried when a file is read, with the names that they may use.

A stage cannot do that itself: it does not know the named selectors before it opens. Which fields are selectors a stage says by
`Meta(extra={"selector": True})`; a table of strings holds one selector each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from dcmflow.config.document import Document
from dcmflow.config.wiring import Entry
from dcmflow.errors import ConfigError
from dcmflow.flow.stage import Stage

_BUILT_IN = {("filter", "where"): "match", ("router", "match"): "branch"}


def selectors_of(stage: Stage) -> Iterator[tuple[tuple[str, ...], str]]:
    """Where in its table a stage has selectors, and their texts; the branch `*` is none."""
    known = _BUILT_IN.get((stage.kind, stage.type))
    info = msgspec.inspect.type_info(type(stage))
    assert isinstance(info, msgspec.inspect.StructType)
    for field in info.fields:
        if field.encode_name == known or _is_marked(field.type):
            value = getattr(stage, field.name)
            if isinstance(value, str):
                yield (field.encode_name,), value
            elif isinstance(value, Mapping):
                yield from (
                    ((field.encode_name, str(key)), text) for key, text in value.items() if key != "*"
                )


def _is_marked(kind: msgspec.inspect.Type) -> bool:
    if not isinstance(kind, msgspec.inspect.Metadata):
        return False
    return bool((kind.extra or {}).get("selector")) or _is_marked(kind.type)


def check_selectors(document: Document, entry: Entry, names: Mapping[str, str]) -> None:
    """Raise ConfigError, with a caret in its text, for a selector of this stage that is none or names an unknown one."""
    for key, text in selectors_of(entry.stage):
        from dcmflow.dicom.selector import Selector

        try:
            Selector.parse(text, names)
        except ConfigError as error:
            raise document.error(error.problem, entry.table, key) from None
