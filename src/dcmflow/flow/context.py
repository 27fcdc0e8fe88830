"""What a stage is told when it opens, and what a source emits with."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from anyio.lowlevel import checkpoint

from dcmflow.errors import ConfigError, DcmflowError, Refused, StageError
from dcmflow.flow.delivery import Delivery, Receipt
from dcmflow.flow.events import Event, InstanceRefused, InstanceSkipped, NotDicomFound, Warned
from dcmflow.status import Status

if TYPE_CHECKING:
    from dcmflow.dicom.instance import Instance
    from dcmflow.dicom.selector import Selector
    from dcmflow.flow.actor import Node
    from dcmflow.flow.ledger import Ledger
    from dcmflow.flow.outlet import Fanout
    from dcmflow.flow.resources import Resources
    from dcmflow.flow.stage import HeadStart
    from dcmflow.flow.statistics import Counters

T = TypeVar("T")

PACKAGE = "package:"
TURN = 16  # instances that settle at once before others get a turn


class Draining(DcmflowError):
    """`emit` was called after the pipeline had begun to drain; a source lets it pass, which ends it."""

    status: Status = Status.OUT_OF_RESOURCES
    transient: bool = True


class Context:
    """What a stage may know about the run it is opened for.

    Attributes:
        stage: the name of the stage.
        pipeline: the name of the pipeline.
        base: the folder that relative paths are relative to.
        selectors: named selectors, name to text.
        nodes: DICOM peers by name, each a `dcmflow.net.node.Node`.
        local: who we are on the network, a `dcmflow.net.node.Local`; None where nobody said.
        resources: what the stages of the run share; None outside of a run.
        provided: what whoever started the run had already, such as sockets that listen, by what a stage asks for.
        stages: all stages of the pipeline by name.
        landing: a folder on the file system where instances of this pipeline are stored; None where none is.
        upcoming: says what waits in the inbox, the oldest first, to a stage that `looks_ahead`; to others that nothing does.
        report: gives an event to the observers.
    """

    def __init__(
        self,
        *,
        stage: str,
        pipeline: str = "",
        base: Path | None = None,
        selectors: Mapping[str, str] | None = None,
        nodes: Mapping[str, Any] | None = None,
        local: Any = None,
        resources: Resources | None = None,
        provided: Mapping[Hashable, Any] | None = None,
        report: Callable[[Event], None] = lambda event: None,
    ) -> None:
        self.stage = stage
        self.pipeline = pipeline
        self.base = base
        self.selectors: Mapping[str, str] | dict[str, str] = selectors or {}
        self.nodes: Mapping[str, Any] = nodes or {}
        self.local: Any = local
        self.resources: Resources | None = resources
        self.provided: Mapping[Hashable, Any] = provided or {}
        self.stages: Mapping[str, Any] = {}
        self.landing: str | None = None
        self.upcoming: Callable[[], Iterable[Instance]] = tuple
        self.report = report

    def path(self, text: str | os.PathLike[str]) -> Path:
        """An absolute path: `~` expanded, relative to the pipeline file or, without one, to the working directory.

        `package:pydicom/data` is the folder `data` of the installed Python package pydicom.

        Raises:
            ConfigError: there is no such package.
        """
        words = os.fspath(text)
        if words.startswith(PACKAGE):
            return _in_package(words.removeprefix(PACKAGE))
        return (self.base or Path.cwd()) / Path(words).expanduser()

    def selector(self, text: str) -> Selector:
        """The selector of this text; names in it are those of the settings and the pipeline file."""
        from dcmflow.dicom.selector import Selector

        return Selector.parse(text, self.selectors)

    async def resource(self, key: Hashable, make: Callable[[], AbstractAsyncContextManager[T]]) -> T:
        """What several stages of a run share, such as the listener on a port.

        The first one who asks has it made and entered. It stays open until all stages are closed.

        Args:
            key: what it is the one of, such as `("listener", host, port)`.
            make: makes its context manager.

        Raises:
            RuntimeError: this is no run; give the context `Resources`.
            Exception: what entering raised.
        """
        if self.resources is None:
            raise RuntimeError(
                f"stage {self.stage!r} shares {key!r} with other stages and was opened with a context that has no resources: "
                "async with Resources() as resources, then Context(..., resources=resources)"
            )
        return await self.resources.get(key, make)

    def warn(self, message: str, path: str | None = None) -> None:
        self.report(Warned(stage=self.stage, message=message, path=path))


class Emit:
    """How a source gives instances to the pipeline: `receipt = await emit(instance)`.

    Attributes:
        draining: set when the source is to take on nothing more.
    """

    def __init__(
        self,
        context: Context,
        ledger: Ledger,
        fanout: Fanout,
        counters: Counters,
        on_error: str = "refuse",
        followers: Sequence[Node] = (),
    ) -> None:
        self._context = context
        self._ledger = ledger
        self._fanout = fanout
        self._counters = counters
        self._on_error = on_error
        self._followers = followers
        self._in_flight = 0
        self._at_once = 0
        self._finished = False
        self.draining: anyio.Event = anyio.Event()

    async def __call__(self, instance: Instance, *, begun: bool = False) -> Receipt:
        """Wait for room in the pipeline and in the stages that follow; return the receipt.

        Cancelled while it waits, the instance was never emitted; where one of several branches has it already, it is
        refused on the others.

        Args:
            begun: the source had begun to take it in before the pipeline drained, so it still gets in; for a source whose
                actor has `drain`.

        Raises:
            Draining: the pipeline has begun to drain; what waited for room before that still gets in.
        """
        ledger = self._ledger
        if self._finished or (self.draining.is_set() and not begun):
            while self._in_flight:  # what waits for room in another task is not to be torn down by this error
                await ledger.on_idle(self._context.stage).wait()
            raise Draining("the pipeline is draining and takes on nothing more")
        charge = instance.payload.resident
        self._in_flight += 1
        try:
            if not ledger.capacity.try_acquire(charge):
                await ledger.capacity.acquire(charge)
            receipt = ledger.open(self._context.stage, instance, charge)
            await self._fanout.emit(Delivery(instance, receipt), ledger)
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                ledger.wake(self._context.stage)
        self._counters.sent += 1
        self._counters.bytes += instance.payload.size
        if receipt.outcome is not None:  # at once: then nothing has made this task wait
            self._at_once += 1
            if self._at_once >= TURN:
                self._at_once = 0
                await checkpoint()
        return receipt

    def begin(self, instance: Instance) -> list[HeadStart]:
        """Have the sinks that come next begin with an instance that is still arriving; all of them or none.

        Nothing of it is in the books before it is emitted, whole, once its head starts have finished. So no sink is kept waiting by
        the head start of another. Nobody is overtaken: where others wait, nothing is begun.

        Args:
            instance: with the beginning of its data set.
        """
        starts: list[HeadStart] = []
        if self._ledger.capacity.waiting or not all(node.starts_early for node in self._followers):
            return starts
        for node in self._followers:
            start: HeadStart | None = node.actor.begin(instance)
            if start is None:
                for begun in starts:
                    begun.abandon()
                return []
            starts.append(start)
        return starts

    async def idle(self) -> None:
        """Wait until nothing this source emitted is unsettled or on its way in."""
        name = self._context.stage
        while self._in_flight or self._ledger.unsettled_of(name):
            await self._ledger.on_idle(name).wait()

    async def finish(self) -> None:
        """Say that nothing more will be emitted, and wait until everything that was has settled.

        The stages that follow see the end of their inbox at once, so that windows and batches give out what they hold. To be
        called by a source that has to do something after that; returning from `run` says the same.
        """
        self._finished = True
        name = self._context.stage
        while self._in_flight:
            await self._ledger.on_idle(name).wait()
        self._fanout.close()
        await self.idle()

    def refused(
        self,
        error: DcmflowError | OSError,
        *,
        path: str | None = None,
        sop_instance_uid: str = "",
        size: int = 0,
    ) -> None:
        """Something came from the source that cannot be made an instance: emitted and refused at once.

        Args:
            error: why.  path: where it was found.  size: its bytes, where known.

        Raises:
            StageError: `on_error` of the source is "stop".
        """
        stage, reason = self._context.stage, str(error)
        status = error.status if isinstance(error, DcmflowError) else Refused.status
        skipped = self._on_error == "skip"
        self._ledger.count_refused(size, skipped=skipped)
        event = InstanceSkipped if skipped else InstanceRefused
        self._counters.dropped += skipped
        self._counters.refused += not skipped
        self._context.report(
            event(stage=stage, sop_instance_uid=sop_instance_uid, status=status, reason=reason, path=path)
        )
        if self._on_error == "stop":
            raise StageError(
                f"source {stage!r} came across {path or sop_instance_uid} and on-error is 'stop': {reason}",
                stage=stage,
            ) from error

    def not_dicom(self, path: str) -> None:
        """Something that is not DICOM: counted and passed over."""
        self._ledger.not_dicom += 1
        self._context.report(NotDicomFound(stage=self._context.stage, path=path))


def _in_package(text: str) -> Path:
    name, _, rest = text.partition("/")
    try:
        spec = importlib.util.find_spec(name) if name.isidentifier() else None
    except ValueError:
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(f"there is no Python package {name!r} for the path {PACKAGE + text!r}", key="path")
    return Path(next(iter(spec.submodule_search_locations))) / rest
