"""What a sync is to bring: what queries match, or what an earlier result names."""

from __future__ import annotations

import select
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dcmflow.catalog.catalog import Catalog
from dcmflow.cli.asking import earlier, rows
from dcmflow.cli.common import Usage, options, say, warn
from dcmflow.dicom.level import Level
from dcmflow.dicom.query import Query, deepest
from dcmflow.errors import ConfigError

if TYPE_CHECKING:
    from dcmflow.config.settings import Settings
    from dcmflow.sync.places import Place
    from dcmflow.sync.planning import Wish


class Wanted(NamedTuple):
    """What is wanted of every source.

    Attributes:
        queries: what any of these matches; empty where `known` says it all.
        whole: the level of what is wanted whole where anything in it matches; None: what matches, and no more.
        known: an earlier result.
    """

    queries: Sequence[Query] = ()
    whole: Level | None = None
    known: Catalog | None = None

    @property
    def unlimited(self) -> bool:
        return any(query.unlimited for query in self.queries)

    async def of(self, place: Place) -> list[Wish]:
        """The same as wishes to one source. Raises DcmflowError: it has to be asked for that, and cannot be."""
        from dcmflow.sync.planning import Wish
        from dcmflow.sync.whole import whole

        if self.whole is not None:
            return [Wish(place, None, await whole(place, self.queries, self.whole))]
        if not self.queries:
            return [Wish(place, None, self.known)]
        return [Wish(place, query) for query in self.queries]


def asked(
    texts: Sequence[str],
    level: str | None,
    since: str | None,
    before: str | None,
    batch: Path | None,
    *,
    everything: bool,
) -> Wanted:
    """What `-q` and its sisters mean. Raises ConfigError, Usage for what cannot be right."""
    from dcmflow.cli.query import days

    given = None if level is None else Level.parse(level)
    query = Query.of(texts)
    if since is not None or before is not None:
        query = query.with_keys(days(query, since, before))
    queries = (
        [query]
        if batch is None
        else [row.query for row in rows(batch, query.keys, None, everything=everything)]
    )
    made = [Query(max(deepest(each.conditions), given or Level.STUDY), each.keys) for each in queries]
    lowest = max(each.level for each in made)
    return Wanted(made, given if given is not None and given < lowest else None)


def piped() -> Catalog:
    """The result that another command writes to stdin. Raises Usage where there is none."""
    if _silent():
        say("dcmflow: waiting for the JSON of a query on stdin; -s names a source instead")
    try:
        return earlier("-")
    except ConfigError as error:
        raise Usage(
            f"{error}; name a source with -s, or pipe the result of a query in: dcmflow query … | dcmflow sync …"
        ) from None


def _silent() -> bool:
    """Whether nothing has come on stdin after a moment, and nobody is told yet."""
    try:
        if sys.stdin is None or sys.stdin.isatty():
            return False
        return not select.select([sys.stdin], [], [], 1.0)[0]
    except (OSError, ValueError):
        return False


def come_from(catalog: Catalog, settings: Settings) -> str:
    """The place that a result is from, as it is written. Raises Usage where the result does not say it."""
    named = list(dict.fromkeys(entry.source for entry in catalog.provenance if entry.source))
    if not named:
        raise Usage("the result does not say where it comes from: name the source with -s")
    source = named[-1]  # who was asked last: what was refined comes from there
    if len(named) > 1:
        warn(f"the result names several places; it is taken from the last one, {source}; -s says otherwise")
    for name, node in settings.nodes.items():
        if node.address == source:
            source = name
            break
    if not options().quiet:
        say(f"dcmflow: from {source}")
    return source
