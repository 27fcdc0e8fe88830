"""A service class provider (SCP) that answers by a script, right or wrong.

    async with ScriptedScp(on_store=[0x0000, Answer(0xA700, "disk full"), Silence(), AbortNow()]) as peer:
        ...  # send to peer.node
    assert peer.received.whats == [...]

`peer_script` says what a script is.
"""

from __future__ import annotations

import math
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Self

import anyio
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from dcmflow.testing.peer_accept import Accept
from dcmflow.testing.peer_channel import ENDS, Channel
from dcmflow.testing.peer_record import Record, Seen
from dcmflow.testing.peer_script import AbortNow, Exchange, Release, Reply, Script, Turns
from dcmflow.testing.peer_wire import Gone, Wire

UNRECOGNIZED = 0x0211
_ACCEPT, _RELEASE, _ABORT = Accept(), Release(), AbortNow(source=2)
_UNEXPECTED = frozenset({"A-ASSOCIATE-AC", "A-ASSOCIATE-RJ"})


class ScriptedScp:
    """Listens on loopback from `async with` to its end. Each association is served by itself; the scripts are one for all.

    Leaving the block raises AssertionError if the peer under test did what the standard forbids (`received.wrong`).

    Attributes:
        node: `"AE@127.0.0.1:port"`.
        received: all that came. returned: what came back to the sub-operations of `SendTo` and `Move`.
        channels: the associations so far.
        open: how many are there now. most_open: how many there have been at once.

    Args:
        accept: script for association requests.
        on_echo, on_store, on_find, on_move, on_get: scripts for requests; success without it. on_other: for other
            requests; unrecognized operation without it.
        on_connect: script for connections, before anything is read into it.
        on_release: script for release requests. on_cancel: for C-CANCEL; it is noted without it.
        on_unreadable: script for what is no PDU or no message.
        on_data: replies by the number of a P-DATA-TF on its association, counted from 1, done before the next is read; 0: before
            anything is read.
        destinations: nodes by AE title, for C-MOVE.
        ae: our AE title; any called AE title is served.
        port: 0 takes a free one.
        tls: speak TLS.
        check: False: what is wrong is noted only.
    """

    def __init__(
        self,
        *,
        accept: Script = _ACCEPT,
        on_echo: Script = 0,
        on_store: Script = 0,
        on_find: Script = 0,
        on_move: Script = 0,
        on_get: Script = 0,
        on_other: Script = UNRECOGNIZED,
        on_connect: Script = None,
        on_release: Script = _RELEASE,
        on_cancel: Script = None,
        on_unreadable: Script = _ABORT,
        on_data: Mapping[int, Reply] | None = None,
        destinations: Mapping[str, str] | None = None,
        ae: str = "SCRIPTED",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        check: bool = True,
    ) -> None:
        self.ae: str = ae
        self.destinations: dict[str, str] = dict(destinations or {})
        self.received: Record = Record()
        self.returned: Record = Record()
        self.channels: list[Channel] = []
        self.open: int = 0
        self.most_open: int = 0
        self.on_data: dict[int, Reply] = dict(on_data or {})
        self.turns: dict[str, Turns] = {
            "connect": Turns(on_connect, None),
            "A-ASSOCIATE-RQ": Turns(accept, _ACCEPT),
            "C-ECHO-RQ": Turns(on_echo, 0),
            "C-STORE-RQ": Turns(on_store, 0),
            "C-FIND-RQ": Turns(on_find, 0),
            "C-MOVE-RQ": Turns(on_move, 0),
            "C-GET-RQ": Turns(on_get, 0),
            "C-CANCEL-RQ": Turns(on_cancel, None),
            "A-RELEASE-RQ": Turns(on_release, _RELEASE),
            "unreadable": Turns(on_unreadable, _ABORT),
        }
        self.other: Turns = Turns(on_other, UNRECOGNIZED)
        self._port, self._tls, self._check = port, tls, check

    async def __aenter__(self) -> Self:
        self._listening = socket.create_server(("127.0.0.1", self._port), backlog=128)
        self._listening.setblocking(False)
        self.port: int = self._listening.getsockname()[1]
        self.node: str = f"{self.ae}@127.0.0.1:{self.port}"
        self._tasks: TaskGroup = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._listen)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        self._tasks.cancel_scope.cancel()
        try:
            handled = await self._tasks.__aexit__(kind, error, trace)
        finally:
            self._listening.close()
        wrong = [*self.received.wrong, *self.returned.wrong]
        if error is None and self._check and wrong:
            raise AssertionError("the peer of a scripted SCP did what is forbidden:\n" + "\n".join(wrong))
        return handled

    async def _listen(self) -> None:
        while True:
            await anyio.wait_readable(self._listening)
            try:
                accepted, _ = self._listening.accept()
            except (BlockingIOError, ConnectionError):
                continue
            self._tasks.start_soon(self._serve, accepted)

    async def _serve(self, accepted: socket.socket) -> None:
        wire = Wire(accepted)
        channel = Channel(wire, self.received)
        self.channels.append(channel)
        self.open += 1
        self.most_open = max(self.open, self.most_open)
        try:
            if await self._secured(channel):
                await _Association(self, channel).run()
        finally:
            self.open -= 1
            wire.close()

    async def _secured(self, channel: Channel) -> bool:
        if self._tls is None:
            return True
        try:
            await channel.wire.start_tls(self._tls)
        except OSError as error:
            channel.saw("unreadable", data=str(error).encode())
            return False
        return True


