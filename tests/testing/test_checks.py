"""Every built-in stage passes the conformance checks, and stages that are wrong do not."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import anyio
import anyio.lowlevel
import pytest
from msgspec import Meta

from dcmflow import Filter, Instance, Router, Running, Sink, Source, filters, routers, sinks, sources
from dcmflow.errors import DcmflowError
from dcmflow.flow.context import Context, Emit
from dcmflow.testing import check_filter, check_router, check_sink, check_source, instance, synthesize
from stage_runs import put

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]


async def read_all(actor: Any) -> None:
    async with actor.instances() as instances:
        async for _ in instances:
            pass


SINKS = {
    "directory": lambda folder: sinks.Directory(str(folder)),
    "directory-fast": lambda folder: sinks.Directory(str(folder), fsync=False, link=True),
    "quarantine": lambda folder: sinks.Quarantine(str(folder)),
    "discard": lambda folder: sinks.Discard(),
    "outlet": lambda folder: sinks.Outlet(),
}


@pytest.mark.parametrize("name", list(SINKS))
async def test_sinks(tmp_path: Path, name: str) -> None:
    beside = read_all if name == "outlet" else None
    await check_sink(SINKS[name](tmp_path / "out"), folder=tmp_path, beside=beside)


async def test_sink_with_large_instances(tmp_path: Path) -> None:
    await check_sink(
        sinks.Directory(str(tmp_path)), *synthesize(instances=2, size=9_000_000), folder=tmp_path
    )


def keep(given: Instance) -> Instance:
    return given


@pytest.mark.parametrize(
    "stage",
    [
        filters.Where("InstanceNumber > 1"),
        filters.Dedupe(),
        filters.Dedupe(by="content"),
        filters.Call(keep),
        filters.Call(lambda given: [given, given]),
        filters.Edit(set={"PatientName": "Anon"}),
    ],
    ids=lambda stage: stage.type,
)
async def test_filters(stage: Filter) -> None:
    await check_filter(stage)
    await check_filter(stage, *synthesize(instances=20, size=100))


def by_number(given: Instance) -> str:
    return "odd" if int(given.header["InstanceNumber"]) % 2 else "*"


@pytest.mark.parametrize(
    "stage",
    [
        routers.Match({"first": "InstanceNumber == 1", "rest": "InstanceNumber > 1"}),
        routers.Call(by_number, branches=["odd"]),
        routers.Lookup("InstanceNumber", "table.csv"),
    ],
    ids=lambda stage: stage.type,
)
async def test_routers(tmp_path: Path, stage: Router) -> None:
    (tmp_path / "table.csv").write_text("1,first\n2,second\n")
    await check_router(stage, base=tmp_path)


@pytest.mark.parametrize(
    "fields",
    [{}, {"after": "delete"}, {"after": "move:done"}, {"watch": True}, {"watch": True, "after": "delete"}],
)
async def test_directory_source(tmp_path: Path, fields: dict[str, Any]) -> None:
    expected = [put(tmp_path / "in", f"{number % 5}/{number}.dcm").sop_instance_uid for number in range(40)]
    source = sources.Directory("in", **fields)
    await check_source(source, expected=expected, folder=tmp_path, base=tmp_path)


async def test_archive_source(tmp_path: Path) -> None:
    expected = [put(tmp_path / "in", f"{number}.dcm").sop_instance_uid for number in range(20)]
    path = shutil.make_archive(str(tmp_path / "a"), "zip", tmp_path / "in")
    await check_source(sources.Directory(path), expected=expected, folder=tmp_path)


async def test_synthetic_source() -> None:
    expected = [given.sop_instance_uid for given in synthesize(instances=30, size=100)]
    await check_source(sources.Synthetic(instances=30, size=100), expected=expected)


async def test_inlet() -> None:
    given = [instance() for _ in range(10)]

    async def send(running: Running) -> None:
        for each in given:
            await (await running.send("inlet-1", each)).wait()

    await check_source(sources.Inlet(), expected=[each.sop_instance_uid for each in given], beside=send)


# -- stages that are wrong


class _Bad(Sink, frozen=True, tag="test-bad"):
    """A sink with one mistake."""

    folder: Annotated[str, Meta(description="Where it writes.")] = ""

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[_Bad]:
        yield self

    def path(self, given: Instance) -> Path:
        return Path(self.folder, given.sop_instance_uid)

    async def write(self, given: Instance) -> None:
        self.path(given).write_bytes(b"".join(map(bytes, given.payload.segments())))


class Unidentical(_Bad, frozen=True, tag="test-bad"):
    """Refuses what it has."""

    async def write(self, given: Instance) -> None:
        if self.path(given).exists():
            raise DcmflowError("have it")
        await _Bad.write(self, given)


class Traces(_Bad, frozen=True, tag="test-bad"):
    """Leaves a file when it fails."""

    async def write(self, given: Instance) -> None:
        self.path(given).write_bytes(b"")
        await _Bad.write(self, given)


class Temporary(_Bad, frozen=True, tag="test-bad"):
    """Leaves a temporary file when it is cancelled."""

    async def write(self, given: Instance) -> None:
        hidden = Path(self.folder, f".{uuid4()}")
        hidden.write_bytes(b"".join(map(bytes, given.payload.segments())))  # noqa: ASYNC240
        await anyio.lowlevel.checkpoint()
        os.replace(hidden, self.path(given))


class Stubborn(_Bad, frozen=True, tag="test-bad"):
    """Does not end."""

    async def write(self, given: Instance) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(60)


class Answers(_Bad, frozen=True, tag="test-bad"):
    """Answers."""

    async def write(self, given: Instance) -> Any:
        return True


class Silent(_Bad, frozen=True, tag="test-bad"):
    """Says nothing of a field."""

    speed: int = 0


class Lies(_Bad, frozen=True, tag="test-bad"):
    """Accepts what cannot be read, and says it has it."""

    async def write(self, given: Instance) -> None:
        self.path(given).write_bytes(b"something")


class Threads(_Bad, frozen=True, tag="test-bad"):
    """Leaves a thread."""

    async def write(self, given: Instance) -> None:
        threading.Thread(target=_wait.wait, name="left over", daemon=True).start()


_wait = threading.Event()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (Unidentical, "twice must be fine"),
        (Traces, "refused an instance and left"),
        (Temporary, "temporary files"),
        (Answers, "returned True"),
        (Silent, "no description for speed"),
        (Lies, "cannot be read"),
        (Threads, "left threads behind"),
    ],
)
async def test_wrong_sinks(tmp_path_factory: pytest.TempPathFactory, wrong: type[_Bad], words: str) -> None:
    folder = tmp_path_factory.mktemp("wrong")
    _wait.clear()
    try:
        with pytest.raises(AssertionError, match=words):
            await check_sink(wrong(folder=str(folder)), folder=folder)
    finally:
        _wait.set()


async def test_stubborn_sink(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dcmflow.testing import checks, conformance

    for module in (checks, conformance):
        monkeypatch.setattr(module, "PATIENCE", 0.1)
    with anyio.move_on_after(3), pytest.raises(AssertionError, match="does not"):
        await check_sink(Slow(folder=str(tmp_path)), folder=tmp_path)


class Slow(_Bad, frozen=True, tag="test-bad"):
    """Takes its time."""

    async def write(self, given: Instance) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0.3)


class Mutates(Filter, frozen=True, tag="test-mutates"):
    """Changes what it is given."""

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[Mutates]:
        yield self

    async def process(self, given: Instance) -> Instance:
        object.__setattr__(given, "sop_instance_uid", "2.25.1")
        return given


async def test_wrong_filters() -> None:
    with pytest.raises(AssertionError, match="never changed"):
        await check_filter(Mutates())
    made = iter(range(10**6))
    with pytest.raises(AssertionError, match="the same twice"):
        await check_filter(
            filters.Call(lambda given: given.with_elements({"SOPInstanceUID": f"2.25.{next(made)}"}))
        )
    with pytest.raises(AssertionError, match="returned int"):
        await check_filter(filters.Call(lambda given: 3))
    with pytest.raises(AssertionError, match="is no filter"):
        await check_filter(sinks.Discard())  # type: ignore[arg-type]


class Odd(Router, frozen=True, tag="test-odd"):
    """Chooses what it was told."""

    what: Annotated[Any, Meta(description="The choice.")] = None

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[Odd]:
        yield self

    def branches(self) -> frozenset[str]:
        return frozenset({"a"})

    async def choose(self, given: Instance) -> Any:
        return self.what


@pytest.mark.parametrize(
    ("what", "words"),
    [("a", "in a list"), (["b"], "does not name"), ([3], "not all are texts"), (None, "in a list")],
)
async def test_wrong_routers(what: Any, words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        await check_router(Odd(what=what))


class Forgets(Source, frozen=True, tag="test-forgets"):
    """Gives each instance once in its life, accepted or not."""

    left: Annotated[Any, Meta(description="What is left.")] = None

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[Forgets]:
        yield self

    async def run(self, emit: Emit) -> None:
        while self.left:
            await anyio.lowlevel.checkpoint()
            await emit(self.left.pop())


async def test_source_that_loses_instances() -> None:
    given = [instance() for _ in range(100)]
    with pytest.raises(AssertionError, match="did not give"):
        await check_source(
            Forgets(left=list(given)), expected=[each.sop_instance_uid for each in given] + ["2.25.1"]
        )
