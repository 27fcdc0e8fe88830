"""What a stage is told when it opens, and what a source emits with."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from dcmflow.errors import ConfigError, DcmflowError, Refused
from dcmflow.flow.delivery import Delivery, Receipt
from dcmflow.flow.events import Event, InstanceRefused, NotDicomFound, Warned
from dcmflow.status import Status

if TYPE_CHECKING:
    from dcmflow.dicom.instance import Instance
    from dcmflow.dicom.selector import Selector
    from dcmflow.flow.ledger import Ledger
    from dcmflow.flow.outlet import Fanout
    from dcmflow.flow.statistics import Counters


PACKAGE = "package:"


class Draining(DcmflowError):
    """`emit` was called after the pipeline had begun to drain; a source lets it pass, which ends it."""

    status = Status.OUT_OF_RESOURCES
    transient = True


class Context:
    """What a stage may know about the run it is opened for.

    Attributes:
        stage: the name of the stage.
        pipeline: the name of the pipeline.
        base: the folder that relative paths are relative to.
        selectors: named selectors, name to text.
        report: gives an event to the observers.
    """

    def __init__(
        self,
        *,
        stage: str,
        pipeline: str = "",
        base: Path | None = None,
        selectors: Mapping[str, str] | None = None,
        report: Callable[[Event], None] = lambda event: None,
    ) -> None:
        self.stage = stage
        self.pipeline = pipeline
        self.base = base
        self.selectors = selectors or {}
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

    def warn(self, message: str, path: str | None = None) -> None:
        self.report(Warned(stage=self.stage, message=message, path=path))


class Emit:
    """How a source gives instances to the pipeline: `receipt = await emit(instance)`."""

    def __init__(self, context: Context, ledger: Ledger, fanout: Fanout, counters: Counters) -> None:
        self._context = context
        self._ledger = ledger
        self._fanout = fanout
        self._counters = counters
        self._in_flight = 0
        self.draining = anyio.Event()

    async def __call__(self, instance: Instance) -> Receipt:
        """Wait for room in the pipeline and in the stages that follow; return the receipt.

        Raises Draining when the pipeline has begun to drain. Cancelled while it waits, the instance was never emitted.
        """
        ledger = self._ledger
        if self.draining.is_set():
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
        self._counters.sent += 1
        self._counters.bytes += instance.payload.size
        return receipt

    async def idle(self) -> None:
        """Wait until nothing this source emitted is unsettled or on its way in."""
        name = self._context.stage
        while self._in_flight or self._ledger.unsettled_of(name):
            settled = self._ledger.on_idle[name] = anyio.Event()
            with anyio.move_on_after(0.05 if self._in_flight else None):
                await settled.wait()

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
        """
        status = error.status if isinstance(error, DcmflowError) else Refused.status
        self._ledger.count_refused(size)
        self._counters.refused += 1
        self._context.report(
            InstanceRefused(
                stage=self._context.stage,
                sop_instance_uid=sop_instance_uid,
                status=status,
                reason=str(error),
                path=path,
            )
        )

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
