"""Plans a sync and carries it out: asks, moves, obeys signals, shows how far it is, asks again."""

from __future__ import annotations

import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Literal, NamedTuple, final

import anyio

from dcmflow.cli import common, query_progress
from dcmflow.cli.common import say
from dcmflow.cli.logs import start_logging
from dcmflow.dicom.level import Level
from dcmflow.net.client import Client
from dcmflow.net.node import Local, Node
from dcmflow.observe.progress import EVERY, FIRST_AFTER, Pace, progress_line
from dcmflow.sinks.directory import DEFAULT_LAYOUT
from dcmflow.sync.execute import execute
from dcmflow.sync.places import FolderPlace, NodePlace, Place
from dcmflow.sync.planning import Wish, make_plan
from dcmflow.sync.report import Failure, Report, Result

if TYPE_CHECKING:
    from dcmflow.cli.sync_places import Spot
    from dcmflow.cli.sync_wanted import Wanted
    from dcmflow.flow.running import Running
    from dcmflow.flow.stage import Filter
    from dcmflow.sync.plan import Plan

GRACE = 30.0  # seconds that what is under way may take after a first signal


class Wishes(NamedTuple):
    """What the command line says about how it is done.

    Attributes:
        method: `auto`, `move`, `get`, `remote-copy`, `copy`, `link` or `move-files`.
        verify: how what was sent is looked for afterwards; None: it is not.
        associations: with each destination at once.
    """

    method: str = "auto"
    trust: Level = Level.IMAGE
    force: bool = False
    edit: Filter | None = None
    verify: Literal["count", "uid"] | None = None
    associations: int = 2


