"""The README says how everything is tested."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_test_command_is_what_ci_runs() -> None:
    assert ".venv/bin/pip install -e '.[test]' && .venv/bin/nox --no-venv -s tests\n" in README
    ci = (ROOT / ".ci" / "run").read_text()
    assert "--editable '.[test,docs]'" in ci and '/bin/python" -m nox --no-venv -s lint types docs tests\n' in ci
