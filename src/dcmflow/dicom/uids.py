"""UIDs that the code names itself, what a transfer syntax means for the bytes, and keyed remapping of UIDs.

The names here are what our own code compares with; the full register is pydicom's. Nothing in this module
needs pydicom except `keeps_uid`, which asks its dictionary on first use.

>>> is_encapsulated(JPEG_BASELINE), is_encapsulated(EXPLICIT_VR_LITTLE_ENDIAN)
(True, False)
>>> remap = UidMap("a secret")
>>> remap("1.2.3") == remap("1.2.3"), remap("1.2.3") == UidMap("another")("1.2.3")
(True, False)
>>> remap(CT_IMAGE_STORAGE) == CT_IMAGE_STORAGE
True
"""

from __future__ import annotations

import hashlib
import re
import uuid
from functools import cache, lru_cache
from typing import Final, final

__all__ = [
    "DICOM_ROOT",
    "UidMap",
    "is_big_endian",
    "is_deflated",
    "is_encapsulated",
    "is_implicit",
    "is_valid_uid",
    "keeps_uid",
    "new_uid",
]

DICOM_ROOT: Final = "1.2.840.10008."
"""Every UID that the standard itself registers begins with this (PS3.6 Annex A)."""

APPLICATION_CONTEXT: Final = "1.2.840.10008.3.1.1.1"

# Transfer syntaxes (PS3.5 Annex A, PS3.6 A-1)
IMPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
ENCAPSULATED_UNCOMPRESSED_EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1.98"
DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1.99"
EXPLICIT_VR_BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
JPEG_BASELINE: Final = "1.2.840.10008.1.2.4.50"
JPEG_EXTENDED: Final = "1.2.840.10008.1.2.4.51"
JPEG_LOSSLESS: Final = "1.2.840.10008.1.2.4.57"
JPEG_LOSSLESS_SV1: Final = "1.2.840.10008.1.2.4.70"
JPEG_LS_LOSSLESS: Final = "1.2.840.10008.1.2.4.80"
JPEG_LS_NEAR_LOSSLESS: Final = "1.2.840.10008.1.2.4.81"
JPEG_2000_LOSSLESS: Final = "1.2.840.10008.1.2.4.90"
JPEG_2000: Final = "1.2.840.10008.1.2.4.91"
JPEG_2000_MC_LOSSLESS: Final = "1.2.840.10008.1.2.4.92"
JPEG_2000_MC: Final = "1.2.840.10008.1.2.4.93"
JPIP_REFERENCED: Final = "1.2.840.10008.1.2.4.94"
JPIP_REFERENCED_DEFLATE: Final = "1.2.840.10008.1.2.4.95"
MPEG2_MAIN_PROFILE_MAIN_LEVEL: Final = "1.2.840.10008.1.2.4.100"
MPEG2_MAIN_PROFILE_HIGH_LEVEL: Final = "1.2.840.10008.1.2.4.101"
MPEG4_HIGH_PROFILE_41: Final = "1.2.840.10008.1.2.4.102"
HEVC_MAIN_PROFILE_51: Final = "1.2.840.10008.1.2.4.107"
HEVC_MAIN_10_PROFILE_51: Final = "1.2.840.10008.1.2.4.108"
JPEG_XL_LOSSLESS: Final = "1.2.840.10008.1.2.4.110"
JPEG_XL_JPEG_RECOMPRESSION: Final = "1.2.840.10008.1.2.4.111"
JPEG_XL: Final = "1.2.840.10008.1.2.4.112"
HTJ2K_LOSSLESS: Final = "1.2.840.10008.1.2.4.201"
HTJ2K_LOSSLESS_RPCL: Final = "1.2.840.10008.1.2.4.202"
HTJ2K: Final = "1.2.840.10008.1.2.4.203"
JPIP_HTJ2K_REFERENCED: Final = "1.2.840.10008.1.2.4.204"
JPIP_HTJ2K_REFERENCED_DEFLATE: Final = "1.2.840.10008.1.2.4.205"
RLE_LOSSLESS: Final = "1.2.840.10008.1.2.5"
SMPTE_ST_2110_20_UNCOMPRESSED_PROGRESSIVE: Final = "1.2.840.10008.1.2.7.1"
SMPTE_ST_2110_20_UNCOMPRESSED_INTERLACED: Final = "1.2.840.10008.1.2.7.2"
SMPTE_ST_2110_30_PCM: Final = "1.2.840.10008.1.2.7.3"
DEFLATED_IMAGE_FRAME_COMPRESSION: Final = "1.2.840.10008.1.2.8.1"

