"""An application entity that others may call: whom it takes calls from, what it accepts and who does the work."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple, final

import anyio

from dcmflow.errors import ConfigError
from dcmflow.net.crew import Attendance
from dcmflow.net.early import Begin
from dcmflow.net.node import Timeouts
from dcmflow.net.reception import Room
from dcmflow.net.storage import VERIFICATION, is_storage
from dcmflow.protocol.connection import MAXIMUM_LENGTH
from dcmflow.protocol.pdu import AssociateReject
from dcmflow.status import Status

if TYPE_CHECKING:
    from dcmflow.net.association import Association
    from dcmflow.net.received import Received

ANYONE = "*"

# PS3.8 table 9-21
CALLED_NOT_RECOGNIZED = AssociateReject(1, 1, 7)
CALLING_NOT_RECOGNIZED = AssociateReject(1, 1, 3)
CONTEXT_NAME_NOT_SUPPORTED = AssociateReject(1, 1, 2)
CONGESTED = AssociateReject(2, 3, 1)
LIMIT_EXCEEDED = AssociateReject(2, 3, 2)


class Answer(NamedTuple):
    """What a request is answered with; the comment goes into Error Comment (0000,0902)."""

    status: Status
    comment: str = ""


Store = Callable[["Association", "Received"], Awaitable[Answer]]


@final
class ApplicationEntity:
    """What is hosted on a `Listener`.

    Args:
        title: its AE title; `*`: whatever it is called.
        accept_from: who may call: `AE`, `AE@address` or `@address`, where the address may be a network (`@10.0.0.0/8`).
            Empty: anyone.
        store: takes C-STORE requests (PS3.7 9.1.1) with their data sets, or with the error that kept one from being taken
            in; None: no storage is accepted.
        begin: is asked, with the first bytes of a data set that is larger, what can be begun with while it arrives; None: nothing.
        sop_classes, transfer_syntaxes: UIDs; empty: all.
        max_associations: further ones are rejected as transient.
        max_pdu: the P-DATA-TF length that is offered, in bytes.
        room: where data sets go while they arrive.
        attendance: counts associations, those of other processes included; None: there is this one only.
        notice: is told, in words, what an operator should know: kind, peer, text. Kinds are `rejected`, `ended`, `idle` (it was not
            used) and `failed` (a defect on our side).

    Raises:
        ConfigError: an entry of `accept_from` that is none.
    """

    def __init__(
        self,
        title: str,
        *,
        accept_from: Iterable[str] = (),
        store: Store | None = None,
        begin: Begin | None = None,
        sop_classes: Iterable[str] = (),
        transfer_syntaxes: Sequence[str] = (),
        max_associations: int = 64,
        max_pdu: int = MAXIMUM_LENGTH,
        timeouts: Timeouts | None = None,
        room: Room | None = None,
        attendance: Attendance | None = None,
        notice: Callable[[str, str, str], None] = lambda kind, peer, text: None,
    ) -> None:
        self.title = title
        self.callers: tuple[Caller, ...] = tuple(Caller.parse(text) for text in accept_from)
        self.store = store
        self.begin = begin
        self.sop_classes: frozenset[str] = frozenset(sop_classes)
        self.transfer_syntaxes: tuple[str, ...] = tuple(transfer_syntaxes)
        self.max_associations = max_associations
        self.max_pdu = max_pdu
        self.timeouts: Timeouts = timeouts or Timeouts()
        self.room: Room = room or Room()
        self.notice = notice
        self.associations: set[Association] = set()
        self.draining: bool = False
        self.attendance: Attendance = attendance or Attendance.alone()
        self._changed = anyio.Event()

    def reserve(self) -> AssociateReject | None:
        """Take a place for an association, which `leave` gives back; else the rejection, since there is none."""
        if self.draining or self.attendance.is_over():
            return CONGESTED
        if not self.attendance.take(self.max_associations):
            return CONGESTED if self.attendance.is_over() else LIMIT_EXCEEDED
        return None

    def enter(self, association: Association) -> None:
        """The association that a place was taken for begins."""
        self.associations.add(association)

    def leave(self, association: Association | None) -> None:
        """It has ended, or did not come about."""
        if association is not None:
            self.associations.discard(association)
        self.attendance.leave()
        self._changed.set()
        self._changed = anyio.Event()

    async def empty(self) -> None:
        """Wait until there is no association."""
        while self.associations:
            await self._changed.wait()

    def supports(self, abstract_syntax: str) -> bool:
        """Whether a presentation context for it is accepted."""
        if abstract_syntax == VERIFICATION:
            return True
        if self.store is None or not is_storage(abstract_syntax):
            return False
        return not self.sop_classes or abstract_syntax in self.sop_classes

    def admits(self, calling: str, address: str) -> bool:
        """Whether this caller may call."""
        return not self.callers or any(caller.matches(calling, address) for caller in self.callers)

    def shut(self) -> None:
        """Abort all associations at once."""
        self.draining = True
        for association in list(self.associations):
            association.abort()
            association.scope.cancel()

    def collides(self, other: ApplicationEntity) -> bool:
        """Whether some caller could mean either of them; who takes anyone comes after who names the caller."""
        if self.title != other.title:
            return False
        if not self.callers or not other.callers:
            return not self.callers and not other.callers
        return any(mine.meets(its) for mine in self.callers for its in other.callers)

    def must_differ_from(self, other: ApplicationEntity, port: int, name: str = "another one") -> None:
        """Raise ConfigError when some caller could mean either this one or the other, called `name`, on this port."""
        if self.collides(other):
            title = "any AE title" if self.title == ANYONE else self.title
            raise ConfigError(
                f"{name} answers to {title} on port {port} for the same callers; give them different AE titles or a different"
                " accept-from",
                key="listen",
            )


class Caller(NamedTuple):
    """An entry of an allow-list; empty: any."""

    title: str
    network: ipaddress.IPv4Network | ipaddress.IPv6Network | None

    @classmethod
    def parse(cls, text: str) -> Caller:
        """Raises ConfigError."""
        title, at, place = text.partition("@")
        try:
            network = ipaddress.ip_network(place.strip("[]"), strict=False) if at else None
        except ValueError:
            raise ConfigError(
                f"{text!r} is no caller: write AE, AE@address or @address, where the address may be a network"
                " such as 10.0.0.0/8",
                key="accept-from",
            ) from None
        title = title.strip()
        if not title and network is None:
            raise ConfigError("an entry is empty", key="accept-from")
        return cls(title, network)

    def meets(self, other: Caller) -> bool:
        """Whether somebody is both of them."""
        if self.title and other.title and self.title != other.title:
            return False
        one, another = self.network, other.network
        if one is None or another is None:
            return True
        return one.version == another.version and one.overlaps(another)

    def matches(self, calling: str, address: str) -> bool:
        if self.title and self.title != calling:
            return False
        if self.network is None:
            return True
        try:
            found = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(found, "ipv4_mapped", None)
        return (mapped or found) in self.network


def choose(
    entities: Iterable[ApplicationEntity], called: str, calling: str, address: str
) -> ApplicationEntity | AssociateReject:
    """Who is meant by an association request, or why nobody is.

    An entity of that title goes before one that takes any title, one that names the caller before one that takes anyone.
    """
    titled = [entity for entity in entities if entity.title in (called, ANYONE)]
    if not titled:
        return CALLED_NOT_RECOGNIZED
    admitting = [entity for entity in titled if entity.admits(calling, address)]
    if not admitting:
        return CALLING_NOT_RECOGNIZED
    return min(admitting, key=lambda entity: (entity.title == ANYONE, not entity.callers))
