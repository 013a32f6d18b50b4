"""The checks of this project, one session each: `nox -s lint types quick tests docs`, and more (`nox --list`).

A session makes an environment of its own and installs the package with an extra; `nox --no-venv -s quick` runs in the
environment that nox itself runs in. What follows `--` goes to pytest: `nox -s quick -- tests/storage`.
"""

from __future__ import annotations

import sys

import nox

nox.options.sessions = ["lint", "types", "quick"]
nox.options.reuse_venv = "yes"

# The tests of a file stay in one process (`ByFile` of tests/conftest.py). One more than two cores: one often waits
# for a Ray that starts or a worker that dies. More processes help on more cores.
PROCESSES = ("-n", "3")
# No test of the quick set takes as long as this on a quiet machine; one that hangs ends the session soon.
QUICK_TIMEOUT_S = 120
QUICK = ("-m", "not slow", "--timeout", str(QUICK_TIMEOUT_S))
# The oldest Python that pyproject.toml allows; the lowest versions of everything else are tried with it.
OLDEST_PYTHON = "3.11"


@nox.session
def quick(session: nox.Session) -> None:
    """Run the tests that need neither Ray nor a server nor a browser: minutes."""
    _pytest(session, _python(session), *QUICK, "--durations", "15")


@nox.session
def tests(session: nox.Session) -> None:
    """Run all tests, as before a change lands."""
    _pytest(session, _python(session), "--durations", "15")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting."""
    python = _python(session)
    session.run(python, "-m", "ruff", "check", ".")
    session.run(python, "-m", "ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check types, strictly."""
    session.run(_python(session), "-m", "mypy")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation site into site/; a broken link or an unknown name is an error."""
    session.run(_python(session, "docs"), "-m", "mkdocs", "build", "--strict")


@nox.session(python=OLDEST_PYTHON, venv_backend="uv")
def lowest(session: nox.Session) -> None:
    """Run the quick set with the lowest versions that pyproject.toml declares; needs the program uv."""
    session.install("--resolution", "lowest-direct", "--editable", ".[test]")
    _pytest(session, "python", *QUICK)


@nox.session
def coverage(session: nox.Session) -> None:
    """Run all tests and state how much of the package they execute, processes that they start included."""
    _pytest(session, _python(session), "--cov", "--cov-report", "term:skip-covered")


def _pytest(session: nox.Session, python: str, *options: str) -> None:
    session.run(python, "-m", "pytest", *PROCESSES, *options, *session.posargs)


def _python(session: nox.Session, extra: str = "test") -> str:
    """Return the interpreter of the session, with the package and an extra installed: with `--no-venv` the one that
    runs nox, as it is."""
    if session.virtualenv.venv_backend == "none":
        return sys.executable
    session.install("--editable", f".[{extra}]")
    return "python"
