"""From the text of a selector to its tree.

::

    condition   all { ("or" | "||") all }
    all         not { ("and" | "&&") not }
    not         ("not" | "!") not | "(" condition ")" | "exists" "(" reference ")" | comparison | name
    comparison  reference ("==" | "!=" | "<" | "<=" | ">" | ">=") value
              | reference ["not"] "in" ( "(" value { "," value } ")" | "[" value { "," value } "]" )
              | reference ["not"] ("matches" | "like" | "contains") value
    reference   see `dcmflow.dicom.reference`
    value       a text in quotes, or one word without: 'CT', CT, 5, -2.5, 2019-06-20, (0010,0010)
    name        another selector, found by its name among those given

A literal that can be no value of its element is an error here, before anything runs.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from dcmflow.dicom import selector_values as values
from dcmflow.dicom import tags
from dcmflow.dicom.reference import LABEL, ORIGIN_WORDS, Reference, parse_reference
from dcmflow.dicom.selector_tokens import BARE, END, OPERATOR, PRIVATE, TAG, TEXT, WORD, Token, error, tokens
from dcmflow.dicom.selector_tree import And, Compare, Exists, Named, Node, Not, Or, Value, leaves
from dcmflow.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_DEEPEST: Final = 50
_LARGEST: Final = 10_000
_COMPARISONS: Final = ("==", "!=", "<=", ">=", "<", ">")
_WORD_OPERATORS: Final = ("in", "matches", "like", "contains")
_RESERVED: Final = frozenset(("and", "or", "not", "exists", *_WORD_OPERATORS))
_ORDERINGS: Final = frozenset(("<", "<=", ">", ">="))
_NO_WILDCARDS: Final = frozenset((values.NUMBER, values.TAG))


def parse(text: str, names: Mapping[str, str]) -> Node:
    """The tree of `text`.

    Args:
        text: a selector.
        names: other selectors that it may name, and they each other in any order.

    Raises:
        ConfigError: with the line, a caret under the offending word, and its column.
    """
    return _Names(names).tree(text, "", 0)


class _Names:
    """Named selectors, each parsed once; knows which ones are being parsed and so sees cycles."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.texts = texts
        self._done: dict[str, tuple[Node, int]] = {}
        self._open: list[str] = []
        self.size = 0

    def tree(self, text: str, name: str, depth: int) -> Node:
        return _Parser(text, self, name, depth).parse()

    def named(self, token: Token, depth: int, fail: Callable[[Token, str], ConfigError]) -> Node:
        name = token.text
        if name in self._open:
            way = " → ".join([*self._open[self._open.index(name) :], name])
            raise fail(token, f"selectors that name each other in a circle: {way}")
        if name not in self._done:
            before, self.size = self.size, 0
            self._open.append(name)
            node = Named(name, self.tree(self.texts[name], name, depth))
            self._open.pop()
            self._done[name] = node, self.size
            self.size = before
        node_and_size = self._done[name]
        self.grow(node_and_size[1], token, fail)
        return node_and_size[0]

    def grow(self, by: int, token: Token, fail: Callable[[Token, str], ConfigError]) -> None:
        self.size += by
        if self.size > _LARGEST:
            raise fail(token, f"the selector becomes too large: more than {_LARGEST} comparisons")


