"""Archives that answer queries and retrievals by the standard, or with the faults they are told to have, and what came of asking.

Written with pydicom, so that what an archive should say does not come from the program that asks it.
"""

from __future__ import annotations

import fnmatch
import json
import re
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
from anyio.from_thread import BlockingPortal
from pydicom.dataset import Dataset

from acceptance_kit import FLAT, Done, pipeline_file, visible
from acceptance_wire import Scripted, scripted
from corpus import Corpus, uid
from dcmflow.testing import Answer, Encoded, Exchange, Get, Matches, Move, Seen, SendHere, SendTo
from dcmflow.testing.peer_dataset import decoded
from peers.base import HOST, Address
from wire_data import dataset_bytes, file_meta, uid_of

PATIENT_ROOT, STUDY_ROOT, PATIENT_STUDY = (f"1.2.840.10008.5.1.4.1.2.{number}" for number in (1, 2, 3))
FIND, MOVE, GET = ".1", ".2", ".3"
"""After the UID of a model: the UID of its service (PS3.4 C.6)."""

LEVELS = ("PATIENT", "STUDY", "SERIES", "IMAGE")
KEYS = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
BELONGS = {
    **dict.fromkeys(("PatientID", "PatientName", "PatientBirthDate", "PatientSex"), 0),
    **dict.fromkeys(("StudyInstanceUID", "StudyDate", "StudyTime", "AccessionNumber", "StudyID", "StudyDescription"), 1),
    **dict.fromkeys(("ModalitiesInStudy", "ReferringPhysicianName"), 1),
    **dict.fromkeys(("SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "Modality", "ProtocolName"), 2),
}  # fmt: skip
"""The level of what these archives know above their images."""
COUNTED = {
    "NumberOfPatientRelatedStudies": (0, 1),
    "NumberOfPatientRelatedSeries": (0, 2),
    "NumberOfPatientRelatedInstances": (0, 3),
    "NumberOfStudyRelatedSeries": (1, 2),
    "NumberOfStudyRelatedInstances": (1, 3),
    "NumberOfSeriesRelatedInstances": (2, 3),
}
_ASIDE = {"QueryRetrieveLevel", "SpecificCharacterSet"}
CHILDREN = ("patients", "studies", "series", "images")


@dataclass
class Holdings:
    """What an archive has, and how it answers.

    Attributes:
        files: Part 10 files.
        ignores: keys that it neither matches nor returns.
        blank: keys that it does not match, and returns empty.
        unmatched: keys that it does not match, but returns.
        counts: whether it returns how many there are below.
        strict: whether every upper level needs its one unique key (A900 without).
        edit: changes each answer, or leaves it out.
    """

    files: list[Path]
    ignores: frozenset[str] = frozenset()
    blank: frozenset[str] = frozenset()
    unmatched: frozenset[str] = frozenset()
    counts: bool = False
    strict: bool = False
    edit: Callable[[Dataset], Dataset | None] | None = None
    datasets: list[Dataset] = field(init=False)

    def __post_init__(self) -> None:
        self.datasets = [pydicom.dcmread(path) for path in self.files]

    def find(self, exchange: Exchange) -> Any:
        """A script for C-FIND."""
        asked = exchange.dataset()
        if self.strict and (lacking := self._lacking(asked, exchange.seen.abstract_syntax)):
            return Answer(0xA900, f"{lacking} is missing")
        return Matches(self.answers(asked))

    def answers(self, asked: Dataset) -> list[Dataset]:
        """One for each entity of the level that matches."""
        depth = LEVELS.index(asked.QueryRetrieveLevel)
        entities: dict[str, list[Dataset]] = {}
        for ds in self.datasets:
            entities.setdefault(str(ds.get(KEYS[depth]) or ""), []).append(ds)
        found = []
        for parts in entities.values():
            if all(self._matches(asked, keyword, parts, depth) for keyword in asked.dir()):
                answer = self._answer(asked, parts, depth)
                found.append(self.edit(answer) if self.edit else answer)
        return [answer for answer in found if answer is not None]

    def select(self, exchange: Exchange) -> list[Encoded]:
        """What a C-MOVE or C-GET asks for: by unique keys alone."""
        asked = exchange.dataset()
        wanted = {key: _values(asked, key) for key in KEYS if _values(asked, key)}
        return [
            sendable(path)
            for path, ds in zip(self.files, self.datasets, strict=True)
            if all(str(ds.get(key) or "") in values for key, values in wanted.items())
        ]

    def _lacking(self, asked: Dataset, model: str) -> str:
        first = 0 if model.startswith(PATIENT_ROOT) else 1
        upper = KEYS[first : LEVELS.index(asked.QueryRetrieveLevel)]
        return " and ".join(key for key in upper if len(_values(asked, key)) != 1)

    def _matches(self, asked: Dataset, keyword: str, parts: list[Dataset], depth: int) -> bool:
        pattern = "\\".join(_values(asked, keyword))
        unknown = keyword in _ASIDE | self.ignores | self.blank | self.unmatched | COUNTED.keys()
        if unknown or not pattern.strip("*"):
            return True
        if BELONGS.get(keyword, 3) > depth:  # a key below the level of the query
            return False
        held = {str(part[keyword].value) for part in parts if keyword in part}
        return any(_fits(keyword, pattern, value) for value in held)

    def _answer(self, asked: Dataset, parts: list[Dataset], depth: int) -> Dataset:
        answer = Dataset()
        answer.QueryRetrieveLevel = LEVELS[depth]
        answer.RetrieveAETitle = "ARCHIVE"
        if "SpecificCharacterSet" in parts[0]:
            answer.SpecificCharacterSet = parts[0].SpecificCharacterSet
        for element in asked:
            keyword = element.keyword
            if keyword in self.ignores or keyword in _ASIDE:
                continue
            if keyword in COUNTED:
                of, what = COUNTED[keyword]
                if self.counts and of == depth:
                    setattr(answer, keyword, len({str(part.get(KEYS[what])) for part in parts}))
            elif keyword == "ModalitiesInStudy":
                answer.ModalitiesInStudy = sorted({part.Modality for part in parts if part.get("Modality")})
            elif keyword not in self.blank and BELONGS.get(keyword, 3) <= depth and keyword in parts[0]:
                answer[element.tag] = parts[0][keyword]
            else:
                answer.add_new(element.tag, element.VR, [] if element.VR == "SQ" else None)
        return answer


def _values(ds: Dataset, keyword: str) -> list[str]:
    value = ds.get(keyword)
    if value is None or value == "":
        return []
    return (
        [str(value)]
        if isinstance(value, str) or not hasattr(value, "__iter__")
        else [str(one) for one in value]
    )


def _fits(keyword: str, pattern: str, value: str) -> bool:
    if keyword.endswith("UID"):
        return value in pattern.split("\\")
    if keyword.endswith("Date") and "-" in pattern:
        first, _, last = pattern.partition("-")
        return (first or "0") <= value <= (last or "9")
    if "*" in pattern or "?" in pattern:
        return fnmatch.fnmatchcase(value.upper(), pattern.upper().replace("[", "[[]"))
    return value.rstrip("^ ").upper() == pattern.rstrip("^ ").upper()


def sendable(path: Path) -> Encoded:
    """The very bytes of a file, to be sent."""
    meta = file_meta(path)[0]
    return Encoded(
        str(meta.MediaStorageSOPClassUID),
        str(meta.MediaStorageSOPInstanceUID),
        str(meta.TransferSyntaxUID),
        dataset_bytes(path),
    )


@contextmanager
def archiving(
    files: Iterable[Path],
    *,
    to: Address | None = None,
    portal: BlockingPortal | None = None,
    ae: str = "ARCHIVE",
    **how: Any,
) -> Iterator[Scripted]:
    """A scripted archive that has these files and may move them to one address.

    `how`: attributes of `Holdings`, and scripts of `ScriptedScp`.
    """
    own = {key: how.pop(key) for key in list(how) if key in Holdings.__dataclass_fields__}
    holdings = Holdings(list(files), **own)
    scripts: dict[str, Any] = {
        "on_find": holdings.find,
        "on_move": Move(holdings.select),
        "on_get": Get(holdings.select),
        "destinations": {to.ae_title: str(to)} if to else {},
    }
    with scripted(portal, ae=ae, **(scripts | how)) as server:
        yield server


# what was asked -----------------------------------------------------------------------------------------------------


def identifier(seen: Seen) -> Dataset:
    """The data set of a request."""
    return decoded(seen.data or b"", seen.transfer_syntax)


def asked(server: Scripted, what: str = "C-FIND-RQ") -> list[Dataset]:
    """The identifiers a server was sent."""
    return [identifier(seen) for seen in server.of(what)]


def most_at_once(server: Scripted) -> int:
    """How many associations there were at the same time, one that is being released left out."""
    there: set[int] = set()
    most = 0
    for seen in list(server.peer.received):
        if seen.what == "A-ASSOCIATE-RQ":
            there.add(seen.association)
        elif seen.what in ("A-RELEASE-RQ", "A-ABORT", "close", "reset"):
            there.discard(seen.association)
        most = max(most, len(there))
    return most


def ended(server: Scripted) -> None:
    """Waits until the server was told that what it does is no longer wanted."""
    server.wait("C-CANCEL-RQ", "A-ABORT")


# what was found -----------------------------------------------------------------------------------------------------


def document(text: str | Done) -> dict[str, Any]:
    """A result as JSON: what every one of them has in it is there."""
    said: dict[str, Any] = json.loads(text.out if isinstance(text, Done) else text)
    assert said["format"] == "dcmflow-catalog", said
    assert said["version"] == 1, said
    assert said["level"] in {level.lower() for level in LEVELS}, said
    return said


def entities(text: str | Done) -> list[tuple[int, dict[str, Any]]]:
    """The depth (0: patients) and the values of each entity of a result, those of its parents in them, parents first."""
    found: list[tuple[int, dict[str, Any]]] = []

    def visit(nodes: list[dict[str, Any]], depth: int, above: Mapping[str, Any]) -> None:
        for node in nodes:
            values = {
                key: value for key, value in node.items() if not (depth < 3 and key == CHILDREN[depth + 1])
            }
            values = dict(above) | values.get("values", values)
            found.append((depth, values))
            if depth < 3:
                visit(node.get(CHILDREN[depth + 1], []), depth + 1, values)

    visit(document(text)["patients"], 0, {})
    return found


def leaves(text: str | Done) -> list[dict[str, Any]]:
    """The values of what was asked for."""
    found = entities(text)
    lowest = [level.lower() for level in LEVELS].index(document(text)["level"])
    return [values for depth, values in found if depth == lowest]


def uids(text: str | Done, keyword: str = "SOPInstanceUID") -> set[str]:
    """The unique keys of one level."""
    return {
        values[keyword]
        for depth, values in entities(text)
        if depth == KEYS.index(keyword) and keyword in values
    }


def tally(text: str | Done) -> tuple[int, ...]:
    """How many patients, studies, series and images a result has."""
    found = [depth for depth, _ in entities(text)]
    return tuple(found.count(depth) for depth in range(4))


def rows(text: str | Done) -> list[dict[str, Any]]:
    """The objects of NDJSON, one a line, each line whole."""
    out = text.out if isinstance(text, Done) else text
    assert not out or out.endswith("\n"), out[-200:]
    return [json.loads(line) for line in out.splitlines()]


def held(files: Iterable[Path], **where: str) -> set[str]:
    """The SOP Instance UIDs of the files that have these values."""
    found = set()
    for path in files:
        ds = pydicom.dcmread(path, stop_before_pixels=True)
        if all(str(ds.get(keyword, "")) == value for keyword, value in where.items()):
            found.add(str(ds.SOPInstanceUID))
    return found


def value_of(path: Path, keyword: str) -> str:
    return str(pydicom.dcmread(path, stop_before_pixels=True)[keyword].value)


def files_of(corpus: Corpus, *prefixes: str) -> list[Path]:
    """The files of a set whose names begin so."""
    return [path for name, path in corpus.items() if name.startswith(prefixes)]


# words --------------------------------------------------------------------------------------------------------------


def speaks_of(text: str, *words: str) -> None:
    """Each of these occurs, in any case of letters."""
    missing = [word for word in words if not re.search(word, text, re.IGNORECASE)]
    assert not missing, f"no word of {missing} in: {text}"


# into a folder ------------------------------------------------------------------------------------------------------


def retrieving(
    folder: Path,
    node: object,
    query: Mapping[str, Any],
    local: Address | None,
    *,
    more_filters: Mapping[str, Any] | None = None,
    head: Mapping[str, Any] | None = None,
    **fields: Any,
) -> Path:
    """A pipeline file: retrieves from a node into the folder `out` beside it; `fields` are those of the source."""
    pull = {"type": "retrieve", "node": str(node), "query": dict(query)} | fields
    if local:
        pull["local"] = str(local)
    last = next(iter(more_filters)) if more_filters else "pull"
    tables: dict[str, Any] = {"filters": more_filters} if more_filters else {}
    return pipeline_file(
        folder / "p.toml",
        head=head or {},
        sources={"pull": pull},
        sinks={"out": {"type": "directory", "from": last, "path": "out", "layout": FLAT}},
        **tables,
    )


def got(folder: Path) -> set[str]:
    """The SOP Instance UIDs of the files that are there, each of which is whole."""
    found = {}
    for path in visible(folder) if folder.is_dir() else []:
        pydicom.dcmread(path)
        found[uid_of(path)] = path
    return set(found)


# sub-operations ------------------------------------------------------------------------------------------------------

STUDY = {"StudyInstanceUID": uid("BASE", "TestPat2", "20190615")}
"""The query for the study of BASE that has four images."""


def final(completed: int, failed: int = 0, status: int = 0) -> Answer:
    return Answer(status, fields={"completed": completed, "failed": failed, "warning": 0})


def sub_operations(method: str, at: Address, *files: Path | Encoded, **how: Any) -> Any:
    """Objects on the way to us, without any answer."""
    made = [file if isinstance(file, Encoded) else sendable(file) for file in files]
    return SendTo(str(at), made, **how) if method == "move" else SendHere(made, **how)


def script(method: str, *steps: Any) -> dict[str, Any]:
    return {f"on_{method}": steps}


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((HOST, port))
    return True
