"""DCMTK's clients for query and retrieve."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from peers.base import Address, client, used

MODELS = {"patient": "-P", "study": "-S", "patient/study": "-O"}
"""The information models as these tools name them; the last one is retired."""


@dataclass(frozen=True)
class Asked:
    """What became of a query or a retrieval.

    Attributes:
        done: the process; its log has everything.
        status: of the final response; None where none came.
        pending: the number of pending responses.
        answers: to a query.
        files: that a retrieval stored, by SOP Instance UID.
        counts: completed, failed and warning sub-operations of the final response; None where it does not say.
    """

    done: subprocess.CompletedProcess[str] = field(repr=False)
    status: int | None = None
    pending: int = 0
    answers: tuple[Dataset, ...] = ()
    files: Mapping[str, Path] = field(default_factory=dict)
    counts: tuple[int | None, int | None, int | None] = (None, None, None)

    @property
    def log(self) -> str:
        return self.done.stdout + self.done.stderr

    def values(self, keyword: str) -> list[str]:
        """An element of each answer as text, in the order in which they came; empty where it has none."""
        return [str(ds.get(keyword) or "") for ds in self.answers]


class QueryClients:
    """`findscu`, `movescu` and `getscu`.

    Args:
        tool: the path of one of DCMTK's tools; the fixture `dcmtk`.
        scratch: a folder for logs, settings and what is received.
    """

    def __init__(self, tool: Callable[[str], str], scratch: Path) -> None:
        self._tool, self._scratch = tool, scratch

    def findscu(
        self,
        to: Address,
        level: str,
        keys: Mapping[str, str] | Iterable[str] = (),
        *options: str,
        model: str = "study",
        calling_ae: str = "FINDSCU",
        timeout: float = 60,
    ) -> Asked:
        """A C-FIND.

        Args:
            to: whom.
            level: `patient`, `study`, `series` or `image`.
            keys: by keyword or `gggg,eeee`; without values where only names are given.
            options: of findscu: `--cancel`, `3` …
            model: one of MODELS.
            calling_ae: who asks.
            timeout: seconds for all of it.
        """
        folder = self._folder()
        done = self._ask(
            "findscu", to, level, keys, ["-X", "-od", str(folder), *options], model, calling_ae, timeout
        )
        return _asked(done, answers=(pydicom.dcmread(path) for path in sorted(folder.glob("rsp*.dcm"))))

    def movescu(
        self,
        to: Address,
        level: str,
        keys: Mapping[str, str],
        *options: str,
        destination: str | None = None,
        listen: int | None = None,
        model: str = "patient",
        calling_ae: str = "MOVESCU",
        timeout: float = 60,
    ) -> Asked:
        """A C-MOVE.

        Args:
            to: the archive.
            level: of the request.
            keys: its unique keys and those above.
            options: of movescu.
            destination: AE title that the objects go to, `calling_ae` when None.
            listen: receive them itself at this port, over one association at a time.
            model: one of MODELS.
            calling_ae: who asks.
            timeout: seconds for all of it.
        """
        folder = self._folder()
        more = ["-aem", destination or calling_ae, "+B", "+xa"]  # it stores into its working directory then
        more += ["+P", str(listen)] if listen else []
        done = self._ask("movescu", to, level, keys, [*more, *options], model, calling_ae, timeout, folder)
        return _asked(done, files=folder.iterdir())

    def getscu(
        self,
        to: Address,
        level: str,
        keys: Mapping[str, str],
        *options: str,
        model: str = "patient",
        calling_ae: str = "GETSCU",
        timeout: float = 60,
    ) -> Asked:
        """A C-GET; it proposes no SOP Class that it does not know. Arguments as those of `movescu`."""
        folder = self._folder()
        more = ["-od", str(folder), "+B", *options]
        done = self._ask("getscu", to, level, keys, more, model, calling_ae, timeout)
        return _asked(done, files=folder.iterdir())

    def _ask(
        self,
        name: str,
        to: Address,
        level: str,
        keys: Mapping[str, str] | Iterable[str],
        options: Iterable[str],
        model: str,
        calling_ae: str,
        timeout: float,
        cwd: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        used("dcmtk")
        pairs = keys.items() if isinstance(keys, Mapping) else [(key, "") for key in keys]
        command = [self._tool(name), "-d", MODELS[model], "-aet", calling_ae, "-aec", to.ae_title, *options]
        command += ["-k", f"QueryRetrieveLevel={level.upper()}"]
        for key, value in pairs:
            command += ["-k", f"{key}={value}"]
        return client([*command, to.host, str(to.port)], timeout=timeout, cwd=cwd)

    def _folder(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self._scratch))


_MESSAGE = re.compile(
    r"^D: Message Type +: C-(?:FIND|MOVE|GET) RSP$(.*?)^D: =+ END DIMSE MESSAGE", re.MULTILINE | re.DOTALL
)
_FIELD = re.compile(r"^D: (Completed|Failed|Warning|DIMSE) (?:Suboperations|Status) +: (\w+)", re.MULTILINE)


def _asked(
    done: subprocess.CompletedProcess[str], answers: Iterable[Dataset] = (), files: Iterable[Path] = ()
) -> Asked:
    from wire_data import uid_of

    responses = [dict(_FIELD.findall(text)) for text in _MESSAGE.findall(done.stdout + done.stderr)]
    status = [int(response["DIMSE"], 16) for response in responses]
    ended = bool(status) and status[-1] >> 8 != 0xFF
    counts = {key: value for key, value in (responses[-1] if ended else {}).items() if value.isdigit()}
    completed, failed, warning = (
        int(counts[key]) if key in counts else None for key in ("Completed", "Failed", "Warning")
    )
    return Asked(
        done,
        status[-1] if ended else None,
        len(status) - ended,
        tuple(answers),
        {uid_of(path): path for path in files},
        (completed, failed, warning),
    )
