"""A little archive to try queries and retrievals on: `python examples/little_pacs.py pacs.toml`.

It holds made-up studies, answers C-FIND, C-MOVE and C-GET, and sends to nobody but its move destinations:

    address = "PACS@127.0.0.1:11112"

    [move-destinations]
    DCMFLOW = "127.0.0.1:11113"
"""

from __future__ import annotations

import sys
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
from pydicom.dataset import Dataset

from dcmflow.dicom.level import COUNTS, Level
from dcmflow.dicom.matching import Matcher, Verdict
from dcmflow.dicom.query import Query
from dcmflow.dicom.record import Record
from dcmflow.dicom.samples import uid
from dcmflow.testing import Encoded, Exchange, Get, Matches, Move, ScriptedScp, instance

STUDIES = [
    ("P1", "Doe^Jane", "A1", "20240131", "CT", (3, 2)),
    ("P1", "Doe^Jane", "A2", "20240214", "MR", (2,)),
    ("P2", "Buc^Jérôme", "A3", "20240214", "MR", (4,)),
]
SOP_CLASSES = {"CT": "1.2.840.10008.5.1.4.1.1.2", "MR": "1.2.840.10008.5.1.4.1.1.4"}


def holdings() -> list[Any]:
    """All that it has."""
    return [
        instance(
            SOP_CLASSES[modality],
            PatientID=patient,
            PatientName=name,
            AccessionNumber=accession,
            StudyDate=date,
            SeriesNumber=series,
            InstanceNumber=image,
            StudyInstanceUID=uid(accession),
            SeriesInstanceUID=uid(accession, series),
            SOPInstanceUID=uid(accession, series, image),
        )
        for patient, name, accession, date, modality, series_of in STUDIES
        for series, images in enumerate(series_of, 1)
        for image in range(1, images + 1)
    ]


HELD = holdings()


def asked_for(request: Dataset, keys: list[str]) -> list[Any]:
    """What matches a request by these of its keys."""
    level = Level.parse(request.QueryRetrieveLevel)
    elements = [request[key] for key in keys if key in request]
    values = {each.keyword: list(each.value) if each.VM > 1 else each.value for each in elements}
    matcher = Matcher(Query.of(values, level))
    return [one for one in HELD if matcher.verdict(Record.of(level, one.header)) is Verdict.MATCH]


def answers(request: Dataset) -> list[Dataset]:
    """One for each patient, study, series or image that matches."""
    level = Level.parse(request.QueryRetrieveLevel)
    counted = [name for name, _, _ in COUNTS]
    aside = {"QueryRetrieveLevel", "SpecificCharacterSet", "ModalitiesInStudy", *counted}
    keys = [key for key in request.dir() if key not in aside]
    found = {}
    for one in asked_for(request, keys):
        answer = Dataset()
        answer.SpecificCharacterSet, answer.QueryRetrieveLevel = "ISO_IR 192", level.name
        for key in keys:
            setattr(answer, key, one.header.get(key) or "")
        for keyword, upper, lower in COUNTS:
            if keyword in request and upper <= level:
                below = [other for other in HELD if same(other, one, upper)]
                setattr(answer, keyword, len({other.header[lower.keyword] for other in below}))
        if "ModalitiesInStudy" in request:
            answer.ModalitiesInStudy = one.header["Modality"]
        found[one.header[level.keyword]] = answer
    return list(found.values())


def same(one: Any, other: Any, level: Level) -> bool:
    return bool(one.header[level.keyword] == other.header[level.keyword])


def find(exchange: Exchange) -> Matches:
    return Matches(answers(exchange.dataset()))


def select(exchange: Exchange) -> list[Encoded]:
    """What a C-MOVE or C-GET asks for: unique keys alone count."""
    return asked_for(exchange.dataset(), [level.keyword for level in Level])


async def main(settings: dict[str, Any]) -> None:
    title, _, place = settings["address"].partition("@")
    destinations = {ae: f"{ae}@{where}" for ae, where in settings.get("move-destinations", {}).items()}
    async with ScriptedScp(
        ae=title,
        port=int(place.rpartition(":")[2]),
        destinations=destinations,
        on_find=find,
        on_move=Move(select),
        on_get=Get(select),
        check=False,
    ) as pacs:
        print(f"{pacs.node} has {len(HELD)} instances of {len(STUDIES)} studies", flush=True)  # noqa: T201
        await anyio.sleep_forever()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        anyio.run(main, tomllib.loads(Path(sys.argv[1]).read_text("utf-8")))
