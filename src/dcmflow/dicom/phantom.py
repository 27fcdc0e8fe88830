"""Pictures for made-up images: a head with its skull, two ventricles and a lesion, in plain Python.

A row of an ellipse is a run of equal values, so a picture is painted run by run; noise is added a whole row
at a time, as one addition of two long integers whose lanes are the samples and cannot carry into each other.
"""

from __future__ import annotations

import math
import random
from typing import NamedTuple


class Shades(NamedTuple):
    """Stored values of what the picture shows; `noise` more bits of each are random."""

    air: int
    bone: int
    tissue: int
    fluid: int
    lesion: int
    noise: int


# centre x, centre y, radius x, radius y (parts of the picture), which shade
_ELLIPSES = (
    (0.50, 0.50, 0.38, 0.47, 1),
    (0.50, 0.50, 0.35, 0.44, 2),
    (0.43, 0.47, 0.05, 0.15, 3),
    (0.57, 0.47, 0.05, 0.15, 3),
    (0.66, 0.70, 0.04, 0.03, 4),
    (0.90, 0.08, 0.03, 0.03, 1),  # a marker on the side that is the patient's left
)


def phantom(rows: int, columns: int, shades: Shades, *, depth: int = 2, seed: str = "") -> bytes:
    """A picture of `rows` × `columns` samples of `depth` bytes (1 or 2), little endian, the same for the
    same seed.

    Raises:
        ValueError: a shade that does not fit into `depth` bytes together with its noise.
    """
    grain = (1 << shades.noise) - 1
    if max(shades[:5]) + grain >= 1 << 8 * depth:
        raise ValueError(
            f"{max(shades[:5])} with {shades.noise} bits of noise does not fit into {depth} bytes"
        )
    samples = [shade.to_bytes(depth, "little") for shade in shades[:5]]
    mask = int.from_bytes(grain.to_bytes(depth, "little") * columns, "little")
    noise = random.Random(f"phantom {seed}")
    length = depth * columns
    picture = []
    for row in range(rows):
        line = bytearray(samples[0] * columns)
        for start, stop, shade in _runs((row + 0.5) / rows, columns):
            line[depth * start : depth * stop] = samples[shade] * (stop - start)
        grains = int.from_bytes(noise.randbytes(length), "little") & mask
        picture.append((int.from_bytes(line, "little") + grains).to_bytes(length, "little"))
    return b"".join(picture)


def _runs(y: float, columns: int) -> list[tuple[int, int, int]]:
    """The columns (from, to) that each ellipse covers at height y, and its shade."""
    runs = []
    for centre_x, centre_y, radius_x, radius_y, shade in _ELLIPSES:
        away = (y - centre_y) / radius_y
        if abs(away) < 1:
            half = radius_x * math.sqrt(1 - away * away)
            runs.append((round((centre_x - half) * columns), round((centre_x + half) * columns), shade))
    return runs
