"""Retrieving whatever a query matches: C-MOVE to somebody, C-GET to whoever reads."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, final

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from dcmflow.dicom.instance import Instance
from dcmflow.dicom.level import Level
from dcmflow.dicom.query import Query
from dcmflow.errors import DcmflowError, RequestFailed
from dcmflow.net import models, retrieval
from dcmflow.net.arriving import Arriving, arriving
from dcmflow.net.entity import Answer
from dcmflow.net.find import finding
from dcmflow.net.received import instance_of
from dcmflow.net.reception import Reception, Room
from dcmflow.net.retrieval import MoveReport
from dcmflow.net.wanted import resolve, singly
from dcmflow.status import Status

if TYPE_CHECKING:
    from dcmflow.net.node import Node
    from dcmflow.net.pool import Pool
    from dcmflow.net.received import Received

_SOME_FAILED: Final = Status(0xB000)


async def moving(pool: Pool, query: Query, *, to: str) -> MoveReport:
    """C-MOVE whatever matches to an AE title; the counts of several requests are added up.

    Raises:
        RequestFailed: a request failed.
        NetworkError, RemoteProtocolError: there was no answer.
    """
    requests = await resolve(pool, query)
    reports: list[MoveReport] = []
    async with pool.associate(models.proposed("move"), patient=True) as association:
        for request in requests:
            reports += await _in_parts(request, lambda each: retrieval.move(association, each, to=to))
    return added_up(reports)


async def _in_parts(
    request: Query,
    ask: Callable[[Query], Awaitable[MoveReport]],
    begun: Callable[[], bool] = lambda: False,
) -> list[MoveReport]:
    """Ask, and once more for each UID alone where a list was not understood."""
    try:
        return [await ask(request)]
    except RequestFailed as error:
        alone = singly(request)
        if len(alone) == 1 or error.transient or begun():
            raise
    return [await ask(each) for each in alone]


def added_up(reports: Iterable[MoveReport]) -> MoveReport:
    """Several reports as one: a count is known where all are."""
    several = list(reports)
    if not several:
        return MoveReport(Status.SUCCESS, completed=0, failed=0, warning=0)
    worst = next((report for report in several if report.status), several[0])
    counts = {
        name: None
        if any(getattr(each, name) is None for each in several)
        else sum(getattr(each, name) for each in several)
        for name in ("completed", "failed", "warning", "remaining")
    }
    return MoveReport(
        worst.status,
        worst.comment,
        failed_uids=tuple(uid for report in several for uid in report.failed_uids),
        **counts,
    )


@final
class Got(Arriving[tuple[Instance, anyio.Event]], AsyncIterator[Instance]):
    """Instances as they come over C-GET; each is answered with Success when the next one is asked for.

    Attributes:
        report: how it ended; None until then.
    """

    def __init__(self, instances: MemoryObjectReceiveStream[tuple[Instance, anyio.Event]]) -> None:
        super().__init__(instances)
        self._done: anyio.Event | None = None
        self.report: MoveReport | None = None

    def __aiter__(self) -> Got:
        return self

    async def __anext__(self) -> Instance:
        """The next instance.

        Raises:
            RequestFailed: the peer answered with a failure, or could not send some of what was asked for.
            NetworkError, RemoteProtocolError: there is nothing more.
        """
        if self._done is not None:
            self._done.set()
            self._done = None
        instance, self._done = await self.take()
        return instance


@asynccontextmanager
async def getting(pool: Pool, query: Query) -> AsyncIterator[Got]:
    """C-GET whatever matches; leaving the block calls off what is still under way."""
    give, take = anyio.create_memory_object_stream[tuple[Instance, anyio.Event]]()
    got = Got(take)
    async with arriving(got, give, take, lambda: _get_all(pool, query, give, got)):
        yield got


async def _get_all(
    pool: Pool, query: Query, give: MemoryObjectSendStream[tuple[Instance, anyio.Event]], got: Got
) -> None:
    came = 0

    async def store(received: Received) -> Answer:
        nonlocal came
        came += 1
        if received.payload is None:
            error = received.error or DcmflowError("no data set")
            return Answer(error.status, str(error))
        done = anyio.Event()
        await give.send((instance_of(received, association, ours=True), done))
        await done.wait()
        return Answer(Status.SUCCESS)

    requests = await resolve(pool, query)
    contexts, user = retrieval.get_contexts(await classes(pool, requests))
    async with pool.associate(contexts, user, patient=True) as association:
        reports: list[MoveReport] = []
        reception = Reception(Room())
        for request in requests:
            before = came
            reports += await _in_parts(
                request,
                lambda each: retrieval.get(association, each, store=store, reception=reception),
                lambda: came > before,  # noqa: B023 - it is asked before the next round
            )
        got.report = added_up(reports)
    _all_came(got.report, pool.node)


def _all_came(report: MoveReport, node: Node) -> None:
    """Raise RequestFailed where the node could not send some."""
    if not report.failed and (report.failed is not None or not report.status):
        return
    named = f": {', '.join(report.failed_uids[:5])}" if report.failed_uids else ""
    raise RequestFailed(
        f"{node} could not send {report.failed or 'some'} of what was asked for{named}; its log may say why",
        status=report.status or _SOME_FAILED,
        comment=report.comment,
        operation="C-GET",
        peer=str(node),
    )


async def classes(pool: Pool, requests: Iterable[Query]) -> list[str]:
    """SOP Classes of what is asked for: as the node says, else the usual ones."""
    found: dict[str, None] = {}
    try:
        for request in requests:
            images = Query(Level.IMAGE, request.keys)
            async with finding(pool, images) as records:
                async for record in records:
                    if sop_class := record.text("SOPClassUID"):
                        found[sop_class] = None
                    else:
                        return list(dict.fromkeys((*found, *retrieval.COMMON)))
    except DcmflowError:  # it need not be able to say
        return list(dict.fromkeys((*found, *retrieval.COMMON)))
    return list(found) or list(retrieval.COMMON)
