"""Dates, times and ages as spans, so that 2019 and 20190620 can be compared.

A value of DA, TM, DT or AS says when something was only to some precision (PS3.5 6.2): 201906 is a whole
month. It becomes a half-open span of integers, and a comparison is true when it is true for every moment
the value may mean:

    value ==  literal     the value lies inside the literal            20190620 == 2019
    value !=  literal     they do not touch
    value <   literal     the value ends before the literal begins
    value <=  literal     the value ends before the literal does       20190620 <= 2019-06

Where the value is less precise than the literal neither == nor != can be told: 2019 is neither equal to
20190620 nor certainly different.

Literals may also be written as ISO 8601 has them (2019-06-20, 10:15:30, 2019-06-20T10:15:30+02:00). Offsets
from UTC count when both sides have one; otherwise both are taken as local time of the same place.

>>> date("20190620").compare(date("2019-06"))
(True, True)
"""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import date as calendar_date
from functools import lru_cache
from typing import Final, NamedTuple

_DAY: Final = 86_400_000_000  # microseconds


class Span(NamedTuple):
    """From `start` until before `end`; microseconds, for ages sixteenths of a day.

    Attributes:
        offset: offset from UTC in microseconds, None when unknown; start and end are local.
    """

    start: int
    end: int
    offset: int | None = None

    def compare(self, literal: Span) -> tuple[bool, bool]:
        """(inside, touching): whether this value lies in the literal, and whether the two overlap."""
        start, end, other_start, other_end = self.beside(literal)
        return other_start <= start and end <= other_end, start < other_end and other_start < end

    def beside(self, literal: Span) -> tuple[int, int, int, int]:
        """start, end, start and end of the literal, on one time axis."""
        if self.offset is None or literal.offset is None:
            return self.start, self.end, literal.start, literal.end
        shift, other = self.offset, literal.offset
        return self.start - shift, self.end - shift, literal.start - other, literal.end - other


# PS3.5 6.2: DA also as yyyy.mm.dd in data of before 1993, TM also as hh:mm:ss.
_DATE = re.compile(r"(\d{4})(?:([-.]?)(\d\d)(?:\2(\d\d))?)?", re.ASCII)
_CLOCK = r"\d\d(?:(?P<colon>:?)\d\d(?:(?P=colon)\d\d(?:\.\d{1,6})?)?)?"
_TIME = re.compile(r"(\d\d)(?:(:?)(\d\d)(?:\2(\d\d)(?:\.(\d{1,6}))?)?)?", re.ASCII)
_DATETIME = re.compile(
    r"(?:(?P<day>\d{4}(?P<dash>-?)\d\d(?P=dash)\d\d)(?:[T ]?(?P<clock>" + _CLOCK + r"))?"
    r"|(?P<partial>\d{4}(?:-?\d\d)?))"
    r"(?P<offset>Z|[+-]\d\d:?\d\d)?",
    re.ASCII,
)
_AGE = re.compile(r"(\d{1,3})([DWMY])", re.ASCII)
_AGE_UNITS: Final = {
    "D": 16,
    "W": 112,
    "M": 487,
    "Y": 5844,
}  # a year has 365.25 days, a month a twelfth of it


@lru_cache(maxsize=8192)
def date(text: str) -> Span | None:
    """The span of a DA, None when `text` is no date."""
    days = _days(text)
    return None if days is None else Span(days[0] * _DAY, days[1] * _DAY)


@lru_cache(maxsize=8192)
def time(text: str) -> Span | None:
    """The span of a TM, counted from midnight, None when `text` is no time."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    hour, _, minute, second, fraction = match.groups()
    # A leap second is 60 (PS3.5 6.2).
    if int(hour) > 23 or int(minute or 0) > 59 or int(second or 0) > 60:
        return None
    start = (int(hour) * 3600 + int(minute or 0) * 60 + int(second or 0)) * 1_000_000
    if fraction:
        unit = 10 ** (6 - len(fraction))
        start += int(fraction) * unit
    elif second:
        unit = 1_000_000
    else:
        unit = 60_000_000 if minute else 3_600_000_000
    return Span(start, start + unit)


@lru_cache(maxsize=8192)
def date_time(text: str) -> Span | None:
    """The span of a DT, None when `text` is none."""
    match = _DATETIME.fullmatch(text)
    if match is None:
        return None
    days = _days(match["day"] or match["partial"])
    if days is None:
        return None
    offset = _offset(match["offset"])
    begin, end = days[0] * _DAY, days[1] * _DAY
    if match["clock"] is None:
        return Span(begin, end, offset)
    clock = time(match["clock"])
    return None if clock is None else Span(begin + clock.start, begin + clock.end, offset)


@lru_cache(maxsize=1024)
def age(text: str) -> Span | None:
    """The span of an AS (045Y, 006M), None when `text` is no age."""
    match = _AGE.fullmatch(text)
    if match is None:
        return None
    unit = _AGE_UNITS[match[2]]
    return Span(int(match[1]) * unit, (int(match[1]) + 1) * unit)


def _days(text: str) -> tuple[int, int] | None:
    match = _DATE.fullmatch(text)
    if match is None:
        return None
    year, month, day = int(match[1]), int(match[3] or 1), int(match[4] or 1)
    try:
        start = calendar_date(year, month, day).toordinal()
    except ValueError:
        return None
    if match[4]:
        return start, start + 1
    if match[3]:
        return start, start + monthrange(year, month)[1]
    return start, calendar_date(year, 12, 31).toordinal() + 1


def _offset(text: str | None) -> int | None:
    if not text:
        return None
    if text == "Z":
        return 0
    minutes = int(text[1:3]) * 60 + int(text[-2:])
    return (-minutes if text[0] == "-" else minutes) * 60_000_000
