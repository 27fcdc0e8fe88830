"""The query/retrieve information models: which of them a peer offers, and which to ask for what (PS3.4 C.6)."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import TYPE_CHECKING, Final, Literal

from dcmflow.dicom.level import Level
from dcmflow.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from dcmflow.errors import RequestFailed
from dcmflow.net import reasons
from dcmflow.protocol.items import ExtendedNegotiation, ProposedContext

if TYPE_CHECKING:
    from dcmflow.net.association import Association
    from dcmflow.protocol.negotiation import AcceptedContext

Operation = Literal["find", "move", "get"]

_ROOT: Final = "1.2.840.10008.5.1.4.1.2."
_SUFFIXES: Final = {"find": "1", "move": "2", "get": "3"}


class Model(Enum):
    """An information model: its levels, the upper ones first."""

    STUDY_ROOT = "2", "Study Root", (Level.STUDY, Level.SERIES, Level.IMAGE)
    PATIENT_ROOT = "1", "Patient Root", (Level.PATIENT, Level.STUDY, Level.SERIES, Level.IMAGE)
    PATIENT_STUDY_ONLY = "3", "Patient/Study Only", (Level.PATIENT, Level.STUDY)

    def __init__(self, number: str, title: str, levels: tuple[Level, ...]) -> None:
        self.number: str = number
        self.title: str = title
        self.levels: tuple[Level, ...] = levels

    def sop_class(self, operation: Operation) -> str:
        """Its SOP Class UID for an operation (PS3.4 C.6.1.3, C.6.2.3, C.6.3.3)."""
        return f"{_ROOT}{self.number}.{_SUFFIXES[operation]}"

    @property
    def top(self) -> Level:
        return self.levels[0]


_TITLES: Final = {"find": "C-FIND", "move": "C-MOVE", "get": "C-GET"}


def title(operation: Operation) -> str:
    """`C-FIND`, `C-MOVE` or `C-GET`."""
    return _TITLES[operation]


def proposed(operation: Operation) -> list[ProposedContext]:
    """Presentation contexts for every model; to move, those to find too: some servers want to see both (PS3.4 C.5.2.1)."""
    wanted: tuple[Operation, ...] = (operation, "find") if operation == "move" else (operation,)
    sop_classes = [model.sop_class(each) for each in wanted for model in Model]
    return [
        ProposedContext(2 * number + 1, sop_class, (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN))
        for number, sop_class in enumerate(sop_classes)
    ]


def relational(operation: Operation) -> tuple[ExtendedNegotiation, ...]:
    """Asks for relational queries, or relational retrieval, where the peer can do that (PS3.4 C.5.1.1, C.5.2.1)."""
    return tuple(
        ExtendedNegotiation(model.sop_class(operation), b"\x01")
        for model in (Model.STUDY_ROOT, Model.PATIENT_ROOT)
    )


def is_relational(association: Association, model: Model, operation: Operation) -> bool:
    """Whether the peer has agreed to that."""
    return association.extended.get(model.sop_class(operation), b"")[:1] == b"\x01"


def offered(association: Association, operation: Operation) -> dict[Model, AcceptedContext]:
    """The models that the peer accepted, the one to be preferred first."""
    by_class = {context.abstract_syntax: context for context in association.contexts.values()}
    return {
        model: by_class[model.sop_class(operation)]
        for model in Model
        if model.sop_class(operation) in by_class
    }


def chosen(association: Association, level: Level, operation: Operation) -> tuple[Model, AcceptedContext]:
    """The model to ask for entities of a level, and its presentation context; see `choose`.

    Raises:
        NoAcceptedContext: the peer has accepted none.
        RequestFailed: none that it has accepted goes that far.
    """
    there = offered(association, operation)
    model = choose(there, level)
    if model is not None and (operation == "find" or level in model.levels):
        return model, there[model]
    if not there:
        wanted = Model.STUDY_ROOT.sop_class(operation)
        results = [result for (uid, _), result in association.refused.items() if uid == wanted]
        raise reasons.no_context(association.peer, wanted, "", results[0] if results else None)
    only = " and ".join(each.title for each in there)
    what = "be asked for" if operation == "find" else "retrieve at"
    raise RequestFailed(
        f"{association.peer} cannot {what} the {level.word} level: it offers {only} only",
        status=0x0122,
        operation=title(operation),
        peer=association.peer,
    )


def choose(models: Iterable[Model], level: Level) -> Model | None:
    """The model to ask for entities of a level: one that has it, Study Root rather than Patient Root, which wants a PatientID for
    everything below patients. For patients alone it is the other way round; Study Root has none, and is asked for studies instead.
    """
    able = [model for model in models if level in model.levels]
    if able:
        return able[0]
    return Model.STUDY_ROOT if level is Level.PATIENT and Model.STUDY_ROOT in set(models) else None
