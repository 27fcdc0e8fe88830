"""Nowhere."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar

from dcmflow.dicom.instance import Instance
from dcmflow.flow.context import Context
from dcmflow.flow.stage import Sink


class Discard(Sink, frozen=True):
    """Accepts everything and keeps nothing: for what is meant to be let go, and for measuring."""

    divisible: ClassVar[bool] = True

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[_Actor]:
        yield _Actor()


class _Actor:
    async def write(self, instance: Instance) -> None:
        """Accepted; nobody will see it again."""
