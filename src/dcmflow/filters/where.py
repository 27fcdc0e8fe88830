"""Conditions: what does not match goes no further."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, ClassVar

from msgspec import Meta

from dcmflow.dicom.instance import Instance
from dcmflow.errors import ConfigError
from dcmflow.flow.context import Context
from dcmflow.flow.selectors import check_selector
from dcmflow.flow.stage import Filter

if TYPE_CHECKING:
    from dcmflow.dicom.selector import Selector


class Where(Filter, frozen=True):
    """Lets through what matches a selector; the rest is dropped and counted."""

    divisible: ClassVar[bool] = True

    match: Annotated[
        str,
        Meta(min_length=1, description="Selector, e.g. \"Modality in ('CT', 'MR') and SeriesNumber > 3\"."),
    ]

    def __post_init__(self) -> None:
        check_selector(self.match, "match")

    def check(self, context: Context) -> None:
        self._selector(context)

    def _selector(self, context: Context) -> Selector:
        try:
            return context.selector(self.match)
        except ConfigError as error:
            raise error.at(key="match") from None

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[_Actor]:
        yield _Actor(self._selector(context))


class _Actor:
    def __init__(self, selector: Selector) -> None:
        self._selector = selector

    async def process(self, instance: Instance) -> Instance | None:
        return instance if self._selector(instance) else None
