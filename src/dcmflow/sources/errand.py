"""One request to a node, C-MOVE or C-GET, and what came of it.

An errand is over when the node has said that it is, and what is missing had some time to arrive all the same: a C-MOVE may be
answered before the last sub-operation is. Then it is counted. What should have come is known from the request itself (instances
by UID), from a list of instances that is asked for before they come or, where the node has none, from the numbers that it gave.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from math import inf
from typing import TYPE_CHECKING, Final, Protocol, final

import anyio

from dcmflow.dicom.instance import Instance
from dcmflow.dicom.level import COUNTS, Level
from dcmflow.dicom.query import Query
from dcmflow.dicom.record import Record
from dcmflow.errors import DatasetError, DcmflowError, Refused, RequestFailed
from dcmflow.net import models, retrieval
from dcmflow.net.desk import Desk, covers, header_of
from dcmflow.net.entity import Answer
from dcmflow.net.find import finding
from dcmflow.net.received import instance_of
from dcmflow.net.reception import Reception, Room
from dcmflow.net.retrieval import MoveReport
from dcmflow.net.retrieving import classes
from dcmflow.net.wanted import singly
from dcmflow.sources.arrivals import Arrivals, Kind
from dcmflow.sources.identity import mismatch

if TYPE_CHECKING:
    from dcmflow.flow.context import Emit
    from dcmflow.net.association import Association
    from dcmflow.net.pool import Pool
    from dcmflow.net.received import Received

UNKNOWN_DESTINATION: Final = 0xA801


class Handler(Protocol):
    """What an errand hands on to.

    Attributes:
        grace: seconds for what is missing after the final response.
        room: memory for what arrives over C-GET.
    """

    stage: str
    grace: float
    emit: Emit
    pool: Pool
    room: Room

    async def deliver(self, instance: Instance) -> Answer:
        """An instance that was asked for: accepted or not."""

    async def deviate(self, instance: Instance, kind: Kind, what: str) -> Answer | None:
        """One that is not as it should be; None: it is delivered like any other."""


@final
class Errand:
    """One request.

    Args:
        request: its level and unique keys.
        records: what the node said of what is asked for.

    Attributes:
        arrivals: what has come.
        report: what the node said in the end; None: nothing.
        error: why it ended early.
    """

    def __init__(self, handler: Handler, request: Query, records: Sequence[Record]) -> None:
        self._handler = handler
        self.request = request
        self.records = records
        patients = {record.text("PatientID") for record in records}
        self.arrivals: Arrivals = Arrivals(
            patient_id=patients.pop() if len(patients) == 1 else "",
            expected=request.keys.get(Level.IMAGE.keyword, "").split("\\")
            if request.level is Level.IMAGE
            else None,
            count=_count(request.level, records),
        )
        self.report: MoveReport | None = None
        self.error: DcmflowError | None = None
        self._arrived = anyio.Event()
        self._asked: Association | None = None  # whose response is awaited
        self._taking = 0

    @property
    def uids(self) -> list[str]:
        """What is asked for, by its unique keys."""
        return self.request.keys.get(self.request.level.keyword, "").split("\\")

    @property
    def name(self) -> str:
        """`study 1.2.3`; `12 images of series 1.2.3`."""
        level, uids = self.request.level, self.uids
        if len(uids) == 1:
            return f"{level.word} {uids[0]}"
        above = Level(level - 1)
        plural = "series" if level is Level.SERIES else f"{level.word}s"
        return f"{len(uids)} {plural} of {above.word} {self.request.keys.get(above.keyword, '')}"

    def begin_again(self) -> DcmflowError | None:
        """Forget why it ended early; returns that."""
        error, self.error = self.error, None
        return error

    # -- fetching

    async def _list(self) -> None:
        """Ask what there is before it comes: when the node is gone in the middle of it, nobody could say what is missing."""
        if self.arrivals.expected is None and self.arrivals.listed is None:
            self.arrivals.listed = await self.instances()

    async def move(self, desk: Desk, where: str) -> None:
        """C-MOVE to our own AE title; what goes wrong is `error`."""
        pool = self._handler.pool

        async def take(association: Association, received: Received, inside: bool) -> Answer:
            return await self._take(association, received, ours=False, inside=inside)

        with desk.claim(
            pool.calling_ae,
            _scope(self.request),
            take,
            self.arrivals.expected or (),
            sender=pool.node.ae_title,
        ) as claim:

            async def ask(association: Association, request: Query) -> MoveReport:
                return await retrieval.move(
                    association, request, to=desk.title, where=where, message_id=claim.message_id
                )

            try:
                await self._list()
                async with pool.associate(models.proposed("move"), patient=True) as association:
                    await self._ask(association, ask)
            except DcmflowError as error:
                self.error = error
            await self._wait()

    async def get(self) -> None:
        """C-GET; what goes wrong is `error`."""
        pool = self._handler.pool
        contexts, user = retrieval.get_contexts(await classes(pool, [self.request]))
        reception, scope = Reception(self._handler.room), _scope(self.request)
        try:
            await self._list()
            async with pool.associate(contexts, user, patient=True) as association:

                async def store(received: Received) -> Answer:
                    inside = covers(scope, received, header_of(received))
                    return await self._take(association, received, ours=True, inside=inside)

                async def ask(association: Association, request: Query) -> MoveReport:
                    return await retrieval.get(association, request, store=store, reception=reception)

                await self._ask(association, ask)
        except DcmflowError as error:
            self.error = error
        finally:
            reception.discard()

    async def _ask(
        self, association: Association, ask: Callable[[Association, Query], Awaitable[MoveReport]]
    ) -> None:
        alone = singly(self.request)
        if len(alone) > 1:
            error = await self._ask_for(association, self.request, ask)
            if error is None:
                return
            if self.arrivals.settled or error.transient:
                self.error = error
                return
        for request in alone:  # it may take no lists
            error = await self._ask_for(association, request, ask)
            self.error = self.error or error
            if error is not None and (error.status == UNKNOWN_DESTINATION or error.transient):
                return

    async def _ask_for(
        self,
        association: Association,
        request: Query,
        ask: Callable[[Association, Query], Awaitable[MoveReport]],
    ) -> RequestFailed | None:
        self._asked = association
        try:
            self.report = await ask(association, request)
        except RequestFailed as error:
            return error
        finally:
            self._asked = None
        return None

    async def _wait(self) -> None:
        """What is missing may be on its way."""
        arrivals = self.arrivals
        if self.error is not None and not arrivals.settled:
            return
        with anyio.move_on_after(self._handler.grace):
            while not (arrivals.complete if arrivals.complete is not None else self._as_said()):
                self._arrived = anyio.Event()
                await self._arrived.wait()

    def _as_said(self) -> bool:
        """As many have come as the node says that it has sent; where it does not say, they have."""
        report = self.report
        if report is None or report.completed is None:
            return True
        return len(self.arrivals.settled) >= report.completed + (report.warning or 0)

    # -- what comes

    async def _take(
        self, association: Association, received: Received, *, ours: bool, inside: bool
    ) -> Answer:
        """Take a sub-operation. As long as they come the node is alive, and while they wait for room it waits for us."""
        self._taking += 1
        self._be_patient(association)
        try:
            return await self._taken(association, received, ours=ours, inside=inside)
        finally:
            self._taking -= 1
            self._be_patient(association)

    def _be_patient(self, association: Association) -> None:
        asked = self._asked
        if asked is not None and asked is not association:
            asked.allow(inf if self._taking else asked.dimse)

    async def _taken(
        self, association: Association, received: Received, *, ours: bool, inside: bool
    ) -> Answer:
        handler, uid = self._handler, received.command.affected_sop_instance or ""
        if received.payload is None:
            error = received.error or Refused("no data set")
            self.arrivals.settle(uid, accepted=False)
            handler.emit.refused(error, sop_instance_uid=uid)
            return Answer(error.status, str(error))
        instance = instance_of(received, association, stage=handler.stage, ours=ours)
        del received
        wrong = mismatch(instance) or _broken(instance)
        if wrong is not None:
            self.arrivals.settle(uid, accepted=False)
            handler.emit.refused(wrong, sop_instance_uid=uid, size=instance.payload.size)
            return Answer(wrong.status, str(wrong))
        patient = _patient(instance)
        kind = self.arrivals.judge(uid, patient, inside=inside)
        if kind is not None:
            answer = await handler.deviate(instance, kind, self._deviation(instance, kind, patient))
            if answer is not None:
                if kind == "inconsistent":  # it came, and is not missing
                    self.arrivals.settle(uid, accepted=False)
                    self._arrived.set()
                return answer
        if kind == "unexpected":  # it does not stand in for anything that is missing
            return await handler.deliver(instance)
        self.arrivals.begin(uid)
        accepted = False
        try:
            answer = await handler.deliver(instance)
            accepted = answer.status.accepted
        finally:
            self.arrivals.settle(uid, accepted=accepted)
            self._arrived.set()
        return answer

    def _deviation(self, instance: Instance, kind: Kind, patient: str) -> str:
        uid = instance.sop_instance_uid
        if kind == "inconsistent":
            return (
                f"{uid} says PatientID {patient!r}, where {self._handler.pool.node} said {self.arrivals.patient_id!r} for"
                f" {self.name}"
            )
        if kind == "duplicate":
            return f"{uid} came once more for {self.name}"
        return f"{uid} came, and is none of {self.name}"

    # -- the end

    async def missing(self) -> list[str]:
        """The UIDs of what is missing, as far as the node says them; see `arrivals.complete` too."""
        arrivals = self.arrivals
        if arrivals.complete is not True and arrivals.expected is None and arrivals.listed is None:
            arrivals.listed = await self.instances()
        return arrivals.missing

    async def instances(self) -> frozenset[str] | None:
        """The SOP Instance UIDs of what was asked for; None: the node does not say."""
        found: set[str] = set()
        images = Query(Level.IMAGE, self.request.keys)
        try:
            async with finding(self._handler.pool, images, bare=True) as records:
                async for record in records:
                    if record.uid:
                        found.add(record.uid)
                if records.problems:
                    return None
        except DcmflowError:
            return None
        return frozenset(found) or None


def _broken(instance: Instance) -> DatasetError | None:
    """Why it does not hold all that it says; None: it does."""
    try:
        instance.verify()
    except DatasetError as error:
        return error
    return None


def _patient(instance: Instance) -> str:
    try:
        return str(instance.header.get("PatientID") or "")
    except DatasetError:
        return ""


def _count(level: Level, records: Sequence[Record]) -> int | None:
    keyword = next((name for name, upper, lower in COUNTS if upper is level and lower is Level.IMAGE), "")
    numbers = [record.get(keyword) for record in records]
    return sum(numbers) if numbers and all(isinstance(number, int) for number in numbers) else None


def _scope(request: Query) -> dict[str, frozenset[str]]:
    """What says of an instance that it is of what was asked for: the UIDs, the PatientID only where there is nothing else."""
    keys = {key: frozenset(value.split("\\")) for key, value in request.keys.items() if value}
    if len(keys) > 1:
        keys.pop(Level.PATIENT.keyword, None)
    return keys