UNCOMPRESSED: Final = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
"""What everybody speaks, the better one first."""

# Services (PS3.4)
VERIFICATION: Final = "1.2.840.10008.1.1"
STORAGE_COMMITMENT_PUSH_MODEL: Final = "1.2.840.10008.1.20.1"
PATIENT_ROOT_FIND: Final = "1.2.840.10008.5.1.4.1.2.1.1"
PATIENT_ROOT_MOVE: Final = "1.2.840.10008.5.1.4.1.2.1.2"
PATIENT_ROOT_GET: Final = "1.2.840.10008.5.1.4.1.2.1.3"
STUDY_ROOT_FIND: Final = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_MOVE: Final = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_ROOT_GET: Final = "1.2.840.10008.5.1.4.1.2.2.3"
PATIENT_STUDY_ONLY_FIND: Final = "1.2.840.10008.5.1.4.1.2.3.1"
PATIENT_STUDY_ONLY_MOVE: Final = "1.2.840.10008.5.1.4.1.2.3.2"
PATIENT_STUDY_ONLY_GET: Final = "1.2.840.10008.5.1.4.1.2.3.3"

# Storage SOP Classes (PS3.4 B.5); a choice, any other is as welcome
MEDIA_STORAGE_DIRECTORY: Final = "1.2.840.10008.1.3.10"
COMPUTED_RADIOGRAPHY_IMAGE_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.1"
DIGITAL_X_RAY_IMAGE_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.1.1"
CT_IMAGE_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT_IMAGE_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.2.1"
ULTRASOUND_MULTI_FRAME_IMAGE_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.3.1"
MR_IMAGE_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_MR_IMAGE_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.4.1"
ULTRASOUND_IMAGE_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.6.1"
SECONDARY_CAPTURE_IMAGE_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.7"
TWELVE_LEAD_ECG_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.9.1.1"
RAW_DATA_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.66"
SEGMENTATION_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.66.4"
BASIC_TEXT_SR_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.88.11"
ENHANCED_SR_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.88.22"
COMPREHENSIVE_SR_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.88.33"
X_RAY_RADIATION_DOSE_SR_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.88.67"
ENCAPSULATED_PDF_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.104.1"
POSITRON_EMISSION_TOMOGRAPHY_IMAGE_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.128"
RT_DOSE_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.481.2"
RT_STRUCTURE_SET_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.481.3"

_UID = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))*", re.ASCII)
_DEFLATED = frozenset(
    {DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, JPIP_REFERENCED_DEFLATE, JPIP_HTJ2K_REFERENCED_DEFLATE}
)
_NATIVE = frozenset({IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN})
_PIXELS_ELSEWHERE = frozenset(
    {
        JPIP_REFERENCED,
        JPIP_HTJ2K_REFERENCED,
        SMPTE_ST_2110_20_UNCOMPRESSED_PROGRESSIVE,
        SMPTE_ST_2110_20_UNCOMPRESSED_INTERLACED,
        SMPTE_ST_2110_30_PCM,
    }
)
_NOT_ENCAPSULATED = _NATIVE | _DEFLATED | _PIXELS_ELSEWHERE


