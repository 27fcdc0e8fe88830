"""Memory of data sets that come and go is used again, which spares the page faults of new memory."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

GROWING = """
import resource
from dcmflow.dicom.freed_memory import keep_freed_memory

def receive(count):
    for _ in range(count):
        arriving = [bytearray() for _ in range(4)]
        for _ in range(10):
            for data in arriving:
                data += bytes(60_000)

{first}
receive(20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
receive(100)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(first: str) -> int:
    code = GROWING.format(first=first)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    return int(done.stdout)


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="the allocator is another one than that of glibc"
)
def test_pages_are_used_again() -> None:
    assert faults("") > 400
    assert faults("keep_freed_memory()") < 100
