"""A stage while it runs: an inbox, workers, an outlet.

Each kind of stage has a loop here, and each loop is written as a stream actor: take a delivery, call the
stage's one method, settle the delivery or send it on. Around the call stands the stage's policy: `retry`
for transient errors, then `on_error`.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from anyio import ClosedResourceError, EndOfStream, WouldBlock
from anyio.streams.memory import MemoryObjectReceiveStream

from dcmflow.dicom.instance import Instance
from dcmflow.errors import DcmflowError, Refused, StageError
from dcmflow.flow.context import Context, Draining, Emit
from dcmflow.flow.delivery import Delivery
from dcmflow.flow.direct_channel import DirectChannel
from dcmflow.flow.events import InstanceDiverted, InstanceRefused, InstanceSkipped, RetryScheduled
from dcmflow.flow.failure import describe, died, only_cause
from dcmflow.flow.graph import OTHERWISE
from dcmflow.flow.outlet import Branches, Channel
from dcmflow.flow.policy import attempt
from dcmflow.flow.stage import Sink, Stage
from dcmflow.flow.statistics import Counters, StageStatistics
from dcmflow.flow.visible_inbox import VisibleChannel, VisibleInbox, Waiting
from dcmflow.status import Status

if TYPE_CHECKING:
    from dcmflow.flow.ledger import Ledger
    from dcmflow.flow.stage import Actor

Answer = TypeVar("Answer")


class Node:
    """One stage of a run, with all that belongs to it."""

    def __init__(self, name: str, stage: Stage, context: Context, ledger: Ledger) -> None:
        self.name = name
        self.stage = stage
        self.context = context
        self.ledger = ledger
        self.counters: Counters = Counters()
        self.actor: Actor = None
        self.emit: Emit | None = None
        self.outlet: Branches = Branches({})
        self.diverted: Channel | None = None
        channel, inbox = anyio.create_memory_object_stream[Delivery](stage.inbox)
        self.channel: Channel = channel
        self.inbox: MemoryObjectReceiveStream[Delivery] | VisibleInbox = inbox
        if stage.looks_ahead:
            waiting: Waiting = {}
            self.channel, self.inbox = VisibleChannel(channel, waiting), VisibleInbox(inbox, waiting)
            context.upcoming = self.inbox.upcoming
        if isinstance(stage, Sink) and (stage.writes_directly or stage.starts_early):
            self.channel = DirectChannel(self.channel, self)
        self._writing = 0

    @property
    def at_rest(self) -> bool:
        """Nothing waits in its inbox, and where order counts nobody writes."""
        if self._writing and self.stage.tasks == 1:
            return False
        return not self.inbox.statistics().current_buffer_used

    @property
    def starts_early(self) -> bool:
        """It can begin with what is still arriving."""
        return isinstance(self.stage, Sink) and self.stage.starts_early and self.at_rest

    def statistics(self) -> StageStatistics:
        counters = self.counters
        waiting = self.inbox.statistics().current_buffer_used
        return StageStatistics(
            kind=self.stage.kind,
            type=self.stage.type,
            received=counters.received,
            sent=counters.sent,
            dropped=counters.dropped,
            refused=counters.refused,
            retried=counters.retried,
            waiting=waiting,
            bytes=counters.bytes,
            busy=counters.busy,
        )

    async def run(self) -> None:
        """Work until the inbox ends (a source: until it has no more). Raises StageError when the actor dies."""
        try:
            if self.emit is not None:
                await self._run_source(self.emit)
            elif hasattr(self.actor, "run"):
                await self._run_stream()
            else:
                await self._run_workers()
        except anyio.get_cancelled_exc_class() as error:
            if anyio.current_effective_deadline() == -math.inf:
                raise
            self.ledger.closing = True
            raise self._cut_off() from error
        except Exception as error:
            self.ledger.closing = True
            cause = only_cause(error)
            if isinstance(cause, StageError):
                raise cause from cause.__cause__
            raise died(self.name, self.stage.kind, cause) from cause
        finally:
            self.end()

    def _cut_off(self) -> StageError:
        return StageError(
            f"{self.stage.kind} {self.name!r} died: something that it waited for was cancelled by others",
            stage=self.name,
        )

    def end(self) -> None:
        """Hand on nothing more: the stages that follow see the end of their inbox.

        The own inbox stays open: a stage before this one that waits for room in it is being cancelled too.
        """
        if self.diverted is not None:
            self.diverted.close()
        self.outlet.close()

    def close(self) -> None:
        """Once all stages have ended: let go of what is left in the inbox."""
        self.end()
        with suppress(WouldBlock, EndOfStream, ClosedResourceError):
            while True:
                self.inbox.receive_nowait()
        self.inbox.close()

    async def _run_source(self, emit: Emit) -> None:
        async with anyio.create_task_group() as tasks:
            with anyio.CancelScope() as running:
                tasks.start_soon(self._watch_drain, emit, running)
                try:
                    await self.actor.run(emit)
                except* Draining:
                    pass
            tasks.cancel_scope.cancel()

    async def _watch_drain(self, emit: Emit, running: anyio.CancelScope) -> None:
        await emit.draining.wait()
        if hasattr(self.actor, "drain"):
            await self.actor.drain()
        else:
            await emit.finish()
            running.cancel()

    async def _run_stream(self) -> None:
        inbox = CountedInbox(self)
        try:
            await self.actor.run(inbox, CountedOutlet(self.outlet, self.counters))
        except BaseException:
            self.ledger.closing = True
            raise
        try:
            delivery = await inbox.receive()
        except EndOfStream:
            return
        self.ledger.closing = True
        raise StageError(
            f"{self.stage.kind} {self.name!r} ended before what comes to it had ended "
            f"({delivery.instance.sop_instance_uid} came next)",
            stage=self.name,
        )

    async def _run_workers(self) -> None:
        loop = {"filter": self._filter, "router": self._route, "sink": self._sink}[self.stage.kind]
        async with anyio.create_task_group() as workers:
            for _ in range(self.stage.tasks):
                workers.start_soon(self._work, loop, name=f"dcmflow {self.name} worker")

    async def _work(self, loop: Callable[[], Awaitable[None]]) -> None:
        try:
            await loop()
        except BaseException as error:
            # what is under way in this frame is not lost: the books will be closed, and its receipt with them
            self.ledger.closing = True
            foreign = isinstance(error, anyio.get_cancelled_exc_class())
            if foreign and anyio.current_effective_deadline() != -math.inf:
                raise self._cut_off() from error
            raise

    # -- the loops

    async def _filter(self) -> None:
        process = self._call(self.actor.process, _instances)
        counters, send = self.counters, self.outlet.main.send
        while (delivery := await self._take()) is not None:
            made = await process(delivery)
            if isinstance(made, Instance):
                counters.sent += 1
                await send(delivery.replace(made))
            elif made is not None:
                counters.dropped += not made
                # held here, so that those not sent yet are not lost when it is cancelled
                forks = delivery.fork(*made)
                while forks:
                    counters.sent += 1
                    await send(forks.pop(0))
            del delivery, made  # or they would stay while the next one is awaited

    async def _route(self) -> None:
        choose = self._call(self.actor.choose, self._branches)
        counters, by_name = self.counters, self.outlet.by_name
        while (delivery := await self._take()) is not None:
            names = await choose(delivery)
            if names is not None:
                counters.sent += 1
                copies = delivery.fork(*(delivery.instance for _ in names)) if len(names) > 1 else [delivery]
                for name in names:
                    await by_name[name].send(copies.pop(0))
            del delivery

    def _branches(self, answer: Any) -> list[str]:
        if isinstance(answer, str):
            raise TypeError(f"a router answers with names of branches, not with the text {answer!r}")
        names = list(dict.fromkeys(answer)) or [OTHERWISE]
        for name in names:
            if name not in self.outlet.by_name:
                what = "no branch matched and there is no" if name == OTHERWISE else "there is no branch"
                raise Refused(f"{what} {name!r}; add the branch or a filter before the router")
        return names

    async def _sink(self) -> None:
        write = self._call(self.actor.write, lambda answer: answer is False)
        counters = self.counters
        while (delivery := await self._take()) is not None:
            self._writing += 1
            try:
                another_version = await write(delivery)
            finally:
                self._writing -= 1
            if another_version is not None:
                counters.sent += 1
                delivery.accept(lapse=another_version)
            del delivery

    async def _take(self) -> Delivery | None:
        """The next delivery, None when there will be none. What is there already is taken without a turn of the loop."""
        while True:
            try:
                delivery = self.inbox.receive_nowait()
            except WouldBlock:
                try:
                    delivery = await self.inbox.receive()
                except EndOfStream:
                    return None
            except EndOfStream:
                return None
            if not delivery.called_back:
                break
        delivery.taken = True
        self.counters.received += 1
        self.counters.bytes += delivery.instance.payload.size
        return delivery

    # -- policy

    def _call(
        self, method: Callable[[Instance], Awaitable[Any]], understand: Callable[[Any], Answer]
    ) -> Callable[[Delivery], Awaitable[Answer | None]]:
        """`method(instance)` under the policy of the stage: what it answered, or None when it failed and was dealt with."""
        counters, retry = self.counters, self.stage.retry

        async def call(delivery: Delivery) -> Answer | None:
            started = perf_counter()
            try:
                if retry is None:
                    return understand(await method(delivery.instance))
                return await attempt(retry, lambda: once(delivery.instance), self._note_retry(delivery))
            except Exception as error:
                failure = error
            finally:
                counters.busy += perf_counter() - started
            try:
                await self._failed(delivery, failure)
            finally:
                del failure  # its traceback holds this frame, and the frame the instance
            return None

        async def once(instance: Instance) -> Answer:
            return understand(await method(instance))

        return call

    def _note_retry(self, delivery: Delivery) -> Callable[[Exception, int], None]:
        def note(error: Exception, attempts: int) -> None:
            self.counters.retried += 1
            uid = delivery.instance.sop_instance_uid
            self.context.report(
                RetryScheduled(
                    stage=self.name, sop_instance_uid=uid, reason=describe(error), attempts=attempts
                )
            )

        return note

    async def _failed(self, delivery: Delivery, error: Exception) -> None:
        """`on_error` for one instance. Raises StageError when it is "stop"."""
        status = error.status if isinstance(error, DcmflowError) else Status.PROCESSING_FAILURE
        reason, instance, policy = describe(error), delivery.instance, self.stage.on_error
        about: dict[str, Any] = {
            "stage": self.name,
            "sop_instance_uid": instance.sop_instance_uid,
            "status": status,
            "reason": reason,
            "path": instance.origin.path,
        }
        if policy == "skip":
            self.counters.dropped += 1
            self.context.report(InstanceSkipped(**about))
            delivery.drop(lapse=True)
        elif self.diverted is not None:
            self.counters.refused += 1
            self.context.report(InstanceDiverted(**about, to=policy))
            labels = {"refused.stage": self.name, "refused.status": f"{status:04X}", "refused.reason": reason}
            await self.diverted.send(delivery.replace(instance.with_labels(**labels)))
        else:
            self.counters.refused += 1
            required = not isinstance(self.stage, Sink) or self.stage.required
            self.context.report(InstanceRefused(**about, required=required))
            if required:
                if len(delivery.receipts) == 1:
                    delivery.receipts[0].named = True
                delivery.refuse(status, self.name, reason)
            else:
                delivery.drop(lapse=True)
            if policy == "stop":
                raise StageError(
                    f"{self.stage.kind} {self.name!r} refused {instance.sop_instance_uid} and on-error is 'stop': {reason}",
                    stage=self.name,
                ) from error


def _instances(answer: Any) -> Instance | tuple[Instance, ...]:
    """What a filter answered: an instance, or several or none."""
    if isinstance(answer, Instance):
        return answer
    if answer is None:
        return ()
    several = tuple(answer) if isinstance(answer, Iterable) else (answer,)
    for item in several:
        if not isinstance(item, Instance):
            raise TypeError(f"a filter answers with instances or None, not with {type(item).__name__}")
    return several


class CountedInbox:
    """The inbox of a stream actor."""

    def __init__(self, node: Node) -> None:
        self._inbox = node.inbox
        self._counters = node.counters
        self._ledger = node.ledger

    async def receive(self) -> Delivery:
        """The next delivery. Raises anyio.EndOfStream when there will be none."""
        try:
            while (delivery := await self._inbox.receive()).called_back:
                pass
        except anyio.get_cancelled_exc_class():
            self._ledger.closing = True  # what its caller holds is not lost
            raise
        delivery.take(self._counters)
        self._counters.received += 1
        self._counters.bytes += delivery.instance.payload.size
        return delivery

    def __aiter__(self) -> CountedInbox:
        return self

    async def __anext__(self) -> Delivery:
        try:
            return await self.receive()
        except EndOfStream:
            raise StopAsyncIteration from None


class CountedOutlet:
    """The outlet of a stream actor."""

    def __init__(self, branches: Branches, counters: Counters) -> None:
        self._branches = branches
        self._counters = counters

    async def send(self, delivery: Delivery, branch: str | None = None) -> None:
        self._counters.sent += 1
        delivery.take(None)
        await self._branches.send(delivery, branch)
