"""Made-up images: what CT, MR, US, XA and SC objects have beside patient, study and series, with a phantom
as pixels.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dcmflow.dicom import uids
from dcmflow.dicom.phantom import Shades, phantom

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from dcmflow.dicom.samples import SeriesFacts


def pixels(ds: Dataset, facts: SeriesFacts, shades: Shades, *, depth: int = 2) -> None:
    """Image Pixel and VOI LUT modules: a phantom of about `facts.size` bytes, as square as whole rows
    allow.
    """
    samples = max(1, facts.size // depth)
    ds.Rows = max(1, min(math.isqrt(samples), 65_535))
    ds.Columns = max(1, min(samples // ds.Rows, 65_535))
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.BitsAllocated = 8 * depth
    ds.BitsStored = 8 if depth == 1 else 12
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = 0
    ds.add_new("SmallestImagePixelValue", "US", shades.air)
    ds.add_new("LargestImagePixelValue", "US", max(shades[:5]) + (1 << shades.noise) - 1)
    ds.BurnedInAnnotation = "NO"
    ds.LossyImageCompression = "00"
    ds.WindowCenter, ds.WindowWidth = str((shades.air + shades.bone) // 2), str(shades.bone - shades.air)
    picture = phantom(ds.Rows, ds.Columns, shades, depth=depth, seed=facts.series_uid)
    ds.add_new("PixelData", "OB" if depth == 1 else "OW", picture + b"\0" * (len(picture) % 2))


def _space(ds: Dataset, facts: SeriesFacts) -> None:
    """Frame of Reference, Image Plane and General Acquisition modules: axial slices 5 mm apart."""
    ds.FrameOfReferenceUID = facts.frame_of_reference_uid
    ds.PositionReferenceIndicator = "OM"
    ds.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    ds.ImagePositionPatient = ["-125", "-125", "0"]
    ds.SliceLocation = "0"
    ds.SliceThickness = ds.SpacingBetweenSlices = "5"
    ds.PixelSpacing = [f"{250 / ds.Rows:.6g}", f"{250 / ds.Columns:.6g}"]
    ds.PatientPosition = "HFS"
    ds.BodyPartExamined = "HEAD"
    ds.AcquisitionNumber = 1
    ds.AcquisitionDate, ds.AcquisitionTime = facts.date, facts.time()


def ct(ds: Dataset, facts: SeriesFacts) -> None:
    pixels(ds, facts, Shades(air=8, bone=1900, tissue=1060, fluid=1010, lesion=1120, noise=5))
    _space(ds, facts)
    thin = facts.series % 2 == 1
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SeriesDescription = "Knochen 1.0 H60s" if thin else "Head 5.0 H30s"
    ds.ProtocolName = "01_HeadRoutine"
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "-1024", "1", "HU"
    ds.WindowCenter, ds.WindowWidth = ("450", "1500") if thin else ("40", "80")
    ds.WindowCenterWidthExplanation = "BONE" if thin else "BRAIN"
    ds.ScanOptions = "HELICAL MODE"
    ds.KVP, ds.DataCollectionDiameter, ds.ReconstructionDiameter = "120", "500", "250"
    ds.DistanceSourceToDetector, ds.DistanceSourceToPatient = "1040", "570"
    ds.GantryDetectorTilt, ds.TableHeight, ds.RotationDirection = "0", "155.5", "CW"
    ds.ExposureTime, ds.XRayTubeCurrent, ds.Exposure = "1000", "210", "210"
    ds.FilterType, ds.GeneratorPower, ds.FocalSpots = "FLAT", "36", ["0.7", "1.2"]
    ds.DateOfLastCalibration, ds.TimeOfLastCalibration = facts.date, "060000"
    ds.ConvolutionKernel = "H60s" if thin else "H30s"
    ds.ExposureModulationType = "NONE"
    ds.SingleCollimationWidth, ds.TotalCollimationWidth = 0.6, 38.4
    ds.TableSpeed, ds.TableFeedPerRotation, ds.SpiralPitchFactor = 34.5, 17.25, 0.45
    ds.CTDIvol = 42.5
    ds.ReferencedImageSequence = [_reference(uids.CT_IMAGE_STORAGE, facts.scout_uid)]
    _private(ds)


def mr(ds: Dataset, facts: SeriesFacts) -> None:
    pixels(ds, facts, Shades(air=4, bone=120, tissue=700, fluid=1500, lesion=1150, noise=5))
    _space(ds, facts)
    echo = "2.46" if facts.series % 2 == 0 else "98"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
    ds.SeriesDescription = "t1_mprage_tra" if facts.series % 2 == 0 else "t2_tse_tra für Läsion"
    ds.ProtocolName = ds.SeriesDescription
    ds.ScanningSequence = "GR" if facts.series % 2 == 0 else "SE"
    ds.SequenceVariant = ["SK", "SP"]
    ds.ScanOptions = "PFP"
    ds.MRAcquisitionType = "3D"
    ds.SequenceName = "*tfl3d1_16ns"
    ds.AngioFlag = "N"
    ds.RepetitionTime, ds.EchoTime, ds.InversionTime = "1900", echo, "900"
    ds.NumberOfAverages, ds.ImagingFrequency, ds.ImagedNucleus = "1", "123.25", "1H"
    ds.EchoNumbers, ds.MagneticFieldStrength, ds.NumberOfPhaseEncodingSteps = 1, "3", 192
    ds.EchoTrainLength, ds.PercentSampling, ds.PercentPhaseFieldOfView = 1, "100", "100"
    ds.PixelBandwidth, ds.FlipAngle, ds.SAR, ds.dBdt = "170", "9", "0.04", "0"
    ds.TransmitCoilName, ds.InPlanePhaseEncodingDirection = "Body", "ROW"
    ds.AcquisitionMatrix = [0, 256, 192, 0]
    ds.VariableFlipAngleFlag = "N"
    _private(ds)


def us(ds: Dataset, facts: SeriesFacts) -> None:
    pixels(ds, facts, Shades(air=2, bone=210, tissue=70, fluid=6, lesion=150, noise=5), depth=1)
    ds.ImageType = ["ORIGINAL", "PRIMARY", "", "0001"]
    ds.SeriesDescription = "Abdomen"
    ds.PatientOrientation = None
    ds.TransducerData = "C5-1"


def xa(ds: Dataset, facts: SeriesFacts) -> None:
    pixels(ds, facts, Shades(air=3800, bone=900, tissue=2100, fluid=2600, lesion=1500, noise=5))
    ds.ImageType = ["ORIGINAL", "PRIMARY", "SINGLE PLANE"]
    ds.SeriesDescription = "Left coronary"
    ds.PixelIntensityRelationship = "LIN"
    ds.RadiationSetting, ds.KVP, ds.XRayTubeCurrent, ds.ExposureTime = "GR", "80", "400", "8"
    ds.PositionerMotion, ds.PositionerPrimaryAngle, ds.PositionerSecondaryAngle = "STATIC", "30", "-15"
    ds.PatientOrientation = None


def sc(ds: Dataset, facts: SeriesFacts) -> None:
    pixels(ds, facts, Shades(air=0, bone=240, tissue=128, fluid=64, lesion=200, noise=3), depth=1)
    ds.ImageType = ["DERIVED", "SECONDARY"]
    ds.SeriesDescription = "Screen capture"
    ds.ConversionType = "WSD"
    ds.PatientOrientation = None


def _reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
    return item


def _private(ds: Dataset) -> None:
    block = ds.private_block(0x0029, "DCMFLOW SYNTHETIC", create=True)
    block.add_new(0x10, "LO", "private text")
    block.add_new(0x11, "OB", bytes(range(64)))
    block.add_new(0x12, "US", [1, 2, 3])
