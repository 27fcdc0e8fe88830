"""Files in a folder, laid out as a template says."""

from __future__ import annotations

import errno
import os
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, ClassVar, Final

import anyio
from anyio import WouldBlock, to_thread
from msgspec import Meta

from dcmflow.dicom.instance import Instance
from dcmflow.dicom.layout import Layout
from dcmflow.errors import ConfigError
from dcmflow.flow.context import Context
from dcmflow.flow.events import VersionKept
from dcmflow.flow.paths import settle_path
from dcmflow.flow.stage import Sink
from dcmflow.sinks import writing
from dcmflow.sinks.commit import Committer, perform
from dcmflow.sinks.draft import knows_nameless
from dcmflow.sinks.placing import Exists, Placement

DEFAULT_LAYOUT: Final = "{PatientID}/{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm"
INLINE: Final = 1024 * 1024  # up to this size writing in place is quicker than a thread
REMEMBERED: Final = 4096  # folders and paths that are remembered


class _Grouping(Sink, frozen=True, kw_only=True):
    """A sink that gains by being given several instances at once."""

    workers: Annotated[int, Meta(ge=1, le=1024, description="Instances handled at once.")] = 8


class Directory(_Grouping, frozen=True):
    """Writes DICOM files (PS3.10) into a folder; each is there as a whole or not at all.

    Accepted means that the file has its name, and with `fsync` that file and name are on the disk.
    """

    divisible: ClassVar[bool] = True

    path: Annotated[str, Meta(min_length=1, description="The folder; made when it is missing.")]
    layout: Annotated[
        str,
        Meta(
            min_length=1,
            description="Template of the path below it, e.g. '{PatientID}/{SOPInstanceUID}.dcm'.",
        ),
    ] = DEFAULT_LAYOUT
    exists: Annotated[
        Exists,
        Meta(
            description="When another file has the name: skip (it stays), replace, keep-both or refuse."
            " The same content is always fine."
        ),
    ] = "skip"
    fsync: Annotated[bool, Meta(description="Accepted only once it is on the disk.")] = True
    link: Annotated[
        bool,
        Meta(
            description="Hard-link unchanged files of a folder instead of copying them, where that is possible."
        ),
    ] = False

    def __post_init__(self) -> None:
        try:
            Layout(self.layout)
        except ConfigError as error:
            raise error.at(key="layout") from None
        settle_path(self, "path")

    def promise(self) -> str:
        return "on disk at" if self.fsync else "handed to the file system at"

    @property
    def writes_directly(self) -> bool:
        return not self.fsync

    def landing(self, context: Context) -> str | None:
        return str(context.path(self.path))

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[_Actor]:
        root = str(context.path(self.path))
        nameless = await to_thread.run_sync(prepare_root, root)
        committer = Committer(group=max(4, self.workers // 2))
        async with committer.running(min(2, self.workers)):
            yield _Actor(self, context, root, committer, nameless)


def prepare_root(root: str) -> bool:
    """See that the folder can be written to, or made, and remove what dead processes left in it; returns `knows_nameless`.

    It is made when the first file comes, so that a run that ends before that has made nothing. Raises ConfigError.
    """
    there = root
    while not os.path.lexists(there):
        there = os.path.dirname(there)
    try:
        if not os.path.isdir(there):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), there)
        if there == root:
            writing.sweep(root)
        writing.remove(
            writing.write_temporary(there, [b"dcmflow looks whether it can write here"], fsync=False)
        )
        return knows_nameless(there)
    except OSError as error:
        raise ConfigError(str(writing.refusal(error, root)), key="path") from error


class _Actor:
    def __init__(
        self, stage: Directory, context: Context, root: str, committer: Committer, nameless: bool
    ) -> None:
        self._stage = stage
        self._context = context
        self._root = root
        self._committer = committer
        self._nameless = nameless
        self._path = Layout(stage.layout).path
        self._busy: dict[str, anyio.Event] = {}
        self._hopeful = True
        self._swept: OrderedDict[str, None] = OrderedDict({root: None})

    def write_nowait(self, instance: Instance) -> bool | None:
        """As `write`, where that need not wait. Raises WouldBlock where it would, and what `write` raises."""
        if instance.payload.size > INLINE:
            raise WouldBlock
        target = os.path.join(self._root, self._path(instance))
        if target in self._busy or os.path.dirname(target) not in self._swept:
            raise WouldBlock
        placement = self._placement(instance, target)
        perform([placement])
        return self._placed(placement)

    async def write(self, instance: Instance) -> bool | None:
        stage = self._stage
        target = os.path.join(self._root, self._path(instance))
        while (busy := self._busy.get(target)) is not None:
            await busy.wait()
        self._busy[target] = anyio.Event()
        try:
            folder = os.path.dirname(target)
            if _first(self._swept, folder) and os.path.isdir(folder):  # noqa: ASYNC240 - once per folder
                await to_thread.run_sync(writing.sweep, folder)
            placement = self._placement(instance, target)
            if stage.fsync or instance.payload.size > INLINE:
                await self._committer.commit(placement)
            else:
                perform([placement])
        finally:
            self._busy.pop(target).set()
        return self._placed(placement)

    def _placement(self, instance: Instance, target: str) -> Placement:
        stage = self._stage
        return Placement(
            instance,
            target,
            exists=stage.exists,
            fsync=stage.fsync,
            link=stage.link,
            nameless=self._nameless,
            hopeful=self._hopeful and instance.payload.size <= INLINE,
        )

    def _placed(self, placement: Placement) -> bool | None:
        """What became of it; raises what kept it from being placed."""
        instance, target = placement.instance, placement.target
        self._hopeful = not placement.taken
        if placement.error is not None:
            raise placement.error
        if placement.warning and placement.passed_over:
            self._context.report(
                VersionKept(
                    stage=self._context.stage,
                    sop_instance_uid=instance.sop_instance_uid,
                    reason=placement.warning,
                    path=instance.origin.path,
                )
            )
        elif placement.warning:
            self._context.warn(placement.warning, target)
        return False if placement.passed_over else None


def _first(remembered: OrderedDict[str, None], key: str) -> bool:
    """Whether this comes for the first time, as far as anybody remembers."""
    if key in remembered:
        remembered.move_to_end(key)
        return False
    remembered[key] = None
    if len(remembered) > REMEMBERED:
        remembered.popitem(last=False)
    return True
