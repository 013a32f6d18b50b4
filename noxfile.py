"""The checks of this project, one session each: `nox -s quick`, `tests`, `lint`, `coverage`.

A session makes an environment of its own and installs the package with its `test` extra; `nox --no-venv -s quick`
runs in the environment that nox itself runs in. What follows `--` goes to pytest: `nox -s quick -- tests/storage`.
"""

from __future__ import annotations

import sys

import nox

nox.options.sessions = ["lint", "quick"]
nox.options.reuse_venv = "yes"

# The tests of a file stay in one process (`ByFile` of tests/conftest.py); more processes help on more cores.
PROCESSES = ("-n", "2")
# No test of the quick set takes as long as this on a quiet machine; one that hangs ends the session soon.
QUICK_TIMEOUT_S = 120


@nox.session
def quick(session: nox.Session) -> None:
    """Run the tests that need neither Ray nor a server nor a browser: minutes."""
    _pytest(session, "-m", "not slow", "--timeout", str(QUICK_TIMEOUT_S), "--durations", "15")


@nox.session
def tests(session: nox.Session) -> None:
    """Run all tests, as before a change lands."""
    _pytest(session, "--durations", "15")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, formatting and types."""
    python = _python(session)
    session.run(python, "-m", "ruff", "check", ".")
    session.run(python, "-m", "ruff", "format", "--check", ".")
    session.run(python, "-m", "mypy")


@nox.session
def coverage(session: nox.Session) -> None:
    """Run all tests and state how much of the package they execute, processes that they start included."""
    _pytest(session, "--cov", "--cov-report", "term:skip-covered")


def _pytest(session: nox.Session, *options: str) -> None:
    session.run(_python(session), "-m", "pytest", *PROCESSES, *options, *session.posargs)


def _python(session: nox.Session) -> str:
    """Return the interpreter of the session, with the package installed: with `--no-venv` the one that runs nox."""
    if session.virtualenv.venv_backend == "none":
        return sys.executable
    session.install("--editable", ".[test]")
    return "python"
