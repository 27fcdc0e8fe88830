"""Formats of layout fields: numbers (`03d`, `.1f`) and dates (`%Y-%m`).

A format turns a value into text, or into None when the value is none that it can write; then the value stands
as it is. Names of months and days are left out, since they would depend on the language of the machine.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from dcmflow.dicom import selector_values as values

if TYPE_CHECKING:
    from dcmflow.dicom.spans import Span

Format = Callable[[object], str | None]

_NUMERIC = re.compile(r"[+]?0?\d{0,2}(?:\.\d{1,2})?([dxXfFeEgG])", re.ASCII)
_DIRECTIVE = re.compile(r"%(.?)")
_HOUR: Final = 3_600_000_000
_DAY: Final = 24 * _HOUR

# How each is written, and the longest span that still tells it.
_DIRECTIVES: Final[dict[str, tuple[Callable[[datetime], str], int]]] = {
    "Y": (lambda moment: f"{moment.year:04d}", 366 * _DAY),
    "y": (lambda moment: f"{moment.year % 100:02d}", 366 * _DAY),
    "m": (lambda moment: f"{moment.month:02d}", 31 * _DAY),
    "d": (lambda moment: f"{moment.day:02d}", _DAY),
    "j": (lambda moment: f"{moment.timetuple().tm_yday:03d}", _DAY),
    "G": (lambda moment: f"{moment.isocalendar().year:04d}", _DAY),
    "V": (lambda moment: f"{moment.isocalendar().week:02d}", _DAY),
    "u": (lambda moment: f"{moment.isoweekday()}", _DAY),
    "H": (lambda moment: f"{moment.hour:02d}", _HOUR),
    "M": (lambda moment: f"{moment.minute:02d}", 60_000_000),
    "S": (lambda moment: f"{moment.second:02d}", 1_000_000),
    "f": (lambda moment: f"{moment.microsecond:06d}", 1_000_000),
}
_OF_A_DATE: Final = "YymdjGVu"
_OF_A_TIME: Final = "HMSf"
_ALLOWED: Final = {values.DATE: _OF_A_DATE, values.TIME: _OF_A_TIME, values.DATETIME: _OF_A_DATE + _OF_A_TIME}


def format_for(kind: str, text: str) -> Format:
    """The format that `text` says, for values of this kind (`dcmflow.dicom.selector_values`).

    Raises:
        ValueError: not a format, or none for such values; the message says which there are.
    """
    if "%" in text:
        return _moment_format(kind, text)
    match = _NUMERIC.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no format; there are 03d and .1f for numbers, %Y-%m-%d for dates")
    if kind not in (values.NUMBER, values.UNKNOWN):
        raise ValueError(f"{text!r} is a format for numbers, and this is a {kind}")
    return _number_format(text, whole=match[1] in "dxX")


def _number_format(text: str, *, whole: bool) -> Format:
    def written(value: object) -> str | None:
        if not isinstance(value, (int, float)) or value - value != 0:  # infinite, or no number
            return None
        if not whole:
            return format(value + 0.0, text)
        return format(int(value), text) if value == int(value) else None

    return written


def _moment_format(kind: str, text: str) -> Format:
    if kind not in _ALLOWED:
        raise ValueError(f"{text!r} is a format for dates and times, and this is a {kind}")
    directives = _DIRECTIVE.findall(text)
    wrong = [f"%{directive}" for directive in directives if directive not in _ALLOWED[kind] or not directive]
    if wrong:
        allowed = " ".join(f"%{directive}" for directive in _ALLOWED[kind])
        raise ValueError(f"{wrong[0]} cannot be written of a {kind}; there are {allowed}")
    parse = values.SPANS[kind]
    coarsest = min(_DIRECTIVES[directive][1] for directive in directives)

    def written(value: object) -> str | None:
        span = parse(value.strip(" ")) if isinstance(value, str) else None
        if span is None or span.end - span.start > coarsest:
            return None
        moment = _moment(span, dated=kind != values.TIME)
        return _DIRECTIVE.sub(lambda match: _DIRECTIVES[match[1]][0](moment), text)

    return written


def _moment(span: Span, *, dated: bool) -> datetime:
    days = 1 if dated else 0  # ordinals begin with day 1
    return datetime.min + timedelta(microseconds=span.start - days * _DAY)
