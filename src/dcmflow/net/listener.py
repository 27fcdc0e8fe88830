"""One port, several application entities: takes connections, lets the called one answer, and serves each association in a task."""

from __future__ import annotations

import errno
import math
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from typing import Final, final

import anyio
from anyio.abc import TaskGroup, TaskStatus

from dcmflow.errors import NetworkError, RemoteProtocolError, StageError
from dcmflow.net import services
from dcmflow.net.association import Association
from dcmflow.net.causes import cause_of
from dcmflow.net.crew import Crew
from dcmflow.net.desk import Desk
from dcmflow.net.entity import ANYONE, CONGESTED, CONTEXT_NAME_NOT_SUPPORTED, ApplicationEntity, choose
from dcmflow.net.farewell import linger
from dcmflow.net.node import Timeouts, Tls, host_port
from dcmflow.net.sockets import bound, cannot_listen
from dcmflow.net.transport import Transport
from dcmflow.net.watch import Watch
from dcmflow.protocol.connection import Connection
from dcmflow.protocol.items import APPLICATION_CONTEXT
from dcmflow.protocol.negotiation import agreed, answer
from dcmflow.protocol.pdu import AssociateReject, AssociateRequest

WAITING: Final = 256  # connections that have not associated yet
SELDOM: Final = 60.0  # seconds between notices of what anybody can bring about as often as he likes
AT_ONCE: Final = 64  # connections that are taken before others get a turn

_SCARCE: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_LOST: Final = frozenset(  # errors of the one connection that Linux reports in accept(2)
    {
        errno.ECONNABORTED,
        errno.ENETDOWN,
        errno.EPROTO,
        errno.ENOPROTOOPT,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.EOPNOTSUPP,
        errno.ENETUNREACH,
        errno.EPERM,
    }
)


