"""The state machine, cell by cell, against PS3.8 tables 9-6 to 9-10 and against pynetdicom's transcript of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom import fsm

from dcmflow.errors import LocalProtocolError, RemoteProtocolError
from dcmflow.protocol.state import TABLE, Action, Input, State, transition

# PS3.8 table 9-10 as it is printed: events down, states across, "-" where the standard has nothing.
GRID = """
       Sta1 Sta2 Sta3 Sta4 Sta5 Sta6 Sta7 Sta8 Sta9 Sta10 Sta11 Sta12 Sta13
Evt1   AE-1 -    -    -    -    -    -    -    -    -     -     -     -
Evt2   -    -    -    AE-2 -    -    -    -    -    -     -     -     -
Evt3   -    AA-1 AA-8 -    AE-3 AA-8 AA-8 AA-8 AA-8 AA-8  AA-8  AA-8  AA-6
Evt4   -    AA-1 AA-8 -    AE-4 AA-8 AA-8 AA-8 AA-8 AA-8  AA-8  AA-8  AA-6
Evt5   AE-5 -    -    -    -    -    -    -    -    -     -     -     -
Evt6   -    AE-6 AA-8 -    AA-8 AA-8 AA-8 AA-8 AA-8 AA-8  AA-8  AA-8  AA-7
Evt7   -    -    AE-7 -    -    -    -    -    -    -     -     -     -
Evt8   -    -    AE-8 -    -    -    -    -    -    -     -     -     -
Evt9   -    -    -    -    -    DT-1 -    AR-7 -    -     -     -     -
Evt10  -    AA-1 AA-8 -    AA-8 DT-2 AR-6 AA-8 AA-8 AA-8  AA-8  AA-8  AA-6
Evt11  -    -    -    -    -    AR-1 -    -    -    -     -     -     -
Evt12  -    AA-1 AA-8 -    AA-8 AR-2 AR-8 AA-8 AA-8 AA-8  AA-8  AA-8  AA-6
Evt13  -    AA-1 AA-8 -    AA-8 AA-8 AR-3 AA-8 AA-8 AR-10 AR-3  AA-8  AA-6
Evt14  -    -    -    -    -    -    -    AR-4 AR-9 -     -     AR-4  -
Evt15  -    -    AA-1 AA-2 AA-1 AA-1 AA-1 AA-1 AA-1 AA-1  AA-1  AA-1  -
Evt16  -    AA-2 AA-3 -    AA-3 AA-3 AA-3 AA-3 AA-3 AA-3  AA-3  AA-3  AA-2
Evt17  -    AA-5 AA-4 AA-4 AA-4 AA-4 AA-4 AA-4 AA-4 AA-4  AA-4  AA-4  AR-5
Evt18  -    AA-2 -    -    -    -    -    -    -    -     -     -     AA-2
Evt19  -    AA-1 AA-8 -    AA-8 AA-8 AA-8 AA-8 AA-8 AA-8  AA-8  AA-8  AA-7
"""

# PS3.8 tables 9-6 to 9-9: the next state of each action; two for those that decide.
NEXT = dict(
    line.split(maxsplit=1)
    for line in """
        AE-1 Sta4 | AE-2 Sta5 | AE-3 Sta6 | AE-4 Sta1 | AE-5 Sta2 | AE-6 Sta3 Sta13 | AE-7 Sta6 | AE-8 Sta13
        DT-1 Sta6 | DT-2 Sta6
        AR-1 Sta7 | AR-2 Sta8 | AR-3 Sta1 | AR-4 Sta13 | AR-5 Sta1
        AR-6 Sta7 | AR-7 Sta8 | AR-8 Sta9 Sta10 | AR-9 Sta11 | AR-10 Sta12
        AA-1 Sta13 | AA-2 Sta1 | AA-3 Sta1 | AA-4 Sta1 | AA-5 Sta1 | AA-6 Sta13 | AA-7 Sta13 | AA-8 Sta13
    """.strip()
    .replace("\n", "|")
    .split("|")
)

# Which actions start and which stop ARTIM, after the same tables; AE-6 stops it, and starts it again when it rejects.
STARTS_ARTIM = {"AE-5", "AE-8", "AR-4", "AA-1", "AA-8"}
STOPS_ARTIM = {"AR-5", "AA-2", "AA-5"}

# PS3.8 table 9-10 names the PDUs among its events so.
RECEIVED = {3, 4, 6, 10, 12, 13, 16, 19}


def cells() -> list[tuple[int, int, str]]:
    lines = GRID.strip().splitlines()
    states = [int(name.removeprefix("Sta")) for name in lines[0].split()]
    found = []
    for line in lines[1:]:
        event, *actions = line.split()
        assert len(actions) == len(states), event
        found += [
            (int(event.removeprefix("Evt")), state, action)
            for state, action in zip(states, actions, strict=True)
        ]
    return found


CELLS = cells()
INPUTS = {input.evt: input for input in Input}
STATES = {f"Sta{state:d}": state for state in State}
ACTIONS = {action.value: action for action in Action}


def test_the_grid_is_whole() -> None:
    assert len(CELLS) == 19 * 13
    assert [input.evt for input in Input] == list(range(1, 20))
    assert [int(state) for state in State] == list(range(1, 14))
    assert {action.value for action in Action} == set(NEXT)
    assert {action for _, _, action in CELLS} - {"-"} == set(NEXT), "every action is used"


@pytest.mark.parametrize(("event", "state", "action"), CELLS, ids=lambda value: str(value))
def test_cell(event: int, state: int, action: str) -> None:
    input, before = INPUTS[event], STATES[f"Sta{state}"]
    if action == "-":
        assert (input, before) not in TABLE
        error = RemoteProtocolError if event in RECEIVED else LocalProtocolError
        with pytest.raises(error, match=rf"no action for Evt{event} in Sta{state}\)"):
            transition(before, input)
    else:
        first, *second = [STATES[name] for name in NEXT[action].split()]
        assert transition(before, input) == (ACTIONS[action], first) == TABLE[input, before]
        assert ACTIONS[action].next is first
        assert ACTIONS[action].otherwise is (second[0] if second else None)


@pytest.mark.parametrize("input", Input, ids=lambda value: value.name)
def test_inputs_are_named_after_where_they_come_from(input: Input) -> None:
    assert input.remote == (input.evt in RECEIVED) == input.name.endswith("_PDU")
    assert input.text.endswith("by the local user") == input.name.endswith("_PRIMITIVE")
    assert input.__doc__ == input.text


def test_a_pdu_always_has_an_action_where_it_can_arrive() -> None:
    connected = [state for state in State if state not in (State.STA1, State.STA4)]
    for input in Input:
        if input.remote:
            assert [state for state in State if (input, state) in TABLE] == connected


def test_artim_runs_exactly_where_the_states_say() -> None:
    """Started and stopped as the actions of the standard have it, the timer runs in Sta2 and in Sta13, on any way there."""
    running: dict[State, set[bool]] = {State.STA1: {False}}
    todo = [State.STA1]
    while todo:
        before = todo.pop()
        for (_, state), (action, _) in TABLE.items():
            if state is not before:
                continue
            for after in filter(None, (action.next, action.otherwise)):
                for was in running[before]:
                    runs = was
                    if action is Action.AE_6:
                        runs = after is State.STA13
                    elif action.value in STARTS_ARTIM | STOPS_ARTIM:
                        runs = action.value in STARTS_ARTIM
                    if runs not in running.setdefault(after, set()):
                        running[after].add(runs)
                        todo.append(after)
    assert running == {state: {state.artim} for state in State}


def way(*steps: tuple[Input, State]) -> State:
    state = State.STA1
    for input, expected in steps:
        action, state = transition(state, input)
        if expected is action.otherwise:
            state = expected
        assert state is expected, f"{input.name}: {action}"
    return state


ASSOCIATED = (
    (Input.ASSOCIATE_REQUEST_PRIMITIVE, State.STA4),
    (Input.TRANSPORT_CONNECTED, State.STA5),
    (Input.ASSOCIATE_AC_PDU, State.STA6),
)
ACCEPTED = (
    (Input.TRANSPORT_INDICATION, State.STA2),
    (Input.ASSOCIATE_RQ_PDU, State.STA3),
    (Input.ASSOCIATE_ACCEPT_PRIMITIVE, State.STA6),
)


def test_the_way_of_a_requestor() -> None:
    assert (
        way(
            *ASSOCIATED,
            (Input.P_DATA_PRIMITIVE, State.STA6),
            (Input.P_DATA_PDU, State.STA6),
            (Input.RELEASE_REQUEST_PRIMITIVE, State.STA7),
            (Input.P_DATA_PDU, State.STA7),
            (Input.RELEASE_RP_PDU, State.STA1),
        )
        is State.STA1
    )


def test_the_way_of_an_acceptor() -> None:
    assert (
        way(
            *ACCEPTED,
            (Input.P_DATA_PDU, State.STA6),
            (Input.RELEASE_RQ_PDU, State.STA8),
            (Input.P_DATA_PRIMITIVE, State.STA8),
            (Input.RELEASE_RESPONSE_PRIMITIVE, State.STA13),
            (Input.TRANSPORT_CLOSED, State.STA1),
        )
        is State.STA1
    )


def test_a_request_that_the_provider_rejects_never_reaches_the_user() -> None:
    assert (
        way(ACCEPTED[0], (Input.ASSOCIATE_RQ_PDU, State.STA13), (Input.ARTIM_EXPIRED, State.STA1))
        is State.STA1
    )


def test_release_collision_ends_on_both_sides() -> None:
    requestor = way(
        *ASSOCIATED,
        (Input.RELEASE_REQUEST_PRIMITIVE, State.STA7),
        (Input.RELEASE_RQ_PDU, State.STA9),
        (Input.RELEASE_RESPONSE_PRIMITIVE, State.STA11),
        (Input.RELEASE_RP_PDU, State.STA1),
    )
    acceptor = way(
        *ACCEPTED,
        (Input.RELEASE_REQUEST_PRIMITIVE, State.STA7),
        (Input.RELEASE_RQ_PDU, State.STA10),
        (Input.RELEASE_RP_PDU, State.STA12),
        (Input.RELEASE_RESPONSE_PRIMITIVE, State.STA13),
        (Input.TRANSPORT_CLOSED, State.STA1),
    )
    assert requestor is acceptor is State.STA1


def test_an_error_says_what_was_tried_and_why_not() -> None:
    with pytest.raises(LocalProtocolError) as caught:
        transition(State.STA7, Input.P_DATA_PRIMITIVE)
    assert str(caught.value) == (
        "P-DATA request by the local user, while an A-RELEASE-RP is awaited "
        "(PS3.8 table 9-10 has no action for Evt9 in Sta7)"
    )


@given(st.lists(st.sampled_from(Input), max_size=60))
def test_the_transport_connection_can_always_end(inputs: list[Input]) -> None:
    """From wherever a peer and a user may lead, the closing of the connection leads back to Sta1."""
    state = State.STA1
    for input in inputs:
        if (input, state) in TABLE:
            _, state = transition(state, input)
    if state is not State.STA1:
        assert transition(state, Input.TRANSPORT_CLOSED)[1] is State.STA1


def test_pynetdicom_has_the_same_table() -> None:
    ours = {
        (f"Evt{input.evt}", f"Sta{state:d}"): action.value for (input, state), (action, _) in TABLE.items()
    }
    assert ours == fsm.TRANSITION_TABLE


def test_pynetdicom_has_the_same_next_states() -> None:
    ours = {
        action.value: tuple(f"Sta{state:d}" for state in (action.next, action.otherwise) if state)
        for action in Action
    }
    theirs = {
        name: (after,) if isinstance(after, str) else after for name, (_, _, after) in fsm.ACTIONS.items()
    }
    assert ours == theirs
