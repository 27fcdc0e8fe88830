"""What a stage is: frozen data that opens into an actor.

A stage is one step of a pipeline. As data it is a Struct: the object of the Python DSL, the table of a
pipeline file, the validation, the JSON Schema and the reference page are all this one class. As a running
thing it is what `open()` yields: an actor with one method. The engine owns everything else: inboxes,
workers, retries, errors, receipts.

    source   run(emit)          emit(instance) waits for room and returns the receipt
    filter   process(instance)  returns an instance, several, or None to drop it
    router   choose(instance)   returns the names of branches; none at all means "*"
    sink     write(instance)    returned: accepted; raised: not

A stage of any kind whose actor has `run(inbox, outlet)` is a stream actor: it takes deliveries itself, for
windows and batches.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Protocol

from msgspec import Meta, Struct

from dcmflow.dicom.instance import Instance
from dcmflow.flow.policy import Retry

if TYPE_CHECKING:
    from dcmflow.flow.context import Context, Emit
    from dcmflow.flow.delivery import Delivery
    from dcmflow.flow.graph import Flow

Actor = Any  # SourceActor | FilterActor | RouterActor | SinkActor | StreamActor, by the kind of the stage
Part = Any  # what may stand beside `|`: a Stage, a Flow, a function, a tuple of parts, after a router a dict of parts


class SourceActor(Protocol):
    """Where instances come from."""

    async def run(self, emit: Emit) -> None:
        """Emit instances until there are no more; returning ends the source.

        Called once. An exception ends the whole pipeline. An actor may also have `async def drain(self)`: called once when
        the pipeline drains; it must make `run` return once everything emitted has been answered; what it had begun to take
        in before gets in with `emit(instance, begun=True)`. Without it, `run` is cancelled when everything it emitted has
        settled. `emit` raises `Draining` from then on.
        """


class FilterActor(Protocol):
    """What happens to instances on their way."""

    async def process(self, instance: Instance) -> Instance | Iterable[Instance] | None:
        """Return the instance to go on, several of them, or None (or none) to drop it.

        Called by up to `workers` tasks at once. Raising refuses the instance, as `on_error` says.
        """


class RouterActor(Protocol):
    """Which way instances go."""

    async def choose(self, instance: Instance) -> Iterable[str]:
        """Return the names of the branches it goes to; none at all means the branch `"*"`, or refused where there is none."""


class SinkActor(Protocol):
    """Where instances end up."""

    async def write(self, instance: Instance) -> bool | None:
        """Returned: accepted, for good. Raised: not accepted.

        False says that another version of the instance was there and was kept: nobody is refused, but the
        receipt is not complete, so a source will not remove its copy.

        Called by up to `workers` tasks at once, and again with the same instance when `retry` says so: writing twice must be
        the same as writing once, by SOP Instance UID.
        """


class HeadStart(Protocol):
    """What a sink does with an instance that is still arriving; see `Sink.starts_early`, `Emit.begin`."""

    def feed(self, data: bytearray) -> int:
        """More has arrived: `data` is what there is of the data set, from the beginning on.

        Returns:
            from what size on it is to be called again; 0: it has come to nothing.
        """

    async def finish(self, instance: Instance) -> None:
        """The instance is whole; do the rest. What came of it, failures too, the sink says when it is to write the instance."""

    def abandon(self) -> None:
        """It will not become whole, or will not be emitted. Nothing happens when it is finished."""


class Inbox(AsyncIterable["Delivery"], Protocol):
    """What a stream actor takes deliveries from; iteration ends when all stages before it have ended."""

    async def receive(self) -> Delivery: ...


class Outlet(Protocol):
    """What a stream actor hands deliveries on with."""

    async def send(self, delivery: Delivery, branch: str | None = None) -> None:
        """Hand on a delivery to every stage that follows (for a router: on that branch); waits for room."""


class StreamActor(Protocol):
    """A stage that takes its own deliveries: windows, batches."""

    async def run(self, inbox: Inbox, outlet: Outlet) -> None:
        """Take deliveries until the inbox ends. Each one is settled (`accept`, `drop`, `refuse`) or sent on, once."""


def kebab(name: str) -> str:
    """`DirectoryWatch` → `directory-watch`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name.rsplit(".", 1)[-1]).lower()


