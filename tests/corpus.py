"""Named sets of DICOM files that tests write into a folder of their own and then know everything about.

Each function makes one set below `folder` and returns a `Corpus`: a mapping from a short name to the path
written, with the counts that a correct program finds. Written with pydicom and the standard library only,
never with dcmflow, so that the files are an independent witness; where DCMTK is needed and missing, the name
is in `Corpus.skipped` with the reason.
Nothing is random: the same call writes the same bytes.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import zipfile
import zlib
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLosslessSV1,
    JPEGLSLossless,
    MRImageStorage,
    RLELossless,
    UID_dictionary,
)

PRIVATE_SOP_CLASS = "1.3.12.2.1107.5.9.1"
PRIVATE_TRANSFER_SYNTAX = "2.25.302938450617182239401858276145890312711"


@dataclass
class Corpus(Mapping[str, Path]):
    """What was written: names and paths, in the order of writing.

    Attributes:
        folder: the root of the set.
        files: the mapping itself.
        readable: names of the files that hold a complete SOP Instance.
        patients, studies, series, instances: how many different ones (by UID or PatientID) the readable
            files hold.
        uids: SOP Instance UID of each readable file, by name.
        skipped: what could not be made here, and why.
    """

    folder: Path
    files: dict[str, Path] = field(default_factory=dict)
    readable: list[str] = field(default_factory=list)
    uids: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    _seen: dict[str, set[str]] = field(
        default_factory=lambda: {"patient": set(), "study": set(), "series": set()}
    )

    def __getitem__(self, name: str) -> Path:
        return self.files[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)

    @property
    def paths(self) -> list[Path]:
        return list(self.files.values())

    @property
    def patients(self) -> int:
        return len(self._seen["patient"])

    @property
    def studies(self) -> int:
        return len(self._seen["study"])

    @property
    def series(self) -> int:
        return len(self._seen["series"])

    @property
    def instances(self) -> int:
        return len(set(self.uids.values()))

    def place(self, name: str) -> Path:
        """The path for a file of this name; its folder exists then."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self.files[name] = path
        return path

    def note(self, name: str, ds: Dataset) -> None:
        """Counts `ds` as a complete instance in the file of this name."""
        self.readable.append(name)
        self.uids[name] = str(ds.SOPInstanceUID)
        self._seen["patient"].add(str(ds.get("PatientID") or ""))
        self._seen["study"].add(str(ds.get("StudyInstanceUID") or ""))
        self._seen["series"].add(str(ds.get("SeriesInstanceUID") or ""))

    def save(self, name: str, ds: Dataset, syntax: str = ExplicitVRLittleEndian) -> Path:
        """Writes `ds` as a Part 10 file in a transfer syntax that needs no work on its pixels."""
        path = self.place(name)
        path.write_bytes(part10(ds, syntax))
        self.note(name, ds)
        return path


def uid(*words: object) -> str:
    """A UID that depends on the words only."""
    return f"2.25.{int.from_bytes(sha256('/'.join(map(str, words)).encode()).digest()[:16]) | 1 << 127}"


