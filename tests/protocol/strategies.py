"""Random PDUs and command sets that a well-behaved peer might send."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from dcmflow.protocol.command import CommandSet, Field
from dcmflow.protocol.items import (
    AnsweredContext,
    AsynchronousOperations,
    CommonExtendedNegotiation,
    ExtendedNegotiation,
    ProposedContext,
    Role,
    UserIdentity,
    UserInformation,
)
from dcmflow.protocol.pdu import (
    Abort,
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    Pdu,
    ReleaseReply,
    ReleaseRequest,
)

BYTES = st.integers(0, 0xFF)
NUMBERS = st.integers(0, 0xFFFF)
TAGS = st.integers(0, 0xFFFF_FFFF)
UIDS = st.from_regex(r"[0-2](\.(0|[1-9][0-9]{0,7})){1,7}", fullmatch=True)
CONTEXT_IDS = st.integers(0, 127).map(lambda number: 2 * number + 1)


def words(longest: int) -> st.SearchStrategy[str]:
    """Printable ASCII as AE and LO hold it: no backslash, and no spaces at the ends, which mean nothing."""
    characters = st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters="\\")
    return st.text(characters, min_size=1, max_size=longest).map(str.strip).filter(bool)


AE_TITLES = words(16)
COMMENTS = words(64)

# ---------------------------------------------------------------------------------------------- PDUs

ROLES = st.builds(Role, UIDS, st.booleans(), st.booleans())
PROPOSED = st.builds(
    ProposedContext, CONTEXT_IDS, UIDS, st.lists(UIDS, min_size=1, max_size=4).map(tuple)
)  # fmt: skip
ANSWERED = st.builds(AnsweredContext, CONTEXT_IDS, st.integers(0, 4), UIDS)
IDENTITIES = st.one_of(
    st.builds(
        UserIdentity,
        st.sampled_from([1, 3, 4, 5]),
        st.binary(min_size=1, max_size=40),
        response=st.booleans(),
    ),
    st.builds(
        UserIdentity,
        st.just(2),
        st.binary(min_size=1, max_size=40),
        st.binary(min_size=1, max_size=40),
        st.booleans(),
    ),
)


def _user_information(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[UserInformation]:
    return st.builds(
        UserInformation,
        maximum_length=st.integers(0, 0xFFFF_FFFF),
        implementation_class_uid=UIDS,
        implementation_version_name=st.just("") | words(16),
        asynchronous_operations=st.none() | st.builds(AsynchronousOperations, NUMBERS, NUMBERS),
        roles=st.lists(ROLES, max_size=3).map(tuple),
        extended=st.lists(
            st.builds(ExtendedNegotiation, UIDS, st.binary(min_size=1, max_size=9)), max_size=3
        ).map(tuple),
        **fields,
    )


REQUESTS = st.builds(
    AssociateRequest,
    AE_TITLES,
    AE_TITLES,
    st.lists(PROPOSED, max_size=5).map(tuple),
    _user_information(
        common_extended=st.lists(
            st.builds(CommonExtendedNegotiation, UIDS, UIDS, st.lists(UIDS, max_size=3).map(tuple)),
            max_size=3,
        ).map(tuple),
        user_identity=st.none() | IDENTITIES,
    ),
    UIDS,
    NUMBERS,
)
ACCEPTS = st.builds(
    AssociateAccept,
    AE_TITLES,
    AE_TITLES,
    st.lists(ANSWERED, max_size=5).map(tuple),
    _user_information(user_identity_answer=st.none() | st.binary(min_size=1, max_size=40)),
    UIDS,
    NUMBERS,
)
REJECTS = st.builds(AssociateReject, BYTES, BYTES, BYTES)
ABORTS = st.builds(Abort, BYTES, BYTES)
PDUS: st.SearchStrategy[Pdu] = st.one_of(
    REQUESTS, ACCEPTS, REJECTS, ABORTS, st.just(ReleaseRequest()), st.just(ReleaseReply())
)

# ---------------------------------------------------------------------------------------------- command sets

_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "affected_sop_class": UIDS,
    "requested_sop_class": UIDS,
    "move_destination": AE_TITLES,
    "move_originator_ae": AE_TITLES,
    "error_comment": COMMENTS,
    "affected_sop_instance": UIDS,
    "requested_sop_instance": UIDS,
    "offending_elements": st.lists(TAGS, min_size=1, max_size=4).map(tuple),
    "attributes": st.lists(TAGS, min_size=1, max_size=4).map(tuple),
    "has_data": st.booleans(),
}
_RQ = ("message_id", "has_data")
_RSP = ("message_id_responded", "has_data", "status")
_AFFECTED = ("affected_sop_class", "affected_sop_instance")
_REQUESTED = ("requested_sop_class", "requested_sop_instance")
_COUNTS = ("remaining", "completed", "failed", "warning")
_TROUBLE = ("error_comment", "error_id")

# PS3.7 tables 9.3-1 to 9.3-15 and 10.3-1 to 10.3-12: what is in every message, what may be
FIELDS: dict[Field, tuple[tuple[str, ...], tuple[str, ...]]] = {
    Field.C_STORE_RQ: ((*_RQ, *_AFFECTED, "priority"), ("move_originator_ae", "move_originator_id")),
    Field.C_STORE_RSP: (_RSP, (*_AFFECTED, "offending_elements", "error_comment")),
    Field.C_FIND_RQ: ((*_RQ, "affected_sop_class", "priority"), ()),
    Field.C_FIND_RSP: (_RSP, ("affected_sop_class", "offending_elements", "error_comment")),
    Field.C_GET_RQ: ((*_RQ, "affected_sop_class", "priority"), ()),
    Field.C_GET_RSP: (_RSP, ("affected_sop_class", *_COUNTS, "offending_elements", "error_comment")),
    Field.C_MOVE_RQ: ((*_RQ, "affected_sop_class", "priority", "move_destination"), ()),
    Field.C_MOVE_RSP: (_RSP, ("affected_sop_class", *_COUNTS, "offending_elements", "error_comment")),
    Field.C_ECHO_RQ: ((*_RQ, "affected_sop_class"), ()),
    Field.C_ECHO_RSP: (_RSP, ("affected_sop_class", "error_comment")),
    Field.C_CANCEL_RQ: (("message_id_responded",), ()),
    Field.N_EVENT_REPORT_RQ: ((*_RQ, *_AFFECTED, "event_type"), ()),
    Field.N_EVENT_REPORT_RSP: (_RSP, (*_AFFECTED, "event_type", *_TROUBLE)),
    Field.N_GET_RQ: ((*_RQ, *_REQUESTED), ("attributes",)),
    Field.N_GET_RSP: (_RSP, (*_AFFECTED, "attributes", *_TROUBLE)),
    Field.N_SET_RQ: ((*_RQ, *_REQUESTED), ()),
    Field.N_SET_RSP: (_RSP, (*_AFFECTED, "attributes", *_TROUBLE)),
    Field.N_ACTION_RQ: ((*_RQ, *_REQUESTED, "action_type"), ()),
    Field.N_ACTION_RSP: (_RSP, (*_AFFECTED, "action_type", *_TROUBLE)),
    Field.N_CREATE_RQ: ((*_RQ, "affected_sop_class"), ("affected_sop_instance",)),
    Field.N_CREATE_RSP: (_RSP, (*_AFFECTED, *_TROUBLE)),
    Field.N_DELETE_RQ: ((*_RQ, *_REQUESTED), ()),
    Field.N_DELETE_RSP: (_RSP, (*_AFFECTED, *_TROUBLE)),
}


def command_sets(field: Field) -> st.SearchStrategy[CommandSet]:
    """Command sets of one kind of message, with what the standard allows in it."""
    always, sometimes = FIELDS[field]
    needed = {name: _VALUES.get(name, NUMBERS) for name in always}
    possible = {name: _VALUES.get(name, NUMBERS) for name in sometimes}
    return st.fixed_dictionaries(needed, optional=possible).map(
        lambda values: CommandSet(field=int(field), **values)
    )


COMMANDS = st.sampled_from(Field).flatmap(command_sets)
