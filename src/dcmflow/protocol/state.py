"""The state machine of the upper layer (PS3.8 9.2), as a table: what an input does in a state, and what the state is then.

Each end of an association is in one of thirteen states. Nineteen inputs change it: what the local user asks for (primitives),
what arrives (PDUs), what the transport connection does, and one timer. Nothing else changes it, and nothing here does anything:
`transition` names the action of a cell, who has the bytes and the socket carries it out.

Both ends live in one table. An association goes through it like this, requestor to the left, acceptor to the right::

    Sta1   A-ASSOCIATE request, AE-1: connect                          Sta1   connection indication, AE-5: start ARTIM
    Sta4   connected, AE-2: send A-ASSOCIATE-RQ    --- RQ --->         Sta2   A-ASSOCIATE-RQ, AE-6: acceptable at all?
    Sta5   AE-3: tell the user                     <-- AC ----         Sta3   the user accepts, AE-7: send A-ASSOCIATE-AC
                                                                              (or not, AE-8: send A-ASSOCIATE-RJ, Sta13)
    Sta6   DT-1: send P-DATA, DT-2: take it        <-- data ->         Sta6   the same
    Sta6   A-RELEASE request, AR-1                 --- RQ --->         Sta6   AR-2: tell the user
    Sta7   AR-3: tell the user, close              <-- RP ----         Sta8   A-RELEASE response, AR-4: send A-RELEASE-RP
    Sta1                                           closed              Sta13  AR-5

The acceptor of an association may ask for its release just as well; Sta7 and Sta8 are then on the other sides. An end that waits
in Sta7 still takes data (AR-6), and one in Sta8 may still send some (AR-7): what was under way when the release was asked for.

**Release collision.** When both ask at once, each is in Sta7 and gets an A-RELEASE-RQ (AR-8). So that not both wait for the
other, the requestor of the association goes first: it is in Sta9, answers (AR-9) and waits in Sta11; the acceptor, in Sta10,
takes that answer first (AR-10), then answers in Sta12 (AR-4) and waits for the connection to close; the requestor closes it
(AR-3).

**Abort.** Whoever asks for it sends A-ABORT and waits in Sta13 for the peer to close (AA-1); whoever gets one closes (AA-3). A
PDU that the state does not expect, or that is none, is answered with A-ABORT by the provider (AA-8); in Sta2, where there is no
user to tell yet, by AA-1. In Sta13 the association is over: what still arrives is ignored (AA-6), except for another attempt to
associate and for what is no PDU: these get a further A-ABORT (AA-7). A transport connection that closes by itself is a failure
that the user is told of (AA-4), unless there was no user yet (AA-5) or the closing was awaited (AR-5).

**ARTIM**, the association request, reject, release timer (PS3.8 9.1.5), keeps a connection from staying open for nothing. Read
over all actions it runs exactly in Sta2, where an A-ASSOCIATE-RQ is due, and in Sta13, where the peer is to close the connection.
Every way into these starts it anew, every way out stops it; hence `State.artim`, and no action needs to speak of it. When it
expires, this side closes the connection (AA-2).

Two actions have two outcomes, which depend on more than the state. The table has the first, and `Action.otherwise` the second:

- AE-6 goes to Sta3, or to Sta13 after an A-ASSOCIATE-RJ when the provider itself cannot take the request;
- AR-8 goes to Sta9 at the requestor of the association, to Sta10 at its acceptor.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Final

from dcmflow.errors import LocalProtocolError, RemoteProtocolError


class State(IntEnum):
    """A state of one end of an association (PS3.8 tables 9-1 to 9-5).

    Attributes:
        text: the state in words, to follow "while".
        artim: the ARTIM timer runs in this state (PS3.8 9.1.5).
    """

    text: str
    artim: bool

    STA1 = 1, "there is no association"
    STA2 = 2, "the transport connection is open and an A-ASSOCIATE-RQ is awaited"
    STA3 = 3, "the local user is to accept or to reject the association"
    STA4 = 4, "the transport connection is being opened"
    STA5 = 5, "the answer to the A-ASSOCIATE-RQ is awaited"
    STA6 = 6, "the association is established"
    STA7 = 7, "an A-RELEASE-RP is awaited"
    STA8 = 8, "the local user is to answer a release"
    STA9 = 9, "the local user is to answer a release (collision, at the requestor)"
    STA10 = 10, "an A-RELEASE-RP is awaited (collision, at the acceptor)"
    STA11 = 11, "an A-RELEASE-RP is awaited (collision, at the requestor that has answered)"
    STA12 = 12, "the local user is to answer a release (collision, at the acceptor that was answered)"
    STA13 = 13, "the association is over and the transport connection is awaited to close"

    def __new__(cls, number: int, text: str) -> State:
        self = int.__new__(cls, number)
        self._value_ = number
        self.text = self.__doc__ = text
        self.artim = number in (2, 13)
        return self


class Input(IntEnum):
    """What may happen to one end of an association (the events of PS3.8 table 9-10); the value is the number of the event.

    Attributes:
        text: what happened, in words.
    """

    text: str

    ASSOCIATE_REQUEST_PRIMITIVE = 1, "A-ASSOCIATE request by the local user"
    TRANSPORT_CONNECTED = 2, "the transport connection is open"
    ASSOCIATE_AC_PDU = 3, "A-ASSOCIATE-AC received"
    ASSOCIATE_RJ_PDU = 4, "A-ASSOCIATE-RJ received"
    TRANSPORT_INDICATION = 5, "a transport connection came in"
    ASSOCIATE_RQ_PDU = 6, "A-ASSOCIATE-RQ received"
    ASSOCIATE_ACCEPT_PRIMITIVE = 7, "A-ASSOCIATE response (accept) by the local user"
    ASSOCIATE_REJECT_PRIMITIVE = 8, "A-ASSOCIATE response (reject) by the local user"
    P_DATA_PRIMITIVE = 9, "P-DATA request by the local user"
    P_DATA_PDU = 10, "P-DATA-TF received"
    RELEASE_REQUEST_PRIMITIVE = 11, "A-RELEASE request by the local user"
    RELEASE_RQ_PDU = 12, "A-RELEASE-RQ received"
    RELEASE_RP_PDU = 13, "A-RELEASE-RP received"
    RELEASE_RESPONSE_PRIMITIVE = 14, "A-RELEASE response by the local user"
    ABORT_PRIMITIVE = 15, "A-ABORT request by the local user"
    ABORT_PDU = 16, "A-ABORT received"
    TRANSPORT_CLOSED = 17, "the transport connection closed"
    ARTIM_EXPIRED = 18, "the ARTIM timer expired"
    INVALID_PDU = 19, "an unrecognized or invalid PDU received"

    def __new__(cls, number: int, text: str) -> Input:
        self = int.__new__(cls, number)
        self._value_ = number
        self.text = self.__doc__ = text
        return self

    @property
    def evt(self) -> int:
        """The number of the event in PS3.8 table 9-10: 1 to 19."""
        return int(self)

    @property
    def remote(self) -> bool:
        """A PDU, or what came instead of one: the peer is to blame when it is out of place."""
        return self in _PDUS


_PDUS: Final = frozenset(input for input in Input if input.name.endswith("_PDU"))


class Action(StrEnum):
    """What is to be done (PS3.8 tables 9-6 to 9-9); the value is its name there.

    Attributes:
        next: the state that follows.
        text: what is to be done, in words; starting and stopping ARTIM is left to `State.artim`.
        otherwise: the state that follows on the other outcome, for AE-6 and AR-8; else None.
    """

    next: State
    text: str
    otherwise: State | None

    AE_1 = "AE-1", State.STA4, "open the transport connection"
    AE_2 = "AE-2", State.STA5, "send A-ASSOCIATE-RQ"
    AE_3 = "AE-3", State.STA6, "tell the user: accepted"
    AE_4 = "AE-4", State.STA1, "tell the user: rejected; close the transport connection"
    AE_5 = "AE-5", State.STA2, "take the transport connection"
    AE_6 = "AE-6", State.STA3, "tell the user: association asked for; or send A-ASSOCIATE-RJ", State.STA13
    AE_7 = "AE-7", State.STA6, "send A-ASSOCIATE-AC"
    AE_8 = "AE-8", State.STA13, "send A-ASSOCIATE-RJ"

    DT_1 = "DT-1", State.STA6, "send P-DATA-TF"
    DT_2 = "DT-2", State.STA6, "give the data to the user"

    AR_1 = "AR-1", State.STA7, "send A-RELEASE-RQ"
    AR_2 = "AR-2", State.STA8, "tell the user: release asked for"
    AR_3 = "AR-3", State.STA1, "tell the user: released; close the transport connection"
    AR_4 = "AR-4", State.STA13, "send A-RELEASE-RP"
    AR_5 = "AR-5", State.STA1, "nothing: the connection was awaited to close"
    AR_6 = "AR-6", State.STA7, "give the data to the user"
    AR_7 = "AR-7", State.STA8, "send P-DATA-TF"
    AR_8 = "AR-8", State.STA9, "tell the user: release asked for, in collision", State.STA10
    AR_9 = "AR-9", State.STA11, "send A-RELEASE-RP"
    AR_10 = "AR-10", State.STA12, "tell the user: released"

    AA_1 = "AA-1", State.STA13, "send A-ABORT (source: service user)"
    AA_2 = "AA-2", State.STA1, "close the transport connection"
    AA_3 = "AA-3", State.STA1, "tell the user: aborted; close the transport connection"
    AA_4 = "AA-4", State.STA1, "tell the user: aborted by the provider"
    AA_5 = "AA-5", State.STA1, "nothing: there was no association yet"
    AA_6 = "AA-6", State.STA13, "ignore the PDU"
    AA_7 = "AA-7", State.STA13, "send A-ABORT"
    AA_8 = (
        "AA-8",
        State.STA13,
        "send A-ABORT (source: service provider); tell the user: aborted by the provider",
    )

    def __new__(cls, name: str, next: State, text: str, otherwise: State | None = None) -> Action:
        self = str.__new__(cls, name)
        self._value_ = name
        self.next, self.otherwise = next, otherwise
        self.text = self.__doc__ = text
        return self


_Row = dict[State, Action]

_OPEN: Final = tuple(
    state for state in State if state not in (State.STA1, State.STA2, State.STA4, State.STA13)
)
"""There is an association or one is being asked for: the states with a user to tell."""


def _pdu(expected: _Row, *, in_sta2: Action = Action.AA_1, in_sta13: Action = Action.AA_6) -> _Row:
    """A received PDU: what it does where it is expected; a violation in every other state with a transport connection."""
    row: _Row = {State.STA2: in_sta2, **dict.fromkeys(_OPEN, Action.AA_8), State.STA13: in_sta13}
    return row | expected


_ROWS: Final[dict[Input, _Row]] = {
    # association establishment
    Input.ASSOCIATE_REQUEST_PRIMITIVE: {State.STA1: Action.AE_1},
    Input.TRANSPORT_CONNECTED: {State.STA4: Action.AE_2},
    Input.ASSOCIATE_AC_PDU: _pdu({State.STA5: Action.AE_3}),
    Input.ASSOCIATE_RJ_PDU: _pdu({State.STA5: Action.AE_4}),
    Input.TRANSPORT_INDICATION: {State.STA1: Action.AE_5},
    Input.ASSOCIATE_RQ_PDU: _pdu({}, in_sta2=Action.AE_6, in_sta13=Action.AA_7),
    Input.ASSOCIATE_ACCEPT_PRIMITIVE: {State.STA3: Action.AE_7},
    Input.ASSOCIATE_REJECT_PRIMITIVE: {State.STA3: Action.AE_8},
    # data transfer
    Input.P_DATA_PRIMITIVE: {State.STA6: Action.DT_1, State.STA8: Action.AR_7},
    Input.P_DATA_PDU: _pdu({State.STA6: Action.DT_2, State.STA7: Action.AR_6}),
    # association release
    Input.RELEASE_REQUEST_PRIMITIVE: {State.STA6: Action.AR_1},
    Input.RELEASE_RQ_PDU: _pdu({State.STA6: Action.AR_2, State.STA7: Action.AR_8}),
    Input.RELEASE_RP_PDU: _pdu(
        {State.STA7: Action.AR_3, State.STA10: Action.AR_10, State.STA11: Action.AR_3}
    ),
    Input.RELEASE_RESPONSE_PRIMITIVE: {
        State.STA8: Action.AR_4,
        State.STA9: Action.AR_9,
        State.STA12: Action.AR_4,
    },
    # abort, and what else ends an association
    Input.ABORT_PRIMITIVE: {State.STA4: Action.AA_2, **dict.fromkeys(_OPEN, Action.AA_1)},
    Input.ABORT_PDU: _pdu(dict.fromkeys(_OPEN, Action.AA_3), in_sta2=Action.AA_2, in_sta13=Action.AA_2),
    Input.TRANSPORT_CLOSED: {
        State.STA2: Action.AA_5,
        State.STA4: Action.AA_4,
        **dict.fromkeys(_OPEN, Action.AA_4),
        State.STA13: Action.AR_5,
    },
    Input.ARTIM_EXPIRED: {State.STA2: Action.AA_2, State.STA13: Action.AA_2},
    Input.INVALID_PDU: _pdu({}, in_sta13=Action.AA_7),
}

TABLE: Final[Mapping[tuple[Input, State], tuple[Action, State]]] = MappingProxyType(
    {(input, state): (action, action.next) for input, row in _ROWS.items() for state, action in row.items()}
)
"""PS3.8 table 9-10. What is not in it cannot happen, or must not be asked for."""


def transition(state: State, input: Input) -> tuple[Action, State]:
    """The action of an input in a state, and the state that follows (PS3.8 table 9-10).

    For AE-6 and AR-8 the state is that of the first outcome; `Action.otherwise` is that of the second.

    Raises:
        LocalProtocolError: the input comes from this side, and the state does not allow it.
        RemoteProtocolError: a PDU where there is no transport connection that it could have come by.
    """
    try:
        return TABLE[input, state]
    except KeyError:
        error = RemoteProtocolError if input.remote else LocalProtocolError
        raise error(
            f"{input.text}, while {state.text} (PS3.8 table 9-10 has no action for Evt{input.evt} in Sta{state:d})"
        ) from None
