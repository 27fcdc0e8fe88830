"""`send --verify`: asks the node afterwards whether it has what it said it took."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, final

from dcmflow.cli.common import DONE, SOME_FAILED, notice, options, say
from dcmflow.cli.failure import printable
from dcmflow.errors import DcmflowError
from dcmflow.flow.events import Event, InstanceRefused

if TYPE_CHECKING:
    from dcmflow.dicom.instance import Instance
    from dcmflow.net.node import Node

_TOGETHER: Final = 64  # instances of one series that are asked about at once
_NAMED: Final = 10  # that are named one by one

Series = tuple[str, str]


@final
class Sent:
    """Remembers what is sent: a filter function, and an observer of what is refused."""

    def __init__(self) -> None:
        self._series: dict[Series, set[str]] = {}
        self._refused: set[str] = set()

    def note(self, instance: Instance) -> Instance:
        """Pass it on."""
        study, series = instance.header.select(("StudyInstanceUID", "SeriesInstanceUID"), "")
        self._series.setdefault((str(study), str(series)), set()).add(instance.sop_instance_uid)
        return instance

    def observe(self, event: Event) -> None:
        """What is refused is not looked for."""
        if isinstance(event, InstanceRefused):
            self._refused.add(event.sop_instance_uid)

    @property
    def accepted(self) -> Mapping[Series, set[str]]:
        """By study and series, what the node is to have."""
        left = {series: uids - self._refused for series, uids in self._series.items()}
        return {series: uids for series, uids in left.items() if uids}


def verify(node: Node, calling_ae: str, sent: Sent) -> int:
    """Ask, and say what is not there; returns the exit code."""
    import anyio

    accepted = sent.accepted
    total = sum(map(len, accepted.values()))
    try:
        missing = anyio.run(_missing, node, calling_ae, accepted)
    except DcmflowError as error:
        notice("error", printable(f"what was sent could not be verified: {error}", lines=False))
        return SOME_FAILED
    for uid in missing[:_NAMED]:
        notice("error", printable(f"{node} took {uid}, and does not find it", lines=False))
    if len(missing) > _NAMED:
        notice("error", f"{len(missing) - _NAMED} more of {total} are not found")
    if not missing and not options().quiet:
        say(f"verified: {node} finds all {total} of them")
    return SOME_FAILED if missing else DONE


async def _missing(node: Node, calling_ae: str, accepted: Mapping[Series, set[str]]) -> list[str]:
    from dcmflow.dicom.level import Level
    from dcmflow.dicom.query import Query
    from dcmflow.net.client import Client

    missing: list[str] = []
    async with Client(calling_ae) as client:
        for (study, series), uids in accepted.items():
            wanted = sorted(uids)
            for start in range(0, len(wanted), _TOGETHER):
                some = wanted[start : start + _TOGETHER]
                keys = {
                    "StudyInstanceUID": study,
                    "SeriesInstanceUID": series,
                    "SOPInstanceUID": "\\".join(some),
                }
                query = Query(Level.IMAGE, {key: value for key, value in keys.items() if value})
                found: set[str] = set()
                async with client.find(node, query, verify=False) as records:
                    async for record in records:
                        found.add(record.uid)
                missing += [uid for uid in some if uid not in found]
    return missing
