"""Layouts: where a file goes, from what an instance says about itself.

>>> layout = Layout("{PatientID}/{StudyDate:%Y}/{SeriesNumber:03d}-{SeriesDescription|unnamed}.dcm")
>>> sorted(f"{tag:08x}" for tag in layout.elements)
['00080020', '0008103e', '00100020', '00200011']

=========================  ==================================================================================
``{PatientID}``            the value of an element; keyword, tag, private or nested as in a selector
                           (`dcmflow.dicom.reference`), also ``{calling_ae}`` and ``{label.site}``
``{SeriesNumber:03d}``     a number as Python writes it: d x f e g; what is no number stands as it is
``{StudyDate:%Y-%m}``      a date or time; what is none stands as it is
``{PatientID|unknown}``    what stands there when the value is missing or empty; ``{EchoTime:.1f|none}``
``{{`` ``}}``              a brace
=========================  ==================================================================================

Values come from strangers, so whatever they are

- the path stays inside its root: no part is empty, ``.`` or ``..``, none begins with a dot (temporary files
  do), none contains a separator or a control character, and none is a device of Windows;
- two different values never become one path: what is escaped, cut, missing or joined is marked in a way that
  no value can imitate (`dcmflow.dicom.safe_names`), and of several values in one part an earlier one does not
  contain what parts it from the next, so that ``{A}-{B}`` tells a-b and c from a and b-c;
- a part has at most 200 bytes, and letters of every script stay what they are.

Only what the template itself leaves out, as a date does that is written by its year, is left out. File
systems that do not tell upper from lower case are not covered.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, final

from dcmflow.dicom import safe_names
from dcmflow.dicom.layout_template import Field, Literal, Part, parse_template
from dcmflow.dicom.reference import ABSENT, BROKEN

if TYPE_CHECKING:
    from collections.abc import Callable

    from dcmflow.dicom.instance import Instance

_REMEMBERED: Final = 4096  # names per part
_LONG: Final = 256  # characters of a value that are not remembered: whoever sends them chooses how many


@final
class Layout:
    """A template for paths, and what it needs to fill them.

    Two layouts are equal when their templates are.

    Args:
        template: parts separated by "/", the last one is the file.

    Attributes:
        template: as written.
        elements: tags of the top-level elements that it looks at.

    Raises:
        ConfigError: a template that could leave the root, has an empty part, an unknown keyword or a format
            that the element has not; with a caret under it, and its `column`.
    """

    def __init__(self, template: str) -> None:
        self.template = template
        parts = parse_template(template)
        fields = [piece for part in parts for piece in part if isinstance(piece, Field)]
        self.elements: frozenset[int] = frozenset().union(*(field.reference.elements for field in fields))
        self._parts = tuple(map(_renderer, parts))

    def path(self, instance: Instance) -> str:
        """The path of this instance, relative, its parts separated by "/".

        Raises:
            DatasetError: the encoding is broken before an element that the template names.
        """
        return "/".join([render(instance) for render in self._parts])

    def __eq__(self, other: object) -> bool:
        return self.template == other.template if isinstance(other, Layout) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.template)

    def __repr__(self) -> str:
        return f"Layout({self.template!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return Layout, (self.template,)


def _renderer(part: Part) -> Callable[[Instance], str]:
    """A function that writes one part for an instance."""
    fields = [piece for piece in part if isinstance(piece, Field)]
    if not fields:
        text = "".join(piece.text for piece in part if isinstance(piece, Literal))
        return lambda instance: text
    fresh = _Name(part)
    name = lru_cache(maxsize=_REMEMBERED)(fresh)
    getters = [field.reference.getter() for field in fields]
    if len(getters) == 1:
        get = getters[0]

        def render_one(instance: Instance) -> str:
            value = get(instance)
            if value.__class__ is not str:
                value = _plain(value)
            return name(value) if value.__class__ is not str or len(value) <= _LONG else fresh(value)

        return render_one

    def render(instance: Instance) -> str:
        values = [_plain(get(instance)) for get in getters]
        long = any(value.__class__ is str and len(value) > _LONG for value in values)
        return (fresh if long else name)(*values)

    return render


def _plain(value: Any) -> str | int | float | None:
    """A value as something hashable, None for none: several as DICOM writes them, bytes as text."""
    if value is None or value is ABSENT or value is BROKEN or value == "":
        return None
    if isinstance(value, (str, int, float)):
        return value
    if isinstance(value, tuple):
        return "\\".join(_text(_plain(one)) for one in value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).decode("latin-1").rstrip("\0 ") or None
    return None


def _text(value: str | int | float | None) -> str:
    if isinstance(value, float):
        return repr(value + 0.0).removesuffix(".0")  # DS "4" is read as 4.0; adding turns -0.0 into 0.0
    return "" if value is None else str(value)


class _Name:
    """The name of one part for the values of its fields."""

    def __init__(self, part: Part) -> None:
        self._pieces = part
        self._suffix = part[-1].text if isinstance(part[-1], Literal) else ""
        self._separators = [_separator(part, index) for index in range(len(part))]

    def __call__(self, *found: str | int | float | None) -> str:
        values = iter(found)
        name = ""
        run: list[tuple[str, str]] = []  # values with nothing between them: as they are, and escaped
        for piece, separator in zip(self._pieces, self._separators, strict=True):
            if isinstance(piece, Field):
                run.append(_written(piece, next(values), separator))
            else:
                name += _joined(run) + piece.text
                run = []
        return safe_names.finish(name + _joined(run), self._suffix)


def _separator(part: Part, index: int) -> str:
    """What ends the values of a field: the first character of the next literal, if a field comes after."""
    for position in range(index, len(part)):
        piece = part[position]
        if isinstance(piece, Literal):
            return piece.text[0] if position > index and position < len(part) - 1 else ""
    return ""


def _written(field: Field, value: str | int | float | None, separator: str) -> tuple[str, str]:
    if value is None or value == "":
        if field.default is None:
            return "", safe_names.missing(field.reference.text)
        text: str | None = field.default
    else:
        text = field.format(value) if field.format else None
    if text is None:
        text = _text(value)
    return text, safe_names.escape(text, separator)


def _joined(run: list[tuple[str, str]]) -> str:
    """Values that nothing parts: CT and 002 become CT002, since only they can; other pairs get a boundary."""
    if len(run) == 2:
        (first, _), (second, _) = run
        if first and second[:1].isdecimal() and not any(map(str.isdecimal, first)):
            return run[0][1] + run[1][1]
    return safe_names.BOUNDARY.join(escaped for _, escaped in run)