class _Parser:
    def __init__(self, text: str, names: _Names, name: str, depth: int) -> None:
        self._text = text
        self._names = names
        self._where = f"selector {name!r}" if name else ""
        self._depth = depth
        try:
            self._tokens = tokens(text)
        except ConfigError as problem:
            raise self._placed(problem) from None
        self._position = 0

    def parse(self) -> Node:
        if self._here.kind == END:
            raise self._fail(self._here, "an empty selector; write a condition such as Modality == 'CT'")
        node = self._or()
        if self._here.kind != END:
            raise self._unexpected()
        return node

    # Reading tokens

    @property
    def _here(self) -> Token:
        return self._tokens[self._position]

    def _next(self) -> Token:
        token = self._here
        self._position += token.kind != END
        return token

    def _is(self, *texts: str) -> bool:
        return self._here.kind in (WORD, OPERATOR) and self._here.text in texts

    def _accept(self, *texts: str) -> bool:
        found = self._is(*texts)
        self._position += found
        return found

    def _expect(self, text: str, why: str) -> None:
        if not self._accept(text):
            raise self._fail(self._here, why)

    def _fail(self, token: Token, message: str) -> ConfigError:
        return error(self._text, token.start, message, end=token.end, where=self._where)

    def _placed(self, problem: ConfigError) -> ConfigError:
        if not self._where:
            return problem
        return ConfigError(f"{self._where}: {problem.problem}", column=problem.column)

    # Conditions

    def _or(self) -> Node:
        parts = [self._and()]
        while self._accept("or", "||"):
            parts.append(self._and())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _and(self) -> Node:
        parts = [self._not()]
        while self._accept("and", "&&"):
            parts.append(self._not())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _not(self) -> Node:
        token = self._here
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._fail(token, f"nested too deep: more than {_DEEPEST} levels")
        if self._accept("not", "!"):
            node: Node = Not(self._not())
        elif self._accept("("):
            node = self._or()
            self._expect(")", f"a ) is missing; the ( is at column {token.start + 1}")
        elif self._accept("exists"):
            node = self._exists()
        else:
            node = self._comparison_or_name()
        self._depth -= 1
        return node

    def _exists(self) -> Node:
        self._expect("(", "exists wants parentheses: exists(Keyword)")
        reference = self._reference()
        self._expect(")", "a ) is missing after exists(...")
        return Exists(reference)

    def _reference(self) -> Reference:
        reference, self._position = parse_reference(self._tokens, self._position, self._text, self._fail)
        return reference

    def _comparison_or_name(self) -> Node:
        token = self._here
        if token.kind in (TAG, PRIVATE):
            return self._comparison()
        if token.kind != WORD or token.text in _RESERVED:
            raise self._no_condition(token)
        following = self._tokens[self._position + 1]
        compared = _begins_operator(following) or (
            following.kind == OPERATOR and following.text in (".", "[")
        )
        # An element with anything but a joint after it is a comparison whose operator is wrong.
        botched = following.kind not in (END, OPERATOR) and following.text.lower() not in ("and", "or")
        if compared or (botched and _is_element(token.text)):
            return self._comparison()
        return self._name()

    def _no_condition(self, token: Token) -> ConfigError:
        if token.kind == END:
            return self._fail(token, "a condition is missing at the end")
        if token.kind in (TEXT, BARE):
            return self._fail(token, "the element comes first, then the value: SeriesNumber > 5")
        return self._fail(token, f"a condition such as Modality == 'CT' is missing before {token.text!r}")

    def _unexpected(self) -> ConfigError:
        token = self._here
        if token.kind == OPERATOR and token.text == ")":
            return self._fail(token, "a ) without its (")
        if token.kind == WORD and token.text.lower() in ("and", "or"):
            return self._fail(token, f"write {token.text.lower()!r}")
        if (token.kind == OPERATOR and token.text in _COMPARISONS) or token.text in _WORD_OPERATORS:
            return self._fail(token, "one comparison after the other; join them by 'and' or 'or'")
        return self._fail(token, f"unexpected {token.text!r}; conditions are joined by 'and' or 'or'")

    def _name(self) -> Node:
        token = self._next()
        if token.text in self._names.texts:
            return self._names.named(token, self._depth, self._fail)
        if _is_element(token.text) or token.text == LABEL:
            hint = f"compare it with a value, or write exists({token.text})"
            raise self._fail(token, f"{token.text} alone is no condition; {hint}")
        raise self._fail(token, f"no selector is named {token.text!r}{self._suggest(token.text)}")

    def _suggest(self, name: str) -> str:
        from difflib import get_close_matches

        near = get_close_matches(name, [*self._names.texts, *_RESERVED], n=2, cutoff=0.6)
        return f"; did you mean {' or '.join(near)}?" if near else "; an element wants a comparison"

    # Comparisons

    def _comparison(self) -> Node:
        first = self._here
        if first.kind == WORD and first.text in self._names.texts and tags.tag_of(first.text) is None:
            raise self._fail(first, f"{first.text} is a selector, it cannot be compared")
        reference = self._reference()
        self._names.grow(1, first, self._fail)
        negative = self._accept("not")
        token = self._next()
        if token.kind == OPERATOR and token.text in _COMPARISONS and not negative:
            operator = "==" if token.text == "!=" else token.text
            return self._compare(reference, operator, token, negative=token.text == "!=")
        if token.kind == WORD and token.text in _WORD_OPERATORS:
            return self._compare(reference, token.text, token, negative=negative)
        if negative:
            raise self._fail(token, "after 'not' comes in, matches, like or contains")
        raise self._fail(token, f"an operator is missing after {reference.text}: == != < <= > >= in like ...")

    def _compare(self, reference: Reference, operator: str, token: Token, *, negative: bool) -> Node:
        kind = values.kind_of(reference.vr)
        if kind in (values.SEQUENCE, values.BINARY):
            inside = (
                f"; name an element in it: {reference.text}[0].Keyword" if kind == values.SEQUENCE else ""
            )
            raise self._fail(
                token, f"{reference.text} is a {kind} ({reference.vr}), only exists() is for it{inside}"
            )
        if operator in ("matches", "like"):
            found: tuple[Value, ...] = (self._pattern(reference, kind, operator, token),)
        elif operator == "in":
            found = self._list(reference, kind)
        else:
            if operator == "contains" and reference.vm == "1":
                hint = f"for a part of a text write {reference.text} like '*part*'"
                raise self._fail(token, f"{reference.text} has one value only; {hint}")
            if operator in _ORDERINGS and kind in (values.UID, values.TAG):
                raise self._fail(token, f"{reference.text} is a {kind}, which has no order")
            found = (self._value(reference, kind, ordered=operator in _ORDERINGS),)
        return Compare(reference, operator, found, negative)

    def _pattern(self, reference: Reference, kind: str, operator: str, token: Token) -> str:
        if kind in _NO_WILDCARDS:
            raise self._fail(token, f"{operator} is for text, {reference.text} is a {kind} ({reference.vr})")
        pattern = self._next()
        if pattern.kind != TEXT:
            raise self._fail(pattern, f"{operator} wants a pattern in quotes")
        if operator == "matches":
            try:
                values.regular_expression(pattern.text)
            except re.error as problem:
                start = pattern.start + 1 + (problem.pos or 0)
                if not pattern.start < start < pattern.end:
                    start = pattern.start
                message = f"not a regular expression: {problem.msg}"
                raise error(self._text, start, message, where=self._where) from None
        return pattern.text

    def _list(self, reference: Reference, kind: str) -> tuple[Value, ...]:
        opening = self._here
        if not self._accept("(", "["):
            raise self._fail(opening, "in wants a list: in ('CT', 'MR')")
        closing = ")" if opening.text == "(" else "]"
        found: list[Value] = []
        while not self._is(closing):
            found.append(self._value(reference, kind, ordered=False))
            if not self._accept(","):
                break
        if not self._is(closing):
            raise self._fail(self._here, f"a comma or {closing} is missing in the list")
        if not found:
            raise self._fail(self._here, "an empty list; nothing would be in it")
        self._next()
        return tuple(found)

    def _value(self, reference: Reference, kind: str, *, ordered: bool) -> Value:
        token = self._next()
        if token.kind not in (TEXT, BARE, WORD, TAG) or (token.kind == WORD and token.text in _RESERVED):
            raise self._fail(token, f"a value is missing for {reference.text}")
        if token.kind == TAG and kind != values.TAG:
            raise self._fail(token, f"{reference.text} cannot be a tag")
        if token.kind == WORD and kind not in (values.UID, values.TAG) and _is_element(token.text):
            message = f"elements are compared with values only; if the text is meant, write '{token.text}'"
            raise self._fail(token, message)
        quoted = token.kind == TEXT
        found = values.literal(kind, token.text, quoted=quoted)
        if found is None:
            example = values.EXAMPLES[kind]
            message = f"{reference.text} ({reference.vr}) cannot be {token.text!r}: {example} is wanted"
            raise self._fail(token, message)
        if ordered:
            self._check_order(reference, kind, token, found)
        return found

    def _check_order(self, reference: Reference, kind: str, token: Token, found: Value) -> None:
        if found == "" and kind not in (values.TEXT, values.NAME, values.UNKNOWN):
            raise self._fail(token, "an empty value has no order; compare with == or !=")
        text = kind in (values.TEXT, values.NAME)
        if text and token.kind == BARE and values.number(token.text) is not None:
            raise self._fail(
                token,
                f"{reference.text} is text{_vr(reference)} and does not order as a number; "
                f"write '{token.text}' if the order of text is meant",
            )


def _is_element(word: str) -> bool:
    return word in ORIGIN_WORDS or tags.tag_of(word) is not None


def _vr(reference: Reference) -> str:
    return f" ({reference.vr})" if reference.steps else ""


def _begins_operator(token: Token) -> bool:
    if token.kind == OPERATOR:
        return token.text in _COMPARISONS
    return token.kind == WORD and token.text in ("not", *_WORD_OPERATORS)


def names_in(node: Node) -> frozenset[str]:
    """The names of all selectors that a tree uses, directly or through others."""
    match node:
        case And(parts) | Or(parts):
            return frozenset().union(*map(names_in, parts))
        case Not(part):
            return names_in(part)
        case Named(name, part):
            return names_in(part) | {name}
        case _:
            return frozenset()


def elements_in(node: Node) -> frozenset[int]:
    """The tags of all top-level elements that a tree needs."""
    return frozenset().union(*(leaf.reference.elements for leaf in leaves(node)))
