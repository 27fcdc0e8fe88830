"""What every test may use: both event loops, DCMTK, a small disk, pydicom's files, a watch for leaks."""

from __future__ import annotations

import functools
import inspect
import os
import shutil
import signal
import subprocess
import tempfile
import warnings
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pydicom.data
import pytest
from hypothesis import HealthCheck, settings

from leaks import Watch
from peers.fixtures import (  # fixtures for every test
    _archive_of_all,  # noqa: F401
    _one_orthanc,  # noqa: F401
    archive,  # noqa: F401
    archives,  # noqa: F401
    certificates,  # noqa: F401
    dcmjs_peer,  # noqa: F401
    dcmtk_peer,  # noqa: F401
    orthanc,  # noqa: F401
    pynetdicom_peer,  # noqa: F401
)

# Speed is no property of a test: no deadlines, and a busy machine is no failure.
_RELAXED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.register_profile("default", _RELAXED, max_examples=60)
settings.register_profile("ci", _RELAXED, max_examples=60, derandomize=True)
settings.register_profile("fuzz", _RELAXED, max_examples=int(os.environ.get("DCMFLOW_FUZZ_EXAMPLES") or 60))


def pytest_configure() -> None:
    """Hypothesis tries DCMFLOW_FUZZ_EXAMPLES examples, else 60; in CI the same ones each time."""
    if (
        signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    ):  # as in the background of a script; commands inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    fuzz, ci = os.environ.get("DCMFLOW_FUZZ_EXAMPLES"), os.environ.get("CI")
    settings.load_profile("fuzz" if fuzz else "ci" if ci else "default")


@pytest.fixture(
    scope="module",
    params=[pytest.param(("asyncio", {"debug": False}), id="asyncio"), pytest.param(("trio", {}), id="trio")],
)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Each async test runs once on asyncio and once on trio."""
    return request.param


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> None:
    """Ends an async test that hangs from inside its loop.

    The alarm of pytest-timeout comes from outside, after which trio's loop would still wait for the test.
    """
    seconds = 0.9 * _timeout(pyfuncitem)
    if not seconds:
        return
    hypothesis = getattr(pyfuncitem.obj, "hypothesis", None)
    if hypothesis is not None and inspect.iscoroutinefunction(hypothesis.inner_test):
        hypothesis.inner_test = _bounded(hypothesis.inner_test, seconds)
    elif inspect.iscoroutinefunction(pyfuncitem.obj):
        pyfuncitem.obj = _bounded(pyfuncitem.obj, seconds)


def _timeout(item: pytest.Function) -> float:
    marker = item.get_closest_marker("timeout")
    if marker is not None:
        return float(marker.args[0] if marker.args else marker.kwargs["timeout"])
    given = item.config.getoption("timeout")
    return float(item.config.getini("timeout") if given is None else given)


def _bounded(test: Callable[..., Awaitable[None]], seconds: float) -> Callable[..., Awaitable[None]]:
    @functools.wraps(test)
    async def bounded(**arguments: object) -> None:
        with anyio.fail_after(seconds):
            await test(**arguments)

    return bounded


@functools.cache
def _dcmtk_tool(name: str) -> str | None:
    # pynetdicom installs scripts of the same names: only one that says so is DCMTK's
    for folder in os.get_exec_path():
        path = shutil.which(name, path=folder)
        if path is None:
            continue
        said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False, timeout=10)
        if "$dcmtk:" in said.stdout + said.stderr:  # some of them do not know --version, and say so
            return path
    return None


@pytest.fixture(scope="session")
def dcmtk() -> Callable[[str], str]:
    """`dcmtk("storescu")` is the path of that tool.

    Without it the test skips, or fails where DCMFLOW_REQUIRE_PEERS is set.
    """

    def tool(name: str) -> str:
        path = _dcmtk_tool(name)
        if path is not None:
            return path
        reason = f"DCMTK's {name} is not on PATH (Debian: apt-get install dcmtk)"
        if os.environ.get("DCMFLOW_REQUIRE_PEERS"):
            pytest.fail(reason)
        pytest.skip(reason)

    return tool


@pytest.fixture
def small_tmpfs(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """`small_tmpfs(size)` is an empty file system that holds `size` bytes and then is full. Needs root."""
    mounted: list[Path] = []

    def mount(size: int) -> Path:
        if os.geteuid() != 0:
            pytest.skip("only root may mount a tmpfs")
        folder = tmp_path / f"tmpfs-{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"cannot mount a tmpfs here: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def no_leaks(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Fails a test that leaves a thread, a child process, an open file below `tmp_path` or a temporary file.

    For a whole module: `pytestmark = pytest.mark.usefixtures("no_leaks")`.
    """
    scratch = tmp_path_factory.mktemp("scratch")
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr(tempfile, "tempdir", None)
    watch = Watch(tmp_path, scratch)
    yield
    left = watch.left()
    assert not left, "left behind:\n" + "\n".join(left)


@pytest.fixture(scope="session")
def pydicom_files() -> list[Path]:
    """Every file that pydicom ships and reads as Part 10, DICOMDIR files included, in a fixed order."""
    root = Path(pydicom.data.__file__).parent
    files = sorted(
        path
        for folder in ("test_files", "charset_files")
        for path in (root / folder).rglob("*")
        if path.is_file() and path.suffix != ".py"
    )
    readable = [path for path in files if _readable(path)]
    assert len(readable) > 60, f"pydicom at {root} ships too few files"
    return readable


def _readable(path: Path) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for _ in pydicom.dcmread(path).iterall():
                pass
        except Exception:
            return False
    return True
