r"""How the value of one key matches the values of an element (PS3.4 C.2.2.2).

=====================  ==============================================================================================
AE CS LO LT SH ST      wildcards `*` and `?`; the case matters (C.2.2.2.1); blanks around a value are padding, in
UC UR UT               LT, ST, UC, UR and UT those behind it only
PN                     wildcards; the case does not matter. A key of one component group is compared with every group of
                       the name, one of several groups group by group. Delimiters at the end say nothing
DA TM DT               one value or a range, open ends included. A bound means all of what it names: 10:59 lies in `-10`.
                       Offsets from UTC count where both sides have one
IS DS FL FD US ...     as numbers
UI                     one of a list
AT AS                  equal
=====================  ==============================================================================================

Several values of an element, and several of a key joined by ``\``, match when any of them does.

What cannot be told is neither a match nor a mismatch. That is so for

- an element of zero length: servers return keys that they do not support either so or not at all, and nothing tells an
  unsupported key from an empty value;
- a name or text that lost its characters because the server's character set lacks them, such as `Yamada^Tarou=^=^`, where
  the key has characters that are not ASCII;
- a value that is none of its VR, or a moment that is less precise than the key and overlaps it. A moment that the key covers
  when its missing parts are taken as zero, which is how servers compare, does match;
- the key itself, wildcards and all: a server that echoes what it was asked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from enum import Enum
from functools import lru_cache
from math import isclose
from typing import Final
from unicodedata import normalize

from dcmflow.dicom import selector_values as kinds
from dcmflow.dicom.query import restricts
from dcmflow.dicom.selector_values import SPANS, wildcards
from dcmflow.dicom.spans import Span


class Verdict(Enum):
    """Whether something is what was asked for; what is `UNVERIFIED` never counts as a match."""

    MATCH = "match"
    MISMATCH = "mismatch"
    UNVERIFIED = "unverified"


Check = Callable[[object], Verdict]
Bounds = tuple[Span | None, Span | None]

_ONE_TEXT: Final = frozenset({"LT", "ST", "UT", "UR"})  # PS3.5 6.2: a backslash is a character
_LEADING_BLANKS_COUNT: Final = frozenset({"LT", "ST", "UC", "UR", "UT"})
# PS3.5 6.2, DT: offsets go from -1200 to +1400; other digits behind a dash are the year in which a range ends
_OFFSET: Final = r"(?:\+(?:0\d|1[0-4])|-(?:0\d|1[0-2]))[0-5]\d"
_BOUNDS: Final = {
    kinds.DATE: re.compile(r"\d{4}(?:\.?\d\d(?:\.?\d\d)?)?", re.ASCII),
    kinds.TIME: re.compile(r"\d\d(?::?\d\d(?::?\d\d(?:\.\d{1,6})?)?)?", re.ASCII),
    kinds.DATETIME: re.compile(
        rf"\d{{4}}(?:\d\d(?:\d\d(?:\d\d(?:\d\d(?:\d\d(?:\.\d{{1,6}})?)?)?)?)?)?(?:{_OFFSET})?", re.ASCII
    ),
}
_FLOAT_PRECISION: Final = 2.0**-23


def criterion(vr: str, text: str) -> Check:
    r"""What a key asks of its element; the check takes the element's value as a `Record` has it.

    Args:
        vr: of the element; empty where nobody knows.
        text: the value of the key, several joined by ``\``.
    """
    parts = [text] if vr in _ONE_TEXT else text.split("\\")
    parts = [part for part in parts if part.strip()]
    if not parts:
        return lambda _value: Verdict.MATCH
    if kinds.kind_of(vr) == kinds.UID:
        return _over_values(_uid_check(parts))
    checks = [_check(vr, part) for part in parts]
    if len(checks) == 1:
        return _over_values(checks[0])
    return _over_values(lambda value: any_of(check(value) for check in checks))


def any_of(verdicts: Iterable[Verdict]) -> Verdict:
    """That one of several matches; unverified where none does and it cannot be told of one."""
    found = Verdict.MISMATCH
    for verdict in verdicts:
        if verdict is Verdict.MATCH:
            return verdict
        if verdict is Verdict.UNVERIFIED:
            found = verdict
    return found


def all_of(verdicts: Iterable[Verdict]) -> Verdict:
    """That all of several match; a mismatch where one is."""
    found = Verdict.MATCH
    for verdict in verdicts:
        if verdict is Verdict.MISMATCH:
            return verdict
        if verdict is Verdict.UNVERIFIED:
            found = verdict
    return found


def is_empty(value: object) -> bool:
    """Whether an element of this value has zero length, or none of its values has any."""
    if isinstance(value, tuple):
        return all(map(is_empty, value))
    return value is None or (isinstance(value, str | bytes) and not value.strip())


def _over_values(check: Check) -> Check:
    def over_values(value: object) -> Verdict:
        if is_empty(value):
            return Verdict.UNVERIFIED
        if isinstance(value, tuple):
            return any_of(check(one) for one in value if not is_empty(one))
        return check(value)

    return over_values


def _check(vr: str, text: str) -> Check:
    """The check of one value against one value of a key."""
    kind = kinds.kind_of(vr)
    if kind == kinds.NAME:
        return _name_check(text)
    if kind in _BOUNDS:
        bounds = _bounds(kind, text.strip())
        return _text_check(vr, text) if bounds is None else _moment_check(kind, bounds)
    if kind == kinds.TAG:
        tag = kinds.literal(kind, text, quoted=True)
        return lambda value: _said(value == tag)
    if kind == kinds.SEQUENCE:
        return lambda _value: Verdict.UNVERIFIED  # only elements within its items can be compared
    number = kinds.number(text.strip()) if kind in (kinds.NUMBER, kinds.UNKNOWN) else None
    return _text_check(vr, text) if number is None else _number_check(vr, text, number)


def _said(matches: object) -> Verdict:
    return Verdict.MATCH if matches else Verdict.MISMATCH


# -- text


def _text_check(vr: str, text: str) -> Check:
    key = _trimmed(vr, text)
    wild = kinds.kind_of(vr) in (kinds.TEXT, kinds.UNKNOWN) and ("*" in key or "?" in key)
    matches = wildcards(key).fullmatch if wild else key.__eq__

    def check(text: str) -> Verdict:
        found = _trimmed(vr, text)
        if wild and found == key:
            return Verdict.UNVERIFIED
        if matches(found):
            return Verdict.MATCH
        return Verdict.UNVERIFIED if _lost(key, found) else Verdict.MISMATCH

    return _remembered(check)


def _remembered(check: Callable[[str], Verdict]) -> Check:
    """The same for any value; answers of series and images repeat those of their patient and study."""
    remembered = lru_cache(maxsize=256)(check)
    return lambda value: remembered(_text(value))


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1").strip("\0 ")
    return str(value)


def _trimmed(vr: str, text: str) -> str:
    text = normalize("NFC", text).rstrip("\0 ")
    return text if vr in _LEADING_BLANKS_COUNT else text.lstrip(" ")


def _lost(key: str, text: str) -> bool:
    """Whether `text` shows that it had characters which it has no longer; only those beyond ASCII get lost."""
    return not key.isascii() and ("\ufffd" in text or "?" in text)


def _uid_check(texts: list[str]) -> Check:
    wanted = frozenset(text.strip("\0 ") for text in texts)
    return lambda value: _said(_text(value).strip("\0 ") in wanted)


# -- names


def _name_check(text: str) -> Check:
    groups = [_group(group) for group in text.split("=")]
    while groups and not groups[-1]:
        groups.pop()
    checks = [_group_check(group) for group in groups]
    if not checks:
        return lambda _value: Verdict.MATCH
    if len(checks) == 1:
        return _remembered(lambda text: _any_group(groups[0], checks[0], text.split("=")))

    def check(text: str) -> Verdict:
        found = [_group(group) for group in text.split("=")]
        found += [""] * (len(checks) - len(found))
        pairs = zip(groups, checks, found, strict=False)
        return all_of(
            check(one) if one else Verdict.UNVERIFIED for group, check, one in pairs if restricts(group)
        )

    return _remembered(check)


def _any_group(key: str, check: Check, groups: list[str]) -> Verdict:
    found = [(group, _group(group)) for group in groups if group.strip()]
    if not any(text for _, text in found):
        return Verdict.UNVERIFIED
    emptied = Verdict.MISMATCH if key.isascii() else Verdict.UNVERIFIED  # "^" is what lost characters leave
    return any_of(check(text) if text else emptied for _, text in found)


def _group_check(key: str) -> Check:
    wild = "*" in key or "?" in key
    matches = wildcards(key, ignore_case=True).fullmatch
    delimiters = key.count("^")

    def check(value: object) -> Verdict:
        text = str(value)
        if wild and text == key and restricts(key):
            return Verdict.UNVERIFIED
        full = text + "^" * (delimiters - text.count("^"))
        if matches(text) or matches(full):
            return Verdict.MATCH
        return Verdict.UNVERIFIED if _lost(key, text) else Verdict.MISMATCH

    return check


def _group(text: str) -> str:
    """A component group without what says nothing: blanks around components, delimiters at the end (PS3.5 6.2.1)."""
    components = normalize("NFC", text).split("^")
    return "^".join(component.strip("\0 ") for component in components).rstrip("^")


# -- numbers


def _number_check(vr: str, text: str, wanted: float) -> Check:
    as_text = _text_check(vr, text) if kinds.kind_of(vr) == kinds.UNKNOWN else None

    def check(value: object) -> Verdict:
        if as_text and not isinstance(value, int | float):
            return as_text(value)
        found = value if isinstance(value, int | float) else kinds.number(_text(value).strip("\0 "))
        if found is None or found != found:  # NaN
            return Verdict.UNVERIFIED
        near = vr == "FL" and isinstance(found, float) and isclose(found, wanted, rel_tol=_FLOAT_PRECISION)
        return _said(near or found == wanted)

    return check


# -- dates and times


def _bounds(kind: str, text: str) -> Bounds | None:
    """From where to where a key reaches; None where it is no date, time or range."""
    parse, form = SPANS[kind], _BOUNDS[kind]
    if not form.fullmatch(text):
        for dash in (place for place, character in enumerate(text) if character == "-"):
            ends = text[:dash].strip(), text[dash + 1 :].strip()
            if any(ends) and all(not end or form.fullmatch(end) for end in ends):
                low, high = (parse(end) if end else None for end in ends)
                given = low is not None or not ends[0], high is not None or not ends[1]
                return (low, high) if all(given) else None
    span = parse(text)
    return None if span is None else (span, span)


def _moment_check(kind: str, bounds: Bounds) -> Check:
    parse = SPANS[kind]
    low, high = bounds

    def check(text: str) -> Verdict:
        span = parse(text.strip("\0 "))
        if span is None:
            return Verdict.UNVERIFIED
        inside = touching = True
        if low is not None:
            start, end, limit, _ = span.beside(low)
            inside, touching = start >= limit, end > limit
        if high is not None:
            start, _, _, limit = span.beside(high)
            inside, touching = inside and start < limit, touching and start < limit
        if inside:
            return Verdict.MATCH
        return Verdict.UNVERIFIED if touching else Verdict.MISMATCH

    return _remembered(check)
