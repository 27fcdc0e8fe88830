"""What the two ends of an association agree on, decided from their PDUs alone (PS3.8 7.1.1, PS3.7 D.3).

The requestor proposes presentation contexts: each an abstract syntax and the transfer syntaxes that it may come in. The acceptor
answers every one of them, with one of its transfer syntaxes or with the reason why not: `answer`. From then on both hold to what
was proposed *and* accepted: `agreed`, the same function for either end. An answer that fits no proposal counts for nothing;
`breaches` says what is wrong with it.

Roles are negotiated by SOP Class, not by context (PS3.7 D.3.3.4). Without a role item in the request and in the acceptance the
requestor is SCU and the acceptor SCP; with both, the requestor has the roles that it proposed and was granted.

No SOP Class and no transfer syntax is known by name here: private ones are as good as any other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TypeVar

from msgspec import Struct

from dcmflow.protocol.items import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    AnsweredContext,
    ContextResult,
    ProposedContext,
    Role,
    UserInformation,
)
from dcmflow.protocol.pdu import AssociateAccept, AssociateRequest

_IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"

_Context = TypeVar("_Context", ProposedContext, AnsweredContext)


class Acceptance(Struct, frozen=True):
    """What an acceptor takes, as plain values.

    Attributes:
        abstract_syntaxes: SOP Class UIDs; None: any.
        transfer_syntaxes: transfer syntax UIDs; None: any, the first one offered.
    """

    abstract_syntaxes: frozenset[str] | None = None
    transfer_syntaxes: tuple[str, ...] | None = None

    def supports(self, abstract_syntax: str) -> bool:
        """Whether contexts of this abstract syntax are accepted; to be given to `answer`."""
        return self.abstract_syntaxes is None or abstract_syntax in self.abstract_syntaxes


class AcceptedContext(Struct, frozen=True):
    """A presentation context that both ends hold to.

    Attributes:
        id: odd, 1 to 255.
        as_scu, as_scp: the roles of the association's requestor; at least one. Those of the acceptor are the other way round.
    """

    id: int
    abstract_syntax: str
    transfer_syntax: str
    as_scu: bool = True
    as_scp: bool = False


def answer(
    request: AssociateRequest,
    *,
    supports: Callable[[str], bool],
    transfer_syntaxes: Collection[str] | None,
    maximum_length: int,
    roles: Callable[[Role], Role | None] | None = None,
    prefer: Iterable[str] = (),
) -> AssociateAccept:
    """The A-ASSOCIATE-AC to an A-ASSOCIATE-RQ (PS3.8 9.3.3; results of table 9-18).

    A context is refused with result 3 when its abstract syntax is not supported, else with 4 when no transfer syntax that it offers
    is, else with 1 when the roles leave the requestor neither SCU nor SCP; else it is accepted. Different contexts under one id are
    refused with 2, once. An id that is even or 0 has no valid answer and gets none.

    The acceptance may be one of no context at all; whether to reject the association instead is for the caller to say.
    Asynchronous operations, extended negotiation and user identity are left unanswered: they are not taken up (PS3.7 D.3.3).

    Args:
        request: as it was received.
        supports: whether an abstract syntax (never an empty one) is supported.
        transfer_syntaxes: the supported ones in any order; None: all, known or not.
        maximum_length: the largest P-DATA-TF variable field that this side takes, in bytes; 0: any.
        roles: what is granted of the roles that the request proposes for a SOP Class; None: no item, hence the default roles.
            What was not proposed is not granted. Without `roles` no item is answered.
        prefer: transfer syntaxes to take first where they are offered and supported, the best at the front. After these the
            order of the offer decides, though it has no meaning by PS3.8.
    """
    supported = None if transfer_syntaxes is None else frozenset(transfer_syntaxes)
    preferred = tuple(prefer)
    granted: dict[str, Role] = {}
    if roles is not None:
        for sop_class, asked in _by_sop_class(request.user.roles).items():
            if (role := roles(asked)) is not None:
                granted[sop_class] = Role(sop_class, *_common(asked, role))

    contexts: list[AnsweredContext] = []
    used: set[str] = set()
    for id, context in _by_id(request.contexts).items():
        if not _valid(id):
            continue
        if context is None:
            contexts.append(AnsweredContext(id, ContextResult.NO_REASON, _IMPLICIT_VR_LITTLE_ENDIAN))
            continue
        sop_class = context.abstract_syntax
        chosen = _choose(context.transfer_syntaxes, supported, preferred)
        role = granted.get(sop_class)
        if not sop_class or not supports(sop_class):
            result = ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED
        elif chosen is None:
            result = ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED
        elif role is not None and not (role.scu or role.scp):
            result = ContextResult.USER_REJECTION
        else:
            result = ContextResult.ACCEPTANCE
            used.add(sop_class)
        contexts.append(AnsweredContext(id, result, chosen or _IMPLICIT_VR_LITTLE_ENDIAN))

    return AssociateAccept(
        called_ae=request.called_ae,
        calling_ae=request.calling_ae,
        contexts=tuple(contexts),
        user=UserInformation(
            maximum_length=maximum_length,
            implementation_class_uid=IMPLEMENTATION_CLASS_UID,
            implementation_version_name=IMPLEMENTATION_VERSION_NAME,
            roles=tuple(role for sop_class, role in granted.items() if sop_class in used),
        ),
    )


def agreed(request: AssociateRequest, accept: AssociateAccept) -> dict[int, AcceptedContext]:
    """The presentation contexts that may be used after an acceptance, by id; for either end.

    Left out is what was refused or not answered, what leaves the requestor without a role, and every acceptance that fits no
    proposal: an unknown id, a transfer syntax that was not offered, several different answers to one id.
    """
    return {
        verdict.id: verdict for verdict in _verdicts(request, accept) if isinstance(verdict, AcceptedContext)
    }


def refused(request: AssociateRequest, accept: AssociateAccept) -> dict[tuple[str, str], int]:
    """What was not accepted, by SOP Class and transfer syntax, with the result (PS3.8 table 9-18)."""
    results = {answered.id: answered.result for answered in accept.contexts if answered.result}
    return {
        (context.abstract_syntax, syntax): results[context.id]
        for context in request.contexts
        if context.id in results
        for syntax in context.transfer_syntaxes
    }


def breaches(request: AssociateRequest, accept: AssociateAccept) -> list[str]:
    """What an acceptance holds that it must not (PS3.8 7.1.1.14, 9.3.3.2), one text each, to follow "the acceptor"."""
    return [verdict for verdict in _verdicts(request, accept) if isinstance(verdict, str)]


def _verdicts(request: AssociateRequest, accept: AssociateAccept) -> Iterator[AcceptedContext | str]:
    """Of each answer: what it comes to, or how it breaks the rules; nothing of a refusal."""
    proposed = _by_id(request.contexts)
    asked, granted = _by_sop_class(request.user.roles), _by_sop_class(accept.user.roles)
    for id, answered in _by_id(accept.contexts).items():
        if answered is None:
            yield f"gave several answers to presentation context {id}"
            continue
        if answered.result != ContextResult.ACCEPTANCE:
            continue
        context = proposed.get(id)
        if context is None or not _valid(id):
            yield f"accepted presentation context {id}, which was not properly proposed"
        elif answered.transfer_syntax not in context.transfer_syntaxes:
            yield (
                f"accepted presentation context {id} ({context.abstract_syntax}) with the transfer syntax "
                f"{answered.transfer_syntax or '(none)'}, which was not offered"
            )
        else:
            scu, scp = _common(asked.get(context.abstract_syntax), granted.get(context.abstract_syntax))
            if scu or scp:
                yield AcceptedContext(id, context.abstract_syntax, answered.transfer_syntax, scu, scp)


def _valid(id: int) -> bool:
    """Presentation context ids are odd, 1 to 255 (PS3.8 7.1.1.13)."""
    return 1 <= id <= 255 and id % 2 == 1


def _by_id(contexts: Iterable[_Context]) -> dict[int, _Context | None]:
    """Contexts by id, in their order; None where several claim one id and are not the same."""
    found: dict[int, _Context | None] = {}
    for context in contexts:
        found[context.id] = context if found.get(context.id, context) == context else None
    return found


def _by_sop_class(roles: Iterable[Role]) -> dict[str, Role]:
    """Role items by SOP Class: there is one for each (PS3.7 D.3.3.4), so the first counts."""
    found: dict[str, Role] = {}
    for role in roles:
        found.setdefault(role.sop_class, role)
    return found


def _common(asked: Role | None, granted: Role | None) -> tuple[bool, bool]:
    """The roles of the requestor as (SCU, SCP): proposed and granted; the default where either item is missing."""
    if asked is None or granted is None:
        return True, False
    return asked.scu and granted.scu, asked.scp and granted.scp


def _choose(
    offered: tuple[str, ...], supported: Collection[str] | None, preferred: tuple[str, ...]
) -> str | None:
    for uid in (*(uid for uid in preferred if uid in offered), *offered):
        if uid and (supported is None or uid in supported):
            return uid
    return None
