"""Days as people write them, and the range of dates that they make (PS3.4 C.2.2.2.5: both ends are in it)."""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import date, timedelta
from typing import Final, NamedTuple

from dcmflow.errors import ConfigError

FORMS: Final = "2019-06-25, 20190625, 2019-06, 2019, today, yesterday, 14d or '3 weeks ago'"

_DAY: Final = re.compile(r"(\d{4})(?:([-.]?)(\d{2})(?:\2(\d{2}))?)?")
_BACK: Final = re.compile(r"(\d{1,6})\s*([a-z]+)(?:\s+ago)?")
_DAYS: Final = {
    **dict.fromkeys(("d", "day", "days"), 1),
    **dict.fromkeys(("w", "week", "weeks"), 7),
}
_MONTHS: Final = {
    **dict.fromkeys(("month", "months"), 1),
    **dict.fromkeys(("y", "year", "years"), 12),
}


class Days(NamedTuple):
    """What somebody calls a day, a month or a year.

    Attributes:
        first, last: days, both in it.
    """

    first: date
    last: date


def days_of(text: str, today: date) -> Days:
    """The days that are meant: one, or all of a month or year.

    >>> days_of("3 weeks ago", date(2019, 6, 25)).first.isoformat(), days_of("2019-02", date(2020, 1, 1)).last.isoformat()
    ('2019-06-04', '2019-02-28')

    Args:
        today: what the text may count back from.

    Raises:
        ConfigError: it says no day.
    """
    words = " ".join(text.lower().split())
    try:
        found = _calendar(words) or _back(words, today)
    except (ValueError, OverflowError):
        raise ConfigError(f"there is no day {text!r}; write {FORMS}") from None
    if found is None:
        raise ConfigError(f"{text!r} is no day; write {FORMS}")
    return found


def date_range(since: str, before: str, today: date) -> str:
    """The value of a DA key for these bounds, as `days_of` takes them; an empty text is no bound.

    >>> date_range("2019", "2019-12-31", date(2020, 1, 1)), date_range("yesterday", "", date(2020, 1, 1))
    ('20190101-20191231', '20191231-')

    Args:
        since: the first day; of a month or year its first one.
        before: the last day, which belongs to it; of a month or year its last one.

    Raises:
        ConfigError: a text says no day (`key` is `since` or `before`), or nothing lies between them.
    """
    first = _bound("since", since, today).first if since else None
    last = _bound("before", before, today).last if before else None
    if first is not None and last is not None and first > last:
        raise ConfigError(f"no day is since {first} and before {last}; both of these count", key="since")
    if first is not None and first == last:
        return _dicom(first)
    if first is None and last is None:
        return ""
    return f"{_dicom(first)}-{_dicom(last)}"


def _dicom(day: date | None) -> str:
    return "" if day is None else day.isoformat().replace("-", "")


def _bound(key: str, text: str, today: date) -> Days:
    try:
        return days_of(text, today)
    except ConfigError as error:
        raise error.at(key=key) from None


def _calendar(words: str) -> Days | None:
    found = _DAY.fullmatch(words)
    if found is None:
        return None
    year, _, month, day = found.groups()
    if day:
        only = date(int(year), int(month), int(day))
        return Days(only, only)
    first = date(int(year), int(month or 1), 1)
    last_month = int(month or 12)
    return Days(first, date(first.year, last_month, monthrange(first.year, last_month)[1]))


def _back(words: str, today: date) -> Days | None:
    if words in ("today", "yesterday"):
        day = today - timedelta(words == "yesterday")
        return Days(day, day)
    found = _BACK.fullmatch(words)
    if found is None:
        return None
    count, unit = int(found[1]), found[2]
    if unit in _DAYS:
        day = today - timedelta(count * _DAYS[unit])
    elif unit in _MONTHS:
        day = _months_before(today, count * _MONTHS[unit])
    else:
        return None
    return Days(day, day)


def _months_before(day: date, months: int) -> date:
    """The same day of an earlier month, or the last one where that is shorter."""
    year, month = divmod(12 * day.year + day.month - 1 - months, 12)
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))
