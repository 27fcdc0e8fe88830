"""Presentation contexts and roles: what is answered, what both ends hold to then, and acceptors that lie."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import UID
from pynetdicom.presentation import (
    PresentationContext,
    build_context,
    negotiate_as_acceptor,
    negotiate_as_requestor,
)

from dcmflow.dicom import part10
from dcmflow.protocol import items
from dcmflow.protocol.items import AnsweredContext, ContextResult, ProposedContext, Role, UserInformation
from dcmflow.protocol.negotiation import Acceptance, AcceptedContext, agreed, answer, breaches
from dcmflow.protocol.pdu import AssociateAccept, AssociateRequest

IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
JPEG = "1.2.840.10008.1.2.4.50"
PRIVATE_SYNTAX = "1.3.6.1.4.1.32473.1.2.3"
VERIFICATION, CT, MR = "1.2.840.10008.1.1", "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
PRIVATE_CLASS = "1.3.6.1.4.1.32473.9.9"
ANY = Acceptance()


def request(*contexts: tuple[int, str, tuple[str, ...]], roles: tuple[Role, ...] = ()) -> AssociateRequest:
    return AssociateRequest(
        called_ae="ARCHIVE",
        calling_ae="MODALITY",
        contexts=tuple(ProposedContext(*context) for context in contexts),
        user=UserInformation(maximum_length=16384, roles=roles),
    )


def acceptance(*contexts: tuple[int, int, str], roles: tuple[Role, ...] = ()) -> AssociateAccept:
    return AssociateAccept(
        called_ae="ARCHIVE",
        calling_ae="MODALITY",
        contexts=tuple(AnsweredContext(*context) for context in contexts),
        user=UserInformation(maximum_length=16384, roles=roles),
    )


def answered(
    rq: AssociateRequest, takes: Acceptance = ANY, prefer: tuple[str, ...] = ()
) -> dict[int, tuple[int, str]]:
    """Result and transfer syntax by context id."""
    accept = answer(
        rq,
        supports=takes.supports,
        transfer_syntaxes=takes.transfer_syntaxes,
        maximum_length=0,
        prefer=prefer,
    )
    assert len({context.id for context in accept.contexts}) == len(accept.contexts)
    return {context.id: (context.result, context.transfer_syntax) for context in accept.contexts}


# --- answering ---------------------------------------------------------------------------------------------------------


def test_everything_is_accepted_as_offered_unless_told_otherwise() -> None:
    rq = request(
        (1, CT, (JPEG, EXPLICIT)), (3, PRIVATE_CLASS, (PRIVATE_SYNTAX,)), (5, VERIFICATION, (IMPLICIT,))
    )
    assert answered(rq) == {1: (0, JPEG), 3: (0, PRIVATE_SYNTAX), 5: (0, IMPLICIT)}


def test_abstract_syntax_is_looked_at_before_transfer_syntax() -> None:
    takes = Acceptance(frozenset({CT}), (EXPLICIT,))
    rq = request((1, CT, (JPEG, EXPLICIT)), (3, CT, (JPEG,)), (5, MR, (EXPLICIT,)), (7, MR, (JPEG,)))
    assert {id: result for id, (result, _) in answered(rq, takes).items()} == {
        1: ContextResult.ACCEPTANCE,
        3: ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED,
        5: ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED,
        7: ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED,
    }


def test_the_order_of_the_offer_decides_not_that_of_the_supported() -> None:
    takes = Acceptance(transfer_syntaxes=(IMPLICIT, EXPLICIT, BIG))
    assert answered(request((1, CT, (JPEG, BIG, EXPLICIT))), takes) == {1: (0, BIG)}


@pytest.mark.parametrize(
    ("offered", "prefer", "chosen"),
    [
        ((IMPLICIT, EXPLICIT), (EXPLICIT, IMPLICIT), EXPLICIT),
        ((BIG, IMPLICIT), (EXPLICIT, IMPLICIT), IMPLICIT),
        ((BIG,), (EXPLICIT, IMPLICIT), BIG),
        ((IMPLICIT, BIG), (BIG,), BIG),
        ((IMPLICIT, JPEG), (JPEG,), IMPLICIT),  # preferred, but not supported
    ],
)
def test_a_preference_goes_before_the_order_of_the_offer(
    offered: tuple[str, ...], prefer: tuple[str, ...], chosen: str
) -> None:
    takes = Acceptance(transfer_syntaxes=(IMPLICIT, EXPLICIT, BIG))
    assert answered(request((1, CT, offered)), takes, prefer) == {1: (0, chosen)}


def test_supporting_none_is_not_supporting_any() -> None:
    rq = request((1, CT, (IMPLICIT,)))
    assert answered(rq, Acceptance(abstract_syntaxes=frozenset()))[1][0] == 3
    assert answered(rq, Acceptance(transfer_syntaxes=()))[1][0] == 4


def test_empty_names_are_never_accepted() -> None:
    assert answered(request((1, "", (IMPLICIT,)), (3, CT, ()), (5, CT, ("",)), (7, CT, ("", JPEG)))) == {
        1: (3, IMPLICIT),
        3: (4, IMPLICIT),
        5: (4, IMPLICIT),
        7: (0, JPEG),
    }


def test_one_id_for_two_contexts_is_refused_once() -> None:
    rq = request((1, CT, (IMPLICIT,)), (3, CT, (JPEG,)), (1, MR, (IMPLICIT,)), (1, CT, (IMPLICIT,)))
    assert answered(rq) == {1: (ContextResult.NO_REASON, IMPLICIT), 3: (0, JPEG)}


def test_the_same_context_twice_is_answered_once() -> None:
    assert answered(request((1, CT, (JPEG,)), (1, CT, (JPEG,)))) == {1: (0, JPEG)}


def test_ids_that_no_answer_may_carry_get_none() -> None:
    assert answered(request((0, CT, (IMPLICIT,)), (2, CT, (IMPLICIT,)), (255, CT, (IMPLICIT,)))) == {
        255: (0, IMPLICIT)
    }


def test_128_contexts_are_all_that_fit() -> None:
    rq = request(*((id, f"{PRIVATE_CLASS}.{id}", (f"{PRIVATE_SYNTAX}.{id}",)) for id in range(1, 256, 2)))
    assert len(rq.contexts) == 128
    assert answered(rq) == {id: (0, f"{PRIVATE_SYNTAX}.{id}") for id in range(1, 256, 2)}


def test_what_else_an_acceptance_says() -> None:
    accept = answer(
        request((1, CT, (IMPLICIT,))), supports=ANY.supports, transfer_syntaxes=None, maximum_length=4096
    )
    assert (accept.called_ae, accept.calling_ae) == ("ARCHIVE", "MODALITY")
    assert accept.application_context == items.APPLICATION_CONTEXT
    assert accept.protocol_version == 1
    assert accept.user == UserInformation(
        maximum_length=4096,
        implementation_class_uid=items.IMPLEMENTATION_CLASS_UID,
        implementation_version_name=items.IMPLEMENTATION_VERSION_NAME,
    )


def test_the_implementation_names_itself_alike_on_the_wire_and_in_files() -> None:
    assert items.IMPLEMENTATION_CLASS_UID == part10.IMPLEMENTATION_CLASS_UID
    assert items.IMPLEMENTATION_VERSION_NAME == part10.IMPLEMENTATION_VERSION_NAME
    assert len(items.IMPLEMENTATION_VERSION_NAME) <= 16


# --- agreeing ----------------------------------------------------------------------------------------------------------


def test_what_was_accepted_is_agreed() -> None:
    rq = request((1, CT, (JPEG, EXPLICIT)), (3, MR, (EXPLICIT,)), (5, PRIVATE_CLASS, (PRIVATE_SYNTAX,)))
    ac = acceptance((5, 0, PRIVATE_SYNTAX), (3, 4, EXPLICIT), (1, 0, EXPLICIT))
    assert agreed(rq, ac) == {
        5: AcceptedContext(5, PRIVATE_CLASS, PRIVATE_SYNTAX, as_scu=True, as_scp=False),
        1: AcceptedContext(1, CT, EXPLICIT, as_scu=True, as_scp=False),
    }
    assert breaches(rq, ac) == []


def test_the_transfer_syntax_of_a_refusal_means_nothing() -> None:
    rq, ac = request((1, CT, (EXPLICIT,))), acceptance((1, 3, "never offered"))
    assert (agreed(rq, ac), breaches(rq, ac)) == ({}, [])


@pytest.mark.parametrize("result", [1, 2, 3, 4, 5, 255])
def test_only_result_0_is_an_acceptance(result: int) -> None:
    assert agreed(request((1, CT, (EXPLICIT,))), acceptance((1, result, EXPLICIT))) == {}


LIES = {
    "an id that was never proposed": ((7, 0, EXPLICIT), "7, which was not properly proposed"),
    "an even id": ((2, 0, EXPLICIT), "2, which was not properly proposed"),
    "a transfer syntax of another context": (
        (1, 0, IMPLICIT),
        f"1 ({CT}) with the transfer syntax {IMPLICIT}, which",
    ),
    "a transfer syntax of nobody": ((1, 0, "9.9.9"), f"1 ({CT}) with the transfer syntax 9.9.9, which"),
    "no transfer syntax": ((1, 0, ""), f"1 ({CT}) with the transfer syntax (none), which"),
}


@pytest.mark.parametrize(("lie", "said"), list(LIES.values()), ids=list(LIES))
def test_lies_count_for_nothing_and_are_named(lie: tuple[int, int, str], said: str) -> None:
    rq = request((1, CT, (EXPLICIT, JPEG)), (3, MR, (IMPLICIT,)))
    ac = acceptance(lie, (3, 0, IMPLICIT))
    assert agreed(rq, ac) == {3: AcceptedContext(3, MR, IMPLICIT)}
    [breach] = breaches(rq, ac)
    assert breach.startswith(f"accepted presentation context {said}")


def test_two_different_answers_to_one_id_are_none() -> None:
    rq = request((1, CT, (EXPLICIT, JPEG)), (3, MR, (IMPLICIT,)))
    for other in ((1, 0, JPEG), (1, 3, EXPLICIT)):
        ac = acceptance((1, 0, EXPLICIT), (3, 0, IMPLICIT), other)
        assert list(agreed(rq, ac)) == [3]
        assert breaches(rq, ac) == ["gave several answers to presentation context 1"]
    again = acceptance((1, 0, EXPLICIT), (1, 0, EXPLICIT))
    assert list(agreed(rq, again)) == [1]
    assert breaches(rq, again) == []


@pytest.mark.parametrize(
    "rq",
    [
        request((1, CT, (IMPLICIT,)), (1, MR, (IMPLICIT,))),
        request((2, CT, (IMPLICIT,))),
        request((0, CT, (IMPLICIT,))),
    ],
    ids=["one id for two contexts", "an even id", "id 0"],
)
def test_what_was_not_properly_proposed_cannot_be_accepted(rq: AssociateRequest) -> None:
    ac = acceptance((rq.contexts[0].id, 0, IMPLICIT))
    assert agreed(rq, ac) == {}
    assert breaches(rq, ac) == [
        f"accepted presentation context {rq.contexts[0].id}, which was not properly proposed"
    ]


# --- roles -------------------------------------------------------------------------------------------------------------

FLAGS = [(False, False), (False, True), (True, False), (True, True)]


def roles_agreed(asked: tuple[Role, ...], granted: tuple[Role, ...]) -> tuple[bool, bool] | None:
    found = agreed(request((1, CT, (IMPLICIT,)), roles=asked), acceptance((1, 0, IMPLICIT), roles=granted))
    return (found[1].as_scu, found[1].as_scp) if found else None


def test_without_a_role_item_on_either_side_the_requestor_is_scu() -> None:
    """PS3.7 D.3.3.4; an item that answers no proposal is to be ignored."""
    both = (Role(CT, True, True),)
    other = (Role(MR, False, True),)
    assert roles_agreed((), ()) == (True, False)
    assert roles_agreed(both, ()) == (True, False)
    assert roles_agreed((), both) == (True, False)
    assert roles_agreed(both, other) == (True, False)


@pytest.mark.parametrize(("asked", "granted"), list(product(FLAGS, FLAGS)))
def test_a_role_is_held_when_proposed_and_granted(
    asked: tuple[bool, bool], granted: tuple[bool, bool]
) -> None:
    held = (asked[0] and granted[0], asked[1] and granted[1])
    assert roles_agreed((Role(CT, *asked),), (Role(CT, *granted),)) == (held if any(held) else None)


@pytest.mark.parametrize(("asked", "wish"), list(product(FLAGS, FLAGS)))
def test_nothing_is_granted_that_was_not_proposed(asked: tuple[bool, bool], wish: tuple[bool, bool]) -> None:
    rq = request((1, CT, (IMPLICIT,)), (3, MR, (IMPLICIT,)), roles=(Role(CT, *asked),))
    accept = answer(
        rq,
        supports=ANY.supports,
        transfer_syntaxes=None,
        maximum_length=0,
        roles=lambda role: Role(role.sop_class, *wish),
    )
    held = (asked[0] and wish[0], asked[1] and wish[1])
    assert [context.result for context in accept.contexts] == [0 if any(held) else 1, 0]
    assert accept.user.roles == ((Role(CT, *held),) if any(held) else ())
    assert agreed(rq, accept).get(1) == (AcceptedContext(1, CT, IMPLICIT, *held) if any(held) else None)
    assert agreed(rq, accept)[3] == AcceptedContext(3, MR, IMPLICIT)


def test_roles_that_are_not_negotiated_are_the_default_ones() -> None:
    rq = request((1, CT, (IMPLICIT,)), roles=(Role(CT, False, True),))
    for roles in (None, lambda _: None):
        accept = answer(rq, supports=ANY.supports, transfer_syntaxes=None, maximum_length=0, roles=roles)
        assert accept.user.roles == ()
        assert agreed(rq, accept) == {1: AcceptedContext(1, CT, IMPLICIT, as_scu=True, as_scp=False)}


def test_role_items_are_answered_for_accepted_sop_classes_alone() -> None:
    proposed = tuple(Role(uid, True, True) for uid in (CT, MR, PRIVATE_CLASS))
    rq = request((1, CT, (IMPLICIT,)), (3, MR, (JPEG,)), (5, CT, (IMPLICIT,)), roles=proposed)
    accept = answer(
        rq, supports=ANY.supports, transfer_syntaxes=(IMPLICIT,), maximum_length=0, roles=lambda role: role
    )
    assert accept.user.roles == (Role(CT, True, True),)
    assert {id: context.as_scp for id, context in agreed(rq, accept).items()} == {1: True, 5: True}


def test_of_several_role_items_for_a_sop_class_the_first_counts_on_both_sides() -> None:
    rq = request((1, CT, (IMPLICIT,)), roles=(Role(CT, False, True), Role(CT, True, False)))
    accept = answer(
        rq, supports=ANY.supports, transfer_syntaxes=None, maximum_length=0, roles=lambda role: role
    )
    assert accept.user.roles == (Role(CT, False, True),)
    assert agreed(rq, accept) == {1: AcceptedContext(1, CT, IMPLICIT, as_scu=False, as_scp=True)}


# --- properties --------------------------------------------------------------------------------------------------------

UIDS = st.sampled_from([IMPLICIT, EXPLICIT, BIG, JPEG, PRIVATE_SYNTAX, "1.2.3.4"])
CLASSES = st.sampled_from([VERIFICATION, CT, MR, PRIVATE_CLASS])
ODD = st.integers(0, 127).map(lambda number: 2 * number + 1)
OFFERS = st.lists(UIDS, min_size=1, max_size=5, unique=True).map(tuple)
PROPOSALS = st.lists(
    st.builds(ProposedContext, ODD, CLASSES, OFFERS), max_size=128, unique_by=lambda context: context.id
)
ROLES = st.lists(st.builds(Role, CLASSES, st.booleans(), st.booleans()), max_size=6).map(tuple)
REQUESTS = st.builds(
    AssociateRequest,
    called_ae=st.just("ARCHIVE"),
    calling_ae=st.just("MODALITY"),
    contexts=PROPOSALS.map(tuple),
    user=st.builds(UserInformation, roles=ROLES),
)
ACCEPTANCES = st.builds(
    Acceptance,
    abstract_syntaxes=st.none() | st.frozensets(CLASSES),
    transfer_syntaxes=st.none() | st.lists(UIDS, unique=True).map(tuple),
)


@given(
    REQUESTS, ACCEPTANCES, st.lists(UIDS), st.dictionaries(CLASSES, st.tuples(st.booleans(), st.booleans()))
)
def test_an_answer_keeps_the_rules(
    rq: AssociateRequest, takes: Acceptance, prefer: list[str], wishes: dict[str, tuple[bool, bool]]
) -> None:
    accept = answer(
        rq,
        supports=takes.supports,
        transfer_syntaxes=takes.transfer_syntaxes,
        maximum_length=0,
        roles=lambda role: Role(role.sop_class, *wish) if (wish := wishes.get(role.sop_class)) else None,
        prefer=prefer,
    )
    assert [context.id for context in accept.contexts] == [context.id for context in rq.contexts]
    for asked, got in zip(rq.contexts, accept.contexts, strict=True):
        named = takes.transfer_syntaxes
        usable = [uid for uid in asked.transfer_syntaxes if named is None or uid in named]
        if got.result == ContextResult.ACCEPTANCE:
            assert got.transfer_syntax in usable
            assert takes.supports(asked.abstract_syntax)
            wanted = [uid for uid in prefer if uid in usable]
            assert got.transfer_syntax == (wanted or usable)[0]
        elif got.result == ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED:
            assert not takes.supports(asked.abstract_syntax)
        elif got.result == ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED:
            assert not usable
        else:
            assert got.result == ContextResult.USER_REJECTION
            assert asked.abstract_syntax in wishes
    proposed = {role.sop_class: role for role in reversed(rq.user.roles)}
    for role in accept.user.roles:
        assert role.scu <= proposed[role.sop_class].scu
        assert role.scp <= proposed[role.sop_class].scp

    assert breaches(rq, accept) == []
    assert set(agreed(rq, accept)) == {context.id for context in accept.contexts if context.result == 0}


ANSWERS = st.lists(
    st.builds(
        AnsweredContext, st.integers(0, 255), st.sampled_from([0, 0, 0, 1, 2, 3, 4, 77]), UIDS | st.just("")
    ),
    max_size=20,
).map(tuple)


@given(REQUESTS, ANSWERS, ROLES)
def test_no_acceptor_can_make_us_use_what_we_did_not_propose(
    rq: AssociateRequest, answers: tuple[AnsweredContext, ...], roles: tuple[Role, ...]
) -> None:
    accept = AssociateAccept("", "", answers, UserInformation(roles=roles))
    proposed = {context.id: context for context in rq.contexts}
    for id, context in agreed(rq, accept).items():
        assert id == context.id
        assert context.abstract_syntax == proposed[id].abstract_syntax
        assert context.transfer_syntax in proposed[id].transfer_syntaxes
        assert {got for got in answers if got.id == id} == {AnsweredContext(id, 0, context.transfer_syntax)}
        assert context.as_scu or context.as_scp
        if context.as_scp:
            assert Role(context.abstract_syntax, True, True) in rq.user.roles or (
                Role(context.abstract_syntax, False, True) in rq.user.roles
            )


# --- beside pynetdicom, which reads the standard on its own ----------------------------------------------------------------


def theirs(context: ProposedContext) -> PresentationContext:
    found = build_context(context.abstract_syntax, list(context.transfer_syntaxes))
    found.context_id = context.id
    return found


@given(REQUESTS, st.frozensets(CLASSES, min_size=1), OFFERS)
def test_pynetdicom_gives_the_same_answer(
    rq: AssociateRequest, classes: frozenset[str], supported: tuple[str, ...]
) -> None:
    """Its acceptor takes the first of its own transfer syntaxes that is offered: our `prefer`."""
    ours = answered(rq, Acceptance(classes, supported), prefer=supported)
    results, _ = negotiate_as_acceptor(
        [theirs(context) for context in rq.contexts], [build_context(uid, list(supported)) for uid in classes]
    )
    assert {context.context_id: context.result for context in results} == {
        id: result for id, (result, _) in ours.items()
    }
    assert {context.context_id: context.transfer_syntax[0] for context in results if context.result == 0} == {
        id: uid for id, (result, uid) in ours.items() if result == 0
    }


FLAGS_OR_NONE: list[tuple[bool, bool] | None] = [None, *FLAGS]


@pytest.mark.parametrize(("asked", "granted"), list(product(FLAGS_OR_NONE, FLAGS_OR_NONE)))
def test_pynetdicom_agrees_on_roles(
    asked: tuple[bool, bool] | None, granted: tuple[bool, bool] | None
) -> None:
    context = theirs(ProposedContext(1, CT, (IMPLICIT,)))
    if asked:
        context.scu_role, context.scp_role = asked
    reply = theirs(ProposedContext(1, CT, (IMPLICIT,)))
    reply.result = 0
    [found] = negotiate_as_requestor([context], [reply], {UID(CT): granted} if granted else None)
    held = (bool(found.as_scu), bool(found.as_scp))
    ours = roles_agreed((Role(CT, *asked),) if asked else (), (Role(CT, *granted),) if granted else ())
    assert ours == (held if any(held) else None)


@pytest.mark.parametrize(("asked", "wish"), list(product(FLAGS, FLAGS)))
def test_pynetdicom_answers_roles_alike(asked: tuple[bool, bool], wish: tuple[bool, bool]) -> None:
    local = build_context(CT, [IMPLICIT])
    local.scu_role, local.scp_role = wish
    [result], items_back = negotiate_as_acceptor(
        [theirs(ProposedContext(1, CT, (IMPLICIT,)))], [local], {UID(CT): asked}
    )
    accept = answer(
        request((1, CT, (IMPLICIT,)), roles=(Role(CT, *asked),)),
        supports=ANY.supports,
        transfer_syntaxes=(IMPLICIT,),
        maximum_length=0,
        roles=lambda role: Role(role.sop_class, *wish),
    )
    assert accept.contexts[0].result == result.result
    assert [(role.scu, role.scp) for role in accept.user.roles] == [
        (bool(role.scu_role), bool(role.scp_role)) for role in items_back
    ]
