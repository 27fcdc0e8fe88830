"""One of the processes of `dcmflow run --processes`: `python -m dcmflow.cli.child DESCRIPTOR`.

It runs the pipeline file with the sockets that it has inherited, does what it is told on its channel and tells there what
happens. Signals are for the process that has started it, and when that one is gone it drains.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import anyio

from dcmflow.cli import common
from dcmflow.cli.channel import Channel, Line, Opened, Orders, Over, Standing, ToChild, Word, sayable
from dcmflow.cli.common import Common
from dcmflow.cli.execute import backend_options, spare_collector
from dcmflow.cli.failure import describe
from dcmflow.cli.logs import start_logging
from dcmflow.errors import ConfigError, StageError
from dcmflow.net.crew import Crew
from dcmflow.observe.report import Refusals

if TYPE_CHECKING:
    from dcmflow.flow.events import Observer
    from dcmflow.flow.pipeline import Pipeline
    from dcmflow.flow.running import Running

EVERY = 0.5  # seconds between two messages about how it stands
TOLD_BY_THE_PARENT = ("pipeline-started", "pipeline-draining", "pipeline-finished")


class Child:
    """A pipeline that runs as one of several.

    Args:
        pipeline: the part of it that is this process's.
        sockets: sockets that listen, by the name of a source.
    """

    def __init__(
        self,
        orders: Orders,
        channel: Channel[ToChild],
        pipeline: Pipeline,
        sockets: dict[str, list[socket.socket]],
    ) -> None:
        self._channel = channel
        self._pipeline = pipeline
        self._grace = orders.grace
        self._crew = Crew(orders.crew, orders.processes, orders.sources, orders.number)
        self._refusals = Refusals(spool=True, into=os.fdopen(orders.refusals, "w+b", buffering=0))
        self._observers: list[Observer] = [
            self._refusals,
            *start_logging(
                common.options(),
                self._say,
                live=orders.live,
                process=orders.number + 1,
                without=TOLD_BY_THE_PARENT,
            ),
        ]
        self._provided: dict[Hashable, Any] = {Crew: self._crew}
        for name, listening in sockets.items():
            stage: Any = pipeline.graph.stages[name]
            self._provided[stage.place(pipeline.context(name))[0]] = listening
        self._running: Running | None = None

    async def run(self) -> None:
        """Run it, and tell how it stands, at the end too. Raises what ended the pipeline."""
        error = None
        async with anyio.create_task_group() as outer:
            outer.start_soon(self._obey, outer)
            try:
                async with self._pipeline.start(
                    observe=self._observers, provided=self._provided
                ) as self._running:
                    spare_collector()
                    self._stand()
                    self._channel.send(Opened())
                    async with anyio.create_task_group() as watchers:
                        watchers.start_soon(self._tell)
                        await self._running.wait()
                        watchers.cancel_scope.cancel()
            except Exception as raised:
                error = raised
            outer.cancel_scope.cancel()
        if self._running is not None:
            self._stand()
        if error is not None:
            raise error

    async def _obey(self, outer: anyio.abc.TaskGroup) -> None:
        async for message in self._channel.messages():
            assert isinstance(message, Word)
            self._do(message.word, outer)
        self._do("drain", outer)

    def _do(self, word: str, outer: anyio.abc.TaskGroup) -> None:
        if word == "go":
            self._crew.begun.set()
        elif self._running is None:
            outer.cancel_scope.cancel()
        elif word == "drain":
            self._crew.begun.set()  # whoever waits for that has nothing to wait for any more
            outer.start_soon(self._running.drain, self._grace)
        else:
            self._running.cancel()

    async def _tell(self) -> None:
        while True:
            self._stand()
            await anyio.sleep(EVERY)

    def _stand(self) -> None:
        assert self._running is not None
        statistics, refusals = self._running.statistics(), self._refusals
        self._channel.send(Standing(statistics, refusals.kept, refusals.lost))

    def _say(self, line: str) -> None:
        self._channel.send(Line(sayable(line)))


def execute(orders: Orders, channel: Channel[ToChild]) -> None:
    """Do what the orders say. Raises what ended it."""
    from dcmflow.cli.load import divided, load_pipeline

    sockets = {
        name: [socket.socket(fileno=each) for each in several] for name, several in orders.sockets.items()
    }
    common.use(Common(**orders.options).checked())
    options = backend_options(orders.backend)
    whole = load_pipeline(orders.file)
    sources = [name for name, stage in whole.graph.stages.items() if stage.kind == "source"]
    if sources != list(orders.sources):
        raise ConfigError("it was changed while the processes started; start it again", file=orders.file)
    child = Child(orders, channel, divided(whole, orders.processes, orders.file), sockets)
    backend = "asyncio" if orders.backend == "uvloop" else orders.backend
    anyio.run(child.run, backend=backend, backend_options=options)


def main(descriptor: int) -> int:
    """Run as a child whose channel is this descriptor; returns the exit code, which is 0 when all was told there."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})  # see `signals_held_back`
    channel: Channel[ToChild] = Channel(socket.socket(fileno=descriptor), ToChild)
    orders = channel.receive()
    if not isinstance(orders, Orders):
        return common.SOME_FAILED
    keep_to_oneself(descriptor, orders)
    sys.path[:] = orders.modules
    over = Over()
    try:
        execute(orders, channel)
    except Exception as error:
        text, code = describe(error)
        if orders.options["debug"]:
            import traceback

            channel.send(Line(sayable("".join(traceback.format_exception(error)).rstrip())))
        over = Over(
            sayable(text),
            code,
            getattr(error, "stage", ""),
            isinstance(error, StageError) and error.opening,
        )
    channel.send(over)
    channel.close()
    common.close()
    return 0


def keep_to_oneself(descriptor: int, orders: Orders) -> None:
    """Programs that this process starts do not inherit what it has inherited."""
    listening = [each for several in orders.sockets.values() for each in several]
    for each in (descriptor, orders.crew, orders.refusals, *listening):
        os.set_inheritable(each, False)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
