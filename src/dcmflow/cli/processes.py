"""`dcmflow run --processes`: one pipeline file, served by several processes.

This process opens the ports, starts the others and takes no calls itself. The others share the sockets (see `net.crew`). They
take calls once all of them are ready, so that what cannot be opened is found before anything moves.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import IO, TYPE_CHECKING

import anyio
from anyio import CapacityLimiter, to_thread

from dcmflow.cli import common
from dcmflow.cli.channel import Channel, FromChild, Line, Opened, Orders, Over, Standing, Word
from dcmflow.cli.common import WRONG
from dcmflow.cli.ending import Ending
from dcmflow.cli.logs import start_logging
from dcmflow.errors import ConfigError, PipelineError, StageError
from dcmflow.flow.events import Event, Observer, PipelineDraining, PipelineFinished, PipelineStarted
from dcmflow.flow.failure import could_not_open
from dcmflow.flow.statistics import Statistics, total
from dcmflow.net.crew import Crew
from dcmflow.net.sockets import bound
from dcmflow.observe.progress import Progress
from dcmflow.observe.report import Refusals, spool_file
from dcmflow.sources.scp import Scp

if TYPE_CHECKING:
    from dcmflow.flow.pipeline import Pipeline

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class ProcessStarted(Event, frozen=True, kw_only=True):
    """One of several processes that run a pipeline was started."""

    process: int
    pid: int


class ProcessDied(Event, frozen=True, kw_only=True):
    """One of several processes that run a pipeline ended before it was done; the others drain."""

    level = "error"

    process: int
    reason: str


class _Child:
    """A process, as the one sees it that has started it."""

    def __init__(self, number: int, process: subprocess.Popen[bytes], channel: Channel[FromChild]) -> None:
        self.number = number
        self.process = process
        self.channel = channel
        self.opened = False
        self.standing: Standing | None = None
        self.over: Over | None = None


class Processes:
    """A pipeline that several processes run for a command.

    Args:
        file: the pipeline file.
        pipeline: what is in it.
        count: how many processes.
        ending: how its end is told.
        backend, grace, live: as for one process.
    """

    def __init__(
        self,
        file: Path,
        pipeline: Pipeline,
        count: int,
        ending: Ending,
        *,
        backend: str,
        grace: float,
        live: bool,
    ) -> None:
        self._file = file
        self._pipeline = pipeline
        self._count = count
        self._ending = ending
        self._backend = backend
        self._grace = grace
        self._options = common.options()
        self._live = live
        self._progress = Progress(enabled=self._live)
        self._observers: list[Observer] = start_logging(self._options, self._progress.write, live=self._live)
        self._sources = {
            name: stage for name, stage in pipeline.graph.stages.items() if isinstance(stage, Scp)
        }
        self._spools: list[IO[bytes]] = []
        self._children: list[_Child] = []
        self._signals: list[signal.Signals] = []
        self._begun = False
        self._error: Exception | None = None

    def run(self) -> int:
        """Run it to its end and tell how that was; returns the exit code. Raises what ended it, or kept it from starting."""
        with ExitStack() as stack:
            sockets = self._sockets(stack)
            crew = Crew.make(self._count, list(self._sources))
            stack.callback(crew.close)
            for _ in range(self._count):
                self._spools.append(stack.enter_context(spool_file()))
            anyio.run(self._supervise, sockets, crew)
            return self._tell()

    def _sockets(self, stack: ExitStack) -> dict[str, list[socket.socket]]:
        """Sockets that listen, by the name of the first source that they are for. Raises StageError."""
        found: dict[str, list[socket.socket]] = {}
        known = set()
        for name, stage in self._sources.items():
            key, place = stage.place(self._pipeline.context(name))
            if key in known:
                continue
            known.add(key)
            try:
                found[name] = bound(place.host, place.port)
            except ConfigError as error:
                raise could_not_open(name, stage.kind, error) from error
            for sock in found[name]:
                stack.callback(sock.close)
        return found

    async def _supervise(self, sockets: dict[str, list[socket.socket]], crew: Crew) -> None:
        async with anyio.create_task_group() as outer:
            await outer.start(self._watch_signals)
            try:
                self._start(sockets, crew)
                for several in sockets.values():  # or calls would wait here when the others are gone
                    for sock in several:
                        sock.close()
                limiter = CapacityLimiter(self._count)
                outer.start_soon(self._progress.follow, self.statistics)
                async with anyio.create_task_group() as tasks:
                    for child in self._children:
                        tasks.start_soon(self._attend, child, crew, limiter)
            finally:
                self._abandon()
            outer.cancel_scope.cancel()

    # -- starting

    def _start(self, sockets: dict[str, list[socket.socket]], crew: Crew) -> None:
        descriptors = {name: [sock.fileno() for sock in several] for name, several in sockets.items()}
        options = {
            each.name: getattr(self._options, each.name)
            for each in fields(self._options)
            if each.name != "log_stream"
        }
        with signals_held_back():
            for number in range(self._count):
                ours, theirs = socket.socketpair()
                orders = Orders(
                    file=str(self._file),
                    options=options,
                    backend=self._backend,
                    grace=self._grace,
                    live=self._live,
                    number=number,
                    processes=self._count,
                    sources=list(self._sources),
                    sockets=descriptors,
                    crew=crew.descriptor,
                    refusals=self._spools[number].fileno(),
                    modules=sys.path,
                )
                with theirs:
                    inherited = [each for several in descriptors.values() for each in several]
                    process = subprocess.Popen(
                        # for whoever looks at the list of processes, the file is told there too
                        [sys.executable, "-m", "dcmflow.cli.child", str(theirs.fileno()), str(self._file)],
                        stdin=subprocess.DEVNULL,
                        pass_fds=(theirs.fileno(), crew.descriptor, orders.refusals, *inherited),
                    )
                child = _Child(number, process, Channel(ours, FromChild))
                self._children.append(child)
                child.channel.send(orders)
                self._report(ProcessStarted(process=number + 1, pid=process.pid))

    # -- while they run

    async def _attend(self, child: _Child, crew: Crew, limiter: CapacityLimiter) -> None:
        """One of them, until it has ended and all it said was heard."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._hear, child)
            code = await to_thread.run_sync(child.process.wait, abandon_on_cancel=True, limiter=limiter)
            tasks.cancel_scope.deadline = anyio.current_time() + 1  # what it has started may hold the channel
        crew.forget(child.number)
        failure = self._failure(child, code)
        if failure is not None:
            if self._error is None:
                self._error = failure
            self._send("drain" if self._begun else "cancel")

    async def _hear(self, child: _Child) -> None:
        async for message in child.channel.messages():
            match message:
                case Line(text):
                    with suppress(OSError, ValueError):  # nobody reads them any more
                        self._progress.write(text)
                case Standing():
                    child.standing = message
                case Opened():
                    child.opened = True
                    self._begin()
                case Over():
                    child.over = message

    def _begin(self) -> None:
        """When all of them are ready."""
        ready = len(self._children) == self._count and all(child.opened for child in self._children)
        if ready and not self._begun and self._error is None and not self._signals:
            self._begun = True
            self._report(
                PipelineStarted(pipeline=self._pipeline.name, stages=len(self._pipeline.graph.stages))
            )
            self._send("go")

    def _failure(self, child: _Child, code: int) -> Exception | None:
        """Why it ended; None: it was done."""
        which = f"process {child.number + 1} of {self._count}"
        over = child.over
        if over is None:
            reason = _exit(code)
            self._report(ProcessDied(process=child.number + 1, reason=reason))
            what = f"{which} died: {reason}"
            if child.standing is not None:
                what += "; these figures may lack what it did in its last second, and whoever it has not answered sends again"
            return PipelineError(what)
        if not over.failure:
            return None
        if over.opening:
            return StageError(over.failure, stage=over.stage, opening=True)
        if over.code == WRONG:
            return ConfigError(over.failure)
        return PipelineError(f"{which}: {over.failure}")

    # -- signals

    async def _watch_signals(
        self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        with anyio.open_signal_receiver(*_SIGNALS) as signals:
            task_status.started()
            await self._obey(signals)

    async def _obey(self, signals: AsyncIterator[signal.Signals]) -> None:
        async for number in signals:
            self._signals.append(number)
            if not self._begun:
                self._send("cancel")
            elif len(self._signals) == 1:
                unsettled = self.statistics().pipeline.unsettled
                if self._options.log_format == "text" and not self._options.quiet:
                    self._progress.write(f"dcmflow: draining, {unsettled} unsettled; once more to cancel")
                self._send("drain")
                self._report(PipelineDraining(pipeline=self._pipeline.name, unsettled=unsettled))
            else:
                self._send("cancel")
            if len(self._signals) > 2:
                self._abandon()

    def _send(self, word: str) -> None:
        for child in self._children:
            child.channel.send(Word(word))

    def _abandon(self) -> None:
        """End those that do not end."""
        for child in self._children:
            if child.process.poll() is None:
                child.process.kill()

    # -- what came of it

    def statistics(self) -> Statistics:
        """What all of them have counted, as far as they have told."""
        return total([child.standing.statistics for child in self._children if child.standing is not None])

    def _tell(self) -> int:
        for child in self._children:
            child.channel.close()
        told = [child.standing for child in self._children if child.standing is not None]
        refusals = Refusals.gathered(
            self._spools, kept=sum(each.kept for each in told), lost=sum(each.lost for each in told)
        )
        statistics = self.statistics() if self._begun and told else None
        if statistics is not None:
            figures = statistics.pipeline
            self._report(
                PipelineFinished(
                    pipeline=self._pipeline.name,
                    emitted=figures.emitted,
                    accepted=figures.accepted,
                    dropped=figures.dropped,
                    refused=figures.refused,
                    not_dicom=figures.not_dicom,
                    seconds=figures.seconds,
                )
            )
        return self._ending.tell(statistics, refusals, signals=self._signals, error=self._error)

    def _report(self, event: Event) -> None:
        for observer in self._observers:
            observer(event)


@contextmanager
def signals_held_back() -> Iterator[None]:
    """A signal that comes in the block waits for its end. A process started in it begins like that, and lets them in itself."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _exit(code: int) -> str:
    """How a process ended that did not say it itself."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:  # one of those without a name
        return f"killed by signal {-code}"
