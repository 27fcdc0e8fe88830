"""Looking into instances, editing and writing them, against pydicom on the same bytes and files.

Both CTs have the 258 elements of a slice that pydicom ships, one with its 39 KB, one with the 527 KB of 512 × 512 pixels. A look
is five elements, up to Series Number; an edit sets three.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pydicom
from pydicom.data import get_testdata_file
from timing import Comparison, Contender, Skipped, arguments, timed

from dcmflow.dicom.instance import Instance

WANTED = ["PatientID", "Modality", "StudyInstanceUID", "SeriesNumber", "SOPInstanceUID"]
EDIT = {"PatientName": "Anonymous^Patient", "PatientID": "0815", "StudyDescription": "edited for a benchmark"}
OTHER_UID = "2.25.302938450617182239401858276145890312711"


def main(argv: list[str]) -> int:
    """Prints one table per case."""
    warnings.simplefilter("ignore")
    options = arguments("Header lookups, edits and writing, against pydicom.", argv)
    times = 60 if options.quick else 300
    with (
        tempfile.TemporaryDirectory(dir=memory_folder()) as folder,
        Comparison("dicom", unit="instances", work=times, options=options) as comparison,
    ):
        for name, data in (("CT 39 KB", small()), ("CT 527 KB", large())):
            source = Path(folder, f"{len(data)}.dcm")
            source.write_bytes(data)
            target = Path(folder, "out.dcm")
            for case, contenders in cases(data, source, target).items():
                comparison.run(
                    {who: repeated(work, times) for who, work in contenders.items()}, case=f"{name}, {case}"
                )
    return 0


def memory_folder() -> str | None:
    """A folder in memory, where there is one: programs are compared, not disks."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def cases(data: bytes, source: Path, target: Path) -> dict[str, dict[str, Callable[[], object]]]:
    """Case → contender → one piece of work; pydicom first, to compare with."""
    return {
        "look in memory": {
            "pydicom": lambda: look_pydicom(BytesIO(data)),
            "dcmflow": lambda: look(Instance.from_bytes(data)),
        },
        "look in a file": {
            "pydicom": lambda: look_pydicom(source),
            "dcmflow": lambda: look(Instance.load(source)),
        },
        "edit in memory": {
            "pydicom": lambda: edit_pydicom(BytesIO(data)),
            "dcmflow": lambda: Instance.from_bytes(data).with_elements(EDIT),
        },
        "edit a file and write it": {
            "pydicom": lambda: edit_pydicom(source).save_as(target),
            "dcmflow": lambda: write(Instance.load(source).with_elements(EDIT), target),
        },
        "map all UIDs": {
            "pydicom": lambda: uids_pydicom(BytesIO(data)),
            "dcmflow": lambda: Instance.from_bytes(data).with_uids(other),
        },
    }


def repeated(work: Callable[[], object], times: int) -> Contender:
    """A contender that works so many times."""

    def run() -> None:
        for _ in range(times):
            work()

    return timed(run)


def look(instance: Instance) -> list[object]:
    """The five elements from a header."""
    header = instance.header
    return [header[keyword] for keyword in WANTED]


def look_pydicom(source: BytesIO | Path) -> list[object]:
    """The five elements in pydicom's quickest way."""
    ds = pydicom.dcmread(source, stop_before_pixels=True, specific_tags=WANTED)
    return [ds[keyword].value for keyword in WANTED]


def edit_pydicom(source: BytesIO | Path) -> pydicom.FileDataset:
    """The edit in pydicom."""
    ds = pydicom.dcmread(source)
    for keyword, value in EDIT.items():
        setattr(ds, keyword, value)
    return ds


def write(instance: Instance, target: Path) -> None:
    """Drives the coroutine to its end; small files are written without waiting for anything."""
    try:
        instance.save(target).send(None)
    except StopIteration:
        return
    raise Skipped("the file is too large to be written in place")


def other(uid: str) -> str | None:
    """Another UID for instances, none for classes."""
    return None if uid.startswith("1.2.840.10008") else OTHER_UID


def uids_pydicom(source: BytesIO) -> BytesIO:
    """The mapping in pydicom, encoded again."""
    ds = pydicom.dcmread(source)
    for element in ds.iterall():
        if element.VR == "UI" and isinstance(element.value, str) and (new := other(element.value)):
            element.value = new
    target = BytesIO()
    ds.save_as(target)
    return target


def small() -> bytes:
    """A CT slice that pydicom ships."""
    path = get_testdata_file("CT_small.dcm")
    return Path(str(path)).read_bytes()


def large() -> bytes:
    """The same with 512 × 512 pixels."""
    ds = pydicom.dcmread(BytesIO(small()))
    ds.Rows = ds.Columns = 512
    ds.PixelData = bytes(512 * 512 * 2)
    target = BytesIO()
    ds.save_as(target)
    return target.getvalue()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
