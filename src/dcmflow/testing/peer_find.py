"""C-FIND answers of a scripted SCP."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from msgspec.structs import replace

from dcmflow.testing.peer_script import Answer, Exchange, Step

PENDING = 0xFF00
CANCELLED = 0xFE00


class Matches(Step, frozen=True):
    """Pending answers, one for each data set, then a final one (PS3.4 C.4.1).

    Attributes:
        datasets: pydicom data sets or encoded bytes; any iterable, read only as fast as the peer takes them; or a function
            that is given the `Exchange` and returns one.
        final: the reply after the last: a status, `AbortNow()`, `CloseNow()`; None: nothing.
        like: what each pending answer is like, for its other fields.
        heed_cancel: stop with FE00 when a C-CANCEL comes; else go on as if there was none.
    """

    datasets: Iterable[Any] | Callable[[Exchange], Iterable[Any]] = ()
    final: Any = 0x0000
    like: Answer = Answer(PENDING)
    heed_cancel: bool = True

    async def run(self, exchange: Exchange) -> None:
        datasets = self.datasets(exchange) if callable(self.datasets) else self.datasets
        for dataset in datasets:
            if self.heed_cancel and exchange.cancelled:
                await exchange.run(CANCELLED)
                return
            await replace(self.like, data=dataset).run(exchange)
        await exchange.run(self.final)
