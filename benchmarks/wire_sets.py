"""The instances that go over the wire: made once, as files in memory, and compared with what arrived.

SMALL   13 KB, many
CT      527 KB
BIG     105 MB, few
MID     3.9 MB, a little less than what goes to a file where room is scarce
FIRST   one SMALL instance for each sender: what it takes for this is what it takes to start
PRIME   eight SMALL instances that a server gets before anything is measured
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
from wire_process import Failed

from dcmflow.dicom.part10 import split
from dcmflow.dicom.synthetic import CT, SMALL, synthesize

BIG = 7232 * 7232 * 2
SIZES = {"SMALL": SMALL, "CT": CT, "BIG": BIG, "FIRST": SMALL, "PRIME": SMALL, "MID": 1400 * 1400 * 2}
TITLES = {"SMALL": "13 KB", "CT": "527 KB", "BIG": "105 MB", "MID": "3.9 MB"}


@dataclass(frozen=True)
class WireSet:
    """A folder of DICOM files in `parts` subfolders, each for one sender."""

    folder: Path
    files: tuple[Path, ...]
    bytes: int

    @property
    def parts(self) -> list[Path]:
        """The subfolders."""
        return sorted({file.parent for file in self.files})


def make(root: Path, name: str, count: int, *, parts: int = 1) -> WireSet:
    """The first `count` instances of a set; made on first use, the same ones each time."""
    folder = root / f"{name}-{count}-{parts}"
    if not folder.exists():
        anyio.run(_write, folder, name, count, parts)
    files = tuple(sorted(folder.rglob("*.dcm")))
    return WireSet(folder, files, sum(file.stat().st_size for file in files))


async def _write(folder: Path, name: str, count: int, parts: int) -> None:
    made = synthesize(instances=count, size=SIZES[name], seed=list(SIZES).index(name))
    for number, instance in enumerate(made):
        target = folder / f"part{number % parts}"
        target.mkdir(parents=True, exist_ok=True)
        await instance.save(target / f"{number:06d}.dcm")


def verify(sets: Sequence[WireSet], folder: Path, *, exact: bool) -> None:
    """Each instance of the sets is one file of the folder, and there is nothing else.

    Args:
        exact: the data set is the same, byte by byte. Else only its end, the last pixels, and its size,
            give or take 2 KB: some servers encode the rest anew.

    Raises:
        Failed: what is missing, too much or different.
    """
    expected = {name: file for made in sets for name, file in _named(made.files)}
    arrived = dict(_named(path for path in folder.rglob("*") if path.is_file()))
    if len(arrived) != len(expected):
        raise Failed(f"{len(arrived)} of {len(expected)} instances arrived")
    for uid, sent in expected.items():
        if uid not in arrived:
            raise Failed(f"{uid} did not arrive")
        if not _same(sent, arrived[uid], exact=exact):
            raise Failed(f"{uid} arrived, and is not what was sent")


def _named(files: Iterator[Path] | Sequence[Path]) -> Iterator[tuple[str, Path]]:
    for file in files:
        with file.open("rb") as opened:
            yield split(opened.read(4096)).sop_instance_uid, file


def _same(sent: Path, arrived: Path, *, exact: bool) -> bool:
    with sent.open("rb") as one, arrived.open("rb") as other:
        first = mmap.mmap(one.fileno(), 0, access=mmap.ACCESS_READ)
        second = mmap.mmap(other.fileno(), 0, access=mmap.ACCESS_READ)
        with first, second, memoryview(first) as a, memoryview(second) as b:
            if exact:
                return a[split(a[:4096]).offset :] == b[split(b[:4096]).offset :]
            return a[-4096:] == b[-4096:] and abs(len(a) - len(b)) < 2048
