"""Keeps the allocator from giving memory back between two data sets.

Data sets are 100 KiB to a few MiB, come one after the other and go again. The allocator of glibc gives such blocks back to the
system when they are freed, so that the next one costs a page fault for each 4 KiB, which takes longer than copying it. From the
size of a large block that is freed it learns what is usual (`M_MMAP_THRESHOLD` and `M_TRIM_THRESHOLD` are dynamic), so it is
shown one. Other allocators are not impressed.
"""

from __future__ import annotations

from functools import cache
from typing import Final

USUAL: Final = 8 * 1024 * 1024  # twice as much, freed, stays with the process


@cache
def keep_freed_memory() -> None:
    """Blocks of up to `USUAL` bytes are reused from now on; costs nothing, and once in a process will do."""
    bytearray(USUAL)  # zeroed by the system, so that no page of it is touched
