"""Specific Character Set (PS3.3 C.12.1.1.2, PS3.5 6.1): bytes to text and back.

Decoding never fails: what an object claims about its characters is often not so, and a name with a replacement character
still routes. Encoding is strict: what cannot be written is an error.
"""

from __future__ import annotations

import re
from functools import lru_cache

from dcmflow.errors import DatasetError

Codecs = tuple[str, ...]

DEFAULT: Codecs = ("iso8859",)  # PS3.5 6.1.1: ISO_IR 6; Latin-1 where a writer used more than it declared
UTF8: Codecs = ("UTF8",)
_ALONE = ("ISO_IR 192", "GBK", "GB18030")  # PS3.3 C.12.1.1.2: no code extensions with these
_DELIMITERS = frozenset(b"\r\n\t\f")
_FRAGMENTS = re.compile(rb"^[^\x1b]+|\x1b[^\x1b]*")


@lru_cache(maxsize=256)
def codecs_for(terms: tuple[str, ...]) -> Codecs:
    """The Python codecs for the values of Specific Character Set; unknown terms count as the default."""
    from pydicom.charset import python_encoding

    if not terms:
        return DEFAULT
    found: list[str] = []
    for number, term in enumerate(terms):
        if number and term in _ALONE:
            continue
        codec = python_encoding.get(term) or python_encoding.get(_respelt(term)) or _python_codec(term)
        found.append(codec)
        if number == 0 and term in _ALONE:
            break
    return tuple(found)


def _respelt(term: str) -> str:
    if re.match("ISO[^_]IR", term):
        return "ISO_IR" + term[6:]
    if re.match("ISO.2022.IR.", term):
        return "ISO 2022 IR " + term[12:]
    return term


def _python_codec(term: str) -> str:
    import codecs

    try:
        return term if codecs.lookup(term)._is_text_encoding else DEFAULT[0]
    except (LookupError, ValueError):
        return DEFAULT[0]


def decode(data: bytes, codecs: Codecs) -> str:
    """Text from bytes, escape sequences followed (PS3.5 6.1.2.5)."""
    if b"\x1b" not in data:
        if codecs is DEFAULT and not data.isascii():
            return _undeclared(data)
        return data.decode(codecs[0], "replace")
    return "".join(_fragment(part, codecs) for part in _FRAGMENTS.findall(data))


def _undeclared(data: bytes) -> str:
    """More than ISO_IR 6 though nothing else was declared: UTF-8 where it can be nothing else, or else Latin-1."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode(DEFAULT[0])


def _fragment(part: bytes, codecs: Codecs) -> str:
    from pydicom.charset import CODES_TO_ENCODINGS, handled_encodings

    if not part.startswith(b"\x1b"):
        return part.decode(codecs[0], "replace")
    length = 4 if part.startswith((b"\x1b$(", b"\x1b$)")) else 3
    codec = CODES_TO_ENCODINGS.get(part[:length], "")
    if codec not in codecs and codec != DEFAULT[0]:
        return part.decode(codecs[0], "replace")
    try:
        if codec in handled_encodings:
            return part.decode(codec)
        part = part[length:]
        # a control character ends what the escape sequence began
        end = next((n for n, byte in enumerate(part) if byte in _DELIMITERS), len(part))
        return part[:end].decode(codec) + part[end:].decode(codecs[0])
    except UnicodeError:
        return part.decode(codecs[0], "replace")


def encode(text: str, codecs: Codecs, *, person: bool = False) -> bytes:
    """Bytes from text.

    Args:
        person: True for PN, whose parts each begin in the first character set again.

    Raises:
        UnicodeEncodeError: a character that these character sets do not have.
    """
    if text.isascii():
        return text.encode("ascii")
    if len(codecs) == 1 and codecs[0] not in (
        "shift_jis",
        "iso2022_jp",
        "iso2022_jp_2",
        "iso_ir_58",
        "euc_kr",
    ):
        return text.encode("ascii" if codecs == DEFAULT else codecs[0])
    return _extended(text, codecs, "^=\\\r\n\t\f" if person else "\\\r\n\t\f")


def _extended(text: str, codecs: Codecs, delimiters: str) -> bytes:
    """Code extensions: each run between delimiters starts in the first character set."""
    encoded = bytearray()
    for part in re.split(f"([{re.escape(delimiters)}])", text):
        run = part.encode("ascii") if part.isascii() else _run(part, codecs)
        if decode(run, codecs) != part:
            raise UnicodeEncodeError(codecs[0], part, 0, len(part), "not in these character sets")
        encoded += run
    return bytes(encoded)


def _run(text: str, codecs: Codecs) -> bytes:
    """Stretches of text, each in the character set that carries it farthest, escape sequences before them."""
    from pydicom.charset import ENCODINGS_TO_CODES, handled_encodings, need_tail_escape_sequence_encodings

    encoded = bytearray()
    codec, rest = codecs[0], text
    while rest:
        far, codec, data = max((_prefix(rest, codec) for codec in codecs), key=lambda found: found[0])
        if not far:
            raise UnicodeEncodeError(codecs[0], text, 0, len(text), "not in these character sets")
        if codec not in handled_encodings and (encoded or codec != codecs[0]):
            escape = ENCODINGS_TO_CODES.get(codec, b"")
            encoded += b"\x1b(J" if codec == "shift_jis" and data[0] < 0x80 else escape
        encoded += data
        rest = rest[far:]
    if codec in need_tail_escape_sequence_encodings:
        encoded += ENCODINGS_TO_CODES.get(codecs[0], b"")
    return bytes(encoded)


def _prefix(text: str, codec: str) -> tuple[int, str, bytes]:
    """(number of characters, codec, bytes) of the longest beginning that `codec` can write."""
    from pydicom.charset import custom_encoders

    name = "ascii" if codec == DEFAULT[0] else codec
    far = len(text)
    while far:
        try:
            head = text[:far]
            return far, codec, custom_encoders[name](head) if name in custom_encoders else head.encode(name)
        except UnicodeEncodeError as error:
            far = min(error.start, far - 1)
    return 0, codec, b""


def check(term: str) -> None:
    """Raises DatasetError when `term` is no defined term of Specific Character Set."""
    from pydicom.charset import python_encoding

    if term not in python_encoding:
        raise DatasetError(f"SpecificCharacterSet cannot be {term!r}: not a defined term (PS3.3 C.12.1.1.2)")
