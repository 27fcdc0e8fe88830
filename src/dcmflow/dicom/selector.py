"""Selectors: conditions on an instance, written by people.

>>> wanted = Selector("Modality in ('CT', 'MR') and SeriesNumber > 3")
>>> sorted(f"{tag:08x}" for tag in wanted.elements)
['00080060', '00200011']

===========================  =================================================================================
``== != < <= > >=``          numbers as numbers, dates and times as such (`dcmflow.dicom.spans`), else as text
``in (A, B)``, ``not in``    any of a list
``contains``                 one of several values equals: ``ImageType contains PRIMARY``
``like``                     DICOM wildcards ``*`` and ``?`` over the whole value; the case matters, except in
                             person names (PS3.4 C.2.2.2.4)
``matches``                  a regular expression, found anywhere (`re.search`); ``^`` and ``$`` tie it down
``exists(Keyword)``          the element is there, be it empty
``and or not ( )``           also ``&& || !``
``internal``                 another selector, by its name
===========================  =================================================================================

A person name is compared as a whole and by its component groups: ``PatientName like '*山田*'`` finds
``Yamada^Tarou=山田^太郎``. What may be named on the left side: `dcmflow.dicom.reference`.

What a comparison says of an element X that

==============================  ==========  ==========  ===========  ========  ========  =============
comparison                      is 'a'      is another  is empty     is no     is        has several
                                                                     value     absent    values
==============================  ==========  ==========  ===========  ========  ========  =============
``X == 'a'``, ``X in ('a')``    **true**    false       false        false     false     any of them
``X == ''``                     false       false       **true**     false     false     any of them
``X != 'a'``, ``X not in ..``   false       **true**    **true**     false     false     all of them
``X < 'b'`` ``<=`` ``>`` ..     as ordered  as ordered  false        false     false     any of them
``X like 'a'``, ``matches``     **true**    false       as ``""``    false     false     any of them
``X not like 'a'`` ..           false       **true**    as ``""``    false     false     all of them
``exists(X)``                   **true**    **true**    **true**     **true**  false     **true**
``not (X == 'a')``              false       **true**    **true**     **true**  **true**  none of them
==============================  ==========  ==========  ===========  ========  ========  =============

So `not (X == 'a')` is also true where there is no X, and `X != 'a'` is not. "No value" is a DS that is no
number, or the date 20190231: every comparison is false and nothing is raised. Private elements, whose VR
nobody knows beforehand, compare as numbers with a number and as text with a text in quotes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, final

from dcmflow.dicom import selector_values as values
from dcmflow.dicom.reference import ABSENT, Getter
from dcmflow.dicom.selector_syntax import elements_in, names_in, parse
from dcmflow.dicom.selector_tree import And, Compare, Exists, Named, Node, Not, Or

if TYPE_CHECKING:
    from dcmflow.dicom.instance import Instance
    from dcmflow.dicom.selector_tree import Value
    from dcmflow.dicom.selector_values import Check

Test = Callable[["Instance"], bool]


@final
class Selector:
    """A condition on an instance: `selector(instance)` is True or False, whatever the values are.

    Calling it raises `DatasetError` only where the encoding is broken before an element that it looks at, so
    that nobody can say what the instance contains.

    Two selectors are equal when their texts are.

    Args:
        text: the condition.
        names: other selectors that it may name, and they each other in any order.

    Attributes:
        text: as written.
        tree: what it says (`dcmflow.dicom.selector_tree`).

    Raises:
        ConfigError: with the line, a caret under the offending word, and its `column`.
    """

    def __init__(self, text: str, names: Mapping[str, str] | None = None) -> None:
        names = names or {}
        self.text = text
        self.tree: Node = parse(text, names)
        self._test = _compile(self.tree)
        self._definitions = {name: names[name] for name in names_in(self.tree)}

    @classmethod
    def parse(cls, text: str, names: Mapping[str, str] | None = None) -> Selector:
        """The selector of this text; the same as calling the class."""
        return cls(text, names)

    def __call__(self, instance: Instance) -> bool:
        return self._test(instance)

    @cached_property
    def elements(self) -> frozenset[int]:
        """Tags of the top-level elements that it looks at; empty when it asks for origin or labels only."""
        return elements_in(self.tree)

    @property
    def names(self) -> frozenset[str]:
        """The selectors it names, directly or through others."""
        return frozenset(self._definitions)

    def __eq__(self, other: object) -> bool:
        return self.text == other.text if isinstance(other, Selector) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Selector({self.text!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return Selector, (self.text, self._definitions)


def _compile(node: Node) -> Test:
    match node:
        case And(parts):
            return _all(tuple(map(_compile, parts)))
        case Or(parts):
            return _any(tuple(map(_compile, parts)))
        case Not(part):
            test = _compile(part)
            return lambda instance: not test(instance)
        case Named(_, part):
            return _compile(part)
        case Exists(reference):
            get = reference.getter()
            return lambda instance: get(instance) is not ABSENT
        case Compare():
            return _compile_comparison(node)


def _all(tests: tuple[Test, ...]) -> Test:
    if len(tests) == 2:
        first, second = tests
        return lambda instance: first(instance) and second(instance)

    def every(instance: Instance) -> bool:
        for test in tests:  # noqa: SIM110 - a generator would cost more than the tests
            if not test(instance):
                return False
        return True

    return every


def _any(tests: tuple[Test, ...]) -> Test:
    if len(tests) == 2:
        first, second = tests
        return lambda instance: first(instance) or second(instance)

    def some(instance: Instance) -> bool:
        for test in tests:  # noqa: SIM110
            if test(instance):
                return True
        return False

    return some


def _compile_comparison(node: Compare) -> Test:
    kind = values.kind_of(node.reference.vr)
    get = node.reference.getter()
    check = _with_empty(node, values.check_for(kind, node.operator, node.values))
    if node.negative:
        return _none_of(get, check)
    if kind == values.TEXT and node.operator in ("==", "in", "contains"):
        return _one_of_texts(get, check, frozenset(node.values))
    return _one_of(get, check)


def _with_empty(node: Compare, check: Check) -> Check:
    """`check` for values that may be empty: equal to '' only, in no order, to patterns a text."""
    if node.operator in ("matches", "like"):
        empty = check("") is True
    else:
        empty = node.operator in ("==", "in", "contains") and "" in node.values

    def checked(value: object) -> bool | None:
        return empty if value is None or value == "" else check(value)

    return checked


def _one_of(get: Getter, check: Check) -> Test:
    def test(instance: Instance) -> bool:
        value = get(instance)
        if value.__class__ is tuple:
            return any(check(one) is True for one in value)
        return value is not ABSENT and check(value) is True

    return test


def _one_of_texts(get: Getter, check: Check, choices: frozenset[Value]) -> Test:
    """What `_one_of` does, with a short way for one text, which is most of what anybody asks."""

    def test(instance: Instance) -> bool:
        value = get(instance)
        if value.__class__ is str:
            return value in choices or value.strip(" ") in choices
        if value.__class__ is tuple:
            return any(check(one) is True for one in value)
        return value is not ABSENT and check(value) is True

    return test


def _none_of(get: Getter, check: Check) -> Test:
    def test(instance: Instance) -> bool:
        value = get(instance)
        if value.__class__ is tuple:
            return bool(value) and all(check(one) is False for one in value)
        return value is not ABSENT and check(value) is False

    return test
