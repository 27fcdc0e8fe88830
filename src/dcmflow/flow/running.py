"""The handle of a pipeline that runs.

One task, the supervisor, owns the run: it opens the stages (the last ones first, so that nothing moves
before there is a place for it), starts one task per stage, waits for them to end, closes the stages in
reverse and then what they shared, and closes the books. It stands beside the block of `async with pipeline.start()`, so that
cancelling the run does not cancel the block.

    drain     sources end, end-of-stream runs down the graph stage by stage, each ends when all before it have
    cancel    all stage tasks are cancelled; whatever is still open is refused
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Hashable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from time import perf_counter
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import TaskStatus

from dcmflow.dicom.freed_memory import keep_freed_memory
from dcmflow.dicom.instance import Instance
from dcmflow.errors import GraphError, StageError
from dcmflow.flow.actor import Node
from dcmflow.flow.context import Emit
from dcmflow.flow.delivery import Receipt
from dcmflow.flow.event_stream import EventStream
from dcmflow.flow.events import (
    Event,
    InstanceRefused,
    Observer,
    PipelineCancelled,
    PipelineDraining,
    PipelineFinished,
    PipelineStarted,
    StageFailed,
    StageOpened,
)
from dcmflow.flow.failure import leaves, only_cause
from dcmflow.flow.ledger import Ledger
from dcmflow.flow.opened import Opened
from dcmflow.flow.outlet import Branches, Fanout
from dcmflow.flow.resources import Resources
from dcmflow.flow.stage import Source, Stage
from dcmflow.flow.statistics import PipelineStatistics, Statistics

if TYPE_CHECKING:
    from dcmflow.flow.pipeline import Pipeline

CANCELLED = "the pipeline was cancelled"


class Running:
    """A pipeline that runs; made by `pipeline.start()`."""

    def __init__(
        self,
        pipeline: Pipeline,
        observers: Sequence[Observer],
        provided: Mapping[Hashable, Any] | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.observers: list[Observer] = list(observers)
        self._ledger = Ledger(pipeline.limits)
        self._ledger.on_refused = self._name_refusal
        self._failure: BaseException | None = None
        self.finished: anyio.Event = anyio.Event()
        self._stop = anyio.CancelScope()
        self._draining = False
        self._started_at: float | None = None
        self._seconds = 0.0
        self._resources = Resources()
        self._nodes = {
            name: Node(
                name,
                stage,
                pipeline.context(name, self._report, self._resources, provided),
                self._ledger,
            )
            for name, stage in ((name, pipeline.graph.stages[name]) for name in pipeline.graph.order())
        }
        self._connect()

    # -- what its user calls

    async def wait(self) -> None:
        """Wait until all sources have ended and everything they emitted has settled.

        Raises what ended the run early, as leaving the block does.
        """
        await self.finished.wait()
        if self._failure is not None:
            raise self._failure

    async def drain(self, grace: float = 30) -> None:
        """Take on nothing more and wait until what is admitted has settled.

        Args:
            grace: seconds; what is unsettled after that is refused. `math.inf` waits as long as it takes.
        """
        self._begin_drain()
        with anyio.move_on_after(grace if grace != math.inf else None):
            await self.finished.wait()
        if not self.finished.is_set():
            self.cancel()
            await self.finished.wait()

    def cancel(self) -> None:
        """End now: what is unsettled is refused."""
        self._stop.cancel()

    async def send(self, inlet: Stage | str, instance: Instance) -> Receipt:
        """Emit an instance from an `inlet` source; waits for room.

        Raises GraphError when that stage takes none, Draining when the pipeline is draining.
        """
        if not isinstance(instance, Instance):
            raise TypeError(
                f"an Instance is sent, not a {type(instance).__name__}: see Instance.from_dataset"
            )
        receipt = await self._actor(inlet, "send", "an inlet").send(instance)
        assert isinstance(receipt, Receipt)
        return receipt

    def close(self, inlet: Stage | str) -> None:
        """No more instances will be sent to this inlet: it ends as a source does."""
        self._actor(inlet, "close", "an inlet").close()

    def outlet(self, sink: Stage | str) -> AbstractAsyncContextManager[AsyncIterator[Instance]]:
        """The instances that come to an `outlet` sink; each is accepted when the next one is asked for."""
        opened: AbstractAsyncContextManager[AsyncIterator[Instance]] = self._actor(
            sink, "instances", "an outlet"
        ).instances()
        return opened

    def statistics(self) -> Statistics:
        """A snapshot of what has been counted; after the run, the final figures."""
        ledger = self._ledger
        seconds = self._seconds
        if self._started_at is not None and not self.finished.is_set():
            seconds = perf_counter() - self._started_at
        return Statistics(
            pipeline=PipelineStatistics(
                emitted=ledger.emitted,
                accepted=ledger.accepted,
                dropped=ledger.dropped,
                refused=ledger.refused,
                unsettled=ledger.unsettled,
                not_dicom=ledger.not_dicom,
                bytes=ledger.bytes,
                resident=ledger.capacity.bytes_used,
                seconds=seconds,
            ),
            stages={name: node.statistics() for name, node in self._nodes.items()},
        )

    def events(self, remember: int = 1000) -> EventStream:
        """The events from now on: `async with running.events() as events: async for event in events`.

        Args:
            remember: events kept for a reader that is slow; beyond that the oldest are let go and counted in `.missed`.
        """
        return EventStream(self, remember)

    # -- how it runs

    def _connect(self) -> None:
        graph = self.pipeline.graph
        for name, node in self._nodes.items():
            by_branch = {
                branch: Fanout(tuple(self._nodes[target].channel.clone() for target in targets))
                for branch, targets in graph.targets(name).items()
            }
            node.outlet = Branches(by_branch)
            if node.stage.on_error in self._nodes:
                node.diverted = self._nodes[node.stage.on_error].channel.clone()
            if isinstance(node.stage, Source):
                node.emit = Emit(
                    node.context,
                    self._ledger,
                    node.outlet.main,
                    node.counters,
                    node.stage.on_error,
                    [self._nodes[target] for target in graph.targets(name).get(None, ())],
                )
        for node in self._nodes.values():
            node.channel.close()

    async def _supervise(self, *, task_status: TaskStatus[None]) -> None:
        try:
            try:
                await self._run_stages(task_status)
            except BaseExceptionGroup as group:
                cause = only_cause(group)
                if cause is group:
                    raise
                raise cause from cause.__cause__
        except Exception as error:
            self._failure = error
            self._report_failure(error)
            raise
        finally:
            try:
                self._close_books()
            finally:
                self.finished.set()
        if self._ledger.failure is not None:
            raise self._ledger.failure

    async def _run_stages(self, task_status: TaskStatus[None]) -> None:
        keep_freed_memory()
        with self._stop:
            async with self._resources, AsyncExitStack() as stack:
                for name, node in reversed(self._nodes.items()):
                    opened = Opened(name, node.stage, node.context)
                    node.actor = await stack.enter_async_context(opened)
                    self._report(StageOpened(stage=name, type=node.stage.type))
                self._started_at = perf_counter()
                self._report(PipelineStarted(pipeline=self.pipeline.name, stages=len(self._nodes)))
                task_status.started()
                async with anyio.create_task_group() as tasks:
                    for node in self._nodes.values():
                        tasks.start_soon(node.run, name=f"dcmflow {node.name}")

    def _close_books(self) -> None:
        if self._started_at is not None:
            self._seconds = perf_counter() - self._started_at
        reason = CANCELLED if self._failure is None else f"the pipeline was stopped: {self._failure}"
        refused = self._ledger.close(reason)
        for node in self._nodes.values():
            node.close()
        if refused and self._failure is None:
            self._report(PipelineCancelled(pipeline=self.pipeline.name, refused=len(refused)))
        totals = self._ledger
        if self._started_at is not None:
            self._report(
                PipelineFinished(
                    pipeline=self.pipeline.name,
                    emitted=totals.emitted,
                    accepted=totals.accepted,
                    dropped=totals.dropped,
                    refused=totals.refused,
                    not_dicom=totals.not_dicom,
                    seconds=self._seconds,
                )
            )

    def _name_refusal(self, receipt: Receipt) -> None:
        """What no stage has reported: refused by a stream actor, lost, called back, open at the end."""
        if not receipt.named and receipt.status is not None:
            self._report(
                InstanceRefused(
                    stage=receipt.stage or receipt.source,
                    sop_instance_uid=receipt.instance_uid,
                    status=receipt.status,
                    reason=receipt.reason,
                    path=receipt.path,
                )
            )

    def _begin_drain(self) -> None:
        if self._draining or self.finished.is_set():
            return
        self._draining = True
        self._report(PipelineDraining(pipeline=self.pipeline.name, unsettled=self._ledger.unsettled))
        for node in self._nodes.values():
            if node.emit is not None:
                node.emit.draining.set()

    def _actor(self, stage: Stage | str, method: str, what: str) -> Any:
        name = self.pipeline.graph.name_of(stage)
        actor = self._nodes[name].actor
        if not hasattr(actor, method):
            raise GraphError(f"{self._nodes[name].stage.kind} {name!r} is not {what}")
        return actor

    def _report(self, event: Event) -> None:
        for observer in tuple(self.observers):
            try:
                observer(event)
            except Exception as error:  # it belongs to somebody else; the run ends with it, not by it
                self.observers.remove(observer)
                self._ledger.failed(error)

    def _report_failure(self, error: BaseException) -> None:
        for leaf in leaves(error):
            if isinstance(leaf, StageError):
                self._report(StageFailed(stage=leaf.stage, reason=str(leaf)))
