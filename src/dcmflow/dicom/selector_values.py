"""How the values of an element compare with literals, by VR.

A *check* looks at one value and says True, False or None, which means "cannot be told": the value is
broken, of another type than its VR promises, or a date too coarse for the literal. Comparisons need one
value that is True, their negative forms (`!=`, `not in` ...) need all values to be False, so that None
makes both false. Blanks around a value are padding and do not count (PS3.5 6.2).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from dcmflow.dicom import spans
from dcmflow.dicom.spans import Span

if TYPE_CHECKING:
    from dcmflow.dicom.selector_tree import Value

Check = Callable[[object], bool | None]

TEXT: Final = "text"
NAME: Final = "person name"
NUMBER: Final = "number"
DATE: Final = "date"
TIME: Final = "time"
DATETIME: Final = "date and time"
AGE: Final = "age"
UID: Final = "UID"
TAG: Final = "tag"
BINARY: Final = "binary"
SEQUENCE: Final = "sequence"
UNKNOWN: Final = "unknown"

_KINDS: Final = (
    dict.fromkeys(("AE", "CS", "LO", "LT", "SH", "ST", "UC", "UR", "UT"), TEXT)
    | dict.fromkeys(("IS", "DS", "FL", "FD", "SL", "SS", "SV", "UL", "US", "UV"), NUMBER)
    | dict.fromkeys(("OB", "OD", "OF", "OL", "OV", "OW"), BINARY)
    | {"PN": NAME, "DA": DATE, "TM": TIME, "DT": DATETIME, "AS": AGE, "UI": UID, "AT": TAG, "SQ": SEQUENCE}
)
SPANS: Final = {DATE: spans.date, TIME: spans.time, DATETIME: spans.date_time, AGE: spans.age}
EXAMPLES: Final = {
    NUMBER: "a number",
    DATE: "a date such as '20190620' or '2019-06-20'",
    TIME: "a time such as '101530' or '10:15:30'",
    DATETIME: "a date and time such as '20190620101530' or '2019-06-20T10:15:30'",
    AGE: "an age such as '045Y'",
    UID: "a UID such as '1.2.840.10008.1.1', or its keyword such as 'CTImageStorage'",
    TAG: "a tag such as (0010,0010)",
    TEXT: "a text in quotes",
    NAME: "a text in quotes",
}
_TAG = re.compile(r"[0-9A-Fa-f]{8}", re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)


def kind_of(vr: str) -> str:
    """How values of this VR compare; VRs that the dictionary leaves open ("US or SS") go by their first."""
    return _KINDS.get(vr[:2], UNKNOWN)


def number(text: str) -> int | float | None:
    """The number that `text` is, None when it is none or not finite.

    >>> number("5"), number("-2.50"), number("abc")
    (5, -2.5, None)
    """
    if len(text) > 400 or not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    if value in (float("inf"), float("-inf")):
        return None
    return int(text) if text.lstrip("+-").isdecimal() else value


def literal(kind: str, text: str, *, quoted: bool) -> Value | None:
    """The literal `text` typed for elements of `kind`, None when it can be no value of them.

    An empty text is a value of every kind: that of an element which is present and empty.
    """
    if text == "" and quoted:
        return ""
    if kind in SPANS:
        return SPANS[kind](text.strip())
    if kind == NUMBER:
        return number(text.strip())
    if kind == UID:
        return _uid(text.strip())
    if kind == TAG:
        return _tag(text)
    if kind == UNKNOWN and not quoted:
        value = number(text)
        return text if value is None else value
    return text.strip(" ")


def _uid(text: str) -> str | None:
    from dcmflow.dicom.uids import is_valid_uid

    if is_valid_uid(text):
        return text
    from pydicom._uid_dict import UID_dictionary

    return next((uid for uid, row in UID_dictionary.items() if row[4] == text), None)


def _tag(text: str) -> int | None:
    from dcmflow.dicom import tags

    digits = "".join(character for character in text if character not in "(), ")
    return int(digits, 16) if _TAG.fullmatch(digits) else tags.tag_of(text)


def wildcards(pattern: str, *, ignore_case: bool = False) -> re.Pattern[str]:
    """The regular expression for DICOM wildcards: `*` any characters, `?` one of them (PS3.4 C.2.2.2.4).

    Each piece between two `*` is an atomic group, so that matching never goes back further than one piece.
    """
    pieces = re.split(r"\*+", pattern)
    translated = ["".join("." if c == "?" else re.escape(c) for c in piece) for piece in pieces]
    expression = translated[0]
    if len(translated) > 1:
        expression += "".join(f"(?>.*?{piece})" for piece in translated[1:-1] if piece)
        expression += f".*{translated[-1]}"
    return re.compile(expression, re.DOTALL | (re.IGNORECASE if ignore_case else 0))


def regular_expression(pattern: str) -> re.Pattern[str]:
    """The compiled `pattern`.

    Raises:
        re.error: not a regular expression.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # "[[]" is fine today
        try:
            return re.compile(pattern)
        except (OverflowError, RecursionError) as too_much:
            raise re.error(str(too_much), pattern, 0) from None


