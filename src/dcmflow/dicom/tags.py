"""Keys of elements: keyword, tag, private tag, and paths into sequences.

::

    "PatientName"   0x00100010   "00100010"   "(0010,0010)"       one element
    '("ACME 1.1",0019,10)'       '("ACME 1.1",0019,10,DS)'        a private element by its creator (PS3.5 7.8.1)
    "ReferencedStudySequence[0].ReferencedSOPInstanceUID"         inside an item, to any depth

`parse` turns each of them into a `Path`. A keyword that is not in the data dictionary is an error with a suggestion, never
something absent: a misspelt name must not pass for an element nobody has.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from dcmflow.errors import DatasetError


class UnknownKeyword(DatasetError, KeyError):
    """A keyword that PS3.6 does not know, or text that is no key at all."""

    def __str__(self) -> str:
        return Exception.__str__(self)


class Leaf(NamedTuple):
    """One element of one data set.

    Attributes:
        tag: the tag; for a private element by creator the group and the last two digits only.
        creator: private creator; empty for everything else.
        vr: the value representation that was asked for; empty when the dictionary decides.
    """

    tag: int
    creator: str = ""
    vr: str = ""


class Path(NamedTuple):
    """An element and the way to it.

    Attributes:
        steps: the sequences to descend, each with the index of its item.
        leaf: the element itself.
        text: as it was written, for messages.
    """

    steps: tuple[tuple[Leaf, int], ...]
    leaf: Leaf
    text: str


_HEX = re.compile(r"\(?\s*([0-9A-Fa-f]{4})\s*,?\s*([0-9A-Fa-f]{4})\s*\)?")
_PRIVATE = re.compile(
    r"""\(\s*(?:"([^"\\]+)"|'([^'\\]+)')\s*,\s*(?:0x)?([0-9A-Fa-f]{4})\s*,\s*(?:0x|xx)?([0-9A-Fa-f]{2})\s*"""
    r"""(?:,\s*([A-Z]{2})\s*)?\)"""
)
_STEP = re.compile(
    r"""((?:\([0-9A-Fa-f ]+,[0-9A-Fa-f ]+\)|\("[^"]*"[^)]*\)|\('[^']*'[^)]*\)|[^.\[("'])+)(?:\[(\d+)\])?"""
)
_KEYWORD = re.compile(r"[A-Za-z][A-Za-z0-9]*")


@lru_cache(maxsize=4096)
def parse(key: str | int) -> Path:
    """The path that `key` names.

    Raises:
        UnknownKeyword: no such keyword (the text suggests near ones), or not a key at all.
    """
    if isinstance(key, int):
        if not 0 <= key <= 0xFFFFFFFF:
            raise UnknownKeyword(f"{key:#x} is not a tag: tags have eight hexadecimal digits")
        return Path((), Leaf(key), name(key))
    steps: list[tuple[Leaf, int]] = []
    position = 0
    while match := _STEP.match(key, position):
        position = match.end()
        last = position == len(key)
        if match[2] is None:
            if not last:
                break
            return Path(tuple(steps), _leaf(match[1], key), key)
        if last or key[position] != ".":
            break
        steps.append((_leaf(match[1], key), int(match[2])))
        position += 1
    raise UnknownKeyword(
        f"not an element: {key!r}; write a keyword, a tag such as (0010,0010), "
        'a private element as ("CREATOR",0019,10), or Sequence[0].Keyword'
    )


def _leaf(text: str, whole: str) -> Leaf:
    text = text.strip()
    if match := _HEX.fullmatch(text):
        return Leaf(int(match[1] + match[2], 16))
    if match := _PRIVATE.fullmatch(text):
        group = int(match[3], 16)
        if not group & 1:
            raise UnknownKeyword(f"{text}: private elements have an odd group, {match[3]} is even")
        return Leaf(group << 16 | int(match[4], 16), (match[1] or match[2]).strip(), match[5] or "")
    tag = tag_of(text) if _KEYWORD.fullmatch(text) else None
    if tag is None:
        raise UnknownKeyword(f"unknown keyword {text!r}{_within(text, whole)}{_suggestion(text)}")
    return Leaf(tag)


def _within(text: str, whole: str) -> str:
    return "" if text == whole else f" in {whole!r}"


def _suggestion(text: str) -> str:
    from difflib import get_close_matches

    folded = {keyword.lower(): keyword for keyword in _keywords()}
    near = get_close_matches(text.lower(), folded, n=3, cutoff=0.75)
    return f"; did you mean {' or '.join(folded[n] for n in near)}?" if near else ""


def _keywords() -> list[str]:
    from pydicom.datadict import keyword_dict

    return [keyword for keyword in keyword_dict if keyword]


@lru_cache(maxsize=4096)
def tag_of(keyword: str) -> int | None:
    """The tag of a keyword (PS3.6), None when there is none."""
    from pydicom.datadict import tag_for_keyword

    return tag_for_keyword(keyword)


@lru_cache(maxsize=8192)
def keyword_of(tag: int) -> str:
    """The keyword of a tag (PS3.6), empty when there is none."""
    from pydicom.datadict import keyword_for_tag

    return keyword_for_tag(tag)


@lru_cache(maxsize=8192)
def dictionary_vr(tag: int) -> str:
    """The VR of a standard element, empty when unknown; may be ambiguous ("US or SS").

    Group lengths are UL and private creators LO, as PS3.5 7.2 and 7.8.1 have them.
    """
    from pydicom.datadict import dictionary_VR

    if tag & 0x10000:
        return "LO" if 0x10 <= tag & 0xFFFF <= 0xFF else ""
    if tag & 0xFFFF == 0:
        return "UL"
    try:
        return str(dictionary_VR(tag))
    except KeyError:
        return ""


@lru_cache(maxsize=8192)
def private_vr(tag: int, creator: str) -> str:
    """The VR of a private element that pydicom's private dictionary knows, else empty."""
    from pydicom.datadict import private_dictionary_VR

    try:
        return str(private_dictionary_VR(tag, creator))
    except KeyError:
        return ""


def name(tag: int) -> str:
    """For people: `PatientName`, or `(0019,1010)` when there is no keyword."""
    return keyword_of(tag) or f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
