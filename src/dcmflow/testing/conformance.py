"""What all conformance checks have in common: stages as data, watching what is left behind, cancelling at many moments."""

from __future__ import annotations

import functools
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final, ParamSpec

import anyio
import anyio.lowlevel
import msgspec

from dcmflow.dicom.instance import Instance
from dcmflow.errors import ConfigError, DcmflowError
from dcmflow.flow.context import Context
from dcmflow.flow.failure import leaves
from dcmflow.flow.registry import function_name
from dcmflow.flow.resources import Resources
from dcmflow.flow.stage import Stage

P = ParamSpec("P")

PATIENCE: Final = 5.0  # seconds after which something hangs
MOMENTS: Final = (0, 1, 2, 3, 5, 8, 13, 21, 34)  # turns of the event loop after which a check cancels

_POOLED = (
    "AnyIO worker thread",
    "asyncio_",
    "Trio thread",
)  # kept by the event loops for the next one who needs a thread


def ensure(condition: object, problem: str) -> None:
    if not condition:
        raise AssertionError(problem)


def named(stage: Stage) -> str:
    return f"{stage.kind} {stage.type!r}"


def check_data(stage: Stage, kind: str) -> None:
    """A stage as data: of the right kind, described, and the same after it was a table of a file."""
    ensure(stage.kind == kind, f"{named(stage)} is no {kind}")
    summary = (type(stage).__doc__ or "").strip().partition("\n")[0]
    ensure(summary and not summary.startswith(type(stage).__name__ + "("), f"{named(stage)} has no docstring")
    schema = msgspec.json.schema(type(stage))
    fields = schema["$defs"][type(stage).__name__]["properties"]
    silent = [name for name, field in fields.items() if name != "type" and not _described(field, schema)]
    ensure(
        not silent,
        f"{named(stage)}: no description for {', '.join(silent)}; give each a Meta(description=...)",
    )
    try:
        table = msgspec.to_builtins(stage, enc_hook=function_name)
    except ConfigError:  # a function that only Python can hold
        return
    again = msgspec.to_builtins(msgspec.convert(table, type(stage)), enc_hook=function_name)
    ensure(again == table, f"{named(stage)} is another one after it was written to a file: {table}")
    ensure(
        msgspec.json.decode(msgspec.json.encode(table)) == table,
        f"{named(stage)} cannot be written as JSON: {table}",
    )


def _described(field: dict[str, Any], schema: dict[str, Any]) -> bool:
    if field.get("description"):
        return True
    references = [field.get("$ref")] + [part.get("$ref") for part in field.get("allOf", [])]
    return any(schema["$defs"][name.rsplit("/", 1)[-1]].get("description") for name in references if name)


def plainly(check: Callable[P, Awaitable[None]]) -> Callable[P, Awaitable[None]]:
    """What a check says comes out as it is, not in the exception group of a task group it was said in."""

    @functools.wraps(check)
    async def checked(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            await check(*args, **kwargs)
        except BaseExceptionGroup as group:
            said = [leaf for leaf in leaves(group) if isinstance(leaf, AssertionError)]
            if said:
                raise said[0] from None
            raise

    return checked


@asynccontextmanager
async def opened(stage: Stage, method: str, base: Path | None) -> AsyncIterator[Any]:
    """The actor of a stage, which must have a method of its kind."""
    name = stage.name or f"{stage.type}-1"
    async with (
        Resources() as resources,
        stage.open(Context(stage=name, base=base, resources=resources)) as actor,
    ):
        has = hasattr(actor, method) or (stage.kind != "source" and hasattr(actor, "run"))
        ensure(has, f"the actor of {named(stage)} has no {method}()")
        yield actor


async def check_opening(stage: Stage, method: str, base: Path | None) -> None:
    """Opens and closes, more than once, without anything to do."""
    try:
        with anyio.fail_after(PATIENCE):
            for _ in range(2):
                async with opened(stage, method, base):
                    pass
    except TimeoutError:
        raise AssertionError(f"{named(stage)} does not open and close in {PATIENCE} seconds") from None


@contextmanager
def unchanged(stage: Stage, instances: Iterable[Instance]) -> Iterator[None]:
    """Instances are what they were afterwards."""
    before = [(instance, state(instance)) for instance in instances]
    yield
    for instance, was in before:
        ensure(
            state(instance) == was,
            f"{named(stage)} changed {instance!r}; an instance is replaced, never changed",
        )


def state(instance: Instance) -> object:
    """All there is to an instance, as a value."""
    data = b"".join(map(bytes, instance.payload.segments()))
    uids = (instance.sop_class_uid, instance.sop_instance_uid, instance.transfer_syntax_uid)
    return uids, data, instance.origin, dict(instance.labels)


@contextmanager
def leaving_nothing(stage: Stage, folder: Path | None) -> Iterator[None]:
    """No thread and, below `folder`, no hidden file is left behind."""
    threads, hidden = set(threading.enumerate()), _hidden(folder)
    yield
    left = [
        thread.name
        for thread in threading.enumerate()
        if thread not in threads and thread.is_alive() and not thread.name.startswith(_POOLED)
    ]
    ensure(not left, f"{named(stage)} left threads behind: {', '.join(left)}")
    files = _hidden(folder) - hidden
    ensure(not files, f"{named(stage)} left temporary files behind: {', '.join(sorted(map(str, files)))}")


def _hidden(folder: Path | None) -> set[Path]:
    return set() if folder is None else {path for path in folder.rglob(".*") if path.is_file()}


def files_in(folder: Path | None) -> dict[Path, bytes]:
    return {} if folder is None else {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def cancelled(stage: Stage, what: Callable[[], Awaitable[object]], turns: int) -> None:
    """Start something and cancel it some turns of the event loop later; it must end in good time.

    What it refuses on its way is not of interest here.
    """

    async def quietly() -> None:
        try:
            await what()
        except (DcmflowError, OSError):
            return

    try:
        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(quietly)
                for _ in range(turns):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
    except TimeoutError:
        raise AssertionError(
            f"{named(stage)} does not end when it is cancelled after {turns} turns"
        ) from None
