"""Files to send over a network, and what has to arrive: looked at with pydicom and nothing else.

The sets BASE, COMP, WIRE, CLASSES and PRIV are those of `corpus.py`; here is what the wire needs on top of them.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import _read_file_meta_info, read_preamble
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MediaStorageDirectoryStorage

from corpus import PRIVATE_SOP_CLASS, Corpus, classes, mr, picture, uid

PRIVATE_CLASSES = (
    PRIVATE_SOP_CLASS,
    "1.2.840.113619.4.27",  # GE
    "1.3.46.670589.11.0.0.12.1",  # Philips
    "1.2.392.200036.9116.7.8.1.1.1",  # Toshiba
    "2.25.240857384561039485610394856103948",
)
"""SOP Classes that are in no standard; some are met in practice, one nobody has ever seen."""


def file_meta(path: Path) -> tuple[FileMetaDataset, int]:
    """The file meta information of a Part 10 file, and the offset at which its data set begins."""
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read_preamble(file, force=False)
        meta = _read_file_meta_info(file)
        return FileMetaDataset(meta), file.tell()


def dataset_bytes(path: Path) -> bytes:
    """The encoded data set of a Part 10 file as it is in the file."""
    return path.read_bytes()[file_meta(path)[1] :]


def uid_of(path: Path) -> str:
    """The SOP Instance UID that the file meta information names."""
    return str(file_meta(path)[0].MediaStorageSOPInstanceUID)


def syntax_of(path: Path) -> str:
    """The transfer syntax UID that the file meta information names."""
    return str(file_meta(path)[0].TransferSyntaxUID)


def sendable(paths: Iterable[Path], *, consistent: bool = True) -> list[Path]:
    """Those that can be sent as they are: the data set names SOP Class and SOP Instance, the file meta information the
    transfer syntax, and it is no DICOMDIR.

    Args:
        paths: Part 10 files.
        consistent: leave out those whose file meta information names another SOP Instance than the data set.
    """
    return [path for path in paths if _is_sendable(path, consistent)]


def _is_sendable(path: Path, consistent: bool) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = pydicom.dcmread(path, specific_tags=["SOPClassUID", "SOPInstanceUID"])
    named, in_meta = identity(ds), identity(ds.file_meta, "MediaStorage")
    whole = all(named) and bool(ds.file_meta.get("TransferSyntaxUID"))
    return whole and named[0] != MediaStorageDirectoryStorage and (named == in_meta or not consistent)


def identity(ds: Dataset, prefix: str = "") -> tuple[str, str]:
    """SOP Class UID and SOP Instance UID; empty where there is none."""
    return str(ds.get(f"{prefix}SOPClassUID") or ""), str(ds.get(f"{prefix}SOPInstanceUID") or "")


def digests(paths: Iterable[Path]) -> Counter[str]:
    """The data sets in Part 10 files: SHA-256 of their bytes and the transfer syntax → how often."""
    return Counter(f"{sha256(dataset_bytes(path)).hexdigest()} {syntax_of(path)}" for path in paths)


def rounds(paths: Iterable[Path]) -> list[list[Path]]:
    """Lists in each of which no SOP Instance occurs twice, by its data set; together they hold every path."""
    found: list[list[Path]] = []
    seen: dict[str, int] = {}
    for path in paths:
        number = seen[name] = seen.get(name := _instance_of(path), -1) + 1
        while len(found) <= number:
            found.append([])
        found[number].append(path)
    return found


def _instance_of(path: Path) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return identity(pydicom.dcmread(path, specific_tags=["SOPInstanceUID"]))[1]


def every_class(folder: Path) -> Corpus:
    """CLASSES and a few private SOP Classes: far more than the 128 presentation contexts of one association."""
    corpus = classes(folder)
    for number, sop_class in enumerate(PRIVATE_CLASSES, 1):
        ds = mr(
            patient="CLASSES",
            SOPClassUID=sop_class,
            SOPInstanceUID=uid("CLASSES", sop_class),
            SeriesInstanceUID=uid("CLASSES", "series", sop_class),
            SeriesNumber=1000 + number,
            Modality="OT",
        )
        corpus.save(f"private-{number}.dcm", ds)
    return corpus


def ct_series(folder: Path, count: int = 20, *, side: int = 512) -> Corpus:
    """CT: a series of images of `side` × `side` in 16 bits, 527 kB each at 512."""
    return _series(folder, count, side, "CT")


def small_series(folder: Path, count: int = 200) -> Corpus:
    """SMALL: a series of images of 13 kB."""
    return _series(folder, count, 80, "SMALL")


def _series(folder: Path, count: int, side: int, name: str) -> Corpus:
    corpus = Corpus(folder)
    ds = mr(
        patient=name,
        side=side,
        SOPClassUID=CTImageStorage,
        Modality="CT",
        StudyInstanceUID=uid(name, "study"),
        SeriesInstanceUID=uid(name, "series"),
    )
    for number in range(1, count + 1):
        ds.SOPInstanceUID, ds.InstanceNumber = uid(name, number), number
        ds.PixelData = picture(side, shift=number)
        corpus.save(f"{number:05d}.dcm", ds, ExplicitVRLittleEndian)
    return corpus
