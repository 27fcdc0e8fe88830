"""A pipeline is data: stages, how they are joined, and how much may be under way in it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Hashable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import anyio
from anyio.abc import TaskStatus

from dcmflow.errors import ConfigError
from dcmflow.flow.capacity import Limits
from dcmflow.flow.checks import check_limits, check_values
from dcmflow.flow.context import Context
from dcmflow.flow.events import Observer
from dcmflow.flow.failure import only_cause
from dcmflow.flow.graph import Edge, Graph
from dcmflow.flow.registry import file_format
from dcmflow.flow.resources import Resources
from dcmflow.flow.running import Running
from dcmflow.flow.stage import Part, Sink, Stage
from dcmflow.flow.statistics import Statistics


class Pipeline:
    """Where SOP Instances come from, what happens to them and where they go.

    >>> from dcmflow import Pipeline, filters, sinks, sources
    >>> pipeline = Pipeline(sources.Synthetic() | filters.Where("Modality == 'CT'") | sinks.Discard())
    >>> list(pipeline.graph.stages)
    ['synthetic-1', 'where-1', 'discard-1']

    Args:
        parts: flows made with `|`; a lone sink may be given for an `on_error` to name.
        name: for logs and reports.
        limits: how much may be unsettled at once.
        base: the folder that relative paths in stages are relative to; None: the working directory.
        selectors: named selectors that selectors of this pipeline may use.
        nodes: DICOM peers that its stages may name, each a `dcmflow.net.node.Node`.
        local: who we are on the network, a `dcmflow.net.node.Local`; None: stages have their own defaults. It belongs to
            where the pipeline runs, so it is not written to a file and does not count when pipelines are compared.

    Raises:
        GraphError: the parts cannot be joined so.
    """

    def __init__(
        self,
        *parts: Part,
        name: str = "pipeline",
        limits: Limits | None = None,
        base: str | os.PathLike[str] | None = None,
        selectors: Mapping[str, str] | None = None,
        nodes: Mapping[str, Any] | None = None,
        local: Any = None,
    ) -> None:
        self._set(Graph.of(*parts), name, limits, base, selectors, nodes, local)

    def _set(
        self,
        graph: Graph,
        name: str,
        limits: Limits | None,
        base: str | os.PathLike[str] | None,
        selectors: Mapping[str, str] | None,
        nodes: Mapping[str, Any] | None,
        local: Any,
    ) -> None:
        self.graph = graph
        self.name = name
        self.limits: Limits = limits or Limits()
        self.base: Path | None = Path(base) if base is not None else None
        self.selectors: dict[str, str] = dict(selectors or {})
        self.nodes: dict[str, Any] = dict(nodes or {})
        self.local: Any = local

    @classmethod
    def from_graph(
        cls,
        stages: Mapping[str, Stage],
        edges: Iterable[Edge],
        *,
        name: str = "pipeline",
        limits: Limits | None = None,
        base: str | os.PathLike[str] | None = None,
        selectors: Mapping[str, str] | None = None,
        nodes: Mapping[str, Any] | None = None,
        local: Any = None,
    ) -> Pipeline:
        """A pipeline of named stages and the edges between them, as a pipeline file says it."""
        pipeline = cls.__new__(cls)
        pipeline._set(Graph(stages, edges), name, limits, base, selectors, nodes, local)
        return pipeline

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], **options: Any) -> Pipeline:
        """Read a pipeline file (TOML). Raises ConfigError with file, table and key. See `dcmflow.config.pipeline_file.load`."""
        return file_format().load(path, **options)  # type: ignore[no-any-return]

    @classmethod
    def from_toml(cls, text: str, **options: Any) -> Pipeline:
        """A pipeline from the text of a pipeline file."""
        return file_format().loads(text, **options)  # type: ignore[no-any-return]

    def to_toml(self) -> str:
        """The text of a pipeline file for this pipeline; reading it gives an equal pipeline.

        Raises ConfigError for a function that is not at the top level of a module.
        """
        return file_format().dumps(self)  # type: ignore[no-any-return]

    def check(self) -> None:
        """Raise GraphError or ConfigError unless this could run, as far as that can be told without opening anything."""
        check_limits(self.limits)
        for name, stage in self.graph.stages.items():
            check_values(name, stage)
        self.graph.check()
        for name, stage in self.graph.stages.items():
            try:
                stage.check(self.context(name))
            except ConfigError as error:
                raise error.at(table=f"{stage.kind}s.{name}") from None

    def context(
        self,
        stage: str,
        report: Observer = lambda event: None,
        resources: Resources | None = None,
        provided: Mapping[Hashable, Any] | None = None,
    ) -> Context:
        """What a stage of this pipeline is opened with."""
        context = Context(
            stage=stage,
            pipeline=self.name,
            base=self.base,
            selectors=self.selectors,
            nodes=self.nodes,
            local=self.local,
            resources=resources,
            provided=provided,
            report=report,
        )
        context.stages = self.graph.stages
        sinks = (sink for sink in self.graph.stages.values() if isinstance(sink, Sink))
        context.landing = next((place for sink in sinks if (place := sink.landing(context))), None)
        return context

    @asynccontextmanager
    async def start(
        self,
        *,
        observe: Observer | Iterable[Observer] = (),
        provided: Mapping[Hashable, Any] | None = None,
    ) -> AsyncIterator[Running]:
        """Open all stages and run; `async with pipeline.start() as running`.

        Leaving the block drains: sources take on nothing more and what is admitted settles. An exception or cancellation in
        the block cancels: every open receipt is refused.

        Args:
            observe: functions that are given events as they happen; they must not block.
            provided: what stages need not open themselves, see `Context.provided`.

        Raises:
            GraphError, ConfigError: the pipeline cannot run; nothing was opened.
            StageError: a stage could not open (`.opening`), or its actor died.
        """
        self.check()
        observers = (observe,) if callable(observe) else tuple(observe)
        running = Running(self, observers, provided)
        raised: BaseException | None = None
        try:
            async with anyio.create_task_group() as tasks:
                await tasks.start(running._supervise)
                try:
                    yield running
                except BaseException as error:
                    raised = error
                    raise
                await running.drain()
        except BaseExceptionGroup as group:
            cause = only_cause(group, raised)
            if cause is group:
                raise
            raise cause from cause.__cause__

    async def run(
        self,
        *,
        observe: Observer | Iterable[Observer] = (),
        task_status: TaskStatus[Running] = anyio.TASK_STATUS_IGNORED,
    ) -> Statistics:
        """Run until the sources have ended and everything has settled; returns the final statistics.

        With `await task_group.start(pipeline.run)` the value is the Running handle.
        """
        async with self.start(observe=observe) as running:
            task_status.started(running)
            await running.wait()
        return running.statistics()

    def promises(self) -> dict[str, str]:
        """For each source, in words, what an instance of it having been accepted means."""
        from dcmflow.flow.promise import promises

        return promises(self.graph)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Pipeline)
            and (self.name, self.limits) == (other.name, other.limits)
            and (self.selectors, self.nodes) == (other.selectors, other.nodes)
            and self.graph == other.graph
        )

    __hash__: ClassVar[None] = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<Pipeline {self.name!r}: {', '.join(self.graph.stages)}>"
