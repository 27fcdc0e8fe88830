"""How commands are told what is asked for: the options that say it, tables of queries, earlier results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from dcmflow.cli.common import Usage

if TYPE_CHECKING:
    from dcmflow.catalog.catalog import Catalog
    from dcmflow.dicom.level import Level
    from dcmflow.dicom.query_table import Row

Since = Annotated[
    str | None,
    Parameter(metavar="DAY", help="Studies of this day and later: 2019-06-25, 14d, '3 weeks ago'."),
]
Before = Annotated[str | None, Parameter(metavar="DAY", help="Studies of this day and earlier.")]
Batch = Annotated[
    Path | None,
    Parameter(metavar="FILE", help="One query for each row of this CSV, whose header names keys."),
]


def rows(batch: Path, keys: Mapping[str, str], level: Level | None, *, everything: bool) -> list[Row]:
    """The queries of a table. Raises ConfigError, Usage for what cannot be right."""
    from dcmflow.dicom.query_table import read_table

    try:
        return read_table(batch, keys, level, unlimited=everything)
    except OSError as error:
        raise Usage(f"--batch {batch} cannot be read: {error.strerror or error}") from None


def check_from(name: str) -> None:
    """Raises Usage for what is no value of `--from`, but the option behind it."""
    if not name or (name != "-" and name.startswith("-")):
        raise Usage("--from needs a file, or '-' for stdin")


def earlier(name: str) -> Catalog:
    """The result in a file, `-`: on stdin. Raises ConfigError, Usage."""
    from dcmflow.cli.query_refine import read_result

    check_from(name)
    try:
        return read_result(name)
    except OSError as error:
        raise Usage(f"--from {name} cannot be read: {error.strerror or error}") from None
