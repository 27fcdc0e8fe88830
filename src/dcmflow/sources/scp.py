"""A Storage SCP: takes instances that others send."""

from __future__ import annotations

from collections.abc import AsyncIterator, Hashable, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any, ClassVar, Literal

import anyio
from anyio import BrokenResourceError, ClosedResourceError
from msgspec import Meta, field

from dcmflow.dicom.instance import Instance
from dcmflow.dicom.payload import MemoryPayload
from dcmflow.errors import ConfigError, Refused
from dcmflow.flow.context import Context, Draining, Emit
from dcmflow.flow.events import AssociationEnded, AssociationFailed, AssociationIdle, AssociationRejected
from dcmflow.flow.stage import HeadStart, Source
from dcmflow.net import services
from dcmflow.net.address import parse_listen
from dcmflow.net.association import Association
from dcmflow.net.crew import Crew
from dcmflow.net.early import Start
from dcmflow.net.entity import ANYONE, Answer, ApplicationEntity, Caller
from dcmflow.net.listener import Listener
from dcmflow.net.node import ANY_AE, Local, Timeouts, Tls
from dcmflow.net.received import Received, instance_of
from dcmflow.net.reception import Room
from dcmflow.protocol.command import CommandSet
from dcmflow.protocol.negotiation import AcceptedContext
from dcmflow.sources.identity import mismatch
from dcmflow.sources.landing import writable
from dcmflow.sources.port import listener_key, place_of, shared_listener
from dcmflow.status import Status
from dcmflow.units import parse_duration, parse_size

_EVENTS = {
    "rejected": AssociationRejected,
    "ended": AssociationEnded,
    "idle": AssociationIdle,
    "failed": AssociationFailed,
}


class Scp(Source, frozen=True):
    """Takes SOP Instances that others send with C-STORE, and answers C-ECHO.

    The answer to a C-STORE is held back until the instance has settled: Success means that every sink has accepted it, else the
    sender is told the status of the first refusal. While an instance waits for room, its association is not read.
    """

    divisible: ClassVar[bool] = True

    listen: Annotated[
        str,
        Meta(
            description="Where to listen, AE@host:port; 0.0.0.0 is every IPv4 address. Without an AE title any called one will do."
            " Default: AE title and port of the settings."
        ),
    ] = ""
    accept_from: Annotated[
        list[str],
        Meta(description="Who may call: AE titles, AE@address or @network. Empty: anyone."),
    ] = field(default_factory=list)
    sop_classes: Annotated[list[str], Meta(description="SOP Class UIDs that are taken. Empty: all.")] = field(
        default_factory=list
    )
    transfer_syntaxes: Annotated[
        list[str], Meta(description="Transfer syntax UIDs that are taken. Empty: all, as offered.")
    ] = field(default_factory=list)
    respond: Annotated[
        Literal["settled", "received"],
        Meta(
            description="When a C-STORE is answered: once it has settled, or as soon as it was received, which promises nothing."
        ),
    ] = "settled"
    max_associations: Annotated[
        int, Meta(ge=1, description="Associations at once; further ones are rejected as transient.")
    ] = 64
    max_pdu: Annotated[
        int,
        Meta(ge=4096, le=16 * 1024 * 1024, description="The largest PDU that is offered to take, in bytes."),
    ] = 262144
    spill: Annotated[
        int | str, Meta(description="From this size on a data set goes to a temporary file while it arrives.")
    ] = "64 MiB"
    tls: Annotated[
        Tls | None,
        Meta(description="Speak TLS: { cert, key, ca }; with a ca, callers must show a certificate."),
    ] = None
    timeouts: Annotated[Timeouts, Meta(description="{ acse, dimse, idle } in seconds.")] = Timeouts()
    until_idle: Annotated[
        float | str | None,
        Meta(description="End by itself after so long without any association, such as '5 min'."),
    ] = None

    def __post_init__(self) -> None:
        if self.listen:
            try:
                parse_listen(self.listen)
            except ConfigError as error:
                raise error.at(key="listen") from None
        for caller in self.accept_from:
            Caller.parse(caller)
        parse_size(self.spill)
        if self.until_idle is not None:
            parse_duration(self.until_idle)
        if self.tls is not None and self.tls.cert is None:
            raise ConfigError("who listens with TLS needs a certificate: tls = { cert, key }", key="tls")

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[_Actor]:
        place, tls, secured = place_of(self.listen, self.tls, context)
        crew: Crew | None = context.provided.get(Crew)
        listener = await shared_listener(context, place, tls, secured)
        actor = _Actor(self, context, listener, place.ae_title, crew)
        with listener.host(actor.entity):
            try:
                yield actor
            finally:
                actor.entity.shut()

    def place(self, context: Context) -> tuple[Hashable, Local]:
        """Where it listens: what stands for the listener, which several sources may share, and who we are there."""
        place = parse_listen(self.listen, context.local)
        return listener_key(place, context), place

    def caveat(self) -> str:
        if self.respond == "received":
            return "Success means nothing durable: it is answered as soon as an instance was received"
        return ""

    def check(self, context: Context) -> None:
        place, _, _ = place_of(self.listen, self.tls, context)
        mine = self._entity(place.ae_title)
        for name, other in context.stages.items():
            if name == context.stage:
                break  # each pair once
            if not isinstance(other, Scp):
                continue
            there = parse_listen(other.listen, context.local)
            if place.port and (there.host, there.port) == (place.host, place.port):
                mine.must_differ_from(other._entity(there.ae_title), place.port, f"source {name}")

    def _entity(self, title: str, **options: Any) -> ApplicationEntity:
        return ApplicationEntity(
            ANYONE if title == ANY_AE else title,
            accept_from=self.accept_from,
            sop_classes=self.sop_classes,
            transfer_syntaxes=self.transfer_syntaxes,
            max_associations=self.max_associations,
            max_pdu=self.max_pdu,
            timeouts=self.timeouts,
            **options,
        )


