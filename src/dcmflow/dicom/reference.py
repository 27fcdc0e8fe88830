"""What a selector or a layout may name: an element, something of the origin, a label.

::

    Modality   (0008,0060)   ("CREATOR",0019,10)   ReferencedStudySequence[0].ReferencedSOPInstanceUID
    RequestAttributesSequence[*].ScheduledProcedureStepID      every item
    ImageType[2]                                               one value of several, from 0
    calling_ae   called_ae   address   path   label.NAME       where it came from, what earlier stages noted

A `Reference` knows its VR and the top-level elements it needs, and makes a function that looks its value up
in an instance. SOP Class, SOP Instance and transfer syntax UID are answered from the instance itself, since
the data set need not hold them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from dcmflow.dicom import tags
from dcmflow.dicom.elements import Incomplete
from dcmflow.dicom.selector_tokens import BARE, OPERATOR, PRIVATE, TAG, WORD, Token
from dcmflow.errors import ConfigError, DatasetError

if TYPE_CHECKING:
    from dcmflow.dicom.header import Header
    from dcmflow.dicom.instance import Instance

ORIGIN_WORDS: Final = ("calling_ae", "called_ae", "address", "path")
LABEL: Final = "label"
ANY: Final = -1  # the index [*]


class _Mark:
    """A value that is no value of an element."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


ABSENT: Final = _Mark("ABSENT")
"""There is no such element."""
BROKEN: Final = _Mark("BROKEN")
"""There is one, and its bytes make no value."""

Getter = Callable[["Instance"], Any]
Fail = Callable[[Token, str], ConfigError]

