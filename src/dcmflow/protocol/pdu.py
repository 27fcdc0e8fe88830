"""Protocol data units of the upper layer (PS3.8 9.3), as values.

P-DATA-TF is no value: its bytes pass by, see `fragment` and `connection`.
"""

from __future__ import annotations

from msgspec import Struct

from dcmflow.protocol.items import APPLICATION_CONTEXT, AnsweredContext, ProposedContext, UserInformation

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA_TF, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)


class AssociateRequest(Struct, frozen=True):
    """A-ASSOCIATE-RQ (PS3.8 9.3.2).

    Attributes:
        called_ae, calling_ae: without the spaces that pad them.
    """

    called_ae: str
    calling_ae: str
    contexts: tuple[ProposedContext, ...]
    user: UserInformation = UserInformation()
    application_context: str = APPLICATION_CONTEXT
    protocol_version: int = 1


class AssociateAccept(Struct, frozen=True):
    """A-ASSOCIATE-AC (PS3.8 9.3.3). The AE titles repeat those of the request and are not to be tested."""

    called_ae: str
    calling_ae: str
    contexts: tuple[AnsweredContext, ...]
    user: UserInformation = UserInformation()
    application_context: str = APPLICATION_CONTEXT
    protocol_version: int = 1


class AssociateReject(Struct, frozen=True):
    """A-ASSOCIATE-RJ (PS3.8 9.3.4).

    Attributes:
        result: 1 permanent, 2 transient.
        source: 1 service user, 2 service provider (ACSE), 3 service provider (presentation).
        reason: by source, see table 9-21.
    """

    result: int
    source: int
    reason: int


class ReleaseRequest(Struct, frozen=True):
    """A-RELEASE-RQ (PS3.8 9.3.6)."""


class ReleaseReply(Struct, frozen=True):
    """A-RELEASE-RP (PS3.8 9.3.7)."""


class Abort(Struct, frozen=True):
    """A-ABORT (PS3.8 9.3.8).

    Attributes:
        source: 0 service user, 2 service provider.
        reason: table 9-26; of no meaning when the user aborts.
    """

    source: int = 0
    reason: int = 0


Pdu = AssociateRequest | AssociateAccept | AssociateReject | ReleaseRequest | ReleaseReply | Abort
