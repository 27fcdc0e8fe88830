"""A service class user (SCU) that does what it is told, right or wrong."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from msgspec import Struct
from msgspec.structs import replace

from dcmflow.dicom.instance import Instance
from dcmflow.protocol.command import CommandSet, c_echo_rq, c_find_rq, c_store_rq, response
from dcmflow.protocol.items import ProposedContext, UserInformation
from dcmflow.protocol.pdu import AssociateAccept, AssociateRequest, Pdu, ReleaseRequest
from dcmflow.testing.peer_accept import IMPLEMENTATION, IMPLEMENTATION_NAME
from dcmflow.testing.peer_channel import ENDS, Channel, Context, Fault
from dcmflow.testing.peer_dataset import encoded
from dcmflow.testing.peer_record import Record, Seen
from dcmflow.testing.peer_wire import Gone, Wire

VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT = "1.2.840.10008.1.2"


class Encoded(Struct, frozen=True):
    """What can be sent in place of an instance: any bytes under any name."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data: bytes


Sendable = Instance | Encoded


class ScriptedScu:
    """Connects on `async with`, and then does one thing after the other.

    Nothing happens by itself: what comes is read when it is asked for. What came back is in `received`, type and length of
    each PDU in `channel.pdus`.

    Args:
        node: `"AE@host:port"`, or `"host:port"`.
        calling_ae: our AE title.
        tls: speak TLS.  server_name: what its certificate has to say.
        received: note what comes back there, with others.
    """

    def __init__(
        self,
        node: str,
        *,
        calling_ae: str = "SCRIPTED",
        tls: ssl.SSLContext | None = None,
        server_name: str = "localhost",
        received: Record | None = None,
    ) -> None:
        ae, _, address = node.rpartition("@")
        host, _, port = address.rpartition(":")
        self.called_ae: str = ae or "ANY-SCP"
        self.calling_ae: str = calling_ae
        self._address = (host.strip("[]"), int(port))
        self._tls, self._server_name = tls, server_name
        self.received: Record = Record() if received is None else received
        self.channel: Channel

    async def __aenter__(self) -> Self:
        wire = await Wire.connect(*self._address)
        try:
            if self._tls is not None:
                await wire.start_tls(self._tls, self._server_name)
        except BaseException:
            wire.close()
            raise
        self.channel = Channel(wire, self.received)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def request(
        self,
        *contexts: tuple[str, ...],
        instances: Iterable[Sendable] = (),
        maximum_length: int = 16384,
        **fields: Any,
    ) -> AssociateRequest:
        """An association request to change and send.

        Args:
            contexts: abstract syntax and transfer syntaxes of each; without any, and without instances: Verification.
            instances: propose a context for each SOP class and transfer syntax of these.
            maximum_length: the longest P-DATA-TF we take, in bytes; 0: any.
            fields: fields of the `AssociateRequest` that get other values.
        """
        pairs: list[tuple[str, ...]] = [(made.sop_class_uid, made.transfer_syntax_uid) for made in instances]
        wanted = list(dict.fromkeys([*contexts, *pairs])) or [(VERIFICATION, IMPLICIT)]
        proposed = tuple(
            ProposedContext(2 * number + 1, abstract, tuple(syntaxes))
            for number, (abstract, *syntaxes) in enumerate(wanted)
        )
        user = UserInformation(
            maximum_length=maximum_length,
            implementation_class_uid=IMPLEMENTATION,
            implementation_version_name=IMPLEMENTATION_NAME,
        )
        return replace(AssociateRequest(self.called_ae, self.calling_ae, proposed, user), **fields)

    async def associate(
        self,
        *contexts: tuple[str, ...],
        request: AssociateRequest | None = None,
        fault: Fault | None = None,
        drip: int = 0,
        **options: Any,
    ) -> Seen:
        """Asks for an association and reads what comes back: an acceptance, a rejection, an abort, or an end.

        Args:
            contexts, options: see `request`.
            request: this one.
            fault: changes its bytes, see `peer_fault`.
            drip: so many bytes at a time.
        """
        made = self.request(*contexts, **options) if request is None else request
        await self.send(made, fault=fault, drip=drip)
        return await self.accepted(made)

    async def accepted(self, request: AssociateRequest) -> Seen:
        """Reads the answer to a request that has been sent, and goes by it."""
        seen = await self.receive()
        if isinstance(seen.pdu, AssociateAccept):
            abstract = {context.id: context.abstract_syntax for context in request.contexts}
            for answer in seen.pdu.contexts:
                if not answer.result:
                    context = Context(abstract.get(answer.id, ""), answer.transfer_syntax)
                    self.channel.contexts[answer.id] = context
            self.channel.maximum, self.channel.largest = (
                request.user.maximum_length,
                seen.pdu.user.maximum_length,
            )
        return seen

    async def send(self, *what: bytes | Pdu, fault: Fault | None = None, drip: int = 0) -> bool:
        """Sends bytes as they are, or PDUs; False: the peer had gone before all was sent."""
        try:
            for each in what:
                await self.channel.send(each, fault=fault, drip=drip)
        except Gone:
            return False
        return True

    async def message(
        self, context_id: int, command: CommandSet, data: bytes | None = None, **how: Any
    ) -> bool:
        """Sends a DIMSE message; `how`: see `Channel.send_message`. False: the peer had gone before all was sent."""
        try:
            await self.channel.send_message(context_id, command, data, **how)
        except Gone:
            return False
        return True

    async def receive(self) -> Seen:
        """The next thing that comes back."""
        return await self.channel.next()

    async def rest(self) -> list[Seen]:
        """Reads until the peer closes; returns all that came."""
        found = [await self.receive()]
        while found[-1].what not in ("close", "reset"):
            found.append(await self.receive())
        return found

    async def run(self, step: Callable[[ScriptedScu], Awaitable[object]]) -> None:
        """Does one thing from a table, such as `ATTACKS`."""
        await step(self)

    async def echo(self, **how: Any) -> Seen:
        """A C-ECHO; the response, or how it ended."""
        return await self.ask(self.context_id(VERIFICATION), c_echo_rq(self.message_id()), **how)

    async def store(
        self,
        instance: Sendable,
        *,
        context_id: int | None = None,
        fields: dict[str, Any] | None = None,
        originator: tuple[str, int] | None = None,
        **how: Any,
    ) -> Seen:
        """A C-STORE; the response, or how it ended.

        Args:
            instance: what is sent, on a context for its SOP class and transfer syntax, else one for its SOP class.
            context_id: this context.
            fields: fields of the `CommandSet` that get other values.
            originator: AE title and message id of the C-MOVE it belongs to.
            how: see `Channel.send_message`.
        """
        await self.send_store(instance, context_id=context_id, fields=fields, originator=originator, **how)
        return await self.receive()

    async def send_store(
        self,
        instance: Sendable,
        *,
        context_id: int | None = None,
        fields: dict[str, Any] | None = None,
        originator: tuple[str, int] | None = None,
        **how: Any,
    ) -> bool:
        """As `store`, and does not wait for the response."""
        if context_id is None:
            context_id = self.context_id(instance.sop_class_uid, instance.transfer_syntax_uid)
        command = store_request(self.message_id(), instance, originator)
        return await self.message(context_id, replace(command, **(fields or {})), bytes_of(instance), **how)

    async def find(self, sop_class: str, identifier: Any, **how: Any) -> list[Seen]:
        """A C-FIND; its responses, or how it ended."""
        number = self.context_id(sop_class)
        syntax = self.channel.contexts[number].transfer_syntax
        command = replace(c_find_rq(self.message_id(), sop_class), has_data=True)
        found = [await self.ask(number, command, encoded(identifier, syntax), **how)]
        while found[-1].status in (0xFF00, 0xFF01):
            found.append(await self.receive())
        return found

    async def ask(self, context_id: int, command: CommandSet, data: bytes | None = None, **how: Any) -> Seen:
        """Sends a DIMSE message and reads the next thing that comes back."""
        await self.message(context_id, command, data, **how)
        return await self.receive()

    async def answer(self, request: Seen, status: int = 0) -> bool:
        """Answers a request that came, such as the C-STORE of a C-GET."""
        if request.command is None:
            raise LookupError(f"{request.what} is no request")
        return await self.message(request.context_id, response(request.command, status))

    async def release(self) -> list[Seen]:
        """Asks for release and reads what comes back until the association is over."""
        await self.send(ReleaseRequest())
        found = [await self.receive()]
        while found[-1].what not in ENDS | {"A-RELEASE-RP"}:
            found.append(await self.receive())
        self.close()
        return found

    async def abort(self, source: int = 0, reason: int = 0) -> None:
        """Sends an A-ABORT and closes."""
        with suppress(Gone):
            await self.channel.abort(source, reason)
        self.close()

    def close(self, *, reset: bool = False) -> None:
        """Closes the TCP connection without a word; with a reset (RST) if you like."""
        self.channel.wire.reset_on_close = reset
        self.channel.wire.close()

    def message_id(self) -> int:
        """A new one."""
        return next(self.channel.message_ids)

    def context_id(self, sop_class: str, transfer_syntax: str | None = None) -> int:
        """An accepted context for a SOP class, with this transfer syntax if there is one. Raises LookupError."""
        contexts = self.channel.contexts
        fitting = [number for number, context in contexts.items() if context.abstract_syntax == sop_class]
        if not fitting:
            raise LookupError(f"no context was accepted for {sop_class}; accepted are {contexts}")
        return min(fitting, key=lambda number: contexts[number].transfer_syntax != transfer_syntax)


def store_request(message_id: int, instance: Sendable, originator: tuple[str, int] | None) -> CommandSet:
    """The C-STORE-RQ of an instance."""
    ae, number = originator or (None, None)
    return c_store_rq(
        message_id,
        instance.sop_class_uid,
        instance.sop_instance_uid,
        move_originator_ae=ae,
        move_originator_id=number,
    )


def bytes_of(instance: Sendable) -> bytes:
    """Its encoded data set."""
    return instance.data if isinstance(instance, Encoded) else b"".join(instance.payload.segments())
