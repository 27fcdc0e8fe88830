"""Valid made-up SOP Instances, many and fast, for trying things out, load tests and benchmarks.

A series is described once as a pydicom data set and encoded once, in pieces cut around the few elements that
differ between its instances. An instance is those pieces with its own elements between them, followed by
everything after the last one (the pixels), which all instances of the series share in memory.

>>> from dcmflow.dicom.synthetic import SMALL, synthesize
>>> first, *rest = synthesize(studies=2, instances=3, size=SMALL)
>>> first.header["Modality"], len(rest)
('CT', 5)
"""

from __future__ import annotations

import zlib
from array import array
from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise, product
from typing import TYPE_CHECKING, Final, Literal

from dcmflow.dicom import uids
from dcmflow.dicom.instance import Instance
from dcmflow.dicom.payload import KEEP, MemoryPayload
from dcmflow.dicom.samples import MODALITIES, SeriesFacts, describe

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pydicom.dataset import Dataset

SMALL: Final = 74 * 74 * 2
"""Bytes of pixels of an instance that weighs 13 KB."""
CT: Final = 512 * 512 * 2
"""Bytes of pixels of an instance that weighs 527 KB, as most CT slices do."""

TRANSFER_SYNTAXES: Final = (
    uids.EXPLICIT_VR_LITTLE_ENDIAN,
    uids.IMPLICIT_VR_LITTLE_ENDIAN,
    uids.EXPLICIT_VR_BIG_ENDIAN,
    uids.DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    uids.RLE_LOSSLESS,
)

# What differs between the instances of a series, in the order of the data set.
_OWN: Final = {
    0x00080018: "UI",  # SOP Instance UID
    0x00080033: "TM",  # Content Time
    0x00200013: "IS",  # Instance Number
    0x00200032: "DS",  # Image Position (Patient)
    0x00201041: "DS",  # Slice Location
}


def synthesize(
    *,
    patients: int = 1,
    studies: int = 1,
    series: int = 1,
    instances: int = 1,
    size: int = CT,
    modality: str | Sequence[str] = "CT",
    seed: int = 0,
    transfer_syntax: str = uids.EXPLICIT_VR_LITTLE_ENDIAN,
) -> Iterator[Instance]:
    """Made-up instances, series by series; the same arguments give the same bytes, today and elsewhere.

    Equal UIDs stand for equal objects: another seed, modality, size or transfer syntax gives other series.
    Each object says in Patient Comments that there is no such patient.

    Args:
        patients: how many patients.
        studies: how many studies each patient has.
        series: how many series each study has.
        instances: how many instances each series has.
        size: bytes of pixel data (document, waveform) of one instance, before any compression and rounded
            down to whole rows; `SMALL` and `CT` are usual ones. An SR has its few hundred bytes whatever is
            asked for.
        modality: one of CT, MR, US, XA, SC, SR, PDF, ECG, or several that the series of a study have in turn.
        seed: another number gives other patients.
        transfer_syntax: one of `TRANSFER_SYNTAXES`.

    Raises:
        ValueError: a count below zero, a size that does not fit into one element, an unknown modality or
            transfer syntax.
    """
    modalities = (modality,) if isinstance(modality, str) else tuple(modality)
    unknown = sorted(set(modalities) - set(MODALITIES))
    if unknown or not modalities:
        wrong = ", ".join(unknown) or "(none)"
        raise ValueError(f"no made-up objects of modality {wrong}; choose from {', '.join(MODALITIES)}")
    if transfer_syntax not in TRANSFER_SYNTAXES:
        raise ValueError(
            f"cannot encode made-up objects in {transfer_syntax}; choose from {', '.join(TRANSFER_SYNTAXES)}"
        )
    if min(patients, studies, series, instances) < 0:
        raise ValueError("patients, studies, series and instances are counts: zero or more")
    if not 2 <= size <= 0xFFFFFF00:
        raise ValueError(f"{size} bytes do not fit into one element: from 2 to {0xFFFFFF00}")
    return _generate((patients, studies, series), instances, size, modalities, seed, str(transfer_syntax))


def _generate(
    counts: tuple[int, int, int], instances: int, size: int, modalities: Sequence[str], seed: int, syntax: str
) -> Iterator[Instance]:
    for patient, study, number in product(*map(range, counts if instances else (0, 0, 0))):
        name = modalities[number % len(modalities)]
        template = _Template.of(SeriesFacts(name, seed, patient, study, number, size, syntax), syntax)
        for index in range(instances):
            yield template.instance(index)


