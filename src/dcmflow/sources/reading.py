"""Files become instances: what a source makes of each one, and several of them at a time in a thread."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final, NamedTuple

from dcmflow.dicom.elements import Incomplete
from dcmflow.dicom.instance import Instance, Origin
from dcmflow.errors import DatasetError, DcmflowError, NotDicom
from dcmflow.sources.walk import Found

MEDIA_STORAGE_DIRECTORY: Final = "1.2.840.10008.1.3.10"  # a DICOMDIR: DICOM, but nothing to move

Signature = tuple[int, int, int]  # size, time of change, inode: what tells whether a file is still the same


class Item(NamedTuple):
    """What became of one file; without instance and error it is not DICOM.

    Attributes:
        path: the file, `archive.zip!member` inside an archive.  relative: the same below the folder that was asked for.
        signature: of the file when it was read.
        sop_instance_uid, size: of what was read, where that much could be read.
        temporary: a file of ours that the instance lives in, to be removed when it has settled.
    """

    path: str
    relative: str
    instance: Instance | None = None
    error: DcmflowError | OSError | None = None
    signature: Signature | None = None
    temporary: str | None = None
    sop_instance_uid: str = ""
    size: int = 0

    @property
    def weight(self) -> int:
        return self.instance.payload.resident if self.instance is not None else 0


def signature_of(path: str) -> Signature:
    """Raises OSError."""
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns, status.st_ino


def origin(stage: str, path: str) -> Origin:
    return Origin(stage=stage, received=datetime.now(UTC), path=path)


def read(path: str, relative: str, stage: str, *, signed: bool = False) -> Item:
    """The item of one regular file: loaded, and walked to its end to see that it is whole.

    Args:
        signed: note the signature of the file.
    """
    signature = None
    try:
        if signed:
            signature = signature_of(path)
        instance = Instance.load(path, origin=origin(stage, path))
        if instance.sop_class_uid == MEDIA_STORAGE_DIRECTORY:
            return Item(path, relative, signature=signature)
    except NotDicom:
        return Item(path, relative, signature=signature)
    except (DatasetError, OSError) as error:
        return Item(path, relative, error=error, signature=signature)
    return verified(instance, path, relative)._replace(signature=signature)


def verified(instance: Instance, path: str, relative: str) -> Item:
    """The item of an instance, or of the error when it does not hold all it says (see `Instance.verify`)."""
    uid, size = instance.sop_instance_uid, instance.size
    try:
        instance.verify()
    except Incomplete as error:
        text = f"truncated: {error}; get a complete copy from where it came"
        return Item(path, relative, error=DatasetError(text), sop_instance_uid=uid, size=size)
    except (DatasetError, OSError) as error:
        return Item(path, relative, error=error, sop_instance_uid=uid, size=size)
    return Item(path, relative, instance, sop_instance_uid=uid, size=size)


def read_all(found: Iterator[Found], stage: str, *, signed: bool = False) -> Iterator[Item]:
    """The items of what was found in a folder."""
    for path, relative, what, error in found:
        if what == "file":
            yield read(path, relative, stage, signed=signed)
        else:
            yield Item(path, relative, error=error)


def take(items: Iterator[Item], count: int, weight: int) -> list[Item]:
    """The next items, up to `count` of them and until they hold `weight` bytes; none at the end."""
    taken: list[Item] = []
    while len(taken) < count and weight > 0:
        item = next(items, None)
        if item is None:
            break
        taken.append(item)
        weight -= item.weight
    return taken
