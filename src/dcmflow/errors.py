"""Every exception that dcmflow raises on purpose.

::

    DcmflowError                      .status: what a peer is told   .transient: worth trying again
    ├── PipelineError
    │   ├── GraphError                no sink, a cycle, an unknown branch
    │   ├── ConfigError               .file .table .key .line: what a person wrote cannot be right
    │   └── StageError                .stage: could not open, or its actor died
    ├── Refused                       an instance was not accepted: .status .instance_uid .stage
    ├── RequestFailed                 a peer answered a request with a failure: .status .comment .operation .peer
    ├── NetworkError
    │   ├── ConnectError
    │   ├── NetworkTimeout
    │   ├── AssociationRejected       .result .source .reason (PS3.8 9.3.4)
    │   ├── AssociationAborted        .source .reason (PS3.8 9.3.8)
    │   └── NoAcceptedContext         .sop_class .transfer_syntax
    ├── ProtocolError
    │   ├── LocalProtocolError        we tried something PS3.8 forbids
    │   └── RemoteProtocolError       they did
    └── DatasetError                  bytes that do not parse, values that do not encode
        └── NotDicom                  nothing in these bytes says that they are DICOM

The text of an error says what was attempted, with whom, and what to try.
"""

from __future__ import annotations

from typing import Any

from dcmflow.status import Status


class DcmflowError(Exception):
    """Base of all errors of dcmflow.

    Attributes:
        status: the DIMSE status that a peer is told when this error ends its request.
        transient: True when the same thing, tried again later, may work.
    """

    status: Status = Status.PROCESSING_FAILURE
    transient: bool = False

    def __init__(
        self, message: str = "", *, status: int | None = None, transient: bool | None = None
    ) -> None:
        super().__init__(message)
        if status is not None:
            self.status = Status(status)
        if transient is not None:
            self.transient = transient

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, dict(self.__dict__))


def _rebuild(cls: type[DcmflowError], args: tuple[Any, ...], state: dict[str, Any]) -> DcmflowError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class PipelineError(DcmflowError):
    """The pipeline as a whole cannot be built or go on."""


class GraphError(PipelineError):
    """Stages are joined in a way that cannot work: no sink, a cycle, an unknown branch."""


class ConfigError(PipelineError):
    """What a person wrote in a file or on the command line cannot be right.

    Attributes:
        file, table, key: where; None where unknown.  line, column: from 1; None where unknown.
    """

    def __init__(
        self,
        message: str,
        *,
        file: str | None = None,
        table: str | None = None,
        key: str | None = None,
        line: int | None = None,
        column: int | None = None,
    ) -> None:
        self.problem = message
        self.file: str | None = file
        self.table: str | None = table
        self.key: str | None = key
        self.line: int | None = line
        self.column: int | None = column
        super().__init__(self._text())

    def _text(self) -> str:
        where = self.file or ""
        if self.line is not None:
            where += f"{':' if where else 'line '}{self.line}"
            if self.column is not None:
                where += f":{self.column}"
        if self.table:
            where += f"{' ' if where else ''}[{self.table}]"
        if self.key:
            where += f"{' ' if where else ''}{self.key}"
        return f"{where}: {self.problem}" if where else self.problem

    def at(
        self,
        *,
        file: str | None = None,
        table: str | None = None,
        key: str | None = None,
        line: int | None = None,
        column: int | None = None,
    ) -> ConfigError:
        """The same error with what is known in addition about where it is."""
        return ConfigError(
            self.problem,
            file=self.file or file,
            table=self.table or table,
            key=self.key or key,
            line=self.line or line,
            column=self.column or column,
        )


class StageError(PipelineError):
    """A stage could not open, or its actor died outside of any instance.

    Attributes:
        stage: its name.  opening: True when nothing had moved yet.
    """

    def __init__(self, message: str, *, stage: str, opening: bool = False) -> None:
        super().__init__(message)
        self.stage = stage
        self.opening = opening


class Refused(DcmflowError):
    """An instance was not accepted.

    Attributes:
        status: why, as a DIMSE status.  instance_uid: SOP Instance UID.  stage: the name of the stage.
    """

    status: Status = Status.OUT_OF_RESOURCES

    def __init__(
        self,
        message: str = "",
        *,
        status: int | None = None,
        instance_uid: str = "",
        stage: str = "",
        transient: bool | None = None,
    ) -> None:
        super().__init__(message, status=status, transient=transient)
        self.instance_uid = instance_uid
        self.stage = stage


class RequestFailed(DcmflowError):
    """A peer answered a request other than C-STORE with a failure status (PS3.7 C.5).

    Attributes:
        status: what it said.  comment: its Error Comment (0000,0902).  operation: such as "C-FIND".  peer: who it was.
    """

    def __init__(
        self, message: str = "", *, status: int, comment: str = "", operation: str = "", peer: str = ""
    ) -> None:
        super().__init__(message, status=status, transient=status & 0xFF00 == 0xA700)
        self.comment: str = comment
        self.operation: str = operation
        self.peer: str = peer


class NetworkError(DcmflowError):
    """Talking to a peer failed."""

    status: Status = Status.OUT_OF_RESOURCES
    transient: bool = True


class ConnectError(NetworkError):
    """No connection came about."""


class NetworkTimeout(NetworkError):
    """A peer did not answer in time."""


class AssociationRejected(NetworkError):
    """The peer rejected the association (A-ASSOCIATE-RJ, PS3.8 9.3.4)."""

    def __init__(self, message: str, *, result: int, source: int, reason: int) -> None:
        super().__init__(message, transient=result == 2)
        self.result: int = result
        self.source: int = source
        self.reason: int = reason


class AssociationAborted(NetworkError):
    """The association ended by A-ABORT or A-P-ABORT (PS3.8 9.3.8)."""

    def __init__(self, message: str, *, source: int, reason: int) -> None:
        super().__init__(message)
        self.source: int = source
        self.reason: int = reason


class NoAcceptedContext(NetworkError):
    """The peer accepted no presentation context for this SOP Class and transfer syntax."""

    status: Status = Status(0x0122)
    transient: bool = False

    def __init__(self, message: str, *, sop_class: str, transfer_syntax: str) -> None:
        super().__init__(message)
        self.sop_class: str = sop_class
        self.transfer_syntax: str = transfer_syntax


class ProtocolError(DcmflowError):
    """PS3.8 or PS3.7 was violated."""


class LocalProtocolError(ProtocolError):
    """We tried something that the protocol forbids."""


class RemoteProtocolError(ProtocolError):
    """The peer did something that the protocol forbids."""


class DatasetError(DcmflowError):
    """Bytes that are not a data set, or values that cannot be encoded (PS3.5)."""

    status: Status = Status.CANNOT_UNDERSTAND


class NotDicom(DatasetError):
    """The content is not DICOM at all, as opposed to broken DICOM: counted and passed over, not refused."""
