"""Instances that a node holds, asked for with a query."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import date
from typing import Annotated, ClassVar, Literal

from msgspec import Meta, field
from msgspec.structs import replace

from dcmflow.dicom.dates import date_range
from dcmflow.dicom.level import Level
from dcmflow.dicom.query import Query
from dcmflow.errors import ConfigError
from dcmflow.flow.context import Context
from dcmflow.flow.paths import settle_path
from dcmflow.flow.registry import stage_type
from dcmflow.flow.stage import SinkActor, Source
from dcmflow.net.address import parse_listen, parse_node
from dcmflow.net.listener import Listener
from dcmflow.net.node import ANY_AE, Local, Node
from dcmflow.net.pool import Pool
from dcmflow.sources.arrivals import Policy
from dcmflow.sources.port import place_of, shared_listener
from dcmflow.sources.retrieval import Retrieval
from dcmflow.sources.scp import Scp
from dcmflow.units import parse_duration, parse_size


class Retrieve(Source, frozen=True):
    """Asks a node what it holds and has it sent here: by C-MOVE to our own AE title, or by C-GET.

    What the node answers is matched again on our side, since servers ignore keys; what they do not return cannot be checked, and is
    left out with a warning. The answer to each sub-operation is held back until the instance has settled.
    """

    runs: ClassVar[type[Retrieval]] = Retrieval

    node: Annotated[str, Meta(description="The node: a name, or AE@host:port.")]
    query: Annotated[
        dict[str, str],
        Meta(
            description='What to retrieve: { Keyword = "value" } with DICOM\'s wildcards, ranges and lists.'
        ),
    ] = field(default_factory=dict)
    level: Annotated[
        str,
        Meta(
            description="patient, study, series or image: what is retrieved whole. Default: that of the lowest key."
        ),
    ] = ""
    since: Annotated[str, Meta(description="Studies from this day on: 2026-01-31, 14d, 3 weeks ago.")] = ""
    before: Annotated[str, Meta(description="Studies up to and including this day.")] = ""
    batch: Annotated[
        str,
        Meta(description="A CSV file whose first row names keys; each further row is a query of its own."),
    ] = ""
    all: Annotated[bool, Meta(description="Everything is meant where nothing restricts the query.")] = False
    method: Annotated[
        Literal["auto", "move", "get"],
        Meta(description="auto: C-MOVE, and C-GET where the node cannot move to us but can do that."),
    ] = "auto"
    local: Annotated[
        str,
        Meta(
            description="Where C-MOVE sends to, AE@host:port, shared with an scp source there. Default: as in the settings."
        ),
    ] = ""
    every: Annotated[
        float | str | None, Meta(description="Ask again after so long, for what is new: '15 min'.")
    ] = None
    state: Annotated[
        str, Meta(description="With `every`: a file that remembers what was retrieved, over restarts.")
    ] = ""
    grace: Annotated[
        float | str,
        Meta(description="How long to wait after the final response while something is missing."),
    ] = "5 s"
    unexpected: Annotated[
        Policy, Meta(description="What comes and was not asked for: drop, pass, quarantine or fail.")
    ] = "drop"
    duplicate: Annotated[Policy, Meta(description="What comes once more.")] = "drop"
    inconsistent: Annotated[
        Policy, Meta(description="What says that it is of another patient than the node said.")
    ] = "pass"
    missing: Annotated[
        Literal["drop", "pass", "fail"],
        Meta(description="What does not come: fail counts it as refused, the others only warn."),
    ] = "fail"
    quarantine: Annotated[str, Meta(description="The folder for what is to be in quarantine.")] = ""
    spill: Annotated[
        int | str, Meta(description="From this size on a data set goes to a temporary file while it arrives.")
    ] = "64 MiB"

    def __post_init__(self) -> None:
        if self.level:
            Level.parse(self.level)
        parse_size(self.spill)
        parse_duration(self.grace)
        if self.every is not None:
            parse_duration(self.every)
        if self.state and self.every is None:
            raise ConfigError(
                "only a repeated retrieval has to remember anything: give `every` too", key="state"
            )
        for key in ("batch", "state", "quarantine"):
            if getattr(self, key):
                settle_path(self, key)
        if self.local:
            try:
                place = parse_listen(self.local)
            except ConfigError as error:
                raise error.at(key="local") from None
            if place.ae_title == ANY_AE:
                raise ConfigError("a move destination has an AE title: write AE@host:port", key="local")
        if "quarantine" in (self.unexpected, self.duplicate, self.inconsistent) and not self.quarantine:
            raise ConfigError("a policy is quarantine: name the folder for it", key="quarantine")
        if not self.batch:
            self._query(date.today())

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[Retrieval]:
        node = self._node(context)
        place, tls, secured = place_of(self.local, None, context)
        title = place.ae_title
        async with AsyncExitStack() as stack:
            listener: Listener | ConfigError | None = None
            if self.method != "get":
                try:
                    listener = await shared_listener(context, self._beside(place, context), tls, secured)
                except ConfigError as error:
                    if self.method == "move":
                        raise
                    listener = error
            pool = await context.resource(
                ("associations", node, title),
                lambda: Pool(node, calling_ae=title, limit=0, patience=0.0, notice=context.warn),
            )
            stack.enter_context(pool.share(node.max_associations, most=node.max_associations))
            kept = await stack.enter_async_context(self._quarantine(context))
            actor = self.runs(self, context, pool, place, listener, kept)
            try:
                yield actor
            finally:
                if actor.desk is not None:
                    actor.desk.entity.shut()

    def check(self, context: Context) -> None:
        self._node(context)
        if self.method != "get":
            place_of(self.local, None, context)
        if self.batch:
            self.queries(context)

    def _node(self, context: Context) -> Node:
        try:
            return parse_node(self.node, context.nodes)
        except ConfigError as error:
            raise error.at(key="node") from None

    def _beside(self, place: Local, context: Context) -> Local:
        """The place as another source of the pipeline has it, which listens on the same port."""
        for other in context.stages.values():
            if isinstance(other, Scp):
                there = parse_listen(other.listen, context.local)
                if place.port and there.port == place.port:
                    return replace(place, host=there.host)
        return place

    @asynccontextmanager
    async def _quarantine(self, context: Context) -> AsyncIterator[SinkActor | None]:
        if not self.quarantine:
            yield None
            return
        async with stage_type("sink", "quarantine")(path=self.quarantine).open(context) as actor:
            yield actor

    def queries(self, context: Context) -> list[Query]:
        """What is asked for today."""
        today = date.today()
        if not self.batch:
            return [self._query(today)]
        from dcmflow.dicom.query_table import read_table

        level = Level.parse(self.level) if self.level else None
        try:
            rows = read_table(context.path(self.batch), self._keys(today), level, unlimited=self.all)
        except OSError as error:
            raise ConfigError(f"cannot read {self.batch}: {error.strerror or error}", key="batch") from None
        return [row.query for row in rows]

    def _query(self, today: date) -> Query:
        try:
            query = Query.of(self._keys(today), self.level or None)
        except ConfigError as error:
            raise error.at(key="query") from None
        if query.unlimited and not self.all:
            raise ConfigError(
                "nothing restricts the query, so it asks for everything: say all = true where that is meant",
                key="query",
            )
        return query

    def _keys(self, today: date) -> Mapping[str, str]:
        keys = dict(self.query)
        if not (self.since or self.before):
            return keys
        if "StudyDate" in keys:
            raise ConfigError(
                "give since and before, or StudyDate in the query", key="since" if self.since else "before"
            )
        keys["StudyDate"] = date_range(self.since, self.before, today)
        return keys
