"""Conformance checks: what every stage has to do, whoever wrote it. All built-in stages pass them.

```python
@pytest.mark.anyio
async def test_my_sink(tmp_path):
    await check_sink(MySink(str(tmp_path)), folder=tmp_path)
```

Each raises AssertionError with what is wrong in words. They run on asyncio and trio.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel

from dcmflow.dicom.instance import Instance
from dcmflow.errors import DcmflowError
from dcmflow.flow.events import InstanceRefused
from dcmflow.flow.pipeline import Pipeline
from dcmflow.flow.running import Running
from dcmflow.flow.stage import Filter, Router, Sink, Source
from dcmflow.testing import conformance
from dcmflow.testing.collect import Collect, Feed
from dcmflow.testing.conformance import MOMENTS, PATIENCE, cancelled, ensure, named, plainly, unchanged

Beside = Callable[[Any], Coroutine[Any, Any, object]]


@plainly
async def check_sink(
    sink: Sink,
    *instances: Instance,
    folder: Path | None = None,
    base: Path | None = None,
    beside: Beside | None = None,
) -> None:
    """A sink: opens and closes; the same instance twice is fine, also at once; cancelled or failing it leaves nothing behind.

    Args:
        sink: the stage.
        instances: what to write; some small ones when there are none.
        folder: where it puts files; looked at for what is left behind.
        base: what relative paths are relative to.
        beside: run beside the writing, with the actor: a reader for a sink that waits for one.
    """
    given = instances or _some()
    conformance.check_data(sink, "sink")
    with conformance.leaving_nothing(sink, folder):
        await conformance.check_opening(sink, "write", base)
        with unchanged(sink, given):
            await _write_all(sink, given, base, beside)
            for turns in MOMENTS:
                await _cancel_writing(sink, given, base, beside, turns)
        await _fail_writing(sink, folder, base, beside)


@plainly
async def check_filter(filter: Filter, *instances: Instance, base: Path | None = None) -> None:
    """A filter: gives instances, never changes what it was given, the same answer twice, ends when cancelled.

    Args:
        filter: the stage.
        instances: what goes in; some small ones when there are none.
        base: what relative paths are relative to.
    """
    given = instances or _some()
    conformance.check_data(filter, "filter")
    with conformance.leaving_nothing(filter, None):
        await conformance.check_opening(filter, "process", base)
        with unchanged(filter, given):
            first = await _through(filter, given, base)
            again = await _through(filter, given, base)
            uids = [[made.sop_instance_uid for made in seen] for seen in (first, again)]
            ensure(
                sorted(uids[0]) == sorted(uids[1]), f"{named(filter)} does not give the same twice: {uids}"
            )
            for made in first:
                made.verify()
            for turns in MOMENTS:
                pipeline = Pipeline(Feed(given) | filter | Collect(), base=base)
                await cancelled(filter, pipeline.run, turns)


@plainly
async def check_router(router: Router, *instances: Instance, base: Path | None = None) -> None:
    """A router: gives names of its branches, never changes an instance, the same answer twice.

    Args:
        router: the stage.
        instances: what to route; some small ones when there are none.
        base: what relative paths are relative to.
    """
    given = instances or _some()
    conformance.check_data(router, "router")
    known = router.branches()
    with conformance.leaving_nothing(router, None):
        await conformance.check_opening(router, "choose", base)
        with unchanged(router, given):
            async with conformance.opened(router, "choose", base) as actor:
                for instance in given:
                    answers = [await actor.choose(instance) for _ in range(2)]
                    ensure(
                        all(isinstance(names, Iterable) and not isinstance(names, str) for names in answers),
                        f"{named(router)} chose {answers[0]!r}; choose() returns names, each a text, in a list",
                    )
                    first, second = (list(names) for names in answers)
                    ensure(first == second, f"{named(router)} chose {first}, then {second} for one instance")
                    ensure(
                        all(isinstance(name, str) for name in first),
                        f"{named(router)} chose {first}: not all are texts",
                    )
                    strange = set(first) - {"*"} - known if known is not None else set()
                    ensure(not strange, f"{named(router)} chose {strange}, which branches() does not name")


@plainly
async def check_source(
    source: Source,
    *,
    expected: Iterable[str] = (),
    folder: Path | None = None,
    base: Path | None = None,
    beside: Callable[[Running], Coroutine[Any, Any, object]] | None = None,
) -> None:
    """A source: ends or drains, ends when cancelled, and after that gives everything that had not been accepted.

    Args:
        source: the stage.
        expected: SOP Instance UIDs that it gives, all runs of this check together.
        folder: looked at for temporary files that are left behind.
        base: what relative paths are relative to.
        beside: run beside it, with the running pipeline: what sends into an inlet.
    """
    conformance.check_data(source, "source")
    collected = Collect()
    with conformance.leaving_nothing(source, folder):
        await conformance.check_opening(source, "run", base)
        for turns in MOMENTS:
            await _run_source(source, collected, base, beside, turns)
        await _run_source(source, collected, base, beside, None)
    missing = set(expected) - {instance.sop_instance_uid for instance in collected.seen}
    ensure(
        not missing,
        f"{named(source)} did not give {len(missing)} instances, {min(missing, default='')} among them",
    )


def _some() -> tuple[Instance, ...]:
    from dcmflow.testing.instances import instance

    return tuple(instance(PatientID=f"TEST{number}", InstanceNumber=number) for number in range(1, 4))


async def _write_all(sink: Sink, given: Iterable[Instance], base: Path | None, beside: Beside | None) -> None:
    async with conformance.opened(sink, "write", base) as actor:
        try:
            with anyio.fail_after(PATIENCE):
                async with anyio.create_task_group() as tasks:
                    if beside is not None:
                        tasks.start_soon(beside, actor)
                    for instance in given:
                        await _accepted(sink, actor, instance)
                        await _accepted(sink, actor, instance)
                    async with anyio.create_task_group() as writers:
                        for instance in [*given, *given]:
                            writers.start_soon(_accepted, sink, actor, instance)
                    tasks.cancel_scope.cancel()
        except TimeoutError:
            raise AssertionError(f"{named(sink)} does not get done with writing") from None


async def _accepted(sink: Sink, actor: Any, instance: Instance) -> None:
    try:
        answer = await actor.write(instance)
    except (DcmflowError, OSError) as error:
        raise AssertionError(
            f"{named(sink)} refused {instance!r}: {error}; the same one twice must be fine"
        ) from error
    ensure(answer is None, f"write() of {named(sink)} returned {answer!r}; returning at all means accepted")


async def _cancel_writing(
    sink: Sink, given: Iterable[Instance], base: Path | None, beside: Beside | None, turns: int
) -> None:
    async with conformance.opened(sink, "write", base) as actor:

        async def write() -> None:
            async with anyio.create_task_group() as tasks:
                if beside is not None:
                    tasks.start_soon(beside, actor)
                for instance in given:
                    tasks.start_soon(actor.write, instance)

        await cancelled(sink, write, turns)


async def _fail_writing(sink: Sink, folder: Path | None, base: Path | None, beside: Beside | None) -> None:
    """An instance whose bytes are gone: refused, without a trace."""
    from dcmflow.testing.instances import instance

    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "gone.dcm"
        path.write_bytes(b"".join(map(bytes, instance().part10_segments())))
        gone = Instance.load(path, memory_limit=0)
        path.unlink()
    before = conformance.files_in(folder)
    async with conformance.opened(sink, "write", base) as actor, anyio.create_task_group() as tasks:
        if beside is not None:
            tasks.start_soon(beside, actor)
        try:
            with anyio.fail_after(PATIENCE):
                await actor.write(gone)
        except (DcmflowError, OSError):
            left = sorted(str(path) for path in conformance.files_in(folder).keys() - before.keys())
            ensure(not left, f"{named(sink)} refused an instance and left {', '.join(left)}")
        else:
            ensure(
                conformance.files_in(folder) == before,
                f"{named(sink)} accepted an instance whose bytes cannot be read",
            )
        tasks.cancel_scope.cancel()


async def _through(filter: Filter, given: Iterable[Instance], base: Path | None) -> list[Instance]:
    collect, problems = Collect(), list[str]()

    def observe(event: object) -> None:
        if isinstance(event, InstanceRefused):
            problems.append(event.reason)

    try:
        with anyio.fail_after(PATIENCE):
            await Pipeline(Feed(tuple(given)) | filter | collect, base=base).run(observe=observe)
    except TimeoutError:
        raise AssertionError(f"{named(filter)} does not get done") from None
    ensure(not problems, f"{named(filter)} refused: {'; '.join(problems)}")
    return list(collect.seen)


async def _run_source(
    source: Source,
    collect: Collect,
    base: Path | None,
    beside: Callable[[Running], Coroutine[Any, Any, object]] | None,
    turns: int | None,
) -> None:
    """Run it and cancel after some turns; None lets it end, or drains it once nothing more comes."""
    pipeline = Pipeline(source | collect, base=base)
    try:
        with anyio.fail_after(3 * PATIENCE):
            async with pipeline.start() as running, anyio.create_task_group() as tasks:
                if beside is not None:
                    tasks.start_soon(partial(_quietly, beside, running))
                if turns is None:
                    await _until_idle(running)
                    await running.drain(grace=PATIENCE)
                    totals = running.statistics().pipeline
                    refused = f"{totals.refused} of {totals.emitted} were refused"
                    ensure(
                        not totals.unsettled and not totals.refused, f"{named(source)} drained and {refused}"
                    )
                else:
                    for _ in range(turns):
                        await anyio.lowlevel.checkpoint()
                    running.cancel()
                    await running.wait()
                tasks.cancel_scope.cancel()
    except TimeoutError:
        what = "drains" if turns is None else "is cancelled"
        raise AssertionError(f"{named(source)} does not end when it {what}") from None


async def _quietly(beside: Callable[[Running], Coroutine[Any, Any, object]], running: Running) -> None:
    try:
        await beside(running)
    except DcmflowError:  # the pipeline was cancelled under it
        return


async def _until_idle(running: Running) -> None:
    """Until the run has ended by itself, or nothing has come for half a second."""
    emitted, quiet = -1, 0
    while quiet < 10:
        with anyio.move_on_after(0.05):
            await running.wait()
            return
        now = running.statistics().pipeline.emitted
        quiet = quiet + 1 if now == emitted else 0
        emitted = now