_OF_THE_INSTANCE: Final = {
    0x00080016: "sop_class_uid",
    0x00080018: "sop_instance_uid",
    0x00020002: "sop_class_uid",
    0x00020003: "sop_instance_uid",
    0x00020010: "transfer_syntax_uid",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One element of one data set on the way, and which item or value of it.

    Attributes:
        key: tag, or for private elements the text that `Header` understands.
        text: as written.
        index: item or value from 0, ANY for all of them, None when none was asked for.
        vr: VR of the dictionary, empty when unknown.
    """

    key: int | str
    text: str
    index: int | None
    vr: str


@dataclass(frozen=True, slots=True)
class Reference:
    """Something of an instance that has a name.

    Attributes:
        text: as written.
        steps: the elements on the way, the last one holds the value; empty for origin and labels.
        word: one of `ORIGIN_WORDS`, or empty.
        label: name of a label, or empty.
    """

    text: str
    steps: tuple[Step, ...] = ()
    word: str = ""
    label: str = ""

    @property
    def vr(self) -> str:
        """VR of the value: "" where only the instance knows; origin and labels are text (UT)."""
        return self.steps[-1].vr if self.steps else "UT"

    @property
    def vm(self) -> str:
        """Value multiplicity in the words of PS3.6: "1", "2-n"; "1-n" where unknown."""
        if not self.steps:
            return "1"
        last = self.steps[-1]
        if any(step.index == ANY for step in self.steps) or not isinstance(last.key, int):
            return "1-n"
        return "1" if last.index is not None else _dictionary_vm(last.key)

    @property
    def elements(self) -> frozenset[int]:
        """Tags of the top-level elements that have to be read.

        For a private element these are all that its creator may have reserved (PS3.5 7.8.1).
        """
        if not self.steps:
            return frozenset()
        key = self.steps[0].key
        if isinstance(key, int):
            return frozenset((key,)) if key >> 16 != 0x0002 else frozenset()
        leaf = tags.parse(key).leaf
        group, element = leaf.tag & 0xFFFF0000, leaf.tag & 0xFF
        blocks = range(0x10, 0x100)
        return frozenset(group | block for block in blocks) | {
            group | block << 8 | element for block in blocks
        }

    def getter(self) -> Getter:
        """A function that gives the value in an instance, ABSENT or BROKEN."""
        if self.word:
            return _origin_getter(self.word)
        if self.label:
            return _label_getter(self.label)
        first = self.steps[0]
        attribute = _OF_THE_INSTANCE.get(first.key) if isinstance(first.key, int) else None
        if attribute:
            return lambda instance: getattr(instance, attribute) or ABSENT
        if len(self.steps) == 1 and first.index is None:
            return _plain_getter(first.key)
        steps = self.steps
        return lambda instance: _descend(instance.header, steps)


def _origin_getter(word: str) -> Getter:
    def get(instance: Instance) -> object:
        value = getattr(instance.origin, word, None)
        return ABSENT if value is None or value == "" else str(value)

    return get


def _label_getter(name: str) -> Getter:
    return lambda instance: instance.labels.get(name, ABSENT)


def _plain_getter(key: int | str) -> Getter:
    def get(instance: Instance) -> object:
        header = instance.header
        try:
            return header.get(key, ABSENT)
        except (DatasetError, ValueError) as problem:
            return _broken(problem, header, key)

    return get


def _broken(problem: Exception, header: Header, key: int | str) -> object:
    """BROKEN where the bytes of an element make no value; where they end early or make no element, an error."""
    if isinstance(problem, Incomplete) or key not in header:
        raise problem
    return BROKEN


def _descend(header: Header, steps: Sequence[Step]) -> object:
    step, rest = steps[0], steps[1:]
    try:
        value = header.get(step.key, ABSENT)
    except (DatasetError, ValueError) as problem:
        return _broken(problem, header, step.key)
    if step.index is None or value is ABSENT:
        return value
    several = value if isinstance(value, (list, tuple)) else () if _empty(value) else (value,)
    if step.index != ANY:
        if step.index >= len(several):
            return ABSENT
        return _inside(several[step.index], rest)
    return _together([_inside(item, rest) for item in several])


def _inside(item: object, rest: Sequence[Step]) -> object:
    if not rest:
        return item
    return _descend(item, rest) if hasattr(item, "get") else ABSENT  # type: ignore[arg-type]


def _together(found: list[object]) -> object:
    values: list[object] = []
    for value in found:
        if isinstance(value, tuple):
            values.extend(value)
        elif value is not ABSENT:
            values.append(value)
    return tuple(values) if values else ABSENT


def _empty(value: object) -> bool:
    return value is None or value == ""


def _dictionary_vm(tag: int) -> str:
    from pydicom.datadict import dictionary_VM

    try:
        return str(dictionary_VM(tag))
    except KeyError:
        return "1-n"


def parse_reference(tokens: Sequence[Token], position: int, text: str, fail: Fail) -> tuple[Reference, int]:
    """The reference that begins at `position`, and the position after it.

    Args:
        tokens: of the whole text.
        position: of the first token of the reference.
        text: the whole text.
        fail: makes the error for a token.

    Raises:
        ConfigError: no reference, an unknown keyword (with a suggestion), an index where none can be.
    """
    first = tokens[position]
    after = tokens[min(position + 1, len(tokens) - 1)]
    if first.kind == WORD and first.text in ORIGIN_WORDS:
        return Reference(first.text, word=first.text), position + 1
    if first.kind == WORD and first.text == LABEL and after.text == "." and after.kind == OPERATOR:
        name = tokens[position + 2]
        if name.kind != WORD:
            raise fail(name, "the name of a label is missing: label.NAME")
        return Reference(f"label.{name.text}", label=name.text), position + 3
    steps: list[Step] = []
    begin = position
    while True:
        step, position = _parse_step(tokens, position, fail)
        steps.append(step)
        dot = tokens[position]
        if not (dot.kind == OPERATOR and dot.text == "."):
            break
        if step.vr not in ("SQ", "", "UN"):
            raise fail(dot, f"{step.text} is no sequence, nothing is inside it")
        if step.index is None:
            raise fail(dot, f"say which item: {step.text}[0] or, for every item, {step.text}[*]")
        position += 1
    written = text[tokens[begin].start : tokens[position - 1].end]
    return Reference(written, tuple(steps)), position


def _parse_step(tokens: Sequence[Token], position: int, fail: Fail) -> tuple[Step, int]:
    token = tokens[position]
    key, vr = _key(token, fail)
    position += 1
    index: int | None = None
    if tokens[position].kind == OPERATOR and tokens[position].text == "[":
        number = tokens[position + 1]
        if number.kind == BARE and number.text.isdecimal():
            if len(number.text) > 9:
                raise fail(number, "no sequence has so many items")
            index = int(number.text)
        elif number.kind == OPERATOR and number.text == "*":
            index = ANY
        else:
            raise fail(number, "an index is a number from 0, or * for every item")
        closing = tokens[position + 2]
        if not (closing.kind == OPERATOR and closing.text == "]"):
            raise fail(closing, "a ] is missing")
        position += 3
    return Step(key, token.text, index, vr), position


def _key(token: Token, fail: Fail) -> tuple[int | str, str]:
    if token.kind not in (WORD, TAG, PRIVATE):
        raise fail(token, "a keyword or tag is missing")
    try:
        path = tags.parse(_tag_number(token.text) if token.kind == TAG else token.text)
    except tags.UnknownKeyword as unknown:
        raise fail(token, str(unknown)) from None
    leaf = path.leaf
    if leaf.creator:
        return token.text, leaf.vr
    if leaf.tag >> 16 in (0, 2) and leaf.tag not in _OF_THE_INSTANCE:
        hint = "; write calling_ae" if leaf.tag == 0x00020016 else ""
        raise fail(token, f"{token.text} is not part of a data set{hint}")
    return leaf.tag, tags.dictionary_vr(leaf.tag)


def _tag_number(text: str) -> int:
    return int("".join(character for character in text if character.isalnum()), 16)