class _Association:
    """Reads in one task and answers in another, so that a cancel or an abort is seen while an answer waits."""

    def __init__(self, peer: ScriptedScp, channel: Channel) -> None:
        self.peer, self.channel = peer, channel
        self.scope = anyio.CancelScope()
        self.associated = self.released = False
        channel.at_data = self._at_data

    async def run(self) -> None:
        sending, receiving = anyio.create_memory_object_stream[Seen](math.inf)
        with sending, receiving:
            async with anyio.create_task_group() as tasks:
                self.scope = tasks.cancel_scope
                sending.send_nowait(self.channel.saw("connect"))
                tasks.start_soon(self._answer, receiving)
                await self._read(sending)
                tasks.cancel_scope.cancel()

    async def _at_data(self, number: int) -> None:
        reply = self.peer.on_data.get(number)
        if reply is not None:
            await self._run(reply, self.channel.record[-1])

    async def _read(self, sending: MemoryObjectSendStream[Seen]) -> None:
        await self._at_data(0)
        while (seen := await self.channel.next()).what not in ENDS:
            self._examine(seen)
            sending.send_nowait(seen)
        if seen.what == "A-ABORT":
            await self.channel.next()

    async def _answer(self, receiving: MemoryObjectReceiveStream[Seen]) -> None:
        async for seen in receiving:
            if self.channel.over:
                continue
            due = self._due(seen)
            await self._run(self._reply(seen), seen)
            for postponed in due:
                await self._guarded(postponed)

    def _examine(self, seen: Seen) -> None:
        """The order of things, as far as a requestor has to keep it (PS3.8 9.2)."""
        what, wrong = seen.what, self.channel.is_wrong
        if what in _UNEXPECTED or (what == "A-ASSOCIATE-RQ" and self.associated):
            wrong(f"{what} from the requestor of an association that was asked for")
        elif what not in ("A-ASSOCIATE-RQ", "unreadable") and not self.associated:
            wrong(f"{what} where an A-ASSOCIATE-RQ is due")
        elif self.released and seen.command is not None and not seen.command.is_response:
            wrong(f"{what} after an A-RELEASE-RQ")
        self.associated |= what == "A-ASSOCIATE-RQ"
        self.released |= what == "A-RELEASE-RQ"

    def _due(self, seen: Seen) -> list[Callable[[], Awaitable[None]]]:
        """What earlier requests have put off until after this one."""
        is_request = seen.command is not None and not seen.command.is_response
        moment = "release" if seen.what == "A-RELEASE-RQ" else "request" if is_request else ""
        due = [run for after, run in self.channel.postponed if after == moment]
        self.channel.postponed = [(after, run) for after, run in self.channel.postponed if after != moment]
        return due

    def _reply(self, seen: Seen) -> Reply:
        turns = self.peer.turns.get(seen.what)
        if turns is None and (seen.command is None or seen.command.is_response):
            return None
        return (turns or self.peer.other).next()

    async def _run(self, reply: Reply, seen: Seen) -> None:
        exchange = Exchange(self.peer, self.channel, seen, self.scope)
        await self._guarded(lambda: exchange.run(reply))

    async def _guarded(self, run: Callable[[], Awaitable[None]]) -> None:
        try:
            await run()
        except Gone:  # the reading task sees it, too, and notes it
            self.channel.over = True
