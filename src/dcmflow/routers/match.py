"""Branches by selector."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, ClassVar

from msgspec import Meta

from dcmflow.dicom.instance import Instance
from dcmflow.errors import ConfigError
from dcmflow.flow.context import Context
from dcmflow.flow.selectors import check_selector
from dcmflow.flow.stage import Router

if TYPE_CHECKING:
    from dcmflow.dicom.selector import Selector


class Match(Router, frozen=True):
    """Sends an instance to every branch whose selector it matches; what matches none goes to the branch "*"."""

    divisible: ClassVar[bool] = True

    branch: Annotated[
        dict[str, Annotated[str, Meta(min_length=1)]],
        Meta(min_length=1, description="Selectors by name of the branch, e.g. ct = \"Modality == 'CT'\"."),
    ]
    first_only: Annotated[
        bool, Meta(description="Only to the first branch that matches, in the order written.")
    ] = False

    def __post_init__(self) -> None:
        if not self.branch:
            raise ConfigError("a router needs a branch: branch.ct = \"Modality == 'CT'\"", key="branch")
        for name, text in self.branch.items():
            if name == "*":
                raise ConfigError(
                    "'*' is everything else and has no selector; wire it and leave it out here", key="branch"
                )
            if not name or "." in name:
                raise ConfigError(
                    f"{name!r} cannot be the name of a branch: no dots, not empty", key="branch"
                )
            check_selector(text, f"branch.{name}")

    def branches(self) -> frozenset[str]:
        return frozenset(self.branch)

    def check(self, context: Context) -> None:
        self._selectors(context)

    def _selectors(self, context: Context) -> dict[str, Selector]:
        selectors = {}
        for name, text in self.branch.items():
            try:
                selectors[name] = context.selector(text)
            except ConfigError as error:
                raise error.at(key=f"branch.{name}") from None
        return selectors

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[_Actor]:
        yield _Actor(self._selectors(context), first_only=self.first_only)


class _Actor:
    def __init__(self, selectors: dict[str, Selector], *, first_only: bool) -> None:
        self._selectors = tuple(selectors.items())
        self._first_only = first_only

    async def choose(self, instance: Instance) -> Iterable[str]:
        chosen = []
        for name, selector in self._selectors:
            if selector(instance):
                chosen.append(name)
                if self._first_only:
                    break
        return chosen
