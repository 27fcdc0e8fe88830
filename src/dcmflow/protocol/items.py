"""Items of association PDUs: presentation contexts and user information (PS3.8 9.3, Annex D; PS3.7 Annex D.3.3)."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from msgspec import Struct

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"  # PS3.7 Annex A
IMPLEMENTATION_CLASS_UID: Final = (
    "2.25.182354318764919310258346131405728115709"  # the same as in Part 10 files
)
IMPLEMENTATION_VERSION_NAME: Final = "DCMFLOW_0_1"  # PS3.7 D.3.3.2: at most 16 characters


class ContextResult(IntEnum):
    """What became of a proposed presentation context (PS3.8 table 9-18)."""

    ACCEPTANCE = 0
    USER_REJECTION = 1
    NO_REASON = 2
    ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
    TRANSFER_SYNTAXES_NOT_SUPPORTED = 4


class ProposedContext(Struct, frozen=True):
    """A presentation context of an A-ASSOCIATE-RQ (PS3.8 9.3.2.2).

    Attributes:
        id: odd, 1 to 255.
        abstract_syntax: a SOP Class UID.
        transfer_syntaxes: at least one.
    """

    id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


class AnsweredContext(Struct, frozen=True):
    """A presentation context of an A-ASSOCIATE-AC (PS3.8 9.3.3.2).

    Attributes:
        transfer_syntax: the chosen one; of no meaning unless accepted.
    """

    id: int
    result: int
    transfer_syntax: str


class AsynchronousOperations(Struct, frozen=True):
    """How many operations may be outstanding; 0: any number (PS3.7 D.3.3.3)."""

    invoked: int = 1
    performed: int = 1


class Role(Struct, frozen=True):
    """SCP/SCU role selection for one SOP Class (PS3.7 D.3.3.4): which roles the requestor takes."""

    sop_class: str
    scu: bool
    scp: bool


class ExtendedNegotiation(Struct, frozen=True):
    """SOP Class extended negotiation (PS3.7 D.3.3.5): service class application information as bytes."""

    sop_class: str
    information: bytes


class CommonExtendedNegotiation(Struct, frozen=True):
    """SOP Class common extended negotiation (PS3.7 D.3.3.6)."""

    sop_class: str
    service_class: str
    related: tuple[str, ...] = ()


class UserIdentity(Struct, frozen=True):
    """User identity of a requestor (PS3.7 D.3.3.7).

    Attributes:
        type: 1 user name, 2 user name and passcode, 3 Kerberos, 4 SAML, 5 JSON web token.
        primary, secondary: as bytes; the secondary only with type 2.
        response: the acceptor is to answer.
    """

    type: int
    primary: bytes
    secondary: bytes = b""
    response: bool = False


class UserInformation(Struct, frozen=True):
    """User information of an association request or its acceptance (PS3.8 D.1, PS3.7 D.3.3).

    Attributes:
        maximum_length: the largest P-DATA-TF variable field that the sender of this takes, in bytes; 0: any.
        user_identity: in a request.  user_identity_answer: in an acceptance, the server's response.
    """

    maximum_length: int = 0
    implementation_class_uid: str = ""
    implementation_version_name: str = ""
    asynchronous_operations: AsynchronousOperations | None = None
    roles: tuple[Role, ...] = ()
    extended: tuple[ExtendedNegotiation, ...] = ()
    common_extended: tuple[CommonExtendedNegotiation, ...] = ()
    user_identity: UserIdentity | None = None
    user_identity_answer: bytes | None = None
