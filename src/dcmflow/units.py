"""Sizes and durations as people write them: "2 GiB", "64 MB", "30 s", "14d", "1h 30min"."""

from __future__ import annotations

import re

_SIZES = {
    "": 1,
    "b": 1,
    **{f"{p}b": 1000**n for n, p in enumerate("kmgt", 1)},
    **{f"{p}ib": 1024**n for n, p in enumerate("kmgt", 1)},
}
_DURATIONS = {
    "ms": 0.001,
    **dict.fromkeys(("", "s", "sec", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
    **dict.fromkeys(("w", "week", "weeks"), 604800.0),
}
_PART = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)")


def parse_size(text: str | int) -> int:
    """Bytes from `2 GiB`, `500 MB`, `1024`. Raises ValueError on anything else.

    >>> parse_size("1.5 KiB"), parse_size("2 GB")
    (1536, 2000000000)
    """
    if isinstance(text, int):
        if text < 0:
            raise ValueError(f"a size is not negative: {text}")
        return text
    match = _PART.fullmatch(text.rstrip())
    if match is None or match[2].lower() not in _SIZES:
        raise ValueError(f"not a size: {text!r}; write a number of bytes or for example '64 MiB'")
    number = float(match[1]) if "." in match[1] else int(match[1])
    if number == float("inf"):
        raise ValueError(f"not a size: {text!r} is more than a number can hold")
    return int(number * _SIZES[match[2].lower()])


def parse_duration(text: str | float) -> float:
    """Seconds from `30 s`, `14d`, `1h 30min`, `250 ms`, `2.5`. Raises ValueError on anything else.

    >>> parse_duration("1h 30min"), parse_duration("14d")
    (5400.0, 1209600.0)
    """
    if isinstance(text, (int, float)):
        if not 0 <= text < float("inf"):
            raise ValueError(f"a duration is not negative and ends: {text}")
        return float(text)
    position, seconds, rest = 0, 0.0, text.rstrip()
    while position < len(rest):
        match = _PART.match(rest, position)
        if match is None or match[2].lower() not in _DURATIONS:
            break
        seconds += float(match[1]) * _DURATIONS[match[2].lower()]
        position = match.end()
    if not rest or position < len(rest) or seconds == float("inf"):
        raise ValueError(f"not a duration: {text!r}; write seconds or for example '30 s', '5 min', '14d'")
    return seconds


def format_size(count: int) -> str:
    """A size for people, binary units: `1.5 MiB`."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def format_duration(seconds: float) -> str:
    """A duration for people: `0.31 s`, `12 s`, `4 min 05 s`, `2 h 10 min`."""
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
