"""Which elements are meant: keys as people write them, to show, leave out or ignore elements.

::

    PatientName  (0010,0010)  0010,0010  00100010     an element, at every depth
    ("ACME 1.1",0019,10)                              a private element by its creator, at every depth
    0010  0x10                                        a whole group
    /UID$/  /date/i                                   keywords in which a regular expression is found
    Patient*  *UID                                    keywords that match a pattern (*, ?, [...])
    ReferencedStudySequence[0].StudyInstanceUID       one element in one item
    ReferencedStudySequence.*UID                      the same in every item

A key without a way is about every depth; one with a way begins at the top level. An element without keyword is tried as
(gggg,eeee). A keyword that does not exist is an error, not an element that nobody has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, final

from dcmflow.dicom import tags
from dcmflow.dicom.tags import Leaf, UnknownKeyword


class Step(NamedTuple):
    """An element on the way to another one, or that one itself.

    Attributes:
        tag: its tag.  creator: of a private element, else empty.
        item: the item of this sequence that the way goes through; -1 for the last step.
    """

    tag: int
    creator: str = ""
    item: int = -1

    @property
    def name(self) -> str:
        """As a key of this element is written."""
        if self.creator and not re.search(r'["\\]', self.creator):
            return f'("{self.creator}",{self.tag >> 16:04X},{self.tag & 0xFF:02X})'
        return tags.name(self.tag)


Trail = tuple[Step, ...]


def path_of(trail: Trail) -> str:
    """The way as a key: `ReferencedStudySequence[0].StudyInstanceUID`."""
    return ".".join(f"{step.name}[{step.item}]" if step.item >= 0 else step.name for step in trail)


_Test = Callable[[Step], bool]

_STEP: Final = re.compile(
    r"""(/(?:[^/\\]|\\.)+/i?"""
    r"""|\(\s*"[^"]*"[^)]*\)|\(\s*'[^']*'[^)]*\)"""
    r"""|\([0-9A-Fa-f\s,]*\)"""
    r"""|(?:\[(?!\d+\]|\*\])[^\]]*\]|[^.\[("'/])+)(?:\[(\d+|\*)\])?"""
)
_HELP: Final = (
    "write a keyword, a tag such as (0010,0010), a group such as 0010, a pattern such as Patient* or /Date$/, "
    'a private element as ("CREATOR",0019,10), or Sequence[0].Keyword'
)


@final
class Key:
    """One key.

    Raises:
        UnknownKeyword: it names nothing; the text says what a key looks like, or which keyword may be meant.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._steps = _parsed(text)
        # names one element: then its value can stand alone
        self.single: bool = _is_exact(text)
        self.group: bool = len(self._steps) == 1 and bool(_GROUP.fullmatch(text.strip()))

    def matches(self, trail: Trail) -> bool:
        """Whether this element is meant."""
        if len(self._steps) == 1:
            return self._steps[0][0](trail[-1])
        if len(self._steps) != len(trail):
            return False
        return all(
            test(step) and (item is None or item == step.item)
            for (test, item), step in zip(self._steps, trail, strict=True)
        )

    def may_lead_on(self, trail: Trail) -> bool:
        """Whether an element inside the sequence at the end of this way can be meant."""
        if len(self._steps) == 1:
            return True
        return len(trail) < len(self._steps) and all(
            test(step) and (item is None or step.item < 0 or item == step.item)
            for (test, item), step in zip(self._steps, trail, strict=False)
        )

    def __repr__(self) -> str:
        return f"Key({self.text!r})"


def _parsed(text: str) -> list[tuple[_Test, int | None]]:
    steps: list[tuple[_Test, int | None]] = []
    rest = text.strip()
    position = 0
    while match := _STEP.match(rest, position):
        position = match.end()
        last = position == len(rest)
        item = int(match[2]) if match[2] and match[2] != "*" else None
        if last and match[2]:
            break  # an item is no element
        steps.append((_test(match[1].strip(), text), item))
        if last:
            return steps
        if rest[position] != ".":
            break
        position += 1
    raise UnknownKeyword(f"not an element: {text!r}; {_HELP}")


_GROUP = re.compile(r"(?:0x([0-9A-Fa-f]{1,4})|([0-9A-Fa-f]{4}))")


def _test(step: str, whole: str) -> _Test:
    if step.startswith("/"):
        body, flags = (step[1:-2], re.IGNORECASE) if step.endswith("i") else (step[1:-1], 0)
        try:
            pattern = re.compile(body, flags)
        except re.error as error:
            raise UnknownKeyword(f"{step} is no regular expression: {error}") from None
        return lambda found: pattern.search(tags.name(found.tag)) is not None
    if match := _GROUP.fullmatch(step):
        group = int(match[1] or match[2], 16)
        return lambda found: found.tag >> 16 == group
    if re.search(r"[*?\[]", step):
        import fnmatch

        glob = re.compile(fnmatch.translate(step))
        return lambda found: glob.match(tags.name(found.tag)) is not None
    leaf = _leaf(step, whole)
    if leaf.creator:
        return lambda found: (
            found.creator == leaf.creator
            and found.tag >> 16 == leaf.tag >> 16
            and found.tag & 0xFF == leaf.tag & 0xFF
        )
    return lambda found: found.tag == leaf.tag


def _leaf(step: str, whole: str) -> Leaf:
    try:
        return tags.parse(step).leaf
    except UnknownKeyword as error:
        text = str(error)
        if text.startswith("not an element"):
            text = f"not an element: {whole!r}; {_HELP}"
        else:
            text += "" if "did you mean" in text else f"; {_HELP}"
            text += "" if step == whole.strip() else f" (in {whole!r})"
        raise UnknownKeyword(text) from None


def _is_exact(text: str) -> bool:
    try:
        tags.parse(text.strip())
    except UnknownKeyword:
        return False
    return True


@final
class Selection:
    """Which elements are shown.

    What is excluded stays out, whatever includes it. What is included comes with all that is in it, and with the sequences on
    the way to it. Without any `include` everything is.

    Args:
        include, exclude: keys.
        private: with private elements (odd groups) and their creators.

    Raises:
        UnknownKeyword: a key names nothing.
    """

    def __init__(
        self, include: Iterable[str] = (), exclude: Iterable[str] = (), *, private: bool = True
    ) -> None:
        self.include: list[Key] = [Key(text) for text in include]
        self.exclude: list[Key] = [Key(text) for text in exclude]
        self.private = private

    def leaves_out(self, trail: Trail) -> bool:
        if not self.private and trail[-1].tag & 0x10000:
            return True
        return any(key.matches(trail) for key in self.exclude)

    def wants(self, trail: Trail) -> bool:
        """Whether the element itself is included, not for what it is in."""
        return not self.include or any(key.matches(trail) for key in self.include)

    def wants_inside(self, trail: Trail) -> bool:
        """Whether something inside of this sequence may be included."""
        return any(key.may_lead_on(trail) for key in self.include)

    def asks_for(self, trail: Trail) -> bool:
        """Whether a key names this element or its group, and no pattern just happens to fit."""
        return any((key.single or key.group) and key.matches(trail) for key in self.include)

    @property
    def single(self) -> Key | None:
        """The key, where there is only one and it names one element; else None."""
        return self.include[0] if len(self.include) == 1 and self.include[0].single else None