class _Actor:
    def __init__(
        self, stage: Scp, context: Context, listener: Listener, title: str, crew: Crew | None
    ) -> None:
        self._stage = stage
        self._context = context
        self._listener = listener
        self._crew = crew
        self._emit: Emit | None = None
        self._over = anyio.Event()
        self._settled = stage.respond == "settled"
        spill = parse_size(stage.spill)
        self.entity: ApplicationEntity = stage._entity(
            title,
            store=self._store,
            begin=self._begin if self._settled else None,
            room=Room(spill, spill, landing=writable(context.landing)),
            attendance=crew.attendance(context.stage) if crew is not None else None,
            notice=self._notice,
        )

    async def run(self, emit: Emit) -> None:
        self._emit = emit
        self._listener.open()
        if self._stage.until_idle is None:
            await self._over.wait()
        else:
            await self._until_idle(parse_duration(self._stage.until_idle))

    async def _until_idle(self, patience: float) -> None:
        entity = self.entity
        if self._crew is not None:
            await self._crew.begun.wait()
        entity.attendance.touch()
        while not self._over.is_set():
            await entity.empty()
            left = entity.attendance.end(patience)
            if left is None:
                services.drain(entity)
                return
            with anyio.move_on_after(left):
                await self._over.wait()

    async def drain(self) -> None:
        services.drain(self.entity)
        await self.entity.empty()
        self._over.set()

    def _begin(
        self, association: Association, context: AcceptedContext, command: CommandSet, lead: bytes
    ) -> Sequence[HeadStart]:
        """Hand on an instance of which these are the first bytes."""
        assert self._emit is not None
        sop_class, sop_instance = command.affected_sop_class, command.affected_sop_instance
        if not sop_class or not sop_instance or self.entity.draining:
            return ()
        instance = Instance(sop_class, sop_instance, context.transfer_syntax, MemoryPayload(lead))
        try:
            if not self.entity.supports(sop_class) or mismatch(instance) is not None:
                return ()
        except Exception:  # a defect, which is met again and told when the instance is whole
            return ()
        return self._emit.begin(instance)

    async def _store(self, association: Association, received: Received) -> Answer:
        command, emit = received.command, self._emit
        assert emit is not None
        if received.payload is None:
            error = received.error or Refused("no data set")
            emit.refused(error, sop_instance_uid=command.affected_sop_instance or "")
            return Answer(error.status, str(error))
        instance = instance_of(received, association, stage=self._context.stage)
        wrong = mismatch(instance) if not received.starts else None  # else it has been looked at
        if wrong is not None:
            emit.refused(wrong, sop_instance_uid=instance.sop_instance_uid, size=instance.payload.size)
            return Answer(wrong.status, str(wrong))
        await _finish(received.starts, instance)
        try:
            receipt = await emit(instance, begun=True)
        except (Draining, BrokenResourceError, ClosedResourceError):
            raise services.Leaving from None
        del instance, received
        if not self._settled:
            return Answer(Status.SUCCESS)
        status = await receipt.wait()
        return Answer(status, receipt.reason)

    def _notice(self, kind: str, peer: str, text: str) -> None:
        self._context.report(_EVENTS[kind](stage=self._context.stage, peer=peer, reason=text))


async def _finish(starts: Sequence[Start], instance: Instance) -> None:
    """Have what was begun with the instance done, all at once."""
    if len(starts) == 1:
        await starts[0].finish(instance)
    elif starts:
        async with anyio.create_task_group() as tasks:
            for start in starts:
                tasks.start_soon(start.finish, instance)
