"""Whether two files show the same pixels, whatever their transfer syntaxes are. Frame by frame, by pydicom's decoders."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import Final, NamedTuple

from dcmflow.dicom.part10 import EXPLICIT_VR_BIG_ENDIAN
from dcmflow.errors import DatasetError

_CODES: Final = {2: "H", 4: "I", 8: "Q"}


class Frame(NamedTuple):
    """A frame: its pixels little endian, row by row, the samples of a pixel side by side."""

    rows: int
    columns: int
    samples: int
    pixels: bytes


def same_pixels(a: str, b: str) -> bool:
    """Whether the decoded frames of two DICOM files are the same.

    Raises:
        DatasetError: one of them cannot be decoded here; the text says which, and what to try.
    """
    return all(mine == other for mine, other in zip_longest(frames(a), frames(b)))


def frames(path: str) -> Iterator[Frame]:
    """The frames of a DICOM file, decoded but with the colours they are stored in. Raises DatasetError."""
    from pydicom import dcmread
    from pydicom.pixels.decoders.base import get_decoder

    try:
        ds = dcmread(path, force=True)
        syntax = ds.file_meta.TransferSyntaxUID
        for data, about in get_decoder(syntax).iter_buffer(ds, raw=True):
            samples, width = int(about["samples_per_pixel"]), int(about["bits_allocated"]) // 8
            pixels = bytes(data)
            if syntax == EXPLICIT_VR_BIG_ENDIAN and width in _CODES:
                pixels = _swapped(pixels, width)
            if samples > 1 and about.get("planar_configuration"):
                pixels = _interleaved(pixels, samples, width)
            yield Frame(int(about["rows"]), int(about["columns"]), samples, pixels)
    except Exception as error:
        raise DatasetError(
            f"{path}: the pixel data cannot be decoded: {error}; leave --pixels out to compare bytes"
        ) from error


def _swapped(pixels: bytes, width: int) -> bytes:
    from array import array

    words = array(_CODES[width], pixels[: len(pixels) // width * width])
    words.byteswap()
    return words.tobytes()


def _interleaved(frame: bytes, samples: int, width: int) -> bytes:
    plane = len(frame) // samples
    pixels = bytearray(len(frame))
    for sample in range(samples):
        for byte in range(width):
            pixels[sample * width + byte :: samples * width] = frame[
                sample * plane + byte : (sample + 1) * plane : width
            ]
    return bytes(pixels)
