"""Runs benchmarks one after the other: `python benchmarks/run.py [NAME ...] [--quick] [--json FOLDER]`.

A benchmark is a module `bench_NAME.py` in this folder with a `main(argv) -> int`; see timing.py. Each runs
in a process of its own, so that none inherits the memory or the imports of another. First comes what a
reader needs to judge the figures: the machine and the versions.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
PACKAGES = ("dcmflow", "anyio", "trio", "uvloop", "msgspec", "pydicom", "pynetdicom")
_START = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); import {module}; sys.exit({module}.main(sys.argv[1:]))"
)


def names() -> list[str]:
    """All benchmarks of this folder."""
    return sorted(path.stem.removeprefix("bench_") for path in FOLDER.glob("bench_*.py"))


def main(argv: list[str]) -> int:
    """Returns 0 when all benchmarks ran, 1 when one failed, 2 when one does not exist."""
    parser = argparse.ArgumentParser(description="Runs benchmarks one after the other.")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"one of: {', '.join(names()) or 'none yet'}"
    )
    parser.add_argument("--quick", action="store_true", help="a try: few rounds, figures of little weight")
    parser.add_argument("--json", type=Path, metavar="FOLDER", help="write FOLDER/NAME.json for each")
    options = parser.parse_args(argv)
    unknown = [name for name in options.names if name not in names()]
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are: {', '.join(names())}", file=sys.stderr)
        return 2
    print(machine())
    if options.json is not None:
        options.json.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in options.names or names():
        print(f"\n== {name}", flush=True)
        arguments = ["--quick"] if options.quick else []
        if options.json is not None:
            arguments += ["--json", str(options.json.resolve() / f"{name}.json")]
        start = _START.format(module=f"bench_{name}")
        if subprocess.run([sys.executable, "-c", start, str(FOLDER), *arguments], check=False).returncode:
            failed.append(name)
    if failed:
        print(f"\nfailed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def machine() -> str:
    """Processor, memory, system and versions, one thing a line."""
    facts = {
        "processor": f"{_processor()}, {len(os.sched_getaffinity(0))} cores",
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.1f} GiB",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        **{package: _version(package) for package in PACKAGES},
        "DCMTK": _dcmtk(),
        "Orthanc": _orthanc(),
    }
    return "\n".join(f"{name:<11}{value}" for name, value in facts.items())


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or "unknown"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _dcmtk() -> str:
    tool = shutil.which("dcmftest")  # pynetdicom has no tool of this name
    if tool is None:
        return "not installed"
    said = subprocess.run([tool, "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"\bv(\d\S+)", said.stdout + said.stderr)
    return found[1] if found else "unknown"


def _orthanc() -> str:
    tool = shutil.which("Orthanc", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if tool is None:
        return "not installed"
    said = subprocess.run([tool, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"Orthanc (\S+)", said)
    return found[1] if found else "unknown"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
