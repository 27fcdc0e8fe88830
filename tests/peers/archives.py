"""Three archives under one interface: DCMTK's dcmqrscp, Orthanc and pynetdicom's qrscp, each with ways of its own.

| | dcmqrscp | orthanc | qrscp |
|---|---|---|---|
| holds of BASE | all | all | not the private SOP Class |
| NumberOf… | no | of the level asked for | no |
| answers per | entity | entity | object, at every level |
| lists of UIDs | yes | yes | C320; C-MOVE A801, C-GET C413 |
| keys it does not know | ignored, not returned | returned empty | ignored, not returned |
| upper unique key missing | C000; C-MOVE: Success, nothing | found all the same | A900; C-MOVE A801 |
| keys of upper levels but unique ones | ignored below their level | match | match |
| keys below the level | ignored | match nothing | ignored, A900 for those it knows |
| upper keys that contradict, in C-MOVE | nothing | ignored | nothing |
| an empty unique key in C-MOVE | everything | C000 | everything |
| C-GET, SOP Class not proposed | goes on | C000 at the first one | not measured |
| C-GET, syntax out of several | explicit | explicit | implicit |
| unknown move destination | A801 | C000 | A801 |
| destination does not listen | A702 | C000 | A801 |
| objects refused by the destination | goes on | C000 at the first one | goes on |
| C-STORE names as Move Originator | the requestor | the requestor | itself |
| calling AE it does not know | all the same | aborts at the request | all the same |
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

import base_data
from base_data import Fact
from peers.base import Address, Server, reserved_port
from peers.dcmtk import Dcmtk
from peers.orthanc import Orthanc
from peers.orthanc import orthanc as run_orthanc
from peers.pynet import Pynetdicom

if TYPE_CHECKING:
    import pytest

KINDS: Final = ("dcmqrscp", "orthanc", "qrscp")
PROGRAMS: Final = {"dcmqrscp": "dcmtk", "orthanc": "orthanc", "qrscp": "pynetdicom"}
"""The peers behind them, as `used` counts them."""
CLIENTS: Final = ("DCMFLOW", "DCMFLOW2", "DCMFLOW3", "MOVESCU", "STORESCP")
"""AE titles that each shared archive moves to."""
_CALLERS: Final = ("FINDSCU", "GETSCU", "PYNETDICOM")
"""AE titles that call without being called; Orthanc wants to know them, too."""


@dataclass(frozen=True)
class Archive:
    """An archive that runs.

    Attributes:
        kind: one of KINDS.
        server: the process behind it.
        clients: who it moves to: AE title → the address where it takes that one to listen.
        expected: the objects of BASE that it holds; none for one that was started with other files.
    """

    kind: str
    server: Server
    clients: Mapping[str, Address]
    expected: tuple[Fact, ...] = ()

    @property
    def address(self) -> Address:
        return self.server.address

    @property
    def log(self) -> str:
        return self.server.log

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """Patients, studies, series and images that it is expected to hold."""
        return base_data.counts(self.expected)

    @property
    def orthanc(self) -> Orthanc:
        """Its REST interface. Raises TypeError for another kind."""
        if not isinstance(self.server, Orthanc):
            raise TypeError(f"{self.kind} has no REST interface")
        return self.server


class Archives(AbstractContextManager["Archives"]):
    """Starts archives, shared ones at first use.

    Args:
        tool: the path of one of DCMTK's tools.
        folders: where they live.
    """

    def __init__(self, tool: Callable[[str], str], folders: pytest.TempPathFactory) -> None:
        self._folder = folders.mktemp("archives")
        scratch = self._folder / "scratch"
        scratch.mkdir()
        self._dcmtk, self._pynetdicom = Dcmtk(tool, scratch), Pynetdicom(scratch)
        self._shared: dict[str, Archive] = {}
        self._files: list[Path] = []
        self._running = ExitStack()
        self.clients: Final = {title: Address(reserved_port(), title) for title in CLIENTS}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()

    def base(self) -> list[Path]:
        """The files of BASE, not to be changed."""
        if not self._files:
            self._files = base_data.write_base(self._folder / "base")
        return self._files

    def holding_base(self, kind: str) -> Archive:
        """The one that all tests share; it holds BASE and stays as it is."""
        if kind not in self._shared:
            starting = self.start(kind, self._folder / kind, files=self.base(), expected=base_data.BASE)
            self._shared[kind] = self._running.enter_context(starting)
        return self._shared[kind]

    @contextmanager
    def start(
        self,
        kind: str,
        folder: Path,
        *options: str,
        files: Iterable[Path] = (),
        expected: Iterable[Fact] = (),
        clients: Mapping[str, Address] | None = None,
        ae_title: str | None = None,
        port: int | None = None,
        **settings: Any,
    ) -> Iterator[Archive]:
        """A new archive until the block ends.

        For one that another one moves to, take `port=reserved_port()` first and name it among the `clients` of that one.

        Args:
            kind: one of KINDS.
            folder: for all that it keeps.
            options: of dcmqrscp.
            files: that it holds from the start.
            expected: the facts of these files; the private object is left out for qrscp.
            clients: who else it may move to, besides `self.clients`.
            ae_title: its own.
            port: where it listens; without one anywhere.
            settings: of Orthanc; `private=False` for a dcmqrscp that gives away standard SOP Classes only.
        """
        known = {**self.clients, **(clients or {})}
        facts = tuple(fact for fact in expected if kind != "qrscp" or not fact.private)
        title = ae_title or kind.upper()
        with self._server(kind, folder, options, known, list(files), title, port, settings) as server:
            yield Archive(kind, server, known, facts)

    @contextmanager
    def _server(
        self,
        kind: str,
        folder: Path,
        options: Iterable[str],
        clients: Mapping[str, Address],
        files: list[Path],
        title: str,
        port: int | None,
        settings: Mapping[str, Any],
    ) -> Iterator[Server]:
        if kind == "dcmqrscp":
            ports = {name: address.port for name, address in clients.items()}
            more = {"private": True, **settings}
            with self._dcmtk.dcmqrscp(
                folder, *options, ae_title=title, clients=ports, files=files, port=port, **more
            ) as server:
                yield server
        elif kind == "orthanc":
            callers = {name: Address(1, name) for name in _CALLERS}
            with run_orthanc(
                folder, ae_title=title, clients={**callers, **clients}, port=port, **settings
            ) as orthanc:
                orthanc.add(*files)
                yield orthanc
        elif kind == "qrscp":
            with self._pynetdicom.qrscp(
                folder, clients, ae_title=title, files=files, port=port, **settings
            ) as server:
                yield server
        else:
            raise ValueError(f"{kind!r} is none of {KINDS}")
