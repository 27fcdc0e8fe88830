"""What lies in a .zip or .tar, read member by member without unpacking it.

A member is read into memory; one that is larger than `SPILL` goes through a temporary file, which is removed when its instance has
settled. What is not DICOM is known by its first bytes and not read any further.
"""

from __future__ import annotations

import contextlib
import lzma
import os
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Final, Literal

from dcmflow.dicom import part10
from dcmflow.dicom.elements import Incomplete
from dcmflow.dicom.instance import Instance
from dcmflow.errors import ConfigError, DatasetError, NotDicom
from dcmflow.sources.globs import Globs
from dcmflow.sources.reading import MEDIA_STORAGE_DIRECTORY, Item, origin, verified
from dcmflow.sources.walk import OURS, is_ours

SPILL: Final = 64 * 1024 * 1024
_PEEK: Final = 64 * 1024
_BLOCK: Final = 1024 * 1024

_BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    RuntimeError,  # an encrypted member
    NotImplementedError,  # a compression that Python does not know
    ValueError,
)

Kind = Literal["zip", "tar"]


def kind_of(path: str) -> Kind | None:
    """Which kind of archive a file is, by its content or else by its name; None when it is none. Raises OSError."""
    with open(path, "rb") as file:
        head = file.read(512)
    name = path.lower()
    if head[128:132] == b"DICM":
        return None
    if head[:4] in (b"PK\3\4", b"PK\5\6") or name.endswith(".zip"):
        return "zip"
    if (
        head[257:262] == b"ustar"
        or name.endswith((".tar", ".tgz", ".tbz2", ".txz"))
        or ".tar." in os.path.basename(name)
    ):
        return "tar"
    packed = head[:2] == b"\x1f\x8b" or head[:3] == b"BZh" or head[:6] == b"\xfd7zXZ\0"
    return "tar" if packed and tarfile.is_tarfile(path) else None


def check(path: str, kind: Kind) -> None:
    """Raise ConfigError for an archive that cannot be opened."""
    try:
        if kind == "zip":
            zipfile.ZipFile(path).close()
        else:
            tarfile.open(path).close()
    except _BROKEN as error:
        raise ConfigError(f"{path} cannot be read as a {kind} archive: {error}", key="path") from error


class Spill:
    """Temporary files for members that are too large for memory."""

    def __init__(self) -> None:
        self._files: set[str] = set()

    def new(self) -> tuple[int, str]:
        descriptor, path = tempfile.mkstemp(prefix=f"{OURS}{os.getpid()}-", suffix=".tmp")
        self._files.add(path)
        return descriptor, path

    def drop(self, path: str) -> None:
        self._files.discard(path)
        with contextlib.suppress(OSError):
            os.unlink(path)

    def clear(self) -> None:
        for path in tuple(self._files):
            self.drop(path)


def members(path: str, kind: Kind, globs: Globs, stage: str, spill: Spill) -> Iterator[Item]:
    """The items of an archive, in its order. An archive that breaks off is one error at its end."""
    reader = _zip_members if kind == "zip" else _tar_members
    try:
        for name, opened in reader(path):
            inside = name.removeprefix("./")
            base = inside.rsplit("/", 1)[-1]
            if is_ours(base) or not globs.wants(inside) or globs.excludes_some_folder(inside):
                continue
            yield _member(f"{path}!{inside}", inside, opened, stage, spill)
    except _BROKEN as error:
        yield Item(
            path, "", error=DatasetError(f"{path} breaks off: {_reason(error)}; what came before was read")
        )


Opened = Callable[[], IO[bytes]]


def _zip_members(path: str) -> Iterator[tuple[str, Opened]]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if not info.is_dir():
                yield info.filename, lambda info=info: archive.open(info)  # type: ignore[misc]


def _tar_members(path: str) -> Iterator[tuple[str, Opened]]:
    with tarfile.open(path) as archive:
        while (info := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined]  # it would remember every member
            # a hard link is a second name for a member that was read already
            if info.isreg():
                yield info.name, lambda info=info: archive.extractfile(info)  # type: ignore[misc]


def _member(path: str, relative: str, opened: Opened, stage: str, spill: Spill) -> Item:
    temporary = None
    try:
        with opened() as stream:
            data = stream.read(_PEEK)
            with contextlib.suppress(Incomplete):
                part10.split(data)
            if len(data) == _PEEK:
                data += stream.read(SPILL - _PEEK + 1)
            if len(data) <= SPILL:
                instance = Instance.from_bytes(data, origin=origin(stage, path))
            else:
                temporary = _spilled(data, stream, spill)
                instance = Instance.load(temporary, origin=origin(stage, path))
        del data
        if instance.sop_class_uid == MEDIA_STORAGE_DIRECTORY:
            item = Item(path, relative)
        else:
            item = verified(instance, path, relative)
            if item.instance is not None:
                return item._replace(temporary=temporary)
    except NotDicom:
        item = Item(path, relative)
    except DatasetError as error:
        item = Item(path, relative, error=error)
    except _BROKEN as error:
        item = Item(path, relative, error=DatasetError(f"{path} cannot be read: {_reason(error)}"))
    if temporary is not None:
        spill.drop(temporary)
    return item


def _spilled(data: bytes, stream: IO[bytes], spill: Spill) -> str:
    descriptor, path = spill.new()
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            while block := stream.read(_BLOCK):
                file.write(block)
    except BaseException:
        spill.drop(path)
        raise
    return path


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
