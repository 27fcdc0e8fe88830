"""Made-up instances."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Final

from anyio import to_thread
from msgspec import Meta

from dcmflow.dicom.instance import Instance
from dcmflow.dicom.synthetic import synthesize
from dcmflow.errors import ConfigError
from dcmflow.flow.context import Context, Draining, Emit
from dcmflow.flow.stage import Source
from dcmflow.units import parse_size

INLINE: Final = 1024 * 1024  # larger pixels are made in a thread

Count = Annotated[int, Meta(ge=0)]


class Synthetic(Source, frozen=True):
    """Makes up valid instances: for trying things out, load tests and benchmarks.

    The same fields give the same instances.
    """

    patients: Annotated[int, Meta(ge=0, description="How many patients.")] = 1
    studies: Annotated[int, Meta(ge=0, description="How many studies each patient has.")] = 1
    series: Annotated[int, Meta(ge=0, description="How many series each study has.")] = 1
    instances: Annotated[int, Meta(ge=0, description="How many instances each series has.")] = 10
    size: Annotated[
        int | str, Meta(description="Pixel data (document, waveform) of one instance: bytes or '13 KB'.")
    ] = "512 KiB"
    modality: Annotated[
        str | list[str],
        Meta(
            description="CT, MR, US, XA, SC, SR, PDF or ECG; of several, the series of a study have one in turn."
        ),
    ] = "CT"
    seed: Annotated[int, Meta(description="Another number gives other patients.")] = 0

    def __post_init__(self) -> None:
        try:
            parse_size(self.size)
        except ValueError as error:
            raise ConfigError(str(error), key="size") from None
        try:
            self._made()
        except (TypeError, ValueError) as error:
            raise ConfigError(str(error)) from None

    def _made(self) -> Iterator[Instance]:
        return synthesize(
            patients=self.patients,
            studies=self.studies,
            series=self.series,
            instances=self.instances,
            size=parse_size(self.size),
            modality=self.modality,
            seed=self.seed,
        )

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[_Actor]:
        yield _Actor(self._made(), context, in_thread=parse_size(self.size) > INLINE)


class _Actor:
    def __init__(self, made: Iterator[Instance], context: Context, *, in_thread: bool) -> None:
        self._made = made
        self._context = context
        self._in_thread = in_thread
        self._stopped = False

    async def run(self, emit: Emit) -> None:
        while not self._stopped:
            instance = (
                await to_thread.run_sync(next, self._made, None)
                if self._in_thread
                else next(self._made, None)
            )
            if instance is None:
                return
            try:
                await emit(instance.with_origin(stage=self._context.stage, received=datetime.now(UTC)))
            except Draining:
                return

    async def drain(self) -> None:
        self._stopped = True
