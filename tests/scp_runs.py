"""Pipelines and listeners that take associations, and what came of them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio

from dcmflow import Pipeline, Running, sources
from dcmflow.dicom.instance import Instance
from dcmflow.dicom.payload import MemoryPayload
from dcmflow.flow.events import AssociationEnded, AssociationRejected
from dcmflow.flow.statistics import PipelineStatistics
from dcmflow.net.association import Association
from dcmflow.net.entity import Answer, ApplicationEntity
from dcmflow.net.listener import Listener, listening
from dcmflow.net.node import Timeouts
from dcmflow.net.received import Received
from dcmflow.net.services import drain
from dcmflow.status import Status
from dcmflow.testing import ScriptedScu, Seen
from dcmflow.testing import instance as make_instance
from peers.base import free_port
from stage_runs import Observed

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
SHORT = Timeouts(acse=0.6, dimse=0.6, idle=0.6)
SOON = Timeouts(acse=0.6, dimse=30, idle=30)


def sized(size: int, seed: int = 0, **elements: Any) -> Instance:
    """An instance whose data set is a little longer than `size` bytes."""
    pattern = bytes((seed + number) % 251 for number in range(251))
    pixels = (pattern * (size // 251 + 1))[: size & ~1]
    return make_instance(CT, Rows=1, Columns=1, BitsAllocated=16, PixelData=pixels, **elements)


def made(number: int, size: int = 0) -> Instance:
    """As that of `little_stages`, with what a Storage SCP looks for: a CT image whose UID ends in the number."""
    uid = f"2.25.{number + 1}"
    data = _element(0x16, CT) + _element(0x18, uid)
    if size:
        data += b"\xe0\x7f\x10\x00OB\0\0" + size.to_bytes(4, "little") + bytes([number % 256]) * size
    return Instance(CT, uid, EXPLICIT, MemoryPayload(data))


def nameless(sop_class: str, uid: str) -> bytes:
    """A data set with these UIDs, or without one."""
    return _element(0x16, sop_class) + _element(0x18, uid) + b"\x08\0\x60\0CS\x02\0CT"


def _element(element: int, value: str) -> bytes:
    encoded = value.encode() + b"\0" * (len(value) % 2)
    return (
        b"\x08\0" + bytes([element, 0]) + b"UI" + len(encoded).to_bytes(2, "little") + encoded
        if value
        else b""
    )


def encoded(instance: Instance) -> bytes:
    return b"".join(instance.payload.segments())


@dataclass
class Receiving:
    """A pipeline behind an scp source.

    Attributes:
        node: how it is called.
        observed: its events.
    """

    node: str
    running: Running
    observed: Observed

    @property
    def totals(self) -> PipelineStatistics:
        return self.running.statistics().pipeline

    @property
    def rejected(self) -> list[AssociationRejected]:
        return [event for event in self.observed.events if isinstance(event, AssociationRejected)]

    @property
    def ended(self) -> list[AssociationEnded]:
        return [event for event in self.observed.events if isinstance(event, AssociationEnded)]

    @property
    def counts(self) -> tuple[int, int, int, int, int]:
        """Emitted, accepted, dropped, refused, unsettled; the sums close."""
        totals = self.totals
        assert totals.emitted == totals.accepted + totals.dropped + totals.refused + totals.unsettled
        return totals.emitted, totals.accepted, totals.dropped, totals.refused, totals.unsettled


@asynccontextmanager
async def receiving(
    *parts: Any, title: str = "DCMFLOW", options: dict[str, Any] | None = None, **scp: Any
) -> AsyncIterator[Receiving]:
    """A pipeline from an scp source into these parts; drained when the block ends.

    Args:
        options: of the pipeline.
        scp: of the source.
    """
    place = f"127.0.0.1:{free_port()}"
    listen = f"{title}@{place}" if title else place
    flow: Any = sources.Scp(listen, name="scp", **scp)
    for part in parts:
        flow = flow | part
    observed = Observed()
    async with Pipeline(flow, **(options or {})).start(observe=observed) as running:
        receiving = Receiving(f"{title or 'ANY-SCP'}@{place}", running, observed)
        yield receiving
        assert receiving.counts
    emitted, *settled, unsettled = receiving.counts
    assert unsettled == 0
    assert emitted == sum(settled)
    assert len(observed.refused) == settled[-1]


@dataclass
class Kept:
    """A C-STORE handler that keeps what comes and answers Success."""

    seen: list[Received] = field(default_factory=list)
    answer: Answer = field(default_factory=lambda: Answer(Status.SUCCESS))

    async def __call__(self, association: Association, received: Received) -> Answer:
        self.seen.append(received)
        return self.answer if received.error is None else Answer(received.error.status, str(received.error))


@dataclass
class Notices:
    """What entities had to say."""

    all: list[tuple[str, str, str]] = field(default_factory=list)

    def __call__(self, kind: str, peer: str, text: str) -> None:
        self.all.append((kind, peer, text))

    @property
    def texts(self) -> list[str]:
        return [text for _, _, text in self.all]


@asynccontextmanager
async def hosting(*entities: ApplicationEntity, **options: Any) -> AsyncIterator[Listener]:
    """A listener on a free port for these entities; associations that are left at the end are aborted."""
    async with listening("127.0.0.1", 0, **options) as listener:
        with ExitStack() as stack:
            for entity in entities:
                stack.enter_context(listener.host(entity))
            listener.open()
            try:
                yield listener
            finally:
                for entity in entities:
                    drain(entity)
                    entity.shut()


def node(listener: Listener, title: str = "ARCHIVE") -> str:
    return f"{title}@127.0.0.1:{listener.port}"


class Host:
    """An entity that keeps what it is sent, on a listener of its own."""

    def __init__(self, listener: Listener, entity: ApplicationEntity, kept: Kept, notices: Notices) -> None:
        self.listener, self.entity, self.kept, self.notices = listener, entity, kept, notices
        self.node = node(listener)

    @property
    def stored(self) -> list[str | None]:
        return [received.command.affected_sop_instance for received in self.kept.seen]


@asynccontextmanager
async def host(**options: object) -> AsyncIterator[Host]:
    kept, notices = Kept(), Notices()
    entity = ApplicationEntity("ARCHIVE", store=kept, notice=notices, **options)  # type: ignore[arg-type]
    async with hosting(entity) as listener:
        yield Host(listener, entity, kept, notices)
    assert not entity.associations


async def echo(address: str, **options: Any) -> Seen:
    """One C-ECHO on an association of its own, released afterwards."""
    async with ScriptedScu(address, **options) as scu:
        accepted = await scu.associate()
        if accepted.what != "A-ASSOCIATE-AC":
            return accepted
        answer = await scu.echo()
        assert (await scu.release())[-1].what == "A-RELEASE-RP"
        return answer


async def send(address: str, *instances: Instance, **options: Any) -> list[int | None]:
    """The statuses of C-STOREs on one association, released afterwards."""
    async with ScriptedScu(address, **options) as scu:
        await scu.associate(instances=instances)
        answers = [await scu.store(instance) for instance in instances]
        assert (await scu.release())[-1].what == "A-RELEASE-RP"
        return [answer.status for answer in answers]


def descriptors() -> list[str]:
    """What this process has open, apart from what its event loop and the test have for themselves."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:  # the listing's own descriptor
            continue
    return sorted(name.partition(":")[0] if name.startswith("socket") else name for name in found)


async def until(condition: Callable[[], object], seconds: float = 10) -> None:
    """Wait until `condition()` holds."""
    with anyio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - no event says so
            await anyio.sleep(0.005)
