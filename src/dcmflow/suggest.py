"""What a person may have meant by a word that nobody knows."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def suggest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or nothing.

    >>> suggest("mypac", ["archive", "mypacs"])
    "; did you mean 'mypacs'?"
    """
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""