def is_valid_uid(text: str) -> bool:
    """True when `text` is a UID as PS3.5 9.1 writes it: at most 64 characters, no leading zeros.

    >>> is_valid_uid("1.2.840.10008.1.1"), is_valid_uid("1.02"), is_valid_uid("")
    (True, False, False)
    """
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def new_uid() -> str:
    """A UID that nobody had before: "2.25." and a random UUID as a number (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid4().int}"


def is_implicit(transfer_syntax_uid: str) -> bool:
    """True when elements carry no VR (PS3.5 A.1)."""
    return transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN


def is_big_endian(transfer_syntax_uid: str) -> bool:
    """True for the retired Explicit VR Big Endian (PS3.5-2016 A.3)."""
    return transfer_syntax_uid == EXPLICIT_VR_BIG_ENDIAN


def is_deflated(transfer_syntax_uid: str) -> bool:
    """True when the whole encoded data set is a deflate stream (PS3.5 A.5)."""
    return transfer_syntax_uid in _DEFLATED


def is_encapsulated(transfer_syntax_uid: str) -> bool:
    """True when Pixel Data, where there is any, is a sequence of fragments (PS3.5 A.4).

    An unknown or private transfer syntax counts as encapsulated; those to which the standard gives native
    pixels, or pixels that are somewhere else (JPIP, SMPTE ST 2110), do not.
    """
    return bool(transfer_syntax_uid) and transfer_syntax_uid not in _NOT_ENCAPSULATED


@final
class UidMap:
    """Gives every UID another one, always the same for the same key and never one that tells the old one.

    The new UID is "2.25." and a 128 bit keyed BLAKE2b of the old one, so it is the same in every file, run
    and process that has the key; whoever lacks the key can neither undo nor guess it. What is no identifier
    of somebody's data stays as it is: UIDs under the DICOM root, and an empty text. What is no valid UID, as
    with a leading zero in a component, identifies all the same and becomes one. Blanks around it do not
    count. A *private* SOP Class or transfer syntax UID cannot be told from an instance UID by its value: ask
    `keeps_uid` about the element first.

    >>> UidMap("k")("1.2.826.0.1.3680043.8.498.1")
    '2.25.233925179702703197726812025897369156496'
    >>> UidMap("k")("")
    ''
    """

    __slots__ = ("_key", "_remap")

    def __init__(self, key: str) -> None:
        if not key:
            raise ValueError("remapping UIDs needs a key; an empty one would let anybody undo it")
        # BLAKE2b takes keys of at most 64 bytes.
        self._key = hashlib.blake2b(key.encode(), digest_size=64, person=b"dcmflow uid key").digest()
        self._remap = lru_cache(maxsize=65536)(self._remapped)

    def __call__(self, uid: str) -> str:
        """The new UID for `uid`, or `uid` itself where it has to stay."""
        return self._remap(uid)

    def __reduce__(self) -> tuple[object, ...]:
        return _uid_map_from, (self._key,)

    def _remapped(self, uid: str) -> str:
        bare = uid.strip(" \0")
        if not bare or bare.startswith(DICOM_ROOT):
            return uid
        digest = hashlib.blake2b(
            bare.encode("utf-8", "surrogatepass"), digest_size=16, key=self._key
        ).digest()
        return f"2.25.{int.from_bytes(digest)}"


def _uid_map_from(key: bytes) -> UidMap:
    made = object.__new__(UidMap)
    made._key = key
    made._remap = lru_cache(maxsize=65536)(made._remapped)
    return made


def keeps_uid(tag: int) -> bool:
    """True for elements whose UIDs say of what kind something is, so that remapping must leave them alone.

    These are SOP Class, transfer syntax, coding scheme, context group, mapping resource and implementation
    class UIDs and the like, which point at nobody's data (PS3.15 Table E.1-1 does not list them).

    >>> keeps_uid(0x00080016), keeps_uid(0x00080018)
    (True, False)
    """
    return tag in _kept_tags()


@cache
def _kept_tags() -> frozenset[int]:
    from pydicom._dicom_dict import DicomDictionary

    return frozenset(
        int(tag)
        for tag, (vr, _vm, _name, _retired, keyword) in DicomDictionary.items()
        if vr == "UI" and _KIND.search(keyword)
    )


_KIND = re.compile(
    "SOPClass|TransferSyntaxUID|^CodingSchemeUID$|^ContextUID$|^MappingResourceUID$"
    "|^ImplementationClassUID$|^PrivateInformationCreatorUID$|^PrivateRecordUID$"
)
