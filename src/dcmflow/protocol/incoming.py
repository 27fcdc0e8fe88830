"""The DIMSE message that is coming in: which fragment may follow which, and the command set as it grows (PS3.8 E, PS3.7 6.3)."""

from __future__ import annotations

from typing import Final, final

from dcmflow.errors import RemoteProtocolError
from dcmflow.protocol.command import CommandSet, decode_command
from dcmflow.protocol.fragment import COMMAND, LAST, Buffer

COMMAND_LIMIT: Final = 128 * 1024  # bytes of a command set


@final
class Incoming:
    """One message after the other.

    Attributes:
        contexts: the ids of the presentation contexts that are in use.
        context_id: of the fragment that is being read.
        control: its message control header.
        expected: the presentation context of the data set that must follow; 0: none.
    """

    __slots__ = ("_command", "context_id", "contexts", "control", "expected")

    def __init__(self) -> None:
        self.contexts: set[int] = set()
        self.context_id: int = 0
        self.control: int = 0
        self.expected: int = 0
        self._command: bytearray | None = None

    @property
    def begun(self) -> bool:
        """Something of a message has come, and the rest is due."""
        return bool(self.expected) or self._command is not None

    def fragment(self, context_id: int, control: int) -> None:
        """A fragment begins. Raises RemoteProtocolError: it cannot come now."""
        if self.expected:
            if control & COMMAND:
                raise RemoteProtocolError("a command set where a data set was to follow")
            if context_id != self.expected:
                raise RemoteProtocolError(
                    f"a data set in presentation context {context_id} to a command in {self.expected}"
                )
        elif not control & COMMAND:
            raise RemoteProtocolError("a data set that no command announced")
        elif self._command is not None and context_id != self.context_id:
            raise RemoteProtocolError("a command set in two presentation contexts")
        elif context_id not in self.contexts:
            raise RemoteProtocolError(
                f"a message in presentation context {context_id}, which was not accepted"
            )
        self.context_id, self.control = context_id, control

    def gather(self, part: Buffer, complete: bool) -> CommandSet | None:
        """Take bytes of a command set; returns it when it is whole.

        Args:
            complete: the fragment ends with these bytes.

        Raises:
            RemoteProtocolError: it is none, or it is too long.
        """
        last = complete and self.control & LAST != 0
        gathered = self._command
        if gathered is not None or not last:
            if gathered is None:
                gathered = self._command = bytearray()
            gathered += part
            part = gathered
        if len(part) > COMMAND_LIMIT:
            raise RemoteProtocolError(f"a command set of more than {COMMAND_LIMIT} bytes")
        if not last:
            return None
        self._command = None
        command = decode_command(part)
        if command.has_data:
            self.expected = self.context_id
        return command

    def forget(self) -> None:
        """What has come of a message is of no interest any more."""
        self.expected = 0
        self._command = None
