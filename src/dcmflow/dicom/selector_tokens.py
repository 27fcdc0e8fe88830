"""The words of a selector, and errors that point at one of them.

::

    Modality in ('CT', 'MR')
    ^word    ^ ^^text      ^op

A text stands in single or double quotes, and the quote itself is written twice in it; a backslash is only a
backslash, so that regular expressions read as they are. A value of one word needs no quotes.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final, NamedTuple

from dcmflow.errors import ConfigError

WORD: Final = "word"
BARE: Final = "bare"  # begins like a number: 5, -2.5, 2019-06-20, 10:15:30, 1.2.840.10008
TEXT: Final = "text"
TAG: Final = "tag"
PRIVATE: Final = "private"
OPERATOR: Final = "operator"
END: Final = "end"


class Token(NamedTuple):
    """One word of a selector.

    Attributes:
        kind: one of the constants above.
        text: its content: a text without its quotes, everything else as written.
        start, end: where it stands in the selector.
    """

    kind: str
    text: str
    start: int
    end: int


_HEX4 = r"\s*[0-9A-Fa-f]{4}\s*"
_TOKEN = re.compile(
    rf"""(?P<tag>\({_HEX4},{_HEX4}\))
    |(?P<private>\(\s*(?:"[^"\\]+"|'[^'\\]+')\s*,{_HEX4},\s*(?:xx)?[0-9A-Fa-f]{{2}}\s*(?:,\s*[A-Z]{{2}}\s*)?\))
    |(?P<text>'(?:[^']|'')*'|"(?:[^"]|"")*")
    |(?P<bare>[+-]?\.?[0-9][\w.:+-]*)
    |(?P<word>[^\W\d][\w-]*)
    |(?P<operator>==|!=|<=|>=|&&|\|\||[<>!()\[\],.*])
    """,
    re.VERBOSE,
)
_SPACE = re.compile(r"\s*")
_INSTEAD = {
    "=": "equality is written ==",
    "&": "write 'and'",
    "|": "write 'or'",
    "'": "a quote that is not closed",
    '"': "a quote that is not closed",
    "\\": "a value with other characters than letters and digits needs quotes",
    "-": "a value with other characters than letters and digits needs quotes",
}
_INSTEAD |= dict.fromkeys("‘’‚“”„«»`´", "quotes are ' or \"")


def tokens(text: str) -> list[Token]:
    """All words of `text`, the last one of kind END.

    Raises:
        ConfigError: a character that begins no word.
    """
    found: list[Token] = []
    position = _skip(text, 0)
    while position < len(text):
        # After "in" parentheses hold a list: (1234,5678) is two numbers there and a tag everywhere else.
        listed = bool(found) and found[-1].kind == WORD and found[-1].text == "in"
        token = _list_start(text, position) if listed else None
        token = token or _token(text, position)
        found.append(token)
        position = _skip(text, token.end)
    found.append(Token(END, "", position, position))
    return found


def _skip(text: str, position: int) -> int:
    space = _SPACE.match(text, position)
    return space.end() if space else position


def _list_start(text: str, position: int) -> Token | None:
    return Token(OPERATOR, "(", position, position + 1) if text[position] == "(" else None


def _token(text: str, position: int) -> Token:
    match = _TOKEN.match(text, position)
    if match is None:
        character = text[position]
        hint = _INSTEAD.get(character, "a value with such a character needs quotes")
        raise error(text, position, f"unexpected {character!r}; {hint}")
    kind = str(match.lastgroup)
    content = match[0]
    if kind == TEXT:
        content = content[1:-1].replace(content[0] * 2, content[0])
    return Token(kind, content, position, match.end())


def error(text: str, position: int, message: str, *, end: int = 0, where: str = "") -> ConfigError:
    """An error that shows the line of `text` with a caret under `position`.

    Args:
        text: the whole selector (or template).
        position: the offending character, from 0.
        message: what is wrong with it, and what to write instead.
        end: where the offending word ends; it is underlined when longer than a character.
        where: what the text is, when it is not the outermost one.
    """
    begin = text.rfind("\n", 0, position) + 1
    stop = text.find("\n", begin)
    line = text[begin:] if stop < 0 else text[begin:stop]
    offset = position - begin
    padding = "".join("\t" if c == "\t" else " " * _width(c) for c in line[:offset])
    caret = "^" * max(1, sum(map(_width, line[offset : max(end - begin, 0)])))
    prefix = f"{where}: " if where else ""
    return ConfigError(f"{prefix}{message}\n  {line}\n  {padding}{caret}", column=offset + 1)


def _width(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
