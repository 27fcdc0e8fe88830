"""Sends instances to a DICOM node."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, ClassVar, Final

from anyio import WouldBlock
from msgspec import Meta
from msgspec.structs import replace

from dcmflow.dicom.instance import Instance
from dcmflow.errors import ConfigError, Refused
from dcmflow.flow.context import Context
from dcmflow.flow.policy import Retry, longest_wait
from dcmflow.flow.stage import Sink
from dcmflow.net.address import parse_node
from dcmflow.net.breaker import HOLD
from dcmflow.net.contexts import Wanted
from dcmflow.net.entity import Answer
from dcmflow.net.head_start import HeadStart
from dcmflow.net.node import Local, Node, Timeouts, ae_title
from dcmflow.net.pool import Pool
from dcmflow.status import Status

_DUPLICATE: Final = Status(0x0111)
_RESOURCE_LIMITATION: Final = Status(0x0213)


class _Sending(Sink, frozen=True, kw_only=True):
    """A sink whose workers wait for a peer most of the time."""

    workers: Annotated[
        int,
        Meta(ge=0, le=1024, description="Instances handled at once; 0: twice as many as associations."),
    ] = 0
    retry: Annotated[
        Retry | None,
        Meta(description="Try again on transient errors: { attempts, first, longest }."),
    ] = Retry(attempts=3, first="500 ms", longest="10 s")


class Store(_Sending, frozen=True):
    """Sends SOP Instances to a DICOM node with C-STORE, each as it is encoded.

    Accepted means that the node has answered Success, or a warning, which is reported. Associations are opened when they are
    needed, with the presentation contexts that are, and are kept.
    """

    looks_ahead: ClassVar[bool] = True
    starts_early: ClassVar[bool] = True
    divisible: ClassVar[bool] = True

    to: Annotated[
        str,
        Meta(
            min_length=1, description="The node: a name of the settings or AE@host:port; dicoms:// for TLS."
        ),
    ]
    associations: Annotated[
        int,
        Meta(
            ge=1,
            le=256,
            description="Associations at once; of a node with a name at most its max-associations.",
        ),
    ] = 2
    calling_ae: Annotated[str, Meta(description="Our AE title. Default: that of the settings.")] = ""
    timeouts: Annotated[
        Timeouts | None,
        Meta(description="{ connect, acse, dimse, idle } in seconds. Default: those of the node."),
    ] = None

    def __post_init__(self) -> None:
        if self.calling_ae:
            try:
                ae_title(self.calling_ae)
            except ConfigError as error:
                raise error.at(key="calling-ae") from None

    @property
    def tasks(self) -> int:
        return self.workers or 2 * self.associations

    def check(self, context: Context) -> None:
        self._node(context)

    def divided(self, among: int, context: Context) -> Store:
        node = self._node(context)
        most = node.max_associations if self.to in context.nodes else self.associations
        if min(self.associations, most) < among:
            whose = "associations" if self.associations <= most else f"max-associations of {self.to}"
            raise ConfigError(
                f"{whose} is {min(self.associations, most)}, and each of {among} processes needs one: "
                f"allow {among} or more, or start fewer processes",
                key="associations",
            )
        return replace(self, associations=self.associations // among)

    def promise(self) -> str:
        return "accepted by"

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[_Actor]:
        node = self._node(context)
        local: Local = context.local or Local()
        title = ae_title(self.calling_ae) if self.calling_ae else local.ae_title
        pool = await context.resource(
            ("associations", node, title),
            lambda: Pool(node, calling_ae=title, limit=0, patience=0.0, notice=context.warn),
        )
        most = node.max_associations if self.to in context.nodes else None

        def upcoming() -> list[Wanted]:
            return [(instance.sop_class_uid, instance.transfer_syntax_uid) for instance in context.upcoming()]

        with pool.share(self.associations, patience=self._patience(), most=most, upcoming=upcoming):
            yield _Actor(context, pool)

    def _patience(self) -> float:
        """Seconds within which each attempt has been a call: while the breaker holds, an attempt waits."""
        if self.retry is None:
            return 0.0
        return max(longest_wait(self.retry), (self.retry.attempts - 1) * HOLD)

    def _node(self, context: Context) -> Node:
        try:
            node: Node = parse_node(self.to, context.nodes)
        except ConfigError as error:
            raise error.at(key="to") from None
        return node if self.timeouts is None else replace(node, timeouts=self.timeouts)


class _Actor:
    def __init__(self, context: Context, pool: Pool) -> None:
        self._context = context
        self._pool = pool
        self._warned: set[Status] = set()
        self._begun: dict[int, tuple[HeadStart, Instance]] = {}  # finished, by identity of the instance

    def begin(self, instance: Instance) -> _Begun | None:
        start = self._pool.begin(instance)
        return None if start is None else _Begun(start, self._begun)

    def write_nowait(self, instance: Instance) -> bool | None:
        start, _ = self._begun.get(id(instance), (None, None))
        if start is None or start.failed or (answer := start.result()) is None:
            raise WouldBlock
        judgement = self._judged(instance, answer)
        del self._begun[id(instance)]
        return judgement

    async def write(self, instance: Instance) -> bool | None:
        start, _ = self._begun.pop(id(instance), (None, None))
        answer = None if start is None else start.result()
        if answer is None:
            answer = await self._pool.store(instance)
        return self._judged(instance, answer)

    def _judged(self, instance: Instance, answer: Answer) -> bool | None:
        if answer.status == Status.SUCCESS:
            return None
        if answer.status == _DUPLICATE:
            # Sent twice is the same as sent once: an answer that was lost on its way brings the instance here again, and a peer
            # may call that a duplicate. It has a SOP Instance of that UID; whether it is this version of it nobody
            # knows, so that whoever sent it here is not to remove his copy.
            self._warn(instance, answer, "already has")
            return False
        if answer.status.category == "warning":
            self._warn(instance, answer, "accepted")
            return None
        raise self._refusal(instance, answer)

    def _warn(self, instance: Instance, answer: Answer, what: str) -> None:
        if answer.status not in self._warned:
            self._warned.add(answer.status)
            self._context.warn(
                f"{self._pool.node} {what} {instance.sop_instance_uid} with {_said(answer)}; further instances that it "
                "answers so are not reported",
                instance.origin.path,
            )

    def _refusal(self, instance: Instance, answer: Answer) -> Refused:
        status = answer.status
        return Refused(
            # what matters first: a sender is told 64 characters of it
            f"refused with {_said(answer)} by {self._pool.node}",
            status=status,
            instance_uid=instance.sop_instance_uid,
            transient=status & 0xFF00 == 0xA700 or status == _RESOURCE_LIMITATION,
        )


class _Begun:
    """A head start, and where what comes of it is kept until the instance is written."""

    def __init__(self, start: HeadStart, begun: dict[int, tuple[HeadStart, Instance]]) -> None:
        self._start = start
        self._begun = begun
        self._key = 0
        self.feed = start.feed

    async def finish(self, instance: Instance) -> None:
        await self._start.finish(instance)
        self._key = id(instance)
        self._begun[self._key] = self._start, instance

    def abandon(self) -> None:
        self._start.abandon()
        self._begun.pop(self._key, None)


def _said(answer: Answer) -> str:
    return f"{answer.status}, {answer.comment!r}" if answer.comment else str(answer.status)
