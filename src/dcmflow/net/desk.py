"""Which of our C-MOVEs an incoming C-STORE belongs to (PS3.4 C.4.2.3).

A node that is asked to move opens an association to the move destination, us, and stores what was asked for there, or has somebody
else do that. Whose sub-operation it is says the Move Originator, which many leave out, and never the calling AE title, which is
anybody's: it counts only where several nodes were asked for the same. So it is told, in this order, by

1. the Move Originator: our AE title and the message id of the request, which is unique among those that are open;
2. the SOP Instance UID, where it is known what is to come;
3. what it belongs to: the study, series or instance that was asked for;
4. the association: what came on it before was one of ours.

What is none of ours goes to whoever else takes calls under this AE title.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, final

from dcmflow.dicom.header import Header
from dcmflow.errors import DatasetError
from dcmflow.net.entity import Answer, ApplicationEntity
from dcmflow.net.reception import Room
from dcmflow.net.storage import is_storage
from dcmflow.status import Status

if TYPE_CHECKING:
    from dcmflow.net.association import Association
    from dcmflow.net.received import Received

NOT_ASKED_FOR: Final = Status(0x0124)

Scope = Mapping[str, frozenset[str]]
"""Unique keys by keyword, with the values of each."""

Take = Callable[["Association", "Received", bool], Awaitable[Answer]]


@final
class Claim:
    """A C-MOVE that is under way, or was until a moment ago.

    Args:
        calling_ae: of the association on which it was sent.
        scope: the unique keys that were asked for, by keyword, with the values of each.
        take: takes what belongs to it; the flag says whether it is in the scope.
        expected: SOP Instance UIDs that are to come; empty: not known.
        sender: the AE title that was asked; it decides where nothing else does.

    Attributes:
        message_id: unique among those that are open.
    """

    def __init__(
        self,
        message_id: int,
        calling_ae: str,
        scope: Scope,
        take: Take,
        expected: Iterable[str] = (),
        sender: str = "",
    ) -> None:
        self.message_id = message_id
        self.calling_ae = calling_ae
        self.scope = scope
        self.take = take
        self.expected: set[str] = set(expected)
        self.sender = sender
        self._associations: set[Association] = set()

    def originated(self, received: Received) -> bool:
        """The command says that it belongs to this request (PS3.7 9.1.1.1)."""
        command = received.command
        if command.move_originator_id != self.message_id:
            return False
        return (command.move_originator_ae or self.calling_ae) == self.calling_ae

    def expects(self, received: Received) -> bool:
        return received.command.affected_sop_instance in self.expected

    def covers(self, received: Received, header: Header | None) -> bool:
        """It is of what was asked for."""
        return covers(self.scope, received, header)

    def follows(self, association: Association) -> bool:
        return association in self._associations

    async def store(self, association: Association, received: Received) -> Answer:
        """Take it."""
        self._associations.add(association)
        inside = self.expects(received) or self.covers(received, header_of(received))
        return await self.take(association, received, inside)


def covers(scope: Scope, received: Received, header: Header | None) -> bool:
    """Whether an instance is of what these unique keys name."""
    for keyword, values in scope.items():
        if keyword == "SOPInstanceUID":
            found = received.command.affected_sop_instance or ""
        elif header is None:
            return False
        else:
            try:
                found = str(header.get(keyword) or "")
            except DatasetError:
                return False
        if found not in values:
            return False
    return bool(scope)


@final
class Desk:
    """The C-MOVEs to one AE title of a listener.

    Attributes:
        entity: answers calls for this title where nobody else does.
    """

    def __init__(
        self, title: str, *, room: Room | None = None, notice: Callable[[str, str, str], None]
    ) -> None:
        self.title = title
        self.entity: ApplicationEntity = ApplicationEntity(
            title, store=self._unasked, room=room, notice=notice
        )
        self._claims: list[Claim] = []
        self._last = random.randrange(1, 0x8000)

    @contextmanager
    def claim(
        self,
        calling_ae: str,
        scope: Scope,
        take: Take,
        expected: Iterable[str] = (),
        *,
        sender: str = "",
    ) -> Iterator[Claim]:
        """In the block, what belongs to a request is taken."""
        claim = Claim(self._next_id(), calling_ae, scope, take, expected, sender)
        self._claims.append(claim)
        try:
            yield claim
        finally:
            self._claims.remove(claim)

    def find(self, association: Association, received: Received) -> Claim | None:
        """Whose it is; None: it was not asked for."""
        claims = self._claims
        if not claims:
            return None
        for claim in claims:
            if claim.originated(received):
                return claim
        expecting = [claim for claim in claims if claim.expects(received)]
        if not expecting:
            header = header_of(received)
            expecting = [claim for claim in claims if claim.covers(received, header)]
        if not expecting:
            return next((claim for claim in claims if claim.follows(association)), None)
        # several nodes may have been asked for the same
        return min(
            expecting,
            key=lambda claim: (not claim.follows(association), claim.sender != association.calling_ae),
        )

    def supports(self, entity: ApplicationEntity) -> Callable[[str], bool]:
        """What presentation contexts are accepted for, where this entity takes the call: what we ask for may be anything."""
        return lambda sop_class: entity.supports(sop_class) or (bool(self._claims) and is_storage(sop_class))

    def _next_id(self) -> int:
        used = {claim.message_id for claim in self._claims}
        while True:
            self._last = self._last % 0xFFFF + 1
            if self._last not in used:
                return self._last

    async def _unasked(self, association: Association, received: Received) -> Answer:
        uid = received.command.affected_sop_instance or "an instance"
        self.entity.notice("ended", association.peer, f"{uid} was sent here, and nobody had asked for it")
        return Answer(NOT_ASKED_FOR, "nobody here has asked for this")


def header_of(received: Received) -> Header | None:
    """The header of what came; None where it cannot be read."""
    if received.payload is None:
        return None
    try:
        return received.instance().header
    except DatasetError:
        return None