class Stage(
    Struct,
    frozen=True,
    kw_only=True,
    tag_field="type",
    tag=kebab,
    rename="kebab",
    forbid_unknown_fields=True,
    omit_defaults=True,
):
    """One step of a pipeline, as data.

    Compared by value, but wired by identity: the same object twice in a pipeline is one node.
    """

    kind: ClassVar[str] = "stage"
    looks_ahead: ClassVar[bool] = False
    """True: `context.upcoming()` says what waits in its inbox. It costs something for each instance."""
    divisible: ClassVar[bool] = False
    """True: several processes may each run it for a part of the instances, since it handles each one by itself."""

    name: Annotated[str, Meta(description="Name in the pipeline; the key of the table in a file.")] = ""
    workers: Annotated[int, Meta(ge=1, le=1024, description="Instances handled at once.")] = 1
    inbox: Annotated[
        int, Meta(ge=0, le=100_000, description="Instances that may wait here before senders wait.")
    ] = 16
    retry: Annotated[
        Retry | None,
        Meta(description="Try again on transient errors: { attempts, first, longest }."),
    ] = None
    on_error: Annotated[
        str,
        Meta(
            description="What becomes of an instance that fails here: refuse, skip, stop, or the name of a sink."
        ),
    ] = "refuse"

    @property
    def type(self) -> str:
        """The type as written in a pipeline file."""
        return str(self.__struct_config__.tag)

    @property
    def tasks(self) -> int:
        """How many tasks work at it: `workers`, unless a stage knows better."""
        return self.workers

    def open(self, context: Context) -> AbstractAsyncContextManager[Actor]:
        """Open what the stage needs and yield its actor; leaving the block closes it.

        Called once per run, before anything moves. Raising stops the pipeline and names this stage.
        """
        raise NotImplementedError(f"{type(self).__name__} has no open()")

    def check(self, context: Context) -> None:
        """Raise ConfigError for what cannot be right and can be told without opening or touching anything."""

    def divided(self, among: int, context: Context) -> Stage:
        """What each of so many processes runs of a stage that is `divisible`: less of what it may use at once.

        Raises ConfigError when there is not enough of it for all.
        """
        return self

    def __or__(self, other: Part) -> Flow:
        from dcmflow.flow.graph import join

        return join(self, other)

    def __ror__(self, other: Part) -> Flow:
        from dcmflow.flow.graph import join

        return join(other, self)


class Source(Stage, frozen=True, kw_only=True):
    """Where instances come from; opens into a SourceActor."""

    kind: ClassVar[str] = "source"

    def caveat(self) -> str:
        """Why Success means less here than that the sinks have accepted, in words; empty: it means that."""
        return ""


class Filter(Stage, frozen=True, kw_only=True):
    """What happens to instances; opens into a FilterActor."""

    kind: ClassVar[str] = "filter"


class Router(Stage, frozen=True, kw_only=True):
    """Which way instances go; opens into a RouterActor."""

    kind: ClassVar[str] = "router"

    def branches(self) -> frozenset[str] | None:
        """The branches that can be chosen, without `"*"`; None when any name may come."""
        return None


class Sink(Stage, frozen=True, kw_only=True):
    """Where instances end up; opens into a SinkActor."""

    kind: ClassVar[str] = "sink"

    required: Annotated[
        bool,
        Meta(
            description="False: best effort. What this sink refuses is counted, but does not refuse the instance."
        ),
    ] = True

    starts_early: ClassVar[bool] = False
    """True: its actor has `begin(instance)`, which returns a `HeadStart` or None, and `write_nowait(instance)`, which says what
    came of it, or raises where nothing did."""

    @property
    def writes_directly(self) -> bool:
        """Its actor has `write_nowait(instance)`: as `write`, but raises where it would have to wait; see `direct_channel`."""
        return False

    def landing(self, context: Context) -> str | None:
        """A folder on the file system where this sink keeps instances as files; None: it does not."""
        return None

    def promise(self) -> str:
        """What having been accepted here means, in words; empty when it means nothing durable."""
        return ""


KINDS: Mapping[str, type[Stage]] = {"source": Source, "filter": Filter, "router": Router, "sink": Sink}
