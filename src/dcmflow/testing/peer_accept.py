"""How a scripted SCP answers an association request."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from dcmflow.protocol.items import AnsweredContext, ContextResult, ProposedContext, UserInformation
from dcmflow.protocol.pdu import AssociateAccept, AssociateReject, AssociateRequest
from dcmflow.testing.peer_channel import Context, Fault
from dcmflow.testing.peer_script import Exchange, Step

IMPLEMENTATION = "2.25.92653589793238462643383279502884197169"
IMPLEMENTATION_NAME = "DCMFLOW_SCRIPTED"

Refusals = Mapping[str, int] | Callable[[ProposedContext], int | None]


class Accept(Step, frozen=True):
    """Accepts an association (PS3.8 9.3.3): every context in the first transfer syntax that is offered, unless told otherwise.

    Attributes:
        refuse: results (1 to 4) by abstract syntax, or a function that gives one, or None, for a proposed context.
        transfer_syntax: one for all contexts, offered or not, or a function that gives one for a proposed context.
        extra: answers to contexts that were not proposed.
        maximum_length: the longest P-DATA-TF we take, in bytes; 0: any. A peer that sends a longer one is wrong.
        fields: fields of the `AssociateAccept` that get other values.
        drip: so many bytes at a time.
        fault: changes the bytes, see `peer_fault`.
    """

    refuse: Refusals = field(default_factory=dict)
    transfer_syntax: str | Callable[[ProposedContext], str] | None = None
    extra: Sequence[AnsweredContext] = ()
    maximum_length: int = 16384
    fields: Mapping[str, Any] = {}
    drip: int = 0
    fault: Fault | None = None

    async def run(self, exchange: Exchange) -> None:
        request, channel = _request(exchange), exchange.channel
        proposed = {context.id: context for context in request.contexts if context.id % 2}
        if len(proposed) != len(request.contexts):
            channel.is_wrong(f"presentation context ids {[context.id for context in request.contexts]}")
        answers = (*map(self._answer, proposed.values()), *self.extra)
        user = UserInformation(
            maximum_length=self.maximum_length,
            implementation_class_uid=IMPLEMENTATION,
            implementation_version_name=IMPLEMENTATION_NAME,
            roles=request.user.roles,
        )
        accept = replace(AssociateAccept(request.called_ae, request.calling_ae, answers, user), **self.fields)
        channel.contexts |= {
            answer.id: Context(
                proposed[answer.id].abstract_syntax if answer.id in proposed else "", answer.transfer_syntax
            )
            for answer in accept.contexts
            if answer.result == ContextResult.ACCEPTANCE
        }
        channel.peer_ae = request.calling_ae
        channel.maximum, channel.largest = accept.user.maximum_length, request.user.maximum_length
        await channel.send(accept, fault=self.fault, drip=self.drip)

    def _answer(self, context: ProposedContext) -> AnsweredContext:
        result = self.refuse(context) if callable(self.refuse) else self.refuse.get(context.abstract_syntax)
        if callable(self.transfer_syntax):
            syntax = self.transfer_syntax(context)
        else:
            syntax = self.transfer_syntax or next(iter(context.transfer_syntaxes), "")
        return AnsweredContext(context.id, result or 0, syntax)


class Reject(Step, frozen=True):
    """Rejects an association (PS3.8 9.3.4, table 9-21). Closing is left to the peer."""

    result: int = 1
    source: int = 1
    reason: int = 1

    async def run(self, exchange: Exchange) -> None:
        exchange.channel.over = True
        await exchange.channel.send(AssociateReject(self.result, self.source, self.reason))


class Offers(Struct, frozen=True):
    """Chooses transfer syntaxes: `Accept(transfer_syntax=Offers("1.2.840.10008.1.2"))`.

    Attributes:
        preferred: is taken where it is offered, else the first that is.
    """

    preferred: str

    def __call__(self, context: ProposedContext) -> str:
        return self.preferred if self.preferred in context.transfer_syntaxes else context.transfer_syntaxes[0]


def _request(exchange: Exchange) -> AssociateRequest:
    if not isinstance(exchange.seen.pdu, AssociateRequest):
        raise LookupError(f"{exchange.seen.what} cannot be accepted; Accept() answers an A-ASSOCIATE-RQ")
    return exchange.seen.pdu
