"""Any text as the name of a file or folder: two texts never become one name.

What a name must not contain is written as in a URL, `%` and two hexadecimal digits per byte of UTF-8, and so is
`%` itself; all else stays as it came. So a `%` that is followed by something else can come from no text, and
stands for what only we say:

======================  ==============================================================================
``%no-PatientID``       there is no value
``%~`` and 32 digits    what was too long was cut here; the digits are a hash of all of it
``%_``                  a boundary between two values that nothing else parts
======================  ==============================================================================

Names that differ in case only, or in the composition of their characters (ä as one or as two), are different
here; a file system that takes them for the same (macOS, Windows) is not covered.

>>> safe_name("a/b"), safe_name(".."), safe_name("CON"), safe_name("Accelerated Sagittal MPRAGE")
('a%2Fb', '%2E%2E', '%43ON', 'Accelerated Sagittal MPRAGE')
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b
from typing import Final

LONGEST: Final = 200
"""Bytes of a name in UTF-8; file systems take 255, and a temporary name beside it wants room."""
BOUNDARY: Final = "%_"

# Separators, what Windows forbids, C0 and C1 controls, line separators, halves of surrogate pairs.
_UNSAFE: Final = r'%/\\<>:"|?*\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff'
_UNSAFE_CHARACTER = re.compile(f"[{_UNSAFE}]")
_RESERVED = re.compile(r"(?:CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(?:COM|LPT)[0-9¹²³]) *(?:\..*)?", re.I | re.S)


def safe_name(text: str) -> str:
    """A name for `text`, its own for each text, at most `LONGEST` bytes and allowed on every system.

    Raises:
        ValueError: an empty text.
    """
    if not text:
        raise ValueError("an empty text gives no name")
    return finish(escape(text), "")


def escape(text: str, also: str = "") -> str:
    """`text` without what no name may contain, and without the character `also`.

    It is no name yet: what matters at the beginning, the end, or by the length is the business of `finish`.
    """
    return _pattern(also).sub(_escaped, text)


def missing(name: str) -> str:
    """What stands for a value that is not there."""
    return f"%no-{escape(name)}"


def unsafe(text: str) -> int:
    """The position of the first character that no name may contain, -1 when there is none."""
    found = _UNSAFE_CHARACTER.search(text)
    return found.start() if found else -1


def reserved(name: str) -> bool:
    """True for names that Windows keeps for devices, with or without an extension."""
    return _RESERVED.fullmatch(name) is not None


def finish(name: str, suffix: str) -> str:
    """The name for escaped text: no dot or `~` in front, no dot or blank behind, no device, not too long.

    Args:
        name: escaped text, `suffix` included.
        suffix: what is kept at the end when the name must be cut.
    """
    if name[0] in ".~":
        name = _hexadecimal(name[0]) + name[1:]
    if name[-1] in ". ":
        name = name[:-1] + _hexadecimal(name[-1])
    if reserved(name):
        name = _hexadecimal(name[0]) + name[1:]
    if len(name) * 4 <= LONGEST or len(name.encode()) <= LONGEST:
        return name
    mark = f"%~{blake2b(name.encode(), digest_size=16).hexdigest()}{suffix}"
    room = LONGEST - len(mark.encode())
    return name.encode()[:room].decode(errors="ignore") + mark


@lru_cache(maxsize=256)
def _pattern(also: str) -> re.Pattern[str]:
    return re.compile(f"[{_UNSAFE}{re.escape(also)}]") if also else _UNSAFE_CHARACTER


def _escaped(match: re.Match[str]) -> str:
    return _hexadecimal(match[0])


def _hexadecimal(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))