@final
class Listener:
    """Listens on one port for the entities it hosts.

    Args:
        host: the address to listen on; `0.0.0.0` is all of IPv4, `::` all of IPv6.
        port: 0: any free one, see `port` once it listens.
        tls: a context of the accepting side; None: plain.
        timeouts: of connections that have not associated yet; None: the longest `acse` of its entities.
        settings: what the context was made of, for those who share the listener.
        sockets: that listen already, in place of those of host and port.
        crew: other processes that serve the same sockets.

    Attributes:
        port: the port it listens on.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        timeouts: Timeouts | None = None,
        settings: Tls | None = None,
        sockets: Sequence[socket.socket] = (),
        crew: Crew | None = None,
    ) -> None:
        self.address = host
        self.port: int = port
        self.settings = settings
        self._tls = tls
        self._timeouts = timeouts
        self._sockets = sockets
        self._crew = crew
        self._entities: list[ApplicationEntity] = []
        self._desks: dict[str, Desk] = {}
        self._left: list[ApplicationEntity] = []  # were hosted, and are known as long as the port is open
        self._told: dict[str, float] = {}  # when something was said that is not said each time
        self._waiting = 0
        self._draining = False
        self._open = anyio.Event()

    def open(self) -> None:
        """Begin to take connections: all entities that are to be there from the start are. Until then they queue."""
        self._open.set()

    @contextmanager
    def host(self, entity: ApplicationEntity) -> Iterator[None]:
        """Answer calls for this entity.

        Raises:
            ConfigError: a caller could mean this one or one that is hosted already.
        """
        for other in self._entities:
            entity.must_differ_from(other, self.port)
        self._entities.append(entity)
        self._left = [left for left in self._left if not entity.collides(left)]
        try:
            yield
        finally:
            self._entities.remove(entity)
            self._left.append(entity)

    def desk(self, title: str, make: Callable[[], Desk]) -> Desk:
        """Who knows what others were asked to send to this title; made by the first one who asks."""
        if title not in self._desks:
            self._desks[title] = make()
        return self._desks[title]

    async def serve(self, *, task_status: TaskStatus[int] = anyio.TASK_STATUS_IGNORED) -> None:
        """Listen until cancelled; the status is the port.

        Raises:
            ConfigError: the port cannot be had.
        """
        async with Watch() as watch:
            listening = await self._bind()
            try:
                with self._crew.serving() if self._crew is not None else nullcontext():
                    async with anyio.create_task_group() as tasks:
                        for sock in listening:
                            tasks.start_soon(self._accept, sock, watch)
                        task_status.started(self.port)
            finally:
                for sock in listening:
                    sock.close()

    async def drain(self, grace: float) -> None:
        """Reject new associations as transient, and wait up to `grace` seconds for those there are."""
        self._draining = True
        for entity in (*self._entities, *(desk.entity for desk in self._desks.values())):
            services.drain(entity)
        with anyio.move_on_after(grace):
            for entity in (*self._entities, *(desk.entity for desk in self._desks.values())):
                await entity.empty()

    async def _bind(self) -> Sequence[socket.socket]:
        if not self._sockets:
            try:
                found = await anyio.getaddrinfo(
                    self.address, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
                )
            except OSError as error:
                raise cannot_listen(self.address, self.port, error) from error
            self._sockets = bound(self.address, self.port, found)
        self.port = self._sockets[-1].getsockname()[1]
        return self._sockets

    async def _accept(self, listening: socket.socket, watch: Watch) -> None:
        await self._open.wait()
        crew = self._crew
        if crew is not None:
            await crew.begun.wait()
        async with anyio.create_task_group() as tasks:
            while True:
                await anyio.wait_readable(listening)
                if crew is None or await crew.turn(listening):
                    await self._take(listening, watch, tasks)

    async def _take(self, listening: socket.socket, watch: Watch, tasks: TaskGroup) -> None:
        """Take the connections that wait; one where another process may want the next one."""
        for _ in range(AT_ONCE if self._crew is None else 1):
            try:
                connected, _ = listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _LOST:
                    continue
                if error.errno not in _SCARCE:
                    raise
                await anyio.sleep(0.1)
                return
            connected.setblocking(False)
            if self._waiting >= WAITING:
                connected.close()
                self._say_now_and_then(
                    "rejected",
                    "somebody",
                    f"{WAITING} connections to port {self.port} have not asked for an association yet; further ones"
                    " are closed",
                )
                continue
            self._waiting += 1
            if self._crew is not None:
                self._crew.connected()
            tasks.start_soon(self._connected, connected, watch)

    async def _connected(self, connected: socket.socket, watch: Watch) -> None:
        transport = Transport(connected)
        waiting = True
        established = None
        try:
            transport.deadline = anyio.current_time() + self._patience()
            watch.add(transport)
            established = await self._establish(transport, watch)
            self._waiting -= 1
            waiting = False
            if established is not None:
                await services.serve(*established)
        except (NetworkError, RemoteProtocolError, OSError):
            pass  # whoever that was: there is no association to speak of
        except StageError:
            raise
        except Exception as error:  # a defect costs this connection, and not the others
            peer, entity = (
                (established[0].peer, established[1])
                if established
                else (host_port(*transport.address), None)
            )
            self._say("failed", peer, _words(error), entity)
        finally:
            if waiting:
                self._waiting -= 1
            watch.remove(transport)
            transport.close()
            if self._crew is not None:
                self._crew.disconnected()

    async def _establish(
        self, transport: Transport, watch: Watch
    ) -> tuple[Association, ApplicationEntity] | None:
        """Shake hands and answer the association request; None: there will be none."""
        if self._tls is not None:
            try:
                await transport.start_tls(self._tls, server_name=None, server_side=True)
            except ssl.SSLError as error:
                what = f"no TLS on port {self.port}: {cause_of(error).what}"
                self._say_now_and_then("ended", host_port(*transport.address), what)
                return None
        connection = Connection("acceptor")
        request = await self._request(transport, connection)
        if request is None:
            return None
        host = transport.address[0]
        peer = f"{request.calling_ae}@{host_port(*transport.address)}"
        entity = self._choose(request, host)
        if isinstance(entity, AssociateReject):
            self._tell(request, peer, host, entity)
            await transport.write(connection.send(entity))
            await linger(connection, transport)
            return None
        association = None
        try:
            connection.maximum_length = entity.max_pdu
            desk = self._desks.get(request.called_ae)
            accept = answer(
                request,
                supports=entity.supports if desk is None else desk.supports(entity),
                transfer_syntaxes=entity.transfer_syntaxes or None,
                maximum_length=entity.max_pdu,
            )
            association = Association(
                connection,
                transport,
                watch,
                peer=peer,
                timeouts=entity.timeouts,
                calling_ae=request.calling_ae,
                called_ae=request.called_ae,
            )
            association.agree(agreed(request, accept))
            association.desk = desk
            entity.enter(association)
            await transport.write(connection.send(accept))
        except BaseException:
            entity.leave(association)
            raise
        transport.deadline = math.inf
        return association, entity

    def _choose(self, request: AssociateRequest, host: str) -> ApplicationEntity | AssociateReject:
        """Who answers, with a place that is taken for the association; or the rejection."""
        if request.application_context not in (APPLICATION_CONTEXT, ""):
            return CONTEXT_NAME_NOT_SUPPORTED
        entity = choose(self._entities, request.called_ae, request.calling_ae, host)
        if isinstance(entity, AssociateReject) and request.called_ae in self._desks:
            entity = self._desks[request.called_ae].entity
        if isinstance(entity, AssociateReject):
            left = choose(self._left, request.called_ae, request.calling_ae, host)
            return entity if isinstance(left, AssociateReject) else CONGESTED
        return CONGESTED if self._draining else entity.reserve() or entity

    async def _request(self, transport: Transport, connection: Connection) -> AssociateRequest | None:
        """The association request. The time for it is over when the time for the first byte is: it has been set already."""
        try:
            while True:
                event = connection.next_event()
                if isinstance(event, AssociateRequest):
                    return event
                if event is not None:
                    return None
                count = await transport.read_into(connection.receive_buffer())
                if not count and transport.expired:
                    return None
                connection.received(count)
        except RemoteProtocolError:
            with suppress(OSError):
                await transport.write(connection.to_write())
            await linger(connection, transport)
            return None

    def _patience(self) -> float:
        """Seconds for a caller to ask for an association: who is meant is known only then."""
        if self._timeouts is not None:
            return float(self._timeouts.acse)
        return max([float(entity.timeouts.acse) for entity in self._entities] or [float(Timeouts().acse)])

    def _say(self, kind: str, peer: str, text: str, entity: ApplicationEntity | None = None) -> None:
        """A notice to this entity, or to the first one where none is meant."""
        for told in [entity] if entity is not None else self._entities[:1]:
            told.notice(kind, peer, text)

    def _say_now_and_then(self, kind: str, peer: str, text: str) -> None:
        now = anyio.current_time()
        if self._told.get(kind, -math.inf) + SELDOM <= now:
            self._told[kind] = now
            self._say(kind, peer, text)

    def _tell(self, request: AssociateRequest, peer: str, host: str, reject: AssociateReject) -> None:
        """Say to one of the entities, that which was meant if any was, that somebody was rejected."""
        entities = self._entities
        meant = choose(entities, request.called_ae, request.calling_ae, host)
        if isinstance(meant, AssociateReject):
            titled = [entity for entity in entities if entity.title in (request.called_ae, ANYONE)]
            entities = titled or entities
            if not entities:
                return
            meant = entities[0]
        meant.notice("rejected", peer, _rejection(request, reject))


def _words(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


def _rejection(request: AssociateRequest, reject: AssociateReject) -> str:
    from dcmflow.net import reasons

    return f"{request.calling_ae} called {request.called_ae}: {reasons.rejection(reject)}"


@asynccontextmanager
async def listening(
    host: str,
    port: int,
    *,
    tls: ssl.SSLContext | None = None,
    timeouts: Timeouts | None = None,
    settings: Tls | None = None,
    sockets: Sequence[socket.socket] = (),
    crew: Crew | None = None,
) -> AsyncIterator[Listener]:
    """A listener that serves while the block runs. Arguments as of `Listener`."""
    listener = Listener(host, port, tls=tls, timeouts=timeouts, settings=settings, sockets=sockets, crew=crew)
    async with anyio.create_task_group() as tasks:
        await tasks.start(lambda *, task_status: listener.serve(task_status=task_status))
        yield listener
        tasks.cancel_scope.cancel()
