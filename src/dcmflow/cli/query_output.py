"""What `dcmflow query` writes: lines as the answers come, or a document at the end."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Final, final

from dcmflow.catalog.tables import line
from dcmflow.cli.opening import terminal_width

if TYPE_CHECKING:
    from dcmflow.catalog.catalog import Catalog
    from dcmflow.dicom.record import Record

FORMATS: Final = ("tree", "json", "ndjson", "csv")

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_BEYOND_JSON: Final = re.compile(r"[\x7f-\x9f]")  # JSON escapes the others


@final
class Lines:
    """One JSON object a line, each written when it comes; of what is written unique keys alone are kept."""

    def __init__(self) -> None:
        self._written: set[str | tuple[str, ...]] = set()

    def __contains__(self, record: Record) -> bool:
        return _key(record) in self._written

    def write(self, record: Record) -> bool:
        """Write a record. False: it was written before. Raises BrokenPipeError when nobody reads it."""
        if record in self:
            return False
        self._written.add(_key(record))
        sys.stdout.write(f"{_escaped(line(record))}\n")
        sys.stdout.flush()
        return True


def write(catalog: Catalog, format: str) -> None:
    """Write all of a catalog as `tree`, `json` or `csv`. Raises BrokenPipeError when nobody reads it."""
    match format:
        case "json":
            sys.stdout.write(f"{_escaped(catalog.to_json(indent=2))}\n")
        case "csv":
            for row in catalog.to_csv():
                sys.stdout.write(f"{_CONTROL.sub(_visible, row)}\n")
        case _:
            for text in catalog.tree(width=terminal_width()):
                sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _key(record: Record) -> str | tuple[str, ...]:
    return record.uid or record.path


def _escaped(text: str) -> str:
    return _BEYOND_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _visible(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
