"""The index of a folder: a first scan, scans when nothing changed, queries; beside a loop of pydicom that reads as many attributes.

Files are small (2.4 KB) and in the page cache, so what is timed is work and not a disk. pydicom reads a tenth of them, and its time
is taken ten times.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from timing import Comparison, arguments, timed

from dcmflow import Level, Query
from dcmflow.dicom import part10
from dcmflow.dicom.synthetic import synthesize
from dcmflow.sync import Index
from dcmflow.sync.index_facts import COLUMNS

STUDIES, SERIES = 5, 4
QUERIES = {
    "all studies": Query(Level.STUDY, {}),
    "all series": Query(Level.SERIES, {}),
    "all images": Query(Level.IMAGE, {}),
    "studies of a name": Query.of({"PatientName": "Yamada*"}, Level.STUDY),
}


def write(folder: Path, count: int) -> str:
    """As many files, fifty in a folder; the UID of one of them."""
    uid = ""
    patients = count // (STUDIES * SERIES * 50)
    made = synthesize(
        patients=patients, studies=STUDIES, series=SERIES, instances=50, size=64, modality=("CT", "MR")
    )
    for number, instance in enumerate(made):
        place = folder / f"{number // 1000:04d}" / f"{number // 50:05d}"
        place.mkdir(parents=True, exist_ok=True)
        uid = instance.sop_instance_uid
        meta = part10.build_meta(instance.sop_class_uid, uid, instance.transfer_syntax_uid)
        (place / f"{number:06d}.dcm").write_bytes(b"".join([meta, *instance.payload.segments()]))
    return uid


def scan(folder: Path, file: Path, count: int, mode: str, *, fresh: bool) -> float:
    """Seconds of a refresh; an index that is not there yet is made."""
    with Index.open(folder, file) as index:
        if fresh:
            index.clear()
        start = time.perf_counter()
        changes = index.refresh(mode)  # type: ignore[arg-type]
        taken = time.perf_counter() - start
    assert changes.instances == count, changes
    assert changes.read == (0 if mode == "trust" and not fresh else count), changes
    return taken


def with_pydicom(paths: list[str]) -> float:
    """Seconds of the loop that people write, for ten times as many files."""
    import pydicom

    keywords = [keyword for level in COLUMNS for keyword in level]
    start = time.perf_counter()
    for path in paths:
        ds = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(keywords))
        [ds.get(keyword) for keyword in keywords]
    return 10 * (time.perf_counter() - start)


def find(folder: Path, file: Path, query: Query) -> None:
    with Index.open(folder, file) as index:
        assert sum(1 for _ in index.find(query))


def main(argv: list[str]) -> int:
    """Prints a table of scans, how long a scan takes when nothing changed, and a table of queries."""
    options = arguments(__doc__ or "", argv)
    count = 5_000 if options.quick else 50_000
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=memory) as scratch:
        folder, file = Path(scratch) / "in", Path(scratch) / "index.sqlite"
        uid = write(folder, count)
        some = [str(path) for path in sorted(folder.rglob("*.dcm"))[::10]]
        scans: dict[str, Callable[[], float]] = {
            "pydicom loop": partial(with_pydicom, some),
            "first scan": partial(scan, folder, file, count, "trust", fresh=True),
            "nothing changed": partial(scan, folder, file, count, "trust", fresh=False),
            "check": partial(scan, folder, file, count, "check", fresh=False),
            "scrub": partial(scan, folder, file, count, "scrub", fresh=False),
        }
        with Comparison("index of a folder", unit="files", work=count, options=options) as comparison:
            # the first contender of a round changes; all but the first scan need what it made
            scan(folder, file, count, "trust", fresh=True)
            rates = comparison.run(scans, case=f"{count} files", warm_up=False)
            pairs = zip(rates["nothing changed"], rates["first scan"], strict=True)
            ratios = sorted(again / first for again, first in pairs)
            print(f"  with nothing changed it takes 1/{ratios[len(ratios) // 2]:.1f} of the first scan")
            print(f"  the index has {file.stat().st_size / count:.0f} bytes a file")
            comparison.unit = "queries"
            queries = {**QUERIES, "one image": Query.of({"SOPInstanceUID": uid})}
            comparison.run(
                {name: timed(partial(find, folder, file, query)) for name, query in queries.items()},
                case=f"queries to {count} images",
                work=1,
            )
    return 0


if __name__ == "__main__":
    import sys

    raise SystemExit(main(sys.argv[1:]))
