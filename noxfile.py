"""Sessions of nox: what is checked, on which Python, with which packages."""

from __future__ import annotations

from pathlib import Path

import nox

PYTHONS = ["3.11", "3.12", "3.13"]
PROJECT = nox.project.load_toml("pyproject.toml")

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["lint", "typing", "tests", "docs"]


def install(session: nox.Session, group: str) -> None:
    """The package, editable, with a dependency group of pyproject.toml."""
    session.install("-e", ".", *nox.project.dependency_groups(PROJECT, group))


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """All tests; arguments go to pytest."""
    install(session, "test")
    session.run("pytest", *session.posargs)


@nox.session
def typing(session: nox.Session) -> None:
    """mypy, strict; and whether everything public is typed for those who import it."""
    install(session, "typing")
    session.run("mypy")
    session.run("pyright", "--verifytypes", "dcmflow", "--ignoreexternal")


@nox.session
def lint(session: nox.Session) -> None:
    """ruff: rules and format."""
    session.install(*nox.project.dependency_groups(PROJECT, "lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def docs(session: nox.Session) -> None:
    """Runs every code block of the README and docs/, and the examples in docstrings."""
    install(session, "test")
    session.run("pytest", "tests/test_docs.py", "tests/test_docs_runner.py", *session.posargs)


@nox.session
def interop(session: nox.Session) -> None:
    """Tests against real DICOM peers; a peer that is not installed is a failure here.

    DCMTK, Orthanc, Node.js and npm have to be there; dcmjs-dimse is installed below .peers/.
    """
    install(session, "test")
    version = Path("tests/peers/dcmjs-dimse.version").read_text(encoding="utf-8").strip()
    quiet = ["--no-save", "--ignore-scripts", "--no-fund", "--no-audit", "--loglevel=error"]
    session.run("npm", "install", "--prefix", ".peers", *quiet, f"dcmjs-dimse@{version}", external=True)
    session.run("pytest", "-m", "interop", *session.posargs, env={"DCMFLOW_REQUIRE_PEERS": "1"})


@nox.session
def fuzz(session: nox.Session) -> None:
    """Property tests with many examples: DCMFLOW_FUZZ_EXAMPLES, else 5000 each."""
    install(session, "test")
    examples = session.env.get("DCMFLOW_FUZZ_EXAMPLES") or "5000"
    arguments = ["-m", "hypothesis", "--timeout=3600", "-o", "faulthandler_timeout=0", *session.posargs]
    session.run("pytest", *arguments, env={"DCMFLOW_FUZZ_EXAMPLES": examples})


@nox.session
def bench(session: nox.Session) -> None:
    """Every benchmark, one after the other; `nox -s bench -- NAME --quick` for less."""
    install(session, "bench")
    session.run("python", "benchmarks/run.py", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Much through one listener: nothing is lost, memory stays bounded; `-- --count N`, or `-- stall` for the second alone."""
    install(session, "bench")
    arguments = session.posargs
    if arguments[:1] == ["stall"]:
        session.run("python", "benchmarks/soak_stall.py", *arguments[1:])
        return
    session.run("python", "benchmarks/soak_wire.py", *arguments)
    session.run("python", "benchmarks/soak_stall.py")


@nox.session
def changelog(session: nox.Session) -> None:
    """Shows what the fragments in changelog.d say; with a version as argument writes it to CHANGELOG.md."""
    session.install(*nox.project.dependency_groups(PROJECT, "changelog"))
    if session.posargs:
        session.run("towncrier", "build", "--yes", "--version", *session.posargs)
    else:
        session.run("towncrier", "build", "--draft", "--version", "next")
