"""The tree that a selector becomes: what it says, without how it is tried.

Everything is frozen and compares by value, so that a planner can read a selector (`Selector.tree`) and,
say, put `Modality == 'CT'` into a query.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dcmflow.dicom.spans import Span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dcmflow.dicom.reference import Reference

Value = str | int | float | Span
"""A literal, typed by the element it is compared with."""


@dataclass(frozen=True, slots=True)
class And:
    """True when all parts are."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """True when any part is."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """True when the part is not."""

    part: Node


@dataclass(frozen=True, slots=True)
class Named:
    """Another selector, by its name."""

    name: str
    part: Node


@dataclass(frozen=True, slots=True)
class Exists:
    """True when the element is there, be it empty."""

    reference: Reference


@dataclass(frozen=True, slots=True)
class Compare:
    """A comparison of an element with literals.

    Attributes:
        reference: what is compared.
        operator: one of == in < <= > >= matches like contains.
        values: the literals, one for everything but `in`.
        negative: `!=`, `not in`, `not like` ...: true when there is a value and it holds for none.
    """

    reference: Reference
    operator: str
    values: tuple[Value, ...]
    negative: bool = False


Node = And | Or | Not | Named | Exists | Compare


def leaves(node: Node) -> Iterator[Exists | Compare]:
    """All comparisons of a tree, each occurrence of a named selector once for every time it is named."""
    match node:
        case And(parts) | Or(parts):
            for part in parts:
                yield from leaves(part)
        case Not(part) | Named(_, part):
            yield from leaves(part)
        case _:
            yield node