@final
class Sync:
    """One sync.

    Args:
        wanted: what is to be brought; None: what `plan` says.
        plan: one that was made before; it is carried out without asking.
        dry: end when there is a plan.
        planned: is given the plan before it is carried out.

    Attributes:
        plan: what is to be moved; None while it is not known.
        report: what became of it; None where nothing was begun.
        signals: that came.
    """

    def __init__(
        self,
        src: Sequence[Spot],
        dest: Sequence[Spot],
        ours: Local,
        wanted: Wanted | None,
        how: Wishes,
        *,
        plan: Plan | None = None,
        dry: bool = False,
        planned: Callable[[Plan], None] = lambda plan: None,
    ) -> None:
        self.plan = plan
        self._planned = planned
        self.report: Report | None = None
        self.signals: list[signal.Signals] = []
        self._src, self._dest, self._ours = src, dest, ours
        self._wanted = wanted
        self._how = how
        self._dry = dry
        self._running: Running | None = None
        self._moving = False
        self._settled = 0  # of pipelines that have ended
        self._total: int | None = None
        self._painted = False

    async def run(self) -> None:
        """Do it. Raises DcmflowError where nothing could be planned."""
        raised: Exception | None = None
        async with anyio.create_task_group() as outer:
            await outer.start(self._watch_signals, outer.cancel_scope)
            if query_progress.wanted():
                outer.start_soon(self._follow)
            try:
                await self._work()
            except Exception as error:
                raised = error
            outer.cancel_scope.cancel()
        if raised is not None:
            raise raised

    async def _work(self) -> None:
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(Client(self._ours.ae_title))
            src, dest = self._places(client, stack)
            if self._wanted is not None:
                self.plan = await self._ask(self._wanted, src, dest, self._how)
            assert self.plan is not None
            if self._dry:
                return
            self._paint("")
            self._planned(self.plan)
            await self._move(self.plan, src, dest, client)
            if self._how.verify is not None and self._wanted is not None and not self.signals:
                await self._verify(self._wanted, client, stack)

    def _places(self, client: Client, stack: AsyncExitStack) -> tuple[dict[str, Place], dict[str, Place]]:
        def place(spot: Spot, link: bool = False) -> Place:
            if isinstance(spot.what, Node):
                return NodePlace(spot.name, spot.what, client, associations=self._how.associations)
            layout = spot.what.layout or DEFAULT_LAYOUT
            return stack.enter_context(
                FolderPlace(spot.name, spot.what.path, layout=layout, link=link, replace=self._how.force)
            )

        link = self._how.method in ("link", "move-files")  # a file that moves is not written again
        src = {spot.name: place(spot) for spot in self._src}
        return src, {spot.name: place(spot, link) for spot in self._dest}

    async def _ask(
        self, wanted: Wanted, src: Mapping[str, Place], dest: Mapping[str, Place], how: Wishes
    ) -> Plan:
        wishes: list[Wish] = []
        for place in src.values():
            wishes += await wanted.of(place)
        plan = await make_plan(wishes, list(dest.values()), trust=how.trust, force=how.force)
        if how.trust is not Level.IMAGE and how is self._how:
            plan.notes.append(
                f"--trust-level {how.trust.word}: equal numbers of images were taken for the same images"
            )
        return plan

    async def _move(
        self, plan: Plan, src: Mapping[str, Place], dest: Mapping[str, Place], client: Client
    ) -> None:
        counts = [transfer.count for transfer in plan.transfers]
        self._total = None if None in counts else sum(count or 0 for count in counts)
        self._moving = True
        self.report = await execute(
            plan,
            src,
            dest,
            method=self._how.method,
            move=self._how.method == "move-files",
            edit=self._how.edit,
            client=client,
            ours=self._ours,
            observe=start_logging(
                common.options(), self._write, live=True, without=("instance-refused", "stage-failed")
            ),
            started=self._began,
            stopping=lambda: bool(self.signals),
        )
        self._moving = False
        self._running = None

    def _began(self, running: Running) -> None:
        if self._running is not None:
            pipeline = self._running.statistics().pipeline
            self._settled += pipeline.emitted - pipeline.unsettled
        self._running = running

    # -- afterwards

    async def _verify(self, wanted: Wanted, client: Client, stack: AsyncExitStack) -> None:
        """Ask again, and count what is not there as failed."""
        assert self.report is not None
        src, dest = self._places(client, stack)
        trust = Level.STUDY if self._how.verify == "count" else Level.IMAGE
        again = await self._ask(wanted, src, dest, Wishes(trust=trust))
        for name, result in self.report.destinations.items():
            uids = [
                uid for transfer in again.transfers if name in transfer.to for uid in transfer.images or ("",)
            ]
            _correct(result, again.tallies[name].lacking, uids)

    # -- signals and progress

    async def _watch_signals(
        self,
        scope: anyio.CancelScope,
        *,
        task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            task_status.started()
            await self._obey(signals, scope)

    async def _obey(self, signals: AsyncIterator[signal.Signals], scope: anyio.CancelScope) -> None:
        async with anyio.create_task_group() as tasks:
            async for number in signals:
                self.signals.append(number)
                if not self._moving:
                    scope.cancel()
                elif len(self.signals) == 1:
                    if not common.options().quiet:
                        self._write("dcmflow: what is under way is finished; once more to cancel")
                    if self._running is not None:
                        tasks.start_soon(self._running.drain, GRACE)
                elif self._running is not None:
                    self._running.cancel()
                else:
                    scope.cancel()

    async def _follow(self) -> None:
        """Show how far it is, until cancelled: one line that is painted over."""
        await anyio.sleep(FIRST_AFTER)
        pace = Pace()
        try:
            while True:
                self._paint(self._line(pace))
                await anyio.sleep(EVERY)
        finally:
            self._paint("")

    def _line(self, pace: Pace) -> str:
        if self._running is None:
            return "moving" if self._moving else "asking what is where"
        figures = self._running.statistics()
        pipeline = figures.pipeline
        settled = pipeline.emitted - pipeline.unsettled
        pace.note(anyio.current_time(), self._settled + settled, pipeline.bytes)
        total = None if self._total is None else max(0, self._total - self._settled)
        return progress_line(figures, pace, total)

    def _paint(self, text: str) -> None:
        if text or self._painted:
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()
            self._painted = bool(text)

    def _write(self, line: str) -> None:
        """A line on stderr, in the place of the painted one."""
        self._paint("")
        say(line)


def _correct(result: Result, lacking: int | None, uids: Sequence[str]) -> None:
    """What was sent and is not there has failed; the sum stays what it is.

    Args:
        lacking: what is not there, of all that is wanted; None: nobody knows how much.
        uids: as far as they are known.
    """
    known = {failure.uid for failure in result.failures}
    lost = max(1, result.sent) if lacking is None else lacking - result.failed - result.skipped
    if lost <= 0:
        return
    named = [uid for uid in dict.fromkeys(uids) if uid and uid not in known][:lost]
    reason = "it was accepted, and is not found there afterwards"
    result.failures += [Failure(uid, reason) for uid in named]
    if len(named) < lost:
        result.failures.append(
            Failure("", f"{lost - len(named)} were accepted or present, and are not found there afterwards")
        )
    result.failed += lost
    from_sent = min(lost, result.sent)
    result.sent -= from_sent
    result.present = max(0, result.present - (lost - from_sent))
    result.wanted = result.present + result.sent + result.failed + result.skipped
