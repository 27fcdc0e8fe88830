"""What a scripted SCP does: steps, and scripts that say which step is whose turn.

A *reply* is what is done about one thing that came:

- a step, such as `Answer(0xA700)`;  a number is short for `Answer(number)`
- a tuple: several replies, one after the other
- a function that is called with the `Exchange`, may be async, and returns a reply; None: it has done all itself

A *script* is one reply, for every time, or a list of replies, one for each time, after which the ordinary one follows.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
from msgspec import Struct
from msgspec.structs import replace

from dcmflow.protocol.command import CommandSet, response
from dcmflow.protocol.pdu import ReleaseReply, ReleaseRequest
from dcmflow.testing.peer_channel import Channel, Fault
from dcmflow.testing.peer_dataset import decoded, encoded
from dcmflow.testing.peer_record import Seen

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from dcmflow.testing.peer_scp import ScriptedScp


class Exchange:
    """One thing that came, and the means to do something about it.

    Attributes:
        peer: the scripted SCP.
        channel: the association.
        seen: what came.
    """

    def __init__(self, peer: ScriptedScp, channel: Channel, seen: Seen, ended: anyio.CancelScope) -> None:
        self.peer: ScriptedScp = peer
        self.channel: Channel = channel
        self.seen: Seen = seen
        self._ended = ended

    @property
    def request(self) -> CommandSet:
        """The command set of the request. Raises LookupError when no message came."""
        if self.seen.command is None:
            raise LookupError(
                f"{self.seen.what} has no command set; a step for DIMSE messages was given for it"
            )
        return self.seen.command

    @property
    def cancelled(self) -> bool:
        """The peer has sent a C-CANCEL for this request."""
        return self.request.message_id in self.channel.cancelled

    def dataset(self) -> Dataset:
        """The data set of the request, or an empty one."""
        return decoded(self.seen.data or b"", self.seen.transfer_syntax)

    async def run(self, reply: Reply) -> None:
        """Does what a reply says."""
        while not isinstance(reply, Step | tuple | None):
            if isinstance(reply, int):
                reply = Answer(reply)
                continue
            reply = reply(self)
            if inspect.isawaitable(reply):
                reply = await reply
        if isinstance(reply, tuple):
            for each in reply:
                await self.run(each)
        elif reply is not None:
            await reply.run(self)

    def hang_up(self, *, reset: bool = False) -> None:
        """Closes the connection: everything on it ends at its next `await`."""
        self.channel.wire.reset_on_close = reset
        self._ended.cancel()


class Step(Struct, frozen=True):
    """One thing that a script does. Your own has a `run`, too."""

    async def run(self, exchange: Exchange) -> None:
        """Does it."""
        raise NotImplementedError


Reply = Step | int | tuple["Reply", ...] | Callable[[Exchange], Any] | None
Script = Reply | list[Reply]


class Turns:
    """Gives the replies of a script in turn, then the ordinary one."""

    def __init__(self, script: Script, ordinary: Reply) -> None:
        self._waiting = deque(script if isinstance(script, list) else ())
        self._rest = ordinary if isinstance(script, list) else script

    def next(self) -> Reply:
        """The reply whose turn it is."""
        return self._waiting.popleft() if self._waiting else self._rest


class Answer(Step, frozen=True):
    """A response to the request.

    Attributes:
        status: (0000,0900).
        comment: error comment (0000,0902).
        data: a data set, or encoded bytes.
        fields: fields of the `CommandSet` that get other values: `{"message_id_responded": 7, "remaining": 3}`.
        context_id: another presentation context than that of the request.
        times: how often it is sent.
        largest: the longest variable field of a PDU; None: what the peer takes.
        joined: command and data set share a PDU.
        drip: so many bytes at a time.
        fault: changes the bytes, see `peer_fault`.
    """

    status: int = 0
    comment: str | None = None
    data: Any = None
    fields: Mapping[str, Any] = {}
    context_id: int | None = None
    times: int = 1
    largest: int | None = None
    joined: bool = False
    drip: int = 0
    fault: Fault | None = None

    async def run(self, exchange: Exchange) -> None:
        seen = exchange.seen
        data = self.data if self.data is None else encoded(self.data, seen.transfer_syntax)
        command = response(
            exchange.request, self.status, has_data=data is not None, error_comment=self.comment
        )
        for _ in range(self.times):
            await exchange.channel.send_message(
                seen.context_id if self.context_id is None else self.context_id,
                replace(command, **self.fields),
                data,
                largest=self.largest,
                joined=self.joined,
                drip=self.drip,
                fault=self.fault,
            )


class Silence(Step, frozen=True):
    """Nothing is answered."""

    async def run(self, exchange: Exchange) -> None:
        await anyio.lowlevel.checkpoint()


class Wait(Step, frozen=True):
    """Waits, while what comes is still read.

    Attributes:
        until: seconds, an event, or the name of what has to come on this association: `"C-CANCEL-RQ"`.
    """

    until: Any

    async def run(self, exchange: Exchange) -> None:
        if isinstance(self.until, str):
            await exchange.peer.received.wait(self.until, association=exchange.channel.number)
        elif isinstance(self.until, int | float):
            await anyio.sleep(self.until)
        else:
            await self.until.wait()


class Later(Step, frozen=True):
    """Does something when the next request has been answered, or after a release, with this request at hand.

    Attributes:
        reply: what is done then.
        after: `"request"` or `"release"`.
    """

    reply: Any
    after: str = "request"

    async def run(self, exchange: Exchange) -> None:
        async def run() -> None:
            await exchange.run(self.reply)

        exchange.channel.postponed.append((self.after, run))


class Raw(Step, frozen=True):
    """Sends bytes as they are; `drip`: so many at a time."""

    data: bytes
    drip: int = 0

    async def run(self, exchange: Exchange) -> None:
        await exchange.channel.send(self.data, drip=self.drip)


class AbortNow(Step, frozen=True):
    """Sends an A-ABORT and answers nothing more on this association (PS3.8 9.3.8).

    Attributes:
        close: close at once, not after the peer: data on its way may make that a reset.
    """

    source: int = 0
    reason: int = 0
    close: bool = False

    async def run(self, exchange: Exchange) -> None:
        exchange.channel.over = True
        await exchange.channel.abort(self.source, self.reason)
        if self.close:
            await CloseNow().run(exchange)


class CloseNow(Step, frozen=True):
    """Closes the TCP connection without a word; with a reset (RST) if you like."""

    reset: bool = False

    async def run(self, exchange: Exchange) -> None:
        exchange.hang_up(reset=self.reset)
        await anyio.lowlevel.checkpoint()


class Release(Step, frozen=True):
    """Agrees to a release (PS3.8 9.3.7)."""

    async def run(self, exchange: Exchange) -> None:
        await exchange.channel.send(ReleaseReply())


class Collide(Step, frozen=True):
    """Asks for release itself, as if it had not seen that the peer did: a release collision (PS3.8 9.2, Sta10)."""

    async def run(self, exchange: Exchange) -> None:
        await exchange.channel.send(ReleaseRequest())
        await exchange.peer.received.wait("A-RELEASE-RP", association=exchange.channel.number)
        await exchange.channel.send(ReleaseReply())