def encode(ds: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """The encoded data set, without preamble and file meta information; a private syntax is explicit little
    endian.
    """
    raw = BytesIO()
    with disable_value_validation():
        pydicom.dcmwrite(
            raw, ds, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=syntax != ExplicitVRBigEndian
        )
    if syntax == DeflatedExplicitVRLittleEndian:
        packer = zlib.compressobj(wbits=-15)
        packed = packer.compress(raw.getvalue()) + packer.flush()
        return packed + b"\0" * (len(packed) % 2)
    return raw.getvalue()


def part10(ds: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """A whole file: preamble, file meta information (PS3.10 7.1), data set."""
    return b"\0" * 128 + b"DICM" + meta(ds, syntax) + encode(ds, syntax)


def meta(ds: Dataset, syntax: str | None) -> bytes:
    """File meta information with its group length; None leaves the transfer syntax out."""
    info = [
        (0x0001, b"OB", b"\0\1"),
        (0x0002, b"UI", str(ds.SOPClassUID).encode()),
        (0x0003, b"UI", str(ds.SOPInstanceUID).encode()),
        (0x0010, b"UI", syntax.encode() if syntax else b""),
        (0x0012, b"UI", b"2.25.1"),
    ]
    group = b""
    for element, vr, value in info:
        if value:
            value += b"\0" * (len(value) % 2)
            length = struct.pack("<2xI" if vr == b"OB" else "<H", len(value))
            group += struct.pack("<HH", 2, element) + vr + length + value
    return struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(group)) + group


def mr(*, patient: str = "TestPat1", side: int = 16, **elements: Any) -> Dataset:
    """A small valid MR image; keywords given replace or add elements, None makes them empty."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = MRImageStorage, uid(patient, "only")
    ds.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    ds.StudyDate, ds.StudyTime, ds.ContentDate, ds.ContentTime = "20190625", "101500", "20190625", "102000"
    ds.AccessionNumber, ds.Modality, ds.Manufacturer = "", "MR", "dcmflow tests"
    ds.ReferringPhysicianName = "Referrer^Test"
    ds.StudyDescription, ds.SeriesDescription = "Head", "Localizer"
    ds.PatientName, ds.PatientID = f"{patient}^Test", patient
    ds.PatientBirthDate, ds.PatientSex = "19800229", "O"
    ds.ScanningSequence, ds.SequenceVariant, ds.ScanOptions, ds.MRAcquisitionType = "GR", "SP", "", "2D"
    ds.RepetitionTime, ds.EchoTime, ds.EchoTrainLength = "500", "2.46", 1
    ds.SliceThickness = "5"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = uid(patient, "study"), uid(patient, "study", "series")
    ds.StudyID, ds.SeriesNumber, ds.InstanceNumber = "1", 1, 1
    ds.ImagePositionPatient, ds.ImageOrientationPatient = ["0", "0", "0"], ["1", "0", "0", "0", "1", "0"]
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = uid(patient, "frame of reference"), ""
    ds.PixelSpacing = ["1", "1"]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows = ds.Columns = side
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.add_new("PixelData", "OW", picture(side))
    with disable_value_validation():
        for keyword, value in elements.items():
            setattr(ds, keyword, value)
    return ds


def picture(side: int, shift: int = 0) -> bytes:
    """A diagonal ramp of 12 bit values in 16, little endian."""
    ramp = b"".join(((n * 16 + shift) & 0xFFF).to_bytes(2, "little") for n in range(2 * side))
    return b"".join(ramp[2 * row : 2 * (row + side)] for row in range(side))


def base(folder: Path) -> Corpus:
    """BASE: 2 patients, 3 studies, 7 series, 12 objects; one of them of a private SOP Class and without
    pixels.
    """
    corpus = Corpus(folder)
    for name, ds in base_objects():
        corpus.save(name, ds)
    return corpus


def base_objects() -> Iterator[tuple[str, Dataset]]:
    """The data sets of BASE and the names of their files; `base_data.py` says what a place that holds them answers."""
    for patient, date, number, description, count, more in _BASE:
        series = {
            "patient": patient,
            "StudyDate": date,
            "StudyTime": _BASE_TIMES[date],
            "StudyID": date[2:],
            "AccessionNumber": f"ACC{date}",
            "StudyInstanceUID": uid("BASE", patient, date),
            "SeriesInstanceUID": uid("BASE", patient, date, number),
            "StudyDescription": f"Head {date[:4]}",
            "SeriesDescription": description,
            "ProtocolName": description.lower().replace(" ", "_"),
            "SeriesNumber": number,
        }
        for index in range(1, count + 1):
            ds = mr(**series, InstanceNumber=index, SOPInstanceUID=uid("BASE", patient, date, number, index))
            ds.ImagePositionPatient = ["0", "0", str(5 * index)]
            for keyword, values in more.items():
                setattr(ds, keyword, values[index - 1])
            if number == 14:
                ds.SOPClassUID, ds.StudyDate = PRIVATE_SOP_CLASS, "19000101"
                ds = _without_pixels(ds)
            if (patient, date, number) == ("TestPat1", "20190625", 2):
                ds.ReferencedImageSequence = [_reference(n) for n in range(119)]
            yield f"{patient}/{date}/{number:02d}/{index:03d}.dcm", ds


# patient, date of the study, series number, its description, its number of images, values of further elements
_BASE: tuple[tuple[str, str, int, str, int, dict[str, list[str]]], ...] = (
    ("TestPat1", "20190625", 1, "Localizer", 2, {}),
    ("TestPat1", "20190625", 2, "t2 tse tra", 1, {}),
    ("TestPat1", "20180530", 1, "Localizer", 2, {}),
    ("TestPat1", "20180530", 2, "Accelerated Sagittal MPRAGE", 2, {}),
    ("TestPat1", "20180530", 14, "Phoenix report", 1, {}),
    ("TestPat2", "20190615", 1, "Localizer", 2, {}),
    ("TestPat2", "20190615", 2, "gre field map", 2, {"EchoTime": ["2.46", "4.25"]}),
)
_BASE_TIMES = {"20190625": "101500", "20180530": "093000", "20190615": "144530.25"}


def _reference(number: int) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = (
        MRImageStorage,
        uid("BASE", "reference", number),
    )
    return item


def _without_pixels(ds: Dataset) -> Dataset:
    return Dataset({element.tag: element for element in ds if element.tag.group not in (0x0028, 0x7FE0)})


def comp(folder: Path) -> Corpus:
    """COMP: one image in seven transfer syntaxes; every file is another SOP Instance of the same series.

    The JPEG and JPEG-LS files need dcmcjpeg and dcmcjpls of DCMTK.
    """
    corpus = Corpus(folder)

    def image(name: str) -> Dataset:
        return mr(patient="COMP", side=32, SOPInstanceUID=uid("COMP", name), InstanceNumber=len(corpus) + 1)

    corpus.save("explicit.dcm", image("explicit"))
    corpus.save("implicit.dcm", image("implicit"), ImplicitVRLittleEndian)
    corpus.save("deflated.dcm", image("deflated"), DeflatedExplicitVRLittleEndian)
    big = image("big-endian")
    words = array("H", big.PixelData)
    words.byteswap()
    big.PixelData = words.tobytes()
    corpus.save("big-endian.dcm", big, ExplicitVRBigEndian)
    rle = image("rle")
    rle.file_meta = FileMetaDataset()
    rle.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    rle.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    del rle.file_meta  # `encode` would write it a second time
    corpus.save("rle.dcm", rle, RLELossless)
    for name, tool, syntax in (
        ("jpeg", "dcmcjpeg", JPEGLosslessSV1),
        ("jpeg-ls", "dcmcjpls", JPEGLSLossless),
    ):
        ds = image(name)
        if shutil.which(tool) is None:
            corpus.skipped[f"{name}.dcm"] = f"{tool} of DCMTK is not installed"
            continue
        path = corpus.save(f"{name}.dcm", ds)
        subprocess.run([tool, "--uid-never", path, path], check=True, capture_output=True)
        assert pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID == syntax
    return corpus


def wire(folder: Path) -> Corpus:
    """WIRE: files as they come off a wire or a broken disk. The names of the two `truncated-` ones are not
    `readable`.
    """
    corpus = Corpus(folder)

    def put(name: str, write: Any, *, whole: bool = True) -> None:
        ds = mr(patient="WIRE", SOPInstanceUID=uid("WIRE", name), InstanceNumber=len(corpus) + 1)
        corpus.place(name).write_bytes(write(ds))
        if whole:
            corpus.note(name, ds)

    put("dataset-explicit", encode)
    put("dataset-implicit", lambda ds: encode(ds, ImplicitVRLittleEndian))
    put("meta-without-preamble", lambda ds: meta(ds, ExplicitVRLittleEndian) + encode(ds))
    put("preamble-without-meta", lambda ds: b"\0" * 128 + b"DICM" + encode(ds))
    put("meta-without-transfer-syntax", lambda ds: b"\0" * 128 + b"DICM" + meta(ds, None) + encode(ds))
    put("wrong-group-length", lambda ds: _wrong_group_length(part10(ds)))
    put("truncated-pixels", lambda ds: part10(ds)[:-200], whole=False)
    put("truncated-header", lambda ds: part10(ds)[:600], whole=False)
    return corpus


def _wrong_group_length(data: bytes) -> bytes:
    (length,) = struct.unpack_from("<I", data, 140)
    return data[:140] + struct.pack("<I", length - 26) + data[144:]


def holes(folder: Path) -> Corpus:
    """HOLES: elements that programs rely on, absent (`no-`) or without a value (`empty-`); one series
    otherwise.
    """
    corpus = Corpus(folder)
    for keyword in [
        "PatientID",
        "PatientName",
        "StudyDate",
        "StudyTime",
        "SeriesNumber",
        "InstanceNumber",
        "Modality",
        "SeriesDescription",
        "StudyID",
    ]:
        for how in ("no", "empty"):
            name = f"{how}-{keyword}.dcm"
            ds = mr(patient="HOLES", SOPInstanceUID=uid("HOLES", name))
            if how == "no":
                del ds[keyword]
            else:
                setattr(ds, keyword, None)
            corpus.save(name, ds)
    return corpus


EVIL_PATIENT_IDS = {
    "dotdot": "..",
    "slash": "a/b",
    "climb": "../../climb",
    "absolute": "/etc/x",
    "dot": ".",
    "device": "CON",
    "long": "x" * 64,
    "blanks": "blanks   ",
    "plain": "blanks",
    "backslash": "a\\b",
    "empty": "",
    "colon": "c:x*?<>|",
    "case": "BLANKS",
    "tilde": "~root",
    "dash": "-rf",
}
"""Values of PatientID that must not become a path as they are: some leave a folder, some meet in one."""


def evil(folder: Path) -> Corpus:
    """EVIL: ids and descriptions that are no good as paths; a patient, study, series and object each."""
    corpus = Corpus(folder)
    texts = {
        "newline": "two\nlines",
        "emoji": "brain 🧠 scan",
        "nul": "a\0b",
        "rtl": "\u202egnp.exe",
        "blank": "   ",
    }
    for name, value in EVIL_PATIENT_IDS.items():
        corpus.save(f"id-{name}.dcm", _evil(name, PatientID=value))
    for name, value in texts.items():
        corpus.save(f"text-{name}.dcm", _evil(name, SeriesDescription=value, PatientID=f"EVIL {name}"))
    return corpus


def _evil(name: str, **elements: str) -> Dataset:
    own = {
        level: uid("EVIL", name, level)
        for level in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    }
    return mr(SpecificCharacterSet="ISO_IR 192", **own, **elements)


CHAR_NAMES = {
    "latin1": ("ISO_IR 100", "Buc^Jérôme"),
    "cyrillic": ("ISO_IR 144", "Люкceмбypг"),
    "greek": ("ISO_IR 126", "Διονυσιος"),
    "arabic": ("ISO_IR 127", "قباني^لنزار"),
    "thai": ("ISO_IR 166", "นามสกุล^ชื่อ"),
    "utf8": ("ISO_IR 192", "Wang^XiaoDong=王^小東"),
    "japanese": ("\\ISO 2022 IR 87", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    "korean": ("\\ISO 2022 IR 149", "Hong^Gildong=洪^吉洞=홍^길동"),
    "gb18030": ("GB18030", "Wang^XiaoDong=王^小东"),
    "gbk": ("GBK", "Wang^XiaoDong=王^小东"),
    "undeclared-utf8": ("", "Jérôme^山田"),
}
"""Name of the file → Specific Character Set and Patient's Name as people would read it."""


def char(folder: Path) -> Corpus:
    """CHAR: a patient's name in each of several character sets, and one in UTF-8 that does not say so."""
    corpus = Corpus(folder)
    for number, (name, (charset, text)) in enumerate(CHAR_NAMES.items(), 1):
        ds = mr(
            patient=f"CHAR{number:02d}",
            SpecificCharacterSet=charset.split("\\") if "\\" in charset else charset or "ISO_IR 192",
            PatientName=text,
            SOPInstanceUID=uid("CHAR", name),
        )
        path = corpus.save(f"{name}.dcm", ds)
        if not charset:
            declared = struct.pack("<HH2sH", 0x0008, 0x0005, b"CS", 10) + b"ISO_IR 192"
            whole = path.read_bytes()
            assert whole.count(declared) == 1
            path.write_bytes(whole.replace(declared, b""))
    return corpus


def priv(folder: Path) -> Corpus:
    """PRIV: a private SOP Class, a private transfer syntax, private blocks (two creators in one group, one
    nested).
    """
    corpus = Corpus(folder)

    def image(name: str) -> Dataset:
        return mr(patient="PRIV", SOPInstanceUID=uid("PRIV", name), InstanceNumber=len(corpus) + 1)

    ds = _without_pixels(image("sop-class"))
    ds.SOPClassUID = PRIVATE_SOP_CLASS
    corpus.save("sop-class.dcm", ds)
    corpus.save("transfer-syntax.dcm", image("transfer-syntax"), PRIVATE_TRANSFER_SYNTAX)
    ds = image("blocks")
    first = ds.private_block(0x0019, "DCMFLOW TEST A", create=True)
    second = ds.private_block(0x0019, "DCMFLOW TEST B", create=True)
    first.add_new(0x10, "LO", "of A")
    second.add_new(0x10, "DS", ["1.5", "2.5"])
    second.add_new(0x11, "UN", b"\1\2\3\4")
    nested = Dataset()
    nested.private_block(0x0021, "DCMFLOW TEST C", create=True).add_new(0x01, "SH", "nested")
    second.add_new(0x20, "SQ", [nested])
    corpus.save("blocks.dcm", ds)
    corpus.save("blocks-implicit.dcm", _with_uid(ds, uid("PRIV", "blocks-implicit")), ImplicitVRLittleEndian)
    return corpus


def _with_uid(ds: Dataset, sop_instance_uid: str) -> Dataset:
    other = Dataset(dict(ds.items()))
    other.SOPInstanceUID = sop_instance_uid
    return other


def classes(folder: Path) -> Corpus:
    """CLASSES: one small object for each storage SOP Class of the standard (more than 128), all of one
    study.
    """
    corpus = Corpus(folder)
    without = ("Media Storage", "Storage Commitment")
    for sop_class, (name, kind, *_) in UID_dictionary.items():
        if kind != "SOP Class" or "Storage" not in name or name.startswith(without):
            continue
        number = len(corpus) + 1
        ds = mr(
            patient="CLASSES",
            SOPClassUID=sop_class,
            SOPInstanceUID=uid("CLASSES", sop_class),
            SeriesInstanceUID=uid("CLASSES", "series", sop_class),
            SeriesNumber=number,
            SeriesDescription=name[:64],
            Modality="OT",
        )
        keyword = UID(sop_class).keyword
        if "Encapsulated" in keyword:
            ds.MIMETypeOfEncapsulatedDocument, ds.EncapsulatedDocument = "application/pdf", b"%PDF-1.4\n%"
        corpus.save(f"{number:03d}-{keyword}.dcm", ds if "Image" in keyword else _without_pixels(ds))
    return corpus


def clash(folder: Path) -> Corpus:
    """CLASH: pairs of files that contradict each other.

    `same-uid-a/b`: one SOP Instance UID in two series. `series-a/b`: one series in two studies. `study-a/b`:
    one study of two patients. `pixels-a/b`: one SOP Instance UID, other pixels. `copy-a/b`: the very same
    bytes twice, no contradiction.
    """
    corpus = Corpus(folder)

    def pair(name: str, *differences: dict[str, Any]) -> None:
        for letter, different in zip("ab", differences, strict=True):
            own = {
                "StudyInstanceUID": uid("CLASH", name, "study"),
                "SeriesInstanceUID": uid("CLASH", name, "series"),
                "SOPInstanceUID": uid("CLASH", name, letter),
                "PatientID": f"CLASH {name}",
            }
            corpus.save(f"{name}-{letter}.dcm", mr(patient="CLASH", **(own | different)))

    same = {"SOPInstanceUID": uid("CLASH", "same")}
    pair("same-uid", same, same | {"SeriesInstanceUID": uid("CLASH", "another series"), "SeriesNumber": 2})
    pair("series", {}, {"StudyInstanceUID": uid("CLASH", "another study"), "StudyDate": "20190626"})
    pair("study", {}, {"PatientID": "CLASH other", "PatientName": "Other^Patient"})
    pixels = {"SOPInstanceUID": uid("CLASH", "pixels")}
    pair("pixels", pixels, pixels | {"PixelData": picture(16, shift=5)})
    copy = {"SOPInstanceUID": uid("CLASH", "copy")}
    pair("copy", copy, copy)
    return corpus


def junk(folder: Path) -> Corpus:
    """JUNK: what lies between DICOM files in real folders. Nothing in it is an instance.

    Among it are a FIFO (whoever opens it to read waits for ever), an unreadable file (root reads it all the
    same, and finds an MR image), a symbolic link to its own folder and one to nowhere, and a DICOMDIR without
    records, which is DICOM but no SOP Instance to move. What this system cannot make is in `skipped`.
    """
    corpus = Corpus(folder)
    corpus.place("notes.txt").write_text("Scanned on Monday.\nDICM is mentioned here.\n")
    corpus.place("empty.dcm").write_bytes(b"")
    noise = b"".join(sha256(bytes([n])).digest() for n in range(128))
    corpus.place("random.bin").write_bytes(noise)
    corpus.place("random.dcm").write_bytes(noise)
    corpus.place("zeros").write_bytes(bytes(4096))
    corpus.place("preamble-only.dcm").write_bytes(b"\0" * 128 + b"DICM")
    corpus.place("picture.png").write_bytes(_png())
    corpus.place(".DS_Store").write_bytes(b"\0\0\0\1Bud1" + bytes(64))
    with zipfile.ZipFile(corpus.place("notes.zip"), "w") as archive:
        archive.writestr("readme.txt", "nothing of interest")
    corpus.place("DICOMDIR").write_bytes(_dicomdir())
    unreadable = corpus.place("unreadable.dcm")
    unreadable.write_bytes(part10(mr(patient="JUNK")))
    unreadable.chmod(0)
    if hasattr(os, "mkfifo"):
        os.mkfifo(corpus.place("pipe"))
    else:
        corpus.skipped["pipe"] = "this system has no FIFOs"
    try:
        corpus.place("loop").symlink_to(folder, target_is_directory=True)
        corpus.place("dangling.dcm").symlink_to(folder / "nowhere")
    except OSError as error:
        corpus.files.pop("loop", None)
        corpus.skipped["loop"] = f"no symbolic links: {error}"
    return corpus


def _png() -> bytes:
    """A grey picture of 2 × 2."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(b"\0\x80\x80" * 2)
    header = struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def _dicomdir() -> bytes:
    """A DICOMDIR without records: a valid directory of an empty file-set (PS3.3 F.3)."""
    ds = Dataset()
    ds.FileSetID = "JUNK"
    ds.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity = 0
    ds.OffsetOfTheLastDirectoryRecordOfTheRootDirectoryEntity = 0
    ds.FileSetConsistencyFlag = 0
    ds.DirectoryRecordSequence = []
    named = Dataset()
    named.SOPClassUID, named.SOPInstanceUID = "1.2.840.10008.1.3.10", uid("JUNK", "DICOMDIR")
    return b"\0" * 128 + b"DICM" + meta(named, ExplicitVRLittleEndian) + encode(ds)


def big(folder: Path, count: int = 5000, size: int = 1024, *, name: str = "small") -> Corpus:
    """BIG: one series of `count` objects with about `size` bytes of pixels each (2 kB objects by default).

    Only the SOP Instance UID and the instance number differ, so the file is encoded once and then written
    with other bytes at
    two places: `big(folder, 500, 524_288, name="large")` is the other half of the set.
    """
    corpus = Corpus(folder)
    side = max(1, int((size / 2) ** 0.5))
    own = {"StudyInstanceUID": uid("BIG", name, "study"), "SeriesInstanceUID": uid("BIG", name, "series")}
    marker = uid("BIG", name, "marker")
    ds = mr(patient="BIG", side=side, SOPInstanceUID=marker, **own)
    ds.InstanceNumber = 999_999
    whole = part10(ds)
    uids_at = [at for at in range(len(whole[:8192])) if whole.startswith(marker.encode(), at)]
    number_at = whole.index(struct.pack("<HH2sH", 0x0020, 0x0013, b"IS", 6) + b"999999") + 8
    assert len(uids_at) == 2, "once in the file meta information, once in the data set"
    for number in range(1, count + 1):
        ds.SOPInstanceUID = uid("BIG", name, number)
        changed = bytearray(whole)
        for at in uids_at:
            changed[at : at + len(marker)] = ds.SOPInstanceUID.encode()
        changed[number_at : number_at + 6] = b"%-6d" % number
        file = f"{name}/{number:06d}.dcm"
        corpus.place(file).write_bytes(changed)
        corpus.note(file, ds)
    return corpus
