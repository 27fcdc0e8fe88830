"""`dcmflow echo`: is a node there, does it speak to us, and how fast?"""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from dcmflow.cli import common
from dcmflow.cli.common import DONE, NOTHING_TRIED, SOME_FAILED, Usage, chosen, notice, options, say
from dcmflow.cli.failure import printable
from dcmflow.cli.nodes import Calling, why

if TYPE_CHECKING:
    from dcmflow.errors import DcmflowError
    from dcmflow.net.entity import Answer
    from dcmflow.net.node import Node
    from dcmflow.net.watch import Watch

PHASES = ("connect", "association", "echo")


def echo(
    *node: Annotated[
        str, Parameter(help="A node: a name of the settings, AE@host:port, dicoms://AE@host:port.")
    ],
    count: Annotated[int, Parameter(metavar="N", help="How often, each time on a new association.")] = 1,
    interval: Annotated[str, Parameter(metavar="TIME", help="How long to wait in between.")] = "1 s",
    format: Annotated[
        str | None,
        Parameter(
            metavar="FORMAT",
            help="text, or json: one object per answer (default: text on a terminal, json in a pipe).",
        ),
    ] = None,
    calling: Calling = Calling(),  # noqa: B008
) -> int:
    """Ask nodes whether they are there (C-ECHO), and measure how long it takes.

    Several nodes are asked at the same time. Exit code 0: all answered Success; 3: none could be asked; 1: anything between.
    """
    import anyio

    from dcmflow.cli.load import seconds

    wanted = chosen(format, ("text", "json"), terminal="text")
    pause = seconds(interval, "--interval")
    if count < 1:
        raise Usage("--count is 1 or more")
    if not node:
        raise Usage("echo whom? name a node; see dcmflow echo --help")
    settings = calling.settings()
    peers = calling.nodes(node, settings)
    round = _Round(settings.local.ae_title, as_json=wanted == "json")
    try:
        anyio.run(round.run, dict(zip(node, peers, strict=True)), count, pause)
    finally:
        if count > 1:
            round.sum_up()
    return round.code


class _Round:
    """Asks nodes, says what they answered, and remembers it."""

    def __init__(self, calling_ae: str, *, as_json: bool) -> None:
        self._calling_ae = calling_ae
        self._json = as_json
        self._times: dict[str, list[float]] = {}  # milliseconds of those that answered Success
        self._asked: dict[str, int] = {}
        self._tried = False  # some node was asked and could have answered

    async def run(self, nodes: dict[str, Node], count: int, pause: float) -> None:
        """Ask each node `count` times, `pause` seconds apart."""
        import anyio

        from dcmflow.net import connect, operations  # noqa: F401  (loading them is not to be measured)
        from dcmflow.net.watch import Watch

        async with Watch() as watch, anyio.create_task_group() as tasks:
            for text, node in nodes.items():
                tasks.start_soon(self._repeat, text, node, count, pause, watch)

    async def _repeat(self, text: str, node: Node, count: int, pause: float, watch: Watch) -> None:
        import anyio

        from dcmflow.errors import DcmflowError

        self._times[text], self._asked[text] = [], 0
        for number in range(count):
            if number:
                await anyio.sleep(pause)
            times: list[float] = []
            try:
                answer = await self._ask(node, watch, times)
            except DcmflowError as error:
                self._failed(text, node, error)
            else:
                self._answered(text, node, answer, times)
            self._asked[text] += 1

    async def _ask(self, node: Node, watch: Watch, times: list[float]) -> Answer:
        """One C-ECHO; the moments at which each phase was over are added to `times`."""
        from dcmflow.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, VERIFICATION
        from dcmflow.errors import NoAcceptedContext
        from dcmflow.net.connect import connect
        from dcmflow.net.operations import verify
        from dcmflow.protocol.items import ProposedContext

        def passed() -> None:
            times.append(perf_counter())

        proposed = ProposedContext(1, VERIFICATION, (IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN))
        passed()
        association = await connect(
            node, [proposed], calling_ae=self._calling_ae, watch=watch, reached=passed
        )
        passed()
        try:
            answer = await verify(association)
        except NoAcceptedContext:
            await association.release()
            raise
        except BaseException as error:
            self._tried = self._tried or isinstance(error, Exception)
            association.abort()
            raise
        passed()
        self._tried = True
        await association.release()
        return answer

    def _answered(self, text: str, node: Node, answer: Answer, times: list[float]) -> None:
        status = answer.status
        phases = [1000 * (after - before) for before, after in pairwise(times)]
        total = sum(phases)
        if not status:
            self._times[text].append(total)
        if self._json:
            taken = {name: round(value, 3) for name, value in zip(PHASES, phases, strict=True)}
            facts = {
                "status": f"{int(status):04X}",
                "name": status.name,
                **({"comment": answer.comment} if answer.comment else {}),
                "ms": {**taken, "total": round(total, 3)},
            }
            self._print(json.dumps(self._about(text, node) | facts))
        else:
            parts = ", ".join(f"{name} {value:.1f}" for name, value in zip(PHASES, phases, strict=True))
            said = status if status else "Success"
            self._print(f"{_named(text, node)}: {said} in {total:.1f} ms ({parts})")
        if status:
            comment = f": {answer.comment}" if answer.comment else ""
            notice(
                "error",
                printable(f"{_named(text, node)} answered C-ECHO with {status}{comment}", lines=False),
            )

    def _failed(self, text: str, node: Node, error: DcmflowError) -> None:
        from dcmflow.errors import NoAcceptedContext

        reason = printable(why(error), lines=False)
        if isinstance(error, NoAcceptedContext):
            reason = f"no accepted presentation context: {reason}"
        if self._json:
            facts = {
                key: value for key, value in vars(error).items() if key in ("result", "source", "reason")
            }
            answer = {"error": type(error).__name__, **facts, "message": reason}
            self._print(json.dumps(self._about(text, node) | answer))
        notice("error", reason if _is_address(text) else f"{text}: {reason}")

    def _about(self, text: str, node: Node) -> dict[str, Any]:
        return {"node": text, "address": node.address, "calling_ae": self._calling_ae}

    def _print(self, line: str) -> None:
        try:
            print(line, flush=True)
        except BrokenPipeError:
            common.discard(sys.stdout)

    def sum_up(self) -> None:
        """Say how many answered, and how fast."""
        if options().quiet:
            return
        for text, times in self._times.items():
            line = f"{text}: {len(times)} of {self._asked[text]} answered Success"
            if times:
                mean = sum(times) / len(times)
                line += f", in {min(times):.1f} to {max(times):.1f} ms, {mean:.1f} on average"
            say(printable(line))

    @property
    def code(self) -> int:
        if all(len(times) == self._asked[text] for text, times in self._times.items()):
            return DONE
        return SOME_FAILED if self._tried else NOTHING_TRIED


def _named(text: str, node: Node) -> str:
    address = node.address if node.tls is None else f"dicoms://{node.address}"
    return address if _is_address(text) else f"{text} ({address})"


def _is_address(text: str) -> bool:
    return "@" in text or ":" in text  # which no name has