@dataclass(frozen=True)
class _Template:
    """An encoded series: `pieces` go before each of the elements `own`, `rest` after the last of them."""

    facts: SeriesFacts
    transfer_syntax: str
    own: tuple[int, ...]
    pieces: tuple[bytes, ...]
    rest: bytes

    @classmethod
    def of(cls, facts: SeriesFacts, transfer_syntax: str) -> _Template:
        ds = describe(facts)
        if transfer_syntax == uids.RLE_LOSSLESS and "PixelData" in ds:
            _compress(ds)
        elif uids.is_big_endian(transfer_syntax):
            swap_words(ds)
        own = tuple(tag for tag in _OWN if tag in ds)
        edges = (0, *own, 0xFFFFFFFF)
        pieces = [_encode(ds[after + 1 : before], transfer_syntax) for after, before in pairwise(edges)]
        return cls(facts, transfer_syntax, own, tuple(pieces[:-1]), pieces[-1])

    def instance(self, index: int) -> Instance:
        facts = self.facts
        uid = facts.instance_uid(index)
        place = f"{5 * index}"
        values = (uid, facts.time(index), f"{index + 1}", f"-125\\-125\\{place}", place)
        value_of = dict(zip(_OWN, values, strict=True))
        parts: list[bytes] = []
        for piece, tag in zip(self.pieces, self.own, strict=True):
            parts += (piece, self._element(tag, value_of[tag]))
        head = b"".join(parts)
        if uids.is_deflated(self.transfer_syntax):
            payload = MemoryPayload(_deflate(head + self.rest))
        elif len(self.rest) < KEEP:
            payload = MemoryPayload(head + self.rest)
        else:
            payload = MemoryPayload(head, self.rest)
        return Instance(
            sop_class_uid=MODALITIES[facts.modality].sop_class_uid,
            sop_instance_uid=uid,
            transfer_syntax_uid=self.transfer_syntax,
            payload=payload,
        )

    def _element(self, tag: int, text: str) -> bytes:
        """One of `own`, encoded as in PS3.5 7.1.2 (explicit VR, 16 bit length) or 7.1.3 (implicit VR)."""
        order: Literal["big", "little"] = "big" if uids.is_big_endian(self.transfer_syntax) else "little"
        vr, value = _OWN[tag], text.encode()
        if len(value) % 2:
            value += b"\0" if vr == "UI" else b" "
        head = (tag >> 16).to_bytes(2, order) + (tag & 0xFFFF).to_bytes(2, order)
        if uids.is_implicit(self.transfer_syntax):
            return head + len(value).to_bytes(4, order) + value
        return head + vr.encode() + len(value).to_bytes(2, order) + value


def _encode(ds: Dataset, transfer_syntax: str) -> bytes:
    from pydicom.filebase import DicomIO
    from pydicom.filewriter import write_dataset

    raw = BytesIO()
    out = DicomIO(raw)
    out.is_implicit_VR = uids.is_implicit(transfer_syntax)
    out.is_little_endian = not uids.is_big_endian(transfer_syntax)
    write_dataset(out, ds, parent_encoding="utf-8")  # describe() says ISO_IR 192
    return raw.getvalue()


def _compress(ds: Dataset) -> None:
    from pydicom.encaps import encapsulate
    from pydicom.pixels.encoders.base import RLELosslessEncoder

    picture = ds["PixelData"].value
    described = {
        "rows": ds.Rows,
        "columns": ds.Columns,
        "samples_per_pixel": 1,
        "photometric_interpretation": ds.PhotometricInterpretation,
        "bits_allocated": ds.BitsAllocated,
        "bits_stored": ds.BitsStored,
        "pixel_representation": 0,
        "number_of_frames": 1,
    }
    used = ds.Rows * ds.Columns * ds.BitsAllocated // 8
    frame = RLELosslessEncoder.encode(picture[:used], encoding_plugin="pydicom", **described)
    ds.add_new("PixelData", "OB", encapsulate([frame]))
    ds["PixelData"].is_undefined_length = True


def swap_words(ds: Dataset) -> None:
    """The words of OW in the other byte order, which pydicom leaves to us; also inside of sequences."""
    for element in ds.iterall():
        if element.VR == "OW":
            words = array("H", element.value)
            words.byteswap()
            element.value = words.tobytes()


def _deflate(encoded: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = deflater.compress(encoded) + deflater.flush()
    return packed + b"\0" * (len(packed) % 2)  # PS3.5 A.5: an even number of bytes
