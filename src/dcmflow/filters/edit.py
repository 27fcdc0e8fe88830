"""Changes to elements, without parsing the rest of the data set and without touching the pixels."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import date, datetime, time, timedelta
from typing import Annotated, Any, ClassVar

from msgspec import Meta

from dcmflow.dicom.instance import Instance
from dcmflow.errors import ConfigError, DatasetError
from dcmflow.flow.context import Context
from dcmflow.flow.stage import Filter

Key = Annotated[
    str,
    Meta(description='Keyword, tag `(0010,0010)`, private `("CREATOR",0019,10)` or path `Seq[0].Keyword`.'),
]
_DATES = re.compile(r"(?:(?<=-)|^)(?:\d{8}|\d{4}\.\d\d\.\d\d)", re.ASCII)
Change = Callable[[int, str, str], str | None]


class Edit(Filter, frozen=True):
    """Sets, blanks and removes elements, replaces UIDs and shifts dates.

    Done in this order: UIDs, dates, remove, blank, set. What is not named keeps its bytes; the pixels are never copied.
    """

    divisible: ClassVar[bool] = True

    set: Annotated[
        dict[str, Any],
        Meta(description="Values by keyword, tag, private tag or nested path; sequences as lists of tables."),
    ] = {}  # noqa: RUF012
    remove: Annotated[list[Key], Meta(description="Elements to leave out; absent ones are no error.")] = []  # noqa: RUF012
    blank: Annotated[list[Key], Meta(description="Elements to leave empty where they are present.")] = []  # noqa: RUF012
    remap_uids: Annotated[
        bool | str,
        Meta(
            description="A secret key: every UID of the data becomes another one, the same for the same key. false: UIDs stay.",
            extra={"secret": True},
        ),
    ] = False
    shift_days: Annotated[
        int, Meta(description="Days added to every date and date-time, nested ones too; may be negative.")
    ] = 0
    only_existing: Annotated[bool, Meta(description="Set only what is there already; add no elements.")] = (
        False
    )

    def __post_init__(self) -> None:
        if self.remap_uids is True or self.remap_uids == "":
            raise ConfigError("give a key, for example a word only you know, or false", key="remap-uids")
        _check_keys("set", self.set)
        _check_keys("remove", self.remove)
        _check_keys("blank", self.blank)
        gone = {*self.remove, *self.blank, *(key for key, value in self.set.items() if value in ("", None))}
        for key in gone & {"SOPInstanceUID", "SOPClassUID"}:
            raise ConfigError(f"an instance cannot do without its {key}; give it another value", key="set")
        for key, value in self.set.items():
            leaf = re.sub(r"^.*\]\.", "", key)  # which items there are only the instance knows
            try:
                _blank_instance().with_elements({leaf: _dicom(value)})
            except DatasetError as error:
                raise ConfigError(str(error), key="set") from None

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[_Actor]:
        yield _Actor(self)


class _Actor:
    def __init__(self, stage: Edit) -> None:
        from dcmflow.dicom import tags
        from dcmflow.dicom.uids import UidMap, keeps_uid

        self._set = _values(stage.set)
        self._remove = tuple(stage.remove)
        removed = {tags.parse(key)[:2] for key in stage.remove}
        self._blank = tuple(key for key in stage.blank if tags.parse(key)[:2] not in removed)
        self._only_existing = stage.only_existing
        self._map = UidMap(stage.remap_uids) if isinstance(stage.remap_uids, str) else None
        self._keeps_uid = keeps_uid
        self._shift = timedelta(days=stage.shift_days)

    async def process(self, instance: Instance) -> Instance:
        if self._map is not None:
            instance = instance.with_values(("UI",), self._remapped)
            if "SOPInstanceUID" not in instance.header:  # only the File Meta Information had one
                instance = instance.with_elements({"SOPInstanceUID": self._map(instance.sop_instance_uid)})
        if self._shift:
            instance = instance.with_values(("DA", "DT"), self._shifted)
        header = instance.header
        wanted = self._set
        if self._only_existing:
            wanted = {key: value for key, value in wanted.items() if key in header}
        if self._blank:
            wanted = {**{key: "" for key in self._blank if key in header}, **wanted}
        if not wanted and not self._remove:
            return instance
        return instance.with_elements(wanted, [key for key in self._remove if key not in wanted])

    def _remapped(self, tag: int, vr: str, uid: str) -> str | None:
        assert self._map is not None
        return None if self._keeps_uid(tag) else self._map(uid)

    def _shifted(self, tag: int, vr: str, value: str) -> str | None:
        return shift_date(value, self._shift)


def shift_date(value: str, by: timedelta) -> str | None:
    """A DA, DT or range of them, moved by whole days; None where there is no complete date in it (PS3.5 Table 6.2-1).

    >>> shift_date("20190301", timedelta(days=-1)), shift_date("20190301120000+0100", timedelta(days=1))
    ('20190228', '20190302120000+0100')
    """

    def moved(match: re.Match[str]) -> str:
        digits = match[0].replace(".", "")
        day = date(int(digits[:4]), int(digits[4:6]), int(digits[6:])) + by
        return f"{day.year:04d}{day.month:02d}{day.day:02d}"

    try:
        shifted, count = _DATES.subn(moved, value.strip())
    except (ValueError, OverflowError):
        return None
    return shifted if count else None


def _check_keys(field: str, keys: Any) -> None:
    from dcmflow.dicom import tags

    for key in keys:
        try:
            path = tags.parse(key)
        except DatasetError as error:
            raise ConfigError(str(error), key=field) from None
        if field != "set" and not path:
            raise ConfigError(f"{key!r} names no element", key=field)


def _values(table: dict[str, Any]) -> dict[str, Any]:
    return {key: _dicom(value) for key, value in table.items()}


def _dicom(value: Any) -> Any:
    """Dates as TOML knows them in the forms of PS3.5 Table 6.2-1."""
    if isinstance(value, datetime):
        return value.strftime("%Y%m%d%H%M%S" + ("%z" if value.tzinfo else ""))
    if isinstance(value, date):
        return value.strftime("%Y%m%d")
    if isinstance(value, time):
        return value.strftime("%H%M%S")
    if isinstance(value, dict):
        return {key: _dicom(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_dicom(item) for item in value]
    return value


def _blank_instance() -> Instance:
    from dcmflow.dicom.payload import MemoryPayload
    from dcmflow.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN

    return Instance("1.2.3", "1.2.3.4", EXPLICIT_VR_LITTLE_ENDIAN, MemoryPayload(b""))
