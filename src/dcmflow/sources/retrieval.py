"""A retrieval while it runs: rounds, each a query and the requests for what it found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import anyio
from anyio import BrokenResourceError, ClosedResourceError

from dcmflow.catalog.answers import Answers
from dcmflow.dicom.instance import Instance
from dcmflow.dicom.level import Level
from dcmflow.dicom.query import Query
from dcmflow.dicom.record import Record
from dcmflow.errors import ConfigError, DcmflowError, NoAcceptedContext, Refused, RequestFailed
from dcmflow.flow.context import Context, Draining, Emit
from dcmflow.net import services
from dcmflow.net.desk import NOT_ASKED_FOR, Desk
from dcmflow.net.entity import Answer
from dcmflow.net.find import finding
from dcmflow.net.listener import Listener
from dcmflow.net.node import Local
from dcmflow.net.pool import Pool
from dcmflow.net.reception import Room
from dcmflow.net.wanted import LISTED, merged, requests
from dcmflow.sources.arrivals import Kind, Policy
from dcmflow.sources.errand import UNKNOWN_DESTINATION, Errand
from dcmflow.sources.landing import writable
from dcmflow.sources.watermark import Watermark
from dcmflow.status import Status
from dcmflow.units import parse_duration, parse_size

if TYPE_CHECKING:
    from dcmflow.flow.stage import SinkActor
    from dcmflow.sources.retrieve import Retrieve

_ORTHANC_UNKNOWN: Final = 0xC000  # what Orthanc answers where it does not know the move destination
_TOLD: Final = 10  # that are told one by one
_DONE: Final = {"drop": "it is dropped", "pass": "it is delivered", "quarantine": "it is in quarantine"}


class Retrieval:
    """Runs the errands of a `retrieve` source, and is what they hand on to.

    Args:
        place: who we are, and where C-MOVE sends to.
        listener: listens there; an error: it could not; None: it need not.
        quarantine: keeps what is to be in quarantine.
    """

    def __init__(
        self,
        stage: Retrieve,
        context: Context,
        pool: Pool,
        place: Local,
        listener: Listener | ConfigError | None,
        quarantine: SinkActor | None,
    ) -> None:
        self._stage = stage
        self._context = context
        self._listener = listener
        self._place = place
        self._kept = quarantine
        self._scope = anyio.CancelScope()
        self._gets = stage.method == "get"  # C-GET is what works here
        self.stage: str = context.stage
        self.grace: float = parse_duration(stage.grace)
        self.pool = pool
        self.room: Room = Room(parse_size(stage.spill), landing=writable(context.landing))
        self.emit: Emit
        self.desk: Desk | None = None
        self._odd: Counter[str] = Counter()  # what was not as it should be, by kind
        self._open: dict[Errand, None] = {}  # not over yet
        if isinstance(listener, Listener):
            self.desk = listener.desk(place.ae_title, self._make_desk)

    def _make_desk(self) -> Desk:
        return Desk(
            self._place.ae_title,
            room=self.room,
            notice=lambda kind, peer, text: self._context.warn(f"{peer}: {text}"),
        )

    # -- rounds

    async def run(self, emit: Emit) -> None:
        self.emit = emit
        if isinstance(self._listener, Listener):
            self._listener.open()
        with self._scope as scope:
            await self.work()
        if scope.cancelled_caught and self._open:
            names = [errand.name for errand in self._open]
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            self._context.warn(
                f"called off before all had come: {', '.join(names[:5])}{more}; run it again for the rest"
            )
        await emit.idle()

    async def work(self) -> None:
        """Retrieve what the queries of the stage match, once or again and again."""
        stage = self._stage
        about = {
            "node": self.pool.node.address,
            "query": dict(stage.query),
            "level": stage.level,
            "batch": stage.batch,
        }
        mark = Watermark(self._context.path(stage.state) if stage.state else None, about)
        while True:
            await self._round(mark)
            if stage.every is None:
                return
            await anyio.sleep(parse_duration(stage.every))

    async def drain(self) -> None:
        self._scope.cancel()  # C-CANCEL goes out

    async def _round(self, mark: Watermark) -> None:
        repeated = self._stage.every is not None
        seen, all_answered = set[str](), True
        wanted: dict[str, Record] = {}
        queries = merged(self._stage.queries(self._context))
        for query in queries:
            try:
                records = await self._find(query)
            except DcmflowError as error:
                all_answered = False
                if repeated:
                    self._context.warn(f"{error}; it is tried again later")
                elif len(queries) > 1 and isinstance(error, RequestFailed):
                    self.emit.refused(error)  # the other queries may do
                else:
                    raise
                continue
            if not records and not repeated:
                asked = ", ".join(f"{key}={value[:80]}" for key, value in query.conditions.items())
                self._context.warn(f"{self.pool.node}: nothing matches {asked or 'at all'}")
            seen |= {record.uid for record in records}
            for record in records:
                if not repeated or await self._is_new(record, mark):
                    wanted.setdefault(record.uid, record)
        by_level = {level: [record for record in wanted.values() if record.level is level] for level in Level}
        if all_answered:
            mark.keep(seen)
        try:
            for records in filter(None, by_level.values()):
                await self.fetch(records, mark)
        finally:  # called off, too
            if repeated:
                self._remember(mark)

    def _remember(self, mark: Watermark) -> None:
        try:
            mark.save()
        except OSError as error:
            self._context.warn(
                f"cannot remember what was retrieved: {error.strerror or error}", self._stage.state
            )

    async def _find(self, query: Query) -> list[Record]:
        """What matches, at the level that is retrieved."""
        level = max(query.level, Level.STUDY)
        query = Query(level, query.keys)
        answers = Answers(query)
        async with finding(self.pool, query, verify=False) as found:
            async for record in found:
                answers.add(record)
        for warning in (*found.warnings(), *answers.warnings()):
            self._context.warn(f"{self.pool.node}: {warning}")
        return list(answers.catalog)

    async def _is_new(self, record: Record, mark: Watermark) -> bool:
        """Whether there may be more of it than was retrieved."""
        done = mark.done.get(record.uid)
        if done is None:
            return True
        if record.level is Level.IMAGE:
            return False
        errand = Errand(self, requests([record])[0], [record])
        count = errand.arrivals.count
        if count is None:
            instances = await errand.instances()
            count = None if instances is None else len(instances)
        return count != done

    # -- errands

    async def fetch(self, records: Sequence[Record], mark: Watermark | None = None) -> None:
        """Retrieve these, all of one level; what came whole is noted."""
        by_uid = {record.uid: record for record in records}
        errands = [
            Errand(self, request, [by_uid[uid] for uid in request.keys[request.level.keyword].split("\\")])
            for request in requests(
                records,
                most=1 if self._stage.every is not None and records[0].level is Level.SERIES else LISTED,
            )
        ]
        waiting = errands[::-1]
        self._open = dict.fromkeys(errands)

        async def work() -> None:
            while waiting:
                errand = waiting.pop()
                done = await self._do(errand)
                del self._open[errand]
                if done and mark is not None:
                    mark.note(errand.request.level, errand.uids, len(errand.arrivals.here))

        async with anyio.create_task_group() as tasks:
            for _ in range(min(self.pool.limit, len(errands))):
                tasks.start_soon(work)

    async def _do(self, errand: Errand) -> bool:
        if self._gets or self.desk is None:
            await self._get(errand)
        else:
            await errand.move(self.desk, f"port {self._place.port} of this host")
            if self._stage.method == "auto" and _cannot_move(errand):
                await self._get_instead(errand)
        return await self._settle(errand)

    async def _get(self, errand: Errand) -> None:
        await errand.get()
        if isinstance(self._listener, ConfigError) and isinstance(
            errand.error, NoAcceptedContext | RequestFailed
        ):
            raise self._listener  # it cannot move to us, and has nothing else

    async def _get_instead(self, errand: Errand) -> None:
        error = errand.begin_again()
        await errand.get()
        if isinstance(errand.error, NoAcceptedContext | RequestFailed) and not errand.arrivals.settled:
            errand.error = error
        elif not self._gets:
            self._gets = True
            self._context.warn(f"{error}; C-GET works, and is used")

    async def _settle(self, errand: Errand) -> bool:
        """Say what is missing, and why; whether nothing is."""
        arrivals, error = errand.arrivals, errand.error
        missing = await errand.missing()
        self._tell_odd(errand)
        node, name = self.pool.node, errand.name
        why = str(error) if error is not None else self._why_not(errand)
        fails = self._stage.missing == "fail"
        if missing:
            if fails:
                for uid in missing:
                    status = error.status if error is not None else Status.PROCESSING_FAILURE
                    self.emit.refused(Refused(f"it did not come: {why}", status=status), sop_instance_uid=uid)
            else:
                self._context.warn(
                    f"{len(missing)} instances of {name} did not come: {', '.join(missing[:5])}: {why}"
                )
            return False
        if arrivals.complete is True:
            if error is not None:
                self._context.warn(f"all of {name} came, although {error}")
            return not arrivals.refused
        short = _short(errand)
        if error is None and short is None:
            self._context.warn(
                f"{node} does not say how many instances {name} has: {len(arrivals.here)} came, unverified"
            )
            return not arrivals.refused
        if error is None and not short:
            return not arrivals.refused
        failure = error or Refused(f"{short} instances of {name} did not come, and {node} does not say which")
        if fails:
            self.emit.refused(failure)
        else:
            self._context.warn(str(failure))
        return False

    def _why_not(self, errand: Errand) -> str:
        """Why something is missing that the node says to have sent, or says nothing of."""
        node, name, report = self.pool.node, errand.name, errand.report
        if errand.arrivals.settled or report is None or not report.completed:
            return f"{node} sent the rest of {name}, and not this"
        place = self._place
        return (
            f"{node} says that it has sent {report.completed} instances, and none arrived: does it have this host and port"
            f" {place.port} for {place.ae_title}?"
        )

    def _tell_odd(self, errand: Errand) -> None:
        """The number, where not each was told."""
        for kind, count in errand.arrivals.told.items():
            if self._odd[kind] > _TOLD:
                policy = getattr(self._stage, kind)
                self._context.warn(f"{count} {kind} instances came with {errand.name}: {policy}")

    # -- what they bring

    async def deliver(self, instance: Instance) -> Answer:
        try:
            receipt = await self.emit(instance, begun=True)
        except (Draining, BrokenResourceError, ClosedResourceError):
            raise services.Leaving from None
        del instance
        status = await receipt.wait()
        return Answer(status, receipt.reason)

    async def deviate(self, instance: Instance, kind: Kind, what: str) -> Answer | None:
        policy: Policy = getattr(self._stage, kind)
        uid = instance.sop_instance_uid
        if policy == "fail":
            refused = Refused(what, status=NOT_ASKED_FOR)
            self.emit.refused(refused, sop_instance_uid=uid, size=instance.payload.size)
            return Answer(refused.status, what)
        self._odd[kind] += 1
        if self._odd[kind] <= _TOLD:
            self._context.warn(f"{what}; {_DONE[policy]}")
        if policy == "pass":
            return None
        if policy == "quarantine" and self._kept is not None:
            labels = {
                "refused.stage": self.stage,
                "refused.status": f"{NOT_ASKED_FOR:04X}",
                "refused.reason": what,
            }
            await self._kept.write(instance.with_labels(**labels))
            return Answer(Status.SUCCESS)
        return Answer(Status.SUCCESS if kind == "duplicate" else NOT_ASKED_FOR, what)


def _cannot_move(errand: Errand) -> bool:
    """The node cannot send to us, or says so."""
    error = errand.error
    if errand.arrivals.settled:
        return False
    return isinstance(error, NoAcceptedContext) or (
        isinstance(error, RequestFailed)
        and error.status in (UNKNOWN_DESTINATION, _ORTHANC_UNKNOWN, 0xA702, 0x0122)
    )


def _short(errand: Errand) -> int | None:
    """How many instances are missing by the numbers of the node; None: it gives none."""
    arrivals, report = errand.arrivals, errand.report
    if arrivals.count is not None:
        return max(0, arrivals.count - len(arrivals.settled))
    if report is None or report.completed is None:
        return None
    return max(0, report.completed + (report.warning or 0) + (report.failed or 0) - len(arrivals.settled))
