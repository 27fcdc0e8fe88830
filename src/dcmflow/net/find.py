"""C-FIND: what a node holds (PS3.4 C.4.1), asked in as many requests as its model and its abilities make necessary."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, final

import anyio
from anyio.streams.memory import MemoryObjectSendStream

from dcmflow.dicom.encoding import encoding_of
from dcmflow.dicom.header import Header
from dcmflow.dicom.level import Level
from dcmflow.dicom.matching import Matcher
from dcmflow.dicom.query import Query
from dcmflow.dicom.record import Record
from dcmflow.errors import DatasetError, DcmflowError, NetworkError, RemoteProtocolError, RequestFailed
from dcmflow.net import failures, models
from dcmflow.net.arriving import arriving
from dcmflow.net.found import Found
from dcmflow.net.hierarchy import Plan, completed, filled, lone_values
from dcmflow.net.models import Model
from dcmflow.net.requests import request
from dcmflow.protocol.command import c_find_rq
from dcmflow.protocol.items import UserInformation

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from dcmflow.net.association import Association
    from dcmflow.net.pool import Pool
    from dcmflow.net.received import Received

_AHEAD: Final = 256  # records that may wait for their reader; until he takes them, the peer is not read
_WORTH: Final = 4  # requests for which another association pays
_IGNORING: Final = 0xFF01  # pending, and some optional key is not supported

Take = Callable[[Record], Awaitable[None]]


@asynccontextmanager
async def finding(
    pool: Pool, query: Query, *, verify: bool = True, bare: bool = False
) -> AsyncIterator[Found]:
    """Ask; leaving the block calls off what is still under way (C-CANCEL).

    Args:
        verify: leave out what does not match the query, or of which that cannot be told. Else the reader does that, for the
            keys of the level that is asked for.
        bare: only the unique keys are asked for, and what the query names.
    """
    give, take = anyio.create_memory_object_stream[Record](_AHEAD)
    found = Found(take)
    finder = _Finder(pool, query, found, give, verify=verify, bare=bare)
    async with arriving(found, give, take, finder.run):
        yield found


@final
class _Finder:
    def __init__(
        self,
        pool: Pool,
        query: Query,
        found: Found,
        give: MemoryObjectSendStream[Record],
        *,
        verify: bool,
        bare: bool,
    ) -> None:
        self._pool = pool
        self._query = query
        self._found = found
        self._give = give
        self._known: set[tuple[str, ...]] = set()  # what was given, where several answers are about one
        self._failed: list[RequestFailed] = []  # of parts
        self._lists = True  # the peer seems to take lists of UIDs
        self._verify = verify
        self._bare = bare
        self._matcher = Matcher(query)

    async def run(self) -> None:
        async with self._associate() as association:
            model, _ = models.chosen(association, self._query.level, "find")
            self._found.model = model
            plan = Plan(self._query, model.top, bare=self._bare)
            at_once = len(plan.levels) > 1 and (
                plan.by_unique_key or models.is_relational(association, model, "find")
            )
            if not at_once or not await self._at_once(association, model, plan):
                await self._descend(association, model, plan)
        if self._failed:
            raise self._failed[0]

    async def _at_once(self, association: Association, model: Model, plan: Plan) -> bool:
        """Ask for all at once; False: the peer cannot do that."""
        came = False

        async def take(record: Record) -> None:
            nonlocal came
            came = True
            await self._emit(plan, record)

        try:
            await self._ask_list(association, model, plan.at_once(), take)
        except RequestFailed as error:
            if came or error.transient:
                raise
            return False
        return True

    @asynccontextmanager
    async def _associate(self) -> AsyncIterator[Association]:
        user = UserInformation(extended=models.relational("find"))
        async with self._pool.associate(models.proposed("find"), user, patient=True) as association:
            yield association

    # -- from the top down

    async def _descend(self, association: Association, model: Model, plan: Plan) -> None:
        parents: list[Record] = []
        for level in plan.levels:
            last = level is plan.bottom
            found: list[Record] = []

            async def keep(record: Record, found: list[Record] = found) -> None:
                if not self._matcher.examine(record).mismatched:  # else what it has need not be asked for
                    found.append(record)

            async def give(record: Record) -> None:
                await self._emit(plan, record)

            take = give if last else keep
            if level is plan.top:
                await self._ask_list(association, model, plan.step(level), take)
            else:
                await self._ask_about(association, model, plan, level, parents, take)
            parents = _distinct(found)
            if not parents:
                return

    async def _ask_list(self, association: Association, model: Model, query: Query, take: Take) -> None:
        """One C-FIND; where it is for a list of UIDs and the peer takes none, one for each."""
        key, came = query.level.keyword, False
        uids = query.keys.get(key, "").split("\\")

        async def note(record: Record) -> None:
            nonlocal came
            came = True
            await take(record)

        if len(uids) == 1 or query.level is Level.PATIENT:
            await self._ask(association, model, query, take)
            return
        try:
            await self._ask(association, model, query, note)
        except RequestFailed as error:
            if came or error.transient:
                raise
        if not came:
            for uid in uids:
                await self._ask(association, model, query.with_keys({key: uid}), take)

    async def _ask_about(
        self,
        association: Association,
        model: Model,
        plan: Plan,
        level: Level,
        parents: list[Record],
        take: Take,
    ) -> None:
        """Ask for what these parents have, on as many associations as there are and as pay."""
        groups = plan.groups(parents, lists=self._lists)
        groups.reverse()

        async def work(association: Association) -> None:
            while groups:
                group = groups.pop()
                try:
                    for parent in await self._children(association, model, plan, level, group, take):
                        groups.append([parent])
                except RequestFailed as error:  # the others have something all the same
                    self._failed.append(error)

        waiting: set[anyio.CancelScope] = set()

        async def help_out() -> None:
            begun = False
            try:
                with anyio.CancelScope() as scope:
                    waiting.add(scope)
                    async with self._associate() as another:
                        waiting.discard(scope)
                        if models.choose(models.offered(another, "find"), self._query.level) is model:
                            begun = True
                            await work(another)
                            begun = False
            except (NetworkError, RemoteProtocolError):
                if begun:  # what it had asked for would be missing
                    raise

        async def alone() -> None:
            await work(association)
            for scope in waiting:  # nothing is left to help with, and there may be no association to be had
                scope.cancel()

        more = min(self._pool.limit - 1, len(groups) // _WORTH)
        await _together([alone, *[help_out] * max(0, more)])

    async def _children(
        self,
        association: Association,
        model: Model,
        plan: Plan,
        level: Level,
        group: Sequence[Record],
        take: Take,
    ) -> list[Record]:
        """Ask for what these have. Returns those that have to be asked about alone, since a list was not understood."""
        by_uid = {parent.uid: parent for parent in group}
        seen: set[str] = set()
        query = plan.step(level, group)

        async def assign(record: Record) -> None:
            uid = record.text(Level(level - 1).keyword)
            if not uid and len(group) == 1:
                uid = group[0].uid
            parent = by_uid.get(uid)
            if parent is None:
                return  # the peer pays no regard to what it is asked about, or does not say what this belongs to
            seen.add(uid)
            await take(filled(record, parent.values))

        try:
            await self._ask(association, model, query, assign)
        except RequestFailed:
            if len(group) == 1:
                raise
            seen.clear()  # nobody knows which of them is complete
        unheard = [parent for uid, parent in by_uid.items() if uid not in seen] if len(group) > 1 else []
        if len(group) > 1 and len(unheard) > 1 and not seen:
            self._lists = False
        return unheard

    async def _ask(self, association: Association, model: Model, query: Query, take: Take) -> None:
        """One C-FIND."""
        context = models.offered(association, "find")[model]
        identifier = query.identifier(context.transfer_syntax, self._pool.node.character_set)
        known = lone_values(query)
        self._found.requests += 1
        sop_class = context.abstract_syntax
        async with request(
            association, context, lambda message_id: c_find_rq(message_id, sop_class), identifier
        ) as asked:
            while True:
                received = await asked.response()
                if asked.status is not None:
                    break
                if received.command.status == _IGNORING:
                    self._found.ignoring = True
                record = self._record(received, query.level)
                if record is not None:
                    await take(completed(record, known))
        status = asked.status
        if status.category not in ("success", "warning"):
            raise failures.failed(
                "C-FIND", association.peer, status, asked.comment, calling=association.calling_ae
            )

    def _record(self, received: Received, level: Level) -> Record | None:
        try:
            if received.error is not None:
                raise received.error
            if received.payload is None:
                raise DatasetError("it has no data set")
            return Record.of(level, Header(received.payload, encoding_of(received.context.transfer_syntax)))
        except DcmflowError as error:
            self._found.problems.append(f"an answer cannot be read: {error}")
            return None

    async def _emit(self, plan: Plan, record: Record) -> None:
        wanted = plan.trimmed(record)
        if self._verify or wanted is not record:  # what is trimmed away cannot be checked later
            mismatched, unverified = self._matcher.examine(record)
            if mismatched or unverified:
                self._found.mismatched.update(mismatched)
                self._found.unverified.update(() if mismatched else unverified)
                return
        if wanted is not record:
            if wanted.path in self._known:
                return
            self._known.add(wanted.path)
        await self._give.send(wanted)


async def _together(jobs: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """Do these at once; the first that fails ends all."""
    failures: list[Exception] = []

    async def guarded(job: Callable[[], Awaitable[None]], tasks: TaskGroup) -> None:
        try:
            await job()
        except DcmflowError as error:
            failures.append(error)
            tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        for job in jobs:
            tasks.start_soon(guarded, job, tasks)
    if failures:
        raise failures[0]


def _distinct(records: Iterable[Record]) -> list[Record]:
    """Each once, and only those that say what they are."""
    return list({record.path: record for record in records if record.uid}.values())
