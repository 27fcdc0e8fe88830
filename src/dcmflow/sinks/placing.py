"""Where an instance's file goes when something may be there already: the four policies of `exists`.

A file with the same content is always fine. Otherwise

    skip        the same SOP Instance in another version stays, and the new one counts as stored; a stub of it is written anew
    replace     the new one takes its place
    keep-both   the new one goes to NAME-2, NAME-3 ...
    refuse      the new one is refused

What is in the way and is another SOP Instance, or none at all, is never counted as the new one and never lost, except by `replace`.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Final, Literal

from dcmflow.dicom import part10
from dcmflow.dicom.instance import Instance
from dcmflow.errors import DatasetError, Refused
from dcmflow.sinks import writing
from dcmflow.sinks.draft import Draft, write_draft
from dcmflow.status import Status

Exists = Literal["skip", "replace", "keep-both", "refuse"]
Verdict = Literal["free", "same", "version", "stub", "other"]

_BLOCK: Final = 1024 * 1024
_META: Final = 64 * 1024  # no File Meta Information is longer
_DUPLICATE: Final = Status(0x0111)
_NO_HARD_LINK: Final = frozenset(
    {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOENT}
)


class Placement:
    """One instance on its way to a path. `write` and `place` run in a thread; neither raises, see `error`.

    Args:
        nameless: the file system knows files without a name.
        hopeful: the path is likely to be free, so it is looked at only if it turns out not to be.

    Attributes:
        taken: something was at the path.
        folders: whose names are to be made durable.
        error: why the instance is not there.  warning: what an operator should know although that is no error.
        passed_over: another version of it was there and stays.
    """

    __slots__ = (
        "_draft",
        "_exists",
        "_first",
        "_fsync",
        "_hopeful",
        "_link",
        "_nameless",
        "_overwrite",
        "error",
        "folders",
        "instance",
        "passed_over",
        "taken",
        "target",
        "warning",
    )

    def __init__(
        self,
        instance: Instance,
        target: str,
        *,
        exists: Exists,
        fsync: bool,
        link: bool,
        nameless: bool = False,
        hopeful: bool = False,
    ) -> None:
        self.instance: Instance = instance
        self._first = target
        self.target: str = target
        self.folders: set[str] = set()
        self.error: Exception | None = None
        self.warning: str = ""
        self.passed_over: bool = False
        self._exists = exists
        self._fsync = fsync
        self._link = link
        self._nameless = nameless
        self._hopeful = hopeful
        self.taken: bool = False
        self._overwrite = False
        self._draft: Draft | None = None

    def write(self) -> None:
        """Decide, and unless it is there already write it to a temporary file."""
        try:
            if self._hopeful or self._choose():
                folder = os.path.dirname(self.target)
                self._draft = self._adopted(folder) or (self._linked(folder) if self._link else None)
                if self._draft is None:
                    self._draft = write_draft(
                        folder,
                        self.instance.part10_segments(),
                        fsync=self._fsync,
                        nameless=self._nameless,
                        made=self.folders,
                    )
        except Exception as error:  # whatever it is, it is raised where the instance is written
            self._fail(error)

    def place(self) -> None:
        """Give it its name."""
        if self.error is not None:
            return
        try:
            while self._draft is not None:
                try:
                    if self._overwrite:
                        self._draft.replace(self.target)
                    else:
                        self._draft.put(self.target)
                    self._draft = None
                except FileExistsError:  # nobody had looked, or another process was quicker
                    if not self._choose():
                        self.discard()
            if self._fsync:
                self.folders.add(os.path.dirname(self.target))
        except Exception as error:  # whatever it is, it is raised where the instance is written
            self._fail(error)

    def discard(self) -> None:
        """Leave nothing behind."""
        if self._draft is not None:
            self._draft.discard()
            self._draft = None

    def _fail(self, error: Exception) -> None:
        self.discard()
        self.error = writing.refusal(error, self.target) if isinstance(error, OSError) else error

    def _choose(self) -> bool:
        """Whether it is to be written, to `target`, which may be another one afterwards. Raises Refused."""
        number = 1
        while True:
            verdict = look(self.target, self.instance)
            self.taken = self.taken or verdict != "free"
            if verdict == "same":
                # the very file it came from is no second copy: whoever deletes that would delete the only one
                self.passed_over = _one_file(self.instance.origin.path, self.target)
                if self._fsync:
                    writing.fsync_file(self.target)
                return False
            if verdict == "free":
                return True
            if self._exists == "replace":
                self._overwrite = True
                return True
            if self._exists == "keep-both":
                number += 1
                stem, suffix = os.path.splitext(self._first)
                self.target = f"{stem}-{number}{suffix}"
                continue
            return self._skip_or_refuse(verdict)

    def _skip_or_refuse(self, verdict: Verdict) -> bool:
        uid = self.instance.sop_instance_uid
        if self._exists == "skip" and verdict == "version":
            self.warning = (
                f"{self.target} holds another version of SOP Instance {uid}: it stays and the new one is not stored;"
                " exists = 'keep-both' keeps both, 'replace' the new one"
            )
            self.passed_over = True
            return False
        if self._exists == "skip" and verdict == "stub":
            self.warning = f"{self.target} was incomplete and is written anew"
            self._overwrite = True
            return True
        if verdict == "other":
            what = "is taken by something else than this SOP Instance"
            hint = "add {SOPInstanceUID} to the layout, or use exists = 'keep-both'"
        else:
            what = "exists with other content" if verdict == "version" else "exists and is incomplete"
            hint = "exists = 'skip', 'replace' or 'keep-both' would let it pass"
        raise Refused(f"{self.target} {what}; {hint}", status=_DUPLICATE, instance_uid=uid)

    def _adopted(self, folder: str) -> Draft | None:
        """A name for the nameless file that the instance arrived in; None where it is in no such file, or on another disk."""
        spilled = self.instance.payload.spilled
        if spilled is None:
            return None
        meta = self.instance.part10_meta()
        if spilled.size - self.instance.payload.size != len(meta) or not spilled.begins_with(meta):
            return None
        writing.make_folders(folder, self.folders)
        temporary = os.path.join(folder, writing.temporary_name())
        if not spilled.adopt(temporary):
            return None
        self._draft = Draft(temporary)  # is to be removed when the next line fails
        if self._fsync:
            writing.fsync_file(temporary)
        return self._draft

    def _linked(self, folder: str) -> Draft | None:
        """A hard link to the file that the instance comes from; None where that does not hold what is to be stored."""
        source = self.instance.origin.path
        if source is None or not writing.begins_as_part10(source) or look(source, self.instance) != "same":
            return None
        temporary = os.path.join(folder, writing.temporary_name())
        try:
            writing.make_folders(folder, self.folders)
            os.link(source, temporary)
            if self._fsync:
                writing.fsync_file(source)
        except OSError as error:
            if error.errno not in _NO_HARD_LINK:
                raise
            return None
        return Draft(temporary)


def _is_beginning(path: str, size: int, instance: Instance) -> bool:
    """Whether a file is the beginning of what is to be written: of the same bytes, or of the same data set."""
    if writing.is_beginning(path, 0, size, instance.part10_segments()):
        return True
    try:
        with open(path, "rb") as file:
            offset = part10.split(file.read(_META)).offset
    except (DatasetError, OSError):
        return False
    return 0 < offset < size and writing.is_beginning(path, offset, size, instance.payload.segments())


def _one_file(source: str | None, target: str) -> bool:
    """Whether two paths lead to the same name of the same file; two hard links are two names."""
    try:
        if source is None or not os.path.samefile(source, target):
            return False
        return os.stat(target).st_nlink == 1 or os.path.realpath(source) == os.path.realpath(target)
    except OSError:
        return False


def look(path: str, instance: Instance) -> Verdict:
    """What is at a path, compared with an instance: nothing, the same, another version of it, a stub of it, something else.

    A stub is an empty file, one that is cut off, or the beginning of what is to be written. Raises OSError when there is no
    telling, DatasetError when the instance itself cannot be read any more.
    """
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return "free"
    if not status.st_size and stat.S_ISREG(status.st_mode):
        return "stub"
    if stat.S_ISREG(status.st_mode) and _is_beginning(path, status.st_size, instance):
        return "stub"
    try:
        existing = Instance.load(path)
    except (DatasetError, OSError):
        return "other"
    if existing.sop_instance_uid != instance.sop_instance_uid:
        return "other"
    if _same_content(existing, instance):
        return "same"
    try:
        existing.verify()
    except DatasetError:
        return "stub"
    return "version"


def _same_content(one: Instance, other: Instance) -> bool:
    if one.transfer_syntax_uid != other.transfer_syntax_uid or one.payload.size != other.payload.size:
        return False
    if one.sop_class_uid != other.sop_class_uid:
        return False
    for start in range(0, one.payload.size, _BLOCK):
        end = min(start + _BLOCK, one.payload.size)
        try:
            mine = one.payload.read(start, end)
        except DatasetError:  # it is just being replaced
            return False
        if mine != other.payload.read(start, end):
            return False
    return True
