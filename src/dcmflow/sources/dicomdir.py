"""The files that a DICOMDIR lists (PS3.3 F.3, PS3.10 8)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

from dcmflow.dicom.instance import Instance
from dcmflow.errors import ConfigError, DatasetError
from dcmflow.sources.globs import Globs
from dcmflow.sources.reading import MEDIA_STORAGE_DIRECTORY, Item, read

_NOT_IN_USE = 0x0000  # Record In-use Flag, PS3.3 F.3.2.2: retired, but still met


def listing(path: str) -> list[tuple[str, ...]] | None:
    """The File IDs that a DICOMDIR lists, in its order and each once; None when the file is no DICOMDIR.

    Raises:
        ConfigError: it is one and cannot be read.
    """
    try:
        directory = Instance.load(path)
    except (DatasetError, OSError):
        return None
    if directory.sop_class_uid != MEDIA_STORAGE_DIRECTORY:
        return None
    try:
        directory.verify()
        records = directory.header.get("DirectoryRecordSequence") or ()
        found: dict[tuple[str, ...], None] = {}
        for record in records:
            file_id = record.get("ReferencedFileID")
            if file_id and record.get("RecordInUseFlag") != _NOT_IN_USE:
                found[(file_id,) if isinstance(file_id, str) else tuple(map(str, file_id))] = None
    except (DatasetError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as a DICOMDIR: {error}", key="path") from error
    return list(found)


def referenced(path: str, file_ids: Sequence[tuple[str, ...]], globs: Globs, stage: str) -> Iterator[Item]:
    """The items of the files that a DICOMDIR lists; what is missing or lies elsewhere is an error that names it."""
    folder = os.path.dirname(path)
    names = lru_cache(maxsize=16)(_names)
    for file_id in file_ids:
        relative = "/".join(file_id)
        if not globs.wants(relative) or globs.excludes_some_folder(relative):
            continue
        if any(part in ("", ".", "..") or "/" in part or "\0" in part for part in file_id):
            yield _wrong(path, relative, "leaves the folder of the DICOMDIR and is not read")
            continue
        found = _find(folder, file_id, names)
        if found is None:
            yield _wrong(path, relative, "is not there")
        elif not _is_inside(found, folder):
            yield _wrong(path, relative, "leads out of the folder of the DICOMDIR and is not read")
        elif not os.path.isfile(found):
            yield _wrong(path, relative, "is no regular file")
        else:
            item = read(found, relative, stage)
            if item.instance is None and item.error is None:
                item = item._replace(error=DatasetError(f"{found}, which {path} lists, is not DICOM"))
            yield item


def _wrong(path: str, relative: str, problem: str) -> Item:
    named = os.path.join(os.path.dirname(path), relative)
    return Item(named, relative, error=DatasetError(f"{relative!r}, which {path} lists, {problem}"))


def _find(folder: str, file_id: Sequence[str], names: Callable[[str], dict[str, str]]) -> str | None:
    """The file of a File ID. Media come through file systems that change the case of names, or show versions (`;1`)."""
    for part in file_id:
        exact = os.path.join(folder, part)
        if not os.path.lexists(exact):
            similar = names(folder).get(part.casefold())
            if similar is None:
                return None
            exact = os.path.join(folder, similar)
        folder = exact
    return folder


def _names(folder: str) -> dict[str, str]:
    try:
        return {name.casefold().partition(";")[0].rstrip("."): name for name in os.listdir(folder)}
    except OSError:
        return {}


def _is_inside(path: str, folder: str) -> bool:
    real = os.path.realpath(folder)
    return os.path.commonpath([real, os.path.realpath(path)]) == real
