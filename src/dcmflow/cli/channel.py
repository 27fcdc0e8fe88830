"""What the process that a person has started and those that it has started for it tell each other.

    to a child      Orders   go   drain   cancel
    from a child    Opened   Line ...   Standing ...   Over

Each message is a line of JSON on a socket between the two. When one of them is gone, the other one reads the end of it.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any, Generic, TypeVar

import anyio
import msgspec
from msgspec import Struct

from dcmflow.flow.statistics import Statistics

BLOCK = 65536


class Message(Struct, frozen=True, tag=True):
    """A line on the socket."""


class Orders(Message, frozen=True):
    """What a child is to do, before anything else.

    Attributes:
        file: the pipeline file.
        options: those that every command has.
        backend, grace, live: as for one process.
        number: which process it is, from 0.  processes: how many there are.
        sources: the names of the sources that calls come to.
        sockets: descriptors of sockets that listen, by the name of a source.
        crew: descriptor of what the processes share.
        refusals: descriptor of the file for its refusals.
        modules: where Python looks for modules.
    """

    file: str
    options: dict[str, Any]
    backend: str
    grace: float
    live: bool
    number: int
    processes: int
    sources: Sequence[str]
    sockets: dict[str, list[int]]
    crew: int
    refusals: int
    modules: list[str]


class Word(Message, frozen=True):
    """`go`: all are ready, take calls; `drain`, `cancel`: as the first and the second signal."""

    word: str


class Opened(Message, frozen=True):
    """All stages of a child are open."""


class Line(Message, frozen=True):
    """A line for people, or of the log."""

    text: str


class Standing(Message, frozen=True):
    """How a child stands.

    Attributes:
        kept, lost: as of `Refusals`.
    """

    statistics: Statistics
    kept: int = 0
    lost: int = 0


class Over(Message, frozen=True):
    """A child has ended.

    Attributes:
        failure: why, in words; empty: it is done.
        code: what a command ends with for that reason.
        stage: which stage it was.  opening: before anything moved.
    """

    failure: str = ""
    code: int = 0
    stage: str = ""
    opening: bool = False


ToChild = Orders | Word
FromChild = Opened | Line | Standing | Over

M = TypeVar("M")


class Channel(Generic[M]):
    """One end of the socket.

    Args:
        sock: it blocks when it is written to, which takes long only if the other one does not read.
        type: the messages that come.
    """

    def __init__(self, sock: socket.socket, type: Any) -> None:
        self._sock = sock
        self._decoder: msgspec.json.Decoder[M] = msgspec.json.Decoder(type)

    def send(self, message: Message) -> None:
        """Send a message; when nobody is there any more it is let go, which the reader finds out."""
        with suppress(OSError):
            self._sock.sendall(msgspec.json.encode(message) + b"\n")

    def receive(self) -> M | None:
        """The first message, waiting for it in this thread; what follows is left to `messages`. None: the end."""
        line = bytearray()
        while not line.endswith(b"\n"):
            byte = self._sock.recv(1)
            if not byte:
                return None
            line += byte
        return self._decoder.decode(line)

    async def messages(self) -> AsyncIterator[M]:
        """All messages until the end."""
        rest = b""
        while True:
            await anyio.wait_readable(self._sock)
            try:
                data = self._sock.recv(BLOCK, socket.MSG_DONTWAIT)
            except BlockingIOError:
                continue
            except OSError:
                return
            if not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                yield self._decoder.decode(line)

    def close(self) -> None:
        self._sock.close()


def sayable(text: str) -> str:
    """The text with what no JSON can hold escaped: parts of names of files that are no UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()