def check_for(kind: str, operator: str, values: tuple[Value, ...]) -> Check:
    """The check of one value against literals that `literal` made for this kind and operator."""
    if operator in ("matches", "like"):
        return _pattern_check(kind, operator, str(values[0]))
    if operator in ("==", "in", "contains"):
        return _equality_check(kind, values)
    return _ordering_check(kind, operator, values[0])


def _pattern_check(kind: str, operator: str, pattern: str) -> Check:
    compiled = (
        regular_expression(pattern) if operator == "matches" else wildcards(pattern, ignore_case=kind == NAME)
    )
    found = compiled.search if operator == "matches" else compiled.fullmatch

    def check(value: object) -> bool | None:
        text = _text(value)
        return None if text is None else found(text) is not None

    if kind != NAME:
        return check

    def check_name(value: object) -> bool | None:
        if not isinstance(value, str):
            return None
        return any(found(form) is not None for form in _forms(value))

    return check_name


def _forms(name: str) -> list[str]:
    """A person name as a whole and its component groups: alphabetic, ideographic, phonetic (PS3.5 6.2.1)."""
    name = name.strip(" ")
    return [name, *name.split("=")] if "=" in name else [name]


def _equality_check(kind: str, values: tuple[Value, ...]) -> Check:
    if kind in SPANS:
        return _span_equality(SPANS[kind], [value for value in values if isinstance(value, Span)])
    choices = frozenset(values)
    if kind in (NUMBER, TAG):
        return lambda value: value in choices if _is_number(value) else None
    if kind == NAME:
        return lambda value: (
            any(form in choices for form in _forms(value)) if isinstance(value, str) else None
        )
    if kind == UNKNOWN:
        return _unknown_equality(values)
    return lambda value: value.strip(" ") in choices if isinstance(value, str) else None


def _unknown_equality(values: tuple[Value, ...]) -> Check:
    texts = frozenset(value for value in values if isinstance(value, str))
    numbers = frozenset(value for value in values if not isinstance(value, str))

    def check(value: object) -> bool | None:
        text, found = _text(value), _number(value)
        if text is None or (found is None and not texts):
            return None
        return text in texts or found in numbers

    return check


def _span_equality(parse: Callable[[str], Span | None], literals: list[Span]) -> Check:
    def check(value: object) -> bool | None:
        span = parse(value.strip(" ")) if isinstance(value, str) else None
        if span is None:
            return None
        compared = [span.compare(literal) for literal in literals]
        if any(inside for inside, _ in compared):
            return True
        return None if any(touching for _, touching in compared) else False

    return check


def _ordering_check(kind: str, operator: str, limit: Value) -> Check:
    if kind in SPANS and isinstance(limit, Span):
        return _span_ordering(SPANS[kind], operator, limit)
    compare = _ORDERINGS[operator]
    if kind == NUMBER:
        return lambda value: compare(value, limit) if _is_number(value) else None
    if kind == UNKNOWN and not isinstance(limit, str):

        def check(value: object) -> bool | None:
            found = _number(value)
            return None if found is None else compare(found, limit)

        return check

    def check_text(value: object) -> bool | None:
        text = _text(value)
        return None if text is None else compare(text, limit)

    return check_text


_ORDERINGS: Final[dict[str, Callable[..., bool]]] = {
    "<": lambda value, limit: value < limit,
    "<=": lambda value, limit: value <= limit,
    ">": lambda value, limit: value > limit,
    ">=": lambda value, limit: value >= limit,
}


def _span_ordering(parse: Callable[[str], Span | None], operator: str, limit: Span) -> Check:
    def check(value: object) -> bool | None:
        span = parse(value.strip(" ")) if isinstance(value, str) else None
        if span is None:
            return None
        start, end, limit_start, limit_end = span.beside(limit)
        if operator == "<":
            return end <= limit_start
        if operator == "<=":
            return end <= limit_end
        if operator == ">":
            return start >= limit_end
        return start >= limit_start

    return check


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and value == value  # NaN compares with nothing


def _text(value: object) -> str | None:
    if isinstance(value, str):
        return value.strip(" ")
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).decode("latin-1").strip("\0 ")
    return None


def _number(value: object) -> int | float | None:
    if isinstance(value, (int, float)):
        return value if _is_number(value) else None
    text = _text(value)
    return None if text is None else number(text.strip())
