"""From the text of a layout to its parts: literals and fields."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from dcmflow.dicom import safe_names
from dcmflow.dicom import selector_values as values
from dcmflow.dicom.layout_formats import Format, format_for
from dcmflow.dicom.reference import Reference, parse_reference
from dcmflow.dicom.selector_tokens import END, Token, error, tokens
from dcmflow.errors import ConfigError

_LONGEST_LITERAL: Final = 100
# A quoted private creator may contain what ends a key elsewhere.
_FIELD = re.compile(
    r"""\{(?P<key>(?:\(\s*(?:"[^"]*"|'[^']*')|[^{}:|"'])*)(?::(?P<format>[^{}|]*))?(?:\|(?P<default>[^{}]*))?\}"""
)
_BRACES: Final = {
    "{": "a { that is not closed; a brace itself is written {{",
    "}": "a } without its {; write }}",
}


@dataclass(frozen=True, slots=True)
class Literal:
    """Text of the template, and where it begins there."""

    text: str
    start: int


@dataclass(frozen=True, slots=True)
class Field:
    """A place for a value.

    Attributes:
        reference: whose value.
        format: how it is written; None for as it is.
        default: what stands there when the value is missing or empty; None for a marker.
    """

    reference: Reference
    format: Format | None
    default: str | None


Part = tuple[Literal | Field, ...]


def parse_template(template: str) -> tuple[Part, ...]:
    """The parts of a path, each of literals and fields in turn.

    Raises:
        ConfigError: with a caret under what is wrong: a path that is or could become another than a relative
            one below its root, an unknown keyword, a format that the element has not.
    """
    if not template:
        raise error(template, 0, "an empty layout; write one such as {PatientID}/{SOPInstanceUID}.dcm")
    if template[0] in "/~":
        raise error(template, 0, f"a layout is a path below a folder, it cannot begin with {template[0]}")
    parts: list[list[Literal | Field]] = [[]]
    starts = [0]
    position = 0
    while position < len(template):
        character = template[position]
        if character == "/":
            parts.append([])
            position += 1
            starts.append(position)
        elif character in "{}" and template[position + 1 : position + 2] != character:
            field, position = _field(template, position)
            parts[-1].append(field)
        else:
            _literal(parts[-1], template, position)
            position += 2 if character in "{}" else 1
    for part, start in zip(parts, starts, strict=True):
        _check_part(template, part, start)
    if not any(isinstance(piece, Field) for part in parts for piece in part):
        raise error(
            template, 0, "a layout without a {Keyword} gives one path to every instance", end=len(template)
        )
    return tuple(map(tuple, parts))


def _literal(part: list[Literal | Field], template: str, position: int) -> None:
    character = template[position]
    if safe_names.unsafe(character) >= 0:
        hint = {
            "\\": "parts of a layout are separated by /",
            ":": "a layout has no drive; the folder it is below is given elsewhere",
            "%": "escapes begin with it",
        }.get(character, "no file name may contain it everywhere")
        raise error(template, position, f"unexpected {character!r}; {hint}")
    if part and isinstance(part[-1], Literal):
        last = part.pop()
        part.append(Literal(last.text + character, last.start))  # type: ignore[union-attr]
    else:
        part.append(Literal(character, position))


def _field(template: str, position: int) -> tuple[Field, int]:
    match = _FIELD.match(template, position)
    if match is None:
        raise error(template, position, _BRACES[template[position]])
    start, end = match.span("key")

    def fail(token: Token, message: str) -> ConfigError:
        return error(template, token.start, message, end=token.end)

    # Blanks in front keep columns right for everything that the shared parser of references says.
    try:
        words = tokens(" " * start + template[start:end])
    except ConfigError as problem:
        raise error(template, (problem.column or 1) - 1, problem.problem.partition("\n")[0]) from None
    if words[0].kind == END:
        raise error(template, position, "an empty field; write one such as {PatientID}", end=match.end())
    reference, after = parse_reference(words, 0, template, fail)
    if words[after].kind != END:
        raise fail(words[after], f"unexpected {words[after].text!r} after {reference.text}")
    kind = values.kind_of(reference.vr)
    if kind in (values.SEQUENCE, values.BINARY):
        raise fail(words[0], f"{reference.text} is a {kind} ({reference.vr}), which is no name")
    return Field(reference, _format(template, match, kind), _default(template, match)), match.end()


def _format(template: str, match: re.Match[str], kind: str) -> Format | None:
    text = match["format"]
    if text is None:
        return None
    start, end = match.span("format")
    if "/" in text:
        message = "a format stays within one part; write {StudyDate:%Y}/{StudyDate:%m}"
        raise error(template, start + text.index("/"), message)
    try:
        return format_for(kind, text)
    except ValueError as problem:
        raise error(template, start, str(problem), end=end) from None


def _default(template: str, match: re.Match[str]) -> str | None:
    text = match["default"]
    if text is None:
        return None
    start = match.start("default")
    if not text.strip(" ."):
        raise error(template, start, "a default wants text that can be the name of a folder")
    wrong = safe_names.unsafe(text)
    if wrong >= 0:
        raise error(template, start + wrong, f"a default cannot contain {text[wrong]!r}")
    return text


def _check_part(template: str, part: list[Literal | Field], start: int) -> None:
    if not part:
        raise error(template, start, "an empty part; parts are separated by one /, and the last is the file")
    first, last = part[0], part[-1]
    if isinstance(first, Literal) and first.text[0] in ".~":
        why = "leaves the root or is a temporary file" if first.text[0] == "." else "would be somebody's home"
        raise error(template, first.start, f"a part cannot begin with {first.text[0]}: it {why}")
    if isinstance(last, Literal) and last.text[-1] in ". ":
        where = last.start + len(last.text) - 1
        raise error(template, where, "a part cannot end with a dot or blank: Windows would drop it")
    if isinstance(first, Literal) and len(part) == 1 and safe_names.reserved(first.text):
        raise error(
            template, first.start, f"{first.text} is the name of a device", end=start + len(first.text)
        )
    if sum(len(piece.text.encode()) for piece in part if isinstance(piece, Literal)) > _LONGEST_LITERAL:
        raise error(template, start, f"more than {_LONGEST_LITERAL} bytes of text in one part of the path")
