"""What a refresh found in a folder."""

from __future__ import annotations

from msgspec import Struct, field


class Changes(Struct):
    """What a folder has, beside what its index knew of it.

    Attributes:
        new, changed, gone, unchanged: files that hold instances. One that is no longer an instance is gone.
        not_dicom: what is no DICOM, or a DICOMDIR.
        broken: files and folders that cannot be read or are cut off, relative to the folder, and why.
        rotten: files whose bytes are not those that they had, though neither size nor time changed, and what is wrong.
        read: files that were opened.
        notes: what else there is to know, in words.
    """

    new: int = 0
    changed: int = 0
    gone: int = 0
    unchanged: int = 0
    not_dicom: int = 0
    broken: list[tuple[str, str]] = field(default_factory=list)
    rotten: list[tuple[str, str]] = field(default_factory=list)
    read: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def instances(self) -> int:
        """Files that hold instances now."""
        return self.new + self.changed + self.unchanged

    @property
    def files(self) -> int:
        """All that was looked at."""
        return self.instances + self.not_dicom + len(self.broken) + len(self.rotten)
