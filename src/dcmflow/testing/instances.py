"""Small valid instances of any SOP Class in any transfer syntax.

>>> from dcmflow.testing import instance
>>> made = instance(PatientID="A1", Modality="MR")
>>> made.header["PatientID"], made.header["Modality"]
('A1', 'MR')
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dcmflow.dicom import uids
from dcmflow.dicom.instance import Instance
from dcmflow.dicom.sample_documents import code
from dcmflow.dicom.samples import uid
from dcmflow.dicom.synthetic import swap_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pydicom.dataset import Dataset

PRIVATE_STORAGE: Final = "1.3.12.2.1107.5.9.1"
"""A private storage SOP Class that is met in practice: Siemens CSA Non-Image Storage."""

# A file with pixels in each transfer syntax, among the test files that come with pydicom.
_DONORS: Final = {
    uids.JPEG_BASELINE: "SC_rgb_small_odd_jpeg.dcm",
    uids.JPEG_EXTENDED: "JPEG-lossy.dcm",
    uids.JPEG_LOSSLESS_SV1: "SC_rgb_jpeg_gdcm.dcm",
    uids.JPEG_LS_LOSSLESS: "MR_small_jpeg_ls_lossless.dcm",
    uids.JPEG_LS_NEAR_LOSSLESS: "JPEGLSNearLossless_08.dcm",
    uids.JPEG_2000_LOSSLESS: "MR_small_jp2klossless.dcm",
    uids.JPEG_2000: "SC_rgb_gdcm_KY.dcm",
    uids.RLE_LOSSLESS: "MR_small_RLE.dcm",
}
_NATIVE: Final = (
    uids.EXPLICIT_VR_LITTLE_ENDIAN,
    uids.IMPLICIT_VR_LITTLE_ENDIAN,
    uids.EXPLICIT_VR_BIG_ENDIAN,
    uids.DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
)
_NO_STORAGE: Final = (uids.MEDIA_STORAGE_DIRECTORY, "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.2")

_REPORT = re.compile(r"SRStorage|KeyObject|ProcedureLog|AcquisitionContextSR")
_COLOUR = re.compile(r"^VL|Color|Photograph|Video|Dermoscopic|Endoscopic")
_BYTES = re.compile(r"^Ultrasound|SecondaryCaptureImage|GrayscaleByte|8Bit|EnhancedUS")
_FRAMES = re.compile(
    r"MultiFrame|Enhanced|Volume|3D|Tomo|Video|WholeSlide|Map|^Segmentation|Pyramidal|RTDose|^Nuclear"
)
_PICTURE = re.compile(r"Image|^Segmentation|ParametricMap|US?Volume|RTDose|ThicknessMap|TopographyMap|AIT")


def instance(
    sop_class: str = uids.CT_IMAGE_STORAGE,
    transfer_syntax: str = uids.EXPLICIT_VR_LITTLE_ENDIAN,
    *,
    omit: Iterable[str] = (),
    **elements: Any,
) -> Instance:
    """A small instance of a SOP Class: what every object has, and pixels, a report, a waveform or a document
    if it has one.

    Its UIDs are new each time; name them among the elements to choose them.

    Args:
        sop_class: any UID; a private one gives an object without anything of its own.
        transfer_syntax: any UID. The pixels of a compressed one are real where `transfer_syntaxes` says so,
            otherwise bytes in fragments that no decoder will like.
        omit: keywords of elements to leave out.
        elements: keyword and value; None makes an empty element.
    """
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID

    ds = _common(sop_class)
    _content(ds, UID(sop_class).keyword if sop_class.startswith(uids.DICOM_ROOT) else "")
    if "PixelData" in ds and uids.is_encapsulated(transfer_syntax):
        _encapsulate(ds, transfer_syntax)
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    for keyword in omit:
        delattr(ds, keyword)
    if uids.is_big_endian(transfer_syntax):
        swap_words(ds)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(transfer_syntax)
    return Instance.from_dataset(ds)


def storage_classes(*, private: bool = False) -> tuple[str, ...]:
    """The UIDs of all storage SOP Classes (PS3.6 Annex A), retired ones too; with a private one on
    request.
    """
    from pydicom._uid_dict import UID_dictionary

    standard = tuple(
        uid
        for uid, (name, kind, *_) in UID_dictionary.items()
        if kind == "SOP Class" and "Storage" in name and uid not in _NO_STORAGE
    )
    return (*standard, PRIVATE_STORAGE) if private else standard


def instances_of_every_storage_class(
    transfer_syntax: str = uids.EXPLICIT_VR_LITTLE_ENDIAN, *, private: bool = False
) -> Iterator[Instance]:
    """One instance of each of `storage_classes`, all of one study, each in its own series; the same every
    time.
    """
    for number, sop_class in enumerate(storage_classes(private=private), 1):
        yield instance(
            sop_class,
            transfer_syntax,
            StudyInstanceUID=uid("every storage class"),
            SeriesInstanceUID=uid("series of storage class", sop_class),
            SOPInstanceUID=uid("instance of storage class", sop_class, transfer_syntax),
            SeriesNumber=number,
        )


def transfer_syntaxes() -> tuple[str, ...]:
    """The UIDs of the transfer syntaxes in which `instance` has pixels that a decoder can decode."""
    return (*_NATIVE, *_DONORS)


def instances_in_every_transfer_syntax(
    sop_class: str = uids.SECONDARY_CAPTURE_IMAGE_STORAGE,
) -> Iterator[Instance]:
    """One instance in each of `transfer_syntaxes`, all of one series; the same every time."""
    for number, transfer_syntax in enumerate(transfer_syntaxes(), 1):
        yield instance(
            sop_class,
            transfer_syntax,
            StudyInstanceUID=uid("every transfer syntax"),
            SeriesInstanceUID=uid("series of every transfer syntax", sop_class),
            SOPInstanceUID=uid("instance in transfer syntax", sop_class, transfer_syntax),
            InstanceNumber=number,
        )


def _common(sop_class: str) -> Dataset:
    """Patient, General Study, General Series, General Equipment and SOP Common modules."""
    from pydicom.dataset import Dataset

    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, uids.new_uid()
    ds.StudyDate, ds.StudyTime, ds.AccessionNumber = "20240131", "101500", "1"
    ds.Modality, ds.Manufacturer = "OT", "dcmflow"
    ds.ReferringPhysicianName = None
    ds.PatientName, ds.PatientID = "Buc^Jérôme", "TEST1"
    ds.PatientBirthDate, ds.PatientSex = "19700101", "O"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = uids.new_uid(), uids.new_uid()
    ds.StudyID, ds.SeriesNumber, ds.InstanceNumber = "1", 1, 1
    return ds


def _content(ds: Dataset, keyword: str) -> None:
    """What makes a SOP Class of this keyword what it is."""
    if _REPORT.search(keyword):
        ds.Modality, ds.ValueType, ds.ContinuityOfContent = "SR", "CONTAINER", "SEPARATE"
        ds.CompletionFlag, ds.VerificationFlag = "COMPLETE", "UNVERIFIED"
        ds.ConceptNameCodeSequence = [code("11528-7", "LN", "Radiology Report")]
        ds.ContentDate, ds.ContentTime = ds.StudyDate, ds.StudyTime
    elif "Waveform" in keyword:
        ds.Modality = "ECG"
        ds.ContentDate, ds.ContentTime = ds.StudyDate, ds.StudyTime
        ds.WaveformSequence = [_waveform()]
    elif keyword.startswith("Encapsulated"):
        ds.Modality = "DOC"
        ds.MIMETypeOfEncapsulatedDocument = "application/octet-stream"
        ds.EncapsulatedDocument, ds.EncapsulatedDocumentLength = b"a document\n\0", 11
    elif _PICTURE.search(keyword):
        ds.Modality = {"CTImageStorage": "CT", "MRImageStorage": "MR"}.get(keyword, "OT")
        _pixels(ds, keyword)


def _pixels(ds: Dataset, keyword: str) -> None:
    bits = 1 if "SingleBit" in keyword else 8 if _BYTES.search(keyword) or _COLOUR.search(keyword) else 16
    ds.SamplesPerPixel = 3 if _COLOUR.search(keyword) else 1
    ds.PhotometricInterpretation = "RGB" if ds.SamplesPerPixel == 3 else "MONOCHROME2"
    if ds.SamplesPerPixel == 3:
        ds.PlanarConfiguration = 0
    if _FRAMES.search(keyword):
        ds.NumberOfFrames = 1
    ds.Rows = ds.Columns = 8
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = bits, bits, bits - 1, 0
    ds.add_new("PixelData", "OW" if bits == 16 else "OB", bytes(range(8 * bits * ds.SamplesPerPixel)))


def _waveform() -> Dataset:
    from pydicom.dataset import Dataset

    channel = Dataset()
    channel.ChannelSourceSequence = [code("5.6.3-9-1", "SCPECG", "Lead I")]
    channel.WaveformBitsStored = 16
    group = Dataset()
    group.WaveformOriginality, group.SamplingFrequency = "ORIGINAL", "500"
    group.NumberOfWaveformChannels, group.NumberOfWaveformSamples = 1, 16
    group.WaveformBitsAllocated, group.WaveformSampleInterpretation = 16, "SS"
    group.ChannelDefinitionSequence = [channel]
    group.add_new("WaveformData", "OW", bytes(range(32)))
    return group


def _encapsulate(ds: Dataset, transfer_syntax: str) -> None:
    from pydicom.encaps import encapsulate

    if transfer_syntax in _DONORS:
        for keyword in {"PlanarConfiguration", "NumberOfFrames"} & set(ds.dir()):
            delattr(ds, keyword)
        for element in _donor(_DONORS[transfer_syntax]):
            ds.add_new(element.tag, element.VR, element.value)
        ds["PixelData"].VR = "OB"  # PS3.5 A.4: encapsulated is OB always
    else:
        ds.add_new("PixelData", "OB", encapsulate([bytes(range(100))], fragments_per_frame=2))
    ds["PixelData"].is_undefined_length = True


@cache
def _donor(name: str) -> Dataset:
    """The Image Pixel module of one of pydicom's test files."""
    import pydicom

    keywords = (
        "SamplesPerPixel PhotometricInterpretation PlanarConfiguration NumberOfFrames Rows Columns"
        " BitsAllocated BitsStored HighBit PixelRepresentation PixelData"
    )
    ds = pydicom.dcmread(Path(pydicom.__file__).parent / "data" / "test_files" / name)
    return pydicom.Dataset({ds[k].tag: ds[k] for k in keywords.split() if k in ds})
