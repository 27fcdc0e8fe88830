"""From folder to folder: one selector, one route, two places; beside a plain pydicom loop and `cp -r`."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import anyio
from timing import Comparison, Skipped, arguments, timed

from dcmflow import Pipeline, filters, routers, sinks, sources
from dcmflow.dicom.synthetic import CT, SMALL, synthesize

SETS = {"SMALL 13 KB": (2000, SMALL), "CT 527 KB": (320, CT)}


def write(folder: Path, count: int, size: int) -> None:
    """Four series of synthetic CT and MR instances, in one folder each."""
    made = synthesize(patients=2, series=2, instances=count // 4, size=size, modality=("CT", "MR"))

    async def save() -> None:
        for number, instance in enumerate(made):
            target = folder / f"series{number * 4 // count}"
            target.mkdir(parents=True, exist_ok=True)
            await instance.save(target / f"{number:05d}.dcm")

    anyio.run(save)


def pipeline(source: Path, target: Path, *, fsync: bool) -> Pipeline:
    """What is measured, in the DSL."""
    layout = "{PatientID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm"
    return Pipeline(
        sources.Directory(str(source))
        | filters.Where("Modality in ('CT', 'MR') and SeriesNumber > 0")
        | routers.Match({"ct": "Modality == 'CT'"})
        | {
            "ct": sinks.Directory(str(target / "ct"), layout, fsync=fsync),
            "*": sinks.Directory(str(target / "other"), layout, fsync=fsync),
        }
    )


def with_dcmflow(source: Path, target: Path, count: int, backend: str, *, fsync: bool) -> None:
    """One run; what became of it is checked."""
    try:
        statistics = anyio.run(pipeline(source, target, fsync=fsync).run, backend=backend)
    except LookupError as error:
        raise Skipped(f"{backend} is not installed") from error
    assert statistics.pipeline.accepted == count, statistics


def with_pydicom(source: Path, target: Path) -> None:
    """The loop that people write: read, look, save."""
    import pydicom

    for folder, _, names in os.walk(source):
        for name in names:
            ds = pydicom.dcmread(os.path.join(folder, name))
            if ds.Modality not in ("CT", "MR") or ds.SeriesNumber <= 0:
                continue
            place = target / ("ct" if ds.Modality == "CT" else "other") / ds.PatientID / ds.SeriesInstanceUID
            place.mkdir(parents=True, exist_ok=True)
            ds.save_as(place / f"{ds.SOPInstanceUID}.dcm")


def with_cp(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-r", str(source), str(target)], check=True)


def main(argv: list[str]) -> int:
    """Print one table for each set; ratios are against pydicom, then against cp."""
    options = arguments(__doc__ or "", argv)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        with Comparison("folder to folder", unit="instances", work=1, options=options) as comparison:
            for case, (count, size) in SETS.items():
                count //= 4 if options.quick else 1
                source, target = root / case.split()[0], root / "target"
                write(source, count, size)

                def fresh(work: Callable[[], None], target: Path = target) -> Callable[[], float]:
                    measured = timed(work)

                    def contender() -> float:
                        shutil.rmtree(target, ignore_errors=True)
                        os.sync()
                        time.sleep(0.05)
                        return measured()

                    return contender

                def run(
                    backend: str, *, fsync: bool = False, source: Path = source, count: int = count
                ) -> Callable[[], float]:
                    return fresh(partial(with_dcmflow, source, root / "target", count, backend, fsync=fsync))

                rates = comparison.run(
                    {
                        "pydicom loop": fresh(partial(with_pydicom, source, target)),
                        "dcmflow (asyncio)": run("asyncio"),
                        "dcmflow (trio)": run("trio"),
                        "dcmflow, fsync": run("asyncio", fsync=True),
                        "cp -r": fresh(partial(with_cp, source, target)),
                    },
                    case=f"{case} × {count}",
                    work=count,
                )
                both = zip(rates["cp -r"], rates["dcmflow (asyncio)"], strict=True)
                ratios = sorted(cp / ours for cp, ours in both)
                print(f"  cp -r takes 1/{ratios[len(ratios) // 2]:.2f} of the time of dcmflow (asyncio)")
    return 0


if __name__ == "__main__":
    import sys

    raise SystemExit(main(sys.argv[1:]))
